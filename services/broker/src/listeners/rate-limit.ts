/** One permit, in the unit that the bookkeeping has: what comes back in a millisecond at one permit a second. */
const PERMIT = 1000;

export interface RateLimitOptions {
  /** Permits that come back in a second. A whole number, at least 1. */
  readonly perSecond: number;
  /** Permits that are there after a quiet time. A whole number, at least 1. */
  readonly burst: number;
  /** Keys that are remembered; of more, the one that has been quiet longest is forgotten and has its burst again. */
  readonly keysMax: number;
  /** Milliseconds that never go back. */
  readonly clock: () => number;
}

/** A token bucket for each key. O(1); a number for each key that is remembered. */
export class RateLimit {
  readonly #options: RateLimitOptions;
  /** When the bucket of a key will be full again; the key that asked last stands last. Whole numbers, so that nothing is rounded. */
  readonly #fullAt = new Map<string, number>();

  constructor(options: RateLimitOptions) {
    this.#options = options;
  }

  /** Takes a permit; false when there is none. */
  take(key: string): boolean {
    const { perSecond, burst, keysMax, clock } = this.#options;
    const now = Math.floor(clock()) * perSecond;
    const fullAt = Math.max(this.#fullAt.get(key) ?? 0, now);
    const granted = fullAt - now + PERMIT <= burst * PERMIT;
    // Also when it is refused: whoever keeps knocking is not forgotten.
    this.#fullAt.delete(key);
    this.#fullAt.set(key, granted ? fullAt + PERMIT : fullAt);
    if (this.#fullAt.size > keysMax) {
      for (const oldest of this.#fullAt.keys()) {
        this.#fullAt.delete(oldest);
        break;
      }
    }
    return granted;
  }

  get keys(): number {
    return this.#fullAt.size;
  }
}
