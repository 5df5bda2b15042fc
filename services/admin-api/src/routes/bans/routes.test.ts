import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const URL_OF_BANS = '/api/v1/bans';
const some = (more: object = {}) => ({ kind: 'client_id', value: randomUUID(), ...more });
const inAnHour = () => new Date(world.now + 3_600_000).toISOString();
const until = (body: object) => (body as { readonly until?: string }).until;

describe('a ban', () => {
  it.each([
    [some({ kind: 'group' }), 400, '/kind'],
    [some({ until: 'soon' }), 400, '/until'],
    [some({ bannedAt: 'once' }), 400, '/bannedAt'],
    [some({ bannedAt: '1969-12-31T23:59:59Z' }), 422, '/bannedAt'],
    [some({ more: 1 }), 400, '/more'],
    [some({ until: '2001-01-01T00:00:00Z' }), 422, '/until'],
    [some({ kind: 'address', value: '1.2.3' }), 422, '/value'],
    [some({ kind: 'cidr', value: '1.2.3.4' }), 422, '/value'],
    [some({ value: '' }), 422, '/value'],
    [some({ kind: 'client_id_pattern', value: 'a(' }), 400, '/value'],
    [some({ kind: 'username_pattern', value: '(?!a)' }), 400, '/value'],
    [some({ value: 'a\u0000' }), 400, '/value'],
  ])('%j is refused, and it is said why', async (body, status, pointer) => {
    const answer = await admin.post(URL_OF_BANS, body);
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
  });

  it('is made, read, replaced, made anew under the same id, and lifted', async () => {
    const end = inAnHour();
    const ban = some({ reason: 'stolen', until: end });
    const made = await admin.post(URL_OF_BANS, ban);
    expect(made.status).toBe(201);
    const url = `${URL_OF_BANS}/${made.body.id}`;
    expect(made.headers.location).toBe(url);
    const read = await admin.get(url);
    expect(read.body).toMatchObject({ ...ban, active: true, by: 'operator:admin' });
    expect(read.headers.etag).toBe(made.headers.etag);
    const replaced = await admin.put(url, {});
    expect(replaced.status).toBe(200);
    expect(until(replaced.body)).toBeUndefined();
    const again = await admin.post(URL_OF_BANS, ban);
    expect([again.status, again.body.id, until(again.body)]).toEqual([200, made.body.id, end]);
    const same = await admin.post(URL_OF_BANS, ban);
    expect([same.status, same.headers.etag]).toEqual([200, again.headers.etag]);
    expect((await admin.delete(url)).status).toBe(204);
    for (const answer of [
      await admin.get(url),
      await admin.put(url, {}),
      await admin.delete(url),
    ]) {
      expect([answer.status, answer.body.code]).toEqual([404, 'ban_not_found']);
    }
  });

  it('is changed under a condition', async () => {
    const none = { 'if-none-match': '*' };
    const ban = some();
    const made = await admin.post(URL_OF_BANS, ban, none);
    expect(made.status).toBe(201);
    const twice = await admin.post(URL_OF_BANS, ban, none);
    expect([twice.status, twice.headers.etag]).toEqual([412, made.headers.etag]);
    const url = `${URL_OF_BANS}/${made.body.id}`;
    const stale = { 'if-match': '"1"' };
    expect((await admin.put(url, { reason: 'x' }, stale)).status).toBe(412);
    expect((await admin.delete(url, stale)).status).toBe(412);
    const current = { 'if-match': String(made.headers.etag) };
    expect((await admin.put(url, { reason: 'x' }, current)).status).toBe(200);
    expect((await admin.delete(url, current)).status).toBe(412);
  });

  it('is made once by a request that is repeated', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const ban = some();
    const first = await admin.post(URL_OF_BANS, ban, headers);
    const again = await admin.post(URL_OF_BANS, ban, headers);
    expect([again.status, again.body.id]).toEqual([201, first.body.id]);
    expect(again.headers['idempotency-replayed']).toBe('true');
    await admin.delete(`${URL_OF_BANS}/${first.body.id}`);
    // What it was when it was made.
    expect((await admin.post(URL_OF_BANS, ban, headers)).body.id).toBe(first.body.id);
  });

  it('tells when it was made elsewhere', async () => {
    const bannedAt = '2020-01-02T03:04:05.000Z';
    const made = await admin.post(URL_OF_BANS, some({ bannedAt }));
    expect(made.body).toMatchObject({ bannedAt, active: true });
    const url = `${URL_OF_BANS}/${made.body.id}`;
    const kept = await admin.put(url, { reason: 'x', bannedAt });
    expect(kept.body).toMatchObject({ bannedAt, reason: 'x' });
    expect((await admin.put(url, { reason: 'x' })).body).not.toHaveProperty('bannedAt');
  });

  it('of an address has one text', async () => {
    const made = await admin.post(URL_OF_BANS, { kind: 'address', value: '::ffff:198.51.100.9' });
    expect(made.body).toMatchObject({ value: '198.51.100.9' });
    const same = await admin.post(URL_OF_BANS, { kind: 'address', value: '198.51.100.9' });
    expect(same.status).toBe(200);
  });

  it('says when it has ended', async () => {
    const made = await admin.post(URL_OF_BANS, some({ until: inAnHour() }));
    world.now += 3_600_000;
    // The administrator's token has ended as well.
    admin = await world.login();
    const read = await admin.get(`${URL_OF_BANS}/${made.body.id}`);
    expect(read.body).toMatchObject({ active: false });
  });
});

it('bans are listed by kind, searched by value, sorted and paged', async () => {
  const name = randomUUID();
  for (const [index, kind] of ['client_id', 'username', 'client_id'].entries()) {
    await admin.post(URL_OF_BANS, { kind, value: `${name}-${index}` });
  }
  const { body } = await admin.get(`${URL_OF_BANS}?search=${name}&sort=value,desc&pageSize=2`);
  expect(body).toMatchObject({ total: 3, page: 0, pageSize: 2 });
  expect(body.items).toMatchObject([{ value: `${name}-2` }, { value: `${name}-1` }]);
  const named = await admin.get(`${URL_OF_BANS}?search=${name.toUpperCase()}&kind=username`);
  expect(named.body).toMatchObject({ total: 1 });
});
