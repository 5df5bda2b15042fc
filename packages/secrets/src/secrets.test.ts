import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { HASH_QUEUE_MAX, SECRET_BYTES_MAX, SecretBox, SecretHasher } from './index.ts';

const key = randomBytes(32);
const box = new SecretBox(key);

describe('SecretBox', () => {
  it('refuses a key that is one byte short or long', () => {
    expect(() => new SecretBox(randomBytes(31))).toThrow(/32 bytes, it has 31/);
    expect(() => new SecretBox(randomBytes(33))).toThrow(/32 bytes, it has 33/);
  });

  it('does not open under another key, and names both keys', () => {
    const other = new SecretBox(randomBytes(32));
    expect(() => other.open(box.seal('v', 'credential:1'), 'credential:1')).toThrow(
      new RegExp(`under key ${box.keyId}, and secrets.key is ${other.keyId}`),
    );
  });

  it('does not open for another object', () => {
    expect(() => box.open(box.seal('v', 'credential:1'), 'credential:2')).toThrow(/does not open/);
  });

  it('does not open when one byte was changed', () => {
    const sealed = box.seal('verifier', 'a');
    const [format, id, body = ''] = sealed.split('.');
    const bytes = Buffer.from(body, 'base64');
    for (const index of [0, 12, bytes.length - 1]) {
      const changed = Buffer.from(bytes);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(() => box.open([format, id, changed.toString('base64')].join('.'), 'a')).toThrow(
        /does not open/,
      );
    }
  });

  it('refuses text that was never sealed', () => {
    for (const text of ['', 's1', 's1..', '$argon2id$v=19', `s1.${box.keyId}.`]) {
      expect(() => box.open(text, 'a'), text).toThrow();
    }
  });

  it('opens what the same key sealed, and never seals twice alike', () => {
    const again = SecretBox.fromBase64(key.toString('base64'));
    const sealed = box.seal('verifier ✓', 'credential:1');
    expect(again.open(sealed, 'credential:1')).toBe('verifier ✓');
    expect(box.seal('verifier ✓', 'credential:1')).not.toBe(sealed);
  });
});

describe('SecretHasher', () => {
  const hasher = new SecretHasher(box);

  it('does not verify a wrong, empty or overlong secret', async () => {
    const { secret, verifier } = hasher.generateSecret();
    expect(await hasher.verify(verifier, Buffer.from(`${secret}x`))).toBe(false);
    expect(await hasher.verify(verifier, Buffer.alloc(0))).toBe(false);
    const long = 'x'.repeat(SECRET_BYTES_MAX + 1);
    expect(await hasher.verify(hasher.machineVerifier(long), Buffer.from(long))).toBe(false);
    expect(await hasher.verify('', Buffer.from(secret))).toBe(false);
    expect(await hasher.verify('plain', Buffer.from('plain'))).toBe(false);
  });

  it('does not verify a machine secret under another deployment key', async () => {
    const other = new SecretHasher(new SecretBox(randomBytes(32)));
    const { secret, verifier } = hasher.generateSecret();
    expect(await other.verify(verifier, Buffer.from(secret))).toBe(false);
  });

  it('verifies what it made: machine secrets at the longest length, and argon2id', async () => {
    const longest = 'x'.repeat(SECRET_BYTES_MAX);
    expect(await hasher.verify(hasher.machineVerifier(longest), Buffer.from(longest))).toBe(true);
    const verifier = await hasher.hashPassword('correct horse');
    expect(verifier).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await hasher.verify(verifier, Buffer.from('correct horse'))).toBe(true);
    expect(await hasher.verify(verifier, Buffer.from('correct horsf'))).toBe(false);
  });

  it('sheds load past its queue and serves all that were let in', async () => {
    const small = new SecretHasher(box, { concurrencyMax: 1, queueMax: 2 });
    const verifier = await small.hashPassword('p');
    const outcomes = await Promise.allSettled(
      Array.from({ length: 4 }, () => small.verify(verifier, Buffer.from('p'))),
    );
    expect(outcomes.map((one) => one.status)).toEqual([
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
    ]);
    expect(outcomes[3]).toMatchObject({ reason: { code: 'hash_pool_full', retryable: true } });
    expect(await small.verify(verifier, Buffer.from('p'))).toBe(true);
    expect(HASH_QUEUE_MAX).toBe(64);
  });
});
