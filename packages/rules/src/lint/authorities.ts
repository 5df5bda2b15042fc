import type { PolicySpec } from '../policy-spec.ts';
import { findingOf, type LintFinding, type LintList, overlap, rowsOf } from './lint.ts';
import type { KnownFacts, Row } from './rows.ts';

/** The rules of one authority. */
export interface LintAuthority extends LintList {
  readonly name: string;
  /** There may be rules that are not here, for more than is known of the connection. */
  readonly incomplete?: boolean;
}

/** A policy as far as lint looks at it. */
export interface LintPolicy extends Pick<PolicySpec, 'superuser'> {
  readonly authorities: readonly LintAuthority[];
}

interface Judging {
  readonly list: LintAuthority;
  readonly rows: readonly Row[];
  /** Whether these are all the rules that it has. */
  readonly complete: boolean;
}

/**
 * For each authority the rules that say nothing but what is decided without them, because another one never abstains: any deny denies, and
 * what it does not deny it allows. Whatever is reported may be removed together with what is found in each authority by itself.
 */
export function lintBeside(
  { authorities, superuser }: LintPolicy,
  known: KnownFacts,
): readonly (readonly LintFinding[])[] {
  // Of `$…` a superuser may read what some rule opens, whoever else denies it; of all else no rule says anything.
  if (superuser) return authorities.map(() => []);
  const all = authorities.map((list): Judging => {
    const rows = rowsOf(list, known);
    const complete = list.incomplete !== true && rows.length === list.rules.length;
    return { list, rows, complete };
  });
  return all.map((judging) => {
    const closed = all.filter((one) => one !== judging && one.list.noMatch === 'deny');
    if (closed.length === 0) return [];
    return judging.rows.flatMap((row) => {
      if (row.effect === 'deny') {
        return isNeedless(row, closed) ? [findingOf(row, 'needless')] : [];
      }
      return isOverruled(row, judging) ? [findingOf(row, 'overruled')] : [];
    });
  });
}

/** Whether nothing of it is allowed by one of the others. Nobody has to allow an UNSUBSCRIBE. */
function isNeedless(row: Row, closed: readonly Judging[]): boolean {
  if (row.sides.has('unsubscribe')) return false;
  return closed.some(
    ({ complete, rows }) =>
      complete && !rows.some((one) => one.effect === 'allow' && overlap(row, one)),
  );
}

/** Whether nothing that is denied behind it is kept from that by it. */
function isOverruled(row: Row, { list, rows, complete }: Judging): boolean {
  if (!complete || list.noMatch === 'deny') return false;
  return !rows.slice(row.rank + 1).some((one) => one.effect === 'deny' && overlap(row, one));
}
