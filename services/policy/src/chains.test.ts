import { affects, type Authenticator, type ChainMember } from '@sallyport/domain';
import { PolicyCache } from '@sallyport/policy-client';
import { check, compilePolicy } from '@sallyport/rules';
import * as fc from 'fast-check';
import { ScramClient } from '@sallyport/test-kit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bytes, facts, passwords, World } from './testing/world.ts';

let world: World;

beforeEach(async () => {
  world = await World.open();
});

afterEach(() => world[Symbol.asyncDispose]());

const [PASSWORD, SCRAM] = ['password_based:built_in_database', 'scram:built_in_database'] as const;
const LISTENER = 'listener:tcp:default';
const member = (scope: string, authenticator: ChainMember['authenticator'] = PASSWORD) => ({
  scope,
  authenticator,
});
const proofs = (enabled = true): Authenticator => ({
  mechanism: 'scram',
  backend: 'built_in_database',
  enabled,
  matchBy: 'username',
  scram: 'SCRAM-SHA-256',
});

/** A user of the store `emqx`; of the global chain unless it says otherwise. */
const user = (id: string, secret: string | undefined, more: object = {}) =>
  world.addCredential(id, secret, { store: 'emqx', name: 'u', match: { username: 'u' }, ...more });

const on = (listener: string, username: string | undefined, clientId = 'c') => ({
  ...facts(clientId, username),
  listener,
});

/** Who gets in, or why not. */
async function connect(
  password: string | undefined,
  {
    listener = 'tcp:default',
    username = 'u',
    clientId = 'c',
    stores = undefined as readonly ('emqx' | 'cybus' | 'native')[] | undefined,
  } = {},
): Promise<string> {
  const answer = await world.policy.authenticate({
    facts: on(listener, username, clientId),
    minRevision: 0,
    ...(password !== undefined && { password: bytes(password) }),
    ...(stores !== undefined && { stores }),
  });
  return answer.ok ? answer.principal.credentialId : answer.reason;
}

async function scram(password: string): Promise<string> {
  const device = new ScramClient({ mechanism: 'SCRAM-SHA-256', username: 'u', password });
  const request = { facts: on('tcp:default', 'u'), exchangeId: new Uint8Array(16), minRevision: 0 };
  const first = await world.policy.scramFirst({
    ...request,
    mechanism: 'SCRAM-SHA-256',
    message: device.first(),
  });
  if (!first.ok) return first.reason;
  const { state, message } = first;
  const final = device.final(message);
  const answer = await world.policy.scramFinal({ ...request, state, message: final });
  return answer.ok ? answer.principal.credentialId : answer.reason;
}

describe('before any chain is set', () => {
  it('credentials of the store open as those of others, with a password and with SCRAM', async () => {
    await world.addScramCredential('old', 'p', {
      store: 'emqx',
      name: 'u',
      match: { username: 'u' },
    });
    expect(await connect('wrong')).toBe('wrong_secret');
    expect(await connect('p')).toBe('old');
    expect(await scram('p')).toBe('old');
  });

  it('users of a listener are for that listener, and nobody else comes in by its chain', async () => {
    await user('global', 'g');
    await world.chain(LISTENER, [passwords()]);
    await user('own', 'l', { chain: member(LISTENER) });
    expect(await connect('g')).toBe('wrong_secret');
    expect(await connect('l')).toBe('own');
    expect(await connect('g', { listener: 'ws:default' })).toBe('global');
    expect(await connect('l', { listener: 'ws:default' })).toBe('wrong_secret');
  });
});

describe('a chain', () => {
  it('of a listener stands in place of the global one, also with all of it disabled, until it is empty', async () => {
    await world.chain('global', [passwords()]);
    await user('global', 'g');
    await world.chain(LISTENER, [passwords({ enabled: false })]);
    await user('own', 'l', { chain: member(LISTENER) });
    expect(await connect('g')).toBe('unknown_client');
    expect(await connect('l')).toBe('unknown_client');
    await world.chain(LISTENER, [passwords()]);
    expect(await connect('l')).toBe('own');
    await world.chain(LISTENER, []);
    expect(await connect('g')).toBe('global');
    expect(world.model.reads.credential('own')).toBeUndefined();
  });

  it('that is emptied lets nobody in, and nobody without a name either', async () => {
    await world.chain('global', [passwords()]);
    await user('global', 'g');
    await world.chain('global', []);
    expect(await connect('g')).toBe('unknown_client');
    expect(await connect(undefined, { username: '' })).toBe('unknown_client');
    expect(await connect(undefined)).toBe('unknown_client');
  });

  it('passes over what is disabled or takes another proof', async () => {
    await world.chain('global', [proofs(), passwords()]);
    await user('by-password', 'p');
    await world.addScramCredential('by-scram', 's', {
      ...{ store: 'emqx', name: 'u', match: { username: 'u' } },
      chain: member('global', SCRAM),
    });
    expect(await connect('p')).toBe('by-password');
    expect(await connect('s')).toBe('wrong_secret');
    expect(await scram('s')).toBe('by-scram');
    expect(await scram('p')).toBe('wrong_secret');
    await world.chain('global', [proofs(false), passwords()]);
    expect(await scram('s')).toBe('unknown_client');
    await world.chain('global', [proofs(), passwords({ enabled: false })]);
    expect(await connect('p')).toBe('unknown_client');
    expect(await scram('s')).toBe('by-scram');
  });

  it('with a password does not look at keys for SCRAM that its user has besides', async () => {
    await world.addScramCredential('old', 'p', {
      store: 'emqx',
      name: 'u',
      match: { username: 'u' },
    });
    await world.chain('global', [passwords(), proofs()]);
    expect(await scram('p')).toBe('unknown_client');
    expect(await connect('p')).toBe('old');
  });

  it('goes by user name or by client id, and by nothing else', async () => {
    await user('named', 'p');
    await user('other', 'p', { name: 'o', match: { clientId: 'c' } });
    await world.chain('global', [passwords({ matchBy: 'username' })]);
    expect(await connect('p', { username: 'x' })).toBe('unknown_client');
    expect(await connect('p')).toBe('named');
    const scope = 'listener:ws:default';
    await world.chain(scope, [passwords({ matchBy: 'clientId' })]);
    await user('by-client', 'p', { chain: member(scope), match: { clientId: 'c' } });
    const listener = 'ws:default';
    expect(await connect('p', { listener, clientId: 'd' })).toBe('unknown_client');
    expect(await connect('p', { listener, username: 'x' })).toBe('by-client');
  });

  it('whose user comes with another password passes on to the next store of the listener, and not to other users', async () => {
    await world.chain('global', [passwords()]);
    await user('emqx', 'e');
    await world.addCredential('cybus', 'c', {
      store: 'cybus',
      name: 'u',
      match: { username: 'u' },
    });
    expect(await connect('e')).toBe('emqx');
    expect(await connect('c')).toBe('cybus');
    expect(await connect('x')).toBe('wrong_secret');
    expect(await connect('c', { stores: ['emqx'] })).toBe('wrong_secret');
    expect(await connect('e', { stores: ['cybus'] })).toBe('wrong_secret');
    // More specific is not another authenticator: both are looked at before the store is left.
    await user('both', 'b', { name: 'both', match: { username: 'u', clientId: 'c' } });
    expect(await connect('b')).toBe('both');
    expect(await connect('e')).toBe('emqx');
  });

  it('refuses with as many slow hashes whoever is asked for, known to it or not (threat I4)', async () => {
    await world.chain('global', [passwords({ hash: { name: 'sha256', saltPosition: 'prefix' } })]);
    await world.chain('listener:ws:default', [passwords({ enabled: false })]);
    await user('u', 'p');
    let slow = 0;
    const verify = world.hasher.verify.bind(world.hasher);
    world.hasher.verify = (verifier, secret) => {
      if (world.hasher.costOf(verifier) === 'slow') slow++;
      return verify(verifier, secret);
    };
    const counts: number[] = [];
    for (const options of [{}, { username: 'nobody' }, { listener: 'ws:default' }]) {
      slow = 0;
      await connect('wrong', options);
      counts.push(slow);
    }
    expect(new Set(counts).size).toBe(1);
  });
});

describe('somebody who proves nothing', () => {
  const open = { username: '' };

  it('is let in where an administrator has asked for it, while nobody is there to ask', async () => {
    await world.chain(LISTENER, [passwords()], true);
    expect(await connect(undefined, open)).toBe('unknown_client');
    await world.chain(LISTENER, [passwords({ enabled: false })], true);
    for (const password of [undefined, 'whatever']) {
      expect(await connect(password, open)).toBe('anonymous');
      expect(await connect(password)).toBe('anonymous');
    }
    expect(await connect(undefined, { ...open, listener: 'ws:default' })).toBe('unknown_client');
    expect(await connect(undefined, { ...open, stores: ['native'] })).toBe('unknown_client');
    await world.chain(LISTENER, [], true);
    expect(await connect(undefined, open)).toBe('anonymous');
    await world.chain(LISTENER, []);
    expect(await connect(undefined, open)).toBe('unknown_client');
  });

  it('is told from who proves something in any store, and is never banned by being nobody', async () => {
    await world.chain('global', [], true);
    await world.addCredential('native', 'p', { match: { username: 'u' } });
    await world.addCredential('last', 'q', { match: { username: 'u' }, store: 'clients' });
    expect(await connect('p')).toBe('native');
    expect(await connect('q')).toBe('last');
    expect(await connect('wrong')).toBe('anonymous');
    await world.run({
      type: 'AddBan',
      data: { id: 'b', kind: 'client_id', value: 'c', by: 'test' },
    });
    expect(await connect(undefined, open)).toBe('banned');
  });

  it('has no user name and may only what a rule allows, whatever the default is', async () => {
    await world.chain('global', [], true);
    await world.run({ type: 'ChangeSettings', data: { changes: { noMatch: 'allow' } } });
    const allow = { effect: 'allow', action: 'all' } as const;
    await world.rules({ kind: 'username', name: 'u' }, { ...allow, topicFilter: 'theirs' });
    await world.rules({ kind: 'everyone' }, { ...allow, topicFilter: 'open/${clientid}' });
    await world.addCredential('known', 'p', { match: { username: 'u' } });
    const answer = await world.policy.authenticate({
      facts: on('tcp:default', 'u'),
      minRevision: 0,
    });
    if (!answer.ok) expect.fail(answer.reason);
    const { principal, policy } = answer;
    expect(principal.facts.username).toBeUndefined();
    const may = (topic: string) =>
      check(compilePolicy(policy), principal.facts, 'publish', topic.split('/'), topic).allowed;
    expect([may('open/c'), may('open/d'), may('theirs'), may('else')]).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });
});

describe('a listener that asks nobody', () => {
  const request = (more: object = {}) => ({
    facts: { ...on('tcp:default', 'u'), open: true, ...more } as const,
    password: bytes('p'),
    minRevision: 0,
  });
  const who = async (more: object = {}, stores?: readonly 'native'[]) => {
    const answer = await world.policy.authenticate({ ...request(more), ...(stores && { stores }) });
    return answer.ok ? answer.principal : answer.reason;
  };

  it('refuses whoever is banned', async () => {
    const ban = { id: 'b', kind: 'username', value: 'u', by: 'test' } as const;
    await world.run({ type: 'AddBan', data: ban });
    expect(await who()).toBe('banned');
  });

  it('lets in all others without a name, whatever they prove, whatever the chains and stores', async () => {
    const nobody = { credentialId: 'anonymous', facts: { clientId: 'c', open: true } };
    expect(await who()).toMatchObject(nobody);
    await world.chain('global', [passwords()]);
    await user('known', 'p');
    await world.addCredential('native', 'p', { match: { username: 'u' } });
    for (const principal of [await who(), await who({}, ['native'])]) {
      expect(principal).toMatchObject(nobody);
      expect(principal).not.toHaveProperty('facts.username');
    }
    expect(await connect('p')).toBe('native');
  });

  it('gives them what a rule allows and no more, for as long as they stay', async () => {
    await world.run({ type: 'ChangeSettings', data: { changes: { noMatch: 'allow' } } });
    await world.rules(
      { kind: 'everyone' },
      { effect: 'allow', action: 'all', topicFilter: 'open' },
    );
    const answer = await world.policy.authenticate(request());
    if (!answer.ok) expect.fail(answer.reason);
    const { principal } = answer;
    for (const { policies } of [
      { policies: [answer.policy] },
      await world.policy.resolve({ principals: [principal], minRevision: 0 }),
    ]) {
      const may = policies.map((policy) =>
        ['open', 'else'].map(
          (topic) =>
            check(compilePolicy(policy), principal.facts, 'publish', [topic], topic).allowed,
        ),
      );
      expect(may).toEqual([[true, false]]);
    }
    // Who came in by another listener is not let in for being nobody.
    const { open: _open, ...facts } = principal.facts;
    const other = { ...principal, facts };
    const { results } = await world.policy.resolve({ principals: [other], minRevision: 0 });
    expect(results).toEqual([undefined]);
  });

  it('has nobody wait for the end of the log, and remembers nobody in place of who is proven', async () => {
    let heads = 0;
    const log = {
      head: () => {
        heads++;
        return world.log.head();
      },
    };
    const cache = new PolicyCache({
      ...{ client: world.policy, log, revision: 0, clock: () => world.now },
    });
    const { facts: open, password } = request();
    const admission = await cache.authenticate({ facts: open, password });
    expect([admission.ok, heads, cache.size]).toEqual([true, 0, 0]);
    await world.chain('global', [], true);
    const { open: _open, ...known } = open;
    await cache.authenticate({ facts: known, password });
    expect(heads).toBe(1);
  });

  it('still has SCRAM proven by whoever asks for it', async () => {
    await world.addScramCredential('s', 's', { name: 'u', match: { username: 'u' } });
    expect(await scram('wrong')).toBe('wrong_secret');
    expect(await scram('s')).toBe('s');
  });
});

describe('whoever no authenticator knows', () => {
  const unknown = { username: 'stranger' };

  it('is let in where that is asked for, and no one whom some store knows', async () => {
    await world.chain('global', [passwords()], { admitsUnknown: true });
    await user('known', 'p');
    await world.addCredential('native', 'p', { match: { username: 'n' } });
    expect(await connect('wrong')).toBe('wrong_secret');
    expect(await connect('wrong', { username: 'n' })).toBe('wrong_secret');
    expect(await connect('wrong', unknown)).toBe('anonymous');
    expect(await connect(undefined, unknown)).toBe('anonymous');
    expect(await connect('wrong', { ...unknown, stores: ['native'] })).toBe('unknown_client');
    expect(await connect('p')).toBe('known');
    expect(await staying({ id: 'anonymous' })).toEqual(['anonymous']);
    await world.chain('global', [passwords()]);
    expect(await connect('wrong', unknown)).toBe('unknown_client');
    expect(await staying({ id: 'anonymous' })).toEqual([]);
  });

  it('is somebody as soon as a user has the name', async () => {
    await world.chain('global', [passwords()], { admitsUnknown: true });
    expect(await connect('p')).toBe('anonymous');
    await user('known', 'p');
    expect(await connect('wrong')).toBe('wrong_secret');
  });
});

/** Ids of those of the sessions that may stay. */
async function staying(...sessions: { id: string; listener?: string; methods?: string[] }[]) {
  const principals = sessions.map(({ id, listener = 'tcp:default', methods = [] }) => ({
    credentialId: id,
    store: 'emqx' as const,
    ...(methods.length > 0 && { secretId: 's1' }),
    facts: { ...on(listener, id === 'anonymous' ? undefined : 'u'), methods: methods as never },
  }));
  const { results } = await world.policy.resolve({ principals, minRevision: 0 });
  return sessions.filter((_, index) => results[index] !== undefined).map(({ id }) => id);
}

describe('a live session', () => {
  it('ends when its authenticator is disabled or removed, or another chain comes into force; others go on', async () => {
    await world.chain('global', [passwords(), proofs()]);
    await user('p', 'p');
    await world.addScramCredential('s', 's', {
      ...{ store: 'emqx', name: 'u', match: { username: 'u' } },
      chain: member('global', SCRAM),
    });
    await world.addCredential('native', 'p', { match: { username: 'u' } });
    const here = [
      { id: 'p', methods: ['password'] },
      { id: 's', methods: ['scram'] },
      { id: 'native', methods: ['password'] },
    ];
    const there = here.map((one) => ({ ...one, listener: 'ws:default' }));
    expect(await staying(...here)).toEqual(['p', 's', 'native']);
    await world.chain('global', [proofs(), passwords({ enabled: false })]);
    expect(await staying(...here)).toEqual(['s', 'native']);
    // The order decides who is asked next time, and ends nobody.
    await world.chain('global', [passwords(), proofs()]);
    expect(await staying(...here)).toEqual(['p', 's', 'native']);
    await world.chain(LISTENER, [passwords()]);
    expect(await staying(...here)).toEqual(['native']);
    expect(await staying(...there)).toEqual(['p', 's', 'native']);
    await world.chain(LISTENER, []);
    await world.chain('global', [passwords()]);
    expect(await staying(...here)).toEqual(['p', 'native']);
  });

  it('is explained by its credential when its authenticator is disabled', async () => {
    await world.chain('global', [passwords({ enabled: false })]);
    await world.run({ type: 'ChangeSettings', data: { changes: { noMatch: 'allow' } } });
    await world.chain('global', [passwords()]);
    await user('u', undefined);
    const principal = { credentialId: 'u', store: 'emqx', facts: on('tcp:default', 'u') } as const;
    const terms = { qos: 0, retain: false } as const;
    const asked = { principal, action: 'publish', topic: 'a', terms, minRevision: 0 } as const;
    expect(await world.policy.explain(asked)).toMatchObject({ allowed: true });
    await world.chain('global', [passwords({ enabled: false })]);
    const answer = await world.policy.explain(asked);
    expect(answer).toMatchObject({ allowed: false, ruleId: 'credential' });
  });

  it('of nobody ends when nobody is let in any more', async () => {
    await world.chain(LISTENER, [], true);
    const sessions = [{ id: 'anonymous' }, { id: 'anonymous', listener: 'ws:default' }];
    expect(await staying(...sessions)).toEqual(['anonymous']);
    await world.chain(LISTENER, [passwords()], true);
    expect(await staying(...sessions)).toEqual([]);
  });
});

describe('the cache of a node', () => {
  const scopes = ['global', LISTENER] as const;

  it('never differs from an uncached evaluator, and lets nobody in who may not stay, whatever the chains become', async () => {
    const step = fc.record({
      scope: fc.constantFrom(...scopes),
      enabled: fc.boolean(),
      some: fc.boolean(),
      anonymous: fc.boolean(),
      admitsUnknown: fc.boolean(),
      // Without a password nothing is hashed, so there can be many.
      added: fc.constantFrom(undefined, 'native', 'plain', ...scopes),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        await using own = await World.open();
        const cache = new PolicyCache({
          client: own.policy,
          log: own.log,
          revision: 0,
          clock: () => own.now,
        });
        for (const { scope, enabled, some, anonymous, admitsUnknown, added } of steps) {
          await own.chain(scope, some ? [passwords({ enabled })] : [], {
            anonymous,
            ...(admitsUnknown && { admitsUnknown }),
          });
          await toggle(own, added);
          for (const commit of await own.log.read(cache.revision, 1000)) {
            cache.invalidate(commit.revision, commit.events.flatMap(affects));
          }
          for (const listener of ['tcp:default', 'ws:default']) {
            const asked = { facts: on(listener, 'u'), password: undefined };
            const truth = await own.policy.authenticate({ facts: asked.facts, minRevision: 0 });
            const known = cache.cached(asked);
            const answer = known
              ? { ok: true as const, admitted: known }
              : await cache.authenticate(asked);
            expect(answer.ok).toBe(truth.ok);
            if (!answer.ok || !truth.ok) continue;
            const { principal } = answer.admitted;
            expect(principal).toEqual(truth.principal);
            const { results } = await own.policy.resolve({
              principals: [principal],
              minRevision: 0,
            });
            expect(results[0]?.policyId).toBe(truth.policy.policyId);
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  /** Adds a credential, or removes it; nothing where there is no place for it. */
  async function toggle(own: World, which: string | undefined): Promise<void> {
    if (which === undefined) return;
    if (own.model.reads.credential(which) !== undefined) {
      await own.run({ type: 'RemoveCredential', data: { id: which } });
    } else if (which === 'native') {
      await own.addCredential(which, undefined, { match: { username: 'u' }, superuser: true });
    } else {
      const scope = which === 'plain' ? 'global' : which;
      const chain = own.model.authChain(scope);
      const place = chain === undefined ? which === 'plain' : chain.authenticators.length > 0;
      const taken = own.model.reads.credentialIdByName('emqx', 'u', member(scope)) !== undefined;
      if (!place || taken) return;
      await own.addCredential(which, undefined, {
        ...{ store: 'emqx', name: 'u', match: { username: 'u' } },
        ...(which !== 'plain' && { chain: member(scope) }),
      });
    }
  }

  it('keeps nobody in mind who has proven nothing', async () => {
    await world.chain('global', [], true);
    const { policy: client, log } = world;
    const cache = new PolicyCache({ client, log, revision: 1, clock: () => world.now });
    const asked = { facts: on('tcp:default', 'u'), password: undefined };
    const answer = await cache.authenticate(asked);
    expect(answer.ok && answer.admitted.principal.facts.username).toBe(undefined);
    expect([answer.ok, cache.size, cache.cached(asked)]).toEqual([true, 0, undefined]);
  });

  it('asks the log before it takes somebody for nobody, whose credential is there already', async () => {
    await world.chain('global', [], true);
    const { policy, log } = world;
    const late: typeof policy.authenticate = async (request) => {
      const answer = await policy.authenticate(request);
      // The replica that was asked first has not folded the newest commit.
      return request.minRevision < 2 && answer.ok
        ? { ...answer, revision: 1, principal: { ...answer.principal, credentialId: 'anonymous' } }
        : answer;
    };
    await world.addCredential('u', undefined);
    const client = Object.assign(Object.create(policy) as typeof policy, {
      authenticate: late,
      scramFirst: policy.scramFirst.bind(policy),
    });
    const cache = new PolicyCache({ client, log, revision: 1, clock: () => world.now });
    const answer = await cache.authenticate({ facts: on('tcp:default', 'u'), password: undefined });
    expect(answer.ok && answer.admitted.principal.credentialId).toBe('u');
  });
});
