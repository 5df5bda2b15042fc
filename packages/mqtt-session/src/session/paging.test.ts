import { createMemorySessionStore } from '@sallyport/session-store';
import { expect, test } from 'vitest';
import { seededRandom, settle, until } from '../../test-support/settle.ts';
import type { TestClient } from '../../test-support/test-client.ts';
import { TestBus } from '../../test-support/test-kernel.ts';
import { TestNode } from '../../test-support/test-node.ts';
import { distantStore } from '../../test-support/test-store.ts';
import type { PublishPacket } from '../codec/packet.ts';

/** What a client that keeps to the standard makes of the deliveries of all its connections. */
class Inbox {
  /** By topic, which is one publisher and one QoS. */
  readonly messages = new Map<string, number[]>();
  /** QoS 2 packets that it has received and that were not released. */
  readonly #received = new Set<number>();
  readonly #ofThisConnection = new Set<string>();

  /** @throws Error when the server breaks the protocol */
  publish({ topic, payload, qos, packetId, dup }: PublishPacket): void {
    if (qos === 2) {
      if (this.#received.has(packetId)) {
        if (!dup) throw new Error(`packet id ${packetId} is in use`);
        return;
      }
      this.#received.add(packetId);
    }
    const before = this.messages.get(topic) ?? [];
    const number = Number(payload.toString());
    if (before.includes(number)) {
      if (qos === 2) throw new Error(`${topic} ${number} came twice`);
      // What an earlier connection has acknowledged may be heard late by the next: at least once.
      if (!dup && this.#ofThisConnection.has(`${topic} ${number}`)) {
        throw new Error(`${topic} ${number} came again without DUP`);
      }
      return;
    }
    this.#ofThisConnection.add(`${topic} ${number}`);
    this.messages.set(topic, [...before, number]);
  }

  newConnection(): void {
    this.#ofThisConnection.clear();
  }

  release(packetId: number): void {
    this.#received.delete(packetId);
  }
}

/** Answers in the order of arrival, some time later, as far as the connection lives. */
class Answering {
  readonly #client: TestClient;
  readonly #inbox: Inbox;
  readonly #owed: (() => void)[] = [];
  #seen = 0;

  constructor(client: TestClient, inbox: Inbox) {
    this.#client = client;
    this.#inbox = inbox;
  }

  look(): void {
    const { received } = this.#client;
    for (; this.#seen < received.length; this.#seen++) {
      const packet = received[this.#seen];
      if (packet?.type === 'publish') this.#onPublish(packet);
      if (packet?.type === 'pubrel') {
        this.#inbox.release(packet.packetId);
        this.#owed.push(() => this.#client.ack('pubcomp', packet.packetId));
      }
    }
  }

  answer(count: number): void {
    for (const answer of this.#owed.splice(0, count)) answer();
  }

  #onPublish(packet: PublishPacket): void {
    this.#inbox.publish(packet);
    if (packet.qos === 0) return;
    const type = packet.qos === 1 ? 'puback' : 'pubrec';
    this.#owed.push(() => this.#client.ack(type, packet.packetId));
  }
}

const TOTAL = 500;

interface Topic {
  readonly name: string;
  readonly qos: 1 | 2;
  readonly publisher: number;
  next: number;
}

/**
 * A subscriber that is slow, goes away and comes back; publishers here and on another node, whose messages are in the store long
 * before they are heard; and a store that takes its time.
 */
async function run(seed: number): Promise<Inbox> {
  const random = seededRandom(seed);
  const pick = (count: number): number => Math.floor(random() * count);
  const store = createMemorySessionStore({
    limits: { queueMessagesMax: 100_000, queueBytesMax: 100_000_000 },
  });
  const bus = new TestBus();
  bus.delay = () => settle(pick(random() < 0.1 ? 120 : 20));
  const limits = { inboundInflightMax: 1000 };
  const node = new TestNode({ store: distantStore(store, random), limits, bus });
  const other = new TestNode({ nodeId: 'node-2', store: distantStore(store, random), limits, bus });
  const publishers = [
    await node.connect('here', { answers: 'all' }),
    await other.connect('there', { answers: 'all' }),
  ];
  const inbox = new Inbox();
  const connect = async () => {
    const client = await node.connect('s', {
      version: 5,
      cleanStart: false,
      properties: { sessionExpiryInterval: 600, receiveMaximum: 1 + pick(40) },
    });
    inbox.newConnection();
    return { client, answering: new Answering(client, inbox) };
  };
  let subscriber = await connect();
  await subscriber.client.subscribe('t/#', 2);
  subscriber.client.unread();
  const topics: Topic[] = [
    { name: 't/one', qos: 1, next: 0, publisher: 0 },
    { name: 't/two', qos: 2, next: 0, publisher: 0 },
    { name: 't/three', qos: 1, next: 0, publisher: 1 },
    { name: 't/four', qos: 2, next: 0, publisher: 1 },
  ];
  const publish = (count: number): void => {
    const topic = topics[pick(4)];
    for (let sent = 0; topic !== undefined && sent < count && topic.next < TOTAL; sent++) {
      const { name, qos } = topic;
      publishers[topic.publisher]?.publish({ topic: name, payload: `${topic.next++}`, qos });
    }
  };
  const answer = async (turns: number, pace: number): Promise<void> => {
    for (let turn = 0; turn < turns; turn++) {
      subscriber.answering.look();
      subscriber.answering.answer(pick(pace));
      await settle(1);
    }
  };
  while (topics.some(({ next }) => next < TOTAL)) {
    const phase = random();
    if (phase < 0.08) {
      // More than fits in memory, while the subscriber is slow.
      for (let burst = 0; burst < 6; burst++) publish(pick(60));
      await answer(pick(60), 2);
    } else if (phase < 0.5) {
      // Time to catch up, and a little more meanwhile.
      await answer(pick(300), 100);
      publish(pick(4));
      await answer(pick(60), 100);
    } else if (phase < 0.96) {
      publish(pick(6));
      await answer(pick(8), 12);
    } else {
      subscriber.client.drop();
      await settle(pick(20));
      subscriber = await connect();
    }
  }
  await until(
    () => {
      subscriber.answering.look();
      subscriber.answering.answer(10);
      return topics.every(({ name }) => inbox.messages.get(name)?.length === TOTAL);
    },
    () =>
      JSON.stringify([...inbox.messages].map(([name, all]) => [name, all.length, all.slice(-3)])),
  );
  await settle(60);
  subscriber.answering.look();
  subscriber.answering.answer(1000);
  await settle(60);
  subscriber.answering.look();
  subscriber.answering.answer(1000);
  await settle(60);
  expect(await node.store.readQueue('s', { after: 0, limit: 10 })).toEqual([]);
  expect(node.observer.problems).toEqual([]);
  expect(subscriber.client.socket.destroyed).toBe(false);
  return inbox;
}

// The last two are known to find what is easily overlooked: a message heard while the last page is empty, and one acknowledged meanwhile.
const SEEDS = [1, 2, 3, 172, 133];

test.each(SEEDS)(
  'whatever comes while the store is read: all of it, in order, QoS 2 once (seed %s)',
  async (seed) => {
    const inbox = await run(seed);
    const expected = Array.from({ length: TOTAL }, (_, number) => number);
    for (const name of ['t/one', 't/two', 't/three', 't/four']) {
      expect(inbox.messages.get(name)).toEqual(expected);
    }
  },
);
