import type { OperationalError } from '@sallyport/errors';
import type { Commit, DomainEvent, NewCommit, Revision } from '@sallyport/domain';

/** A commit as it was read back, with the digest of its stored bytes. */
export interface RecordedCommit extends Commit {
  /** SHA-256 of the stored record, base64; the link of the running hash (`nextHash`). */
  readonly digest: string;
  /** The types of its events, where it is not decoded yet (`FollowOptions.lazily`). */
  readonly eventTypes?: readonly DomainEvent['type'][];
}

export type AppendResult =
  | {
      readonly status: 'appended';
      readonly revision: Revision;
      /**
       * True when a commit with this id was stored before, perhaps by an attempt of this very call whose answer was lost;
       * `revision` is then the first one's.
       */
      readonly duplicate: boolean;
    }
  /** Not stored: the log's head was not the one expected. `head` is the newest revision known. */
  | { readonly status: 'conflict'; readonly head: Revision };

/**
 * The one source of truth: commits at revisions 1, 2, 3 … without gaps.
 * Adapters pass `event-log/contract`. Every failure is an `OperationalError`.
 */
export interface EventLog extends AsyncDisposable {
  /**
   * Appends `commits` in order, the first one expecting `expected` as head, each further one the commit before it. Answers
   * one result for each; after the first conflict all further ones are conflicts. An uncertain outcome is settled before
   * the answer, by repeating the same commit id; so is a repeat of a commit stored before.
   * @throws OperationalError `log_unavailable` when the outcome cannot be settled; `commit_too_large`; `log_full` when the store
   * has no space, and has stored nothing
   */
  append(commits: readonly NewCommit[], expected: Revision): Promise<readonly AppendResult[]>;

  /** Commits after a revision, at most `limit`, oldest first; empty at the head. */
  read(after: Revision, limit: number): Promise<readonly RecordedCommit[]>;

  /** Revision of the newest commit, 0 for an empty log; asks the store, never a cache. */
  head(): Promise<Revision>;

  /**
   * Hands over every commit after `after`, in order, once each, those that exist first and then those to come, until
   * disposed. Survives restarts of the store.
   */
  follow(options: FollowOptions): Tail;
}

export interface FollowOptions {
  readonly after: Revision;
  /** Gets one or more commits; the next batch waits for the promise. A throw stops the tail with that failure. */
  readonly onCommits: (commits: readonly RecordedCommit[]) => void | Promise<void>;
  /**
   * A commit whose record says beside it what types of events it has, all known here, is decoded when somebody asks for more than
   * those, its revision, its digest and its trace. One that cannot be decoded then throws `log_unreadable` there.
   */
  readonly lazily?: boolean;
  /**
   * The tail has stopped for good: `log_truncated`, `log_diverged` (another log under the same name), `log_unreadable`, or
   * what `onCommits` threw. Called at most once.
   */
  readonly onFailure: (failure: OperationalError) => void;
}

/** A reader that stays at the head. Disposing it waits for `onCommits`, so that must not wait for the disposal. */
export interface Tail extends AsyncDisposable {
  /** Revision of the newest commit handed over. */
  readonly position: Revision;
  /** When the tail was last known to have everything, as `performance.now()`; -Infinity before the first time. */
  readonly confirmedAt: number;
}

/** Largest encoded commit, in bytes. */
export const COMMIT_BYTES_MAX = 256 * 1024;
