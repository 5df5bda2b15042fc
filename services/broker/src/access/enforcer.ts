import { OperationalError } from '@sallyport/errors';
import {
  affects,
  credentialTag,
  isOfAdding,
  isProofTag,
  isTagOfAdded,
  type Revision,
} from '@sallyport/domain';
import { type EventLog, nextHash, type RecordedCommit, type Tail } from '@sallyport/event-log';
import type { PolicyCache, PolicyClient, PolicyStatus, Resolved } from '@sallyport/policy-client';
import type { CompiledPolicy } from '@sallyport/rules';
import { attributes as keys, count, type Logger, setGauge, withSpan } from '@sallyport/telemetry';
import type { BanList } from './ban-list.ts';
import { KICKED, type LiveSession, type LiveSessions } from './live-sessions.ts';
import type { SessionPlaces } from './session-places.ts';

/** Pause before a re-evaluation that failed is tried again. */
export const RETRY_DELAY_MS = 100;

/** Most sessions that are re-evaluated before others get their turn: a few milliseconds of work, here and where it is asked. */
export const REEVALUATED_SESSIONS_MAX = 100;

/** How often staleness and ended secrets are looked for. */
export const SWEEP_INTERVAL_MS = 500;

/** Live sessions that are compared with the bans in one turn of the event loop, or with their regular expressions: about a millisecond. */
const SESSIONS_PER_SLICE = 1000;

export interface EnforcedState {
  readonly revision: number;
  readonly hash: string;
}

/** Cache tags that changes have made stale; asked for a few of them. */
export type ChangedTags = Pick<ReadonlySet<string>, 'has'>;

export interface EnforcerOptions {
  readonly log: EventLog;
  readonly client: PolicyClient;
  readonly cache: PolicyCache;
  readonly sessions: LiveSessions;
  readonly bans: BanList;
  /** Of sessions that share a credential; there are no limits when absent. */
  readonly places?: Pick<SessionPlaces, 'mostOf' | 'limit'>;
  /** Where the log is taken up: the state that the policy service was in. */
  readonly start: PolicyStatus;
  /** After this long without a word from the log, or with a change that cannot be enforced, the node fails closed. */
  readonly maxStalenessMs: number;
  /** From here on it is told that the node's knowledge grows old. */
  readonly stalenessAlarmMs: number;
  readonly whenStale: 'drop' | 'keep';
  readonly clock: () => number;
  readonly logger: Logger;
  /** Called after all live sessions are decided by a policy of this revision or newer. */
  readonly onEnforced: (state: EnforcedState) => void;
  /** Resolves when whatever else depends on these cache tags is at this revision or newer. */
  readonly onChange?: (tags: ChangedTags, revision: number) => Promise<void>;
  /** The log cannot be followed any more. */
  readonly onFailure: (failure: OperationalError) => void;
}

/**
 * How far a change reaches into a session, the least first. `stay`: only whether it may still be there, and until when; its rules
 * are pinned. `live`: its rules are learned anew. `kick`: and it ends if they are others.
 */
type Reach = 'stay' | 'live' | 'kick';
const REACHES: readonly Reach[] = ['stay', 'live', 'kick'];

type Concerned = readonly [LiveSession, Reach];

/** A commit, and the cache tags that it makes stale: read once, because an import has hundreds, and only when somebody asks. */
class Change {
  readonly commit: RecordedCommit;
  /** Whether it only adds credentials. */
  readonly onlyAdds: boolean;
  #tags: readonly string[] | undefined;

  constructor(commit: RecordedCommit) {
    this.commit = commit;
    this.onlyAdds =
      commit.eventTypes?.every(isOfAdding) ?? commit.events.every(({ type }) => isOfAdding(type));
  }

  /** @throws OperationalError `log_unreadable` for a commit that is read only now */
  get tags(): readonly string[] {
    return (this.#tags ??= this.commit.events.flatMap(affects));
  }

  bears(tag: string): boolean {
    return (!this.onlyAdds || isTagOfAdded(tag)) && this.tags.includes(tag);
  }
}

function concernedBy(
  changes: readonly Change[],
  sessions: LiveSessions,
): ReadonlyMap<LiveSession, Reach> {
  const concerned = new Map<LiveSession, Reach>();
  // An import changes hundreds of credentials a commit, before anybody is there.
  if (sessions.size === 0) return concerned;
  const reach = (session: LiveSession, how: Reach): void => {
    const before = concerned.get(session);
    if (before !== undefined && REACHES.indexOf(before) >= REACHES.indexOf(how)) return;
    concerned.set(session, how);
  };
  for (const { commit, tags } of changes) {
    const { apply } = commit;
    if (apply === 'live' || apply === 'kick') {
      for (const session of sessions.withTags(tags, { pinned: true })) reach(session, apply);
      continue;
    }
    const followers = apply === undefined ? sessions.withTags(tags) : [];
    for (const session of followers) reach(session, session.applyMode === 'kick' ? 'kick' : 'live');
    for (const session of sessions.withTags(tags.filter(isProofTag), { pinned: true })) {
      if (!session.outlivesCredential) reach(session, 'stay');
    }
  }
  return concerned;
}

/**
 * Follows the log and brings every change to the node's caches and live sessions.
 * INVARIANT: `onEnforced(r)` is called only when no live session is decided by anything older than r, pinned ones apart: those keep
 * the policy that they came in with until a change says that it is to reach them too. What let them in is looked at all the same,
 * unless their store says that they outlive it.
 */
export class Enforcer implements AsyncDisposable {
  readonly #options: EnforcerOptions;
  readonly #tail: Tail;
  readonly #sweep: NodeJS.Timeout;
  #queue: Change[] = [];
  /** A ban has come since the live sessions were looked through. */
  #someBanned = false;
  /** Credentials that may have fewer sessions than before, and whose sessions were not counted since. */
  readonly #limited = new Set<string>();
  #working: Promise<void> | undefined;
  #enforced: EnforcedState;
  #behindSince: number | undefined;
  readonly #startedAt = performance.now();
  #isAlarmed = false;
  #failure: OperationalError | undefined;
  #closed = false;

  constructor(options: EnforcerOptions) {
    this.#options = options;
    this.#enforced = { revision: options.start.revision, hash: options.start.hash };
    this.#tail = options.log.follow({
      after: options.start.revision,
      onCommits: (commits) => this.#take(commits),
      lazily: true,
      onFailure: (failure) => this.#fail(failure),
    });
    this.#sweep = setInterval(() => this.#tick(), SWEEP_INTERVAL_MS);
  }

  get enforced(): EnforcedState {
    return this.#enforced;
  }

  /** Why the node must not let anybody in, or undefined when its knowledge is fresh. */
  get staleness(): string | undefined {
    if (this.#failure !== undefined) return `the log cannot be followed: ${this.#failure.code}`;
    const now = performance.now();
    const { maxStalenessMs } = this.#options;
    if (now - this.#tail.confirmedAt > maxStalenessMs) return 'the log is silent';
    if (this.#behindSince !== undefined && now - this.#behindSince > maxStalenessMs) {
      return 'a change cannot be enforced';
    }
    return undefined;
  }

  /** For good. What is no `OperationalError` is our own fault, and ends the process. */
  #fail(failure: unknown): void {
    if (!(failure instanceof OperationalError)) throw failure;
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#options.onFailure(failure);
  }

  #take(commits: readonly RecordedCommit[]): void {
    // INVARIANT: nothing is said to be enforced behind a commit that was not.
    if (this.#failure !== undefined) throw this.#failure;
    for (const commit of commits) {
      const attributes = { [keys.revision]: commit.revision };
      const change = new Change(commit);
      // Whoever adds credentials adds many, mostly before anybody is there.
      const tags =
        change.onlyAdds && this.#options.sessions.size === 0 ? () => change.tags : change.tags;
      withSpan('log.fold', { attributes, parent: commit.traceparent }, () =>
        this.#options.cache.invalidate(commit.revision, tags),
      );
      if (!change.onlyAdds) {
        // At once, so that nobody comes in any more while those who are in are looked through.
        this.#someBanned = this.#options.bans.apply(commit) || this.#someBanned;
      }
      this.#queue.push(change);
    }
    this.#working ??= this.#work()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => (this.#working = undefined));
  }

  async #work(): Promise<void> {
    while (this.#queue.length > 0 && !this.#closed) {
      const changes = this.#queue;
      this.#queue = [];
      this.#behindSince ??= performance.now();
      await this.#enforce(changes);
      if (this.#queue.length === 0) this.#behindSince = undefined;
    }
  }

  async #enforce(changes: readonly Change[]): Promise<void> {
    const last = changes.at(-1)?.commit;
    if (last === undefined) return;
    // The newest traced commit of the batch stands for it: a span has one parent.
    const parent = changes.findLast((one) => one.commit.traceparent !== undefined)?.commit
      .traceparent;
    const attributes = { [keys.revision]: last.revision };
    await withSpan('policy.reevaluate', { attributes, parent }, async () => {
      await this.#endBanned();
      await this.#reevaluate(changes, last.revision);
      await this.#options.onChange?.(
        { has: (tag) => changes.some((change) => change.bears(tag)) },
        last.revision,
      );
      const hash = changes.reduce(
        (so, { commit }) => nextHash(so, commit.digest),
        this.#enforced.hash,
      );
      this.#enforced = { revision: last.revision, hash };
      withSpan('policy.announce', { attributes }, () => this.#options.onEnforced(this.#enforced));
    });
    setGauge('sallyport.enforced.revision', last.revision, {});
  }

  /** Those of the live sessions that may not be connected any more; in slices, so that nobody waits for all of them. */
  async #endBanned(): Promise<void> {
    if (!this.#someBanned) return;
    this.#someBanned = false;
    const { sessions, bans } = this.#options;
    const slice = Math.ceil(SESSIONS_PER_SLICE / (1 + bans.patterns));
    let seen = 0;
    for (const session of [...sessions.all()]) {
      if (bans.find(session.principal.facts) !== undefined) session.revoke('banned');
      seen += 1;
      if (seen % slice === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Until it succeeds: a change that was heard of is never skipped. */
  async #reevaluate(changes: readonly Change[], revision: number): Promise<void> {
    const affected = [...concernedBy(changes, this.#options.sessions)];
    let done = 0;
    while (done < affected.length + this.#limited.size && !this.#closed) {
      const batch = affected.slice(done, done + REEVALUATED_SESSIONS_MAX);
      try {
        if (batch.length > 0) await this.#resolve(batch, revision);
        done += batch.length;
        if (done === affected.length) await this.#limitSessions(revision);
        // In one process nothing above has waited for anything.
        if (done < affected.length) await new Promise((resolve) => setImmediate(resolve));
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        this.#options.logger.warn(
          { code: error.code, revision, sessions: affected.length - done },
          'live sessions could not be re-evaluated; trying again',
        );
        await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
      }
    }
  }

  /** Once all of them know the limit. Pinned ones keep the one that they came in with, and their places. */
  async #limitSessions(revision: number): Promise<void> {
    const limited = [...this.#limited];
    if (limited.length === 0) return;
    const found = this.#options.sessions.withTags(new Set(limited.map(credentialTag)));
    const own = [...found].filter((one) => this.#limited.has(one.principal.credentialId));
    await this.#options.places?.limit(own, revision);
    for (const credentialId of limited) this.#limited.delete(credentialId);
  }

  async #resolve(batch: readonly Concerned[], minRevision: number): Promise<void> {
    const { client, cache } = this.#options;
    const principals = batch.map(([session]) => session.principal);
    const answer = await client.resolve({ principals, minRevision });
    const policies = new Map(answer.policies.map((spec) => [spec.policyId, cache.compiled(spec)]));
    for (const [index, [session, how]] of batch.entries()) {
      const resolved = answer.results[index];
      const policy = resolved && policies.get(resolved.policyId);
      // What changed after this answer is in the queue and will be resolved again.
      if (resolved === undefined || policy === undefined) {
        session.revoke(how === 'kick' ? KICKED : 'credential');
        continue;
      }
      if (how === 'stay') {
        session.keep(resolved);
        continue;
      }
      const changed = session.policyId !== resolved.policyId;
      this.#adopt(session, resolved, policy, answer.revision);
      if (how === 'kick' && changed) session.kick();
    }
  }

  #adopt(session: LiveSession, ...news: [Resolved, CompiledPolicy, Revision]): void {
    const { sessions, places } = this.#options;
    const before = places?.mostOf(session) ?? Infinity;
    sessions.adopt(session, ...news);
    const most = places?.mostOf(session) ?? Infinity;
    if (most < before) this.#limited.add(session.principal.credentialId);
  }

  /** For how long the log has been silent, or a change waits to be enforced. */
  get #staleForMs(): number {
    const now = performance.now();
    const silent = now - Math.max(this.#tail.confirmedAt, this.#startedAt);
    const behind = this.#behindSince === undefined ? 0 : now - this.#behindSince;
    return Math.max(0, silent, behind);
  }

  #tellStaleness(): void {
    const { stalenessAlarmMs, logger } = this.#options;
    const staleForMs = this.#staleForMs;
    setGauge('sallyport.policy.staleness', staleForMs / 1000, {});
    const isLate = staleForMs > stalenessAlarmMs;
    if (isLate === this.#isAlarmed) return;
    this.#isAlarmed = isLate;
    if (isLate) {
      count('sallyport.policy.staleness_alarms', {});
      logger.warn({ staleForMs }, 'what the node knows of the policy grows old');
    } else {
      logger.info({}, 'the node knows the newest policy again');
    }
  }

  #tick(): void {
    this.#tellStaleness();
    const now = this.#options.clock();
    for (const session of this.#options.sessions.all()) {
      if (session.secretExpiresAt !== undefined && now >= session.secretExpiresAt) {
        session.revoke('secret expired');
      }
    }
    if (this.#options.whenStale !== 'drop' || this.#options.sessions.size === 0) return;
    const staleness = this.staleness;
    if (staleness === undefined) return;
    this.#options.logger.error({ staleness }, 'live sessions are dropped: the node fails closed');
    for (const session of this.#options.sessions.all()) session.revoke('stale');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweep);
    await this.#tail[Symbol.asyncDispose]();
    await this.#working;
  }
}
