import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openNatsMessageBus } from '@sallyport/message-bus/nats';
import { openRedisSessionStore } from '@sallyport/session-store/redis';
import {
  type NatsServer,
  type RedisServer,
  startNatsServer,
  startRedisServer,
} from '@sallyport/test-kit';
import { type TestClient, TestNode } from '../../test-support/node.ts';

let nats: NatsServer;
let redis: RedisServer;
const open: AsyncDisposable[] = [];

beforeAll(async () => {
  [nats, redis] = await Promise.all([startNatsServer(), startRedisServer()]);
});
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
});
afterAll(async () => {
  await Promise.all([nats.stop(), redis.stop()]);
});

interface Cluster {
  readonly a: TestNode;
  readonly b: TestNode;
  /** Resolves when both nodes have met NATS again and caught up. */
  readonly caughtUp: Promise<unknown>;
}

/** Two nodes of a cluster of their own. */
async function cluster(): Promise<Cluster> {
  const prefix = `test-${randomUUID()}`;
  const caughtUp: Promise<void>[] = [];
  const node = async (): Promise<TestNode> => {
    const store = await openRedisSessionStore({
      connection: { host: '127.0.0.1', port: redis.port, keyPrefix: prefix },
    });
    open.push({ [Symbol.asyncDispose]: () => store.destroy() });
    let reconnected: () => void = () => undefined;
    const gap = new Promise<void>((resolve) => (reconnected = resolve));
    caughtUp.push(gap.then(() => store.resyncSubscriptions()));
    const bus = await openNatsMessageBus({
      connection: { servers: nats.address },
      prefix,
      onReconnect: () => reconnected(),
    });
    const started = await TestNode.start({ store, bus });
    open.push(started);
    return started;
  };
  const [a, b] = [await node(), await node()];
  return { a, b, caughtUp: Promise.all(caughtUp) };
}

const persistent = { clean: false } as const;

async function settled(publisher: TestClient, receiver: TestClient): Promise<void> {
  await receiver.mqtt.subscribeAsync('settled', { qos: 0 });
  await publisher.mqtt.publishAsync('settled', 'x', { qos: 0 });
  await expect.poll(() => receiver.texts).toContain('settled=x');
  receiver.messages.splice(receiver.texts.indexOf('settled=x'), 1);
}

/** The kernel acknowledges QoS 1 before it stores: after the PUBACK a message may still be on its way to the queue. */
async function queueLength(node: TestNode, clientId: string): Promise<number> {
  let length = 0;
  for await (const _packet of node.store.outgoingStream({ id: clientId })) length++;
  return length;
}

describe('two nodes on Redis and NATS', () => {
  test.each([1, 3, 30])('a SUBSCRIBE with %i filters gets its SUBACK', async (count) => {
    const { a } = await cluster();
    const client = await a.connect('c', persistent);
    const filters = Array.from({ length: count }, (_, index) => `f${index}/#`);
    expect(await client.subscribe(filters)).toEqual(Array(count).fill(1));
    expect(await a.store.subscriptionsByClient({ id: 'c' })).toHaveLength(count);
    await client.mqtt.unsubscribeAsync(filters);
    expect(await a.store.subscriptionsByClient({ id: 'c' })).toEqual([]);
  });

  test.each([0, 1, 2] as const)(
    'a QoS %i message on one node reaches a subscriber on the other once',
    async (qos) => {
      const { a, b } = await cluster();
      const receiver = await b.connect('r', { clean: qos !== 1 });
      await receiver.subscribe(['x/+', 'x/#', 'x/y'], 2);
      const publisher = await a.connect('p');
      await publisher.mqtt.publishAsync('x/y', 'once', { qos });
      await settled(publisher, receiver);
      await expect.poll(() => receiver.texts).toEqual(['x/y=once']);
      await settled(publisher, receiver);
      expect(receiver.messages).toEqual([{ topic: 'x/y', payload: 'once', qos, retain: false }]);
    },
  );

  test('mixed QoS from another node loses nothing', async () => {
    const { a, b } = await cluster();
    const receiver = await b.connect('r', persistent);
    await receiver.subscribe(['x'], 1);
    const publisher = await a.connect('p');
    const acknowledged = Array.from({ length: 300 }, (_, count) =>
      publisher.mqtt.publishAsync('x', String(count), { qos: count % 2 === 0 ? 1 : 0 }),
    );
    await Promise.all(acknowledged);
    await expect.poll(() => new Set(receiver.texts).size).toBe(300);
    expect(receiver.messages).toHaveLength(300);
  });

  test('a persistent session moves to the other node with its queue, and leaves none behind', async () => {
    const { a, b } = await cluster();
    const first = await a.connect('c', persistent);
    await first.subscribe(['x/#']);
    await first.mqtt.endAsync();
    const [onA, onB] = [await a.connect('pa'), await b.connect('pb')];
    for (let count = 0; count < 20; count++) {
      const publisher = count % 2 === 0 ? onA : onB;
      await publisher.mqtt.publishAsync('x/y', String(count), { qos: 1 });
    }
    await expect.poll(() => queueLength(a, 'c')).toBe(20);
    const second = await b.connect('c', persistent);
    await expect.poll(() => second.messages.length).toBe(20);
    expect(second.texts.toSorted()).toEqual(
      Array.from({ length: 20 }, (_, count) => `x/y=${count}`).sort(),
    );
    await onA.mqtt.publishAsync('x/live', 'from a', { qos: 1 });
    await expect.poll(() => second.texts.at(-1)).toBe('x/live=from a');
    await expect.poll(() => queueLength(a, 'c')).toBe(0);
    await second.mqtt.endAsync();
    const third = await a.connect('c', persistent);
    await settled(onA, third);
    expect(third.texts).toEqual([]);
  });

  test('a denied filter is not known to the other node either', async () => {
    const { a, b } = await cluster();
    a.hooks.authorizeSubscribe = (_client, { filter }, done) => done(filter !== 'no');
    const client = await a.connect('c', persistent);
    expect(await client.subscribe(['no', 'yes'])).toEqual([128, 1]);
    await expect.poll(() => b.store.subscriptionsByTopic('yes')).toHaveLength(1);
    expect(await b.store.subscriptionsByTopic('no')).toEqual([]);
  });

  test('a retained message of one node is there on the other', async () => {
    const { a, b } = await cluster();
    const publisher = await a.connect('p');
    await publisher.mqtt.publishAsync('r/x', 'kept', { qos: 2, retain: true });
    const receiver = await b.connect('r');
    await receiver.subscribe(['r/+']);
    await expect.poll(() => receiver.texts).toEqual(['r/x=kept']);
  });

  test('MQTT-3.1.1 [MQTT-3.1.4-2] a client id that connects on another node closes the first', async () => {
    const { a, b } = await cluster();
    const will = { topic: 'will', payload: Buffer.from('x'), qos: 0 as const, retain: false };
    const first = await a.connect('c', { ...persistent, will });
    await first.subscribe(['x']);
    const second = await b.connect('c', persistent);
    await first.closed;
    await expect.poll(() => a.hooks.log).toEqual(['+c', '-c']);
    const publisher = await a.connect('p');
    await publisher.mqtt.publishAsync('x', 'to the second', { qos: 1 });
    await expect.poll(() => second.texts).toEqual(['x=to the second']);
    expect(b.hooks.log).toEqual(['+c']);
  });

  test('after a gap of NATS a node queues for sessions that the other took meanwhile', async () => {
    const { a, b, caughtUp } = await cluster();
    const publisher = await b.connect('p');
    await nats.kill();
    const first = await a.connect('c', persistent);
    await first.subscribe(['x', 'y', 'z']); // Not even the gap keeps the SUBACK back.
    await first.mqtt.endAsync();
    await nats.process.start();
    await caughtUp;
    await publisher.mqtt.publishAsync('x', 'queued', { qos: 1 });
    await expect.poll(() => queueLength(a, 'c')).toBe(1);
    const second = await a.connect('c', persistent);
    await expect.poll(() => second.texts).toEqual(['x=queued']);
  });

  test('without Redis nobody new gets a persistent session, and the node stays up', async () => {
    const { a } = await cluster();
    const receiver = await a.connect('r');
    await receiver.subscribe(['x'], 0);
    const publisher = await a.connect('p');
    for (const client of [receiver, publisher]) {
      // A round trip to Redis: the CONNECT of both has had its last answer before.
      await client.mqtt.publishAsync('other', '', { qos: 2 });
    }
    await redis.kill();
    try {
      await expect(a.connect('c', { ...persistent, connectTimeout: 20_000 })).rejects.toThrow();
      await publisher.mqtt.publishAsync('x', 'still', { qos: 0 });
      await expect.poll(() => receiver.texts).toEqual(['x=still']);
      publisher.mqtt.publish('x', 'not', { qos: 2 });
      await publisher.closed;
    } finally {
      await redis.process.start();
    }
    await expect.poll(() => a.store.connected, { timeout: 10_000 }).toBe(true);
    const client = await a.connect('c', persistent);
    expect(await client.subscribe(['x'])).toEqual([1]);
  });
});
