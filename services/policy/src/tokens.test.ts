import type { CredentialToken, Grant } from '@sallyport/domain';
import { sealingContext } from '@sallyport/secrets';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bytes, facts, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world[Symbol.asyncDispose]());

const TOKEN = 'a-token-that-nobody-can-guess';

const open = (tokensAsPasswords = true) =>
  world.run({ type: 'ChangeSettings', data: { changes: { tokensAsPasswords } } });

function tokenOf(id: string, more: Partial<CredentialToken> = {}): CredentialToken {
  const context = sealingContext({ kind: 'credential', id });
  const verifier = world.box.seal(world.hasher.machineVerifier(TOKEN), context);
  return { tokenId: 't1', label: 'tool', verifier, createdAt: world.now, ...more };
}

const give = (id: string, more: Partial<CredentialToken> = {}) =>
  world.run({ type: 'AddCredentialToken', data: { id, token: tokenOf(id, more) } });

const grants = (...text: string[]): readonly Grant[] =>
  text.map((one) => ({
    method: one.startsWith('p') ? 'password' : one.startsWith('t') ? 'token' : 'certificate',
    required: one.endsWith('!'),
  }));

const ask = (username: string, password?: string, commonName?: string) =>
  world.policy.authenticate({
    facts: {
      ...facts('c', username),
      ...(commonName !== undefined && {
        certificate: {
          fingerprintSha256: 'a'.repeat(64),
          commonName,
          chainCommonNames: [commonName],
        },
      }),
    },
    minRevision: 0,
    ...(password !== undefined && { password: bytes(password) }),
  });

async function outcome(...how: Parameters<typeof ask>): Promise<string> {
  const answer = await ask(...how);
  return answer.ok ? (answer.principal.facts.methods ?? []).join('+') : answer.reason;
}

async function admitted(...how: Parameters<typeof ask>) {
  const answer = await ask(...how);
  if (!answer.ok) throw new Error(answer.reason);
  return answer;
}

const stays = async ({ principal }: Awaited<ReturnType<typeof admitted>>): Promise<boolean> => {
  const { results } = await world.policy.resolve({ principals: [principal], minRevision: 0 });
  return results[0] !== undefined;
};

describe('a token in the place of a password, compat A8', () => {
  it('opens nothing unless that was asked for, by the setting and by the grant', async () => {
    await world.addCredential('ada', 'right', { store: 'cybus' });
    await world.addCredential('bob', undefined, { store: 'cybus', grants: grants('t') });
    await give('ada');
    await give('bob');
    expect(await outcome('ada', TOKEN)).toBe('wrong_secret');
    expect(await outcome('bob', TOKEN)).toBe('wrong_secret');
    await open();
    expect(await outcome('ada', TOKEN)).toBe('wrong_secret');
    expect(await outcome('bob', TOKEN)).toBe('token');
  });

  it('opens its own credential only, by its user name', async () => {
    await open();
    await world.addCredential('ada', undefined, { grants: grants('t') });
    await world.addCredential('bob', undefined, { grants: grants('t') });
    await give('ada');
    expect(await outcome('bob', TOKEN)).toBe('wrong_secret');
    expect(await outcome('eve', TOKEN)).toBe('unknown_client');
    expect(await outcome('ada', `${TOKEN}x`)).toBe('wrong_secret');
    expect(await outcome('ada')).toBe('wrong_secret');
    expect(await outcome('ada', TOKEN)).toBe('token');
  });

  it.each([
    // grants, certificate, password → by what it came in, or why not
    [['p'], undefined, TOKEN, 'wrong_secret'],
    [['t'], undefined, 'right', 'wrong_secret'],
    [['t'], undefined, TOKEN, 'token'],
    [['p', 't'], undefined, TOKEN, 'token'],
    [['p', 't'], undefined, 'right', 'password'],
    [['p!', 't'], undefined, TOKEN, 'wrong_secret'],
    [['p!', 't'], undefined, 'right', 'password'],
    [['p', 't!'], undefined, 'right', 'wrong_secret'],
    [['p', 't!'], undefined, TOKEN, 'token'],
    [['c!', 't!'], undefined, TOKEN, 'certificate'],
    [['c!', 't!'], 'ada', 'right', 'wrong_secret'],
    [['c!', 't!'], 'ada', TOKEN, 'token+certificate'],
    [['c', 't'], 'ada', undefined, 'certificate'],
    [['c', 't'], undefined, TOKEN, 'token'],
  ] as const)('A2.3: %j with certificate %s and password %s: %s', async (...row) => {
    const [ways, name, password, expected] = row;
    await open();
    await world.addCredential('ada', 'right', { grants: grants(...ways) });
    await give('ada');
    expect(await outcome('ada', password, name)).toBe(expected);
  });

  it('is over at its end, to the millisecond, and so is the session', async () => {
    await open();
    await world.addCredential('ada', undefined, { grants: grants('t') });
    const expiresAt = world.now + 1000;
    await give('ada', { expiresAt });
    const session = await admitted('ada', TOKEN);
    expect(session.resolved.secretExpiresAt).toBe(expiresAt);
    world.now = expiresAt - 1;
    expect([await outcome('ada', TOKEN), await stays(session)]).toEqual(['token', true]);
    world.now = expiresAt;
    expect([await outcome('ada', TOKEN), await stays(session)]).toEqual(['wrong_secret', false]);
  });

  it.each([
    ['the token is revoked', () => removeToken()],
    ['the grant is taken', () => setGrants('p')],
    ['tokens are not taken any more', () => open(false)],
  ])('ends the session when %s', async (_, change) => {
    await open();
    await world.addCredential('ada', 'right', { grants: grants('t', 'p') });
    await give('ada');
    const byToken = await admitted('ada', TOKEN);
    const byPassword = await admitted('ada', 'right');
    expect([await stays(byToken), await stays(byPassword)]).toEqual([true, true]);
    await change();
    expect([await stays(byToken), await stays(byPassword)]).toEqual([false, true]);
    expect(await outcome('ada', TOKEN)).toBe('wrong_secret');
  });

  it('ends who came in by a password when that is no way in any more', async () => {
    await open();
    await world.addCredential('ada', 'right', { grants: grants('t', 'p') });
    const session = await admitted('ada', 'right');
    await setGrants('t');
    expect([await stays(session), await outcome('ada', 'right')]).toEqual([false, 'wrong_secret']);
  });

  it('is not proven by SCRAM, and SCRAM is no way in beside it', async () => {
    await open();
    await world.addScramCredential('ada', 'right', { grants: grants('t') });
    await give('ada');
    const explained = await world.policy.explainLogin({
      ...{ facts: facts('c', 'ada'), scram: true, minRevision: 0 },
    });
    expect(explained).toMatchObject({ reason: 'wrong_secret' });
  });

  it('is supposed where it is what could be shown', async () => {
    await world.addCredential('ada', undefined, { grants: grants('t') });
    const explain = () =>
      world.policy.explainLogin({ facts: facts('c', 'ada'), scram: false, minRevision: 0 });
    await open();
    expect(await explain()).toMatchObject({ reason: 'wrong_secret' });
    await give('ada');
    expect((await explain()).principal?.facts.methods).toEqual(['token']);
    await open(false);
    expect(await explain()).toMatchObject({ reason: 'wrong_secret' });
  });
});

const removeToken = () =>
  world.run({ type: 'RemoveCredentialToken', data: { id: 'ada', tokenId: 't1' } });

const setGrants = (...ways: string[]) =>
  world.run({
    type: 'ChangeCredential',
    data: { id: 'ada', changes: { grants: grants(...ways) } },
  });
