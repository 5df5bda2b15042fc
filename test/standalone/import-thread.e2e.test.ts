import { randomBytes, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SecretBox, sealingContext } from '@sallyport/secrets';
import { repositoryPath, until } from '@sallyport/test-kit';
import { describe, expect, it } from 'vitest';
import { startStandalone } from '../harness/standalone.ts';

const KEY = { key: 'imports', secret: 'the-secret-of-the-imports' };
const authorization = `Basic ${Buffer.from(`${KEY.key}:${KEY.secret}`).toString('base64')}`;
const ROWS = 6_000;

/** As far as it is tested here. */
interface Workshop extends AsyncDisposable {
  make(
    rows: readonly object[],
    at: number,
  ): Promise<readonly (string | { readonly code: string } | null)[]>;
}

/** The thread exists only where the code is built. */
async function openWorkshop(box: SecretBox): Promise<Workshop> {
  const built = (name: string): Promise<unknown> =>
    import(pathToFileURL(repositoryPath(`services/admin-api/dist/${name}.js`)).href);
  const { RowWorkshop } = (await built('bulk/row-workshop')) as {
    RowWorkshop: new (start: object, logger: Console) => Workshop;
  }; // What the built module exports, like the next one.
  const { createBody } = (await built('routes/credentials/schema')) as { createBody: object };
  return new RowWorkshop({ sealingKey: box.sealingKey, schema: createBody }, console);
}

const row = (name: string, more: object = {}) => ({
  text: JSON.stringify({ name, match: { username: name }, ...more }),
  unread: true,
});
const hashed = { passwordHash: { algorithm: 'plain', hash: 'Canary-of-the-thread' } };

describe('the thread of an import', () => {
  it('makes nothing of few rows, and of many what it can, in their order', async () => {
    const box = new SecretBox(randomBytes(32));
    await using workshop = await openWorkshop(box);
    const rows = [
      row('a', { password: 'p' }),
      row('b', { admin: true }),
      { text: 'csv', failure: { code: 'malformed_body' } },
      { text: 'csv', value: JSON.parse(row('c', hashed).text) as unknown },
      ...Array.from({ length: 96 }, (_, index) => row(`d-${index}`, hashed)),
    ];
    expect(await workshop.make(rows.slice(0, 10), 5)).toEqual([]);
    let made: Awaited<ReturnType<Workshop['make']>> = [];
    const started = async () => (made = await workshop.make(rows, 5)).length > 0;
    await until(started, 20_000, () => 'the thread did not start');
    expect(made).toHaveLength(rows.length);
    expect(made.slice(0, 2)).toMatchObject([null, { code: 'invalid_request', pointer: '/admin' }]);
    const read = made.slice(3).map((one) => JSON.parse(one as string) as Record<string, unknown>);
    expect(read.map((one) => one['name'])).toEqual(['c', ...rows.slice(4).map((_, i) => `d-${i}`)]);
    const { id, secrets } = read[0] as { id: string; secrets: readonly { verifier: string }[] }; // A credential.
    const opened = box.open(secrets[0]?.verifier ?? '', sealingContext({ kind: 'credential', id }));
    expect(opened).toBe(`plain$${Buffer.from('Canary-of-the-thread').toString('base64')}`);
    expect(new Set(read.map((one) => one['id'])).size).toBe(read.length);
    const several = await Promise.all([workshop.make(rows, 6), workshop.make(rows.slice(1), 6)]);
    expect(several.map((one) => one.length)).toEqual([rows.length, rows.length - 1]);
  });

  it('writes no hash that it was given, and a file that is sent again finds its rows', async () => {
    await using sallyport = await startStandalone({
      SALLYPORT_BOOTSTRAP__API_KEY: KEY.key,
      SALLYPORT_BOOTSTRAP__API_SECRET: KEY.secret,
    });
    const prefix = randomUUID();
    const body = Array.from({ length: ROWS }, (_, index) => row(`${prefix}-${index}`, hashed).text);
    const send = async (key: string) => {
      const answer = await fetch(`${sallyport.url}/api/v1/credentials/import`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/x-ndjson', 'idempotency-key': key },
        body: body.join('\n'),
      });
      return (await answer.text()).trimEnd().split('\n');
    };
    const key = randomUUID();
    const lines = await send(key);
    expect(lines).toHaveLength(ROWS + 1);
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ summary: { created: ROWS } });
    const again = await send(key);
    expect(again.slice(0, -1)).toEqual(lines.slice(0, -1));
    const others = (await send(randomUUID())).slice(0, -1);
    expect(others.every((line) => line.includes('"credential_name_taken"'))).toBe(true);
    const canaries = [
      hashed.passwordHash.hash,
      Buffer.from(hashed.passwordHash.hash).toString('base64'),
    ];
    for (const file of readdirSync(sallyport.dataDir)) {
      const bytes = readFileSync(join(sallyport.dataDir, file));
      for (const canary of canaries) expect(bytes.includes(canary), file).toBe(false);
    }
  });
});
