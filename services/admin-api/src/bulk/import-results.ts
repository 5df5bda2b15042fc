import type { DomainEvent, ImportEvent, RowFailure, RowNote } from '@sallyport/domain';
import { assert } from '@sallyport/errors';

/** What became of one row. */
export type RowResult =
  | {
      readonly row: number;
      readonly outcome: 'created' | 'updated' | 'unchanged';
      readonly id: string;
      /** Generated for the row, and told once. */
      readonly secret?: string;
    }
  | ({ readonly row: number; readonly outcome: 'error' } & RowFailure);

/** The event of a commit that says what became of its rows. */
export function storedRows(events: readonly DomainEvent[]): ImportEvent['data'] {
  const event = events.find((one) => one.type === 'ImportRowsStored');
  assert(event !== undefined, 'a commit of an import says what became of its rows');
  return event.data;
}

/** What became of the rows of one commit, in order. `secretOf` tells a generated secret of a row. */
export function resultsOf(
  events: readonly DomainEvent[],
  secretOf: (row: number) => string | undefined,
): readonly RowResult[] {
  const { first, last, notes } = storedRows(events);
  const noteOf = new Map(notes.map((note) => [note.row, note]));
  const added = addedIds(events);
  let index = 0;
  const results: RowResult[] = [];
  for (let row = first; row <= last; row++) {
    const note = noteOf.get(row) ?? { row, outcome: 'created', id: added[index++] ?? '' };
    results.push(resultOf(note, secretOf(row)));
  }
  return results;
}

/** Ids of what the rows without a note added, in order. */
function addedIds(events: readonly DomainEvent[]): readonly string[] {
  const ids: string[] = [];
  for (const [index, event] of events.entries()) {
    if (event.type === 'CredentialAdded') ids.push(event.data.id);
    if (event.type !== 'AclRuleAdded') continue;
    const { ruleId } = event.data.rule;
    const before = events[index - 1];
    const replaced = before?.type === 'AclRuleRemoved' && before.data.ruleId === ruleId;
    if (!replaced) ids.push(ruleId);
  }
  return ids;
}

type Created = { readonly row: number; readonly outcome: 'created'; readonly id: string };

function resultOf(note: RowNote | Created, secret: string | undefined): RowResult {
  if (note.outcome === 'failed') return { ...note, outcome: 'error' };
  const { row, outcome, id } = note;
  return secret === undefined || outcome === 'unchanged'
    ? { row, outcome, id }
    : { row, outcome, id, secret };
}
