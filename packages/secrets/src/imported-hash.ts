import { createHash, timingSafeEqual } from 'node:crypto';
import { verify as verifyBcrypt } from '@node-rs/bcrypt';
import {
  DERIVED_KEY_BYTES_MAX,
  DIGEST_BYTES,
  type ImportedAlgorithm,
  type Pbkdf2Digest,
  pbkdf2IterationsMax,
  type SaltPosition,
  SIMPLE_DIGESTS,
  type SimpleDigest,
} from '@sallyport/domain';
import { derivedKey } from './derived-key.ts';
import { SECRET_BYTES_MAX } from './secret-limit.ts';

/**
 * Highest cost of bcrypt, as a power of two: about a second of one thread, at every login and at every guess. EMQX takes any cost;
 * 31, the highest, is a day and a half, which whoever knows the name could ask for again and again.
 */
export const BCRYPT_COST_MAX = 14;
export const BCRYPT_COST_MIN = 4;
/** Longest salt, in bytes. */
export const SALT_BYTES_MAX = 256;

export const BYTE_ENCODINGS = ['text', 'hex', 'base64'] as const;

export type ByteEncoding = (typeof BYTE_ENCODINGS)[number];

/** A password as somebody else has kept it. */
export interface PasswordHash {
  readonly algorithm: ImportedAlgorithm;
  /** `plain`: the password. bcrypt and Mosquitto: the whole text. Else the digest or the derived key. */
  readonly hash: string;
  /** How digest or derived key are written; hexadecimal when absent. */
  readonly hashEncoding?: 'hex' | 'base64';
  /** Of digests and PBKDF2; empty when absent. */
  readonly salt?: string;
  /** `text` when absent: its bytes of UTF-8 are the salt, also where they are hexadecimal digits. */
  readonly saltEncoding?: ByteEncoding;
  /** Of digests: before the password when absent. */
  readonly saltPosition?: SaltPosition;
  /** Of PBKDF2. */
  readonly digest?: Pbkdf2Digest;
  readonly iterations?: number;
}

export type ParsedHash =
  /** The text to seal. */
  | { readonly ok: true; readonly verifier: string }
  | { readonly ok: false; readonly member: keyof PasswordHash; readonly problem: string };

type Refused = Extract<ParsedHash, { ok: false }>;

const refuse = (member: keyof PasswordHash, problem: string): Refused => ({
  ok: false,
  member,
  problem,
});

const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;
const MOSQUITTO_PBKDF2 = /^\$7\$([1-9]\d{0,9})\$([A-Za-z0-9+/]+=*)\$([A-Za-z0-9+/]+=*)$/;
const MOSQUITTO_SHA512 = /^\$6\$([A-Za-z0-9+/]+=*)\$([A-Za-z0-9+/]+=*)$/;

/**
 * Checks a hash that was brought from elsewhere and gives the text to seal. What it costs to verify is bounded here, because it is
 * paid at every login. Pure; nothing is hashed.
 */
export function importedVerifier(wanted: PasswordHash): ParsedHash {
  const foreign = foreignMember(wanted);
  if (foreign !== undefined) return refuse(foreign, `means nothing with ${wanted.algorithm}`);
  const { algorithm } = wanted;
  switch (algorithm) {
    case 'plain': {
      if (wanted.hash === '') return refuse('hash', 'must not be empty');
      // Of a longer one nobody could prove that they know it.
      if (Buffer.byteLength(wanted.hash) > SECRET_BYTES_MAX) {
        return refuse('hash', `must be at most ${SECRET_BYTES_MAX} bytes of UTF-8`);
      }
      return { ok: true, verifier: `plain$${Buffer.from(wanted.hash).toString('base64')}` };
    }
    case 'bcrypt':
      return bcryptVerifier(wanted.hash);
    case 'mosquitto':
      return mosquittoVerifier(wanted.hash);
    case 'pbkdf2':
      return pbkdf2Verifier(wanted);
    default:
      return digestVerifier(algorithm, wanted);
  }
}

const members: Readonly<Record<ImportedAlgorithm, readonly (keyof PasswordHash)[]>> = (() => {
  const digest = ['hashEncoding', 'salt', 'saltEncoding', 'saltPosition'] as const;
  return {
    plain: [],
    bcrypt: [],
    mosquitto: [],
    md5: digest,
    sha1: digest,
    sha256: digest,
    sha512: digest,
    pbkdf2: ['hashEncoding', 'salt', 'saltEncoding', 'digest', 'iterations'],
  };
})();

/** A member that would be ignored: whoever wrote it expects it to mean something. */
function foreignMember(wanted: PasswordHash): keyof PasswordHash | undefined {
  const known: readonly string[] = ['algorithm', 'hash', ...members[wanted.algorithm]];
  const given = Object.keys(wanted) as (keyof PasswordHash)[]; // The keys of its type.
  return given.find((key) => wanted[key] !== undefined && !known.includes(key));
}

function bcryptVerifier(hash: string): ParsedHash {
  const [, cost] = BCRYPT.exec(hash) ?? [];
  // $2x$ is the label of an implementation with a fault that we do not repeat.
  if (cost === undefined) return refuse('hash', 'must be a hash of bcrypt: $2a$, $2b$ or $2y$');
  if (Number(cost) > BCRYPT_COST_MAX || Number(cost) < BCRYPT_COST_MIN) {
    const range = `${BCRYPT_COST_MIN} to ${BCRYPT_COST_MAX}`;
    return refuse('hash', `must have a cost of ${range}, it has ${Number(cost)}`);
  }
  return { ok: true, verifier: hash };
}

function mosquittoVerifier(hash: string): ParsedHash {
  const [, iterations, salt, key] = MOSQUITTO_PBKDF2.exec(hash) ?? [];
  if (iterations !== undefined && salt !== undefined && key !== undefined) {
    return derived({ digest: 'sha512', iterations: Number(iterations) }, salt, key, 'hash');
  }
  const [, simpleSalt, digest] = MOSQUITTO_SHA512.exec(hash) ?? [];
  if (simpleSalt === undefined || digest === undefined) {
    return refuse('hash', 'must be a hash of mosquitto_passwd: $7$… or $6$…');
  }
  return digestVerifier('sha512', {
    algorithm: 'sha512',
    hash: digest,
    hashEncoding: 'base64',
    salt: simpleSalt,
    saltEncoding: 'base64',
    saltPosition: 'suffix',
  });
}

function digestVerifier(digest: SimpleDigest, wanted: PasswordHash): ParsedHash {
  const { salt = '', saltEncoding = 'text', saltPosition = 'prefix' } = wanted;
  const found = decoded(wanted.hash, wanted.hashEncoding ?? 'hex');
  if (found?.length !== DIGEST_BYTES[digest]) {
    return refuse('hash', `must be ${DIGEST_BYTES[digest]} bytes, written as hashEncoding says`);
  }
  const saltBytes = decoded(saltPosition === 'disable' ? '' : salt, saltEncoding);
  if (saltBytes === undefined) return refuse('salt', `must be written in ${saltEncoding}`);
  if (saltBytes.length > SALT_BYTES_MAX) {
    return refuse('salt', `must be at most ${SALT_BYTES_MAX} bytes`);
  }
  const texts = [saltBytes, found].map((one) => one.toString('base64'));
  return { ok: true, verifier: [digest, saltPosition, ...texts].join('$') };
}

function pbkdf2Verifier(wanted: PasswordHash): ParsedHash {
  const { digest, iterations, salt = '', saltEncoding = 'text' } = wanted;
  if (digest === undefined) return refuse('digest', 'is needed by pbkdf2');
  if (iterations === undefined) return refuse('iterations', 'is needed by pbkdf2');
  const key = decoded(wanted.hash, wanted.hashEncoding ?? 'hex');
  if (key === undefined) return refuse('hash', 'must be written as hashEncoding says');
  const saltBytes = decoded(salt, saltEncoding);
  if (saltBytes === undefined) return refuse('salt', `must be written in ${saltEncoding}`);
  const texts = [saltBytes, key].map((one) => one.toString('base64')) as [string, string]; // Two of two.
  return derived({ digest, iterations }, ...texts, 'iterations');
}

function derived(
  { digest, iterations }: { readonly digest: Pbkdf2Digest; readonly iterations: number },
  salt: string,
  key: string,
  blamed: 'iterations' | 'hash',
): ParsedHash {
  const keyBytes = Buffer.from(key, 'base64').length;
  if (keyBytes === 0 || keyBytes > DERIVED_KEY_BYTES_MAX) {
    return refuse('hash', `must be 1 to ${DERIVED_KEY_BYTES_MAX} bytes`);
  }
  if (Buffer.from(salt, 'base64').length > SALT_BYTES_MAX) {
    return refuse('salt', `must be at most ${SALT_BYTES_MAX} bytes`);
  }
  if (!Number.isSafeInteger(iterations) || iterations < 1) {
    return refuse(blamed, 'must have at least 1 iteration');
  }
  const most = pbkdf2IterationsMax(digest, keyBytes);
  if (iterations > most) {
    return refuse(blamed, `must have at most ${most} iterations for a key of ${keyBytes} bytes`);
  }
  return { ok: true, verifier: ['pbkdf2', digest, String(iterations), salt, key].join('$') };
}

/** The bytes behind a text; undefined when it is not written so. */
function decoded(text: string, encoding: ByteEncoding): Buffer | undefined {
  if (encoding === 'text') return Buffer.from(text);
  if (encoding === 'hex') {
    return /^([0-9a-f]{2})*$/i.test(text) ? Buffer.from(text, 'hex') : undefined;
  }
  const bare = text.replace(/=+$/, '');
  const bytes = Buffer.from(bare, 'base64');
  return bytes.toString('base64').replace(/=+$/, '') === bare ? bytes : undefined;
}

/** What a verifier of `importedVerifier` costs to check; undefined for any other text. */
export function importedCost(verifier: string): 'fast' | 'slow' | undefined {
  if (verifier.startsWith('$2')) return 'slow';
  const [algorithm = ''] = verifier.split('$', 1);
  if (algorithm === 'pbkdf2') return 'slow';
  return algorithm === 'plain' || isSimple(algorithm) ? 'fast' : undefined;
}

const isSimple = (name: string): name is SimpleDigest =>
  (SIMPLE_DIGESTS as readonly string[]).includes(name);

/** Checks one of cost `fast`: microseconds. */
export function verifyImportedFast(verifier: string, secret: Uint8Array): boolean {
  const [algorithm = '', ...parts] = verifier.split('$');
  if (algorithm === 'plain') {
    // Equal lengths for the comparison, and nothing told about how long the right one is.
    return sameBytes(sha256(Buffer.from(parts[0] ?? '', 'base64')), sha256(secret));
  }
  const [position, salt = '', expected = ''] = parts;
  if (!isSimple(algorithm)) return false;
  const saltBytes = Buffer.from(salt, 'base64');
  const input = position === 'suffix' ? [secret, saltBytes] : [saltBytes, secret];
  const found = createHash(algorithm).update(Buffer.concat(input)).digest();
  return sameBytes(found, Buffer.from(expected, 'base64'));
}

/** Checks one of cost `slow`, on a thread of the pool; PBKDF2 with MD4 in slices. */
export async function verifyImportedSlow(verifier: string, secret: Uint8Array): Promise<boolean> {
  if (verifier.startsWith('$2')) return verifyBcrypt(Buffer.from(secret), verifier);
  const [, digest = '', iterations = '', salt = '', key = ''] = verifier.split('$');
  const expected = Buffer.from(key, 'base64');
  const found = await derivedKey(secret, Buffer.from(salt, 'base64'), {
    digest,
    iterations: Number(iterations),
    keyBytes: expected.length,
  });
  return found !== undefined && sameBytes(found, expected);
}

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

const sameBytes = (a: Buffer, b: Buffer): boolean => a.length === b.length && timingSafeEqual(a, b);
