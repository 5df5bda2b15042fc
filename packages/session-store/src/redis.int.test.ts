import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { isOperational, type OperationalError } from '@sallyport/errors';
import { levelsOf, matches } from '@sallyport/topic';
import { type RedisServer, startRedisServer } from '@sallyport/test-kit';
import { persistenceContract } from '../test-support/contract.ts';
import { LosingProxy } from '../test-support/losing-proxy.ts';
import { modelContract } from '../test-support/model-contract.ts';
import { session, sessionContract, type StoreOptions } from '../test-support/session-contract.ts';
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
  options: StoreOptions & { readonly onProblem?: (problem: OperationalError) => void } = {},
): Promise<SessionStore> {
  const store = await openRedisSessionStore({
    connection: { port, host: '127.0.0.1' },
    ...options,
  });
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
/** Notices of other nodes make it known: nobody asks Redis for it. */
const shared = { ...subscription, topic: '$share/g/a/+' };
const publish = (brokerCounter: number): StorePacket => ({
  cmd: 'publish',
  topic: 'a/b',
  payload: Buffer.from(String(brokerCounter)),
  qos: 1,
  retain: false,
  brokerId: 'one',
  brokerCounter,
});

describe('the Redis store under the contracts', () => {
  persistenceContract(async () => {
    await admin.flushall();
    return open();
  });

  const openEmpty = async (options?: StoreOptions) => {
    await admin.flushall();
    const store = await open(server.port, options);
    await store.setup(brokerOn(createBus(), 'lone'));
    return store;
  };
  sessionContract(openEmpty);
  modelContract(openEmpty);
});

describe('the Redis store', () => {
  test('a session moves to another node: subscriptions, queue in order, QoS 2 state, will', async () => {
    const bus = createBus();
    const [one, two] = [await open(), await open()];
    await one.setup(brokerOn(bus, 'one'));
    await two.setup(brokerOn(bus, 'two'));
    await one.addSubscriptions(client, [subscription]);
    await expect
      .poll(() => two.subscriptionsByTopic('a/b'))
      .toMatchObject([{ clientId: client.id, qos: 1 }]);
    for (let count = 1; count <= 1000; count++) {
      await one.outgoingEnqueueCombi([{ clientId: client.id }], publish(count));
    }
    await one.incomingStorePacket(client, { ...publish(1), messageId: 7 });
    await one.putWill(client, { topic: 'will', payload: Buffer.from('w') });

    expect(await two.subscriptionsByClient(client)).toMatchObject([subscription]);
    const queue = await collect(two.outgoingStream(client));
    expect(queue.map((packet) => packet.brokerCounter)).toEqual(
      Array.from({ length: 1000 }, (_, index) => index + 1),
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
    expect(await collect(one.outgoingStream(client))).toHaveLength(999);
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
        // What is written and told before Redis has answered the first question of `setup`.
        void one.addSubscriptions({ id: 'meanwhile' }, [subscription]).then(() => subscribed());
      },
    });
    await listening;
    await starting;
    const clients = (await two.subscriptionsByTopic('a/b')).map((found) => found.clientId);
    expect(clients.sort()).toEqual(['before', 'meanwhile']);
  });

  test('a message is queued for a session that has just subscribed on another node, whose notice is late', async () => {
    const [one, two] = [await open(), await open()];
    await one.setup(brokerOn(createBus(), 'one')); // A bus of its own: its notices never come.
    await two.setup(brokerOn(createBus(), 'two'));
    const clients = async (): Promise<string[]> =>
      (await two.subscriptionsByTopic('a/b')).map((found) => found.clientId).sort();
    for (let round = 0; round < 20; round++) {
      await one.addSubscriptions({ id: 'c' }, [subscription]);
      expect(await Promise.all([clients(), clients()])).toEqual([['c'], ['c']]);
      await one.removeSubscriptions({ id: 'c' }, [subscription.topic]);
      expect(await clients()).toEqual([]);
    }
    // More changes than are followed one by one.
    const many = Array.from({ length: 1500 }, (_, index) => `c${index}`);
    await Promise.all(many.map((id) => one.addSubscriptions({ id }, [subscription])));
    expect(await clients()).toEqual(many.sort());
    await one.cleanSubscriptions({ id: 'c7' });
    expect(await clients()).toHaveLength(1499);
  });

  test('look-ups are answered in the order of the calls, though an earlier one has more to read', async () => {
    const [one, two] = [await open(), await open()];
    await one.setup(brokerOn(createBus(), 'one'));
    await two.setup(brokerOn(createBus(), 'two'));
    const order: number[] = [];
    const asking: Promise<unknown>[] = [];
    for (let round = 0; round < 50; round++) {
      if (round % 5 === 0) await one.addSubscriptions({ id: `c${round}` }, [subscription]);
      asking.push(two.subscriptionsByTopic('a/b').then(() => order.push(round)));
      await new Promise(setImmediate);
    }
    await Promise.all(asking);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });

  test('a node that missed the bus knows everything after a resync, and its queues go on', async () => {
    const [one, two] = [await open(), await open()];
    const bus = createBus();
    await one.setup(brokerOn(createBus(), 'one')); // A bus of its own: nothing reaches the other.
    await two.setup(brokerOn(bus, 'two'));
    await two.addSubscriptions({ id: 'stays' }, [shared]);
    await two.addSubscriptions({ id: 'leaves' }, [shared]);
    await two.outgoingEnqueue({ clientId: 'stays' }, publish(1));
    await two.outgoingUpdate({ id: 'stays' }, { ...publish(1), messageId: 5 });
    await one.addSubscriptions({ id: 'new' }, [shared]);
    await one.resyncSubscriptions();
    await one.cleanSubscriptions({ id: 'leaves' });
    const clients = (): string[] =>
      two
        .sharedSubscriptionsByTopic('a/b')
        .map((found) => found.clientId)
        .sort();
    expect(clients()).toEqual(['leaves', 'stays']);
    await Promise.all([two.resyncSubscriptions(), two.resyncSubscriptions()]);
    expect(clients()).toEqual(['new', 'stays']);
    expect(await two.outgoingClearMessageId({ id: 'stays' }, { messageId: 5 })).toMatchObject({
      brokerCounter: 1,
    });
    await two.addSubscriptions({ id: 'after' }, [shared]);
    expect(clients()).toEqual(['after', 'new', 'stays']);
  });

  test('a session resumes on another node exactly where it was', async () => {
    const bus = createBus();
    const [one, two] = [await open(), await open()];
    await one.setup(brokerOn(bus, 'one'));
    await two.setup(brokerOn(bus, 'two'));
    const { epoch } = await one.openSession(session('c', { nodeId: 'one' }));
    for (const count of [1, 2, 3, 4]) await one.outgoingEnqueue({ clientId: 'c' }, publish(count));
    await one.outgoingUpdate({ id: 'c' }, { ...publish(1), messageId: 11 });
    await one.outgoingUpdate({ id: 'c' }, { ...publish(2), messageId: 12 });
    await one.outgoingUpdate({ id: 'c' }, { cmd: 'pubrel', messageId: 12 });
    await one.removeQueued('c', { brokerId: 'one', brokerCounter: 3 });
    const before = await one.readQueue('c', { after: 0, limit: 9 });
    expect(await two.openSession(session('c', { nodeId: 'two' }))).toMatchObject({
      present: true,
      previousNodeId: 'one',
    });
    expect(await two.readQueue('c', { after: 0, limit: 9 })).toEqual(before);
    expect(before.map(({ state, messageId }) => [state, messageId])).toEqual([
      ['sent', 11],
      ['released', 12],
      ['queued', undefined],
    ]);
    // The first node says goodbye too late.
    const { now } = session('c');
    await one.closeSession({ clientId: 'c', epoch, now, expirySeconds: 0, will: 'keep' });
    expect(await two.readQueue('c', { after: 0, limit: 9 })).toEqual(before);
  });

  test('of many nodes that claim at once each gets its own part', async () => {
    const stores = await Promise.all([open(), open(), open()]);
    const [one] = stores;
    const { now } = session('c');
    for (let number = 0; number < 60; number++) {
      const clientId = `c${number}`;
      const { epoch } = (await one?.openSession(session(clientId))) ?? { epoch: 0 };
      await one?.closeSession({ clientId, epoch, now, expirySeconds: 1, will: 'keep' });
    }
    const claims = await Promise.all(
      stores.flatMap((store) => [1, 2].map(() => store.claimDue({ now: now + 1000, limit: 15 }))),
    );
    const clients = claims.flat().map(({ record }) => record.clientId);
    expect(new Set(clients).size).toBe(60);
    expect(clients).toHaveLength(60);
  });

  test('notices that arrive in the wrong order leave no wrong subscription', async () => {
    const held: (() => void)[] = [];
    const bus = createBus();
    const [one, two, three] = [await open(), await open(), await open()];
    await one.setup({
      ...brokerOn(bus, 'one'),
      publish: (packet, done) => void held.push(() => bus.emit(packet, done)),
    });
    await two.setup(brokerOn(bus, 'two'));
    await three.setup(brokerOn(bus, 'three'));
    await one.addSubscriptions({ id: 'c' }, [shared]);
    await two.removeSubscriptions({ id: 'c' }, [shared.topic]);
    await two.addSubscriptions({ id: 'd' }, [shared]);
    await expect.poll(() => three.sharedSubscriptionsByTopic('a/b')).toHaveLength(1);
    for (const send of held) send();
    await three.subscriptionsByClient({ id: 'e' }); // After what the notices ask.
    expect(three.sharedSubscriptionsByTopic('a/b')).toMatchObject([{ clientId: 'd' }]);
  });

  test('whoever finds that a node died before it told tells the others', async () => {
    const bus = createBus();
    const [dead, two, three] = [await open(), await open(), await open()];
    await dead.setup({ ...brokerOn(createBus(), 'dead') });
    await two.setup(brokerOn(bus, 'two'));
    await three.setup(brokerOn(bus, 'three'));
    await dead.addSubscriptions({ id: 'c' }, [shared]);
    expect(three.sharedSubscriptionsByTopic('a/b')).toEqual([]);
    await two.subscriptionsByClient({ id: 'c' });
    await expect.poll(() => three.sharedSubscriptionsByTopic('a/b')).toHaveLength(1);
  });

  test('a large body of many queues is stored once, and goes with the last of them', async () => {
    const store = await open();
    const clients = ['a', 'b', 'c', 'd'];
    for (const clientId of clients) await store.openSession(session(clientId));
    const payload = Buffer.alloc(2000, 'x');
    const everyone = clients.map((clientId) => ({ clientId }));
    await store.outgoingEnqueueCombi(everyone, { ...publish(1), payload });
    await store.outgoingEnqueueCombi(everyone, { ...publish(2), payload });
    const bodies = () => admin.keys('sp:body:*');
    expect(await bodies()).toHaveLength(2);
    await store.outgoingUpdate({ id: 'a' }, { ...publish(1), messageId: 1 });
    expect(await store.outgoingClearMessageId({ id: 'a' }, { messageId: 1 })).toMatchObject({
      payload,
    });
    await store.removeQueued('b', { brokerId: 'one', brokerCounter: 1 });
    await store.dropSession({ clientId: 'c' });
    expect(await bodies()).toHaveLength(2);
    expect((await store.readQueue('d', { after: 0, limit: 9 }))[0]?.packet.payload).toEqual(
      payload,
    );
    await store.openSession(session('d', { cleanStart: true }));
    expect(await bodies()).toHaveLength(1);
    for (const clientId of ['a', 'b']) await store.dropSession({ clientId });
    expect(await bodies()).toEqual([]);
  });

  test('a message for thousands of sessions reaches each of them, in several steps', async () => {
    const full: string[] = [];
    const store = await open(server.port, {
      limits: { queueMessagesMax: 1, queueBytesMax: 1000 },
      observer: { onQueueFull: (clientId) => void full.push(clientId) },
    });
    const everyone = Array.from({ length: 2345 }, (_, index) => ({ clientId: `c${index}` }));
    await store.outgoingEnqueue({ clientId: 'c1234' }, publish(1));
    await store.outgoingEnqueueCombi(everyone, publish(2), { clientId: 'p', messageId: 1 });
    expect(full).toEqual(['c1234']);
    for (const clientId of ['c0', 'c999', 'c1000', 'c2344']) {
      expect(await store.readQueue(clientId, { after: 0, limit: 9 })).toHaveLength(1);
    }
    expect(await store.incomingIds('p')).toEqual([1]);
  });

  test('state of a client without a session is forgotten some day, that of a session is not', async () => {
    const store = await open();
    await store.openSession(session('c'));
    const incoming = (clientId: string) => ({ clientId, messageId: 1 });
    for (const clientId of ['c', 'd']) {
      await store.outgoingEnqueueCombi([{ clientId }], publish(1), incoming(clientId));
      await store.removeQueued(clientId, { brokerId: 'one', brokerCounter: 1 });
      await store.outgoingEnqueueCombi([{ clientId }], publish(2));
    }
    const ttl = async (clientId: string): Promise<number[]> =>
      Promise.all(['queue', 'log', 'in'].map((kind) => admin.ttl(`sp:${kind}:{${clientId}}`)));
    expect(await ttl('c')).toEqual([-1, -1, -1]);
    for (const seconds of await ttl('d')) expect(seconds).toBeGreaterThan(3600);
  });

  test('nothing is left of sessions that have ended', async () => {
    const store = await open();
    await store.setup(brokerOn(createBus(), 'one'));
    const will = { topic: 'w', payload: Buffer.from('w') };
    const { epoch } = await store.openSession(session('c', { will }));
    await store.addSubscriptions({ id: 'c' }, [subscription]);
    await store.outgoingEnqueueCombi([{ clientId: 'c' }], publish(1), {
      clientId: 'c',
      messageId: 1,
    });
    await store.outgoingUpdate({ id: 'c' }, { ...publish(1), messageId: 1 });
    await store.storeRetained({ ...publish(1), messageExpiry: 1 });
    const { now } = session('c');
    await store.closeSession({ clientId: 'c', epoch, now, expirySeconds: 1, will: 'keep' });
    expect(await store.claimDue({ now: now + 1000, limit: 9 })).toHaveLength(2);
    await store.dropSession({ clientId: 'c', epoch });
    const left = (await admin.keys('*')).filter((key) => !key.startsWith('sp:claim:'));
    // The list of changes has a bound of its own.
    expect(left.sort()).toEqual(['sp:changes', 'sp:epoch']);
  });

  test('wildcards find in Redis what a comparison with every topic finds, over many pages', async () => {
    const store = await open();
    const level = fc.constantFrom('', 'a', 'a-b', 'ab', 'a0', '$x', 'ü', 'b');
    const names = fc.sample(
      fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/')),
      { seed: 1, numRuns: 3000 },
    );
    const topics = [...new Set(names)].filter((name) => name !== '');
    await Promise.all(topics.map((topic) => store.storeRetained({ ...publish(1), topic })));
    expect(store.retainedCount).toBe(topics.length);
    const filters = [
      '#',
      '+',
      '+/#',
      'a/#',
      '+/a',
      '+/+/+',
      'a/+/b',
      '+/a-b/#',
      '/+',
      '$x/#',
      '+/$x',
    ];
    filters.push(
      'a-b/+',
      'ab/+/+/a',
      '+//+',
      '+/+/ü',
      'a/b/#',
      'c/#',
      'a0/#',
      '+/+/+/+',
      '$x/+',
      'b/+/#',
    );
    for (const filter of filters) {
      const expected = topics.filter((topic) => matches(levelsOf(filter), levelsOf(topic)));
      const found = await store.retainedMessages([filter], 0);
      expect(found.map(({ topic }) => topic).sort(), filter).toEqual(expected.sort());
    }
  });
});

describe('an answer of Redis that is lost', () => {
  const losing = async () => {
    const proxy = await LosingProxy.start(server.port);
    const store = await open(proxy.port);
    await store.setup(brokerOn(createBus(), 'one'));
    return { proxy, store };
  };

  test('leaves a message queued once', async () => {
    const { proxy, store } = await losing();
    await store.outgoingEnqueue({ clientId: 'c' }, publish(1));
    proxy.loseNextAnswer();
    await store.outgoingEnqueueCombi(
      [{ clientId: 'c' }, { clientId: 'c', topic: '$share/g/a/b' }],
      publish(2),
      { clientId: 'c', messageId: 3 },
    );
    const queue = await store.readQueue('c', { after: 0, limit: 9 });
    expect(queue.map(({ packet }) => packet.brokerCounter)).toEqual([1, 2, 2]);
    expect(await store.incomingIds('c')).toEqual([3]);
    await store.destroy();
    await proxy[Symbol.asyncDispose]();
  });

  test('leaves a new session new, and names who had it before', async () => {
    const { proxy, store } = await losing();
    proxy.loseNextAnswer();
    const first = await store.openSession(session('c', { nodeId: 'one' }));
    expect(first).toEqual({ present: false, epoch: first.epoch });
    proxy.loseNextAnswer();
    expect(await store.openSession(session('c', { nodeId: 'two' }))).toMatchObject({
      present: true,
      epoch: first.epoch + 1,
      previousNodeId: 'one',
    });
    await store.destroy();
    await proxy[Symbol.asyncDispose]();
  });

  test('loses no will', async () => {
    const { proxy, store } = await losing();
    const will = { topic: 'w', payload: Buffer.from('w') };
    const { epoch } = await store.openSession(session('c', { will }));
    const { now } = session('c');
    await store.closeSession({ clientId: 'c', epoch, now, expirySeconds: 60, will: 'keep' });
    proxy.loseNextAnswer();
    expect(await store.claimDue({ now, limit: 9 })).toMatchObject([{ kind: 'will', will }]);
    expect(await store.claimDue({ now, limit: 9 })).toEqual([]);
    await store.destroy();
    await proxy[Symbol.asyncDispose]();
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
    const store = await open(own.port, { onProblem: (problem) => void problems.push(problem) });
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
      store.subscriptionsByTopic('a/b'), // A session that it does not know of would miss the message.
    ]);
    expect(performance.now() - started).toBeLessThan(COMMAND_TIMEOUT_MS * 2);
    for (const result of results) {
      expect(result.status).toBe('rejected');
      const reason: unknown = result.status === 'rejected' ? result.reason : undefined;
      expect(isOperational(reason, 'session_store_unavailable')).toBe(true);
    }
    await own.process.start();
    await expect.poll(() => store.connected, { timeout: 10_000 }).toBe(true);
    expect(await store.subscriptionsByTopic('a/b')).toHaveLength(1);
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

  test('a session that was opened, but too late for its caller, is closed again', async () => {
    await using own = await startRedisServer();
    const store = await open(own.port);
    await store.setup(brokerOn(createBus(), 'one'));
    const will = { topic: 'w', payload: Buffer.from('w') };
    own.process.freeze();
    await expect(
      store.openSession(session('c', { now: Date.now(), expirySeconds: 7, will })),
    ).rejects.toMatchObject({ code: 'session_store_unavailable' });
    own.process.thaw();
    const due = () => store.claimDue({ now: Date.now() + 60_000, limit: 9 }).catch(() => []);
    await expect.poll(due, { timeout: 10_000 }).toMatchObject([{ kind: 'expired' }]);
  });

  test('what others changed while it was away is known when it is back', async () => {
    await using own = await startRedisServer();
    const [one, two] = [await open(own.port), await open(own.port)];
    await one.setup(brokerOn(createBus(), 'one'));
    await two.setup(brokerOn(createBus(), 'two')); // Nobody tells it.
    await one.addSubscriptions({ id: 'c' }, [shared]);
    expect(two.sharedSubscriptionsByTopic('a/b')).toEqual([]);
    await own.restart();
    await expect
      .poll(() => two.sharedSubscriptionsByTopic('a/b'), { timeout: 10_000 })
      .toMatchObject([{ clientId: 'c' }]);
  });
});
