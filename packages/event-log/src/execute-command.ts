import { type Context, context } from '@opentelemetry/api';
import {
  type Actor,
  type ApplyMode,
  type Command,
  type Commit,
  decide,
  type DecisionReads,
  type DomainEvent,
  type NewCommit,
  type Revision,
  scopeOf,
} from '@sallyport/domain';
import { assert, OperationalError, type Rejection } from '@sallyport/errors';
import type { AppendResult, EventLog } from './event-log.ts';
import { appendTraced } from './append-traced.ts';
import { asFailure, encodeForLog } from './record.ts';

/** A projection that decisions are made on. */
export interface DecisionModel {
  /** Revision that `reads` answers for. */
  readonly revision: Revision;
  readonly reads: DecisionReads;
  /** The revision at which a commit id was stored, for retries that come after the log's own window. */
  commitRevision(commitId: string): Revision | undefined;
  /** Resolves when `revision` has been folded. @throws OperationalError `policy_not_ready` after `timeoutMs` */
  waitFor(revision: Revision, timeoutMs: number): Promise<void>;
}

export interface CommandMeta {
  readonly commitId: string;
  readonly at: number;
  readonly actor: Actor;
  readonly reason?: string;
  readonly traceparent?: string;
  readonly fingerprint?: string;
  readonly apply?: ApplyMode;
}

export type Executed =
  | {
      readonly ok: true;
      /** Revision of the commit; for a command that changes nothing, the revision it was decided at. */
      readonly revision: Revision;
      /** True when this commit id was stored before; nothing was done again. */
      readonly replayed: boolean;
      readonly events: readonly DomainEvent[];
    }
  | { readonly ok: false; readonly rejection: Rejection };

/** Most commands of one batch, which is one call of `append`. */
export const BATCH_COMMANDS_MAX = 64;
/** Most commands that wait for their batch; past it a command is refused at once. */
export const QUEUE_COMMANDS_MAX = 1024;
/** How often one command is decided again because the log had moved. */
export const CONFLICT_RETRIES_MAX = 10;
/** How long a command waits for the model to fold what is in the log. */
export const FOLD_TIMEOUT_MS = 5_000;

interface Pending {
  readonly command: Command;
  readonly meta: CommandMeta;
  /** What must not be shared with another command of the same batch. */
  readonly scope: readonly string[];
  readonly context: Context;
  readonly resolve: (executed: Executed) => void;
  readonly reject: (failure: OperationalError) => void;
  conflicts: number;
}

interface ToAppend {
  readonly pending: Pending;
  readonly commit: NewCommit;
}

/** An answer that holds only when the model was at the head of the log. */
interface ToConfirm {
  readonly pending: Pending;
  readonly executed: Executed;
}

/** Runs commands: load, decide, append, and again on conflict. Commands that arrive together share one append. */
export class CommandExecutor {
  readonly #log: EventLog;
  readonly #model: DecisionModel;
  readonly #queue: Pending[] = [];
  #running = false;

  constructor(options: { readonly log: EventLog; readonly model: DecisionModel }) {
    this.#log = options.log;
    this.#model = options.model;
  }

  /**
   * The answer comes after the commit is stored and folded by the model, so that the caller reads its own write. A
   * refusal is the answer of a model that had folded the whole log after the command came in.
   * @throws OperationalError `log_unavailable`, `log_conflict`, `commit_too_large`, `policy_not_ready`: repeating the
   * command with the same commit id is safe after each of them
   */
  execute(command: Command, meta: CommandMeta): Promise<Executed> {
    if (this.#queue.length >= QUEUE_COMMANDS_MAX) {
      const detail = `${QUEUE_COMMANDS_MAX} commands wait for the log already`;
      return Promise.reject(new OperationalError('log_unavailable', detail));
    }
    return new Promise((resolve, reject) => {
      // The commit id is part of the scope: its second use waits for the first, and is then found in the model.
      const scope = [...scopeOf(command), `commit:${meta.commitId}`];
      const active = context.active();
      this.#queue.push({ command, meta, scope, context: active, resolve, reject, conflicts: 0 });
      if (this.#running) return;
      this.#running = true;
      // Commands of the same turn of the event loop, and those that come while a batch is in flight, share a batch.
      setImmediate(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = takeBatch(this.#queue);
      try {
        await this.#runBatch(batch);
      } catch (error) {
        // Whoever has an answer already keeps it: a promise settles once.
        for (const pending of batch) pending.reject(asFailure(error));
      }
    }
    this.#running = false;
  }

  async #runBatch(batch: readonly Pending[]): Promise<void> {
    // INVARIANT: no await between reading the revision and the last decision, so that all are made on one state.
    const expected = this.#model.revision;
    const appends: ToAppend[] = [];
    const confirms: ToConfirm[] = [];
    const replays: { pending: Pending; revision: Revision }[] = [];
    for (const pending of batch) {
      const stored = this.#model.commitRevision(pending.meta.commitId);
      if (stored === undefined) this.#decide(pending, expected, appends, confirms);
      else replays.push({ pending, revision: stored });
    }
    const answers = replays.map((one) => this.#replay(one.pending, one.revision));
    answers.push(this.#append(appends, confirms, expected));
    await Promise.all(answers);
  }

  #decide(pending: Pending, revision: Revision, appends: ToAppend[], confirms: ToConfirm[]): void {
    const decided = decide(this.#model.reads, pending.command, pending.meta.at);
    if (!decided.ok) {
      confirms.push({ pending, executed: decided });
    } else if (decided.events.length === 0) {
      confirms.push({ pending, executed: { ok: true, revision, replayed: false, events: [] } });
    } else {
      const commit = commitOf(pending.meta, decided.events);
      try {
        encodeForLog(commit); // One that is too large must not take its batch down.
        appends.push({ pending, commit });
      } catch (error) {
        pending.reject(asFailure(error));
      }
    }
  }

  async #append(
    appends: readonly ToAppend[],
    confirms: readonly ToConfirm[],
    expected: Revision,
  ): Promise<void> {
    const results = await appendTraced(
      this.#log,
      appends.map((one) => ({ commit: one.commit, context: one.pending.context })),
      expected,
    );
    // A stored commit that expected this revision proves that the model was at the head.
    const stored = results.some((result) => result.status === 'appended' && !result.duplicate);
    const head = stored || confirms.length === 0 ? expected : await this.#log.head();
    const known = results.map((result) => (result.status === 'conflict' ? result.head : 0));
    const again: Pending[] = [];
    if (head > expected) again.push(...confirms.map((one) => one.pending));
    else for (const one of confirms) one.pending.resolve(one.executed);

    const answers = appends.map(async (one, index) => {
      const result = results[index];
      assert(result !== undefined, 'the log answers for every commit');
      if (result.status === 'conflict') again.push(one.pending);
      else await this.#answerStored(one, result);
    });
    await Promise.all(answers);
    await this.#again(again, Math.max(head, ...known));
  }

  async #answerStored(
    { pending, commit }: ToAppend,
    { revision, duplicate }: Extract<AppendResult, { status: 'appended' }>,
  ): Promise<void> {
    try {
      await this.#model.waitFor(revision, FOLD_TIMEOUT_MS);
      if (duplicate) await this.#replay(pending, revision);
      else pending.resolve({ ok: true, revision, replayed: false, events: commit.events });
    } catch (error) {
      pending.reject(asFailure(error));
    }
  }

  /** Answers with what the first use of the commit id did. */
  async #replay(pending: Pending, revision: Revision): Promise<void> {
    try {
      const [commit] = await this.#log.read(revision - 1, 1);
      if (commit?.commitId !== pending.meta.commitId) {
        const detail = `revision ${revision} is not of commit ${pending.meta.commitId}`;
        throw new OperationalError('log_diverged', detail);
      }
      pending.resolve(replayed(commit, pending.meta));
    } catch (error) {
      pending.reject(asFailure(error));
    }
  }

  /** Puts commands back in front, to be decided on what the log holds now. */
  async #again(commands: readonly Pending[], head: Revision): Promise<void> {
    if (commands.length === 0) return;
    await this.#model.waitFor(head, FOLD_TIMEOUT_MS);
    const retried = commands.filter((pending) => {
      pending.conflicts += 1;
      if (pending.conflicts <= CONFLICT_RETRIES_MAX) return true;
      const detail = `the log moved ${pending.conflicts} times under one command`;
      pending.reject(new OperationalError('log_conflict', detail));
      return false;
    });
    this.#queue.unshift(...retried);
  }
}

// Field by field: what else the caller's object holds has no place in a log that is never erased.
function commitOf(meta: CommandMeta, events: readonly DomainEvent[]): NewCommit {
  const { commitId, at, actor, reason, traceparent, fingerprint, apply } = meta;
  return {
    commitId,
    at,
    actor: { kind: actor.kind, id: actor.id },
    ...(reason === undefined ? {} : { reason }),
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(fingerprint === undefined ? {} : { fingerprint }),
    ...(apply === undefined ? {} : { apply }),
    events,
  };
}

function replayed(commit: Commit, meta: CommandMeta): Executed {
  const { fingerprint } = meta;
  if (fingerprint !== undefined && commit.fingerprint !== undefined) {
    if (fingerprint !== commit.fingerprint) {
      return { ok: false, rejection: { code: 'idempotency_key_reused' } };
    }
  }
  return { ok: true, revision: commit.revision, replayed: true, events: commit.events };
}

/**
 * Takes from the queue, in order, what may share a batch: commands whose scopes do not meet. A command that has to wait
 * holds back every later one that meets it. `*` meets everything.
 */
function takeBatch(queue: Pending[]): readonly Pending[] {
  const batch: Pending[] = [];
  const held: Pending[] = [];
  const seen = new Set<string>();
  for (const pending of queue) {
    const meets =
      seen.has('*') ||
      (seen.size > 0 && pending.scope.includes('*')) ||
      pending.scope.some((one) => seen.has(one));
    for (const one of pending.scope) seen.add(one);
    if (meets || batch.length >= BATCH_COMMANDS_MAX) held.push(pending);
    else batch.push(pending);
  }
  queue.splice(0, queue.length, ...held);
  return batch;
}
