import { type Principal, RESOLVE_PRINCIPALS_MAX } from '@sallyport/policy-client';
import { compilePolicy, check } from '@sallyport/rules';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MIN_REVISION_WAIT_MS } from './service.ts';
import { bytes, facts, World } from './testing/world.ts';

let world: World;

beforeEach(async () => {
  world = await World.open();
});

afterEach(() => world[Symbol.asyncDispose]());

const connect = (clientId: string, username?: string, password?: string, minRevision = 0) =>
  world.policy.authenticate({
    facts: facts(clientId, username),
    minRevision,
    ...(password !== undefined && { password: bytes(password) }),
  });

describe('authenticate', () => {
  it('tells of everybody who has proven nothing, in the answer of nobody', async () => {
    await world.addCredential('pump', 'right');
    const ban = { id: 'b', kind: 'username', value: 'banned', by: 'test' } as const;
    await world.run({ type: 'AddBan', data: ban });
    const open = { type: 'OpenRegistration', data: { openMs: 1000 } } as const;
    const answers: unknown[] = [];
    for (let round = 0; round < 2; round++) {
      const { revision: _revision, ...answer } = await connect('c', 'stranger', 'password');
      answers.push(answer);
      await world.run(open);
    }
    expect(answers[1]).toEqual(answers[0]);
    await connect('c', 'banned', 'password');
    await connect('c', 'pump', 'right');
    await connect('c', 'pump', 'wrong');
    expect(world.refused).toEqual(['stranger:password', 'stranger:password', 'pump:wrong']);
  });

  it('refuses a name that nobody has, a wrong password, none at all, and a disabled credential', async () => {
    await world.addCredential('pump', 'right');
    await world.addCredential('off', 'right', { enabled: false });
    expect(await connect('c', 'nobody', 'right')).toMatchObject({ reason: 'unknown_client' });
    expect(await connect('c', 'pump', 'wrong')).toMatchObject({ reason: 'wrong_secret' });
    expect(await connect('c', 'pump')).toMatchObject({ reason: 'wrong_secret' });
    expect(await connect('c', 'pump', '')).toMatchObject({ reason: 'wrong_secret' });
    expect(await connect('c', 'off', 'right')).toMatchObject({ reason: 'disabled' });
    expect(await connect('pump', undefined, 'right')).toMatchObject({ ok: false });
    expect(await connect('__proto__', 'constructor', 'x')).toMatchObject({ ok: false });
  });

  it('takes both over username over client id, and the native store before the others', async () => {
    await world.addCredential('by-client', 'p', { match: { clientId: 'c' } });
    expect(await connect('c', 'u', 'p')).toMatchObject({
      principal: { credentialId: 'by-client' },
    });
    await world.addCredential('by-user', 'p', { match: { username: 'u' } });
    expect(await connect('c', 'u', 'p')).toMatchObject({ principal: { credentialId: 'by-user' } });
    await world.addCredential('by-both', 'p', { match: { username: 'u', clientId: 'c' } });
    expect(await connect('c', 'u', 'p')).toMatchObject({ principal: { credentialId: 'by-both' } });
    await world.addCredential('tbmq', 'p', { store: 'tbmq', match: { username: 'u' } });
    expect(await connect('c', 'u', 'p')).toMatchObject({ principal: { credentialId: 'by-both' } });
  });

  it('goes on to the next store when the password is another', async () => {
    await world.addCredential('one', 'p1', { match: { username: 'u' } });
    await world.addCredential('two', 'p2', { match: { username: 'u' }, store: 'tbmq' });
    expect(await connect('c', 'u', 'p2')).toMatchObject({ principal: { credentialId: 'two' } });
  });

  it('lets both secrets of a rotation in until the old one ends, to the millisecond', async () => {
    await world.addCredential('pump', 'old');
    const retireAt = world.now + 1000;
    const secret = world.secret('pump', 's2', 'new');
    await world.run({ type: 'RotateSecret', data: { id: 'pump', secret, retireAt } });
    world.now = retireAt - 1;
    expect(await connect('c', 'pump', 'old')).toMatchObject({
      ok: true,
      resolved: { secretExpiresAt: retireAt },
    });
    expect(await connect('c', 'pump', 'new')).toMatchObject({ principal: { secretId: 's2' } });
    world.now = retireAt;
    expect(await connect('c', 'pump', 'old')).toMatchObject({ reason: 'wrong_secret' });
    expect(await connect('c', 'pump', 'new')).toMatchObject({ ok: true });
  });

  it('lets anybody in where no password is needed', async () => {
    await world.addCredential('open', undefined);
    for (const password of [undefined, '', 'whatever']) {
      const answer = await connect('c', 'open', password);
      expect(answer).toMatchObject({ ok: true });
      expect(answer.ok && 'secretId' in answer.principal).toBe(false);
    }
  });

  it('fails rather than answer from an older revision than it is asked for', async () => {
    const revision = await world.addCredential('pump', 'p');
    const started = performance.now();
    await expect(connect('c', 'pump', 'p', revision + 1)).rejects.toMatchObject({
      code: 'policy_not_ready',
    });
    expect(performance.now() - started).toBeGreaterThan(MIN_REVISION_WAIT_MS - 50);
    expect(await connect('c', 'pump', 'p', revision)).toMatchObject({ ok: true, revision });
  });

  it('refuses to guess when a secret is sealed under another key', async () => {
    const other = await World.open();
    await world.addCredential('pump', 'p');
    const secret = other.secret('pump', 's2', 'q');
    await other[Symbol.asyncDispose]();
    await world.run({ type: 'RotateSecret', data: { id: 'pump', secret, retireAt: world.now } });
    await expect(connect('c', 'pump', 'q')).rejects.toMatchObject({ code: 'sealing_key_mismatch' });
  });
});

describe('resolve', () => {
  const principalOf = async (clientId: string, username: string, password?: string) => {
    const answer = await connect(clientId, username, password);
    if (!answer.ok) throw new Error(answer.reason);
    return answer.principal;
  };

  it('has nothing for a principal that was removed, disabled, moved, or whose secret ended', async () => {
    for (const id of ['removed', 'disabled', 'moved', 'rotated', 'stays']) {
      await world.addCredential(id, 'p');
    }
    const ids = ['removed', 'disabled', 'moved', 'rotated', 'stays'];
    const principals = await Promise.all(ids.map((id) => principalOf('c', id, 'p')));
    await world.run({ type: 'RemoveCredential', data: { id: 'removed' } });
    const change = (id: string, changes: object) =>
      world.run({ type: 'ChangeCredential', data: { id, changes } });
    await change('disabled', { enabled: false });
    await change('moved', { match: { username: 'elsewhere' } });
    const secret = world.secret('rotated', 's2', 'q');
    await world.run({ type: 'RotateSecret', data: { id: 'rotated', secret, retireAt: world.now } });
    const answer = await world.policy.resolve({ principals, minRevision: world.model.revision });
    expect(answer.results.map((one) => one !== undefined)).toEqual([
      false,
      false,
      false,
      false,
      true,
    ]);
  });

  it('is asked of so many principals at once, and not of one more', async () => {
    await world.addCredential('open', undefined);
    const principal = await principalOf('c', 'open');
    const ask = (length: number) =>
      world.policy.resolve({
        principals: Array<Principal>(length).fill(principal),
        minRevision: 0,
      });
    await expect(ask(RESOLVE_PRINCIPALS_MAX + 1)).rejects.toMatchObject({
      code: 'invalid_request',
    });
    expect((await ask(RESOLVE_PRINCIPALS_MAX)).results).toHaveLength(RESOLVE_PRINCIPALS_MAX);
  });

  it('ends a principal that came in without a password when one is needed now', async () => {
    await world.addCredential('open', undefined);
    const principal = await principalOf('c', 'open');
    const secret = world.secret('open', 's1', 'p');
    const changes = { passwordRequired: true };
    await world.run({ type: 'ChangeCredential', data: { id: 'open', changes, secret } });
    const answer = await world.policy.resolve({ principals: [principal], minRevision: 0 });
    expect(answer.results).toEqual([undefined]);
  });

  it('shares none among principals whose live sessions changes do other things to', async () => {
    const modes = [undefined, 'live', 'pinned', 'kick'] as const;
    for (const mode of modes) {
      const access = { kind: 'acl', ...(mode !== undefined && { apply: mode }) } as const;
      await world.addCredential(`of-${mode}`, 'p', { access });
    }
    const principals = await Promise.all(
      modes.map((mode, index) => principalOf(`${index}`, `of-${mode}`, 'p')),
    );
    const { results, policies } = await world.policy.resolve({ principals, minRevision: 0 });
    const specs = results.map((one) => policies.find((spec) => spec.policyId === one?.policyId));
    expect(specs.map((spec) => spec?.applyMode)).toEqual([undefined, undefined, 'pinned', 'kick']);
    expect(policies).toHaveLength(3);
  });

  it('shares one policy among principals with the same rules, and tells the newest rules', async () => {
    await world.addCredential('a', 'p');
    await world.addCredential('b', 'p');
    const everyone = { kind: 'everyone' } as const;
    await world.rules(everyone, { effect: 'allow', action: 'all', topicFilter: 'x/${clientid}' });
    const principals = [await principalOf('1', 'a', 'p'), await principalOf('2', 'b', 'p')];
    const before = await world.policy.resolve({ principals, minRevision: 0 });
    expect(before.policies).toHaveLength(1);
    await world.rules(
      { kind: 'client', name: '2' },
      { effect: 'deny', action: 'all', topicFilter: '#' },
    );
    const after = await world.policy.resolve({ principals, minRevision: world.model.revision });
    expect(after.policies).toHaveLength(2);
    const allowed = principals.map((principal, index) => {
      const spec = after.policies.find((one) => one.policyId === after.results[index]?.policyId);
      if (spec === undefined) throw new Error('no policy');
      const topic = `x/${principal.facts.clientId}`;
      return check(compilePolicy(spec), principal.facts, 'publish', topic.split('/'), topic)
        .allowed;
    });
    expect(allowed).toEqual([true, false]);
  });
});

describe('explain', () => {
  it('names the rule that decides, at its revision', async () => {
    await world.addCredential('pump', 'p');
    const target = { kind: 'username', name: 'pump' } as const;
    const revision = await world.rules(
      target,
      { effect: 'deny', action: 'publish', topicFilter: 'a/secret' },
      { effect: 'allow', action: 'all', topicFilter: 'a/#' },
    );
    const answer = await connect('c', 'pump', 'p');
    if (!answer.ok) throw new Error(answer.reason);
    const ask = (topic: string) =>
      world.policy.explain({
        principal: answer.principal,
        action: 'publish',
        topic,
        terms: { qos: 0, retain: false },
        minRevision: 0,
      });
    expect(await ask('a/secret')).toMatchObject({
      allowed: false,
      ruleId: 'acl:username:pump/r0',
      revision,
    });
    expect(await ask('a/b')).toMatchObject({ allowed: true, ruleId: 'acl:username:pump/r1' });
    expect(await ask('b')).toMatchObject({ allowed: false, ruleId: 'default' });
    expect(await ask('$SYS/x')).toMatchObject({ allowed: false, ruleId: 'guard' });
  });
});
