import { type Cluster, type RawConnect5, RawMqtt5Client, startCluster } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';

const SESSION_TAKEN_OVER = 0x8e;

/** Time enough to come back from one node to another. */
const SHUTDOWN_WILLS = { SALLYPORT_MQTT__LIMITS__SHUTDOWN_WILL_SECONDS: '5' };

let cluster: Cluster;
let device: { username: string; password: string };
const clients: RawMqtt5Client[] = [];

beforeAll(async () => {
  cluster = await startCluster({ env: { broker: SHUTDOWN_WILLS } });
  const api = await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password);
  device = await api.addDevice('roaming', [{ effect: 'allow', action: 'all', topicFilter: '#' }]);
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
});

afterAll(() => cluster?.stop());

/** A connection to one node, past the load balancer. */
async function connect(
  node: number,
  clientId: string,
  options: Partial<RawConnect5> = {},
): Promise<{ client: RawMqtt5Client; sessionPresent: boolean }> {
  const port = cluster.brokers[node]?.mqttPort;
  if (port === undefined) throw new Error(`no broker ${node}`);
  const client = await RawMqtt5Client.open(port);
  clients.push(client);
  const connack = await client.connect({ clientId, ...device, ...options });
  expect(connack.reasonCode).toBe(0);
  return { client, sessionPresent: connack.sessionPresent };
}

const stored = (seconds = 60): Partial<RawConnect5> => ({
  cleanStart: false,
  properties: { sessionExpiryInterval: seconds },
});

describe('a client that comes to another node', () => {
  it('MQTT-5.0 [MQTT-3.1.4-3] takes its id over: the former connection is told so, and one stays', async () => {
    for (const options of [{}, stored()]) {
      const id = `taken-${Object.keys(options).length}`;
      const { client: first } = await connect(0, id, options);
      const { client: second } = await connect(1, id, options);
      const last = (await first.ending()).at(-1);
      expect(last).toMatchObject({ type: 'disconnect', reasonCode: SESSION_TAKEN_OVER });
      const { client: third } = await connect(2, id, options);
      expect((await second.ending()).at(-1)).toMatchObject({ reasonCode: SESSION_TAKEN_OVER });
      await third.ping();
    }
  });

  it('is one connection, whatever number of nodes it comes to at the same time', async () => {
    for (let round = 0; round < 10; round++) {
      const id = `race-${round}`;
      const racing = await Promise.all(
        [0, 1, 2].map((node) => connect(node, id, stored()).catch(() => undefined)),
      );
      const alive = async (): Promise<number> => {
        const pings = racing.map(async (one) => {
          if (one === undefined) return 0;
          return one.client.ping().then(
            () => 1,
            () => 0,
          );
        });
        return (await Promise.all(pings)).reduce<number>((sum, one) => sum + one, 0);
      };
      await expect.poll(alive, { interval: 100 }).toBe(1);
    }
  });

  it('MQTT-5.0 [MQTT-4.4.0-1] finds its subscriptions, its queue, and what it had not acknowledged under the same packet ids', async () => {
    const { client: publisher } = await connect(2, 'publisher');
    const { client: first, sessionPresent } = await connect(0, 'moving', stored());
    expect(sessionPresent).toBe(false);
    await first.subscribe('moving/#');
    for (const qos of [1, 2]) {
      await publisher.deliver({ topicName: `moving/${qos}`, payload: `sent ${qos}`, qos });
    }
    const sent = [await first.expect('publish'), await first.expect('publish')];
    await first[Symbol.asyncDispose]();
    await publisher.deliver({ topicName: 'moving/3', payload: 'queued', qos: 1 });
    const { client: second, sessionPresent: found } = await connect(1, 'moving', stored());
    expect(found).toBe(true);
    for (const { packetId, payload } of sent) {
      const again = await second.take();
      expect(again).toMatchObject({ packetId, duplicate: true });
      expect(again.payload.toString()).toBe(payload.toString());
    }
    expect((await second.take()).payload.toString()).toBe('queued');
    await publisher.deliver({ topicName: 'moving/4', payload: 'live', qos: 1 });
    expect((await second.take()).payload.toString()).toBe('live');
    await second.silence();
  });

  it('has what was published on another node right behind its SUBACK', async () => {
    const { client: publisher } = await connect(2, 'prompt-publisher');
    for (let round = 0; round < 30; round++) {
      const id = `prompt-${round}`;
      const { client: first } = await connect(0, id, stored());
      await first.subscribe(`prompt/${round}`);
      await publisher.deliver({ topicName: `prompt/${round}`, payload: 'prompt', qos: 1 });
      await first[Symbol.asyncDispose]();
      const { client: second } = await connect(1, id, stored());
      expect((await second.take()).payload.toString()).toBe('prompt');
      await second[Symbol.asyncDispose]();
    }
  });

  it('MQTT-5.0 [MQTT-4.3.3-10] repeats a QoS 2 message that it began on another node, and it is passed on once', async () => {
    const { client: observer } = await connect(2, 'observer');
    await observer.subscribe({ topicFilter: 'begun', qos: 1 });
    const { client: first } = await connect(0, 'beginner', stored());
    const message = { topicName: 'begun', payload: 'once', qos: 2, packetId: 77 };
    first.publish(message);
    await first.expect('pubrec');
    await first[Symbol.asyncDispose]();
    const { client: second } = await connect(1, 'beginner', stored());
    second.publish({ ...message, duplicate: true });
    await second.expect('pubrec');
    second.ack('pubrel', 77);
    await second.expect('pubcomp');
    expect((await observer.take()).payload.toString()).toBe('once');
    await observer.silence();
  });
});

describe('a share group with members on every node', () => {
  it('gives each message to one member, and to each about as many, wherever they come in', async () => {
    const members = await Promise.all([0, 1, 2].map((node) => connect(node, `member-${node}`)));
    for (const { client } of members) {
      await client.subscribe({ topicFilter: '$share/group/jobs/#', qos: 1 });
    }
    const counts = [0, 0, 0];
    const got: string[] = [];
    const publishers = await Promise.all([0, 1, 2].map((node) => connect(node, `boss-${node}`)));
    const rounds = 30;
    for (let index = 0; index < rounds; index++) {
      const { client } = publishers[index % 3] ?? {};
      await client?.deliver({ topicName: `jobs/${index}`, payload: String(index), qos: 1 });
    }
    while (got.length < rounds) {
      for (const [node, { client }] of members.entries()) {
        const packet = await client.take(50).catch(() => undefined);
        if (packet === undefined) continue;
        counts[node] = (counts[node] ?? 0) + 1;
        got.push(packet.payload.toString());
      }
    }
    for (const { client } of members) await client.silence();
    expect(got.map(Number).sort((a, b) => a - b)).toEqual(
      Array.from({ length: rounds }, (_, index) => index),
    );
    for (const count of counts) expect(count).toBeGreaterThanOrEqual(rounds / 3 - 3);
  });

  it.each([
    ['a session that is kept', stored()],
    ['one that is not', {}],
  ])(
    'has a new member, of %s, for what a node takes in that has not heard of it yet, once',
    async (_title, kept) => {
      const root = `prompt-${Object.keys(kept).length}`;
      const [, , busy] = cluster.brokers;
      const { client: bulk } = await connect(0, `${root}-bulk`);
      const { client: reader } = await connect(2, `${root}-reader`);
      await reader.subscribe({ topicFilter: `${root}/bulk`, qos: 0 });
      const { client: publisher } = await connect(2, `${root}-boss`);
      await publisher.deliver({ topicName: `${root}/warm`, payload: '', qos: 1 });
      busy?.process.freeze();
      try {
        // It has all of this to read before it hears of the member, and the messages of its own client come over another socket.
        const payload = Buffer.alloc(100_000);
        for (let count = 0; count < 20; count++) {
          await bulk.deliver({ topicName: `${root}/bulk`, payload, qos: 1 });
        }
        const { client: member } = await connect(1, `${root}-member`, kept);
        await member.subscribe({ topicFilter: `$share/group/${root}/jobs/+`, qos: 1 });
        const names = Array.from({ length: 9 }, (_, index) => `${root}/jobs/${index}`);
        for (const [index, topicName] of names.entries()) {
          publisher.publish({ topicName, payload: 'x', qos: index % 3 });
        }
        busy?.process.thaw();
        const got = [];
        for (const _ of names) got.push((await member.take()).topicName);
        expect(got.sort()).toEqual(names);
        await member.silence();
      } finally {
        busy?.process.thaw();
      }
    },
  );

  it('gives what a member left unacknowledged to one on another node', async () => {
    const { client: leaving } = await connect(0, 'leaving');
    await leaving.subscribe({ topicFilter: '$share/left/tasks', qos: 1 });
    const { client: publisher } = await connect(1, 'tasks');
    await publisher.deliver({ topicName: 'tasks', payload: 'undone', qos: 1 });
    await leaving.expect('publish');
    const { client: staying } = await connect(2, 'staying');
    await staying.subscribe({ topicFilter: '$share/left/tasks', qos: 1 });
    await leaving[Symbol.asyncDispose]();
    expect((await staying.take()).payload.toString()).toBe('undone');
  });
});

describe('what happens to a client that is away', () => {
  it('MQTT-5.0 [MQTT-3.1.2-8] publishes its delayed will once, though every node looks for it', async () => {
    const { client: mourner } = await connect(2, 'mourner');
    await mourner.subscribe('wills/#');
    const { client: dying } = await connect(0, 'dying', {
      ...stored(),
      will: {
        topicName: 'wills/dying',
        payload: 'gone',
        qos: 1,
        properties: { willDelayInterval: 1 },
      },
    });
    await dying[Symbol.asyncDispose]();
    await mourner.silence(500);
    expect((await mourner.take()).payload.toString()).toBe('gone');
    await mourner.silence(1000);
  });

  it('MQTT-5.0 [MQTT-3.1.3-9] publishes none when the client is back on another node in time', async () => {
    const { client: mourner } = await connect(2, 'mourner');
    await mourner.subscribe('returns/#');
    const will = {
      topicName: 'returns/will',
      payload: 'gone',
      properties: { willDelayInterval: 2 },
    };
    const { client: first } = await connect(0, 'returning', { ...stored(), will });
    await first[Symbol.asyncDispose]();
    await connect(1, 'returning', stored());
    await mourner.silence(3000);
  });

  it('MQTT-5.0 [MQTT-3.1.2-8] publishes its will when its node was stopped, once, unless it has come to another one', async () => {
    const { client: mourner } = await connect(2, 'mourner');
    await mourner.subscribe({ topicFilter: 'stopped/#', qos: 1 });
    const willOf = (name: string) => ({
      will: { topicName: `stopped/${name}`, payload: 'gone', qos: 1 },
    });
    const kinds = [
      ['brief', {}],
      ['stored', stored()],
    ] as const;
    const returning: Promise<unknown>[] = [];
    for (const [kind, options] of kinds) {
      const [away, back] = [`${kind}-away`, `${kind}-back`];
      await connect(0, away, { ...options, ...willOf(away) });
      const { client } = await connect(0, back, { ...options, ...willOf(back) });
      returning.push(client.ending().then(() => connect(1, back, options)));
    }
    const node = cluster.brokers[0]?.process;
    await Promise.all([...returning, node?.stop()]);
    try {
      const got = [await mourner.take(15_000), await mourner.take(15_000)];
      expect(got.map(({ topicName }) => topicName).sort()).toEqual([
        'stopped/brief-away',
        'stopped/stored-away',
      ]);
      await mourner.silence(1500);
    } finally {
      await node?.start();
    }
  });

  it('MQTT-5.0 [MQTT-3.1.2-8] publishes its will when its node was killed and it has come to another one, unless that was before its delay', async () => {
    const { client: mourner } = await connect(2, 'mourner');
    await mourner.subscribe({ topicFilter: 'killed/#', qos: 1 });
    const willOf = (name: string, willDelayInterval = 0) => ({
      will: { topicName: `killed/${name}`, payload: 'gone', properties: { willDelayInterval } },
    });
    const kinds = [
      ['brief', {}, 0],
      ['stored', stored(), 0],
      ['delayed', stored(), 30],
    ] as const;
    for (const [id, options, delay] of kinds) {
      await connect(0, id, { ...options, ...willOf(id, delay) });
    }
    const node = cluster.brokers[0]?.process;
    await node?.kill();
    try {
      // A node that is alive publishes it itself, and nobody once more.
      const { client: lively } = await connect(1, 'lively', { ...stored(), ...willOf('lively') });
      await connect(2, 'lively', stored());
      await lively.ending();
      expect((await mourner.take()).topicName).toBe('killed/lively');
      await Promise.all(kinds.map(([id, options]) => connect(1, id, options)));
      const got = [await mourner.take(), await mourner.take()];
      expect(got.map(({ topicName }) => topicName).sort()).toEqual([
        'killed/brief',
        'killed/stored',
      ]);
      await mourner.silence(6000);
    } finally {
      await node?.start();
    }
  });

  it('forgets its session on every node when it has expired', async () => {
    const { client: first } = await connect(0, 'expiring', stored(1));
    await first.subscribe('expiring');
    await first[Symbol.asyncDispose]();
    await new Promise((resolve) => setTimeout(resolve, 2500));
    const { sessionPresent } = await connect(1, 'expiring', stored(1));
    expect(sessionPresent).toBe(false);
  });
});
