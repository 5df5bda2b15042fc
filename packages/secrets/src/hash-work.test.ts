import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { decoyOf, DEFAULT_WORK, workOf } from './hash-work.ts';
import { importedVerifier } from './imported-hash.ts';
import { SecretBox } from './secret-box.ts';
import { SecretHasher } from './secret-hasher.ts';

const hasher = new SecretHasher(new SecretBox(randomBytes(32)));
const pbkdf2 = { name: 'pbkdf2', digest: 'sha512', iterations: 10, keyBytes: 20 } as const;
const works = [DEFAULT_WORK, 'bcrypt 4', 'pbkdf2 sha512 10 20', 'pbkdf2 md4 10 16'];

describe('the work of a verifier', () => {
  it('is none where it is cheap to check, and where the form is not known', () => {
    const digest = importedVerifier({ algorithm: 'md5', hash: 'ab'.repeat(16) });
    for (const verifier of [
      hasher.machineVerifier('secret'),
      digest.ok ? digest.verifier : '',
      'plain$eA==',
      '$argon2id$v=16$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAA',
      '',
    ]) {
      expect(workOf(verifier), verifier).toBeUndefined();
    }
  });

  it('is told by kind and parameters', async () => {
    expect(workOf(await hasher.hashPassword('p'))).toBe(DEFAULT_WORK);
    const bcrypt = await hasher.hashPassword('p', { name: 'bcrypt', saltRounds: 5 });
    expect(workOf(bcrypt)).toBe('bcrypt 5');
    expect(workOf(await hasher.hashPassword('p', pbkdf2))).toBe('pbkdf2 sha512 10 20');
  });

  it.each(works)('%s is done by a decoy that nothing opens', async (work) => {
    const decoy = decoyOf(work);
    expect(workOf(decoy)).toBe(work);
    for (const secret of ['', 'a', 'a\0b', 'a'.repeat(100)]) {
      expect(await hasher.verify(decoy, Buffer.from(secret))).toBe(false);
    }
  });
});

describe('a password that is not UTF-8', () => {
  const binary = Uint8Array.of(0xff, 0xfe, 0);

  it('is wrong for every kind of hash, and no error tells which (threat I4)', async () => {
    for (const work of works) expect(await hasher.verify(decoyOf(work), binary), work).toBe(false);
  });

  it('is right for its own argon2id', async () => {
    const verifier = await hasher.hashPassword(binary);
    expect(await hasher.verify(verifier, binary)).toBe(true);
    expect(await hasher.verify(verifier, Uint8Array.of(0xff, 0xfd, 0))).toBe(false);
  });
});
