import {
  encodeAck,
  encodeField,
  encodePacket,
  encodeSubscribe,
  encodeUint16,
  encodeUnsubscribe,
  packetTypes,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  delivery,
  expectBytes,
  expectClosed,
  expectSilence,
  OTHER,
  payloads,
  publish,
  taken,
  unique,
  unsubscribe,
  useWireBroker,
} from '../../harness/wire-broker.ts';

const broker = useWireBroker();

const FAILURE = 0x80;

/** A SUBSCRIBE with any byte where the QoS belongs. */
const subscribeWith = (options: number): Buffer =>
  encodePacket(
    packetTypes.subscribe,
    2,
    Buffer.concat([encodeUint16(1), encodeField('a'), Buffer.from([options])]),
  );

it('MQTT-3.1.1 [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-2.3.1-7] SUBSCRIBE and UNSUBSCRIBE are answered with their packet id', async () => {
  const client = await broker.connect();
  for (const packetId of [1, 0x0102, 0xffff]) {
    const id = encodeUint16(packetId).toString('hex');
    client.send(encodeSubscribe(packetId, [{ topicFilter: 'a', qos: 1 }]));
    await expectBytes(client, `90 03 ${id} 01`);
    client.send(encodeUnsubscribe(packetId, ['a']));
    await expectBytes(client, `b0 02 ${id}`);
  }
});

it('MQTT-3.1.1 [MQTT-3.8.1-1] a SUBSCRIBE with other flags than 2 closes the connection', async () => {
  const { body } = { body: encodeSubscribe(1, [{ topicFilter: 'a', qos: 0 }]).subarray(2) };
  for (const flags of [0, 1, 3, 4, 6, 8, 10, 15]) {
    const client = await broker.connect();
    client.send(encodePacket(packetTypes.subscribe, flags, body));
    await expectClosed(client, `flags ${flags}`);
  }
});

it('MQTT-3.1.1 [MQTT-3.10.1-1] an UNSUBSCRIBE with other flags than 2 closes the connection', async () => {
  const body = encodeUnsubscribe(1, ['a']).subarray(2);
  for (const flags of [0, 1, 3, 4, 6, 8, 10, 15]) {
    const client = await broker.connect();
    client.send(encodePacket(packetTypes.unsubscribe, flags, body));
    await expectClosed(client, `flags ${flags}`);
  }
});

it('MQTT-3.1.1 [MQTT-3.8.3-3] a SUBSCRIBE without a filter closes the connection', async () => {
  const client = await broker.connect();
  client.send(encodeSubscribe(1, []));
  await expectClosed(client);
});

it('MQTT-3.1.1 [MQTT-3.10.3-2] an UNSUBSCRIBE without a filter closes the connection', async () => {
  const client = await broker.connect();
  client.send(encodeUnsubscribe(1, []));
  await expectClosed(client);
});

it('MQTT-3.1.1 [MQTT-3.8.3-4] a SUBSCRIBE with QoS 3 or a reserved bit closes the connection', async () => {
  for (const options of [3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff]) {
    const client = await broker.connect();
    client.send(subscribeWith(options));
    await expectClosed(client, `options ${options}`);
  }
});

it('MQTT-3.1.1 [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2] SUBACK has the granted QoS of each filter, in their order', async () => {
  const client = await broker.connect();
  const topics = [2, 0, 1, 1, 2, 0].map((qos) => ({ topicFilter: unique('t/'), qos }));
  client.send(encodeSubscribe(5, topics));
  await expectBytes(client, '90 08 0005 02 00 01 01 02 00');
});

it.skipIf(OTHER)(
  'MQTT-3.1.1 [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2] a filter that is not allowed has 0x80 in its place, the others are granted',
  async () => {
    const topicName = unique('t');
    const client = await broker.connect();
    const codes = await client.subscribe(1, [
      { topicFilter: '$SYS/#', qos: 0 },
      { topicFilter: topicName, qos: 2 },
      { topicFilter: '$SYS/x', qos: 1 },
    ]);
    expect(codes).toEqual([FAILURE, 2, FAILURE]);
    await publish(client, { topicName: unique('other'), payload: 'x', qos: 1 });
    const publisher = await broker.connect();
    await publish(publisher, { topicName, payload: 'y', qos: 1 });
    expect((await taken(client)).payload).toBe('y');
  },
);

it('MQTT-3.1.1 [MQTT-3.8.4-6] a message has the lower of its own QoS and the granted one', async () => {
  const topicName = unique('t');
  const publisher = await broker.connect();
  const clients = await Promise.all([0, 1, 2].map(() => broker.connect()));
  for (const [qos, client] of clients.entries()) {
    expect(await client.subscribe(1, [{ topicFilter: topicName, qos }])).toEqual([qos]);
  }
  for (const qos of [0, 1, 2]) {
    await publish(publisher, { topicName, payload: String(qos), qos });
    for (const [granted, client] of clients.entries()) {
      const message = await taken(client);
      expect(message).toMatchObject({ payload: String(qos), qos: Math.min(qos, granted) });
    }
  }
});

it('MQTT-3.1.1 [MQTT-3.8.4-6] the lower QoS holds for wildcards and for messages that waited, too', async () => {
  const topicName = unique('t');
  const clientId = unique('c');
  const { client } = await broker.resume(clientId);
  await client.subscribe(1, [{ topicFilter: `${topicName}/#`, qos: 1 }]);
  client.destroy();
  await client.closed;
  const publisher = await broker.connect();
  await publish(publisher, { topicName: `${topicName}/a`, payload: 'waited', qos: 2 });
  const { client: again } = await broker.resume(clientId);
  expect(await taken(again)).toMatchObject({ payload: 'waited', qos: 1 });
  await publish(publisher, { topicName: `${topicName}/a`, payload: 'live', qos: 2 });
  expect(await taken(again)).toMatchObject({ payload: 'live', qos: 1 });
});

it('MQTT-3.1.1 [MQTT-3.8.4-3] a filter that is subscribed again replaces the subscription, and retained messages come again', async () => {
  const topicName = unique('t');
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: 'kept', qos: 1, retain: true });
  const client = await broker.connect();
  for (const qos of [0, 2, 1]) {
    expect(await client.subscribe(1, [{ topicFilter: topicName, qos }])).toEqual([qos]);
    const retained = await taken(client);
    expect(retained).toMatchObject({ payload: 'kept', retain: true, qos: Math.min(qos, 1) });
    await publish(publisher, { topicName, payload: 'live', qos: 2 });
    expect(await taken(client)).toMatchObject({ payload: 'live', retain: false, qos });
    await expectSilence(client, 100);
  }
  await publish(publisher, { topicName, payload: '', retain: true });
});

it('MQTT-3.1.1 [MQTT-3.8.4-3] no message is lost or doubled while a subscription is replaced', async () => {
  const topicName = unique('t');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  const publisher = await broker.connect();
  const numbers = Array.from({ length: 60 }, (_, index) => String(index));
  for (const [index, payload] of numbers.entries()) {
    publisher.publish({ topicName, payload, qos: 1, packetId: index + 1 });
    if (index % 5 === 0) {
      client.send(encodeSubscribe(index + 2, [{ topicFilter: topicName, qos: 1 }]));
    }
    if (index % 10 === 0) await publisher.expect('puback');
  }
  const got: string[] = [];
  while (got.length < numbers.length) {
    const packet = await client.receive();
    if (packet.type !== packetTypes.publish) continue;
    const end = 2 + topicName.length;
    client.send(encodeAck('puback', packet.body.readUInt16BE(end)));
    got.push(packet.body.toString('utf8', end + 2));
  }
  expect(got).toEqual(numbers);
});

it('MQTT-3.1.1 [MQTT-3.8.4-4] a SUBSCRIBE with several filters does what several SUBSCRIBEs do, with one SUBACK', async () => {
  const topic = unique('t/');
  const publisher = await broker.connect();
  await publish(publisher, { topicName: `${topic}/0`, payload: 'kept', qos: 1, retain: true });
  const client = await broker.connect();
  client.send(
    encodeSubscribe(
      1,
      [0, 1, 2].map((qos) => ({ topicFilter: `${topic}/${qos}`, qos })),
    ),
  );
  await expectBytes(client, '90 05 0001 00 01 02');
  expect(await delivery(client)).toMatchObject({ payload: 'kept', retain: true, qos: 0 });
  for (const qos of [0, 1, 2]) {
    await publish(publisher, { topicName: `${topic}/${qos}`, payload: String(qos), qos: 2 });
    expect(await taken(client)).toMatchObject({ payload: String(qos), qos });
  }
  await expectSilence(client, 100);
  await publish(publisher, { topicName: `${topic}/0`, payload: '', retain: true });
});

it('MQTT-3.1.1 [MQTT-3.8.4-4] a filter that a SUBSCRIBE has twice is one subscription, with the QoS of the last', async () => {
  const topicName = unique('t');
  const client = await broker.connect();
  const codes = await client.subscribe(1, [
    { topicFilter: topicName, qos: 2 },
    { topicFilter: topicName, qos: 1 },
  ]);
  expect(codes).toEqual([2, 1]);
  await publish(await broker.connect(), { topicName, payload: 'x', qos: 2 });
  expect(await taken(client)).toMatchObject({ payload: 'x', qos: 1 });
  await expectSilence(client, 100);
});

it('MQTT-3.1.1 [MQTT-3.10.4-1] UNSUBSCRIBE removes the filter that is equal, character for character, and no other', async () => {
  const topicName = unique('t/A');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  const publisher = await broker.connect();
  const others = [
    '#',
    '+/+',
    't/+',
    't/#',
    topicName.toLowerCase(),
    `${topicName}/`,
    `/${topicName}`,
  ];
  await unsubscribe(client, 2, others);
  await publish(publisher, { topicName, payload: '1', qos: 1 });
  expect((await taken(client)).payload).toBe('1');
  await client.subscribe(3, [{ topicFilter: 't/+', qos: 1 }]);
  await unsubscribe(client, 4, [topicName]);
  await publish(publisher, { topicName, payload: '2', qos: 1 });
  expect(await payloads(client, 1)).toEqual(['2']);
  await unsubscribe(client, 5, ['t/+']);
  await publish(publisher, { topicName, payload: '3', qos: 1 });
  await expectSilence(client, 100);
});

it('MQTT-3.1.1 [MQTT-3.10.4-2] after UNSUBSCRIBE no new message is delivered, nor kept for later', async () => {
  const topicName = unique('t');
  const clientId = unique('c');
  const { client } = await broker.resume(clientId);
  await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  await unsubscribe(client, 2, [topicName]);
  const publisher = await broker.connect();
  for (const qos of [0, 1, 2]) await publish(publisher, { topicName, payload: 'no', qos });
  await expectSilence(client, 100);
  client.destroy();
  await client.closed;
  for (const qos of [1, 2]) await publish(publisher, { topicName, payload: 'no', qos });
  const { client: again, sessionPresent } = await broker.resume(clientId);
  expect(sessionPresent).toBe(true);
  await expectSilence(again, 100);
});

it('MQTT-3.1.1 [MQTT-3.10.4-3] messages whose delivery has begun are delivered to the end after UNSUBSCRIBE', async () => {
  const topicName = unique('t');
  const clientId = unique('c');
  const { client } = await broker.resume(clientId);
  await client.subscribe(1, [{ topicFilter: topicName, qos: 2 }]);
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: 'one', qos: 1 });
  await publish(publisher, { topicName, payload: 'two', qos: 2 });
  await publish(publisher, { topicName, payload: 'again', qos: 1 });
  const [one, two, again] = [
    await delivery(client),
    await delivery(client),
    await delivery(client),
  ];
  await unsubscribe(client, 2, [topicName]);
  client.send(encodeAck('puback', one.packetId ?? 0));
  client.send(encodeAck('pubrec', two.packetId ?? 0));
  await expectBytes(client, `62 02 ${encodeUint16(two.packetId ?? 0).toString('hex')}`);
  client.send(encodeAck('pubcomp', two.packetId ?? 0));
  await expectSilence(client, 100);
  client.destroy();
  await client.closed;
  const { client: back } = await broker.resume(clientId);
  const { packetId } = again;
  expect(await taken(back)).toMatchObject({ payload: 'again', duplicate: true, packetId });
  await expectSilence(back, 100);
});

it('MQTT-3.1.1 [MQTT-3.10.4-4] [MQTT-3.10.4-5] UNSUBSCRIBE is answered also when there is nothing to remove', async () => {
  const client = await broker.connect();
  client.send(encodeUnsubscribe(0x1234, [unique('t')]));
  await expectBytes(client, 'b0 02 1234');
  client.send(encodeUnsubscribe(0x1234, [unique('t'), unique('t')]));
  await expectBytes(client, 'b0 02 1234');
});

it('MQTT-3.1.1 [MQTT-3.10.4-6] an UNSUBSCRIBE with several filters removes each, with one UNSUBACK', async () => {
  const topic = unique('t/');
  const client = await broker.connect();
  const filters = [0, 1, 2].map((index) => `${topic}/${index}`);
  await client.subscribe(
    1,
    filters.map((topicFilter) => ({ topicFilter, qos: 1 })),
  );
  client.send(encodeUnsubscribe(2, [`${topic}/0`, unique('none'), `${topic}/2`]));
  await expectBytes(client, 'b0 02 0002');
  const publisher = await broker.connect();
  for (const topicName of filters)
    await publish(publisher, { topicName, payload: topicName, qos: 1 });
  expect(await payloads(client, 1)).toEqual([`${topic}/1`]);
  await expectSilence(client, 100);
});

it('MQTT-3.1.1 [MQTT-3.8.3-2] filters with wildcards are supported', async () => {
  const client = await broker.connect();
  const codes = await client.subscribe(
    1,
    ['#', '+', 'a/+', '+/a', '/#', '+/+/#'].map((topicFilter) => ({ topicFilter, qos: 0 })),
  );
  expect(codes).toEqual([0, 0, 0, 0, 0, 0]);
});

it.skipIf(OTHER)(
  'a SUBSCRIBE may have 32 filters, and one more closes the connection',
  async () => {
    const client = await broker.connect();
    const topics = Array.from({ length: 33 }, () => ({ topicFilter: unique('t'), qos: 1 }));
    expect(await client.subscribe(1, topics.slice(1))).toEqual(topics.slice(1).map(() => 1));
    client.send(encodeSubscribe(2, topics));
    await expectClosed(client);
  },
);

it.skipIf(OTHER)(
  'a client may have 100 subscriptions, and one more is refused with 0x80',
  async () => {
    const client = await broker.connect();
    const topics = Array.from({ length: 100 }, () => ({ topicFilter: unique('t'), qos: 0 }));
    for (let from = 0; from < topics.length; from += 25) {
      const codes = await client.subscribe(1 + from, topics.slice(from, from + 25));
      expect(codes.every((code) => code === 0)).toBe(true);
    }
    const more = { topicFilter: unique('t'), qos: 0 };
    expect(await client.subscribe(200, [more])).toEqual([FAILURE]);
    // One that is there already is no further one.
    expect(await client.subscribe(201, topics.slice(0, 1))).toEqual([0]);
    await unsubscribe(client, 202, [topics[0]?.topicFilter ?? '']);
    expect(await client.subscribe(203, [more])).toEqual([0]);
  },
);
