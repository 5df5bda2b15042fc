import { type RawMqtt5Client } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  OTHER,
  payloads,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

/** A client, and how many publishes it may have under way: 65,535 when CONNACK does not say. */
async function sender(): Promise<{ readonly client: RawMqtt5Client; readonly maximum: number }> {
  const { client, connack } = await broker.session();
  return { client, maximum: connack.properties.receiveMaximum ?? 65_535 };
}

async function receiver(receiveMaximum: number): Promise<{
  readonly topic: string;
  readonly client: RawMqtt5Client;
  readonly publisher: RawMqtt5Client;
}> {
  const topic = unique('t');
  const client = await broker.connect({ properties: { receiveMaximum } });
  await client.subscribe(topic);
  return { topic, client, publisher: await broker.connect() };
}

it('MQTT-5.0 [MQTT-3.3.4-7] takes as many publishes at once as CONNACK allows', async () => {
  const { client, maximum } = await sender();
  const topicName = unique('t');
  for (let id = 1; id <= maximum; id += 1) {
    client.publish({ topicName, payload: 'x', qos: 2, packetId: id });
  }
  for (let id = 1; id <= maximum; id += 1) {
    expect(await client.expect('pubrec')).toMatchObject({ packetId: id });
  }
  await client.ping();
  client.ack('pubrel', 1);
  await client.expect('pubcomp');
  client.publish({ topicName, payload: 'x', qos: 2, packetId: maximum + 1 });
  expect(await client.expect('pubrec')).toMatchObject({ packetId: maximum + 1 });
});

// mosquitto 2.0.11 answers with PUBREC 0x97 and goes on; §3.3.4 has the server use DISCONNECT.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.3.4-7] [MQTT-4.13.1-1] answers one more with DISCONNECT 0x93, and does not publish it',
  async () => {
    const { client, maximum } = await sender();
    const topicName = unique('t');
    const watcher = await broker.connect();
    await watcher.subscribe({ topicFilter: `${topicName}/over`, qos: 0 });
    for (let id = 1; id <= maximum; id += 1) {
      client.publish({ topicName, payload: 'x', qos: 2, packetId: id });
      await client.expect('pubrec');
    }
    client.publish({ topicName: `${topicName}/over`, payload: 'x', qos: 2, packetId: maximum + 1 });
    await expectDisconnect(client, 0x93);
    await watcher.silence();
  },
);

it('MQTT-5.0 [MQTT-3.3.4-7] takes any number of publishes of QoS 1 one after the other', async () => {
  const { client, maximum } = await sender();
  for (let count = 0; count < maximum * 2; count += 1) {
    client.publish({ topicName: 'x', payload: 'x', qos: 1 });
    await client.expect('puback');
  }
});

it('MQTT-5.0 [MQTT-3.3.4-7] publishes of QoS 0, and ones that are sent again, do not count', async () => {
  const { client, maximum } = await sender();
  const topicName = unique('t');
  for (let id = 1; id <= maximum; id += 1) {
    client.publish({ topicName, payload: 'x', qos: 2, packetId: id });
    await client.expect('pubrec');
  }
  client.publish({ topicName, payload: 'x' });
  client.publish({ topicName, payload: 'x', qos: 2, packetId: 1, duplicate: true });
  expect(await client.expect('pubrec')).toMatchObject({ packetId: 1 });
  await client.ping();
});

it('MQTT-5.0 [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2] sends no more of QoS 1 than the client allows, and one for each PUBACK', async () => {
  for (const receiveMaximum of [1, 2, 5]) {
    const { topic, client, publisher } = await receiver(receiveMaximum);
    const expected = Array.from({ length: 12 }, (_, index) => String(index));
    for (const payload of expected) await publisher.deliver({ topicName: topic, payload });
    const ids = [];
    const found = [];
    for (let count = 0; count < receiveMaximum; count += 1) {
      const packet = await client.expect('publish');
      ids.push(packet.packetId);
      found.push(packet.payload.toString());
    }
    await client.silence(100);
    while (found.length < expected.length) {
      client.ack('puback', ids.shift() ?? 0);
      const packet = await client.expect('publish');
      ids.push(packet.packetId);
      found.push(packet.payload.toString());
    }
    expect(found).toEqual(expected);
    client.destroy();
  }
});

it('MQTT-5.0 [MQTT-3.3.4-9] [MQTT-4.9.0-2] a delivery of QoS 2 counts until PUBCOMP, or PUBREC with 0x80 or more', async () => {
  const { topic, client, publisher } = await receiver(1);
  for (const payload of ['1', '2', '3']) {
    await publisher.deliver({ topicName: topic, payload, qos: 2 });
  }
  const first = await client.expect('publish');
  client.ack('pubrec', first.packetId);
  await client.expect('pubrel');
  await client.silence(100);
  client.ack('pubcomp', first.packetId);
  const second = await client.expect('publish');
  expect(second.payload.toString()).toBe('2');
  client.ack('pubrec', second.packetId, 0x80);
  expect(await payloads(client, 1)).toEqual(['3']);
});

it('MQTT-5.0 [MQTT-4.9.0-2] PUBACK with 0x80 or more makes room as well', async () => {
  const { topic, client, publisher } = await receiver(1);
  for (const payload of ['1', '2']) await publisher.deliver({ topicName: topic, payload });
  client.ack('puback', (await client.expect('publish')).packetId, 0x83);
  expect(await payloads(client, 1)).toEqual(['2']);
});

it('MQTT-5.0 [MQTT-4.9.0-2] acknowledgements of nothing make no room', async () => {
  const { topic, client, publisher } = await receiver(1);
  for (const payload of ['1', '2']) await publisher.deliver({ topicName: topic, payload });
  const { packetId } = await client.expect('publish');
  client.ack('puback', packetId + 1);
  client.ack('pubcomp', packetId + 1);
  await client.ping();
  await client.silence(100);
  client.ack('puback', packetId);
  expect(await payloads(client, 1)).toEqual(['2']);
});

it('MQTT-5.0 [MQTT-3.3.4-8] [MQTT-3.3.4-10] [MQTT-4.9.0-3] answers everything else while no publish may go out', async () => {
  const { topic, client, publisher } = await receiver(1);
  for (const payload of ['1', '2']) await publisher.deliver({ topicName: topic, payload });
  const { packetId } = await client.expect('publish');
  await client.ping();
  expect((await client.subscribe(unique('t'))).reasonCodes).toEqual([2]);
  expect((await client.unsubscribe(unique('t'))).reasonCodes).toEqual([0x11]);
  await client.deliver({ topicName: unique('t'), payload: 'x', qos: 1 });
  await client.deliver({ topicName: unique('t'), payload: 'x', qos: 2 });
  client.ack('puback', packetId);
  expect(await payloads(client, 1)).toEqual(['2']);
});

// mosquitto 2.0.11 sends everything that is owed at once.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-4.9.0-1] [MQTT-3.3.4-9] the allowance is that of the connection: it starts anew, with what is owed first',
  async () => {
    const clientId = unique('c');
    const topic = unique('t');
    const properties = (receiveMaximum: number) => ({
      properties: { sessionExpiryInterval: 60, receiveMaximum },
    });
    const { client: first } = await broker.resume(clientId, properties(3));
    await first.subscribe(topic);
    const publisher = await broker.connect();
    for (const payload of ['1', '2', '3', '4']) {
      await publisher.deliver({ topicName: topic, payload });
    }
    const owed = [];
    while (owed.length < 3) owed.push(await first.expect('publish'));
    first.destroy();
    await first.closed;
    const { client: second } = await broker.resume(clientId, properties(1));
    for (const before of owed) {
      const packet = await second.expect('publish');
      expect(packet).toMatchObject({ packetId: before.packetId, duplicate: true });
      await second.silence(50);
      second.ack('puback', packet.packetId);
    }
    expect(await payloads(second, 1)).toEqual(['4']);
  },
);
