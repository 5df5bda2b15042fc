import { setTimeout as pause } from 'node:timers/promises';
import { RawMqttClient, RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Answer } from '../harness/api.ts';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const FLAPPING_MAX = 5;
const BLOCK_SECONDS = 2;
const CREDENTIAL_BURST = 60;
const PUBLISHES_PER_SECOND = 20;
const PUBLISHES_BURST = 10;

const BAD_CREDENTIALS = 4;
const NOT_AUTHORIZED = 5;
const SERVER_UNAVAILABLE = 3;
const BANNED = 0x8a;
const ADMINISTRATIVE_ACTION = 0x98;
const CONNECTION_RATE_EXCEEDED = 0x9f;
const QUOTA_EXCEEDED = 0x97;

interface Device {
  readonly username: string;
  readonly password: string;
}

interface Row {
  readonly clientId: string;
  readonly nodeId: string;
  readonly reason: string;
  readonly count: number;
}

interface Page {
  readonly items: readonly Row[];
  readonly total: number;
  readonly silentNodes: readonly string[];
}

describe.each(PROFILES)('doorkeeping on the %s profile', (profile) => {
  let running: Running;
  let device: Device;
  let other: Device;
  let clients: (RawMqttClient | RawMqtt5Client)[] = [];

  beforeAll(async () => {
    running = await startProfile(profile, {
      SALLYPORT_MQTT__FLAPPING__CONNECTS_MAX: String(FLAPPING_MAX),
      SALLYPORT_MQTT__FLAPPING__BLOCK_SECONDS: String(BLOCK_SECONDS),
      SALLYPORT_MQTT__CONNECTS_PER_CREDENTIAL_PER_SECOND: '1',
      SALLYPORT_MQTT__CONNECTS_PER_CREDENTIAL_BURST: String(CREDENTIAL_BURST),
      SALLYPORT_MQTT__LIMITS__PUBLISHES_PER_SECOND: String(PUBLISHES_PER_SECOND),
      SALLYPORT_MQTT__LIMITS__PUBLISHES_BURST: String(PUBLISHES_BURST),
      SALLYPORT_MQTT__CREDENTIAL_PUBLISH_RATE__PUBLISHES_PER_SECOND: String(PUBLISHES_PER_SECOND),
      SALLYPORT_MQTT__CREDENTIAL_PUBLISH_RATE__PUBLISHES_BURST: String(2 * PUBLISHES_BURST),
    });
    const rules = [{ effect: 'allow', action: 'all', topicFilter: '#' }] as const;
    device = await running.api.addDevice('device', rules);
    other = await running.api.addDevice('other', rules);
  });
  afterAll(() => running?.[Symbol.asyncDispose]());
  afterEach(async () => {
    for (const client of clients.splice(0)) await client[Symbol.asyncDispose]();
    clients = [];
  });

  const port = (node: number): number => running.mqttPorts[node % running.mqttPorts.length] ?? 0;

  /** The code of the CONNACK; 0 leaves the client connected. */
  async function connect3(node: number, clientId: string, who: Device = device): Promise<number> {
    const client = await RawMqttClient.open(port(node));
    clients.push(client);
    return (await client.connect({ clientId, cleanSession: true, ...who })).returnCode;
  }

  async function connect5(node: number, clientId: string, more: object = {}, who = device) {
    const client = await RawMqtt5Client.open(port(node));
    clients.push(client);
    const { reasonCode } = await client.connect({ clientId, cleanStart: true, ...who, ...more });
    return { client, reasonCode };
  }

  const ban = (kind: string, value: string, more: object = {}): Promise<Answer> =>
    running.api.send('POST', '/api/v1/bans?wait=enforced', { kind, value, ...more });

  async function lift(answer: Answer): Promise<void> {
    const { id } = answer.body as { id: string };
    await running.api.expect(204, 'DELETE', `/api/v1/bans/${id}?wait=enforced`);
  }

  it('a client id that is banned is refused on every node, with its code, until the ban is lifted', async () => {
    const answer = await ban('client_id', 'thief');
    expect([answer.status, answer.headers.get('sallyport-enforced')]).toEqual([201, 'true']);
    for (const node of running.mqttPorts.keys()) {
      expect(await connect3(node, 'thief')).toBe(NOT_AUTHORIZED);
      expect((await connect5(node, 'thief')).reasonCode).toBe(BANNED);
      expect(await connect3(node, 'honest')).toBe(0);
    }
    await lift(answer);
    expect(await connect3(1, 'thief')).toBe(0);
  });

  it('tells which secret of a credential let somebody in last, and when, whatever node it was', async () => {
    const rotated = await running.api.addDevice('rotated', []);
    const path = `/api/v1/credentials/${rotated.id}`;
    interface Used {
      readonly lastUsedAt?: string;
      readonly secrets: readonly { readonly secretId: string; readonly lastUsedAt?: string }[];
    }
    const told = () => running.api.expect<Used>(200, 'GET', path);
    const times = async () => (await told()).secrets.map((one) => Date.parse(one.lastUsedAt ?? ''));
    expect((await told()).lastUsedAt).toBeUndefined();
    expect(await connect3(0, 'rotated', { ...rotated, password: 'wrong' })).toBe(BAD_CREDENTIALS);
    expect(await times()).toEqual([NaN]);
    const started = Date.now();
    expect(await connect3(0, 'rotated', rotated)).toBe(0);
    const [first = NaN] = await times();
    expect(first).toBeGreaterThanOrEqual(started);
    expect(first).toBeLessThanOrEqual(Date.now());
    const rotation = { retireOldAfterSeconds: 600 };
    const { secret } = await running.api.expect<{ secret: string }>(
      201,
      'POST',
      `${path}/secrets?wait=enforced`,
      rotation,
    );
    expect((await times()).toSorted()).toEqual([first, NaN]);
    expect(await connect3(1, 'rotated', { ...rotated, password: secret })).toBe(0);
    const both = (await times()).toSorted((a, b) => a - b);
    expect(both[0]).toBe(first);
    expect(both[1]).toBeGreaterThan(first);
    expect(Date.parse((await told()).lastUsedAt ?? '')).toBe(both[1]);
    // From the cache of a node, which asks nobody: it counts all the same.
    expect(await connect3(0, 'rotated', rotated)).toBe(0);
    expect(Math.min(...(await times()))).toBe(both[1]);
  });

  it.each([
    ['client_id', 'live'],
    ['username', 'device'],
    ['client_id_pattern', '^li.e$'],
    ['username_pattern', 'evic'],
  ])(
    'a %s that is banned has no live session any more when the call returns, whichever node has it, and no will',
    async (kind, value) => {
      const watcher = await connect5(0, `watcher-${kind}`, {}, other);
      await watcher.client.subscribe('will/#');
      const will = { topicName: `will/${kind}`, payload: 'gone' };
      const live = await connect5(2, 'live', { will });
      expect(live.reasonCode).toBe(0);
      const answer = await ban(kind, value);
      const packets = await live.client.ending();
      expect(packets).toMatchObject([{ type: 'disconnect', reasonCode: ADMINISTRATIVE_ACTION }]);
      await watcher.client.silence();
      expect((await connect5(1, 'live')).reasonCode).toBe(BANNED);
      await lift(answer);
    },
  );

  it.each([
    ['address', '127.0.0.1'],
    ['address', '::ffff:7f00:1'],
    ['cidr', '127.0.0.0/30'],
  ])(
    'an %s that is banned, %s, ends its sessions, and is sent away before a word',
    async (kind, value) => {
      const live = await connect5(1, `from-${value.length}`);
      expect(live.reasonCode).toBe(0);
      const answer = await ban(kind, value);
      try {
        const packets = await live.client.ending();
        expect(packets).toMatchObject([{ type: 'disconnect', reasonCode: ADMINISTRATIVE_ACTION }]);
        for (const node of running.mqttPorts.keys()) {
          await expect(connect3(node, 'anybody')).rejects.toThrow();
        }
      } finally {
        await lift(answer);
      }
      expect(await connect3(0, `back-${value.length}`)).toBe(0);
    },
  );

  it('a ban ends by itself', async () => {
    const end = Date.now() + 4000;
    await ban('client_id', 'patient', { until: new Date(end).toISOString() });
    expect(await connect3(0, 'patient')).toBe(NOT_AUTHORIZED);
    await pause(end + 100 - Date.now());
    expect(await connect3(0, 'patient')).toBe(0);
  });

  it('a client that connects too often is blocked for a while, and nobody else', async () => {
    const codes: number[] = [];
    for (let index = 0; index < FLAPPING_MAX + 1; index++) codes.push(await connect3(0, 'flapper'));
    expect(codes).toEqual([...Array.from({ length: FLAPPING_MAX }, () => 0), SERVER_UNAVAILABLE]);
    expect((await connect5(0, 'flapper')).reasonCode).toBe(CONNECTION_RATE_EXCEEDED);
    expect(await connect3(0, 'calm')).toBe(0);
    await pause(BLOCK_SECONDS * 1000 + 100);
    expect(await connect3(0, 'flapper')).toBe(0);
  });

  it('a credential connects as fast as it may and not faster, under any client ids', async () => {
    const { api } = running;
    const fast = await api.addDevice('fast', []);
    const codes = await Promise.all(
      Array.from({ length: CREDENTIAL_BURST + 5 }, (_, index) =>
        connect3(0, `fast-${index}`, fast),
      ),
    );
    const let_in = codes.filter((code) => code === 0).length;
    // One a second may have come back meanwhile.
    expect(let_in).toBeGreaterThanOrEqual(CREDENTIAL_BURST);
    expect(let_in).toBeLessThan(CREDENTIAL_BURST + 5);
    expect(new Set(codes)).toEqual(new Set([0, SERVER_UNAVAILABLE]));
  });

  it('a credential with as many clients as it may have, on whatever nodes, lets in no other until one has gone', async () => {
    const { api } = running;
    const few = await api.addDevice('few', []);
    const path = `/api/v1/credentials/${few.id}`;
    await api.expect(200, 'PATCH', `${path}?wait=enforced`, { sessionsMax: 2 });
    const first = await connect5(0, 'few-0', {}, few);
    expect((await connect5(1, 'few-1', {}, few)).reasonCode).toBe(0);
    expect((await connect5(2, 'few-2', {}, few)).reasonCode).toBe(QUOTA_EXCEEDED);
    expect(await connect3(0, 'few-2', few)).toBe(SERVER_UNAVAILABLE);
    // Who comes to another node takes its own place.
    expect((await connect5(2, 'few-1', {}, few)).reasonCode).toBe(0);
    expect((await connect5(0, 'few-2', {}, few)).reasonCode).toBe(QUOTA_EXCEEDED);
    first.client.destroy();
    await expect.poll(async () => (await connect5(1, 'few-3', {}, few)).reasonCode).toBe(0);
    const refusedPath = '/api/v1/refused-connections?search=few-2';
    const page = await api.expect<Page>(200, 'GET', refusedPath);
    expect(new Set(page.items.map(({ reason }) => reason))).toEqual(
      new Set(['credential_sessions']),
    );
    await api.expect(200, 'PATCH', `${path}?wait=enforced`, { sessionsMax: 0 });
    expect((await connect5(2, 'few-4', {}, few)).reasonCode).toBe(0);
  });

  it('a credential that may have fewer clients now keeps the oldest, on whatever nodes', async () => {
    const { api } = running;
    const fewer = await api.addDevice('fewer', []);
    const path = `/api/v1/credentials/${fewer.id}?wait=enforced`;
    await api.expect(200, 'PATCH', path, { sessionsMax: 9 });
    const all: Awaited<ReturnType<typeof connect5>>[] = [];
    for (const node of [0, 1, 2, 0]) {
      all.push(await connect5(node, `fewer-${all.length}`, {}, fewer));
      await pause(20);
    }
    await api.expect(200, 'PATCH', path, { sessionsMax: 2 });
    for (const { client } of all.slice(2)) {
      const packets = await client.ending();
      expect(packets).toMatchObject([{ type: 'disconnect', reasonCode: QUOTA_EXCEEDED }]);
    }
    for (const { client } of all.slice(0, 2)) await client.subscribe('nothing');
    expect((await connect5(1, 'fewer-9', {}, fewer)).reasonCode).toBe(QUOTA_EXCEEDED);
  });

  it('a credential that had no limit keeps the oldest too, whatever they speak and which node hears of it first', async () => {
    const { api } = running;
    const open = await api.addDevice('open', []);
    const path = `/api/v1/credentials/${open.id}?wait=enforced`;
    // The first node has the youngest, and a client of each version stays and goes.
    for (const [index, node] of [2, 1, 2, 1, 0, 0].entries()) {
      const clientId = `open-${index}`;
      if (index % 2 === 0) expect(await connect3(node, clientId, open)).toBe(0);
      else expect((await connect5(node, clientId, {}, open)).reasonCode).toBe(0);
      await pause(20);
    }
    const answer = await api.send('PATCH', path, { sessionsMax: 2 });
    expect([answer.status, answer.headers.get('sallyport-enforced')]).toEqual([200, 'true']);
    const enforced = performance.now();
    for (const client of clients.slice(2)) {
      if (client instanceof RawMqttClient) await client.closed;
      else {
        const packets = await client.ending();
        expect(packets).toMatchObject([{ type: 'disconnect', reasonCode: QUOTA_EXCEEDED }]);
      }
    }
    // They were ended before; what is left is the way here.
    expect(performance.now() - enforced).toBeLessThan(1_000);
    const [first, second] = clients as [RawMqttClient, RawMqtt5Client];
    expect(await first.subscribe(1, [{ topicFilter: 'nothing', qos: 0 }])).toHaveLength(1);
    await second.ping();
    expect(await connect3(0, 'open-9', open)).toBe(SERVER_UNAVAILABLE);
    expect((await connect5(2, 'open-9', {}, open)).reasonCode).toBe(QUOTA_EXCEEDED);
  });

  it('who publishes too fast is slowed down and loses nothing', async () => {
    const receiver = await connect5(0, 'receiver');
    await receiver.client.subscribe('fast/#');
    const sender = await connect5(0, 'sender');
    const started = performance.now();
    const sent = PUBLISHES_BURST + 10;
    for (let index = 0; index < sent; index++) {
      sender.client.publish({ topicName: 'fast/t', payload: `${index}`, qos: 0 });
    }
    for (let index = 0; index < sent; index++) {
      expect((await receiver.client.take()).payload.toString()).toBe(`${index}`);
    }
    const waitedMs = performance.now() - started;
    expect(waitedMs).toBeGreaterThan((9 * 1000) / PUBLISHES_PER_SECOND);
  });

  it('a credential that publishes too fast over many connections is slowed down, and no other', async () => {
    const receiver = await connect5(0, 'receiver', {}, other);
    await receiver.client.subscribe('many/#');
    // Each stays within what one client may; together they have twice as much.
    const clientIds = Array.from({ length: 4 }, (_, index) => `many-${index}`);
    const senders = await Promise.all(clientIds.map((clientId) => connect5(0, clientId)));
    const started = performance.now();
    for (const { client } of senders) {
      for (let index = 0; index < PUBLISHES_BURST; index++) {
        client.publish({ topicName: 'many/t', payload: 'm', qos: 0 });
      }
    }
    const apart = await connect5(0, 'apart', {}, other);
    expect(await apart.client.deliver({ topicName: 'apart', payload: 'a', qos: 1 })).toBeLessThan(
      0x80,
    );
    for (let count = 0; count < 4 * PUBLISHES_BURST; count++) await receiver.client.take();
    // But for the last message of each, which is taken before its sender is held up.
    const tooMany = 2 * PUBLISHES_BURST - senders.length;
    expect(performance.now() - started).toBeGreaterThan((tooMany * 1000) / PUBLISHES_PER_SECOND);
  });

  it('refused attempts are kept: who, why and how often', async () => {
    const answer = await ban('client_id', 'persistent');
    for (let index = 0; index < 3; index++) await connect3(1, 'persistent');
    await connect3(1, 'wrong', { ...device, password: 'wrong' });
    const path = '/api/v1/refused-connections?search=persistent';
    const page = await running.api.expect<Page>(200, 'GET', path);
    expect(page.items).toMatchObject([
      {
        clientId: 'persistent',
        reason: 'banned',
        count: 3,
        username: 'device',
        address: '127.0.0.1',
      },
    ]);
    const all = await running.api.expect<Page>(
      200,
      'GET',
      '/api/v1/refused-connections?sort=lastAt,desc&pageSize=1',
    );
    expect(all.items).toMatchObject([{ clientId: 'wrong', reason: 'wrong_secret', count: 1 }]);
    expect(all.total).toBeGreaterThan(1);
    for (let count = 0; count < 2; count++) {
      await connect3(1, '', { username: 'nobody', password: 'wrong' });
    }
    const nameless = await running.api.expect<Page>(
      200,
      'GET',
      '/api/v1/refused-connections?search=nobody',
    );
    expect(nameless.items).toMatchObject([{ username: 'nobody', count: 2 }]);
    expect(nameless.items[0]).not.toHaveProperty('clientId');
    await lift(answer);
  });
});

describe.each(PROFILES)('connections on the %s profile', (profile) => {
  let running: Running;
  let device: Device;
  const clients: RawMqtt5Client[] = [];
  const COUNT = 9;
  const nameOf = (index: number): string => `device/${index}`;

  beforeAll(async () => {
    running = await startProfile(profile);
    device = await running.api.addDevice('device', [
      { effect: 'allow', action: 'all', topicFilter: '#' },
    ]);
    for (let index = 0; index < COUNT; index++) {
      const port = running.mqttPorts[index % running.mqttPorts.length] ?? 0;
      const client = await RawMqtt5Client.open(port);
      clients.push(client);
      await client.connect({ clientId: nameOf(index), keepAliveSeconds: 30 + index, ...device });
    }
  });
  afterAll(async () => {
    for (const client of clients) await client[Symbol.asyncDispose]();
    await running?.[Symbol.asyncDispose]();
  });

  const list = (query: string): Promise<Page> =>
    running.api.expect<Page>(200, 'GET', `/api/v1/connections?${query}`);

  it('of all nodes are listed in order, page by page', async () => {
    const pages = await Promise.all(
      [0, 1, 2].map((page) => list(`pageSize=4&page=${page}&sort=keepAliveSeconds,desc`)),
    );
    expect(pages.map(({ total }) => total)).toEqual([COUNT, COUNT, COUNT]);
    const ids = pages.flatMap(({ items }) => items.map((one) => one.clientId));
    expect(ids).toEqual(Array.from({ length: COUNT }, (_, index) => nameOf(COUNT - 1 - index)));
    const nodes = new Set(pages.flatMap(({ items }) => items.map((one) => one.nodeId)));
    expect(nodes.size).toBe(running.mqttPorts.length);
    const found = await list('search=DEVICE/7');
    expect(found.items).toMatchObject([
      {
        clientId: nameOf(7),
        username: 'device',
        address: '127.0.0.1',
        protocolVersion: '5.0',
        transport: 'tcp',
        listener: 'tcp:default',
        keepAliveSeconds: 37,
      },
    ]);
  });

  it('are read and ended by client id, from any admin-api, and the client is told', async () => {
    for (const index of [0, 1, 2]) {
      const path = `/api/v1/connections/${encodeURIComponent(nameOf(index))}`;
      await running.api.expect(200, 'GET', path);
      await running.api.expect(204, 'DELETE', path);
      const packets = await clients[index]?.ending();
      expect(packets).toMatchObject([{ type: 'disconnect', reasonCode: ADMINISTRATIVE_ACTION }]);
      await running.api.expect(404, 'GET', path);
      await running.api.expect(404, 'DELETE', path);
    }
  });
});
