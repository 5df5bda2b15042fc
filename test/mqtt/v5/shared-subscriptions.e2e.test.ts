import { encodeSubscribe5, type RawConnect5, type RawMqtt5Client } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  OTHER,
  payloads,
  told,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

interface Group {
  readonly topic: string;
  readonly filter: string;
  readonly publisher: RawMqtt5Client;
  /** One more member. */
  readonly join: (options?: Partial<RawConnect5>, qos?: number) => Promise<RawMqtt5Client>;
}

async function group(): Promise<Group> {
  const topic = unique('t');
  const filter = `$share/${unique('g')}/${topic}`;
  const join = async (options: Partial<RawConnect5> = {}, qos = 2): Promise<RawMqtt5Client> => {
    const client = await broker.connect(options);
    expect((await client.subscribe({ topicFilter: filter, qos })).reasonCodes).toEqual([qos]);
    return client;
  };
  return { topic, filter, publisher: await broker.connect(), join };
}

/** What each of the clients has got, acknowledged; until nothing more comes. */
async function received(clients: readonly RawMqtt5Client[]): Promise<string[][]> {
  return Promise.all(
    clients.map(async (client) => {
      const found: string[] = [];
      for (;;) {
        await client.ping(); // What the broker has sent before is here.
        const packet = await client.take(150).catch(() => undefined);
        if (packet === undefined) return found;
        found.push(packet.payload.toString());
      }
    }),
  );
}

const numbers = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => String(index));
const sorted = (found: readonly string[]): string[] =>
  [...found].sort((one, other) => Number(one) - Number(other));

it('MQTT-5.0 [MQTT-4.8.2-1] gives each message to one member, and to all members about as many', async () => {
  for (const qos of [0, 1, 2]) {
    const { topic, publisher, join } = await group();
    const members = [await join(), await join(), await join()];
    for (const payload of numbers(60)) {
      if (qos === 0) publisher.publish({ topicName: topic, payload });
      else await publisher.deliver({ topicName: topic, payload, qos });
    }
    await publisher.ping();
    const found = await received(members);
    expect(sorted(found.flat()), `QoS ${qos}`).toEqual(numbers(60));
    for (const { length } of found) {
      expect(length).toBeGreaterThanOrEqual(10);
      expect(length).toBeLessThanOrEqual(30);
    }
  }
});

it('MQTT-5.0 [MQTT-4.8.2-1] groups with other names, and plain subscriptions, get their own copies', async () => {
  const topic = unique('t');
  const [one, other, plain] = [
    await broker.connect(),
    await broker.connect(),
    await broker.connect(),
  ];
  await one.subscribe(`$share/${unique('g')}/${topic}`);
  await other.subscribe(`$share/${unique('g')}/${topic}`);
  await plain.subscribe(topic);
  await plain.deliver({ topicName: topic, payload: 'x' });
  expect(await received([one, other, plain])).toEqual([['x'], ['x'], ['x']]);
});

it('MQTT-5.0 [MQTT-4.8.2-1] the same name with another filter is another group', async () => {
  const root = unique('t');
  const name = unique('g');
  const [one, other] = [await broker.connect(), await broker.connect()];
  await one.subscribe(`$share/${name}/${root}/+`);
  await other.subscribe(`$share/${name}/${root}/#`);
  await one.deliver({ topicName: `${root}/a`, payload: 'x' });
  expect(await received([one, other])).toEqual([['x'], ['x']]);
});

it('a client with a shared and a plain subscription gets a copy by each, with its identifier', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe(`$share/${unique('g')}/${topic}`, { subscriptionIdentifiers: [1] });
  await client.subscribe(topic, { subscriptionIdentifiers: [2] });
  await client.deliver({ topicName: topic, payload: 'x' });
  const found = [await client.take(), await client.take()].map(
    ({ properties }) => properties.subscriptionIdentifiers,
  );
  expect(found.sort()).toEqual([[1], [2]]);
  await client.silence();
});

it('MQTT-5.0 [MQTT-4.8.2-2] [MQTT-4.7.2-1] matches with what follows the name: wildcards, a leading slash, no $', async () => {
  const root = unique('t');
  for (const [filter, matching] of [
    [`${root}/+/b`, `${root}/a/b`],
    [`${root}/#`, root],
    [`/${root}`, `/${root}`],
  ] as const) {
    const client = await broker.connect();
    const topicFilter = `$share/${unique('g')}/${filter}`;
    expect((await client.subscribe({ topicFilter, qos: 1 })).reasonCodes).toEqual([1]);
    await client.deliver({ topicName: matching, payload: 'x' });
    expect(await client.take(), filter).toMatchObject({ topicName: matching });
    await client.silence(50);
    client.destroy();
  }
});

it('MQTT-5.0 [MQTT-4.8.2-3] delivers to each member with its own QoS', async () => {
  const { topic, publisher, join } = await group();
  const members = [await join({}, 0), await join({}, 1), await join({}, 2)];
  for (const payload of numbers(12)) {
    await publisher.deliver({ topicName: topic, payload, qos: 2 });
  }
  const qualities = await Promise.all(
    members.map(async (member) => {
      const packet = await member.take();
      return packet.qos;
    }),
  );
  expect(qualities).toEqual([0, 1, 2]);
});

// mosquitto 2.0.11 does not look.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.8.3-4] answers No Local on a shared subscription with DISCONNECT 0x82, and makes none of the packet',
  async () => {
    const topic = unique('t');
    const clientId = unique('c');
    const { client } = await broker.resume(clientId);
    client.send(
      encodeSubscribe5(1, [
        { topicFilter: topic, qos: 1 },
        { topicFilter: `$share/g/${topic}`, qos: 1, noLocal: true },
      ]),
    );
    await expectDisconnect(client, 0x82);
  },
);

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-4.8.2-1] [MQTT-4.8.2-2] answers what begins with $share and is no shared subscription with 0x8F',
  async () => {
    const client = await broker.connect();
    for (const topicFilter of [
      '$share/',
      '$share/g',
      '$share/g/',
      '$share//t',
      '$share/+/t',
      '$share/#/t',
      '$share/g+/t',
      '$share/#',
      '$share/g/a#',
      '$share/g/#/a',
      '$share/g/+a',
    ]) {
      const { reasonCodes } = await client.subscribe({ topicFilter, qos: 1 });
      expect(reasonCodes, topicFilter).toEqual([0x8f]);
    }
    await client.ping();
  },
);

// mosquitto 2.0.11 sends them.
it.skipIf(OTHER)(
  'sends no retained messages for a shared subscription, whatever Retain Handling says, and passes live ones on',
  async () => {
    const topic = unique('t');
    const client = await broker.connect();
    await client.deliver({ topicName: topic, payload: 'kept', retain: true });
    const name = unique('g');
    for (const retainHandling of [0, 1]) {
      await client.subscribe({ topicFilter: `$share/${name}/${topic}`, qos: 1, retainHandling });
      await client.silence(100);
    }
    await client.deliver({ topicName: topic, payload: 'live', retain: true });
    expect(told(await client.take())).toMatchObject({ payload: 'live', retain: false });
    await client.deliver({ topicName: topic, payload: '', retain: true });
  },
);

it('a second SUBSCRIBE does not make a member twice: it changes the QoS, and one UNSUBSCRIBE ends it', async () => {
  const { topic, filter, publisher, join } = await group();
  const member = await join({}, 2);
  expect((await member.subscribe({ topicFilter: filter, qos: 1 })).reasonCodes).toEqual([1]);
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 2 });
  expect(await member.take()).toMatchObject({ qos: 1 });
  await member.silence(50);
  expect((await member.unsubscribe(topic)).reasonCodes).toEqual([0x11]);
  expect((await member.unsubscribe(filter)).reasonCodes).toEqual([0x00]);
  expect((await member.unsubscribe(filter)).reasonCodes).toEqual([0x11]);
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 2 });
  await member.silence();
});

it('gives everything to the members that are left when others unsubscribe or go', async () => {
  const { topic, filter, publisher, join } = await group();
  const [one, two, three] = [await join(), await join(), await join()];
  await one.unsubscribe(filter);
  await two.disconnect();
  for (const payload of numbers(10)) await publisher.deliver({ topicName: topic, payload });
  expect(await received([one, three])).toEqual([[], numbers(10)]);
});

it('keeps the order of what one member gets', async () => {
  const { topic, publisher, join } = await group();
  const members = [await join(), await join()];
  for (const payload of numbers(40)) await publisher.deliver({ topicName: topic, payload });
  for (const found of await received(members)) expect(found).toEqual(sorted(found));
});

// mosquitto 2.0.11 queues for the member whose turn it is.
it.skipIf(OTHER)('passes over a member whose window is full', async () => {
  const { topic, publisher, join } = await group();
  const stuck = await join({ properties: { receiveMaximum: 1 } });
  const free = await join();
  for (const payload of numbers(20)) await publisher.deliver({ topicName: topic, payload });
  const held = await stuck.expect('publish');
  const [found = []] = await received([free]);
  expect(sorted([held.payload.toString(), ...found])).toEqual(numbers(20));
  stuck.ack('puback', held.packetId);
  await publisher.deliver({ topicName: topic, payload: 'a' });
  await publisher.deliver({ topicName: topic, payload: 'b' });
  const [ofStuck = [], ofFree = []] = await received([stuck, free]);
  expect([...ofStuck, ...ofFree].sort()).toEqual(['a', 'b']);
  expect(ofStuck.length).toBe(1);
});

// The queue of the group is ours; the standard leaves it open where messages wait.
it.skipIf(OTHER)('loses nothing when the windows of all members are full', async () => {
  const { topic, publisher, join } = await group();
  const members = [
    await join({ properties: { receiveMaximum: 1 } }),
    await join({ properties: { receiveMaximum: 1 } }),
  ];
  for (const payload of numbers(12)) await publisher.deliver({ topicName: topic, payload });
  const found = await received(members);
  expect(sorted(found.flat())).toEqual(numbers(12));
});

it('MQTT-5.0 [MQTT-4.8.2-4] completes a QoS 2 delivery with the member that it began with, when that comes back', async () => {
  const { topic, publisher, join } = await group();
  const clientId = unique('c');
  const properties = { sessionExpiryInterval: 60 };
  const member = await join({ clientId, properties });
  await publisher.deliver({ topicName: topic, payload: 'begun', qos: 2 });
  await publisher.deliver({ topicName: topic, payload: 'half', qos: 2 });
  const begun = await member.expect('publish');
  const half = await member.expect('publish');
  member.ack('pubrec', half.packetId);
  await member.expect('pubrel');
  const other = await join();
  member.destroy();
  await member.closed;
  await other.silence();
  const { client: back } = await broker.resume(clientId);
  const seen = [await back.receive(), await back.receive()];
  expect(seen).toContainEqual({ ...begun, duplicate: true });
  expect(seen).toContainEqual(expect.objectContaining({ type: 'pubrel', packetId: half.packetId }));
  await other.silence(50);
});

it('MQTT-5.0 [MQTT-4.8.2-5] gives a QoS 2 message whose delivery has begun to nobody else, when the session of its member ends', async () => {
  const { topic, publisher, join } = await group();
  const member = await join();
  await publisher.deliver({ topicName: topic, payload: 'begun', qos: 2 });
  await member.expect('publish');
  const other = await join();
  member.destroy();
  await member.closed;
  await other.silence(300);
});

// A SHOULD of §4.8.2; mosquitto 2.0.11 forgets them.
it.skipIf(OTHER)(
  'gives what a member has not acknowledged of QoS 1 to another one, when its session ends',
  async () => {
    const { topic, publisher, join } = await group();
    const member = await join();
    for (const payload of numbers(3)) await publisher.deliver({ topicName: topic, payload });
    const first = await member.expect('publish');
    await member.expect('publish');
    await member.expect('publish');
    member.ack('puback', first.packetId);
    await member.ping();
    const other = await join();
    await other.silence(50);
    member.destroy();
    await member.closed;
    expect(sorted(await payloads(other, 2))).toEqual(['1', '2']);
    await other.silence();
  },
);

it.skipIf(OTHER)(
  'gives what waits for a member to another one, when the session of the first expires',
  async () => {
    const { topic, publisher, join } = await group();
    const clientId = unique('c');
    const member = await join({ clientId, properties: { sessionExpiryInterval: 1 } });
    await publisher.deliver({ topicName: topic, payload: 'sent' });
    await member.expect('publish');
    await member.disconnect();
    await publisher.deliver({ topicName: topic, payload: 'waits', qos: 2 });
    const other = await join();
    expect((await payloads(other, 2)).sort()).toEqual(['sent', 'waits']);
    await other.silence();
  },
);

it.skipIf(OTHER)('prefers members that are connected to those that are away', async () => {
  const { topic, publisher, join } = await group();
  const away = await join({ clientId: unique('c'), properties: { sessionExpiryInterval: 60 } });
  const present = await join();
  await away.disconnect();
  for (const payload of numbers(10)) await publisher.deliver({ topicName: topic, payload });
  expect(await received([present])).toEqual([numbers(10)]);
});

it('keeps messages of QoS 1 and 2 for a group of which nobody is connected', async () => {
  const { topic, publisher, join } = await group();
  const clientId = unique('c');
  const member = await join({ clientId, properties: { sessionExpiryInterval: 60 } });
  await member.disconnect();
  for (const qos of [1, 2])
    await publisher.deliver({ topicName: topic, payload: String(qos), qos });
  const { client: back } = await broker.resume(clientId);
  expect(await payloads(back, 2)).toEqual(['1', '2']);
});

it('MQTT-5.0 [MQTT-4.8.2-6] gives a message that a member refuses to nobody else', async () => {
  const { topic, publisher, join } = await group();
  const clientId = unique('c');
  const member = await join({ clientId, properties: { sessionExpiryInterval: 60 } });
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 1 });
  await publisher.deliver({ topicName: topic, payload: 'x', qos: 2 });
  const one = await member.expect('publish');
  const two = await member.expect('publish');
  const other = await join();
  member.ack('puback', one.packetId, 0x83);
  member.ack('pubrec', two.packetId, 0x97);
  await member.ping();
  await member.silence(100);
  await other.silence(100);
  await member.disconnect(0, { sessionExpiryInterval: 0 });
  await other.silence();
});

it.skipIf(OTHER)('gives a message to nobody who may not read it', async () => {
  const root = unique('forbidden/');
  const allowed = await broker.connect();
  await allowed.subscribe(`$share/g/${root}`);
  const restricted = await broker.connect(broker.restricted);
  expect((await restricted.subscribe(`$share/g/${root}`)).reasonCodes).toEqual([0x87]);
  for (const payload of numbers(6)) await allowed.deliver({ topicName: root, payload });
  expect(await received([allowed, restricted])).toEqual([numbers(6), []]);
});
