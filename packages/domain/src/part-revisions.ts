import type { Revision } from './commit.ts';

/** Parts of an object in an order, and for each of them the revision that it is there since as it is. */
export interface DatedParts<T> {
  readonly parts: readonly T[];
  readonly revisions: readonly Revision[];
}

/**
 * The revisions of the parts that an object has after a change: what was there before, the same, keeps the one that it had, wherever it
 * stands now. `textOf` tells parts apart; of equal ones the n-th is the n-th before. O(parts).
 */
export function partRevisions<T>(
  parts: readonly T[],
  before: DatedParts<T> | undefined,
  textOf: (part: T) => string,
  revision: Revision,
): readonly Revision[] {
  const known = new Map<string, Revision[]>();
  for (const [index, part] of (before?.parts ?? []).entries()) {
    const text = textOf(part);
    const since = before?.revisions[index] ?? revision;
    const found = known.get(text);
    if (found === undefined) known.set(text, [since]);
    else found.push(since);
  }
  return parts.map((part) => known.get(textOf(part))?.shift() ?? revision);
}
