import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '@sallyport/test-kit';
import { Api } from '../harness/api.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

const ROWS = 8_000;
const KEY = { key: 'imports', secret: 'the-secret-of-the-imports' };
const authorization = `Basic ${Buffer.from(`${KEY.key}:${KEY.secret}`).toString('base64')}`;

let sallyport: Standalone;
let api: Api;

beforeAll(async () => {
  sallyport = await startStandalone({
    SALLYPORT_BOOTSTRAP__API_KEY: KEY.key,
    SALLYPORT_BOOTSTRAP__API_SECRET: KEY.secret,
  });
  api = Api.withKey(sallyport.url, KEY);
});
afterAll(() => sallyport[Symbol.asyncDispose]());

const rowsOf = (prefix: string) =>
  Array.from({ length: ROWS }, (_, index) => {
    const name = `${prefix}-${index}`;
    return JSON.stringify({ name, match: { username: name }, passwordRequired: false });
  }).join('\n');

interface Summary {
  readonly importId: string;
  readonly state: string;
  readonly rows: number;
  readonly created: number;
  readonly failed: number;
}

const headersOf = (key: string) => ({
  authorization,
  'content-type': 'application/x-ndjson',
  'idempotency-key': key,
});

const send = (key: string, body: string, signal?: AbortSignal) =>
  fetch(`${sallyport.url}/api/v1/credentials/import`, {
    method: 'POST',
    headers: headersOf(key),
    body,
    ...(signal === undefined ? {} : { signal }),
  });

async function finish(key: string, body: string): Promise<Summary> {
  let text = '';
  // The process may not have noticed yet that the client before us has gone.
  await until(
    async () => {
      const answer = await send(key, body);
      text = await answer.text();
      return answer.status === 200;
    },
    10_000,
    () => `the import was not taken up: ${text.slice(0, 200)}`,
  );
  const lines = text.trimEnd().split('\n');
  expect(lines).toHaveLength(ROWS + 1);
  return (JSON.parse(lines.at(-1) ?? '') as { summary: Summary }).summary;
}

async function total(prefix: string): Promise<number> {
  const path = `/api/v1/credentials?pageSize=1&search=${prefix}-`;
  return (await api.expect<{ total: number }>(200, 'GET', path)).total;
}

/** The first lines of an answer that then does not go on. */
async function firstLines(answer: Response): Promise<void> {
  const reader = answer.body?.getReader();
  await reader?.read();
}

async function expectWhole(prefix: string, summary: Summary): Promise<void> {
  expect(summary).toMatchObject({ state: 'finished', rows: ROWS, created: ROWS, failed: 0 });
  expect(await total(prefix)).toBe(ROWS);
  const path = `/api/v1/imports/${summary.importId}`;
  expect(await api.expect(200, 'GET', path)).toMatchObject({
    state: 'finished',
    rows: ROWS,
    created: ROWS,
  });
}

describe('an import that is cut short and sent again with its key has every row once', () => {
  it('when the process is killed', async () => {
    const [prefix, key] = [randomUUID(), randomUUID()];
    const body = rowsOf(prefix);
    await firstLines(await send(key, body));
    await sallyport.process.kill();
    await sallyport.process.start();
    const before = await total(prefix);
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(ROWS);
    await expectWhole(prefix, await finish(key, body));
  });

  it('when the client goes away', async () => {
    const [prefix, key] = [randomUUID(), randomUUID()];
    const body = rowsOf(prefix);
    const gone = new AbortController();
    await firstLines(await send(key, body, gone.signal));
    gone.abort();
    await expectWhole(prefix, await finish(key, body));
  });

  it('when the file comes only in part', async () => {
    const [prefix, key] = [randomUUID(), randomUUID()];
    const body = rowsOf(prefix);
    const { hostname, port } = new URL(sallyport.url);
    const socket = connect(Number(port), hostname);
    const head = Object.entries({ ...headersOf(key), host: 'x', 'content-length': body.length });
    socket.write('POST /api/v1/credentials/import HTTP/1.1\r\n');
    for (const [name, value] of head) socket.write(`${name}: ${value}\r\n`);
    // In the middle of a row.
    socket.write(`\r\n${body.slice(0, Math.floor(body.length / 2))}`);
    await until(
      async () => (await total(prefix)) > 0,
      20_000,
      () => 'no row was stored',
    );
    socket.destroy();
    await expectWhole(prefix, await finish(key, body));
  });
});
