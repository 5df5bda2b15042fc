import { MemoryState } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import type { EventLog, RecordedCommit, Tail } from '../event-log.ts';
import type { DecisionModel } from '../execute-command.ts';

interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
}

/** The domain's reference state, folded from a log by following it. */
export class FoldedModel implements DecisionModel, AsyncDisposable {
  readonly reads = new MemoryState();
  readonly #commitRevisions = new Map<string, number>();
  readonly #tail: Tail;
  #revision = 0;
  #waiters: Waiter[] = [];
  /** While set, the model does not fold: another writer is ahead of it. */
  held: Promise<void> | undefined;

  constructor(log: EventLog) {
    this.#tail = log.follow({
      after: 0,
      onCommits: async (commits) => {
        await this.held;
        for (const commit of commits) this.#fold(commit);
        const due = this.#waiters.filter((one) => one.revision <= this.#revision);
        this.#waiters = this.#waiters.filter((one) => one.revision > this.#revision);
        for (const one of due) one.resolve();
      },
      onFailure: (failure) => {
        throw failure;
      },
    });
  }

  get revision(): number {
    return this.#revision;
  }

  commitRevision(commitId: string): number | undefined {
    return this.#commitRevisions.get(commitId);
  }

  async waitFor(revision: number, timeoutMs: number): Promise<void> {
    if (revision <= this.#revision) return;
    let timer: NodeJS.Timeout | undefined;
    const folded = new Promise<void>((resolve) => this.#waiters.push({ revision, resolve }));
    const late = new Promise<never>((_, reject) => {
      const failure = new OperationalError(
        'policy_not_ready',
        `revision ${revision} is not folded`,
      );
      timer = setTimeout(() => reject(failure), timeoutMs);
    });
    await Promise.race([folded, late]).finally(() => clearTimeout(timer));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tail[Symbol.asyncDispose]();
  }

  #fold(commit: RecordedCommit): void {
    this.reads.apply(commit);
    this.#commitRevisions.set(commit.commitId, commit.revision);
    this.#revision = commit.revision;
  }
}
