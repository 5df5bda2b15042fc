import { createMemorySessionStore } from '@sallyport/session-store';
import { describe, expect, test } from 'vitest';
import type { TestRights } from '../../test-support/test-hooks.ts';
import { Gate, settle, until } from '../../test-support/settle.ts';
import { TestNode } from '../../test-support/test-node.ts';
import { StoreControl } from '../../test-support/test-store.ts';
import type { ProtocolVersion } from '../codec/packet.ts';
import { reasonCode } from '../codec/reason-code.ts';

const versions: ProtocolVersion[] = [3, 4, 5];
const stored = { cleanStart: false } as const;
/** The same on every version. */
const lasting = (version: ProtocolVersion) => ({
  ...{ version, ...stored },
  ...(version === 5 && { properties: { sessionExpiryInterval: 60 } }),
});

const controlled = () => {
  const control = new StoreControl(createMemorySessionStore());
  return { control, node: new TestNode({ store: control.store }) };
};

const topicsOf = (subscriptions: readonly { readonly topic: string }[]): string[] =>
  subscriptions.map(({ topic }) => topic).sort();

describe('SUBSCRIBE', () => {
  test('MQTT-3.1.1 [MQTT-3.8.4-5] is answered filter by filter, in order', async () => {
    for (const version of versions) {
      const { node } = controlled();
      node.hooks.grant = (rights) => rights.noSubscribe.add('forbidden');
      const client = await node.connect('c', { version });
      const { codes } = await client.subscribe([
        { topicFilter: 'a', qos: 0 },
        { topicFilter: 'forbidden', qos: 1 },
        { topicFilter: 'b', qos: 2 },
      ]);
      expect(codes).toEqual([0, version === 5 ? reasonCode.notAuthorized : 0x80, 2]);
      const publisher = await node.connect('p');
      for (const topic of ['a', 'forbidden', 'b']) publisher.publish({ topic, payload: topic });
      await settle();
      expect(client.payloads).toEqual(['a', 'b']);
    }
  });

  test('a filter that is denied ends the connection where that is asked for, and grants nothing of the packet', async () => {
    for (const version of versions) {
      const { node } = controlled();
      node.hooks.grant = (rights) => {
        rights.noSubscribe.add('forbidden');
        rights.deniedEnds = true;
      };
      const client = await node.connect('c', lasting(version));
      await client.subscribe('fine', 1);
      client.sendSubscribe(['a', 'forbidden', 'b'], 1);
      if (version === 5) {
        expect(await client.expect('disconnect')).toMatchObject({ code: reasonCode.notAuthorized });
      }
      await client.closed;
      expect(topicsOf(await node.store.subscriptionsByClient({ id: 'c' }))).toEqual(['fine']);
    }
  });

  test('of a session that is dismissed is gone with it; of one that is disconnected it stays', async () => {
    for (const version of versions) {
      const { node } = controlled();
      const topics = async () => topicsOf(await node.store.subscriptionsByClient({ id: 'c' }));
      const client = await node.connect('c', lasting(version));
      await client.subscribe('fine', 1);
      await node.engine.connectedAs('c')?.client.disconnect(reasonCode.administrativeAction);
      expect(await topics()).toEqual(['fine']);
      const again = await node.connect('c', lasting(version));
      await node.engine.connectedAs('c')?.client.dismiss(reasonCode.administrativeAction);
      if (version === 5) {
        expect(await again.expect('disconnect')).toMatchObject({
          code: reasonCode.administrativeAction,
        });
      }
      await again.closed;
      expect(await topics()).toEqual([]);
    }
  });

  test('what is denied is neither stored nor queued for', async () => {
    const { node } = controlled();
    node.hooks.grant = (rights) => rights.noSubscribe.add('forbidden');
    const client = await node.connect('c', stored);
    await client.subscribe(['forbidden', 'a'], 1);
    await client.subscribe('forbidden', 1);
    client.drop();
    const publisher = await node.connect('p');
    publisher.publish({ topic: 'forbidden', payload: 'forbidden', qos: 1 });
    await publisher.expect('puback');
    expect(topicsOf(await node.store.subscriptionsByClient({ id: 'c' }))).toEqual(['a']);
    expect(await node.store.readQueue('c', { after: 0, limit: 10 })).toEqual([]);
    const again = await node.connect('c', stored);
    await settle();
    expect(again.payloads).toEqual([]);
  });

  test.each(['a#', '+a', 'a/+b', '#/a', 'a/#/b', '$share/g', '$share//a', '$share/+/a'])(
    'MQTT-5.0 [MQTT-4.7.1-1] %s is no filter: 0x8f in MQTT 5, the end of the connection before',
    async (topicFilter) => {
      const { node } = controlled();
      const five = await node.connect('five', { version: 5 });
      const { codes } = await five.subscribe([topicFilter, 'fine']);
      expect(codes).toEqual([reasonCode.topicFilterInvalid, 0]);
      const four = await node.connect('four', { version: 4 });
      four.sendSubscribe(['fine', topicFilter]);
      await four.closed;
      expect(four.unread()).toEqual([]);
      expect([...node.kernel.wanted.keys()]).toEqual(['fine']);
    },
  );

  test('as many subscriptions as may be are granted, and one more is not; one in the place of another is', async () => {
    for (const version of versions) {
      const node = new TestNode({ limits: { subscriptionsMax: 3 } });
      const client = await node.connect('c', { version });
      const refused = version === 5 ? reasonCode.quotaExceeded : 0x80;
      expect((await client.subscribe(['a', 'b', 'a'])).codes).toEqual([0, 0, 0]);
      expect((await client.subscribe(['a', 'c', 'd', 'b', 'c'])).codes).toEqual([
        0,
        0,
        refused,
        0,
        0,
      ]);
      await client.unsubscribe('a');
      expect((await client.subscribe('d')).codes).toEqual([0]);
    }
  });

  test('is acknowledged when messages of all nodes reach the session, and the store has it', async () => {
    const { node, control } = controlled();
    const client = await node.connect('c', stored);
    const storing = new Gate();
    const wanting = new Gate();
    control.before.set('addSubscriptions', () => storing.pass());
    node.kernel.beforeWant = () => wanting.pass();
    client.sendSubscribe('t', 1);
    await settle();
    expect(node.kernel.wanted.size).toBe(0);
    storing.open();
    await settle();
    expect(client.unread()).toEqual([]);
    wanting.open();
    await client.expect('suback');
  });

  test.each(['before', 'after'] as const)(
    'of a connection that ends %s the store has it leaves no route',
    async (when) => {
      const { node, control } = controlled();
      const client = await node.connect('c', stored);
      const gate = new Gate();
      control[when].set('addSubscriptions', () => gate.pass());
      client.sendSubscribe(['t', '$share/g/t'], 1);
      await until(() => gate.waiting === 1);
      client.drop();
      await settle();
      gate.open();
      await settle();
      expect(node.kernel.wanted.size).toBe(0);
      expect([node.hooks.open, node.engine.sessionCount]).toEqual([0, 0]);
    },
  );

  test('of a connection that ends while the bus makes ready leaves no route', async () => {
    const { node } = controlled();
    const client = await node.connect('c');
    const gate = new Gate();
    node.kernel.beforeWant = () => gate.pass();
    client.sendSubscribe(['t', '$share/g/t']);
    await until(() => gate.waiting === 2);
    client.drop();
    await settle();
    expect(node.kernel.wanted.size).toBe(0);
    gate.open();
    await settle();
    expect(node.engine.sessionCount).toBe(0);
  });

  test('with a store that is away ends the connection, and leaves no route', async () => {
    const { node, control } = controlled();
    const client = await node.connect('c', {
      version: 5,
      cleanStart: false,
      properties: { sessionExpiryInterval: 60 },
    });
    control.failing.add('addSubscriptions');
    client.sendSubscribe('t', 1);
    expect(await client.expect('disconnect')).toMatchObject({ code: 0x83 });
    await settle();
    expect(node.kernel.wanted.size).toBe(0);
  });

  test('MQTT-3.1.1 [MQTT-3.8.4-3] a filter that is there already gets the new options', async () => {
    const { node } = controlled();
    const client = await node.connect('c', { version: 5 });
    await client.subscribe('t', 2, { subscriptionIdentifiers: [1] });
    await client.subscribe('t', 0, { subscriptionIdentifiers: [2] });
    const publisher = await node.connect('p');
    publisher.publish({ topic: 't', qos: 1 });
    expect(await client.expect('publish')).toMatchObject({
      qos: 0,
      properties: { subscriptionIdentifiers: [2] },
    });
    expect(node.kernel.wanted.get('t')).toBe(1);
  });
});

test('MQTT-5.0 [MQTT-3.1.2-24] an answer that the client does not take is not sent, and ends the connection', async () => {
  const node = new TestNode();
  const client = await node.connect('c', { version: 5, properties: { maximumPacketSize: 30 } });
  const filters = (count: number) => Array.from({ length: count }, (_, index) => `t${index}`);
  // Header 2, packet id 2, no properties 1.
  expect((await client.subscribe(filters(25))).codes).toHaveLength(25);
  client.sendSubscribe(filters(26));
  expect(await client.expect('disconnect')).toMatchObject({ code: reasonCode.packetTooLarge });
  await client.closed;
});

describe('retained messages', () => {
  const withRetained = async (...topics: string[]) => {
    const { node, control } = controlled();
    const publisher = await node.connect('p', { version: 5 });
    for (const topic of topics) publisher.publish({ topic, payload: topic, qos: 1, retain: true });
    await settle();
    return { node, control, publisher };
  };

  test('MQTT-3.1.1 [MQTT-3.3.1-6] [MQTT-3.3.1-8] come with RETAIN, behind the SUBACK, on every version', async () => {
    for (const version of versions) {
      const { node } = await withRetained('a', 'b');
      const client = await node.connect('c', { version });
      client.sendSubscribe('+', 0);
      await settle();
      expect(client.received.slice(1).map(({ type }) => type)).toEqual([
        'suback',
        'publish',
        'publish',
      ]);
      expect(client.publishes.every(({ retain, qos }) => retain && qos === 0)).toBe(true);
    }
  });

  test.each([
    [0, 2],
    [1, 1],
    [2, 0],
  ] as const)(
    'MQTT-5.0 [MQTT-3.3.1-9] with retain handling %s come %s times',
    async (retainHandling, times) => {
      const { node } = await withRetained('a');
      const client = await node.connect('c', { version: 5 });
      for (let count = 0; count < 2; count++) {
        await client.subscribe([{ topicFilter: 'a', retainHandling }]);
        await settle();
        client.unread();
      }
      expect(client.publishes).toHaveLength(times);
    },
  );

  test('MQTT-5.0 [MQTT-3.3.1-10] a filter twice in one packet is new once', async () => {
    const { node } = await withRetained('a');
    const client = await node.connect('c', { version: 5 });
    await client.subscribe([
      { topicFilter: 'a', retainHandling: 1 },
      { topicFilter: 'a', retainHandling: 1, qos: 1 },
    ]);
    await settle();
    expect(client.publishes).toHaveLength(1);
  });

  test('MQTT-5.0 [MQTT-3.8.3-3] of the client itself do not come with no-local', async () => {
    const { node, publisher } = await withRetained('own');
    const other = await node.connect('o');
    other.publish({ topic: 'others', payload: 'others', qos: 1, retain: true });
    await other.expect('puback');
    publisher.unread();
    await publisher.subscribe([{ topicFilter: '+', noLocal: true }]);
    await settle();
    expect(publisher.payloads).toEqual(['others']);
  });

  test('MQTT-5.0 §4.8.2 do not come for a shared subscription', async () => {
    const { node } = await withRetained('a');
    const client = await node.connect('c', { version: 5 });
    await client.subscribe('$share/g/a');
    await settle();
    expect(client.publishes).toEqual([]);
  });

  test('that may not be received do not come, and those that expire have their time', async () => {
    const { node, publisher } = await withRetained('a', 'secret');
    publisher.publish({
      topic: 'brief',
      payload: 'brief',
      retain: true,
      qos: 1,
      properties: { messageExpiryInterval: 10 },
    });
    await settle();
    node.elapsedMs += 9500;
    node.hooks.grant = (rights) => rights.noReceive.add('secret');
    const client = await node.connect('c', { version: 5 });
    await client.subscribe('+');
    await settle();
    expect(client.payloads.sort()).toEqual(['a', 'brief']);
    const brief = client.publishes.find(({ topic }) => topic === 'brief');
    expect(brief?.properties?.messageExpiryInterval).toBe(1);
    node.elapsedMs += 500;
    const late = await node.connect('d', { version: 5 });
    await late.subscribe('+');
    await settle();
    expect(late.payloads).toEqual(['a']);
  });

  test('never come behind a newer message that came while the store was asked', async () => {
    for (const qos of [0, 1, 2] as const) {
      for (const cleanStart of [true, false]) {
        const { node, control, publisher } = await withRetained('a');
        const client = await node.connect('c', { answers: 'all', cleanStart });
        const gate = new Gate();
        control.after.set('retainedMessages', () => gate.pass());
        client.sendSubscribe('a', qos);
        await until(() => gate.waiting === 1);
        publisher.publish({ topic: 'a', payload: 'newer', qos, retain: true });
        await settle();
        gate.open();
        await settle();
        expect(client.payloads).toEqual(['newer']);
      }
    }
  });

  test('a store that is away ends the connection', async () => {
    const { node, control } = await withRetained('a');
    const client = await node.connect('c', { version: 5 });
    control.failing.add('retainedMessages');
    client.sendSubscribe('a');
    await client.expect('suback');
    expect(await client.expect('disconnect')).toMatchObject({ code: 0x83 });
  });
});

describe('UNSUBSCRIBE', () => {
  test.each(versions)(
    'MQTT %s: [MQTT-3.10.4-2] ends the subscription and says so',
    async (version) => {
      const { node } = controlled();
      const client = await node.connect('c', { version });
      await client.subscribe(['a', 'b', 'c']);
      const { codes } = await client.unsubscribe('a', 'none', 'c', 'a', 'a#');
      expect(codes).toEqual(
        version === 5 ? [0, reasonCode.noSubscriptionExisted, 0, 0x11, 0x8f] : [],
      );
      const publisher = await node.connect('p');
      for (const topic of ['a', 'b', 'c']) publisher.publish({ topic, payload: topic });
      await settle();
      expect(client.payloads).toEqual(['b']);
      expect([...node.kernel.wanted.keys()]).toEqual(['b']);
    },
  );

  test.each(versions)(
    'MQTT %s: what is denied is acknowledged, and the subscription stays',
    async (version) => {
      const { node } = controlled();
      let rights: TestRights | undefined;
      node.hooks.grant = (given) => {
        if (given.clientId === 'c') rights = given;
        given.noUnsubscribe.add('kept');
      };
      const client = await node.connect('c', {
        version,
        ...stored,
        ...(version === 5 && { properties: { sessionExpiryInterval: 60 } }),
      });
      await client.subscribe(['kept', 'a', '$share/g/kept'], 1);
      const { codes } = await client.unsubscribe('kept', 'a', '$share/g/kept', 'none');
      const { notAuthorized, noSubscriptionExisted } = reasonCode;
      expect(codes).toEqual(
        version === 5 ? [notAuthorized, 0, notAuthorized, noSubscriptionExisted] : [],
      );
      expect(rights?.sharedAsked).toEqual(['subscribe kept', 'unsubscribe kept']);
      const there = topicsOf(await node.store.subscriptionsByClient({ id: 'c' }));
      expect(there).toEqual(['$share/g/kept', 'kept']);
      const publisher = await node.connect('p');
      for (const topic of ['a', 'kept']) publisher.publish({ topic, payload: topic, qos: 1 });
      await settle();
      expect(client.payloads).toEqual(['kept', 'kept']);
    },
  );

  test('leaves nothing in the store behind it that the session would get later', async () => {
    const { node, control } = controlled();
    const client = await node.connect('c', { ...stored, answers: 'all' });
    await client.subscribe('t', 1);
    const publisher = await node.connect('p');
    const gate = new Gate();
    control.before.set('removeSubscriptions', () => gate.pass());
    client.send({ type: 'unsubscribe', packetId: 9, topicFilters: ['t'] });
    await until(() => gate.waiting === 1);
    publisher.publish({ topic: 't', payload: 'meanwhile', qos: 1 });
    await settle();
    expect(client.payloads).toEqual(['meanwhile']);
    gate.open();
    await settle();
    expect(client.received.at(-1)?.type).toBe('unsuback');
    publisher.publish({ topic: 't', payload: 'later', qos: 1 });
    await settle();
    expect(await node.store.readQueue('c', { after: 0, limit: 10 })).toEqual([]);
    expect(client.payloads).toEqual(['meanwhile']);
  });

  test('delivers what was stored before it and comes from the bus behind it, and leaves nothing of that for later', async () => {
    for (const qos of [1, 2] as const) {
      const { node, control } = controlled();
      const client = await node.connect('c', { ...stored, answers: 'all' });
      await client.subscribe('t', 2);
      const publisher = await node.connect('p', { answers: 'all' });
      const gate = new Gate();
      control.after.set('outgoingEnqueueCombi', () => gate.pass());
      publisher.publish({ topic: 't', payload: 'under way', qos });
      await until(() => gate.waiting === 1);
      await client.unsubscribe('t');
      gate.open();
      await settle();
      expect(client.payloads).toEqual(['under way']);
      expect(await node.store.readQueue('c', { after: 0, limit: 10 })).toEqual([]);
      publisher.publish({ topic: 't', payload: 'later', qos });
      await settle();
      expect(client.payloads).toEqual(['under way']);
    }
  });

  test('with a store that is away ends the connection; the subscription is still there', async () => {
    const { node, control } = controlled();
    const client = await node.connect('c', stored);
    await client.subscribe('t', 1);
    control.failing.add('removeSubscriptions');
    client.send({ type: 'unsubscribe', packetId: 9, topicFilters: ['t'] });
    await client.closed;
    expect(client.unread()).toEqual([]);
    control.failing.clear();
    expect(topicsOf(await node.store.subscriptionsByClient({ id: 'c' }))).toEqual(['t']);
  });

  test('of a connection that ends meanwhile is not answered', async () => {
    const { node, control } = controlled();
    const client = await node.connect('c', stored);
    await client.subscribe('t', 1);
    const gate = new Gate();
    control.before.set('removeSubscriptions', () => gate.pass());
    client.send({ type: 'unsubscribe', packetId: 9, topicFilters: ['t'] });
    await until(() => gate.waiting === 1);
    client.drop();
    gate.open();
    await settle();
    expect(node.kernel.wanted.size).toBe(0);
    expect(await node.store.subscriptionsByClient({ id: 'c' })).toEqual([]);
  });
});

describe('a message that the store has for a session', () => {
  test.each([
    ['a SUBSCRIBE with QoS 0', ['t'], 'subscribe'],
    ['an UNSUBSCRIBE that leaves a subscription with QoS 0', ['t', '#'], 'unsubscribe'],
  ] as const)('comes once, though %s overtakes it', async (_what, filters, change) => {
    for (const qos of [1, 2] as const) {
      const { node, control } = controlled();
      const client = await node.connect('c', { ...stored, answers: 'all' });
      await client.subscribe('t', 2);
      if (filters.length > 1) await client.subscribe('#', 0);
      const publisher = await node.connect('p', { answers: 'all' });
      const gate = new Gate();
      control.after.set('outgoingEnqueueCombi', () => gate.pass());
      publisher.publish({ topic: 't', payload: 'under way', qos });
      await until(() => gate.waiting === 1);
      if (change === 'subscribe') await client.subscribe('t', 0);
      else await client.unsubscribe('t');
      gate.open();
      await settle();
      publisher.publish({ topic: 't', payload: 'later', qos });
      await settle();
      expect(client.payloads).toEqual(['under way', 'later']);
      expect(client.publishes.map((one) => one.qos)).toEqual([qos, 0]);
      expect(await node.store.readQueue('c', { after: 0, limit: 10 })).toEqual([]);
    }
  });
});

describe('what a subscription says of deliveries', () => {
  test('MQTT-5.0 [MQTT-3.8.3-3] no-local: not one’s own; but for what another subscription is', async () => {
    const { node } = controlled();
    const client = await node.connect('c', { version: 5, answers: 'all' });
    await client.subscribe([{ topicFilter: 'a/#', noLocal: true }], 2, {
      subscriptionIdentifiers: [1],
    });
    client.publish({ topic: 'a/b', payload: 'own' });
    await settle();
    expect(client.payloads).toEqual([]);
    await client.subscribe('a/+', 0, { subscriptionIdentifiers: [2] });
    client.publish({ topic: 'a/b', payload: 'own', qos: 1 });
    const other = await node.connect('o');
    other.publish({ topic: 'a/b', payload: 'other', qos: 1 });
    await settle();
    expect(client.publishes).toMatchObject([
      { qos: 0, properties: { subscriptionIdentifiers: [2] } },
      { qos: 1, properties: { subscriptionIdentifiers: [1, 2] } },
    ]);
  });

  test('MQTT-5.0 [MQTT-3.3.1-12] [MQTT-3.3.1-13] retain as published', async () => {
    const { node } = controlled();
    const publisher = await node.connect('p');
    for (const retainAsPublished of [true, false]) {
      const client = await node.connect(`c ${retainAsPublished}`, { version: 5 });
      await client.subscribe([{ topicFilter: 't', retainAsPublished, retainHandling: 2 }]);
      publisher.publish({ topic: 't', retain: true });
      expect(await client.expect('publish')).toMatchObject({ retain: retainAsPublished });
      publisher.publish({ topic: 't', retain: false });
      expect(await client.expect('publish')).toMatchObject({ retain: false });
    }
  });

  test('MQTT-5.0 [MQTT-3.1.2-25] a packet as large as the client takes comes, one byte larger does not', async () => {
    const { node } = controlled();
    const client = await node.connect('c', { version: 5, properties: { maximumPacketSize: 50 } });
    await client.subscribe('t');
    const publisher = await node.connect('p');
    // Header 2, topic 3, no properties 1.
    publisher.publish({ topic: 't', payload: 'x'.repeat(45) });
    publisher.publish({ topic: 't', payload: 'x'.repeat(44) });
    await settle();
    expect(client.payloads).toEqual(['x'.repeat(44)]);
    expect(node.observer.of('delivery_too_large')).toBe(1);
  });

  test('MQTT-5.0 §3.3.2.3.4 aliases go out within the client’s maximum, each with its topic first', async () => {
    const { node } = controlled();
    const client = await node.connect('c', {
      version: 5,
      properties: { topicAliasMaximum: 1, maximumPacketSize: 50 },
    });
    await client.subscribe('#');
    const publisher = await node.connect('p');
    for (const [topic, length] of [
      ['a', 41],
      ['a', 42],
      ['a', 100],
      ['a', 1],
      ['b', 100],
      ['b', 1],
      ['b', 2],
    ] as const) {
      publisher.publish({ topic, payload: 'x'.repeat(length) });
    }
    await settle();
    const names = new Map<number, string>();
    const seen = client.publishes.map(({ topic, payload, properties }) => {
      const { topicAlias = 0 } = properties ?? {};
      expect(topicAlias).toBeLessThanOrEqual(1);
      if (topic !== '' && topicAlias > 0) names.set(topicAlias, topic);
      return `${topic === '' ? names.get(topicAlias) : topic} ${payload.length}`;
    });
    expect(seen).toEqual(['a 41', 'a 42', 'a 1', 'b 1', 'b 2']);
  });

  test('MQTT-5.0 [MQTT-3.1.2-25] the bytes of a new alias keep no message back that fits without', async () => {
    const { node } = controlled();
    const client = await node.connect('c', {
      version: 5,
      properties: { topicAliasMaximum: 5, maximumPacketSize: 50 },
    });
    await client.subscribe('#');
    const publisher = await node.connect('p');
    publisher.publish({ topic: 't', payload: 'x'.repeat(44) });
    publisher.publish({ topic: 't', payload: 'x'.repeat(45) });
    await settle();
    expect(client.publishes.map(({ payload }) => payload.length)).toEqual([44]);
  });
});
