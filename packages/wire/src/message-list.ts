/** A message that is a list of things: what one service says to another over NATS, in JSON. */
export interface MessageList<T> {
  /** Name of the list in the message. */
  readonly member: string;
  readonly itemsMax: number;
  /** Longest message that is read. */
  readonly bytesMax: number;
  /** Undefined for what is none. */
  readonly itemOf: (value: Readonly<Record<string, unknown>>) => T | undefined;
}

export const encodeList = <T>({ member }: MessageList<T>, items: readonly T[]): string =>
  JSON.stringify({ v: 1, [member]: items });

/** What the message lists; undefined for anything else than `encodeList` writes, because nobody waits for an answer. */
export function decodeList<T>(list: MessageList<T>, message: Uint8Array): readonly T[] | undefined {
  if (message.length > list.bytesMax) return undefined;
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(message));
  } catch {
    return undefined; // Neither text nor JSON.
  }
  const { v, [list.member]: items } = Object(body) as Record<string, unknown>; // Object() makes one of anything.
  if (v !== 1 || !Array.isArray(items) || items.length > list.itemsMax) return undefined;
  const read = items.map((one) => list.itemOf(Object(one) as Record<string, unknown>)); // As above.
  return read.every((one) => one !== undefined) ? read : undefined;
}

export const isText = (value: unknown, lengthMax: number): value is string =>
  typeof value === 'string' && value !== '' && value.length <= lengthMax;
