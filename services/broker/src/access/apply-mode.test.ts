import {
  affects,
  type ApplyMode,
  credentialTag,
  type DomainEvent,
  groupTag,
  isProofTag,
  authChainTagsOf,
  type NewCommit,
  type Store,
} from '@sallyport/domain';
import { MemoryEventLog } from '@sallyport/event-log';
import {
  PolicyCache,
  type PolicyClient,
  type Principal,
  type ResolveAnswer,
  type ResolveRequest,
} from '@sallyport/policy-client';
import { compilePolicy, type PolicySpec } from '@sallyport/rules';
import { silentLogger } from '@sallyport/telemetry';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BanList } from './ban-list.ts';
import { Enforcer, SWEEP_INTERVAL_MS } from './enforcer.ts';
import { LiveSession, LiveSessions } from './live-sessions.ts';

const policyOf = (applyMode: ApplyMode, noMatch: 'allow' | 'deny'): PolicySpec => ({
  policyId: `${applyMode} ${noMatch}`,
  superuser: false,
  authorities: [],
  noMatch,
  denyAction: 'ignore',
  applyMode,
});

/** Answers what the test sets for a credential; undefined = it is gone. */
class Policy implements PolicyClient {
  readonly asked: string[] = [];
  readonly answers = new Map<string, PolicySpec>();
  /** When what lets them in ends; for good when it is not here. */
  readonly ends = new Map<string, number>();

  async resolve({ principals, minRevision }: ResolveRequest): Promise<ResolveAnswer> {
    this.asked.push(...principals.map((one) => one.credentialId));
    const found = principals.map((one) => this.answers.get(one.credentialId));
    return {
      revision: minRevision,
      results: principals.map((one, index) => {
        const policyId = found[index]?.policyId;
        if (policyId === undefined) return undefined;
        const secretExpiresAt = this.ends.get(one.credentialId);
        const end = secretExpiresAt === undefined ? {} : { secretExpiresAt };
        return { policyId, tags: tagsOf(one.credentialId), ...end };
      }),
      policies: [...new Set(found.filter((one) => one !== undefined))],
    };
  }

  authenticate = () => Promise.reject(new Error('not asked here'));
  scramFirst = () => Promise.reject(new Error('not asked here'));
  scramFinal = () => Promise.reject(new Error('not asked here'));
  explain = () => Promise.reject(new Error('not asked here'));
  listenerTrust = () => Promise.reject(new Error('not asked here'));
  bans = () => Promise.reject(new Error('not asked here'));
  status = () => Promise.reject(new Error('not asked here'));
  [Symbol.asyncDispose] = () => Promise.resolve();
}

const tagsOf = (id: string): string[] => [credentialTag(id), groupTag('g')];

let log: MemoryEventLog;
let policy: Policy;
let sessions: LiveSessions;
let enforcer: Enforcer;
let enforced: number;
let now: number;

beforeEach(() => {
  log = new MemoryEventLog();
  policy = new Policy();
  sessions = new LiveSessions();
  enforced = 0;
  now = 0;
  enforcer = new Enforcer({
    log,
    client: policy,
    cache: new PolicyCache({ client: policy, log, revision: 0, clock: () => 0 }),
    sessions,
    bans: new BanList({ revision: 0, bans: [] }, () => 0),
    start: { revision: 0, hash: '' },
    maxStalenessMs: 60_000,
    stalenessAlarmMs: 5_000,
    whenStale: 'drop',
    clock: () => now,
    logger: silentLogger(),
    onEnforced: ({ revision }) => (enforced = revision),
    onFailure: () => undefined,
  });
});

afterEach(() => enforcer[Symbol.asyncDispose]());

function connect(id: string, applyMode: ApplyMode, store: Store = 'clients') {
  const spec = policyOf(applyMode, 'allow');
  const principal: Principal = {
    credentialId: id,
    store,
    facts: { clientId: id, listener: 'tcp:default' },
  };
  policy.answers.set(id, spec);
  const closed: string[] = [];
  const session = new LiveSession(
    {
      principal,
      resolved: { policyId: spec.policyId, tags: tagsOf(id) },
      policy: compilePolicy(spec),
      revision: 0,
    },
    (reason) => closed.push(reason),
  );
  sessions.add(session);
  return { session, closed, may: () => session.mayPublish('a', 0, false).allowed };
}

const groupEdited: DomainEvent = {
  type: 'GroupReplaced',
  data: { id: 'g', name: 'g', description: '', permissions: [] },
};
const removed = (id: string): DomainEvent => ({ type: 'CredentialRemoved', data: { id } });

let commits = 0;
async function change(apply: ApplyMode | undefined, ...events: DomainEvent[]): Promise<void> {
  const commit: NewCommit = {
    commitId: `c${commits++}`,
    at: 0,
    actor: { kind: 'system', id: 'test' },
    ...(apply !== undefined && { apply }),
    events,
  };
  await log.append([commit], await log.head());
  const head = await log.head();
  await expect.poll(() => enforced).toBe(head);
}

/** From now on the credential is resolved to a policy that denies, of the same mode. */
const denyFromNow = (id: string, applyMode: ApplyMode): void => {
  policy.answers.set(id, policyOf(applyMode, 'deny'));
};

describe('a pinned session of a store whose credentials must be there', () => {
  const rotated: DomainEvent = {
    type: 'CredentialSecretAdded',
    data: { id: 'one', secret: { secretId: 's', createdAt: 0 }, retired: [] },
  };
  const disabled: DomainEvent = {
    type: 'CredentialChanged',
    data: { id: 'one', changes: { enabled: false } },
  };

  it.each(['native', 'emqx', 'cybus'] as const)(
    'of %s ends when its credential lets nobody in any more, with no right left',
    async (store) => {
      const { may, closed } = connect('one', 'pinned', store);
      policy.answers.delete('one');
      await change(undefined, disabled);
      expect([may(), closed]).toEqual([false, ['credential']]);
    },
  );

  it.each(['clients', 'tbmq'] as const)('of %s is not ended: nobody is asked', async (store) => {
    const { may, closed } = connect('one', 'pinned', store);
    policy.answers.delete('one');
    await change(undefined, disabled, rotated, removed('one'));
    expect([may(), closed, policy.asked]).toEqual([true, [], []]);
  });

  it('keeps its rules when its credential only changes', async () => {
    const { session, may } = connect('one', 'pinned', 'native');
    denyFromNow('one', 'pinned');
    await change(undefined, disabled);
    expect([may(), session.policyId, policy.asked]).toEqual([true, 'pinned allow', ['one']]);
  });

  it('ends when the secret that it came in with retires, which it learns when that is replaced', async () => {
    const { closed } = connect('one', 'pinned', 'native');
    policy.ends.set('one', 1_000);
    await change(undefined, rotated);
    now = 999;
    await new Promise((resolve) => setTimeout(resolve, SWEEP_INTERVAL_MS + 100));
    expect(closed).toEqual([]);
    now = 1_000;
    await expect.poll(() => closed).toEqual(['secret expired']);
  });

  it('may stay for longer when the end is put off', async () => {
    const { session } = connect('one', 'pinned', 'native');
    policy.ends.set('one', 1_000);
    await change(undefined, disabled);
    expect(session.secretExpiresAt).toBe(1_000);
    policy.ends.delete('one');
    await change(undefined, disabled);
    expect(session.secretExpiresAt).toBeUndefined();
  });

  it('is asked about by its chain too, and by nothing that its rules alone are made from', async () => {
    const chain = authChainTagsOf('tcp:default');
    const { session } = connect('one', 'pinned', 'emqx');
    expect([...session.tags, ...chain].filter(isProofTag)).toEqual([
      credentialTag('one'),
      ...chain,
    ]);
    policy.answers.delete('one');
    await change(undefined, groupEdited);
    expect(policy.asked).toEqual([]);
  });

  it('is judged anew where a change beside it is to be applied at once', async () => {
    const { may } = connect('one', 'pinned', 'native');
    denyFromNow('one', 'pinned');
    const commit = (apply: ApplyMode | undefined, ...events: DomainEvent[]): NewCommit => ({
      commitId: `c${commits++}`,
      at: 0,
      actor: { kind: 'system', id: 'test' },
      ...(apply !== undefined && { apply }),
      events,
    });
    await log.append([commit('live', groupEdited), commit(undefined, disabled)], 0);
    await expect.poll(() => enforced).toBe(2);
    expect(may()).toBe(false);
  });
});

describe('a pinned session', () => {
  it('keeps its rights through changes of its group and its credential, and nobody is asked about it', async () => {
    const { may, closed } = connect('pinned', 'pinned');
    denyFromNow('pinned', 'pinned');
    await change(undefined, groupEdited);
    policy.answers.delete('pinned');
    await change(undefined, removed('pinned'));
    expect([may(), closed, policy.asked]).toEqual([true, [], []]);
  });

  it('is judged anew by a change that is to be applied at once, and pinned to what it has then', async () => {
    const { may, closed } = connect('pinned', 'pinned');
    denyFromNow('pinned', 'pinned');
    await change('live', groupEdited);
    expect([may(), closed]).toEqual([false, []]);
    policy.answers.set('pinned', policyOf('pinned', 'allow'));
    await change(undefined, groupEdited);
    expect(may()).toBe(false);
    await change('live', groupEdited);
    expect(may()).toBe(true);
  });

  it('ends with a credential that is taken away at once, and loses its rights in the same moment', async () => {
    const { may, closed } = connect('pinned', 'pinned');
    policy.answers.delete('pinned');
    await change('live', removed('pinned'));
    expect([may(), closed]).toEqual([false, ['credential']]);
  });

  it('is left alone by a change at once that does not concern it', async () => {
    const { closed } = connect('pinned', 'pinned');
    policy.answers.delete('pinned');
    await change('live', removed('somebody-else'));
    await change('kick', removed('somebody-else'));
    expect([closed, policy.asked]).toEqual([[], []]);
  });

  it('becomes one that follows changes when a change at once makes it so, and the other way round', async () => {
    const { may } = connect('pinned', 'pinned');
    policy.answers.set('pinned', policyOf('live', 'deny'));
    await change('live', groupEdited);
    expect(may()).toBe(false);
    policy.answers.set('pinned', policyOf('pinned', 'allow'));
    await change(undefined, groupEdited);
    expect(may()).toBe(true);
    denyFromNow('pinned', 'pinned');
    await change(undefined, groupEdited);
    expect(may()).toBe(true);
  });
});

describe('a change that disconnects', () => {
  it.each(['pinned', 'live', 'kick'] as const)(
    'ends a %s session whose rights are others now, which until then has the new ones',
    async (mode) => {
      const { may, closed } = connect('one', mode);
      const same = connect('same', mode);
      denyFromNow('one', mode);
      await change('kick', groupEdited);
      expect([may(), closed]).toEqual([false, ['kicked']]);
      expect([same.may(), same.closed]).toEqual([true, []]);
    },
  );

  it('ends a session whose credential is gone, as kicked', async () => {
    const { may, closed } = connect('one', 'pinned');
    policy.answers.delete('one');
    await change('kick', removed('one'));
    expect([may(), closed]).toEqual([false, ['kicked']]);
  });

  it('wins over a change beside it that is only to be applied', async () => {
    const { closed } = connect('one', 'live');
    denyFromNow('one', 'live');
    const commit = (apply: ApplyMode | undefined): NewCommit => ({
      commitId: `c${commits++}`,
      at: 0,
      actor: { kind: 'system', id: 'test' },
      ...(apply !== undefined && { apply }),
      events: [groupEdited],
    });
    await log.append([commit(undefined), commit('kick'), commit('live')], 0);
    await expect.poll(() => enforced).toBe(3);
    expect(closed).toEqual(['kicked']);
  });
});

describe('a session that is to be kicked by its own policy', () => {
  it('ends when its rules change, stays when they do not, and is spared by a change that is only applied', async () => {
    const { may, closed } = connect('one', 'kick');
    await change(undefined, groupEdited);
    expect(closed).toEqual([]);
    denyFromNow('one', 'kick');
    await change('live', groupEdited);
    expect([may(), closed]).toEqual([false, []]);
    policy.answers.set('one', policyOf('kick', 'allow'));
    await change(undefined, groupEdited);
    expect(closed).toEqual(['kicked']);
  });
});

describe('a change that leaves live sessions their rights', () => {
  it.each(['live', 'kick', 'pinned'] as const)(
    'does so for a %s one, which the next change reaches as ever',
    async (mode) => {
      const { session, may, closed } = connect('one', mode, 'native');
      denyFromNow('one', mode);
      await change('pinned', groupEdited);
      expect([may(), closed, policy.asked]).toEqual([true, [], []]);
      await change('pinned', { type: 'CredentialChanged', data: { id: 'one', changes: {} } });
      expect([may(), closed, session.policyId]).toEqual([true, [], `${mode} allow`]);
      await change('live', groupEdited);
      expect([may(), closed]).toEqual([false, []]);
    },
  );

  it('keeps nobody who may not be connected any more', async () => {
    const { may, closed } = connect('one', 'live', 'native');
    policy.answers.delete('one');
    await change('pinned', removed('one'));
    expect([may(), closed]).toEqual([false, ['credential']]);
  });

  it('disturbs nobody of a store whose sessions outlive their credentials', async () => {
    const { may, closed } = connect('one', 'live', 'clients');
    policy.answers.delete('one');
    await change('pinned', removed('one'));
    expect([may(), closed, policy.asked]).toEqual([true, [], []]);
  });

  it('takes nothing from a change beside it', async () => {
    const { may } = connect('one', 'live', 'native');
    denyFromNow('one', 'live');
    const commit = (apply: ApplyMode | undefined): NewCommit => ({
      commitId: `c${commits++}`,
      at: 0,
      actor: { kind: 'system', id: 'test' },
      ...(apply !== undefined && { apply }),
      events: [groupEdited],
    });
    await log.append([commit(undefined), commit('pinned')], 0);
    await expect.poll(() => enforced).toBe(2);
    expect(may()).toBe(false);
  });
});

describe('a session that follows changes', () => {
  it('is not ended by a change at once, but judged anew as by any', async () => {
    const { may, closed } = connect('one', 'live');
    denyFromNow('one', 'live');
    await change('live', groupEdited);
    expect([may(), closed]).toEqual([false, []]);
  });
});

describe('very many pinned sessions', () => {
  it('cost a change that does not reach them nothing', async () => {
    for (let index = 0; index < 20_000; index++) connect(`p${index}`, 'pinned');
    expect(sessions.withTags(new Set(affects(groupEdited))).size).toBe(0);
    expect(sessions.withTags(new Set(affects(groupEdited)), { pinned: true }).size).toBe(20_000);
    const before = process.cpuUsage().user;
    for (let index = 0; index < 100_000; index++) sessions.withTags(new Set([groupTag('g')]));
    // Of processor time: the tests share their machine.
    expect(process.cpuUsage().user - before).toBeLessThan(2_000_000);
    await change(undefined, groupEdited);
    expect(policy.asked).toEqual([]);
  });
});
