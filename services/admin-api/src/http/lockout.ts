/** When guessing ends. */
export interface LockoutLimits {
  readonly failuresMax: number;
  readonly windowMs: number;
  readonly lockMs: number;
  /** Most (account, source) pairs that are remembered; the oldest is forgotten first. */
  readonly entriesMax: number;
}

interface Entry {
  /** Times of the failures inside the window, oldest first. */
  failures: number[];
  lockedUntil: number;
}

/** Most attempts on one (account, source) that wait for each other. */
export const ATTEMPTS_WAITING_MAX = 32;

export type Attempt<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly retryAfterMs: number };

/**
 * Counts failed attempts per key. Attempts on one key run one after the other, so that a burst cannot have more guesses
 * in flight than are allowed. Forgetting the oldest key costs an attacker `entriesMax` password checks, which is
 * slower than waiting for the lock to end.
 */
export class Lockout {
  readonly #limits: LockoutLimits;
  readonly #clock: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #running = new Map<string, { tail: Promise<unknown>; waiting: number }>();

  constructor(limits: LockoutLimits, clock: () => number) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** How long the key is locked still, in milliseconds; 0 when it is not. */
  lockedForMs(key: string): number {
    const entry = this.#entries.get(key);
    return entry === undefined ? 0 : Math.max(0, entry.lockedUntil - this.#clock());
  }

  /** Runs `check` unless the key is locked. `undefined` from `check` is a failure; a throw counts as nothing. */
  async attempt<T>(
    key: string,
    check: () => Promise<T | undefined>,
  ): Promise<Attempt<T | undefined>> {
    const line = this.#running.get(key) ?? { tail: Promise.resolve(), waiting: 0 };
    if (line.waiting >= ATTEMPTS_WAITING_MAX) return { ok: false, retryAfterMs: 1000 };
    line.waiting++;
    this.#running.set(key, line);
    const mine = line.tail.then(() => this.#attemptAlone(key, check));
    // The next in line waits for the outcome, whichever it is.
    line.tail = mine.catch(() => undefined);
    try {
      return await mine;
    } finally {
      line.waiting--;
      if (line.waiting === 0) this.#running.delete(key);
    }
  }

  async #attemptAlone<T>(
    key: string,
    check: () => Promise<T | undefined>,
  ): Promise<Attempt<T | undefined>> {
    const retryAfterMs = this.lockedForMs(key);
    if (retryAfterMs > 0) return { ok: false, retryAfterMs };
    const value = await check();
    if (value === undefined) this.#fail(key);
    else this.#entries.delete(key);
    return { ok: true, value };
  }

  #fail(key: string): void {
    const { failuresMax, windowMs, lockMs, entriesMax } = this.#limits;
    const now = this.#clock();
    const entry = this.#entries.get(key) ?? { failures: [], lockedUntil: 0 };
    entry.failures = [...entry.failures.filter((at) => at > now - windowMs), now];
    if (entry.failures.length >= failuresMax) {
      entry.lockedUntil = now + lockMs;
      entry.failures = [];
    }
    // Deleting first moves the key to the young end of the map.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    if (this.#entries.size > entriesMax) {
      const oldest = this.#entries.keys().next();
      if (oldest.done !== true) this.#entries.delete(oldest.value);
    }
  }
}
