import { levelsOf } from '@sallyport/topic';
import type { Admitted, Principal, Resolved } from '@sallyport/policy-client';
import {
  check,
  checkSubscribe,
  type CompiledPolicy,
  type Decision,
  type SubscribeDecision,
} from '@sallyport/rules';
import type { TopicFilter } from '@sallyport/topic';

/** Topics whose verdict a session remembers, for each action. */
export const VERDICTS_MAX = 128;

const REVOKED: Decision = { allowed: false, ruleId: 'revoked' };

/** One connection's rights. Every decision is synchronous and in memory. */
export class LiveSession {
  readonly principal: Principal;
  readonly #close: (reason: string) => void;
  #resolved: Resolved;
  #policy: CompiledPolicy;
  #revoked = false;
  readonly #verdicts = {
    publish: new Map<string, Decision>(),
    receive: new Map<string, Decision>(),
  };

  constructor(admitted: Admitted, close: (reason: string) => void) {
    this.principal = admitted.principal;
    this.#resolved = admitted.resolved;
    this.#policy = admitted.policy;
    this.#close = close;
  }

  get tags(): readonly string[] {
    return this.#resolved.tags;
  }

  get secretExpiresAt(): number | undefined {
    return this.#resolved.secretExpiresAt;
  }

  get denyAction(): 'ignore' | 'disconnect' {
    return this.#policy.denyAction;
  }

  /** From here on other rules hold. */
  adopt(resolved: Resolved, policy: CompiledPolicy): void {
    this.#resolved = resolved;
    if (policy === this.#policy) return;
    this.#policy = policy;
    this.#verdicts.publish.clear();
    this.#verdicts.receive.clear();
  }

  /** Nothing is allowed from this moment on, the will included, and the connection is closed. */
  revoke(reason: string): void {
    if (this.#revoked) return;
    this.#revoked = true;
    this.#close(reason);
  }

  mayPublish(topic: string): Decision {
    return this.#verdict('publish', topic);
  }

  mayReceive(topic: string): Decision {
    return this.#verdict('receive', topic);
  }

  maySubscribe(filter: TopicFilter): SubscribeDecision {
    if (this.#revoked) return { ...REVOKED, checkDeliveries: true };
    return checkSubscribe(this.#policy, this.principal.facts, filter);
  }

  #verdict(action: 'publish' | 'receive', topic: string): Decision {
    if (this.#revoked) return REVOKED;
    const known = this.#verdicts[action];
    const verdict = known.get(topic);
    if (verdict !== undefined) return verdict;
    const decision = check(this.#policy, this.principal.facts, action, levelsOf(topic), topic);
    if (known.size >= VERDICTS_MAX) known.clear();
    known.set(topic, decision);
    return decision;
  }
}

/** All live sessions of the node, found by what their policy was made from. */
export class LiveSessions {
  readonly #all = new Set<LiveSession>();
  readonly #byTag = new Map<string, Set<LiveSession>>();

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
  adopt(session: LiveSession, resolved: Resolved, policy: CompiledPolicy): void {
    if (!this.#all.has(session)) return;
    this.#unindex(session);
    session.adopt(resolved, policy);
    this.#index(session);
  }

  /** Every session that depends on one of the tags. */
  withTags(tags: Iterable<string>): Set<LiveSession> {
    const found = new Set<LiveSession>();
    for (const tag of tags) {
      for (const session of this.#byTag.get(tag) ?? []) found.add(session);
    }
    return found;
  }

  #index(session: LiveSession): void {
    for (const tag of session.tags) {
      let sessions = this.#byTag.get(tag);
      if (sessions === undefined) this.#byTag.set(tag, (sessions = new Set()));
      sessions.add(session);
    }
  }

  #unindex(session: LiveSession): void {
    for (const tag of session.tags) {
      const sessions = this.#byTag.get(tag);
      sessions?.delete(session);
      if (sessions?.size === 0) this.#byTag.delete(tag);
    }
  }
}
