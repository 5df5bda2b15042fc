import type { Writable } from 'node:stream';

/** Most bytes that are put into one message behind its first part. */
export const PILED_BYTES_MAX = 64 * 1024;

/**
 * Writes parts of which any number make one message, each as soon as it can be: one message is on its way at a time, and what is added
 * meanwhile makes the next one. So few parts cost no wait, many cost few messages, and a reader that is slow is not written to.
 */
export class MessagePile {
  readonly #stream: Writable;
  readonly #onWritten: () => void;
  #parts: Buffer[] = [];
  #writing = false;
  #state: 'open' | 'ending' | 'closed' = 'open';

  constructor(stream: Writable, onWritten: () => void = () => undefined) {
    this.#stream = stream;
    this.#onWritten = onWritten;
  }

  /** Parts that are not on their way yet. */
  get size(): number {
    return this.#parts.length;
  }

  /** Nothing happens after `end` or `close`. */
  add(part: Buffer): void {
    if (this.#state !== 'open') return;
    this.#parts.push(part);
    if (!this.#writing) this.#write();
  }

  /** Ends the stream behind all that was added. */
  end(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ending';
    if (!this.#writing) this.#stream.end();
  }

  /** Forgets what was added: the stream is over. */
  close(): void {
    this.#state = 'closed';
    this.#parts = [];
  }

  #write(): void {
    this.#writing = true;
    this.#stream.write(this.#message(), this.#written);
  }

  readonly #written = (error?: Error | null): void => {
    this.#writing = false;
    if (error !== undefined && error !== null) this.close();
    if (this.#state === 'closed') return;
    if (this.size > 0) this.#write();
    else if (this.#state === 'ending') this.#stream.end();
    this.#onWritten();
  };

  #message(): Buffer {
    let count = 0;
    let bytes = 0;
    do bytes += this.#parts[count++]?.length ?? 0;
    while (bytes + (this.#parts[count]?.length ?? Infinity) <= PILED_BYTES_MAX);
    // Taken out each time, though it copies the rest: a pile that is never empty must not keep what it has written.
    const parts = this.#parts.splice(0, count);
    const [first] = parts;
    return parts.length === 1 && first !== undefined ? first : Buffer.concat(parts, bytes);
  }
}
