import { timingSafeEqual } from 'node:crypto';
import { hashRaw } from '@node-rs/argon2';

/** argon2id as for secrets chosen by people. */
export const ARGON2ID = { memoryKiB: 19 * 1024, iterations: 2, parallelism: 1 } as const;

/** As `hash` of the library writes it; members in this order, Argon2 1.3. */
const PHC =
  /^\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,4}),p=(\d{1,3})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})$/;

export interface Argon2idHash {
  readonly memoryKiB: number;
  readonly iterations: number;
  readonly parallelism: number;
  readonly salt: Buffer;
  readonly key: Buffer;
}

/** What a hash in PHC form says; undefined for any other text. Pure. */
export function parseArgon2id(verifier: string): Argon2idHash | undefined {
  const [, memory, iterations, parallelism, salt = '', key = ''] = PHC.exec(verifier) ?? [];
  if (memory === undefined) return undefined;
  return {
    memoryKiB: Number(memory),
    iterations: Number(iterations),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, 'base64'),
    key: Buffer.from(key, 'base64'),
  };
}

/**
 * Whether a hash is of these bytes, on a thread of the pool. Not by `verify` of the library: it fails at once for a password that is not
 * UTF-8, which it has hashed all the same, and so would tell whose password is kept so.
 */
export async function verifyArgon2id(hash: Argon2idHash, secret: Uint8Array): Promise<boolean> {
  const found = await hashRaw(secret, {
    memoryCost: hash.memoryKiB,
    timeCost: hash.iterations,
    parallelism: hash.parallelism,
    outputLen: hash.key.length,
    salt: hash.salt,
  });
  return timingSafeEqual(found, hash.key);
}
