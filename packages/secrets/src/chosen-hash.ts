import { createHash, randomBytes } from 'node:crypto';
import { hash as bcryptHash } from '@node-rs/bcrypt';
import { DIGEST_BYTES, type HashAlgorithm } from '@sallyport/domain';
import { assert, unreachable } from '@sallyport/errors';
import { derivedKey } from './derived-key.ts';
import { importedVerifier, type PasswordHash } from './imported-hash.ts';

/** Longest password that bcrypt looks at, in bytes; of a longer one it would silently take the beginning. */
export const BCRYPT_PASSWORD_BYTES_MAX = 72;

/** Random bytes of a salt; its text in hexadecimal is what is hashed, as EMQX has it. */
const SALT_BYTES = 16;

/** A password in the form that an authenticator wants, which is verified as an imported one is. */
export async function chosenHash(
  algorithm: Exclude<HashAlgorithm, { readonly name: 'argon2id' }>,
  password: string | Uint8Array,
): Promise<string> {
  const parsed = importedVerifier(await hashed(algorithm, Buffer.from(password)));
  assert(parsed.ok, 'what the domain lets an authenticator ask for can be verified');
  return parsed.verifier;
}

async function hashed(
  algorithm: Exclude<HashAlgorithm, { readonly name: 'argon2id' }>,
  password: Buffer,
): Promise<PasswordHash> {
  const salt = randomBytes(SALT_BYTES).toString('hex');
  switch (algorithm.name) {
    case 'plain':
      return { algorithm: 'plain', hash: password.toString() };
    case 'bcrypt': {
      assert(password.length <= BCRYPT_PASSWORD_BYTES_MAX, 'the caller has looked at the length');
      return { algorithm: 'bcrypt', hash: await bcryptHash(password, algorithm.saltRounds) };
    }
    case 'pbkdf2': {
      const { digest, iterations, keyBytes = DIGEST_BYTES[digest] } = algorithm;
      const options = { digest, iterations, keyBytes };
      const key = await derivedKey(password, Buffer.from(salt), options);
      assert(key !== undefined, 'every digest of the domain can be computed');
      return { algorithm: 'pbkdf2', digest, iterations, salt, hash: key.toString('hex') };
    }
    case 'md5':
    case 'sha1':
    case 'sha256':
    case 'sha512': {
      const { name, saltPosition } = algorithm;
      const before = saltPosition === 'prefix' ? salt : '';
      const behind = saltPosition === 'suffix' ? salt : '';
      const digest = createHash(name).update(before).update(password).update(behind);
      return { algorithm: name, hash: digest.digest('hex'), salt, saltPosition };
    }
    default:
      return unreachable(algorithm);
  }
}
