import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { saslprep, SCRAM_MECHANISMS, type ScramMechanism } from '@sallyport/domain';
import { assert } from '@sallyport/errors';

/** What a device computes at each connect. RFC 7677 §4 names the figure; the README says why not more. */
export const SCRAM_ITERATIONS = 15_000;

/** Fewer are refused in what is stored. RFC 7677 §4 */
export const SCRAM_ITERATIONS_MIN = 4096;

export const SCRAM_SALT_BYTES = 16;

const hashes = {
  'SCRAM-SHA-256': { digest: 'sha256', bytes: 32 },
  'SCRAM-SHA-512': { digest: 'sha512', bytes: 64 },
} as const satisfies Record<ScramMechanism, unknown>;

/** Length of the keys and proofs of a mechanism. */
export const scramKeyBytes = (mechanism: ScramMechanism): number => hashes[mechanism].bytes;

/** What a server knows of a password. Whoever has it can guess offline, and can play the server, not the client. */
export interface ScramVerifier {
  readonly mechanism: ScramMechanism;
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

const pbkdf2Async = promisify(pbkdf2);

/** Derives the keys; milliseconds of a thread of the pool. @source RFC 5802 §3 */
export async function deriveScram(
  { mechanism, iterations, salt }: Pick<ScramVerifier, 'mechanism' | 'iterations' | 'salt'>,
  password: string,
): Promise<ScramVerifier> {
  const prepared = saslprep(password);
  assert(prepared !== undefined, 'the caller has found that the password can be prepared');
  const { digest, bytes } = hashes[mechanism];
  const salted = await pbkdf2Async(prepared, salt, iterations, bytes, digest);
  const hmac = (text: string): Buffer => createHmac(digest, salted).update(text).digest();
  const storedKey = createHash(digest).update(hmac('Client Key')).digest();
  return { mechanism, iterations, salt, storedKey, serverKey: hmac('Server Key') };
}

/**
 * The server's signature when `proof` was made with the password behind the verifier, else undefined. Microseconds.
 * @source RFC 5802 §3
 */
export function checkScramProof(
  { mechanism, storedKey, serverKey }: ScramVerifier,
  { authMessage, proof }: { readonly authMessage: string; readonly proof: Buffer },
): Buffer | undefined {
  const { digest } = hashes[mechanism];
  const signature = createHmac(digest, storedKey).update(authMessage).digest();
  const clientKey = Buffer.from(proof.map((byte, index) => byte ^ (signature[index] ?? 0)));
  const found = createHash(digest).update(clientKey).digest();
  // Computed in both cases, so that a wrong proof is answered in the time of a right one.
  const serverSignature = createHmac(digest, serverKey).update(authMessage).digest();
  return timingSafeEqual(found, storedKey) ? serverSignature : undefined;
}

/** The text that is sealed: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, base64, as others write it too. */
export function formatScramVerifier(verifier: ScramVerifier): string {
  const { mechanism, iterations, salt, storedKey, serverKey } = verifier;
  const [saltText, storedText, serverText] = [salt, storedKey, serverKey].map((bytes) =>
    bytes.toString('base64'),
  );
  return `${mechanism}$${iterations}:${saltText}$${storedText}:${serverText}`;
}

const FORMAT = /^([A-Z0-9-]+)\$([1-9]\d{3,8}):([\w+/=]+)\$([\w+/=]+):([\w+/=]+)$/;

/** Reads what `formatScramVerifier` wrote; undefined for a text of another form, which then verifies nothing. */
export function parseScramVerifier(text: string): ScramVerifier | undefined {
  const [, name, count, ...keys] = FORMAT.exec(text) ?? [];
  const mechanism = SCRAM_MECHANISMS.find((one) => one === name);
  if (mechanism === undefined || Number(count) < SCRAM_ITERATIONS_MIN) return undefined;
  const [salt, storedKey, serverKey] = keys.map((one) => Buffer.from(one, 'base64'));
  if (salt === undefined || storedKey === undefined || serverKey === undefined) return undefined;
  const { bytes } = hashes[mechanism];
  if (storedKey.length !== bytes || serverKey.length !== bytes) return undefined;
  return { mechanism, iterations: Number(count), salt, storedKey, serverKey };
}
