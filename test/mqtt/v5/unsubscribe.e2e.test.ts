import {
  encodeMqtt5Property,
  encodePacket,
  encodeUint16,
  encodeUnsubscribe5,
  packetTypes,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import { expectDisconnect, payloads, unique, useWireBroker5 } from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

const SUCCESS = 0x00;
const NO_SUBSCRIPTION_EXISTED = 0x11;

it('MQTT-5.0 [MQTT-3.10.1-1] [MQTT-2.1.3-1] answers UNSUBSCRIBE with other flags than 0010 with DISCONNECT 0x81', async () => {
  const body = encodeUnsubscribe5(1, ['a']).subarray(2);
  for (const flags of [0, 1, 3, 10]) {
    const client = await broker.connect();
    client.send(encodePacket(packetTypes.unsubscribe, flags, body));
    await expectDisconnect(client, [0x81, 0x82], String(flags));
  }
});

it('MQTT-5.0 [MQTT-3.10.3-1] [MQTT-4.7.3-2] answers a filter that is not UTF-8 or has U+0000 with DISCONNECT 0x81', async () => {
  for (const hex of ['61c0', 'eda080', '610062']) {
    const client = await broker.connect();
    client.send(encodeUnsubscribe5(1, [Buffer.from(hex, 'hex')]));
    await expectDisconnect(client, [0x81, 0x82], hex);
  }
});

it('MQTT-5.0 [MQTT-3.10.3-2] answers UNSUBSCRIBE without a filter with DISCONNECT 0x82', async () => {
  const client = await broker.connect();
  client.send(encodeUnsubscribe5(1, []));
  await expectDisconnect(client, [0x82, 0x81]);
});

it('MQTT-5.0 [MQTT-2.2.1-3] [MQTT-4.13.1-1] answers packet id 0, and filters that are cut, with DISCONNECT', async () => {
  const whole = encodeUnsubscribe5(1, ['abc']).subarray(2);
  const cases: readonly (readonly [string, Buffer, number])[] = [
    ['packet id 0', encodeUnsubscribe5(0, ['a']), 0x82],
    ['half a filter', encodePacket(packetTypes.unsubscribe, 2, whole.subarray(0, -1)), 0x81],
    ['no properties', encodePacket(packetTypes.unsubscribe, 2, encodeUint16(1)), 0x81],
    [
      'a property of another packet',
      encodeUnsubscribe5(1, ['a'], encodeMqtt5Property('subscriptionIdentifiers', 1)),
      0x81,
    ],
  ];
  for (const [what, bytes, code] of cases) {
    const client = await broker.connect();
    client.send(bytes);
    await expectDisconnect(client, [code, 0x81, 0x82], what);
  }
});

it('MQTT-5.0 [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-2.2.1-6] answers UNSUBSCRIBE with UNSUBACK of the same packet id, also when there is nothing to delete', async () => {
  const client = await broker.connect();
  for (const packetId of [1, 256, 65_535, 1]) {
    client.send(encodeUnsubscribe5(packetId, [unique('t')]));
    expect(await client.expect('unsuback')).toMatchObject({
      packetId,
      reasonCodes: [NO_SUBSCRIPTION_EXISTED],
    });
  }
});

it('MQTT-5.0 [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-4.7.3-4] deletes the subscription with this very filter, and no other that matches the same', async () => {
  const root = unique('t');
  const client = await broker.connect();
  await client.subscribe(`${root}/+`);
  for (const other of [`${root}/#`, `${root}/a`, `${root}/+/`, `${root.toUpperCase()}/+`, '+/+']) {
    expect((await client.unsubscribe(other)).reasonCodes, other).toEqual([NO_SUBSCRIPTION_EXISTED]);
  }
  await client.deliver({ topicName: `${root}/a`, payload: 'still' });
  expect(await payloads(client, 1)).toEqual(['still']);
  expect((await client.unsubscribe(`${root}/+`)).reasonCodes).toEqual([SUCCESS]);
  await client.deliver({ topicName: `${root}/a`, payload: 'no more' });
  await client.silence();
});

it('MQTT-5.0 [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2] answers many filters with one UNSUBACK: a reason for each, in their order', async () => {
  const root = unique('t');
  const client = await broker.connect();
  await client.subscribe([
    { topicFilter: `${root}/a`, qos: 1 },
    { topicFilter: `${root}/b`, qos: 1 },
    { topicFilter: `${root}/c`, qos: 1 },
  ]);
  const filters = ['a', 'x', 'c', 'a', 'y'].map((name) => `${root}/${name}`);
  expect((await client.unsubscribe(...filters)).reasonCodes).toEqual([
    SUCCESS,
    NO_SUBSCRIPTION_EXISTED,
    SUCCESS,
    NO_SUBSCRIPTION_EXISTED,
    NO_SUBSCRIPTION_EXISTED,
  ]);
  for (const name of ['a', 'c', 'b']) {
    await client.deliver({ topicName: `${root}/${name}`, payload: name });
  }
  expect(await payloads(client, 1)).toEqual(['b']);
  await client.silence();
});

it('MQTT-5.0 [MQTT-3.10.4-3] completes the deliveries of QoS 1 and 2 that have begun, also in the next connection', async () => {
  const clientId = unique('c');
  const topic = unique('t');
  const { client } = await broker.resume(clientId);
  await client.subscribe(topic);
  const publisher = await broker.connect();
  for (const qos of [1, 2, 2]) {
    await publisher.deliver({ topicName: topic, payload: String(qos), qos });
  }
  const one = await client.expect('publish');
  const two = await client.expect('publish');
  const three = await client.expect('publish');
  expect((await client.unsubscribe(topic)).reasonCodes).toEqual([SUCCESS]);
  client.ack('pubrec', two.packetId);
  expect(await client.expect('pubrel')).toMatchObject({ packetId: two.packetId });
  client.ack('pubcomp', two.packetId);
  await client.disconnect();
  const { client: again } = await broker.resume(clientId);
  const repeated = [await again.take(), await again.take()];
  expect(repeated).toMatchObject([
    { packetId: one.packetId, duplicate: true, qos: 1 },
    { packetId: three.packetId, duplicate: true, qos: 2 },
  ]);
  await publisher.deliver({ topicName: topic, payload: 'no more' });
  await again.silence();
});
