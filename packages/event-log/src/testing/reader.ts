import { isOperational, type OperationalError } from '@sallyport/errors';
import type { EventLog, RecordedCommit, Tail } from '../event-log.ts';

/** Follows a log and remembers what it was given. */
export class Reader implements AsyncDisposable {
  readonly commits: RecordedCommit[] = [];
  readonly batches: number[] = [];
  readonly tail: Tail;
  readonly failed: Promise<OperationalError>;
  failures = 0;
  #watchers: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(
    log: EventLog,
    after: number,
    onBatch: (commits: readonly RecordedCommit[]) => void | Promise<void> = () => undefined,
    lazily = false,
  ) {
    let fail: (failure: OperationalError) => void;
    this.failed = new Promise((resolve) => (fail = resolve));
    this.tail = log.follow({
      after,
      lazily,
      onCommits: async (commits) => {
        await onBatch(commits);
        this.commits.push(...commits);
        this.batches.push(commits.length);
        const ready = this.#watchers.filter((one) => one.count <= this.commits.length);
        this.#watchers = this.#watchers.filter((one) => one.count > this.commits.length);
        for (const one of ready) one.resolve();
      },
      onFailure: (failure) => {
        this.failures += 1;
        fail(failure);
      },
    });
  }

  get revisions(): number[] {
    return this.commits.map((commit) => commit.revision);
  }

  get ids(): string[] {
    return this.commits.map((commit) => commit.commitId);
  }

  /** Resolves when this many commits have come; fails with what stopped the tail. */
  async count(count: number): Promise<void> {
    if (this.commits.length >= count) return;
    const reached = new Promise<void>((resolve) => this.#watchers.push({ count, resolve }));
    const failure = await Promise.race([reached, this.failed]);
    if (failure !== undefined) throw failure;
  }

  /** Resolves when the tail was at the head at some moment after this call. */
  async confirmed(): Promise<void> {
    const since = performance.now();
    while (this.tail.confirmedAt < since) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tail[Symbol.asyncDispose]();
  }
}

/** The code of what a promise fails with. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'no failure';
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
      if (isOperational(error, error.code as OperationalError['code'])) return error.code;
    }
    throw error;
  }
}

export interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

export function deferred(): Deferred {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve };
}
