import { setTimeout as delay } from 'node:timers/promises';
import {
  decodePublish,
  encodeAck,
  encodeConnect,
  encodeUint16,
  packetTypes,
  type RawMqttClient,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  deliveries,
  type Delivery,
  delivery,
  disconnect,
  expectBytes,
  expectClosed,
  expectSilence,
  payloads,
  publish,
  taken,
  unique,
  useWireBroker,
} from '../../harness/wire-broker.ts';

const broker = useWireBroker();

const hexOfId = (packetId: number | undefined): string =>
  encodeUint16(packetId ?? 0).toString('hex');

/** The connection is lost, and the broker has seen it: a new one with the same client id takes nothing over. */
async function lose(client: RawMqttClient): Promise<void> {
  client.destroy();
  await client.closed;
  // Whoever comes now is let in behind that.
  await broker.connect();
}

/** A persistent session with one subscription, and who publishes to it. */
async function persistent(qos = 2): Promise<{
  readonly clientId: string;
  readonly topicName: string;
  readonly client: RawMqttClient;
  readonly publisher: RawMqttClient;
}> {
  const clientId = unique('c');
  const topicName = unique('t');
  const { client } = await broker.resume(clientId);
  await client.subscribe(1, [{ topicFilter: topicName, qos }]);
  return { clientId, topicName, client, publisher: await broker.connect() };
}

it('MQTT-3.1.1 [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-4.1.0-1] a session goes on: its subscriptions, and the messages of QoS 1 and 2 that came meanwhile, in order', async () => {
  const { clientId, topicName, client, publisher } = await persistent();
  await disconnect(client);
  const expected: string[] = [];
  for (let index = 0; index < 10; index++) {
    const qos = 1 + (index % 2);
    expected.push(String(index));
    await publish(publisher, { topicName, payload: String(index), qos });
  }
  const { client: again, sessionPresent } = await broker.resume(clientId);
  expect(sessionPresent).toBe(true);
  const got = await deliveries(again, expected.length);
  expect(got.map(({ payload }) => payload)).toEqual(expected);
  for (const [index, message] of got.entries()) {
    expect(message).toMatchObject({ qos: 1 + (index % 2), duplicate: false, retain: false });
  }
  await publish(publisher, { topicName, payload: 'live', qos: 1 });
  expect((await taken(again)).payload).toBe('live');
  await expectSilence(again, 100);
});

it('MQTT-3.1.1 [MQTT-3.1.2-5] messages of QoS 0 do not wait for a client that is away', async () => {
  const { clientId, topicName, client, publisher } = await persistent();
  await lose(client);
  await publish(publisher, { topicName, payload: 'zero', qos: 0 });
  await publish(publisher, { topicName, payload: 'one', qos: 1 });
  const { client: again } = await broker.resume(clientId);
  expect((await taken(again)).payload).toBe('one');
  await expectSilence(again, 100);
});

it('MQTT-3.1.1 [MQTT-3.1.2-5] many messages wait for a client, more than it may have unacknowledged', async () => {
  const { clientId, topicName, client, publisher } = await persistent(1);
  await lose(client);
  const numbers = Array.from({ length: 500 }, (_, index) => String(index));
  for (let from = 0; from < numbers.length; from += 50) {
    for (const [index, payload] of numbers.slice(from, from + 50).entries()) {
      publisher.publish({ topicName, payload, qos: 1, packetId: index + 1 });
    }
    for (let index = 0; index < 50; index++) await publisher.expect('puback');
  }
  // Half of them in one connection, the rest in the next.
  const { client: first } = await broker.resume(clientId);
  const before = await payloads(first, 250);
  await disconnectKeeping(first);
  const { client: second } = await broker.resume(clientId);
  const after = await deliveries(second, numbers.length - before.length);
  expect([...before, ...after.map(({ payload }) => payload)]).toEqual(numbers);
  await expectSilence(second, 100);
});

/** DISCONNECT, whatever is still on its way to us. */
async function disconnectKeeping(client: RawMqttClient): Promise<void> {
  client.send(Buffer.from([0xe0, 0]));
  await client.closed;
}

it('MQTT-3.1.1 [MQTT-3.1.2-6] [MQTT-3.1.4-3] a clean session forgets the old one, and is forgotten itself', async () => {
  const { clientId, topicName, client, publisher } = await persistent();
  await lose(client);
  await publish(publisher, { topicName, payload: 'lost', qos: 1 });
  const clean = await broker.connect({ clientId });
  await publish(publisher, { topicName, payload: 'no subscription', qos: 1 });
  await expectSilence(clean, 100);
  await clean.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  await publish(publisher, { topicName, payload: 'unacknowledged', qos: 1 });
  expect((await delivery(clean)).payload).toBe('unacknowledged');
  await lose(clean);
  await publish(publisher, { topicName, payload: 'lost too', qos: 1 });
  const { client: again, sessionPresent } = await broker.resume(clientId);
  expect(sessionPresent).toBe(false);
  await publish(publisher, { topicName, payload: 'no subscription', qos: 1 });
  await expectSilence(again, 100);
});

it('MQTT-3.1.1 [MQTT-3.1.2-6] a clean session forgets what the old one had unacknowledged, in both directions', async () => {
  const { clientId, topicName, client, publisher } = await persistent();
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: `${topicName}/from`, qos: 2 }]);
  await publish(publisher, { topicName, payload: 'one', qos: 1 });
  await publish(publisher, { topicName, payload: 'two', qos: 2 });
  const [one, two] = [await delivery(client), await delivery(client)];
  expect([one.payload, two.payload]).toEqual(['one', 'two']);
  client.send(encodeAck('pubrec', two.packetId ?? 0));
  await client.expect('pubrel');
  const mine = { topicName: `${topicName}/from`, payload: 'first', qos: 2, packetId: 5 };
  client.publish(mine);
  await expectBytes(client, '50 02 0005');
  await lose(client);
  const clean = await broker.connect({ clientId });
  await expectSilence(clean, 100);
  await publish(clean, { ...mine, payload: 'second' });
  // Without its PUBREL the first message may or may not have been passed on; the second is another one.
  const got = [(await taken(observer)).payload];
  if (got[0] === 'first') got.push((await taken(observer)).payload);
  expect(got.at(-1)).toBe('second');
});

it('MQTT-3.1.1 [MQTT-4.1.0-2] a session lasts as long as its connection, clean or not', async () => {
  for (const cleanSession of [true, false]) {
    const topicName = unique('t');
    const client = await broker.connect({ cleanSession });
    await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
    const publisher = await broker.connect();
    for (let index = 0; index < 5; index++) {
      await publish(publisher, { topicName, payload: String(index), qos: 1 });
      await delay(20);
    }
    expect(await payloads(client, 5)).toEqual(['0', '1', '2', '3', '4']);
  }
});

it('MQTT-3.1.1 [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.6.0-1] [MQTT-2.3.1-4] what was not acknowledged comes again, with DUP, the same packet ids and the same order', async () => {
  const { clientId, topicName, client, publisher } = await persistent();
  for (let index = 0; index < 8; index++) {
    await publish(publisher, { topicName, payload: String(index), qos: 1 + (index % 2) });
  }
  const first: Delivery[] = [];
  while (first.length < 8) first.push(await delivery(client));
  expect(first.every(({ duplicate }) => !duplicate)).toBe(true);
  await lose(client);
  const { client: second } = await broker.resume(clientId);
  const again: Delivery[] = [];
  while (again.length < 8) again.push(await delivery(second));
  expect(again).toEqual(first.map((message) => ({ ...message, duplicate: true })));
  // Acknowledging some in the middle leaves the others in order.
  for (const index of [2, 4]) second.send(encodeAck('puback', first[index]?.packetId ?? 0));
  await publish(second, { topicName: unique('t'), payload: 'so that they arrive', qos: 1 });
  await lose(second);
  const { client: third } = await broker.resume(clientId);
  const rest = await deliveries(third, 6);
  expect(rest).toEqual(again.filter((_, index) => index !== 2 && index !== 4));
  await lose(third);
  const { client: last } = await broker.resume(clientId);
  await expectSilence(last, 100);
});

it('MQTT-3.1.1 [MQTT-4.4.0-1] [MQTT-4.3.3-1] a PUBREL without PUBCOMP comes again with the same packet id, and its PUBLISH does not', async () => {
  const { clientId, topicName, client, publisher } = await persistent();
  for (const payload of ['released', 'received', 'finished']) {
    await publish(publisher, { topicName, payload, qos: 2 });
  }
  const ids: number[] = [];
  while (ids.length < 3) ids.push((await delivery(client)).packetId ?? 0);
  const [released = 0, received = 0, finished = 0] = ids;
  for (const packetId of [released, finished]) {
    client.send(encodeAck('pubrec', packetId));
    await expectBytes(client, `62 02 ${hexOfId(packetId)}`);
  }
  client.send(encodeAck('pubcomp', finished));
  await publish(client, { topicName: unique('t'), payload: 'so that it arrives', qos: 1 });
  await lose(client);

  const { client: second } = await broker.resume(clientId);
  await expectOwed(second, { released, received });
  await lose(second);
  const { client: third } = await broker.resume(clientId);
  await expectOwed(third, { released, received });
  third.send(encodeAck('pubcomp', released));
  third.send(encodeAck('pubrec', received));
  await expectBytes(third, `62 02 ${hexOfId(received)}`);
  third.send(encodeAck('pubcomp', received));
  await publish(third, { topicName: unique('t'), payload: 'so that they arrive', qos: 1 });
  await lose(third);
  const { client: last } = await broker.resume(clientId);
  await expectSilence(last, 100);
});

/** PUBREL of the one and PUBLISH with DUP of the other, in any order, and nothing else. */
async function expectOwed(
  client: RawMqttClient,
  ids: { readonly released: number; readonly received: number },
): Promise<void> {
  const packets = [await client.receive(), await client.receive()];
  const pubrel = packets.find(({ type }) => type === packetTypes.pubrel);
  expect(pubrel?.body.toString('hex')).toBe(hexOfId(ids.released));
  const message = packets.find(({ type }) => type === packetTypes.publish);
  expect(message && decodePublish(message)).toMatchObject({
    qos: 2,
    duplicate: true,
    packetId: ids.received,
    payload: Buffer.from('received'),
  });
  await expectSilence(client, 100);
}

it('MQTT-3.1.1 [MQTT-4.3.3-2] [MQTT-4.1.0-1] QoS 2 is delivered once though its PUBLISH comes again over another connection', async () => {
  const { topicName, client: observer } = await persistent();
  const clientId = unique('c');
  const { client } = await broker.resume(clientId);
  const message = { topicName, payload: 'once', qos: 2, packetId: 11 };
  client.publish(message);
  await expectBytes(client, '50 02 000b');
  await lose(client);
  const { client: again } = await broker.resume(clientId);
  again.publish({ ...message, duplicate: true });
  await expectBytes(again, '50 02 000b');
  await lose(again);
  const { client: third } = await broker.resume(clientId);
  third.send(encodeAck('pubrel', 11));
  await expectBytes(third, '70 02 000b');
  await lose(third);
  const { client: last } = await broker.resume(clientId);
  // The client has not seen PUBCOMP.
  last.send(encodeAck('pubrel', 11));
  await expectBytes(last, '70 02 000b');
  expect((await taken(observer)).payload).toBe('once');
  await expectSilence(observer);
  await publish(last, { ...message, payload: 'a new one' });
  expect((await taken(observer)).payload).toBe('a new one');
});

it('MQTT-3.1.1 [MQTT-2.3.1-4] a packet id that waits for an acknowledgement is not used for another message after a reconnect', async () => {
  const { clientId, topicName, client, publisher } = await persistent();
  await publish(publisher, { topicName, payload: 'old', qos: 2 });
  const { packetId } = await delivery(client);
  client.send(encodeAck('pubrec', packetId ?? 0));
  await client.expect('pubrel');
  await lose(client);
  const { client: again } = await broker.resume(clientId);
  await expectBytes(again, `62 02 ${hexOfId(packetId)}`);
  for (let index = 0; index < 5; index++) {
    await publish(publisher, { topicName, payload: String(index), qos: 1 });
    const next = await delivery(again);
    expect(next.packetId).not.toBe(packetId);
    expect(next.duplicate).toBe(false);
  }
});

it('MQTT-3.1.1 [MQTT-3.1.4-2] a CONNECT with a client id that is connected ends the earlier connection', async () => {
  const clientId = unique('c');
  const first = await broker.connect({ clientId });
  const second = await broker.connect({ clientId });
  await expectClosed(first);
  const topicName = unique('t');
  await second.subscribe(1, [{ topicFilter: topicName, qos: 0 }]);
  second.publish({ topicName, payload: 'alive' });
  expect((await delivery(second)).payload).toBe('alive');
});

it('MQTT-3.1.1 [MQTT-3.1.4-2] [MQTT-4.4.0-1] who takes a session over gets what the earlier connection did not acknowledge', async () => {
  const { clientId, topicName, client, publisher } = await persistent();
  await publish(publisher, { topicName, payload: 'one', qos: 1 });
  await publish(publisher, { topicName, payload: 'two', qos: 2 });
  const first = [await delivery(client), await delivery(client)];
  const { client: second, sessionPresent } = await broker.resume(clientId);
  expect(sessionPresent).toBe(true);
  await expectClosed(client);
  expect(await deliveries(second, 2)).toEqual(first.map((one) => ({ ...one, duplicate: true })));
  await publish(publisher, { topicName, payload: 'three', qos: 1 });
  expect(await payloads(second, 1)).toEqual(['three']);
  await expectSilence(second, 100);
});

it('MQTT-3.1.1 [MQTT-3.1.4-2] of many CONNECTs with one client id exactly one stays connected', async () => {
  const clientId = unique('c');
  const connect = encodeConnect({ clientId, cleanSession: false, ...broker.credentials });
  const clients = await Promise.all(Array.from({ length: 20 }, () => broker.open()));
  for (const client of clients) client.send(connect);
  const open = new Set(clients);
  for (const client of clients) void client.closed.then(() => open.delete(client));
  const end = performance.now() + 20_000;
  while (open.size > 1 && performance.now() < end) await delay(20);
  await delay(100);
  expect(open.size).toBe(1);
  const topicName = unique('t');
  const [winner] = open;
  if (winner === undefined) throw new Error('nobody stayed');
  await winner.expect('connack');
  await winner.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  await publish(await broker.connect(), { topicName, payload: 'one', qos: 1 });
  expect((await taken(winner)).payload).toBe('one');
});

it('MQTT-3.1.1 [MQTT-3.1.3-2] a session belongs to its client id: nobody else gets its messages', async () => {
  const { topicName, client, publisher } = await persistent();
  await lose(client);
  await publish(publisher, { topicName, payload: 'mine', qos: 1 });
  const { client: other, sessionPresent } = await broker.resume(unique('c'));
  expect(sessionPresent).toBe(false);
  await expectSilence(other, 100);
});

it('MQTT-3.1.1 [MQTT-4.5.0-1] a message is added to the session of every client that is subscribed, connected or not', async () => {
  const away = await Promise.all([persistent(1), persistent(2)]);
  const topicName = unique('t');
  for (const { client } of away) {
    await client.subscribe(2, [{ topicFilter: `${topicName}/+`, qos: 1 }]);
    await lose(client);
  }
  const online = await broker.connect();
  await online.subscribe(1, [{ topicFilter: `${topicName}/+`, qos: 1 }]);
  const [{ publisher } = { publisher: online }] = away;
  for (const payload of ['a', 'b', 'c']) {
    await publish(publisher, { topicName: `${topicName}/x`, payload, qos: 2 });
  }
  expect(await payloads(online, 3)).toEqual(['a', 'b', 'c']);
  for (const { clientId } of away) {
    const { client } = await broker.resume(clientId);
    expect(await payloads(client, 3)).toEqual(['a', 'b', 'c']);
  }
});

it('MQTT-3.1.1 [MQTT-3.3.5-1] a message waits once for a client that is away, with the highest QoS of its subscriptions', async () => {
  const { clientId, topicName, client, publisher } = await persistent(1);
  await client.subscribe(2, [
    { topicFilter: `${topicName}/#`, qos: 2 },
    { topicFilter: '#', qos: 0 },
  ]);
  await lose(client);
  await publish(publisher, { topicName, payload: 'x', qos: 2 });
  const { client: again } = await broker.resume(clientId);
  expect(await taken(again)).toMatchObject({ payload: 'x', qos: 2 });
  await expectSilence(again, 100);
});

it('MQTT-3.1.1 [MQTT-4.6.0-6] messages that waited come before those that are published after the reconnect', async () => {
  const { clientId, topicName, client, publisher } = await persistent(1);
  await lose(client);
  const numbers = Array.from({ length: 120 }, (_, index) => String(index));
  for (const payload of numbers.slice(0, 60)) {
    await publish(publisher, { topicName, payload, qos: 1 });
  }
  const { client: again } = await broker.resume(clientId);
  const got = payloads(again, numbers.length);
  for (const payload of numbers.slice(60)) await publish(publisher, { topicName, payload, qos: 1 });
  expect(await got).toEqual(numbers);
});
