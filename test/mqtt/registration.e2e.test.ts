import { RawMqtt5Client, until } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const BAD_CREDENTIALS = 0x86;
const NOT_AUTHORIZED = 0x87;
const PATH = '/api/v1/registration';
/** Longer than it takes to record an attempt, hash and log included. */
const RECORDED_MS = 3000;

interface Request {
  readonly id: string;
  readonly username: string;
  readonly count: number;
  readonly conflicting: boolean;
  readonly clientId?: string;
  readonly address?: string;
}

interface Registration {
  readonly state: string;
  readonly items: readonly Request[];
  readonly total: number;
}

describe.each(PROFILES)('registration on the %s profile', (profile) => {
  let running: Running;
  const clients: RawMqtt5Client[] = [];

  beforeAll(async () => {
    running = await startProfile(profile);
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
    await close();
  });
  afterAll(() => running?.[Symbol.asyncDispose]());

  const open = (openDuration = 300_000): Promise<Registration> =>
    running.api.expect(200, 'POST', `${PATH}/open`, { openDuration });
  const close = (): Promise<Registration> => running.api.expect(200, 'POST', `${PATH}/close`);
  const view = (): Promise<Registration> =>
    running.api.expect(200, 'GET', `${PATH}?pageSize=200&sort=createdAt`);
  const grant = (id: string, body: object = {}) =>
    running.api.send('POST', `${PATH}/requests/${id}/grant`, body);

  let turn = 0;
  /** Each connection goes to the next node. */
  async function connect(username: string, password: string) {
    const port = running.mqttPorts[turn++ % running.mqttPorts.length] ?? 0;
    const client = await RawMqtt5Client.open(port);
    clients.push(client);
    const clientId = `client of ${username}`;
    return { client, connack: await client.connect({ clientId, username, password }) };
  }

  async function refused(username: string, password: string): Promise<void> {
    const { client, connack } = await connect(username, password);
    expect(connack).toMatchObject({ reasonCode: BAD_CREDENTIALS, sessionPresent: false });
    await client.closed;
  }

  async function accepted(username: string, password: string): Promise<RawMqtt5Client> {
    const { client, connack } = await connect(username, password);
    expect(connack.reasonCode).toBe(0);
    return client;
  }

  /** Requests of a user name, once there are so many. */
  async function waiting(username: string, many = 1): Promise<readonly Request[]> {
    let found: readonly Request[] = [];
    await until(async () => {
      found = (await view()).items.filter((one) => one.username === username);
      return found.length === many;
    });
    return found;
  }

  /** A later attempt is recorded, so that whatever came before it had its time. */
  async function nothingOf(...usernames: readonly string[]): Promise<void> {
    await refused(`after-${usernames.join()}`, 'password');
    await waiting(`after-${usernames.join()}`);
    const names = (await view()).items.map((one) => one.username);
    expect(names.filter((one) => usernames.includes(one))).toEqual([]);
  }

  it('is locked: a stranger is refused, and nothing is recorded', async () => {
    expect(await view()).toMatchObject({ state: 'locked', items: [], total: 0 });
    await refused('early-stranger', 'password');
    await new Promise((resolve) => setTimeout(resolve, RECORDED_MS));
    expect((await view()).total).toBe(0);
    await open();
    await nothingOf('early-stranger');
  });

  it('is open: a stranger is refused as ever, recorded, and granted nothing but to connect', async () => {
    await open();
    await refused('agent-1', 'password-1');
    const [request] = await waiting('agent-1');
    const client = { clientId: 'client of agent-1', address: '127.0.0.1' };
    expect(request).toMatchObject({ ...client, count: 1, conflicting: false });
    // Also once it has been recorded.
    await refused('agent-1', 'password-1');
    await close();
    expect((await grant(request?.id ?? '')).status).toBe(201);
    const agent = await accepted('agent-1', 'password-1');
    expect(await agent.deliver({ topicName: 'a', payload: 'x', qos: 1 })).toBe(NOT_AUTHORIZED);
    const { reasonCodes } = await agent.subscribe({ topicFilter: 'a', qos: 1 });
    expect(reasonCodes).toEqual([NOT_AUTHORIZED]);
    await refused('agent-1', 'password-2');
    expect(await waiting('agent-1', 0)).toEqual([]);
  });

  it('grants what the administrator names', async () => {
    await open();
    const permission = { context: 'mqtt', resource: 'agents/#', operation: 'readWrite' };
    const role = await running.api.expect<{ id: string }>(201, 'POST', '/api/v1/roles', {
      name: 'agents',
      permissions: [permission],
    });
    await refused('agent-2', 'password-2');
    const [request] = await waiting('agent-2');
    expect((await grant(request?.id ?? '', { roles: [role.id] })).status).toBe(201);
    const agent = await accepted('agent-2', 'password-2');
    const { reasonCodes } = await agent.subscribe({ topicFilter: 'agents/#', qos: 1 });
    expect(reasonCodes).toEqual([1]);
    expect(await agent.deliver({ topicName: 'agents/2', payload: 'x', qos: 1 })).toBe(0);
    expect((await agent.take()).topicName).toBe('agents/2');
    expect(await agent.deliver({ topicName: 'b', payload: 'x', qos: 1 })).toBe(NOT_AUTHORIZED);
  });

  it('never records a wrong password of somebody, or a name or password that is short', async () => {
    const { username } = await running.api.addDevice('somebody', []);
    await open();
    await refused(username, 'wrong-password');
    await refused('ab', 'password');
    await refused('short-password', 'four');
    await nothingOf(username, 'ab', 'short-password');
  });

  it('of two passwords grants one, and discards the other', async () => {
    await open();
    await refused('agent-3', 'first-password');
    await waiting('agent-3');
    await refused('agent-3', 'second-password');
    const both = await waiting('agent-3', 2);
    expect(both.map(({ conflicting }) => conflicting)).toEqual([true, true]);
    expect((await grant(both[1]?.id ?? '')).status).toBe(201);
    await waiting('agent-3', 0);
    expect((await grant(both[0]?.id ?? '')).status).toBe(404);
    await accepted('agent-3', 'second-password');
    await refused('agent-3', 'first-password');
  });

  it('counts who comes again, from any node, as one', async () => {
    await open();
    for (let times = 0; times < 6; times++) await refused('agent-4', 'password-4');
    await until(async () => ((await waiting('agent-4'))[0]?.count ?? 0) >= 6, 40_000);
    expect(await waiting('agent-4')).toMatchObject([{ conflicting: false }]);
  });

  it('denies: the request is gone, and the stranger still outside', async () => {
    await open();
    await refused('agent-5', 'password-5');
    const [request] = await waiting('agent-5');
    await close();
    await running.api.expect(204, 'DELETE', `${PATH}/requests/${request?.id}`);
    await waiting('agent-5', 0);
    await refused('agent-5', 'password-5');
    expect((await grant(request?.id ?? '')).status).toBe(404);
  });

  it('locks itself; what was recorded stays and is granted later', async () => {
    await open();
    await refused('agent-6', 'password-6');
    const [request] = await waiting('agent-6');
    await open(500);
    await until(async () => (await view()).state === 'locked');
    await refused('late-stranger', 'password');
    await new Promise((resolve) => setTimeout(resolve, RECORDED_MS));
    expect((await view()).items.map((one) => one.username)).not.toContain('late-stranger');
    expect((await grant(request?.id ?? '')).status).toBe(201);
    await accepted('agent-6', 'password-6');
  });

  /** As a device does it that speaks HTTP, without any proof. */
  async function register(username: string, password: string, more: object = {}): Promise<number> {
    const { status } = await fetch(`${running.httpUrl}${PATH}/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username, password, ...more }),
    });
    return status;
  }

  it('takes requests over HTTP, and tells what became of them', async () => {
    await running.api.addDevice('owner', []);
    expect(await register('http-1', 'password')).toBe(423);
    await open();
    const context = { pairingId: 'a82123' };
    expect(await register('http-1', 'password', { context })).toBe(202);
    expect(await register('http-1', 'another password')).toBe(409);
    expect(await register('owner', 'password')).toBe(409);
    expect(await register('http-1', 'four')).toBe(400);
    const [request] = await waiting('http-1');
    expect(request).toMatchObject({ context, origin: 'http' });
    await close();
    expect(await register('http-1', 'password')).toBe(202);
    expect((await grant(request?.id ?? '')).status).toBe(201);
    expect(await register('http-1', 'password')).toBe(201);
    await accepted('http-1', 'password');
    // Once a minute has not passed, there is an end; each replica counts for itself.
    const statuses: number[] = [];
    while (!statuses.includes(429) && statuses.length < 40) {
      statuses.push(await register('http-2', 'password'));
    }
    expect(statuses.at(-1)).toBe(429);
    expect(new Set(statuses)).toEqual(new Set([423, 429]));
  });
});

describe.each(PROFILES)('a denied registration on the %s profile', (profile) => {
  it('is answered 403 once', async () => {
    await using running = await startProfile(profile);
    const { api } = running;
    const register = () =>
      api.send('POST', `${PATH}/register`, { username: 'http-3', password: 'password' });
    await api.expect(200, 'POST', `${PATH}/open`);
    expect((await register()).status).toBe(202);
    const { items } = await api.expect<Registration>(200, 'GET', PATH);
    await api.expect(204, 'DELETE', `${PATH}/requests/${items[0]?.id}`);
    await api.expect(200, 'POST', `${PATH}/close`);
    expect([(await register()).status, (await register()).status]).toEqual([403, 423]);
  });
});
