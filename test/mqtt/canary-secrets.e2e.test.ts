import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CertificateAuthority,
  type OtlpReceiver,
  RawMqttClient,
  startCluster,
  startOtlpReceiver,
} from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { PROFILES } from '../harness/profiles.ts';
import { startStandalone } from '../harness/standalone.ts';

/** Every secret of this test by the place that it is planted in; found again, it tells where it came from. */
const planted = new Map<string, string>();

function plant(place: string): string {
  const secret = `Canary-${planted.size}-${place.replaceAll(' ', '-')}-7f3Qx9`;
  planted.set(place, secret);
  return secret;
}

/** By which the façades know the first administrator. */
const ADMIN_EMAIL = 'sysadmin@example.org';

/** A running system, and all that it writes. */
interface Watched extends AsyncDisposable {
  readonly url: string;
  readonly mqttPort: number;
  readonly opsUrls: readonly string[];
  /** Where it keeps what it knows. */
  readonly folders: readonly string[];
  /** A file of the log is one whose path has this in it. */
  readonly logFile: string;
}

let receiver: OtlpReceiver;
let system: Watched;
let api: Api;
let authorities: CertificateAuthority;
const lines: string[] = [];
const answers: string[] = [];

const onLine = (line: string): void => void lines.push(line);

async function startWatched(profile: (typeof PROFILES)[number]): Promise<Watched> {
  const adminPassword = plant('admin password');
  const telemetry = { SALLYPORT_TELEMETRY__LOG_LEVEL: 'debug' };
  if (profile === 'standalone') {
    const env = { ...telemetry, SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: adminPassword };
    const one = await startStandalone(
      { ...env, SALLYPORT_TELEMETRY__OTLP_URL: receiver.url },
      { onLine },
    );
    const { url, mqttPort, dataDir } = one;
    return {
      ...{ url, mqttPort, opsUrls: [url], folders: [dataDir], logFile: 'log.sqlite' },
      [Symbol.asyncDispose]: () => one[Symbol.asyncDispose](),
    };
  }
  const secretsKey = randomBytes(32).toString('base64');
  const services = ['admin-api', 'policy', 'broker'] as const;
  const email = { SALLYPORT_BOOTSTRAP__ADMIN_EMAIL: ADMIN_EMAIL };
  const more = { 'admin-api': email, policy: {}, broker: {} };
  const cluster = await startCluster({
    ...{ adminApis: 1, policies: 1, brokers: 1, adminPassword, secretsKey, onLine },
    otlpUrl: receiver.url,
    env: Object.fromEntries(
      services.map((service) => [service, { ...telemetry, ...more[service] }]),
    ),
  });
  planted.set('deployment key', secretsKey);
  planted.set('token of the policy service', cluster.policyToken);
  planted.set('secret of the first API key', cluster.apiKey.secret);
  for (const [user, password] of Object.entries(cluster.natsPasswords)) {
    planted.set(`NATS password of ${user}`, password);
  }
  const nodes = [...cluster.adminApis, ...cluster.policies, ...cluster.brokers];
  return {
    url: cluster.adminUrls[0] ?? '',
    mqttPort: cluster.brokers[0]?.mqttPort ?? 0,
    opsUrls: nodes.map((node) => node.opsUrl),
    folders: ['nats', 'redis'].map((name) => join(cluster.dataDir, name)),
    logFile: join('nats', 'jetstream'),
    [Symbol.asyncDispose]: () => cluster.stop(),
  };
}

async function start(profile: (typeof PROFILES)[number]): Promise<void> {
  planted.clear();
  lines.length = 0;
  answers.length = 0;
  receiver = await startOtlpReceiver();
  authorities = await CertificateAuthority.create('/CN=Authority');
  system = await startWatched(profile);
  const login = { username: 'admin', password: planted.get('admin password') ?? '' };
  interface Session {
    readonly accessToken: string;
    readonly refreshToken: string;
  }
  const visitor = new Api(system.url);
  const first = await visitor.expect<Session>(200, 'POST', '/api/v1/auth/login', login);
  const { refreshToken } = first;
  const second = await visitor.expect<Session>(200, 'POST', '/api/v1/auth/refresh', {
    refreshToken,
  });
  for (const [when, session] of Object.entries({ first, second })) {
    planted.set(`${when} access token`, session.accessToken);
    planted.set(`${when} refresh token`, session.refreshToken);
  }
  api = new Api(system.url, `Bearer ${second.accessToken}`);
}

async function stop(): Promise<void> {
  await system?.[Symbol.asyncDispose]();
  await receiver?.stop();
}

/** Sends, keeps the answer, and wants one of these statuses. */
async function send(method: string, path: string, body: unknown, ...wanted: number[]) {
  const answer = await api.send(method, `/api/v1${path}`, body);
  answers.push(JSON.stringify([answer.body, [...answer.headers]]));
  expect(wanted, JSON.stringify(answer.body)).toContain(answer.status);
  return answer.body as Record<string, string>; // The members that are read below are texts.
}

/** The same with a body in another form. */
async function sendText(path: string, type: string, body: string) {
  const answer = await api.sendText('POST', path, body, { 'content-type': type });
  answers.push(JSON.stringify([answer.body, [...answer.headers]]));
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
}

async function connect(options: object): Promise<number> {
  const client = await RawMqttClient.open(system.mqttPort);
  const { returnCode } = await client.connect({ clientId: 'c', cleanSession: true, ...options });
  client.destroy();
  return returnCode;
}

/** The secret as it might be written down: as it is, in other encodings, or behind a hash without a key. */
function disguises(secret: string): readonly Buffer[] {
  const bytes = Buffer.from(secret);
  const digest = createHash('sha256').update(bytes).digest();
  const texts = [
    secret,
    // The middle of it, whatever stands before and after in the same groups of three bytes.
    ...[0, 1, 2].map((skip) =>
      bytes
        .subarray(skip + 3)
        .toString('base64')
        .slice(0, 16),
    ),
    bytes.toString('hex'),
    encodeURIComponent(secret),
    digest.toString('hex'),
    digest.toString('base64'),
    digest.toString('base64url'),
  ];
  return texts.map((text) => Buffer.from(text));
}

function findIn(place: string, content: Buffer): string[] {
  return [...planted].flatMap(([name, secret]) =>
    disguises(secret).some((text) => content.includes(text)) ? [`${name} in ${place}`] : [],
  );
}

function* filesOf(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesOf(path);
    else if (entry.isFile()) yield path;
  }
}

describe.each(PROFILES)('secrets that are planted everywhere on the %s profile', (profile) => {
  beforeAll(() => start(profile));
  afterAll(stop);

  it('are taken, given out once, used, mistyped and explained', async () => {
    const chosen = plant('chosen password');
    const device = { name: 'device', match: { username: 'device' }, password: chosen };
    const { id } = await send('POST', '/credentials', device, 201);
    const generated = await api.expect<{ id: string; secret: string }>(
      201,
      'POST',
      '/api/v1/credentials',
      { name: 'machine', match: { username: 'machine' }, generateSecret: true },
    );
    planted.set('generated secret', generated.secret);
    const scram = { name: 's', match: { username: 's' }, password: plant('scram password') };
    await send('POST', '/credentials', { ...scram, scram: ['SCRAM-SHA-256'] }, 201);
    const rotated = plant('rotated password');
    await send('POST', `/credentials/${id}/secrets`, { password: rotated }, 201);
    const key = await api.expect<{ secret: string }>(201, 'POST', '/api/v1/api-keys', {
      name: 'key',
      role: 'viewer',
    });
    planted.set('secret of an API key', key.secret);
    const operator = { name: 'viewer', role: 'viewer', password: plant('operator password') };
    await send('POST', '/operators', operator, 201);
    for (const wrong of [plant('wrong operator password'), plant('wrong admin password')]) {
      await send('POST', '/auth/login', { username: 'admin', password: wrong }, 401);
    }
    await send(
      'POST',
      '/credentials',
      { ...device, password: plant('password of a conflict') },
      409,
    );
    const malformed = { ...device, name: '', password: plant('password of a bad request') };
    await send('POST', '/credentials', malformed, 400, 422);
    await send('GET', `/credentials/${id}`, undefined, 200);
    await send('GET', '/credentials', undefined, 200);
    await send('GET', '/api-keys', undefined, 200);
    await send('GET', '/operators', undefined, 200);
    const question = { credentialId: id, clientId: 'c', username: 'device', topic: 't' };
    await send('POST', '/explain', { ...question, action: 'publish' }, 200);
    expect(await connect({ username: 'device', password: rotated })).toBe(0);
    expect(await connect({ username: 'device', password: rotated })).toBe(0);
    expect(await connect({ username: 'machine', password: generated.secret })).toBe(0);
    const wrong = plant('wrong password of a device');
    expect(await connect({ username: 'device', password: wrong })).not.toBe(0);
    const unknown = plant('password of nobody');
    expect(await connect({ username: 'nobody', password: unknown })).not.toBe(0);
  });

  it('are asked for access with, granted and denied', async () => {
    await send('POST', '/registration/open', {}, 200);
    const stranger = { username: 'stranger', password: plant('password of a stranger') };
    expect(await connect(stranger)).not.toBe(0);
    const caller = { username: 'caller', password: plant('password of a caller') };
    await send('POST', '/registration/register', caller, 202);
    const other = { username: 'caller', password: plant('other password of a caller') };
    await send('POST', '/registration/register', other, 409);
    await expect
      .poll(async () => (await api.send('GET', '/api/v1/registration')).body, { timeout: 10_000 })
      .toMatchObject({ total: 2 });
    type Requests = { readonly items: readonly { id: string; username: string }[] };
    const { items } = await api.expect<Requests>(200, 'GET', '/api/v1/registration');
    const idOf = (name: string) => items.find(({ username }) => username === name)?.id;
    await send('POST', `/registration/requests/${idOf('stranger')}/grant`, {}, 201);
    expect(await connect(stranger)).toBe(0);
    await send('DELETE', `/registration/requests/${idOf('caller')}`, undefined, 204);
    await send('POST', '/registration/register', caller, 403);
  });

  it('come in by files, in the forms of others, and with certificates', async () => {
    const importPath = '/api/v1/credentials/import';
    const csv = `name,match.username,password\nby-csv,by-csv,${plant('CSV password')}\n`;
    await sendText(importPath, 'text/csv', csv);
    const moved = createHash('sha256').update(plant('password of a hash')).digest('hex');
    planted.set('imported hash', moved);
    const rows = [
      { name: 'by-row', match: { username: 'by-row' }, password: plant('NDJSON password') },
      {
        ...{ name: 'moved', match: { username: 'moved' } },
        passwordHash: { algorithm: 'sha256', hash: moved },
      },
      { name: 'bad', match: {}, password: plant('password of a bad row') },
    ];
    const ndjson = rows.map((row) => JSON.stringify(row)).join('\n');
    await sendText(importPath, 'application/x-ndjson', ndjson);
    const file = `version: 1\ncredentials:\n  - { name: by-file, match: { username: by-file }, password: ${plant('YAML password')} }\n`;
    for (const call of ['diff', 'apply']) {
      await sendText(`/api/v1/config/${call}`, 'application/yaml', file);
    }
    const facade = { userName: 'by-facade', password: plant('facade password') };
    const login = { username: ADMIN_EMAIL, password: planted.get('admin password') };
    const session = await api.expect<{ token: string }>(200, 'POST', '/api/auth/login', login);
    planted.set('facade token', session.token);
    const body = {
      ...{ name: 'by-facade', credentialsType: 'MQTT_BASIC' },
      credentialsValue: JSON.stringify({ ...facade, authorizationRulePattern: '.*' }),
    };
    const answer = await api.send('POST', '/api/mqtt/client/credentials', body, {
      'x-authorization': `Bearer ${session.token}`,
    });
    answers.push(JSON.stringify(answer.body));
    expect(answer.status).toBe(200);
    const { cert, key } = await authorities.issue({ subject: '/CN=localhost', use: 'server' });
    planted.set('server key', key.split('\n')[1] ?? expect.fail('no key'));
    const own = { clientCertificate: 'none', serverCertificate: cert, serverKey: key };
    await send('PUT', '/certificates/ssl:default', own, 200);
    for (const user of ['by-csv', 'by-row', 'by-file', 'by-facade']) {
      const places = { 'by-csv': 'CSV', 'by-row': 'NDJSON', 'by-file': 'YAML' } as const;
      const place = user in places ? places[user as keyof typeof places] : 'facade';
      const password = planted.get(`${place} password`);
      expect(await connect({ username: user, password }), user).toBe(0);
    }
    expect(await connect({ username: 'moved', password: planted.get('password of a hash') })).toBe(
      0,
    );
  });

  it('appear in no answer, line, span, metric or file', async () => {
    expect(planted.size).toBe(profile === 'standalone' ? 29 : 36);
    await receiver.waitForSpans(
      (spans) => spans.some((one) => one.name === 'mqtt.connect'),
      20_000,
    );
    const metrics = await Promise.all(
      system.opsUrls.map((url) => fetch(`${url}/metrics`).then((one) => one.text())),
    );
    const found = [
      ...findIn('an answer', Buffer.from(answers.join('\n'))),
      ...findIn('the log', Buffer.from(lines.join('\n'))),
      ...findIn('a span', Buffer.from(JSON.stringify(receiver.spans))),
      ...findIn('a metric', Buffer.from(metrics.join('\n'))),
    ];
    const files = system.folders.flatMap((folder) => [...filesOf(folder)]);
    expect(files.some((path) => path.includes(system.logFile))).toBe(true);
    for (const folder of system.folders) {
      expect(files.some((path) => path.startsWith(folder))).toBe(true);
    }
    for (const path of files) found.push(...findIn(path, readFileSync(path)));
    expect(found).toEqual([]);
    // What is looked for would be found: a name that is no secret is there.
    const log = files
      .filter((path) => path.includes(system.logFile))
      .map((path) => readFileSync(path));
    expect(Buffer.concat(log).includes('machine')).toBe(true);
    expect(answers.length).toBeGreaterThan(10);
    expect(lines.length).toBeGreaterThan(3);
  });
});
