import { type RowFailure, rowFailureOf } from '@sallyport/domain';
import { refused, rejectionOf } from '../http/problems.ts';

/** Longest row as it is sent, in characters. */
export const ROW_LENGTH_MAX = 64 * 1024;

/** Bytes that are decoded, and made rows, before anything else is done with them: about a millisecond of work. */
const PIECE_BYTES = 64 * 1024;

/** One row of a file, before anybody knows what it means. */
export type RawRow = {
  /** What was sent, for the fingerprint of the file. */
  readonly text: string;
} & ({ readonly value: unknown } | { readonly failure: RowFailure });

/** Rows as they come in, some at a time. Ends with a throw when what follows cannot be told apart any more. */
export type RawRows = AsyncIterable<readonly RawRow[]>;

/** Decodes UTF-8 without the byte order mark. @throws RefusedError `body_too_large`, `malformed_body` */
export async function* decodedText(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let bytes = 0;
  try {
    for await (const chunk of body) {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        throw refused('body_too_large', { detail: `At most ${bytesMax} bytes are taken.` });
      }
      // What has waited comes as one chunk, which may be many megabytes.
      for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
        yield decoder.decode(chunk.subarray(start, start + PIECE_BYTES), { stream: true });
      }
    }
    yield decoder.decode();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw malformed('must be UTF-8');
  }
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
