import {
  encodeConnect5,
  encodeDisconnect5,
  encodeField,
  encodeMqtt5Property,
  encodePacket,
  encodePublish5,
  encodeSubscribe5,
  encodeUint16,
  PINGREQ,
  packetTypes,
  type RawConnect5,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  expectRefusal,
  OTHER,
  payloads,
  strict,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

const connectBytes = (options: Partial<RawConnect5> = {}): Buffer =>
  encodeConnect5({ clientId: unique('c'), ...broker.device, ...options });

/** A CONNECT of which everything behind the flags and the keep alive is given. */
function connectWith(flags: number, ...rest: readonly Uint8Array[]): Buffer {
  const body = [encodeField('MQTT'), Buffer.from([5, flags]), encodeUint16(60), ...rest];
  return encodePacket(packetTypes.connect, 0, Buffer.concat(body));
}

const NO_PROPERTIES = Buffer.from([0]);
const INVALID_UTF8 = Buffer.from([0x61, 0xed, 0xa0, 0x80]);

it('MQTT-5.0 [MQTT-3.1.0-1] [MQTT-3.14.0-1] closes a connection whose first packet is not CONNECT, without a word', async () => {
  for (const first of [
    PINGREQ,
    encodePublish5({ topicName: 'a', payload: 'x' }),
    encodeSubscribe5(1, [{ topicFilter: 'a', qos: 0 }]),
    encodeDisconnect5(0),
  ]) {
    const client = await broker.open();
    client.send(first);
    expect(await client.ending(), first.toString('hex')).toEqual([]);
  }
});

it('MQTT-5.0 [MQTT-3.1.0-2] [MQTT-3.2.0-2] answers a second CONNECT with DISCONNECT 0x82', async () => {
  const client = await broker.connect();
  client.send(connectBytes());
  await expectDisconnect(client, 0x82);
});

it('MQTT-5.0 [MQTT-3.1.2-1] [MQTT-3.1.2-2] refuses other protocols and versions with 0x84, or 1 as MQTT 3.1.1 has it', async () => {
  for (const other of [
    { protocolName: 'MQTX' },
    { protocolName: 'mqtt' },
    { protocolName: '' },
    { protocolLevel: 6 },
    { protocolLevel: 0 },
    { protocolLevel: 255 },
  ]) {
    const client = await broker.open();
    client.send(connectBytes(other));
    const answer = await client.receiveRaw().catch(() => undefined);
    if (answer !== undefined) {
      expect([packetTypes.connack]).toContain(answer.type);
      expect(['0001', '008400']).toContain(answer.body.toString('hex'));
    }
    expect(await client.ending(), JSON.stringify(other)).toEqual([]);
  }
});

it('MQTT-5.0 [MQTT-3.1.2-3] refuses a CONNECT with the reserved flag', async () => {
  const client = await broker.open();
  client.send(connectBytes({ flags: 0x03 }));
  await expectRefusal(client, [0x81, 0x82]);
});

it('MQTT-5.0 [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2] Clean Start 1 forgets subscriptions and messages of the session', async () => {
  const clientId = unique('c');
  const topic = unique('t');
  const { client: first } = await broker.resume(clientId);
  await first.subscribe(topic);
  await first.disconnect();
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'old' });
  const { client: second, connack } = await broker.resume(clientId, { cleanStart: true });
  expect(connack.sessionPresent).toBe(false);
  await publisher.deliver({ topicName: topic, payload: 'new' });
  await second.silence();
});

it('MQTT-5.0 [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.3-2] [MQTT-3.2.2-3] Clean Start 0 makes a session for a new client id and goes on with it later', async () => {
  const clientId = unique('c');
  const topic = unique('t');
  const made = await broker.resume(clientId);
  expect(made.connack.sessionPresent).toBe(false);
  await made.client.subscribe(topic);
  await made.client.disconnect();
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'while away' });
  const resumed = await broker.resume(clientId);
  expect(resumed.connack.sessionPresent).toBe(true);
  await publisher.deliver({ topicName: topic, payload: 'back' });
  expect(await payloads(resumed.client, 2)).toEqual(['while away', 'back']);
  const other = await broker.resume(unique('c'));
  expect(other.connack.sessionPresent).toBe(false);
});

it('MQTT-5.0 [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] refuses flags of a will that is not there, and Will QoS 3', async () => {
  const will = { topicName: 'w', payload: 'x' };
  const cases: readonly (readonly [string, Buffer])[] = [
    ['Will QoS 1 without a will', connectBytes({ flags: 0xc2 | 0x08 })],
    ['Will QoS 2 without a will', connectBytes({ flags: 0xc2 | 0x10 })],
    ['Will Retain without a will', connectBytes({ flags: 0xc2 | 0x20 })],
    ['Will QoS 3', connectBytes({ will: { ...will, qos: 3 } })],
  ];
  for (const [what, bytes] of cases) {
    const client = await broker.open();
    client.send(bytes);
    await expectRefusal(client, [0x81, 0x82], what);
  }
});

it('MQTT-5.0 [MQTT-3.1.2-12] [MQTT-3.1.3-1] lets a will of QoS 0, 1 and 2 in, with its fields in their order', async () => {
  for (const qos of [0, 1, 2]) {
    const topic = unique('t');
    const watcher = await broker.connect();
    await watcher.subscribe(topic);
    const client = await broker.connect({ will: { topicName: topic, payload: 'gone', qos } });
    client.destroy();
    expect(await watcher.take()).toMatchObject({ topicName: topic, qos });
  }
});

it('MQTT-5.0 [MQTT-3.1.2-9] [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-3] refuses a CONNECT whose fields are not those that its flags announce', async () => {
  const id = encodeField('c');
  const field = encodeField('x');
  const cases: readonly (readonly [string, Buffer])[] = [
    ['no client id', connectWith(0x02, NO_PROPERTIES)],
    ['will without its fields', connectWith(0x06, NO_PROPERTIES, id)],
    ['will without a payload', connectWith(0x06, NO_PROPERTIES, id, NO_PROPERTIES, field)],
    ['will without its properties', connectWith(0x06, NO_PROPERTIES, id, field, field)],
    ['a name that no flag announces', connectWith(0x02, NO_PROPERTIES, id, field)],
    ['no name, though announced', connectWith(0x82, NO_PROPERTIES, id)],
    ['a password that no flag announces', connectWith(0x82, NO_PROPERTIES, id, field, field)],
    ['no password, though announced', connectWith(0xc2, NO_PROPERTIES, id, field)],
  ];
  for (const [what, bytes] of cases) {
    const client = await broker.open();
    client.send(bytes);
    await expectRefusal(client, [0x81, 0x82], what);
  }
});

it('MQTT-5.0 [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] refuses a client id, a Will Topic and a User Name that are not UTF-8', async () => {
  const will = { topicName: INVALID_UTF8, payload: 'x' };
  for (const options of [{ clientId: INVALID_UTF8 }, { will }, { username: INVALID_UTF8 }]) {
    const client = await broker.open();
    client.send(connectBytes(options));
    await expectRefusal(client, [0x81, 0x82], Object.keys(options)[0]);
  }
});

it('MQTT-5.0 [MQTT-3.1.3-5] allows client ids of 1 to 23 letters and digits', async () => {
  const characters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  for (const clientId of ['Z', ...(characters.match(/.{1,23}/g) ?? [])]) {
    await broker.connect({ clientId });
  }
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.1.3-8] refuses a client id of more than 256 bytes with 0x85',
  async () => {
    await broker.connect({ clientId: 'i'.repeat(256) });
    for (const clientId of ['i'.repeat(257), 'ü'.repeat(129)]) {
      const client = await broker.open();
      client.send(connectBytes({ clientId }));
      await expectRefusal(client, 0x85);
    }
  },
);

it('MQTT-5.0 [MQTT-3.1.4-1] [MQTT-4.13.1-1] refuses a CONNECT that is not well-formed: lengths', async () => {
  const whole = connectBytes();
  const cases: readonly (readonly [string, Buffer])[] = [
    [
      'bytes after the end',
      encodePacket(1, 0, Buffer.concat([whole.subarray(2), Buffer.from([0])])),
    ],
    ['cut in the middle', encodePacket(1, 0, whole.subarray(2, whole.length - 2))],
    ['empty', encodePacket(1, 0, Buffer.alloc(0))],
    ['properties longer than the packet', connectWith(0x02, Buffer.from([9, 0x21, 0, 1]))],
    ['flags of the fixed header', encodePacket(1, 1, whole.subarray(2))],
  ];
  for (const [what, bytes] of cases) {
    const client = await broker.open();
    client.send(bytes);
    const packets = await client.ending();
    // Where the version is not known yet, nothing says that the client speaks MQTT 5.
    expect(packets.length, what).toBeLessThanOrEqual(1);
    for (const packet of packets) {
      expect(packet, what).toMatchObject({ type: 'connack', reasonCode: 0x81 });
    }
  }
});

it('MQTT-5.0 [MQTT-3.1.4-1] [MQTT-4.13.1-1] refuses a CONNECT that is not well-formed: properties', async () => {
  const once = encodeMqtt5Property('receiveMaximum', 1);
  const cases: readonly (readonly [string, Buffer, number])[] = [
    ['unknown', Buffer.from([0x7e, 0]), 0x81],
    ['of another packet', encodeMqtt5Property('topicAlias', 1), 0x81],
    ['twice', Buffer.concat([once, once]), 0x82],
    ['Receive Maximum 0', encodeMqtt5Property('receiveMaximum', 0), 0x82],
    ['Maximum Packet Size 0', encodeMqtt5Property('maximumPacketSize', 0), 0x82],
    ['Request Problem Information 2', encodeMqtt5Property('requestProblemInformation', 2), 0x82],
    ['Request Response Information 2', encodeMqtt5Property('requestResponseInformation', 2), 0x82],
    ['cut', once.subarray(0, 2), 0x81],
    ...strict([
      ['data without a method', encodeMqtt5Property('authenticationData', 'x'), 0x82] as const,
    ]),
  ];
  for (const [what, properties, code] of cases) {
    const client = await broker.open();
    client.send(connectBytes({ properties }));
    await expectRefusal(client, [code, 0x81, 0x82], what);
  }
});

it('MQTT-5.0 [MQTT-3.1.4-1] [MQTT-4.13.1-1] refuses a CONNECT that is not well-formed: properties of the will', async () => {
  const delay = encodeMqtt5Property('willDelayInterval', 1);
  const cases: readonly (readonly [string, Buffer, number])[] = [
    ['of CONNECT', encodeMqtt5Property('receiveMaximum', 1), 0x81],
    ['twice', Buffer.concat([delay, delay]), 0x82],
    ...strict([
      ['Payload Format Indicator 2', encodeMqtt5Property('payloadFormatIndicator', 2), 0x82],
      ['a Response Topic with a wildcard', encodeMqtt5Property('responseTopic', 'a/#'), 0x82],
    ] as const),
  ];
  for (const [what, properties, code] of cases) {
    const client = await broker.open();
    client.send(connectBytes({ will: { topicName: 'w', payload: 'x', properties } }));
    await expectRefusal(client, [code, 0x81, 0x82, 0x90], what);
  }
});

it('MQTT-5.0 [MQTT-4.7.0-1] [MQTT-4.7.3-1] refuses a Will Topic with a wildcard or without a character', async () => {
  for (const [topicName, code] of [
    ['a/+', 0x81],
    ['#', 0x81],
    ['a#', 0x81],
    ['', 0x90],
  ] as const) {
    const client = await broker.open();
    client.send(connectBytes({ will: { topicName, payload: 'x' } }));
    await expectRefusal(client, [code, 0x81, 0x82, 0x90], topicName);
  }
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.1.4-2] [MQTT-4.13.2-1] refuses whoever proves nothing with 0x86, whatever is wrong, and a will that may not be with 0x87',
  async () => {
    for (const wrong of [
      { password: 'wrong' },
      { username: 'nobody' },
      { username: undefined },
      { password: undefined },
      { username: undefined, password: undefined },
      { ...broker.restricted, will: { topicName: 'forbidden', payload: 'x' } },
      { will: { topicName: '$SYS/x', payload: 'x' } },
    ]) {
      const { username, password, ...rest } = { ...broker.device, ...wrong };
      const client = await broker.open();
      client.send(
        encodeConnect5({
          clientId: unique('c'),
          ...(username !== undefined && { username }),
          ...(password !== undefined && { password }),
          ...rest,
        }),
      );
      await expectRefusal(client, 'will' in wrong ? 0x87 : 0x86, JSON.stringify(wrong));
    }
  },
);

it('MQTT-5.0 [MQTT-3.1.4-3] [MQTT-3.14.4-2] a second connection with the client id ends the first one with 0x8E', async () => {
  const clientId = unique('c');
  const first = await broker.connect({ clientId });
  const second = await broker.connect({ clientId });
  await expectDisconnect(first, 0x8e);
  await second.ping();
});

it('MQTT-5.0 [MQTT-3.1.4-5] [MQTT-3.2.0-1] takes what a client sends right behind its CONNECT, and answers CONNACK first', async () => {
  const topic = unique('t');
  const client = await broker.open();
  client.send(
    Buffer.concat([
      connectBytes(),
      encodeSubscribe5(1, [{ topicFilter: topic, qos: 0 }]),
      encodePublish5({ topicName: topic, payload: 'early' }),
    ]),
  );
  expect(await client.expect('connack')).toMatchObject({ reasonCode: 0, sessionPresent: false });
  expect(await client.expect('suback')).toMatchObject({ packetId: 1, reasonCodes: [0] });
  expect(await client.take()).toMatchObject({ topicName: topic });
});

it('MQTT-5.0 [MQTT-3.1.4-6] does nothing with what a client sends behind a CONNECT that is refused', async () => {
  const topic = unique('t');
  const watcher = await broker.connect();
  await watcher.subscribe(topic);
  const client = await broker.open();
  client.send(
    Buffer.concat([
      connectBytes({ properties: { authenticationMethod: 'no such method' } }),
      encodeSubscribe5(1, [{ topicFilter: topic, qos: 0 }]),
      encodePublish5({ topicName: topic, payload: 'x' }),
      encodePublish5({ topicName: topic, payload: 'x', qos: 1, packetId: 1, retain: true }),
    ]),
  );
  await expectRefusal(client, [0x8c, 0x87]);
  await watcher.silence();
});
