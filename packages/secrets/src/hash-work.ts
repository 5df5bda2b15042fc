import { randomBytes } from 'node:crypto';
import { assert } from '@sallyport/errors';
import { ARGON2ID, parseArgon2id } from './argon2id.ts';

/** What verifying costs, by kind and parameters: `argon2id <KiB> <iterations> <parallelism> <bytes>`, `bcrypt <cost>`, `pbkdf2 <digest> <iterations> <bytes>`. */
export type HashWork = string;

const BYTES = 32;

/** Of a password that is hashed here without anybody asking for another form. */
export const DEFAULT_WORK: HashWork = `argon2id ${ARGON2ID.memoryKiB} ${ARGON2ID.iterations} ${ARGON2ID.parallelism} ${BYTES}`;

/** The work of a verifier of cost `slow`; undefined where none is done: it is cheap, or of no form that is known. Pure. */
export function workOf(verifier: string): HashWork | undefined {
  const argon2id = parseArgon2id(verifier);
  if (argon2id !== undefined) {
    const { memoryKiB, iterations, parallelism, key } = argon2id;
    return `argon2id ${memoryKiB} ${iterations} ${parallelism} ${key.length}`;
  }
  if (verifier.startsWith('$2')) return `bcrypt ${Number(verifier.slice(4, 6))}`;
  const [algorithm, digest = '', iterations = '', , key = ''] = verifier.split('$');
  if (algorithm !== 'pbkdf2') return undefined;
  return `pbkdf2 ${digest} ${iterations} ${Buffer.from(key, 'base64').length}`;
}

const SALT_BYTES = 16;
/** Characters of salt and hash; of their alphabet the first is as good as any. */
const BCRYPT_TEXT = '.'.repeat(53);

/** A verifier that costs this work and is opened by nothing. */
export function decoyOf(work: HashWork): string {
  const [algorithm, ...parameters] = work.split(' ');
  const base64 = (bytes: number): string => randomBytes(bytes).toString('base64');
  if (algorithm === 'bcrypt') return `$2b$${(parameters[0] ?? '').padStart(2, '0')}$${BCRYPT_TEXT}`;
  if (algorithm === 'pbkdf2') {
    const [digest = '', iterations = '', bytes] = parameters;
    return ['pbkdf2', digest, iterations, base64(SALT_BYTES), base64(Number(bytes))].join('$');
  }
  assert(algorithm === 'argon2id', 'there is no other work');
  const [m = '', t = '', p = '', bytes] = parameters;
  const texts = [base64(SALT_BYTES), base64(Number(bytes))].map((one) => one.replace(/=+$/, ''));
  return ['', 'argon2id', 'v=19', `m=${m},t=${t},p=${p}`, ...texts].join('$');
}
