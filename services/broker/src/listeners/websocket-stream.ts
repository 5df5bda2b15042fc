import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import {
  binaryFrame,
  CLOSE,
  type CloseCode,
  closeFrame,
  type FrameHandler,
  FrameReader,
  pongFrame,
} from './websocket-frames.ts';

/** Pongs are left out while so many bytes wait for a client that does not read; RFC 6455 §5.5.3 allows it. */
const PONG_BACKLOG_BYTES_MAX = 16 * 1024;
/** From our close frame until the client has closed its side. */
export const CLOSE_TIMEOUT_MS = 5000;

const ignore = (): void => undefined;

interface Chunk {
  readonly chunk: Buffer;
}
type Done = (error?: Error | null) => void;

class WebSocketStream extends Duplex implements FrameHandler {
  readonly #socket: Socket;
  readonly #frames: FrameReader;
  #timer: NodeJS.Timeout | undefined;
  /** Nothing more is handed on. */
  #ended = false;
  #closeSent = false;
  #violated = false;

  constructor(socket: Socket, head: Buffer, messageBytesMax: number) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    this.#frames = new FrameReader(this, messageBytesMax);
    this.on('error', ignore); // `close` follows, and whoever reads sees it.
    socket.on('data', (chunk: Buffer) => this.#frames.feed(chunk));
    socket.on('end', () => this.#end());
    socket.on('close', (hadError: boolean) => this.#closed(hadError));
    if (head.length > 0) this.#frames.feed(head);
  }

  onData(piece: Buffer): void {
    if (!this.#ended && !this.push(piece)) this.#socket.pause();
  }

  onPing(payload: Buffer): void {
    const { destroyed, writableLength } = this.#socket;
    if (destroyed || this.#closeSent || writableLength > PONG_BACKLOG_BYTES_MAX) return;
    this.#socket.write(pongFrame(payload));
  }

  onClose(): void {
    this.#end();
    this.#close(CLOSE.normal);
  }

  onViolation(code: CloseCode): void {
    this.#violated = true;
    this.#close(code);
    this.destroy();
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this._writev([{ chunk }], done);
  }

  override _writev(chunks: readonly Chunk[], done: Done): void {
    if (this.#closeSent) {
      done(); // The client has closed, and has no right to more.
      return;
    }
    const parts = chunks.flatMap(({ chunk }) => binaryFrame(chunk));
    const last = parts.pop();
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.write(last ?? '', done);
    this.#socket.uncork();
  }

  override _final(done: Done): void {
    this.#ended = true;
    this.#close(CLOSE.normal);
    this.#socket.resume(); // Else its answer would not be seen.
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#ended = true;
    if (this.#violated) this.#socket.destroySoon();
    else this.#socket.destroy();
    done(error);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.push(null);
  }

  #close(code: CloseCode): void {
    if (this.#closeSent) return;
    this.#closeSent = true;
    if (this.#socket.destroyed) return;
    this.#socket.end(closeFrame(code));
    this.#timer = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS);
    this.#timer.unref();
  }

  #closed(hadError: boolean): void {
    clearTimeout(this.#timer);
    // What came before an orderly end is still to be read, and the stream ends after it.
    if (hadError || !this.#ended || this.readableLength === 0) this.destroy();
  }
}

/**
 * The bytes inside the binary messages of a WebSocket, after its upgrade. What comes in is handed on piece by piece, whatever
 * messages and fragments it is cut into, so that nobody can make us hold a message: packets need not be aligned on messages
 * (MQTT-3.1.1, MQTT-5.0 [MQTT-6.0.0-2]). One write is one message. `writableLength` is what the system has not taken yet.
 * `head`: what was read behind the upgrade request. It and all chunks of the socket are written to.
 * @source RFC 6455
 */
export function createWebSocketStream(
  socket: Socket,
  head: Buffer,
  messageBytesMax: number,
): Duplex {
  return new WebSocketStream(socket, head, messageBytesMax);
}
