import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createRequire } from 'node:module';
import { Redis } from 'ioredis';
import { isOperational, type OperationalError } from '@sallyport/errors';
import { type RedisServer, startRedisServer } from '@sallyport/test-kit';
import { persistenceContract } from '../test-support/contract.ts';
import { COMMAND_TIMEOUT_MS, openRedisSessionStore } from './redis.ts';
import type {
  SessionStore,
  StoreBroker,
  StoreBrokerListener,
  StorePacket,
} from './session-store.ts';

let server: RedisServer;
let admin: Redis;
const opened: SessionStore[] = [];

beforeAll(async () => {
  server = await startRedisServer();
  admin = new Redis({ port: server.port });
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((store) => store.destroy()));
  await admin.flushall();
});
afterAll(async () => {
  admin.disconnect();
  await server.stop();
});

async function open(
  port = server.port,
  onProblem: (problem: OperationalError) => void = () => undefined,
): Promise<SessionStore> {
  const store = await openRedisSessionStore({ connection: { port, host: '127.0.0.1' }, onProblem });
  opened.push(store);
  return store;
}

interface Bus {
  on(filter: string, listener: StoreBrokerListener, done?: () => void): void;
  removeListener(filter: string, listener: StoreBrokerListener, done?: () => void): void;
  emit(packet: StorePacket, done?: (error?: Error | null) => void): void;
}
// Not a dependency of ours: the contract suite brings it along.
const createBus = (): Bus => {
  const require = createRequire(import.meta.url);
  return (createRequire(require.resolve('aedes-persistence'))('mqemitter') as () => Bus)();
};

function brokerOn(bus: Bus, id: string): StoreBroker {
  return {
    id,
    publish: (packet, done) => bus.emit(packet, done),
    subscribe: (filter, listener, done) => bus.on(filter, listener, done),
    unsubscribe: (filter, listener, done) => bus.removeListener(filter, listener, done),
  };
}

async function collect(stream: AsyncIterable<unknown>): Promise<StorePacket[]> {
  const packets: StorePacket[] = [];
  for await (const packet of stream) packets.push(packet as StorePacket);
  return packets;
}

const client = { id: 'c/+#ü' };
const subscription = { topic: 'a/+', qos: 1 as const, rh: 0, rap: true, nl: false };
const publish = (brokerCounter: number): StorePacket => ({
  cmd: 'publish',
  topic: 'a/b',
  payload: Buffer.from(String(brokerCounter)),
  qos: 1,
  retain: false,
  brokerId: 'one',
  brokerCounter,
});

describe('the Redis store under the contract', () => {
  persistenceContract(async () => {
    await admin.flushall();
    return open();
  });
});

describe('the Redis store', () => {
  test('a session moves to another node: subscriptions, queue in order, QoS 2 state, will', async () => {
    const bus = createBus();
    const [one, two] = [await open(), await open()];
    await one.setup(brokerOn(bus, 'one'));
    await two.setup(brokerOn(bus, 'two'));
    await one.addSubscriptions(client, [subscription]);
    expect(await two.subscriptionsByTopic('a/b')).toMatchObject([{ clientId: client.id, qos: 1 }]);
    for (let count = 1; count <= 1100; count++) {
      await one.outgoingEnqueueCombi([{ clientId: client.id }], publish(count));
    }
    await one.incomingStorePacket(client, { ...publish(1), messageId: 7 });
    await one.putWill(client, { topic: 'will', payload: Buffer.from('w') });

    expect(await two.subscriptionsByClient(client)).toMatchObject([subscription]);
    const queue = await collect(two.outgoingStream(client));
    expect(queue.map((packet) => packet.brokerCounter)).toEqual(
      Array.from({ length: 1100 }, (_, index) => index + 1),
    );
    expect(Buffer.isBuffer(queue[0]?.payload)).toBe(true);
    expect(await two.incomingGetPacket(client, { messageId: 7 })).toMatchObject({ topic: 'a/b' });
    const [will] = await collect(two.streamWill({ two: 1 }));
    expect(will).toMatchObject({ topic: 'will', brokerId: 'one', clientId: client.id });
    expect(await collect(two.streamWill({ one: 1 }))).toEqual([]);

    const [first] = queue;
    if (first === undefined) throw new Error('no queue');
    await two.outgoingUpdate(client, { ...first, messageId: 9 });
    expect(await two.outgoingClearMessageId(client, { messageId: 9 })).toMatchObject({
      brokerCounter: 1,
    });
    expect(await collect(one.outgoingStream(client))).toHaveLength(1099);
  });

  test('a node that starts later knows the subscriptions, those made while it loads too', async () => {
    const bus = createBus();
    const one = await open();
    await one.setup(brokerOn(bus, 'one'));
    await one.addSubscriptions({ id: 'before' }, [subscription]);
    const two = await open();
    let subscribed = (): void => undefined;
    const listening = new Promise<void>((resolve) => (subscribed = resolve));
    const broker = brokerOn(bus, 'two');
    const starting = two.setup({
      ...broker,
      subscribe: (filter, listener, done) => {
        broker.subscribe(filter, listener, done);
        // What arrives on the bus before Redis has answered the first question of `setup`.
        bus.emit({
          topic: '$SYS/sub/add',
          payload: JSON.stringify({ clientId: 'meanwhile', subs: [subscription] }),
        });
        subscribed();
      },
    });
    await listening;
    await starting;
    const clients = (await two.subscriptionsByTopic('a/b')).map((found) => found.clientId);
    expect(clients.sort()).toEqual(['before', 'meanwhile']);
  });

  test('a node that missed the bus knows everything after a resync, and its queues go on', async () => {
    const [one, two] = [await open(), await open()];
    const bus = createBus();
    await one.setup(brokerOn(createBus(), 'one')); // A bus of its own: nothing reaches the other.
    await two.setup(brokerOn(bus, 'two'));
    await two.addSubscriptions({ id: 'stays' }, [subscription]);
    await two.addSubscriptions({ id: 'leaves' }, [subscription]);
    await two.outgoingEnqueue({ clientId: 'stays' }, publish(1));
    await two.outgoingUpdate({ id: 'stays' }, { ...publish(1), messageId: 5 });
    await one.addSubscriptions({ id: 'new' }, [subscription]);
    await one.resyncSubscriptions();
    await one.cleanSubscriptions({ id: 'leaves' });
    const clients = async (): Promise<string[]> =>
      (await two.subscriptionsByTopic('a/b')).map((found) => found.clientId).sort();
    expect(await clients()).toEqual(['leaves', 'stays']);
    await Promise.all([two.resyncSubscriptions(), two.resyncSubscriptions()]);
    expect(await clients()).toEqual(['new', 'stays']);
    expect(await two.outgoingClearMessageId({ id: 'stays' }, { messageId: 5 })).toMatchObject({
      brokerCounter: 1,
    });
    await two.addSubscriptions({ id: 'after' }, [subscription]);
    expect(await clients()).toEqual(['after', 'new', 'stays']);
  });

  test('a packet is queued once for a session that several filters name', async () => {
    const store = await open();
    await store.setup(brokerOn(createBus(), 'one'));
    const twice = [{ clientId: 'c' }, { clientId: 'd' }, { clientId: 'c' }];
    await store.outgoingEnqueueCombi(twice, publish(1));
    for (const id of ['c', 'd']) {
      expect(await collect(store.outgoingStream({ id }))).toHaveLength(1);
      await store.outgoingUpdate({ id }, { ...publish(1), messageId: 1 });
      await store.outgoingClearMessageId({ id }, { messageId: 1 });
      expect(await collect(store.outgoingStream({ id }))).toEqual([]);
    }
    expect(await admin.keys('*')).toEqual([]); // The count of owners was right.
  });

  test('names that mean something to JavaScript or Redis are names', async () => {
    const bus = createBus();
    const store = await open();
    await store.setup(brokerOn(bus, 'one'));
    for (const id of ['__proto__', 'constructor', 'a:b', '*', '']) {
      await store.addSubscriptions({ id }, [{ topic: `${id}/x`, qos: 1 }]);
      expect(await store.subscriptionsByClient({ id })).toMatchObject([{ topic: `${id}/x` }]);
      expect(await store.subscriptionsByTopic(`${id}/x`)).toMatchObject([{ clientId: id }]);
    }
  });
});

describe('when Redis goes', () => {
  test('an absent Redis is refused at once', async () => {
    await using own = await startRedisServer();
    await own.kill();
    await expect(openRedisSessionStore({ connection: { port: own.port } })).rejects.toMatchObject({
      code: 'session_store_unavailable',
    });
  });

  test('killed: calls fail in bounded time, no rejection is lost, and it heals with its data', async () => {
    await using own = await startRedisServer();
    const lost: unknown[] = [];
    const note = (reason: unknown): void => void lost.push(reason);
    process.on('unhandledRejection', note);
    const problems: OperationalError[] = [];
    const store = await open(own.port, (problem) => problems.push(problem));
    await store.setup(brokerOn(createBus(), 'one'));
    await store.addSubscriptions(client, [subscription]);
    await store.outgoingEnqueue({ clientId: client.id }, publish(1));
    expect(store.connected).toBe(true);
    await own.kill();
    await expect.poll(() => store.connected).toBe(false);
    const started = performance.now();
    const results = await Promise.allSettled([
      store.outgoingEnqueueCombi([{ clientId: client.id }], publish(2)),
      store.storeRetained({ ...publish(3), retain: true }),
      store.putWill(client, { topic: 'will', payload: Buffer.from('w') }),
      store.delWill({ id: client.id, brokerId: 'one' }),
      store.addSubscriptions(client, [subscription]),
      collect(store.createRetainedStreamCombi(['a/#'])),
      collect(store.outgoingStream(client)),
      store.resyncSubscriptions(),
    ]);
    expect(performance.now() - started).toBeLessThan(COMMAND_TIMEOUT_MS * 2);
    for (const result of results) {
      expect(result.status).toBe('rejected');
      const reason: unknown = result.status === 'rejected' ? result.reason : undefined;
      expect(isOperational(reason, 'session_store_unavailable')).toBe(true);
    }
    // Routing needs no Redis.
    expect(await store.subscriptionsByTopic('a/b')).toHaveLength(1);
    await own.process.start();
    await expect.poll(() => store.connected, { timeout: 10_000 }).toBe(true);
    expect((await collect(store.outgoingStream(client)))[0]).toMatchObject({ brokerCounter: 1 });
    expect(problems).toHaveLength(1);
    process.off('unhandledRejection', note);
    expect(lost).toEqual([]);
  });

  test('frozen: calls fail in bounded time, readiness says so, and it heals', async () => {
    await using own = await startRedisServer();
    const store = await open(own.port);
    await store.setup(brokerOn(createBus(), 'one'));
    own.process.freeze();
    const started = performance.now();
    await expect(store.outgoingEnqueue({ clientId: 'c' }, publish(1))).rejects.toMatchObject({
      code: 'session_store_unavailable',
    });
    expect(performance.now() - started).toBeLessThan(COMMAND_TIMEOUT_MS * 1.5);
    await expect.poll(() => store.connected).toBe(false);
    own.process.thaw();
    await expect.poll(() => store.connected, { timeout: 10_000 }).toBe(true);
    await store.outgoingEnqueue({ clientId: 'd' }, publish(2));
    expect(await collect(store.outgoingStream({ id: 'd' }))).toHaveLength(1);
  });
});
