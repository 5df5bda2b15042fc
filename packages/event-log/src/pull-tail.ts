import type { Revision } from '@sallyport/domain';
import { isOperational, OperationalError } from '@sallyport/errors';
import type { FollowOptions, Tail } from './event-log.ts';
import { asFailure, decodeRun, FOLLOW_BATCH_COMMITS_MAX, type StoredRecord } from './record.ts';

/** A store that is read by asking. */
export interface PullSource {
  records(after: Revision, limit: number): readonly StoredRecord[];
  head(): Revision;
  /** Whether no other process has written since the last call: cheaper than to read and find nothing. */
  unchanged?(): boolean;
  /** Calls back after each append that this process makes; returns how to end that. */
  subscribe(onAppend: () => void): () => void;
  /** How often to look for appends of other processes, and to confirm the position. */
  readonly pollMs: number;
}

/** A tail that asks its store for what comes next, on every append and at an interval. */
export class PullTail implements Tail {
  readonly #source: PullSource;
  readonly #options: FollowOptions;
  readonly #unsubscribe: () => void;
  readonly #ended: Promise<void>;
  #position: Revision;
  #confirmedAt = -Infinity;
  #stopped = false;
  #appended = false;
  /** Whether the last look found nothing new. */
  #atHead = false;
  #wake: (() => void) | undefined;

  constructor(source: PullSource, options: FollowOptions) {
    this.#source = source;
    this.#options = options;
    this.#position = options.after;
    this.#unsubscribe = source.subscribe(() => {
      this.#appended = true;
      this.#wake?.();
    });
    this.#ended = this.#run();
  }

  get position(): Revision {
    return this.#position;
  }

  get confirmedAt(): number {
    return this.#confirmedAt;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#ended;
  }

  async #run(): Promise<void> {
    // The caller has its tail before the first batch arrives.
    await Promise.resolve();
    while (!this.#stopped) {
      const appended = this.#appended;
      this.#appended = false;
      let failure: OperationalError | undefined;
      try {
        failure = await this.#step(appended);
      } catch (error) {
        failure = asFailure(error);
      }
      if (failure === undefined || this.#stopped) continue;
      this.#stop();
      this.#options.onFailure(failure);
    }
  }

  /** Hands over one batch, or waits at the head. */
  async #step(appended: boolean): Promise<OperationalError | undefined> {
    const askedAt = performance.now();
    let records: readonly StoredRecord[];
    let head: Revision;
    try {
      if (this.#nothingNew(appended)) {
        this.#confirmedAt = askedAt;
        return await this.#wait();
      }
      this.#atHead = false;
      records = this.#source.records(this.#position, FOLLOW_BATCH_COMMITS_MAX);
      head = this.#source.head();
    } catch (error) {
      // A store that cannot be read now says nothing about its content: ask again.
      if (isOperational(error, 'log_unavailable')) return this.#wait();
      throw error;
    }
    if (head < this.#position) return truncated(head, this.#position);
    const { commits, failure } = decodeRun(records, this.#position);
    const last = commits.at(-1);
    if (last !== undefined) {
      await this.#options.onCommits(commits);
      this.#position = last.revision;
    }
    if (failure !== undefined) return failure;
    if (this.#position >= head) this.#confirmedAt = askedAt;
    if (records.length > 0) return undefined;
    this.#atHead = this.#position >= head;
    return this.#wait();
  }

  #nothingNew(appended: boolean): boolean {
    const unchanged = this.#source.unchanged?.() ?? false;
    return unchanged && !appended && this.#atHead;
  }

  async #wait(): Promise<undefined> {
    if (this.#appended || this.#stopped) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, this.#source.pollMs);
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }

  #stop(): void {
    this.#stopped = true;
    this.#unsubscribe();
    this.#wake?.();
  }
}

export function truncated(head: Revision, known: Revision): OperationalError {
  return new OperationalError(
    'log_truncated',
    `the log ends at revision ${head}, but revision ${known} was read before`,
  );
}
