import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import { describe, expect, test } from 'vitest';
import { bytes, connectBytes, field, packet, uint16 } from '../../test-support/client-bytes.ts';
import { Gate, settle, until } from '../../test-support/settle.ts';
import { TestNode } from '../../test-support/test-node.ts';
import { StoreControl } from '../../test-support/test-store.ts';
import type { ProtocolVersion } from '../codec/packet.ts';
import { reasonCode } from '../codec/reason-code.ts';
import type { ConnectRefusal, EnhancedStep } from '../hooks.ts';

const versions: ProtocolVersion[] = [3, 4, 5];

/** Nothing is left of any connection. */
async function expectNothing(node: TestNode): Promise<void> {
  await settle();
  expect(node.hooks.open).toBe(0);
  expect(node.engine.connectionCount).toBe(0);
  expect(node.engine.sessionCount).toBe(0);
  expect(node.kernel.wanted.size).toBe(0);
}

describe('a CONNECT that is accepted', () => {
  test.each(versions)('MQTT %s: opens the connection with a CONNACK', async (version) => {
    const node = new TestNode();
    const told: string[] = [];
    const client = node.open(version);
    Object.assign(client.server.origin, {
      arriving: () => told.push('arriving'),
      settled: () => told.push('settled'),
      authenticated: () => told.push('authenticated'),
    });
    expect(await client.connect()).toMatchObject({ code: 0, sessionPresent: false });
    expect(told).toEqual(['arriving', 'settled', 'authenticated']);
    expect([node.engine.sessionCount, node.hooks.open]).toEqual([1, 1]);
    expect([client.server.clientId, client.server.version]).toEqual(['client', version]);
  });

  test('MQTT-5.0 §3.2.2.3 is told what differs from what it asked for, and our own limits', async () => {
    const node = new TestNode({
      limits: {
        keepAliveSecondsMax: 30,
        sessionExpirySecondsMax: 100,
        inboundInflightMax: 7,
        packetBytesMax: 5000,
        topicAliasMax: 3,
      },
    });
    const client = node.open(5);
    const { properties } = await client.connect({
      keepAliveSeconds: 31,
      clientId: '',
      properties: { sessionExpiryInterval: 101 },
    });
    expect(properties).toEqual({
      receiveMaximum: 7,
      maximumPacketSize: 5000,
      topicAliasMaximum: 3,
      sessionExpiryInterval: 100,
      serverKeepAlive: 30,
      assignedClientIdentifier: client.server.clientId,
    });
    expect(client.server.clientId).toMatch(/^auto-.{36}$/);
    const modest = node.open(5);
    const answer = await modest.connect({
      keepAliveSeconds: 30,
      clientId: 'c',
      properties: { sessionExpiryInterval: 100 },
    });
    expect(Object.keys(answer.properties ?? {}).sort()).toEqual([
      'maximumPacketSize',
      'receiveMaximum',
      'topicAliasMaximum',
    ]);
  });

  test('MQTT-3.1.1 [MQTT-3.1.3-6] [MQTT-3.1.3-7] two without a client id are two clients', async () => {
    const node = new TestNode();
    const one = await node.connect('');
    const two = await node.connect('');
    expect(one.server.clientId).not.toBe(two.server.clientId);
    expect(node.engine.sessionCount).toBe(2);
  });

  test('MQTT-5.0 §3.1.4 what it sends before the CONNACK is done after it', async () => {
    const node = new TestNode();
    const gate = new Gate();
    node.hooks.decide = async ({ clientId }) => {
      await gate.pass();
      node.hooks.accepted.pop();
      return node.hooks.accept(clientId);
    };
    const client = node.open(5);
    client.sendConnect();
    client.sendSubscribe('t', 1);
    client.publish({ topic: 't', payload: 'm', qos: 1 });
    await settle();
    expect(node.kernel.published).toEqual([]);
    expect(client.socket.isPaused()).toBe(true);
    gate.open();
    await settle();
    expect(client.received.map(({ type }) => type)).toEqual([
      'connack',
      'suback',
      'publish',
      'puback',
    ]);
  });

  test('MQTT-5.0 [MQTT-3.1.2-24] is refused when its CONNACK would be larger than it takes', async () => {
    const node = new TestNode();
    const client = node.open(5);
    client.sendConnect({ properties: { maximumPacketSize: 10 } });
    const { code } = await client.expect('connack');
    expect(code).toBe(reasonCode.packetTooLarge);
    await client.closed;
    await expectNothing(node);
  });
});

describe('a CONNECT that is refused', () => {
  const refusals: [ConnectRefusal, number, number][] = [
    ['not_authorized', 5, 0x87],
    ['bad_credentials', 4, 0x86],
    ['banned', 5, 0x8a],
    ['quota_exceeded', 3, 0x97],
    ['server_unavailable', 3, 0x88],
    ['server_busy', 3, 0x89],
  ];

  test.each(refusals)('%s is told as %s, or %s in MQTT 5', async (reason, returnCode, code) => {
    for (const version of versions) {
      const node = new TestNode();
      node.hooks.decide = async () => ({ accepted: false, reason });
      const client = node.open(version);
      const connack = await client.connect({ cleanStart: true });
      expect(connack).toMatchObject({
        code: version === 5 ? code : returnCode,
        sessionPresent: false,
      });
      await client.closed;
      await expectNothing(node);
    }
  });

  test('hooks that fail refuse', async () => {
    const node = new TestNode();
    node.hooks.decide = () => Promise.reject(new Error('broken'));
    const client = node.open(5);
    expect(await client.connect()).toMatchObject({ code: reasonCode.implementationSpecificError });
    await client.closed;
    await expectNothing(node);
  });

  test('MQTT-3.1.1 [MQTT-3.1.3-8] [MQTT-3.1.3-9] without a client id that would outlive the connection', async () => {
    for (const [version, cleanStart] of [
      [3, true],
      [3, false],
      [4, false],
    ] as const) {
      const node = new TestNode();
      const client = node.open(version);
      client.send(
        packet(
          0x10,
          field(version === 3 ? 'MQIsdp' : 'MQTT'),
          version,
          cleanStart ? 2 : 0,
          uint16(60),
          field(''),
        ),
      );
      expect(await client.expect('connack')).toMatchObject({ code: 2 });
      await client.closed;
      await expectNothing(node);
    }
  });

  test('MQTT-3.1.1 [MQTT-3.1.2-2] with an unknown level gets code 1', async () => {
    const node = new TestNode();
    const client = node.open(4);
    client.send(packet(0x10, field('MQTT'), 9, 2, uint16(60), field('c')));
    expect(await client.expect('connack')).toMatchObject({ code: 1 });
    await client.closed;
    await expectNothing(node);
  });

  test.each([
    ['another protocol', bytes('GET / HTTP/1.1\r\n\r\n')],
    ['MQTT-3.1.1 [MQTT-3.1.0-1] a PINGREQ first', bytes(0xc0, 0)],
    ['a DISCONNECT first', bytes(0xe0, 0)],
    ['a CONNECT without end', packet(0x10, field('MQTT'), 4, 2)],
  ])('%s: the connection is closed without an answer', async (_what, sent) => {
    const node = new TestNode();
    const client = node.open();
    client.send(sent);
    await client.closed;
    expect(client.received).toEqual([]);
    await expectNothing(node);
  });

  test('MQTT-5.0 §4.13 malformed is told as 0x81', async () => {
    const node = new TestNode();
    const client = node.open(5);
    client.send(packet(0x10, field('MQTT'), 5, 3, uint16(60), 0, field('c')));
    expect(await client.expect('connack')).toMatchObject({ code: reasonCode.malformedPacket });
    await client.closed;
    await expectNothing(node);
  });

  test('a packet larger than a CONNECT may be is refused by its header', async () => {
    const node = new TestNode({ limits: { connectPacketBytesMax: 100 } });
    const client = node.open();
    client.send(bytes(0x10, 0xff, 0xff, 0xff, 0x7f));
    await client.closed;
    expect(client.received).toEqual([]);
    await expectNothing(node);
  });

  test.each(versions)(
    'MQTT %s: [MQTT-3.1.0-2] a second CONNECT ends the connection',
    async (version) => {
      const node = new TestNode();
      const client = await node.connect('c', { version });
      client.send(connectBytes(version));
      if (version === 5) {
        expect(await client.expect('disconnect')).toMatchObject({ code: reasonCode.protocolError });
      }
      await client.closed;
      await expectNothing(node);
    },
  );

  test('a DISCONNECT while the decision is awaited ends it', async () => {
    const node = new TestNode();
    node.hooks.enhanced = () => ({
      step: () => Promise.resolve({ outcome: 'continue', data: Buffer.from('?') }),
    });
    const client = node.open(5);
    client.sendConnect({ properties: { authenticationMethod: 'M' } });
    await client.expect('auth');
    client.disconnect();
    await client.closed;
    await expectNothing(node);
  });
});

describe('a connection that ends while it is being opened', () => {
  const session = {
    version: 5,
    cleanStart: false,
    properties: { sessionExpiryInterval: 60 },
  } as const;

  /** Calls of the store during the handshake of a session that is resumed. */
  const steps = [
    'openSession',
    'subscriptionsByClient',
    'incomingIds',
    'removeSubscriptions',
  ] as const satisfies (keyof SessionStore)[];

  const resumable = async (node: TestNode): Promise<void> => {
    const first = await node.connect('c', { ...session, will: willOf('ended') });
    await first.subscribe(['kept', 'lost'], 1);
    first.disconnect();
    await settle();
    node.hooks.grant = (rights) => rights.noSubscribe.add('lost');
  };

  const willOf = (topic: string) =>
    ({ topic, payload: Buffer.from(topic), qos: 0, retain: false }) as const;

  test.each(steps)('at %s: nothing is left, and the verdict has ended once', async (step) => {
    for (const when of ['before', 'after'] as const) {
      for (const how of ['drop', 'end', 'disconnect'] as const) {
        const control = new StoreControl(createMemorySessionStore());
        const node = new TestNode({ store: control.store });
        await resumable(node);
        const gate = new Gate();
        control[when].set(step, () => gate.pass());
        const client = node.open(5);
        client.sendConnect({ clientId: 'c', ...session, will: willOf('never') });
        await until(() => gate.waiting === 1);
        if (how === 'drop') client.drop();
        if (how === 'end') client.socket.feedEnd();
        if (how === 'disconnect') void client.server.disconnect(reasonCode.administrativeAction);
        await settle();
        gate.open();
        if (how === 'end') await client.expect('connack'); // Not seen: nothing is read meanwhile.
        await client.closed;
        await expectNothing(node);
        // One that has come properly is missed when it goes like that.
        expect(node.kernel.published).toHaveLength(how === 'end' ? 1 : 0);
        expect(client.received).toHaveLength(how === 'end' ? 1 : 0);
        control[when].delete(step);
        const next = await node.connect('c', session);
        expect(next.present).toBe(true);
      }
    }
  });

  test('at the decision itself: the verdict has ended once, and nobody was disturbed', async () => {
    const node = new TestNode();
    const present = await node.connect('c');
    const gate = new Gate();
    node.hooks.decide = async ({ clientId }) => {
      await gate.pass();
      node.hooks.accepted.pop();
      return node.hooks.accept(clientId);
    };
    const client = node.open();
    client.sendConnect({ clientId: 'c' });
    await until(() => gate.waiting === 1);
    client.drop();
    await settle();
    gate.open();
    await settle();
    expect([node.hooks.accepted.length, node.hooks.endings.length]).toEqual([2, 1]);
    expect(present.unread()).toEqual([]);
    expect(node.engine.sessionCount).toBe(1);
  });

  test('while it waits for its turn: who has the client id keeps it', async () => {
    const control = new StoreControl(createMemorySessionStore());
    const node = new TestNode({ store: control.store });
    const gate = new Gate();
    control.before.set('openSession', () => gate.pass());
    const first = node.open();
    first.sendConnect({ clientId: 'c' });
    await until(() => gate.waiting === 1);
    const second = node.open();
    second.sendConnect({ clientId: 'c' });
    await settle();
    second.drop();
    await settle();
    gate.open();
    await first.expect('connack');
    await settle();
    expect(first.unread()).toEqual([]);
    expect([node.engine.sessionCount, node.hooks.open]).toEqual([1, 1]);
  });

  test('and whose store goes away then: the verdict has ended once', async () => {
    for (const step of steps) {
      const control = new StoreControl(createMemorySessionStore());
      const node = await TestNode.start({ store: control.store });
      await resumable(node);
      const gate = new Gate();
      control.before.set(step, () => gate.pass());
      const client = node.open(5);
      client.sendConnect({ clientId: 'c', ...session, will: willOf('never') });
      await until(() => gate.waiting === 1);
      client.drop();
      control.failing.add(step);
      control.failing.add('closeSession');
      gate.open();
      await expectNothing(node);
      control.failing.clear();
      expect(node.kernel.published).toEqual([]);
      await node[Symbol.asyncDispose]();
    }
  });

  test.each(steps)(
    'a store that is away at %s: 0x88, and the next attempt finds the session',
    async (step) => {
      const control = new StoreControl(createMemorySessionStore());
      const node = new TestNode({ store: control.store });
      await resumable(node);
      control.failing.add(step);
      const client = node.open(5);
      const connack = await client.connect({ clientId: 'c', ...session, will: willOf('never') });
      expect(connack.code).toBe(reasonCode.serverUnavailable);
      await client.closed;
      await expectNothing(node);
      control.failing.clear();
      const next = await node.connect('c', session);
      expect(next.present).toBe(true);
      expect(node.kernel.published).toEqual([]);
    },
  );
});

describe('enhanced authentication', () => {
  const exchangeOf = (node: TestNode, steps: (() => Promise<EnhancedStep>)[]) => {
    const asked: (string | undefined)[] = [];
    node.hooks.enhanced = (_client, _request, method) =>
      method === 'M'
        ? {
            step: (data) => {
              asked.push(data?.toString());
              const step = steps.shift();
              if (step === undefined) throw new Error('no more steps');
              return step();
            },
          }
        : undefined;
    return asked;
  };
  const properties = (data?: string) => ({
    authenticationMethod: 'M',
    ...(data !== undefined && { authenticationData: Buffer.from(data) }),
  });
  const more = (data: string) => (): Promise<EnhancedStep> =>
    Promise.resolve({ outcome: 'continue', data: Buffer.from(data) });

  test('MQTT-5.0 [MQTT-4.12.0-1] an unknown method is refused', async () => {
    const node = new TestNode();
    const client = node.open(5);
    const { code } = await client.connect({ properties: { authenticationMethod: 'X' } });
    expect(code).toBe(reasonCode.badAuthenticationMethod);
    await client.closed;
    await expectNothing(node);
  });

  test('MQTT-5.0 §4.12 goes back and forth until it is decided', async () => {
    const node = new TestNode();
    const asked = exchangeOf(node, [
      more('two'),
      more('four'),
      async () => ({ outcome: 'done', data: Buffer.from('six'), verdict: node.hooks.accept('c') }),
    ]);
    const client = node.open(5);
    client.sendConnect({ clientId: 'c', properties: properties('one') });
    expect(await client.expect('auth')).toMatchObject({
      code: 0x18,
      properties: properties('two'),
    });
    client.send({ type: 'auth', code: 0x18, properties: properties('three') });
    expect(await client.expect('auth')).toMatchObject({ properties: properties('four') });
    client.send({ type: 'auth', code: 0x18, properties: properties('five') });
    const connack = await client.expect('connack');
    expect(connack).toMatchObject({ code: 0, properties: properties('six') });
    expect(asked).toEqual(['one', 'three', 'five']);
    client.drop();
    await expectNothing(node);
  });

  test('MQTT-5.0 [MQTT-3.1.2-24] is refused when its challenge would be larger than the client takes', async () => {
    const auth = 2 + 1 + 1 + 4 + 6; // Header, reason, length of the properties, the method, "two".
    for (const [most, type] of [
      [auth, 'auth'],
      [auth - 1, 'connack'],
    ] as const) {
      const node = new TestNode();
      exchangeOf(node, [more('two')]);
      const client = node.open(5);
      client.sendConnect({ properties: { ...properties('one'), maximumPacketSize: most } });
      await client.expect(type);
      if (type === 'auth') continue;
      expect(client.received).toMatchObject([{ code: reasonCode.packetTooLarge }]);
      await client.closed;
      await expectNothing(node);
    }
  });

  test('that is refused in the end says why', async () => {
    const node = new TestNode();
    exchangeOf(node, [
      more('two'),
      async () => ({
        outcome: 'done',
        verdict: { accepted: false, reason: 'bad_credentials' },
      }),
    ]);
    const client = node.open(5);
    client.sendConnect({ properties: properties() });
    await client.expect('auth');
    client.send({ type: 'auth', code: 0x18, properties: properties() });
    expect(await client.expect('connack')).toMatchObject({ code: 0x86 });
    await client.closed;
    await expectNothing(node);
  });

  test.each([
    ['another method', { type: 'auth', code: 0x18, properties: { authenticationMethod: 'N' } }],
    [
      'a re-authentication',
      { type: 'auth', code: 0x19, properties: { authenticationMethod: 'M' } },
    ],
    [
      'a PUBLISH',
      {
        type: 'publish',
        topic: 't',
        payload: Buffer.alloc(0),
        qos: 0,
        retain: false,
        dup: false,
        packetId: 0,
        properties: undefined,
      },
    ],
    ['a PINGREQ', { type: 'pingreq' }],
  ] as const)('MQTT-5.0 [MQTT-4.12.0-5] %s in between is refused', async (_what, sent) => {
    const node = new TestNode();
    exchangeOf(node, [more('two')]);
    const client = node.open(5);
    client.sendConnect({ properties: properties() });
    await client.expect('auth');
    client.send(sent);
    expect(await client.expect('connack')).toMatchObject({ code: reasonCode.protocolError });
    await client.closed;
    await expectNothing(node);
  });

  test('an AUTH without an exchange is refused', async () => {
    const node = new TestNode();
    const client = node.open(5);
    client.send({ type: 'auth', code: 0x18, properties: properties() });
    await client.closed;
    await expectNothing(node);
  });

  test('a verdict that comes when the connection is gone has ended', async () => {
    const node = new TestNode();
    const gate = new Gate();
    exchangeOf(node, [
      async () => {
        await gate.pass();
        return { outcome: 'done', verdict: node.hooks.accept('c') };
      },
    ]);
    const client = node.open(5);
    client.sendConnect({ clientId: 'c', properties: properties() });
    await until(() => gate.waiting === 1);
    client.drop();
    gate.open();
    await expectNothing(node);
    expect(node.hooks.accepted).toHaveLength(1);
  });
});

describe('re-authentication', () => {
  const properties = { authenticationMethod: 'M' };
  const begin = { type: 'auth', code: reasonCode.reAuthenticate, properties } as const;

  const connected = async (again: (node: TestNode) => Promise<EnhancedStep>) => {
    const node = new TestNode();
    let first = true;
    node.hooks.enhanced = () => ({
      step: async () => {
        if (!first) return again(node);
        first = false;
        return { outcome: 'done', verdict: node.hooks.accept('c') };
      },
    });
    const client = await node.connect('c', { version: 5, properties });
    return { node, client };
  };

  test('MQTT-5.0 §4.12.1 that succeeds replaces the rights, and the old ones have ended', async () => {
    const { node, client } = await connected(async (one) => {
      one.hooks.grant = (rights) => rights.noPublish.add('t');
      return { outcome: 'done', verdict: one.hooks.accept('c'), data: Buffer.from('d') };
    });
    client.send(begin);
    expect(await client.expect('auth')).toMatchObject({
      code: 0,
      properties: { ...properties, authenticationData: Buffer.from('d') },
    });
    expect([node.hooks.accepted.length, node.hooks.open]).toEqual([2, 1]);
    client.publish({ topic: 't', qos: 1 });
    expect(await client.expect('puback')).toMatchObject({ code: reasonCode.notAuthorized });
    client.drop();
    await expectNothing(node);
  });

  test('MQTT-5.0 [MQTT-4.12.1-2] that fails ends the connection', async () => {
    const { node, client } = await connected(async () => ({
      outcome: 'done',
      verdict: { accepted: false, reason: 'not_authorized' },
    }));
    client.send(begin);
    expect(await client.expect('disconnect')).toMatchObject({ code: reasonCode.notAuthorized });
    await client.closed;
    await expectNothing(node);
  });

  test('goes on over several packets', async () => {
    let steps = 0;
    const { client } = await connected(async (node) =>
      ++steps < 3
        ? { outcome: 'continue', data: Buffer.from(`${steps}`) }
        : { outcome: 'done', verdict: node.hooks.accept('c') },
    );
    client.send(begin);
    expect(await client.expect('auth')).toMatchObject({ code: 0x18 });
    client.send({ type: 'auth', code: 0x18, properties });
    expect(await client.expect('auth')).toMatchObject({ code: 0x18 });
    client.send({ type: 'auth', code: 0x18, properties });
    expect(await client.expect('auth')).toMatchObject({ code: 0 });
  });

  test.each([
    ['with another method', { ...begin, properties: { authenticationMethod: 'N' } }],
    ['that continues nothing', { ...begin, code: 0x18 }],
  ])('MQTT-5.0 [MQTT-4.12.1-1] an AUTH %s ends the connection', async (_what, sent) => {
    const { node, client } = await connected(() => Promise.reject(new Error('not asked')));
    client.send(sent);
    expect(await client.expect('disconnect')).toMatchObject({ code: reasonCode.protocolError });
    await client.closed;
    await expectNothing(node);
  });

  test('MQTT-5.0 [MQTT-4.12.0-7] of a client that has used no method ends the connection', async () => {
    const node = new TestNode();
    const client = await node.connect('c', { version: 5 });
    client.send(begin);
    expect(await client.expect('disconnect')).toMatchObject({ code: reasonCode.protocolError });
    await client.closed;
    await expectNothing(node);
  });

  test('rights that come when the connection is gone have ended', async () => {
    const gate = new Gate();
    const { node, client } = await connected(async (one) => {
      await gate.pass();
      return { outcome: 'done', verdict: one.hooks.accept('c') };
    });
    client.send(begin);
    await until(() => gate.waiting === 1);
    client.drop();
    gate.open();
    await expectNothing(node);
    expect(node.hooks.accepted).toHaveLength(2);
  });
});
