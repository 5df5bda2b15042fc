import {
  type Cluster,
  type RawConnect5,
  RawMqtt5Client,
  startCluster,
  until,
} from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { Groups } from '../harness/groups.ts';

const NOT_AUTHORIZED = 0x87;
const WAIT = 'wait=enforced';

let cluster: Cluster;
let api: Api;
let watcher: { username: string; password: string };
const clients: RawMqtt5Client[] = [];
const clientIds = new WeakMap<RawMqtt5Client, string>();

beforeAll(async () => {
  cluster = await startCluster();
  api = await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password);
  watcher = await api.addDevice('watcher', [{ effect: 'allow', action: 'all', topicFilter: '#' }]);
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
});

afterAll(() => cluster?.stop());

async function connect(
  node: number,
  who: object,
  clientId: string,
  options: Partial<RawConnect5> = {},
): Promise<RawMqtt5Client> {
  const port = cluster.brokers[node]?.mqttPort;
  if (port === undefined) throw new Error(`no broker ${node}`);
  const client = await RawMqtt5Client.open(port);
  clients.push(client);
  clientIds.set(client, clientId);
  const connack = await client.connect({ clientId, ...who, ...options });
  expect(connack.reasonCode).toBe(0);
  return client;
}

const stored = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };

/** Cuts the connection, and waits until its node knows: until then it sends what comes. */
async function lose(client: RawMqtt5Client): Promise<void> {
  client.destroy();
  await client.closed;
  const path = `/api/v1/connections/${clientIds.get(client)}`;
  await until(async () => (await api.send('GET', path)).status === 404);
}

/** A device that may do everything below a topic of its own, until that is taken from it. */
interface Victim {
  readonly who: { readonly username: string; readonly password: string };
  /** All its topics are below this one. */
  readonly root: string;
  /** Enforced on all nodes when it returns. */
  revoke(): Promise<void>;
  grant(): Promise<void>;
}

let victims = 0;

async function victimOfAcl(): Promise<Victim> {
  const root = `v${victims++}`;
  const rules = [{ effect: 'allow', action: 'all', topicFilter: `${root}/#` }] as const;
  const who = await api.addDevice(root, rules);
  const path = `/api/v1/acl/usernames/${root}?${WAIT}`;
  return {
    who,
    root,
    revoke: async () => {
      await api.expect(204, 'DELETE', path);
    },
    grant: async () => {
      await api.expect(200, 'PUT', path, { rules });
    },
  };
}

async function victimOfGroups(): Promise<Victim> {
  const root = `v${victims++}`;
  const groups = new Groups(api);
  const who = await groups.addClient(root);
  const rows = [`allow publish ${root}/#`, `allow subscribe ${root}/#`] as const;
  const group = await groups.add(root, ...rows);
  await groups.give(who, group);
  return {
    who,
    root,
    revoke: () => groups.replace(group, `?apply=live&${WAIT}`),
    grant: () => groups.replace(group, `?apply=live&${WAIT}`, ...rows),
  };
}

const CREDENTIALS = '/api/v1/credentials';

interface NewDevice {
  readonly who: Victim['who'];
  readonly root: string;
  readonly url: string;
}

async function newDevice(accessBelow: (root: string) => object): Promise<NewDevice> {
  const root = `v${victims++}`;
  const body = { name: root, match: { username: root }, generateSecret: true };
  const made = await api.expect<{ id: string; secret: string }>(
    201,
    'POST',
    `${CREDENTIALS}?${WAIT}`,
    { ...body, ...accessBelow(root) },
  );
  const who = { username: root, password: made.secret };
  return { who, root, url: `${CREDENTIALS}/${made.id}` };
}

const patched = async (url: string, body: object, query = '') => {
  await api.expect(200, 'PATCH', `${url}?${WAIT}${query}`, body);
};

async function victimOfRole(): Promise<Victim> {
  const permission = (root: string) => ({
    context: 'mqtt',
    resource: `${root}/#`,
    operation: 'readWrite',
  });
  const role = await api.expect<{ id: string }>(201, 'POST', '/api/v1/roles', {
    name: `role-${victims}`,
    permissions: [],
  });
  const path = `/api/v1/roles/${role.id}/permissions`;
  const { who, root } = await newDevice(() => ({ access: { kind: 'roles', roles: [role.id] } }));
  let id = '';
  const grant = async () => {
    ({ id } = await api.expect<{ id: string }>(201, 'POST', `${path}?${WAIT}`, permission(root)));
  };
  await grant();
  const revoke = async () => {
    await api.expect(204, 'DELETE', `${path}/${id}?${WAIT}`);
  };
  return { who, root, revoke, grant };
}

async function victimOfPatterns(): Promise<Victim> {
  const access = (...patterns: string[]) => ({
    access: { kind: 'patterns', publish: patterns, subscribe: patterns },
  });
  const { who, root, url } = await newDevice((own) => access(`${own}/.*`));
  const revoke = () => patched(url, access(), '&apply=live');
  return { who, root, revoke, grant: () => patched(url, access(`${root}/.*`), '&apply=live') };
}

async function victimOfSuperuser(): Promise<Victim> {
  const { who, root, url } = await newDevice(() => ({ superuser: true }));
  const superuser = (is: boolean) => () => patched(url, { superuser: is });
  return { who, root, revoke: superuser(false), grant: superuser(true) };
}

/** Nothing that is on its way can overtake this: whatever was let through has come before it. */
async function settled(publisher: RawMqtt5Client, listener: RawMqtt5Client): Promise<void> {
  const topicName = `settled/${victims}/${Math.random()}`;
  await listener.subscribe({ topicFilter: topicName, qos: 1 });
  await publisher.deliver({ topicName, payload: 'settled', qos: 1 });
  expect((await listener.take()).topicName).toBe(topicName);
}

describe.each([
  ['a rule that is taken away', victimOfAcl],
  ['a row of a group that is taken away with apply=live', victimOfGroups],
  ['a permission of a role that is taken away', victimOfRole],
  ['patterns that are taken away with apply=live', victimOfPatterns],
  ['the place of a superuser that is taken away', victimOfSuperuser],
])('after %s nothing is left of the right (A5):', (_title, victim) => {
  it('publishing, on any node, to topics and aliases', async () => {
    const { who, root, revoke, grant } = await victim();
    const listener = await connect(2, watcher, `${root}-listener`);
    await listener.subscribe({ topicFilter: `${root}/#`, qos: 1 });
    const all = await Promise.all([0, 1, 2].map((node) => connect(node, who, `${root}-${node}`)));
    for (const [node, client] of all.entries()) {
      const properties = { topicAlias: 1 };
      await client.deliver({ topicName: `${root}/alias`, payload: `${node}`, qos: 1, properties });
      await listener.take();
    }
    await revoke();
    for (const client of all) {
      for (const qos of [1, 2]) {
        const code = await client.deliver({ topicName: `${root}/x`, payload: 'no', qos });
        expect(code).toBe(NOT_AUTHORIZED);
      }
      const properties = { topicAlias: 1 };
      const aliased = await client.deliver({ topicName: '', payload: 'no', qos: 1, properties });
      expect(aliased).toBe(NOT_AUTHORIZED);
      client.publish({ topicName: `${root}/x`, payload: 'no', qos: 0 });
      await client.ping();
    }
    const publisher = await connect(0, watcher, `${root}-publisher`);
    await settled(publisher, listener);
    await grant();
    const topicName = `${root}/again`;
    expect(await all[0]?.deliver({ topicName, payload: 'yes', qos: 1 })).toBeLessThan(0x80);
    expect((await listener.take()).topicName).toBe(topicName);
  });

  it('a subscription: it is kept, nothing is delivered, and with the right deliveries come again', async () => {
    const { who, root, revoke, grant } = await victim();
    const publisher = await connect(2, watcher, `${root}-publisher`);
    const all = await Promise.all([0, 1, 2].map((node) => connect(node, who, `${root}-${node}`)));
    for (const client of all) await client.subscribe({ topicFilter: `${root}/#`, qos: 2 });
    await revoke();
    for (const qos of [0, 1, 2]) {
      publisher.publish({ topicName: `${root}/${qos}`, payload: 'no', qos: 0 });
      await publisher.deliver({
        topicName: `${root}/${qos}`,
        payload: 'no',
        qos: qos === 2 ? 2 : 1,
      });
    }
    await grant();
    await publisher.deliver({ topicName: `${root}/yes`, payload: 'yes', qos: 1 });
    for (const client of all) {
      expect((await client.take()).topicName).toBe(`${root}/yes`);
      await client.silence();
    }
  });

  it('subscribing, and with it what is retained', async () => {
    const { who, root, revoke } = await victim();
    const publisher = await connect(2, watcher, `${root}-publisher`);
    const kept = { topicName: `${root}/kept`, payload: 'kept', qos: 1, retain: true } as const;
    await publisher.deliver(kept);
    const client = await connect(0, who, `${root}-client`);
    await client.subscribe({ topicFilter: `${root}/kept`, qos: 1 });
    expect((await client.take()).topicName).toBe(kept.topicName);
    await revoke();
    for (const topicFilter of [kept.topicName, `${root}/#`, `$share/g/${root}/#`, '#']) {
      const { reasonCodes } = await client.subscribe({ topicFilter, qos: 1 });
      expect(reasonCodes).toEqual([NOT_AUTHORIZED]);
    }
    await client.silence();
    await publisher.deliver({ ...kept, payload: '' });
  });

  it('the queue and the subscriptions of a session that is away, whichever node it comes back to', async () => {
    const { who, root, revoke, grant } = await victim();
    const publisher = await connect(2, watcher, `${root}-publisher`);
    const first = await connect(0, who, root, stored);
    await first.subscribe({ topicFilter: `${root}/#`, qos: 2 });
    await lose(first);
    for (const qos of [1, 2]) {
      await publisher.deliver({ topicName: `${root}/${qos}`, payload: 'no', qos });
    }
    await revoke();
    await publisher.deliver({ topicName: `${root}/late`, payload: 'no', qos: 1 });
    const second = await connect(1, who, root, stored);
    await publisher.deliver({ topicName: `${root}/live`, payload: 'no', qos: 1 });
    await second.silence(300);
    await lose(second);
    await grant();
    const third = await connect(2, who, root, stored);
    await publisher.deliver({ topicName: `${root}/dropped`, payload: 'no', qos: 1 });
    await third.silence(300);
  });

  it('messages that wait for the window of a client, with QoS 1 and 2', async () => {
    for (const qos of [1, 2] as const) {
      const { who, root, revoke } = await victim();
      const publisher = await connect(2, watcher, `${root}-publisher`);
      const narrow = { ...stored, properties: { ...stored.properties, receiveMaximum: 1 } };
      const client = await connect(0, who, root, narrow);
      await client.subscribe({ topicFilter: `${root}/#`, qos });
      for (const number of [1, 2, 3]) {
        await publisher.deliver({ topicName: `${root}/${number}`, payload: 'x', qos });
      }
      const begun = await client.expect('publish');
      await revoke();
      if (qos === 1) client.ack('puback', begun.packetId);
      else {
        // What was begun is ended, as the standard wants; it says nothing new.
        client.ack('pubrec', begun.packetId);
        expect(await client.expect('pubrel')).toMatchObject({ packetId: begun.packetId });
        client.ack('pubcomp', begun.packetId);
      }
      await client.silence(300);
    }
  });

  it('what was sent and not acknowledged: it is not sent again, and a half-done QoS 2 is ended without its content', async () => {
    const { who, root, revoke } = await victim();
    const publisher = await connect(2, watcher, `${root}-publisher`);
    const first = await connect(0, who, root, stored);
    await first.subscribe({ topicFilter: `${root}/#`, qos: 2 });
    for (const qos of [1, 2]) {
      await publisher.deliver({ topicName: `${root}/${qos}`, payload: 'x', qos });
    }
    const [one, two] = [await first.expect('publish'), await first.expect('publish')];
    expect([one.qos, two.qos]).toEqual([1, 2]);
    await lose(first);
    await revoke();
    const second = await connect(1, who, root, stored);
    expect(await second.expect('pubrel')).toMatchObject({ packetId: two.packetId });
    second.ack('pubcomp', two.packetId);
    await second.silence(300);
  });

  it('a QoS 2 message that was begun before and is repeated after: it came in once, and nothing more does', async () => {
    const { who, root, revoke } = await victim();
    const listener = await connect(2, watcher, `${root}-listener`);
    await listener.subscribe({ topicFilter: `${root}/#`, qos: 2 });
    const first = await connect(0, who, root, stored);
    const message = { topicName: `${root}/begun`, payload: 'once', qos: 2, packetId: 77 } as const;
    first.publish(message);
    await first.expect('pubrec');
    expect((await listener.take()).topicName).toBe(message.topicName);
    await lose(first);
    await revoke();
    const second = await connect(1, who, root, stored);
    second.publish({ ...message, duplicate: true });
    await second.expect('pubrec');
    second.publish({ ...message, packetId: 78, payload: 'another' });
    expect(await second.expect('pubrec')).toMatchObject({ reasonCode: NOT_AUTHORIZED });
    const publisher = await connect(0, watcher, `${root}-publisher`);
    await settled(publisher, listener);
  });

  it('what is retained: it can be neither replaced nor taken away, and a new topic has nothing', async () => {
    const { who, root, revoke } = await victim();
    const all = await Promise.all([0, 1, 2].map((node) => connect(node, who, `${root}-${node}`)));
    const before = { topicName: `${root}/kept`, payload: 'before', qos: 1, retain: true } as const;
    expect(await all[0]?.deliver(before)).toBeLessThan(0x80);
    await revoke();
    for (const client of all) {
      for (const qos of [1, 2]) {
        for (const payload of ['no', '']) {
          const topicName = payload === 'no' ? `${root}/new` : before.topicName;
          for (const name of [topicName, before.topicName]) {
            const message = { topicName: name, payload, qos, retain: true };
            expect(await client.deliver(message)).toBe(NOT_AUTHORIZED);
          }
        }
      }
      client.publish({ ...before, payload: 'no', qos: 0 });
      client.publish({ ...before, payload: '', qos: 0 });
      await client.ping();
    }
    for (const node of [0, 1, 2]) {
      const fresh = await connect(node, watcher, `${root}-fresh-${node}`);
      await fresh.subscribe({ topicFilter: `${root}/#`, qos: 1 });
      const found = await fresh.take();
      expect([found.topicName, found.payload.toString()]).toEqual([before.topicName, 'before']);
      await fresh.silence();
      if (node === 2) await fresh.deliver({ ...before, payload: '' });
    }
  });

  it('the queue of a member of a share group: another member gets it, whichever node they are on', async () => {
    const { who, root, revoke } = await victim();
    const publisher = await connect(2, watcher, `${root}-publisher`);
    const filter = { topicFilter: `$share/q/${root}/#`, qos: 2 };
    const away = await connect(0, who, root, stored);
    await away.subscribe(filter);
    await lose(away);
    const names = [1, 2, 1, 2].map((qos, index) => ({ topicName: `${root}/${index}`, qos }));
    for (const one of names) await publisher.deliver({ ...one, payload: 'x' });
    const other = await connect(2, watcher, `${root}-other`);
    await other.subscribe(filter);
    await revoke();
    const back = await connect(1, who, root, stored);
    const got = [];
    for (const _ of names) got.push((await other.take(5_000)).topicName);
    expect(got.sort()).toEqual(names.map((one) => one.topicName));
    await Promise.all([back.silence(), other.silence()]);
  });
});

describe.each([
  ['a rule that is taken away', victimOfAcl],
  ['a row of a group that is taken away with apply=live', victimOfGroups],
])('after %s nothing is left of the right (A5):', (_title, victim) => {
  it('a will, whether the connection breaks, its delay is over, or its node dies and is back', async () => {
    const { who, root, revoke } = await victim();
    const mourner = await connect(2, watcher, `${root}-mourner`);
    await mourner.subscribe({ topicFilter: `${root}/#`, qos: 1 });
    const will = (name: string, willDelayInterval = 0) => ({
      topicName: `${root}/${name}`,
      payload: Buffer.from('gone'),
      qos: 1 as const,
      properties: { willDelayInterval },
    });
    const broken = await connect(0, who, `${root}-broken`, { will: will('broken') });
    const delayed = await connect(0, who, `${root}-delayed`, { ...stored, will: will('late', 2) });
    const later = await connect(0, who, `${root}-later`, { ...stored, will: will('later', 3) });
    await connect(1, who, `${root}-killed`, { ...stored, will: will('killed') });
    // The same of somebody who keeps the right: when these have come, those had their time.
    await connect(1, watcher, `${root}-kept-1`, { ...stored, will: will('kept-killed') });
    const slow = await connect(0, watcher, `${root}-kept-2`, {
      ...stored,
      will: will('kept-later', 4),
    });
    // This one has begun to wait when the right is taken away.
    await lose(delayed);
    await revoke();
    await lose(broken);
    await lose(later);
    await lose(slow);
    const [, node] = cluster.brokers;
    await node?.process.kill();
    // A node looks for the wills of its former self when it starts.
    await node?.process.start();
    const mourned = [await mourner.take(30_000), await mourner.take(30_000)];
    const topics = mourned.map((one) => one.topicName).sort();
    expect(topics).toEqual([`${root}/kept-killed`, `${root}/kept-later`]);
    await mourner.silence(1_500);
  });

  it('the place in a share group: the other members get all of it, on the same node and on others', async () => {
    const { who, root, revoke, grant } = await victim();
    const publisher = await connect(2, watcher, `${root}-publisher`);
    const filter = { topicFilter: `$share/g/${root}/#`, qos: 1 };
    const revoked = await Promise.all([
      connect(0, who, `${root}-0`),
      connect(1, who, `${root}-1`, stored),
      connect(2, who, `${root}-2`),
    ]);
    for (const client of revoked) await client.subscribe(filter);
    const other = await connect(1, watcher, `${root}-other`);
    await other.subscribe(filter);
    await revoke();
    const count = 24;
    for (let index = 0; index < count; index++) {
      await publisher.deliver({ topicName: `${root}/${index}`, payload: 'x', qos: 1 });
    }
    const got = new Set<string>();
    for (let index = 0; index < count; index++) got.add((await other.take()).topicName);
    expect(got.size).toBe(count);
    for (const client of [other, ...revoked]) await client.silence();
    await grant();
    for (let index = 0; index < count; index++) {
      await publisher.deliver({ topicName: `${root}/back-${index}`, payload: 'x', qos: 1 });
    }
    await expect(revoked[0]?.take()).resolves.toMatchObject({ qos: 1 });
  });
});

/** Somebody who may not be connected any more, and how. Answers with the MQTT 5 reason that live sessions are told. */
type Expulsion = (device: NewDevice) => Promise<number>;

const ADMINISTRATIVE_ACTION = 0x98;

const EXPULSIONS: readonly (readonly [string, object, Expulsion])[] = [
  [
    'a credential that is disabled',
    { kind: 'unrestricted' },
    async ({ url }) => {
      await patched(url, { enabled: false });
      return NOT_AUTHORIZED;
    },
  ],
  [
    'a pinned credential that is disabled',
    { kind: 'patterns', publish: ['.*'], subscribe: ['.*'] },
    async ({ url }) => {
      await patched(url, { enabled: false });
      return NOT_AUTHORIZED;
    },
  ],
  [
    'a secret that is replaced at once',
    { kind: 'unrestricted' },
    async ({ url }) => {
      await api.expect(201, 'POST', `${url}/secrets?${WAIT}`, {});
      return NOT_AUTHORIZED;
    },
  ],
  [
    'a credential that is deleted',
    { kind: 'unrestricted' },
    async ({ url }) => {
      await api.expect(204, 'DELETE', `${url}?${WAIT}`);
      return NOT_AUTHORIZED;
    },
  ],
  [
    'a ban',
    { kind: 'unrestricted' },
    async ({ root: value }) => {
      await api.expect(201, 'POST', `/api/v1/bans?${WAIT}`, { kind: 'username', value });
      return ADMINISTRATIVE_ACTION;
    },
  ],
  [
    'a credential that is deleted with apply=kick',
    { kind: 'unrestricted' },
    async ({ url }) => {
      await api.expect(204, 'DELETE', `${url}?${WAIT}&apply=kick`);
      return ADMINISTRATIVE_ACTION;
    },
  ],
];

describe.each(EXPULSIONS)('after %s nobody is left (A5):', (_title, access, expel) => {
  it('no session on any node, no will, no delivery from a queue, no share of a group', async () => {
    const device = await newDevice(() => ({ access }));
    const { who, root } = device;
    const publisher = await connect(2, watcher, `${root}-publisher`);
    const mourner = await connect(2, watcher, `${root}-mourner`);
    await mourner.subscribe({ topicFilter: `${root}/wills/#`, qos: 1 });
    const will = (name: string, willDelayInterval = 0) => ({
      will: {
        topicName: `${root}/wills/${name}`,
        payload: Buffer.from('gone'),
        qos: 1 as const,
        properties: { willDelayInterval },
      },
    });
    const live = await Promise.all(
      [0, 1, 2].map((node) => connect(node, who, `${root}-${node}`, will(`${node}`))),
    );
    const shared = { topicFilter: `$share/g/${root}/+`, qos: 1 };
    for (const client of live) await client.subscribe(shared);
    const other = await connect(1, watcher, `${root}-other`);
    const away = await connect(0, who, `${root}-away`, { ...stored, ...will('away', 1) });
    await away.subscribe({ topicFilter: `${root}/#`, qos: 1 });
    await lose(away);
    const kept = await connect(0, watcher, `${root}-kept`, { ...stored, ...will('kept', 2) });
    await lose(kept);

    const reasonCode = await expel(device);
    for (const client of live) {
      expect((await client.expect('disconnect')).reasonCode).toBe(reasonCode);
    }
    await other.subscribe(shared);
    for (const index of [0, 1, 2, 3]) {
      await publisher.deliver({ topicName: `${root}/${index}`, payload: 'x', qos: 1 });
    }
    const got = [];
    for (let index = 0; index < 4; index++) got.push((await other.take()).topicName);
    expect(got.sort()).toEqual([0, 1, 2, 3].map((index) => `${root}/${index}`));
    for (const { mqttPort } of cluster.brokers) {
      const client = await RawMqtt5Client.open(mqttPort);
      clients.push(client);
      const again = await client.connect({ clientId: `${root}-away`, ...who, ...stored });
      expect(again.reasonCode).toBeGreaterThanOrEqual(0x80);
    }
    // Who keeps the right has a will that is due after all of theirs.
    expect((await mourner.take(10_000)).topicName).toBe(`${root}/wills/kept`);
    await mourner.silence();
  });
});
