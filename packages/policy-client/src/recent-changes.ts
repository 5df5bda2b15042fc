import type { Revision } from '@sallyport/domain';

/** Commits whose tags a node remembers. An answer from before them is asked for again. */
export const RECENT_COMMITS_MAX = 10_000;

/** The tags of the newest commits, to tell whether an answer is stale already when it arrives. */
export class RecentChanges {
  readonly #revisions: Revision[] = [];
  readonly #tags: (readonly string[])[] = [];
  readonly #commitsMax: number;
  #start: Revision;

  /** `start`: the revision from which on changes are recorded. */
  constructor(start: Revision, commitsMax = RECENT_COMMITS_MAX) {
    this.#start = start;
    this.#commitsMax = commitsMax;
  }

  add(revision: Revision, tags: readonly string[]): void {
    this.#revisions.push(revision);
    this.#tags.push(tags);
    if (this.#revisions.length > this.#commitsMax) {
      // In blocks, because taking one off the front of an array costs its length.
      const surplus = Math.ceil(this.#commitsMax / 10);
      this.#start = this.#revisions[surplus - 1] ?? this.#start;
      this.#revisions.splice(0, surplus);
      this.#tags.splice(0, surplus);
    }
  }

  /** Whether something that bears one of `tags` has changed after `revision`; true when that is not known any more. */
  touchedSince(revision: Revision, tags: readonly string[]): boolean {
    if (revision < this.#start) return true;
    for (let index = this.#revisions.length - 1; index >= 0; index--) {
      if ((this.#revisions[index] ?? 0) <= revision) return false;
      if (this.#tags[index]?.some((tag) => tags.includes(tag)) === true) return true;
    }
    return false;
  }
}
