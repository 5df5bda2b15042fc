import { randomUUID } from 'node:crypto';
import { DYNSEC_ACLS_MAX, DYNSEC_PRIORITY_MAX, DYNSEC_ROLES_HELD_MAX } from '@sallyport/domain';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const ROLES = '/api/v1/dynsec/roles';
const GROUPS = '/api/v1/dynsec/groups';
const acl = (more: object = {}) => ({
  aclType: 'publishClientSend',
  topic: 'a/%c',
  allow: true,
  ...more,
});
const add = async (base: string, name: string, more: object = {}): Promise<string> => {
  const answer = await admin.post(base, { name, ...more });
  expect(answer.status, answer.text).toBe(201);
  return answer.body.id;
};

describe.each([
  ['roles', ROLES],
  ['groups', GROUPS],
])('%s of dynamic security', (_, BASE) => {
  it('that are not there are not found', async () => {
    const other = await add(BASE === ROLES ? GROUPS : ROLES, randomUUID());
    for (const id of [randomUUID(), '__proto__', other]) {
      const url = `${BASE}/${id}`;
      for (const answer of [
        await admin.get(url),
        await admin.put(url, { name: 'x' }),
        await admin.delete(url),
      ]) {
        expect([answer.status, answer.body.code]).toEqual([404, 'dynsec_not_found']);
      }
    }
  });

  it('have names of their own', async () => {
    const id = await add(BASE, 'twice');
    const again = await admin.post(BASE, { name: 'twice' });
    expect([again.status, again.body.code]).toEqual([409, 'dynsec_name_taken']);
    expect(again.body.errors[0].pointer).toBe('/name');
    await admin.delete(`${BASE}/${id}`);
  });

  it('are listed by name, searched, sorted and paged', async () => {
    for (const name of ['Zeta', 'alpha', 'Beta', 'beta two']) await add(BASE, name);
    const found = await admin.get(`${BASE}?search=BETA&sort=name,desc&pageSize=1`);
    expect(found.body).toMatchObject({ total: 2, items: [{ name: 'beta two' }] });
    const all = await admin.get(`${BASE}?search=ETA&pageSize=3`);
    expect(all.body.items.map((one) => one.name)).toEqual(['Beta', 'beta two', 'Zeta']);
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

describe('a role of dynamic security', () => {
  it('is refused when it is not valid, with what is wrong and where', async () => {
    const cases: [object, number, string][] = [
      [{}, 400, '/name'],
      [{ name: 'x', colour: 'red' }, 400, '/colour'],
      [{ name: 'x', acls: [acl({ aclType: 'all' })] }, 400, '/acls/0/aclType'],
      [{ name: 'x', acls: [acl({ allow: 'yes' })] }, 400, '/acls/0/allow'],
      [{ name: 'x', acls: [acl({ priority: DYNSEC_PRIORITY_MAX + 1 })] }, 400, '/acls/0/priority'],
      [{ name: 'x', acls: Array(DYNSEC_ACLS_MAX + 1).fill(acl()) }, 400, '/acls'],
      [{ name: '' }, 422, '/name'],
      [{ name: 'x', acls: [acl(), acl({ topic: 'a/#/b' })] }, 422, '/acls/1/topic'],
    ];
    for (const [body, status, pointer] of cases) {
      const answer = await admin.post(ROLES, body);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
    }
  });

  it('is added, read, replaced and removed', async () => {
    const acls = [acl({ priority: 5 }), acl({ aclType: 'subscribeLiteral', topic: '#' })];
    const made = await admin.post(ROLES, { name: 'pumps', acls, allowWildcardSubs: false });
    expect(made.status).toBe(201);
    const url = `${ROLES}/${made.body.id}`;
    expect(made.headers.location).toBe(url);
    const whole = { name: 'pumps', description: '', allowWildcardSubs: false };
    expect(made.body).toMatchObject({ ...whole, acls: [acls[0], { ...acls[1], priority: -1 }] });
    const read = await admin.get(url);
    expect(read.headers.etag).toBe(made.headers.etag);
    expect(read.body).toMatchObject(whole);
    const replaced = await admin.put(url, { name: 'valves' });
    expect(replaced.body).toMatchObject({ name: 'valves', acls: [], allowWildcardSubs: true });
    const stale = await admin.put(url, { name: 'x' }, { 'if-match': made.headers.etag ?? '' });
    expect([stale.status, stale.headers.etag]).toEqual([412, replaced.headers.etag]);
    const kept = await admin.delete(url, { 'if-match': made.headers.etag ?? '' });
    expect(kept.status).toBe(412);
    expect((await admin.delete(url)).status).toBe(204);
    expect((await admin.get(url)).status).toBe(404);
  });
});

describe('a group of dynamic security', () => {
  it('is refused with roles that are not there, twice there, or too many', async () => {
    const role = await add(ROLES, randomUUID());
    const cases: [object, number, string][] = [
      [{ name: 'x', roles: [{ role: randomUUID() }] }, 422, '/roles/0/role'],
      [{ name: 'x', roles: [{ role }, { role, priority: 2 }] }, 422, '/roles/1/role'],
      [{ name: 'x', roles: [{ role, priority: 0.5 }] }, 400, '/roles/0/priority'],
      [{ name: 'x', roles: Array(DYNSEC_ROLES_HELD_MAX + 1).fill({ role }) }, 400, '/roles'],
    ];
    for (const [body, status, pointer] of cases) {
      const answer = await admin.post(GROUPS, body);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
    }
  });

  it('keeps its roles from being removed, and is kept by whoever is in it', async () => {
    const role = await add(ROLES, randomUUID());
    const group = await add(GROUPS, randomUUID(), { roles: [{ role }] });
    const held = await admin.delete(`${ROLES}/${role}`);
    expect([held.status, held.body.code]).toEqual([409, 'dynsec_in_use']);
    expect(held.text).toContain(`The group ${group} has the role.`);
    const member = await admin.post('/api/v1/credentials', {
      ...{ name: randomUUID(), match: { username: randomUUID() }, passwordRequired: false },
      access: { kind: 'dynsec', groups: [{ group }] },
    });
    expect(member.status, member.text).toBe(201);
    expect((await admin.delete(`${GROUPS}/${group}`)).body.code).toBe('dynsec_in_use');
    await admin.delete(`/api/v1/credentials/${member.body.id}`);
    expect((await admin.delete(`${GROUPS}/${group}`)).status).toBe(204);
    expect((await admin.delete(`${ROLES}/${role}`)).status).toBe(204);
  });
});

describe('a credential with access by dynamic security', () => {
  const body = (access: object) => ({
    ...{ name: randomUUID(), match: { username: randomUUID() }, passwordRequired: false },
    access: { kind: 'dynsec', ...access },
  });

  it('is refused with what is not there, and with members of another kind of access', async () => {
    const cases: [object, number, string][] = [
      [{ roles: [{ role: 'x' }] }, 422, '/access/roles/0/role'],
      [{ groups: [{ group: 'x' }] }, 422, '/access/groups/0/group'],
      [{ roles: ['x'] }, 400, '/access/roles/0'],
      [{ permissions: [] }, 400, '/access/permissions'],
    ];
    for (const [access, status, pointer] of cases) {
      const answer = await admin.post('/api/v1/credentials', body(access));
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
    }
  });

  it('is made whole, patched, exported, and imported again as it was', async () => {
    const role = await add(ROLES, randomUUID());
    const group = await add(GROUPS, randomUUID());
    const made = await admin.post('/api/v1/credentials', body({ roles: [{ role }] }));
    const url = `/api/v1/credentials/${made.body.id}`;
    const roles = [{ role, priority: -1 }];
    expect(made.body.access).toEqual({ kind: 'dynsec', roles, groups: [] });
    const patched = await admin.patch(url, { access: { groups: [{ group, priority: 9 }] } });
    const access = { kind: 'dynsec', roles, groups: [{ group, priority: 9 }] };
    expect(patched.body.access).toEqual(access);

    const lines = async (format: string) =>
      (await admin.get(`/api/v1/credentials/export?format=${format}`)).text;
    const name: string = made.body.name;
    const exported = (await lines('ndjson')).split('\n').find((line) => line.includes(name));
    expect(JSON.parse(exported ?? '{}').access).toEqual(access);
    const csv = await lines('csv');
    const row = [csv.split('\r\n')[0], csv.split('\r\n').find((line) => line.includes(name))];
    await admin.delete(url);
    const file = `${row.join('\r\n')}\r\n`;
    const type = { 'content-type': 'text/csv' };
    const imported = await admin.sendRaw('/api/v1/credentials/import', file, type);
    expect(imported.text).toContain('"created":1');
    const id = world.model.reads.credentialIdByName('native', name) ?? '';
    expect(world.model.reads.credential(id)?.access).toEqual(access);
  });
});
