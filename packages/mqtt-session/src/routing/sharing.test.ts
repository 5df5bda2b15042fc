import { createMemorySessionStore } from '@sallyport/session-store';
import { describe, expect, test } from 'vitest';
import { Gate, settle, until } from '../../test-support/settle.ts';
import type { TestClient } from '../../test-support/test-client.ts';
import { TestBus } from '../../test-support/test-kernel.ts';
import { TestNode } from '../../test-support/test-node.ts';
import { StoreControl } from '../../test-support/test-store.ts';

const SHARED = '$share/g/t/#';
const persistent = {
  version: 5,
  cleanStart: false,
  properties: { sessionExpiryInterval: 600 },
} as const;

const counts = (...clients: TestClient[]): number[] =>
  clients.map(({ payloads }) => payloads.length);

const all = (...clients: TestClient[]): string[] =>
  clients.flatMap(({ payloads }) => payloads).sort();

async function publishMany(
  publisher: TestClient,
  count: number,
  qos: 0 | 1 | 2 = 1,
): Promise<string[]> {
  const payloads = Array.from({ length: count }, (_, index) => `m${1000 + index}`);
  for (const payload of payloads) publisher.publish({ topic: 't/x', payload, qos });
  await settle(20);
  return payloads;
}

describe('a share group', () => {
  test.each([0, 1, 2] as const)(
    'MQTT-5.0 [MQTT-4.8.2-4] QoS %s: each message to one member, in turn',
    async (qos) => {
      const node = new TestNode();
      const members = await Promise.all(
        ['a', 'b', 'c'].map((name) => node.connect(name, { answers: 'all' })),
      );
      for (const member of members) await member.subscribe(SHARED, 2);
      const payloads = await publishMany(await node.connect('p', { answers: 'all' }), 30, qos);
      expect(counts(...members)).toEqual([10, 10, 10]);
      expect(all(...members)).toEqual(payloads);
    },
  );

  test('has a member for what is published before its node has heard of that one, who has gone again', async () => {
    const bus = new TestBus();
    const store = createMemorySessionStore();
    const [near, far] = ['near', 'far'].map((nodeId) => new TestNode({ bus, nodeId, store }));
    if (near === undefined || far === undefined) throw new Error('no nodes');
    await settle();
    // By the time the message is stored, the subscription is: the SUBACK came before the PUBLISH.
    near.kernel.beforePublish = async () => {
      near.kernel.beforePublish = undefined;
      const member = await far.connect('m', { answers: 'all', ...persistent });
      await member.subscribe(SHARED, 1);
      await settle();
      member.drop();
      await settle();
    };
    const sent = await publishMany(await near.connect('p', { answers: 'all' }), 1);
    await settle();
    const back = await far.connect('m', { answers: 'all', ...persistent });
    await settle();
    expect(all(back)).toEqual(sent);
  });

  describe('of which the node of the publisher has not heard yet', () => {
    /** Nodes that never hear of the members of `far` and `farther`, which hear of each other. */
    async function nodes() {
      const bus = new TestBus();
      const store = createMemorySessionStore();
      const [near, far, farther] = ['near', 'far', 'farther'].map(
        (nodeId) => new TestNode({ bus, nodeId, store }),
      );
      if (near === undefined || far === undefined || farther === undefined) throw new Error('none');
      await settle();
      near.engine.signalled = () => undefined;
      return { near, far, farther };
    }

    test.each([0, 1, 2] as const)('QoS %s: has one member for each message', async (qos) => {
      const { near, far, farther } = await nodes();
      const members = await Promise.all([
        far.connect('a', { answers: 'all' }),
        far.connect('b', { answers: 'all' }),
        farther.connect('c', { answers: 'all' }),
      ]);
      for (const member of members) await member.subscribe(SHARED, 2);
      await settle();
      const publisher = await near.connect('p', { answers: 'all' });
      const payloads = await publishMany(publisher, 30, qos);
      await settle(20);
      expect(all(...members)).toEqual(payloads);
      expect(counts(...members)).toEqual([10, 10, 10]);
    });

    test('passes over members that may not receive it', async () => {
      const { near, far, farther } = await nodes();
      for (const node of [far, farther]) {
        node.hooks.grant = (rights) => {
          if (rights.clientId === 'blind') rights.noReceive.add('t/x');
        };
      }
      const blind = await far.connect('blind', { answers: 'all' });
      const seeing = await farther.connect('seeing', { answers: 'all' });
      for (const member of [blind, seeing]) await member.subscribe(SHARED, 1);
      await settle();
      const payloads = await publishMany(await near.connect('p', { answers: 'all' }), 4);
      await settle(20);
      expect(all(seeing)).toEqual(payloads);
      expect(all(blind)).toEqual([]);
    });

    test('leaves to the group of the publisher\u2019s node what that has picked', async () => {
      const { near, far } = await nodes();
      const known = await near.connect('known', { answers: 'all' });
      const unknown = await far.connect('unknown', { answers: 'all' });
      for (const member of [known, unknown]) await member.subscribe(SHARED, 1);
      await settle();
      const payloads = await publishMany(await near.connect('p', { answers: 'all' }), 4);
      expect(all(known)).toEqual(payloads);
      expect(all(unknown)).toEqual([]);
    });

    test('gives it at once to one with a stored session that is connected, and once', async () => {
      const { near, far } = await nodes();
      near.kernel.beforePublish = async () => {
        near.kernel.beforePublish = undefined;
        const stored = await far.connect('stored', { answers: 'all', ...persistent });
        const fleeting = await far.connect('fleeting', { answers: 'all' });
        for (const member of [stored, fleeting]) await member.subscribe(SHARED, 1);
        members.push(stored, fleeting);
        await settle();
      };
      const members: TestClient[] = [];
      const sent = await publishMany(await near.connect('p', { answers: 'all' }), 1);
      await settle(20);
      expect(all(...members)).toEqual(sent);
      const queue = await far.store.readQueue('stored', { after: 0, limit: 10 });
      expect(queue).toEqual([]);
    });
  });

  test('does not change what others get, nor members by subscriptions of their own', async () => {
    const node = new TestNode();
    const member = await node.connect('a', { answers: 'all' });
    await member.subscribe([SHARED, 't/x'], 1);
    const other = await node.connect('o', { answers: 'all' });
    await other.subscribe('t/+', 1);
    const otherGroup = await node.connect('h', { answers: 'all' });
    await otherGroup.subscribe('$share/h/t/#', 1);
    await publishMany(await node.connect('p'), 5);
    expect(counts(member, other, otherGroup)).toEqual([10, 5, 5]);
  });

  test('passes over members whose window is full, and gives to one of them when all are', async () => {
    const node = new TestNode();
    const slow = await node.connect('slow', { version: 5, properties: { receiveMaximum: 2 } });
    const fast = await node.connect('fast', { version: 5, answers: 'all' });
    for (const member of [slow, fast]) await member.subscribe(SHARED, 1);
    await publishMany(await node.connect('p'), 20);
    expect(counts(slow, fast)).toEqual([2, 18]);
    fast.drop();
    await settle();
    await publishMany(await node.connect('p2'), 2);
    for (const packet of slow.publishes) slow.ack('puback', packet.packetId);
    await settle();
    expect(slow.payloads).toHaveLength(4);
  });

  test('passes over members whose socket is full, with QoS 0 too', async () => {
    const node = new TestNode({ limits: { socketBufferBytesMax: 5000 } });
    const frozen = await node.connect('frozen');
    const fine = await node.connect('fine');
    for (const member of [frozen, fine]) await member.subscribe(SHARED, 0);
    frozen.socket.freeze();
    const publisher = await node.connect('p');
    for (let count = 0; count < 100; count++) {
      publisher.publish({ topic: 't/x', payload: 'x'.repeat(1000) });
      await settle(2);
    }
    expect(fine.payloads.length).toBeGreaterThan(65);
    expect(node.observer.of('delivery_dropped')).toBe(0);
  });

  test('picks no member that may not receive, even if nobody else is there', async () => {
    const node = new TestNode();
    node.hooks.grant = (rights) => {
      if (rights.clientId.startsWith('blind')) rights.noReceive.add('t/x');
    };
    const blind = await node.connect('blind', { answers: 'all' });
    const seeing = await node.connect('seeing', { answers: 'all' });
    for (const member of [blind, seeing]) await member.subscribe(SHARED, 1);
    const publisher = await node.connect('p');
    await publishMany(publisher, 10);
    expect(counts(blind, seeing)).toEqual([0, 10]);
    seeing.drop();
    await settle();
    await publishMany(publisher, 3);
    expect(counts(blind)).toEqual([0]);
    expect(node.observer.of('delivery_denied')).toBe(0);
  });

  test('a member that subscribes again with another QoS is one member with that', async () => {
    const node = new TestNode();
    const member = await node.connect('a', { version: 5, answers: 'all' });
    await member.subscribe(SHARED, 2, { subscriptionIdentifiers: [1] });
    await member.subscribe(SHARED, 1, { subscriptionIdentifiers: [2] });
    await publishMany(await node.connect('p', { answers: 'all' }), 2, 2);
    expect(member.publishes).toMatchObject([
      { qos: 1, properties: { subscriptionIdentifiers: [2] } },
      { qos: 1, properties: { subscriptionIdentifiers: [2] } },
    ]);
  });
});

describe('a member that leaves', () => {
  test('MQTT-5.0 [MQTT-4.8.2-5] hands on what it has not acknowledged of QoS 1, and of QoS 2 what was not sent', async () => {
    for (const qos of [1, 2] as const) {
      const node = new TestNode();
      const leaving = await node.connect('leaving', {
        version: 5,
        properties: { receiveMaximum: 3 },
      });
      await leaving.subscribe(SHARED, 2);
      const payloads = await publishMany(await node.connect('p', { answers: 'all' }), 8, qos);
      expect(leaving.payloads).toHaveLength(3);
      if (qos === 1) leaving.ack('puback', 2);
      await settle();
      const staying = await node.connect('staying', { answers: 'all' });
      await staying.subscribe(SHARED, 2);
      leaving.drop();
      await settle(30);
      const expected = payloads.filter((_, index) => (qos === 1 ? index !== 1 : index > 2));
      expect(staying.payloads.sort()).toEqual(expected);
    }
  });

  test('by UNSUBSCRIBE hands on what waits, and nothing to itself', async () => {
    for (const session of [{}, persistent]) {
      const node = new TestNode();
      const leaving = await node.connect('leaving', {
        ...session,
        version: 5,
        properties: { receiveMaximum: 1, sessionExpiryInterval: 600 },
      });
      await leaving.subscribe(SHARED, 1);
      const publisher = await node.connect('p');
      await publishMany(publisher, 3);
      leaving.unread();
      await leaving.unsubscribe(SHARED);
      await settle();
      const [sent, ...others] = await node.store.readQueue('leaving', { after: 0, limit: 10 });
      expect(sent?.state).toBe('sent');
      expect(others).toEqual([]);
      expect(leaving.payloads).toHaveLength(1);
    }
  });

  test('by UNSUBSCRIBE, when the store has its message already: the message goes to another, and comes once', async () => {
    for (const qos of [1, 2] as const) {
      const control = new StoreControl(createMemorySessionStore());
      const node = new TestNode({ store: control.store });
      const leaving = await node.connect('leaving', { ...persistent, answers: 'all' });
      await leaving.subscribe(SHARED, 2);
      const publisher = await node.connect('p', { answers: 'all' });
      const gate = new Gate();
      control.after.set('outgoingEnqueueCombi', () => gate.pass());
      publisher.publish({ topic: 't/x', payload: 'm', qos });
      await until(() => gate.waiting === 1);
      const staying = await node.connect('staying', { answers: 'all' });
      await staying.subscribe(SHARED, 2);
      await leaving.unsubscribe(SHARED);
      gate.open();
      await settle(20);
      expect(await node.store.readQueue('leaving', { after: 0, limit: 10 })).toEqual([]);
      leaving.drop();
      await settle();
      const back = await node.connect('leaving', { ...persistent, answers: 'all' });
      await settle(20);
      expect([all(leaving), all(back), all(staying)]).toEqual([[], [], ['m']]);
    }
  });

  test('between the pick and the delivery: the message goes to another', async () => {
    for (const qos of [0, 1, 2] as const) {
      const node = new TestNode();
      const first = await node.connect('first', { answers: 'all' });
      const second = await node.connect('second', { answers: 'all' });
      for (const member of [first, second]) await member.subscribe(SHARED, 2);
      const publisher = await node.connect('p', { answers: 'all' });
      const gate = new Gate();
      node.kernel.beforePublish = () => gate.pass();
      publisher.publish({ topic: 't/x', payload: 'm', qos });
      await until(() => gate.waiting === 1);
      first.drop();
      await settle();
      gate.open();
      await settle();
      expect(second.payloads).toEqual(['m']);
    }
  });

  test('the last one: what it had is dropped, and the group is gone', async () => {
    const node = new TestNode();
    const member = await node.connect('a');
    await member.subscribe(SHARED, 1);
    await publishMany(await node.connect('p'), 3);
    member.drop();
    await settle();
    expect(node.kernel.wanted.size).toBe(0);
    expect(node.observer.problems).toEqual([]);
    const late = await node.connect('b', { answers: 'all' });
    await late.subscribe(SHARED, 1);
    await settle();
    expect(late.payloads).toEqual([]);
  });
});

describe('members with stored sessions', () => {
  test('that are not connected take what nobody else can, in turn, and lose nothing', async () => {
    const node = new TestNode();
    for (const name of ['a', 'b']) {
      const member = await node.connect(name, persistent);
      await member.subscribe(SHARED, 1);
      member.drop();
    }
    await settle();
    const payloads = await publishMany(await node.connect('p'), 10);
    const back = await Promise.all(
      ['a', 'b'].map((name) => node.connect(name, { ...persistent, answers: 'all' })),
    );
    await settle(20);
    expect(counts(...back)).toEqual([5, 5]);
    expect(all(...back)).toEqual(payloads);
  });

  test('get nothing while others are connected', async () => {
    const node = new TestNode();
    const away = await node.connect('away', persistent);
    await away.subscribe(SHARED, 1);
    away.drop();
    await settle();
    const here = await node.connect('here', { answers: 'all' });
    await here.subscribe(SHARED, 1);
    await publishMany(await node.connect('p'), 6);
    expect(counts(here)).toEqual([6]);
    expect(await node.store.readQueue('away', { after: 0, limit: 10 })).toEqual([]);
  });

  test('a connected one that may not receive keeps nothing from one that is away', async () => {
    const node = new TestNode();
    node.hooks.grant = (rights) => {
      if (rights.clientId === 'blind') rights.noReceive.add('t/x');
    };
    const blind = await node.connect('blind', persistent);
    const away = await node.connect('away', persistent);
    for (const member of [blind, away]) await member.subscribe(SHARED, 1);
    away.drop();
    await settle();
    await publishMany(await node.connect('p'), 6);
    expect(await node.store.readQueue('away', { after: 0, limit: 10 })).toHaveLength(6);
    expect(blind.payloads).toEqual([]);
  });

  test('get nothing that they may not receive while they are away, and nobody gets it when none may', async () => {
    const node = new TestNode();
    const rights = new Map<string, boolean>();
    node.hooks.storedMayReceive = (clientId) => rights.get(clientId);
    for (const name of ['a', 'b', 'c']) {
      const member = await node.connect(name, persistent);
      await member.subscribe(SHARED, 1);
      member.drop();
    }
    await settle();
    const publisher = await node.connect('p', { answers: 'all' });
    const queued = async (name: string) =>
      (await node.store.readQueue(name, { after: 0, limit: 100 })).length;
    const all = async () => Promise.all(['a', 'b', 'c'].map(queued));
    rights.set('a', false);
    await publishMany(publisher, 6);
    // Of the others nothing is known: they take turns as ever.
    expect(await all()).toEqual([0, 3, 3]);
    rights.set('b', true);
    await publishMany(publisher, 4);
    expect(await all()).toEqual([0, 7, 3]);
    rights.set('b', false).set('c', false);
    await publishMany(publisher, 4);
    expect(await all()).toEqual([0, 7, 3]);
    rights.set('a', true);
    await publishMany(publisher, 2);
    expect(await all()).toEqual([2, 7, 3]);
  });

  test('that go keep what was theirs until they are back', async () => {
    const node = new TestNode();
    const member = await node.connect('a', {
      ...persistent,
      properties: { ...persistent.properties, receiveMaximum: 2 },
    });
    await member.subscribe(SHARED, 1);
    const payloads = await publishMany(await node.connect('p'), 6);
    const other = await node.connect('b', { answers: 'all' });
    await other.subscribe(SHARED, 1);
    member.drop();
    await settle(20);
    expect(other.payloads).toEqual([]);
    const back = await node.connect('a', { ...persistent, answers: 'all' });
    await settle(20);
    expect(back.payloads).toEqual(payloads);
  });

  test('that end hand on what waits in the store', async () => {
    const node = new TestNode();
    const member = await node.connect('a', {
      ...persistent,
      properties: { ...persistent.properties, receiveMaximum: 2 },
    });
    await member.subscribe(SHARED, 2);
    const publisher = await node.connect('p', { answers: 'all' });
    const ones = await publishMany(publisher, 150);
    const other = await node.connect('b', { answers: 'all' });
    await other.subscribe(SHARED, 1);
    member.disconnect(0, { sessionExpiryInterval: 0 });
    await until(() => other.payloads.length === 150);
    await settle(20);
    expect(other.payloads.sort()).toEqual(ones);
    expect(await node.store.readQueue('a', { after: 0, limit: 10 })).toEqual([]);
  });

  test.each([
    ['a clean start', 'while it is away', { cleanStart: true }],
    ['a clean start', 'in place of its connection', { cleanStart: true }],
    ['another owner', 'while it is away', {}],
    ['another owner', 'in place of its connection', {}],
    ['the end of its time', 'while it is away', {}],
  ])('that end by %s, %s, hand on what waits in the store', async (reason, when, changes) => {
    const node = new TestNode();
    const away = await node.connect('away', persistent);
    await away.subscribe(SHARED, 2);
    const publisher = await node.connect('p', { answers: 'all' });
    await publishMany(publisher, 1, 2); // Its delivery begins, and is nobody else's: MQTT-5.0 [MQTT-4.8.2-5].
    if (when === 'while it is away') {
      away.drop();
      await settle();
    }
    const payloads = ['x', 'y', 'z'];
    for (const payload of payloads) publisher.publish({ topic: 't/x', payload, qos: 1 });
    await settle(20);
    const other = await node.connect('other', { answers: 'all' });
    await other.subscribe(SHARED, 2);
    if (reason === 'another owner') {
      node.hooks.decide = async ({ clientId }) => node.hooks.accept(clientId, 'somebody else');
    }
    if (reason === 'the end of its time') node.elapsedMs = 600_000; // That nobody has noticed yet.
    const { present } = await node.connect('away', { ...persistent, ...changes });
    await settle(20);
    expect(present).toBe(false);
    expect(all(other)).toEqual(payloads);
  });

  test('that go on with their session keep what waits', async () => {
    const node = new TestNode();
    const away = await node.connect('away', persistent);
    await away.subscribe(SHARED, 1);
    away.drop();
    await settle();
    const payloads = await publishMany(await node.connect('p'), 3);
    const other = await node.connect('other', { answers: 'all' });
    await other.subscribe(SHARED, 1);
    const back = await node.connect('away', { ...persistent, answers: 'all' });
    await settle(20);
    expect([all(back), all(other)]).toEqual([payloads, []]);
  });

  test('a hand-on that the store does not take is a problem, not a crash', async () => {
    const control = new StoreControl(createMemorySessionStore());
    const node = new TestNode({ store: control.store });
    const member = await node.connect('a');
    await member.subscribe(SHARED, 1);
    const away = await node.connect('away', persistent);
    await away.subscribe(SHARED, 1);
    away.drop();
    await settle();
    await publishMany(await node.connect('p'), 2);
    control.failing.add('outgoingEnqueueCombi');
    member.drop();
    await settle();
    expect(node.observer.problems).toHaveLength(2);
  });
});

describe('over two nodes', () => {
  const two = async () => {
    const bus = new TestBus();
    const store = createMemorySessionStore();
    const one = new TestNode({ nodeId: 'one', bus, store });
    const two = new TestNode({ nodeId: 'two', bus, store });
    return { bus, store, one, two };
  };

  test('members of both get the same, whichever node the message comes in at', async () => {
    const { one, two: other } = await two();
    const members = [
      await one.connect('a', { answers: 'all' }),
      await other.connect('b', { answers: 'all' }),
      await other.connect('c', persistent),
    ];
    for (const member of members) await member.subscribe(SHARED, 1);
    await settle();
    const first = await publishMany(await one.connect('p'), 15);
    await publishMany(await other.connect('q'), 15);
    expect(counts(...members)).toEqual([10, 10, 10]);
    expect(all(...members)).toEqual([...first, ...first].sort());
  });

  test('a member that was picked and has gone: its node gives the message to another', async () => {
    const { bus, one, two: other } = await two();
    const leaving = await other.connect('leaving');
    const staying = await other.connect('staying', { answers: 'all' });
    for (const member of [leaving, staying]) await member.subscribe(SHARED, 1);
    await settle();
    const gate = new Gate();
    const publisher = await one.connect('p');
    bus.delay = () => gate.pass();
    publisher.publish({ topic: 't/x', payload: 'm', qos: 1 });
    await publisher.expect('puback');
    leaving.drop();
    await settle();
    gate.open();
    bus.delay = () => Promise.resolve();
    await settle(20);
    expect(staying.payloads).toEqual(['m']);
  });

  test.each([
    ['a clean start', { cleanStart: true }],
    ['another owner', {}],
  ])(
    'a member that ends by %s on another node hands on all that waits, not only what its node has at hand',
    async (reason, changes) => {
      const { one, two: other } = await two();
      const leaving = await one.connect('leaving', {
        ...persistent,
        properties: { ...persistent.properties, receiveMaximum: 2 },
      });
      await leaving.subscribe(SHARED, 2);
      await settle();
      const publisher = await one.connect('p', { answers: 'all' });
      await publishMany(publisher, 1, 2); // Its delivery begins, and is nobody else's: MQTT-5.0 [MQTT-4.8.2-5].
      const payloads = Array.from({ length: 400 }, (_, index) => `n${1000 + index}`);
      for (const [index, payload] of payloads.entries()) {
        publisher.publish({ topic: 't/x', payload, qos: 2 });
        if (index % 50 === 49) await settle(20); // As many as may be under way.
      }
      const staying = await other.connect('staying', { answers: 'all' });
      await staying.subscribe(SHARED, 2);
      if (reason === 'another owner') {
        other.hooks.decide = async ({ clientId }) => other.hooks.accept(clientId, 'somebody else');
      }
      const { present } = await other.connect('leaving', { ...persistent, ...changes });
      expect(present).toBe(false);
      await leaving.closed;
      expect(leaving.received.at(-1)).toMatchObject({ type: 'disconnect', code: 0x8e });
      // The second place of its window was taken as well.
      await until(() => staying.payloads.length >= payloads.length - 1);
      await settle(20);
      expect(all(staying)).toEqual(payloads.slice(1));
    },
  );

  test('a node that has just started learns of the members of the others', async () => {
    const { bus, store, one } = await two();
    const member = await one.connect('a', { answers: 'all' });
    await member.subscribe(SHARED, 1);
    await settle();
    await using third = await TestNode.start({ nodeId: 'three', bus, store });
    await settle();
    await publishMany(await third.connect('p'), 3);
    expect(counts(member)).toEqual([3]);
  });

  test('tells of thousands of members in messages that a bus takes', async () => {
    const { store, bus, one } = await two();
    const members = 120;
    for (let count = 0; count < members; count++) {
      const member = await one.connect(`${count}`.padEnd(256, 'x'));
      await member.subscribe(
        Array.from({ length: 12 }, (_, index) => `$share/g/${`${index}/`.padEnd(1000, 'x')}`),
      );
    }
    await settle();
    one.kernel.signals.length = 0;
    await using third = await TestNode.start({ nodeId: 'three', bus, store });
    await settle();
    const shares = one.kernel.signals.filter(({ topic }) => topic === 'share');
    expect(Math.max(...shares.map(({ payload }) => payload.length))).toBeLessThan(1_000_000);
    expect(shares.length).toBe(3);
    const publisher = await third.connect('p');
    publisher.publish({ topic: '11/'.padEnd(1000, 'x'), qos: 1 });
    await publisher.expect('puback');
    const routing = third.kernel.published[0]?.properties?.routing;
    expect(routing?.targets.map(([, , brokerId]) => brokerId)).toEqual([one.kernel.brokerId]);
  });

  test('a node that is gone takes its members along; its stored ones get theirs in the store', async () => {
    const { bus, one, two: dead } = await two();
    const lost = await dead.connect('lost');
    const stored = await dead.connect('stored', persistent);
    for (const member of [lost, stored]) await member.subscribe(SHARED, 1);
    await settle();
    for (const link of [
      `${one.kernel.brokerId} ${dead.kernel.brokerId}`,
      `${dead.kernel.brokerId} ${one.kernel.brokerId}`,
    ]) {
      bus.cut.add(link);
    }
    one.engine.nodeGone(dead.kernel.brokerId);
    await publishMany(await one.connect('p'), 4);
    expect(await one.store.readQueue('stored', { after: 0, limit: 10 })).toHaveLength(4);
    const back = await one.connect('stored', { ...persistent, answers: 'all' });
    await settle();
    expect(back.payloads).toHaveLength(4);
  });

  test('a member that begins a new session on another node: the one that had it hands on what it has not acknowledged', async () => {
    const { one, two: other } = await two();
    const member = await one.connect('moving', persistent);
    await member.subscribe(SHARED, 1);
    await settle();
    const payloads = await publishMany(await other.connect('p'), 3);
    const staying = await other.connect('staying', { answers: 'all' });
    await staying.subscribe(SHARED, 1);
    await settle();
    const { present } = await other.connect('moving', { ...persistent, cleanStart: true });
    await settle(20);
    expect(present).toBe(false);
    expect(all(staying)).toEqual(payloads);
  });

  test('what clients see of a message says nothing of the nodes', async () => {
    const { one, two: other } = await two();
    const member = await other.connect('a', { version: 5 });
    await member.subscribe([SHARED, 't/x']);
    await settle();
    const publisher = await one.connect('p', { version: 5 });
    publisher.publish({ topic: 't/x', properties: { contentType: 'c' } });
    await settle();
    expect(member.publishes.map(({ properties }) => properties)).toEqual([
      { contentType: 'c' },
      { contentType: 'c' },
    ]);
  });
});
