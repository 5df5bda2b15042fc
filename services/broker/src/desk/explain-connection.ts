import { OperationalError } from '@sallyport/errors';
import type { ConnectedClient } from '@sallyport/mqtt-session';
import type { Action, ApplyMode, Explanation, Facts, Terms } from '@sallyport/rules';
import { sessionOf } from './connection-view.ts';

export interface ExplainQuestion {
  readonly action: Action;
  /** Topic name as the client names it, or topic filter for `subscribe` and `unsubscribe`. */
  readonly topic: string;
  readonly terms: Terms;
}

/** What a connection may do and why, with all that it was judged by. */
export interface ExplainedConnection {
  readonly explanation: Explanation;
  /** The revision that its policy is of: for a pinned session perhaps long past. */
  readonly revision: number;
  readonly applyMode: ApplyMode;
  readonly credentialId: string;
  readonly secretId?: string;
  readonly facts: Facts;
  readonly groups?: readonly string[];
  /** Cache tags of every object that the policy was made from. */
  readonly tags: readonly string[];
  /** Milliseconds since 1970. */
  readonly connectedAt: number;
}

const ACTIONS: ReadonlySet<unknown> = new Set<Action>([
  'publish',
  'subscribe',
  'receive',
  'unsubscribe',
]);

/** @throws OperationalError `invalid_request` */
export function parseExplainQuestion(question: unknown): ExplainQuestion {
  const asked = (question ?? {}) as Partial<Record<string, unknown>>; // Every member is looked at.
  const { action, topic, qos, retain, shared = false } = asked;
  const valid =
    ACTIONS.has(action) &&
    typeof topic === 'string' &&
    (qos === 0 || qos === 1 || qos === 2) &&
    typeof retain === 'boolean' &&
    typeof shared === 'boolean';
  if (!valid) throw new OperationalError('invalid_request', 'what is to be explained is not valid');
  const terms: Terms = { qos, retain, ...(shared && { shared }) };
  return { action: action as Action, topic, terms }; // One of the set.
}

/** Undefined for a connection whose rights are not ours. */
export function explainConnection(
  connected: ConnectedClient,
  { action, topic, terms }: ExplainQuestion,
): ExplainedConnection | undefined {
  const session = sessionOf(connected);
  if (session === undefined) return undefined;
  const { credentialId, secretId } = session.principal;
  return {
    explanation: session.explain(action, topic, terms),
    revision: session.revision,
    applyMode: session.applyMode,
    credentialId,
    ...(secretId !== undefined && { secretId }),
    facts: session.facts,
    ...(session.groups !== undefined && { groups: session.groups }),
    tags: session.tags,
    connectedAt: connected.connectedAt,
  };
}
