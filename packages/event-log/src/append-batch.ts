import type { NewCommit, Revision } from '@sallyport/domain';
import type { AppendResult } from './event-log.ts';
import { encodeForLog, type EncodedRecord } from './record.ts';

/** A store that one writer at a time changes. */
export interface ExclusiveStore {
  head(): Revision;
  revisionOf(commitId: string): Revision | undefined;
  /** Stores at head + 1, which it returns. */
  put(encoded: EncodedCommit): Revision;
}

export interface EncodedCommit extends EncodedRecord {
  readonly commit: NewCommit;
}

/** Encodes all before anything is stored, so that a commit that is too large leaves no half of its batch behind. */
export function encodeBatch(commits: readonly NewCommit[]): readonly EncodedCommit[] {
  return commits.map((commit) => ({ commit, ...encodeForLog(commit) }));
}

/**
 * What a commit expects after one that was stored at `stored`: that revision when it is the next one, and no change for a
 * commit that was in the log before, because it takes no place a second time.
 */
export function nextExpected(expected: Revision, stored: Revision): Revision {
  return stored === expected + 1 ? stored : expected;
}

export function appendBatch(
  store: ExclusiveStore,
  batch: readonly EncodedCommit[],
  expected: Revision,
): readonly AppendResult[] {
  let due = expected;
  let conflict: AppendResult | undefined;
  return batch.map((encoded) => {
    if (conflict !== undefined) return conflict;
    const first = store.revisionOf(encoded.commit.commitId);
    const head = store.head();
    if (first === undefined && due !== head) return (conflict = { status: 'conflict', head });
    const revision = first ?? store.put(encoded);
    due = nextExpected(due, revision);
    return { status: 'appended', revision, duplicate: first !== undefined };
  });
}
