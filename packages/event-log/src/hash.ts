import { createHash } from 'node:crypto';

/** The running hash before the first commit. */
export const INITIAL_HASH = '';

/** SHA-256 of a stored record, its text or its bytes, base64. O(bytes). */
export function digestOf(record: string | Uint8Array): string {
  return createHash('sha256').update(record).digest('base64');
}

/**
 * The running hash after one more commit: SHA-256 over the hash before it and its digest, base64. Two folds with the same
 * hash at a revision have read the same log up to there.
 */
export function nextHash(previous: string, digest: string): string {
  return createHash('sha256').update(previous).update('\n').update(digest).digest('base64');
}
