import { once } from 'node:events';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { OperationalError } from '@sallyport/errors';
import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import { raw, read, type TestClient, TestNode } from '../../test-support/node.ts';
import { CLIENT_ID_BYTES_MAX, CONNECT_TIMEOUT_MS } from './kernel.ts';
import type { KernelHooks, PublishVerdict } from './kernel-hooks.ts';

const open: TestNode[] = [];
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(open.splice(0).map((node) => node[Symbol.asyncDispose]()));
});

async function start(...options: Parameters<typeof TestNode.start>): Promise<TestNode> {
  const node = await TestNode.start(...options);
  open.push(node);
  return node;
}

/** Everything published before is with the client when this resolves. */
async function settled(publisher: TestClient, ...receivers: TestClient[]): Promise<void> {
  for (const receiver of receivers) {
    await receiver.mqtt.subscribeAsync('settled', { qos: 0 });
    await publisher.mqtt.publishAsync('settled', 'x', { qos: 0 });
    await expect.poll(() => receiver.messages.at(-1)?.topic).toBe('settled');
    await receiver.mqtt.unsubscribeAsync('settled');
    receiver.messages.pop();
  }
}

/** A memory store in which one method is another. */
function storeWith<K extends keyof SessionStore>(
  name: K,
  replace: (original: SessionStore[K]) => SessionStore[K],
): SessionStore {
  const store = createMemorySessionStore();
  return new Proxy(store, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      const bound: unknown = value.bind(target);
      return key === name ? replace(bound as SessionStore[K]) : bound;
    },
  });
}

/** Holds calls back until it is opened. */
class Gate {
  readonly #waiting: (() => void)[] = [];
  #closed = false;
  close(): void {
    this.#closed = true;
  }
  open(): void {
    this.#closed = false;
    for (const go of this.#waiting.splice(0)) go();
  }
  get held(): number {
    return this.#waiting.length;
  }
  async pass(): Promise<void> {
    if (this.#closed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

/** Holds CONNECTs with a will between the restored subscriptions and the CONNACK. */
function gatedWills(gate: Gate): SessionStore {
  return storeWith('putWill', (putWill) => async (...args) => {
    await gate.pass();
    return putWill(...args);
  });
}

const turns = async (count = 20): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

const will = { topic: 'will/c', payload: Buffer.from('gone'), qos: 1 as const, retain: true };

describe('connecting', () => {
  test.each([
    ['bad_credentials', 4],
    ['not_authorized', 5],
    ['server_unavailable', 3],
  ] as const)('MQTT-3.1.1 [MQTT-3.2.2-4] verdict %s is return code %i', async (verdict, code) => {
    const node = await start({ hooks: { authenticate: (_c, _u, _p, _w, done) => done(verdict) } });
    await expect(node.connect('c')).rejects.toMatchObject({ code });
    expect(node.hooks.log).toEqual([]);
  });

  test('the hook sees who connects, from where, with what', async () => {
    const seen: unknown[] = [];
    const node = await start({
      hooks: {
        authenticate: (client, username, password, will, done) => {
          const { clientId, clientIdGenerated, cleanSession, protocolVersion } = client;
          const { listener, peer } = client.connection;
          seen.push({ clientId, clientIdGenerated, cleanSession, protocolVersion, listener, peer });
          seen.push(username, password?.toString(), will?.topic, will?.payload.toString());
          done('accept');
        },
      },
    });
    await node.connect('c', {
      username: 'u',
      password: 'p',
      clean: false,
      will: { topic: 'w/t', payload: Buffer.from('gone'), qos: 1, retain: false },
    });
    await node.connect('d');
    expect(seen).toEqual([
      {
        clientId: 'c',
        clientIdGenerated: false,
        cleanSession: false,
        protocolVersion: 4,
        listener: 'tcp:default',
        peer: expect.stringMatching(/^127\.0\.0\.1:[0-9]+$/) as string,
      },
      ...['u', 'p', 'w/t', 'gone'],
      expect.objectContaining({ clientId: 'd', cleanSession: true }),
      ...[undefined, undefined, undefined, undefined],
    ]);
  });

  test('MQTT-3.1.1 [MQTT-3.1.3-8] an empty client id without clean session is rejected', async () => {
    const authenticate = vi.fn<KernelHooks['authenticate']>();
    const node = await start({ hooks: { authenticate } });
    const socket = await node.dial();
    socket.write(raw.connect('', false));
    expect((await read(socket, 4)).toString('hex')).toBe('20020002');
    expect(authenticate).not.toHaveBeenCalled();
  });

  test('MQTT-3.1.1 [MQTT-3.1.3-6] an empty client id with clean session gets one of ours', async () => {
    const node = await start();
    const socket = await node.dial();
    socket.write(raw.connect(''));
    expect((await read(socket, 4)).toString('hex')).toBe('20020000');
    expect(node.hooks.clients[0]).toMatchObject({
      clientId: expect.stringMatching(/^auto-/) as string,
      clientIdGenerated: true,
    });
    socket.destroy();
  });

  test('client ids of the limit connect, one byte more is rejected, names of prototypes are names', async () => {
    const node = await start();
    for (const id of ['__proto__', 'constructor', 'x'.repeat(CLIENT_ID_BYTES_MAX)]) {
      const client = await node.connect(id, { clean: false });
      await client.mqtt.subscribeAsync(`${id}/x`, { qos: 1 });
    }
    const long = `ü${'x'.repeat(CLIENT_ID_BYTES_MAX - 1)}`;
    await expect(node.connect(long)).rejects.toMatchObject({ code: 2 });
  });

  test('a client id or a will topic that is not valid closes the connection before any hook', async () => {
    const authenticate = vi.fn<KernelHooks['authenticate']>();
    const node = await start({ hooks: { authenticate } });
    const will = { payload: Buffer.from('x'), qos: 0 as const, retain: false };
    for (const topic of ['a/#', '+', 'a\u0001', '']) {
      const socket = await node.dial();
      const bytes = Buffer.from(raw.connect('c'));
      bytes[9] = 0x06; // Will flag.
      const text = (value: string): Buffer =>
        Buffer.concat([Buffer.from([0, Buffer.byteLength(value)]), Buffer.from(value)]);
      const body = Buffer.concat([bytes.subarray(2), text(topic), text(will.payload.toString())]);
      socket.write(Buffer.concat([Buffer.from([0x10, body.length]), body]));
      expect(await read(socket, 4)).toHaveLength(0);
    }
    const socket = await node.dial();
    socket.write(raw.connect('a\u0007'));
    expect(await read(socket, 4)).toHaveLength(0);
    expect(authenticate).not.toHaveBeenCalled();
  });

  test.each([
    ['nothing is sent', Buffer.alloc(0)],
    ['half a CONNECT is sent', raw.connect('c').subarray(0, 9)],
    ['authenticate never answers', raw.connect('c')],
  ])('the connect deadline holds when %s', async (_title, bytes) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const authenticate = vi.fn<KernelHooks['authenticate']>();
    const node = await start({ hooks: { authenticate } });
    const socket = await node.dial();
    const end = read(socket, 1);
    socket.write(bytes);
    while (node.listener.connections === 0) await turns(1);
    await turns();
    vi.advanceTimersByTime(CONNECT_TIMEOUT_MS - 1);
    await turns();
    expect(node.listener.connections).toBe(1);
    vi.advanceTimersByTime(1);
    expect(await end).toHaveLength(0);
    await turns();
    expect(node.listener.connections).toBe(0);
    expect(authenticate).toHaveBeenCalledTimes(bytes.length > 9 ? 1 : 0);
    authenticate.mock.lastCall?.[4]('accept'); // Too late.
    await turns();
    expect(node.hooks.log).toEqual([]);
  });

  test('after the CONNACK the deadline is over', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const node = await start();
    const socket = await node.dial();
    socket.write(raw.connect('c'));
    await once(socket, 'data');
    await turns(); // Until the kernel knows that it has been written.
    vi.advanceTimersByTime(CONNECT_TIMEOUT_MS);
    await turns();
    expect(node.listener.connections).toBe(1);
    socket.destroy();
  });

  test('MQTT-3.1.1 [MQTT-3.1.4-2] a CONNECT with a connected client id disconnects the earlier client', async () => {
    const node = await start();
    const first = await node.connect('c');
    const second = await node.connect('c');
    await first.closed;
    await second.mqtt.subscribeAsync('a', { qos: 1 });
    await second.mqtt.publishAsync('a', '1', { qos: 1 });
    await expect.poll(() => second.texts).toEqual(['a=1']);
    expect(node.hooks.log).toEqual(['+c', '-c', '+c']);
  });

  test('of many that come with one client id at once, one stays', async () => {
    const gate = new Gate();
    const node = await start({ store: gatedWills(gate) });
    const first = await node.connect('c', { clean: false });
    await first.subscribe(['a']); // So that closing takes the kernel more than one turn.
    gate.close();
    const others = Array.from({ length: 5 }, () => node.connect('c', { clean: false, will }));
    const settling = Promise.allSettled(others);
    await expect.poll(() => gate.held).toBe(5);
    gate.open();
    await settling;
    await expect.poll(() => node.listener.connections).toBe(1);
    const count = (sign: string): number =>
      node.hooks.log.filter((line) => line.startsWith(sign)).length;
    await expect.poll(() => count('+') - count('-')).toBe(1);
    await node.kernel.closeAll(); // The one that is left is the one that the kernel knows.
    expect(count('+') - count('-')).toBe(0);
    await expect.poll(() => node.listener.connections).toBe(0);
  });

  test('a client that goes while its session is loaded never was there, and leaves no will', async () => {
    const gate = new Gate();
    const node = await start({ store: gatedWills(gate) });
    gate.close();
    const connecting = node.connect('c', { clean: false, will });
    await expect.poll(() => gate.held).toBe(1);
    node.lastMqtt.stream.destroy();
    await expect(connecting).rejects.toThrow();
    await expect.poll(() => node.listener.connections).toBe(0);
    gate.open();
    await turns();
    expect(node.hooks.log).toEqual([]);
    expect(await node.store.streamWill({}).toArray()).toEqual([]);
    await node.connect('c', { clean: false });
    expect(node.hooks.log).toEqual(['+c']);
  });
});

describe('publishing', () => {
  test.each([0, 1, 2] as const)('QoS %i reaches subscribers of every QoS', async (qos) => {
    const node = await start();
    const publisher = await node.connect('p');
    const receivers: TestClient[] = [];
    for (const granted of [0, 1, 2] as const) {
      const receiver = await node.connect(`r${granted}`, { clean: granted === 0 });
      expect(await receiver.mqtt.subscribeAsync('a/b', { qos: granted })).toMatchObject([
        { topic: 'a/b', qos: granted },
      ]);
      receivers.push(receiver);
    }
    await publisher.mqtt.publishAsync('a/b', 'x', { qos });
    await settled(publisher, ...receivers);
    for (const [granted, receiver] of receivers.entries()) {
      expect(receiver.messages).toEqual([
        { topic: 'a/b', payload: 'x', qos: Math.min(qos, granted), retain: false },
      ]);
    }
  });

  test('a message that several filters of a client match comes once', async () => {
    const node = await start();
    const [publisher, receiver] = [await node.connect('p'), await node.connect('r')];
    for (const filter of ['a/b', 'a/+', '#', 'a/#']) {
      await receiver.mqtt.subscribeAsync(filter, { qos: 1 });
    }
    for (const qos of [0, 1, 0, 2] as const) await publisher.mqtt.publishAsync('a/b', 'x', { qos });
    await expect.poll(() => receiver.messages.length).toBeGreaterThanOrEqual(4);
    await settled(publisher, receiver);
    expect(receiver.messages).toHaveLength(4);
  });

  test('QoS 1 that waits for the store is not lost when QoS 0 overtakes it', async () => {
    const gate = new Gate();
    const store = storeWith('outgoingEnqueueCombi', (enqueue) => async (...args) => {
      await gate.pass();
      return enqueue(...args);
    });
    const node = await start({ store });
    const receiver = await node.connect('r', { clean: false });
    const publisher = await node.connect('p');
    await receiver.subscribe(['a'], 1);
    gate.close();
    await publisher.mqtt.publishAsync('a', 'waits', { qos: 1 });
    await expect.poll(() => gate.held).toBe(1);
    await publisher.mqtt.publishAsync('a', 'overtakes', { qos: 0 });
    await expect.poll(() => receiver.texts).toEqual(['a=overtakes']);
    gate.open();
    await expect.poll(() => receiver.texts).toEqual(['a=overtakes', 'a=waits']);
  });

  test('MQTT-3.1.1 [MQTT-3.2.0-1] the CONNACK comes before any message of a restored session', async () => {
    const gate = new Gate();
    const node = await start({ store: gatedWills(gate) });
    const first = await node.connect('c', { clean: false });
    await first.subscribe(['a', '#'], 2);
    await first.mqtt.endAsync();
    const publisher = await node.connect('p');
    gate.close();
    const connecting = node.connect('c', { clean: false, will });
    await expect.poll(() => gate.held).toBe(1);
    for (const qos of [0, 1, 2] as const) {
      await publisher.mqtt.publishAsync('a', String(qos), { qos });
    }
    await publisher.mqtt.publishAsync('b', 'last', { qos: 2 });
    gate.open();
    const second = await connecting;
    const expected = ['a=1', 'a=2', 'b=last'];
    await expect.poll(() => second.texts.toSorted()).toEqual(expected);
    await settled(publisher, second);
    expect(second.texts.toSorted()).toEqual(expected);
  });

  test.each([0, 1, 2] as const)(
    'drop: QoS %i is acknowledged, and not retained, queued or delivered',
    async (qos) => {
      const node = await start({
        hooks: {
          authorizePublish: (_client, { topic }, done) => done(topic === 'a' ? 'drop' : 'allow'),
        },
      });
      const publisher = await node.connect('p');
      const sleeper = await node.connect('s', { clean: false });
      await sleeper.mqtt.subscribeAsync('#', { qos: 2 });
      await sleeper.mqtt.endAsync();
      const receiver = await node.connect('r');
      await receiver.mqtt.subscribeAsync('#', { qos: 2 });
      await publisher.mqtt.publishAsync('a', 'no', { qos, retain: true });
      await publisher.mqtt.publishAsync('b', 'yes', { qos: 1 });
      await settled(publisher, receiver);
      expect(receiver.texts).toEqual(['b=yes']);
      const late = await node.connect('l');
      await late.mqtt.subscribeAsync('a', { qos: 1 });
      const back = await node.connect('s', { clean: false });
      await expect.poll(() => back.texts).toEqual(['b=yes']);
      await settled(publisher, late);
      expect(late.texts).toEqual([]);
      expect(node.hooks.log).not.toContain('-p');
    },
  );

  test('disconnect: the connection ends, and nothing is stored', async () => {
    const node = await start({
      hooks: { authorizePublish: (_client, _packet, done) => done('disconnect') },
    });
    const publisher = await node.connect('p');
    publisher.mqtt.publish('a', 'no', { qos: 1, retain: true });
    await publisher.closed;
    const stored: unknown[] = [];
    for await (const packet of node.store.createRetainedStream('#')) stored.push(packet);
    expect(stored).toEqual([]);
  });

  test.each(['a/+', '#', 'a\u0001', '', 'a/'.repeat(32), 'x'.repeat(1025)])(
    'topic name %j closes the connection before any hook',
    async (topic) => {
      const authorizePublish = vi.fn<KernelHooks['authorizePublish']>();
      const node = await start({ hooks: { authorizePublish } });
      const socket = await node.dial();
      socket.write(Buffer.concat([raw.connect('c'), raw.publish(topic)]));
      await new Promise((resolve) => socket.once('close', resolve).resume());
      expect(authorizePublish).not.toHaveBeenCalled();
    },
  );

  test('whatever the rules say, nobody drives the nodes through $SYS', async () => {
    const node = await start();
    const victim = await node.connect('victim');
    const mallory = await node.connect('mallory');
    await mallory.mqtt.publishAsync('$SYS/other/new/clients', 'victim', { qos: 1 });
    const sub = JSON.stringify({ clientId: 'victim', subs: [{ topic: 'x', qos: 1 }] });
    await mallory.mqtt.publishAsync('$SYS/sub/add', sub, { qos: 1 });
    await settled(mallory, victim);
    expect(victim.mqtt.connected).toBe(true);
  });
});

describe('subscribing', () => {
  test.each(['a#', '+a', 'a+', 'a/b#', 'a/+b', '#/a', 'a\u0000', '', '$share/g/a', '$share//a'])(
    'filter %j is denied, or closes the connection, before any hook',
    async (filter) => {
      const authorizeSubscribe = vi.fn<KernelHooks['authorizeSubscribe']>();
      const node = await start({ hooks: { authorizeSubscribe } });
      const socket = await node.dial();
      socket.write(Buffer.concat([raw.connect('c', false), raw.subscribe(filter)]));
      const answer = (await read(socket, 9)).toString('hex');
      expect(['20020000', '200200009003000180']).toContain(answer);
      expect(authorizeSubscribe).not.toHaveBeenCalled();
      expect(await node.store.subscriptionsByClient({ id: 'c' })).toEqual([]);
      socket.destroy();
    },
  );

  const deny =
    (denied: string, delays: readonly [number, number]): KernelHooks['authorizeSubscribe'] =>
    (_client, { filter }, done) => {
      const isDenied = filter === denied;
      setTimeout(() => done(!isDenied), delays[isDenied ? 1 : 0]);
    };

  test.each([
    [
      ['yes', 'no'],
      [0, 0],
    ],
    [
      ['no', 'yes'],
      [0, 0],
    ],
    [
      ['yes', 'no'],
      [0, 20],
    ],
    [
      ['yes', 'no'],
      [20, 0],
    ],
    [
      ['no', 'yes'],
      [0, 20],
    ],
    [
      ['no', 'yes', 'more/#'],
      [20, 0],
    ],
  ] as [string[], [number, number]][])(
    'A1: of %j, answered after %j ms, the denied filter is never stored',
    async (filters, delays) => {
      const node = await start({ hooks: { authorizeSubscribe: deny('no', delays) } });
      const first = await node.connect('c', { clean: false });
      expect(await first.subscribe(filters)).toEqual(
        filters.map((filter) => (filter === 'no' ? 128 : 1)),
      );
      const allowed = filters.filter((filter) => filter !== 'no').sort();
      const stored = await node.store.subscriptionsByClient({ id: 'c' });
      expect(stored.map(({ topic }) => topic).sort()).toEqual(allowed);
      expect(await node.store.subscriptionsByTopic('no')).toEqual([]);
      await first.mqtt.endAsync();
      const publisher = await node.connect('p');
      await publisher.mqtt.publishAsync('no', '1', { qos: 1 });
      await publisher.mqtt.publishAsync('yes', '1', { qos: 1 });
      const second = await node.connect('c', { clean: false });
      await publisher.mqtt.publishAsync('no', '2', { qos: 1 });
      await publisher.mqtt.publishAsync('yes', '2', { qos: 1 });
      await settled(publisher, second);
      expect(second.texts).toEqual(['yes=1', 'yes=2']);
    },
  );

  test('a filter that was granted once is not stored again after it is denied', async () => {
    let allowed = true;
    const node = await start({
      hooks: {
        authorizeSubscribe: (_client, { filter }, done) => done(allowed || filter === 'other'),
      },
    });
    const client = await node.connect('c', { clean: false });
    await client.mqtt.subscribeAsync('a', { qos: 1 });
    await client.mqtt.unsubscribeAsync('a');
    allowed = false;
    expect(await client.subscribe(['a', 'other'])).toEqual([128, 1]);
    expect(await node.store.subscriptionsByClient({ id: 'c' })).toMatchObject([{ topic: 'other' }]);
  });

  test('a restored filter that is denied now leaves the store and gets nothing, queued or new', async () => {
    let allowed = true;
    const node = await start({
      hooks: {
        authorizeSubscribe: (_client, { filter }, done) => done(allowed || filter === 'keep'),
        authorizeForward: (_client, topic) => allowed || topic !== 'lose',
      },
    });
    const first = await node.connect('c', { clean: false });
    await first.mqtt.subscribeAsync({ keep: { qos: 1 }, lose: { qos: 1 } });
    await first.mqtt.endAsync();
    const publisher = await node.connect('p');
    for (const topic of ['keep', 'lose']) await publisher.mqtt.publishAsync(topic, '1', { qos: 1 });
    allowed = false;
    const second = await node.connect('c', { clean: false });
    expect(await node.store.subscriptionsByClient({ id: 'c' })).toMatchObject([{ topic: 'keep' }]);
    for (const topic of ['keep', 'lose']) await publisher.mqtt.publishAsync(topic, '2', { qos: 1 });
    await second.mqtt.endAsync();
    for (const topic of ['keep', 'lose']) await publisher.mqtt.publishAsync(topic, '3', { qos: 1 });
    allowed = true;
    const third = await node.connect('c', { clean: false });
    await expect.poll(() => third.texts).toEqual(['keep=3']);
    expect(second.texts).toEqual(['keep=1', 'keep=2']);
  });

  test('authorizeForward is asked for live, retained and queued messages', async () => {
    const asked: string[] = [];
    const node = await start({
      hooks: {
        authorizeForward: ({ clientId }, topic) => {
          if (clientId === 'c') asked.push(topic);
          return !topic.startsWith('secret/');
        },
      },
    });
    const publisher = await node.connect('p');
    const both = async (kind: string, retain = false): Promise<void> => {
      for (const space of ['secret', 'open']) {
        await publisher.mqtt.publishAsync(`${space}/${kind}`, 'x', { qos: 1, retain });
      }
    };
    await both('retained', true);
    const first = await node.connect('c', { clean: false });
    await first.mqtt.subscribeAsync('#', { qos: 1 });
    await expect.poll(() => first.texts).toEqual(['open/retained=x']);
    expect(first.messages[0]?.retain).toBe(true);
    await both('live');
    await expect.poll(() => first.texts.at(-1)).toBe('open/live=x');
    await first.mqtt.endAsync();
    await both('queued');
    const second = await node.connect('c', { clean: false });
    await expect.poll(() => second.texts).toEqual(['open/queued=x']);
    expect(first.texts).toEqual(['open/retained=x', 'open/live=x']);
    for (const kind of ['retained', 'live', 'queued']) {
      expect(asked).toContain(`secret/${kind}`);
      expect(asked).toContain(`open/${kind}`);
    }
  });
});

describe('wills', () => {
  const watch = async (node: TestNode): Promise<TestClient> => {
    const watcher = await node.connect('watcher');
    await watcher.mqtt.subscribeAsync('will/#', { qos: 1 });
    return watcher;
  };
  const stored = (node: TestNode): Promise<unknown[]> => node.store.streamWill({}).toArray();

  test.each([
    ['allow', ['will/c=gone']],
    ['drop', []],
    ['disconnect', []],
  ] as [PublishVerdict, string[]][])('a lost client with verdict %s', async (verdict, expected) => {
    const node = await start({
      hooks: {
        authorizePublish: (_client, { topic }, done) =>
          done(topic.startsWith('will/') ? verdict : 'allow'),
      },
    });
    const watcher = await watch(node);
    const client = await node.connect('c', { will });
    client.mqtt.stream.destroy();
    await expect.poll(() => node.hooks.log.at(-1)).toBe('-c');
    await expect.poll(() => stored(node)).toEqual([]);
    await settled(watcher, watcher);
    expect(watcher.texts).toEqual(expected);
    const late = await node.connect('late');
    await late.mqtt.subscribeAsync('will/#', { qos: 1 });
    await settled(watcher, late);
    expect(late.texts).toEqual(expected);
  });

  test('MQTT-3.1.1 [MQTT-3.1.2-10] after a DISCONNECT there is none', async () => {
    const node = await start();
    const watcher = await watch(node);
    const client = await node.connect('c', { will });
    await client.mqtt.endAsync();
    await expect.poll(() => node.hooks.log.at(-1)).toBe('-c');
    await settled(watcher, watcher);
    expect(watcher.texts).toEqual([]);
    expect(await stored(node)).toEqual([]);
  });

  test('disconnect publishes it; closeAll deletes it unpublished, for all clients', async () => {
    const node = await start();
    const watcher = await watch(node);
    const first = await node.connect('c', { will });
    const handle = node.hooks.clients.at(-1);
    if (handle === undefined) throw new Error('nobody connected');
    await node.kernel.disconnect(handle);
    await first.closed;
    await expect.poll(() => watcher.texts).toEqual(['will/c=gone']);
    const publish = vi.spyOn(node.hooks, 'authorizePublish');
    const second = await node.connect('d', { will });
    const halfOpen = await node.dial();
    await expect.poll(() => node.listener.connections).toBe(3);
    const end = read(halfOpen, 1);
    await node.kernel.closeAll();
    await Promise.all([second.closed, watcher.closed, end]);
    await expect.poll(() => node.listener.connections).toBe(0);
    expect(publish).not.toHaveBeenCalled();
    expect(await stored(node)).toEqual([]);
    expect(node.hooks.log.filter((line) => line.startsWith('-'))).toHaveLength(3);
  });
});

describe('when something of ours fails', () => {
  const fail = (): never => {
    throw new Error('a bug in a hook');
  };

  test('a hook that throws has refused, and the next client is served', async () => {
    const node = await start({ hooks: { authenticate: fail } });
    await expect(node.connect('c')).rejects.toMatchObject({ code: 3 });
    node.hooks.authenticate = (_client, _user, _password, _will, done) => done('accept');
    node.hooks.authorizeSubscribe = fail;
    const client = await node.connect('c');
    expect(await client.subscribe(['a'])).toEqual([128]);
    node.hooks.authorizeSubscribe = (_client, _subscription, done) => done(true);
    node.hooks.authorizeForward = fail;
    await client.mqtt.subscribeAsync('a', { qos: 1 });
    await client.mqtt.publishAsync('a', 'x', { qos: 1 });
    await client.mqtt.publishAsync('a', 'x', { qos: 1 });
    expect(client.texts).toEqual([]);
    node.hooks.authorizePublish = fail;
    client.mqtt.publish('a', 'x', { qos: 0 });
    await client.closed;
    expect(node.problems.map((problem) => problem.code)).toEqual(Array(5).fill('internal'));
  });

  test('a hook that answers twice has answered once', async () => {
    const node = await start({
      hooks: {
        authorizeSubscribe: (_client, _subscription, done) => {
          done(false);
          done(true);
        },
      },
    });
    const client = await node.connect('c', { clean: false });
    expect(await client.subscribe(['a'])).toEqual([128]);
    expect(await node.store.subscriptionsByClient({ id: 'c' })).toEqual([]);
  });

  test('a will that cannot be deleted is reported, and the client connects', async () => {
    const failure = new OperationalError('session_store_unavailable', 'away');
    const store = storeWith('delWill', () => () => Promise.reject(failure));
    const node = await start({ store });
    await node.connect('c');
    expect(node.problems).toEqual([failure]);
  });

  test('a store that fails ends the connections that need it, and not the process', async () => {
    const failure = new OperationalError('session_store_unavailable', 'away');
    let away = false;
    const store = new Proxy(createMemorySessionStore(), {
      get(target, key) {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        if (key === 'setup') return value.bind(target) as unknown; // The kernel looks at its kind.
        return (...args: unknown[]): unknown => {
          if (!away) return Reflect.apply(value, target, args);
          if (!/stream/i.test(String(key))) return Promise.reject(failure);
          return new Readable({ read: () => undefined }).destroy(failure);
        };
      },
    });
    const node = await start({ store });
    const will = { topic: 'w', payload: Buffer.from('x'), qos: 1 as const, retain: true };
    const subscriber = await node.connect('s', { clean: false, will });
    await subscriber.mqtt.subscribeAsync('a', { qos: 1 });
    const reader = await node.connect('reader');
    const publisher = await node.connect('p');
    away = true;
    publisher.mqtt.publish('a', 'x', { qos: 2 });
    await publisher.closed;
    await reader.mqtt.subscribeAsync('b', { qos: 0 });
    subscriber.mqtt.stream.destroy();
    await expect(node.connect('t', { clean: false, connectTimeout: 500 })).rejects.toThrow();
    await expect.poll(() => node.hooks.log).toContain('-s');
    expect(reader.mqtt.connected).toBe(true);
    expect(node.problems).toContain(failure);
    away = false;
    await node.connect('t', { clean: false });
  });
});
