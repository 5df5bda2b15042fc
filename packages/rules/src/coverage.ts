import { isReserved, levelsOf, type TopicFilter } from '@sallyport/topic';
import {
  combine,
  combineUnsubscribe,
  factValue,
  follows,
  immediateDecision,
  type Opinion,
  patternRank,
  PLAIN_TERMS,
  textRank,
} from './check.ts';
import {
  type CompiledAuthority,
  type CompiledPolicy,
  literalChild,
  NO_RANK,
  type RuleTables,
  type TrieNode,
} from './compile.ts';
import type { Decision, Facts, Qos, SubscribeDecision } from './policy-spec.ts';

/** Most nodes of the rules that one coverage question may visit; beyond it the answer is "in part". */
export const COVERAGE_STEPS_MAX = 10_000;

/** A token that no rule mentions. */
const FRESH = undefined;

const LIMIT: Decision = Object.freeze({ allowed: false, ruleId: 'coverage_limit' });

/**
 * Whether the connection may subscribe to the filter, given without `$share/<group>/`: all topics that it can match must
 * be allowed, holes cut by deny rules excepted; these are withheld by checking each delivery. A filter that is wider than
 * the allow rules together is refused, and so is one whose question would cost more than `COVERAGE_STEPS_MAX`.
 * Patterns and literals judge the text of the filter, as their language does; then the deliveries are checked. A rule with a
 * condition counts when `qos`, the one asked for, `shared`, whether it came behind `$share/<group>/`, and the filter meet it; nothing is
 * granted at a lower QoS instead. With `inPartToo` it is enough that one topic is allowed, and the deliveries are checked.
 */
export function checkSubscribe(
  policy: CompiledPolicy,
  facts: Facts,
  filter: TopicFilter,
  qos: Qos = 0,
  shared = false,
  inPartToo = false,
): SubscribeDecision {
  const immediate = immediateDecision(policy, 'subscribe', isReserved(filter));
  if (immediate !== undefined) return { ...immediate, checkDeliveries: false };
  const tables = filterTables(policy, filter, { qos, shared });
  // Most questions are settled by the first topic that is denied: what it takes to be granted in spite of it is looked at after.
  const question = { policy, authorities: tables.subscribe, facts, filter, ranks: undefined };
  const whole = cover(question, 'denied');
  if (whole.denied === undefined && !whole.exhausted) {
    const { ruleId } = whole.allowed ?? LIMIT;
    const checkDeliveries = needsCheck(policy, tables, facts, filter);
    return { allowed: true, ruleId, checkDeliveries };
  }
  const decision =
    tables.grants === tables.subscribe && !policy.subscribeAsWhole
      ? refused(whole.denied)
      : inPart(policy, tables, facts, filter, whole);
  if (decision.allowed || !inPartToo) return decision;
  const ranks = wholeRanks(tables.subscribe, facts, filter, 'rule');
  return anyPart({ ...question, ranks }, decision);
}

/**
 * Granted for the topics that are allowed, if there is one: the others are kept back at delivery. What patterns say, they say of the
 * text; and what would not be kept back is for one rule to grant.
 */
function anyPart(
  question: CoverageQuestion & { readonly policy: CompiledPolicy },
  otherwise: SubscribeDecision,
): SubscribeDecision {
  const { allowed } = cover(question, 'allowed');
  if (allowed === undefined) return otherwise;
  return { allowed: true, ruleId: allowed.ruleId, checkDeliveries: true };
}

/** The rules that hold for a filter that is subscribed to, or not any more. */
export function filterTables(
  policy: CompiledPolicy,
  filter: TopicFilter,
  { qos, shared }: { readonly qos: Qos; readonly shared: boolean },
): RuleTables {
  if (!policy.conditional) return policy.tables(PLAIN_TERMS);
  return policy.tables({ qos, retain: false, shared, wildcard: isWildcard(filter) });
}

const isWildcard = (filter: TopicFilter): boolean => filter.includes('+') || filter.includes('#');

/**
 * Whether the connection may end a subscription, given without `$share/<group>/`; allowed unless a rule denies it. In each authority
 * the first rule decides that alone matches every topic of the filter, or the text of it.
 */
export function checkUnsubscribe(
  policy: CompiledPolicy,
  facts: Facts,
  filter: TopicFilter,
  shared = false,
  trace?: Opinion[],
): Decision {
  // Most policies say nothing of it, and have no tables for it.
  const authorities = policy.judgesUnsubscribe
    ? filterTables(policy, filter, { qos: 0, shared }).unsubscribe
    : [];
  const walk = { facts, levels: levelsOf(filter), reserved: isReserved(filter) };
  const ranks = authorities.map((one) => coveringRankOf(one, walk, filter));
  return combineUnsubscribe(policy, authorities, ranks, trace);
}

/**
 * Allowed only if nothing but deny rules stands in the way, and these leave something. An authority that judges by text, or by one
 * rule, says one thing of all topics here: it decides what is granted. What text denies is kept back at delivery like any other hole.
 */
function inPart(
  policy: CompiledPolicy,
  tables: RuleTables,
  facts: Facts,
  filter: TopicFilter,
  whole: Covered,
): SubscribeDecision {
  const { grants, subscribe } = tables;
  const ranks = policy.subscribeAsWhole ? wholeRanks(subscribe, facts, filter) : undefined;
  const said =
    ranks === undefined
      ? whole
      : cover({ policy, authorities: subscribe, facts, filter, ranks }, 'denied');
  const granted =
    isFull(said) || grants === subscribe
      ? said
      : cover({ policy, authorities: grants, facts, filter, ranks }, 'denied');
  if (!isFull(granted)) return refused(said.denied ?? granted.denied);
  if (whole.allowed === undefined) {
    const question = { policy, authorities: subscribe, facts, filter, ranks: undefined };
    const left = cover(question, 'allowed');
    if (left.allowed === undefined && !left.exhausted) return refused(whole.denied);
  }
  const checkDeliveries = keepsBack(policy, tables, facts, filter);
  return { allowed: true, ruleId: granted.allowed?.ruleId ?? 'default', checkDeliveries };
}

/** Whether holes in what is granted are some in what is delivered: what one rule grants is judged by other rules there. */
function keepsBack(
  policy: CompiledPolicy,
  tables: RuleTables,
  facts: Facts,
  filter: TopicFilter,
): boolean {
  const { receive, subscribe } = tables;
  if (receive === subscribe || !subscribe.some((one) => one.subscribeByRule)) return true;
  return needsCheck(policy, tables, facts, filter);
}

const isFull = ({ denied, exhausted }: Covered): boolean => denied === undefined && !exhausted;

/** What those authorities say of the whole filter that judge it by its text, or by one rule; or only the latter. */
function wholeRanks(
  authorities: readonly CompiledAuthority[],
  facts: Facts,
  filter: TopicFilter,
  by: 'any' | 'rule' = 'any',
): Ranks {
  const walk = { facts, levels: levelsOf(filter), reserved: isReserved(filter) };
  return authorities.map((one) => {
    if (one.subscribeByRule) return coveringRankOf(one, walk, filter);
    return one.subscribeByText && by === 'any' ? textRank(one, facts, filter) : undefined;
  });
}

/** The same of one authority, where it has a rule for the whole. */
export function wholeDecision(
  authority: CompiledAuthority,
  facts: Facts,
  filter: TopicFilter,
): Decision | undefined {
  const [rank] = wholeRanks([authority], facts, filter);
  return rank === undefined ? undefined : authority.decisions[rank];
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
  if (policy.opaque && (isWildcard(filter) || receive !== subscribe)) return true;
  if (receive === subscribe) return false;
  const question = { policy, authorities: receive, facts, filter, ranks: undefined };
  const deliveries = cover(question, 'denied');
  return deliveries.denied !== undefined || deliveries.exhausted;
}

interface Covered {
  /** The decision about the first topic found that is allowed, if there is one. */
  readonly allowed: Decision | undefined;
  readonly denied: Decision | undefined;
  /** The question cost too much, so there may be more than was found. */
  readonly exhausted: boolean;
}

/** Until the first topic that is what is `wanted`. */
function cover(
  question: CoverageQuestion & { readonly policy: CompiledPolicy },
  wanted: 'allowed' | 'denied',
): Covered {
  const { policy, authorities, filter } = question;
  const reserved = isReserved(filter);
  let allowed: Decision | undefined;
  let denied: Decision | undefined;
  const exhausted = !visitVerdicts(question, (ranks) => {
    const decision = combine(policy, authorities, ranks, reserved);
    if (decision.allowed) allowed ??= decision;
    else denied ??= decision;
    return (wanted === 'allowed' ? allowed : denied) === undefined;
  });
  return { allowed, denied, exhausted };
}

/** For each authority the rank that decides about all topics, or undefined where it depends on the topic. */
type Ranks = readonly (number | undefined)[];

interface CoverageQuestion {
  readonly authorities: readonly CompiledAuthority[];
  readonly facts: Facts;
  readonly filter: TopicFilter;
  readonly ranks?: Ranks | undefined;
}

/**
 * Calls `visit` with the deciding rank of each authority, for every class of topics that the filter matches and the rules
 * tell apart, until it returns false. Returns false when it gave up at `COVERAGE_STEPS_MAX`.
 */
export function visitVerdicts(
  question: CoverageQuestion,
  visit: (ranks: readonly number[]) => boolean,
): boolean {
  const { authorities, facts, filter, ranks } = question;
  const reserved = isReserved(filter);
  const asked: FilterWalk = { facts, levels: levelsOf(filter), reserved };
  const best = authorities.map(
    (one, index) => ranks?.[index] ?? coveringRankOf(one, asked, filter),
  );
  const walk = new Walk(question, asked, visit);
  const open =
    ranks === undefined ? authorities : authorities.filter((_, at) => ranks[at] === undefined);
  const roots = open.map((one) => one.root);
  walk.from(roots, 0, best, true);
  return !walk.exhausted;
}

/** What a walk along one filter needs at every node. */
interface FilterWalk {
  readonly facts: Facts;
  readonly levels: readonly string[];
  readonly reserved: boolean;
}

/** The lowest rank of a rule that alone matches every topic of the filter, or its text. */
function coveringRankOf(authority: CompiledAuthority, walk: FilterWalk, filter: TopicFilter) {
  const ofText = patternRank(authority, filter, false, walk.reserved, NO_RANK);
  // The parent level of these is no topic: they match no more than the longer ones, which more rules say.
  const longer = filter === '#' ? '+/#' : filter === '/#' ? '/+/#' : undefined;
  const whole = longer === undefined ? walk : { ...walk, levels: levelsOf(longer) };
  return coveringRank(whole, authority.root, 0, ofText);
}

/**
 * The lowest rank of a rule that alone matches every topic of the filter, if lower than `best`. It only saves work: rules of
 * higher ranks decide nothing then.
 */
function coveringRank(walk: FilterWalk, node: TrieNode, depth: number, bestSoFar: number): number {
  if (node.rankMin >= bestSoFar) return bestSoFar;
  const wildcards = depth > 0 || !walk.reserved;
  let best = wildcards ? Math.min(bestSoFar, node.hashRank) : bestSoFar;
  const level = walk.levels[depth];
  if (level === undefined) return Math.min(best, node.rank);
  if (level === '#') return best;
  // A `+` is matched by what matches a level that no rule mentions.
  forEachNext(node, level === '+' ? FRESH : level, walk.facts, wildcards, (next) => {
    best = coveringRank(walk, next, depth + 1, best);
  });
  return best;
}

/** The nodes that one level of a topic leads to; `wildcards` is false at the first level of a reserved topic. */
function forEachNext(
  node: TrieNode,
  level: string | typeof FRESH,
  facts: Facts,
  wildcards: boolean,
  visit: (next: TrieNode) => void,
): void {
  const literal = level === FRESH ? undefined : literalChild(node, level);
  if (literal !== undefined) visit(literal);
  if (wildcards && node.plus !== undefined) visit(node.plus);
  for (const edge of node.placeholders ?? []) {
    if (follows(edge, facts, level, wildcards)) visit(edge.node);
  }
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
  /** Whether topics may have more. */
  readonly #longer: boolean;
  readonly #visit: (ranks: readonly number[]) => boolean;
  readonly #seen = new Set<string>();
  #steps = 0;
  #done = false;
  exhausted = false;

  constructor(
    { authorities }: CoverageQuestion,
    { facts, levels, reserved }: FilterWalk,
    visit: (ranks: readonly number[]) => boolean,
  ) {
    this.#authorities = authorities;
    this.#facts = facts;
    this.#filter = levels;
    this.#reserved = reserved;
    this.#longer = levels.at(-1) === '#';
    this.#end = this.#longer ? levels.length - 1 : levels.length;
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
    if (this.#stopped(1 + reached.length)) return;
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
    if (level !== undefined) this.#further(nodes, level, depth, passed);
  }

  #stopped(steps: number): boolean {
    this.#steps += steps;
    if (this.#steps > COVERAGE_STEPS_MAX) this.exhausted = true;
    return this.#done || this.exhausted;
  }

  #further(
    nodes: readonly TrieNode[],
    level: string,
    depth: number,
    passed: readonly number[],
  ): void {
    if (this.#done || this.#repeats(nodes, passed)) return;
    if (level === '+' || level === '#') this.#branch(nodes, depth, passed);
    else this.#along(nodes, level, depth, passed);
  }

  /** The depth is in the ids: a node has but one. */
  #repeats(nodes: readonly TrieNode[], passed: readonly number[]): boolean {
    let key = '';
    for (const { id } of nodes) key += `${id},`;
    for (const rank of passed) key += `|${rank}`;
    if (this.#seen.has(key)) return true;
    this.#seen.add(key);
    return false;
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

  #leaf(ranks: readonly number[]): void {
    if (!this.#done && !this.#visit(ranks)) this.#done = true;
  }

  /** Whether a node can still change anything: by its ranks, and by the lengths of the topics below it. */
  #matters(node: TrieNode, depth: number, passed: readonly number[]): boolean {
    if (node.rankMin >= (passed[node.authority] ?? 0)) return false;
    const left = this.#end - depth;
    return node.levelsMax >= left && (this.#longer || node.levelsMin <= left);
  }

  /** A level that the filter itself says. */
  #along(
    nodes: readonly TrieNode[],
    level: string,
    depth: number,
    passed: readonly number[],
  ): void {
    const wildcards = depth > 0 || !this.#reserved;
    const next: TrieNode[] = [];
    const reach = (node: TrieNode): void => {
      if (this.#matters(node, depth + 1, passed)) next.push(node);
    };
    for (const node of nodes) forEachNext(node, level, this.#facts, wildcards, reach);
    this.from(next, depth + 1, passed, depth === 0 && level === '');
  }

  /**
   * A wildcard of the filter: a level that no rule mentions, and each one that leads somewhere else than that. Its wildcard does
   * not match reserved topics. [MQTT-4.7.2-1]
   */
  #branch(nodes: readonly TrieNode[], depth: number, passed: readonly number[]): void {
    const fresh: TrieNode[] = [];
    const mentioned = new Map<string, TrieNode[]>();
    for (const node of nodes) {
      this.#forEachEdge(node, (level, next) => {
        if (!this.#matters(next, depth + 1, passed)) return;
        if (level === FRESH) fresh.push(next);
        else if (depth > 0 || !level.startsWith('$')) append(mentioned, level, next);
      });
    }
    this.from(fresh, depth + 1, passed, false);
    for (const [level, more] of mentioned) {
      if (this.#stopped(1)) return;
      const next = fresh.length === 0 ? more : [...fresh, ...more];
      this.from(next, depth + 1, passed, depth === 0 && level === '');
    }
  }

  /** Every edge with the level that it needs; `FRESH` where any level will do. */
  #forEachEdge(
    node: TrieNode,
    visit: (level: string | typeof FRESH, next: TrieNode) => void,
  ): void {
    if (node.plus !== undefined) visit(FRESH, node.plus);
    if (node.onlyLevel !== undefined && node.only !== undefined) visit(node.onlyLevel, node.only);
    for (const [level, next] of node.literals ?? []) visit(level, next);
    for (const { placeholder, effect, node: next } of node.placeholders ?? []) {
      const value = factValue(this.#facts, placeholder);
      if (value !== undefined || effect === 'deny') visit(value, next);
    }
  }
}

function append(lists: Map<string, TrieNode[]>, level: string, node: TrieNode): void {
  const others = lists.get(level);
  if (others === undefined) lists.set(level, [node]);
  else others.push(node);
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
