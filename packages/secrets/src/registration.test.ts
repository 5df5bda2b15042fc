import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { isRegistration, makeRegistration, openRegistration } from './registration.ts';
import { SecretBox } from './secret-box.ts';
import { SecretHasher } from './secret-hasher.ts';

const box = new SecretBox(randomBytes(32));
const hasher = new SecretHasher(box);
const make = (username: string, password: string, with_ = { box, hasher }) =>
  makeRegistration(with_, { username, password: Buffer.from(password) });

describe('the secret of a registration', () => {
  it('is another for another name, another password and another deployment', async () => {
    const key = new SecretBox(randomBytes(32));
    const made = await Promise.all([
      make('agent', 'password'),
      make('agent', 'Password'),
      make('agent2', 'password'),
      make('agent', 'password', { box: key, hasher: new SecretHasher(key) }),
    ]);
    expect(new Set(made.map(({ id }) => id)).size).toBe(4);
    const salts = made.slice(0, 3).map((one) => openRegistration(box, one).split('$')[4]);
    expect(new Set(salts).size).toBe(2);
  });

  it('is known again by its id, which is a UUID, and opens with the password', async () => {
    const [first, second] = [await make('agent', 'password'), await make('agent', 'password')];
    expect(first.id).toBe(second.id);
    expect(first.id).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    const verifier = openRegistration(box, first);
    expect(verifier).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await hasher.verify(verifier, Buffer.from('password'))).toBe(true);
    expect(await hasher.verify(verifier, Buffer.from('passwore'))).toBe(false);
  });

  it('is of its name, its id, its key and our form, or is none', async () => {
    const made = await make('agent', 'password');
    const other = await make('agent', 'other');
    expect(isRegistration(box, { ...made, username: 'agent' })).toBe(true);
    expect(isRegistration(box, { ...made, username: 'admin' })).toBe(false);
    expect(isRegistration(box, { ...made, id: other.id, username: 'agent' })).toBe(false);
    expect(isRegistration(box, { ...made, verifier: 'x', username: 'agent' })).toBe(false);
    const elsewhere = new SecretBox(randomBytes(32));
    expect(isRegistration(elsewhere, { ...made, username: 'agent' })).toBe(false);
    const plain = box.seal('plain', `registration:${made.id}`);
    expect(isRegistration(box, { ...made, verifier: plain, username: 'agent' })).toBe(false);
  });
});
