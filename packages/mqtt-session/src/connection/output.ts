import type { Duplex } from 'node:stream';

/** A buffer of this size or more is not copied to be joined with others. */
const JOIN_BYTES_MAX = 16 * 1024;

/**
 * What is handed to a stream at once. Only when all of it has been passed on does a stream say so: with larger pieces a client on a
 * slow line would look like one that takes nothing.
 */
export const HAND_BYTES_MAX = 64 * 1024;

/**
 * What goes to one socket. Everything of one turn of the event loop leaves in one write: a system call costs more than everything
 * else that is done for a message.
 */
export class Output {
  readonly #stream: Duplex;
  readonly #flusher: Flusher;
  readonly #bufferBytesMax: number;
  readonly #onRoom: () => void;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #congested = false;
  /** Bytes that were handed to the stream, and how many of them it has passed on when last looked at. */
  #handedBytes = 0;
  #passedBytes = 0;
  #stuckSince = 0;
  /** Whether the stream held something back when it was last handed something, or looked at: what asks for all looks no further. */
  #isWaiting = false;

  /** `onRoom` is called when it is not congested any more. */
  constructor(stream: Duplex, flusher: Flusher, bufferBytesMax: number, onRoom: () => void) {
    this.#stream = stream;
    this.#flusher = flusher;
    this.#bufferBytesMax = bufferBytesMax;
    this.#onRoom = onRoom;
  }

  /** Whether more waits for the socket than should; until half of that has left. */
  get congested(): boolean {
    return this.#congested;
  }

  write(bytes: Buffer): void {
    if (this.#pending.length === 0) this.#flusher.add(this);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes > this.#bufferBytesMax) this.#congested = true;
  }

  /** The stream has passed on what it was handed. */
  drained(): void {
    this.flush();
  }

  /** Hands on what the stream takes now; the rest follows when it has drained. */
  flush(): void {
    const stream = this.#stream;
    if (this.#pending.length === 0 || stream.writableNeedDrain) return;
    this.#hand(this.#pendingBytes <= HAND_BYTES_MAX ? this.#takeAll() : this.#takeSome());
    if (this.#pending.length > 0 && !stream.writableNeedDrain) this.#flusher.add(this);
    if (this.#congested && this.#pendingBytes <= this.#bufferBytesMax / 2) {
      this.#congested = false;
      this.#onRoom();
    }
  }

  /** Hands on everything: the stream is about to be ended. */
  finish(): void {
    if (this.#pending.length > 0) this.#hand(this.#takeAll());
  }

  /** Whether the client has taken nothing for `limitMs` while something was there for it. */
  isStuck(now: number, limitMs: number): boolean {
    if (!this.#isWaiting) return false;
    const waiting = this.#stream.writableLength;
    const passed = this.#handedBytes - waiting;
    this.#isWaiting = waiting > 0;
    if (waiting === 0 || passed !== this.#passedBytes || this.#stuckSince === 0) {
      this.#passedBytes = passed;
      this.#stuckSince = waiting === 0 ? 0 : now;
      return false;
    }
    return now - this.#stuckSince > limitMs;
  }

  #hand(buffers: readonly Buffer[]): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) return;
    const [only] = buffers;
    if (buffers.length > 1) this.#handedBytes += writeJoined(stream, buffers);
    else if (only !== undefined) {
      this.#handedBytes += only.length;
      stream.write(only);
    }
    this.#isWaiting = stream.writableLength > 0;
  }

  #takeAll(): Buffer[] {
    const pending = this.#pending;
    this.#pending = [];
    this.#pendingBytes = 0;
    return pending;
  }

  #takeSome(): Buffer[] {
    const taken: Buffer[] = [];
    let bytes = 0;
    let index = 0;
    for (; bytes < HAND_BYTES_MAX; index++) {
      const buffer = this.#pending[index];
      if (buffer === undefined) break;
      const room = HAND_BYTES_MAX - bytes;
      taken.push(buffer.length <= room ? buffer : buffer.subarray(0, room));
      bytes += Math.min(buffer.length, room);
      if (buffer.length <= room) continue;
      this.#pending[index] = buffer.subarray(room);
      break;
    }
    this.#pending = this.#pending.slice(index);
    this.#pendingBytes -= bytes;
    return taken;
  }
}

/** Small buffers in one piece; large ones as they are, for the system to gather. Gives the number of bytes. */
function writeJoined(stream: Duplex, pending: readonly Buffer[]): number {
  let written = 0;
  let first = 0;
  let bytes = 0;
  const join = (end: number): void => {
    if (end > first) stream.write(joined(pending, first, end, bytes));
    written += bytes;
  };
  stream.cork();
  for (const [index, buffer] of pending.entries()) {
    if (buffer.length < JOIN_BYTES_MAX) {
      bytes += buffer.length;
      continue;
    }
    join(index);
    stream.write(buffer);
    written += buffer.length;
    first = index + 1;
    bytes = 0;
  }
  join(pending.length);
  stream.uncork();
  return written;
}

function joined(pending: readonly Buffer[], first: number, end: number, bytes: number): Buffer {
  const all = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (let index = first; index < end; index++) {
    const buffer = pending[index];
    if (buffer === undefined) continue;
    all.set(buffer, at);
    at += buffer.length;
  }
  return all;
}

/** Flushes, once a turn, every output that has something to say. */
export class Flusher {
  #dirty: Output[] = [];
  readonly #flush = (): void => {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const output of dirty) output.flush();
  };

  add(output: Output): void {
    if (this.#dirty.length === 0) setImmediate(this.#flush);
    this.#dirty.push(output);
  }
}
