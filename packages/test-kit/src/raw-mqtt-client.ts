import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  type RawConnect,
  type RawPacket,
  type RawPublish,
  type RawSubscription,
  decodePacket,
  encodeConnect,
  encodePublish,
  encodeSubscribe,
  packetTypes,
} from './raw-mqtt.ts';

/** No test waits for it: it ends one whose broker stays silent, on a machine that others use too. */
const RECEIVE_TIMEOUT_MS = 20_000;

interface Waiter {
  readonly resolve: (packet: RawPacket) => void;
  readonly reject: (error: Error) => void;
}

/** Bytes in, bytes out, and nothing by itself: no keep-alive, no acknowledgements, no reconnect. */
export class RawMqttClient implements AsyncDisposable {
  readonly #socket: Duplex;
  readonly #packets: RawPacket[] = [];
  readonly #waiters: Waiter[] = [];
  #bytes = Buffer.alloc(0);
  #ended = false;
  /** Settles when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;

  private constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#onData(chunk);
    });
    // 'close' follows and tells the waiters.
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#ended = true;
        for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#endedError());
        resolve();
      });
    });
  }

  /** Over a stream that is open: TLS, WebSocket, or what a test makes of them. */
  static over(stream: Duplex): RawMqttClient {
    return new RawMqttClient(stream);
  }

  /** Opens a TCP connection and sends nothing. `localAddress`: where it comes from; the system decides when it is left out. */
  static open(port: number, host = '127.0.0.1', localAddress?: string): Promise<RawMqttClient> {
    return new Promise((resolve, reject) => {
      const from = localAddress !== undefined && { localAddress };
      const socket = connect({ port, host, noDelay: true, ...from });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawMqttClient(socket));
      });
    });
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** The next packet, in the order of arrival. @throws Error when the connection ends or nothing comes in time */
  receive(timeoutMs = RECEIVE_TIMEOUT_MS): Promise<RawPacket> {
    const packet = this.#packets.shift();
    if (packet !== undefined) return Promise.resolve(packet);
    if (this.#ended) return Promise.reject(this.#endedError());
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve: (received) => {
          clearTimeout(timer);
          resolve(received);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(new Error(`no packet came within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiters.push(waiter);
    });
  }

  /** Gives back packets that came too early for who asked: they are the next ones again. Nobody may be waiting. */
  putBack(packets: readonly RawPacket[]): void {
    this.#packets.unshift(...packets);
  }

  /** The next packet, which must have this type. */
  async expect(type: keyof typeof packetTypes, timeoutMs?: number): Promise<RawPacket> {
    const packet = await this.receive(timeoutMs);
    if (packet.type === packetTypes[type]) return packet;
    throw new Error(`expected ${type}, got type ${packet.type}: ${packet.body.toString('hex')}`);
  }

  /** Sends CONNECT; answers the return code and the session-present flag of the CONNACK. */
  async connect(
    options: RawConnect,
  ): Promise<{ readonly returnCode: number; readonly sessionPresent: boolean }> {
    this.send(encodeConnect(options));
    const { body } = await this.expect('connack');
    return { returnCode: body[1] ?? -1, sessionPresent: body[0] === 1 };
  }

  /** Sends SUBSCRIBE; answers the return codes of the SUBACK. */
  async subscribe(packetId: number, topics: readonly RawSubscription[]): Promise<number[]> {
    this.send(encodeSubscribe(packetId, topics));
    const { body } = await this.expect('suback');
    if (body.readUInt16BE(0) !== packetId) throw new Error('SUBACK of another packet id');
    return [...body.subarray(2)];
  }

  /** Sends PUBLISH and waits for nothing. */
  publish(options: RawPublish): void {
    this.send(encodePublish(options));
  }

  /** Reads nothing more, so that what the server sends stays with it once the kernel's buffers are full. */
  freeze(): void {
    this.#socket.pause();
  }

  thaw(): void {
    this.#socket.resume();
  }

  /** Ends the connection without DISCONNECT, as a lost network does: the will is published. */
  destroy(): void {
    this.#socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy();
    await this.closed;
  }

  #endedError(): Error {
    return new Error('the connection has ended');
  }

  #onData(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const decoded = decodePacket(this.#bytes);
      if (decoded === undefined) return;
      this.#bytes = decoded.rest as Buffer<ArrayBuffer>;
      const waiter = this.#waiters.shift();
      if (waiter === undefined) this.#packets.push(decoded.packet);
      else waiter.resolve(decoded.packet);
    }
  }
}
