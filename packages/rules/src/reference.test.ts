import { levelsOf, matches, parseTopicFilter, type TopicFilter } from '@sallyport/topic';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { check } from './check.ts';
import { compilePolicy } from './compile.ts';
import { checkSubscribe } from './coverage.ts';
import { explain } from './explain.ts';
import type { AuthoritySpec, Decision, Facts, PolicySpec, RuleSpec } from './policy-spec.ts';

/** A topic level that no generated rule mentions. */
const FRESH = 'zz';
const RUNS = 400;

const seeded = (runs: number): fc.Parameters<unknown> => ({ numRuns: runs, verbose: 1 }); // A failure prints its seed.

const level = fc.constantFrom('a', 'b', '+', '+', '${clientid}', '${username}', '');
const filterLevels = fc
  .tuple(
    fc.constantFrom('$s', undefined, undefined, undefined),
    fc.array(level, { maxLength: 3 }),
    fc.boolean(),
  )
  .map(([first, rest, hash]) => [
    ...(first === undefined ? [] : [first]),
    ...rest,
    ...(hash ? ['#'] : []),
  ])
  .filter((levels) => levels.length > 0 && levels.length <= 3 && levels.join('/') !== '');
const matcher = fc.oneof(
  {
    weight: 12,
    arbitrary: filterLevels.map((one) => ({ kind: 'filter', filter: one.join('/') }) as const),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'any' } as const) },
);
const authority: fc.Arbitrary<AuthoritySpec> = fc.record({
  name: fc.constant('one'),
  rules: fc
    .array(fc.record({ effect: fc.constantFrom('allow', 'allow', 'deny'), matcher }), {
      maxLength: 6,
    })
    .map((rules) =>
      rules.map((rule, index): RuleSpec => ({
        ...rule,
        ruleId: `rule-${index}`,
        actions: ['publish', 'subscribe', 'receive'],
      })),
    ),
  noMatch: fc.constantFrom('deny', 'abstain', 'abstain', 'allow'),
});
const policySpec: fc.Arbitrary<PolicySpec> = fc.record({
  policyId: fc.constant('p'),
  superuser: fc.constantFrom(false, false, false, true),
  authorities: fc.array(authority, { maxLength: 3 }).map((list) =>
    list.map((one, index) => ({
      ...one,
      name: `authority-${index}`,
      rules: one.rules.map((rule) => ({ ...rule, ruleId: `${index}/${rule.ruleId}` })),
    })),
  ),
  noMatch: fc.constantFrom('allow', 'deny'),
  denyAction: fc.constant('ignore'),
});
const identity = fc.constantFrom(
  'a',
  'c1',
  '+',
  '#',
  'a/b',
  '',
  '__proto__',
  'constructor',
  '$s',
  'b\u0000',
);
const facts: fc.Arbitrary<Facts> = fc.record(
  { clientId: identity, username: identity, listener: fc.constant('tcp:default') },
  { requiredKeys: ['clientId', 'listener'] },
);
const subscription = fc
  .tuple(
    fc.constantFrom('$s', undefined, undefined, undefined),
    fc.array(fc.constantFrom('a', 'b', '+', '+', 'c1', ''), { maxLength: 3 }),
    fc.boolean(),
  )
  .map(([first, rest, hash]) =>
    [...(first === undefined ? [] : [first]), ...rest, ...(hash ? ['#'] : [])].join('/'),
  )
  .filter((text) => parseTopicFilter(text).ok)
  .map((text) => text as TopicFilter); // Filtered by its parser above.

/** All topics of up to four levels over every token that matters. */
const topics: readonly string[] = (() => {
  const tokens = ['a', 'b', 'c1', '', '__proto__', 'constructor', FRESH];
  const later = ['a', 'b', 'c1', '', FRESH, '$s', '__proto__', 'constructor'];
  let longest = [...tokens, '$s', '$t'];
  const all = longest.filter((one) => one !== '');
  for (let depth = 1; depth < 4; depth++) {
    longest = longest.flatMap((one) => later.map((next) => `${one}/${next}`));
    all.push(...longest);
  }
  return all;
})();

/** Whether a rule matches a topic, read off the specification: one rule, one topic, no index. */
function naiveRuleMatches(rule: RuleSpec, who: Facts, topic: string): boolean {
  const names = levelsOf(topic);
  const reserved = topic.startsWith('$');
  if (rule.matcher.kind === 'pattern') throw new Error('not generated');
  if (rule.matcher.kind === 'any') return rule.effect === 'deny' || !reserved;
  const { filter } = rule.matcher;
  // Only a level that is written with a `$` opens reserved topics; a placeholder is not.
  if (reserved && rule.effect === 'allow' && !filter.startsWith('$s')) return false;
  let possible = true;
  const resolved = levelsOf(filter).map((one, index) => {
    if (one !== '${clientid}' && one !== '${username}') return one;
    const value = one === '${clientid}' ? who.clientId : who.username;
    const usable = value !== undefined && value !== '' && !/[/+#\0]/.test(value);
    if (!usable && rule.effect === 'allow') possible = false;
    if (!usable) return '+';
    // A resolved value is compared, never interpreted.
    return value === names[index] ? value : `not ${names[index]}`;
  });
  return possible && matches(resolved, names);
}

function naiveDecision(spec: PolicySpec, who: Facts, action: string, topic: string): Decision {
  const reserved = topic.startsWith('$');
  if (reserved && action === 'publish') return { allowed: false, ruleId: 'guard' };
  if (spec.superuser && !reserved) return { allowed: true, ruleId: 'superuser' };
  const verdicts = spec.authorities.map((one) => naiveOpinion(one, who, topic));
  const allow = verdicts.find((one) => one.effect === 'allow');
  const denials = verdicts.filter((one) => one.effect === 'deny' && !spec.superuser);
  const ruleDenial = denials.find((one) => one.ruleId !== 'default');
  if (ruleDenial !== undefined) return { allowed: false, ruleId: ruleDenial.ruleId };
  if (reserved && allow === undefined) return { allowed: false, ruleId: 'guard' };
  if (denials.length > 0) return { allowed: false, ruleId: 'default' };
  if (allow !== undefined) return { allowed: true, ruleId: allow.ruleId };
  return { allowed: spec.noMatch === 'allow', ruleId: 'default' };
}

function naiveOpinion(
  one: AuthoritySpec,
  who: Facts,
  topic: string,
): { effect: string; ruleId: string } {
  const rule = one.rules.find((candidate) => naiveRuleMatches(candidate, who, topic));
  if (rule !== undefined) return rule;
  const opened = one.noMatch === 'allow' && topic.startsWith('$');
  return { effect: opened ? 'abstain' : one.noMatch, ruleId: 'default' };
}

function withoutDenies(spec: PolicySpec): PolicySpec {
  const authorities = spec.authorities.map((one) => ({
    ...one,
    rules: one.rules.filter((rule) => rule.effect === 'allow'),
  }));
  return { ...spec, authorities };
}

/** C5 by enumeration: full, hole-cut, or refused. */
function naiveSubscribe(
  spec: PolicySpec,
  who: Facts,
  filter: string,
): { allowed: boolean; checkDeliveries: boolean } {
  const matched = topics.filter((topic) => matches(levelsOf(filter), levelsOf(topic)));
  const allowedBy = (policy: PolicySpec): boolean[] =>
    matched.map((topic) => naiveDecision(policy, who, 'receive', topic).allowed);
  const whole = allowedBy(spec);
  if (whole.every((one) => one)) return { allowed: true, checkDeliveries: false };
  if (!whole.includes(true)) return { allowed: false, checkDeliveries: false };
  const granted = allowedBy(withoutDenies(spec)).every((one) => one);
  return { allowed: granted, checkDeliveries: granted };
}

describe('against a naive model', () => {
  test('a check is what a linear scan of the rules says, and explain says the same', () => {
    fc.assert(
      fc.property(
        policySpec,
        facts,
        fc.constantFrom('publish' as const, 'receive' as const),
        fc.array(fc.constantFrom(...topics), { minLength: 1, maxLength: 20 }),
        (spec, who, action, sample) => {
          const policy = compilePolicy(spec);
          for (const topic of sample) {
            const decision = check(policy, who, action, levelsOf(topic), topic);
            expect(decision, `${action} ${topic}`).toEqual(naiveDecision(spec, who, action, topic));
            const { opinions, ...explained } = explain(policy, who, action, topic);
            expect(explained).toEqual(decision);
            expect(
              opinions.length === spec.authorities.length || decision.ruleId !== 'default',
            ).toBe(true);
          }
        },
      ),
      seeded(RUNS),
    );
  });

  test('a subscription is granted and checked exactly as enumerating its topics says', () => {
    fc.assert(
      fc.property(policySpec, facts, subscription, (spec, who, filter) => {
        const policy = compilePolicy(spec);
        const { ruleId, ...answer } = checkSubscribe(policy, who, filter);
        expect(answer, filter).toEqual(naiveSubscribe(spec, who, filter));
        const explained = explain(policy, who, 'subscribe', filter);
        expect(explained).toMatchObject({ ...answer, ruleId });
      }),
      seeded(RUNS),
    );
  }, 60_000);
});
