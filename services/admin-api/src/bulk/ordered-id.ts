import { randomBytes } from 'node:crypto';

/** Hexadecimal digits of the random part of one id; the first gives the variant its two free bits. */
const RANDOM_DIGITS = 16;
/** Ids whose random parts are drawn together. */
const POOL_IDS = 256;
const SEQUENCE_MAX = 0xfff;
const VARIANTS = ['8', '9', 'a', 'b'] as const;

/** Makes ids that sort in the order in which they were made (UUID version 7, RFC 9562 §5.7), so that an index grows at its end. */
export class OrderedIds {
  #pool = '';
  #used = 0;
  #at = 0;
  #time = '';
  #sequence = 0;

  next(now: number): string {
    // Never backwards, and within a millisecond by a counter that borrows from the next one.
    if (now > this.#at) this.#tick(now);
    else if (this.#sequence < SEQUENCE_MAX) this.#sequence++;
    else this.#tick(this.#at + 1);
    const sequence = (0x7000 + this.#sequence).toString(16);
    const random = this.#random();
    const variant = VARIANTS[parseInt(random.charAt(0), 16) & 3] ?? VARIANTS[0];
    return `${this.#time}-${sequence}-${variant}${random.slice(1, 4)}-${random.slice(4)}`;
  }

  #tick(at: number): void {
    this.#at = at;
    this.#sequence = 0;
    const time = at.toString(16).padStart(12, '0');
    this.#time = `${time.slice(0, 8)}-${time.slice(8)}`;
  }

  #random(): string {
    if (this.#used === this.#pool.length) {
      this.#pool = randomBytes((RANDOM_DIGITS / 2) * POOL_IDS).toString('hex');
      this.#used = 0;
    }
    this.#used += RANDOM_DIGITS;
    return this.#pool.slice(this.#used - RANDOM_DIGITS, this.#used);
  }
}
