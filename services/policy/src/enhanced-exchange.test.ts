import { affects, type Command } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import {
  type EnhancedExchange,
  PolicyCache,
  type PolicyClient,
  type ScramFinalRequest,
  type ScramFirstRequest,
  startEnhancedAuthentication,
} from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';
import { ScramClient } from '@sallyport/test-kit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { facts, World } from './testing/world.ts';

let world: World;
let cache: PolicyCache;
let heads: number;
/** What happens to each request before it is answered. */
let before: { first?: () => Promise<void>; final?: () => Promise<void> };
let asked: (ScramFirstRequest | ScramFinalRequest)[];

beforeEach(async () => {
  world = await World.open();
  heads = 0;
  before = {};
  asked = [];
  cache = new PolicyCache({
    client: watched(world.policy),
    log: {
      head: () => {
        heads++;
        return world.log.head();
      },
    },
    revision: 0,
    clock: () => world.now,
  });
});

afterEach(() => world[Symbol.asyncDispose]());

function watched(policy: PolicyClient): PolicyClient {
  return {
    authenticate: (request) => policy.authenticate(request),
    scramFirst: async (request) => {
      asked.push(request);
      await before.first?.();
      return policy.scramFirst(request);
    },
    scramFinal: async (request) => {
      asked.push(request);
      await before.final?.();
      return policy.scramFinal(request);
    },
    resolve: (request) => policy.resolve(request),
    explain: (request) => policy.explain(request),
    listenerTrust: (request) => policy.listenerTrust(request),
    status: () => policy.status(),
    bans: (minRevision) => policy.bans(minRevision),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** The node hears of all that is in the log. */
async function hear(): Promise<void> {
  for (const commit of await world.log.read(cache.revision, 1000)) {
    cache.invalidate(commit.revision, commit.events.flatMap(affects));
  }
}

const device = (username: string, password: string) =>
  new ScramClient({ mechanism: 'SCRAM-SHA-256', username, password });

function start(of: Facts = facts('c'), method = 'SCRAM-SHA-256'): EnhancedExchange {
  const exchange = startEnhancedAuthentication(cache, of, method);
  if (exchange === undefined) throw new Error('unknown method');
  return exchange;
}

async function challenge(exchange: EnhancedExchange, client: ScramClient): Promise<Buffer> {
  const step = await exchange.step(client.first());
  if (step.outcome !== 'continue') throw new Error(JSON.stringify(step));
  return client.final(step.data);
}

async function login(client: ScramClient, of?: Facts) {
  const exchange = start(of);
  return exchange.step(await challenge(exchange, client));
}

const change = (command: Command) => world.run(command);
const disable = (id: string, enabled = false) =>
  change({ type: 'ChangeCredential', data: { id, changes: { enabled } } });

describe('enhanced authentication', () => {
  it.each(['SCRAM-SHA-1', 'scram-sha-256', 'SCRAM-SHA-256-PLUS', 'PLAIN', '__proto__', ''])(
    'does not know the method %j',
    (method) => {
      expect(startEnhancedAuthentication(cache, facts('c'), method)).toBeUndefined();
    },
  );

  it('refuses a beginning without data, with too much of it, or with something else', async () => {
    for (const data of [undefined, Buffer.alloc(0), Buffer.alloc(65_535, 'n'), Buffer.from('x')]) {
      const exchange = start();
      expect(await exchange.step(data)).toEqual({ outcome: 'refused', reason: 'malformed' });
      expect(await exchange.step(device('u', 'p').first())).toMatchObject({ outcome: 'refused' });
    }
  });

  it('refuses an end without data, and a proof of the wrong password', async () => {
    await world.addScramCredential('u', 'right');
    const exchange = start();
    await challenge(exchange, device('u', 'right'));
    expect(await exchange.step(undefined)).toEqual({ outcome: 'refused', reason: 'malformed' });
    expect(await login(device('u', 'wrong'))).toEqual({
      outcome: 'refused',
      reason: 'wrong_secret',
      revision: 1,
    });
  });

  it('refuses another user than CONNECT names, so that nobody becomes somebody else', async () => {
    await world.addScramCredential('u', 'right');
    const exchange = start(facts('c', 'v'));
    expect(await exchange.step(device('u', 'right').first())).toEqual({
      outcome: 'refused',
      reason: 'username_mismatch',
    });
  });

  it('refuses the proof of another exchange, of the same client too', async () => {
    await world.addScramCredential('u', 'right');
    const client = device('u', 'right');
    const [one, other] = [start(), start()];
    const proof = await challenge(one, client);
    await challenge(other, client);
    expect(await other.step(proof)).toMatchObject({ outcome: 'refused' });
    expect(await one.step(proof)).toMatchObject({ outcome: 'success' });
  });

  it('refuses everything once it is over, a repeated proof too', async () => {
    await world.addScramCredential('u', 'right');
    const exchange = start();
    const proof = await challenge(exchange, device('u', 'right'));
    expect(await exchange.step(proof)).toMatchObject({ outcome: 'success' });
    for (const data of [proof, device('u', 'right').first(), undefined]) {
      expect(await exchange.step(data)).toEqual({ outcome: 'refused', reason: 'malformed' });
    }
  });

  it('refuses a client that speaks out of turn, in both halves', async () => {
    await world.addScramCredential('u', 'right');
    const client = device('u', 'right');
    const early = start();
    const steps = await Promise.all([early.step(client.first()), early.step(client.first())]);
    expect(steps.map((step) => step.outcome)).toEqual(['refused', 'refused']);
    const late = start();
    const proof = await challenge(late, client);
    const ends = await Promise.all([late.step(proof), late.step(proof)]);
    expect(ends.map((step) => step.outcome)).toEqual(['refused', 'refused']);
  });

  it('fails, and refuses nobody, while the policy service cannot tell; then it is over', async () => {
    await world.addScramCredential('u', 'right');
    const away = () => Promise.reject(new OperationalError('policy_not_ready', 'away'));
    before = { first: away };
    const first = start();
    await expect(first.step(device('u', 'right').first())).rejects.toMatchObject({
      code: 'policy_not_ready',
    });
    before = {};
    expect(await first.step(device('u', 'right').first())).toMatchObject({ outcome: 'refused' });
    const final = start();
    const proof = await challenge(final, device('u', 'right'));
    before = { final: away };
    await expect(final.step(proof)).rejects.toMatchObject({ code: 'policy_not_ready' });
    before = {};
    expect(await final.step(proof)).toMatchObject({ outcome: 'refused' });
  });

  it.each(['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const)(
    '%s admits, and proves the server',
    async (mechanism) => {
      await world.addScramCredential('u', 'right', { mechanisms: [mechanism] });
      const client = new ScramClient({ mechanism, username: 'u', password: 'right' });
      const exchange = start(facts('c'), mechanism);
      const step = await exchange.step(await challenge(exchange, client));
      if (step.outcome !== 'success') throw new Error(step.outcome);
      expect(client.verifies(step.data ?? Buffer.alloc(0))).toBe(true);
      expect(step.admission).toMatchObject({
        ok: true,
        source: 'policy',
        admitted: {
          revision: world.model.revision,
          principal: { credentialId: 'u', secretId: 's1', facts: { username: 'u' } },
        },
      });
      expect(Object.keys(step.admission).sort()).toEqual(['admitted', 'ok', 'source']);
    },
  );

  it('can be run again with the facts of the principal that it admitted', async () => {
    await world.addScramCredential('u', 'right');
    await world.addScramCredential('v', 'right');
    const step = await login(device('u', 'right'));
    if (step.outcome !== 'success') throw new Error(step.outcome);
    const { facts: present } = step.admission.admitted.principal;
    expect(await login(device('u', 'right'), present)).toMatchObject({ outcome: 'success' });
    expect(await start(present).step(device('v', 'right').first())).toMatchObject({
      reason: 'username_mismatch',
    });
  });
});

describe('PolicyCache in a SCRAM exchange', () => {
  it('asks for what it has heard of or newer, in both halves', async () => {
    await world.addScramCredential('u', 'right');
    await hear();
    await login(device('u', 'right'));
    expect(asked.map((request) => request.minRevision)).toEqual([cache.revision, cache.revision]);
  });

  it('asks the log once before it refuses, and never for what no change can cure', async () => {
    await world.addScramCredential('u', 'right');
    await login(device('u', 'right'));
    expect(heads).toBe(0);
    for (const [username, password] of [
      ['u', 'wrong'],
      ['nobody', 'right'],
    ] as const) {
      heads = 0;
      expect(await login(device(username, password))).toMatchObject({ outcome: 'refused' });
      expect(heads).toBe(1);
    }
    heads = 0;
    await start().step(Buffer.from('x'));
    const exchange = start();
    await challenge(exchange, device('u', 'right'));
    expect(await exchange.step(Buffer.from('x'))).toMatchObject({ reason: 'malformed' });
    expect(heads).toBe(0);
  });

  it('fails rather than refuse while the log cannot be asked', async () => {
    cache = new PolicyCache({
      client: world.policy,
      log: { head: () => Promise.reject(new OperationalError('log_unavailable', 'away')) },
      revision: 0,
      clock: () => world.now,
    });
    await world.addScramCredential('u', 'right');
    expect(await login(device('u', 'right'))).toMatchObject({ outcome: 'success' });
    await expect(login(device('u', 'wrong'))).rejects.toMatchObject({ code: 'log_unavailable' });
  });

  it('lets in whom the policy service had not heard of when it was first asked', async () => {
    const behind = world.model.revision;
    const policy = world.policy;
    let late = true;
    const client: PolicyClient = {
      ...watched(policy),
      scramFinal: async (request) => {
        asked.push(request);
        if (!late) return policy.scramFinal(request);
        late = false;
        return { ok: false, revision: behind, reason: 'unknown_client' };
      },
    };
    cache = new PolicyCache({ client, log: world.log, revision: 0, clock: () => world.now });
    const exchange = start();
    // Challenged before it was added: the challenge is the same.
    const proof = await challenge(exchange, device('u', 'right'));
    const revision = await world.addScramCredential('u', 'right');
    expect(await exchange.step(proof)).toMatchObject({ outcome: 'success' });
    expect(asked.map((request) => request.minRevision)).toEqual([0, 0, revision]);
  });

  it('throws away an answer that a change has made stale on its way', async () => {
    await world.addScramCredential('u', 'right');
    await hear();
    let changes = 0;
    const client: PolicyClient = {
      ...watched(world.policy),
      scramFinal: async (request) => {
        const answer = await world.policy.scramFinal(request);
        if (changes++ === 0) {
          await disable('u');
          await hear();
        }
        return answer;
      },
    };
    const { revision } = cache;
    cache = new PolicyCache({ client, log: world.log, revision, clock: () => world.now });
    expect(await login(device('u', 'right'))).toEqual({
      outcome: 'refused',
      reason: 'disabled',
      revision: cache.revision,
    });
    expect(changes).toBeGreaterThan(1);
  });

  it('gives up on a policy that changes faster than it is answered', async () => {
    await world.addScramCredential('u', 'right');
    await hear();
    const client: PolicyClient = {
      ...watched(world.policy),
      scramFinal: async (request) => {
        const answer = await world.policy.scramFinal(request);
        await disable('u');
        await disable('u', true);
        await hear();
        return answer;
      },
    };
    const { revision } = cache;
    cache = new PolicyCache({ client, log: world.log, revision, clock: () => world.now });
    await expect(login(device('u', 'right'))).rejects.toMatchObject({ code: 'policy_not_ready' });
  });

  it('shares the compiled policy of those who have the same rules, and remembers no proof', async () => {
    await world.addScramCredential('u', 'right');
    await world.addScramCredential('v', 'right');
    const policies = [];
    for (const name of ['u', 'v', 'u']) {
      const step = await login(device(name, 'right'));
      if (step.outcome === 'success') policies.push(step.admission.admitted.policy);
    }
    expect(policies).toHaveLength(3);
    expect(new Set(policies).size).toBe(1);
    expect(cache.size).toBe(0);
  });
});
