import { RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const NOT_AUTHORIZED = 0x87;
const TOPIC_NAME_INVALID = 0x90;

interface Device {
  readonly id: string;
  readonly username: string;
  readonly password: string;
}

type Connect = Partial<Parameters<RawMqtt5Client['connect']>[0]>;

describe.each(PROFILES)('roles on the %s profile', (profile) => {
  let running: Running;
  let watcher: Device;
  let count = 0;
  const unique = (what: string): string => `${what}-${++count}`;

  beforeAll(async () => {
    running = await startProfile(profile);
    const watching = await addRole({ resource: '#', operation: 'readWrite' });
    watcher = await addDevice({ roles: [watching.id] });
  });

  afterAll(() => running?.[Symbol.asyncDispose]());

  const permission = (more: object) => ({ context: 'mqtt', operation: 'read', ...more });

  interface Role {
    readonly id: string;
    readonly permissions: readonly { readonly id: string }[];
  }

  const addRole = (...permissions: readonly object[]): Promise<Role> =>
    running.api.expect(201, 'POST', '/api/v1/roles?wait=enforced', {
      name: unique('role'),
      permissions: permissions.map(permission),
    });

  async function addDevice(access: object): Promise<Device> {
    const username = unique('device');
    const { id, secret } = await running.api.expect<{ id: string; secret: string }>(
      201,
      'POST',
      '/api/v1/credentials?wait=enforced',
      {
        name: username,
        match: { username },
        generateSecret: true,
        access: { kind: 'roles', ...access },
      },
    );
    return { id, username, password: secret };
  }

  /** Enforced on every node when it returns. */
  async function change(method: string, path: string, body?: unknown): Promise<void> {
    const { status, headers } = await running.api.send(method, `${path}?wait=enforced`, body);
    expect([200, 201, 204], `${method} ${path}`).toContain(status);
    expect(headers.get('sallyport-enforced')).toBe('true');
  }

  const setPrefix = ({ id }: Device, publishPrefix: string | null): Promise<void> =>
    change('PATCH', `/api/v1/credentials/${id}`, { access: { publishPrefix } });

  /** Each connection goes to the next node, so that what one sends another gets over the bus. */
  let turn = 0;
  async function open({ username, password }: Device, more: Connect = {}): Promise<RawMqtt5Client> {
    const port = running.mqttPorts[turn++ % running.mqttPorts.length] ?? 0;
    const client = await RawMqtt5Client.open(port);
    const connect = { clientId: unique('client'), username, password, ...more };
    expect(await client.connect(connect)).toMatchObject({ reasonCode: 0 });
    return client;
  }

  const watch = async (...filters: readonly string[]): Promise<RawMqtt5Client> => {
    const client = await open(watcher);
    for (const topicFilter of filters) {
      const { reasonCodes } = await client.subscribe({ topicFilter, qos: 1 });
      expect(reasonCodes).toEqual([1]);
    }
    return client;
  };

  const subscribe = async (client: RawMqtt5Client, topicFilter: string): Promise<number> =>
    (await client.subscribe({ topicFilter, qos: 1 })).reasonCodes[0] ?? -1;

  const deliver = (client: RawMqtt5Client, topicName: string, more: object = {}): Promise<number> =>
    client.deliver({ topicName, payload: 'x', ...more });

  it('let a session do what its roles and own permissions grant, and nothing else', async () => {
    const own = unique('t');
    const readers = await addRole({ resource: `${own}/read/+` });
    const writers = await addRole({ resource: `${own}/write`, operation: 'write' });
    const device = await addDevice({
      roles: [readers.id, writers.id],
      permissions: [permission({ resource: `${own}/own/#`, operation: 'readWrite' })],
    });
    const client = await open(device);
    const subscriptions = ['read/a', 'read/+', 'read/#', 'write', 'own/#', '#'];
    const codes: number[] = [];
    for (const one of subscriptions) codes.push(await subscribe(client, `${own}/${one}`));
    expect(codes).toEqual([1, 1, NOT_AUTHORIZED, NOT_AUTHORIZED, 1, NOT_AUTHORIZED]);
    expect(await deliver(client, `${own}/write`)).toBeLessThan(0x80);
    expect(await deliver(client, `${own}/own/x/y`)).toBeLessThan(0x80);
    expect(await deliver(client, `${own}/read/a`)).toBe(NOT_AUTHORIZED);
    client.destroy();
  });

  it('reach a live session when they change, without disconnecting it', async () => {
    const own = unique('t');
    const role = await addRole({ resource: `${own}/a`, operation: 'readWrite' });
    const url = `/api/v1/roles/${role.id}`;
    const device = await addDevice({ roles: [role.id] });
    const client = await open(device);
    const publisher = await open(watcher);
    expect(await subscribe(client, `${own}/a`)).toBe(1);
    expect(await deliver(client, `${own}/b`)).toBe(NOT_AUTHORIZED);

    const permissions = [permission({ resource: `${own}/b`, operation: 'write' })];
    await change('PUT', url, { name: unique('renamed'), permissions });
    expect(await deliver(client, `${own}/b`)).toBeLessThan(0x80);
    expect(await deliver(client, `${own}/a`)).toBe(NOT_AUTHORIZED);
    await deliver(publisher, `${own}/a`, { payload: 'secret' });
    await client.silence(300);
    expect(await subscribe(client, `${own}/a`)).toBe(NOT_AUTHORIZED);

    await change('POST', `${url}/permissions`, permission({ resource: `${own}/#` }));
    // The subscription was kept, and lives again.
    await deliver(publisher, `${own}/a`, { payload: 'open' });
    expect(await client.take()).toMatchObject({ topicName: `${own}/a` });

    await change('PATCH', `/api/v1/credentials/${device.id}`, { access: { roles: [] } });
    expect(await deliver(client, `${own}/b`)).toBe(NOT_AUTHORIZED);
    await change('PATCH', `/api/v1/credentials/${device.id}`, { access: { roles: [role.id] } });
    expect(await deliver(client, `${own}/b`)).toBeLessThan(0x80);
    await change('DELETE', `/api/v1/credentials/${device.id}`);
    await client.closed;
    await change('DELETE', url);
    publisher.destroy();
  });

  interface DynsecRole {
    readonly id: string;
    readonly name: string;
  }

  const addDynsecRole = (...acls: readonly object[]): Promise<DynsecRole> =>
    running.api.expect(201, 'POST', '/api/v1/dynsec/roles?wait=enforced', {
      name: unique('dynsec'),
      acls: acls.map((acl) => ({ allow: true, ...acl })),
    });

  it('of dynamic security judge every delivery by the rows about these, and end the sessions that they change', async () => {
    const own = unique('t');
    const everything = { aclType: 'subscribePattern', topic: `${own}/#` };
    const secret = { aclType: 'publishClientReceive', topic: `${own}/secret/#`, allow: false };
    const role = await addDynsecRole(everything, secret);
    const wide = await addDynsecRole(everything);
    const device = await addDevice({ kind: 'dynsec', roles: [{ role: role.id }] });
    const other = await addDevice({ kind: 'dynsec', roles: [{ role: wide.id }] });
    const publisher = await open(watcher);
    const publish = async (what: string, more: object = {}): Promise<void> => {
      for (const where of ['secret', 'open']) {
        expect(await deliver(publisher, `${own}/${where}/${what}`, more)).toBeLessThan(0x80);
      }
    };
    const stored = {
      ...{ clientId: unique('kept'), cleanStart: false },
      properties: { sessionExpiryInterval: 600 },
    };
    await publish('retained', { retain: true });
    let client = await open(device, stored);
    const takes = async (what: string): Promise<void> => {
      expect(await client.take()).toMatchObject({ topicName: `${own}/open/${what}` });
    };
    expect(await subscribe(client, `${own}/#`)).toBe(1);
    await takes('retained');
    await publish('live');
    await takes('live');
    client.destroy();
    await client.closed;
    await publish('queued');
    client = await open(device, stored);
    await takes('queued');
    await client.unsubscribe(`${own}/#`);

    const member = await open(other);
    for (const one of [client, member]) {
      expect(await subscribe(one, `$share/g/${own}/secret/#`)).toBe(1);
    }
    for (const index of [1, 2, 3]) {
      const topicName = `${own}/secret/shared-${index}`;
      await deliver(publisher, topicName);
      expect(await member.take()).toMatchObject({ topicName });
    }
    await client.silence(200);

    const url = `/api/v1/dynsec/roles/${role.id}`;
    await change('PUT', url, { name: role.name, acls: [{ ...everything, allow: false }] });
    await client.closed;
    await member.ping();
    client = await open(device);
    expect(await subscribe(client, `${own}/open/x`)).toBe(NOT_AUTHORIZED);
    for (const one of [client, member, publisher]) one.destroy();
  });

  it('that are removed with detach are gone from every session at once', async () => {
    const own = unique('t');
    const role = await addRole({ resource: `${own}/#`, operation: 'write' });
    const device = await addDevice({ roles: [role.id] });
    const clients = [await open(device), await open(device), await open(device)];
    for (const client of clients) expect(await deliver(client, `${own}/x`)).toBeLessThan(0x80);
    const kept = await running.api.send('DELETE', `/api/v1/roles/${role.id}`);
    expect(kept.status).toBe(409);
    const { status } = await running.api.send(
      'DELETE',
      `/api/v1/roles/${role.id}?detach=true&wait=enforced`,
    );
    expect(status).toBe(204);
    for (const client of clients) {
      expect(await deliver(client, `${own}/x`)).toBe(NOT_AUTHORIZED);
      client.destroy();
    }
  });

  it('a prefix is put before what a live session publishes from the next PUBLISH on, and taken away again', async () => {
    const own = unique('t');
    const mourner = await watch(`${own}/#`, `p/${own}/#`);
    const device = await addDevice({
      permissions: ['', 'p/', 'q/'].map((prefix) =>
        permission({ resource: `${prefix}${own}/#`, operation: 'readWrite' }),
      ),
    });
    const client = await open(device);
    const alias = { topicAlias: 1 };
    const next = async (more: object = {}) => {
      expect(await deliver(client, '', { properties: alias, ...more })).toBeLessThan(0x80);
      return (await mourner.take()).topicName;
    };
    expect(await subscribe(client, `${own}/x`)).toBe(1);
    expect(await deliver(client, `${own}/x`, { properties: alias })).toBeLessThan(0x80);
    expect((await mourner.take()).topicName).toBe(`${own}/x`);
    expect((await client.take()).topicName).toBe(`${own}/x`);

    await setPrefix(device, 'p/');
    for (const qos of [1, 2, 1]) expect(await next({ qos })).toBe(`p/${own}/x`);
    // It hears what it subscribed to, and not itself any more.
    await client.silence(300);

    await setPrefix(device, 'nobody/may/');
    expect(await deliver(client, '', { properties: alias })).toBe(NOT_AUTHORIZED);
    await setPrefix(device, `${'x'.repeat(1000)}/`);
    expect(await deliver(client, `${own}/${'y'.repeat(100)}`)).toBe(TOPIC_NAME_INVALID);

    await setPrefix(device, null);
    expect(await next()).toBe(`${own}/x`);
    expect((await client.take()).topicName).toBe(`${own}/x`);
    for (const one of [client, mourner]) one.destroy();
  });

  it('a prefix is part of what is retained', async () => {
    const own = unique('t');
    const device = await addDevice({
      permissions: [permission({ resource: `+/${own}`, operation: 'write' })],
      publishPrefix: 'p/',
    });
    const client = await open(device);
    expect(await deliver(client, own, { retain: true, payload: 'kept' })).toBeLessThan(0x80);
    const late = await watch(`p/${own}`);
    expect(await late.take()).toMatchObject({ topicName: `p/${own}`, retain: true });
    expect(await deliver(client, own, { retain: true, payload: '' })).toBeLessThan(0x80);
    for (const one of [client, late]) one.destroy();
  });

  it('a $ that the prefix moves from the front is no reserved topic any more; without it nobody publishes there', async () => {
    const own = unique('t');
    const access = { permissions: [permission({ resource: '#', operation: 'write' })] };
    const plain = await open(await addDevice(access));
    expect(await deliver(plain, `$SYS/${own}`)).toBe(NOT_AUTHORIZED);
    const prefixed = await open(await addDevice({ ...access, publishPrefix: 'p/' }));
    const mourner = await watch(`p/$SYS/${own}`);
    expect(await deliver(prefixed, `$SYS/${own}`)).toBeLessThan(0x80);
    expect((await mourner.take()).topicName).toBe(`p/$SYS/${own}`);
    for (const one of [plain, prefixed, mourner]) one.destroy();
  });

  it('a will has the prefix of the moment at which it is published, once', async () => {
    const own = unique('t');
    const mourner = await watch(`+/${own}`, `p/p/${own}`, own);
    const device = await addDevice({
      permissions: [permission({ resource: `+/${own}`, operation: 'write' })],
      publishPrefix: 'p/',
    });
    const will = { topicName: own, payload: 'gone', qos: 1 };
    const first = await open(device, { will });
    first.destroy();
    expect((await mourner.take()).topicName).toBe(`p/${own}`);
    const second = await open(device, { will });
    await setPrefix(device, 'q/');
    second.destroy();
    expect((await mourner.take()).topicName).toBe(`q/${own}`);
    await mourner.silence(300);
    mourner.destroy();
  });

  it('a delayed will of somebody who is gone has the prefix and the rights that the credential has by then', async () => {
    const own = unique('t');
    const mourner = await watch(`+/${own}`, own);
    const grant = (resource: string) => [permission({ resource, operation: 'write' })];
    const device = await addDevice({ permissions: grant(`+/${own}`), publishPrefix: 'p/' });
    const delayed = {
      cleanStart: false,
      properties: { sessionExpiryInterval: 60 },
      will: {
        topicName: own,
        payload: 'gone',
        qos: 1,
        properties: { willDelayInterval: 2 },
      },
    } as const;
    const url = `/api/v1/credentials/${device.id}`;
    (await open(device, delayed)).destroy();
    await setPrefix(device, 'q/');
    expect((await mourner.take(8000)).topicName).toBe(`q/${own}`);
    (await open(device, delayed)).destroy();
    await change('PATCH', url, { access: { permissions: grant(`p/${own}`) } });
    await mourner.silence(4500);
    mourner.destroy();
  });

  it('refuses a CONNECT whose will may not be published under its final topic', async () => {
    const own = unique('t');
    const device = await addDevice({
      permissions: [permission({ resource: own, operation: 'write' })],
      publishPrefix: 'p/',
    });
    const client = await RawMqtt5Client.open(running.mqttPorts[0] ?? 0);
    const { username, password } = device;
    const will = { topicName: own, payload: 'gone', qos: 1 };
    const answer = await client.connect({ clientId: unique('c'), username, password, will });
    expect(answer.reasonCode).toBe(NOT_AUTHORIZED);
    await client.closed;
  });
});
