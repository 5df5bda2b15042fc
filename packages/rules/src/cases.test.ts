import { levelsOf, parseTopicFilter, type TopicFilter } from '@sallyport/topic';
import { describe, expect, test } from 'vitest';
import { loadDecisionCases, policySources } from '../../../test/cases/load.ts';
import { assemblePolicy } from './assemble.ts';
import { check } from './check.ts';
import { type CompiledPolicy, compilePolicy } from './compile.ts';
import { checkSubscribe } from './coverage.ts';
import { explain } from './explain.ts';
import type { Action, Decision, Facts } from './policy-spec.ts';

function filterOf(text: string): TopicFilter {
  const parsed = parseTopicFilter(text);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.problem}`);
  return parsed.value;
}

function ask(policy: CompiledPolicy, facts: Facts, action: Action, topic: string): Decision {
  if (action === 'subscribe') return checkSubscribe(policy, facts, filterOf(topic));
  return check(policy, facts, action, levelsOf(topic), topic);
}

const cases = loadDecisionCases();

test('the cases are found', () => {
  expect(cases.length).toBeGreaterThanOrEqual(40);
  expect(new Set(cases.map((one) => one.title)).size).toBe(cases.length);
});

describe.each(cases)('$file: $title', (one) => {
  const spec = { policyId: 'case', ...assemblePolicy(policySources(one)) };
  const policy = compilePolicy(spec);
  const facts: Facts = { listener: 'tcp:default', ...one.facts };

  test.each(one.expectations)('$action $topic: $allowed', (expectation) => {
    const { action, topic, ...answer } = expectation;
    const decision = ask(policy, facts, action, topic);
    expect(decision).toMatchObject(answer);
    const { opinions: _opinions, ...explained } = explain(policy, facts, action, topic);
    expect(explained).toEqual(decision);
  });
});
