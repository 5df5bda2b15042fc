import { affects, MemoryState, type Revision } from '@sallyport/domain';
import type { EventLog, RecordedCommit } from '@sallyport/event-log';

/** Commits that are looked through for a state of the past: a second or two of work. Of a longer past nothing is told. */
export const PAST_COMMITS_MAX = 100_000;

const COMMITS_PER_READ = 500;

/** Told of a state after each commit that changed it; the objects that it answers with stay what they are. */
export type PastVisitor = (state: MemoryState, commit: RecordedCommit) => void;

/**
 * Objects as they were at a revision, as far as they bear one of the tags; undefined when the log up to there is too long. Reads the
 * log from its beginning, a piece in each turn of the event loop. @throws OperationalError `log_unavailable`
 */
export async function stateAt(
  log: Pick<EventLog, 'read'>,
  revision: Revision,
  tags: ReadonlySet<string>,
  visit?: PastVisitor,
): Promise<MemoryState | undefined> {
  if (revision > PAST_COMMITS_MAX) return undefined;
  const state = new MemoryState();
  for (let after = 0; after < revision;) {
    const commits = await log.read(after, Math.min(COMMITS_PER_READ, revision - after));
    const last = commits.at(-1);
    if (last === undefined) return undefined;
    for (const commit of commits) {
      // All events of an object that changed what it says bear its tag.
      const events = commit.events.filter((one) => affects(one).some((tag) => tags.has(tag)));
      if (events.length === 0) continue;
      state.apply({ ...commit, events });
      visit?.(state, commit);
    }
    after = last.revision;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return state;
}

/**
 * Whether the log says anything of objects that bear one of the tags, behind one revision and up to another; true when it is too long to
 * tell. @throws OperationalError `log_unavailable`
 */
export async function isTouched(
  log: Pick<EventLog, 'read'>,
  { after, until }: { readonly after: Revision; readonly until: Revision },
  tags: ReadonlySet<string>,
): Promise<boolean> {
  if (until - after > PAST_COMMITS_MAX) return true;
  for (let read = after; read < until;) {
    const commits = await log.read(read, Math.min(COMMITS_PER_READ, until - read));
    const last = commits.at(-1);
    if (last === undefined) return false;
    const events = commits.flatMap((one) => one.events);
    if (events.some((one) => affects(one).some((tag) => tags.has(tag)))) return true;
    read = last.revision;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return false;
}

/** One look into the past at a time: the next one waits. */
export class PastStates {
  #last: Promise<unknown> = Promise.resolve();

  at(...args: Parameters<typeof stateAt>): ReturnType<typeof stateAt> {
    return this.alone(() => stateAt(...args));
  }

  alone<T>(look: () => Promise<T>): Promise<T> {
    const asked = this.#last.then(look, look);
    this.#last = asked;
    return asked;
  }
}
