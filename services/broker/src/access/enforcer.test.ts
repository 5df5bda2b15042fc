import {
  credentialTag,
  type DomainEvent,
  type NewCommit,
  type NewCredential,
  TRUST_TAG,
} from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { type EventLog, MemoryEventLog, type RecordedCommit } from '@sallyport/event-log';
import {
  type Admitted,
  PolicyCache,
  type PolicyClient,
  type Principal,
  type ResolveAnswer,
  type ResolveRequest,
} from '@sallyport/policy-client';
import { compilePolicy, type PolicySpec } from '@sallyport/rules';
import { type Logger, silentLogger } from '@sallyport/telemetry';
import { parseTopicFilter } from '@sallyport/topic';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FarStore, placesOf } from '../../test-support/session-places.ts';
import { BanList } from './ban-list.ts';
import { type EnforcedState, Enforcer, type EnforcerOptions } from './enforcer.ts';
import { LiveSession, LiveSessions, VERDICTS_MAX } from './live-sessions.ts';
import type { SessionPlaces } from './session-places.ts';

const policyOf = (policyId: string, noMatch: 'allow' | 'deny'): PolicySpec => ({
  policyId,
  superuser: false,
  authorities: [],
  noMatch,
  denyAction: 'ignore',
});
const ALLOW = policyOf('allow', 'allow');
const DENY = policyOf('deny', 'deny');

const principalOf = (id: string): Principal => ({
  credentialId: id,
  store: 'native',
  facts: { clientId: id, listener: 'tcp:default' },
});

const admitted = (id: string, secretExpiresAt?: number): Admitted => ({
  principal: principalOf(id),
  resolved: {
    policyId: ALLOW.policyId,
    tags: [credentialTag(id)],
    ...(secretExpiresAt !== undefined && { secretExpiresAt }),
  },
  policy: compilePolicy(ALLOW),
  revision: 0,
});

const changed = (commitId: string, ...ids: string[]): NewCommit => ({
  commitId,
  at: 0,
  actor: { kind: 'system', id: 'test' },
  events: ids.map((id): DomainEvent => ({
    type: 'CredentialChanged',
    data: { id, changes: { enabled: true } },
  })),
});

/** The policy service's port, answering what the test sets. */
class Policy implements PolicyClient {
  readonly requests: ResolveRequest[] = [];
  answer: (principal: Principal) => PolicySpec | undefined = () => ALLOW;
  sessionsMax: number | undefined;
  failures = 0;
  held: Promise<void> | undefined;

  async resolve(request: ResolveRequest): Promise<ResolveAnswer> {
    this.requests.push(request);
    await this.held;
    if (this.failures-- > 0) throw new OperationalError('policy_not_ready', 'away');
    const policies = request.principals.map(this.answer);
    return {
      revision: request.minRevision,
      results: request.principals.map((principal, index) => {
        const policyId = policies[index]?.policyId;
        return policyId === undefined
          ? undefined
          : {
              policyId,
              tags: [credentialTag(principal.credentialId)],
              ...(this.sessionsMax !== undefined && { sessionsMax: this.sessionsMax }),
            };
      }),
      policies: [ALLOW, DENY],
    };
  }

  authenticate = () => Promise.reject(new Error('not asked here'));
  scramFirst = () => Promise.reject(new Error('not asked here'));
  scramFinal = () => Promise.reject(new Error('not asked here'));
  listenerTrust = () => Promise.reject(new Error('not asked here'));
  explain = () => Promise.reject(new Error('not asked here'));
  status = () => Promise.reject(new Error('not asked here'));
  bans = () => Promise.reject(new Error('not asked here'));
  [Symbol.asyncDispose] = () => Promise.resolve();
}

let log: EventLog;
let policy: Policy;
let sessions: LiveSessions;
let enforced: EnforcedState[];
let now: number;
let enforcer: Enforcer;
let cache: PolicyCache;

function startEnforcer(
  maxStalenessMs = 60_000,
  whenStale: 'drop' | 'keep' = 'drop',
  {
    stalenessAlarmMs = 5_000,
    logger = silentLogger(),
    places,
    onChange,
    onFailure = () => undefined,
  }: {
    stalenessAlarmMs?: number;
    logger?: Logger;
    places?: SessionPlaces;
    onChange?: EnforcerOptions['onChange'];
    onFailure?: EnforcerOptions['onFailure'];
  } = {},
): void {
  const clock = (): number => now;
  cache = new PolicyCache({ client: policy, log, revision: 0, clock });
  enforcer = new Enforcer({
    log,
    client: policy,
    cache,
    sessions,
    bans: new BanList({ revision: 0, bans: [] }, clock),
    ...(places && { places }),
    start: { revision: 0, hash: '' },
    maxStalenessMs,
    stalenessAlarmMs,
    whenStale,
    clock,
    logger,
    onEnforced: (state) => enforced.push(state),
    ...(onChange && { onChange }),
    onFailure,
  });
}

beforeEach(() => {
  log = new MemoryEventLog();
  policy = new Policy();
  sessions = new LiveSessions();
  enforced = [];
  now = 1_000;
});

afterEach(async () => {
  await enforcer[Symbol.asyncDispose]();
  vi.useRealTimers();
});

/** Time passes only when the test says so: a machine that stands still for a while makes nothing stale. */
function freezeTime(): void {
  const timers = ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] as const;
  vi.useFakeTimers({ toFake: [...timers, 'performance'] });
}

function connect(id: string, secretExpiresAt?: number, clientId = id) {
  const closed: string[] = [];
  const { principal, ...rest } = admitted(id, secretExpiresAt);
  const who = { ...principal, facts: { ...principal.facts, clientId } };
  const session = new LiveSession({ ...rest, principal: who }, (reason) => closed.push(reason));
  sessions.add(session);
  return { session, closed };
}

async function append(...commits: NewCommit[]): Promise<void> {
  await log.append(commits, await log.head());
}

const reached = (revision: number) => expect.poll(() => enforced.at(-1)?.revision).toBe(revision);

describe('a limit of sessions', () => {
  it('that is lower has ended those beyond before its revision is said to be enforced, once the store answers', async () => {
    const store = new FarStore();
    startEnforcer(60_000, 'drop', { places: placesOf({ store }) });
    // More than are re-evaluated at once, of one credential, and one of another. Of those of one millisecond the client id decides.
    const all = Array.from({ length: 250 }, (_, index) =>
      connect('k', undefined, `c${100 + index}`),
    );
    const other = connect('other');
    policy.sessionsMax = 249;
    store.failure = new OperationalError('session_store_unavailable', 'away');
    await append(changed('1', 'k', 'other'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(enforced).toEqual([]);
    store.failure = undefined;
    await reached(1);
    const ended = [...all, other].filter(({ closed }) => closed.length > 0);
    expect(ended).toEqual([all.at(-1)]);
    expect(ended[0]?.closed).toEqual(['credential_sessions']);
    // It has done nothing wrong: its will still goes out.
    expect(ended[0]?.session.mayPublish('t', 0, false).allowed).toBe(true);
  });

  it('that is higher, or gone, ends nobody and asks nothing', async () => {
    const places = placesOf();
    const limit = vi.spyOn(places, 'limit');
    startEnforcer(60_000, 'drop', { places });
    const { closed } = connect('k');
    await append(changed('1', 'k'));
    await reached(1);
    expect(limit).not.toHaveBeenCalled();
    policy.sessionsMax = 1;
    await append(changed('2', 'k'));
    await reached(2);
    policy.sessionsMax = 2;
    await append(changed('3', 'k'));
    await reached(3);
    expect(limit).toHaveBeenCalledTimes(1);
    expect(closed).toEqual([]);
  });
});

describe('a ban', () => {
  const ban = (commitId: string, value: string): NewCommit => ({
    ...changed(commitId),
    events: [{ type: 'BanAdded', data: { id: commitId, kind: 'client_id', value, by: 'test' } }],
  });

  it('has ended the live session concerned before its revision is said to be enforced, and no other', async () => {
    startEnforcer();
    const { session, closed } = connect('thief');
    const other = connect('other');
    // Many, so that they are looked through in more than one slice.
    for (let index = 0; index < 2500; index++) connect(`c${index}`);
    const last = connect('last');
    await append(ban('1', 'thief'), ban('2', 'last'));
    await reached(2);
    expect(closed).toEqual(['banned']);
    expect(last.closed).toEqual(['banned']);
    expect(session.mayPublish('t', 0, false).allowed).toBe(false);
    expect(other.closed).toEqual([]);
    expect(policy.requests).toEqual([]);
  });

  it('that has run out when it is heard of ends nobody', async () => {
    startEnforcer();
    const { closed } = connect('thief');
    const data = { id: '1', kind: 'client_id', value: 'thief', by: 'test', until: now } as const;
    await append({ ...changed('1'), events: [{ type: 'BanAdded', data }] });
    await reached(1);
    expect(closed).toEqual([]);
  });
});

describe('Enforcer', () => {
  it('does not say that a change is enforced while the policy service is away, and says it after', async () => {
    startEnforcer();
    const { session } = connect('pump');
    policy.failures = Infinity;
    policy.answer = () => DENY;
    await append(changed('1', 'pump'));
    await expect.poll(() => policy.requests.length).toBeGreaterThanOrEqual(2);
    expect(enforced).toEqual([]);
    expect(session.mayPublish('a', 0, false).allowed).toBe(true);
    policy.failures = 0;
    await reached(1);
    expect(session.mayPublish('a', 0, false).allowed).toBe(false);
    expect(new Set(policy.requests.map((one) => one.minRevision))).toEqual(new Set([1]));
  });

  it('closes a session whose credential is gone, and takes all its rights in the same moment', async () => {
    startEnforcer();
    const { session, closed } = connect('pump');
    policy.answer = () => undefined;
    await append(changed('1', 'pump'));
    await reached(1);
    expect(closed).toEqual(['credential']);
    const filter = parseTopicFilter('a');
    expect(session.mayPublish('a', 0, false)).toEqual({ allowed: false, ruleId: 'revoked' });
    expect(session.mayReceive('a').allowed).toBe(false);
    expect(filter.ok && session.maySubscribe(filter.value, 0).allowed).toBe(false);
  });

  it('asks only for the sessions that a change concerns', async () => {
    startEnforcer();
    connect('pump');
    connect('other');
    await append(changed('1', 'pump'));
    await reached(1);
    await append(changed('2', 'nobody'));
    await reached(2);
    expect(policy.requests.map((one) => one.principals.map((p) => p.credentialId))).toEqual([
      ['pump'],
    ]);
  });

  it('enforces what comes while it is busy in one further round, at the newest revision', async () => {
    startEnforcer();
    connect('pump');
    let resolve: () => void = () => undefined;
    const promise = new Promise<void>((done) => (resolve = done));
    policy.held = promise;
    await append(changed('1', 'pump'));
    await expect.poll(() => policy.requests).toHaveLength(1);
    await append(changed('2', 'pump'));
    await append(changed('3', 'pump'));
    expect(enforced).toEqual([]);
    resolve();
    await reached(3);
    expect(enforced.map((one) => one.revision)).toEqual([1, 3]);
    expect(policy.requests.map((one) => one.minRevision)).toEqual([1, 3]);
  });

  it('announces the running hash of the log', async () => {
    startEnforcer();
    await append(changed('1', 'a'), changed('2', 'b'));
    await reached(2);
    const once = enforced.at(-1)?.hash;
    await enforcer[Symbol.asyncDispose]();
    enforced = [];
    startEnforcer();
    await reached(2);
    expect(enforced.at(-1)?.hash).toBe(once);
    expect(once).not.toBe('');
  });

  it('ends a session when the secret that it came in with ends', async () => {
    startEnforcer();
    const { closed } = connect('pump', 2_000);
    const { closed: others } = connect('other');
    now = 2_000;
    await expect.poll(() => closed).toEqual(['secret expired']);
    expect(others).toEqual([]);
  });

  it('drops every session when a change cannot be enforced for too long', async () => {
    freezeTime();
    startEnforcer(300);
    const { closed } = connect('pump');
    const { closed: others } = connect('other');
    policy.failures = Infinity;
    await append(changed('1', 'pump'));
    await expect.poll(() => [closed, others]).toEqual([['stale'], ['stale']]);
    expect(enforcer.staleness).toBe('a change cannot be enforced');
    expect(enforced).toEqual([]);
    policy.failures = 0;
    await reached(1);
    expect(enforcer.staleness).toBeUndefined();
  });

  it('keeps them when it is told to, but says that it is stale', async () => {
    freezeTime();
    startEnforcer(100, 'keep');
    const { closed } = connect('pump');
    policy.failures = Infinity;
    await append(changed('1', 'pump'));
    await expect.poll(() => enforcer.staleness).toBeDefined();
    // Two sweeps later it is still there.
    await vi.advanceTimersByTimeAsync(1_100);
    expect(closed).toEqual([]);
    policy.failures = 0;
    await reached(1);
  });

  it('tells once that its knowledge grows old, before it fails closed, and when it is fresh again', async () => {
    freezeTime();
    const told: string[] = [];
    const tell = (_fields: object, message: string): void => void told.push(message);
    const logger = { warn: tell, info: tell } as unknown as Logger; // As much of it as is called.
    startEnforcer(60_000, 'drop', { stalenessAlarmMs: 600, logger });
    const { closed } = connect('pump');
    const old = (): string[] => told.filter((message) => message.includes('grows old'));
    await vi.advanceTimersByTimeAsync(1_100);
    expect(old()).toEqual([]);
    policy.failures = Infinity;
    await append(changed('1', 'pump'));
    await expect.poll(() => old()).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1_100);
    expect([old().length, closed.length, enforcer.staleness]).toEqual([1, 0, undefined]);
    policy.failures = 0;
    await reached(1);
    await expect.poll(() => told.at(-1)).toContain('newest policy again');
  });
});

describe('A commit that is not read yet', () => {
  const credential: Omit<NewCredential, 'id'> = {
    store: 'native',
    kind: 'password',
    name: 'n',
    match: { username: 'n' },
    enabled: true,
    superuser: false,
    passwordRequired: false,
    attributes: {},
    access: { kind: 'acl' },
    secrets: [],
  };
  const added = (commitId: string, id: string): NewCommit => ({
    commitId,
    at: 0,
    actor: { kind: 'system', id: 'test' },
    events: [{ type: 'CredentialAdded', data: { ...credential, id } }],
  });
  let read: string[];
  let unreadable: boolean;

  /** The log, whose commits say what types of events they have before they are read. */
  function unreadLog(): EventLog {
    const inner = new MemoryEventLog();
    const lazy = (commit: RecordedCommit): RecordedCommit => ({
      revision: commit.revision,
      digest: commit.digest,
      eventTypes: commit.events.map((event) => event.type),
      get events() {
        read.push(commit.commitId);
        if (unreadable) throw new OperationalError('log_unreadable', 'spoilt');
        return commit.events;
      },
      get commitId() {
        return commit.commitId;
      },
      at: commit.at,
      actor: commit.actor,
    });
    return {
      append: (...request) => inner.append(...request),
      read: (...request) => inner.read(...request),
      head: () => inner.head(),
      follow: ({ onCommits, ...rest }) =>
        inner.follow({ ...rest, onCommits: (commits) => onCommits(commits.map(lazy)) }),
      [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
    };
  }

  beforeEach(() => {
    read = [];
    unreadable = false;
    log = unreadLog();
  });

  it('that cannot be read is not enforced, nor anything behind it, while somebody is connected', async () => {
    const failures: OperationalError[] = [];
    startEnforcer(60_000, 'drop', { onFailure: (failure) => failures.push(failure) });
    connect('a');
    unreadable = true;
    await append(added('1', 'b'), changed('2', 'c'));
    await vi.waitFor(() => expect(failures.map((one) => one.code)).toEqual(['log_unreadable']));
    expect(enforcer.staleness).toContain('log_unreadable');
    expect(enforced).toEqual([]);
  });

  it('that cannot be read for whoever came in meanwhile is not enforced either, nor what comes later', async () => {
    const failures: OperationalError[] = [];
    startEnforcer(60_000, 'drop', { onFailure: (failure) => failures.push(failure) });
    let release = (): void => undefined;
    policy.held = new Promise((resolve) => (release = resolve));
    const { session } = connect('a');
    await append(changed('1', 'a'));
    await vi.waitFor(() => expect(policy.requests).toHaveLength(1));
    sessions.remove(session);
    unreadable = true;
    await append(added('2', 'b'));
    await vi.waitFor(() => expect(cache.revision).toBe(2));
    expect(read).not.toContain('2');
    connect('b');
    release();
    await vi.waitFor(() => expect(failures.map((one) => one.code)).toEqual(['log_unreadable']));
    unreadable = false;
    await append(changed('3', 'c'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(enforced.map(({ revision }) => revision)).toEqual([1]);
    expect(failures).toHaveLength(1);
  });

  it('is not read when it only adds credentials and nobody is connected, and is enforced', async () => {
    startEnforcer();
    await append(added('1', 'a'));
    await reached(1);
    await append(changed('2', 'a'));
    await reached(2);
    expect(new Set(read)).toEqual(new Set(['2']));
  });

  it('is read for whoever came in meanwhile', async () => {
    startEnforcer();
    policy.answer = () => DENY;
    await append(added('1', 'a'), added('2', 'b'));
    const { session } = connect('b');
    await reached(2);
    expect(read).toContain('2');
    expect(session.policyId).toBe(DENY.policyId);
  });

  it('is looked through for nothing else that depends on tags', async () => {
    const has: boolean[] = [];
    startEnforcer(60_000, 'drop', {
      onChange: async (tags) => {
        has.push(tags.has(TRUST_TAG));
        await Promise.resolve();
      },
    });
    await append(added('1', 'a'));
    await reached(1);
    expect(read).toEqual([]);
    await append(added('2', 'b'), {
      ...added('3', 'c'),
      events: [{ type: 'TrustRemoved', data: { listener: 'ssl:default' } }],
    });
    await reached(3);
    expect([has[0], has.at(-1)]).toEqual([false, true]);
  });
});

describe('LiveSession', () => {
  it('remembers a bounded number of verdicts, and none from before a change', () => {
    startEnforcer();
    const { session } = connect('pump');
    for (let index = 0; index <= VERDICTS_MAX; index++) {
      expect(session.mayPublish(`t/${index}`, 0, false).allowed).toBe(true);
    }
    sessions.adopt(session, { policyId: 'deny', tags: [] }, compilePolicy(DENY), 1);
    expect(session.mayPublish('t/0', 0, false).allowed).toBe(false);
    expect(sessions.withTags(new Set([credentialTag('pump')])).size).toBe(0);
  });

  it('tells verdicts of the same topic apart by QoS and retain, where a rule asks for them', () => {
    startEnforcer();
    const { session } = connect('pump');
    const rule = {
      ruleId: 'r',
      effect: 'allow',
      actions: ['publish'],
      matcher: { kind: 'filter', filter: 't' },
      when: { qos: [1], retain: true },
    } as const;
    const authorities = [{ name: 'acl', rules: [rule], noMatch: 'deny' }] as const;
    const spec = { ...policyOf('terms', 'deny'), authorities };
    sessions.adopt(session, { policyId: 'terms', tags: [] }, compilePolicy(spec), 7);
    const verdicts = () =>
      ([0, 1, 2] as const).flatMap((qos) =>
        [false, true].map((retain) => session.mayPublish('t', qos, retain).allowed),
      );
    const expected = [false, false, false, true, false, false];
    expect([verdicts(), verdicts()]).toEqual([expected, expected]);
    expect(session.revision).toBe(7);
  });

  it('is judged by the attributes that its credential has now', () => {
    startEnforcer();
    const { session } = connect('pump');
    const rule = {
      ruleId: 'r',
      effect: 'allow',
      actions: ['publish'],
      matcher: { kind: 'filter', filter: '${client_attrs.site}' },
    } as const;
    const authorities = [{ name: 'acl', rules: [rule], noMatch: 'deny' }] as const;
    const policy = compilePolicy({ ...policyOf('site', 'deny'), authorities });
    const at = (site: string) => ({ policyId: 'site', tags: [], attributes: { site } });
    const asked = () => ['north', 'south'].map((one) => session.mayPublish(one, 0, false).allowed);
    sessions.adopt(session, at('north'), policy, 1);
    expect(asked()).toEqual([true, false]);
    sessions.adopt(session, at('south'), policy, 2);
    expect(asked()).toEqual([false, true]);
    sessions.adopt(session, { policyId: 'site', tags: [] }, policy, 3);
    expect(asked()).toEqual([false, false]);
  });
});
