import { randomUUID } from 'node:crypto';
import { SNAPSHOTS_MAX } from '@sallyport/read-model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { csvLine, plainCell, protectCell } from '../../bulk/csv-cells.ts';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const URL = '/api/v1/credentials/export';

const hostile = ['=1+1', '+1', '-1', '@x', "'=x", "''@x", "'plain", 'a,"b"', '="it\'s"', 'ü🚰'];

const send = (payload: string, type: string, query: string) =>
  world.request({
    method: 'POST',
    url: `/api/v1/credentials/import?${query}`,
    payload,
    headers: { authorization: admin.authorization ?? '', 'content-type': type },
  });

describe('cells', () => {
  it.each([...hostile, '\tx', '\rx', '', "'"])(
    '%j comes back from a spreadsheet as it was',
    (text) => {
      expect(plainCell(protectCell(text))).toBe(text);
      expect(protectCell(text)).not.toMatch(/^[=+\-@\t\r]/);
    },
  );

  it('are quoted where RFC 4180 wants it', () => {
    expect(csvLine(['a', 'b,c', 'd"e', '=f', 'g\r\nh'])).toBe('a,"b,c","d""e",\'=f,"g\r\nh"\r\n');
  });
});

describe('an export', () => {
  it.each(['csv', 'json', 'ndjson'] as const)('as %s is imported as it was', async (format) => {
    const p = randomUUID();
    for (const [index, text] of hostile.entries()) {
      const answer = await admin.post('/api/v1/credentials', {
        name: `${text}${p}`,
        match: index % 2 === 0 ? { username: `${text}${p}` } : { clientId: `${text}${p}` },
        password: 'canary-password',
        attributes: { text, 'a.b': 'x' },
        access: { kind: 'patterns', publish: ['a,"b"/.*'], subscribe: [], apply: 'kick' },
      });
      expect(answer.status, answer.text).toBe(201);
    }
    const patterned = await admin.post('/api/v1/credentials', {
      name: `pattern ${p}`,
      kind: 'certificate',
      match: { parentCommonNamePattern: `^${p},"[0-9]+"` },
      clientIds: { pattern: 'a,"b"' },
      passwordRequired: false,
    });
    expect(patterned.status, patterned.text).toBe(201);
    const answer = await admin.get(`${URL}?format=${format}`);
    expect(answer.status).toBe(200);
    expect(answer.headers['sallyport-revision']).toBe(String(world.model.revision));
    expect(answer.text).not.toMatch(/canary|s1\.|argon2|verifier|secretId/);
    if (format === 'csv') expect(answer.text).not.toMatch(/(^|,|\n)"?[=+\-@]/);
    const type = String(answer.headers['content-type']);
    const before = world.model.revision;
    const again = await send(answer.text, type, 'existing=update&dryRun=true');
    const { body: all } = await admin.get('/api/v1/credentials');
    const { summary } = JSON.parse(again.text.trimEnd().split('\n').at(-1) ?? '') as {
      summary: object;
    };
    expect(summary).toMatchObject({
      unchanged: (all as unknown as { total: number }).total,
      updated: 0,
      failed: 0,
    });
    expect(world.model.revision).toBe(before);
  });

  it('of another store, and an empty one', async () => {
    expect((await admin.get(`${URL}?format=json&store=tbmq`)).body).toEqual([]);
    expect((await admin.get(`${URL}?store=tbmq`)).text).toBe('');
    expect((await admin.get(`${URL}?format=xml`)).status).toBe(400);
  });

  it('is of one revision, whatever is written meanwhile', async () => {
    using snapshot = world.model.snapshot();
    const name = randomUUID();
    await admin.post('/api/v1/credentials', {
      name,
      match: { username: name },
      passwordRequired: false,
    });
    const names = snapshot.credentials('', 10_000).map((one) => one.name);
    expect(names).not.toContain(name);
    expect(snapshot.revision).toBe(world.model.revision - 1);
  });

  it('leaves no snapshot open, and there are not too many of them', async () => {
    for (let round = 0; round < 2 * SNAPSHOTS_MAX; round++) {
      expect((await admin.get(URL)).status).toBe(200);
      expect((await admin.send('HEAD', URL)).status).toBe(200);
    }
    const open = Array.from({ length: SNAPSHOTS_MAX }, () => world.model.snapshot());
    expect(() => world.model.snapshot()).toThrow(/snapshots are open/);
    const answer = await admin.get(URL);
    expect([answer.status, answer.body.code]).toEqual([503, 'read_model_unavailable']);
    for (const one of open) one[Symbol.dispose]();
    expect((await admin.get(URL)).status).toBe(200);
  });
});
