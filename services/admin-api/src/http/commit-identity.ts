import { createHash, randomUUID } from 'node:crypto';
import type { SecretBox } from '@sallyport/secrets';
import type { FastifyRequest } from 'fastify';
import type { Caller } from './permissions.ts';
import { refused } from './problems.ts';

/** 1 to 128 visible ASCII characters. */
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,128}$/;

/** Longest `Sallyport-Reason`, in characters. */
export const REASON_LENGTH_MAX = 512;

/** What ties a request to its commit. */
export interface CommitIdentity {
  readonly commitId: string;
  /** Present when the caller may repeat the request. */
  readonly fingerprint?: string;
}

/**
 * The commit id of a request: from the caller and its `Idempotency-Key`, else random. The fingerprint covers method, path
 * and body as they were sent, under a key of the deployment, because the body may hold a password.
 */
export function commitIdentityOf(
  request: Pick<FastifyRequest, 'headers' | 'method' | 'url' | 'body'>,
  caller: Pick<Caller, 'kind' | 'id'>,
  box: SecretBox,
): CommitIdentity {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return { commitId: randomUUID() };
  if (typeof key !== 'string' || !IDEMPOTENCY_KEY.test(key)) {
    throw refused('invalid_request', {
      detail: 'Idempotency-Key must have 1 to 128 visible ASCII characters.',
    });
  }
  const digest = createHash('sha256').update(JSON.stringify([caller.kind, caller.id, key]));
  const path = request.url.split('?', 1)[0] ?? '';
  const sent = JSON.stringify([request.method, path, request.body ?? null]);
  return { commitId: `key-${digest.digest('hex')}`, fingerprint: box.fingerprint(sent) };
}

/** An id that every attempt of the same commit derives again (UUID version 8, RFC 9562 §5.8). */
export function derivedId(commitId: string, purpose: string): string {
  const bytes = createHash('sha256')
    .update(JSON.stringify([commitId, purpose]))
    .digest();
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20, 32),
  ].join('-');
}

/** Why the change is made, in the caller's words. */
export function reasonOf(request: Pick<FastifyRequest, 'headers'>): string | undefined {
  const reason = request.headers['sallyport-reason'];
  if (reason === undefined) return undefined;
  // Node reads header bytes as Latin-1; callers write UTF-8.
  const text = Buffer.from(String(reason), 'latin1').toString('utf8').trim();
  const printable = !/[\p{Cc}\p{Cs}\ufffd]/u.test(text);
  if (text === '' || text.length > REASON_LENGTH_MAX || !printable) {
    throw refused('invalid_request', {
      detail: `Sallyport-Reason must have 1 to ${REASON_LENGTH_MAX} printable characters of UTF-8.`,
    });
  }
  return text;
}
