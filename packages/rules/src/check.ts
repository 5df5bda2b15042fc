import type { FactPlaceholder, Placeholder } from '@sallyport/domain';
import { unreachable } from '@sallyport/errors';
import { isReserved, levelsOf, type TopicFilter } from '@sallyport/topic';
import {
  type CompiledAuthority,
  type CompiledPolicy,
  literalChild,
  NO_RANK,
  type PlaceholderEdge,
  type TrieNode,
} from './compile.ts';
import {
  type Action,
  type Decision,
  DEFAULT_ZONE,
  type Facts,
  type Qos,
  type Terms,
} from './policy-spec.ts';

const GUARD: Decision = Object.freeze({ allowed: false, ruleId: 'guard' });
const SUPERUSER: Decision = Object.freeze({ allowed: true, ruleId: 'superuser' });
const DEFAULT_ALLOW: Decision = Object.freeze({ allowed: true, ruleId: 'default' });
const DEFAULT_DENY: Decision = Object.freeze({ allowed: false, ruleId: 'default' });

/** What one authority said, for people who ask why. */
export interface Opinion {
  readonly authority: string;
  /** `partial` only for subscriptions: it differs between the topics that the filter matches. */
  readonly verdict: 'allow' | 'deny' | 'abstain' | 'partial';
  /** The rule that decided, or `default`. */
  readonly ruleId: string;
}

/**
 * Whether a message on this topic may be published by, or delivered to, the connection. `topicLevels` are the levels of
 * `topic`, a parsed topic name. O(levels × matching edges), and no allocation beyond the small arguments.
 *
 * For `receive`, an allow pattern that was written for filter texts (it mentions `#` or `\+`) also matches the topics of
 * the filters that it admits; so the answer needs no knowledge of the subscription that the delivery is for. For the same
 * reason `terms` are not looked at: what a client may read by subscribing in some way may be delivered to it.
 */
export function check(
  policy: CompiledPolicy,
  facts: Facts,
  action: 'publish' | 'receive',
  topicLevels: readonly string[],
  topic: string,
  terms: Terms = PLAIN_TERMS,
): Decision {
  return decideTopic({ policy, facts, action, topicLevels, topic, terms });
}

/** QoS 0, not retained. */
export const PLAIN_TERMS: Terms = Object.freeze({ qos: 0, retain: false });

const EVERY_QOS = ([0, 1, 2] as const).map((qos): Terms => Object.freeze({ qos, retain: false }));

/** The same objects again and again, for the hot path. */
const RETAINED_TERMS = EVERY_QOS.map((one): Terms => Object.freeze({ ...one, retain: true }));

/** The terms of a message; allocates nothing. */
export function termsOf(qos: Qos, retain: boolean): Terms {
  return (retain ? RETAINED_TERMS : EVERY_QOS)[qos] ?? PLAIN_TERMS;
}

interface TopicQuestion {
  readonly policy: CompiledPolicy;
  readonly facts: Facts;
  readonly action: 'publish' | 'receive';
  readonly topicLevels: readonly string[];
  readonly topic: string;
  readonly terms: Terms;
}

/** The code behind `check` and `explain`; with `trace`, each authority's opinion is added to it. */
export function decideTopic(question: TopicQuestion, trace?: Opinion[]): Decision {
  const { policy, action, topic } = question;
  const reserved = isReserved(topic);
  const skipped = immediateDecision(policy, action, reserved);
  if (skipped !== undefined) return skipped;
  if (!policy.conditional || action === 'publish') {
    return decideOn(question, policy.tables(question.terms)[action], reserved, trace);
  }
  // The first way of subscribing by which it may be read, else the reason at QoS 0.
  const allowing = policy.readingTerms.find(
    (terms) => decideOn(question, policy.tables(terms).receive, reserved).allowed,
  );
  const { receive } = policy.tables(allowing ?? PLAIN_TERMS);
  return decideOn(question, receive, reserved, trace);
}

function decideOn(
  { policy, facts, action, topicLevels, topic }: TopicQuestion,
  authorities: readonly CompiledAuthority[],
  reserved: boolean,
  trace?: Opinion[],
): Decision {
  const walk: TopicWalk = { facts, levels: topicLevels, reserved };
  const ranks: number[] = [];
  for (const authority of authorities) {
    const rank = lowestRank(walk, authority.root, 0, NO_RANK);
    ranks.push(patternRank(authority, topic, action === 'receive', reserved, rank));
  }
  return combine(policy, authorities, ranks, reserved, trace);
}

/** What is decided before any rule is looked at: the guard of reserved topics, then the superuser. */
export function immediateDecision(
  policy: CompiledPolicy,
  action: Exclude<Action, 'unsubscribe'>,
  reserved: boolean,
): Decision | undefined {
  if (reserved) return action === 'publish' ? GUARD : undefined;
  return policy.superuser ? SUPERUSER : undefined;
}

/**
 * The verdict from the deciding rank of each authority: any deny denies; else any allow allows; else the default.
 * Reserved topics are opened by a rule only, never by a default; there a superuser needs such a rule too, and is
 * stopped by nothing else.
 */
export function combine(
  policy: CompiledPolicy,
  authorities: readonly CompiledAuthority[],
  ranks: readonly number[],
  reserved: boolean,
  trace?: Opinion[],
): Decision {
  let allowing: Decision | undefined;
  let denying: Decision | undefined;
  for (const [index, authority] of authorities.entries()) {
    const decision = authority.decisions[ranks[index] ?? NO_RANK] ?? byDefault(authority, reserved);
    trace?.push(opinionOf(authority, decision));
    if (decision === undefined) continue;
    if (decision.allowed) allowing ??= decision;
    else denying = namedDenial(denying, decision);
  }
  if (reserved) return combineReserved(policy, allowing, denying);
  return denying ?? allowing ?? unspoken(policy);
}

/** An UNSUBSCRIBE by the deciding rank of each authority: any deny denies; else it is allowed, whatever the defaults are. */
export function combineUnsubscribe(
  policy: CompiledPolicy,
  authorities: readonly CompiledAuthority[],
  ranks: readonly number[],
  trace?: Opinion[],
): Decision {
  if (policy.superuser) return SUPERUSER;
  let allowing: Decision | undefined;
  let denying: Decision | undefined;
  for (const [index, authority] of authorities.entries()) {
    const decision = authority.decisions[ranks[index] ?? NO_RANK];
    trace?.push(opinionOf(authority, decision));
    if (decision?.allowed === true) allowing ??= decision;
    else denying ??= decision;
  }
  return denying ?? allowing ?? DEFAULT_ALLOW;
}

/** Of several denials the first that a rule made: it tells more than a default. */
function namedDenial(earlier: Decision | undefined, later: Decision): Decision {
  return earlier === undefined || earlier === DEFAULT_DENY ? later : earlier;
}

function unspoken(policy: CompiledPolicy): Decision {
  return policy.noMatch === 'allow' ? DEFAULT_ALLOW : DEFAULT_DENY;
}

function opinionOf(authority: CompiledAuthority, decision: Decision | undefined): Opinion {
  const { name } = authority;
  if (decision === undefined) return { authority: name, verdict: 'abstain', ruleId: 'default' };
  return {
    authority: name,
    verdict: decision.allowed ? 'allow' : 'deny',
    ruleId: decision.ruleId,
  };
}

function byDefault(authority: CompiledAuthority, reserved: boolean): Decision | undefined {
  if (authority.noMatch === 'deny') return DEFAULT_DENY;
  return authority.noMatch === 'allow' && !reserved ? DEFAULT_ALLOW : undefined;
}

function combineReserved(
  policy: CompiledPolicy,
  allowing: Decision | undefined,
  denying: Decision | undefined,
): Decision {
  if (policy.superuser) return allowing ?? GUARD;
  // A deny rule names itself; a closed authority that no rule opened is just the guard at work.
  if (denying !== undefined && denying !== DEFAULT_DENY) return denying;
  if (allowing === undefined) return GUARD;
  return denying ?? allowing;
}

/**
 * The lowest rank among `any`, the texts and the patterns of an authority, if lower than `best`. `receiving` also lets patterns match
 * what the filters that they admit would match.
 */
export function patternRank(
  authority: CompiledAuthority,
  text: string,
  receiving: boolean,
  reserved: boolean,
  best: number,
): number {
  let lowest = Math.min(best, reserved ? authority.anyDenyRank : authority.anyRank);
  // A text that opens reserved topics is one of them itself.
  lowest = Math.min(lowest, authority.texts?.get(text) ?? NO_RANK);
  const patterns = reserved ? authority.denyPatterns : authority.patterns;
  for (const { rank, pattern } of patterns) {
    if (rank >= lowest) break;
    // Only an allow rule is widened: a deny rule for a filter text says nothing about topics.
    const widened = receiving && pattern.mentionsWildcards && isAllow(authority, rank);
    if (pattern.matches(text) || (widened && pattern.admits(text))) lowest = rank;
  }
  return lowest;
}

/**
 * The lowest rank that matches the text of a filter as if that were a topic whose levels happen to be `+` or `#`: `a/+` matches `a/#`.
 * @source compat emqx 5.6
 */
export function textRank(authority: CompiledAuthority, facts: Facts, filter: TopicFilter): number {
  const reserved = isReserved(filter);
  const rank = lowestRank(
    { facts, levels: levelsOf(filter), reserved },
    authority.root,
    0,
    NO_RANK,
  );
  return patternRank(authority, filter, false, reserved, rank);
}

function isAllow(authority: CompiledAuthority, rank: number): boolean {
  return authority.decisions[rank]?.allowed === true;
}

/** What a walk along one topic needs at every node. */
interface TopicWalk {
  readonly facts: Facts;
  readonly levels: readonly string[];
  readonly reserved: boolean;
}

/** Walks the trie along one topic; keeps the lowest rank, and skips branches that hold only higher ones. */
function lowestRank(walk: TopicWalk, node: TrieNode, index: number, bestSoFar: number): number {
  let best = bestSoFar;
  // A wildcard at the first level does not match a reserved topic. [MQTT-4.7.2-1]
  const wildcards = index > 0 || !walk.reserved;
  if (wildcards && node.hashRank < best) best = node.hashRank;
  const level = walk.levels[index];
  if (level === undefined) return Math.min(node.rank, best);
  const literal = literalChild(node, level);
  if (literal !== undefined && literal.rankMin < best) {
    best = lowestRank(walk, literal, index + 1, best);
  }
  if (wildcards && node.plus !== undefined && node.plus.rankMin < best) {
    best = lowestRank(walk, node.plus, index + 1, best);
  }
  if (node.placeholders === undefined) return best;
  return placeholderRank(walk, node.placeholders, index, best);
}

function placeholderRank(
  walk: TopicWalk,
  edges: readonly PlaceholderEdge[],
  index: number,
  bestSoFar: number,
): number {
  let best = bestSoFar;
  const wildcards = index > 0 || !walk.reserved;
  for (const edge of edges) {
    const level = walk.levels[index];
    if (edge.node.rankMin < best && follows(edge, walk.facts, level, wildcards)) {
      best = lowestRank(walk, edge.node, index + 1, best);
    }
  }
  return best;
}

/**
 * Whether a level of a topic goes along a placeholder's edge; `wildcards` is false at the first level of a reserved topic. A
 * fact that is no single plain level never matches an allow rule, and acts as `+` in a deny rule. An allow rule that starts with a placeholder does not open reserved topics, whatever
 * the client calls itself: its own text has no `$…` level.
 */
export function follows(
  edge: PlaceholderEdge,
  facts: Facts,
  level: string | undefined,
  wildcards: boolean,
): boolean {
  const value = factValue(facts, edge.placeholder);
  if (value === undefined) return edge.effect === 'deny' && wildcards;
  return value === level && (edge.effect === 'deny' || wildcards);
}

/** The value of a placeholder, or undefined when a fact of it is missing, empty, or would be more than one plain level. */
export function factValue(facts: Facts, placeholder: Placeholder): string | undefined {
  if (placeholder.kind !== 'joined') return plainValue(facts, placeholder);
  let joined = '';
  for (const part of placeholder.parts) {
    const value = typeof part === 'string' ? part : plainValue(facts, part);
    if (value === undefined) return undefined;
    joined += value;
  }
  return joined;
}

function plainValue(facts: Facts, placeholder: FactPlaceholder): string | undefined {
  const value = rawValue(facts, placeholder);
  if (value === undefined || value === '') return undefined;
  for (let index = 0; index < value.length; index++) {
    const unit = value.charCodeAt(index);
    if (unit === 0x2f || unit === 0x2b || unit === 0x23 || unit === 0) return undefined;
  }
  return value;
}

function rawValue(facts: Facts, placeholder: FactPlaceholder): string | undefined {
  switch (placeholder.kind) {
    case 'clientId':
      return facts.clientId;
    case 'username':
      return facts.username;
    case 'commonName':
      return facts.certificate?.commonName;
    case 'zone':
      return facts.zone ?? DEFAULT_ZONE;
    case 'attribute': {
      const { attributes } = facts;
      const { name } = placeholder;
      if (attributes === undefined || !Object.hasOwn(attributes, name)) return undefined;
      return attributes[name];
    }
    default:
      return unreachable(placeholder);
  }
}
