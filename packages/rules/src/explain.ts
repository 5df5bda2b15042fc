import { isReserved, levelsOf, parseTopicFilter, type TopicFilter } from '@sallyport/topic';
import { decideTopic, immediateDecision, type Opinion, PLAIN_TERMS } from './check.ts';
import { type CompiledAuthority, type CompiledPolicy, NO_RANK } from './compile.ts';
import {
  checkSubscribe,
  checkUnsubscribe,
  filterTables,
  visitVerdicts,
  wholeDecision,
} from './coverage.ts';
import type { Action, Decision, Facts, Terms } from './policy-spec.ts';
import { publishedTopic } from './published-topic.ts';

export interface Explanation extends Decision {
  /** What each authority said, in order; empty when the guard or the superuser decided before they were asked. */
  readonly opinions: readonly Opinion[];
  /** Only for `subscribe`, see `SubscribeDecision`. */
  readonly checkDeliveries?: boolean;
  /** Only for `publish`: the topic that was judged, where the policy puts a prefix in front of what the client names. */
  readonly publishedTopic?: string;
}

/** The topic is not published at all, because no topic may be that long. */
const PREFIX_TOO_LONG = { allowed: false, ruleId: 'publish_prefix' };

/**
 * The decision, by the same code as on the hot path, and the opinions that it was made from. `topic` is a parsed topic
 * name, for `publish` as the client names it, or for `subscribe` and `unsubscribe` a parsed filter without `$share/<group>/`; an
 * invalid filter is denied. `terms` as of `check` and `checkSubscribe`.
 */
export function explain(
  policy: CompiledPolicy,
  facts: Facts,
  action: Action,
  topic: string,
  terms: Terms = PLAIN_TERMS,
): Explanation {
  if (action === 'subscribe') return explainSubscribe(policy, facts, topic, terms);
  if (action === 'unsubscribe') return explainUnsubscribe(policy, facts, topic, terms);
  const opinions: Opinion[] = [];
  const asked = action === 'publish' ? publishedTopic(policy, topic) : topic;
  if (asked === undefined) return { ...PREFIX_TOO_LONG, opinions };
  const question = { policy, facts, action, topicLevels: levelsOf(asked), topic: asked, terms };
  const decision = decideTopic(question, opinions);
  return { ...decision, opinions, ...(asked !== topic && { publishedTopic: asked }) };
}

function explainUnsubscribe(
  policy: CompiledPolicy,
  facts: Facts,
  text: string,
  { shared = false }: Terms,
): Explanation {
  const filter = parseTopicFilter(text);
  if (!filter.ok) return { allowed: false, ruleId: 'default', opinions: [] };
  const opinions: Opinion[] = [];
  const decision = checkUnsubscribe(policy, facts, filter.value, shared, opinions);
  return { ...decision, opinions };
}

function explainSubscribe(
  policy: CompiledPolicy,
  facts: Facts,
  text: string,
  { qos, shared = false, inPart = false }: Terms,
): Explanation {
  const filter = parseTopicFilter(text);
  if (!filter.ok)
    return { allowed: false, ruleId: 'default', checkDeliveries: false, opinions: [] };
  const decision = checkSubscribe(policy, facts, filter.value, qos, shared, inPart);
  if (immediateDecision(policy, 'subscribe', isReserved(filter.value)) !== undefined) {
    return { ...decision, opinions: [] };
  }
  const { subscribe } = filterTables(policy, filter.value, { qos, shared });
  const opinions = subscribe.map(
    (one, index) =>
      (decision.allowed ? undefined : wholeDenial(one, facts, filter.value)) ??
      subscribeOpinion(subscribe, index, facts, filter.value),
  );
  return { ...decision, opinions };
}

/** The opinion of an authority that says one thing of all topics, when a rule of it denies them. */
function wholeDenial(
  authority: CompiledAuthority,
  facts: Facts,
  filter: TopicFilter,
): Opinion | undefined {
  const decision = wholeDecision(authority, facts, filter);
  if (decision === undefined || decision.allowed) return undefined;
  return { authority: authority.name, verdict: 'deny', ruleId: decision.ruleId };
}

function subscribeOpinion(
  authorities: readonly CompiledAuthority[],
  index: number,
  facts: Facts,
  filter: TopicFilter,
): Opinion {
  const authority = authorities[index] as CompiledAuthority; // The index comes from a map over the same array.
  const found = new Map<Opinion['verdict'], string>();
  const complete = visitVerdicts({ authorities, facts, filter }, (ranks) => {
    const decision = authority.decisions[ranks[index] ?? NO_RANK];
    const verdict =
      decision === undefined ? authority.noMatch : decision.allowed ? 'allow' : 'deny';
    if (!found.has(verdict)) found.set(verdict, decision?.ruleId ?? 'default');
    return found.size < 2;
  });
  const [first] = found;
  const [verdict, ruleId] = first ?? ['partial' as const, 'default'];
  // Of a mixed opinion the refusing rule is what people look for.
  const mixed = found.size > 1 || !complete;
  return {
    authority: authority.name,
    verdict: mixed ? 'partial' : verdict,
    ruleId: mixed ? (found.get('deny') ?? ruleId) : ruleId,
  };
}
