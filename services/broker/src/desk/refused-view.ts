import type { RefusedEntry } from '../access/refused-attempts.ts';

export const REFUSED_SORTS: ReadonlySet<string> = new Set([
  'lastAt',
  'firstAt',
  'count',
  'reason',
  'address',
  'clientId',
  'username',
  'listener',
  'nodeId',
] satisfies (keyof RefusedEntry | 'nodeId')[]);

/** What an administrator sees of attempts that were refused. */
export function refusedView({ id: _, ...entry }: RefusedEntry, nodeId: string) {
  return { ...entry, nodeId };
}

/** The value that an entry is sorted by; one of `REFUSED_SORTS`. */
export function refusedValue(entry: RefusedEntry, sort: string, nodeId: string): string | number {
  const value = new Map<string, unknown>(Object.entries(refusedView(entry, nodeId))).get(sort);
  return typeof value === 'number' || typeof value === 'string' ? value : '';
}

export const refusedSearched = ({ clientId, username, address }: RefusedEntry): readonly string[] =>
  [clientId, username, address].filter((one) => one !== undefined);
