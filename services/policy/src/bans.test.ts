import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BanFields } from '@sallyport/domain';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import { silentLogger } from '@sallyport/telemetry';
import { startGrpcServer } from './grpc/server.ts';
import { bytes, facts, World } from './testing/world.ts';

let world: World;

beforeEach(async () => {
  world = await World.open();
  await world.addCredential('pump', 'secret');
});
afterEach(() => world[Symbol.asyncDispose]());

const ban = (changes: Partial<BanFields> = {}): Promise<number> =>
  world.run({
    type: 'AddBan',
    data: { id: 'b1', kind: 'client_id', value: 'thief', by: 'test', ...changes },
  });

const connect = (minRevision: number, clientId = 'thief', peer = '192.0.2.7:5000') =>
  world.policy.authenticate({
    facts: { ...facts(clientId, 'pump'), peer },
    password: bytes('secret'),
    minRevision,
  });

describe('a ban', () => {
  it('refuses who shows the right secret, until it runs out', async () => {
    const revision = await ban({ until: world.now + 1 });
    expect(await connect(revision)).toMatchObject({
      ok: false,
      reason: 'banned',
      ruleId: 'ban:b1',
    });
    expect(await connect(revision, 'other')).toMatchObject({ ok: true });
    world.now += 1;
    expect(await connect(revision)).toMatchObject({ ok: true });
  });

  it.each([
    [{ kind: 'username', value: 'pump' }],
    [{ kind: 'address', value: '::ffff:192.0.2.7' }],
    [{ kind: 'cidr', value: '192.0.2.0/29' }],
    [{ kind: 'client_id_pattern', value: '^th.ef$' }],
    [{ kind: 'username_pattern', value: 'um' }],
    [{ kind: 'address_pattern', value: '2\\.7$' }],
  ] as [Partial<BanFields>][])('by %j refuses too, and resolves to nobody', async (changes) => {
    const before = await connect(0);
    if (!before.ok) throw new Error('refused');
    const revision = await ban(changes);
    expect(await connect(revision)).toMatchObject({ ok: false, reason: 'banned' });
    const { principal } = before;
    const { results } = await world.policy.resolve({
      principals: [principal],
      minRevision: revision,
    });
    expect(results).toEqual([undefined]);
    const request = {
      principal,
      action: 'publish',
      topic: 't',
      terms: { qos: 0, retain: false },
      minRevision: revision,
    } as const;
    expect(await world.policy.explain(request)).toMatchObject({ allowed: false, ruleId: 'ban:b1' });
  });

  it('that is removed refuses nobody', async () => {
    await ban();
    const revision = await world.run({ type: 'RemoveBan', data: { id: 'b1' } });
    expect(await connect(revision)).toMatchObject({ ok: true });
  });
});

describe('over gRPC', () => {
  it('the list of bans is the same', async () => {
    await ban({ id: 'b1', until: world.now + 1 });
    await ban({ id: 'b2', kind: 'username', value: '__proto__' });
    await ban({ id: 'b3', kind: 'address', value: '2001:db8::1' });
    const revision = await ban({ id: 'b4', kind: 'cidr', value: '10.0.0.0/8', reason: 'r' });
    const server = await startGrpcServer(
      world.policy,
      { listen: '127.0.0.1:0', token: 'token' },
      silentLogger(),
    );
    await using client = new GrpcPolicyClient({
      endpoints: [`127.0.0.1:${server.port}`],
      token: 'token',
    });
    try {
      const answer = await client.bans(revision);
      expect(answer).toEqual(await world.policy.bans(revision));
      expect(answer.revision).toBe(revision);
      expect(answer.bans).toContainEqual({ id: 'b2', kind: 'username', value: '__proto__' });
      expect(answer.bans).toHaveLength(4);
      world.now += 1;
      expect((await client.bans(0)).bans).toHaveLength(3);
      expect(
        await client.authenticate({
          facts: facts('x', '__proto__'),
          minRevision: revision,
        }),
      ).toMatchObject({ ok: false, reason: 'banned' });
    } finally {
      await server.close(100);
    }
  });
});
