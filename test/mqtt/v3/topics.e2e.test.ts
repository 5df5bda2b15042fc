import { encodeSubscribe } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
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

/** Names below a level of this test, so that nothing else matches. */
const below = (prefix: string, name: string): string => `${prefix}/${name}`;

async function expectRefused(topicFilter: string): Promise<void> {
  const client = await broker.connect();
  client.send(encodeSubscribe(1, [{ topicFilter, qos: 0 }]));
  await expectClosed(client, topicFilter);
}

it('MQTT-3.1.1 [MQTT-4.7.1-2] # that is not the last level, or not a level of its own, closes the connection', async () => {
  for (const filter of ['a#', '#a', 'a/#/b', '#/a', 'a/b#', 'a/#b', '##', '#/', '/a#/', '#/#']) {
    await expectRefused(filter);
  }
});

it('MQTT-3.1.1 [MQTT-4.7.1-3] + that is not a level of its own closes the connection', async () => {
  for (const filter of ['a+', '+a', 'a/+b', 'a/b+/c', '++', '+#', '#+', 'a/+#']) {
    await expectRefused(filter);
  }
});

it('MQTT-3.1.1 [MQTT-4.7.3-1] an empty filter closes the connection', async () => {
  await expectRefused('');
});

it('MQTT-3.1.1 [MQTT-4.8.0-1] one wrong filter closes the connection, whatever else the SUBSCRIBE has', async () => {
  const right = { topicFilter: unique('t'), qos: 1 };
  const wrong = { topicFilter: 'a#', qos: 1 };
  for (const filters of [
    [right, wrong],
    [wrong, right],
  ]) {
    const client = await broker.connect();
    client.send(encodeSubscribe(1, filters));
    await expectClosed(client);
  }
});

it('MQTT-3.1.1 [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-3.3.2-3] filters with wildcards match the names that they should, and no others', async () => {
  const prefix = unique('t');
  const names = [
    'a',
    'a/',
    'a/b',
    'a/b/c',
    'a/c',
    'a/c/',
    '/a',
    '/',
    'b/b',
    'b',
    '//',
    'a//c',
    'A/b',
  ];
  const matches: Record<string, string[]> = {
    '#': names,
    '+': ['a', 'b'],
    'a/#': ['a', 'a/', 'a/b', 'a/b/c', 'a/c', 'a/c/', 'a//c'],
    'a/+': ['a/', 'a/b', 'a/c'],
    '+/b': ['a/b', 'b/b', 'A/b'],
    '+/+': ['a/', 'a/b', 'a/c', '/a', '/', 'b/b', 'A/b'],
    '/+': ['/a', '/'],
    '/#': ['/a', '/', '//'],
    'a/+/c': ['a/b/c', 'a//c'],
    'a/+/#': ['a/', 'a/b', 'a/b/c', 'a/c', 'a/c/', 'a//c'],
    '+/+/+': ['a/b/c', 'a/c/', '//', 'a//c'],
    '+/b/#': ['a/b', 'a/b/c', 'b/b', 'A/b'],
    'a/b': ['a/b'],
  };
  const filters = Object.keys(matches);
  const clients = await Promise.all(filters.map(() => broker.connect()));
  for (const [index, client] of clients.entries()) {
    await client.subscribe(1, [{ topicFilter: below(prefix, filters[index] ?? ''), qos: 1 }]);
  }
  const publisher = await broker.connect();
  for (const name of [...names, 'last']) {
    await publish(publisher, { topicName: below(prefix, name), payload: name, qos: 1 });
  }
  for (const [index, client] of clients.entries()) {
    const filter = filters[index] ?? '';
    const expected = matches[filter] ?? [];
    expect(await payloads(client, expected.length), filter).toEqual(expected);
    if (filter === '#' || filter === '+') expect(await payloads(client, 1)).toEqual(['last']);
    await expectSilence(client, 10);
  }
});

it('MQTT-3.1.1 [MQTT-4.7.1-2] a filter ending in /# matches its parent level, without anything above it', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: `${topic}/#`, qos: 1 }]);
  const publisher = await broker.connect();
  for (const topicName of [`${topic}x`, topic, `${topic}/x`, `x/${topic}`]) {
    await publish(publisher, { topicName, payload: topicName, qos: 1 });
  }
  expect(await payloads(client, 2)).toEqual([topic, `${topic}/x`]);
  await expectSilence(client, 100);
});

it('MQTT-3.1.1 [MQTT-4.7.2-1] filters that begin with a wildcard do not match names that begin with $', async () => {
  const client = await broker.connect();
  const codes = await client.subscribe(
    1,
    ['#', '+/#', '+', '+/+', '+/broker/#'].map((topicFilter) => ({ topicFilter, qos: 1 })),
  );
  expect(codes).toEqual([1, 1, 1, 1, 1]);
  // What a broker tells of itself: when clients come and go, and retained.
  for (let index = 0; index < 3; index++) (await broker.connect()).destroy();
  await publish(await broker.connect(), { topicName: unique('t'), payload: 'marker', qos: 1 });
  for (;;) {
    const { topicName, payload } = await taken(client);
    expect(topicName.startsWith('$'), topicName).toBe(false);
    if (payload === 'marker') break;
  }
  await expectSilence(client);
});

it('MQTT-3.1.1 [MQTT-4.7.3-4] names are compared as they are: case, accents, spaces and empty levels count', async () => {
  const topic = unique('t');
  const names = ['e\u0301', '\u00e9', 'E', 'e', 'e ', ' e', 'e/', '/e', '\u212b', '\u00c5', '𝄞'];
  for (const name of names) {
    const client = await broker.connect();
    await client.subscribe(1, [{ topicFilter: `${topic}${name}`, qos: 1 }]);
    const publisher = await broker.connect();
    for (const other of [...names, name]) {
      await publish(publisher, { topicName: `${topic}${other}`, payload: other, qos: 1 });
    }
    const got = [await taken(client), await taken(client)];
    for (const message of got) expect(message.topicName).toBe(`${topic}${name}`);
    await expectSilence(client, 20);
  }
});

it('MQTT-3.1.1 §4.7.3 a name may have levels that mean something in JavaScript', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: `${topic}/+/__proto__`, qos: 1 }]);
  const publisher = await broker.connect();
  for (const level of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf']) {
    const topicName = `${topic}/${level}/__proto__`;
    await publish(publisher, { topicName, payload: level, qos: 1 });
    expect(await taken(client)).toMatchObject({ topicName, payload: level });
  }
  await expectSilence(client, 50);
});

it.skipIf(OTHER)(
  'MQTT-3.1.1 [MQTT-4.7.3-3] a name or filter may have 1024 bytes, and one more closes the connection',
  async () => {
    const name = unique('t').padEnd(1022, 'x');
    const client = await broker.connect();
    await client.subscribe(1, [{ topicFilter: `${name}é`, qos: 1 }]);
    await publish(await broker.connect(), { topicName: `${name}é`, payload: 'fits', qos: 1 });
    expect((await taken(client)).payload).toBe('fits');
    await expectRefused(`${name}éx`);
    for (const topicName of [`${name}éx`, 'x'.repeat(65_535)]) {
      const publisher = await broker.connect();
      publisher.publish({ topicName, payload: 'x', qos: 1, packetId: 1 });
      await expectClosed(publisher, `${topicName.length} characters`);
    }
    await expectSilence(client, 50);
  },
);

it.skipIf(OTHER)(
  'MQTT-3.1.1 §4.7.3 a name or filter may have 32 levels, and one more closes the connection',
  async () => {
    const name = unique('t') + '/x'.repeat(31);
    const client = await broker.connect();
    await client.subscribe(1, [{ topicFilter: name, qos: 1 }]);
    await publish(await broker.connect(), { topicName: name, payload: 'fits', qos: 1 });
    expect((await taken(client)).payload).toBe('fits');
    await expectRefused(`${name}/x`);
    await expectRefused(`${name}/#`);
    const publisher = await broker.connect();
    publisher.publish({ topicName: `${name}/x`, payload: 'x', qos: 1, packetId: 1 });
    await expectClosed(publisher);
  },
);
