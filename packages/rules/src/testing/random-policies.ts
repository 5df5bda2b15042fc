import { levelsOf, parseTopicFilter, type TopicFilter } from '@sallyport/topic';
import { check } from '../check.ts';
import { type CompiledPolicy, compilePolicy } from '../compile.ts';
import { checkSubscribe, checkUnsubscribe } from '../coverage.ts';
import { explain } from '../explain.ts';
import type {
  Action,
  AuthoritySpec,
  Condition,
  Facts,
  Matcher,
  PolicySpec,
  Qos,
  RuleSpec,
  Terms,
} from '../policy-spec.ts';
import { plainDecision, plainSubscribe, plainUnsubscribe } from './brute-force.ts';

/** Questions that each random policy is asked: about topics, for each of two actions, and about filters. */
const TOPICS_ASKED = 6;
const FILTERS_ASKED = 3;

/** Numbers that look random and are the same for the same seed. @source mulberry32 */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `below` - 1. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T; // No caller has an empty list.
  }

  list<T>(lengthMax: number, make: () => T): T[] {
    return Array.from({ length: this.below(lengthMax + 1) }, make);
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

const PLACEHOLDERS = [
  '${clientid}',
  '${username}',
  '${cert_common_name}',
  '${client_attrs.site}',
  '${$}s',
  'c${client_attrs.one}',
];
/** In a literal a placeholder is a level like others, which some topic may have. */
const LITERAL_LEVELS = ['a', 'b', 'c1', '', '+', '${clientid}'];
const IDENTITIES = ['a', 'c1', '+', '#', 'a/b', '', '__proto__', '$s', 'b\u0000'];
/** With one of them a level of two parts is `c1`; with the others it is nothing. */
const ONES = ['1', '1', '+', '', '1/1'];
const PATTERNS = ['a/.*', '[ab]', '.*', '(a|b)/\\+', 'a/#', '\\$s/.*'];
const ACTION_SETS: readonly (readonly Action[])[] = [
  ['publish', 'subscribe', 'receive'],
  ['publish', 'subscribe', 'receive'],
  ['subscribe', 'receive'],
  ['publish'],
  ['subscribe'],
  ['receive'],
  ['unsubscribe'],
  ['subscribe', 'receive', 'unsubscribe'],
];

/** Topics of up to three levels: of these, and one more at the first level. */
export function topicsOver(later: readonly string[]): readonly string[] {
  let longest = [...later, '$t'];
  const all = longest.filter((one) => one !== '');
  for (let depth = 1; depth < 3; depth++) {
    longest = longest.flatMap((one) => later.map((next) => `${one}/${next}`));
    all.push(...longest);
  }
  return all;
}

/** Over every token that a random rule of two levels can tell apart, and one more. */
export const TOPICS = topicsOver(['a', 'b', 'c1', '', 'zz', '$s', '__proto__', '${clientid}']);

/** A filter of up to three levels; in `firstPercent` of them the first is one of `first`. */
export function randomFilter(
  dice: Dice,
  levels: readonly string[],
  first: readonly string[],
  firstPercent = 30,
): string {
  for (;;) {
    const chosen = dice.chance(firstPercent) ? [dice.pick(first)] : [];
    while (chosen.length < 2 && dice.chance(65)) chosen.push(dice.pick(levels));
    if (dice.chance(35)) chosen.push('#');
    const text = chosen.join('/');
    if (text !== '') return text;
  }
}

const randomRuleFilter = (dice: Dice): string =>
  randomFilter(dice, ['a', 'b', 'c1', '', '+', '+', ...PLACEHOLDERS], ['$s', '+', 'a']);

function randomMatcher(dice: Dice): Matcher {
  const kind = dice.below(100);
  if (kind < 5) return { kind: 'any' };
  if (kind < 8) return { kind: 'pattern', pattern: dice.pick(PATTERNS) };
  if (kind < 22) return { kind: 'literal', text: randomFilter(dice, LITERAL_LEVELS, ['$s', '+']) };
  return { kind: 'filter', filter: randomRuleFilter(dice) };
}

function randomCondition(dice: Dice): Condition | undefined {
  if (!dice.chance(20)) return undefined;
  const flag = (): boolean | undefined => (dice.chance(25) ? dice.chance(50) : undefined);
  const [shared, wildcard] = [flag(), flag()];
  const qos = dice.chance(70) ? dice.pick<readonly Qos[]>([[0], [1], [2], [0, 1], [1, 2]]) : null;
  const retain = dice.chance(50) ? dice.chance(50) : undefined;
  return {
    ...(qos !== null && { qos }),
    ...(retain !== undefined && { retain }),
    ...(shared !== undefined && { shared }),
    ...(wildcard !== undefined && { wildcard }),
  };
}

export function randomAuthority(dice: Dice, name: string, rulesMax = 6): AuthoritySpec {
  let index = 0;
  const rules = dice.list(rulesMax, (): RuleSpec => {
    const when = randomCondition(dice);
    return {
      ruleId: `${name}/${index++}`,
      effect: dice.chance(65) ? 'allow' : 'deny',
      actions: dice.pick(ACTION_SETS),
      matcher: randomMatcher(dice),
      ...(when && { when }),
    };
  });
  const noMatch = dice.pick(['deny', 'abstain', 'abstain', 'allow'] as const);
  return {
    ...{ name, rules, noMatch },
    ...(dice.chance(40) && { subscribeByText: true }),
    ...(dice.chance(20) && { subscribeByRule: true }),
  };
}

function randomPolicy(dice: Dice): PolicySpec {
  let name = 0;
  return {
    policyId: 'random',
    superuser: dice.chance(8),
    authorities: dice.list(3, () => randomAuthority(dice, `authority-${name++}`)),
    noMatch: dice.pick(['allow', 'deny'] as const),
    denyAction: 'ignore',
  };
}

const certificateOf = (commonName: string) => ({
  fingerprintSha256: '00'.repeat(32),
  chainCommonNames: [commonName],
  commonName,
});

export function randomFacts(dice: Dice): Facts {
  return {
    clientId: dice.pick(IDENTITIES),
    listener: 'tcp:default',
    ...(dice.chance(70) && { username: dice.pick(IDENTITIES) }),
    ...(dice.chance(60) && { certificate: certificateOf(dice.pick(IDENTITIES)) }),
    ...(dice.chance(60) && {
      attributes: { site: dice.pick(IDENTITIES), ...(dice.chance(70) && { one: dice.pick(ONES) }) },
    }),
  };
}

const randomTerms = (dice: Dice): Terms => ({
  qos: dice.pick([0, 1, 2] as const),
  retain: dice.chance(50),
});

/** A policy and a question that two evaluators answer differently. */
export interface Difference {
  readonly seed: number;
  readonly spec: PolicySpec;
  readonly facts: Facts;
  readonly question: object;
  readonly expected: unknown;
  readonly found: unknown;
}

/** Asks one random policy; the same seed asks the same. Answers the first difference to the brute force, if any. */
export function compareRandomPolicy(seed: number): Difference | undefined {
  const dice = new Dice(seed);
  const spec = randomPolicy(dice);
  const facts = randomFacts(dice);
  const policy = compilePolicy(spec);
  const differs = (question: object, expected: unknown, found: unknown): Difference | undefined =>
    JSON.stringify(expected) === JSON.stringify(found)
      ? undefined
      : { seed, spec, facts, question, expected, found };
  const compared = { spec, facts, policy, differs };
  return differenceOfTopics(dice, compared) ?? differenceOfFilters(dice, compared);
}

interface Compared {
  readonly spec: PolicySpec;
  readonly facts: Facts;
  readonly policy: CompiledPolicy;
  readonly differs: (question: object, expected: unknown, found: unknown) => Difference | undefined;
}

function differenceOfTopics(
  dice: Dice,
  { spec, facts, policy, differs }: Compared,
): Difference | undefined {
  for (let asked = 0; asked < TOPICS_ASKED; asked++) {
    const question = { topic: dice.pick(TOPICS), terms: randomTerms(dice) } as const;
    const { topic, terms } = question;
    for (const action of ['publish', 'receive'] as const) {
      const expected = plainDecision(spec, { facts, action, ...question });
      const { allowed, ruleId } = check(policy, facts, action, levelsOf(topic), topic, terms);
      const explained = explain(policy, facts, action, topic, terms);
      const found = { allowed, ruleId };
      const difference =
        differs({ action, ...question }, pair(expected), found) ??
        differs({ explained: action, ...question }, pair(expected), pair(explained));
      if (difference !== undefined) return difference;
    }
  }
  return undefined;
}

function differenceOfFilters(
  dice: Dice,
  { spec, facts, policy, differs }: Compared,
): Difference | undefined {
  for (let asked = 0; asked < FILTERS_ASKED; asked++) {
    const filter = randomFilter(dice, ['a', 'b', '+', '+', 'c1', ''], ['$s', '#']);
    if (!parseTopicFilter(filter).ok) continue;
    const question = { filter, ...randomTerms(dice), shared: dice.chance(30) };
    const { qos, shared } = question;
    const parsed = filter as TopicFilter; // Parsed above.
    const ended = checkUnsubscribe(policy, facts, parsed, shared);
    const explained = explain(policy, facts, 'unsubscribe', filter, question);
    const wanted = plainUnsubscribe(spec, { facts, ...question });
    const wrong =
      differs({ unsubscribed: question }, pair(wanted), pair(ended)) ??
      differs({ explained: 'unsubscribe', ...question }, pair(wanted), pair(explained));
    if (wrong !== undefined) return wrong;
    const expected = plainSubscribe(spec, { facts, ...question }, TOPICS);
    const found = checkSubscribe(policy, facts, parsed, qos, shared);
    // Where the terms of a delivery or the text of a filter matter, a check too many is no difference.
    const unsure = (policy.opaque || policy.conditional) && found.checkDeliveries;
    const known = unsure && expected.allowed ? { ...expected, checkDeliveries: true } : expected;
    const { allowed, checkDeliveries } = found;
    const difference = differs(question, known, { allowed, checkDeliveries });
    if (difference !== undefined) return difference;
  }
  return undefined;
}

const pair = ({ allowed, ruleId }: { readonly allowed: boolean; readonly ruleId: string }) => ({
  allowed,
  ruleId,
});
