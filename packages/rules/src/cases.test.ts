import { levelsOf, parseTopicFilter, type TopicFilter } from '@sallyport/topic';
import { describe, expect, test } from 'vitest';
import {
  type Expectation,
  factsOf,
  loadDecisionCases,
  policySources,
  termsOfExpectation,
} from '../../../test/cases/load.ts';
import { assemblePolicy } from './assemble.ts';
import { check } from './check.ts';
import { type CompiledPolicy, compilePolicy } from './compile.ts';
import { checkSubscribe } from './coverage.ts';
import { explain } from './explain.ts';
import type { Decision, Facts, Terms } from './policy-spec.ts';

type Asked = Pick<Expectation, 'action' | 'topic'>;

function filterOf(text: string): TopicFilter {
  const parsed = parseTopicFilter(text);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.problem}`);
  return parsed.value;
}

function ask(
  policy: CompiledPolicy,
  facts: Facts,
  { action, topic }: Asked,
  terms: Terms,
): Decision {
  if (action === 'subscribe') return checkSubscribe(policy, facts, filterOf(topic), terms.qos);
  return check(policy, facts, action, levelsOf(topic), topic, terms);
}

const cases = loadDecisionCases();

test('the cases are found', () => {
  expect(cases.length).toBeGreaterThanOrEqual(300);
  expect(new Set(cases.map((one) => one.title)).size).toBe(cases.length);
});

describe.each(cases)('$file: $title', (one) => {
  const spec = { policyId: 'case', ...assemblePolicy(policySources(one)) };
  const policy = compilePolicy(spec);
  const { attributes } = one.credential ?? {};
  const facts = { ...factsOf(one.facts), ...(attributes && { attributes }) };

  test.each(one.expectations)('$action $topic: $allowed', (expectation) => {
    const { action, topic, qos: _qos, retain: _retain, ...answer } = expectation;
    const terms = termsOfExpectation(expectation);
    const decision = ask(policy, facts, { action, topic }, terms);
    expect(decision).toMatchObject(answer);
    const { opinions: _opinions, ...explained } = explain(policy, facts, action, topic, terms);
    expect(explained).toEqual(decision);
  });
});
