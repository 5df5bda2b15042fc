interface Bucket {
  tokens: number;
  at: number;
}

/** Most callers that are remembered; the one that was quiet the longest is forgotten first, its bucket being full. */
export const BUCKETS_MAX = 10_000;

/** A token bucket per caller: `perSecond` requests a second, and `atOnce`, which is as many when it is left out. */
export class RateLimit {
  readonly #perSecond: number;
  readonly #atOnce: number;
  readonly #clock: () => number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(perSecond: number, clock: () => number, atOnce = perSecond) {
    this.#perSecond = perSecond;
    this.#atOnce = atOnce;
    this.#clock = clock;
  }

  /** Milliseconds to wait before the next request is taken; 0 when this one is. */
  take(key: string): number {
    const now = this.#clock();
    const bucket = this.#buckets.get(key) ?? { tokens: this.#atOnce, at: now };
    const elapsedMs = Math.max(0, now - bucket.at);
    bucket.tokens = Math.min(this.#atOnce, bucket.tokens + (elapsedMs * this.#perSecond) / 1000);
    bucket.at = now;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > BUCKETS_MAX) {
      const oldest = this.#buckets.keys().next();
      if (oldest.done !== true) this.#buckets.delete(oldest.value);
    }
    if (bucket.tokens < 1) return Math.ceil(((1 - bucket.tokens) * 1000) / this.#perSecond);
    bucket.tokens -= 1;
    return 0;
  }
}
