import {
  encodeField,
  encodeMqtt5Property,
  encodePacket,
  encodeSubscribe5,
  encodeUint16,
  packetTypes,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  ALLOWED_ROOT,
  expectDisconnect,
  OTHER,
  payloads,
  told,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

const QOS = [0, 1, 2] as const;

it('MQTT-5.0 [MQTT-3.8.1-1] [MQTT-2.1.3-1] answers SUBSCRIBE with other flags than 0010 with DISCONNECT 0x81', async () => {
  const body = encodeSubscribe5(1, [{ topicFilter: 'a', qos: 0 }]).subarray(2);
  for (const flags of [0, 1, 3, 10]) {
    const client = await broker.connect();
    client.send(encodePacket(packetTypes.subscribe, flags, body));
    await expectDisconnect(client, [0x81, 0x82], String(flags));
  }
});

it('MQTT-5.0 [MQTT-3.8.3-1] [MQTT-4.7.3-2] answers a filter that is not UTF-8 or has U+0000 with DISCONNECT 0x81', async () => {
  for (const hex of ['61c0', 'eda080', '610062', 'ff']) {
    const client = await broker.connect();
    client.send(encodeSubscribe5(1, [{ topicFilter: Buffer.from(hex, 'hex'), qos: 0 }]));
    await expectDisconnect(client, [0x81, 0x82], hex);
  }
});

it('MQTT-5.0 [MQTT-3.8.3-2] answers SUBSCRIBE without a filter with DISCONNECT 0x82', async () => {
  const client = await broker.connect();
  client.send(encodeSubscribe5(1, []));
  await expectDisconnect(client, [0x82, 0x81]);
});

it('MQTT-5.0 [MQTT-3.8.3-5] answers reserved bits of the options with DISCONNECT 0x81', async () => {
  for (const reserved of [1, 2, 3]) {
    const client = await broker.connect();
    client.send(encodeSubscribe5(1, [{ topicFilter: 'a', qos: 0, reserved }]));
    await expectDisconnect(client, [0x81, 0x82], String(reserved));
  }
});

it('MQTT-5.0 [MQTT-4.13.1-1] answers QoS 3 and Retain Handling 3 with DISCONNECT 0x82', async () => {
  for (const options of [{ qos: 3 }, { qos: 0, retainHandling: 3 }]) {
    const client = await broker.connect();
    client.send(encodeSubscribe5(1, [{ topicFilter: 'a', ...options }]));
    await expectDisconnect(client, [0x82, 0x81], JSON.stringify(options));
  }
});

it('MQTT-5.0 [MQTT-2.2.1-3] [MQTT-4.13.1-1] answers packet id 0, and a payload that is cut, with DISCONNECT', async () => {
  const whole = encodeSubscribe5(1, [{ topicFilter: 'abc', qos: 0 }]).subarray(2);
  const cases: readonly (readonly [string, Buffer, number])[] = [
    ['packet id 0', encodeSubscribe5(0, [{ topicFilter: 'a', qos: 0 }]), 0x82],
    ['no options', encodePacket(packetTypes.subscribe, 2, whole.subarray(0, -1)), 0x81],
    ['half a filter', encodePacket(packetTypes.subscribe, 2, whole.subarray(0, -3)), 0x81],
    ['no properties', encodePacket(packetTypes.subscribe, 2, encodeUint16(1)), 0x81],
    [
      'a property of another packet',
      encodeSubscribe5(1, [{ topicFilter: 'a', qos: 0 }], encodeMqtt5Property('topicAlias', 1)),
      0x81,
    ],
  ];
  for (const [what, bytes, code] of cases) {
    const client = await broker.connect();
    client.send(bytes);
    await expectDisconnect(client, [code, 0x81, 0x82], what);
  }
});

it('MQTT-5.0 [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-2.2.1-6] answers SUBSCRIBE with SUBACK of the same packet id', async () => {
  const client = await broker.connect();
  for (const packetId of [1, 256, 65_535, 1]) {
    client.send(encodeSubscribe5(packetId, [{ topicFilter: unique('t'), qos: 1 }]));
    expect(await client.expect('suback')).toMatchObject({ packetId, reasonCodes: [1] });
  }
});

it('MQTT-5.0 [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] answers many filters with one SUBACK: the QoS of each, in their order', async () => {
  const client = await broker.connect();
  const root = unique('t');
  const asked = [2, 0, 1, 1, 0, 2];
  const list = asked.map((qos, index) => ({ topicFilter: `${root}/${index}`, qos }));
  expect((await client.subscribe(list)).reasonCodes).toEqual(asked);
  for (const [index, qos] of asked.entries()) {
    await client.deliver({ topicName: `${root}/${index}`, payload: String(index), qos: 2 });
    expect(told(await client.take())).toMatchObject({ payload: String(index), qos });
  }
});

it('MQTT-5.0 [MQTT-3.8.4-5] the later of two filters that are equal in one SUBSCRIBE holds', async () => {
  const client = await broker.connect();
  const topicFilter = unique('t');
  const suback = await client.subscribe([
    { topicFilter, qos: 2 },
    { topicFilter, qos: 0 },
  ]);
  expect(suback.reasonCodes).toEqual([2, 0]);
  await client.deliver({ topicName: topicFilter, payload: 'x', qos: 2 });
  expect(await client.take()).toMatchObject({ qos: 0 });
  await client.silence();
});

it('MQTT-5.0 [MQTT-3.8.4-8] delivers with the lower of the QoS of the message and the one that was granted', async () => {
  for (const granted of QOS) {
    const topic = unique('t');
    const subscriber = await broker.connect();
    await subscriber.subscribe({ topicFilter: topic, qos: granted });
    const publisher = await broker.connect();
    for (const qos of QOS) {
      if (qos === 0) publisher.publish({ topicName: topic, payload: 'x' });
      else await publisher.deliver({ topicName: topic, payload: 'x', qos });
      const expected = Math.min(qos, granted);
      expect(await subscriber.take(), `${qos} to ${granted}`).toMatchObject({ qos: expected });
    }
  }
});

it('MQTT-5.0 [MQTT-3.8.4-3] a second SUBSCRIBE with the same filter replaces the first: its QoS holds, and one copy comes', async () => {
  const topicFilter = unique('t');
  const client = await broker.connect();
  const publisher = await broker.connect();
  for (const qos of [1, 2, 0, 1]) {
    await client.subscribe({ topicFilter, qos });
    await publisher.deliver({ topicName: topicFilter, payload: 'x', qos: 2 });
    expect(await client.take()).toMatchObject({ qos });
    await client.silence(100);
  }
  await client.unsubscribe(topicFilter);
  await publisher.deliver({ topicName: topicFilter, payload: 'x', qos: 2 });
  await client.silence();
});

it('MQTT-5.0 [MQTT-3.8.4-4] [MQTT-3.3.1-9] a second SUBSCRIBE with Retain Handling 0 sends retained messages again, and loses none that come meanwhile', async () => {
  const topic = unique('t');
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'retained', retain: true });
  const client = await broker.connect();
  await client.subscribe(topic);
  expect(await payloads(client, 1)).toEqual(['retained']);
  await client.subscribe(topic);
  expect(told(await client.take())).toMatchObject({ payload: 'retained', retain: true });
  for (let index = 0; index < 20; index += 1) {
    publisher.publish({ topicName: `${topic}`, payload: String(index), qos: 1 });
    client.send(encodeSubscribe5(100 + index, [{ topicFilter: topic, qos: 1, retainHandling: 2 }]));
  }
  const seen: string[] = [];
  while (seen.length < 20) {
    const packet = await client.receive();
    if (packet.type !== 'publish') continue;
    seen.push(packet.payload.toString());
    client.ack('puback', packet.packetId);
  }
  expect(seen).toEqual(Array.from({ length: 20 }, (_, index) => String(index)));
  await publisher.ping();
  await publisher.deliver({ topicName: topic, payload: '', retain: true });
});

it('MQTT-5.0 [MQTT-4.7.1-1] [MQTT-4.7.1-2] matches filters with wildcards as the standard says', async () => {
  const root = unique('t');
  const table: readonly (readonly [filter: string, matches: string[], misses: string[]])[] = [
    ['s/#', ['s', 's/', 's/t', 's/t/u'], ['t', 'st', 'ss/t']],
    ['s/+', ['s/t', 's/'], ['s', 's/t/u']],
    ['+/t', ['s/t', '/t'], ['t', 's/t/u', 's/u']],
    ['s/+/u', ['s/t/u', 's//u'], ['s/u', 's/t/t/u', 's/t/U']],
    ['+/+', ['/t', 's/t', '/'], ['t', 's/t/u']],
    ['+/#', ['s', 's/t', '/'], []],
    ['/', ['/'], ['', '//']],
  ];
  for (const [index, [filter, matches, misses]] of table.entries()) {
    const client = await broker.connect();
    const at = (name: string): string => `${root}${index}/${name}`;
    expect((await client.subscribe(at(filter))).reasonCodes).toEqual([2]);
    for (const name of misses) await client.deliver({ topicName: at(name), payload: 'x' });
    for (const name of matches) await client.deliver({ topicName: at(name), payload: 'x' });
    for (const name of matches) {
      expect((await client.take()).topicName, filter).toBe(at(name));
    }
    await client.silence(50);
  }
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-3.9.3-2] answers a filter that is none with 0x8F, the others with their QoS, and the connection stays',
  async () => {
    const client = await broker.connect();
    const good = unique('t');
    for (const topicFilter of [
      '',
      'a#',
      '#/a',
      'a/#/b',
      'a+',
      '+a',
      'a/b+/c',
      '##',
      '++',
      'a/+#',
    ]) {
      const suback = await client.subscribe([
        { topicFilter, qos: 1 },
        { topicFilter: good, qos: 1 },
      ]);
      expect(suback.reasonCodes, topicFilter).toEqual([0x8f, 1]);
    }
    await client.deliver({ topicName: good, payload: 'x' });
    expect(await payloads(client, 1)).toEqual(['x']);
  },
);

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.8.4-7] answers a filter that may not be read with 0x87, in either order, and delivers nothing of it, ever',
  async () => {
    for (const order of [0, 1]) {
      const clientId = unique('c');
      const options = { ...broker.restricted };
      const { client: first } = await broker.resume(clientId, options);
      const allowed = unique(`${ALLOWED_ROOT}/`);
      const denied = unique('forbidden/');
      const list = [
        { topicFilter: allowed, qos: 1 },
        { topicFilter: denied, qos: 1 },
      ];
      const { reasonCodes } = await first.subscribe(order === 0 ? list : list.reverse());
      expect(reasonCodes).toEqual(order === 0 ? [1, 0x87] : [0x87, 1]);
      await first.disconnect();
      const publisher = await broker.connect();
      for (const topicName of [denied, allowed]) {
        await publisher.deliver({ topicName, payload: topicName });
      }
      const { client: second } = await broker.resume(clientId, options);
      await publisher.deliver({ topicName: denied, payload: 'live' });
      expect(await payloads(second, 1)).toEqual([allowed]);
      await second.silence();
    }
  },
);

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.8.4-7] judges a filter by all topics that it matches',
  async () => {
    const client = await broker.connect(broker.restricted);
    for (const [topicFilter, code] of [
      [`${ALLOWED_ROOT}/#`, 1],
      [`${ALLOWED_ROOT}/+`, 1],
      [ALLOWED_ROOT, 1],
      ['#', 0x87],
      ['+', 0x87],
      ['+/x', 0x87],
      ['$SYS/#', 0x87],
      [`$share/g/${ALLOWED_ROOT}/#`, 1],
      ['$share/g/#', 0x87],
      ['$share/g/forbidden', 0x87],
    ] as const) {
      const { reasonCodes } = await client.subscribe({ topicFilter, qos: 1 });
      expect(reasonCodes, topicFilter).toEqual([code]);
    }
  },
);

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.9.3-2] answers the 101st subscription of a client with 0x97, and lets it replace those it has',
  async () => {
    const client = await broker.connect();
    const root = unique('t');
    const filter = (index: number) => ({ topicFilter: `${root}/${index}`, qos: 1 });
    for (let done = 0; done < 100; done += 20) {
      const list = Array.from({ length: 20 }, (_, index) => filter(done + index));
      expect((await client.subscribe(list)).reasonCodes).toEqual(list.map(() => 1));
    }
    const { reasonCodes } = await client.subscribe([filter(100), filter(7), filter(101)]);
    expect(reasonCodes).toEqual([0x97, 1, 0x97]);
    await client.unsubscribe(`${root}/7`);
    expect((await client.subscribe(filter(100))).reasonCodes).toEqual([1]);
    await client.deliver({ topicName: `${root}/101`, payload: 'no' });
    await client.deliver({ topicName: `${root}/100`, payload: 'yes' });
    expect(await payloads(client, 1)).toEqual(['yes']);
  },
);

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.9.3-2] answers 33 filters in one SUBSCRIBE with DISCONNECT 0x97, and 32 with their QoS',
  async () => {
    const client = await broker.connect();
    const root = unique('t');
    const list = (length: number) =>
      Array.from({ length }, (_, index) => ({ topicFilter: `${root}/${index}`, qos: 1 }));
    expect((await client.subscribe(list(32))).reasonCodes).toEqual(list(32).map(() => 1));
    client.send(encodeSubscribe5(9, list(33)));
    await expectDisconnect(client, 0x97);
  },
);

it('MQTT-5.0 [MQTT-1.5.7-1] takes user properties of SUBSCRIBE, and answers those that are not UTF-8 with DISCONNECT', async () => {
  const client = await broker.connect();
  const properties = { userProperties: [['a', 'b']] } as const;
  expect((await client.subscribe(unique('t'), properties)).reasonCodes).toEqual([2]);
  const bad = Buffer.concat([
    Buffer.from([0x26]),
    encodeField('a'),
    encodeField(Buffer.from('c0', 'hex')),
  ]);
  client.send(encodeSubscribe5(9, [{ topicFilter: 'a', qos: 0 }], bad));
  await expectDisconnect(client, [0x81, 0x82]);
});
