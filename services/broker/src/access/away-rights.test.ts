import type { BanRule } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { MemoryEventLog } from '@sallyport/event-log';
import { PolicyCache, type PolicyClient, type ResolveRequest } from '@sallyport/policy-client';
import type { PolicySpec } from '@sallyport/rules';
import { createMemorySessionStore } from '@sallyport/session-store';
import { expect, it } from 'vitest';
import { banListOf } from '../../test-support/open-door.ts';
import { AWAY_KEPT_MS, AWAY_RETRY_MS, AwayRights } from './away-rights.ts';

const policyOf = (topicFilter: string): PolicySpec => ({
  ...{ policyId: topicFilter, superuser: false, noMatch: 'deny', denyAction: 'ignore' },
  authorities: [
    {
      name: 'acl',
      rules: [
        {
          ruleId: 'r',
          effect: 'allow',
          actions: ['receive'],
          matcher: { kind: 'filter', filter: topicFilter },
        },
      ],
      noMatch: 'abstain',
    },
  ],
});

async function setUp(bans: readonly BanRule[] = []) {
  const store = createMemorySessionStore();
  const facts = { clientId: 'c', username: 'u', listener: 'l', peer: '192.0.2.1:5' };
  await store.openSession({
    ...{ clientId: 'c', owner: 'k', principal: { credentialId: 'k', store: 'native', facts } },
    ...{ expirySeconds: 60, nodeId: 'n', cleanStart: false, now: 0 },
  });
  /** What everybody may receive; undefined: nobody may be connected. */
  const state: { grant: string | undefined; failure?: Error; asked: number; now: number } = {
    ...{ grant: 't/#', asked: 0, now: 0 },
  };
  const policy = {
    resolve: async ({ principals, minRevision }: ResolveRequest) => {
      state.asked += 1;
      if (state.failure !== undefined) throw state.failure;
      const { grant } = state;
      const spec = grant === undefined ? undefined : policyOf(grant);
      return {
        revision: minRevision,
        results: principals.map(() => spec && { policyId: spec.policyId, tags: ['acl'] }),
        policies: spec === undefined ? [] : [spec],
      };
    },
  };
  const clock = () => state.now;
  const client = policy as unknown as PolicyClient; // Nothing else is asked.
  const cache = new PolicyCache({ client, log: new MemoryEventLog(), revision: 0, clock });
  const away = new AwayRights({
    ...{ store, policy, cache, clock, bans: banListOf(bans, clock) },
    logger: { warn: () => undefined },
  });
  /** What is said first, and once it is learned. */
  const judged = async (topic: string, clientId = 'c') => {
    const first = away.mayReceive(clientId, topic);
    await away.settled;
    return [first, away.mayReceive(clientId, topic)];
  };
  return { away, cache, state, judged };
}

it('says nothing of somebody at first, and then what it may, in memory', async () => {
  const { judged, state } = await setUp();
  expect(await judged('x')).toEqual([undefined, false]);
  expect(await judged('t/1')).toEqual([true, true]);
  expect(state.asked).toBe(1);
});

it('says that nobody may receive anything who may not be connected, or is banned', async () => {
  const closed = await setUp();
  closed.state.grant = undefined;
  expect(await closed.judged('t/1')).toEqual([undefined, false]);
  const banned = await setUp([{ id: '1', kind: 'username', value: 'u' }]);
  expect(await banned.judged('t/1')).toEqual([undefined, false]);
});

it('says nothing of who has no session', async () => {
  const { judged } = await setUp();
  expect(await judged('t/1', 'nobody')).toEqual([undefined, undefined]);
});

it('learns anew what a change is about, and believes nothing old meanwhile', async () => {
  const { judged, cache, state } = await setUp();
  await judged('t/1');
  cache.invalidate(1, ['other']);
  expect(await judged('t/1')).toEqual([true, true]);
  state.grant = undefined;
  cache.invalidate(2, ['acl']);
  expect(await judged('t/1')).toEqual([undefined, false]);
  state.grant = 't/#';
  // Whatever it is about: nobody knows what would let somebody in again.
  cache.invalidate(3, ['other']);
  expect(await judged('t/1')).toEqual([undefined, true]);
});

it('learns anew after a while, and of who was connected meanwhile', async () => {
  const { away, judged, state } = await setUp();
  await judged('t/1');
  state.now = AWAY_KEPT_MS;
  expect(await judged('t/1')).toEqual([true, true]);
  state.now += 1;
  expect(await judged('t/1')).toEqual([undefined, true]);
  away.forget('c');
  expect(await judged('t/1')).toEqual([undefined, true]);
  expect(state.asked).toBe(3);
});

it('says nothing while it cannot be learned, and asks again after a pause', async () => {
  const { judged, state } = await setUp();
  state.failure = new OperationalError('policy_not_ready', 'away');
  expect(await judged('t/1')).toEqual([undefined, undefined]);
  expect(await judged('t/1')).toEqual([undefined, undefined]);
  expect(state.asked).toBe(1);
  delete state.failure;
  state.now = AWAY_RETRY_MS;
  expect(await judged('t/1')).toEqual([undefined, true]);
});
