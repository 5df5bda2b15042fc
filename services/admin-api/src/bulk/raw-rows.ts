import { isAscii, isUtf8 } from 'node:buffer';
import { type RowFailure, rowFailureOf } from '@sallyport/domain';
import { parseJson } from '../http/json-body.ts';
import { refused, rejectionOf } from '../http/problems.ts';

/** Longest row as it is sent, in characters. */
export const ROW_LENGTH_MAX = 64 * 1024;

/** Bytes that are decoded, and made rows, before anything else is done with them: about a millisecond of work. */
const PIECE_BYTES = 64 * 1024;

/** One row of a file, before anybody knows what it means. */
export type RawRow = {
  /** What was sent, for the fingerprint of the file. */
  readonly text: string;
} & (ReadRow | { readonly unread: true });

/** What is in a row. */
export type ReadRow = { readonly value: unknown } | { readonly failure: RowFailure };

/** Reads a row; a text of JSON that has not been looked at yet is parsed. */
export function readRow(raw: RawRow): ReadRow {
  if (!('unread' in raw)) return raw;
  try {
    return { value: parseJson(raw.text) };
  } catch (error) {
    return { failure: failureOf(error) };
  }
}

/** Rows as they come in, some at a time. Ends with a throw when what follows cannot be told apart any more. */
export type RawRows = AsyncIterable<readonly RawRow[]>;

/** Decodes UTF-8 without the byte order mark. @throws RefusedError `body_too_large`, `malformed_body` */
export async function* decodedText(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<string> {
  let bytes = 0;
  /** Bytes of a character that has not come as a whole. */
  let rest = Buffer.alloc(0);
  let first = true;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > bytesMax) {
      throw refused('body_too_large', { detail: `At most ${bytesMax} bytes are taken.` });
    }
    // What has waited comes as one chunk, which may be many megabytes.
    for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
      const piece = Buffer.concat([rest, chunk.subarray(start, start + PIECE_BYTES)]);
      const whole = wholeCharacters(piece);
      rest = piece.subarray(whole);
      const text = textOf(piece.subarray(0, whole));
      yield first && text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
      first &&= text === '';
    }
  }
  if (rest.length > 0) throw malformed('must be UTF-8');
}

const BYTE_ORDER_MARK = '\ufeff';

// The decoder of the platform makes texts of two bytes a character, also of ASCII, and is a tenth as fast.
function textOf(bytes: Buffer): string {
  if (isAscii(bytes)) return bytes.toString('latin1');
  if (!isUtf8(bytes)) throw malformed('must be UTF-8');
  return bytes.toString('utf8');
}

/** Longest character of UTF-8, in bytes. */
const CHARACTER_BYTES_MAX = 4;

/** Bytes before a character at the end that goes on in what follows. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(CHARACTER_BYTES_MAX - 1, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) break;
    if (byte < 0xc0) continue;
    const length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

export const malformed = (detail: string): Error =>
  refused('malformed_body', { problems: [{ pointer: '', detail }] });

export const tooLong = (): Error =>
  malformed(`has a row of more than ${ROW_LENGTH_MAX} characters`);

/** What a refusal that was thrown says of a row; anything else is thrown on. */
export function failureOf(error: unknown): RowFailure {
  const rejection = rejectionOf(error);
  if (rejection.code === 'internal') throw error;
  return rowFailureOf(rejection);
}
