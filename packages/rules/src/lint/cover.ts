import {
  CONNECTION_CONDITIONS,
  type ConnectionCondition,
  parseIpAddress,
  parseIpNetwork,
  startOf,
} from '@sallyport/domain';
import { unreachable } from '@sallyport/errors';
import { parseTopicPattern, plainCovers, type PlainPattern } from '@sallyport/topic';
import type { FilterLevel } from '../compile.ts';
import type { Action } from '../policy-spec.ts';
import type { EntryCondition, Form, Row, Side } from './rows.ts';

/** Numbers of levels, both ends included. */
export interface Lengths {
  readonly from: number;
  readonly to: number;
}

type LevelsForm = Extract<Form, { levels: readonly FilterLevel[] }>;

/**
 * The numbers of levels that a rule's topics can have. Beyond `longest` rules cannot tell them apart. What is no filter is one class,
 * of no level.
 */
export function lengthsOf(form: Form, longest: number): Lengths {
  if (!('levels' in form)) return { from: 0, to: 0 };
  const { levels, open } = form;
  if (!open) return { from: levels.length, to: levels.length };
  // The empty text is no topic: `#` and `/#` have no parent level.
  const from =
    levels.length === 0 ? 1 : levels.length === 1 && levels[0] === '' ? 2 : levels.length;
  return { from, to: Math.max(from, longest + 1) };
}

/**
 * How long those topics of `narrow` are that `wide` matches whenever `narrow` does, for every connection that has both; undefined:
 * of no length it is certain. Levels are endless, so that of one length a filter holds another alone, or does not.
 */
export function covers(wide: Side, narrow: Side, action: Action): Lengths | undefined {
  const { form } = narrow;
  switch (wide.form.kind) {
    case 'any':
      return wide.effect === 'deny' || !reachesReserved(narrow, action) ? ALL : undefined;
    case 'pattern':
      return coversByPattern(wide.form, wide, narrow, action);
    case 'text':
      return form.kind === 'text' && form.text === wide.form.text ? ALL : undefined;
    case 'levels':
      if ('levels' in form)
        return coversLevels(wide.form, wide.effect, { ...narrow, form }, action);
      return holdsEverything(wide.form) && !reachesReserved(narrow, action) ? ALL : undefined;
    default:
      return unreachable(wide.form);
  }
}

const ALL: Lengths = { from: 0, to: Infinity };

/** `#` and `+/#`: the empty text is no topic. */
const holdsEverything = ({ levels, open }: LevelsForm): boolean =>
  open && (levels.length === 0 || (levels.length === 1 && levels[0] === '+'));

/** Patterns are compared as texts, and where they match one text, or all behind one, by that. */
function coversByPattern(
  { source, plain }: Extract<Form, { kind: 'pattern' }>,
  wide: Side,
  { form, effect }: Side,
  action: Action,
): Lengths | undefined {
  if (form.kind !== 'pattern') return undefined;
  // Only deny patterns match `$…`, and only allow patterns match what their filters would.
  const reserved = wide.effect === 'deny' || effect === 'allow' || action === 'publish';
  const widened = action === 'receive' && effect === 'allow' && form.mentionsWildcards;
  const covered =
    form.source === source
      ? wide.effect === 'allow' || !widened
      : !widened && plainlyCovers(plain, form.plain);
  return reserved && covered ? ALL : undefined;
}

const plainlyCovers = (one: PlainPattern | undefined, other: PlainPattern | undefined): boolean =>
  one !== undefined && other !== undefined && plainCovers(one, other);

function coversLevels(
  wide: LevelsForm,
  wideEffect: Row['effect'],
  narrow: Side & { readonly form: LevelsForm },
  action: Action,
): Lengths | undefined {
  const { levels, open } = wide;
  const { form, effect } = narrow;
  if (!fitsLengths(wide, form)) return undefined;
  const wildcard = levels.length === 0 || levels[0] === '+';
  if (wildcard && reachesReserved(narrow, action)) return undefined;
  // Backwards: what filters have in common is mostly their beginning.
  for (let index = levels.length - 1; index >= 0; index--) {
    const level = levels[index] ?? '+';
    const other = form.levels[index] ?? '+';
    if (level !== '+' && !coversLevel(level, wideEffect, other, effect)) return undefined;
  }
  return { from: levels.length, to: open ? Infinity : levels.length };
}

/** Whether some topics have a number of levels that both filters have; most pairs are told apart here. */
function fitsLengths(wide: LevelsForm, narrow: LevelsForm): boolean {
  const [one, other] = [wide.levels.length, narrow.levels.length];
  if (narrow.open) return wide.open || one >= other;
  return wide.open ? one <= other : one === other;
}

/** A placeholder is compared with itself; without a value an allow rule matches nothing, and a deny rule everything. */
function coversLevel(
  wide: FilterLevel,
  wideEffect: Row['effect'],
  narrow: FilterLevel,
  narrowEffect: Row['effect'],
): boolean {
  if (typeof wide === 'string') return wide === narrow;
  if (typeof narrow === 'string' || wide.level !== narrow.level) return false;
  return wideEffect === 'deny' || narrowEffect === 'allow';
}

/** Whether a rule may match topics that start with `$`; publishing to them is never asked for. */
function reachesReserved({ form, effect }: Side, action: Action): boolean {
  if (action === 'publish') return false;
  if (!('levels' in form)) return effect === 'deny';
  const [first] = form.levels;
  if (typeof first === 'string') return first.startsWith('$');
  return first !== undefined && effect === 'deny';
}

/** Whether some topic, or text of a filter, may match both; true where it is not known. */
export function mayOverlap(one: Side, other: Side): boolean {
  if (isReservedOnly(one) && !mayReachReserved(other)) return false;
  if (isReservedOnly(other) && !mayReachReserved(one)) return false;
  const [left, right] = [one.form, other.form];
  if (!('levels' in left) || !('levels' in right)) return true;
  if (left.kind === 'text' && right.kind === 'text') return left.text === right.text;
  return levelsOverlap(left, right);
}

function levelsOverlap(left: LevelsForm, right: LevelsForm): boolean {
  const both = Math.min(left.levels.length, right.levels.length);
  for (let index = both - 1; index >= 0; index--) {
    const a = left.levels[index] ?? '+';
    const b = right.levels[index] ?? '+';
    if (isPlain(a) && isPlain(b) && a !== b) return false;
  }
  if (left.levels.length === right.levels.length) return true;
  return left.levels.length < right.levels.length ? left.open : right.open;
}

const isPlain = (level: FilterLevel): boolean => typeof level === 'string' && level !== '+';

function isReservedOnly({ form }: Side): boolean {
  const first = 'levels' in form ? form.levels[0] : undefined;
  return typeof first === 'string' && first.startsWith('$');
}

const mayReachReserved = (side: Side): boolean => reachesReserved(side, 'subscribe');

/** Whether every connection that one of the rules is for is one that the other is for. */
export function coversConnections(wide: Row, narrow: Row): boolean {
  if (!coversEntry(wide.rule.entry, narrow.rule.entry)) return false;
  const asked = wide.rule.connection;
  if (asked === undefined) return true;
  const given = narrow.rule.connection ?? {};
  const { source } = asked;
  const same = CONNECTION_CONDITIONS.every(
    (name) => name === 'source' || asked[name] === undefined || asked[name] === given[name],
  );
  if (!same) return false;
  if (source === undefined) return true;
  if (!holdsSource(source, given.source)) return false;
  // Of an address that is not known an allow row does not hold and a deny row does.
  return wide.effect === 'deny' || narrow.effect === 'allow';
}

/** A plain text is found in whatever a text is found in that holds it. */
function coversEntry(
  wide: EntryCondition | undefined,
  narrow: EntryCondition | undefined,
): boolean {
  if (wide === undefined || wide.index === narrow?.index) return true;
  if (wide.key === null || narrow === undefined || narrow.key === null) return false;
  const [found, given] = [searched(wide.key), searched(narrow.key)];
  return found !== undefined && given !== undefined && given.includes(found);
}

/** The text that is looked for by a key that is no more than one. */
function searched(key: string): string | undefined {
  const parsed = parseTopicPattern(key);
  return parsed.ok ? parsed.value.plain?.text : undefined;
}

function holdsSource(wide: string, narrow: ConnectionCondition['source']): boolean {
  if (wide === narrow) return true;
  if (narrow === undefined) return false;
  const [outer, inner] = [networkOf(wide), networkOf(narrow)];
  if (outer === undefined || inner === undefined || outer.bits !== inner.bits) return false;
  if (outer.prefix > inner.prefix) return false;
  return startOf({ bits: inner.bits, value: inner.value }, outer.prefix) === outer.value;
}

function networkOf(text: string): ReturnType<typeof parseIpNetwork> {
  if (text.includes('/')) return parseIpNetwork(text);
  const address = parseIpAddress(text);
  return address && { ...address, prefix: address.bits };
}
