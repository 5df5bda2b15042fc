import type { Change } from './section.ts';

/**
 * Updates in the order of the file, but each behind the one that lets go of what it takes: the file says how everything is in the end, and
 * not how it gets there. Those that take from each other in a circle have no such order; they are refused later. O(updates).
 */
export function inOrderOfTaking(updates: readonly Change[]): readonly Change[] {
  const freeing = new Map<string, Change>();
  for (const update of updates) if (update.frees !== undefined) freeing.set(update.frees, update);
  if (freeing.size === 0) return updates;
  const placed = new Set<Change>();
  for (const update of updates) {
    const waiting = new Set<Change>();
    let next: Change | undefined = update;
    while (next !== undefined && !placed.has(next) && !waiting.has(next)) {
      waiting.add(next);
      next = next.takes === undefined ? undefined : freeing.get(next.takes);
    }
    for (const one of [...waiting].reverse()) placed.add(one);
  }
  return [...placed];
}
