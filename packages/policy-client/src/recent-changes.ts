import type { Revision } from '@sallyport/domain';

/** Commits whose tags a node remembers. An answer from before them is asked for again. */
export const RECENT_COMMITS_MAX = 10_000;

/** Tags that a node remembers of them: an import has hundreds in each commit. Those of the newest commit are always kept. */
export const RECENT_TAGS_MAX = 100_000;

/** For how many tags a commit counts whose tags nobody has asked for: more than one of an import has, which is kept as it was read. */
export const UNREAD_TAGS = 2_000;

/** The cache tags that a commit makes stale, or how to learn them: to read them takes time, and mostly nobody asks. */
export type ChangedTags = readonly string[] | (() => readonly string[]);

/** The tags of the newest commits, to tell whether an answer is stale already when it arrives. */
export class RecentChanges {
  readonly #revisions: Revision[] = [];
  readonly #tags: ChangedTags[] = [];
  /** For how many tags each commit counts. */
  readonly #counts: number[] = [];
  readonly #commitsMax: number;
  readonly #tagsMax: number;
  #tagCount = 0;
  #start: Revision;

  /** `start`: the revision from which on changes are recorded. */
  constructor(start: Revision, commitsMax = RECENT_COMMITS_MAX, tagsMax = RECENT_TAGS_MAX) {
    this.#start = start;
    this.#commitsMax = commitsMax;
    this.#tagsMax = tagsMax;
  }

  add(revision: Revision, tags: ChangedTags): void {
    const counted = typeof tags === 'function' ? UNREAD_TAGS : tags.length;
    this.#revisions.push(revision);
    this.#tags.push(tags);
    this.#counts.push(counted);
    this.#tagCount += counted;
    // In blocks, because taking one off the front of an array costs its length.
    if (this.#revisions.length > this.#commitsMax) this.#forget(Math.ceil(this.#commitsMax / 10));
    while (this.#tagCount > this.#tagsMax && this.#revisions.length > 1) {
      this.#forget(Math.ceil((this.#revisions.length - 1) / 10));
    }
  }

  #forget(commits: number): void {
    this.#start = this.#revisions[commits - 1] ?? this.#start;
    this.#revisions.splice(0, commits);
    this.#tags.splice(0, commits);
    for (const counted of this.#counts.splice(0, commits)) this.#tagCount -= counted;
  }

  /** Whether something that bears one of `tags` has changed after `revision`; true when that is not known any more. */
  touchedSince(revision: Revision, tags: readonly string[]): boolean {
    if (revision < this.#start) return true;
    for (let index = this.#revisions.length - 1; index >= 0; index--) {
      if ((this.#revisions[index] ?? 0) <= revision) return false;
      if (this.#tagsAt(index).some((tag) => tags.includes(tag))) return true;
    }
    return false;
  }

  #tagsAt(index: number): readonly string[] {
    const tags = this.#tags[index] ?? [];
    return typeof tags === 'function' ? (this.#tags[index] = tags()) : tags;
  }
}
