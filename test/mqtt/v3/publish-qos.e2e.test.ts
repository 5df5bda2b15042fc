import {
  encodeAck,
  encodePacket,
  encodePublish,
  encodeSubscribe,
  encodeUint16,
  encodeUnsubscribe,
  packetTypes,
  PINGREQ,
  type RawMqttClient,
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
  useWireBroker,
} from '../../harness/wire-broker.ts';

const broker = useWireBroker();

/** A connected client that is subscribed to a topic of its own. */
async function subscriber(
  qos: number,
  more: object = {},
): Promise<{ readonly client: RawMqttClient; readonly topicName: string }> {
  const topicName = unique('t/');
  const client = await broker.connect(more);
  expect(await client.subscribe(1, [{ topicFilter: topicName, qos }])).toEqual([qos]);
  return { client, topicName };
}

const hexOfId = (packetId: number): string => encodeUint16(packetId).toString('hex');

it('MQTT-3.1.1 [MQTT-4.3.1-1] [MQTT-2.3.1-5] QoS 0 is delivered without packet id and without DUP', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  publisher.publish({ topicName, payload: 'hi' });
  const field = Buffer.from(topicName).toString('hex');
  const length = (4 + topicName.length).toString(16).padStart(2, '0');
  await expectBytes(client, `30 ${length} ${hexOfId(topicName.length)} ${field} 6869`);
});

it('MQTT-3.1.1 [MQTT-3.3.4-1] [MQTT-2.3.1-6] QoS 0 is answered with nothing, QoS 1 with PUBACK, QoS 2 with PUBREC and PUBCOMP, of its packet id', async () => {
  const topicName = unique('t');
  const client = await broker.connect();
  for (const packetId of [1, 0x0102, 0xffff]) {
    const id = hexOfId(packetId);
    client.publish({ topicName, payload: 'x' });
    client.send(PINGREQ);
    await expectBytes(client, 'd0 00');
    client.publish({ topicName, payload: 'x', qos: 1, packetId });
    await expectBytes(client, `40 02 ${id}`);
    client.publish({ topicName, payload: 'x', qos: 2, packetId });
    await expectBytes(client, `50 02 ${id}`);
    client.send(encodeAck('pubrel', packetId));
    await expectBytes(client, `70 02 ${id}`);
  }
});

it('MQTT-3.1.1 [MQTT-2.3.1-1] a PUBLISH, SUBSCRIBE or UNSUBSCRIBE with packet id 0 closes the connection', async () => {
  const packets = {
    'QoS 1': encodePublish({ topicName: 'a', payload: 'x', qos: 1, packetId: 0 }),
    'QoS 2': encodePublish({ topicName: 'a', payload: 'x', qos: 2, packetId: 0 }),
    SUBSCRIBE: encodeSubscribe(0, [{ topicFilter: 'a', qos: 0 }]),
    UNSUBSCRIBE: encodeUnsubscribe(0, ['a']),
  };
  for (const [what, bytes] of Object.entries(packets)) {
    const client = await broker.connect();
    client.send(bytes);
    await expectClosed(client, what);
  }
});

it('MQTT-3.1.1 [MQTT-2.3.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] the broker gives each message that is not acknowledged a packet id that is not in use', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  const used = new Set<number>();
  for (let index = 0; index < 16; index++) {
    const qos = 1 + (index % 2);
    await publish(publisher, { topicName, payload: String(index), qos, packetId: index + 1 });
    const { packetId = 0, duplicate } = await delivery(client);
    expect(packetId).toBeGreaterThan(0);
    expect(used.has(packetId), `packet id ${packetId}`).toBe(false);
    expect(duplicate).toBe(false);
    used.add(packetId);
    if (qos !== 1) continue;
    client.send(encodeAck('puback', packetId));
    used.delete(packetId);
  }
  expect(used.size).toBe(8);
  for (const packetId of used) {
    client.send(encodeAck('pubrec', packetId));
    await expectBytes(client, `62 02 ${hexOfId(packetId)}`);
  }
  // Released is not finished: the ids are in use until PUBCOMP.
  await publish(publisher, { topicName, payload: 'next', qos: 1 });
  const { packetId = 0 } = await delivery(client);
  expect(used.has(packetId)).toBe(false);
});

it('MQTT-3.1.1 [MQTT-4.3.3-1] QoS 2 is delivered with PUBLISH, and PUBREL after PUBREC, of the same packet id', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: 'x', qos: 2 });
  const { packetId = 0, qos, duplicate } = await delivery(client);
  expect({ qos, duplicate }).toEqual({ qos: 2, duplicate: false });
  await expectSilence(client, 100);
  client.send(encodeAck('pubrec', packetId));
  await expectBytes(client, `62 02 ${hexOfId(packetId)}`);
  client.send(encodeAck('pubcomp', packetId));
  await expectSilence(client, 100);
});

it('MQTT-3.1.1 [MQTT-3.3.1-4] a PUBLISH with QoS 3 closes the connection', async () => {
  const client = await broker.connect();
  client.send(encodePublish({ topicName: 'a', payload: 'x', qos: 3, packetId: 1 }));
  await expectClosed(client);
});

it('MQTT-3.1.1 [MQTT-3.3.1-2] a PUBLISH with QoS 0 and DUP closes the connection', async () => {
  const { client: observer, topicName } = await subscriber(0);
  const client = await broker.connect();
  client.send(encodePublish({ topicName, payload: 'x', duplicate: true }));
  await expectClosed(client);
  await expectSilence(observer, 100);
});

it('MQTT-3.1.1 [MQTT-3.3.1-3] DUP of a message that comes in is not passed on', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: '1', qos: 1, duplicate: true });
  expect(await taken(client)).toMatchObject({ payload: '1', qos: 1, duplicate: false });
  await publish(publisher, { topicName, payload: '2', qos: 2, duplicate: true });
  expect(await taken(client)).toMatchObject({ payload: '2', qos: 2, duplicate: false });
});

it('MQTT-3.1.1 [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-4.7.1-1] [MQTT-4.7.3-1] a topic name that is empty or has a wildcard closes the connection', async () => {
  for (const topicName of ['', '#', '+', 'a/#', 'a/+', '+/a', 'a/+/b', 'a#', 'a+b']) {
    for (const qos of [0, 1, 2]) {
      const client = await broker.connect();
      client.publish({ topicName, payload: 'x', qos, ...(qos > 0 && { packetId: 1 }) });
      await expectClosed(client, `"${topicName}" with QoS ${qos}`);
    }
  }
});

it('MQTT-3.1.1 [MQTT-4.3.2-2] a packet id of QoS 1 that comes again after its PUBACK is a new message, DUP or not', async () => {
  const { client, topicName } = await subscriber(1);
  const publisher = await broker.connect();
  for (const duplicate of [false, true, true, false]) {
    await publish(publisher, { topicName, payload: 'same', qos: 1, packetId: 7, duplicate });
  }
  expect(await payloads(client, 4)).toEqual(['same', 'same', 'same', 'same']);
});

it('MQTT-3.1.1 [MQTT-4.3.3-2] QoS 2 is delivered once when its PUBLISH comes again before PUBREC', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  const message = { topicName, payload: 'once', qos: 2, packetId: 9 };
  publisher.send(
    Buffer.concat([encodePublish(message), encodePublish({ ...message, duplicate: true })]),
  );
  await expectBytes(publisher, '50 02 0009');
  await expectBytes(publisher, '50 02 0009');
  publisher.send(encodeAck('pubrel', 9));
  await expectBytes(publisher, '70 02 0009');
  expect((await taken(client)).payload).toBe('once');
  await expectSilence(client);
});

it('MQTT-3.1.1 [MQTT-4.3.3-2] QoS 2 is delivered once, however often its PUBLISH comes after PUBREC', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  const message = { topicName, payload: 'once', qos: 2, packetId: 9 };
  // Without DUP the client is wrong, but the message is the same: its id has not been released.
  for (const duplicate of [false, true, true, true, false]) {
    publisher.publish({ ...message, duplicate });
    await expectBytes(publisher, '50 02 0009');
  }
  publisher.send(encodeAck('pubrel', 9));
  await expectBytes(publisher, '70 02 0009');
  expect((await taken(client)).payload).toBe('once');
  await expectSilence(client);
});

it('MQTT-3.1.1 [MQTT-4.3.3-2] a packet id of QoS 2 that comes again after PUBCOMP is a new message, DUP or not', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: '1', qos: 2, packetId: 3 });
  await publish(publisher, { topicName, payload: '2', qos: 2, packetId: 3, duplicate: true });
  await publish(publisher, { topicName, payload: '3', qos: 2, packetId: 3 });
  expect(await payloads(client, 3)).toEqual(['1', '2', '3']);
});

it('MQTT-3.1.1 [MQTT-4.3.3-2] every PUBREL is answered with PUBCOMP, known or not', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: 'x', qos: 2, packetId: 3 });
  for (const packetId of [3, 3, 4, 0xffff]) {
    publisher.send(encodeAck('pubrel', packetId));
    await expectBytes(publisher, `70 02 ${hexOfId(packetId)}`);
  }
  expect((await taken(client)).payload).toBe('x');
  await expectSilence(client, 100);
});

it('MQTT-3.1.1 [MQTT-3.6.1-1] a PUBREL with other flags than 2 closes the connection', async () => {
  for (const flags of [0, 1, 3, 4, 6, 8, 10, 15]) {
    const client = await broker.connect();
    client.publish({ topicName: unique('t'), payload: 'x', qos: 2, packetId: 1 });
    await expectBytes(client, '50 02 0001');
    client.send(encodePacket(packetTypes.pubrel, flags, encodeUint16(1)));
    await expectClosed(client, `flags ${flags}`);
  }
});

it('MQTT-3.1.1 [MQTT-4.3.3-2] packet ids of QoS 2 that overlap are different messages', async () => {
  const { client, topicName } = await subscriber(2);
  const publisher = await broker.connect();
  for (const packetId of [1, 2, 3]) {
    publisher.publish({ topicName, payload: String(packetId), qos: 2, packetId });
    await expectBytes(publisher, `50 02 ${hexOfId(packetId)}`);
  }
  for (const packetId of [1, 2, 3]) {
    publisher.send(encodeAck('pubrel', packetId));
    await expectBytes(publisher, `70 02 ${hexOfId(packetId)}`);
  }
  expect(await payloads(client, 3)).toEqual(['1', '2', '3']);
});

it('MQTT-3.1.1 [MQTT-4.3.2-2] one packet id may be in use in both directions', async () => {
  const { client, topicName } = await subscriber(1);
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: '1', qos: 1 });
  const { packetId = 0 } = await delivery(client);
  await publish(client, { topicName: unique('other'), payload: 'x', qos: 1, packetId });
  await publish(client, { topicName: unique('other'), payload: 'x', qos: 2, packetId });
  client.send(encodeAck('puback', packetId));
  await publish(publisher, { topicName, payload: '2', qos: 1 });
  expect((await taken(client)).payload).toBe('2');
});

it('MQTT-3.1.1 [MQTT-4.5.0-1] [MQTT-3.3.2-3] a message goes to every client with a matching subscription, under the name it was published with', async () => {
  const topicName = unique('t/');
  const filters = [topicName, `${topicName.slice(0, 2)}+`, 't/#', '#', '+/+'];
  const clients = await Promise.all(filters.map(() => broker.connect()));
  for (const [index, client] of clients.entries()) {
    await client.subscribe(1, [{ topicFilter: filters[index] ?? '', qos: 2 }]);
  }
  const publisher = await broker.connect();
  for (const qos of [0, 1, 2]) {
    await publish(publisher, { topicName, payload: `QoS ${qos}`, qos });
    for (const client of clients) {
      expect(await taken(client)).toMatchObject({ topicName, payload: `QoS ${qos}`, qos });
    }
  }
});

it('MQTT-3.1.1 [MQTT-3.3.5-1] overlapping subscriptions deliver a message once, with the highest QoS of them', async () => {
  const topicName = unique('t/');
  const client = await broker.connect();
  const codes = await client.subscribe(1, [
    { topicFilter: 't/#', qos: 0 },
    { topicFilter: topicName, qos: 2 },
    { topicFilter: 't/+', qos: 1 },
  ]);
  expect(codes).toEqual([0, 2, 1]);
  const publisher = await broker.connect();
  for (const qos of [2, 1, 0]) {
    await publish(publisher, { topicName, payload: String(qos), qos });
    expect(await taken(client)).toMatchObject({ payload: String(qos), qos });
    await expectSilence(client, 100);
  }
});

it('MQTT-3.1.1 §3.3 a client gets what it publishes itself', async () => {
  const { client, topicName } = await subscriber(0);
  client.publish({ topicName, payload: 'mine' });
  expect((await delivery(client)).payload).toBe('mine');
});

it('MQTT-3.1.1 §3.3.3 a message may be empty, or large', async () => {
  const { client, topicName } = await subscriber(1);
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: '', qos: 1 });
  expect((await taken(client)).payload).toBe('');
  const payload = 'x'.repeat(500_000);
  await publish(publisher, { topicName, payload, qos: 1 });
  expect((await taken(client)).payload === payload).toBe(true);
});

it('MQTT-3.1.1 [MQTT-4.6.0-5] [MQTT-4.6.0-6] messages of one publisher, topic and QoS come in order', async () => {
  const numbers = Array.from({ length: 300 }, (_, index) => String(index));
  for (const qos of [0, 1, 2]) {
    const { client, topicName } = await subscriber(qos);
    const publisher = await broker.connect();
    const acknowledged = flood(publisher, { topicName, qos }, numbers);
    expect(await payloads(client, numbers.length), `QoS ${qos}`).toEqual(numbers);
    await acknowledged;
  }
});

/** Publishes them with at most 20 on their way, so that acknowledgements and messages mix. */
async function flood(
  publisher: RawMqttClient,
  to: { readonly topicName: string; readonly qos: number },
  messages: readonly string[],
): Promise<void> {
  const answers = { 0: [], 1: ['puback'], 2: ['pubrec', 'pubcomp'] } as const;
  const steps = answers[to.qos as 0 | 1 | 2];
  for (let from = 0; from < messages.length; from += 20) {
    const page = messages.slice(from, from + 20).map((payload, index) => ({
      payload,
      ...(to.qos > 0 && { packetId: from + index + 1 }),
    }));
    publisher.send(Buffer.concat(page.map((message) => encodePublish({ ...to, ...message }))));
    for (const step of steps) {
      for (const { packetId = 0 } of page) {
        expect((await publisher.expect(step)).body.readUInt16BE(0)).toBe(packetId);
        if (step === 'pubrec') publisher.send(encodeAck('pubrel', packetId));
      }
    }
  }
}

it('MQTT-3.1.1 [MQTT-4.6.0-6] messages come in order to a client that acknowledges late and out of order', async () => {
  const { client, topicName } = await subscriber(1);
  const publisher = await broker.connect();
  const numbers = Array.from({ length: 100 }, (_, index) => String(index));
  const acknowledged = flood(publisher, { topicName, qos: 1 }, numbers);
  const got: string[] = [];
  while (got.length < numbers.length) {
    const held: number[] = [];
    // As many as come before the broker waits for an acknowledgement.
    while (held.length < 8 && got.length < numbers.length) {
      const { payload, packetId = 0 } = await delivery(client);
      got.push(payload);
      held.push(packetId);
    }
    for (const packetId of held.reverse()) client.send(encodeAck('puback', packetId));
  }
  expect(got).toEqual(numbers);
  await acknowledged;
});

it.skipIf(OTHER)(
  'MQTT-3.1.1 [MQTT-3.3.5-2] a PUBLISH that is not allowed closes the connection and goes nowhere',
  async () => {
    const observer = await broker.connect();
    await observer.subscribe(1, [{ topicFilter: '#', qos: 0 }]);
    for (const topicName of ['$SYS/x', '$x', '$share/g/x', '$']) {
      for (const qos of [0, 1, 2]) {
        const client = await broker.connect();
        client.publish({
          topicName,
          payload: 'x',
          qos,
          retain: true,
          ...(qos > 0 && { packetId: 1 }),
        });
        await expectClosed(client, `${topicName} with QoS ${qos}`);
      }
    }
    await expectSilence(observer, 100);
  },
);

it.skipIf(OTHER)(
  'MQTT-3.1.1 §4.3.3 a client may leave 100 messages of QoS 2 unreleased, and one more closes the connection',
  async () => {
    const topicName = unique('t');
    const client = await broker.connect();
    for (let packetId = 1; packetId <= 100; packetId++) {
      client.publish({ topicName, payload: 'x', qos: 2, packetId });
      await expectBytes(client, `50 02 ${hexOfId(packetId)}`);
    }
    client.publish({ topicName, payload: 'x', qos: 2, packetId: 50, duplicate: true });
    await expectBytes(client, '50 02 0032');
    client.send(encodeAck('pubrel', 1));
    await expectBytes(client, '70 02 0001');
    client.publish({ topicName, payload: 'x', qos: 2, packetId: 101 });
    await expectBytes(client, '50 02 0065');
    client.publish({ topicName, payload: 'x', qos: 2, packetId: 102 });
    await expectClosed(client);
  },
);
