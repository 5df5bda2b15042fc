import { OperationalError } from '@sallyport/errors';
import {
  levelsOf,
  parseTopicFilter,
  parseTopicPattern,
  type TopicPattern,
  topicProblemText,
} from '@sallyport/topic';
import type { Action, AuthoritySpec, Decision, PolicySpec, RuleSpec } from './policy-spec.ts';

/** Most rules of one policy: three full ACL tables and the patterns of one credential fit three times over. */
export const POLICY_RULES_MAX = 10_000;

/** Rank of "no rule matches"; larger than any index. */
export const NO_RANK = 0x3fff_ffff;

/** The facts that a placeholder may stand for. */
export type PlaceholderFact = 'clientId' | 'username';

/**
 * An edge that is followed when a level equals a fact. Edges of allow and deny rules are kept apart, because they differ
 * when the fact is not usable: an allow edge is never followed then, a deny edge always, like `+`.
 */
export interface PlaceholderEdge {
  readonly fact: PlaceholderFact;
  readonly effect: 'allow' | 'deny';
  readonly node: TrieNode;
}

/** One level of the filters of one authority. Ranks are indexes into its rules; the lowest that matches decides. */
export interface TrieNode {
  /** Unique within one compiled policy. */
  readonly id: number;
  /** Index of the authority. */
  readonly authority: number;
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
}

interface MutableNode {
  readonly id: number;
  readonly authority: number;
  literals: Map<string, MutableNode> | undefined;
  plus: MutableNode | undefined;
  placeholders:
    { fact: PlaceholderFact; effect: 'allow' | 'deny'; node: MutableNode }[] | undefined;
  rank: number;
  hashRank: number;
  allowRankMin: number;
  denyRankMin: number;
  rankMin: number;
}

/** The rules of one authority that speak about one action. */
export interface CompiledAuthority {
  readonly name: string;
  readonly noMatch: AuthoritySpec['noMatch'];
  readonly root: TrieNode;
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

/** A policy in the form that decides. Immutable; shared by all sessions that have the same rules. */
export interface CompiledPolicy {
  readonly policyId: string;
  readonly superuser: boolean;
  readonly noMatch: 'allow' | 'deny';
  readonly denyAction: 'ignore' | 'disconnect';
  readonly publish: readonly CompiledAuthority[];
  /** The same array as `subscribe` when both actions have the same rules. */
  readonly receive: readonly CompiledAuthority[];
  readonly subscribe: readonly CompiledAuthority[];
  /** `subscribe` without its deny rules, and the same array when it has none: tells holes from a lack of grants. */
  readonly grants: readonly CompiledAuthority[];
  /** Whether a subscription may be judged by the text of its filter only. */
  readonly opaque: boolean;
  /** Put in front of every topic that is published, see `publishedTopic`; empty: nothing. */
  readonly publishPrefix: string;
}

type Matchable =
  | { readonly kind: 'filter'; readonly levels: readonly string[] }
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
  const forAction = (action: Action, keep: (rule: RuleSpec) => boolean = () => true) =>
    compileAuthorities(authorities, (rule) => rule.actions.includes(action) && keep(rule));
  const subscribe = forAction('subscribe');
  const rules = spec.authorities.flatMap((one) => one.rules);
  const same = rules.every(
    ({ actions }) => actions.includes('subscribe') === actions.includes('receive'),
  );
  const denies = rules.some((one) => one.effect === 'deny' && one.actions.includes('subscribe'));
  return Object.freeze({
    policyId: spec.policyId,
    superuser: spec.superuser,
    noMatch: spec.noMatch,
    denyAction: spec.denyAction,
    publishPrefix: spec.publishPrefix ?? '',
    publish: forAction('publish'),
    subscribe,
    receive: same ? subscribe : forAction('receive'),
    grants: denies ? forAction('subscribe', (rule) => rule.effect === 'allow') : subscribe,
    opaque: rules.some(
      (one) =>
        one.matcher.kind === 'pattern' &&
        (one.actions.includes('subscribe') || one.actions.includes('receive')),
    ),
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

function parseMatcher(rule: RuleSpec): Matchable {
  const { matcher } = rule;
  const refuse = (problem: string): OperationalError =>
    new OperationalError('policy_invalid', `rule ${rule.ruleId}: ${matcher.kind} ${problem}`);
  if (matcher.kind === 'any') return matcher;
  if (matcher.kind === 'pattern') {
    const parsed = parseTopicPattern(matcher.pattern);
    if (!parsed.ok) throw refuse(parsed.problem);
    return { kind: 'pattern', pattern: parsed.value };
  }
  const parsed = parseTopicFilter(matcher.filter);
  if (!parsed.ok) throw refuse(topicProblemText[parsed.problem]);
  return { kind: 'filter', levels: levelsOf(parsed.value) };
}

function compileAuthorities(
  authorities: readonly ParsedAuthority[],
  keep: (rule: RuleSpec) => boolean,
): readonly CompiledAuthority[] {
  let nextId = 0;
  return authorities.map(({ spec, rules, decisions }, index) => {
    const newNode = (): MutableNode => ({
      id: nextId++,
      authority: index,
      literals: undefined,
      plus: undefined,
      placeholders: undefined,
      rank: NO_RANK,
      hashRank: NO_RANK,
      allowRankMin: NO_RANK,
      denyRankMin: NO_RANK,
      rankMin: NO_RANK,
    });
    const root = newNode();
    const patterns: { rank: number; pattern: TopicPattern; effect: RuleSpec['effect'] }[] = [];
    let anyRank = NO_RANK;
    let anyDenyRank = NO_RANK;
    for (const rule of rules) {
      const { rank, matcher } = rule;
      const { effect } = rule.spec;
      if (!keep(rule.spec)) continue;
      if (matcher.kind === 'any') {
        anyRank = Math.min(anyRank, rank);
        if (effect === 'deny') anyDenyRank = Math.min(anyDenyRank, rank);
      } else if (matcher.kind === 'pattern') {
        patterns.push({ rank, pattern: matcher.pattern, effect });
      } else insert(root, matcher.levels, rank, effect, newNode);
    }
    const denyPatterns = patterns.filter((one) => one.effect === 'deny');
    const { name, noMatch } = spec;
    return { name, noMatch, root, patterns, denyPatterns, anyRank, anyDenyRank, decisions };
  });
}

function insert(
  root: MutableNode,
  levels: readonly string[],
  rank: number,
  effect: RuleSpec['effect'],
  newNode: () => MutableNode,
): void {
  let node = root;
  note(node, rank, effect);
  for (const level of levels) {
    if (level === '#') {
      node.hashRank = Math.min(node.hashRank, rank);
      return;
    }
    node = child(node, level, effect, newNode);
    note(node, rank, effect);
  }
  node.rank = Math.min(node.rank, rank);
}

function note(node: MutableNode, rank: number, effect: RuleSpec['effect']): void {
  node.rankMin = Math.min(node.rankMin, rank);
  if (effect === 'allow') node.allowRankMin = Math.min(node.allowRankMin, rank);
  else node.denyRankMin = Math.min(node.denyRankMin, rank);
}

function child(
  node: MutableNode,
  level: string,
  effect: RuleSpec['effect'],
  newNode: () => MutableNode,
): MutableNode {
  if (level === '+') return (node.plus ??= newNode());
  const fact = placeholderFact(level);
  if (fact !== undefined) {
    node.placeholders ??= [];
    let edge = node.placeholders.find((one) => one.fact === fact && one.effect === effect);
    if (edge === undefined) {
      edge = { fact, effect, node: newNode() };
      node.placeholders.push(edge);
    }
    return edge.node;
  }
  // A Map and not an object: a level may be `__proto__`.
  node.literals ??= new Map();
  let next = node.literals.get(level);
  if (next === undefined) {
    next = newNode();
    node.literals.set(level, next);
  }
  return next;
}

/** The fact that a level of a rule's filter stands for, if it is a placeholder. */
function placeholderFact(level: string): PlaceholderFact | undefined {
  if (level === '${clientid}') return 'clientId';
  return level === '${username}' ? 'username' : undefined;
}
