import { isReserved, levelsOf, type TopicFilter } from '@sallyport/topic';
import { combine, factValue, follows, immediateDecision, patternRank, termsOf } from './check.ts';
import {
  type CompiledAuthority,
  type CompiledPolicy,
  literalChild,
  literalLevels,
  NO_RANK,
  type RuleTables,
  type TrieNode,
} from './compile.ts';
import type { Decision, Facts, Qos, SubscribeDecision } from './policy-spec.ts';

/** Most nodes of the rules that one coverage question may visit; beyond it the answer is "in part". */
export const COVERAGE_STEPS_MAX = 10_000;

/** A token that no rule mentions. */
const FRESH = undefined;
type Token = string | typeof FRESH;

const LIMIT: Decision = Object.freeze({ allowed: false, ruleId: 'coverage_limit' });

/**
 * Whether the connection may subscribe to the filter, given without `$share/<group>/`: all topics that it can match must
 * be allowed, holes cut by deny rules excepted; these are withheld by checking each delivery. A filter that is wider than
 * the allow rules together is refused, and so is one whose question would cost more than `COVERAGE_STEPS_MAX`.
 * Patterns and literals judge the text of the filter, as their language does; then the deliveries are checked. A rule with a
 * condition counts when `qos`, the one asked for, meets it; nothing is granted at a lower QoS instead.
 */
export function checkSubscribe(
  policy: CompiledPolicy,
  facts: Facts,
  filter: TopicFilter,
  qos: Qos = 0,
): SubscribeDecision {
  const immediate = immediateDecision(policy, 'subscribe', isReserved(filter));
  if (immediate !== undefined) return { ...immediate, checkDeliveries: false };
  const tables = policy.tables(termsOf(qos, false));
  const whole = cover(policy, tables.subscribe, facts, filter);
  if (whole.denied === undefined && !whole.exhausted) {
    const { ruleId } = whole.allowed ?? LIMIT;
    const checkDeliveries = needsCheck(policy, tables, facts, filter);
    return { allowed: true, ruleId, checkDeliveries };
  }
  const nothing = whole.allowed === undefined && !whole.exhausted;
  // In part: allowed only if nothing but deny rules stands in the way.
  if (nothing || tables.grants === tables.subscribe) return refused(whole.denied);
  return withHoles(cover(policy, tables.grants, facts, filter));
}

function withHoles({ allowed, denied, exhausted }: Covered): SubscribeDecision {
  if (denied !== undefined || exhausted) return refused(denied);
  return { allowed: true, ruleId: allowed?.ruleId ?? 'default', checkDeliveries: true };
}

const refused = (denied: Decision = LIMIT): SubscribeDecision => ({
  allowed: false,
  ruleId: denied.ruleId,
  checkDeliveries: false,
});

function needsCheck(
  policy: CompiledPolicy,
  { receive, subscribe }: RuleTables,
  facts: Facts,
  filter: TopicFilter,
): boolean {
  const wildcard = filter.includes('+') || filter.includes('#');
  if (policy.opaque && (wildcard || receive !== subscribe)) return true;
  if (receive === subscribe) return false;
  const deliveries = cover(policy, receive, facts, filter);
  return deliveries.denied !== undefined || deliveries.exhausted;
}

interface Covered {
  /** The decision about the first topic found that is allowed, if there is one. */
  readonly allowed: Decision | undefined;
  readonly denied: Decision | undefined;
  /** The question cost too much, so there may be more than was found. */
  readonly exhausted: boolean;
}

function cover(
  policy: CompiledPolicy,
  authorities: readonly CompiledAuthority[],
  facts: Facts,
  filter: TopicFilter,
): Covered {
  const reserved = isReserved(filter);
  let allowed: Decision | undefined;
  let denied: Decision | undefined;
  const exhausted = !visitVerdicts({ authorities, facts, filter }, (ranks) => {
    const decision = combine(policy, authorities, ranks, reserved);
    if (decision.allowed) allowed ??= decision;
    else denied ??= decision;
    return allowed === undefined || denied === undefined;
  });
  return { allowed, denied, exhausted };
}

interface CoverageQuestion {
  readonly authorities: readonly CompiledAuthority[];
  readonly facts: Facts;
  readonly filter: TopicFilter;
}

/**
 * Calls `visit` with the deciding rank of each authority, for every class of topics that the filter matches and the rules
 * tell apart, until it returns false. Returns false when it gave up at `COVERAGE_STEPS_MAX`.
 */
export function visitVerdicts(
  question: CoverageQuestion,
  visit: (ranks: readonly number[]) => boolean,
): boolean {
  const { authorities, filter } = question;
  const reserved = isReserved(filter);
  const best = authorities.map((one) => patternRank(one, filter, false, reserved, NO_RANK));
  const walk = new Walk(question, visit);
  walk.from(
    authorities.map((one) => one.root),
    0,
    best,
    true,
  );
  return !walk.exhausted;
}

/**
 * Goes through the tries of all authorities at once, along a filter. Level alphabets are infinite, but all tokens that no
 * rule mentions behave alike, so that trying the mentioned ones and one fresh one is exact.
 */
class Walk {
  readonly #authorities: readonly CompiledAuthority[];
  readonly #facts: Facts;
  readonly #filter: readonly string[];
  readonly #reserved: boolean;
  /** How many levels every topic has: all levels of the filter but a final `#`. */
  readonly #end: number;
  readonly #visit: (ranks: readonly number[]) => boolean;
  readonly #seen = new Set<string>();
  #steps = 0;
  #done = false;
  exhausted = false;

  constructor(question: CoverageQuestion, visit: (ranks: readonly number[]) => boolean) {
    const filter = levelsOf(question.filter);
    this.#authorities = question.authorities;
    this.#facts = question.facts;
    this.#filter = filter;
    this.#reserved = filter[0]?.startsWith('$') ?? false;
    this.#end = filter.at(-1) === '#' ? filter.length - 1 : filter.length;
    this.#visit = visit;
  }

  /**
   * `depth` levels of a topic have been chosen; the nodes are `reached` by them; `best` holds what already matches.
   * `emptyText` says that the levels so far spell the empty text, which is no topic name. [MQTT-4.7.3-1]
   */
  from(
    reached: readonly TrieNode[],
    depth: number,
    best: readonly number[],
    emptyText: boolean,
  ): void {
    if (this.#done || this.#tooMuch(1)) return;
    const passed = this.#passHashes(reached, depth, best);
    const nodes = this.#undecided(reached, passed);
    const level = this.#filter[Math.min(depth, this.#end)];
    // The topic may end here: at the filter's end, or at the parent level of its `#`.
    const mayEnd = depth >= this.#end && !emptyText;
    if (nodes.length === 0) {
      // No rule can tell the topics from here on apart.
      if (mayEnd || level !== undefined) this.#leaf(passed);
      return;
    }
    if (mayEnd) this.#leaf(lower(passed, nodes, (one) => one.rank));
    if (level === undefined) return;
    const ids = nodes.map((one) => one.id);
    const key = `${Math.min(depth, this.#end)}|${ids.join()}|${passed.join()}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#branch(nodes, level, depth, passed);
  }

  #passHashes(
    nodes: readonly TrieNode[],
    depth: number,
    best: readonly number[],
  ): readonly number[] {
    // A rule that starts with `#` does not match reserved topics. [MQTT-4.7.2-1]
    if (depth === 0 && this.#reserved) return best;
    return lower(best, nodes, (one) => one.hashRank);
  }

  /**
   * Without the nodes of authorities whose verdict is settled: what matches already says the same as everything below that
   * could come before it. A whole authority at a time, because an allow rule may shield from a deny rule of another branch.
   */
  #undecided(nodes: readonly TrieNode[], passed: readonly number[]): readonly TrieNode[] {
    const open = this.#authorities.map((authority, index) => {
      const rank = passed[index] ?? NO_RANK;
      const verdict = settledVerdict(authority, rank, this.#reserved);
      return nodes.some(
        (one) =>
          one.authority === index &&
          ((verdict !== 'allow' && one.allowRankMin < rank) ||
            (verdict !== 'deny' && one.denyRankMin < rank)),
      );
    });
    return open.includes(false) ? nodes.filter((one) => open[one.authority] === true) : nodes;
  }

  #branch(
    nodes: readonly TrieNode[],
    level: string,
    depth: number,
    passed: readonly number[],
  ): void {
    if (level !== '+' && level !== '#') return this.#step(nodes, level, depth, passed);
    for (const token of this.#tokens(nodes, depth)) this.#step(nodes, token, depth, passed);
  }

  #leaf(ranks: readonly number[]): void {
    if (!this.#done && !this.#visit(ranks)) this.#done = true;
  }

  #tooMuch(steps: number): boolean {
    this.#steps += steps;
    if (this.#steps > COVERAGE_STEPS_MAX) {
      this.exhausted = true;
      this.#done = true;
    }
    return this.#done;
  }

  #step(nodes: readonly TrieNode[], token: Token, depth: number, passed: readonly number[]): void {
    if (this.#done || this.#tooMuch(nodes.length)) return;
    const wildcards = depth > 0 || !this.#reserved;
    const next: TrieNode[] = [];
    // Nodes that hold only ranks above what matches already cannot change anything.
    const reach = (node: TrieNode | undefined): void => {
      if (node !== undefined && node.rankMin < (passed[node.authority] ?? 0)) next.push(node);
    };
    for (const node of nodes) {
      if (token !== FRESH) reach(literalChild(node, token));
      if (wildcards) reach(node.plus);
      for (const edge of node.placeholders ?? []) {
        if (follows(edge, this.#facts, token, wildcards)) reach(edge.node);
      }
    }
    this.from(next, depth + 1, passed, depth === 0 && token === '');
  }

  /** Everything that a level may be and that some rule tells apart. */
  #tokens(nodes: readonly TrieNode[], depth: number): Set<Token> {
    const tokens = new Set<Token>([FRESH]);
    for (const node of nodes) {
      for (const literal of literalLevels(node)) tokens.add(literal);
      for (const edge of node.placeholders ?? []) {
        tokens.add(factValue(this.#facts, edge.placeholder));
      }
    }
    if (depth > 0) return tokens;
    // The filter's wildcard does not match reserved topics. [MQTT-4.7.2-1]
    for (const token of tokens) if (token?.startsWith('$') === true) tokens.delete(token);
    return tokens;
  }
}

/** What an authority says when nothing below `rank` matches; undefined when it would abstain. */
function settledVerdict(
  authority: CompiledAuthority,
  rank: number,
  reserved: boolean,
): 'allow' | 'deny' | undefined {
  const decision = authority.decisions[rank];
  if (decision !== undefined) return decision.allowed ? 'allow' : 'deny';
  if (authority.noMatch === 'deny') return 'deny';
  return authority.noMatch === 'allow' && !reserved ? 'allow' : undefined;
}

/** The ranks, lowered by those of the nodes; the same array when nothing changes. */
function lower(
  best: readonly number[],
  nodes: readonly TrieNode[],
  rankOf: (node: TrieNode) => number,
): readonly number[] {
  let lowered: number[] | undefined;
  for (const node of nodes) {
    const rank = rankOf(node);
    if (rank < ((lowered ?? best)[node.authority] ?? 0)) {
      lowered ??= [...best];
      lowered[node.authority] = rank;
    }
  }
  return lowered ?? best;
}
