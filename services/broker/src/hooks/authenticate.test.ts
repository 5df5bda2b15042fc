import type { BanRule } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { MemoryEventLog } from '@sallyport/event-log';
import {
  type AuthenticateAnswer,
  type AuthenticateRequest,
  PolicyCache,
  type PolicyClient,
} from '@sallyport/policy-client';
import type { PolicySpec } from '@sallyport/rules';
import { startTelemetry, type Telemetry } from '@sallyport/telemetry';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BanList } from '../access/ban-list.ts';
import { LiveSessions } from '../access/live-sessions.ts';
import { openDoor } from '../../test-support/open-door.ts';
import { FarStore, placesOf } from '../../test-support/session-places.ts';
import type { SessionPlaces } from '../access/session-places.ts';
import {
  ANNOUNCED_WAIT_MS,
  authenticate,
  type ConnectAnswer,
  type ConnectRequest,
} from './authenticate.ts';

const REQUEST = {
  clientId: 'pump',
  username: 'pump',
  password: Buffer.from('p'),
  willTopic: undefined,
  listener: 'tcp:default',
  peer: '127.0.0.1:1',
};

const POLICY: PolicySpec = {
  policyId: 'p',
  superuser: false,
  authorities: [],
  noMatch: 'allow',
  denyAction: 'ignore',
};

const sound = ({ facts, minRevision }: AuthenticateRequest): AuthenticateAnswer => ({
  ok: true,
  revision: minRevision,
  principal: { credentialId: 'c', store: 'native', facts },
  resolved: { policyId: 'p', tags: [] },
  policy: POLICY,
});

/** A policy service that does what the test says. */
class FaultyPolicy implements PolicyClient {
  asked = 0;
  answer: (request: AuthenticateRequest) => unknown = sound;

  async authenticate(request: AuthenticateRequest): Promise<AuthenticateAnswer> {
    this.asked += 1;
    return (await this.answer(request)) as AuthenticateAnswer; // Rubbish is what is tested.
  }

  scramFirst = () => Promise.reject(new Error('not asked here'));
  scramFinal = () => Promise.reject(new Error('not asked here'));
  resolve = () => Promise.reject(new Error('not asked here'));
  explain = () => Promise.reject(new Error('not asked here'));
  listenerTrust = () => Promise.reject(new Error('not asked here'));
  bans = () => Promise.reject(new Error('not asked here'));
  status = () => Promise.reject(new Error('not asked here'));
  [Symbol.asyncDispose] = () => Promise.resolve();
}

let policy: FaultyPolicy;
let sessions: LiveSessions;
let staleness: string | undefined;
let announced: number;
let told: Record<string, unknown>[];
let places: SessionPlaces;
let telemetry: Telemetry;

beforeEach(async () => {
  policy = new FaultyPolicy();
  sessions = new LiveSessions();
  staleness = undefined;
  announced = 0;
  told = [];
  places = placesOf();
  telemetry = await startTelemetry({
    serviceName: 'sallyport-test',
    instanceId: 'one',
    samplingRatio: 0,
    logLevel: 'info',
    logDestination: { write: () => undefined },
  });
});
afterEach(() => telemetry.shutdown());

const newCache = (): PolicyCache =>
  new PolicyCache({ client: policy, log: new MemoryEventLog(), revision: 0, clock: Date.now });

function connect(
  clientId = REQUEST.clientId,
  cache = newCache(),
  changes: Partial<ConnectRequest> = {},
  door = openDoor(),
): ConnectAnswer | Promise<ConnectAnswer> {
  const note = (reason: string, fields: object): void => {
    told.push({ ...fields, reason });
  };
  const logger = { info: note, warn: note, close: () => undefined };
  const uses = { note: () => undefined };
  const only = (name: string) => (listener: string) => listener === name;
  const context = {
    ...{ cache, sessions, door, uses, places, logger },
    hidesBadCredentials: only('tcp:tbmq'),
    tellsUnknownClients: only('tcp:emqx'),
    wantsNames: only('tcp:named'),
    listenerFacts: (listener: string) =>
      listener === 'tcp:open' ? ({ zone: 'hall-7', open: true } as const) : {},
    staleness: () => staleness,
    announced: () => announced,
  };
  return authenticate(context, { ...REQUEST, clientId, ...changes }, () => undefined);
}

const refusals = async (): Promise<number> => {
  const text = await telemetry.metricsText();
  const line = /sallyport_connects_total\{outcome="(?!accept)[^}]*\} (\d+)/g;
  return [...text.matchAll(line)].reduce((sum, [, count]) => sum + Number(count), 0);
};

/** Nobody gets in; the log has a reason and the metric has one more; then it works again, by itself. */
async function expectRefused(): Promise<void> {
  const before = await refusals();
  expect(await connect()).toEqual({
    verdict: expect.stringMatching(/^(server_unavailable|server_busy|not_authorized)$/) as string,
  });
  expect(sessions.size).toBe(0);
  expect(told.some((one) => typeof one['reason'] === 'string' && one['reason'] !== '')).toBe(true);
  expect(await refusals()).toBe(before + 1);
  policy.answer = sound;
  staleness = undefined;
  expect((await connect()).verdict).toBe('accept');
}

describe('a credential that has as many clients connected as it may', () => {
  const limited = (request: AuthenticateRequest): AuthenticateAnswer => {
    const answer = sound(request);
    return answer.ok
      ? { ...answer, resolved: { policyId: 'p', tags: [], sessionsMax: 1 } }
      : answer;
  };

  it.each(['in this process', 'elsewhere'])(
    'lets in no other one, which is told and counted; the store is %s',
    async (where) => {
      if (where === 'elsewhere') places = placesOf({ store: new FarStore() });
      policy.answer = limited;
      const door = openDoor();
      expect((await connect('one', newCache(), {}, door)).verdict).toBe('accept');
      const before = await refusals();
      expect(await connect('other', newCache(), {}, door)).toEqual({ verdict: 'quota_exceeded' });
      expect([sessions.size, await refusals()]).toEqual([1, before + 1]);
      expect(told).toMatchObject([
        { reason: 'connect credential_sessions', clientId: 'other', ruleId: 'credential:c' },
      ]);
      // A takeover is no second one.
      expect((await connect('one', newCache(), {}, door)).verdict).toBe('accept');
    },
  );

  it('lets in nobody while it cannot be known', async () => {
    const store = new FarStore();
    store.failure = new OperationalError('session_store_unavailable', 'away');
    places = placesOf({ store });
    policy.answer = limited;
    expect(await connect('one')).toEqual({ verdict: 'server_unavailable' });
    expect(sessions.size).toBe(0);
    store.failure = undefined;
    expect((await connect('one')).verdict).toBe('accept');
    places[Symbol.dispose]();
  });
});

describe('a CONNECT is refused, told and counted, and the next one is let in again', () => {
  it.each([
    ['is dead', new OperationalError('policy_not_ready', 'away')],
    ['does not answer in time', new OperationalError('policy_not_ready', 'deadline')],
    ['sheds load', new OperationalError('hash_pool_full', 'busy')],
    ['answers what the wire does not allow', new OperationalError('invalid_request', 'rubbish')],
    ['breaks', new TypeError('a bug')],
  ])('while the policy service %s', async (_, failure) => {
    policy.answer = () => Promise.reject(failure);
    await expectRefused();
  });

  it.each([
    ['nothing', undefined],
    ['null', null],
    ['a text', 'allowed'],
    ['an empty object', {}],
    ['an admission without a policy', { ...sound({ facts: REQUEST, minRevision: 0 }), policy: {} }],
    ['an admission that depends on nothing', { ok: true, revision: 0, policy: POLICY }],
  ])('while it answers %s', async (_, rubbish) => {
    policy.answer = () => rubbish;
    await expectRefused();
  });

  it('while it answers rules that cannot be understood', async () => {
    const rule = {
      ruleId: 'r',
      effect: 'deny',
      actions: ['publish'],
      matcher: { kind: 'filter', filter: 'a/#/b' },
    } as const;
    const authorities = [{ name: 'acl', rules: [rule], noMatch: 'allow' }] as const;
    policy.answer = (request) => ({ ...sound(request), policy: { ...POLICY, authorities } });
    await expectRefused();
  });

  it('while the log is silent, without asking anybody', async () => {
    staleness = 'the log is silent';
    const asked = policy.asked;
    await expectRefused();
    expect(policy.asked).toBe(asked + 1);
    expect(told[0]).toMatchObject({ reason: 'connect the log is silent' });
  });
});

describe('compat A2.1, A2.2, B3: a refusal', () => {
  const certificate = {
    ...{ subjectCn: 'pump', subjectDn: 'CN=pump', issuerDn: 'CN=ca', chainCns: ['pump'] },
    ...{ fingerprintSha256: 'f'.repeat(64), serialNumber: '01', validTo: 1e15 },
  };
  const told = async (reason: string, changes: Partial<ConnectRequest> = {}) => {
    policy.answer = ({ minRevision }) => ({ ok: false, revision: minRevision, reason });
    return (await connect(undefined, undefined, changes)).verdict;
  };

  it.each([
    ...['unknown_client', 'wrong_secret', 'disabled'],
    'not_valid_now',
    'certificate',
    'client_id',
  ])(
    'of what may be wrong with a name and a password does not tell what it was: %s',
    async (reason) => {
      expect(await told(reason)).toBe('bad_credentials');
      expect(await told(reason, { password: undefined })).toBe('bad_credentials');
      expect(await told(reason, { certificate })).toBe('bad_credentials');
      // A listener for tbmq alone never says 4.
      expect(await told(reason, { listener: 'tcp:tbmq' })).toBe('not_authorized');
    },
  );

  it('of a certificate that nobody may come in by, and of a will that may not be, is another', async () => {
    expect(await told('certificate', { certificate, password: undefined })).toBe('not_authorized');
    policy.answer = (request) => ({
      ...sound(request),
      policy: { ...POLICY, noMatch: 'deny' as const },
    });
    const { verdict } = await connect(undefined, undefined, { willTopic: 't' });
    expect(verdict).toBe('not_authorized');
  });

  it('tells on a listener that is to tell it that nobody is known, and nothing else (emqx 2.4)', async () => {
    const listener = 'tcp:emqx';
    expect(await told('unknown_client', { listener })).toBe('not_authorized');
    for (const reason of ['wrong_secret', 'disabled', 'not_valid_now']) {
      expect(await told(reason, { listener }), reason).toBe('bad_credentials');
    }
  });

  it('for want of room to check a secret says that the server is busy', async () => {
    policy.answer = () => Promise.reject(new OperationalError('hash_pool_full', 'busy'));
    expect((await connect()).verdict).toBe('server_busy');
  });
});

describe('a listener that wants names', () => {
  const [listener, nameless] = ['tcp:named', { username: undefined, password: undefined }];
  const certificate = {
    ...{ subjectCn: 'pump', subjectDn: 'CN=pump', issuerDn: 'CN=ca', chainCns: ['pump'] },
    ...{ fingerprintSha256: 'f'.repeat(64), serialNumber: '01', validTo: 1e15 },
  };
  const verdict = async (changes: Partial<ConnectRequest>) =>
    (await connect(undefined, undefined, changes)).verdict;

  it('refuses unasked whoever gives none and shows no certificate', async () => {
    expect(await verdict({ listener, ...nameless })).toBe('not_authorized');
    expect(await verdict({ listener, username: '' })).toBe('not_authorized');
    expect(policy.asked).toBe(0);
    expect(told[0]).toMatchObject({ reason: 'connect nameless', listener });
  });

  it('asks for all others, and other listeners for everybody', async () => {
    expect(await verdict({ listener })).toBe('accept');
    expect(await verdict({ listener, ...nameless, certificate })).toBe('accept');
    expect(await verdict({ ...nameless })).toBe('accept');
    expect(policy.asked).toBe(3);
  });
});

it('what is said of a listener is a fact of whoever comes in by it, and of nobody else', async () => {
  const asked: unknown[] = [];
  policy.answer = (request) => {
    asked.push(request.facts);
    return sound(request);
  };
  await connect(undefined, undefined, { listener: 'tcp:open' });
  await connect();
  expect(asked[0]).toMatchObject({ listener: 'tcp:open', zone: 'hall-7', open: true });
  expect(Object.keys(asked[1] as object).sort()).toEqual([
    'clientId',
    'listener',
    'peer',
    'username',
  ]);
});

describe('the log tells what refused a CONNECT, and of which revision', () => {
  it('the ban', async () => {
    const bans: BanRule[] = [{ id: 'b1', kind: 'client_id', value: 'thief' }];
    const door = openDoor({ bans: new BanList({ revision: 7, bans }, () => 0) });
    expect((await connect('thief', newCache(), {}, door)).verdict).toBe('banned');
    expect(told[0]).toMatchObject({ clientId: 'thief', ruleId: 'ban:b1', revision: 7 });
    expect(policy.asked).toBe(0);
  });

  it.each(['credential:c1', 'chain:global', 'ban:b2'])(
    'what the policy service names: %s',
    async (ruleId) => {
      policy.answer = () => ({ ok: false, revision: 5, reason: 'disabled', ruleId });
      await connect();
      expect(told).toEqual([expect.objectContaining({ ruleId, revision: 5 })]);
    },
  );

  it('the revision alone where nobody is known', async () => {
    policy.answer = () => ({ ok: false, revision: 5, reason: 'unknown_client' });
    await connect();
    expect(told[0]).toMatchObject({ revision: 5 });
    expect(told[0]).not.toHaveProperty('ruleId');
  });

  it('the rule that denies its will', async () => {
    const rule = {
      ruleId: 'acl:everyone/r1',
      effect: 'deny',
      actions: ['publish'],
      matcher: { kind: 'filter', filter: 'w' },
    } as const;
    const authorities = [{ name: 'acl', rules: [rule], noMatch: 'abstain' }] as const;
    policy.answer = (request) => ({
      ...sound(request),
      revision: 9,
      policy: { ...POLICY, authorities },
    });
    const refused = await connect('pump', newCache(), { willTopic: 'w' });
    expect(refused.verdict).toBe('not_authorized');
    expect(told[0]).toMatchObject({ ruleId: 'acl:everyone/r1', revision: 9 });
    expect((await connect('pump', newCache(), { willTopic: 'x' })).verdict).toBe('accept');
  });
});

describe('a client that the cache knows', () => {
  it('is answered at once, and not at all by the policy service', async () => {
    const cache = newCache();
    await connect('c', cache);
    const answer = connect('c', cache);
    expect(answer).toMatchObject({ verdict: 'accept' });
    expect([policy.asked, sessions.size]).toEqual([1, 2]);
    staleness = 'the log is silent';
    expect(connect('c', cache)).toEqual({ verdict: 'server_unavailable' });
    expect([await refusals(), sessions.size]).toEqual([1, 2]);
  });

  it('waits for the end of the log when no later change will reach it', async () => {
    policy.answer = (request) => ({
      ...sound(request),
      policy: { ...POLICY, applyMode: 'pinned' },
    });
    const cache = newCache();
    await connect('c', cache);
    const answer = connect('c', cache);
    expect(answer).toBeInstanceOf(Promise);
    expect(sessions.size).toBe(1);
    expect((await answer).verdict).toBe('accept');
    expect(policy.asked).toBe(1);
  });
});

describe('a change that another node has announced', () => {
  afterEach(() => void vi.useRealTimers());

  it('is waited for, also by a client that the cache knows, who then meets it', async () => {
    // By the test's clock, so that the wait has its bound where the machine stands still.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const cache = newCache();
    policy.answer = (request) => ({
      ...sound(request),
      resolved: { policyId: 'p', tags: ['credential:c'] },
    });
    await connect('c', cache);
    announced = 5;
    policy.answer = () => ({ ok: false, revision: 5, reason: 'disabled' });
    const answer = connect('c', cache);
    expect(answer).toBeInstanceOf(Promise);
    await vi.advanceTimersByTimeAsync(ANNOUNCED_WAIT_MS - 1);
    expect([policy.asked, sessions.size]).toEqual([1, 1]);
    cache.invalidate(4, []);
    await vi.advanceTimersByTimeAsync(0);
    expect(policy.asked).toBe(1);
    cache.invalidate(5, ['credential:c']);
    expect(await answer).toEqual({ verdict: 'bad_credentials' });
    expect([policy.asked, sessions.size]).toEqual([2, 1]);
  });

  it('is waited for a bounded time: then what is known here decides', async () => {
    const cache = newCache();
    await connect('c', cache);
    announced = 5;
    const started = performance.now();
    expect((await connect('c', cache)).verdict).toBe('accept');
    const waited = performance.now() - started;
    expect(waited).toBeGreaterThanOrEqual(ANNOUNCED_WAIT_MS - 5);
    expect([policy.asked, sessions.size]).toEqual([1, 2]);
  });

  it('makes nobody wait when this node has heard of it too', async () => {
    const cache = newCache();
    await connect('c', cache);
    announced = 5;
    cache.invalidate(5, []);
    expect(connect('c', cache)).toMatchObject({ verdict: 'accept' });
  });
});

describe('a slow policy service', () => {
  it('holds only those who ask it, and lets in nobody before it has answered', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    policy.answer = async (request) => {
      if (request.facts.clientId === 'slow') await held;
      return sound(request);
    };
    const slow = connect('slow');
    expect((await connect('fast')).verdict).toBe('accept');
    expect(sessions.size).toBe(1);
    release();
    expect((await slow).verdict).toBe('accept');
    expect(sessions.size).toBe(2);
  });
});
