import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { decodePacket, packetTypes, type RawPacket } from '@sallyport/test-kit';
import type { FuzzCase } from './fuzz-case.ts';

/** How a case ended: `refused` at the login, `closed` by the broker, `open` until we went. */
export type Outcome = 'refused' | 'closed' | 'open';

export interface Attacked {
  readonly outcome: Outcome;
  /** What a broker must never do, whatever it was sent. */
  readonly finding?: string;
}

const LOGIN_TIMEOUT_MS = 10_000;
/** No more answers come when none has come for this long. */
const QUIET_MS = 15;
const PATIENCE_MS = 250;
const AUTH = 15;

/** Types that a server sends. @source MQTT-5.0 §2.1.2 */
const FROM_SERVER: ReadonlySet<number> = new Set([
  ...[packetTypes.connack, packetTypes.publish, packetTypes.suback, packetTypes.unsuback],
  ...[packetTypes.puback, packetTypes.pubrec, packetTypes.pubrel, packetTypes.pubcomp],
  ...[packetTypes.pingresp, packetTypes.disconnect, AUTH],
]);

/** One connection that sends whatever it is told and reads what comes. */
class Attacker {
  readonly #socket: Socket;
  #bytes = Buffer.alloc(0);
  #heardAt = performance.now();
  #first: RawPacket | undefined;
  closed = false;
  finding: string | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('close', () => (this.closed = true));
    // The broker may reset the connection; 'close' follows.
    socket.on('error', () => undefined);
  }

  static open(port: number, localAddress: string): Promise<Attacker> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress });
      socket.once('error', reject);
      socket.once('connect', () => resolve(new Attacker(socket)));
    });
  }

  #read(chunk: Buffer): void {
    this.#heardAt = performance.now();
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    try {
      for (let next = decodePacket(this.#bytes); next !== undefined;) {
        this.#first ??= next.packet;
        if (!FROM_SERVER.has(next.packet.type)) this.finding = `sent type ${next.packet.type}`;
        this.#bytes = next.rest as Buffer<ArrayBuffer>;
        next = decodePacket(this.#bytes);
      }
    } catch {
      this.finding = 'sent a length of more than four bytes';
    }
  }

  /** Return or reason code of the CONNACK; undefined when none comes. */
  async login(packet: Buffer): Promise<number | undefined> {
    this.#socket.write(packet);
    const end = performance.now() + LOGIN_TIMEOUT_MS;
    while (this.#first === undefined && !this.closed && performance.now() < end) await delay(1);
    if (this.#first === undefined && !this.closed) this.finding = 'did not answer a login';
    return this.#first?.type === packetTypes.connack ? this.#first.body[1] : undefined;
  }

  async send(segments: readonly Buffer[]): Promise<void> {
    for (const segment of segments) {
      if (this.closed) return;
      this.#socket.write(segment);
      await nextTurn();
    }
  }

  /** Waits until the broker closes or has nothing more to say. */
  async settle(): Promise<void> {
    const start = performance.now();
    this.#heardAt = start;
    while (!this.closed && performance.now() - start < PATIENCE_MS) {
      if (performance.now() - this.#heardAt > QUIET_MS) return;
      await delay(2);
    }
  }

  end(): void {
    this.#socket.destroy();
  }
}

/** Runs one case. @throws Error when no connection is to be had */
export async function attack(port: number, source: string, one: FuzzCase): Promise<Attacked> {
  const attacker = await Attacker.open(port, source);
  const result = (outcome: Outcome): Attacked => {
    const { finding } = attacker;
    return finding === undefined ? { outcome } : { outcome, finding };
  };
  try {
    if (one.login !== undefined && (await attacker.login(one.login)) !== 0) {
      return result('refused');
    }
    await attacker.send(one.segments);
    await attacker.settle();
    return result(attacker.closed ? 'closed' : 'open');
  } finally {
    attacker.end();
  }
}
