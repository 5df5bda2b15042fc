import type { MqttLimits } from '../limits.ts';

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

/** How fast a client may publish: in messages, in bytes, or both. A few operations for each message, and no look at the clock. */
export class PublishRate {
  readonly #messages: Bucket | undefined;
  readonly #bytes: Bucket | undefined;
  #at: number;

  private constructor(limits: MqttLimits, now: number) {
    const { publishesPerSecond, publishesBurst, publishBytesPerSecond, publishBytesBurst } = limits;
    if (publishesPerSecond > 0) this.#messages = new Bucket(publishesPerSecond, publishesBurst);
    if (publishBytesPerSecond > 0) {
      this.#bytes = new Bucket(publishBytesPerSecond, publishBytesBurst);
    }
    this.#at = now;
  }

  /** Undefined when there is no limit. `now` is of a clock that never goes back. */
  static of(limits: MqttLimits, now: number): PublishRate | undefined {
    const { publishesPerSecond, publishBytesPerSecond } = limits;
    if (publishesPerSecond === 0 && publishBytesPerSecond === 0) return undefined;
    return new PublishRate(limits, now);
  }

  /** A message was taken. Answers how many milliseconds later the next one may be; 0 = at once. */
  take(bytes: number, now: number): number {
    const passedMs = Math.max(0, now - this.#at);
    this.#at = now;
    return Math.max(
      this.#messages?.take(1, passedMs) ?? 0,
      this.#bytes?.take(bytes, passedMs) ?? 0,
    );
  }
}
