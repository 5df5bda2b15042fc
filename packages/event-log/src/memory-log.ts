import type { NewCommit, Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { appendBatch, type EncodedCommit, encodeBatch } from './append-batch.ts';
import type { AppendResult, EventLog, FollowOptions, RecordedCommit, Tail } from './event-log.ts';
import { PullTail } from './pull-tail.ts';
import { decodeRecord, type StoredRecord } from './record.ts';

/** How often a tail that waits confirms that it has everything. */
const CONFIRM_INTERVAL_MS = 100;

/** The log in memory, for tests and tools; it passes the same contract as the others. Lost with the process. */
export class MemoryEventLog implements EventLog {
  readonly #texts: string[];
  readonly #revisions = new Map<string, Revision>();
  readonly #listeners = new Set<() => void>();
  readonly #tails = new Set<Tail>();
  #closed = false;

  /** `records` are the stored texts that the log starts with; they are read, and judged, when someone asks for them. */
  constructor(records: readonly string[] = []) {
    this.#texts = [...records];
  }

  async append(
    commits: readonly NewCommit[],
    expected: Revision,
  ): Promise<readonly AppendResult[]> {
    this.#assertOpen();
    const store = {
      head: () => this.#texts.length,
      revisionOf: (commitId: string) => this.#revisions.get(commitId),
      put: ({ commit, text }: EncodedCommit) => {
        const revision = this.#texts.push(text);
        this.#revisions.set(commit.commitId, revision);
        return revision;
      },
    };
    const results = appendBatch(store, encodeBatch(commits), expected);
    for (const listener of this.#listeners) listener();
    return results;
  }

  async read(after: Revision, limit: number): Promise<readonly RecordedCommit[]> {
    this.#assertOpen();
    return this.#records(after, limit).map(decodeRecord);
  }

  async head(): Promise<Revision> {
    this.#assertOpen();
    return this.#texts.length;
  }

  follow(options: FollowOptions): Tail {
    this.#assertOpen();
    const source = {
      records: (after: Revision, limit: number) => this.#records(after, limit),
      head: () => this.#texts.length,
      subscribe: (listener: () => void) => {
        this.#listeners.add(listener);
        return () => {
          this.#listeners.delete(listener);
          this.#tails.delete(tail);
        };
      },
      pollMs: CONFIRM_INTERVAL_MS,
    };
    const tail: Tail = new PullTail(source, options);
    this.#tails.add(tail);
    return tail;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#tails].map((tail) => tail[Symbol.asyncDispose]()));
  }

  #records(after: Revision, limit: number): StoredRecord[] {
    return this.#texts
      .slice(after, after + limit)
      .map((text, index) => ({ revision: after + index + 1, text }));
  }

  #assertOpen(): void {
    if (this.#closed) throw new OperationalError('log_unavailable', 'the log is closed');
  }
}
