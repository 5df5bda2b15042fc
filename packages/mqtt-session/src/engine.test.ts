import { createMemorySessionStore } from '@sallyport/session-store';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Gate, seededRandom, settle, until } from '../test-support/settle.ts';
import type { TestClient } from '../test-support/test-client.ts';
import { START, TestNode } from '../test-support/test-node.ts';
import { distantStore, StoreControl, unavailable } from '../test-support/test-store.ts';
import type { ProtocolVersion, Will } from './codec/packet.ts';
import { reasonCode } from './codec/reason-code.ts';
import { defaultLimits } from './limits.ts';

const versions: ProtocolVersion[] = [3, 4, 5];

const will = (topic: string, changes: Partial<Will> = {}): Will => ({
  topic,
  payload: Buffer.from(topic),
  qos: 0,
  retain: false,
  ...changes,
});

const published = (node: TestNode): string[] => node.kernel.published.map(({ topic }) => topic);

/** Nothing is left of any connection. */
async function expectNothing(node: TestNode): Promise<void> {
  await settle();
  expect(node.hooks.open).toBe(0);
  expect(node.engine.connectionCount).toBe(0);
  expect(node.engine.sessionCount).toBe(0);
  expect(node.kernel.wanted.size).toBe(0);
}

describe('who leaves', () => {
  const leave: Readonly<Record<string, (client: TestClient) => void>> = {
    'with a DISCONNECT': (client) => client.disconnect(),
    'with the end of its stream': (client) => client.socket.feedEnd(),
    'with an error': (client) => client.socket.destroy(new Error('reset')),
  };

  test.each(Object.keys(leave))('is told to where it came from: %s', async (how) => {
    const node = new TestNode();
    let left = 0;
    const origin = { listener: 'tcp:test', peer: '192.0.2.1:1', leaving: () => (left += 1) };
    const client = node.open(4, { origin });
    await client.connect();
    expect(left).toBe(0);
    leave[how]?.(client);
    await settle();
    expect(left).toBeGreaterThan(0);
    client.drop();
    await expectNothing(node);
  });

  test('is not told of whom we send away', async () => {
    const node = new TestNode();
    let left = 0;
    const origin = { listener: 'tcp:test', peer: '192.0.2.1:1', leaving: () => (left += 1) };
    const client = node.open(4, { origin });
    await client.connect();
    client.socket.lingers = true;
    void client.server.disconnect(reasonCode.administrativeAction);
    await settle();
    expect(left).toBe(0);
    client.drop();
    await expectNothing(node);
  });
});

describe('two connections with one client id', () => {
  test.each(versions)(
    'MQTT %s: [MQTT-3.1.4-3] the newcomer stays, and the other is told',
    async (version) => {
      const node = new TestNode();
      const first = await node.connect('c', { version });
      const second = await node.connect('c');
      if (version === 5) {
        expect(await first.expect('disconnect')).toMatchObject({
          code: reasonCode.sessionTakenOver,
        });
      }
      await first.closed;
      second.publish({ topic: 't', qos: 1 });
      await second.expect('puback');
      expect([node.engine.sessionCount, node.hooks.open]).toEqual([1, 1]);
      second.drop();
      await expectNothing(node);
    },
  );

  test('takes over the subscriptions and the queue of a stored session, and loses nothing', async () => {
    const node = new TestNode();
    const first = await node.connect('c', { cleanStart: false });
    await first.subscribe('t', 1);
    const publisher = await node.connect('p');
    for (let count = 0; count < 10; count++) {
      publisher.publish({ topic: 't', payload: `${count}`, qos: 1 });
    }
    await settle();
    expect(first.payloads).toHaveLength(10);
    const second = await node.connect('c', { cleanStart: false, answers: 'all' });
    expect(second.present).toBe(true);
    await settle();
    expect(second.payloads).toEqual(first.payloads);
    expect(second.publishes.every(({ dup }) => dup)).toBe(true);
    publisher.publish({ topic: 't', payload: 'live', qos: 1 });
    await settle();
    expect(second.payloads.at(-1)).toBe('live');
  });

  test('another credential gets neither session nor queue', async () => {
    const node = new TestNode();
    const first = await node.connect('c', { cleanStart: false });
    await first.subscribe('t', 1);
    first.drop();
    await settle();
    const publisher = await node.connect('p');
    publisher.publish({ topic: 't', payload: 'secret', qos: 1 });
    await settle();
    node.hooks.decide = async ({ clientId }) => {
      const verdict = node.hooks.accept(clientId, 'somebody else');
      node.hooks.accepted.pop();
      return verdict;
    };
    const second = await node.connect('c', { cleanStart: false });
    expect(second.present).toBe(false);
    publisher.publish({ topic: 't', payload: 'secret', qos: 1 });
    await settle();
    expect(second.payloads).toEqual([]);
  });

  const SEED = 20_260_101;

  test(`100 races: exactly one stays (seed ${SEED})`, async () => {
    const random = seededRandom(SEED);
    for (let round = 0; round < 100; round++) {
      const node = new TestNode({ store: distantStore(createMemorySessionStore(), random) });
      const clients = [node.open(5), node.open(4), node.open(random() < 0.5 ? 5 : 3)];
      for (const client of clients) {
        client.sendConnect({
          clientId: 'c',
          cleanStart: random() < 0.5,
          will: will('gone'),
          ...(client.version === 5 &&
            random() < 0.5 && { properties: { sessionExpiryInterval: 60 } }),
        });
        await settle(Math.floor(random() * 4));
        if (random() < 0.3) client.drop();
      }
      await settle(60);
      const open = clients.filter((one) => !one.socket.destroyed && one.received.length > 0);
      const greeted = clients.filter((one) => one.received[0]?.type === 'connack');
      const ended = node.hooks.accepted.length - node.hooks.open;
      expect(open.length).toBeLessThanOrEqual(1);
      expect([node.engine.sessionCount, node.engine.connectionCount]).toEqual([
        open.length,
        open.length,
      ]);
      expect(node.hooks.open).toBe(open.length);
      // Who was greeted and did not stay has left its will; the greeting may have been lost.
      expect(published(node).length).toBeGreaterThanOrEqual(greeted.length - open.length);
      expect(published(node).length).toBeLessThanOrEqual(ended);
      for (const one of open) one.drop();
      await settle(60);
      await expectNothing(node);
    }
  });
});

describe('a client that takes nobody’s place and leaves nothing behind', () => {
  test('is let in in the turn in which its CONNECT is read, and its socket is never held up', async () => {
    const node = new TestNode();
    const client = node.open();
    const pauses = vi.spyOn(client.socket, 'pause');
    client.sendConnect({ clientId: 'c' });
    client.publish({ topic: 't', qos: 0 });
    client.socket.read();
    expect(node.engine.sessionCount).toBe(1);
    await settle();
    expect([client.received[0]?.type, ...published(node)]).toEqual(['connack', 't']);
    expect(pauses).not.toHaveBeenCalled();
  });

  test('is refused, and its rights have ended, when the store fails or breaks', async () => {
    const failures = [
      () => Promise.reject(unavailable()),
      () => {
        throw unavailable();
      },
    ];
    for (const openSession of failures) {
      const node = new TestNode();
      node.store.openSession = openSession;
      const { code } = await node.open().connect({ clientId: 'c' });
      expect(code).toBe(3);
      await expectNothing(node);
    }
  });

  test('is no member of anything when it could not be greeted', async () => {
    const node = new TestNode();
    const failure = new Error('the bus is broken');
    node.kernel.signal = () => {
      throw failure;
    };
    const client = node.open();
    client.sendConnect({ clientId: 'c' });
    await client.closed;
    expect(node.observer.errors).toEqual([failure]);
    await expectNothing(node);
  });
});

describe('the end of a connection', () => {
  test('a DISCONNECT discards the will', async () => {
    for (const version of versions) {
      const node = new TestNode();
      const client = await node.connect('c', { version, will: will('gone') });
      client.disconnect();
      await client.closed;
      await expectNothing(node);
      expect(published(node)).toEqual([]);
    }
  });

  test.each([0x04, 0x80, 0x81, 0x97, 0x99])(
    'MQTT-5.0 [MQTT-3.1.2-10] a DISCONNECT with reason %s publishes it',
    async (code) => {
      const node = new TestNode();
      const client = await node.connect('c', { version: 5, will: will('gone') });
      client.disconnect(code);
      await client.closed;
      expect(published(node)).toEqual(['gone']);
    },
  );

  test.each([
    ['the socket breaks', (client: TestClient) => client.drop()],
    ['the client ends its half', (client: TestClient) => client.socket.feedEnd()],
    ['the client breaks the protocol', (client: TestClient) => client.send(Buffer.from([0xff, 0]))],
  ])('MQTT-3.1.1 [MQTT-3.1.2-8] publishes the will when %s', async (_how, end) => {
    for (const version of versions) {
      const node = new TestNode();
      const subscriber = await node.connect('s', { version: 5 });
      await subscriber.subscribe([{ topicFilter: 'gone', retainAsPublished: true }], 2);
      const client = await node.connect('c', {
        version,
        will: will('gone', { qos: 1, retain: true }),
      });
      end(client);
      expect(await subscriber.expect('publish')).toMatchObject({
        topic: 'gone',
        qos: 1,
        retain: true,
      });
      await client.closed;
      expect(node.store.retainedCount).toBe(1);
      expect(node.hooks.open).toBe(1);
    }
  });

  test('publishes the will when an administrator ends it', async () => {
    const node = new TestNode();
    const client = await node.connect('c', { version: 5, will: will('gone') });
    await client.server.disconnect(reasonCode.administrativeAction);
    expect(await client.expect('disconnect')).toMatchObject({ code: 0x98 });
    expect(published(node)).toEqual(['gone']);
  });

  test('asks for the right to publish the will when it is published', async () => {
    const node = new TestNode();
    const client = await node.connect('c', { will: will('gone') });
    node.hooks.grant = () => undefined;
    const rights = node.hooks.accepted[0];
    if (rights === undefined) throw new Error('nobody was accepted');
    Object.assign(rights, { mayPublish: () => false });
    client.drop();
    await expectNothing(node);
    expect(published(node)).toEqual([]);
  });

  test('the will comes behind what was published before', async () => {
    const node = new TestNode();
    const subscriber = await node.connect('s');
    await subscriber.subscribe('#', 0);
    const client = await node.connect('c', { will: will('gone') });
    const gate = new Gate();
    node.kernel.beforePublish = ({ qos }) => (qos === 1 ? gate.pass() : Promise.resolve());
    client.publish({ topic: 't', payload: 'last words', qos: 1 });
    await settle();
    client.drop();
    await settle();
    expect(subscriber.payloads).toEqual([]);
    gate.open();
    await settle();
    expect(subscriber.payloads).toEqual(['last words', 'gone']);
  });

  test('MQTT-5.0 §3.1.3.2 the will has its properties, and its time begins when it is published', async () => {
    const node = new TestNode();
    const subscriber = await node.connect('s', { version: 5 });
    await subscriber.subscribe('gone');
    const properties = {
      messageExpiryInterval: 7,
      contentType: 'x',
      correlationData: Buffer.from('y'),
    };
    const client = await node.connect('c', { version: 5, will: will('gone', { properties }) });
    node.elapsedMs += 1_000_000;
    client.drop();
    expect((await subscriber.expect('publish')).properties).toEqual(properties);
  });

  test('a will that would be one retained message too many is published without being retained', async () => {
    const node = new TestNode({ limits: { retainedMessagesMax: 0 } });
    const subscriber = await node.connect('s', { version: 5 });
    await subscriber.subscribe([{ topicFilter: 'gone', retainAsPublished: true }]);
    const client = await node.connect('c', { will: will('gone', { retain: true }) });
    client.drop();
    expect(await subscriber.expect('publish')).toMatchObject({ topic: 'gone', retain: false });
    expect(node.store.retainedCount).toBe(0);
  });

  test('a kernel that fails the will hinders nothing else', async () => {
    const node = new TestNode();
    const client = await node.connect('c', { cleanStart: false, will: will('gone', { qos: 1 }) });
    node.kernel.beforePublish = () => Promise.reject(unavailable());
    client.drop();
    await expectNothing(node);
    expect(node.observer.problems).toHaveLength(1);
    expect((await node.connect('c', { cleanStart: false })).present).toBe(true);
  });
});

describe('with time', () => {
  let node: TestNode;
  let control: StoreControl;

  beforeEach(async () => {
    vi.useFakeTimers({
      toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout', 'performance'],
    });
    control = new StoreControl(createMemorySessionStore());
    node = await TestNode.start({ store: control.store });
  });

  afterEach(async () => {
    await node[Symbol.asyncDispose]();
    vi.useRealTimers();
  });

  const pass = async (milliseconds: number): Promise<void> => {
    // In steps, so that what hangs on one timer has happened before the next one.
    for (let left = milliseconds; left > 0; left -= 250) {
      const step = Math.min(250, left);
      node.elapsedMs += step;
      await vi.advanceTimersByTimeAsync(step);
      await settle(3);
    }
  };

  const expiring = (seconds: number) => ({
    version: 5 as const,
    cleanStart: false,
    properties: { sessionExpiryInterval: seconds },
  });

  test('MQTT-5.0 §3.1.2.11.2 a session lives as long as it may, and not longer', async () => {
    const client = await node.connect('c', expiring(10));
    await client.subscribe('t', 1);
    client.drop();
    await pass(9000);
    const again = await node.connect('c', expiring(10));
    expect(again.present).toBe(true);
    again.drop();
    await pass(10_500);
    expect((await node.connect('c', expiring(10))).present).toBe(false);
    expect(await node.store.subscriptionsByClient({ id: 'c' })).toEqual([]);
  });

  test('MQTT-5.0 §3.14.2.2.2 a DISCONNECT may change how long, but not make something of nothing', async () => {
    const client = await node.connect('c', expiring(10));
    client.disconnect(0, { sessionExpiryInterval: 0 });
    await client.closed;
    expect((await node.connect('c', expiring(10))).present).toBe(false);
    const brief = await node.connect('d', expiring(0));
    brief.disconnect(0, { sessionExpiryInterval: 10 });
    expect(await brief.expect('disconnect')).toMatchObject({ code: reasonCode.protocolError });
    await brief.closed;
    expect((await node.connect('d', expiring(0))).present).toBe(false);
  });

  test('MQTT-5.0 [MQTT-3.1.3-9] a delayed will is not published when the client is back in time', async () => {
    const delayed = will('gone', { properties: { willDelayInterval: 5 } });
    const client = await node.connect('c', { ...expiring(60), will: delayed });
    client.drop();
    await pass(4500);
    expect(published(node)).toEqual([]);
    await node.connect('c', expiring(60));
    await pass(3000);
    expect(published(node)).toEqual([]);
  });

  test('MQTT-5.0 §3.1.3.2.2 a delayed will is published after its delay, or with the end of its session', async () => {
    const delayed = (topic: string) => will(topic, { properties: { willDelayInterval: 5 } });
    const long = await node.connect('long', { ...expiring(60), will: delayed('long') });
    const short = await node.connect('short', { ...expiring(2), will: delayed('short') });
    const none = await node.connect('none', { version: 5, will: delayed('none') });
    for (const client of [long, short, none]) client.drop();
    await settle();
    expect(published(node)).toEqual(['none']);
    await pass(2500);
    expect(published(node)).toEqual(['none', 'short']);
    await pass(3000);
    expect(published(node)).toEqual(['none', 'short', 'long']);
    expect(node.hooks.storedAsked).toEqual([
      { clientId: 'short', topic: 'short' },
      { clientId: 'long', topic: 'long' },
    ]);
  });

  test('MQTT-5.0 §3.1.2.5 Clean Start ends the session, and so a delayed will is published', async () => {
    const delayed = will('gone', { properties: { willDelayInterval: 50 } });
    const client = await node.connect('c', { ...expiring(60), will: delayed });
    client.drop();
    await pass(1000);
    await node.connect('c', { ...expiring(60), cleanStart: true });
    await pass(1000);
    expect(published(node)).toEqual(['gone']);
  });

  test('MQTT-5.0 [MQTT-3.1.4-3] so it is when the newcomer takes over at once', async () => {
    const delayed = will('gone', { properties: { willDelayInterval: 50 } });
    await node.connect('c', { ...expiring(60), will: delayed });
    await node.connect('c', { ...expiring(60), cleanStart: true });
    await pass(1000);
    expect(published(node)).toEqual(['gone']);
  });

  test('MQTT-5.0 [MQTT-3.1.4-3] and not when the session goes on', async () => {
    const delayed = will('gone', { properties: { willDelayInterval: 2 } });
    await node.connect('c', { ...expiring(60), will: delayed });
    await node.connect('c', expiring(60));
    await pass(5000);
    expect(published(node)).toEqual([]);
  });

  test('asks for stored rights when a delayed will is due, and one that is refused or fails hinders no other', async () => {
    for (const name of ['denied', 'broken', 'fine']) {
      const delayed = will(name, { properties: { willDelayInterval: 1 } });
      const client = await node.connect(name, { ...expiring(60), will: delayed });
      client.drop();
    }
    node.hooks.storedRights = async (_record, topic) => {
      if (topic === 'broken') throw new Error('broken');
      return topic === 'fine';
    };
    await pass(2000);
    expect(published(node)).toEqual(['fine']);
    expect(node.observer.problems).toHaveLength(1);
  });

  test('a store that is away when a connection ends is told again, with the time of the end', async () => {
    const client = await node.connect('c', {
      ...expiring(5),
      will: will('gone', { properties: { willDelayInterval: 2 } }),
    });
    control.failing.add('closeSession');
    client.drop();
    await pass(4000);
    expect(published(node)).toEqual([]);
    control.failing.clear();
    await pass(1500);
    expect(published(node)).toEqual(['gone']);
    expect((await node.connect('c', expiring(5))).present).toBe(false);
  });

  test('told too late it ends nothing that a newcomer has begun', async () => {
    const client = await node.connect('c', expiring(5));
    control.failing.add('closeSession');
    client.drop();
    await settle();
    const again = await node.connect('c', expiring(60));
    expect(again.present).toBe(true);
    control.failing.clear();
    await pass(10_000);
    await again.subscribe('t', 1);
    again.drop();
    await settle();
    expect((await node.connect('c', expiring(60))).present).toBe(true);
  });

  test('MQTT-3.1.1 [MQTT-3.1.2-24], MQTT-5.0 [MQTT-3.1.2-22] who is silent for 1.5 times its keep alive is cut', async () => {
    const clients = await Promise.all(
      versions.map((version) =>
        node.connect(`c${version}`, { version, keepAliveSeconds: 10, will: will(`${version}`) }),
      ),
    );
    await pass(15_000);
    expect(node.engine.sessionCount).toBe(3);
    await pass(500);
    expect(node.engine.sessionCount).toBe(0);
    expect(await clients[2]?.expect('disconnect')).toMatchObject({
      code: reasonCode.keepAliveTimeout,
    });
    expect(published(node).sort()).toEqual(['3', '4', '5']);
    await expectNothing(node);
  });

  test('a PINGREQ keeps it', async () => {
    const client = await node.connect('c', { keepAliveSeconds: 10 });
    for (let count = 0; count < 5; count++) {
      await pass(14_000);
      client.send({ type: 'pingreq' });
      await client.expect('pingresp');
    }
    expect(node.engine.sessionCount).toBe(1);
  });

  test('without a keep alive, or with a longer one than ours, ours counts', async () => {
    await using strict = await TestNode.start({ limits: { keepAliveSecondsMax: 20 } });
    await strict.connect('none', { keepAliveSeconds: 0 });
    await strict.connect('long', { keepAliveSeconds: 65_535 });
    await pass(30_000);
    expect(strict.engine.sessionCount).toBe(2);
    await pass(500);
    expect(strict.engine.sessionCount).toBe(0);
  });

  test('what we do not read is no silence of the client’s', async () => {
    const client = await node.connect('c', { keepAliveSeconds: 10 });
    const gate = new Gate();
    node.kernel.beforePublish = () => gate.pass();
    client.publish({ topic: 't', qos: 1, retain: true });
    client.publish({ topic: 't', qos: 1, retain: true });
    await settle();
    expect(client.socket.isPaused()).toBe(true);
    await pass(60_000);
    gate.open();
    await pass(14_000);
    expect(node.engine.sessionCount).toBe(1);
  });

  test('nor is it when nobody is read for a while', async () => {
    await node.connect('c', { keepAliveSeconds: 10 });
    await pass(10_000);
    node.engine.readsNobody();
    await pass(60_000);
    node.engine.readsAll();
    await pass(5000);
    expect(node.engine.sessionCount).toBe(1);
    await pass(500);
    expect(node.engine.sessionCount).toBe(0);
  });

  test('what was not read before it was heard last does not count', async () => {
    const client = await node.connect('c', { keepAliveSeconds: 10 });
    node.engine.readsNobody();
    await pass(14_000);
    node.engine.readsAll();
    client.send({ type: 'pingreq' });
    await client.expect('pingresp');
    await pass(15_000);
    expect(node.engine.sessionCount).toBe(1);
    await pass(500);
    expect(node.engine.sessionCount).toBe(0);
  });

  test('a connection that has not come by the deadline is cut, with its CONNECT or without', async () => {
    const gate = new Gate();
    node.hooks.decide = async ({ clientId }) => {
      await gate.pass();
      node.hooks.accepted.pop();
      return node.hooks.accept(clientId);
    };
    const silent = node.open();
    const slow = node.open();
    slow.send(Buffer.from([0x10]));
    const undecided = node.open(5);
    undecided.sendConnect();
    await pass(9750);
    expect(node.engine.connectionCount).toBe(3);
    await pass(250);
    await Promise.all([silent.closed, slow.closed, undecided.closed]);
    gate.open();
    await expectNothing(node);
  });

  test('a connection that is not read is not cut, and has its time when it is read again', async () => {
    const origin = { listener: 'tcp:test', peer: '192.0.2.1:1', unread: true };
    const held = node.open(4, { origin });
    const other = node.open();
    await pass(30_000);
    await other.closed;
    expect(node.engine.connectionCount).toBe(1);
    origin.unread = false;
    await pass(9500);
    expect(node.engine.connectionCount).toBe(1);
    await pass(500);
    await held.closed;
    await expectNothing(node);
  });

  test('a client that takes nothing is cut; others notice nothing', async () => {
    const subscriber = await node.connect('frozen', { version: 5, will: will('gone') });
    await subscriber.subscribe('t', 0);
    const other = await node.connect('other', { keepAliveSeconds: 600 });
    await other.subscribe('t', 0);
    const publisher = await node.connect('p', { keepAliveSeconds: 600 });
    subscriber.socket.freeze();
    for (let count = 0; count < 40; count++) {
      publisher.publish({ topic: 't', payload: 'x'.repeat(50_000) });
      await settle(3);
    }
    expect(other.payloads).toHaveLength(40);
    expect(node.observer.of('delivery_dropped')).toBeGreaterThan(0);
    await pass(10_000);
    expect(node.engine.sessionCount).toBe(3);
    await pass(750);
    expect(node.engine.sessionCount).toBe(2);
    expect(published(node).at(-1)).toBe('gone');
    await subscriber.closed;
  });

  test('a client that floods us and does not read is not read either', async () => {
    const small = new TestNode({ limits: { socketBufferBytesMax: 10_000 } });
    const client = await small.connect('c', { version: 5 });
    client.socket.freeze();
    const ping = Buffer.from([0xc0, 0]);
    const pings = Buffer.concat(Array.from({ length: 1000 }, () => ping));
    for (let count = 0; count < 1000 && !client.socket.isPaused(); count++) {
      client.send(pings);
      await settle(2);
    }
    expect(client.socket.isPaused()).toBe(true);
    client.socket.thaw();
    await settle();
    expect(client.socket.isPaused()).toBe(false);
    client.publish({ topic: 't', qos: 1 });
    await until(() => client.received.at(-1)?.type === 'puback');
  });

  test('a client that does not close after we have said goodbye is cut', async () => {
    const client = await node.connect('c', { version: 5 });
    client.socket.lingers = true;
    void client.server.disconnect(reasonCode.administrativeAction);
    await client.expect('disconnect');
    await pass(1750);
    expect(node.engine.connectionCount).toBe(1);
    await pass(500);
    await client.closed;
    await expectNothing(node);
  });

  test('a restart of the node publishes the wills that it had, with stored rights', async () => {
    // As if its process had been killed: its timers do not run, and nobody says goodbye.
    const killed = new TestNode();
    await killed.connect('now', { ...expiring(60), will: will('now') });
    await killed.connect('later', {
      ...expiring(60),
      will: will('later', { properties: { willDelayInterval: 3 } }),
    });
    const next = await TestNode.start({ store: killed.store, clock: () => node.engine.clock() });
    await pass(1000);
    expect(published(next)).toEqual(['now']);
    await pass(3000);
    expect(published(next)).toEqual(['now', 'later']);
    expect((await next.connect('now', expiring(60))).present).toBe(true);
    await next[Symbol.asyncDispose]();
  });
});

describe('rights that cannot be decided', () => {
  const broken = (): never => {
    throw new Error('broken');
  };

  test('are denied, for that client alone', async () => {
    const node = new TestNode();
    node.hooks.grant = (rights) => {
      if (rights.clientId !== 'broken') return;
      Object.assign(rights, { mayReceive: broken, mayPublish: broken });
    };
    const one = await node.connect('broken', { version: 5, will: will('gone') });
    const others = await Promise.all(['a', 'z'].map((name) => node.connect(name)));
    for (const client of [...others, one]) await client.subscribe(['t', '$share/g/t'], 0);
    one.publish({ topic: 't', payload: 'denied', qos: 1 });
    expect(await one.expect('puback')).toMatchObject({ code: reasonCode.notAuthorized });
    others[0]?.publish({ topic: 't', payload: 'm', qos: 1 });
    await settle();
    expect(others.flatMap(({ payloads }) => payloads)).toEqual(['m', 'm', 'm']);
    expect(one.payloads).toEqual([]);
    one.drop();
    await settle();
    expect(published(node)).toEqual(['t']);
    expect(node.hooks.open).toBe(2);
    expect(node.observer.problems.length).toBeGreaterThanOrEqual(3);
  });

  test('of a subscription end the connection', async () => {
    const node = new TestNode();
    node.hooks.grant = (rights) => Object.assign(rights, { maySubscribe: broken });
    const client = await node.connect('c', { version: 5 });
    client.sendSubscribe('t');
    expect(await client.expect('disconnect')).toMatchObject({ code: 0x83 });
    await client.closed;
    await expectNothing(node);
  });
});

describe('maintenance', () => {
  test('says goodbye to everybody, holds the wills, and keeps the sessions', async () => {
    const node = new TestNode();
    const five = await node.connect('five', {
      version: 5,
      cleanStart: false,
      properties: { sessionExpiryInterval: 60 },
      will: will('five'),
    });
    const four = await node.connect('four', { will: will('four') });
    const coming = node.open();
    await node.engine.closeAll();
    expect(await five.expect('disconnect')).toMatchObject({ code: reasonCode.serverShuttingDown });
    await Promise.all([five.closed, four.closed, coming.closed]);
    await expectNothing(node);
    expect(published(node)).toEqual([]);
    const next = new TestNode({ store: node.store });
    const again = await next.connect('five', {
      version: 5,
      cleanStart: false,
      properties: { sessionExpiryInterval: 60 },
    });
    expect(again.present).toBe(true);
    const heldMs = defaultLimits.shutdownWillSeconds * 1000;
    const due = (ms: number) => next.store.claimDue({ now: START + ms, limit: 9 });
    expect(await due(heldMs - 1)).toEqual([]);
    // Who is back has no will that was of the connection before.
    expect(await due(heldMs)).toMatchObject([{ kind: 'will', record: { clientId: 'four' } }]);
  });

  test('holds a will for as long as its client says, where that is longer', async () => {
    const node = new TestNode();
    await node.connect('c', {
      version: 5,
      cleanStart: false,
      properties: { sessionExpiryInterval: 60 },
      will: will('gone', { properties: { willDelayInterval: 20 } }),
    });
    await node.engine.closeAll();
    expect(await node.store.claimDue({ now: START + 19_999, limit: 9 })).toEqual([]);
    const due = await node.store.claimDue({ now: START + 20_000, limit: 9 });
    expect(due).toMatchObject([{ kind: 'will' }]);
  });

  test('publishes the wills, where they are not to be held, before it ends', async () => {
    const node = new TestNode({ limits: { shutdownWillSeconds: 0 } });
    await node.connect('c', { will: will('gone') });
    await node.engine.closeAll();
    expect(published(node)).toEqual(['gone']);
    expect(await node.store.claimDue({ now: START + 1e9, limit: 9 })).toEqual([]);
  });

  test('holds no will that may not be published any more', async () => {
    const node = new TestNode();
    node.hooks.grant = (rights) => Object.assign(rights, { mayPublish: () => false });
    await node.connect('c', { will: will('gone') });
    await node.engine.closeAll();
    expect(await node.store.claimDue({ now: START + 1e9, limit: 9 })).toEqual([]);
  });

  test('who comes in the middle of it is not let in, and is waited for', async () => {
    const control = new StoreControl(createMemorySessionStore());
    const node = new TestNode({ store: control.store });
    const gate = new Gate();
    control.before.set('openSession', () => gate.pass());
    const client = node.open();
    client.sendConnect({ will: will('never') });
    await until(() => gate.waiting === 1);
    let closed = false;
    const closing = node.engine.closeAll().then(() => (closed = true));
    const later = node.open();
    later.sendConnect({ clientId: 'later' });
    await settle();
    expect(closed).toBe(false);
    gate.open();
    await Promise.all([client.closed, later.closed, closing]);
    expect([...client.received, ...later.received]).toEqual([]);
    await expectNothing(node);
    expect(published(node)).toEqual([]);
  });

  test('waits until the last write for a session is done', async () => {
    const control = new StoreControl(createMemorySessionStore());
    const node = new TestNode({ store: control.store });
    const client = await node.connect('c', { cleanStart: false });
    const gate = new Gate();
    control.before.set('closeSession', () => gate.pass());
    client.drop();
    await until(() => gate.waiting === 1);
    let closed = false;
    const closing = node.engine.closeAll().then(() => (closed = true));
    await settle();
    expect(closed).toBe(false);
    gate.open();
    await closing;
  });
});

describe('in numbers', () => {
  test('10,000 sessions that have come and gone leave nothing', async () => {
    const node = new TestNode();
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all(
        Array.from({ length: 500 }, (_, index) =>
          node.connect(`${round}/${index}`, { cleanStart: true, will: will('w') }),
        ),
      );
      for (const client of clients)
        client.sendSubscribe(['all/#', `own/${client.server.clientId}`]);
      await settle();
      for (const [index, client] of clients.entries()) {
        if (index % 2 === 0) client.drop();
        else client.disconnect();
      }
      await settle();
    }
    await expectNothing(node);
    expect(node.hooks.accepted).toHaveLength(10_000);
    expect(published(node)).toHaveLength(5000);
    expect(node.observer.problems).toEqual([]);
  });
});
