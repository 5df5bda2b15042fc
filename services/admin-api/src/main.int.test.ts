import { randomBytes } from 'node:crypto';
import {
  freePorts,
  type NatsServer,
  type OtlpReceiver,
  repositoryPath,
  type ServerProcess,
  startNatsServer,
  startOtlpReceiver,
  startProcess,
  tempFolder,
} from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const users = {
  'admin-api': 'the password of admin-api',
  policy: 'the password of policy...',
  broker: 'the password of broker...',
  'admin-api-nodes': 'the-password-of-admin-api-nodes',
};
const key = randomBytes(32).toString('base64');
const CANARY = 'canary-5up3r-s3cr3t';

interface Replica {
  readonly process: ServerProcess;
  readonly url: string;
}

let nats: NatsServer;
let receiver: OtlpReceiver;
let replicas: Replica[];

async function start(name: string, more: Readonly<Record<string, string>> = {}): Promise<Replica> {
  const [http = 0, ops = 0] = await freePorts(2);
  const process = await startProcess({
    name,
    entry: repositoryPath('services/admin-api/dist/main.js'),
    env: {
      SALLYPORT_OPS__LISTEN: `127.0.0.1:${ops}`,
      SALLYPORT_HTTP__LISTEN: `127.0.0.1:${http}`,
      SALLYPORT_NATS__SERVERS: nats.address,
      SALLYPORT_NATS__USER: 'admin-api',
      SALLYPORT_NATS__NODES_USER: 'admin-api-nodes',
      SALLYPORT_NATS__NODES_PASSWORD: users['admin-api-nodes'],
      SALLYPORT_NATS__PASSWORD: users['admin-api'],
      SALLYPORT_TELEMETRY__OTLP_URL: receiver.url,
      SALLYPORT_DATA_DIR: tempFolder(name),
      SALLYPORT_SECRETS__KEY: key,
      SALLYPORT_POLICY__TOKEN: 'the token of the policy service',
      ...more,
    },
    ready: { url: `http://127.0.0.1:${ops}/readyz` },
    readyTimeoutMs: 30_000,
  });
  return { process, url: `http://127.0.0.1:${http}` };
}

interface Json {
  readonly accessToken: string;
  readonly code: string;
  readonly id: string;
  readonly revision: number;
}

async function send(
  { url }: Replica,
  method: string,
  path: string,
  options: { readonly token?: string; readonly body?: object; readonly key?: string } = {},
): Promise<{ status: number; body: Json; headers: Headers }> {
  const { token, body, key: idempotencyKey } = options;
  const answer = await fetch(`${url}${path}`, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  const parsed = (text === '' ? {} : JSON.parse(text)) as Json;
  return { status: answer.status, body: parsed, headers: answer.headers };
}

const login = (replica: Replica, password: string) =>
  send(replica, 'POST', '/api/v1/auth/login', { body: { username: 'admin', password } });

/** What the first start printed, from whichever replica was first. */
function printedPassword(): string {
  const lines = replicas.flatMap(({ process }) => process.lines);
  const told = lines.flatMap(
    (line) => /^First start\. Log in as admin with: (\S+)$/.exec(line) ?? [],
  );
  expect(told).toHaveLength(2); // One line: all of it, and the password in it.
  return told[1] ?? '';
}

beforeAll(async () => {
  nats = await startNatsServer({ users });
  receiver = await startOtlpReceiver();
  replicas = await Promise.all([start('admin-api-1'), start('admin-api-2')]);
});

afterAll(async () => {
  for (const { process } of replicas) await process.stop();
  await receiver.stop();
  await nats.stop();
});

const credential = (name: string) => ({ name, match: { username: name }, password: CANARY });

describe('two processes on one nats-server', () => {
  it('start together, and print one password, which opens both', async () => {
    const password = printedPassword();
    for (const replica of replicas) expect((await login(replica, password)).status).toBe(200);
  });

  it('read back at once what the other has stored, and a logout on one counts on both', async () => {
    const [one, two] = replicas as [Replica, Replica];
    const { accessToken: token } = (await login(one, printedPassword())).body;
    for (let round = 0; round < 20; round++) {
      const body = credential(`round-${round}`);
      const made = await send(one, 'POST', '/api/v1/credentials', { token, body });
      expect(made.status).toBe(201);
      const read = await send(two, 'GET', `/api/v1/credentials/${made.body.id}`, { token });
      expect(read.status).toBe(200);
    }
    expect((await send(two, 'POST', '/api/v1/auth/logout', { token })).status).toBe(204);
    const after = await send(one, 'GET', '/api/v1/status', { token });
    expect([after.status, after.body.code]).toEqual([401, 'token_expired']);
  });

  it('say 503 while the log is away, go on reading, and take the same request once it is back', async () => {
    const [one] = replicas as [Replica, Replica];
    const { accessToken: token } = (await login(one, printedPassword())).body;
    await nats.kill();
    const request = { token, body: credential('through the outage'), key: 'outage' };
    const away = await send(one, 'POST', '/api/v1/credentials', request);
    expect(away.status).toBe(503);
    expect(away.headers.get('retry-after')).toBe('1');
    expect((await send(one, 'GET', '/api/v1/credentials', { token })).status).toBe(200);
    await nats.restart();
    await expect
      .poll(async () => (await send(one, 'POST', '/api/v1/credentials', request)).status, {
        timeout: 20_000,
      })
      .toBe(201);
    const again = await send(one, 'POST', '/api/v1/credentials', request);
    expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([201, 'true']);
  });

  it('lead a trace from the request to the commit, and no secret is in any span or line', async () => {
    const password = printedPassword();
    // What is around a command ends, and comes, behind it.
    await receiver.waitForSpans((spans) => {
      const command = spans.find(({ name }) => name === 'command');
      const parent = spans.find(({ spanId }) => spanId === command?.parentSpanId);
      return parent !== undefined && parent.traceId === command?.traceId;
    });
    const lines = replicas.flatMap(({ process }) => process.lines);
    const said = [...lines, ...receiver.spans.map((span) => JSON.stringify(span))];
    expect(said.filter((text) => text.includes(CANARY) || text.includes(key))).toEqual([]);
    expect(said.filter((text) => text.includes(password))).toHaveLength(1);
  });

  it('end cleanly on SIGTERM, and start again on the same log without a new administrator', async () => {
    const password = printedPassword();
    const [one, two] = replicas as [Replica, Replica];
    await one.process.stop();
    expect(await one.process.exit).toEqual({ code: 0, signal: null });
    const third = await start('admin-api-3', {
      SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: 'another password',
    });
    replicas = [one, two, third];
    expect((await login(third, password)).status).toBe(200);
    expect((await login(third, 'another password')).status).toBe(401);
    expect(third.process.lines.join('\n')).not.toContain('First start');
  });

  it('refuse to start with half an API key, and say which half', async () => {
    const half = start('admin-api-4', { SALLYPORT_BOOTSTRAP__API_KEY: 'half' });
    await expect(half).rejects.toThrow('bootstrap.apiSecret');
  });
});
