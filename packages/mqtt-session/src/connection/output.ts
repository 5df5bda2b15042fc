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
  /**
   * What is pending: nothing while `#first` is absent. Nearly always it is one buffer, and then no array is made for it: V8 comes to make
   * such arrays in its old generation, and whatever they have held stays until that is collected.
   */
  #first: Buffer | undefined;
  #rest: Buffer[] = [];
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
    if (this.#first === undefined) {
      this.#first = bytes;
      this.#flusher.add(this);
    } else this.#rest.push(bytes);
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
    if (this.#first === undefined || stream.writableNeedDrain) return;
    if (this.#pendingBytes <= HAND_BYTES_MAX) this.#handAll(this.#first);
    else this.#hand(this.#takeSome(this.#first));
    if (this.#pendingBytes > 0 && !stream.writableNeedDrain) this.#flusher.add(this);
    if (this.#congested && this.#pendingBytes <= this.#bufferBytesMax / 2) {
      this.#congested = false;
      this.#onRoom();
    }
  }

  /** Hands on everything: the stream is about to be ended. */
  finish(): void {
    if (this.#first !== undefined) this.#handAll(this.#first);
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

  #handAll(first: Buffer): void {
    const rest = this.#rest;
    this.#first = undefined;
    this.#pendingBytes = 0;
    if (rest.length === 0) this.#handOne(first);
    else {
      this.#rest = [];
      this.#hand([first, ...rest]);
    }
  }

  #handOne(buffer: Buffer): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) return;
    this.#handedBytes += buffer.length;
    stream.write(buffer);
    this.#isWaiting = stream.writableLength > 0;
  }

  #hand(buffers: readonly Buffer[]): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableEnded) return;
    this.#handedBytes += writeJoined(stream, buffers);
    this.#isWaiting = stream.writableLength > 0;
  }

  #takeSome(first: Buffer): Buffer[] {
    const pending = [first, ...this.#rest];
    const taken: Buffer[] = [];
    let bytes = 0;
    let index = 0;
    for (; bytes < HAND_BYTES_MAX; index++) {
      const buffer = pending[index];
      if (buffer === undefined) break;
      const room = HAND_BYTES_MAX - bytes;
      taken.push(buffer.length <= room ? buffer : buffer.subarray(0, room));
      bytes += Math.min(buffer.length, room);
      if (buffer.length <= room) continue;
      pending[index] = buffer.subarray(room);
      break;
    }
    this.#first = pending[index];
    this.#rest = pending.slice(index + 1);
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

/** Flushes, once a turn, every output that has something to say. Two lists take turns, and keep their room. */
export class Flusher {
  #dirty: (Output | undefined)[] = [];
  #spare: (Output | undefined)[] = [];
  #count = 0;
  readonly #flush = (): void => {
    const dirty = this.#dirty;
    const count = this.#count;
    this.#dirty = this.#spare;
    this.#spare = dirty;
    this.#count = 0;
    for (let index = 0; index < count; index++) {
      const output = dirty[index];
      dirty[index] = undefined;
      output?.flush();
    }
  };

  add(output: Output): void {
    if (this.#count === 0) setImmediate(this.#flush);
    this.#dirty[this.#count++] = output;
  }
}
