import { randomUUID } from 'node:crypto';
import { GROUP_ROWS_MAX } from '@sallyport/domain';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const BASE = '/api/v1/groups';
const allow = (topic: string) => ({ permission: 'allow', action: 'publish', topic });
const add = (name: string, more: object = {}) => admin.post(BASE, { name, ...more });

describe('groups', () => {
  it('that are not there are not found', async () => {
    for (const id of [randomUUID(), '__proto__', 'constructor']) {
      const url = `${BASE}/${id}`;
      for (const answer of [
        await admin.get(url),
        await admin.put(url, { name: 'x' }),
        await admin.delete(url),
      ]) {
        expect([answer.status, answer.body.code]).toEqual([404, 'group_not_found']);
      }
    }
  });

  it('are refused when they are not valid, with what is wrong and where', async () => {
    const cases: [object, number, string][] = [
      [{}, 400, '/name'],
      [{ name: 'x', colour: 'red' }, 400, '/colour'],
      [
        { name: 'x', permissions: [{ ...allow('a'), permission: 'maybe' }] },
        400,
        '/permissions/0/permission',
      ],
      [
        { name: 'x', permissions: [{ ...allow('a'), action: 'both' }] },
        400,
        '/permissions/0/action',
      ],
      [{ name: 'x', permissions: Array(GROUP_ROWS_MAX + 1).fill(allow('a')) }, 400, '/permissions'],
      [{ name: '' }, 422, '/name'],
      [{ name: 'x', permissions: [allow('a'), allow('a/#/b')] }, 422, '/permissions/1/topic'],
    ];
    for (const [body, status, pointer] of cases) {
      const answer = await admin.post(BASE, body);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
    }
  });

  it('are added, read, replaced and removed', async () => {
    const permissions = [allow('a/#'), { permission: 'deny', action: 'subscribe', topic: 'a/+' }];
    const made = await add('pumps', { description: 'all of them', permissions });
    expect(made.status).toBe(201);
    const url = `${BASE}/${made.body.id}`;
    expect(made.headers.location).toBe(`/api/v1/groups/${made.body.id}`);
    expect(made.body).toMatchObject({ name: 'pumps', description: 'all of them', permissions });
    const read = await admin.get(url);
    expect(read.headers.etag).toBe(made.headers.etag);
    expect(read.body).toMatchObject({ id: made.body.id, permissions });

    const replaced = await admin.put(url, { name: 'valves' });
    expect([replaced.status, replaced.body.name]).toEqual([200, 'valves']);
    expect(replaced.body).toMatchObject({ description: '', permissions: [] });
    const stale = await admin.put(url, { name: 'x' }, { 'if-match': made.headers.etag ?? '' });
    expect([stale.status, stale.headers.etag]).toEqual([412, replaced.headers.etag]);
    const kept = await admin.delete(url, { 'if-match': made.headers.etag ?? '' });
    expect(kept.status).toBe(412);
    expect((await admin.delete(url)).status).toBe(204);
    expect((await admin.get(url)).status).toBe(404);
  });

  it('have names of their own', async () => {
    const one = await add('twice');
    const again = await add('twice');
    expect([again.status, again.body.code]).toEqual([409, 'group_name_taken']);
    expect(again.body.errors[0].pointer).toBe('/name');
    const other = await add('Twice');
    expect(other.status).toBe(201);
    const renamed = await admin.put(`${BASE}/${other.body.id}`, { name: 'twice' });
    expect(renamed.status).toBe(409);
    for (const id of [one.body.id, other.body.id]) await admin.delete(`${BASE}/${id}`);
  });

  it('are listed by name, searched, sorted and paged', async () => {
    for (const name of ['Zeta', 'alpha', 'Beta', 'beta two']) await add(name);
    const all = await admin.get(BASE);
    expect(all.body.items.map((one) => one.name)).toEqual(['alpha', 'Beta', 'beta two', 'Zeta']);
    expect(all.body).toMatchObject({ total: 4, page: 0, pageSize: 10 });
    const found = await admin.get(`${BASE}?search=BETA&sort=name,desc&pageSize=1`);
    expect(found.body).toMatchObject({ total: 2, items: [{ name: 'beta two' }] });
    const none = await admin.get(`${BASE}?search=%25`);
    expect(none.body).toMatchObject({ total: 0, items: [] });
    expect((await admin.get(`${BASE}?sort=description`)).status).toBe(400);
  });

  it('are answered the same to a request that is repeated under its key', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const once = await admin.post(BASE, { name: 'repeated' }, key);
    const again = await admin.post(BASE, { name: 'repeated' }, key);
    expect([again.status, again.body.id]).toEqual([201, once.body.id]);
    expect(again.headers['idempotency-replayed']).toBe('true');
  });
});

describe('a write that says how it is to reach live sessions', () => {
  const applied = async () => (await world.log.read((await world.log.head()) - 1, 1))[0]?.apply;

  it('is recorded so, and otherwise is not', async () => {
    const { body } = await add('applied');
    expect(await applied()).toBeUndefined();
    for (const apply of ['live', 'kick']) {
      const url = `${BASE}/${body.id}?apply=${apply}`;
      expect((await admin.put(url, { name: 'applied' })).status).toBe(200);
      expect(await applied()).toBe(apply);
    }
    expect((await admin.delete(`${BASE}/${body.id}?apply=kick&wait=enforced`)).status).toBe(204);
    expect(await applied()).toBe('kick');
  });

  it('may say only what there is', async () => {
    const answer = await admin.post(`${BASE}?apply=later`, { name: 'x' });
    expect([answer.status, answer.body.code]).toEqual([400, 'invalid_request']);
  });

  it('may be any write', async () => {
    const made = await admin.post('/api/v1/credentials?apply=live', {
      name: 'any',
      match: { username: 'any' },
      generateSecret: true,
    });
    expect([made.status, await applied()]).toEqual([201, 'live']);
    const url = `/api/v1/credentials/${made.body.id}?apply=kick`;
    expect((await admin.patch(url, { enabled: false })).status).toBe(200);
    expect(await applied()).toBe('kick');
    await admin.put('/api/v1/acl/everyone?apply=live', { rules: [] });
    expect(await applied()).toBe('live');
  });
});
