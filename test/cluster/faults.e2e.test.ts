import { randomBytes } from 'node:crypto';
import { createServer as createHttp2Server } from 'node:http2';
import { createServer, type Server } from 'node:net';
import { type Cluster, RawMqtt5Client, startCluster, until } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { counted } from '../harness/metrics.ts';

const SERVER_UNAVAILABLE = 0x88;
const STALENESS_SECONDS = 2;
/** Room for log and registry: what the tests write, and a few large commits. */
const STORE_BYTES = 500 * 1024;

let cluster: Cluster;
let api: Api;
const clients: RawMqtt5Client[] = [];

const broker = () => cluster.brokers[0] ?? expect.fail('no broker');
const policy = () => cluster.policies[0] ?? expect.fail('no policy service');

beforeAll(async () => {
  const staleness = {
    SALLYPORT_ENFORCEMENT__MAX_STALENESS_SECONDS: String(STALENESS_SECONDS),
  };
  cluster = await startCluster({
    adminApis: 1,
    policies: 1,
    brokers: 1,
    storeBytesMax: STORE_BYTES,
    env: { broker: staleness, 'admin-api': staleness },
  });
  api = Api.withKey(cluster.adminUrls[0] ?? '', cluster.apiKey);
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
});
afterAll(() => cluster?.stop());

interface Device {
  readonly id: string;
  readonly username: string;
  readonly password: string;
}

let made = 0;
/** A device that no node has seen. */
const newDevice = (): Promise<Device> =>
  api.addDevice(`device-${made++}`, [{ effect: 'allow', action: 'all', topicFilter: '#' }]);

async function connect({ username, password }: Device): Promise<number> {
  const client = await RawMqtt5Client.open(broker().mqttPort);
  clients.push(client);
  const { reasonCode } = await client.connect({ clientId: username, username, password });
  return reasonCode;
}

/** The log's reasons for a CONNECT that the policy service has not decided. */
const UNDECIDED = /"(code|reason)":"(connect )?(policy_not_ready|invalid_request|internal)"/;

const refusals = () =>
  counted(broker().opsUrl, 'sallyport_connects', { outcome: 'server_unavailable' });

/** The lines of one reason are limited, and what was left out is told with the reason every ten seconds. */
const TOLD_WITHIN_MS = 12_000;

/**
 * Nobody new is let in, and it is said why; by itself it is as before once `heal` is done. Resolves to the milliseconds that the refusal
 * took.
 */
async function deniesMeanwhile(
  reason: RegExp,
  meanwhile: { readonly break: () => Promise<void>; readonly heal: () => Promise<void> },
): Promise<number> {
  const device = await newDevice();
  const before = await refusals();
  let took: number;
  const line = broker().process.lines.length;
  await meanwhile.break();
  try {
    const asked = performance.now();
    expect(await connect(device)).toBe(SERVER_UNAVAILABLE);
    took = performance.now() - asked;
    await broker().process.waitForLine(reason, TOLD_WITHIN_MS, line);
    expect(await refusals()).toBeGreaterThan(before);
  } finally {
    await meanwhile.heal();
  }
  await until(async () => (await connect(device)) === 0, 15_000);
  return took;
}

/** A server whose answers have a status that says that all is well. */
function grpcAnswer(message: Buffer): Server {
  const server = createHttp2Server();
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    const headers = { ':status': 200, 'content-type': 'application/grpc+proto' };
    stream.respond(headers, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    stream.end(Buffer.concat([head, message]));
  });
  server.on('sessionError', () => undefined);
  return server;
}

const rawAnswer = (text: string): Server =>
  createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(text);
  });

describe('the policy service', () => {
  it('is dead: nobody new gets in, who is in goes on, and it is found again when it is back', async () => {
    const live = await RawMqtt5Client.open(broker().mqttPort);
    clients.push(live);
    await live.connect({ clientId: 'live', ...(await newDevice()) });
    const again = await newDevice();
    expect(await connect(again)).toBe(0);
    await deniesMeanwhile(
      /policy_not_ready.*connect not decided|connect refused.*policy_not_ready/,
      {
        break: async () => {
          await policy().process.kill();
          // Known already: verified in memory.
          expect(await connect(again)).toBe(0);
          expect(await live.deliver({ topicName: 'a', payload: 'x', qos: 1 })).toBeLessThan(0x80);
        },
        heal: () => policy().process.start(),
      },
    );
  });

  it('is frozen: the refusal comes in bounded time, and it goes on when it is thawed', async () => {
    const took = await deniesMeanwhile(/policy_not_ready/, {
      break: async () => policy().process.freeze(),
      heal: async () => policy().process.thaw(),
    });
    expect(took).toBeLessThan(10_000);
  });

  it('answers rubbish: whatever it is, it lets nobody in, and the real one is found again', async () => {
    const device = await newDevice();
    const port = Number(policy().address.split(':').at(-1));
    await policy().process.kill();
    try {
      for (const server of [
        rawAnswer('SSH-2.0-OpenSSH_9.2p1\r\n'.repeat(100)),
        grpcAnswer(Buffer.alloc(0)),
        grpcAnswer(Buffer.alloc(500, 0xff)),
        // Fields 1 and 2 of the answer, messages with nothing in them.
        grpcAnswer(Buffer.from([0x0a, 0x00, 0x12, 0x00])),
      ]) {
        const sockets = new Set<{ destroy(): void }>();
        server.on('connection', (socket) => sockets.add(socket));
        const before = await refusals();
        const line = broker().process.lines.length;
        await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
        expect(await connect(device)).toBe(SERVER_UNAVAILABLE);
        // Its first lines of this reason in ten seconds, or what is told of those left out.
        await broker().process.waitForLine(UNDECIDED, TOLD_WITHIN_MS, line);
        expect(await refusals()).toBeGreaterThan(before);
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => server.close(resolve));
      }
    } finally {
      await policy().process.start();
    }
    await until(async () => (await connect(device)) === 0, 15_000);
  });

  it('has a full disk: what it cannot fold it does not answer for, and it goes on when there is space', async () => {
    const line = policy().process.lines.length;
    policy().process.limitFiles(1);
    try {
      // The log is elsewhere, and takes it.
      const body = { name: 'late', match: { username: 'late' }, generateSecret: true };
      const { id, secret } = await api.expect<{ id: string; secret: string }>(
        201,
        'POST',
        '/api/v1/credentials',
        body,
      );
      const late = { id, username: 'late', password: secret };
      expect(await connect(late)).toBe(SERVER_UNAVAILABLE);
      await policy().process.waitForLine(/trouble with the read model/, undefined, line);
      const ready = await fetch(`${policy().opsUrl}/readyz`);
      expect([ready.status, await ready.text()]).toEqual([
        503,
        expect.stringContaining('read_model_unavailable'),
      ]);
      expect(
        await counted(policy().opsUrl, 'sallyport_read_model_troubles', { reason: 'disk' }),
      ).toBeGreaterThan(0);
      policy().process.limitFiles();
      await until(async () => (await connect(late)) === 0, 15_000);
    } finally {
      policy().process.limitFiles();
    }
    await until(async () => (await fetch(`${policy().opsUrl}/readyz`)).ok);
  });
});

describe('the log', () => {
  it('is silent: nobody new gets in, and all is as before when it speaks', async () => {
    const known = await newDevice();
    expect(await connect(known)).toBe(0);
    await deniesMeanwhile(/the log is silent/, {
      break: async () => {
        cluster.nats.process.freeze();
        const text = async () => (await fetch(`${broker().opsUrl}/readyz`)).text();
        await until(async () => (await text()).includes('the log is silent'), 10_000);
        // Also who is verified in memory.
        expect(await connect(known)).toBe(SERVER_UNAVAILABLE);
      },
      heal: async () => cluster.nats.process.thaw(),
    });
  });

  it('is full: a write is refused with 507, nothing that was acknowledged is lost, and there is room again later', async () => {
    // The log packs what is large; of this nothing becomes less.
    const rules = () =>
      Array.from({ length: 100 }, (_, index) => ({
        ruleId: `${index}`,
        effect: 'allow',
        action: 'publish',
        topicFilter: `${index}/${randomBytes(675).toString('base64url')}`,
      }));
    const stored: string[] = [];
    const add = (path: string) => api.send('PUT', path, { rules: rules() });
    const pathOf = (index: number) => `/api/v1/acl/clients/large-${index}`;
    const failed = () =>
      counted(cluster.adminApis[0]?.opsUrl ?? '', 'sallyport_log_appends', { outcome: 'failed' });
    const before = await failed();
    const line = cluster.adminApis[0]?.process.lines.length ?? 0;
    let refused = await add(pathOf(0));
    for (let index = 1; refused.status < 300; index++) {
      stored.push(pathOf(index - 1));
      expect(index).toBeLessThan(10);
      refused = await add(pathOf(index));
    }
    expect([refused.status, refused.body]).toMatchObject([507, { code: 'log_full' }]);
    expect(await failed()).toBeGreaterThan(before);
    await cluster.adminApis[0]?.process.waitForLine(/log_full/, TOLD_WITHIN_MS, line);
    // What is stored is read, and who is known is served.
    for (const path of stored) await api.expect(200, 'GET', path);
    cluster.nats.setStoreBytesMax(10 * STORE_BYTES);
    await cluster.nats.restart();
    await until(async () => (await add(pathOf(99))).status < 300, 20_000);
    for (const path of stored) await api.expect(200, 'GET', path);
    expect(await connect(await newDevice())).toBe(0);
  });
});

describe('the session store', () => {
  it('is down: nobody new gets in, nothing is acknowledged that must be stored, and all is as before when it is back', async () => {
    const known = await newDevice();
    const publisher = await RawMqtt5Client.open(broker().mqttPort);
    clients.push(publisher);
    await publisher.connect({ clientId: known.username, ...known });
    const stored = await newDevice();
    const sleeper = await RawMqtt5Client.open(broker().mqttPort);
    await sleeper.connect({
      ...{ clientId: stored.username, ...stored, cleanStart: false },
      properties: { sessionExpiryInterval: 600 },
    });
    await sleeper.subscribe({ topicFilter: 'kept', qos: 1 });
    sleeper.destroy();
    await sleeper.closed;
    const unavailable = () => counted(broker().opsUrl, 'sallyport_sessions_unavailable');
    const before = await unavailable();
    const line = broker().process.lines.length;
    await cluster.redis.kill();
    try {
      expect(await connect(await newDevice())).toBe(SERVER_UNAVAILABLE);
      const lost = { topicName: 'kept', payload: 'lost', qos: 1 } as const;
      expect(await publisher.deliver(lost)).toBeGreaterThanOrEqual(0x80);
      await broker().process.waitForLine(/session_store_unavailable/, TOLD_WITHIN_MS, line);
      await until(async () => (await unavailable()) > before);
      await until(async () => {
        const ready = await fetch(`${broker().opsUrl}/readyz`);
        return ready.status === 503 && (await ready.text()).includes('not connected');
      });
    } finally {
      await cluster.redis.restart();
    }
    await until(async () => (await connect(await newDevice())) === 0, 20_000);
  });
});
