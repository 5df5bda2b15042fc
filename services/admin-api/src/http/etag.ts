import type { Revision } from '@sallyport/domain';
import type { FastifyRequest } from 'fastify';
import { refused } from './problems.ts';

/** Entity tag of an object that was last changed by this revision. */
export const etagOf = (revision: Revision): string => `"${revision}"`;

/** Most entity tags of one header. */
export const ETAGS_MAX = 16;

/**
 * The revision that a command must find, from `If-Match` (RFC 9110 §13.1.1). Undefined when the caller sets no condition,
 * or when `*` is met. Weak tags never match. `current` is undefined when there is no such object.
 */
export function ifRevisionOf(
  request: Pick<FastifyRequest, 'headers'>,
  current: Revision | undefined,
): Revision | undefined {
  const header = request.headers['if-match'];
  if (header === undefined) return undefined;
  if (header.trim() === '*') {
    if (current === undefined) throw failed(current);
    return undefined;
  }
  const tags = header.split(',').map((one) => one.trim());
  if (tags.length > ETAGS_MAX || !tags.every((tag) => /^(W\/)?"[\x21\x23-\x7e]*"$/.test(tag))) {
    throw refused('invalid_request', { detail: 'If-Match must be * or a list of entity tags.' });
  }
  if (current === undefined || !tags.includes(etagOf(current))) throw failed(current);
  return current;
}

/** Whether `If-None-Match: *` asks for an object that does not exist yet; no other form is known for writes. */
export function mustBeAbsent(request: Pick<FastifyRequest, 'headers'>): boolean {
  const header = request.headers['if-none-match'];
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  throw refused('invalid_request', { detail: 'If-None-Match must be * on a write.' });
}

/** A 412 that tells the current tag, so that the caller can tell whether its change is still wanted. */
export function failed(current: Revision | undefined): Error {
  return refused('precondition_failed', {
    ...(current === undefined ? {} : { headers: { etag: etagOf(current) } }),
  });
}
