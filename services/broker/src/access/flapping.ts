import { networkOf } from '../listeners/source-address.ts';
import { RecentMap } from './recent-map.ts';

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
  readonly onBlocked: (pair: { readonly name: string; readonly address: string }) => void;
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
 * Blocks who connects again and again: a client id, or a credential, from one source (IPv6: one /64). Never a name by itself, so that
 * nobody can lock out a device by using its name from somewhere else. What is tried during a block does not make it longer.
 */
export class Flapping {
  readonly #options: FlappingOptions;
  readonly #pairs: RecentMap<Pair>;
  readonly #clock: () => number;

  constructor(options: FlappingOptions) {
    this.#options = options;
    this.#pairs = new RecentMap(options.pairsMax ?? FLAPPING_PAIRS_MAX);
    this.#clock = options.clock ?? (() => performance.now());
  }

  get pairs(): number {
    return this.#pairs.size;
  }

  /** Counts a CONNECT; false when it must be refused. `address` is canonical. O(1). */
  take(name: string, address: string): boolean {
    if (!this.admits(name, address)) return false;
    this.count(name, address);
    return true;
  }

  /** Whether one more connect is not too many; counts nothing. O(1). */
  admits(name: string, address: string): boolean {
    const { connectsMax, windowMs, blockMs, onBlocked } = this.#options;
    const pair = this.#pairs.get(keyOf(name, address));
    if (pair === undefined) return true;
    const now = this.#clock();
    if (pair.blockedUntil > now) return false;
    if (pair.blockedUntil > 0 || now - pair.since >= windowMs) return true;
    if (pair.connects < connectsMax) return true;
    pair.blockedUntil = now + blockMs;
    onBlocked({ name, address });
    return false;
  }

  /** Counts a connect that was let in. O(1). */
  count(name: string, address: string): void {
    const { connectsMax, windowMs, isExempt } = this.#options;
    if (connectsMax === 0 || isExempt(address)) return;
    const now = this.#clock();
    const create = (): Pair => ({ since: now, connects: 0, blockedUntil: 0 });
    const pair = this.#pairs.touched(keyOf(name, address), create);
    if (pair.blockedUntil > now) return;
    if (pair.blockedUntil > 0 || now - pair.since >= windowMs) {
      pair.since = now;
      pair.connects = 0;
      pair.blockedUntil = 0;
    }
    pair.connects += 1;
  }

  /** Counts a connection that has ended as if it came only now, when it did not outlive the window. */
  ended(name: string, address: string, livedMs: number): void {
    if (livedMs < this.#options.windowMs) this.count(name, address);
  }
}

/** Neither a client id nor the id of a credential has a NUL. */
const keyOf = (name: string, address: string): string => `${networkOf(address)}\0${name}`;
