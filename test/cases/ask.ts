import {
  check,
  checkSubscribe,
  checkUnsubscribe,
  type CompiledPolicy,
  type Decision,
  type Facts,
  publishedTopic,
} from '@sallyport/rules';
import { levelsOf, parseTopicFilter } from '@sallyport/topic';
import { type Expectation, termsOfExpectation } from './load.ts';

/** What a broker answers from a policy that it holds. */
export function askPolicy(
  policy: CompiledPolicy,
  facts: Facts,
  expectation: Expectation,
): Decision {
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
