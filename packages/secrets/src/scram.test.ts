import { createHash, createHmac, randomBytes } from 'node:crypto';
import { SCRAM_MECHANISMS, type ScramMechanism } from '@sallyport/domain';
import { describe, expect, it } from 'vitest';
import {
  checkScramProof,
  deriveScram,
  formatScramVerifier,
  parseScramVerifier,
  SCRAM_ITERATIONS,
  SCRAM_ITERATIONS_MIN,
  SCRAM_SALT_BYTES,
  scramKeyBytes,
  SecretBox,
  SecretHasher,
} from './index.ts';

/** RFC 7677 §3, word for word. */
const RFC7677 = {
  clientFirstBare: 'n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverFirst:
    'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  withoutProof: 'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  proof: 'dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  signature: '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
};

const of7677 = () => ({
  authMessage: [RFC7677.clientFirstBare, RFC7677.serverFirst, RFC7677.withoutProof].join(','),
  proof: Buffer.from(RFC7677.proof, 'base64'),
});

const derive7677 = (password = 'pencil') =>
  deriveScram(
    {
      mechanism: 'SCRAM-SHA-256',
      iterations: 4096,
      salt: Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'),
    },
    password,
  );

describe('checkScramProof', () => {
  it('refuses a proof that is changed in any bit, too short, too long or empty', async () => {
    const verifier = await derive7677();
    const { authMessage, proof } = of7677();
    for (let bit = 0; bit < proof.length * 8; bit++) {
      const changed = Buffer.from(proof);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(checkScramProof(verifier, { authMessage, proof: changed }), `${bit}`).toBeUndefined();
    }
    for (const other of [proof.subarray(1), Buffer.concat([proof, proof]), Buffer.alloc(0)]) {
      expect(checkScramProof(verifier, { authMessage, proof: other })).toBeUndefined();
    }
  });

  it('refuses a proof for another exchange, and of another password', async () => {
    const { authMessage, proof } = of7677();
    const elsewhere = authMessage.replace('$k0', '$k1');
    expect(checkScramProof(await derive7677(), { authMessage: elsewhere, proof })).toBeUndefined();
    expect(checkScramProof(await derive7677('Pencil'), { authMessage, proof })).toBeUndefined();
  });

  it('RFC 7677 §3 the example is accepted, and signed as it says', async () => {
    const signature = checkScramProof(await derive7677(), of7677());
    expect(signature?.toString('base64')).toBe(RFC7677.signature);
  });

  it.each([...SCRAM_MECHANISMS])(
    '%s accepts what a client computes by RFC 5802 §3',
    async (name) => {
      const digest = { 'SCRAM-SHA-256': 'sha256', 'SCRAM-SHA-512': 'sha512' }[name];
      const salt = randomBytes(16);
      const verifier = await deriveScram({ mechanism: name, iterations: 4096, salt }, 'pencil');
      // Hi() of RFC 5802 §2.2 by hand, not by pbkdf2.
      const hmac = (key: Buffer, text: string | Buffer) =>
        createHmac(digest, key).update(text).digest();
      const xor = (a: Buffer, b: Buffer) => Buffer.from(a.map((byte, at) => byte ^ (b[at] ?? 0)));
      const password = Buffer.from('pencil');
      let block = hmac(password, Buffer.concat([salt, Buffer.from([0, 0, 0, 1])]));
      let salted = block;
      for (let i = 1; i < 4096; i++) salted = xor(salted, (block = hmac(password, block)));
      const clientKey = hmac(salted, 'Client Key');
      const storedKey = createHash(digest).update(clientKey).digest();
      const proof = xor(clientKey, hmac(storedKey, 'auth'));
      const expected = hmac(hmac(salted, 'Server Key'), 'auth');
      expect(checkScramProof(verifier, { authMessage: 'auth', proof })).toEqual(expected);
      expect(proof.length).toBe(scramKeyBytes(name));
    },
  );
});

describe('the stored form', () => {
  it('is read back as it was, and is no verifier in any other form', async () => {
    const verifier = await derive7677();
    const text = formatScramVerifier(verifier);
    expect(text).toMatch(/^SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$[^$:]{44}:[^$:]{44}$/);
    expect(parseScramVerifier(text)).toEqual(verifier);
    for (const other of [
      '',
      'SCRAM-SHA-256',
      '$argon2id$v=19$m=19456,t=2,p=1$x$y',
      text.replace('256', '1'),
      text.replace('256', '512'),
      text.replace('4096', '4095'),
      text.replace('4096', '04096'),
      text.replace('4096', '-4096'),
      text.replace('4096', '4096000000'),
      text.slice(0, -4),
      text.slice(text.indexOf('$')),
      `${text}\n`,
      `${text}:x`,
    ]) {
      expect(parseScramVerifier(other), other).toBeUndefined();
    }
    expect(SCRAM_ITERATIONS_MIN).toBe(4096);
  });
});

describe('SecretHasher for SCRAM', () => {
  const key = randomBytes(32);
  const hasher = new SecretHasher(new SecretBox(key));
  const make = async (username: string, password: string, mechanism?: ScramMechanism) =>
    parseScramVerifier(
      await hasher.scramVerifier(mechanism ?? 'SCRAM-SHA-256', { username, password }),
    );

  it('gives each name, mechanism and deployment a salt of its own, and always the same', () => {
    const other = new SecretHasher(new SecretBox(randomBytes(32)));
    const again = new SecretHasher(new SecretBox(key));
    const salt = hasher.scramSalt('SCRAM-SHA-256', 'u');
    expect(salt).toHaveLength(SCRAM_SALT_BYTES);
    expect(again.scramSalt('SCRAM-SHA-256', 'u')).toEqual(salt);
    for (const differing of [
      hasher.scramSalt('SCRAM-SHA-256', 'v'),
      hasher.scramSalt('SCRAM-SHA-512', 'u'),
      other.scramSalt('SCRAM-SHA-256', 'u'),
    ]) {
      expect(differing).not.toEqual(salt);
    }
  });

  it('makes what an unknown name is challenged with: the same salt, the same iterations', async () => {
    for (const mechanism of SCRAM_MECHANISMS) {
      expect(await make('pump', 'p', mechanism)).toMatchObject({
        mechanism,
        iterations: SCRAM_ITERATIONS,
        salt: hasher.scramSalt(mechanism, 'pump'),
      });
    }
  });

  it('makes the same of passwords that SASLprep makes the same, and other keys of others', async () => {
    const plain = await make('pump', 'IX');
    expect(await make('pump', 'I\u00adX')).toEqual(plain);
    expect(await make('pump', '\u2168')).toEqual(plain);
    expect(await make('pump', 'ix')).not.toEqual(plain);
  });

  it('sheds load in the same pool as passwords', async () => {
    const small = new SecretHasher(new SecretBox(key), { concurrencyMax: 1, queueMax: 1 });
    const outcomes = await Promise.allSettled([
      small.hashPassword('p'),
      small.scramVerifier('SCRAM-SHA-256', { username: 'u', password: 'p' }),
      small.scramVerifier('SCRAM-SHA-256', { username: 'u', password: 'p' }),
    ]);
    expect(outcomes.map((one) => one.status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(outcomes[2]).toMatchObject({ reason: { code: 'hash_pool_full' } });
  });

  it('does not hold the event loop while it derives', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await Promise.all(
      Array.from({ length: 8 }, (_, index) => make(`u${index}`, 'p', 'SCRAM-SHA-512')),
    );
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });
});
