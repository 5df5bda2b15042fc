/** How far back, in sequence numbers, a message of one origin is recognised. */
export const SEEN_WINDOW_LENGTH = 4096;

/** Most origins that are remembered; each start of a node is one. The one heard longest ago is forgotten first. */
export const SEEN_ORIGINS_MAX = 1024;

interface Seen {
  highest: number;
  readonly bits: Uint32Array;
}

/**
 * Recognises copies of a message, which overlapping subscriptions make, by (origin, sequence). Unlike a highest-seen mark it
 * lets a message pass that was overtaken by others. O(1); 512 bytes an origin.
 */
export class SeenWindow {
  readonly #origins = new Map<string, Seen>();

  /** Whether it is the first time; false for a copy, and for what is older than the window. */
  firstTime(origin: string, sequence: number): boolean {
    let seen = this.#origins.get(origin);
    if (seen === undefined) {
      seen = { highest: sequence, bits: new Uint32Array(SEEN_WINDOW_LENGTH / 32) };
      if (this.#origins.size >= SEEN_ORIGINS_MAX) this.#forgetOldest();
    } else {
      // Written again below, so that the Map's order is that of the last message.
      this.#origins.delete(origin);
    }
    this.#origins.set(origin, seen);
    if (sequence <= seen.highest - SEEN_WINDOW_LENGTH) return false;
    this.#advance(seen, sequence);
    const bit = sequence % SEEN_WINDOW_LENGTH;
    const mask = 1 << (bit & 31);
    const word = seen.bits[bit >>> 5] ?? 0;
    if ((word & mask) !== 0) return false;
    seen.bits[bit >>> 5] = word | mask;
    return true;
  }

  #advance(seen: Seen, sequence: number): void {
    if (sequence - seen.highest >= SEEN_WINDOW_LENGTH) {
      seen.bits.fill(0);
    } else {
      for (let next = seen.highest + 1; next <= sequence; next++) {
        const bit = next % SEEN_WINDOW_LENGTH;
        seen.bits[bit >>> 5] = (seen.bits[bit >>> 5] ?? 0) & ~(1 << (bit & 31));
      }
    }
    seen.highest = Math.max(seen.highest, sequence);
  }

  #forgetOldest(): void {
    const oldest = this.#origins.keys().next();
    if (oldest.done !== true) this.#origins.delete(oldest.value);
  }
}
