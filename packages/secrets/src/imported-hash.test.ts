import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  BCRYPT_COST_MAX,
  BCRYPT_COST_MIN,
  DERIVED_KEY_BYTES_MAX,
  importedVerifier,
  type PasswordHash,
  PBKDF2_MD4_WORK_MAX,
  PBKDF2_WORK_MAX,
  SALT_BYTES_MAX,
  SecretBox,
  SecretHasher,
} from './index.ts';

const hasher = new SecretHasher(new SecretBox(randomBytes(32)));

function stored(hash: PasswordHash): string {
  const parsed = importedVerifier(hash);
  if (!parsed.ok) throw new Error(`${parsed.member}: ${parsed.problem}`);
  return parsed.verifier;
}

const opens = (hash: PasswordHash, password: string | Uint8Array): Promise<boolean> =>
  hasher.verify(stored(hash), Buffer.from(password));

const hex = (bytes: number): string => 'ab'.repeat(bytes);
const pbkdf2 = { algorithm: 'pbkdf2', digest: 'sha256', iterations: 1, salt: 's' } as const;
const bcrypt = (cost: string): PasswordHash => ({
  algorithm: 'bcrypt',
  hash: `$2b$${cost}$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW`,
});
const mosquitto = (iterations: number, key = 64): PasswordHash => ({
  algorithm: 'mosquitto',
  hash: `$7$${iterations}$c2FsdA==$${Buffer.alloc(key, 1).toString('base64')}`,
});

describe('a hash that is refused', () => {
  it.each([
    ['an empty password', { algorithm: 'plain', hash: '' }, 'hash'],
    ['a password too long to be shown', { algorithm: 'plain', hash: 'é'.repeat(2049) }, 'hash'],
    ['a salt that nothing is done with', { algorithm: 'plain', hash: 'x', salt: 's' }, 'salt'],
    ['iterations of a digest', { algorithm: 'md5', hash: hex(16), iterations: 5 }, 'iterations'],
    ['a digest that is too short', { algorithm: 'sha256', hash: hex(31) }, 'hash'],
    ['a digest that is too long', { algorithm: 'sha256', hash: hex(33) }, 'hash'],
    ['half a byte', { algorithm: 'md5', hash: `${hex(15)}a` }, 'hash'],
    ['no hexadecimal digits', { algorithm: 'md5', hash: 'zz'.repeat(16) }, 'hash'],
    ['no base64', { algorithm: 'md5', hash: '!!', hashEncoding: 'base64' }, 'hash'],
    [
      'no hexadecimal salt',
      { algorithm: 'md5', hash: hex(16), salt: 'x', saltEncoding: 'hex' },
      'salt',
    ],
    [
      'a salt that is too long',
      { algorithm: 'md5', hash: hex(16), salt: 'x'.repeat(SALT_BYTES_MAX + 1) },
      'salt',
    ],
    ['bcrypt that is none', { algorithm: 'bcrypt', hash: '$2b$10$abc' }, 'hash'],
    [
      'bcrypt of the faulty kind',
      { algorithm: 'bcrypt', hash: bcrypt('05').hash.replace('2b', '2x') },
      'hash',
    ],
    ['bcrypt that costs too much', bcrypt(String(BCRYPT_COST_MAX + 1)), 'hash'],
    ['bcrypt that costs next to nothing', bcrypt(`0${BCRYPT_COST_MIN - 1}`), 'hash'],
    ['pbkdf2 without a digest', { algorithm: 'pbkdf2', hash: hex(32), iterations: 1 }, 'digest'],
    [
      'pbkdf2 without iterations',
      { algorithm: 'pbkdf2', hash: hex(32), digest: 'sha1' },
      'iterations',
    ],
    ['no iteration', { ...pbkdf2, hash: hex(32), iterations: 0 }, 'iterations'],
    ['half an iteration', { ...pbkdf2, hash: hex(32), iterations: 1.5 }, 'iterations'],
    [
      'a hostile count',
      { ...pbkdf2, hash: hex(32), iterations: PBKDF2_WORK_MAX + 1 },
      'iterations',
    ],
    [
      'a count that the key multiplies',
      { ...pbkdf2, hash: hex(33), iterations: PBKDF2_WORK_MAX / 2 + 1 },
      'iterations',
    ],
    ['an empty key', { ...pbkdf2, hash: '' }, 'hash'],
    ['a key that is too long', { ...pbkdf2, hash: hex(DERIVED_KEY_BYTES_MAX + 1) }, 'hash'],
    ['mosquitto that is none', { algorithm: 'mosquitto', hash: '$5$c2FsdA==$YQ==' }, 'hash'],
    [
      'more iterations of MD4, which runs between other things',
      { ...pbkdf2, digest: 'md4', hash: hex(16), iterations: PBKDF2_MD4_WORK_MAX + 1 },
      'iterations',
    ],
    ['mosquitto with a hostile count', mosquitto(PBKDF2_WORK_MAX + 1), 'hash'],
    ['mosquitto with a short digest', { algorithm: 'mosquitto', hash: '$6$c2FsdA==$YQ==' }, 'hash'],
  ] as [string, PasswordHash, string][])('%s', (_, hash, member) => {
    expect(importedVerifier(hash)).toMatchObject({ ok: false, member });
  });

  it('names the limit that it is over', () => {
    expect(importedVerifier({ ...pbkdf2, hash: hex(64), iterations: 500_001 })).toMatchObject({
      problem: 'must have at most 500000 iterations for a key of 64 bytes',
    });
    expect(importedVerifier(bcrypt('15'))).toMatchObject({
      problem: 'must have a cost of 4 to 14, it has 15',
    });
  });

  it('takes each of them at its limit', () => {
    const limits: PasswordHash[] = [
      { ...pbkdf2, hash: hex(32), iterations: PBKDF2_WORK_MAX },
      { ...pbkdf2, digest: 'md4', hash: hex(16), iterations: PBKDF2_MD4_WORK_MAX },
      { ...pbkdf2, hash: hex(DERIVED_KEY_BYTES_MAX) },
      { algorithm: 'md5', hash: hex(16), salt: 'x'.repeat(SALT_BYTES_MAX) },
      bcrypt(String(BCRYPT_COST_MAX)),
      bcrypt(`0${BCRYPT_COST_MIN}`),
      mosquitto(PBKDF2_WORK_MAX),
    ];
    for (const hash of limits) expect(importedVerifier(hash).ok, hash.hash).toBe(true);
  });
});

/** Published vectors, and what the tools themselves have made. */
const vectors: [string, PasswordHash, string | Uint8Array][] = [
  ['plain', { algorithm: 'plain', hash: 'pässword' }, 'pässword'],
  ['plain, as long as may be', { algorithm: 'plain', hash: 'é'.repeat(2048) }, 'é'.repeat(2048)],
  // RFC 1321 §A.5, FIPS 180-4 examples ("abc").
  ['md5', { algorithm: 'md5', hash: '900150983cd24fb0d6963f7d28e17f72' }, 'abc'],
  ['sha1', { algorithm: 'sha1', hash: 'A9993E364706816ABA3E25717850C26C9CD0D89D' }, 'abc'],
  [
    'sha256',
    {
      algorithm: 'sha256',
      hash: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    },
    'abc',
  ],
  [
    'sha512',
    {
      algorithm: 'sha512',
      hash:
        'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a' +
        '2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    },
    'abc',
  ],
  // EMQX, emqx_passwd_SUITE.
  [
    'sha256 behind its salt',
    {
      algorithm: 'sha256',
      hash: 'ac63a624e7074776d677dd61a003b8c803eb11db004d0ec6ae032a5d7c9c5caf',
      salt: 'salt',
      saltPosition: 'prefix',
    },
    'sha256',
  ],
  [
    'sha256 before its salt',
    {
      algorithm: 'sha256',
      hash: 'bdb835c2dfe825d07015a179d5414c62a2a21c9dda5b94cfa4cc957b02bbcdd0',
      salt: 'salt',
      saltPosition: 'suffix',
    },
    'pw1',
  ],
  [
    'sha256 without its salt',
    {
      algorithm: 'sha256',
      hash: 'c592df4a86933b92addc9842402ddf198c638ea9be58916ee6e3734e1e3152f8',
      salt: 'salt',
      saltPosition: 'disable',
    },
    'pw1',
  ],
  [
    'sha1 behind its salt',
    { algorithm: 'sha1', hash: 'c665d4c0a9e5498806b7d9fd0b417d272853660e', salt: 'salt' },
    'sha',
  ],
  // RFC 3962 §B, as EMQX writes it.
  [
    'pbkdf2 with SHA-1',
    {
      algorithm: 'pbkdf2',
      digest: 'sha1',
      iterations: 2,
      salt: 'ATHENA.MIT.EDUraeburn',
      hash: '01dbee7f4a9e243e988b62c73cda935da05378b93244ec8f48a99e61ad799d86',
    },
    'password',
  ],
  // By OpenSSL with its legacy provider.
  [
    'pbkdf2 with MD4',
    {
      algorithm: 'pbkdf2',
      digest: 'md4',
      iterations: 4096,
      salt: 'salt',
      hash: '3fe119f73e5297311b6597423ccb31677de28fd38cdffb435eadbdd9741fb4b8',
    },
    'password',
  ],
  [
    'pbkdf2 with SHA-1 and a shorter key',
    {
      algorithm: 'pbkdf2',
      digest: 'sha1',
      iterations: 2,
      salt: 'ATHENA.MIT.EDUraeburn',
      hash: '01dbee7f4a9e243e988b62c73cda935da05378b9',
    },
    'password',
  ],
  [
    'pbkdf2 with SHA-256',
    {
      algorithm: 'pbkdf2',
      digest: 'sha256',
      iterations: 4096,
      salt: 'salt',
      hash: 'e85355dcc93a60fcfe353b900ed2a0cc6157c66c553940f544f8d00cf53f3015',
    },
    'pw1',
  ],
  // RFC 6070.
  [
    'pbkdf2 with NUL bytes',
    {
      algorithm: 'pbkdf2',
      digest: 'sha1',
      iterations: 4096,
      salt: Buffer.from('sa\0lt').toString('base64'),
      saltEncoding: 'base64',
      hash: '56fa6aa75548099dcc37d7f03425e0c3',
    },
    'pass\0word',
  ],
  // Openwall crypt_blowfish, wrapper.c.
  [
    'bcrypt 2a',
    { algorithm: 'bcrypt', hash: '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW' },
    'U*U',
  ],
  [
    'bcrypt 2y of a byte that is no text',
    { algorithm: 'bcrypt', hash: '$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq' },
    Uint8Array.of(0xa3),
  ],
  // mosquitto_passwd 2.0.
  [
    'mosquitto $7$',
    {
      algorithm: 'mosquitto',
      hash:
        '$7$101$oNyD4JL1XqdQ0M8Q$wnjUSmyEXVOaCEsFU4GAnOCckdviePA8pKiUA4F9Gn9AN20SChBWJy4HDjzrXkAs' +
        'IXbYvKUon49LwuOiTxhndg==',
    },
    'secret',
  ],
  [
    'mosquitto $6$',
    {
      algorithm: 'mosquitto',
      hash:
        '$6$t/bIBkmkeCKGeXtE$/2VBgF7bYguMMhRl5sW6/SapIxfK4UQF45rIva6w6EoSFRR+ewQeIIICQF2GXAcYimc2' +
        'isx2lIDgIAH09kKJyA==',
    },
    'secret',
  ],
];

describe('a hash that is taken', () => {
  it.each(vectors)('%s does not open with another password', async (_, hash, password) => {
    const right = Buffer.from(password);
    for (const wrong of [Buffer.alloc(0), Buffer.concat([right, right]), right.subarray(1)]) {
      expect(await opens(hash, wrong), wrong.toString('hex')).toBe(false);
    }
  });

  it.each(vectors)('%s opens with its own', async (_, hash, password) => {
    expect(await opens(hash, password)).toBe(true);
  });

  it('takes salts and digests in every encoding', async () => {
    const salt = Buffer.from([0, 255, 10, 13]);
    const digest = createHash('sha256').update(salt).update('pw').digest();
    for (const encoding of ['hex', 'base64'] as const) {
      const hash = {
        algorithm: 'sha256',
        hash: digest.toString(encoding),
        hashEncoding: encoding,
        salt: salt.toString(encoding),
        saltEncoding: encoding,
      } as const;
      expect(await opens(hash, 'pw')).toBe(true);
    }
    // Without padding, as many write it.
    const bare = digest.toString('base64').replace(/=+$/, '');
    const saltText = salt.toString('hex');
    const hash = { algorithm: 'sha256', hash: bare, hashEncoding: 'base64' } as const;
    expect(await opens({ ...hash, salt: saltText, saltEncoding: 'hex' }, 'pw')).toBe(true);
  });

  it('is told apart by cost, so that only what is slow waits for the pool', () => {
    const costs = vectors.map(([name, hash]) => [name, hasher.costOf(stored(hash))] as const);
    const slow = costs.filter(([, cost]) => cost === 'slow').map(([name]) => name);
    expect(slow).toEqual([
      'pbkdf2 with SHA-1',
      'pbkdf2 with MD4',
      'pbkdf2 with SHA-1 and a shorter key',
      'pbkdf2 with SHA-256',
      'pbkdf2 with NUL bytes',
      'bcrypt 2a',
      'bcrypt 2y of a byte that is no text',
      'mosquitto $7$',
    ]);
  });

  it('sheds load as every slow hash does', async () => {
    const small = new SecretHasher(new SecretBox(randomBytes(32)), {
      concurrencyMax: 1,
      queueMax: 0,
    });
    const verifier = stored(bcrypt('05'));
    const [first, second] = await Promise.allSettled([
      small.verify(verifier, Buffer.from('a')),
      small.verify(verifier, Buffer.from('a')),
    ]);
    expect(first).toMatchObject({ status: 'fulfilled' });
    expect(second).toMatchObject({ reason: { code: 'hash_pool_full' } });
  });
});
