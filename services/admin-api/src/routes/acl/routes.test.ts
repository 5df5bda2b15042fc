import { randomUUID } from 'node:crypto';
import { ACL_RULES_MAX } from '@sallyport/domain';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AnswerBody, type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const rule = (topicFilter: string, more: object = {}) => ({
  effect: 'allow',
  action: 'all',
  topicFilter,
  ...more,
});
const filters = (body: AnswerBody) => body.rules.map((one) => one.topicFilter);

describe.each([
  ['clients', () => `/api/v1/acl/clients/${randomUUID()}`],
  ['usernames', () => `/api/v1/acl/usernames/${randomUUID()}`],
  ['everyone', () => '/api/v1/acl/everyone'],
])('the rules of %s', (_title, address) => {
  it('are not there before they are put, and nothing can be taken from them', async () => {
    const url = address();
    for (const answer of [await admin.get(url), await admin.delete(url)]) {
      expect([answer.status, answer.body.code]).toEqual([404, 'acl_table_not_found']);
    }
    const answer = await admin.delete(`${url}/rules/x`);
    expect([answer.status, answer.body.code]).toEqual([404, 'acl_rule_not_found']);
  });

  it('are put whole, grown at the end or at a place, and taken away', async () => {
    const url = address();
    const put = await admin.put(url, { rules: [rule('a', { ruleId: 'first' }), rule('c')] });
    expect(put.status).toBe(200);
    expect(put.body.rules[0].ruleId).toBe('first');
    expect(put.body.rules[1].ruleId).toMatch(/^[0-9a-f-]{36}$/);
    expect(put.headers.etag).toBe(`"${put.body.revision}"`);
    const last = await admin.post(`${url}/rules`, rule('d/#'));
    expect([last.status, last.body.position]).toEqual([201, 2]);
    const second = await admin.post(`${url}/rules`, rule('b/+', { position: 1, effect: 'deny' }));
    expect([second.status, second.body.position]).toEqual([201, 1]);
    const read = await admin.get(url);
    expect(filters(read.body)).toEqual(['a', 'b/+', 'c', 'd/#']);
    expect(read.headers.etag).toBe(second.headers.etag);
    const taken = await admin.delete(`${url}/rules/${put.body.rules[1].ruleId}`);
    expect(taken.status).toBe(204);
    expect(filters((await admin.get(url)).body)).toEqual(['a', 'b/+', 'd/#']);
    expect((await admin.delete(url)).status).toBe(204);
    expect((await admin.get(url)).status).toBe(404);
  });

  it('refuse a place past the end, an id that is there, and invalid rules with their pointers', async () => {
    const url = address();
    await admin.put(url, { rules: [rule('a', { ruleId: 'r' })] });
    const past = await admin.post(`${url}/rules`, rule('b', { position: 2 }));
    expect([past.status, past.body.errors[0].pointer]).toEqual([422, '/position']);
    const twice = await admin.post(`${url}/rules`, rule('b', { ruleId: 'r' }));
    expect([twice.status, twice.body.code]).toEqual([409, 'acl_rule_exists']);
    const rules = [rule('ok'), rule('a#'), rule('x', { effect: 'maybe' })];
    const shape = await admin.put(url, { rules });
    expect([shape.status, shape.body.errors[0].pointer]).toEqual([400, '/rules/2/effect']);
    const filter = await admin.put(url, { rules: rules.slice(0, 2) });
    expect([filter.status, filter.body.errors[0].pointer]).toEqual([422, '/rules/1/topicFilter']);
    await admin.delete(url);
  });

  it('may ask for the connection, and a bad expression is refused by its place', async () => {
    const url = address();
    const asking = rule('a', {
      ruleId: 'r',
      clientIdPattern: '^pump-',
      usernamePattern: 'a$',
      source: '192.0.2.0/24',
      listener: 'tcp:default',
      listenerPattern: '^tcp:',
      zone: 'hall-7',
      zonePattern: '^hall',
    });
    expect((await admin.put(url, { rules: [asking] })).body.rules).toEqual([asking]);
    expect((await admin.get(url)).body.rules).toEqual([asking]);
    for (const [more, pointer, status] of [
      [{ clientIdPattern: 'a(' }, '/clientIdPattern', 400],
      [{ usernamePattern: '(?<=a)b' }, '/usernamePattern', 400],
      [{ clientIdPattern: '' }, '/clientIdPattern', 400],
      [{ source: '192.0.2.0/99' }, '/source', 422],
      [{ listener: '' }, '/listener', 400],
      [{ listenerPattern: 'a(' }, '/listenerPattern', 400],
      [{ zonePattern: '(a)\\1' }, '/zonePattern', 400],
      [{ zone: 'x'.repeat(65) }, '/zone', 400],
    ] as const) {
      const one = await admin.post(`${url}/rules`, rule('b', more));
      expect([one.status, one.body.errors[0].pointer]).toEqual([status, pointer]);
      const all = await admin.put(url, { rules: [rule('b'), rule('c', more)] });
      expect([all.status, all.body.errors[0].pointer]).toEqual([status, `/rules/1${pointer}`]);
    }
    await admin.delete(url);
  });

  it('may be none and be kept all the same, until they are removed', async () => {
    const url = address();
    await admin.put(url, { rules: [] });
    expect((await admin.get(url)).status).toBe(404);
    const kept = await admin.put(url, { rules: [], keepEmpty: true }, { 'if-none-match': '*' });
    const read = await admin.get(url);
    expect([read.status, read.headers.etag]).toEqual([200, kept.headers.etag]);
    expect(read.body).toMatchObject({ rules: [] });
    const create = await admin.put(url, { rules: [] }, { 'if-none-match': '*' });
    expect(create.status).toBe(412);
    expect((await admin.delete(url)).status).toBe(204);
    expect((await admin.get(url)).status).toBe(404);
  });

  it('are changed under a condition', async () => {
    const url = address();
    const none = { 'if-none-match': '*' };
    expect((await admin.put(url, { rules: [] }, { 'if-match': '*' })).status).toBe(412);
    const made = await admin.put(url, { rules: [rule('a')] }, none);
    expect(made.status).toBe(200);
    const there = await admin.put(url, { rules: [rule('b')] }, none);
    expect([there.status, there.headers.etag]).toEqual([412, made.headers.etag]);
    expect((await admin.put(url, { rules: [] }, { 'if-none-match': '"1"' })).status).toBe(400);
    const stale = { 'if-match': '"1"' };
    expect((await admin.post(`${url}/rules`, rule('b'), stale)).status).toBe(412);
    expect((await admin.delete(url, stale)).status).toBe(412);
    const current = { 'if-match': String(made.headers.etag) };
    expect((await admin.delete(url, current)).status).toBe(204);
  });
});

describe('limits and lists', () => {
  it(`takes ${ACL_RULES_MAX} rules, and not one more`, async () => {
    const url = '/api/v1/acl/clients/full';
    const rules = Array.from({ length: ACL_RULES_MAX }, (_, index) => rule(`t/${index}`));
    expect((await admin.put(url, { rules })).status).toBe(200);
    const more = await admin.post(`${url}/rules`, rule('one/more'));
    expect([more.status, more.body.code]).toEqual([422, 'too_many_acl_rules']);
    expect((await admin.put(url, { rules: [...rules, rule('x')] })).status).toBe(400);
    await admin.delete(url);
  });

  it('lists the targets that have rules', async () => {
    const name = randomUUID();
    await admin.put(`/api/v1/acl/usernames/${name}`, { rules: [rule('a')] });
    await admin.put(`/api/v1/acl/clients/${name}`, { rules: [rule('b')] });
    const { body } = await admin.get(`/api/v1/acl?search=${name}&sort=target,desc&pageSize=1`);
    expect(body).toMatchObject({ total: 2, page: 0, pageSize: 1 });
    expect(body.items[0]?.target).toEqual({ kind: 'username', name });
  });

  it('lists those of one kind, and searches their names only', async () => {
    const name = randomUUID();
    await admin.put('/api/v1/acl/everyone', { rules: [rule('c')] });
    await admin.put(`/api/v1/acl/usernames/${name}`, { rules: [rule('a')] });
    // Neither a name that looks like another kind nor the kind of the others is found by its text.
    for (const one of [name, `username:${name}`, 'zz']) {
      const url = `/api/v1/acl/clients/${encodeURIComponent(one)}`;
      await admin.put(url, { rules: [rule('b')] });
    }
    const found = async (query: string) => {
      const { body } = await admin.get(`/api/v1/acl?${query}&pageSize=200`);
      return body.items.map(({ target }) => target.name ?? target.kind);
    };
    expect((await admin.get('/api/v1/acl?kind=group')).status).toBe(400);
    expect(await found(`kind=client&search=${name}`)).toEqual([name, `username:${name}`]);
    expect(await found(`kind=username&search=${name}`)).toEqual([name]);
    expect(await found('kind=client&search=zz')).toEqual(['zz']);
    expect(await found('kind=username&search=username')).toEqual([]);
    expect(await found('kind=everyone')).toEqual(['everyone']);
    expect(await found('search=everyone')).toEqual(['everyone']);
  });

  it('a name may hold what an address has to encode', async () => {
    const name = 'a/b c%2F?#+ü';
    const url = `/api/v1/acl/clients/${encodeURIComponent(name)}`;
    expect((await admin.put(url, { rules: [rule('a')] })).body.target).toEqual({
      kind: 'client',
      name,
    });
    expect((await admin.get(url)).body.target.name).toBe(name);
    expect((await admin.delete(url)).status).toBe(204);
  });

  it('rules that are put once more without their ids stay who they were, since when they were', async () => {
    const url = '/api/v1/acl/clients/once-more';
    const target = { kind: 'client', name: 'once-more' } as const;
    const ids = (body: AnswerBody) => body.rules.map((one) => one.ruleId);
    const sent = [rule('a'), rule('b', { qos: [1] }), rule('a'), rule('c', { ruleId: 'mine' })];
    const first = (await admin.put(url, { rules: sent })).body;
    const [one, two, three] = ids(first);
    const changed = [rule('b', { qos: [1] }), rule('c'), rule('a'), rule('d'), rule('a')];
    const next = (await admin.put(url, { rules: changed })).body;
    const fresh = ids(next)[3];
    expect(ids(next)).toEqual([two, 'mine', one, fresh, three]);
    expect([one, two, three, 'mine']).not.toContain(fresh);
    const since = world.model.reads.aclTable(target)?.ruleRevisions;
    const { revision } = first;
    expect(since).toEqual([revision, revision, revision, next.revision, revision]);
    const taken = [rule('d', { ruleId: one }), rule('a')];
    expect(ids((await admin.put(url, { rules: taken })).body)).toEqual([one, three]);
    const anew = ids((await admin.put(url, { rules: [rule('a', { effect: 'deny' })] })).body);
    expect([one, three]).not.toContain(anew[0]);
  });

  it('a retry derives the same rule ids', async () => {
    const url = '/api/v1/acl/clients/retry';
    const headers = { 'idempotency-key': randomUUID() };
    const sent = { rules: [rule('a'), rule('b')] };
    const first = await admin.put(url, sent, headers);
    expect((await admin.put(url, sent, headers)).body).toEqual(first.body);
  });
});
