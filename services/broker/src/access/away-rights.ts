import { OperationalError } from '@sallyport/errors';
import {
  decidingFacts,
  type PolicyCache,
  type PolicyClient,
  type Principal,
} from '@sallyport/policy-client';
import { check, type CompiledPolicy, type Facts } from '@sallyport/rules';
import type { SessionStore } from '@sallyport/session-store';
import type { LogThrottle } from '@sallyport/telemetry';
import { levelsOf } from '@sallyport/topic';
import type { BanList } from './ban-list.ts';

/** Clients whose rights are known; of more, the one that was learned first is forgotten. */
export const AWAY_CLIENTS_MAX = 10_000;
/** As long as what is known is believed without a change that is about it: the client may have been connected elsewhere, as somebody else. */
export const AWAY_KEPT_MS = 60_000;
/** Pause after rights could not be learned. */
export const AWAY_RETRY_MS = 1000;
/** Clients of one question. */
const BATCH = 100;

interface Known {
  readonly principal: Principal | undefined;
  readonly revision: number;
  readonly learnedAt: number;
  readonly tags: readonly string[];
  /** Undefined: it may not be connected, and so receive nothing; or, without a principal, there is nobody. */
  readonly rights: { readonly policy: CompiledPolicy; readonly facts: Facts } | undefined;
}

export interface AwayRightsOptions {
  readonly store: Pick<SessionStore, 'sessionRecord'>;
  readonly policy: Pick<PolicyClient, 'resolve'>;
  readonly cache: Pick<PolicyCache, 'compiled' | 'isStale' | 'revision'>;
  readonly bans: Pick<BanList, 'find'>;
  readonly logger: Pick<LogThrottle, 'warn'>;
  /** Milliseconds that never go back. */
  readonly clock?: () => number;
}

/**
 * What clients may receive that are not connected and have a stored session: for whom a message of a share group waits. Answers in memory
 * and learns behind that. It decides nothing else: whoever comes back is judged by the rights that it comes back with.
 */
export class AwayRights {
  readonly #options: AwayRightsOptions;
  readonly #clock: () => number;
  readonly #known = new Map<string, Known>();
  readonly #wanted = new Set<string>();
  #learning: Promise<void> | undefined;
  #quietUntil = 0;

  constructor(options: AwayRightsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
  }

  /** Undefined: not known, or not any more. Who was denied something that it is allowed since must not lose a message. */
  mayReceive(clientId: string, topic: string): boolean | undefined {
    const known = this.#known.get(clientId);
    if (known === undefined || !this.#isFresh(known)) {
      this.#learn(clientId);
      return undefined;
    }
    return known.principal === undefined ? undefined : this.#allows(known, topic);
  }

  #isFresh({ learnedAt, revision, tags, rights }: Known): boolean {
    const { cache } = this.#options;
    if (this.#clock() - learnedAt > AWAY_KEPT_MS) return false;
    // Of somebody who may not be connected nothing says what would change that.
    return rights === undefined ? revision >= cache.revision : !cache.isStale(revision, tags);
  }

  #allows({ principal, rights }: Known, topic: string): boolean {
    if (principal === undefined || rights === undefined) return false;
    if (this.#options.bans.find(principal.facts) !== undefined) return false;
    return check(rights.policy, rights.facts, 'receive', levelsOf(topic), topic).allowed;
  }

  /** The client was connected, perhaps as somebody else. */
  forget(clientId: string): void {
    this.#known.delete(clientId);
  }

  #learn(clientId: string): void {
    if (this.#wanted.size >= AWAY_CLIENTS_MAX || this.#clock() < this.#quietUntil) return;
    this.#wanted.add(clientId);
    this.#learning ??= this.#work().finally(() => (this.#learning = undefined));
  }

  /** Resolves when all that is wanted is learned, or cannot be. */
  get settled(): Promise<void> {
    return this.#learning ?? Promise.resolve();
  }

  async #work(): Promise<void> {
    await Promise.resolve(); // What else is wanted in this turn comes with it.
    while (this.#wanted.size > 0) {
      const batch = [...this.#wanted].slice(0, BATCH);
      try {
        await this.#ask(batch);
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        // Who is picked meanwhile is asked when it comes back, as ever.
        this.#quietUntil = this.#clock() + AWAY_RETRY_MS;
        this.#wanted.clear();
        const fields = { code: error.code, err: error };
        this.#options.logger.warn('away rights', fields, 'rights of the absent cannot be learned');
      }
      for (const clientId of batch) this.#wanted.delete(clientId);
    }
  }

  async #ask(clientIds: readonly string[]): Promise<void> {
    const { store, policy, cache } = this.#options;
    const records = await Promise.all(clientIds.map((one) => store.sessionRecord(one)));
    const principals = records.map((record) => record?.principal as Principal | undefined); // What `authenticate` gave to the engine.
    const asked = principals.filter((one) => one !== undefined);
    const learnedAt = this.#clock();
    const answer = await policy.resolve({ principals: asked, minRevision: cache.revision });
    const specs = new Map(answer.policies.map((spec) => [spec.policyId, spec]));
    const { revision } = answer;
    for (const [index, clientId] of clientIds.entries()) {
      const principal = principals[index];
      const resolved = principal && answer.results[asked.indexOf(principal)];
      const spec = resolved && specs.get(resolved.policyId);
      const rights =
        principal && resolved && spec
          ? { policy: cache.compiled(spec), facts: decidingFacts(principal, resolved) }
          : undefined;
      const tags = resolved?.tags ?? [];
      this.#remember(clientId, { principal, revision, learnedAt, tags, rights });
    }
  }

  #remember(clientId: string, known: Known): void {
    this.#known.delete(clientId);
    this.#known.set(clientId, known);
    if (this.#known.size <= AWAY_CLIENTS_MAX) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      return;
    }
  }
}
