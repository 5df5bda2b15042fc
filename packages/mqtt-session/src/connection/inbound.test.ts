import { createMemorySessionStore } from '@sallyport/session-store';
import { describe, expect, test } from 'vitest';
import { Gate, settle } from '../../test-support/settle.ts';
import type { TestRights } from '../../test-support/test-hooks.ts';
import { TestNode } from '../../test-support/test-node.ts';
import { StoreControl, unavailable } from '../../test-support/test-store.ts';
import type { ProtocolVersion } from '../codec/packet.ts';
import { reasonCode } from '../codec/reason-code.ts';

const versions: ProtocolVersion[] = [3, 4, 5];

/** Gates for single publishes, by payload; each holds up its message in the kernel. */
function gated(node: TestNode, ...payloads: string[]): Map<string, Gate> {
  const gates = new Map(payloads.map((payload) => [payload, new Gate()]));
  node.kernel.beforePublish = async ({ payload }) => gates.get(payload.toString())?.pass();
  return gates;
}

const acks = (packets: readonly { readonly type: string; readonly packetId?: number }[]) =>
  packets.map((one) => `${one.type} ${one.packetId ?? ''}`);

describe('acknowledgements', () => {
  test.each(versions)(
    'MQTT %s: none before the message is stored and handed on',
    async (version) => {
      const node = new TestNode();
      const client = await node.connect('c', { version });
      const gate = gated(node, 'm').get('m');
      client.publish({ topic: 't', payload: 'm', qos: 1 });
      await settle();
      expect(client.unread()).toEqual([]);
      gate?.open();
      expect(await client.expect('puback')).toMatchObject({ packetId: 1, code: 0 });
    },
  );

  test('MQTT-3.1.1 [MQTT-4.6.0-2] [MQTT-4.6.0-3] leave in the order of the publishes, though the store is done in another', async () => {
    const node = new TestNode();
    const client = await node.connect('c');
    const gates = gated(node, 'one', 'two', 'three');
    client.publish({ topic: 't', payload: 'one', qos: 1 });
    client.publish({ topic: 't', payload: 'two', qos: 2 });
    client.publish({ topic: 't', payload: 'three', qos: 1 });
    await settle();
    gates.get('three')?.open();
    gates.get('two')?.open();
    await settle();
    expect(client.unread()).toEqual([]);
    gates.get('one')?.open();
    await settle();
    expect(acks(client.unread())).toEqual(['puback 1', 'pubrec 2', 'puback 3']);
  });

  test('MQTT-3.1.1 [MQTT-4.6.0-3] of a repeated QoS 2 packet do not overtake those under way', async () => {
    const node = new TestNode();
    const client = await node.connect('c');
    client.publish({ topic: 't', payload: 'known', qos: 2, packetId: 9 });
    await client.expect('pubrec');
    const gates = gated(node, 'new');
    client.publish({ topic: 't', payload: 'new', qos: 2, packetId: 10 });
    client.publish({ topic: 't', payload: 'known', qos: 2, packetId: 9, dup: true });
    await settle();
    expect(client.unread()).toEqual([]);
    gates.get('new')?.open();
    await settle();
    expect(acks(client.unread())).toEqual(['pubrec 10', 'pubrec 9']);
  });

  test('an order is kept for what may not overlap: QoS 0 and retained messages wait for those before them', async () => {
    const node = new TestNode();
    const client = await node.connect('c');
    const subscriber = await node.connect('s');
    await subscriber.subscribe('t', 0);
    const gates = gated(node, 'one', 'two');
    client.publish({ topic: 't', payload: 'one', qos: 1 });
    client.publish({ topic: 't', payload: 'zero', qos: 0 });
    client.publish({ topic: 't', payload: 'two', qos: 1, retain: true });
    client.publish({ topic: 't', payload: 'three', qos: 1 });
    await settle();
    expect(subscriber.payloads).toEqual([]);
    expect(client.socket.isPaused()).toBe(true);
    gates.get('one')?.open();
    await settle();
    expect(subscriber.payloads).toEqual(['one', 'zero']);
    expect(gates.get('two')?.waiting).toBe(1);
    gates.get('two')?.open();
    await settle();
    expect(subscriber.payloads).toEqual(['one', 'zero', 'two', 'three']);
    expect(acks(client.unread())).toEqual(['puback 1', 'puback 2', 'puback 3']);
    expect(client.socket.isPaused()).toBe(false);
  });

  test('as many publishes overlap as may, and one more waits', async () => {
    const node = new TestNode();
    const client = await node.connect('c');
    const gate = new Gate();
    node.kernel.beforePublish = () => gate.pass();
    for (let count = 0; count < 100; count++) client.publish({ topic: 't', qos: 1 });
    await settle();
    expect(gate.waiting).toBe(64);
    gate.open();
    await settle();
    expect(client.unread()).toHaveLength(100);
  });
});

describe('QoS 2', () => {
  test.each(versions)(
    'MQTT %s: [MQTT-4.3.3-2] a message comes once, however often it is sent',
    async (version) => {
      const node = new TestNode();
      const subscriber = await node.connect('s');
      await subscriber.subscribe('t', 2);
      const client = await node.connect('c', { version });
      const gates = gated(node, 'm');
      for (const dup of [false, true, true]) {
        client.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5, dup });
      }
      await settle();
      gates.get('m')?.open();
      await settle();
      client.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5, dup: true });
      await settle();
      expect(acks(client.unread())).toEqual(['pubrec 5', 'pubrec 5', 'pubrec 5', 'pubrec 5']);
      client.ack('pubrel', 5);
      await client.expect('pubcomp');
      expect(subscriber.payloads).toEqual(['m']);
      client.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5 });
      await client.expect('pubrec');
      expect(subscriber.payloads).toEqual(['m', 'm']);
    },
  );

  test('the ids of a stored session are known on its next connection, and released there', async () => {
    const node = new TestNode();
    const subscriber = await node.connect('s');
    await subscriber.subscribe('t', 2);
    const first = await node.connect('c', { cleanStart: false });
    first.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5 });
    await first.expect('pubrec');
    first.drop();
    await settle();
    const second = await node.connect('c', { cleanStart: false });
    second.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5, dup: true });
    await second.expect('pubrec');
    second.ack('pubrel', 5);
    expect(await second.expect('pubcomp')).toMatchObject({ packetId: 5, code: 0 });
    expect(subscriber.payloads).toEqual(['m']);
    expect(await node.store.incomingIds('c')).toEqual([]);
  });

  test('a publish that is under way when its connection ends is done before the next one begins', async () => {
    const node = new TestNode();
    const subscriber = await node.connect('s');
    await subscriber.subscribe('t', 2);
    const first = await node.connect('c', { cleanStart: false });
    const gates = gated(node, 'm');
    first.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5 });
    await settle();
    first.drop();
    await settle();
    const second = node.open();
    second.sendConnect({ clientId: 'c', cleanStart: false });
    await settle();
    expect(second.unread()).toEqual([]);
    gates.get('m')?.open();
    await second.expect('connack');
    second.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5, dup: true });
    await second.expect('pubrec');
    expect(subscriber.payloads).toEqual(['m']);
  });

  test.each([
    [4, 0],
    [5, reasonCode.packetIdentifierNotFound],
  ] as const)('MQTT %s: a PUBREL of an unknown id is answered', async (version, code) => {
    const node = new TestNode();
    const client = await node.connect('c', { version });
    client.ack('pubrel', 77);
    expect(await client.expect('pubcomp')).toMatchObject({ packetId: 77, code });
  });

  test('MQTT-5.0 §4.3.3 an id whose PUBREC said an error is free', async () => {
    const node = new TestNode();
    node.hooks.grant = (rights) => rights.noPublish.add('forbidden');
    const client = await node.connect('c', { version: 5 });
    client.publish({ topic: 'forbidden', qos: 2, packetId: 5 });
    expect(await client.expect('pubrec')).toMatchObject({ code: reasonCode.notAuthorized });
    client.publish({ topic: 'fine', payload: 'm', qos: 2, packetId: 5 });
    expect(await client.expect('pubrec')).toMatchObject({ code: 0 });
    expect(node.kernel.published.map(({ topic }) => topic)).toEqual(['fine']);
  });

  test('a store that is away at the PUBREL ends the connection, and the id is still known', async () => {
    const control = new StoreControl(createMemorySessionStore());
    const node = new TestNode({ store: control.store });
    const client = await node.connect('c', {
      version: 5,
      properties: { sessionExpiryInterval: 60 },
    });
    client.publish({ topic: 't', qos: 2, packetId: 5 });
    await client.expect('pubrec');
    control.failing.add('incomingDelPacket');
    client.ack('pubrel', 5);
    expect(await client.expect('disconnect')).toMatchObject({
      code: reasonCode.implementationSpecificError,
    });
    expect(await node.store.incomingIds('c')).toEqual([5]);
  });
});

describe('Receive Maximum', () => {
  const limits = { inboundInflightMax: 3 };

  test('MQTT-5.0 §3.3.4 unreleased QoS 2 packets fill it; one more ends the connection with 0x93', async () => {
    const node = new TestNode({ limits });
    const client = node.open(5);
    const { properties } = await client.connect();
    expect(properties?.receiveMaximum).toBe(3);
    for (let id = 1; id <= 3; id++) client.publish({ topic: 't', qos: 2, packetId: id });
    await settle();
    expect(client.unread()).toHaveLength(3);
    client.ack('pubrel', 2);
    await client.expect('pubcomp');
    client.publish({ topic: 't', qos: 2, packetId: 4 });
    await client.expect('pubrec');
    client.publish({ topic: 't', qos: 2, packetId: 5 });
    expect(await client.expect('disconnect')).toMatchObject({
      code: reasonCode.receiveMaximumExceeded,
    });
    await client.closed;
  });

  test('QoS 1 counts until it is acknowledged', async () => {
    const node = new TestNode({ limits });
    const client = await node.connect('c', { version: 5 });
    const gate = new Gate();
    node.kernel.beforePublish = () => gate.pass();
    for (let id = 1; id <= 3; id++) client.publish({ topic: 't', qos: 1 });
    await settle();
    expect(client.unread()).toEqual([]);
    client.publish({ topic: 't', qos: 1 });
    expect(await client.expect('disconnect')).toMatchObject({
      code: reasonCode.receiveMaximumExceeded,
    });
    gate.open();
  });

  test('a repeated packet does not count', async () => {
    const node = new TestNode({ limits });
    const client = await node.connect('c', { version: 5 });
    for (const id of [1, 2, 3, 3, 2, 1]) client.publish({ topic: 't', qos: 2, packetId: id });
    await settle();
    expect(acks(client.unread())).toHaveLength(6);
  });

  test('MQTT-5.0 §4.9 what an earlier connection left unreleased does not count', async () => {
    const node = new TestNode({ limits });
    const session = {
      version: 5,
      cleanStart: false,
      properties: { sessionExpiryInterval: 60 },
    } as const;
    const first = await node.connect('c', session);
    for (let id = 1; id <= 3; id++) first.publish({ topic: 't', qos: 2, packetId: id });
    await settle();
    first.drop();
    await settle();
    const second = await node.connect('c', session);
    for (let id = 4; id <= 6; id++) second.publish({ topic: 't', qos: 2, packetId: id });
    second.ack('pubrel', 1);
    await settle();
    expect(acks(second.unread()).sort()).toEqual(['pubcomp 1', 'pubrec 4', 'pubrec 5', 'pubrec 6']);
    second.publish({ topic: 't', qos: 2, packetId: 7 });
    expect(await second.expect('disconnect')).toMatchObject({ code: 0x93 });
  });
});

describe('topic aliases', () => {
  test('MQTT-5.0 §3.3.2.3.4 stand for the topic they were given with, until they are given anew', async () => {
    const node = new TestNode({ limits: { topicAliasMax: 2 } });
    const client = await node.connect('c', { version: 5 });
    const properties = { topicAlias: 2 };
    client.publish({ topic: 'one', properties });
    client.publish({ topic: '', properties });
    client.publish({ topic: 'two', properties });
    client.publish({ topic: '', properties, qos: 1 });
    await client.expect('puback');
    expect(node.kernel.published.map(({ topic }) => topic)).toEqual(['one', 'one', 'two', 'two']);
    expect(node.kernel.published.every((one) => one.properties === undefined)).toBe(true);
  });

  test('one that is held up keeps the topic that it had then', async () => {
    const node = new TestNode();
    const client = await node.connect('c', { version: 5 });
    const gates = gated(node, 'first');
    client.publish({ topic: 'one', properties: { topicAlias: 1 }, payload: 'first', qos: 1 });
    client.publish({ topic: '', properties: { topicAlias: 1 }, payload: 'held' });
    client.publish({ topic: 'two', properties: { topicAlias: 1 }, qos: 1 });
    await settle();
    gates.get('first')?.open();
    await settle();
    expect(node.kernel.published.map(({ topic }) => topic)).toEqual(['one', 'one', 'two']);
  });

  test.each([
    [{ topic: 't', properties: { topicAlias: 3 } }, reasonCode.topicAliasInvalid],
    [{ topic: '', properties: { topicAlias: 1 } }, reasonCode.protocolError],
  ])('MQTT-5.0 [MQTT-3.3.2-9] %j ends the connection with %s', async (packet, code) => {
    const node = new TestNode({ limits: { topicAliasMax: 2 } });
    const client = await node.connect('c', { version: 5 });
    client.publish(packet);
    expect(await client.expect('disconnect')).toMatchObject({ code });
    expect(node.kernel.published).toEqual([]);
  });

  test('MQTT-5.0 [MQTT-3.3.2-7] are forgotten with the connection', async () => {
    const node = new TestNode();
    const first = await node.connect('c', { version: 5 });
    first.publish({ topic: 'one', properties: { topicAlias: 1 }, qos: 1 });
    await first.expect('puback');
    first.drop();
    const second = await node.connect('c', { version: 5 });
    second.publish({ topic: '', properties: { topicAlias: 1 } });
    expect(await second.expect('disconnect')).toMatchObject({ code: reasonCode.protocolError });
  });
});

describe('a publish that is denied', () => {
  const forbid = (rights: TestRights): void => void rights.noPublish.add('forbidden');

  test.each([0, 1, 2] as const)('MQTT-5.0: QoS %s says 0x87 and stays', async (qos) => {
    const node = new TestNode();
    node.hooks.grant = (rights) => {
      forbid(rights);
      rights.deniedPublish = 'disconnect';
    };
    const client = await node.connect('c', { version: 5 });
    client.publish({ topic: 'forbidden', qos });
    client.publish({ topic: 'fine', payload: 'after', qos: 1 });
    if (qos > 0) {
      expect(await client.next()).toMatchObject({
        type: qos === 1 ? 'puback' : 'pubrec',
        code: reasonCode.notAuthorized,
      });
    }
    expect(await client.expect('puback')).toMatchObject({ code: 0 });
    expect(node.kernel.published.map(({ topic }) => topic)).toEqual(['fine']);
    expect(node.observer.of('publish_denied')).toBe(1);
    expect(node.observer.of('publish_allowed')).toBe(1);
  });

  test.each([
    [3, 0],
    [3, 1],
    [4, 0],
    [4, 1],
    [4, 2],
  ] as const)('MQTT %s, QoS %s, by setting: acknowledged and dropped', async (version, qos) => {
    const node = new TestNode();
    node.hooks.grant = forbid;
    const client = await node.connect('c', { version });
    const packetId = client.publish({ topic: 'forbidden', qos });
    if (qos === 1) await client.expect('puback');
    if (qos === 2) {
      await client.expect('pubrec');
      client.ack('pubrel', packetId);
      await client.expect('pubcomp');
    }
    client.publish({ topic: 'fine', qos: 1 });
    await client.expect('puback');
    expect(node.kernel.published.map(({ topic }) => topic)).toEqual(['fine']);
  });

  test.each([
    [3, 1],
    [4, 0],
    [4, 1],
    [4, 2],
  ] as const)('MQTT %s, QoS %s, by setting: the end of the connection', async (version, qos) => {
    const node = new TestNode();
    node.hooks.grant = (rights) => {
      forbid(rights);
      rights.deniedPublish = 'disconnect';
    };
    const client = await node.connect('c', { version });
    client.publish({ topic: 'fine', qos: 1 });
    client.publish({ topic: 'forbidden', qos });
    client.publish({ topic: 'behind', qos: 1 });
    await client.closed;
    expect(node.kernel.published.map(({ topic }) => topic)).toEqual(['fine']);
    await settle();
    expect(node.hooks.open).toBe(0);
    // Its session can be taken again: nothing waits for the publish that was refused.
    await node.connect('c', { version });
  });
});

describe('a publish that is denied, where that ends every connection', () => {
  const forbid = (rights: TestRights): void => void rights.noPublish.add('forbidden');

  test.each([0, 1, 2] as const)(
    'MQTT 5, QoS %s: ends it with 0x87, and nothing behind it is taken',
    async (qos) => {
      const node = new TestNode();
      node.hooks.grant = (rights) => {
        forbid(rights);
        rights.deniedEnds = true;
      };
      const client = await node.connect('c', { version: 5 });
      client.publish({ topic: 'fine', qos: 1 });
      await client.expect('puback');
      client.publish({ topic: 'forbidden', qos });
      client.publish({ topic: 'behind', qos: 1 });
      expect(await client.expect('disconnect')).toMatchObject({ code: reasonCode.notAuthorized });
      await client.closed;
      expect(node.kernel.published.map(({ topic }) => topic)).toEqual(['fine']);
      await settle();
      expect(node.hooks.open).toBe(0);
    },
  );

  test('before MQTT 5 the listener says what becomes of it', async () => {
    const node = new TestNode();
    node.hooks.grant = (rights) => {
      forbid(rights);
      rights.deniedEnds = true;
    };
    const client = await node.connect('c', { version: 4 });
    client.publish({ topic: 'forbidden', qos: 1 });
    await client.expect('puback');
  });
});

describe('a publish that fails', () => {
  test.each([
    [5, 'puback'],
    [4, undefined],
    [3, undefined],
  ] as const)('MQTT %s: is never acknowledged as if it had not', async (version, type) => {
    const node = new TestNode();
    node.kernel.beforePublish = () => Promise.reject(unavailable());
    const client = await node.connect('c', { version });
    client.publish({ topic: 't', qos: 1 });
    if (type === undefined) {
      await client.closed;
      expect(client.unread()).toEqual([]);
    } else {
      expect(await client.expect(type)).toMatchObject({
        code: reasonCode.implementationSpecificError,
      });
    }
    expect(node.observer.problems).toHaveLength(1);
  });

  test('QoS 2 that failed, and all its repetitions, say so; the id is free then', async () => {
    const node = new TestNode();
    const client = await node.connect('c', { version: 5 });
    const gate = new Gate();
    node.kernel.beforePublish = async () => {
      await gate.pass();
      throw unavailable();
    };
    client.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5 });
    client.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5, dup: true });
    await settle();
    gate.open();
    expect(await client.expect('pubrec')).toMatchObject({ packetId: 5, code: 0x83 });
    expect(await client.expect('pubrec')).toMatchObject({ packetId: 5, code: 0x83 });
    node.kernel.beforePublish = undefined;
    client.publish({ topic: 't', payload: 'm', qos: 2, packetId: 5 });
    expect(await client.expect('pubrec')).toMatchObject({ packetId: 5, code: 0 });
  });
});

describe('a retained message', () => {
  const limits = { retainedMessagesMax: 2, retainedPayloadBytesMax: 4 };

  test('within its limits is kept; an empty one takes it away', async () => {
    const node = new TestNode({ limits });
    const client = await node.connect('c', { version: 5 });
    client.publish({ topic: 'a', payload: '1234', qos: 1, retain: true });
    expect(await client.expect('puback')).toMatchObject({ code: 0 });
    expect(node.store.retainedCount).toBe(1);
    client.publish({ topic: 'a', payload: '', qos: 1, retain: true });
    await client.expect('puback');
    expect(node.store.retainedCount).toBe(0);
  });

  test.each([
    [5, 'puback'],
    [4, undefined],
  ] as const)('MQTT %s: one byte too large is refused', async (version, type) => {
    const node = new TestNode({ limits });
    const client = await node.connect('c', { version });
    client.publish({ topic: 'a', payload: '12345', qos: 1, retain: true });
    if (type === undefined) await client.closed;
    else expect(await client.expect(type)).toMatchObject({ code: reasonCode.quotaExceeded });
    expect(node.store.retainedCount).toBe(0);
    expect(node.kernel.published).toEqual([]);
  });

  test('one too many is refused, but one in the place of another is not', async () => {
    const node = new TestNode({ limits });
    const client = await node.connect('c', { version: 5 });
    for (const topic of ['a', 'b']) client.publish({ topic, payload: 'old', qos: 1, retain: true });
    client.publish({ topic: 'c', payload: 'new', qos: 1, retain: true });
    client.publish({ topic: 'a', payload: 'new', qos: 1, retain: true });
    client.publish({ topic: 'c', payload: 'new', qos: 0, retain: true });
    client.publish({ topic: 'c', payload: 'live', qos: 1 });
    await settle();
    expect(client.unread()).toMatchObject([
      { code: 0 },
      { code: 0 },
      { code: reasonCode.quotaExceeded },
      { code: 0 },
      { code: 0 },
    ]);
    const kept = await node.store.retainedMessages(['#'], 0);
    expect(kept.map(({ topic, payload }) => `${topic} ${payload?.toString()}`).sort()).toEqual([
      'a new',
      'b old',
    ]);
  });

  test('a store that cannot say whether there is one refuses it', async () => {
    const control = new StoreControl(createMemorySessionStore());
    const node = new TestNode({ limits: { retainedMessagesMax: 0 }, store: control.store });
    const client = await node.connect('c', { version: 5 });
    control.failing.add('retainedMessages');
    client.publish({ topic: 'a', payload: 'm', qos: 1, retain: true });
    expect(await client.expect('puback')).toMatchObject({
      code: reasonCode.implementationSpecificError,
    });
  });
});

describe('what a message takes along', () => {
  test('MQTT-5.0 §3.3.2.3 properties of the publisher reach the receivers, those of the connection do not', async () => {
    const node = new TestNode();
    const subscriber = await node.connect('s', { version: 5 });
    await subscriber.subscribe('t', 0);
    const client = await node.connect('c', { version: 5 });
    const properties = {
      payloadFormatIndicator: 1,
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.from([1, 2]),
      userProperties: [['a', 'b'] as const],
    } as const;
    client.publish({
      topic: 't',
      properties: { ...properties, userProperties: [['a', 'b']], topicAlias: 1 },
    });
    expect((await subscriber.expect('publish')).properties).toEqual(properties);
  });

  test('MQTT-5.0 [MQTT-3.3.2-6] the time it has left', async () => {
    const node = new TestNode();
    const first = await node.connect('s', {
      version: 5,
      cleanStart: false,
      properties: { sessionExpiryInterval: 600 },
    });
    await first.subscribe('t', 1);
    first.drop();
    await settle();
    const client = await node.connect('c', { version: 5 });
    client.publish({
      topic: 't',
      payload: 'long',
      qos: 1,
      properties: { messageExpiryInterval: 30 },
    });
    client.publish({
      topic: 't',
      payload: 'short',
      qos: 1,
      properties: { messageExpiryInterval: 10 },
    });
    await settle();
    node.elapsedMs += 10_000;
    const second = await node.connect('s', { version: 5, cleanStart: false });
    expect(second.present).toBe(true);
    const message = await second.expect('publish');
    expect(message.payload.toString()).toBe('long');
    expect(message.properties).toEqual({ messageExpiryInterval: 20 });
    await settle();
    expect(second.unread()).toEqual([]);
    expect(node.observer.of('delivery_expired')).toBe(1);
  });

  test('a payload that has to wait does not change with the buffer that it was read into', async () => {
    const node = new TestNode();
    const subscriber = await node.connect('s');
    await subscriber.subscribe('t', 1);
    const client = await node.connect('c');
    const gates = gated(node, 'one');
    client.publish({ topic: 't', payload: 'one', qos: 1 });
    client.publish({ topic: 't', payload: 'held', qos: 0 });
    await settle();
    gates.get('one')?.open();
    await settle();
    expect(subscriber.payloads).toEqual(['one', 'held']);
  });
});
