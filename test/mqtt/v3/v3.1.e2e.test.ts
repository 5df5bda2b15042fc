import {
  encodeConnect,
  encodeField,
  encodePacket,
  encodePublish,
  encodeSubscribe,
  encodeUint16,
  encodeUnsubscribe,
  packetTypes,
  type RawConnect,
  type RawMqttClient,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import { RawWebSocket } from '../../harness/raw-web-socket.ts';
import {
  delivery,
  deliveries,
  disconnect,
  expectBytes,
  expectClosed,
  expectSilence,
  OTHER,
  publish,
  taken,
  unique,
  useWireBroker,
} from '../../harness/wire-broker.ts';

const broker = useWireBroker();

const MQTT_3_1 = { protocolName: 'MQIsdp', protocolLevel: 3 };

const connect = (options: Partial<RawConnect> = {}): Promise<RawMqttClient> =>
  broker.connect({ ...MQTT_3_1, ...options });

/** The same packet with DUP set in its fixed header. */
function withDup(packet: Buffer): Buffer {
  const copy = Buffer.from(packet);
  copy[0] = (copy[0] ?? 0) | 8;
  return copy;
}

it('MQTT-3.1 §3.1 a CONNECT with the name MQIsdp and level 3 is accepted', async () => {
  const client = await broker.open();
  client.send(encodeConnect({ clientId: unique('c'), ...broker.credentials, ...MQTT_3_1 }));
  await expectBytes(client, '20 02 00 00');
});

it('MQTT-3.1 §3.1 another level with the name MQIsdp is refused with return code 1', async () => {
  for (const protocolLevel of [0, 2, 4, 5]) {
    const client = await broker.open();
    const options = { clientId: unique('c'), ...MQTT_3_1, protocolLevel };
    client.send(encodeConnect({ ...options, ...broker.credentials }));
    await expectBytes(client, '20 02 00 01');
    await expectClosed(client);
  }
});

it('MQTT-3.1 §3.1 an empty client id is refused with return code 2, clean session or not', async () => {
  for (const cleanSession of [true, false]) {
    const client = await broker.open();
    const options = { clientId: '', cleanSession, ...MQTT_3_1, ...broker.credentials };
    client.send(encodeConnect(options));
    await expectBytes(client, '20 02 00 02');
    await expectClosed(client);
  }
});

it('MQTT-3.1 §3.2 the first byte of CONNACK is reserved: it does not tell of a session', async () => {
  const clientId = unique('c');
  const topicName = unique('t');
  const kept = { clientId, cleanSession: false, ...MQTT_3_1 };
  const first = await connect(kept);
  await first.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  await disconnect(first);
  await publish(await connect(), { topicName, payload: 'waits', qos: 1 });
  const again = await broker.open();
  again.send(encodeConnect({ ...kept, ...broker.credentials }));
  await expectBytes(again, '20 02 00 00');
  expect((await taken(again)).payload).toBe('waits');
});

it('MQTT-3.1 §4.1 messages of every QoS go between clients of 3.1 and 3.1.1', async () => {
  const topicName = unique('t');
  const clients = [await connect(), await broker.connect()];
  for (const client of clients) await client.subscribe(1, [{ topicFilter: topicName, qos: 2 }]);
  for (const publisher of [await connect(), await broker.connect()]) {
    for (const qos of [0, 1, 2]) {
      await publish(publisher, { topicName, payload: String(qos), qos });
      for (const client of clients) {
        expect(await taken(client)).toMatchObject({ payload: String(qos), qos, duplicate: false });
      }
    }
  }
});

it('MQTT-3.1 §3.8 SUBSCRIBE, UNSUBSCRIBE and PUBREL may come with DUP when they are sent again', async () => {
  const topicName = unique('t');
  const client = await connect();
  const subscribe = encodeSubscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  for (const packet of [subscribe, withDup(subscribe)]) {
    client.send(packet);
    await expectBytes(client, '90 03 0001 01');
  }
  const publisher = await connect();
  publisher.publish({ topicName, payload: 'x', qos: 2, packetId: 7 });
  await expectBytes(publisher, '50 02 0007');
  publisher.send(Buffer.from('6a020007', 'hex'));
  await expectBytes(publisher, '70 02 0007');
  expect((await taken(client)).payload).toBe('x');
  const unsubscribe = encodeUnsubscribe(2, [topicName]);
  for (const packet of [unsubscribe, withDup(unsubscribe)]) {
    client.send(packet);
    await expectBytes(client, 'b0 02 0002');
  }
});

it('MQTT-3.1 §4.2 what was not acknowledged comes again with DUP and the same packet ids', async () => {
  const topicName = unique('t');
  const kept = { clientId: unique('c'), cleanSession: false };
  const client = await connect(kept);
  await client.subscribe(1, [{ topicFilter: topicName, qos: 2 }]);
  const publisher = await connect();
  for (const qos of [1, 2]) await publish(publisher, { topicName, payload: String(qos), qos });
  const first = [await delivery(client), await delivery(client)];
  client.destroy();
  await client.closed;
  const again = await deliveries(await connect(kept), 2);
  expect(again).toEqual(first.map((message) => ({ ...message, duplicate: true })));
});

it('MQTT-3.1 §3.1 a will is published when the connection is lost, and not after DISCONNECT', async () => {
  const topicName = unique('t');
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: topicName, qos: 2 }]);
  const will = { topicName, payload: 'gone', qos: 2, retain: true };
  await disconnect(await connect({ will }));
  await expectSilence(observer, 100);
  (await connect({ will })).destroy();
  expect(await taken(observer)).toMatchObject({ payload: 'gone', qos: 2, retain: false });
  const late = await connect();
  await late.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  expect(await taken(late)).toMatchObject({ payload: 'gone', qos: 1, retain: true });
});

it('MQTT-3.1 §3.1 a client id belongs to one client, whatever version it speaks', async () => {
  const clientId = unique('c');
  const old = await connect({ clientId });
  const client = await broker.connect({ clientId });
  await expectClosed(old);
  await connect({ clientId });
  await expectClosed(client);
});

it('MQTT-3.1 §3.1 a session that one version left goes on in the other', async () => {
  const clientId = unique('c');
  const topicName = unique('t');
  const old = await connect({ clientId, cleanSession: false });
  await old.subscribe(1, [{ topicFilter: topicName, qos: 2 }]);
  await disconnect(old);
  await publish(await connect(), { topicName, payload: 'waits', qos: 2 });
  const { client, sessionPresent } = await broker.resume(clientId);
  expect(sessionPresent).toBe(true);
  expect(await taken(client)).toMatchObject({ payload: 'waits', qos: 2 });
});

it('MQTT-3.1 §3.1 the length of a CONNECT goes before its flags: a user name that is announced may be missing', async () => {
  const client = await broker.open();
  const body = Buffer.concat([
    encodeField('MQIsdp'),
    Buffer.from([3, 0xc2]),
    encodeUint16(60),
    encodeField(unique('c')),
  ]);
  client.send(encodePacket(packetTypes.connect, 0, body));
  // As if no flag had been set: we let nobody in without a name.
  await expectBytes(client, OTHER ? '20 02 00 00' : '20 02 00 04');
});

it('MQTT-3.1 §2 a broken packet closes the connection', async () => {
  const packets = {
    'QoS 3': encodePublish({ topicName: 'a', payload: 'x', qos: 3, packetId: 1 }),
    'type 15': Buffer.from('f000', 'hex'),
    'wildcard in a topic name': encodePublish({ topicName: 'a/#', payload: 'x' }),
    'invalid filter': encodeSubscribe(1, [{ topicFilter: 'a#', qos: 0 }]),
    'second CONNECT': encodeConnect({ clientId: 'x', ...MQTT_3_1, ...broker.credentials }),
  };
  for (const [what, bytes] of Object.entries(packets)) {
    const client = await connect();
    client.send(bytes);
    await expectClosed(client, what);
  }
});

it('MQTT-3.1 over WebSocket: the sub-protocol mqttv3.1 is taken when it is the only one', async () => {
  const { webSocket, handshake } = await RawWebSocket.open(broker.wsPort, {
    protocols: 'mqttv3.1',
  });
  await using _ = webSocket;
  expect(handshake.status).toBe(101);
  expect(handshake.headers.get('sec-websocket-protocol')).toBe('mqttv3.1');
  webSocket.send(encodeConnect({ clientId: unique('c'), ...broker.credentials, ...MQTT_3_1 }));
  expect((await webSocket.bytes(4)).toString('hex')).toBe('20020000');
});

it.skipIf(OTHER)(
  'MQTT-3.1 §3.1 a wrong password is refused with return code 4, and the connection closed',
  async () => {
    const client = await broker.open();
    const options = { clientId: unique('c'), username: 'device', password: 'wrong' };
    client.send(encodeConnect({ ...options, ...MQTT_3_1 }));
    await expectBytes(client, '20 02 00 04');
    await expectClosed(client);
  },
);
