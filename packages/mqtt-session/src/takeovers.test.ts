import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Gate, seededRandom, settle, until } from '../test-support/settle.ts';
import type { TestClient } from '../test-support/test-client.ts';
import { TestBus } from '../test-support/test-kernel.ts';
import { TestNode } from '../test-support/test-node.ts';
import { distantStore, StoreControl } from '../test-support/test-store.ts';
import { reasonCode } from './codec/reason-code.ts';
import { END_TIMEOUT_MS, RELEASE_TIMEOUT_MS } from './takeovers.ts';

const session = (seconds = 600) =>
  ({ version: 5, cleanStart: false, properties: { sessionExpiryInterval: seconds } }) as const;

const nodes = (store: SessionStore = createMemorySessionStore()) => {
  const bus = new TestBus();
  const one = new TestNode({ nodeId: 'one', bus, store });
  const two = new TestNode({ nodeId: 'two', bus, store });
  return { bus, store, one, two };
};

/** The epochs that the store gives out, in order: which numbers they are is its own business. */
function epochsOf(store: SessionStore): number[] {
  const epochs: number[] = [];
  const open = store.openSession.bind(store);
  store.openSession = async (request) => {
    const opened = await open(request);
    epochs.push(opened.epoch);
    return opened;
  };
  return epochs;
}

const cutOff = (bus: TestBus, one: TestNode, two: TestNode): void => {
  bus.cut.add(`${one.kernel.brokerId} ${two.kernel.brokerId}`);
  bus.cut.add(`${two.kernel.brokerId} ${one.kernel.brokerId}`);
};

describe('a client that comes to another node', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  test('MQTT-5.0 [MQTT-3.1.4-3] is cut where it was, with its session or without', async () => {
    for (const options of [session(), { version: 5 as const }]) {
      const { one, two } = nodes();
      const old = await one.connect('c', options);
      await old.subscribe('t', 1);
      const fresh = await two.connect('c', options);
      expect(fresh.present).toBe('cleanStart' in options);
      expect(await old.expect('disconnect')).toMatchObject({ code: reasonCode.sessionTakenOver });
      await old.closed;
      await settle();
      expect([one.engine.sessionCount, two.engine.sessionCount]).toEqual([0, 1]);
      expect([one.hooks.open, two.hooks.open]).toEqual([0, 1]);
      expect(one.kernel.wanted.size).toBe(0);
    }
  });

  test('is let in when its old node has written its last, and gets what was on its way', async () => {
    const { one, two, store } = nodes();
    const old = await one.connect('c', session());
    await old.subscribe('t', 2);
    const publisher = await one.connect('p', { answers: 'all' });
    publisher.publish({ topic: 't', payload: 'm', qos: 2 });
    await settle();
    const gate = new Gate();
    one.kernel.beforePublish = () => gate.pass();
    old.publish({ topic: 'elsewhere', qos: 2, packetId: 5 });
    await settle();
    const fresh = two.open(5);
    fresh.sendConnect({ clientId: 'c', ...session() });
    await settle();
    expect(fresh.received).toEqual([]);
    gate.open();
    await fresh.expect('connack');
    expect(await fresh.expect('publish')).toMatchObject({ topic: 't', qos: 2, dup: true });
    expect(await store.incomingIds('c')).toEqual([5]);
    fresh.publish({ topic: 'elsewhere', qos: 2, packetId: 5, dup: true });
    await fresh.expect('pubrec');
    expect(two.kernel.published).toEqual([]);
  });

  test('waits for a node that does not answer, but not longer than a second', async () => {
    const { bus, one, two } = nodes();
    await one.connect('c', session());
    cutOff(bus, one, two);
    const fresh = two.open(5);
    fresh.sendConnect({ clientId: 'c', ...session() });
    await settle();
    await vi.advanceTimersByTimeAsync(RELEASE_TIMEOUT_MS - 1);
    expect(fresh.received).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(await fresh.expect('connack')).toMatchObject({ sessionPresent: true });
  });

  test('and begins a new session waits until a share group has what the old one was owed, but not for ever', async () => {
    const { bus, one, two } = nodes();
    const old = await one.connect('c', session());
    await old.subscribe('$share/g/t', 1);
    await settle();
    cutOff(bus, one, two);
    const fresh = two.open(5);
    fresh.sendConnect({ clientId: 'c', ...session(), cleanStart: true });
    await settle();
    const asked = two.kernel.signals.find(({ topic }) => topic === 'end');
    expect(JSON.parse(asked?.payload ?? '')).toMatchObject({ at: one.kernel.brokerId });
    two.engine.signalled(one.kernel.brokerId, 'ended', 'another question');
    await vi.advanceTimersByTimeAsync(END_TIMEOUT_MS - 1);
    expect(two.kernel.signals.some(({ topic }) => topic === 'takeover')).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await until(() => two.kernel.signals.some(({ topic }) => topic === 'takeover'));
    await vi.advanceTimersByTimeAsync(RELEASE_TIMEOUT_MS);
    expect(await fresh.expect('connack')).toMatchObject({ sessionPresent: false });
  });

  test('waits for nobody when it said goodbye, or was here', async () => {
    const { bus, one, two } = nodes();
    const old = await one.connect('c', session());
    old.disconnect();
    await old.closed;
    cutOff(bus, one, two);
    const fresh = await two.connect('c', session());
    expect(fresh.present).toBe(true);
    expect((await two.connect('c', session())).present).toBe(true);
  });

  test('an answer to another newcomer, or of another time, is not taken for its own', async () => {
    const { bus, store, one, two } = nodes();
    const epochs = epochsOf(store);
    await one.connect('c', session());
    cutOff(bus, one, two);
    const fresh = two.open(5);
    fresh.sendConnect({ clientId: 'c', ...session() });
    await settle();
    const [earlier = 0, its = 0] = epochs;
    for (const answer of [
      { clientId: 'c', epoch: earlier },
      { clientId: 'd', epoch: its },
    ]) {
      two.engine.signalled('elsewhere', 'released', JSON.stringify(answer));
    }
    await settle();
    expect(fresh.received).toEqual([]);
    two.engine.signalled('elsewhere', 'released', JSON.stringify({ clientId: 'c', epoch: its }));
    await fresh.expect('connack');
  });

  test.each([0, 1, 2])(
    'a takeover with the epoch of an earlier connection, or its own, ends none: %s of 3',
    async (which) => {
      const { store, one } = nodes();
      const epochs = epochsOf(store);
      await one.connect('c', session());
      await one.connect('c', session());
      const client = await one.connect('c', session());
      const epoch = epochs[which];
      one.engine.signalled('elsewhere', 'takeover', JSON.stringify({ clientId: 'c', epoch }));
      await settle();
      expect(client.unread()).toEqual([]);
      const later = { clientId: 'c', epoch: (epochs[2] ?? 0) + 1 };
      one.engine.signalled('elsewhere', 'takeover', JSON.stringify(later));
      expect(await client.expect('disconnect')).toMatchObject({ code: 0x8e });
    },
  );

  test('that is just being let in here when a later one comes elsewhere is not let in', async () => {
    const memory = createMemorySessionStore();
    const control = new StoreControl(memory);
    const bus = new TestBus();
    const one = new TestNode({ nodeId: 'one', bus, store: control.store });
    const two = new TestNode({ nodeId: 'two', bus, store: memory });
    for (const step of ['openSession', 'subscriptionsByClient'] as const) {
      const old = await two.connect('c', session());
      old.disconnect();
      await old.closed;
      const gate = new Gate();
      control.after.set(step, () => gate.pass());
      const early = one.open(5);
      early.sendConnect({ clientId: 'c', ...session() });
      await until(() => gate.waiting === 1);
      const late = two.open(5);
      late.sendConnect({ clientId: 'c', ...session() });
      await settle();
      expect(late.received).toEqual([]);
      gate.open();
      await late.expect('connack');
      await early.closed;
      expect(early.received).toEqual([]);
      expect([one.engine.sessionCount, one.hooks.open, two.engine.sessionCount]).toEqual([0, 0, 1]);
      control.after.clear();
      late.drop();
      await settle();
    }
  });

  test('MQTT-5.0 §3.1.2.5 a delayed will of a session that the newcomer has ended is published at once', async () => {
    const delayed = {
      topic: 'gone',
      payload: Buffer.from('gone'),
      qos: 0,
      retain: false,
      properties: { willDelayInterval: 60 },
    } as const;
    for (const cleanStart of [true, false]) {
      const { one, two } = nodes();
      await one.connect('c', { ...session(), will: delayed });
      await two.connect('c', { ...session(), cleanStart });
      await settle();
      expect(one.kernel.published.length).toBe(cleanStart ? 1 : 0);
    }
  });
});

describe('newcomers on two nodes at the same time', () => {
  const SEED = 40_404;

  test(`100 races: exactly one stays, and it has all of the session (seed ${SEED})`, async () => {
    const random = seededRandom(SEED);
    const pick = (count: number): number => Math.floor(random() * count);
    for (let round = 0; round < 100; round++) {
      const memory = createMemorySessionStore();
      const bus = new TestBus();
      bus.delay = () => settle(pick(8));
      const both = ['one', 'two'].map(
        (nodeId) => new TestNode({ nodeId, bus, store: distantStore(memory, random) }),
      );
      const clients: TestClient[] = [];
      for (let count = 0; count < 4; count++) {
        const client = both[pick(2)]?.open(5);
        if (client === undefined) break;
        client.sendConnect({ clientId: 'c', ...session() });
        client.sendSubscribe('t', 1);
        clients.push(client);
        await settle(pick(20));
      }
      const sessions = (): number => both.reduce((sum, node) => sum + node.engine.sessionCount, 0);
      await until(() => clients.filter(({ socket }) => !socket.destroyed).length === 1);
      await settle(60);
      expect(sessions()).toBe(1);
      expect(both.reduce((sum, node) => sum + node.hooks.open, 0)).toBe(1);
      const left = clients.filter(({ socket }) => !socket.destroyed);
      expect(left).toHaveLength(1);
      await until(() => left[0]?.received.some(({ type }) => type === 'suback') === true);
      const publisher = await both[pick(2)]?.connect('p');
      publisher?.publish({ topic: 't', payload: 'm', qos: 1 });
      await until(() => left[0]?.payloads.length === 1);
    }
  });
});
