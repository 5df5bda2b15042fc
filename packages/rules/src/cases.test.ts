import { levelsOf, parseTopicFilter } from '@sallyport/topic';
import { describe, expect, test } from 'vitest';
import {
  answerOf,
  type Expectation,
  factsOf,
  loadDecisionCases,
  policySources,
  termsOfExpectation,
} from '../../../test/cases/load.ts';
import { assemblePolicy } from './assemble.ts';
import { check } from './check.ts';
import { type CompiledPolicy, compilePolicy } from './compile.ts';
import { checkSubscribe, checkUnsubscribe } from './coverage.ts';
import { explain } from './explain.ts';
import type { Decision, Facts } from './policy-spec.ts';
import { publishedTopic } from './published-topic.ts';

function ask(policy: CompiledPolicy, facts: Facts, expectation: Expectation): Decision {
  const { action, topic } = expectation;
  const terms = termsOfExpectation(expectation);
  if (action === 'publish') {
    const final = publishedTopic(policy, topic) ?? '';
    return check(policy, facts, action, levelsOf(final), final, terms);
  }
  if (action === 'receive') return check(policy, facts, action, levelsOf(topic), topic, terms);
  const filter = parseTopicFilter(topic);
  if (!filter.ok) throw new Error(`${topic}: ${filter.problem}`);
  if (action === 'unsubscribe') return checkUnsubscribe(policy, facts, filter.value, terms.shared);
  return checkSubscribe(policy, facts, filter.value, terms.qos, terms.shared);
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
    const { action, topic } = expectation;
    const terms = termsOfExpectation(expectation);
    const decision = ask(policy, facts, expectation);
    expect(decision).toMatchObject(answerOf(expectation));
    const { opinions: _opinions, ...explained } = explain(policy, facts, action, topic, terms);
    const { publishedTopic: published = topic, ...told } = explained;
    expect(told).toEqual(decision);
    if (expectation.publishes !== undefined) expect(published).toBe(expectation.publishes);
  });
});
