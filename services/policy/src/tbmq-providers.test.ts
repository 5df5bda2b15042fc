import { TBMQ_PROVIDERS, type SettingValues } from '@sallyport/domain';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bytes, facts, passwords, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world[Symbol.asyncDispose]());

const set = (changes: Partial<SettingValues>) =>
  world.run({ type: 'ChangeSettings', data: { changes } });

const asked = (clientId: string, username?: string) => ({
  facts: facts(clientId, username),
  password: bytes('p'),
  minRevision: 0,
});

it('what is closed is closed in its store only, and says so to who asks why', async () => {
  await world.addCredential('t', 'p', { store: 'tbmq', match: { username: 'ada' } });
  await world.addCredential('n', 'p', { match: { username: 'bob' } });
  await set({ tbmqProviders: ['certificate'] });
  expect(await world.policy.authenticate(asked('c', 'ada'))).toMatchObject({ ok: false });
  expect(await world.policy.authenticate(asked('c', 'bob'))).toMatchObject({ ok: true });
  const explained = await world.policy.explainLogin({
    ...{ facts: facts('c', 'ada'), scram: false, minRevision: 0 },
  });
  expect(explained.steps).toEqual([
    { credentialId: 't', store: 'tbmq', secret: false, skipped: 'provider' },
  ]);
});

it('tbmq 11.6 with none of them nobody is let in unproven, unless a chain was told to', async () => {
  await set({ tbmqProviders: [] });
  expect(await world.policy.authenticate(asked('c'))).toMatchObject({ ok: false });
  await world.chain('global', [passwords({ enabled: false })], true);
  expect(await world.policy.authenticate(asked('c'))).toMatchObject({
    ok: true,
    principal: { credentialId: 'anonymous' },
  });
});

it('a SCRAM exchange is challenged as for nobody while its provider is closed', async () => {
  await world.addScramCredential('ada', 'p', { store: 'tbmq' });
  const explain = () =>
    world.policy.explainLogin({ facts: facts('c', 'ada'), scram: true, minRevision: 0 });
  expect((await explain()).principal?.credentialId).toBe('ada');
  await set({ tbmqProviders: TBMQ_PROVIDERS.filter((one) => one !== 'scram') });
  expect(await explain()).toMatchObject({ reason: 'unknown_client' });
});

it('a live session stays, and another CONNECT is judged anew', async () => {
  await world.addCredential('t', 'p', { store: 'tbmq', match: { username: 'ada' } });
  const answer = await world.policy.authenticate(asked('c', 'ada'));
  if (!answer.ok) throw new Error(answer.reason);
  expect(answer.resolved.tags).toContain('settings');
  await set({ tbmqProviders: [] });
  const again = { principals: [answer.principal], minRevision: 0 };
  expect((await world.policy.resolve(again)).results[0]).toBeDefined();
  expect(await world.policy.authenticate(asked('c', 'ada'))).toMatchObject({ ok: false });
});

it('tbmq 4.3 one user name of a password and one of SCRAM are two, each with its own secret', async () => {
  await world.addCredential('plain', 'by hand', { store: 'tbmq', match: { username: 'ada' } });
  const only = { store: 'tbmq', match: { scramUsername: 'ada' } } as const;
  await world.addScramCredential('proven', 'by proof', only);
  const login = async (scram: boolean) =>
    (await world.policy.explainLogin({ facts: facts('c', 'ada'), scram, minRevision: 0 })).principal
      ?.credentialId;
  expect([await login(false), await login(true)]).toEqual(['plain', 'proven']);
  const by = async (password: string) => {
    const answer = await world.policy.authenticate({
      ...{ facts: facts('c', 'ada'), password: bytes(password), minRevision: 0 },
    });
    return answer.ok ? answer.principal.credentialId : answer.reason;
  };
  expect([await by('by proof'), await by('by hand')]).toEqual(['wrong_secret', 'plain']);
  await world.run({ type: 'RemoveCredential', data: { id: 'plain' } });
  expect([await by('by proof'), await login(true)]).toEqual(['unknown_client', 'proven']);
});
