import { levelsOf, parseTopicFilter, type TopicFilter } from '@sallyport/topic';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { check } from './check.ts';
import { compilePolicy } from './compile.ts';
import { checkSubscribe } from './coverage.ts';
import { explain } from './explain.ts';
import type { AuthoritySpec, Facts, PolicySpec, Qos, RuleSpec } from './policy-spec.ts';
import { plainDecision, plainSubscribe } from './testing/brute-force.ts';
import { compareRandomPolicy } from './testing/random-policies.ts';

/** A topic level that no generated rule mentions. */
const FRESH = 'zz';
const RUNS = 400;

/** `npm run bench -- rules --random 100000` asks more of them. */
const RANDOM_POLICIES = 2000;

const seeded = (runs: number): fc.Parameters<unknown> => ({ numRuns: runs, verbose: 1 }); // A failure prints its seed.

const level = fc.constantFrom(
  ...['a', 'b', '+', '+', '${clientid}', '${username}', ''],
  ...['${cert_common_name}', '${client_attrs.site}'],
);
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
/** Without placeholders: they would be plain levels, which none of the topics below has. */
const plainText = (levels: readonly string[]): string =>
  levels.map((one) => (one.startsWith('${') ? 'b' : one)).join('/');
const matcher = fc.oneof(
  {
    weight: 12,
    arbitrary: filterLevels.map((one) => ({ kind: 'filter', filter: one.join('/') }) as const),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'any' } as const) },
  {
    weight: 2,
    arbitrary: filterLevels.map((one) => ({ kind: 'literal', text: plainText(one) }) as const),
  },
);
const when = fc.constantFrom<RuleSpec['when']>(
  undefined,
  undefined,
  undefined,
  { qos: [0] },
  { qos: [1, 2], retain: true },
  { retain: false },
  { wildcard: true },
  { shared: false, qos: [0, 1] },
);
const qos = fc.constantFrom<Qos>(0, 1, 2);
const actions = fc.constantFrom<RuleSpec['actions']>(
  ['publish', 'subscribe', 'receive'],
  ['publish', 'subscribe', 'receive'],
  ['subscribe', 'receive'],
  ['publish'],
);
const authority: fc.Arbitrary<AuthoritySpec> = fc
  .record({
    name: fc.constant('one'),
    rules: fc
      .array(
        fc.record({
          effect: fc.constantFrom<RuleSpec['effect']>('allow', 'allow', 'deny'),
          matcher,
          actions,
          when,
        }),
        { maxLength: 6 },
      )
      .map((rules) =>
        rules.map(({ when: condition, ...rule }, index): RuleSpec => ({
          ...rule,
          ruleId: `rule-${index}`,
          ...(condition && { when: condition }),
        })),
      ),
    noMatch: fc.constantFrom('deny', 'abstain', 'abstain', 'allow'),
    subscribeByText: fc.constantFrom(false, true),
  })
  .map(({ subscribeByText, ...one }) => ({ ...one, ...(subscribeByText && { subscribeByText }) }));
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
  {
    clientId: identity,
    username: identity,
    listener: fc.constant('tcp:default'),
    certificate: fc.record(
      {
        commonName: identity,
        fingerprintSha256: fc.constant('00'.repeat(32)),
        chainCommonNames: fc.constant([]),
      },
      { requiredKeys: ['fingerprintSha256', 'chainCommonNames'] },
    ),
    attributes: fc.record({ site: identity }, { requiredKeys: [] }),
  },
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

describe('against a naive model', () => {
  test('a check is what a linear scan of the rules says, and explain says the same', () => {
    fc.assert(
      fc.property(
        policySpec,
        facts,
        fc.constantFrom('publish' as const, 'receive' as const),
        fc.array(fc.constantFrom(...topics), { minLength: 1, maxLength: 20 }),
        qos,
        fc.boolean(),
        (spec, who, action, sample, askedQos, retain) => {
          const policy = compilePolicy(spec);
          const terms = { qos: askedQos, retain };
          for (const topic of sample) {
            const decision = check(policy, who, action, levelsOf(topic), topic, terms);
            expect(decision, `${action} ${topic}`).toEqual(
              plainDecision(spec, { facts: who, action, topic, terms }),
            );
            const { opinions, ...explained } = explain(policy, who, action, topic, terms);
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
      fc.property(
        policySpec,
        facts,
        subscription,
        qos,
        fc.boolean(),
        (spec, who, filter, asked, shared) => {
          const policy = compilePolicy(spec);
          const { ruleId, ...answer } = checkSubscribe(policy, who, filter, asked, shared);
          const expected = plainSubscribe(spec, { facts: who, filter, qos: asked, shared }, topics);
          // Of a delivery nobody knows the QoS that was asked for, so that there may be a check too many.
          const unsure = policy.conditional && answer.checkDeliveries && expected.allowed;
          expect(answer, filter).toEqual(
            unsure ? { ...expected, checkDeliveries: true } : expected,
          );
          const explained = explain(policy, who, 'subscribe', filter, {
            qos: asked,
            retain: false,
            shared,
          });
          expect(explained).toMatchObject({ ...answer, ruleId });
        },
      ),
      seeded(RUNS),
    );
  });

  test('random policies of every kind are answered as by brute force', () => {
    const first = Math.floor(Math.random() * 2 ** 32);
    console.log(`random policies from seed ${first}`);
    for (let index = 0; index < RANDOM_POLICIES; index++) {
      expect(compareRandomPolicy(first + index)).toBeUndefined();
    }
  });
});
