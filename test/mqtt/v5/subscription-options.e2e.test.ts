import { expect, it } from 'vitest';
import { OTHER, payloads, told, unique, useWireBroker5 } from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

it('MQTT-5.0 [MQTT-3.8.3-3] No Local keeps the messages of a client from itself, and not from others', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  const other = await broker.connect();
  await client.subscribe({ topicFilter: topic, qos: 2, noLocal: true });
  await other.subscribe({ topicFilter: topic, qos: 2, noLocal: true });
  for (const qos of [1, 2]) {
    await client.deliver({ topicName: topic, payload: 'of client', qos });
    expect(await payloads(other, 1)).toEqual(['of client']);
    await client.silence(50);
    await other.deliver({ topicName: topic, payload: 'of other', qos });
    expect(await payloads(client, 1)).toEqual(['of other']);
    await other.silence(50);
  }
});

it('MQTT-5.0 [MQTT-3.8.3-3] No Local belongs to the client id: also for messages that wait, and after a reconnect', async () => {
  const topic = unique('t');
  const clientId = unique('c');
  const { client: first } = await broker.resume(clientId);
  await first.subscribe({ topicFilter: topic, qos: 1, noLocal: true });
  await first.deliver({ topicName: topic, payload: 'own' });
  await first.disconnect();
  const { client: second } = await broker.resume(clientId);
  await second.deliver({ topicName: topic, payload: 'own' });
  await second.silence();
});

it('MQTT-5.0 [MQTT-3.8.3-3] a subscription without No Local delivers what one with it does not', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe({ topicFilter: topic, qos: 1, noLocal: true });
  await client.subscribe({ topicFilter: `${topic}/#`, qos: 1 });
  await client.deliver({ topicName: topic, payload: 'x' });
  expect(await payloads(client, 1)).toEqual(['x']);
  await client.silence();
});

// mosquitto 2.0.11 keeps the options of the first SUBSCRIBE.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.8.4-3] [MQTT-3.8.3-3] a second SUBSCRIBE brings its own options: No Local and Retain As Published',
  async () => {
    const topic = unique('t');
    const client = await broker.connect();
    for (const [noLocal, retainAsPublished] of [
      [true, false],
      [false, true],
      [false, false],
      [true, true],
    ] as const) {
      await client.subscribe({
        topicFilter: topic,
        qos: 1,
        noLocal,
        retainAsPublished,
        retainHandling: 2,
      });
      await client.deliver({ topicName: topic, payload: 'x', retain: true });
      if (noLocal) await client.silence(100);
      else expect(await client.take()).toMatchObject({ retain: retainAsPublished });
    }
    await client.deliver({ topicName: topic, payload: '', retain: true });
  },
);

it('MQTT-5.0 [MQTT-3.3.1-12] [MQTT-3.3.1-13] Retain As Published keeps the RETAIN flag of a message, and without it the flag is 0', async () => {
  const topic = unique('t');
  const plain = await broker.connect();
  const keeping = await broker.connect();
  await plain.subscribe({ topicFilter: topic, qos: 2 });
  await keeping.subscribe({ topicFilter: topic, qos: 2, retainAsPublished: true });
  const publisher = await broker.connect();
  for (const qos of [0, 1, 2]) {
    for (const retain of [true, false]) {
      const message = { topicName: topic, payload: 'x', qos, retain };
      if (qos === 0) publisher.publish(message);
      else await publisher.deliver(message);
      expect(await plain.take(), `QoS ${qos}`).toMatchObject({ retain: false });
      expect(await keeping.take(), `QoS ${qos}`).toMatchObject({ retain });
    }
  }
  await publisher.deliver({ topicName: topic, payload: '', retain: true });
});

it('MQTT-5.0 [MQTT-3.3.1-12] [MQTT-3.3.1-13] Retain As Published holds for messages that wait for the client', async () => {
  for (const retainAsPublished of [true, false]) {
    const topic = unique('t');
    const clientId = unique('c');
    const { client: first } = await broker.resume(clientId);
    await first.subscribe({ topicFilter: topic, qos: 1, retainAsPublished });
    await first.disconnect();
    const publisher = await broker.connect();
    await publisher.deliver({ topicName: topic, payload: 'x', retain: true });
    await publisher.deliver({ topicName: topic, payload: '', retain: true });
    const { client: second } = await broker.resume(clientId);
    for (const payload of ['x', '']) {
      expect(told(await second.take())).toMatchObject({ payload, retain: retainAsPublished });
    }
  }
});

it('MQTT-5.0 [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] Retain Handling: always, for a new subscription only, never', async () => {
  const root = unique('t');
  const publisher = await broker.connect();
  for (const level of ['a', 'b']) {
    await publisher.deliver({ topicName: `${root}/${level}`, payload: level, retain: true });
  }
  const topicFilter = `${root}/+`;
  const always = await broker.connect();
  for (let count = 0; count < 2; count += 1) {
    await always.subscribe({ topicFilter, qos: 1, retainHandling: 0 });
    const found = [told(await always.take()), told(await always.take())];
    expect(found.map(({ payload }) => payload).sort()).toEqual(['a', 'b']);
    expect(found.every(({ retain }) => retain)).toBe(true);
  }
  const once = await broker.connect();
  await once.subscribe({ topicFilter, qos: 1, retainHandling: 1 });
  expect((await payloads(once, 2)).sort()).toEqual(['a', 'b']);
  await once.subscribe({ topicFilter, qos: 2, retainHandling: 1 });
  await once.silence(100);
  await once.unsubscribe(topicFilter);
  await once.subscribe({ topicFilter, qos: 1, retainHandling: 1 });
  expect((await payloads(once, 2)).sort()).toEqual(['a', 'b']);
  const never = await broker.connect();
  await never.subscribe({ topicFilter, qos: 1, retainHandling: 2 });
  await never.silence(100);
  await publisher.deliver({ topicName: `${root}/a`, payload: 'live', retain: true });
  expect(told(await never.take())).toMatchObject({ payload: 'live', retain: false });
  for (const level of ['a', 'b']) {
    await publisher.deliver({ topicName: `${root}/${level}`, payload: '', retain: true });
  }
});

it('MQTT-5.0 [MQTT-3.3.1-10] a session that goes on has its subscriptions: Retain Handling 1 sends nothing', async () => {
  const topic = unique('t');
  const clientId = unique('c');
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'x', retain: true });
  const { client: first } = await broker.resume(clientId);
  await first.subscribe({ topicFilter: topic, qos: 1, retainHandling: 1 });
  expect(await payloads(first, 1)).toEqual(['x']);
  await first.disconnect();
  const { client: second } = await broker.resume(clientId);
  await second.subscribe({ topicFilter: topic, qos: 1, retainHandling: 1 });
  await second.silence();
  await publisher.deliver({ topicName: topic, payload: '', retain: true });
});

it('MQTT-5.0 [MQTT-3.3.1-9] retained messages come with the lower QoS, RETAIN 1, whatever Retain As Published says', async () => {
  const topic = unique('t');
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 2, retain: true });
  for (const qos of [0, 1, 2]) {
    for (const retainAsPublished of [false, true]) {
      const client = await broker.connect();
      await client.subscribe({ topicFilter: topic, qos, retainAsPublished });
      expect(await client.take()).toMatchObject({ qos, retain: true });
    }
  }
  await publisher.deliver({ topicName: topic, payload: '', retain: true });
});
