import { isLoginTag, outlivesCredential, type Revision } from '@sallyport/domain';
import { levelsOf } from '@sallyport/topic';
import {
  type Admitted,
  decidingFacts,
  type Principal,
  type Resolved,
} from '@sallyport/policy-client';
import {
  type Action,
  type ApplyMode,
  check,
  checkSubscribe,
  checkUnsubscribe,
  type CompiledPolicy,
  type Decision,
  explain,
  type Explanation,
  type Facts,
  publishedTopic,
  type Qos,
  type SubscribeDecision,
  type Terms,
  termsOf,
} from '@sallyport/rules';
import type { TopicFilter } from '@sallyport/topic';

/** Topics whose verdict a session remembers, for each action; and topics that it has put its prefix before. */
export const VERDICTS_MAX = 128;

/** Why a session ends that a change disconnects, whatever its rights are now. */
export const KICKED = 'kicked';

/** Why a session ends whose credential has as many older ones as it may have now. */
export const OUTNUMBERED = 'credential_sessions';

const REVOKED: Decision = { allowed: false, ruleId: 'revoked' };

/** One connection's rights. Every decision is synchronous and in memory. */
export class LiveSession {
  readonly principal: Principal;
  /** On the clock of `performance.now()`. */
  #beganAt = performance.now();
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

  /** Of the listener: a filter of which only a part is allowed is granted, and the rest is kept back. */
  readonly #inPart: boolean;

  constructor(admitted: Admitted, close: (reason: string) => void, inPart = false) {
    this.#inPart = inPart;
    this.principal = admitted.principal;
    this.#resolved = admitted.resolved;
    this.#policy = admitted.policy;
    this.#facts = decidingFacts(admitted.principal, admitted.resolved);
    this.#revision = admitted.revision;
    this.#close = close;
  }

  /** Of the connection, on the clock of `performance.now()`. */
  get beganAt(): number {
    return this.#beganAt;
  }

  /** It takes the place of one of the same connection, whose end is not the connection's. */
  renew(former: LiveSession): void {
    this.#beganAt = former.#beganAt;
    former.#beganAt = -Infinity;
  }

  /** What it is judged by: what is known of the connection, and attributes that its policy looks at. */
  get facts(): Facts {
    return this.#facts;
  }

  get tags(): readonly string[] {
    return this.#resolved.tags;
  }

  /** Ids of the groups that its policy was made from. */
  get groups(): readonly string[] | undefined {
    return this.#resolved.groups;
  }

  get secretExpiresAt(): number | undefined {
    return this.#resolved.secretExpiresAt;
  }

  /** Clients that may be connected with its credential at once; undefined: the credential does not say. */
  get sessionsMax(): number | undefined {
    return this.#resolved.sessionsMax;
  }

  /** The revision that its policy was last looked up at. */
  get revision(): Revision {
    return this.#revision;
  }

  get policyId(): string {
    return this.#policy.policyId;
  }

  /** What a change of its sources does to the session, unless the change says otherwise. */
  get applyMode(): ApplyMode {
    return this.#policy.applyMode;
  }

  /** Whether it is left alone while its rules are pinned, whatever becomes of the credential that let it in. */
  get outlivesCredential(): boolean {
    return outlivesCredential(this.principal.store);
  }

  get denyAction(): CompiledPolicy['denyAction'] {
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

  /** It may stay with the rules that it has, until its credential ends as the credential is now. */
  keep({ secretExpiresAt }: Resolved): void {
    const { secretExpiresAt: _before, ...own } = this.#resolved;
    this.#resolved = secretExpiresAt === undefined ? own : { ...own, secretExpiresAt };
  }

  /** The connection is closed; until it is, and for its will, the rights are what they are. */
  kick(): void {
    if (!this.#revoked) this.#close(KICKED);
  }

  /** There are as many older ones as there may be. It has done nothing wrong: as for `kick`. */
  outnumber(): void {
    if (!this.#revoked) this.#close(OUTNUMBERED);
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

  maySubscribe(filter: TopicFilter, qos: Qos, shared = false): SubscribeDecision {
    if (this.#revoked) return { ...REVOKED, checkDeliveries: true };
    return checkSubscribe(this.#policy, this.#facts, filter, qos, shared, this.#inPart);
  }

  mayUnsubscribe(filter: TopicFilter, shared: boolean): Decision {
    if (this.#revoked) return REVOKED;
    return checkUnsubscribe(this.#policy, this.#facts, filter, shared);
  }

  /** What the verdicts above are, and why. `topic` as of `explain` of the rules; what the client names, for a publish. */
  explain(action: Action, topic: string, terms: Terms): Explanation {
    if (this.#revoked) return { ...REVOKED, opinions: [] };
    const asked = this.#inPart ? { ...terms, inPart: true } : terms;
    return explain(this.#policy, this.#facts, action, topic, asked);
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
  readonly #followers = new TagIndex();
  /** Apart from the others, because most changes do not concern them: there may be very many of one group. */
  readonly #pinned = new TagIndex();

  get size(): number {
    return this.#all.size;
  }

  all(): Iterable<LiveSession> {
    return this.#all;
  }

  add(session: LiveSession): void {
    this.#all.add(session);
    this.#indexOf(session).add(session);
  }

  remove(session: LiveSession): void {
    this.#all.delete(session);
    this.#indexOf(session).remove(session);
  }

  /** Gives the session a new policy; nothing happens for one that is gone. */
  adopt(
    session: LiveSession,
    resolved: Resolved,
    policy: CompiledPolicy,
    revision: Revision,
  ): void {
    if (!this.#all.has(session)) return;
    const before = this.#indexOf(session);
    const moved = !sameTexts(session.tags, resolved.tags);
    if (moved) before.remove(session);
    session.adopt(resolved, policy, revision);
    const after = this.#indexOf(session);
    if (!moved && after === before) return;
    if (!moved) before.remove(session);
    after.add(session);
  }

  /** Every session that depends on one of the tags; pinned ones only when they are asked for. */
  withTags(
    tags: Iterable<string>,
    { pinned }: { readonly pinned: boolean } = { pinned: false },
  ): Set<LiveSession> {
    const found = new Set<LiveSession>();
    this.#followers.find(tags, found);
    if (pinned) this.#pinned.find(tags, found);
    return found;
  }

  #indexOf({ applyMode }: LiveSession): TagIndex {
    return applyMode === 'pinned' ? this.#pinned : this.#followers;
  }
}

/** Sessions by their tags. */
class TagIndex {
  /** Most tags are of one session only, which then needs no set: there are several of them for each connection. */
  readonly #byTag = new Map<string, LiveSession | Set<LiveSession>>();

  find(tags: Iterable<string>, found: Set<LiveSession>): void {
    for (const tag of tags) {
      const known = this.#byTag.get(tag);
      if (known instanceof LiveSession) found.add(known);
      else for (const session of known ?? []) found.add(session);
    }
  }

  add(session: LiveSession): void {
    for (const tag of session.tags) {
      if (isLoginTag(tag)) continue; // Who would be found at the next CONNECT does not matter to a live session.
      const known = this.#byTag.get(tag);
      if (known === undefined) this.#byTag.set(tag, session);
      else if (known instanceof Set) known.add(session);
      else if (known !== session) this.#byTag.set(tag, new Set([known, session]));
    }
  }

  remove(session: LiveSession): void {
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
