import type { ConnectionCondition, Placeholder } from '@sallyport/domain';
import { factsOf } from '@sallyport/domain';
import { unreachable } from '@sallyport/errors';
import type { TopicPattern } from '@sallyport/topic';
import { factValue } from '../check.ts';
import { type FilterLevel, type Matchable, parseMatcher } from '../compile.ts';
import type { Action, Condition, Facts, RuleSpec } from '../policy-spec.ts';

/** A rule with what it asks of the connection, where that is not settled yet. */
export interface LintRule extends RuleSpec {
  readonly connection?: ConnectionCondition;
  readonly entry?: EntryCondition;
}

/** Of a mapping: the certificate must select the entry. */
export interface EntryCondition {
  readonly index: number;
  /** What is searched in the name of the certificate; null where a keyword selects one entry alone. */
  readonly key: string | null;
  /** The pattern as it is written, where the matcher has something else for its placeholders. */
  readonly written?: string;
}

/** What is known of every connection that the rules are for; null: it has none. What is left out may be anything. */
export interface KnownFacts {
  readonly clientId?: string;
  readonly username?: string | null;
  readonly commonName?: string | null;
  readonly zone?: string;
  readonly attributes?: Readonly<Record<string, string>>;
}

export const ACTIONS = ['publish', 'subscribe', 'receive', 'unsubscribe'] as const;

/** Why a rule says nothing about an action. */
export type Void = 'guarded' | 'unfillable' | 'no_topic';

/** What a rule matches when it is asked about one action. */
export type Form =
  /** Levels without a final `#`; `open`: there was one. */
  | { readonly kind: 'levels'; readonly levels: readonly FilterLevel[]; readonly open: boolean }
  /** The text of a SUBSCRIBE or UNSUBSCRIBE, with wildcards; the levels are those of what it subscribes to. */
  | {
      readonly kind: 'text';
      readonly text: string;
      readonly levels: readonly string[];
      readonly open: boolean;
    }
  | ({ readonly kind: 'pattern' } & Pick<TopicPattern, 'source' | 'mentionsWildcards' | 'plain'>)
  | { readonly kind: 'any' };

/** A rule about one action. */
export interface Side {
  readonly form: Form;
  readonly effect: RuleSpec['effect'];
}

/** One rule, as it is compared with others. */
export interface Row extends Pick<RuleSpec, 'effect'> {
  readonly rank: number;
  readonly rule: LintRule;
  /** Of the actions that it speaks of, and can match anything of. */
  readonly sides: ReadonlyMap<Action, Side>;
  /** For each of them the terms that it holds under, one bit for each that rules can tell apart. */
  readonly terms: ReadonlyMap<Action, number>;
  /** Of the other actions that it speaks of. */
  readonly voids: ReadonlyMap<Action, Void>;
  /** Whether a placeholder of it has no value for anybody: a deny rule has `+` there. */
  readonly unfillable: boolean;
}

/** @throws OperationalError `policy_invalid` for what cannot be understood */
export function rowOf(rule: LintRule, rank: number, known: KnownFacts): Row {
  const matcher = parseMatcher(rule);
  const { effect } = rule;
  const sides = new Map<Action, Side>();
  const terms = new Map<Action, number>();
  const voids = new Map<Action, Void>();
  const unfillable = isUnfillable(matcher, known);
  for (const action of new Set(rule.actions)) {
    const form = writtenForm(rule, formOf(matcher, action, effect, unfillable));
    if (typeof form === 'string') voids.set(action, form);
    else {
      sides.set(action, { form, effect });
      const mask = termsMask(rule.when, action);
      // A text has wildcards, else it would be a filter here.
      const asked = form.kind === 'text' ? termsMask({ wildcard: true }, action) : mask;
      terms.set(action, mask & asked);
    }
  }
  return { rank, rule, effect, sides, terms, voids, unfillable };
}

/** A pattern with placeholders is compared as it is written. */
function writtenForm({ entry }: LintRule, form: Form | Void): Form | Void {
  if (entry?.written === undefined || typeof form === 'string') return form;
  return { ...form, source: entry.written, plain: undefined } as Form; // Mappings hold patterns only.
}

function formOf(
  matcher: Matchable,
  action: Action,
  effect: RuleSpec['effect'],
  unfillable: boolean,
): Form | Void {
  switch (matcher.kind) {
    case 'any':
      return { kind: 'any' };
    case 'pattern': {
      const { source, mentionsWildcards, plain } = matcher.pattern;
      if (effect === 'allow' && RESERVED_PATTERN.test(source)) return 'guarded';
      return { kind: 'pattern', source, mentionsWildcards, plain };
    }
    case 'text':
      return formOfText(matcher, action, effect);
    case 'filter':
      if (unfillable && effect === 'allow') return 'unfillable';
      if (isGuarded(matcher.levels[0], action, effect)) return 'guarded';
      return { kind: 'levels', ...opened(matcher.levels) };
    default:
      return unreachable(matcher);
  }
}

/** All that it matches starts with `$`, which no allow pattern opens. Of other patterns that is not known. */
const RESERVED_PATTERN = /^\\\$(?![?*+{])[^|]*$/;

/** Only a SUBSCRIBE or UNSUBSCRIBE can say such a text; what it was granted by it is delivered. */
function formOfText(
  { text, levels }: Extract<Matchable, { kind: 'text' }>,
  action: Action,
  effect: RuleSpec['effect'],
): Form | Void {
  if (action === 'publish' || (action === 'receive' && effect === 'deny')) return 'no_topic';
  return action === 'receive'
    ? { kind: 'levels', ...opened(levels) }
    : { kind: 'text', text, ...opened(levels) };
}

function opened<T>(levels: readonly T[]): {
  readonly levels: readonly T[];
  readonly open: boolean;
} {
  const open = levels.at(-1) === '#';
  return { levels: open ? levels.slice(0, -1) : levels, open };
}

/** Nobody publishes to `$…`, and no allow rule opens what it does not begin to write itself. */
function isGuarded(
  first: FilterLevel | undefined,
  action: Action,
  effect: RuleSpec['effect'],
): boolean {
  if (typeof first === 'string') return action === 'publish' && first.startsWith('$');
  if (first === undefined || effect === 'deny') return false;
  const { placeholder } = first;
  const start = placeholder.kind === 'joined' ? placeholder.parts[0] : undefined;
  return typeof start === 'string' && start.startsWith('$');
}

function isUnfillable(matcher: Matchable, known: KnownFacts): boolean {
  if (matcher.kind !== 'filter') return false;
  return matcher.levels.some(
    (one) => typeof one !== 'string' && hasNoValue(one.placeholder, known),
  );
}

function hasNoValue(placeholder: Placeholder, known: KnownFacts): boolean {
  return factsOf(placeholder).some((fact) => {
    if (!isKnown(fact, known)) return false;
    return factValue(factsFrom(known), fact) === undefined;
  });
}

function isKnown(fact: ReturnType<typeof factsOf>[number], known: KnownFacts): boolean {
  return known[fact.kind === 'attribute' ? 'attributes' : fact.kind] !== undefined;
}

function factsFrom({ clientId, username, commonName, zone, attributes }: KnownFacts): Facts {
  const certificate =
    typeof commonName === 'string'
      ? { commonName, fingerprintSha256: '', chainCommonNames: [] }
      : undefined;
  return {
    clientId: clientId ?? '',
    listener: '',
    ...(typeof username === 'string' && { username }),
    ...(certificate && { certificate }),
    ...(zone !== undefined && { zone }),
    ...(attributes && { attributes }),
  };
}

/** Combinations that conditions tell apart: a QoS, and of a publish whether it is retained, else of which kind the filter is. */
const TERMS = ([0, 1, 2] as const).flatMap((qos) =>
  [false, true].flatMap((first) => [false, true].map((second) => ({ qos, first, second }))),
);

/** One bit for each of them that a condition holds under. */
function termsMask(when: Condition | undefined, action: Action): number {
  const { qos, retain, shared, wildcard } = when ?? {};
  const [wanted, also] = action === 'publish' ? [retain, undefined] : [shared, wildcard];
  let mask = 0;
  for (const [bit, one] of TERMS.entries()) {
    if (action !== 'unsubscribe' && qos?.includes(one.qos) === false) continue;
    if ((wanted ?? one.first) === one.first && (also ?? one.second) === one.second)
      mask |= 1 << bit;
  }
  return mask;
}
