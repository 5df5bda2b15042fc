import { Duplex } from 'node:stream';

interface WaitingWrite {
  readonly bytes: Buffer;
  readonly done: (error?: Error | null) => void;
}

/**
 * The server's end of a connection that lies in memory. What is written goes to `onBytes` at once, as with a socket whose peer
 * reads as fast as it can; a frozen peer takes nothing, and one with an allowance takes that many bytes.
 */
export class MemorySocket extends Duplex {
  /** The size of each write that reached "the system". */
  readonly writes: number[] = [];
  onBytes: (bytes: Buffer) => void = () => undefined;
  /** Whether the peer keeps its own half open when the server has ended. */
  lingers = false;
  #allowance = Number.POSITIVE_INFINITY;
  #waiting: WaitingWrite | undefined;

  constructor(highWaterMark = 16 * 1024) {
    super({ allowHalfOpen: true, highWaterMark, emitClose: true });
  }

  /** The peer reads nothing from now on. */
  freeze(): void {
    this.#allowance = 0;
  }

  /** The peer reads that many bytes more, or everything. */
  thaw(bytes = Number.POSITIVE_INFINITY): void {
    this.#allowance += bytes;
    this.#deliver();
  }

  /** The peer sends. */
  feed(bytes: Buffer): void {
    if (!this.destroyed) this.push(bytes);
  }

  /** The peer has ended its half. */
  feedEnd(): void {
    if (!this.destroyed) this.push(null);
  }

  override _read(): void {
    // The peer feeds when it likes.
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.writes.push(chunk.length);
    this.#waiting = { bytes: chunk, done };
    this.#deliver();
  }

  override _writev(
    chunks: { chunk: Buffer; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    const bytes = Buffer.concat(chunks.map(({ chunk }) => chunk));
    this._write(bytes, 'buffer', done);
  }

  override _final(done: (error?: Error | null) => void): void {
    done();
    if (!this.lingers) this.push(null);
  }

  #deliver(): void {
    const waiting = this.#waiting;
    if (waiting === undefined || this.#allowance <= 0) return;
    const taken = waiting.bytes.subarray(0, this.#allowance);
    this.#allowance -= taken.length;
    const rest = waiting.bytes.subarray(taken.length);
    this.#waiting = rest.length === 0 ? undefined : { bytes: rest, done: waiting.done };
    this.onBytes(taken);
    if (rest.length === 0) waiting.done();
  }
}
