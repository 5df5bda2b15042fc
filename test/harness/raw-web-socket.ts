import { createHash, randomBytes } from 'node:crypto';
import { type Socket, connect } from 'node:net';

/** Kinds of frames. @source RFC 6455 §5.2 */
export const opcodes = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
} as const;

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const TIMEOUT_MS = 20_000;

export interface Frame {
  readonly final: boolean;
  readonly opcode: number;
  readonly payload: Buffer;
}

export interface Handshake {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
}

function encodeFrame(
  opcode: number,
  payload: Uint8Array,
  { final, masked }: { readonly final: boolean; readonly masked: boolean },
): Buffer {
  const mask = masked ? 0x80 : 0;
  const length = payload.length;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = (final ? 0x80 : 0) | opcode;
  if (length < 126) head[1] = mask | length;
  else if (length < 65_536) {
    head[1] = mask | 126;
    head.writeUInt16BE(length, 2);
  } else {
    head[1] = mask | 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  if (!masked) return Buffer.concat([head, payload]);
  const key = randomBytes(4);
  const body = Buffer.from(payload.map((byte, index) => byte ^ (key[index % 4] ?? 0)));
  return Buffer.concat([head, key, body]);
}

/** The first frame of the bytes of a server, and how long it is; undefined while it is not complete. */
function decodeFrame(
  bytes: Buffer,
): { readonly frame: Frame; readonly length: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] ?? 0) & 0x7f;
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < start) return undefined;
  const size =
    short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < start + size) return undefined;
  const first = bytes[0] ?? 0;
  const payload = bytes.subarray(start, start + size);
  return {
    frame: { final: first >= 0x80, opcode: first & 0x0f, payload },
    length: start + size,
  };
}

/** WebSocket frames as a test wants them, right or wrong; answers nothing by itself. */
export class RawWebSocket implements AsyncDisposable {
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => undefined;
  /** Settles when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake();
    });
    socket.on('error', () => undefined); // 'close' follows.
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#ended = true;
        this.#wake();
        resolve();
      });
    });
  }

  /** Connects and asks for the upgrade; the answer is the caller's to judge. */
  static async open(
    port: number,
    request: {
      readonly path?: string;
      /** The value of Sec-WebSocket-Protocol; undefined: no such header. */
      readonly protocols?: string | undefined;
      readonly headers?: Readonly<Record<string, string>>;
      /** An open connection to ask on, such as one of TLS; a new TCP connection when left out. */
      readonly socket?: Socket;
    } = {},
  ): Promise<{ readonly webSocket: RawWebSocket; readonly handshake: Handshake }> {
    const { path = '/mqtt', protocols, headers = {} } = request;
    const { socket = connect({ port, host: '127.0.0.1' }) } = request;
    const webSocket = new RawWebSocket(socket);
    const key = randomBytes(16).toString('base64');
    const lines = {
      Host: `127.0.0.1:${port}`,
      Upgrade: 'websocket',
      Connection: 'Upgrade',
      'Sec-WebSocket-Key': key,
      'Sec-WebSocket-Version': '13',
      ...(protocols !== undefined && { 'Sec-WebSocket-Protocol': protocols }),
      ...headers,
    };
    const text = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`GET ${path} HTTP/1.1\r\n${text.join('')}\r\n`);
    const handshake = await webSocket.#handshake();
    if (handshake.status === 101) {
      const expected = createHash('sha1').update(`${key}${GUID}`).digest('base64');
      if (handshake.headers.get('sec-websocket-accept') !== expected) {
        throw new Error('Sec-WebSocket-Accept is wrong');
      }
    }
    return { webSocket, handshake };
  }

  /** Sends one frame. */
  send(
    payload: Uint8Array,
    opcode: number = opcodes.binary,
    how: { readonly final?: boolean; readonly masked?: boolean } = {},
  ): void {
    const { final = true, masked = true } = how;
    this.#socket.write(encodeFrame(opcode, payload, { final, masked }));
  }

  /** The next frame. @throws Error when the connection ends or nothing comes in time */
  receive(timeoutMs = TIMEOUT_MS): Promise<Frame> {
    return this.#until(timeoutMs, () => {
      const decoded = decodeFrame(this.#bytes);
      if (decoded !== undefined) this.#drop(decoded.length);
      return decoded?.frame;
    });
  }

  /** MQTT bytes of the next binary frames, at least this many; any other frame is an error. */
  async bytes(howMany: number): Promise<Buffer> {
    let found: Buffer = Buffer.alloc(0);
    while (found.length < howMany) {
      const { opcode, payload } = await this.receive();
      if (opcode !== opcodes.binary && opcode !== opcodes.continuation) {
        throw new Error(`a frame of kind ${opcode} came`);
      }
      found = Buffer.concat([found, payload]);
    }
    return found;
  }

  /** Ends the connection without a close frame. */
  destroy(): void {
    this.#socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy();
    await this.closed;
  }

  #handshake(): Promise<Handshake> {
    return this.#until(TIMEOUT_MS, () => {
      const end = this.#bytes.indexOf('\r\n\r\n');
      if (end < 0) return undefined;
      const [first = '', ...lines] = this.#bytes.toString('latin1', 0, end).split('\r\n');
      this.#drop(end + 4);
      const headers = lines.map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
      });
      return { status: Number(first.split(' ')[1]), headers: new Map(headers) };
    });
  }

  #drop(length: number): void {
    this.#bytes = this.#bytes.subarray(length);
  }

  async #until<T>(timeoutMs: number, read: () => T | undefined): Promise<T> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const found = read();
      if (found !== undefined) return found;
      if (this.#ended) throw new Error('the connection has ended');
      const left = end - performance.now();
      if (left <= 0) throw new Error(`no frame came within ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
