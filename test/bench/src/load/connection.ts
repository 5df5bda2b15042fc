import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { encodeConnect, encodePacket, packetTypes } from '@sallyport/test-kit';
import type { Party } from '../mqtt/generator.ts';

export interface Login {
  readonly clientId: string;
  readonly username: string;
  readonly password: string;
}

/** The logins of the clients of a party, in their order. */
export function loginsOf({ count, loginsFile }: Party): readonly Login[] {
  const lines = readFileSync(loginsFile, 'utf8').trimEnd().split('\n');
  return Array.from({ length: count }, (_, index) => {
    const [clientId = '', username = '', password = ''] = (lines[index] ?? '').split(',');
    if (clientId === '') throw new Error(`${loginsFile} has too few lines`);
    return { clientId, username, password };
  });
}

/** One address has some 28,000 ports to one server; the others of the loopback network have their own. */
const SOURCE_ADDRESSES = 9;
const KEEP_ALIVE_SECONDS = 600;

/** What a connection hands over. Buffers are views of what was read: look at them at once. */
export interface Receiver {
  /** `packetId` is 0 with QoS 0. */
  onPublish(payload: Buffer, packetId: number): void;
  onPuback(): void;
  /** After all packets of one reading. */
  onRead(): void;
}

const NOBODY: Receiver = {
  onPublish: () => undefined,
  onPuback: () => undefined,
  onRead: () => undefined,
};

/** A client for load: it reads packets where they lie and writes what it is given. */
export class LoadConnection {
  readonly #socket: Socket;
  #receiver = NOBODY;
  #rest: Buffer = Buffer.alloc(0);
  /** Waits for a CONNACK or a SUBACK. */
  #answered: ((body: Buffer) => void) | undefined;
  #failed: (error: Error) => void;

  private constructor(socket: Socket, onFailure: (error: Error) => void) {
    this.#socket = socket;
    this.#failed = onFailure;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#failed(error));
    socket.on('close', () => this.#failed(new Error('the broker closed a connection')));
  }

  /** Resolves after a CONNACK that accepts; `onLost` hears of what breaks later. */
  static open(
    options: { readonly port: number; readonly number: number; readonly login: Login },
    onLost: (error: Error) => void,
  ): Promise<LoadConnection> {
    const { port, number, login } = options;
    const localAddress = `127.0.0.${1 + (number % SOURCE_ADDRESSES)}`;
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress });
      const connection = new LoadConnection(socket, reject);
      connection.#answered = (body) => {
        connection.#failed = onLost;
        if (body[1] === 0) resolve(connection);
        else reject(new Error(`CONNACK ${body[1]} for ${login.username}`));
      };
      socket.write(encodeConnect({ ...login, keepAliveSeconds: KEEP_ALIVE_SECONDS }));
    });
  }

  receive(receiver: Receiver): void {
    this.#receiver = receiver;
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Sends a SUBSCRIBE of one filter and waits for its SUBACK. */
  async subscribe(packet: Buffer): Promise<void> {
    const answer = new Promise<Buffer>((resolve) => (this.#answered = resolve));
    this.#socket.write(packet);
    const code = (await answer)[2] ?? 0x80;
    if (code >= 0x80) throw new Error(`SUBACK ${code}`);
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = 0;
    for (;;) {
      const end = this.#packet(bytes, start);
      if (end === 0) break;
      start = end;
    }
    this.#rest = bytes.subarray(start);
    this.#receiver.onRead();
  }

  /** Handles the packet at `start`; answers where the next one begins, or 0 while it is not complete. */
  #packet(bytes: Buffer, start: number): number {
    let length = 0;
    let at = start + 1;
    for (let shift = 0; ; shift += 7) {
      const digit = bytes[at++];
      if (digit === undefined) return 0;
      length |= (digit & 0x7f) << shift;
      if (digit < 0x80) break;
    }
    const end = at + length;
    if (end > bytes.length) return 0;
    this.#dispatch(bytes[start] ?? 0, bytes, at, end);
    return end;
  }

  #dispatch(first: number, bytes: Buffer, at: number, end: number): void {
    switch (first >> 4) {
      case packetTypes.publish: {
        const topicEnd = at + 2 + bytes.readUInt16BE(at);
        const isQos0 = (first & 6) === 0;
        const packetId = isQos0 ? 0 : bytes.readUInt16BE(topicEnd);
        this.#receiver.onPublish(bytes.subarray(isQos0 ? topicEnd : topicEnd + 2, end), packetId);
        return;
      }
      case packetTypes.puback:
        this.#receiver.onPuback();
        return;
      case packetTypes.connack:
      case packetTypes.suback:
        this.#answered?.(Buffer.from(bytes.subarray(at, end)));
        return;
      default:
        this.#failed(new Error(`the broker sent a packet of type ${first >> 4}`));
    }
  }
}

const PUBACK_BYTES = 4;
const PUBACK_HEADER = encodePacket(packetTypes.puback, 0, Buffer.alloc(2));

/** PUBACKs of all that one reading brought, as one write. */
export function encodePubacks(packetIds: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(packetIds.length * PUBACK_BYTES);
  for (const [index, packetId] of packetIds.entries()) {
    PUBACK_HEADER.copy(bytes, index * PUBACK_BYTES);
    bytes.writeUInt16BE(packetId, index * PUBACK_BYTES + 2);
  }
  return bytes;
}

/** Runs `open` for all numbers below `count`, `atOnce` of them at a time. */
export async function openAll<T>(
  count: number,
  atOnce: number,
  open: (number: number) => Promise<T>,
): Promise<T[]> {
  const opened: T[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const number = next++;
      opened[number] = await open(number);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker));
  return opened;
}
