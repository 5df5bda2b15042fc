import { matcherText } from '../assemble.ts';
import type { Action, AuthoritySpec } from '../policy-spec.ts';
import { covers, coversConnections, type Lengths, lengthsOf, mayOverlap } from './cover.ts';
import {
  ACTIONS,
  type Form,
  type KnownFacts,
  type LintRule,
  type Row,
  rowOf,
  type Side,
  type Void,
} from './rows.ts';

/** Rules of one list that are looked at, from the first on; each is compared with each. */
export const LINT_ROWS_MAX = 2000;

/** Names of other rules that one finding tells, the first ones. */
export const LINT_NAMES_MAX = 10;

/**
 * - `duplicate`: an earlier rule is the same;
 * - `shadowed`: earlier rules decide all that it is about;
 * - `redundant`: it decides, and later rules would decide the same;
 * - `in_part`: earlier rules deny all that it allows, and yet it counts: for whether a wider subscription is granted in part;
 * - `needless`: it denies nothing that anything in the list, or in another authority's, allows, and that allows nothing by itself;
 * - `overruled`: another authority allows or denies all that it allows, so that it decides nothing;
 * - `guarded`: it is about topics that start with `$`, which the guard keeps shut;
 * - `unfillable`: a placeholder of it has no value for anybody whom it is for: an allow rule never matches, a deny rule takes any level;
 * - `no_topic`: a literal with wildcards, which no topic is equal to, for what is about topics only.
 */
export type LintCode =
  'duplicate' | 'shadowed' | 'redundant' | 'in_part' | 'needless' | 'overruled' | Void;

export interface LintFinding {
  readonly code: LintCode;
  readonly ruleId: string;
  /** Index of the rule in its list. */
  readonly position: number;
  readonly effect: 'allow' | 'deny';
  /** The filter, text or pattern; empty for everything. */
  readonly topic: string;
  /** What of its actions the finding is about. */
  readonly actions: readonly Action[];
  /** Whether no decision changes when it is removed, alone or with all others of which that is said. */
  readonly removable: boolean;
  /** The rules that are in its way, or say the same, in order; at most `LINT_NAMES_MAX`. */
  readonly by: readonly string[];
}

/** An authority's rules in order, or a part of them. */
export interface LintList extends Pick<
  AuthoritySpec,
  'noMatch' | 'subscribeByText' | 'subscribeByRule'
> {
  readonly rules: readonly LintRule[];
  /** Rules that are not here may come before these: for some connections, or later on. */
  readonly preceded?: boolean;
  /** Rules that come behind these for every connection. They may be in the way, and nothing is told of them. */
  readonly followed?: readonly LintRule[];
}

export interface LintReport {
  /** At most one for each rule, in order. */
  readonly findings: readonly LintFinding[];
  readonly rules: number;
  /** How many of them were looked at: at most `LINT_ROWS_MAX` of a list. */
  readonly examined: number;
}

/**
 * Finds rules that could as well not be there, or do not do what they seem to. What is reported as `removable` changes no decision when
 * it is removed; what is not reported may still be useless, because patterns are compared as texts and a placeholder only with itself.
 * O(rules²) at worst. @throws OperationalError `policy_invalid` for a rule that cannot be understood
 */
export function lintRules(list: LintList, known: KnownFacts = {}): LintReport {
  const { length } = list.rules;
  const looked = rowsOf(list, known);
  const linter = new Linter(list, looked);
  return { findings: linter.findings(), rules: length, examined: Math.min(length, looked.length) };
}

/** Those that are looked at, the first ones, and what follows them. */
export function rowsOf({ rules, followed }: LintList, known: KnownFacts): readonly Row[] {
  const looked = [...rules, ...(followed ?? [])].slice(0, LINT_ROWS_MAX);
  return looked.map((rule, rank) => rowOf(rule, rank, known));
}

/** Lengths and terms of one rule and action that no other rule has been found for yet. */
class Uncovered {
  readonly #from: number;
  /** By number of levels. */
  readonly #terms: number[];
  #left: number;

  constructor({ from, to }: Lengths, terms: number) {
    this.#from = from;
    this.#terms = Array.from({ length: to - from + 1 }, () => terms);
    this.#left = this.#terms.length;
  }

  get empty(): boolean {
    return this.#left === 0;
  }

  /** Whether anything of it was left. */
  take({ from, to }: Lengths, terms: number): boolean {
    let taken = false;
    const end = Math.min(to - this.#from, this.#terms.length - 1);
    for (let index = Math.max(from - this.#from, 0); index <= end; index++) {
      const left = this.#terms[index] ?? 0;
      if ((left & terms) === 0) continue;
      taken = true;
      this.#terms[index] = left & ~terms;
      if ((left & ~terms) === 0) this.#left--;
    }
    return taken;
  }
}

const named = (rows: Iterable<Row>): readonly string[] =>
  [...rows]
    .sort((one, other) => one.rank - other.rank)
    .slice(0, LINT_NAMES_MAX)
    .map((one) => one.rule.ruleId);

interface FindingMore {
  readonly removable?: boolean;
  readonly by?: Iterable<Row>;
  readonly actions?: readonly Action[];
}

/** Of a rule that may be removed, unless it says otherwise. */
export function findingOf(
  { rule, rank, effect }: Row,
  code: LintCode,
  { removable = true, by = [], actions = rule.actions }: FindingMore = {},
): LintFinding {
  const asked = ACTIONS.filter((one) => actions.includes(one));
  const topic = rule.entry?.written ?? matcherText(rule.matcher);
  return {
    ...{ code, ruleId: rule.ruleId, position: rank, effect, topic },
    ...{ actions: asked, removable, by: named(by) },
  };
}

class Linter {
  readonly #list: LintList;
  /** Those of the list, and what follows. */
  readonly #rows: readonly Row[];
  readonly #own: readonly Row[];
  readonly #longest: number;
  readonly #found = new Map<Row, LintFinding>();
  readonly #removed = new Set<Row>();

  constructor(list: LintList, rows: readonly Row[]) {
    this.#list = list;
    this.#rows = rows;
    this.#own = rows.slice(0, list.rules.length);
    let longest = 0;
    for (const { sides } of rows) {
      for (const { form } of sides.values()) {
        if ('levels' in form) longest = Math.max(longest, form.levels.length);
      }
    }
    this.#longest = longest;
  }

  findings(): readonly LintFinding[] {
    for (const row of this.#own) if (row.sides.size === 0) this.#reportVoid(row);
    for (const row of this.#own) if (!this.#removed.has(row)) this.#lookBefore(row);
    for (const row of this.#own) if (!this.#removed.has(row)) this.#lookBehind(row);
    for (const row of this.#own) if (!this.#removed.has(row)) this.#lookForNeed(row);
    for (const row of this.#own) if (!this.#found.has(row)) this.#reportParts(row);
    return [...this.#found.values()].sort((one, other) => one.position - other.position);
  }

  #report(row: Row, code: LintCode, more: FindingMore): void {
    const finding = findingOf(row, code, more);
    this.#found.set(row, finding);
    if (finding.removable) this.#removed.add(row);
  }

  /** It matches nothing at all. */
  #reportVoid(row: Row): void {
    const reasons = new Set(row.voids.values());
    const code = (['unfillable', 'guarded', 'no_topic'] as const).find((one) => reasons.has(one));
    if (code !== undefined) this.#report(row, code, {});
  }

  /** What is left of it does something, and not all that it says. */
  #reportParts(row: Row): void {
    if (row.unfillable) {
      this.#report(row, 'unfillable', { removable: false });
      return;
    }
    const guarded = [...row.voids].filter(([, reason]) => reason === 'guarded');
    if (guarded.length === 0 || row.effect === 'deny') return;
    this.#report(row, 'guarded', { removable: false, actions: guarded.map(([action]) => action) });
  }

  #lookBefore(row: Row): void {
    const by = this.#coveredBy(row, this.#rows.slice(0, row.rank));
    if (by === undefined) return;
    if (this.#grantsInPart(row, by)) {
      this.#report(row, 'in_part', { removable: false, by, actions: ['subscribe'] });
      return;
    }
    const [only] = by;
    const same = by.size === 1 && only !== undefined && sameRule(only, row);
    this.#report(row, same ? 'duplicate' : 'shadowed', { by });
  }

  /** The rules among `others` that together match whatever the row does; undefined when something is left. */
  #coveredBy(row: Row, others: Iterable<Row>): ReadonlySet<Row> | undefined {
    const by = new Set<Row>();
    for (const action of row.sides.keys()) {
      if (!this.#actionCovered(row, action, others, by)) return undefined;
    }
    return by;
  }

  #actionCovered(row: Row, action: Action, others: Iterable<Row>, by: Set<Row>): boolean {
    const side = row.sides.get(action);
    if (side === undefined) return true;
    const lengths = lengthsOf(side.form, this.#longest);
    const uncovered = new Uncovered(lengths, row.terms.get(action) ?? 0);
    for (const other of others) {
      const wide = other.sides.get(action);
      const found = wide && covers(wide, side, action);
      if (found === undefined || !coversConnections(other, row)) continue;
      if (this.#decidesAlone(action) && !includes(found, lengths)) continue;
      if (uncovered.take(found, other.terms.get(action) ?? 0)) by.add(other);
      if (uncovered.empty) return true;
    }
    return false;
  }

  /** Whether it is the rule that alone holds the whole of a filter that decides about it. */
  #decidesAlone(action: Action): boolean {
    return (
      action === 'unsubscribe' || (action === 'subscribe' && this.#list.subscribeByRule === true)
    );
  }

  /**
   * Whether an allow rule that never decides still counts: where nothing but deny rules stands in the way, a subscription is granted for
   * the rest, and what these rules are in the way of must be allowed too. An authority that judges by text, or by one rule, asks nothing of the kind.
   */
  #grantsInPart(row: Row, by: ReadonlySet<Row>): boolean {
    const side = row.sides.get('subscribe');
    if (row.effect === 'deny' || side === undefined) return false;
    if (this.#list.subscribeByText === true || this.#list.subscribeByRule === true) return false;
    if (![...by].some((one) => one.effect === 'deny' && one.sides.has('subscribe'))) return false;
    const grants = this.#rows.filter(
      (one) => one !== row && one.effect === 'allow' && !this.#removed.has(one),
    );
    if (this.#actionCovered(row, 'subscribe', grants, new Set())) return false;
    return !this.#deniedAround(row, side);
  }

  /**
   * Whether a deny rule, which no allow rule goes before, denies all of each subscription that the row could count for. A filter of one
   * length is allowed by a rule that holds the whole of it, or not at all: so these are the row's own, and those that end with `#` and
   * take in topics of the row's length.
   */
  #deniedAround(row: Row, side: Side): boolean {
    if (this.#list.preceded === true) return false;
    const { form } = side;
    const wider: Side = { ...side, form: widened(form) };
    const around: Row = { ...row, sides: new Map([['subscribe', wider]]) };
    // A superuser may read of `$…` what another authority opens, and is stopped by no deny rule.
    const [first] = 'levels' in form ? form.levels : [];
    if (typeof first === 'string' && first.startsWith('$')) return false;
    for (const other of this.#rows.slice(0, row.rank)) {
      if (overlap(other, around) && other.effect === 'allow') return false;
      if (other.effect === 'allow') continue;
      if (this.#coveredBy(around, [other]) !== undefined) return true;
    }
    return false;
  }

  /** Later rules that say the same, and nothing in between that says something else. */
  #lookBehind(row: Row): void {
    const same: Row[] = [];
    for (const other of this.#rows.slice(row.rank + 1)) {
      if (other.effect === row.effect) {
        if (!this.#removed.has(other)) same.push(other);
      } else if (overlap(row, other)) break;
    }
    const by = same.length === 0 ? undefined : this.#coveredBy(row, same);
    if (by !== undefined) this.#report(row, 'redundant', { by });
  }

  /** A deny rule of a list that allows nothing by itself, where no rule allows any of it. */
  #lookForNeed(row: Row): void {
    if (row.effect === 'allow' || this.#list.noMatch !== 'deny') return;
    if (row.sides.has('unsubscribe') || this.#rows.length < this.#list.rules.length) return;
    const needed = this.#rows.some((one) => one.effect === 'allow' && overlap(row, one));
    if (!needed) this.#report(row, 'needless', {});
  }
}

const includes = (outer: Lengths, inner: Lengths): boolean =>
  outer.from <= inner.from && outer.to >= inner.to;

/** Whether both may match the same, asked in the same way. */
export function overlap(one: Row, other: Row): boolean {
  for (const [action, side] of one.sides) {
    const against = other.sides.get(action);
    if (against === undefined) continue;
    if (((one.terms.get(action) ?? 0) & (other.terms.get(action) ?? 0)) === 0) continue;
    if (mayOverlap(side, against)) return true;
  }
  return false;
}

/** All topics of the subscriptions that can depend on whether a form is allowed. */
function widened(form: Form): Form {
  if (!('levels' in form) || form.kind === 'text') return form;
  const last = form.levels.findLastIndex((one) => one !== '+');
  return { ...form, levels: form.levels.slice(0, last + 1), open: true };
}

function sameRule(one: Row, other: Row): boolean {
  const text = ({ rule: { effect, actions, matcher, when, connection, entry } }: Row): string => {
    const ordered = ACTIONS.filter((action) => actions.includes(action));
    return JSON.stringify([
      ...[effect, ordered, entries(matcher), entries(when), entries(connection)],
      entry?.index,
    ]);
  };
  return text(one) === text(other);
}

const entries = (value: object = {}): readonly unknown[] =>
  Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
