import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import type { NewCommit } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { COMMIT_BYTES_MAX } from '../event-log.ts';
import { encodeForLog, type EncodedRecord } from '../record.ts';

/** Smallest record that is packed. Others stay legible to whoever looks into the stream, and are hardly worth it. */
export const PACKED_BYTES_MIN = 16 * 1024;

/** The first byte of a packed record; that of any other one is a brace. */
const PACKED = 0x01;

/** A quality above 1 takes two to three times as long and saves nothing of an import, most of which is sealed hashes. */
const BROTLI = {
  params: { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_LGWIN]: 18 },
};

/** What the stream stores for the bytes of a record. The events of an import resemble each other: a quarter is left of them. */
export function pack(bytes: Uint8Array): Uint8Array {
  if (bytes.length < PACKED_BYTES_MIN) return bytes;
  return Buffer.concat([Buffer.of(PACKED), brotliCompressSync(bytes, BROTLI)]);
}

/**
 * The bytes of a record that the stream has stored.
 * @throws OperationalError `log_unreadable` when they cannot be had, or are more than a commit has
 */
export function unpack(stored: Buffer): Buffer {
  if (stored[0] !== PACKED) return stored;
  try {
    const limits = { chunkSize: COMMIT_BYTES_MAX, maxOutputLength: COMMIT_BYTES_MAX };
    return brotliDecompressSync(stored.subarray(1), limits);
  } catch (cause) {
    throw new OperationalError('log_unreadable', 'a record cannot be unpacked', { cause });
  }
}

/** Commits that are on their way into the stream, as it stores them. */
const encoded = new WeakMap<NewCommit, EncodedRecord>();

/** As `encodeForLog`, with the bytes that the stream stores. */
export function encodePacked(commit: NewCommit): EncodedRecord {
  let record = encoded.get(commit);
  if (record === undefined) {
    const { text, bytes } = encodeForLog(commit);
    record = { text, bytes: pack(bytes) };
    encoded.set(commit, record);
  }
  return record;
}
