import { randomBytes } from 'node:crypto';

const RANDOM_BYTES = 10;
/** Ids whose random parts are drawn together. */
const POOL_IDS = 256;
const SEQUENCE_MAX = 0xfff;

/** Makes ids that sort in the order in which they were made (UUID version 7, RFC 9562 §5.7), so that an index grows at its end. */
export class OrderedIds {
  #pool = Buffer.alloc(0);
  #at = 0;
  #sequence = 0;

  next(now: number): string {
    // Never backwards, and within a millisecond by a counter that borrows from the next one.
    if (now > this.#at) {
      this.#at = now;
      this.#sequence = 0;
    } else if (this.#sequence < SEQUENCE_MAX) this.#sequence++;
    else {
      this.#at++;
      this.#sequence = 0;
    }
    const time = this.#at.toString(16).padStart(12, '0');
    const sequence = (0x7000 + this.#sequence).toString(16);
    const random = this.#random();
    const variant = ((random.readUInt8(0) & 0x3f) | 0x80).toString(16);
    const rest = random.toString('hex', 1, 8);
    return `${time.slice(0, 8)}-${time.slice(8)}-${sequence}-${variant}${rest.slice(0, 2)}-${rest.slice(2)}`;
  }

  #random(): Buffer {
    if (this.#pool.length < RANDOM_BYTES) this.#pool = randomBytes(RANDOM_BYTES * POOL_IDS);
    const random = this.#pool.subarray(0, RANDOM_BYTES);
    this.#pool = this.#pool.subarray(RANDOM_BYTES);
    return random;
  }
}
