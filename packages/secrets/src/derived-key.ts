import { getHashes, pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import type { Pbkdf2Digest } from '@sallyport/domain';
import { pbkdf2Md4 } from './md4.ts';

const pbkdf2Async = promisify(pbkdf2);

/** PBKDF2 with any digest that we know, on a thread of the pool; MD4 in slices. Undefined for a digest that we do not. */
export async function derivedKey(
  password: Uint8Array,
  salt: Uint8Array,
  options: {
    readonly digest: Pbkdf2Digest | (string & {});
    readonly iterations: number;
    readonly keyBytes: number;
  },
): Promise<Buffer | undefined> {
  const { digest, iterations, keyBytes } = options;
  if (digest === 'md4') return pbkdf2Md4(password, salt, options);
  if (!getHashes().includes(digest)) return undefined;
  return pbkdf2Async(password, salt, iterations, keyBytes, digest);
}
