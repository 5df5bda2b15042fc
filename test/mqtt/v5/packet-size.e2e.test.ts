import { encodeConnect5, encodePacket, encodePublish5, packetTypes } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  expectRefusal,
  OTHER,
  payloads,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

const CONNECT_PACKET_BYTES_MAX = 64 * 1024;

/** A message of QoS 1 or 2 without properties whose PUBLISH has this many bytes; below 130, so that its header has two. */
const sized = (topicName: string, bytes: number) => ({
  topicName,
  payload: 'x'.repeat(bytes - 2 - 2 - topicName.length - 2 - 1),
});

it('MQTT-5.0 [MQTT-3.2.2-15] takes a packet of just the size that CONNACK announces', async () => {
  const { client, connack } = await broker.session();
  const topic = unique('t');
  await client.subscribe({ topicFilter: topic, qos: 0 });
  const maximum = connack.properties.maximumPacketSize ?? 0;
  const payload = Buffer.alloc(maximum - 4 - 2 - topic.length - 1, 'p');
  // Three bytes of length announce up to 2,097,151.
  const packet = encodePublish5({ topicName: topic, payload });
  expect(packet.length).toBe(maximum);
  client.send(packet);
  expect((await client.take()).payload.length).toBe(payload.length);
});

it('MQTT-5.0 [MQTT-3.2.2-15] [MQTT-4.13.1-1] answers a packet that is one byte larger with DISCONNECT 0x95, as soon as its header says so', async () => {
  const { client, connack } = await broker.session();
  const maximum = connack.properties.maximumPacketSize ?? 0;
  // mosquitto 2.0.11 leaves the fixed header out of the size.
  const over = OTHER ? 5 : 1;
  const packet = encodePublish5({ topicName: 'a', payload: Buffer.alloc(maximum - 8 + over) });
  expect(packet.length).toBe(maximum + over);
  client.send(packet.subarray(0, 4));
  await expectDisconnect(client, 0x95);
});

it.skipIf(OTHER)(
  'takes no CONNECT of more than 64 KiB, as soon as its header says so',
  async () => {
    const client = await broker.open();
    const connect = encodePacket(packetTypes.connect, 0, Buffer.alloc(CONNECT_PACKET_BYTES_MAX));
    client.send(connect.subarray(0, 4));
    const packets = await client.ending();
    expect(packets.length).toBeLessThanOrEqual(1);
    for (const packet of packets) expect(packet).toMatchObject({ reasonCode: 0x95 });
  },
);

it('MQTT-5.0 [MQTT-4.13.1-1] refuses a Maximum Packet Size of 0 in CONNECT', async () => {
  const client = await broker.open();
  const properties = { maximumPacketSize: 0 };
  client.send(encodeConnect5({ clientId: unique('c'), ...broker.device, properties }));
  await expectRefusal(client, 0x82);
});

it('MQTT-5.0 [MQTT-3.1.2-24] [MQTT-3.1.2-25] sends what fits, drops what is one byte larger, and goes on behind it', async () => {
  const topic = unique('t');
  // mosquitto 2.0.11 never gets back the room that a dropped message had.
  const receiveMaximum = OTHER ? 100 : 1;
  const client = await broker.connect({ properties: { maximumPacketSize: 80, receiveMaximum } });
  await client.subscribe(topic);
  const publisher = await broker.connect();
  for (const qos of [1, 2]) {
    // mosquitto 2.0.11 forgets the first byte of the packet.
    for (const bytes of [80, OTHER ? 82 : 81, 100, 79, OTHER ? 82 : 81]) {
      const code = await publisher.deliver({ ...sized(topic, bytes), qos });
      expect(code).toBeLessThan(0x80);
    }
    const found = [await client.take(), await client.take()];
    expect(found.map(({ payload }) => payload.length)).toEqual([
      sized(topic, 80).payload.length,
      sized(topic, 79).payload.length,
    ]);
    await client.silence(100);
  }
});

it('MQTT-5.0 [MQTT-3.1.2-25] a message that is too large for one subscriber reaches the others', async () => {
  const topic = unique('t');
  const small = await broker.connect({ properties: { maximumPacketSize: 60 } });
  const large = await broker.connect();
  await small.subscribe(topic);
  await large.subscribe(topic);
  const publisher = await broker.connect();
  const payload = 'x'.repeat(100);
  publisher.publish({ topicName: topic, payload });
  await publisher.deliver({ topicName: topic, payload });
  expect(await payloads(large, 2)).toEqual([payload, payload]);
  await small.silence();
});

it('MQTT-5.0 [MQTT-3.1.2-24] [MQTT-3.1.2-25] counts properties, and drops retained and stored messages that do not fit', async () => {
  const topic = unique('t');
  const clientId = unique('c');
  const properties = { maximumPacketSize: 60, sessionExpiryInterval: 60 };
  const { client: first } = await broker.resume(clientId, { properties });
  await first.subscribe(topic);
  await first.disconnect();
  const publisher = await broker.connect();
  const long = { contentType: 'c'.repeat(60) };
  await publisher.deliver({ topicName: topic, payload: 'long', properties: long, retain: true });
  await publisher.deliver({ topicName: topic, payload: 'x'.repeat(60) });
  await publisher.deliver({ topicName: topic, payload: 'fits', qos: 2 });
  const { client: second } = await broker.resume(clientId, { properties });
  expect(await payloads(second, 1)).toEqual(['fits']);
  await second.subscribe(topic);
  await second.silence();
  // What was dropped counts as delivered: it does not come when there is room for it.
  await second.disconnect();
  const { client: third } = await broker.resume(clientId);
  await third.silence();
  await publisher.deliver({ topicName: topic, payload: '', retain: true });
});

it('MQTT-5.0 [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.1.2-24] a DISCONNECT is not larger than what the client takes', async () => {
  const properties = { maximumPacketSize: 8 };
  for (const [bytes, code] of [
    [encodePacket(packetTypes.pingreq, 1, Buffer.alloc(0)), 0x81],
    [encodePublish5({ topicName: 'a', payload: '', properties: { topicAlias: 0 } }), 0x94],
    [encodeConnect5({ clientId: 'again' }), 0x82],
  ] as const) {
    // A client that gets no CONNACK, because ours is larger, has nothing to lose here.
    const client = await broker.open();
    client.send(encodeConnect5({ clientId: unique('c'), ...broker.device, properties }));
    const connack = await client.receiveRaw(300).catch(() => undefined);
    if (connack === undefined) continue;
    client.send(bytes);
    const disconnect = await client.receiveRaw().catch(() => undefined);
    const size = 2 + (disconnect?.body.length ?? 0);
    expect(size).toBeLessThanOrEqual(properties.maximumPacketSize);
    if (!OTHER && disconnect !== undefined) expect(disconnect.body[0]).toBe(code);
    await client.closed;
  }
});
