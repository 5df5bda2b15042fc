import type { MqttLimits } from '../limits.ts';

/** How fast may be published, in messages and in bytes; as the limits of the same names, for one client or for many together. */
export type PublishRateLimits = Pick<
  MqttLimits,
  'publishesPerSecond' | 'publishesBurst' | 'publishBytesPerSecond' | 'publishBytesBurst'
>;

/** Permits that come back with the time. */
class Bucket {
  readonly #perMs: number;
  readonly #burst: number;
  #permits: number;

  constructor(perSecond: number, burst: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#permits = burst;
  }

  /** Takes permits, also more than there are. Answers after how many milliseconds there is one again; 0 when there is. */
  take(permits: number, passedMs: number): number {
    const left = Math.min(this.#burst, this.#permits + passedMs * this.#perMs) - permits;
    this.#permits = left;
    return left >= 1 ? 0 : (1 - left) / this.#perMs;
  }
}

/**
 * How fast a client, or several together, may publish: in messages, in bytes, or both. A few operations for each message, and no look
 * at the clock. Of several that wait for the same rate each waits for its own turn.
 */
export class PublishRate {
  readonly #messages: Bucket | undefined;
  readonly #bytes: Bucket | undefined;
  #at: number;

  private constructor(limits: PublishRateLimits, now: number) {
    const { publishesPerSecond, publishesBurst, publishBytesPerSecond, publishBytesBurst } = limits;
    if (publishesPerSecond > 0) this.#messages = new Bucket(publishesPerSecond, publishesBurst);
    if (publishBytesPerSecond > 0) {
      this.#bytes = new Bucket(publishBytesPerSecond, publishBytesBurst);
    }
    this.#at = now;
  }

  /** Undefined when there is no limit. `now` is of a clock that never goes back. */
  static of(limits: PublishRateLimits, now: number): PublishRate | undefined {
    const { publishesPerSecond, publishBytesPerSecond } = limits;
    if (publishesPerSecond === 0 && publishBytesPerSecond === 0) return undefined;
    return new PublishRate(limits, now);
  }

  /** A message was taken. Answers how many milliseconds later the next one may be; 0 = at once. */
  take(bytes: number, now: number): number {
    // What came earlier may be looked at later, on another connection.
    const passedMs = Math.max(0, now - this.#at);
    this.#at += passedMs;
    return Math.max(
      this.#messages?.take(1, passedMs) ?? 0,
      this.#bytes?.take(bytes, passedMs) ?? 0,
    );
  }
}

/** The rates that a connection keeps to, its own first; undefined when there are none. */
export function ratesOf(
  own: PublishRate | undefined,
  shared: readonly PublishRate[] | undefined,
): readonly PublishRate[] | undefined {
  if (own === undefined) return shared?.length === 0 ? undefined : shared;
  return [own, ...(shared ?? [])];
}
