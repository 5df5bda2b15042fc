import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bytes, facts, passwords, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world[Symbol.asyncDispose]());

const PASSWORD = 'password_based:built_in_database';
const login = (who = facts('c', 'u'), more: object = {}) =>
  world.policy.explainLogin({ facts: who, scram: false, minRevision: 0, ...more });
const named = (username: string) => ({ name: username, match: { username } });

describe('explainLogin', () => {
  it('finds nobody where there is nobody, and tells the ban and nothing else', async () => {
    expect(await login()).toMatchObject({ steps: [], reason: 'unknown_client' });
    await world.addCredential('one', undefined, named('u'));
    await world.run({
      type: 'AddBan',
      data: { id: 'b1', kind: 'client_id', value: 'c', by: 'test' },
    });
    const banned = await login();
    expect(banned).toMatchObject({ banId: 'b1', reason: 'banned', steps: [] });
    expect(banned).not.toHaveProperty('principal');
  });

  it('tells why each of them refuses, and the reason that a CONNECT would have', async () => {
    await world.addCredential('off', 'secret', { ...named('u'), enabled: false });
    await world.addCredential('late', 'secret', {
      ...named('u'),
      store: 'cybus',
      validity: { until: world.now },
    });
    const answer = await login();
    expect(answer.steps).toEqual([
      { credentialId: 'off', store: 'native', secret: false, refusal: 'disabled' },
      { credentialId: 'late', store: 'cybus', secret: false, refusal: 'not_valid_now' },
    ]);
    const refused = await world.policy.authenticate({ facts: facts('c', 'u'), minRevision: 0 });
    expect(refused).toMatchObject({ ok: false, reason: answer.reason, ruleId: 'credential:late' });
  });

  it('supposes that a secret is proven where there is one to prove, and tells that it is asked for', async () => {
    await world.addCredential('gone', 'secret', { ...named('u'), store: 'tbmq' });
    await world.run({ type: 'RemoveSecret', data: { id: 'gone', secretId: 's1' } });
    expect(await login()).toMatchObject({ steps: [{ refusal: 'wrong_secret' }] });
    await world.addCredential('one', 'secret', { ...named('u'), match: { clientId: 'c' } });
    const answer = await login(facts('c'));
    expect(answer).toMatchObject({
      steps: [{ credentialId: 'one', secret: true }],
      principal: { credentialId: 'one', store: 'native', facts: { methods: ['password'] } },
    });
    const proven = await world.policy.authenticate({
      facts: facts('c'),
      password: bytes('secret'),
      minRevision: 0,
    });
    expect(proven).toMatchObject({ ok: true, principal: { credentialId: 'one' } });
  });

  it('takes the stores in their order, and names those that are not looked in', async () => {
    await world.addCredential('one', undefined, named('u'));
    await world.addCredential('two', undefined, { ...named('u'), store: 'cybus' });
    const ids = async (stores?: readonly string[]) => {
      const { steps, principal } = await login(facts('c', 'u'), stores && { stores });
      return [principal?.credentialId, ...steps.map((one) => one.skipped ?? one.credentialId)];
    };
    expect(await ids()).toEqual(['one', 'one', 'two']);
    expect(await ids(['cybus', 'native'])).toEqual(['two', 'two', 'one']);
    expect(await ids(['cybus'])).toEqual(['two', 'two', 'store']);
  });

  it('names the authenticator that decides, and those that its chain does not ask', async () => {
    const chain = { scope: 'listener:tcp:default', authenticator: PASSWORD } as const;
    await world.chain(chain.scope, [passwords()]);
    await world.addCredential('global', 'secret', { ...named('u'), store: 'emqx' });
    expect(await login()).toMatchObject({
      reason: 'unknown_client',
      steps: [{ credentialId: 'global', chain: { scope: 'global' }, skipped: 'chain' }],
    });
    const asked = { facts: facts('c', 'u'), minRevision: 0 };
    expect(await world.policy.authenticate(asked)).toMatchObject({
      ruleId: `chain:${chain.scope}`,
    });
    await world.addCredential('here', 'secret', { ...named('u'), store: 'emqx', chain });
    expect(await login()).toMatchObject({
      principal: { credentialId: 'here' },
      steps: [
        { credentialId: 'here', chain, secret: true },
        { credentialId: 'global', skipped: 'chain' },
      ],
    });
    expect(await login(facts('c', 'u'), { scram: true })).toMatchObject({
      reason: 'unknown_client',
      steps: [{ skipped: 'chain' }, { skipped: 'chain' }],
    });
  });

  it('by SCRAM only by keys for it', async () => {
    await world.addCredential('plain', 'secret', named('u'));
    const plain = await login(facts('c', 'u'), { scram: true });
    expect(plain).toMatchObject({ reason: 'wrong_secret' });
    await world.addScramCredential('keys', 'secret', { store: 'cybus', ...named('u') });
    expect(await login(facts('c', 'u'), { scram: true })).toMatchObject({
      principal: { credentialId: 'keys', facts: { methods: ['scram'] } },
    });
  });

  it('on a listener that asks nobody everybody is anonymous, unless they prove themselves by SCRAM', async () => {
    await world.addScramCredential('keys', 'secret', { ...named('u') });
    const open = { ...facts('c', 'u'), open: true } as const;
    const answer = await login(open);
    const { username: _claimed, ...own } = open;
    expect(answer.steps).toEqual([]);
    expect(answer.principal).toEqual({ credentialId: 'anonymous', store: 'emqx', facts: own });
    expect(await login(open, { scram: true })).toMatchObject({
      principal: { credentialId: 'keys' },
    });
  });

  it('without a proof somebody is anonymous where the chain says so, by no name', async () => {
    await world.chain('global', [], true);
    const answer = await login();
    expect(answer).toMatchObject({ steps: [], principal: { credentialId: 'anonymous' } });
    expect(answer.principal?.facts).not.toHaveProperty('username');
  });
});
