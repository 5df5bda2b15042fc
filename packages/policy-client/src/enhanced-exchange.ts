import { randomBytes } from 'node:crypto';
import { SCRAM_MECHANISMS, type ScramMechanism } from '@sallyport/domain';
import type { Facts } from '@sallyport/rules';
import { count } from '@sallyport/telemetry';
import type { Admission, PolicyCache } from './policy-cache.ts';
import {
  type RefusalReason,
  type RefusedAnswer,
  SCRAM_EXCHANGE_ID_BYTES,
} from './policy-client.ts';

export type EnhancedStep =
  /** `data` goes to the client with reason code 0x18; its answer is the next step. */
  | { readonly outcome: 'continue'; readonly data: Buffer }
  /** `data` goes out with the success, in CONNACK or AUTH. What was admitted may be stale by the next turn (`isStale`). */
  | {
      readonly outcome: 'success';
      readonly data?: Buffer;
      readonly admission: Extract<Admission, { ok: true }>;
    }
  /** The reason is for the log. The client is told *not authorized* in every case. */
  | ({ readonly outcome: 'refused'; readonly reason: RefusalReason } & RefusedBy);

/** What a refusal of the policy service comes from, for the log. */
type RefusedBy = Partial<Pick<RefusedAnswer, 'ruleId' | 'revision'>>;

/** One run of MQTT 5 enhanced authentication, for a CONNECT or for an AUTH with reason code 0x19. */
export interface EnhancedExchange {
  /**
   * Takes the Authentication Data of CONNECT or AUTH. Anything but `continue` ends the exchange; so does a rejection, and whatever
   * comes after the end, or while a step is being taken, is refused.
   * @throws OperationalError when the policy service cannot tell, to be answered by its code's `connack`
   */
  step(data: Buffer | undefined): Promise<EnhancedStep>;
}

/**
 * Starts an exchange, or undefined for a method that nobody knows here (0x8C). `facts` are those of the connection; a user name
 * among them must be the one that is proven. When a client authenticates again, the caller compares the credential with the
 * present one. @source MQTT-5.0 §4.12
 */
export function startEnhancedAuthentication(
  cache: PolicyCache,
  facts: Facts,
  method: string,
): EnhancedExchange | undefined {
  const mechanism = SCRAM_MECHANISMS.find((one) => one === method);
  return mechanism && new ScramExchange({ cache, facts, mechanism });
}

const refused = (reason: RefusalReason): EnhancedStep => ({ outcome: 'refused', reason });

class ScramExchange implements EnhancedExchange {
  readonly #cache: PolicyCache;
  readonly #facts: Facts;
  readonly #mechanism: ScramMechanism;
  // Binds the policy service's state to this object: what it answers here serves no other connection.
  readonly #exchangeId = randomBytes(SCRAM_EXCHANGE_ID_BYTES);
  #state: Uint8Array | undefined;
  #phase: 'first' | 'final' | 'busy' | 'over' = 'first';

  constructor(options: {
    readonly cache: PolicyCache;
    readonly facts: Facts;
    readonly mechanism: ScramMechanism;
  }) {
    this.#cache = options.cache;
    this.#facts = options.facts;
    this.#mechanism = options.mechanism;
  }

  async step(data: Buffer | undefined): Promise<EnhancedStep> {
    const phase = this.#phase;
    if (phase === 'over') return refused('malformed');
    if (phase === 'busy') return this.#end(refused('malformed'));
    this.#phase = 'busy';
    try {
      // MQTT-5.0 §4.12 lets a CONNECT come without data; a mechanism in which the client speaks first has no use for that.
      if (data === undefined) return this.#end(refused('malformed'));
      return phase === 'first' ? await this.#first(data) : await this.#final(data);
    } catch (error) {
      this.#over('failed');
      throw error;
    }
  }

  async #first(message: Buffer): Promise<EnhancedStep> {
    const challenge = await this.#cache.challengeScram({
      facts: this.#facts,
      mechanism: this.#mechanism,
      exchangeId: this.#exchangeId,
      message,
    });
    if (!challenge.ok) return this.#end(refused(challenge.reason));
    // Somebody may have spoken out of turn meanwhile.
    if (this.#phase !== 'busy') return refused('malformed');
    this.#state = challenge.state;
    this.#phase = 'final';
    return { outcome: 'continue', data: Buffer.from(challenge.message) };
  }

  async #final(message: Buffer): Promise<EnhancedStep> {
    const answer = await this.#cache.authenticateScram({
      facts: this.#facts,
      exchangeId: this.#exchangeId,
      state: this.#state ?? Buffer.alloc(0),
      message,
    });
    if (!answer.ok) {
      const { ok: _refused, ...by } = answer;
      return this.#end({ outcome: 'refused', ...by });
    }
    if (this.#phase !== 'busy') return refused('malformed');
    const { message: data, ...admission } = answer;
    return this.#end({ outcome: 'success', data: Buffer.from(data), admission });
  }

  #end(step: EnhancedStep): EnhancedStep {
    this.#over(step.outcome === 'success' ? 'success' : 'refused');
    return step;
  }

  #over(outcome: 'success' | 'refused' | 'failed'): void {
    if (this.#phase === 'over') return;
    this.#phase = 'over';
    count('sallyport.enhanced_authentications', { method: this.#mechanism, outcome });
  }
}
