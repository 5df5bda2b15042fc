import { isLoginTag, type Revision } from '@sallyport/domain';
import { levelsOf } from '@sallyport/topic';
import {
  type Admitted,
  decidingFacts,
  type Principal,
  type Resolved,
} from '@sallyport/policy-client';
import {
  check,
  checkSubscribe,
  type CompiledPolicy,
  type Decision,
  type Facts,
  publishedTopic,
  type Qos,
  type SubscribeDecision,
  termsOf,
} from '@sallyport/rules';
import type { TopicFilter } from '@sallyport/topic';

/** Topics whose verdict a session remembers, for each action; and topics that it has put its prefix before. */
export const VERDICTS_MAX = 128;

const REVOKED: Decision = { allowed: false, ruleId: 'revoked' };

/** One connection's rights. Every decision is synchronous and in memory. */
export class LiveSession {
  readonly principal: Principal;
  readonly #close: (reason: string) => void;
  #resolved: Resolved;
  #policy: CompiledPolicy;
  #facts: Facts;
  #revision: Revision;
  #revoked = false;
  // Made when they are needed: most connections are idle, or go one way only.
  #publishVerdicts: Map<string, Decision> | undefined;
  #receiveVerdicts: Map<string, Decision> | undefined;
  /** Of policies with a prefix only. */
  #publishedTopics: Map<string, string> | undefined;

  constructor(admitted: Admitted, close: (reason: string) => void) {
    this.principal = admitted.principal;
    this.#resolved = admitted.resolved;
    this.#policy = admitted.policy;
    this.#facts = decidingFacts(admitted.principal, admitted.resolved);
    this.#revision = admitted.revision;
    this.#close = close;
  }

  get tags(): readonly string[] {
    return this.#resolved.tags;
  }

  get secretExpiresAt(): number | undefined {
    return this.#resolved.secretExpiresAt;
  }

  /** The revision that its policy was last looked up at. */
  get revision(): Revision {
    return this.#revision;
  }

  get denyAction(): 'ignore' | 'disconnect' {
    return this.#policy.denyAction;
  }

  /** From here on other rules hold. */
  adopt(resolved: Resolved, policy: CompiledPolicy, revision: Revision): void {
    const before = this.#resolved.attributes;
    this.#resolved = resolved;
    this.#revision = revision;
    if (policy === this.#policy && sameAttributes(before, resolved.attributes)) return;
    this.#policy = policy;
    this.#facts = decidingFacts(this.principal, resolved);
    this.#publishVerdicts = undefined;
    this.#receiveVerdicts = undefined;
    this.#publishedTopics = undefined;
  }

  /** Nothing is allowed from this moment on, the will included, and the connection is closed. */
  revoke(reason: string): void {
    if (this.#revoked) return;
    this.#revoked = true;
    this.#close(reason);
  }

  /** The topic that a message is published under when the client names `topic`; undefined when there is none. */
  publishedTopic(topic: string): string | undefined {
    if (this.#policy.publishPrefix === '') return topic;
    this.#publishedTopics ??= new Map();
    const known = this.#publishedTopics;
    const found = known.get(topic);
    if (found !== undefined) return found;
    const published = publishedTopic(this.#policy, topic);
    if (published === undefined) return undefined;
    if (known.size >= VERDICTS_MAX) known.clear();
    known.set(topic, published);
    return published;
  }

  /** Of a topic that `publishedTopic` gave. */
  mayPublish(topic: string, qos: Qos, retain: boolean): Decision {
    if (this.#revoked) return REVOKED;
    this.#publishVerdicts ??= new Map();
    // Only where a rule has a condition are there several verdicts for a topic. No topic holds a U+0000.
    const key = this.#policy.conditional ? `${topic}\u0000${qos}${retain}` : topic;
    const known = this.#publishVerdicts.get(key);
    if (known !== undefined) return known;
    const levels = levelsOf(topic);
    const terms = termsOf(qos, retain);
    const decision = check(this.#policy, this.#facts, 'publish', levels, topic, terms);
    return remember(this.#publishVerdicts, key, decision);
  }

  mayReceive(topic: string): Decision {
    if (this.#revoked) return REVOKED;
    this.#receiveVerdicts ??= new Map();
    const known = this.#receiveVerdicts.get(topic);
    if (known !== undefined) return known;
    const decision = check(this.#policy, this.#facts, 'receive', levelsOf(topic), topic);
    return remember(this.#receiveVerdicts, topic, decision);
  }

  maySubscribe(filter: TopicFilter, qos: Qos): SubscribeDecision {
    if (this.#revoked) return { ...REVOKED, checkDeliveries: true };
    return checkSubscribe(this.#policy, this.#facts, filter, qos);
  }
}

function remember(known: Map<string, Decision>, key: string, decision: Decision): Decision {
  if (known.size >= VERDICTS_MAX) known.clear();
  known.set(key, decision);
  return decision;
}

function sameTexts(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, index) => text === other[index]);
}

/** They have no order; both are absent for most policies. */
function sameAttributes(one: Resolved['attributes'], other: Resolved['attributes']): boolean {
  if (one === other) return true;
  const [left, right] = [Object.entries(one ?? {}), other ?? {}];
  if (left.length !== Object.keys(right).length) return false;
  return left.every(([name, value]) => Object.hasOwn(right, name) && right[name] === value);
}

/** All live sessions of the node, found by what their policy was made from. */
export class LiveSessions {
  readonly #all = new Set<LiveSession>();
  /** Most tags are of one session only, which then needs no set: there are several of them for each connection. */
  readonly #byTag = new Map<string, LiveSession | Set<LiveSession>>();

  get size(): number {
    return this.#all.size;
  }

  all(): Iterable<LiveSession> {
    return this.#all;
  }

  add(session: LiveSession): void {
    this.#all.add(session);
    this.#index(session);
  }

  remove(session: LiveSession): void {
    this.#all.delete(session);
    this.#unindex(session);
  }

  /** Gives the session a new policy; nothing happens for one that is gone. */
  adopt(
    session: LiveSession,
    resolved: Resolved,
    policy: CompiledPolicy,
    revision: Revision,
  ): void {
    if (!this.#all.has(session)) return;
    const moved = !sameTexts(session.tags, resolved.tags);
    if (moved) this.#unindex(session);
    session.adopt(resolved, policy, revision);
    if (moved) this.#index(session);
  }

  /** Every session that depends on one of the tags. */
  withTags(tags: Iterable<string>): Set<LiveSession> {
    const found = new Set<LiveSession>();
    for (const tag of tags) {
      const known = this.#byTag.get(tag);
      if (known instanceof LiveSession) found.add(known);
      else for (const session of known ?? []) found.add(session);
    }
    return found;
  }

  #index(session: LiveSession): void {
    for (const tag of session.tags) {
      if (isLoginTag(tag)) continue; // Who would be found at the next CONNECT does not matter to a live session.
      const known = this.#byTag.get(tag);
      if (known === undefined) this.#byTag.set(tag, session);
      else if (known instanceof Set) known.add(session);
      else if (known !== session) this.#byTag.set(tag, new Set([known, session]));
    }
  }

  #unindex(session: LiveSession): void {
    for (const tag of session.tags) {
      if (isLoginTag(tag)) continue;
      const known = this.#byTag.get(tag);
      if (known === session) this.#byTag.delete(tag);
      else if (known instanceof Set && known.delete(session) && known.size === 0) {
        this.#byTag.delete(tag);
      }
    }
  }
}
