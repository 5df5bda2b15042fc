import { encodeAck5, encodeDisconnect5, type RawMqtt5Client } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import { collect, payloads, told, unique, useWireBroker5 } from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

/** A session that is subscribed with QoS 2, and a publisher. */
async function subscribed(): Promise<{
  readonly clientId: string;
  readonly topic: string;
  readonly client: RawMqtt5Client;
  readonly publisher: RawMqtt5Client;
}> {
  const clientId = unique('c');
  const topic = unique('t');
  const { client } = await broker.resume(clientId);
  await client.subscribe(topic);
  return { clientId, topic, client, publisher: await broker.connect() };
}

async function cut(client: RawMqtt5Client): Promise<void> {
  client.destroy();
  await client.closed;
}

it('MQTT-5.0 [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] sends what was not acknowledged again: with DUP, its packet id, and in its order', async () => {
  const { clientId, topic, client, publisher } = await subscribed();
  for (const [payload, qos] of [
    ['a', 1],
    ['b', 2],
    ['c', 1],
    ['d', 2],
  ] as const) {
    await publisher.deliver({ topicName: topic, payload, qos });
  }
  const first = [];
  while (first.length < 4) first.push(await client.expect('publish'));
  client.ack('puback', first[2]?.packetId ?? 0);
  await client.ping();
  await cut(client);
  for (const round of [1, 2]) {
    const { client: again, connack } = await broker.resume(clientId);
    expect(connack.sessionPresent).toBe(true);
    for (const before of [first[0], first[1], first[3]]) {
      expect(await again.expect('publish'), `round ${round}`).toEqual({
        ...before,
        duplicate: true,
      });
    }
    await again.silence(100);
    await cut(again);
  }
});

it('MQTT-5.0 [MQTT-4.4.0-1] [MQTT-4.3.3-5] [MQTT-4.3.3-6] sends PUBREL again, not PUBLISH, until PUBCOMP comes', async () => {
  const { clientId, topic, client, publisher } = await subscribed();
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 2 });
  const { packetId } = await client.expect('publish');
  client.ack('pubrec', packetId);
  expect(await client.expect('pubrel')).toMatchObject({ packetId });
  await cut(client);
  for (let round = 0; round < 2; round += 1) {
    const { client: again } = await broker.resume(clientId);
    expect(await again.expect('pubrel')).toMatchObject({ packetId, reasonCode: 0 });
    await again.silence(100);
    await cut(again);
  }
  const { client: last } = await broker.resume(clientId);
  await last.expect('pubrel');
  last.ack('pubcomp', packetId);
  await last.ping();
  await cut(last);
  const { client: after } = await broker.resume(clientId);
  await after.silence();
});

it('MQTT-5.0 [MQTT-4.3.3-10] [MQTT-4.3.3-11] delivers a QoS 2 message once that its publisher sends again in the next connection', async () => {
  const topic = unique('t');
  const watcher = await broker.connect();
  await watcher.subscribe(topic);
  const clientId = unique('c');
  const { client: first } = await broker.resume(clientId);
  const message = { topicName: topic, payload: 'once', qos: 2, packetId: 11 };
  first.publish(message);
  await first.expect('pubrec');
  await cut(first);
  const { client: second } = await broker.resume(clientId);
  second.publish({ ...message, duplicate: true });
  expect(await second.expect('pubrec')).toMatchObject({ packetId: 11 });
  await cut(second);
  const { client: third } = await broker.resume(clientId);
  third.ack('pubrel', 11);
  expect(await third.expect('pubcomp')).toMatchObject({ packetId: 11, reasonCode: 0 });
  expect(await payloads(watcher, 1)).toEqual(['once']);
  third.publish({ ...message, payload: 'another' });
  await third.expect('pubrec');
  third.ack('pubrel', 11);
  await third.expect('pubcomp');
  expect(await payloads(watcher, 1)).toEqual(['another']);
  await watcher.silence();
});

it('MQTT-5.0 [MQTT-4.3.3-11] answers a PUBREL that is sent again in the next connection with PUBCOMP', async () => {
  const clientId = unique('c');
  const { client: first } = await broker.resume(clientId);
  first.publish({ topicName: unique('t'), payload: 'x', qos: 2, packetId: 12 });
  await first.expect('pubrec');
  first.ack('pubrel', 12);
  await first.expect('pubcomp');
  await cut(first);
  const { client: second } = await broker.resume(clientId);
  second.ack('pubrel', 12);
  // 0x92 is no error while states are recovered.
  const pubcomp = await second.expect('pubcomp');
  expect(pubcomp.packetId).toBe(12);
  await second.ping();
});

it('MQTT-5.0 [MQTT-4.6.0-6] [MQTT-4.4.0-1] sends what is owed, then what waited, then what comes now', async () => {
  const { clientId, topic, client, publisher } = await subscribed();
  const deliver = (payload: string): Promise<number> =>
    publisher.deliver({ topicName: topic, payload });
  await deliver('owed 1');
  await deliver('owed 2');
  await client.expect('publish');
  await client.expect('publish');
  await client.disconnect();
  for (let index = 0; index < 60; index += 1) await deliver(`waited ${index}`);
  const resuming = broker.resume(clientId);
  for (let index = 0; index < 20; index += 1) await deliver(`now ${index}`);
  const { client: again } = await resuming;
  const found = await collect(again, 82);
  expect(found.map(({ payload }) => payload.toString())).toEqual([
    'owed 1',
    'owed 2',
    ...Array.from({ length: 60 }, (_, index) => `waited ${index}`),
    ...Array.from({ length: 20 }, (_, index) => `now ${index}`),
  ]);
  expect(found.map(({ duplicate }) => duplicate)).toEqual(found.map((_, index) => index < 2));
  await again.silence();
});

it('MQTT-5.0 [MQTT-3.1.2-5] [MQTT-3.3.1-1] goes on with properties, QoS and identifiers of the first try', async () => {
  const clientId = unique('c');
  const topic = unique('t');
  const { client } = await broker.resume(clientId);
  await client.subscribe({ topicFilter: topic, qos: 1 }, { subscriptionIdentifiers: [9] });
  const publisher = await broker.connect();
  const properties = { contentType: 't', userProperties: [['a', 'b']] as const };
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 2, properties });
  const first = await client.expect('publish');
  expect(first.properties).toEqual({ ...properties, subscriptionIdentifiers: [9] });
  await cut(client);
  const { client: again } = await broker.resume(clientId);
  expect(told(await again.take())).toEqual({ ...told(first), duplicate: true });
});

it('MQTT-5.0 [MQTT-4.4.0-1] a session that is taken over while it delivers goes on with the newer connection', async () => {
  const { clientId, topic, client, publisher } = await subscribed();
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 1 });
  const before = await client.expect('publish');
  const { client: newer, connack } = await broker.resume(clientId);
  expect(connack.sessionPresent).toBe(true);
  expect(await newer.expect('publish')).toEqual({ ...before, duplicate: true });
  // Whatever the earlier connection still says is of no account.
  client.send(encodeAck5('puback', before.packetId));
  client.send(encodeDisconnect5(0, { sessionExpiryInterval: 0 }));
  await client.ending();
  await publisher.deliver({ topicName: topic, payload: 'y', qos: 1 });
  expect(await payloads(newer, 1)).toEqual(['y']);
  await cut(newer);
  const { client: last } = await broker.resume(clientId);
  expect(await last.take()).toMatchObject({ packetId: before.packetId, duplicate: true });
});

it('MQTT-5.0 [MQTT-3.1.2-4] Clean Start 1 forgets what was owed and what was received of QoS 2', async () => {
  const { clientId, topic, client, publisher } = await subscribed();
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 2 });
  await client.expect('publish');
  client.publish({ topicName: topic, payload: 'first', qos: 2, packetId: 5 });
  await client.expect('pubrec');
  await cut(client);
  const watcher = await broker.connect();
  await watcher.subscribe(topic);
  const { client: fresh } = await broker.resume(clientId, { cleanStart: true });
  await fresh.silence(100);
  fresh.publish({ topicName: topic, payload: 'second', qos: 2, packetId: 5, duplicate: true });
  await fresh.expect('pubrec');
  fresh.ack('pubrel', 5);
  await fresh.expect('pubcomp');
  expect(await payloads(watcher, 1)).toEqual(['second']);
});
