import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { RawMqtt5Client, until } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { counted } from '../harness/metrics.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

const SERVER_UNAVAILABLE = 0x88;

interface Device {
  readonly id: string;
  readonly username: string;
  readonly password: string;
}

let standalone: Standalone;
let api: Api;
const clients: RawMqtt5Client[] = [];

beforeAll(async () => {
  standalone = await startStandalone();
  api = await Api.login(standalone.url, 'admin', standalone.adminPassword);
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
});
afterAll(() => standalone?.[Symbol.asyncDispose]());

let made = 0;
const newDevice = (): Promise<Device> =>
  api.addDevice(`device-${made++}`, [{ effect: 'allow', action: 'all', topicFilter: '#' }]);

async function open({ username, password }: Device, more: object = {}) {
  const client = await RawMqtt5Client.open(standalone.mqttPort);
  clients.push(client);
  const { reasonCode } = await client.connect({ clientId: username, username, password, ...more });
  return { client, reasonCode };
}
const connect = async (device: Device): Promise<number> => (await open(device)).reasonCode;

/** Everything behind the first page is something else, in the file and in what is not in it yet. */
function damageReadModel(): void {
  for (const suffix of ['', '-wal']) {
    const path = join(standalone.dataDir, `read-model.sqlite${suffix}`);
    const length = (statSync(path, { throwIfNoEntry: false })?.size ?? 0) - 4096;
    if (length <= 0) continue;
    const file = openSync(path, 'r+');
    writeSync(file, Buffer.alloc(length, 0x5a), 0, length, 4096);
    closeSync(file);
  }
}

it('a full disk refuses writes and sessions to be kept, forgets nothing, and is noticed when it has space', async () => {
  const device = await newDevice();
  const kept = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };
  const subscriber = await open({ ...device, username: device.username }, kept);
  expect(subscriber.reasonCode).toBe(0);
  await subscriber.client.subscribe({ topicFilter: 'a', qos: 1 });
  subscriber.client.destroy();
  await subscriber.client.closed;
  const other = await newDevice();
  const publisher = await open(other);
  expect(publisher.reasonCode).toBe(0);

  const failed = () => counted(standalone.url, 'sallyport_log_appends', { outcome: 'failed' });
  const unavailable = () => counted(standalone.url, 'sallyport_sessions_unavailable');
  const before = [await failed(), await unavailable()] as const;
  const line = standalone.process.lines.length;
  standalone.process.limitFiles(1);
  const body = { name: 'refused', match: { username: 'refused' }, generateSecret: true };
  const refused = await api.send('POST', '/api/v1/credentials', body);
  expect([refused.status, refused.body]).toMatchObject([503, { code: 'log_unavailable' }]);
  // What has to be kept for somebody and cannot is not acknowledged.
  const said = await publisher.client.deliver({ topicName: 'a', payload: 'lost', qos: 1 });
  expect(said).toBeGreaterThanOrEqual(0x80);
  expect((await open(device, kept)).reasonCode).toBe(SERVER_UNAVAILABLE);
  await standalone.process.waitForLine(/sessions cannot be stored/, undefined, line);
  await standalone.process.waitForLine(/log_unavailable/, undefined, line);
  expect(await failed()).toBeGreaterThan(before[0]);
  await until(async () => (await unavailable()) > before[1]);

  standalone.process.limitFiles();
  await until(
    async () => (await api.send('POST', '/api/v1/credentials', body)).status === 201,
    10_000,
  );
  await until(async () => (await fetch(`${standalone.url}/readyz`)).ok, 10_000);
  const again = await open(other);
  expect(await again.client.deliver({ topicName: 'a', payload: 'kept', qos: 1 })).toBe(0);
  const back = await open(device, kept);
  expect(back.reasonCode).toBe(0);
  expect((await back.client.take()).payload.toString()).toBe('kept');
});

it('a read model that was damaged while the process was down is made anew from the log', async () => {
  const device = await newDevice();
  expect(await connect(device)).toBe(0);
  const path = `/api/v1/credentials/${device.id}`;
  const used = await api.expect<{ lastUsedAt: string }>(200, 'GET', path);
  await standalone.process.stop();
  damageReadModel();
  await standalone.process.start();
  expect(await connect(device)).toBe(0);
  // Stored when the process went, and not in the log.
  api = await Api.login(standalone.url, 'admin', standalone.adminPassword);
  const { lastUsedAt } = await api.expect<{ lastUsedAt: string }>(200, 'GET', path);
  expect(Date.parse(lastUsedAt)).toBeGreaterThanOrEqual(Date.parse(used.lastUsedAt));
});

it('a read model that is damaged while it is used lets nobody in by what it says, and is made anew', async () => {
  const device = await newDevice();
  // A process that has nothing of the file in memory.
  await standalone.process.restart('kill');
  const line = standalone.process.lines.length;
  damageReadModel();
  await until(async () => {
    const code = await connect(device);
    expect([0, SERVER_UNAVAILABLE]).toContain(code);
    return code === 0;
  }, 15_000);
  await standalone.process.waitForLine(/trouble with the read model/, 5_000, line);
  expect(
    await counted(standalone.url, 'sallyport_read_model_troubles', { reason: 'damaged' }),
  ).toBeGreaterThan(0);
  await until(async () => (await fetch(`${standalone.url}/readyz`)).ok, 10_000);
  api = await Api.login(standalone.url, 'admin', standalone.adminPassword);
  await api.expect(200, 'GET', `/api/v1/credentials/${device.id}`);
  expect((await newDevice()).id).not.toBe(device.id);
});
