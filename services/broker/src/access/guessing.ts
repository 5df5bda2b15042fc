import { hash, randomBytes } from 'node:crypto';
import { networkOf } from '../listeners/source-address.ts';
import { RecentMap } from './recent-map.ts';

/** Pairs of name and source, and sources, that are remembered, each: 20 MiB with the longest names. Of more, the one that failed longest ago is forgotten. */
export const GUESSERS_MAX = 16_384;

/** Failures of a pair whose proof is known again: the same one once more is no guess. */
export const GUESSES_REMEMBERED_MAX = 8;

/** Bytes of what is kept of a proof that failed. */
const GUESS_BYTES = 16;

/** A CONNECT as far as it says whose secret it tries, and from where. */
export interface Attempt {
  readonly clientId: string;
  /** Absent or empty: the client id alone names the credential. */
  readonly username?: string | undefined;
  /** Canonical. */
  readonly address: string;
}

export interface GuessingOptions {
  /** Failures of a pair of name and source that cost nothing; each further one makes it wait. 0 delays no pair. */
  readonly failuresMax: number;
  /** The same of everything that comes from a source. 0 delays no source. */
  readonly sourceFailuresMax: number;
  /** After the first failure too many; every further one doubles it. */
  readonly delayMs: number;
  readonly delayMsMax: number;
  /** How long after the last failure, or the end of its delay, all is forgotten. */
  readonly forgetMs: number;
  /** Whether an address is left alone; it is canonical. */
  readonly isExempt: (address: string) => boolean;
  /** Once for each delay. */
  readonly onDelayed: (delayed: Delayed) => void;
  readonly guessersMax?: number;
  /** Milliseconds that never go back. */
  readonly clock?: () => number;
}

export interface Delayed extends Attempt {
  readonly of: 'name' | 'source';
  readonly failures: number;
  readonly delayMs: number;
}

/** What failed under one key. */
interface Guesser {
  failures: number;
  forgetAt: number;
  delayedUntil: number;
  /** Of the last proofs, under the key of this process. */
  guesses: string[];
}

const isNamed = (username: string | undefined): username is string =>
  username !== undefined && username !== '';

/**
 * Slows down who guesses secrets: a name from one source (IPv6: one /64), and a source whatever name it uses. Never a name by itself, so
 * that nobody can lock out a device from somewhere else. Who must wait is refused before a secret is looked at, and what is tried
 * meanwhile makes the delay no longer. The same wrong proof again tells a guesser nothing and counts as nothing: a device with an old
 * password locks out neither itself nor its neighbours.
 */
export class Guessing {
  readonly #options: GuessingOptions;
  readonly #pairs: RecentMap<Guesser>;
  readonly #sources: RecentMap<Guesser>;
  readonly #clock: () => number;
  readonly #key = randomBytes(GUESS_BYTES);

  constructor(options: GuessingOptions) {
    this.#options = options;
    this.#pairs = new RecentMap(options.guessersMax ?? GUESSERS_MAX);
    this.#sources = new RecentMap(options.guessersMax ?? GUESSERS_MAX);
    this.#clock = options.clock ?? (() => performance.now());
  }

  get pairs(): number {
    return this.#pairs.size;
  }

  get sources(): number {
    return this.#sources.size;
  }

  /** Whether it must be refused unseen. O(1), and nothing is written. */
  isDelayed(attempt: Attempt): boolean {
    if (this.#pairs.size + this.#sources.size === 0) return false;
    const now = this.#clock();
    const source = networkOf(attempt.address);
    if ((this.#sources.get(source)?.delayedUntil ?? 0) > now) return true;
    return keysOf(attempt, source).some((key) => (this.#pairs.get(key)?.delayedUntil ?? 0) > now);
  }

  /** It has not proven who it is. `proof`: the password; one that is not known is always another. */
  failed(attempt: Attempt, proof: Uint8Array | undefined): void {
    const { address } = attempt;
    const { failuresMax, sourceFailuresMax, isExempt } = this.#options;
    if (failuresMax + sourceFailuresMax === 0 || isExempt(address)) return;
    const source = networkOf(address);
    const guess = proof && this.#guessOf(proof);
    let isNew = false;
    for (const key of keysOf(attempt, source)) {
      const pair = this.#guesser(this.#pairs, key);
      if (guess !== undefined && pair.guesses.includes(guess)) continue;
      isNew = true;
      if (guess !== undefined) {
        pair.guesses = [...pair.guesses.slice(1 - GUESSES_REMEMBERED_MAX), guess];
      }
      this.#count(pair, failuresMax, { ...attempt, of: 'name' });
    }
    if (!isNew || sourceFailuresMax === 0) return;
    const guesser = this.#guesser(this.#sources, source);
    this.#count(guesser, sourceFailuresMax, { ...attempt, of: 'source' });
  }

  /**
   * It has proven a secret: its names begin anew. Its source does not, else a guesser that has a credential of its own would log in with
   * it now and then.
   */
  succeeded(attempt: Attempt): void {
    if (this.#pairs.size === 0) return;
    for (const key of keysOf(attempt, networkOf(attempt.address))) this.#pairs.delete(key);
  }

  #guesser(guessers: RecentMap<Guesser>, key: string): Guesser {
    const now = this.#clock();
    const known = guessers.get(key);
    if (known !== undefined && known.forgetAt <= now) guessers.delete(key);
    const create = (): Guesser => ({ failures: 0, forgetAt: 0, delayedUntil: 0, guesses: [] });
    const guesser = guessers.touched(key, create);
    guesser.forgetAt = Math.max(now, guesser.delayedUntil) + this.#options.forgetMs;
    return guesser;
  }

  #count(guesser: Guesser, max: number, about: Attempt & Pick<Delayed, 'of'>): void {
    const { delayMs, delayMsMax, forgetMs, onDelayed } = this.#options;
    guesser.failures += 1;
    const tooMany = guesser.failures - max;
    if (max === 0 || tooMany < 1) return;
    const delay = Math.min(delayMs * 2 ** (tooMany - 1), delayMsMax);
    guesser.delayedUntil = this.#clock() + delay;
    guesser.forgetAt = guesser.delayedUntil + forgetMs;
    onDelayed({ ...about, failures: guesser.failures, delayMs: delay });
  }

  #guessOf(proof: Uint8Array): string {
    // The output is no secret of anybody's to extend, as in the policy cache: a plain hash behind the key is enough.
    return hash('sha256', Buffer.concat([this.#key, proof]), 'base64').slice(0, GUESS_BYTES);
  }
}

/** A credential is found by either name. Neither has a NUL. */
function keysOf({ clientId, username }: Attempt, source: string): readonly string[] {
  const byClientId = `${source}\0c${clientId}`;
  return isNamed(username) ? [`${source}\0u${username}`, byClientId] : [byClientId];
}
