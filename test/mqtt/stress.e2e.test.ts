import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { encodeConnect, packetTypes, RawMqttClient, until } from '@sallyport/test-kit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { COLLECTS_GARBAGE, resident, residentWithoutGarbage } from '../harness/resident.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

const MIB = 1024 * 1024;
const CONNECT_TIMEOUT_MS = 5000;
const DRAIN_TIMEOUT_MS = 5000;
/** Two cores run brokers, clients and this test. */
const MARGIN_MS = 10_000;

interface Device {
  readonly username: string;
  readonly password: string;
}

let broker: Standalone;
let device: Device;

beforeEach(async () => {
  broker = await startStandalone({
    ...COLLECTS_GARBAGE,
    SALLYPORT_MQTT__LIMITS__CONNECT_TIMEOUT_MS: String(CONNECT_TIMEOUT_MS),
    SALLYPORT_MQTT__LIMITS__DRAIN_TIMEOUT_MS: String(DRAIN_TIMEOUT_MS),
  });
  const api = await Api.login(broker.url, 'admin', broker.adminPassword);
  device = await api.addDevice('device', [
    { effect: 'allow', action: 'all', topicFilter: 'dev/#' },
  ]);
});

afterEach(() => broker[Symbol.asyncDispose]());

async function open(clientId: string): Promise<RawMqttClient> {
  const client = await RawMqttClient.open(broker.mqttPort);
  const answer = await client.connect({ clientId, ...device });
  expect(answer.returnCode).toBe(0);
  return client;
}

describe('one frozen subscriber among others (P10)', () => {
  const SUBSCRIBERS = 20;
  const MESSAGES = 5000;
  const PER_SECOND = 1000;
  const PAYLOAD_BYTES = 2048;
  /** Messages that any of those who read may be behind; who has too many to come loses some, as the frozen one does. */
  const BEHIND_MAX = 200;

  interface Seen {
    count: number;
    outOfOrder: number;
  }

  /** Counts the messages of a subscriber, which must come in order. */
  function counted(client: RawMqttClient): Seen {
    const seen = { count: 0, outOfOrder: 0 };
    const read = async (): Promise<void> => {
      for (;;) {
        const { body } = await client.receive(600_000);
        if (body.readUInt32BE(2 + body.readUInt16BE(0)) !== seen.count) seen.outOfOrder += 1;
        seen.count += 1;
      }
    };
    read().catch(() => undefined); // The connection has ended, and the count tells.
    return seen;
  }

  /** Sends as if many did, at the rate, and not faster than the broker and this process read. */
  async function publishAll(publisher: RawMqttClient, seen: readonly Seen[]): Promise<void> {
    const started = performance.now();
    for (let sent = 0; sent < MESSAGES;) {
      const due = Math.floor(((performance.now() - started) / 1000) * PER_SECOND);
      const heard = Math.min(...seen.map(({ count }) => count));
      for (; sent < Math.min(due, heard + BEHIND_MAX, MESSAGES); sent++) {
        const payload = Buffer.alloc(PAYLOAD_BYTES);
        payload.writeUInt32BE(sent);
        publisher.publish({ topicName: 'dev/all/x', payload });
      }
      await delay(1);
    }
  }

  /** So much that neither the kernel nor the broker holds it back for a client that does not read. */
  async function overfill(publisher: RawMqttClient): Promise<number> {
    const payload = Buffer.alloc(16 * 1024, 0x66);
    let sent = 0;
    for (let turn = 1; turn <= 64; turn++) {
      for (let index = 0; index < 32; index++, sent++) {
        publisher.publish({ topicName: 'dev/frozen', payload });
      }
      // Its answer says that what came before has been read.
      await publisher.subscribe(turn, [{ topicFilter: 'dev/none', qos: 0 }]);
    }
    return sent;
  }

  it('loses messages or its connection, while the others get everything and memory stays', async () => {
    const frozen = await open('frozen');
    await frozen.subscribe(1, [{ topicFilter: 'dev/#', qos: 0 }]);
    frozen.freeze();
    const clients = await Promise.all(
      Array.from({ length: SUBSCRIBERS }, (_, index) => open(`subscriber-${index}`)),
    );
    for (const client of clients) {
      await client.subscribe(1, [{ topicFilter: 'dev/all/#', qos: 0 }]);
    }
    const seen = clients.map(counted);
    const publisher = await open('publisher');
    const before = resident(broker.process);
    const filled = await overfill(publisher);
    await publishAll(publisher, seen);
    await until(() => seen.every(({ count }) => count === MESSAGES), MARGIN_MS);
    expect(seen).toEqual(seen.map(() => ({ count: MESSAGES, outOfOrder: 0 })));
    expect(resident(broker.process) - before).toBeLessThan(96);

    await delay(DRAIN_TIMEOUT_MS);
    frozen.thaw();
    let received = 0;
    const drained = (async () => {
      for (;;) {
        await frozen.receive(2000);
        received += 1;
      }
    })();
    const end = await drained.catch((error: unknown) => error);
    expect(String(end)).toMatch(/the connection has ended|no packet came/);
    expect(received).toBeLessThan(filled + MESSAGES);
    for (const client of [...clients, publisher, frozen]) client.destroy();
  });

  it('is cut when it holds back a message with QoS 1 for longer than the drain timeout', async () => {
    const frozen = await open('frozen');
    await frozen.subscribe(1, [{ topicFilter: 'dev/#', qos: 1 }]);
    frozen.freeze();
    const publisher = await open('publisher');
    await overfill(publisher);
    const payload = Buffer.alloc(100);
    publisher.publish({ topicName: 'dev/x', payload, qos: 1, packetId: 1 });
    await publisher.expect('puback');
    await delay(DRAIN_TIMEOUT_MS + 2000);
    frozen.thaw();
    await expect(
      Promise.race([frozen.closed.then(() => 'closed'), delay(MARGIN_MS)]),
    ).resolves.toBe('closed');
    publisher.destroy();
  });
});

describe('a packet of 150 MB that comes slowly (P1)', () => {
  const LENGTH = 150 * MIB;
  const CHUNK = Buffer.alloc(64 * 1024, 0x61);
  const CHUNK_PAUSE_MS = 5;
  /** What is on its way when the broker closes: buffers of both kernels, but no part of what was announced. */
  const SENT_MAX = 8 * MIB;

  function remainingLength(length: number): Buffer {
    const bytes: number[] = [];
    for (let rest = length; rest > 0; rest >>>= 7) {
      bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    }
    return Buffer.from(bytes);
  }

  /** Writes until the broker closes; answers how much it was. */
  async function pour(socket: Socket): Promise<number> {
    let sent = 0;
    while (!socket.closed && sent < LENGTH) {
      socket.write(CHUNK);
      sent += CHUNK.length;
      await delay(CHUNK_PAUSE_MS);
    }
    return sent;
  }

  async function openSocket(): Promise<Socket> {
    const socket = connect({ port: broker.mqttPort, host: '127.0.0.1' });
    socket.on('error', () => undefined);
    // A socket that nobody reads does not see that the other side has closed.
    socket.resume();
    await new Promise((resolve) => socket.once('connect', resolve));
    return socket;
  }

  it.each(['CONNECT', 'PUBLISH'])(
    'is refused at its header, and costs no memory: %s',
    async (kind) => {
      const socket = await openSocket();
      if (kind === 'PUBLISH') {
        const answered = new Promise((resolve) => socket.once('data', resolve));
        socket.write(encodeConnect({ clientId: 'large', ...device }));
        await answered;
      }
      const before = resident(broker.process);
      const first = kind === 'CONNECT' ? packetTypes.connect << 4 : packetTypes.publish << 4;
      socket.write(Buffer.concat([Buffer.from([first]), remainingLength(LENGTH)]));
      const sent = await pour(socket);
      expect(sent).toBeLessThan(SENT_MAX);
      expect(resident(broker.process) - before).toBeLessThan(8);
      socket.destroy();
      (await open('after')).destroy();
    },
  );
});

describe('2,000 sockets that send no CONNECT (P2)', () => {
  const SOCKETS = 2000;

  /** Opens them all; answers how long the last one stayed. */
  async function wave(): Promise<number> {
    const sockets: Socket[] = [];
    let openSockets = 0;
    for (let count = 0; count < SOCKETS; count++) {
      const socket = connect({ port: broker.mqttPort, host: '127.0.0.1' });
      openSockets += 1;
      socket.on('error', () => undefined);
      socket.on('close', () => (openSockets -= 1));
      socket.resume();
      sockets.push(socket);
      if (count % 50 === 0) await delay(5);
    }
    const started = performance.now();
    try {
      await until(() => openSockets === 0, CONNECT_TIMEOUT_MS + MARGIN_MS);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
    return performance.now() - started;
  }

  it('are all gone by the deadline of the CONNECT, and so is their memory', async () => {
    const before = await residentWithoutGarbage(broker.process);
    await wave();
    const afterFirst = await residentWithoutGarbage(broker.process);
    await wave();
    const afterSecond = await residentWithoutGarbage(broker.process);
    expect(afterFirst - before).toBeLessThan(16);
    // What the first wave has taken serves the second.
    expect(afterSecond - afterFirst).toBeLessThan(8);
    (await open('after')).destroy();
  });

  it('do not keep a device out meanwhile', async () => {
    const sockets = Array.from({ length: SOCKETS }, () => {
      const socket = connect({ port: broker.mqttPort, host: '127.0.0.1' });
      socket.on('error', () => undefined);
      return socket;
    });
    await delay(500);
    const client = await open('meanwhile');
    for (const socket of sockets) socket.destroy();
    client.destroy();
  });
});
