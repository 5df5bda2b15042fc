import {
  encodeMqtt5Property,
  encodePublish5,
  encodeSubscribe5,
  type RawMqtt5Client,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  collect,
  expectDisconnect,
  OTHER,
  strict,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

const IDENTIFIER_MAX = 268_435_455;

const withIdentifier = (...subscriptionIdentifiers: number[]) => ({ subscriptionIdentifiers });

/** The identifiers of the next message, sorted, because their order means nothing. */
async function identifiers(client: RawMqtt5Client): Promise<number[] | undefined> {
  const { subscriptionIdentifiers } = (await client.take()).properties;
  return subscriptionIdentifiers === undefined
    ? undefined
    : [...subscriptionIdentifiers].sort((a, b) => a - b);
}

it('MQTT-5.0 [MQTT-3.3.4-3] a message carries the identifier of the subscription that it came by', async () => {
  const client = await broker.connect();
  const root = unique('t');
  for (const identifier of [1, 127, 128, 16_384, IDENTIFIER_MAX]) {
    await client.subscribe(`${root}/${identifier}`, withIdentifier(identifier));
    await client.deliver({ topicName: `${root}/${identifier}`, payload: 'x', qos: 2 });
    expect(await identifiers(client)).toEqual([identifier]);
  }
  await client.subscribe(`${root}/none`);
  await client.deliver({ topicName: `${root}/none`, payload: 'x' });
  expect(await identifiers(client)).toBeUndefined();
});

it('MQTT-5.0 [MQTT-4.13.1-1] answers an identifier of 0, and two of them, with DISCONNECT 0x82', async () => {
  const one = encodeMqtt5Property('subscriptionIdentifiers', 1);
  for (const properties of [
    encodeMqtt5Property('subscriptionIdentifiers', 0),
    Buffer.concat([one, encodeMqtt5Property('subscriptionIdentifiers', 2)]),
    ...strict([Buffer.concat([one, one])]),
  ]) {
    const client = await broker.connect();
    client.send(encodeSubscribe5(1, [{ topicFilter: 'a', qos: 0 }], properties));
    await expectDisconnect(client, [0x82, 0x81], properties.toString('hex'));
  }
});

// mosquitto 2.0.11 does not look.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.3.4-6] answers a PUBLISH with an identifier with DISCONNECT 0x82',
  async () => {
    const client = await broker.connect();
    client.send(encodePublish5({ topicName: 'a', payload: 'x', properties: withIdentifier(1) }));
    await expectDisconnect(client, 0x82);
  },
);

it('MQTT-5.0 [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-5] overlapping subscriptions deliver with the highest QoS and with all identifiers', async () => {
  const client = await broker.connect();
  const root = unique('t');
  const topic = `${root}/a`;
  await client.subscribe({ topicFilter: topic, qos: 0 }, withIdentifier(1));
  await client.subscribe({ topicFilter: `${topic}/#`, qos: 2 }, withIdentifier(2));
  await client.subscribe({ topicFilter: `${root}/+`, qos: 1 }, withIdentifier(3));
  const publisher = await broker.connect();
  for (const qos of [1, 2]) {
    await publisher.deliver({ topicName: topic, payload: 'x', qos });
    // One copy, or one for each subscription: that is left to the server.
    const seen: number[] = [];
    let highest = 0;
    while (seen.length < 3) {
      for (const packet of await collect(client, 1)) {
        seen.push(...(packet.properties.subscriptionIdentifiers ?? []));
        highest = Math.max(highest, packet.qos);
      }
    }
    expect(seen.sort()).toEqual([1, 2, 3]);
    expect(highest).toBe(qos);
    await client.silence(50);
  }
});

// Copies are our choice: mosquitto 2.0.11 sends one for each subscription.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.3.4-2] [MQTT-3.3.4-4] overlapping subscriptions deliver one copy, with every identifier as often as it matches',
  async () => {
    const client = await broker.connect();
    const root = unique('t');
    const topic = `${root}/a`;
    const cases: readonly (readonly [filter: string, qos: number, identifier?: number])[] = [
      [topic, 0, 7],
      [`${topic}/#`, 2, 9],
      [`${root}/#`, 1],
      [`${root}/+`, 1, 7],
    ];
    for (const [topicFilter, qos, identifier] of cases) {
      const properties = identifier === undefined ? {} : withIdentifier(identifier);
      await client.subscribe({ topicFilter, qos }, properties);
    }
    for (const qos of [1, 2]) {
      await client.deliver({ topicName: topic, payload: 'x', qos });
      const packet = await client.take();
      expect(packet.qos).toBe(qos);
      const found = [...(packet.properties.subscriptionIdentifiers ?? [])].sort();
      expect(found).toEqual([7, 7, 9]);
      await client.silence(50);
    }
  },
);

it('MQTT-5.0 [MQTT-3.8.4-3] a second SUBSCRIBE gives the subscription another identifier, or none', async () => {
  const client = await broker.connect();
  const topic = unique('t');
  for (const properties of [withIdentifier(1), withIdentifier(2), {}, withIdentifier(3)]) {
    await client.subscribe(topic, properties);
    await client.deliver({ topicName: topic, payload: 'x' });
    const expected =
      'subscriptionIdentifiers' in properties ? properties.subscriptionIdentifiers : undefined;
    expect(await identifiers(client)).toEqual(expected);
  }
});

it('MQTT-5.0 [MQTT-3.10.4-1] UNSUBSCRIBE removes the identifier with the subscription', async () => {
  const client = await broker.connect();
  const root = unique('t');
  const topic = `${root}/a`;
  await client.subscribe(topic, withIdentifier(1));
  await client.subscribe(`${root}/+`, withIdentifier(2));
  await client.unsubscribe(topic);
  await client.deliver({ topicName: topic, payload: 'x' });
  expect(await identifiers(client)).toEqual([2]);
  await client.silence();
});

it('MQTT-5.0 [MQTT-3.3.4-3] one SUBSCRIBE gives its identifier to all its filters, and retained messages carry it', async () => {
  const client = await broker.connect();
  const root = unique('t');
  await client.deliver({ topicName: `${root}/a`, payload: 'r', retain: true });
  await client.subscribe(
    [
      { topicFilter: `${root}/a`, qos: 1 },
      { topicFilter: `${root}/b`, qos: 1 },
    ],
    withIdentifier(77),
  );
  expect(await identifiers(client)).toEqual([77]);
  await client.deliver({ topicName: `${root}/b`, payload: 'x' });
  expect(await identifiers(client)).toEqual([77]);
  await client.deliver({ topicName: `${root}/a`, payload: '', retain: true });
});

it('MQTT-5.0 [MQTT-3.1.2-5] identifiers are part of the session', async () => {
  const clientId = unique('c');
  const topic = unique('t');
  const { client: first } = await broker.resume(clientId);
  await first.subscribe(topic, withIdentifier(300));
  await first.disconnect();
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'away' });
  const { client: second } = await broker.resume(clientId);
  await publisher.deliver({ topicName: topic, payload: 'back' });
  expect(await identifiers(second)).toEqual([300]);
  expect(await identifiers(second)).toEqual([300]);
});

// Copies are our choice, see above.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.3.4-4] a message that waited carries the identifiers of subscriptions with QoS 0 too, and has their options',
  async () => {
    const clientId = unique('c');
    const topic = unique('t');
    const { client: first } = await broker.resume(clientId);
    const all = { topicFilter: `${topic}/#`, qos: 0, retainAsPublished: true };
    await first.subscribe(all, withIdentifier(1));
    await first.subscribe({ topicFilter: `${topic}/a`, qos: 1 }, withIdentifier(2));
    await first.disconnect();
    const publisher = await broker.connect();
    await publisher.deliver({ topicName: `${topic}/b`, payload: 'for QoS 0 only' });
    await publisher.deliver({ topicName: `${topic}/a`, payload: 'x', retain: true });
    const { client: second } = await broker.resume(clientId);
    const packet = await second.take();
    expect(packet).toMatchObject({ qos: 1, retain: true });
    expect(packet.properties.subscriptionIdentifiers?.toSorted()).toEqual([1, 2]);
    await publisher.deliver({ topicName: `${topic}/a`, payload: '', retain: true });
  },
);

it('MQTT-5.0 [MQTT-3.3.4-3] each client gets its own identifiers, and none of others', async () => {
  const topic = unique('t');
  const one = await broker.connect();
  const two = await broker.connect();
  const three = await broker.connect();
  await one.subscribe(topic, withIdentifier(1));
  await two.subscribe(topic, withIdentifier(2));
  await three.subscribe(topic);
  await one.deliver({ topicName: topic, payload: 'x' });
  expect(await identifiers(one)).toEqual([1]);
  expect(await identifiers(two)).toEqual([2]);
  expect(await identifiers(three)).toBeUndefined();
});
