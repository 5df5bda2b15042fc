import { createHash, randomBytes } from 'node:crypto';
import type { HashAlgorithm } from '@sallyport/domain';
import { describe, expect, it } from 'vitest';
import { BCRYPT_PASSWORD_BYTES_MAX, SecretBox, SecretHasher } from './index.ts';

const hasher = new SecretHasher(new SecretBox(randomBytes(32)));

const algorithms: readonly HashAlgorithm[] = [
  { name: 'argon2id' },
  { name: 'plain', saltPosition: 'disable' },
  ...(['md5', 'sha1', 'sha256', 'sha512'] as const).flatMap((name) =>
    (['prefix', 'suffix', 'disable'] as const).map((saltPosition) => ({ name, saltPosition })),
  ),
  { name: 'bcrypt', saltRounds: 5 },
  { name: 'pbkdf2', digest: 'sha256', iterations: 2 },
  { name: 'pbkdf2', digest: 'ripemd160', iterations: 2, keyBytes: 33 },
];

describe('a password that is hashed as an authenticator wants it', () => {
  it.each(algorithms)('%j opens, and no other does', async (algorithm) => {
    const verifier = await hasher.hashPassword('a password, ü', algorithm);
    expect(await hasher.verify(verifier, Buffer.from('a password, ü'))).toBe(true);
    for (const wrong of ['a password, u', '', 'a password, ü ']) {
      expect(await hasher.verify(verifier, Buffer.from(wrong))).toBe(false);
    }
  });

  it('has a salt of its own: 32 hexadecimal digits, whose text is what is hashed', async () => {
    const wanted = { name: 'sha256', saltPosition: 'suffix' } as const;
    const [one, two] = [
      await hasher.hashPassword('p', wanted),
      await hasher.hashPassword('p', wanted),
    ];
    expect(one).not.toBe(two);
    const [name, position, salt = '', digest] = one.split('$');
    const text = Buffer.from(salt, 'base64').toString();
    expect([name, position]).toEqual(['sha256', 'suffix']);
    expect(text).toMatch(/^[0-9a-f]{32}$/);
    expect(digest).toBe(createHash('sha256').update(`p${text}`).digest('base64'));
  });

  it('is the whole of it: bcrypt takes none of which it would drop the end', async () => {
    const algorithm = { name: 'bcrypt', saltRounds: 5 } as const;
    const longest = 'x'.repeat(BCRYPT_PASSWORD_BYTES_MAX);
    const verifier = await hasher.hashPassword(longest, algorithm);
    expect(await hasher.verify(verifier, Buffer.from(longest))).toBe(true);
    await expect(hasher.hashPassword(`${longest}x`, algorithm)).rejects.toThrow();
  });
});
