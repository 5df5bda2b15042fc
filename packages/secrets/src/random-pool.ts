import { randomFillSync } from 'node:crypto';

/** Bytes that are drawn from the system at once. */
const POOL_BYTES = 8192;

/**
 * Random bytes in small pieces: asking the system for each piece costs more than sealing with it. A piece is handed out once,
 * and the pool does not keep it.
 */
export class RandomPool {
  readonly #pool = Buffer.alloc(POOL_BYTES);
  #used = POOL_BYTES;

  /** `count` new random bytes, at most `POOL_BYTES`. */
  take(count: number): Buffer {
    if (this.#used + count > POOL_BYTES) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const end = this.#used + count;
    const taken = Buffer.from(this.#pool.subarray(this.#used, end));
    this.#pool.fill(0, this.#used, end);
    this.#used = end;
    return taken;
  }
}
