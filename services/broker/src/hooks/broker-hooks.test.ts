import type { BanRule } from '@sallyport/domain';
import { MemoryEventLog } from '@sallyport/event-log';
import { PolicyCache, type PolicyClient, type ResolveRequest } from '@sallyport/policy-client';
import type { PolicySpec } from '@sallyport/rules';
import type { SessionRecord } from '@sallyport/session-store';
import { createLogThrottle, silentLogger } from '@sallyport/telemetry';
import { expect, it } from 'vitest';
import { LiveSessions } from '../access/live-sessions.ts';
import { placesOf } from '../../test-support/session-places.ts';
import { banListOf, openDoor } from '../../test-support/open-door.ts';
import { BrokerHooks } from './broker-hooks.ts';

const ALLOW: PolicySpec = {
  policyId: 'allow',
  superuser: false,
  authorities: [],
  noMatch: 'allow',
  denyAction: 'ignore',
};

/** Of a client that is not connected, when it is the time of its will. */
async function mayPublishStored(
  bans: readonly BanRule[],
  { spec = ALLOW, told = [] as object[] } = {},
): Promise<[boolean, number]> {
  const unasked = () => Promise.reject(new Error('not asked here'));
  let asked = 0;
  const policy: PolicyClient = {
    authenticate: unasked,
    scramFirst: unasked,
    scramFinal: unasked,
    explain: unasked,
    status: unasked,
    bans: unasked,
    listenerTrust: unasked,
    resolve: async ({ minRevision }: ResolveRequest) => {
      asked += 1;
      const results = [{ policyId: 'allow', tags: [] }];
      return { revision: minRevision + 3, results, policies: [spec] };
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const clock = (): number => 1000;
  const logger = {
    ...createLogThrottle({ logger: silentLogger() }),
    info: (_reason: string, fields: object) => void told.push(fields),
  };
  const hooks = new BrokerHooks({
    cache: new PolicyCache({ client: policy, log: new MemoryEventLog(), revision: 0, clock }),
    policy,
    sessions: new LiveSessions(),
    uses: { note: () => undefined },
    places: placesOf(),
    door: openDoor({ clock, bans: banListOf(bans, clock) }),
    staleness: () => undefined,
    announced: () => 0,
    logger,
    deniedPublish: () => undefined,
    publishRates: { of: () => undefined },
  });
  const facts = { clientId: 'c', username: 'u', listener: 'l', peer: '192.0.2.1:5' };
  const principal = { credentialId: 'k', store: 'native', facts };
  const record = { principal } as unknown as SessionRecord; // As much of it as is looked at.
  const topic = await hooks.storedWillTopic(record, { topic: 't', qos: 0, retain: false });
  logger.close();
  return [topic === 't', asked];
}

it('the delayed will of somebody who was banned meanwhile is not published', async () => {
  const networks: BanRule = { id: '2', kind: 'cidr', value: '192.0.2.0/24' };
  expect(await mayPublishStored([])).toEqual([true, 1]);
  expect(await mayPublishStored([{ id: '1', kind: 'username', value: 'u' }])).toEqual([false, 0]);
  expect(await mayPublishStored([networks])).toEqual([false, 0]);
  expect(await mayPublishStored([{ ...networks, until: 1000 }])).toEqual([true, 1]);
});

it('a delayed will that is denied is told, with what denied it', async () => {
  const told: object[] = [];
  expect(await mayPublishStored([{ id: '1', kind: 'username', value: 'u' }], { told })).toEqual([
    false,
    0,
  ]);
  const rule = {
    ruleId: 'acl:everyone/r1',
    effect: 'deny',
    actions: ['publish'],
    matcher: { kind: 'filter', filter: 't' },
  } as const;
  const authorities = [{ name: 'acl', rules: [rule], noMatch: 'abstain' }] as const;
  const denied = await mayPublishStored([], { told, spec: { ...ALLOW, authorities } });
  expect(denied).toEqual([false, 1]);
  const none = await mayPublishStored([], { told, spec: { ...ALLOW, policyId: 'other' } });
  expect(none).toEqual([false, 1]);
  const will = { clientId: 'c', topic: 't', qos: 0, retain: false };
  expect(told).toEqual([
    { ...will, ruleId: 'ban:1', revision: 0 },
    { ...will, ruleId: 'acl:everyone/r1', revision: 3 },
    { ...will, ruleId: 'credential', revision: 3 },
  ]);
});
