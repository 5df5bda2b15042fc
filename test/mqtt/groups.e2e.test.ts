import { type RawConnect5, RawMqtt5Client, RawMqttClient } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type GroupClient, type GroupRow, Groups } from '../harness/groups.ts';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const BAD_CREDENTIALS = 0x86;
const NOT_AUTHORIZED = 0x87;
const ADMINISTRATIVE_ACTION = 0x98;

describe.each(PROFILES)('clients and groups on the %s profile', (profile) => {
  let running: Running;
  let groups: Groups;
  let watcher: { username: string; password: string };
  const clients: RawMqtt5Client[] = [];

  beforeAll(async () => {
    running = await startProfile(profile);
    groups = new Groups(running.api);
    watcher = await running.api.addDevice('watcher', [
      { effect: 'allow', action: 'all', topicFilter: '#' },
    ]);
  });

  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
  });

  afterAll(() => running?.[Symbol.asyncDispose]());

  /** Each connection goes to the next node. */
  let turn = 0;
  const nextPort = (): number => running.mqttPorts[turn++ % running.mqttPorts.length] ?? 0;

  async function attempt(who: object, clientId: string, more: Partial<RawConnect5> = {}) {
    const client = await RawMqtt5Client.open(nextPort());
    clients.push(client);
    const connack = await client.connect({ clientId, ...who, ...more });
    return { client, connack };
  }

  async function open(who: object, clientId: string, more: Partial<RawConnect5> = {}) {
    const { client, connack } = await attempt(who, clientId, more);
    expect(connack.reasonCode, clientId).toBe(0);
    return client;
  }

  let made = 0;
  /** A client that has one group with these rows. */
  async function member(...rows: GroupRow[]) {
    const name = `member-${made++}`;
    const client = await groups.addClient(name);
    const group = await groups.add(name, ...rows);
    await groups.give(client, group);
    return { name, client, group };
  }

  const subscribed = async (client: RawMqtt5Client, topicFilter: string): Promise<number> => {
    const { reasonCodes } = await client.subscribe({ topicFilter, qos: 1 });
    return reasonCodes[0] ?? -1;
  };
  const say = (client: RawMqtt5Client, topicName: string, payload = topicName) =>
    client.deliver({ topicName, payload, qos: 1 });
  const persistent = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };

  describe('the table of B5', () => {
    it.each<[GroupRow[], string, 'granted' | 'denied']>([
      [['allow publish sensors/#'], 'publish sensors/1/t', 'granted'],
      [['allow publish sensors/#'], 'subscribe sensors/#', 'denied'],
      [['allow subscribe sensors/+/temperature'], 'subscribe sensors/d1/temperature', 'granted'],
      [['allow subscribe sensors/+/temperature'], 'subscribe sensors/#', 'denied'],
      [['allow subscribe a/#', 'deny subscribe a/secret/#'], 'subscribe a/#', 'granted'],
      [['allow subscribe a/#', 'deny subscribe a/secret/#'], 'subscribe a/secret/x', 'denied'],
      [['allow subscribe a/#', 'deny subscribe a/secret/#'], 'subscribe a/secret/#', 'denied'],
      [[], 'publish a', 'denied'],
      [[], 'subscribe a', 'denied'],
    ])('%j: %s is %s', async (rows, request, expected) => {
      const { client, name } = await member(...rows);
      const connection = await open(client, name);
      const [action, topic = ''] = request.split(' ');
      const code =
        action === 'publish' ? await say(connection, topic) : await subscribed(connection, topic);
      expect(code < 0x80).toBe(expected === 'granted');
      if (expected === 'denied') expect(code).toBe(NOT_AUTHORIZED);
    });

    it('of two groups, one that denies wins over one that allows', async () => {
      const { client, name, group } = await member('allow publish x', 'allow publish y');
      const connection = await open(client, name);
      expect(await say(connection, 'x')).toBeLessThan(0x80);
      const denying = await groups.add(`${name} denying`, 'deny publish x');
      await groups.give(client, group, denying);
      const again = await open(client, `${name}-again`);
      expect(await say(again, 'x')).toBe(NOT_AUTHORIZED);
      expect(await say(again, 'y')).toBeLessThan(0x80);
    });

    it('delivers what is published to who may read it, and withholds a denied part, retained included', async () => {
      const { client, name } = await member('allow subscribe h/#', 'deny subscribe h/secret/#');
      const publisher = await open(watcher, `${name}-publisher`);
      for (const topicName of ['h/secret/kept', 'h/open/kept']) {
        await publisher.deliver({ topicName, payload: 'kept', qos: 1, retain: true });
      }
      const connection = await open(client, name);
      expect(await subscribed(connection, 'h/#')).toBe(1);
      expect((await connection.take()).topicName).toBe('h/open/kept');
      await say(publisher, 'h/secret/live');
      await say(publisher, 'h/open/live');
      expect((await connection.take()).topicName).toBe('h/open/live');
      await connection.silence(300);
    });
  });

  describe('membership (B4)', () => {
    it('is by client id as it was assigned, by pattern, and by client; a stranger may do nothing', async () => {
      const one = await groups.addClient('by-rule');
      const [byId, byPattern] = [
        await groups.add('by id', 'allow publish id'),
        await groups.add('by pattern', 'allow publish pattern'),
      ];
      const assigned = await groups.add('assigned', 'allow publish assigned');
      await groups.setRules(
        '',
        { matchBy: 'client_id', value: 'exact', groups: [byId.id] },
        { matchBy: 'client_id', value: 'e*t', groups: [byPattern.id] },
        { matchBy: 'client_id', value: 'auto-*', groups: [assigned.id] },
      );
      const may = async (clientId: string): Promise<string[]> => {
        const client = await open(one, clientId);
        const topics = ['id', 'pattern', 'assigned'];
        const codes: number[] = [];
        for (const topic of topics) codes.push(await say(client, topic));
        return topics.filter((_, index) => (codes[index] ?? 0xff) < 0x80);
      };
      expect(await may('exact')).toEqual(['id', 'pattern']);
      expect(await may('elephant')).toEqual(['pattern']);
      expect(await may('Exact')).toEqual([]);
      expect(await may('__proto__')).toEqual([]);
      expect(await may('')).toEqual(['assigned']);
    });
  });

  describe('a change (B6)', () => {
    it('does not disturb a device that is connected: it keeps its rights, to publish, to receive and to subscribe', async () => {
      const { client, name, group } = await member('allow publish k/#', 'allow subscribe k/#');
      const publisher = await open(watcher, `${name}-publisher`);
      await publisher.deliver({ topicName: 'k/kept', payload: 'kept', qos: 1, retain: true });
      const connection = await open(client, name);
      expect(await subscribed(connection, 'k/live')).toBe(1);
      await groups.replace(group, '?wait=enforced');
      await groups.setRules('?wait=enforced');
      await groups.remove(group, '?wait=enforced');
      await say(publisher, 'k/live');
      expect((await connection.take()).topicName).toBe('k/live');
      expect(await say(connection, 'k/own')).toBeLessThan(0x80);
      expect(await subscribed(connection, 'k/kept')).toBe(1);
      expect((await connection.take()).topicName).toBe('k/kept');
      const again = await open(client, `${name}-again`);
      expect(await say(again, 'k/own')).toBe(NOT_AUTHORIZED);
      expect(await subscribed(again, 'k/live')).toBe(NOT_AUTHORIZED);
    });

    it('is told of a live session as its own node decides: by the rows that it came in with, wherever it is', async () => {
      const explain = (body: object) => running.api.send('POST', '/api/v1/explain', body);
      const { client, name, group } = await member('allow publish e/#', 'deny publish e/no');
      const before = await running.api.expect<{ updatedRevision: number }>(
        200,
        'GET',
        `/api/v1/groups/${group.id}`,
      );
      const asked = { connection: name, action: 'publish', topic: 'e/no' };
      const absent = await explain(asked);
      expect([absent.status, absent.body]).toMatchObject([
        404,
        { code: 'connection_not_found', errors: [{ pointer: '/connection' }] },
      ]);
      const connection = await open(client, name);
      const origin = { type: 'group', id: group.id, position: 1, row: { topic: 'e/no' } };
      const expected = {
        allowed: false,
        origin,
        event: { revision: before.updatedRevision },
        credential: { id: client.id },
        connection: { clientId: name, username: name, applyMode: 'pinned' },
      };
      expect((await explain(asked)).body).toMatchObject(expected);
      await groups.replace(group, '?wait=enforced', 'allow publish e/no');
      // What it came in with holds, and is told as it was.
      expect(await say(connection, 'e/no')).toBe(NOT_AUTHORIZED);
      expect((await explain(asked)).body).toMatchObject(expected);
      const { nodeId } = ((await explain(asked)).body as { connection: { nodeId: string } })
        .connection;
      const there = { ...asked, connection: { clientId: name, node: nodeId }, topic: 'e/yes' };
      expect((await explain(there)).body).toMatchObject({ allowed: true, connection: { nodeId } });
      expect(await say(connection, 'e/yes')).toBeLessThan(0x80);
      await groups.removeClient(client, '?wait=enforced');
      expect((await explain(asked)).body).toMatchObject(expected);
      // By new rows for who comes now, and for who is to be reached.
      const supposed = {
        credentialId: client.id,
        clientId: name,
        action: 'publish',
        topic: 'e/no',
      };
      expect((await explain(supposed)).status).toBe(404);
    });

    it('lets a device whose client is deleted or disabled go on, with its will, and not come back', async () => {
      const mourner = await open(watcher, 'mourner');
      await mourner.subscribe({ topicFilter: 'w/#', qos: 1 });
      for (const how of ['deleted', 'disabled'] as const) {
        const { client, name } = await member('allow publish w/#');
        const will = { topicName: `w/${name}/will`, payload: Buffer.from('gone'), qos: 1 as const };
        const connection = await open(client, name, { will });
        if (how === 'deleted') await groups.removeClient(client, '?wait=enforced');
        else {
          const path = `/api/v1/credentials/${client.id}?wait=enforced`;
          await running.api.expect(200, 'PATCH', path, { enabled: false });
        }
        expect(await say(connection, `w/${name}`)).toBeLessThan(0x80);
        expect((await mourner.take()).topicName).toBe(`w/${name}`);
        connection.destroy();
        expect((await mourner.take()).topicName).toBe(`w/${name}/will`);
        const { connack } = await attempt(client, name);
        expect(connack.reasonCode).toBe(BAD_CREDENTIALS);
      }
    });

    it('is there for every CONNECT from the moment at which it was acknowledged, on any node', async () => {
      const { client, name, group } = await member();
      for (let round = 0; round < 20; round++) {
        const allowed = round % 2 === 0;
        await groups.replace(group, '', ...(allowed ? (['allow publish n'] as const) : []));
        const all = await Promise.all(
          running.mqttPorts.map((_, node) => open(client, `${name}-${node}`)),
        );
        const codes = await Promise.all(all.map((connection) => say(connection, 'n')));
        expect(codes.map((code) => code < 0x80)).toEqual(codes.map(() => allowed));
      }
    });

    it('is there for a session that is resumed: what it may not have any more is dropped from it, and from its queue', async () => {
      const rows = ['allow subscribe q/keep', 'allow subscribe q/lose'] as const;
      const { client, name, group } = await member(...rows);
      const publisher = await open(watcher, `${name}-publisher`);
      const first = await open(client, name, persistent);
      for (const filter of ['q/keep', 'q/lose', '$share/g/q/lose']) {
        expect(await subscribed(first, filter)).toBe(1);
      }
      first.destroy();
      await first.closed;
      await say(publisher, 'q/lose', 'lost');
      await say(publisher, 'q/keep', 'kept');
      await groups.replace(group, '', rows[0]);
      const { client: second, connack } = await attempt(client, name, persistent);
      expect(connack).toMatchObject({ reasonCode: 0, sessionPresent: true });
      expect((await second.take()).payload.toString()).toBe('kept');
      await second.silence(300);
      second.destroy();
      await second.closed;
      // Dropped, and not only withheld: with the right it does not come back.
      await groups.replace(group, '', ...rows);
      const third = await open(client, name, persistent);
      await say(publisher, 'q/lose', 'lost too');
      await say(publisher, 'q/keep', 'kept too');
      expect((await third.take()).payload.toString()).toBe('kept too');
      await third.silence(300);
      expect(await subscribed(third, 'q/lose')).toBe(1);
    });
  });

  describe('a change with apply=live', () => {
    it('takes rights from a device that is connected, which stays; what it subscribed to is withheld', async () => {
      const { client, name, group } = await member('allow publish l/#', 'allow subscribe l/#');
      const publisher = await open(watcher, `${name}-publisher`);
      const connection = await open(client, name);
      expect(await subscribed(connection, 'l/#')).toBe(1);
      await groups.replace(group, '?apply=live&wait=enforced', 'allow subscribe l/open');
      expect(await say(connection, 'l/x')).toBe(NOT_AUTHORIZED);
      await say(publisher, 'l/closed');
      await say(publisher, 'l/open');
      expect((await connection.take()).topicName).toBe('l/open');
      await connection.silence(300);
      // And it gives as it takes.
      await groups.replace(group, '?apply=live&wait=enforced', 'allow publish l/x');
      expect(await say(connection, 'l/x')).toBeLessThan(0x80);
    });

    it('reaches those whose groups the rules decide', async () => {
      const { client, name, group } = await member('allow publish r');
      const connection = await open(client, name);
      await groups.setRules('?apply=live&wait=enforced');
      expect(await say(connection, 'r')).toBe(NOT_AUTHORIZED);
      const rule = { matchBy: 'client_id', value: name, groups: [group.id] };
      await groups.setRules('?apply=live&wait=enforced', rule);
      expect(await say(connection, 'r')).toBeLessThan(0x80);
    });

    it('ends the session of a client that is deleted or disabled, and its will is not published', async () => {
      const mourner = await open(watcher, 'mourner-of-live');
      await mourner.subscribe({ topicFilter: 'e/#', qos: 1 });
      for (const how of ['deleted', 'disabled'] as const) {
        const { client, name } = await member('allow publish e/#');
        const will = { topicName: `e/${name}`, payload: Buffer.from('gone'), qos: 1 as const };
        const connection = await open(client, name, { will });
        if (how === 'deleted') await groups.removeClient(client, '?apply=live&wait=enforced');
        else {
          const path = `/api/v1/credentials/${client.id}?apply=live&wait=enforced`;
          await running.api.expect(200, 'PATCH', path, { enabled: false });
        }
        expect(await connection.ending()).toMatchObject([
          { type: 'disconnect', reasonCode: NOT_AUTHORIZED },
        ]);
      }
      await mourner.silence(500);
    });
  });

  describe('a change with apply=kick', () => {
    it('disconnects the devices whose rights are others now, and no others; they come back with the new ones', async () => {
      const { client, name, group } = await member('allow publish x', 'allow publish y');
      const other = await member('allow publish x');
      const connection = await open(client, name);
      const bystander = await open(other.client, other.name);
      await groups.replace(group, '?apply=kick&wait=enforced', 'allow publish y');
      expect(await connection.ending()).toMatchObject([
        { type: 'disconnect', reasonCode: ADMINISTRATIVE_ACTION },
      ]);
      await bystander.ping();
      const again = await open(client, name);
      expect(await say(again, 'x')).toBe(NOT_AUTHORIZED);
      expect(await say(again, 'y')).toBeLessThan(0x80);
    });

    it('closes a connection of MQTT 3.1.1 without a word, and lets nobody back whose client is deleted', async () => {
      const { client, name } = await member('allow publish x');
      const old = await RawMqttClient.open(nextPort());
      const connect = { clientId: name, cleanSession: true, ...credentialsOf(client) };
      expect((await old.connect(connect)).returnCode).toBe(0);
      await groups.removeClient(client, '?apply=kick&wait=enforced');
      await old.closed;
      await expect(old.receive(100)).rejects.toThrow();
      expect((await attempt(client, name)).connack.reasonCode).toBe(BAD_CREDENTIALS);
    });
  });
});

const credentialsOf = ({ username, password }: GroupClient) => ({ username, password });
