import { type CredentialRehash, REHASH_SECRETS_MAX } from '@sallyport/domain';

/** Where the policy service says that it has made verifiers of its own for imported hashes. */
export const REHASH_SUBJECT = 'sallyport.rehash';

/** Longest message that is read, in bytes: so many verifiers, sealed, take a quarter of it. */
export const REHASH_MESSAGE_BYTES_MAX = 128 * 1024;

const ID_LENGTH_MAX = 128;
const VERIFIER_LENGTH_MAX = 1024;

export function encodeRehash(secrets: readonly CredentialRehash[]): string {
  return JSON.stringify({ v: 1, secrets });
}

/** What the message asks for; undefined for anything else than `encodeRehash` writes. */
export function decodeRehash(message: Uint8Array): readonly CredentialRehash[] | undefined {
  if (message.length > REHASH_MESSAGE_BYTES_MAX) return undefined;
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(message));
  } catch {
    return undefined; // Whoever sent it is not told: nobody waits for an answer.
  }
  const { v, secrets } = Object(body) as { v?: unknown; secrets?: unknown };
  if (v !== 1 || !Array.isArray(secrets) || secrets.length > REHASH_SECRETS_MAX) return undefined;
  const read = secrets.map(secretOf);
  return read.every((one) => one !== undefined) ? read : undefined;
}

function secretOf(value: unknown): CredentialRehash | undefined {
  const { id, secretId, verifier } = Object(value) as Record<string, unknown>;
  if (!isText(id, ID_LENGTH_MAX) || !isText(secretId, ID_LENGTH_MAX)) return undefined;
  return isText(verifier, VERIFIER_LENGTH_MAX) ? { id, secretId, verifier } : undefined;
}

const isText = (value: unknown, lengthMax: number): value is string =>
  typeof value === 'string' && value !== '' && value.length <= lengthMax;
