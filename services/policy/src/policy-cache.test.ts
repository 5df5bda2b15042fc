import { affects, type Command } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import {
  type AuthenticateAnswer,
  type AuthenticateRequest,
  COMPILED_POLICIES_MAX,
  DROPPED_AT_ONCE_MAX,
  PolicyCache,
  type PolicyClient,
  RECENT_COMMITS_MAX,
  VERIFIED_ENTRIES_MAX,
} from '@sallyport/policy-client';
import type { PolicySpec } from '@sallyport/rules';
import * as fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ASSEMBLED_POLICIES_MAX, PolicyResolver } from './policy-resolver.ts';
import { bytes, facts, World } from './testing/world.ts';

const worlds: World[] = [];

afterEach(async () => {
  for (const world of worlds.splice(0)) await world[Symbol.asyncDispose]();
});

/** A node's cache that hears of commits when it is told to, as a real tail would, sooner or later. */
async function node(client?: (world: World) => PolicyClient) {
  const world = await World.open();
  worlds.push(world);
  const cache = new PolicyCache({
    client: client?.(world) ?? world.policy,
    log: world.log,
    revision: 0,
    clock: () => world.now,
  });
  const hear = async (upTo = Infinity): Promise<void> => {
    const commits = await world.log.read(cache.revision, 1000);
    for (const commit of commits) {
      if (commit.revision > upTo) break;
      cache.invalidate(commit.revision, commit.events.flatMap(affects));
    }
  };
  return { world, cache, hear };
}

const proof = (clientId: string, username?: string, password?: string) => ({
  facts: facts(clientId, username),
  password: password === undefined ? undefined : bytes(password),
});

const POLICY: PolicySpec = {
  policyId: 'p',
  superuser: false,
  authorities: [],
  noMatch: 'deny',
  denyAction: 'ignore',
};

describe('tags that are told when they are asked for', () => {
  it('are asked for while something is kept, and drop it, and are not while nothing is', async () => {
    const { cache } = await node((world) => {
      const authenticate = async ({ facts }: AuthenticateRequest): Promise<AuthenticateAnswer> => {
        const principal = { credentialId: 'c', store: 'native', facts } as const;
        const resolved = { policyId: 'p', tags: ['credential:c'] };
        return { ok: true, revision: cache.revision, principal, resolved, policy: POLICY };
      };
      return Object.assign(Object.create(world.policy) as PolicyClient, { authenticate }); // All of it, and this instead.
    });
    const read = vi.fn(() => ['credential:c']);
    cache.invalidate(1, read);
    expect(read).not.toHaveBeenCalled();
    await cache.authenticate(proof('c1'));
    expect(cache.cached(proof('c1'))).toBeDefined();
    cache.invalidate(2, read);
    expect(read).toHaveBeenCalledTimes(1);
    expect(cache.cached(proof('c1'))).toBeUndefined();
    expect(cache.isStale(0, ['credential:c'])).toBe(true);
  });
});

describe('what is kept', () => {
  it('are so many verified clients; of one more, who was not seen for longest is asked about again', async () => {
    let asked = 0;
    const { cache } = await node((world) => {
      const authenticate = async ({ facts }: AuthenticateRequest): Promise<AuthenticateAnswer> => {
        asked++;
        const principal = { credentialId: 'c', store: 'native', facts } as const;
        const resolved = { policyId: 'p', tags: [] };
        return { ok: true, revision: 0, principal, resolved, policy: POLICY };
      };
      return Object.assign(Object.create(world.policy) as PolicyClient, { authenticate }); // All of it, and this instead.
    });
    const client = (index: number) => proof(`c${index}`);
    for (let index = 0; index < VERIFIED_ENTRIES_MAX; index++) {
      await cache.authenticate(client(index));
    }
    expect(asked).toBe(VERIFIED_ENTRIES_MAX);
    expect(cache.cached(client(0))).toBeDefined();
    await cache.authenticate(client(VERIFIED_ENTRIES_MAX));
    expect(cache.cached(client(1))).toBeUndefined();
    for (const index of [0, 2, VERIFIED_ENTRIES_MAX]) {
      expect(cache.cached(client(index))).toBeDefined();
    }
  }, 120_000);

  it('are so many compiled policies; the first is compiled again when there is one more', async () => {
    const { cache } = await node();
    const compiled = (index: number) => cache.compiled({ ...POLICY, policyId: String(index) });
    const [first, second] = [compiled(0), compiled(1)];
    for (let index = 2; index < COMPILED_POLICIES_MAX; index++) compiled(index);
    expect(compiled(0)).toBe(first);
    compiled(COMPILED_POLICIES_MAX);
    expect(compiled(1)).toBe(second);
    expect(compiled(0)).not.toBe(first);
  });

  it('are so many assembled policies; the first is assembled again when there is one more', async () => {
    const { world } = await node();
    const resolver = new PolicyResolver(world.model);
    await world.addCredential('u', 'secret', {
      access: { kind: 'patterns', publish: ['a'], subscribe: [] },
    });
    const one = world.model.reads.credential('u');
    assert(one !== undefined, 'it was just added');
    const principal = { credentialId: 'u', store: 'native', facts: facts('c') } as const;
    const assembled = (index: number) =>
      resolver.policyOf({ ...one, id: `u${index}` }, principal).policy;
    const [first, second] = [assembled(0), assembled(1)];
    for (let index = 2; index < ASSEMBLED_POLICIES_MAX; index++) assembled(index);
    expect(assembled(0)).toBe(first);
    assembled(ASSEMBLED_POLICIES_MAX);
    expect(assembled(1)).toBe(second);
    expect(assembled(0)).not.toBe(first);
    expect(assembled(0)).toEqual(first);
  });
});

describe('PolicyCache', () => {
  it('does not answer for another client, name or password from what it verified', async () => {
    const { world, cache } = await node();
    await world.addCredential('u', 'secret');
    expect((await cache.authenticate(proof('c', 'u', 'secret'))).ok).toBe(true);
    expect(cache.cached(proof('c', 'u', 'secret'))).toBeDefined();
    for (const other of [
      proof('c', 'u', 'Secret'),
      proof('c', 'u', 'secre'),
      proof('c', 'u', undefined),
      proof('c', 'u', ''),
      proof('cu', '', 'secret'),
      proof('c', 'us', 'ecret'),
      proof('cu', undefined, 'secret'),
    ]) {
      expect(cache.cached(other)).toBeUndefined();
    }
  });

  it('does not answer for another certificate, chain or listener from what it verified', async () => {
    const { world, cache } = await node();
    await world.addCredential('u', 'secret', {
      grants: [{ method: 'certificate', required: true }],
    });
    const certificate = {
      fingerprintSha256: 'a'.repeat(64),
      commonName: 'u',
      chainCommonNames: ['u', 'root'],
    };
    const shown = { facts: { ...facts('c'), certificate }, password: undefined };
    expect((await cache.authenticate(shown)).ok).toBe(true);
    // Who it is was told by the certificate, and is told again.
    expect(cache.cached(shown)?.principal.facts).toMatchObject({
      username: 'u',
      methods: ['certificate'],
    });
    const chainCommonNames = ['u', 'other root'];
    for (const other of [
      { ...facts('c') },
      { ...facts('c'), certificate: { ...certificate, fingerprintSha256: 'b'.repeat(64) } },
      { ...facts('c'), certificate: { ...certificate, chainCommonNames } },
      { ...facts('c', 'u'), certificate },
      { ...shown.facts, listener: 'ssl:default' },
    ]) {
      expect(cache.cached({ facts: other, password: undefined })).toBeUndefined();
    }
  });

  describe('where a row asks for the address of the connection', () => {
    const from = (peer: string, clientId = 'c') => ({
      facts: { ...facts(clientId, 'u'), peer },
      password: undefined,
    });
    const everyone = { kind: 'everyone' } as const;
    const row = { effect: 'allow', action: 'all', topicFilter: 'a' } as const;

    it('answers for that address only, whatever the port, and for others apart', async () => {
      const { world, cache, hear } = await node();
      await world.addCredential('u', undefined);
      await world.rules(everyone, { ...row, source: '192.0.2.0/24' });
      await hear();
      const inside = await cache.authenticate(from('192.0.2.1:1'));
      const outside = await cache.authenticate(from('198.51.100.1:1'));
      if (!inside.ok || !outside.ok) throw new Error('refused');
      expect(inside.admitted.policy).not.toBe(outside.admitted.policy);
      expect(cache.cached(from('192.0.2.1:2'))?.policy).toBe(inside.admitted.policy);
      expect(cache.cached(from('198.51.100.1:2'))?.policy).toBe(outside.admitted.policy);
      for (const elsewhere of ['192.0.2.2:1', '198.51.100.2:1', '[2001:db8::1]:1'])
        expect(cache.cached(from(elsewhere))).toBeUndefined();
    });

    it('does not give one that asks at the same time from elsewhere the same answer', async () => {
      const { world, cache, hear } = await node();
      await world.addCredential('u', undefined);
      await world.rules(everyone, { ...row, source: '192.0.2.0/24' });
      await hear();
      const peers = ['192.0.2.1:1', '198.51.100.1:1'];
      const answers = await Promise.all(peers.map((peer) => cache.authenticate(from(peer))));
      const policies = answers.map((one) => (one.ok ? one.admitted.policy : undefined));
      expect(policies[0]).not.toBe(policies[1]);
      expect(cache.cached(from('192.0.2.1:2'))?.policy).toBe(policies[0]);
      expect(cache.cached(from('198.51.100.1:2'))?.policy).toBe(policies[1]);
    });

    it('drops what it has when such a row comes, and shares again when it is gone', async () => {
      const { world, cache, hear } = await node();
      await world.addCredential('u', undefined);
      await world.rules(everyone, row);
      await hear();
      await cache.authenticate(from('192.0.2.1:1'));
      // Nobody asks: any address will do.
      expect(cache.cached(from('198.51.100.1:1'))).toBeDefined();
      await world.rules(everyone, { ...row, source: '192.0.2.0/24' });
      await hear();
      expect(cache.cached(from('192.0.2.1:1'))).toBeUndefined();
      await cache.authenticate(from('192.0.2.1:1'));
      expect(cache.cached(from('198.51.100.1:1'))).toBeUndefined();
      await world.rules(everyone, row);
      await hear();
      expect(cache.cached(from('192.0.2.1:1'))).toBeUndefined();
      await cache.authenticate(from('192.0.2.1:1'));
      expect(cache.cached(from('198.51.100.1:1'))).toBeDefined();
    });

    it('shares one policy among all who have the same rows, whatever they are called', async () => {
      const { world, cache, hear } = await node();
      await world.addCredential('u', undefined);
      await world.rules(everyone, { ...row, clientIdPattern: '^pump-' });
      await hear();
      const ids = ['pump-1', 'pump-2', 'fan-1', 'fan-2'];
      const answers = await Promise.all(
        ids.map((id) => cache.authenticate(from('192.0.2.1:1', id))),
      );
      const policies = answers.map((one) => (one.ok ? one.admitted.policy : undefined));
      expect(policies[0]).toBe(policies[1]);
      expect(policies[2]).toBe(policies[3]);
      expect(policies[0]).not.toBe(policies[2]);
    });
  });

  it('asks in the stores of the listener, with a password and with SCRAM', async () => {
    const world = await World.open();
    worlds.push(world);
    const asked: unknown[] = [];
    const { policy } = world;
    const client: PolicyClient = {
      authenticate: (request) => {
        asked.push(request.stores);
        return policy.authenticate(request);
      },
      scramFirst: (request) => {
        asked.push(request.stores);
        return policy.scramFirst(request);
      },
      scramFinal: (request) => policy.scramFinal(request),
      resolve: (request) => policy.resolve(request),
      explain: (request) => policy.explain(request),
      listenerTrust: (request) => policy.listenerTrust(request),
      bans: (minRevision) => policy.bans(minRevision),
      status: () => policy.status(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const cache = new PolicyCache({
      ...{ client, log: world.log, revision: 0, clock: () => world.now },
      stores: (listener) => (listener === 'ws:default' ? ['clients', 'native'] : undefined),
    });
    await cache.authenticate(proof('c', 'u', 'p'));
    const web = { ...facts('c', 'u'), listener: 'ws:default' };
    await cache.authenticate({ facts: web, password: bytes('p') });
    const exchangeId = Buffer.alloc(16);
    const step = { facts: web, mechanism: 'SCRAM-SHA-256', exchangeId } as const;
    await cache.challengeScram({ ...step, message: bytes('n,,n=u,r=abcdef') });
    expect(asked).toEqual([undefined, ['clients', 'native'], ['clients', 'native']]);
  });

  it('asks the log once before it refuses, and lets in whom its own tail has not heard of', async () => {
    const { world, cache } = await node();
    const heads: number[] = [];
    const head = world.log.head.bind(world.log);
    world.log.head = async () => {
      const found = await head();
      heads.push(found);
      return found;
    };
    const revision = await world.addCredential('u', 'secret');
    expect((await cache.authenticate(proof('c', 'u', 'wrong'))).ok).toBe(false);
    expect(heads).toEqual([revision]);
    expect((await cache.authenticate(proof('c', 'u', 'secret'))).ok).toBe(true);
  });

  it('hands out nothing that a change has made stale, also of more than it drops at once', async () => {
    const { world, cache, hear } = await node();
    await world.addCredential('u', undefined);
    const proofs = Array.from({ length: 3 * DROPPED_AT_ONCE_MAX }, (_, index) =>
      proof(`c${index}`, 'u'),
    );
    await hear();
    for (const one of proofs) await cache.authenticate(one);
    expect(cache.size).toBe(proofs.length);
    await world.rules({ kind: 'everyone' }, { effect: 'deny', action: 'all', topicFilter: '#' });
    await hear();
    expect(cache.size).toBe(proofs.length);
    expect(proofs.map((one) => cache.cached(one)).filter((one) => one !== undefined)).toEqual([]);
    // Asked for by the lookups above, they are gone; those that nobody asks for go by themselves.
    for (const one of proofs) await cache.authenticate(one);
    await world.rules({ kind: 'everyone' }, { effect: 'allow', action: 'all', topicFilter: '#' });
    await hear();
    const [first = proof('c')] = proofs;
    await cache.authenticate(first);
    expect(cache.cached(first)).toBeDefined();
    await expect.poll(() => cache.size).toBe(1);
    expect(cache.cached(first)).toBeDefined();
  });

  it('knows who it knows after more changes of others than it remembers', async () => {
    const { world, cache, hear } = await node();
    await world.addCredential('u', 'secret');
    await hear();
    const known = proof('c', 'u', 'secret');
    await cache.authenticate(known);
    const first = cache.revision;
    for (let index = 1; index <= RECENT_COMMITS_MAX + 1; index++) {
      cache.invalidate(first + index, [`credential:${index}`]);
    }
    const admitted = cache.cached(known);
    if (admitted === undefined) throw new Error('it is not known any more');
    // What it says holds at the newest revision: whoever asks again whether it is stale is not told so.
    expect(admitted.revision).toBe(first + RECENT_COMMITS_MAX + 1);
    expect(cache.isStale(admitted.revision, admitted.resolved.tags)).toBe(false);
    expect(await cache.isNewest(admitted)).toBe(true);
  });

  it('drops a verified secret at the millisecond at which it ends', async () => {
    const { world, cache, hear } = await node();
    await world.addCredential('u', 'old');
    const retireAt = world.now + 1000;
    const secret = world.secret('u', 's2', 'new');
    await world.run({ type: 'RotateSecret', data: { id: 'u', secret, retireAt } });
    await hear();
    await cache.authenticate(proof('c', 'u', 'old'));
    world.now = retireAt - 1;
    expect(cache.cached(proof('c', 'u', 'old'))).toBeDefined();
    world.now = retireAt;
    expect(cache.cached(proof('c', 'u', 'old'))).toBeUndefined();
  });

  it('lets a more specific credential take over as soon as it is enabled again', async () => {
    const { world, cache, hear } = await node();
    await world.addCredential('general', 'p', { match: { username: 'u' } });
    await world.addCredential('special', 'p', { match: { username: 'u', clientId: 'c' } });
    const enable = (enabled: boolean) =>
      world.run({ type: 'ChangeCredential', data: { id: 'special', changes: { enabled } } });
    await enable(false);
    await hear();
    await cache.authenticate(proof('c', 'u', 'p'));
    expect(cache.cached(proof('c', 'u', 'p'))?.principal.credentialId).toBe('general');
    await enable(true);
    await hear();
    expect(cache.cached(proof('c', 'u', 'p'))).toBeUndefined();
  });

  it('throws away an answer that a change has made stale on its way', async () => {
    let late: (() => Promise<void>) | undefined;
    const { world, cache, hear } = await node((inner) => ({
      authenticate: async (request): Promise<AuthenticateAnswer> => {
        const answer = await inner.policy.authenticate(request);
        const change = late;
        late = undefined;
        await change?.();
        return answer;
      },
      scramFirst: (request) => inner.policy.scramFirst(request),
      scramFinal: (request) => inner.policy.scramFinal(request),
      resolve: (request) => inner.policy.resolve(request),
      explain: (request) => inner.policy.explain(request),
      listenerTrust: (request) => inner.policy.listenerTrust(request),
      status: () => inner.policy.status(),
      bans: (minRevision: number) => inner.policy.bans(minRevision),
      [Symbol.asyncDispose]: async () => undefined,
    }));
    await world.addCredential('u', 'secret');
    await hear();
    late = async () => {
      await world.run({ type: 'RemoveCredential', data: { id: 'u' } });
      await hear();
    };
    expect(await cache.authenticate(proof('c', 'u', 'secret'))).toEqual({
      ok: false,
      reason: 'unknown_client',
      revision: cache.revision,
    });
    expect(cache.size).toBe(0);
  });

  it('never differs from an uncached evaluator on what it has heard of', async () => {
    const ids = ['u', 'v'];
    const change: fc.Arbitrary<(world: World) => Command | undefined> = fc.oneof(
      fc.constantFrom(...ids).map((id) => (world: World): Command | undefined => {
        if (world.model.reads.credential(id) !== undefined) {
          return { type: 'RemoveCredential', data: { id } };
        }
        const match = id === 'u' ? { username: 'u' } : { username: 'u', clientId: 'c' };
        return {
          type: 'AddCredential',
          data: {
            id,
            store: 'native',
            kind: 'password',
            name: id,
            match,
            enabled: true,
            superuser: false,
            passwordRequired: true,
            attributes: {},
            access: { kind: 'acl' },
            secrets: [world.secret(id, 's1', 'p')],
          },
        };
      }),
      fc
        .record({ id: fc.constantFrom(...ids), enabled: fc.boolean(), superuser: fc.boolean() })
        .map(
          ({ id, ...changes }) =>
            (world: World): Command | undefined =>
              world.model.reads.credential(id) && {
                type: 'ChangeCredential',
                data: { id, changes },
              },
        ),
      fc
        .record({
          effect: fc.constantFrom('allow' as const, 'deny' as const),
          name: fc.constantFrom('c', 'u'),
          kind: fc.constantFrom('client' as const, 'username' as const),
        })
        .map(({ effect, name, kind }) => (): Command => ({
          type: 'ReplaceAclRules',
          data: {
            target: { kind, name },
            rules: [{ ruleId: 'r', effect, action: 'all', topicFilter: 'a/#' }],
          },
        })),
      fc.constantFrom('allow' as const, 'deny' as const).map((noMatch) => (): Command => ({
        type: 'ChangeSettings',
        data: { changes: { noMatch } },
      })),
    );
    const step = fc.record({ change, connects: fc.nat(2) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const { world, cache, hear } = await node();
        for (const { change: next, connects } of steps) {
          const command = next(world);
          if (command !== undefined) await world.run(command);
          await hear();
          for (let i = 0; i <= connects; i++) {
            const asked = proof('c', 'u', 'p');
            const truth = await world.policy.authenticate({
              facts: asked.facts,
              minRevision: 0,
              password: bytes('p'),
            });
            const known = cache.cached(asked);
            const answer = known
              ? { ok: true as const, admitted: known }
              : await cache.authenticate(asked);
            expect(answer.ok).toBe(truth.ok);
            if (!answer.ok || !truth.ok) continue;
            expect(answer.admitted.principal).toEqual(truth.principal);
            expect(answer.admitted.policy.policyId).toBe(truth.policy.policyId);
          }
        }
        await world[Symbol.asyncDispose]();
        worlds.splice(worlds.indexOf(world), 1);
      }),
      { numRuns: 15 },
    );
  });
});
