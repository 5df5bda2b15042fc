import { parsePlaceholder, type Placeholder } from '@sallyport/domain';
import { OperationalError, unreachable } from '@sallyport/errors';
import {
  levelsOf,
  parseTopicFilter,
  parseTopicPattern,
  type TopicPattern,
  topicProblemText,
} from '@sallyport/topic';
import type {
  Action,
  ApplyMode,
  AuthoritySpec,
  Condition,
  Decision,
  PolicySpec,
  RuleSpec,
  Terms,
} from './policy-spec.ts';

/** Most rules of one policy: three full ACL tables and the patterns of one credential fit three times over. */
export const POLICY_RULES_MAX = 10_000;

/** Rank of "no rule matches"; larger than any index. */
export const NO_RANK = 0x3fff_ffff;

/**
 * An edge that is followed when a level equals a fact. Edges of allow and deny rules are kept apart, because they differ
 * when the fact is not usable: an allow edge is never followed then, a deny edge always, like `+`.
 */
export interface PlaceholderEdge {
  /** The level as it is written. */
  readonly level: string;
  readonly placeholder: Placeholder;
  readonly effect: 'allow' | 'deny';
  readonly node: TrieNode;
}

/** One level of the filters of one authority. Ranks are indexes into its rules; the lowest that matches decides. */
export interface TrieNode {
  /** Unique within one compiled table. */
  readonly id: number;
  /** Index of the authority. */
  readonly authority: number;
  /** The child of a plain level, when there is just one; most nodes have no more, and a map for each would cost. */
  readonly onlyLevel: string | undefined;
  readonly only: TrieNode | undefined;
  /** The children of plain levels, when there are several. */
  readonly literals: ReadonlyMap<string, TrieNode> | undefined;
  readonly plus: TrieNode | undefined;
  readonly placeholders: readonly PlaceholderEdge[] | undefined;
  /** Lowest rank of a filter that ends here. */
  readonly rank: number;
  /** Lowest rank of a filter that goes on with `#`, which matches here too. */
  readonly hashRank: number;
  /** Lowest rank at or below this node, of allow rules and of deny rules. */
  readonly allowRankMin: number;
  readonly denyRankMin: number;
  /** The lower of the two. */
  readonly rankMin: number;
  /** Fewest and most levels that a topic has beyond this node to match a filter at or below it; `#` needs none and takes all. */
  readonly levelsMin: number;
  readonly levelsMax: number;
}

interface MutableNode {
  readonly id: number;
  readonly authority: number;
  onlyLevel: string | undefined;
  only: MutableNode | undefined;
  literals: Map<string, MutableNode> | undefined;
  plus: MutableNode | undefined;
  placeholders: (PlaceholderEdge & { readonly node: MutableNode })[] | undefined;
  rank: number;
  hashRank: number;
  allowRankMin: number;
  denyRankMin: number;
  rankMin: number;
  levelsMin: number;
  levelsMax: number;
}

/** The child that a plain level leads to. */
export function literalChild(node: TrieNode, level: string): TrieNode | undefined {
  if (node.only !== undefined) return node.onlyLevel === level ? node.only : undefined;
  return node.literals?.get(level);
}

/** The rules of one authority that speak about one action. */
export interface CompiledAuthority {
  readonly name: string;
  readonly noMatch: AuthoritySpec['noMatch'];
  readonly subscribeByText: boolean;
  readonly subscribeByRule: boolean;
  readonly root: TrieNode;
  /** Lowest rank of the literals with wildcards, by their text. */
  readonly texts: ReadonlyMap<string, number> | undefined;
  /** In order of rank. */
  readonly patterns: readonly { readonly rank: number; readonly pattern: TopicPattern }[];
  /** Deny patterns only: those that speak about reserved topics. */
  readonly denyPatterns: CompiledAuthority['patterns'];
  readonly anyRank: number;
  /** The same of deny rules only. */
  readonly anyDenyRank: number;
  /** What each rule decides, by rank; shared, so that a check allocates nothing for it. */
  readonly decisions: readonly Decision[];
}

/** A policy in the form that decides. Shared by all sessions that have the same rules; to its users immutable. */
export interface CompiledPolicy {
  readonly policyId: string;
  readonly superuser: boolean;
  readonly noMatch: 'allow' | 'deny';
  readonly denyAction: PolicySpec['denyAction'];
  /** Whether a verdict depends on the terms at all: whether some rule has a condition. */
  readonly conditional: boolean;
  readonly applyMode: ApplyMode;
  /** Every way of subscribing that its rules tell apart: a delivery may be made when one of them lets the topic be read. */
  readonly readingTerms: readonly FilterTerms[];
  /** Whether some authority may say one thing of all topics of a SUBSCRIBE: by the text of its filter, or by one rule. */
  readonly subscribeAsWhole: boolean;
  /** Whether some rule speaks of UNSUBSCRIBE. */
  readonly judgesUnsubscribe: boolean;
  /** Whether a subscription may be judged by the text of its filter only. */
  readonly opaque: boolean;
  /** Put in front of every topic that is published, see `publishedTopic`; empty: nothing. */
  readonly publishPrefix: string;
  /** The rules that hold under these terms; for subscriptions `retain` changes nothing. */
  tables(terms: FilterTerms): RuleTables;
}

/** Terms, with what the filter itself tells. */
export interface FilterTerms extends Terms {
  readonly wildcard?: boolean;
}

/** A level of a filter: plain, a wildcard, or a placeholder with the level as it was written. */
export type FilterLevel = string | { readonly level: string; readonly placeholder: Placeholder };

export type Matchable =
  | { readonly kind: 'filter'; readonly levels: readonly FilterLevel[] }
  /** A literal that holds wildcards: no topic name is equal to it. */
  | { readonly kind: 'text'; readonly text: string; readonly levels: readonly string[] }
  | { readonly kind: 'pattern'; readonly pattern: TopicPattern }
  | { readonly kind: 'any' };

interface ParsedRule {
  readonly rank: number;
  readonly spec: RuleSpec;
  readonly matcher: Matchable;
}

interface ParsedAuthority {
  readonly spec: AuthoritySpec;
  readonly rules: readonly ParsedRule[];
  readonly decisions: readonly Decision[];
}

/**
 * The rules of a policy that hold under the same terms, one list of authorities for each action. Each is made when it is
 * first asked for, O(length of its rules): most connections go one way only.
 */
export class RuleTables {
  readonly #parsed: readonly ParsedAuthority[];
  readonly #terms: FilterTerms;
  #publish: readonly CompiledAuthority[] | undefined;
  #receive: readonly CompiledAuthority[] | undefined;
  #subscribe: readonly CompiledAuthority[] | undefined;
  #grants: readonly CompiledAuthority[] | undefined;
  #unsubscribe: readonly CompiledAuthority[] | undefined;

  constructor(parsed: readonly ParsedAuthority[], terms: FilterTerms) {
    this.#parsed = parsed;
    this.#terms = terms;
  }

  /** The same array as `subscribe` when both actions have the same rules, as they do in most ACL tables. */
  get publish(): readonly CompiledAuthority[] {
    this.#publish ??= this.#some(publishesOtherwise) ? this.#compile('publish') : this.subscribe;
    return this.#publish;
  }

  get subscribe(): readonly CompiledAuthority[] {
    return (this.#subscribe ??= this.#compile('subscribe'));
  }

  /** The same array as `subscribe` when both actions have the same rules. */
  get receive(): readonly CompiledAuthority[] {
    this.#receive ??= this.#some(differs) ? this.#compile('receive') : this.subscribe;
    return this.#receive;
  }

  get unsubscribe(): readonly CompiledAuthority[] {
    return (this.#unsubscribe ??= this.#compile('unsubscribe'));
  }

  /** `subscribe` without its deny rules, and the same array when it has none: tells holes from a lack of grants. */
  get grants(): readonly CompiledAuthority[] {
    const denies = ({ spec }: ParsedRule): boolean =>
      spec.effect === 'deny' && spec.actions.includes('subscribe');
    this.#grants ??= this.#some(denies) ? this.#compile('subscribe', true) : this.subscribe;
    return this.#grants;
  }

  #some(test: (rule: ParsedRule) => boolean): boolean {
    return this.#parsed.some(({ rules }) => rules.some(test));
  }

  #compile(action: Action, allowOnly = false): readonly CompiledAuthority[] {
    return compileAuthorities(
      this.#parsed,
      action,
      ({ actions, effect, when }) =>
        actions.includes(action) &&
        !(allowOnly && effect === 'deny') &&
        (when === undefined || holds(when, this.#terms, action)),
    );
  }
}

/** Whether a rule means something else for a publish than for a SUBSCRIBE. */
function publishesOtherwise({ spec: { actions, when }, matcher }: ParsedRule): boolean {
  const publishes = actions.includes('publish');
  if (publishes !== actions.includes('subscribe')) return true;
  if (!publishes) return false;
  if (matcher.kind === 'text') return true;
  if (when === undefined) return false;
  return [when.retain, when.shared, when.wildcard].some((one) => one !== undefined);
}

/** Whether a rule means something else for a delivery than for a SUBSCRIBE. */
function differs({ spec: { actions }, matcher }: ParsedRule): boolean {
  const subscribes = actions.includes('subscribe');
  return subscribes !== actions.includes('receive') || (subscribes && matcher.kind === 'text');
}

function holds(when: Condition, terms: FilterTerms, action: Action): boolean {
  const { qos, retain, shared, wildcard } = when;
  if (qos !== undefined && action !== 'unsubscribe' && !qos.includes(terms.qos)) return false;
  if (action === 'publish') return retain === undefined || retain === terms.retain;
  return (
    (shared === undefined || shared === (terms.shared ?? false)) &&
    (wildcard === undefined || wildcard === (terms.wildcard ?? false))
  );
}

const EITHER = [false, true];
const NEITHER = [false];

/** Ways of subscribing; at QoS 0 to a plain filter first. */
function readingTermsOf(conditions: readonly Condition[]): readonly FilterTerms[] {
  const asks = (key: keyof Condition) => conditions.some((one) => one[key] !== undefined);
  return (asks('wildcard') ? EITHER : NEITHER).flatMap((wildcard) =>
    (asks('shared') ? EITHER : NEITHER).flatMap((shared) =>
      ([0, 1, 2] as const).map((qos) =>
        Object.freeze({
          qos,
          retain: false,
          ...(shared && { shared }),
          ...(wildcard && { wildcard }),
        }),
      ),
    ),
  );
}

/**
 * Compiles a policy once, to be asked often. O(total length of the rules).
 * @throws OperationalError `policy_invalid` when a rule cannot be understood; no rule is ever left out, because leaving out
 * a deny rule would widen the policy
 */
export function compilePolicy(spec: PolicySpec): CompiledPolicy {
  const count = spec.authorities.reduce((sum, one) => sum + one.rules.length, 0);
  if (count > POLICY_RULES_MAX) {
    throw new OperationalError('policy_invalid', `more than ${POLICY_RULES_MAX} rules`);
  }
  const authorities = spec.authorities.map(parseAuthority);
  const rules = spec.authorities.flatMap((one) => one.rules);
  const conditions = rules.map((one) => one.when).filter((one) => one !== undefined);
  const conditional = conditions.length > 0;
  const unconditional = new RuleTables(authorities, { qos: 0, retain: false });
  const byTerms = [unconditional];
  return Object.freeze({
    policyId: spec.policyId,
    superuser: spec.superuser,
    noMatch: spec.noMatch,
    denyAction: spec.denyAction,
    publishPrefix: spec.publishPrefix ?? '',
    conditional,
    readingTerms: readingTermsOf(conditions),
    subscribeAsWhole: spec.authorities.some(
      (one) => one.subscribeByText === true || one.subscribeByRule === true,
    ),
    judgesUnsubscribe: rules.some((one) => one.actions.includes('unsubscribe')),
    applyMode: spec.applyMode ?? 'live',
    opaque: rules.some(
      (one) =>
        one.matcher.kind === 'pattern' &&
        (one.actions.includes('subscribe') || one.actions.includes('receive')),
    ),
    tables: (terms: FilterTerms) => {
      if (!conditional) return unconditional;
      const { qos, retain, shared = false, wildcard = false } = terms;
      const index = qos + 3 * (Number(retain) + 2 * (Number(shared) + 2 * Number(wildcard)));
      return (byTerms[index] ??= new RuleTables(authorities, terms));
    },
  });
}

function parseAuthority(spec: AuthoritySpec): ParsedAuthority {
  return {
    spec,
    rules: spec.rules.map((rule, rank) => ({ rank, spec: rule, matcher: parseMatcher(rule) })),
    decisions: spec.rules.map(({ effect, ruleId }) =>
      Object.freeze({ allowed: effect === 'allow', ruleId }),
    ),
  };
}

/** @throws OperationalError `policy_invalid` */
export function parseMatcher(rule: RuleSpec): Matchable {
  const { matcher } = rule;
  const refuse = (problem: string): OperationalError =>
    new OperationalError('policy_invalid', `rule ${rule.ruleId}: ${matcher.kind} ${problem}`);
  if (rule.when?.qos?.length === 0) throw refuse('has a condition that nothing meets');
  if (matcher.kind === 'any') return matcher;
  if (matcher.kind === 'pattern') {
    const parsed = parseTopicPattern(matcher.pattern);
    if (!parsed.ok) throw refuse(parsed.problem);
    return { kind: 'pattern', pattern: parsed.value };
  }
  const text = matcher.kind === 'literal' ? matcher.text : matcher.filter;
  const parsed = parseTopicFilter(text);
  if (!parsed.ok) throw refuse(topicProblemText[parsed.problem]);
  const levels = levelsOf(parsed.value);
  if (matcher.kind === 'filter') return { kind: 'filter', levels: levels.map(filterLevel) };
  const wildcards = levels.includes('+') || levels.includes('#');
  return wildcards ? { kind: 'text', text, levels } : { kind: 'filter', levels };
}

function filterLevel(level: string): FilterLevel {
  const placeholder = parsePlaceholder(level);
  return placeholder === undefined ? level : { level, placeholder };
}

function compileAuthorities(
  authorities: readonly ParsedAuthority[],
  action: Action,
  keep: (rule: RuleSpec) => boolean,
): readonly CompiledAuthority[] {
  let nextId = 0;
  return authorities.map(({ spec, rules, decisions }, index) => {
    const builder = new AuthorityBuilder(action, () => emptyNode(nextId++, index));
    for (const rule of rules) if (keep(rule.spec)) builder.add(rule);
    return builder.build(spec, decisions);
  });
}

const emptyNode = (id: number, authority: number): MutableNode => ({
  id,
  authority,
  onlyLevel: undefined,
  only: undefined,
  literals: undefined,
  plus: undefined,
  placeholders: undefined,
  rank: NO_RANK,
  hashRank: NO_RANK,
  allowRankMin: NO_RANK,
  denyRankMin: NO_RANK,
  rankMin: NO_RANK,
  levelsMin: Infinity,
  levelsMax: -1,
});

/** Takes the rules of one authority about one action, in order of rank. */
class AuthorityBuilder {
  readonly #action: Action;
  readonly #newNode: () => MutableNode;
  readonly #root: MutableNode;
  readonly #patterns: { rank: number; pattern: TopicPattern; effect: RuleSpec['effect'] }[] = [];
  #texts: Map<string, number> | undefined;
  #anyRank = NO_RANK;
  #anyDenyRank = NO_RANK;

  constructor(action: Action, newNode: () => MutableNode) {
    this.#action = action;
    this.#newNode = newNode;
    this.#root = newNode();
  }

  add({ rank, matcher, spec: { effect } }: ParsedRule): void {
    switch (matcher.kind) {
      case 'any':
        this.#anyRank = Math.min(this.#anyRank, rank);
        if (effect === 'deny') this.#anyDenyRank = Math.min(this.#anyDenyRank, rank);
        break;
      case 'pattern':
        this.#patterns.push({ rank, pattern: matcher.pattern, effect });
        break;
      case 'text':
        this.#addText(matcher, rank, effect);
        break;
      case 'filter':
        this.#insert(matcher.levels, rank, effect);
        break;
      default:
        unreachable(matcher);
    }
  }

  /** Only a SUBSCRIBE or UNSUBSCRIBE can say such a text. What it was granted by it is delivered; a deny says nothing about topics. */
  #addText(
    { text, levels }: Extract<Matchable, { kind: 'text' }>,
    rank: number,
    effect: RuleSpec['effect'],
  ): void {
    if (this.#action === 'receive' && effect === 'allow') this.#insert(levels, rank, effect);
    if (this.#action !== 'subscribe' && this.#action !== 'unsubscribe') return;
    this.#texts ??= new Map();
    if (!this.#texts.has(text)) this.#texts.set(text, rank);
  }

  #insert(levels: readonly FilterLevel[], rank: number, effect: RuleSpec['effect']): void {
    let node = this.#root;
    const open = levels.at(-1) === '#';
    const end = open ? levels.length - 1 : levels.length;
    for (let depth = 0; ; depth++) {
      note(node, rank, effect);
      const left = end - depth;
      if (left < node.levelsMin) node.levelsMin = left;
      if (open) node.levelsMax = Infinity;
      else if (left > node.levelsMax) node.levelsMax = left;
      const level = levels[depth];
      if (left === 0 || level === undefined) break;
      node = this.#child(node, level, effect);
    }
    if (open) node.hashRank = Math.min(node.hashRank, rank);
    else node.rank = Math.min(node.rank, rank);
  }

  #child(node: MutableNode, level: FilterLevel, effect: RuleSpec['effect']): MutableNode {
    if (level === '+') return (node.plus ??= this.#newNode());
    if (typeof level === 'string') return this.#literal(node, level);
    node.placeholders ??= [];
    let edge = node.placeholders.find((one) => one.level === level.level && one.effect === effect);
    if (edge === undefined) {
      edge = { ...level, effect, node: this.#newNode() };
      node.placeholders.push(edge);
    }
    return edge.node;
  }

  #literal(node: MutableNode, level: string): MutableNode {
    if (node.literals === undefined) {
      if (node.only === undefined) {
        node.onlyLevel = level;
        return (node.only = this.#newNode());
      }
      if (node.onlyLevel === level) return node.only;
      // A Map and not an object: a level may be `__proto__`.
      node.literals = new Map([[node.onlyLevel ?? '', node.only]]);
      node.onlyLevel = undefined;
      node.only = undefined;
    }
    let next = node.literals.get(level);
    if (next === undefined) {
      next = this.#newNode();
      node.literals.set(level, next);
    }
    return next;
  }

  build(
    { name, noMatch, subscribeByText, subscribeByRule }: AuthoritySpec,
    decisions: readonly Decision[],
  ): CompiledAuthority {
    return {
      name,
      noMatch,
      subscribeByText: subscribeByText === true,
      subscribeByRule: subscribeByRule === true,
      root: this.#root,
      texts: this.#texts,
      patterns: this.#patterns,
      denyPatterns: this.#patterns.filter((one) => one.effect === 'deny'),
      anyRank: this.#anyRank,
      anyDenyRank: this.#anyDenyRank,
      decisions,
    };
  }
}

function note(node: MutableNode, rank: number, effect: RuleSpec['effect']): void {
  if (rank < node.rankMin) node.rankMin = rank;
  if (effect === 'allow') {
    if (rank < node.allowRankMin) node.allowRankMin = rank;
  } else if (rank < node.denyRankMin) node.denyRankMin = rank;
}
