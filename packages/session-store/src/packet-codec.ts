import type { StorePacket } from './session-store.ts';

/** Of the layout below; what has another number was not written by this program. */
const CODEC_VERSION = 1;

/** Version, kind of payload, length of the head. */
const FIXED_BYTES = 6;

/** What the payload was before it became bytes. */
const PAYLOAD = { none: 0, bytes: 1, text: 2 } as const;

/** Fields that stand in the head by their place; the others stand there by name. The order must not change. */
const FIELDS = [
  'cmd',
  'topic',
  'qos',
  'retain',
  'dup',
  'brokerId',
  'brokerCounter',
  'messageId',
  'clientId',
  'messageExpiry',
] as const;

const NAMED: ReadonlySet<string> = new Set([...FIELDS, 'payload', 'properties']);

type Entry = [name: string, value: unknown];

/** JSON of which every client may have written the names and values, but none the shape. */
interface Head {
  readonly fields: unknown[];
  readonly properties?: readonly [plain: Entry[], bytes: [string, string][]];
  readonly others?: Entry[];
}

function headOf(packet: StorePacket): Head {
  const { properties } = packet;
  const others = Object.entries(packet).filter(
    ([name, value]) => !NAMED.has(name) && value !== undefined,
  );
  return {
    fields: FIELDS.map((name) => packet[name] ?? null),
    ...(properties !== undefined && { properties: splitProperties(properties) }),
    ...(others.length > 0 && { others }),
  };
}

/** Byte values go beside the others, as base64, so that no value of a client can pose as bytes. */
function splitProperties(
  properties: Readonly<Record<string, unknown>>,
): [Entry[], [string, string][]] {
  const plain: Entry[] = [];
  const bytes: [string, string][] = [];
  for (const [name, value] of Object.entries(properties)) {
    if (value instanceof Uint8Array) bytes.push([name, Buffer.from(value).toString('base64')]);
    else if (value !== undefined) plain.push([name, value]);
  }
  return [plain, bytes];
}

/** The packet as bytes. Fields that are `undefined` are left out. */
export function encodePacket(packet: StorePacket): Buffer {
  const { payload } = packet;
  const { fields, properties, others } = headOf(packet);
  const head = Buffer.from(JSON.stringify([fields, properties ?? 0, others ?? 0]));
  const body = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const encoded = Buffer.allocUnsafe(FIXED_BYTES + head.length + (body?.length ?? 0));
  encoded[0] = CODEC_VERSION;
  encoded[1] =
    payload === undefined
      ? PAYLOAD.none
      : typeof payload === 'string'
        ? PAYLOAD.text
        : PAYLOAD.bytes;
  encoded.writeUInt32BE(head.length, 2);
  head.copy(encoded, FIXED_BYTES);
  if (body !== undefined) encoded.set(body, FIXED_BYTES + head.length);
  return encoded;
}

/**
 * What `encodePacket` was given. A payload of bytes is a view of `encoded`.
 * @throws Error for bytes that it did not make
 */
export function decodePacket(encoded: Buffer): StorePacket {
  if (encoded[0] !== CODEC_VERSION) throw new Error('a stored packet of an unknown version');
  const bodyAt = FIXED_BYTES + encoded.readUInt32BE(2);
  // The shape is `encodePacket`'s.
  const [fields, properties, others] = JSON.parse(
    encoded.toString('utf8', FIXED_BYTES, bodyAt),
  ) as [unknown[], Head['properties'] | 0, Entry[] | 0];
  const entries: Entry[] = [];
  for (const [index, name] of FIELDS.entries()) {
    const value = fields[index];
    if (value !== null && value !== undefined) entries.push([name, value]);
  }
  if (Array.isArray(others)) entries.push(...others);
  if (properties !== 0 && properties !== undefined) {
    entries.push(['properties', joinProperties(properties)]);
  }
  const payload = payloadOf(encoded[1], encoded.subarray(bodyAt));
  if (payload !== undefined) entries.push(['payload', payload]);
  return Object.fromEntries(entries);
}

function joinProperties([plain, bytes]: NonNullable<Head['properties']>): Record<string, unknown> {
  return Object.fromEntries([
    ...plain,
    ...bytes.map(([name, value]): Entry => [name, Buffer.from(value, 'base64')]),
  ]);
}

function payloadOf(kind: number | undefined, body: Buffer): Buffer | string | undefined {
  if (kind === PAYLOAD.text) return body.toString();
  return kind === PAYLOAD.bytes ? body : undefined;
}
