import { networkOf } from '../listeners/source-address.ts';

/** Pairs that are remembered: some 4 MiB. Of more, the one that has been quiet longest is forgotten. */
export const FLAPPING_PAIRS_MAX = 16_384;

export interface FlappingOptions {
  /** Connects of a pair within the window; one more blocks it. 0 looks at nothing. */
  readonly connectsMax: number;
  readonly windowMs: number;
  readonly blockMs: number;
  /** Whether an address is left alone; it is canonical. */
  readonly isExempt: (address: string) => boolean;
  /** Once for each block. */
  readonly onBlocked: (pair: { readonly clientId: string; readonly address: string }) => void;
  readonly pairsMax?: number;
  /** Milliseconds that never go back. */
  readonly clock?: () => number;
}

interface Pair {
  /** When the window began. */
  since: number;
  connects: number;
  blockedUntil: number;
}

/**
 * Blocks who connects again and again: a client id from one source (IPv6: one /64). Never a client id by itself, so that nobody can
 * lock out a device by using its name from somewhere else. What is tried during a block does not make it longer.
 */
export class Flapping {
  readonly #options: FlappingOptions;
  readonly #pairsMax: number;
  readonly #clock: () => number;
  /** The pair that came last stands last. */
  readonly #pairs = new Map<string, Pair>();

  constructor(options: FlappingOptions) {
    this.#options = options;
    this.#pairsMax = options.pairsMax ?? FLAPPING_PAIRS_MAX;
    this.#clock = options.clock ?? (() => performance.now());
  }

  get pairs(): number {
    return this.#pairs.size;
  }

  /** Counts a CONNECT; false when it must be refused. `address` is canonical. O(1). */
  take(clientId: string, address: string): boolean {
    const { connectsMax, windowMs, blockMs, isExempt, onBlocked } = this.#options;
    if (connectsMax === 0 || isExempt(address)) return true;
    const now = this.#clock();
    // A client id has no NUL.
    const key = `${networkOf(address)}\0${clientId}`;
    const pair = this.#touched(key, now);
    if (pair.blockedUntil > now) return false;
    if (pair.blockedUntil > 0 || now - pair.since >= windowMs) {
      pair.since = now;
      pair.connects = 0;
      pair.blockedUntil = 0;
    }
    pair.connects += 1;
    if (pair.connects <= connectsMax) return true;
    pair.blockedUntil = now + blockMs;
    onBlocked({ clientId, address });
    return false;
  }

  #touched(key: string, now: number): Pair {
    const pair = this.#pairs.get(key) ?? { since: now, connects: 0, blockedUntil: 0 };
    this.#pairs.delete(key);
    this.#pairs.set(key, pair);
    if (this.#pairs.size > this.#pairsMax) {
      const oldest = this.#pairs.keys().next();
      if (oldest.done !== true) this.#pairs.delete(oldest.value);
    }
    return pair;
  }
}
