import { encodePublish5, type RawPublish5 } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  ALLOWED_ROOT,
  expectDisconnect,
  OTHER,
  collect,
  payloads,
  release,
  told,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

const SUCCESS = [0x00, 0x10];

it('MQTT-5.0 [MQTT-3.3.1-4] answers a PUBLISH with QoS 3 with DISCONNECT 0x81', async () => {
  const client = await broker.connect();
  client.send(encodePublish5({ topicName: 'a', payload: 'x', qos: 3, packetId: 1 }));
  await expectDisconnect(client, 0x81);
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.3.1-2] answers a PUBLISH with QoS 0 and DUP with DISCONNECT 0x81',
  async () => {
    const client = await broker.connect();
    client.send(encodePublish5({ topicName: 'a', payload: 'x', duplicate: true }));
    await expectDisconnect(client, 0x81);
  },
);

it('MQTT-5.0 [MQTT-2.2.1-3] answers a PUBLISH with packet id 0 with DISCONNECT', async () => {
  for (const qos of [1, 2]) {
    const client = await broker.connect();
    client.send(encodePublish5({ topicName: 'a', payload: 'x', qos, packetId: 0 }));
    await expectDisconnect(client, [0x82, 0x81], `QoS ${qos}`);
  }
});

it('MQTT-5.0 [MQTT-2.2.1-2] a PUBLISH with QoS 0 has no packet id, whichever way it goes', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe(topic);
  const payload = Buffer.from([0, 1, 0, 2]);
  client.publish({ topicName: topic, payload });
  expect((await client.take()).payload).toEqual(payload);
});

it('MQTT-5.0 [MQTT-3.3.1-3] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2] subscribers get DUP 0, whatever the publisher sent', async () => {
  const topic = unique('t');
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  const publisher = await broker.connect();
  publisher.publish({ topicName: topic, payload: '0' });
  expect(await subscriber.take()).toMatchObject({ qos: 0, duplicate: false });
  for (const qos of [1, 2]) {
    await publisher.deliver({ topicName: topic, payload: 'x', qos, duplicate: true });
    expect(await subscriber.take()).toMatchObject({ qos, duplicate: false });
  }
});

it('MQTT-5.0 [MQTT-3.3.1-5] [MQTT-3.3.1-8] keeps the last message that was published with RETAIN, and no other', async () => {
  const topic = unique('t');
  const publisher = await broker.connect();
  const retained = async (payload: string, qos: number, retain: boolean): Promise<void> => {
    expect(SUCCESS).toContain(await publisher.deliver({ topicName: topic, payload, qos, retain }));
  };
  await retained('first', 1, true);
  await retained('not kept', 2, false);
  const one = await broker.connect();
  await one.subscribe(topic);
  expect(told(await one.take())).toMatchObject({ payload: 'first', retain: true, qos: 1 });
  await retained('second', 2, true);
  publisher.publish({ topicName: topic, payload: 'not kept', retain: false });
  await publisher.ping();
  const other = await broker.connect();
  await other.subscribe(topic);
  expect(told(await other.take())).toMatchObject({ payload: 'second', retain: true, qos: 2 });
  await other.silence();
  await publisher.deliver({ topicName: topic, payload: '', retain: true });
});

it('MQTT-5.0 [MQTT-3.3.1-6] [MQTT-3.3.1-7] an empty message with RETAIN is delivered, removes what was kept, and is not kept itself', async () => {
  const topic = unique('t');
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'kept', retain: true });
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  expect(await payloads(subscriber, 1)).toEqual(['kept']);
  await publisher.deliver({ topicName: topic, payload: '', retain: true });
  expect(told(await subscriber.take())).toMatchObject({ payload: '', retain: false });
  const late = await broker.connect();
  await late.subscribe([
    { topicFilter: topic, qos: 1 },
    { topicFilter: `${topic}/#`, qos: 1 },
  ]);
  await late.silence();
});

it('MQTT-5.0 [MQTT-3.3.1-5] keeps the properties of a retained message', async () => {
  const topic = unique('t');
  const properties = { contentType: 'text', userProperties: [['a', 'b']] as const };
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'x', retain: true, properties });
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  expect((await subscriber.take()).properties).toEqual(properties);
  await publisher.deliver({ topicName: topic, payload: '', retain: true });
});

it('MQTT-5.0 [MQTT-3.3.2-1] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-4.7.3-2] answers a topic that is not UTF-8 or has U+0000 with DISCONNECT 0x81', async () => {
  for (const hex of ['61c0', 'ff', 'eda080', 'c080', 'f4908080', 'e282', '610062']) {
    const client = await broker.connect();
    client.publish({ topicName: Buffer.from(hex, 'hex'), payload: 'x' });
    await expectDisconnect(client, [0x81, 0x82], hex);
  }
});

it.skipIf(OTHER)('answers control characters and non-characters with DISCONNECT 0x81', async () => {
  for (const topicName of ['a\u0001', 'a\u007f', 'a\u009f', 'a\ufdd0', 'a\uffff', 'a\u{1fffe}']) {
    const client = await broker.connect();
    client.publish({ topicName, payload: 'x' });
    await expectDisconnect(client, 0x81, JSON.stringify(topicName));
  }
});

it('MQTT-5.0 [MQTT-3.3.2-2] [MQTT-4.7.0-1] answers a topic with a wildcard with DISCONNECT', async () => {
  for (const topicName of ['#', '+', 'a/#', 'a/+/b', 'a#', 'b+c']) {
    const client = await broker.connect();
    client.publish({ topicName, payload: 'x' });
    await expectDisconnect(client, [0x81, 0x82, 0x90], topicName);
  }
});

it('MQTT-5.0 [MQTT-4.7.3-1] answers an empty topic, when no alias stands for it, with DISCONNECT 0x82', async () => {
  const client = await broker.connect();
  client.publish({ topicName: '', payload: 'x' });
  await expectDisconnect(client, 0x82);
});

it('MQTT-5.0 [MQTT-1.5.4-3] [MQTT-4.7.3-4] compares topics character by character: BOM, case, composition and slashes count', async () => {
  const root = unique('t');
  const names = ['x', '\u{feff}x', 'X', '\u{e9}', 'e\u{301}', 'x/', '/x', ' x', '\u{1f600}'];
  const client = await broker.connect();
  await client.subscribe(names.map((name) => ({ topicFilter: `${root}/${name}`, qos: 1 })));
  for (const name of names) {
    await client.deliver({ topicName: `${root}/${name}`, payload: name });
    expect(await client.take()).toMatchObject({ topicName: `${root}/${name}` });
  }
  await client.silence();
});

it('MQTT-5.0 [MQTT-3.3.2-3] [MQTT-4.5.0-1] a message reaches those whose filter matches its topic, and nobody else', async () => {
  const root = unique('t');
  const near = await broker.connect();
  await near.subscribe(`${root}/+/b`);
  const exact = await broker.connect();
  await exact.subscribe(`${root}/a/b`);
  const far = await broker.connect();
  await far.subscribe([
    { topicFilter: `${root}/a`, qos: 2 },
    { topicFilter: `${root}/a/b/+`, qos: 2 },
  ]);
  await far.deliver({ topicName: `${root}/a/b`, payload: 'x' });
  expect(await near.take()).toMatchObject({ topicName: `${root}/a/b` });
  expect(await exact.take()).toMatchObject({ topicName: `${root}/a/b` });
  await far.silence();
});

it('MQTT-5.0 [MQTT-3.3.2-4] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] [MQTT-1.5.7-1] passes properties on as they are, user properties in their order', async () => {
  const topic = unique('t');
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  const publisher = await broker.connect();
  for (const qos of [0, 1, 2]) {
    for (const payloadFormatIndicator of [0, 1]) {
      const properties: RawPublish5['properties'] = {
        payloadFormatIndicator,
        contentType: 'text/plain; \u{1f600}',
        userProperties: [
          ['b', '2'],
          ['a', '1'],
          ['b', '1'],
          ['', ''],
          ['b', '2'],
          ['__proto__', 'x'],
        ],
      };
      const message = { topicName: topic, payload: 'ü', qos, properties };
      if (qos === 0) publisher.publish(message);
      else await publisher.deliver(message);
      expect((await subscriber.take()).properties, `QoS ${qos}`).toEqual(properties);
    }
  }
});

it('MQTT-5.0 [MQTT-2.2.2-1] a message without properties stays without properties', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe(topic);
  client.publish({ topicName: topic, payload: 'x' });
  expect((await client.take()).properties).toEqual({});
});

it('MQTT-5.0 [MQTT-3.3.4-1] [MQTT-2.2.1-5] [MQTT-4.3.2-4] [MQTT-4.3.3-8] answers QoS 0 with nothing, QoS 1 with PUBACK and QoS 2 with PUBREC of the same packet id', async () => {
  const client = await broker.connect();
  const topicName = unique('t');
  client.publish({ topicName, payload: 'x' });
  await client.silence();
  for (const packetId of [1, 255, 256, 65_535]) {
    client.publish({ topicName, payload: 'x', qos: 1, packetId });
    const puback = await client.expect('puback');
    expect(puback.packetId).toBe(packetId);
    expect(SUCCESS).toContain(puback.reasonCode);
    client.publish({ topicName, payload: 'x', qos: 2, packetId });
    const pubrec = await client.expect('pubrec');
    expect(pubrec.packetId).toBe(packetId);
    expect(SUCCESS).toContain(pubrec.reasonCode);
    client.ack('pubrel', packetId);
    expect(await client.expect('pubcomp')).toMatchObject({ packetId, reasonCode: 0 });
  }
});

it('MQTT-5.0 [MQTT-4.6.0-5] [MQTT-4.6.0-6] delivers the messages of one publisher, topic and QoS in their order', async () => {
  const topic = unique('t');
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  const publisher = await broker.connect();
  const expected = Array.from({ length: 90 }, (_, index) => String(index));
  for (const qos of [0, 1, 2]) {
    for (const payload of expected) publisher.publish({ topicName: topic, payload, qos });
    const [messages] = await Promise.all([
      collect(subscriber, expected.length),
      release(publisher, qos === 2 ? expected.length : 0),
    ]);
    const found = messages.map((message) => message.payload.toString());
    expect(found, `QoS ${qos}`).toEqual(expected);
    expect(new Set(messages.map((message) => message.qos))).toEqual(new Set([qos]));
  }
});

it('MQTT-5.0 [MQTT-4.7.2-1] a filter that begins with a wildcard does not match topics that begin with $', async () => {
  const root = unique('t');
  const subscriber = await broker.connect();
  await subscriber.subscribe([
    { topicFilter: '#', qos: 0, retainHandling: 0 },
    { topicFilter: '+/#', qos: 0, retainHandling: 0 },
    { topicFilter: `+/${root}`, qos: 0, retainHandling: 0 },
  ]);
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: `$x/${root}`, payload: 'x' });
  await publisher.deliver({ topicName: `x/${root}`, payload: 'y' });
  for (;;) {
    const packet = await subscriber.take();
    expect(packet.topicName).not.toMatch(/^\$/);
    if (packet.topicName === `x/${root}`) break;
  }
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-4.3.3-9] lets nobody publish to $…: 0x87 in PUBACK and PUBREC, and the connection stays',
  async () => {
    const watcher = await broker.connect();
    await watcher.subscribe('$x/#');
    const client = await broker.connect();
    for (const topicName of ['$x/y', '$SYS/x', '$share/g/a', '$']) {
      expect(await client.deliver({ topicName, payload: 'x' }), topicName).toBe(0x87);
      expect(await client.deliver({ topicName, payload: 'x', qos: 2 }), topicName).toBe(0x87);
      client.publish({ topicName, payload: 'x' });
    }
    await client.ping();
    await client.silence();
    await watcher.silence();
  },
);

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-4.3.3-9] says 0x87 to whom may not publish, forgets the packet id, and the connection stays',
  async () => {
    const topic = unique('forbidden/');
    const watcher = await broker.connect();
    await watcher.subscribe(topic);
    const client = await broker.connect(broker.restricted);
    const denied = { topicName: topic, payload: 'x', retain: true };
    for (const qos of [1, 2]) {
      client.publish({ ...denied, qos, packetId: 7 });
      expect(await client.expect(qos === 1 ? 'puback' : 'pubrec')).toMatchObject({
        packetId: 7,
        reasonCode: 0x87,
      });
    }
    client.publish(denied);
    const allowed = unique(`${ALLOWED_ROOT}/`);
    await watcher.subscribe(allowed);
    client.publish({ topicName: allowed, payload: 'new', qos: 2, packetId: 7 });
    expect(await client.expect('pubrec')).toMatchObject({ packetId: 7, reasonCode: 0 });
    expect(await payloads(watcher, 1)).toEqual(['new']);
    await watcher.silence();
    const late = await broker.connect();
    await late.subscribe(topic);
    await late.silence();
  },
);

it.skipIf(OTHER)(
  'answers a topic of more than 1,024 bytes or 32 levels with DISCONNECT 0x90, and takes one that has just as many',
  async () => {
    const client = await broker.connect();
    const levels = (count: number): string => Array.from({ length: count }, () => 'l').join('/');
    for (const topicName of ['t'.repeat(1024), levels(32)]) {
      expect(SUCCESS).toContain(await client.deliver({ topicName, payload: 'x' }));
    }
    for (const topicName of ['t'.repeat(1025), levels(33)]) {
      const other = await broker.connect();
      other.publish({ topicName, payload: 'x' });
      await expectDisconnect(other, 0x90, topicName);
    }
  },
);

it.skipIf(OTHER)(
  'refuses to keep more than 64 KiB with 0x97, delivers nothing of it, and keeps just as much',
  async () => {
    const topicName = unique('t');
    const client = await broker.connect();
    const kept = Buffer.alloc(65_536, 'k');
    expect(SUCCESS).toContain(await client.deliver({ topicName, payload: kept, retain: true }));
    const large = { topicName, payload: Buffer.alloc(65_537), retain: true };
    expect(await client.deliver(large)).toBe(0x97);
    expect(await client.deliver({ ...large, qos: 2 })).toBe(0x97);
    await client.subscribe(topicName);
    expect((await client.take()).payload).toEqual(kept);
    await client.silence();
    await client.deliver({ topicName, payload: '', retain: true });
  },
);
