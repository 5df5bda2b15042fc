import type { Problems } from './text.ts';

export const SIMPLE_DIGESTS = ['md5', 'sha1', 'sha256', 'sha512'] as const;
export const PBKDF2_DIGESTS = [
  'md4',
  'md5',
  'ripemd160',
  'sha1',
  'sha224',
  'sha256',
  'sha384',
  'sha512',
] as const;
export const SALT_POSITIONS = ['prefix', 'suffix', 'disable'] as const;

export type SimpleDigest = (typeof SIMPLE_DIGESTS)[number];
export type Pbkdf2Digest = (typeof PBKDF2_DIGESTS)[number];
export type SaltPosition = (typeof SALT_POSITIONS)[number];

/** Most PBKDF2 iterations, counted for each block of the derived key: about a second of one thread. */
export const PBKDF2_WORK_MAX = 1_000_000;
/** The same with MD4, which is computed here and not by OpenSSL. */
export const PBKDF2_MD4_WORK_MAX = 100_000;
/** Longest derived key, in bytes. */
export const DERIVED_KEY_BYTES_MAX = 512;
/** Costs of bcrypt, as powers of two, that passwords are hashed with here; what is imported may have others. */
export const BCRYPT_ROUNDS_MIN = 5;
export const BCRYPT_ROUNDS_MAX = 10;

export const DIGEST_BYTES: Readonly<Record<SimpleDigest | Pbkdf2Digest, number>> = {
  md4: 16,
  md5: 16,
  ripemd160: 20,
  sha1: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
};

/**
 * How an authenticator has passwords hashed that are set from now on. What is stored remembers its own form, so a change
 * locks nobody out. @source compat emqx §2.3
 */
export type HashAlgorithm =
  /** Ours, with our parameters. */
  | { readonly name: 'argon2id' }
  | { readonly name: 'plain' | SimpleDigest; readonly saltPosition: SaltPosition }
  | { readonly name: 'bcrypt'; readonly saltRounds: number }
  | {
      readonly name: 'pbkdf2';
      readonly digest: Pbkdf2Digest;
      readonly iterations: number;
      /** Length of the derived key; that of the digest when absent. */
      readonly keyBytes?: number;
    };

export const DEFAULT_HASH: HashAlgorithm = { name: 'argon2id' };

export function checkHashAlgorithm(
  problems: Problems,
  pointer: string,
  algorithm: HashAlgorithm,
): void {
  if (algorithm.name === 'bcrypt') {
    const { saltRounds } = algorithm;
    checkWhole(problems, `${pointer}/saltRounds`, saltRounds, BCRYPT_ROUNDS_MIN, BCRYPT_ROUNDS_MAX);
  }
  if (algorithm.name !== 'pbkdf2') return;
  const { digest, iterations, keyBytes = DIGEST_BYTES[digest] } = algorithm;
  checkWhole(problems, `${pointer}/keyBytes`, keyBytes, 1, DERIVED_KEY_BYTES_MAX);
  const most = pbkdf2IterationsMax(digest, keyBytes);
  checkWhole(problems, `${pointer}/iterations`, iterations, 1, most);
}

/** Most iterations for a derived key of so many bytes. */
export function pbkdf2IterationsMax(digest: Pbkdf2Digest, keyBytes: number): number {
  const blocks = Math.max(1, Math.ceil(keyBytes / DIGEST_BYTES[digest]));
  return Math.floor((digest === 'md4' ? PBKDF2_MD4_WORK_MAX : PBKDF2_WORK_MAX) / blocks);
}

function checkWhole(
  problems: Problems,
  pointer: string,
  value: number,
  min: number,
  max: number,
): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  problems.add(pointer, `must be a whole number from ${min} to ${max}`);
}
