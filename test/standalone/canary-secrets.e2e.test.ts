import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type OtlpReceiver, RawMqttClient, startOtlpReceiver } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

/** Every secret of this test by the place that it is planted in; found again, it tells where it came from. */
const planted = new Map<string, string>();

function plant(place: string): string {
  const secret = `Canary-${planted.size}-${place.replaceAll(' ', '-')}-7f3Qx9`;
  planted.set(place, secret);
  return secret;
}

let receiver: OtlpReceiver;
let standalone: Standalone;
let api: Api;
const lines: string[] = [];
const answers: string[] = [];

beforeAll(async () => {
  receiver = await startOtlpReceiver();
  standalone = await startStandalone(
    {
      SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: plant('admin password'),
      SALLYPORT_TELEMETRY__OTLP_URL: receiver.url,
      SALLYPORT_TELEMETRY__LOG_LEVEL: 'debug',
    },
    { onLine: (line) => lines.push(line) },
  );
  api = await Api.login(standalone.url, 'admin', planted.get('admin password') ?? '');
});

afterAll(async () => {
  await standalone?.[Symbol.asyncDispose]();
  await receiver?.stop();
});

/** Sends, keeps the answer, and wants one of these statuses. */
async function send(method: string, path: string, body: unknown, ...wanted: number[]) {
  const answer = await api.send(method, `/api/v1${path}`, body);
  answers.push(JSON.stringify([answer.body, [...answer.headers]]));
  expect(wanted, JSON.stringify(answer.body)).toContain(answer.status);
  return answer.body as Record<string, string>; // The members that are read below are texts.
}

async function connect(options: object): Promise<number> {
  const client = await RawMqttClient.open(standalone.mqttPort);
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

describe('secrets that are planted everywhere', () => {
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

  it('appear in no answer, line, span, metric or file', async () => {
    expect(planted.size).toBe(16);
    await receiver.waitForSpans(
      (spans) => spans.some((one) => one.name === 'mqtt.connect'),
      20_000,
    );
    const metrics = await fetch(`${standalone.url}/metrics`).then((one) => one.text());
    const found = [
      ...findIn('an answer', Buffer.from(answers.join('\n'))),
      ...findIn('the log', Buffer.from(lines.join('\n'))),
      ...findIn('a span', Buffer.from(JSON.stringify(receiver.spans))),
      ...findIn('a metric', Buffer.from(metrics)),
    ];
    const files = [...filesOf(standalone.dataDir)];
    expect(files.some((path) => path.endsWith('log.sqlite'))).toBe(true);
    for (const path of files) found.push(...findIn(path, readFileSync(path)));
    expect(found).toEqual([]);
    // What is looked for would be found: a name that is no secret is there.
    const log = files
      .filter((path) => path.includes('log.sqlite'))
      .map((path) => readFileSync(path));
    expect(Buffer.concat(log).includes('machine')).toBe(true);
    expect(answers.length).toBeGreaterThan(10);
    expect(lines.length).toBeGreaterThan(3);
  });
});
