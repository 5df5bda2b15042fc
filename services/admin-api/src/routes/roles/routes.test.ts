import { randomUUID } from 'node:crypto';
import { CREDENTIAL_ROLES_MAX, PERMISSIONS_MAX, PUBLISH_PREFIX_BYTES_MAX } from '@sallyport/domain';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

const BASE = '/api/v1/roles';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const permission = (resource: string, more: object = {}) => ({
  context: 'mqtt',
  resource,
  operation: 'read',
  ...more,
});

async function added(more: object = {}) {
  const answer = await admin.post(BASE, { name: randomUUID(), ...more });
  expect(answer.status, answer.text).toBe(201);
  return answer;
}

/** A credential with this access. */
const credential = (access: object) => {
  const name = randomUUID();
  const more = { passwordRequired: false, access: { kind: 'roles', ...access } };
  return admin.post('/api/v1/credentials', { name, match: { username: name }, ...more });
};

describe('a role', () => {
  it('that is not there is found by no call', async () => {
    const url = `${BASE}/${randomUUID()}`;
    const calls = [
      admin.get(url),
      admin.put(url, { name: 'x', permissions: [] }),
      admin.patch(url, { name: 'x' }),
      admin.delete(url),
      admin.get(`${url}/permissions`),
      admin.post(`${url}/permissions`, permission('a')),
      admin.get(`${url}/permissions/x`),
      admin.put(`${url}/permissions/x`, permission('a')),
      admin.delete(`${url}/permissions/x`),
    ];
    for (const { status, body } of await Promise.all(calls)) {
      expect([status, body.code]).toEqual([404, 'role_not_found']);
    }
  });

  it('is refused when it is not valid, with every pointer', async () => {
    const shape = await admin.post(BASE, {
      permissions: [{ context: 'ftp', resource: 'a', operation: 'maybe' }],
      admin: true,
    });
    expect(shape.status).toBe(400);
    expect(shape.body.errors.map((one) => one.pointer).sort()).toEqual([
      '/admin',
      '/name',
      '/permissions/0/context',
      '/permissions/0/operation',
    ]);
    const content = await admin.post(BASE, {
      name: '',
      permissions: [
        permission('a/#/b'),
        permission(''),
        permission('api', { context: 'http' }),
        permission('ok'),
        permission('x-${password}'),
      ],
    });
    expect([content.status, content.body.code]).toEqual([422, 'role_invalid']);
    expect(content.body.errors.map((one) => one.pointer)).toEqual([
      '/name',
      '/permissions/0/resource',
      '/permissions/1/resource',
      '/permissions/2/resource',
      '/permissions/4/resource',
    ]);
  });

  it('is added, read, replaced, changed in part and removed', async () => {
    const name = randomUUID();
    const sent = { name, permissions: [permission('a/#'), permission('b', { id: 'own' })] };
    const made = await admin.post(BASE, sent);
    expect(made.status).toBe(201);
    const url = String(made.headers.location);
    expect(url).toBe(`${BASE}/${made.body.id}`);
    expect(made.body.permissions[0].id).toMatch(/^[0-9a-f-]{36}$/);
    expect(made.body.permissions[1].id).toBe('own');
    const read = await admin.get(url);
    const { revision: _, ...same } = made.body as unknown as Record<string, unknown>;
    expect(read.body).toEqual(same);
    expect(read.headers.etag).toBe(made.headers.etag);
    const renamed = await admin.patch(url, { name: `${name}-2` });
    expect(renamed.body).toMatchObject({ name: `${name}-2`, permissions: made.body.permissions });
    expect(renamed.headers.etag).not.toBe(made.headers.etag);
    const replaced = await admin.put(url, { name, permissions: [] });
    expect(replaced.body).toMatchObject({ id: made.body.id, name, permissions: [] });
    expect((await admin.delete(url)).status).toBe(204);
    expect((await admin.get(url)).status).toBe(404);
  });

  it('has a name of its own', async () => {
    const one = await added();
    const other = await added();
    const again = await admin.post(BASE, { name: one.body.name });
    expect([again.status, again.body.code]).toEqual([409, 'role_name_taken']);
    expect(again.body.errors[0].pointer).toBe('/name');
    const url = `${BASE}/${other.body.id}`;
    expect((await admin.patch(url, { name: one.body.name })).status).toBe(409);
    expect((await admin.patch(url, { name: other.body.name })).status).toBe(200);
  });

  it('is changed under a condition, and a refusal tells the present tag', async () => {
    const { body, headers } = await added();
    const url = `${BASE}/${body.id}`;
    const stale = { 'if-match': '"1"' };
    for (const refused of [
      await admin.patch(url, { name: 'x' }, stale),
      await admin.put(url, { name: 'x', permissions: [] }, stale),
      await admin.delete(url, stale),
      await admin.post(`${url}/permissions`, permission('a'), stale),
    ]) {
      expect([refused.status, refused.headers.etag]).toEqual([412, headers.etag]);
    }
    const current = { 'if-match': String(headers.etag) };
    const changed = await admin.post(`${url}/permissions`, permission('a'), current);
    expect(changed.status).toBe(201);
    expect((await admin.delete(url, current)).status).toBe(412);
    expect((await admin.delete(url, { 'if-match': String(changed.headers.etag) })).status).toBe(
      204,
    );
  });

  it('a part of nothing, and a name that is taken away, are refused', async () => {
    const { body } = await added();
    const url = `${BASE}/${body.id}`;
    expect((await admin.patch(url, {})).status).toBe(400);
    const nulled = await admin.patch(url, { name: null });
    expect([nulled.status, nulled.body.errors[0].pointer]).toEqual([400, '/name']);
  });

  it(`has ${PERMISSIONS_MAX} permissions, and not one more`, async () => {
    const permissions = Array.from({ length: PERMISSIONS_MAX }, (_, index) =>
      permission(`t/${index}`),
    );
    const { body } = await added({ permissions });
    const more = await admin.post(`${BASE}/${body.id}/permissions`, permission('one/more'));
    expect([more.status, more.body.code]).toEqual([422, 'too_many_permissions']);
    const sent = { name: randomUUID(), permissions: [...permissions, permission('x')] };
    expect((await admin.post(BASE, sent)).status).toBe(400);
  });

  it('is made once, however often the request is repeated, with the same permission ids', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const sent = { name: randomUUID(), permissions: [permission('a'), permission('b')] };
    const first = await admin.post(BASE, sent, headers);
    const again = await admin.post(BASE, sent, headers);
    expect([again.status, again.headers['idempotency-replayed']]).toEqual([201, 'true']);
    expect(again.body).toEqual(first.body);
  });

  it('may be named like what objects have', async () => {
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const permissions = [permission(`${name}/#`, { id: name })];
      const { body } = await added({ name, permissions });
      const one = await admin.get(`${BASE}/${body.id}/permissions/${name}`);
      expect(one.body).toEqual(permissions[0]);
    }
  });
});

describe('the list of roles', () => {
  it('is searched by name, sorted and paged', async () => {
    const mark = randomUUID();
    for (const name of ['b', 'A', 'c']) await added({ name: `${name} ${mark}` });
    const names = async (query: string) => {
      const { body } = await admin.get(`${BASE}?search=${mark.toUpperCase()}&${query}`);
      return body.items.map((one) => one.name.charAt(0));
    };
    expect(await names('')).toEqual(['A', 'b', 'c']);
    expect(await names('sort=name,desc&pageSize=2')).toEqual(['c', 'b']);
    expect(await names('sort=createdAt&pageSize=2&page=1')).toHaveLength(1);
    expect((await admin.get(`${BASE}?sort=permissions`)).status).toBe(400);
    expect((await admin.get(`${BASE}?search=%25${mark}`)).body.items).toEqual([]);
  });
});

describe('the permissions of a role', () => {
  it('are added, read, replaced and removed one by one', async () => {
    const { body } = await added();
    const list = `${BASE}/${body.id}/permissions`;
    const made = await admin.post(list, permission('a'));
    expect(made.status).toBe(201);
    const url = String(made.headers.location);
    expect(url).toBe(`${list}/${made.body.id}`);
    expect((await admin.get(url)).body).toEqual({ ...permission('a'), id: made.body.id });
    const sent = permission('/api/+', { context: 'http', operation: 'readWrite' });
    const replaced = await admin.put(url, sent);
    expect(replaced.body).toMatchObject({ ...sent, id: made.body.id });
    expect((await admin.get(list)).body.items).toEqual([{ ...sent, id: made.body.id }]);
    expect((await admin.delete(url)).status).toBe(204);
    const gone = [await admin.get(url), await admin.put(url, sent), await admin.delete(url)];
    for (const answer of gone) {
      expect([answer.status, answer.body.code]).toEqual([404, 'permission_not_found']);
    }
  });

  it('are refused when they are not valid, or their id is taken', async () => {
    const { body } = await added({ permissions: [permission('a', { id: 'p' })] });
    const list = `${BASE}/${body.id}/permissions`;
    const twice = await admin.post(list, permission('b', { id: 'p' }));
    expect([twice.status, twice.body.code]).toEqual([409, 'permission_exists']);
    const invalid = await admin.put(`${list}/p`, permission('a+'));
    expect([invalid.status, invalid.body.errors[0].pointer]).toEqual([422, '/resource']);
    expect((await admin.post(list, {})).status).toBe(400);
    expect((await admin.put(`${list}/p`, permission('a', { id: 'q' }))).status).toBe(400);
  });
});

describe('credentials with roles', () => {
  it('must name roles that exist', async () => {
    const role = await added();
    const answer = await credential({ roles: [role.body.id, 'nobody'] });
    expect([answer.status, answer.body.code]).toEqual([422, 'credential_invalid']);
    expect(answer.body.errors[0].pointer).toBe('/access/roles/1');
    const made = await credential({ roles: [role.body.id] });
    const url = `/api/v1/credentials/${made.body.id}`;
    const changed = await admin.patch(url, { access: { roles: ['nobody'] } });
    expect([changed.status, changed.body.errors[0].pointer]).toEqual([422, '/access/roles/0']);
  });

  it.each([
    ['prefix with a wildcard', { publishPrefix: 'a/#' }, '/access/publishPrefix', 422],
    ['prefix that starts with $', { publishPrefix: '$SYS' }, '/access/publishPrefix', 422],
    [
      'prefix that is too long',
      { publishPrefix: 'x'.repeat(PUBLISH_PREFIX_BYTES_MAX + 1) },
      '/access/publishPrefix',
      400,
    ],
    [
      'permission that is not valid',
      { permissions: [{ context: 'http', resource: 'x', operation: 'read' }] },
      '/access/permissions/0/resource',
      422,
    ],
    [
      'role too many',
      { roles: Array.from({ length: CREDENTIAL_ROLES_MAX + 1 }, String) },
      '/access/roles',
      400,
    ],
  ])('refuse a %s', async (_, access, pointer, status) => {
    const answer = await credential(access);
    expect(answer.status).toBe(status);
    expect(answer.body.errors.map((one) => one.pointer)).toContain(pointer);
  });

  it('have an access that is whole: what is left out is empty, permissions get ids, an empty prefix is none', async () => {
    const empty = await credential({ publishPrefix: '' });
    expect(empty.body.access).toEqual({ kind: 'roles', roles: [], permissions: [] });
    const one = await credential({ permissions: [permission('a')], publishPrefix: 'p/' });
    expect(one.body.access).toMatchObject({
      publishPrefix: 'p/',
      permissions: [{ ...permission('a'), id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string }],
    });
    const url = `/api/v1/credentials/${one.body.id}`;
    expect((await admin.get(url)).body.access).toEqual(one.body.access);
    for (const publishPrefix of ['', null]) {
      await admin.patch(url, { access: { publishPrefix: 'q/' } });
      const cleared = await admin.patch(url, { access: { publishPrefix } });
      expect(cleared.body.access).not.toHaveProperty('publishPrefix');
    }
    const acl = await admin.patch(url, { access: { kind: 'acl' } });
    expect(acl.body.access).toEqual({ kind: 'acl' });
    const roles = await admin.patch(url, { access: { kind: 'roles' } });
    expect(roles.body.access).toEqual({ kind: 'roles', roles: [], permissions: [] });
  });

  it('are found by their role', async () => {
    const { id } = (await added()).body;
    const made = [await credential({ roles: [id] }), await credential({ roles: [id] })];
    await credential({});
    const { body } = await admin.get(`/api/v1/credentials?role=${id}&sort=createdAt`);
    expect(body.items.map((one) => one.id).sort()).toEqual(made.map((one) => one.body.id).sort());
    expect((await admin.get('/api/v1/credentials?role=__proto__')).body.items).toEqual([]);
  });

  it('keep a role from being removed, unless it is to be taken from them', async () => {
    const { id } = (await added()).body;
    const other = (await added()).body.id;
    const made = await credential({ roles: [id, other] });
    const refused = await admin.delete(`${BASE}/${id}`);
    expect([refused.status, refused.body.code]).toEqual([409, 'role_in_use']);
    expect((await admin.delete(`${BASE}/${id}?detach=perhaps`)).status).toBe(400);
    expect((await admin.delete(`${BASE}/${id}?detach=true`)).status).toBe(204);
    const read = await admin.get(`/api/v1/credentials/${made.body.id}`);
    expect(read.body.access).toEqual({ kind: 'roles', roles: [other], permissions: [] });
    expect(read.headers.etag).not.toBe(made.headers.etag);
  });

  it('are explained by the role and the permission that decided', async () => {
    const permissions = [permission('a/#', { id: 'p', operation: 'write' })];
    const { id } = (await added({ permissions })).body;
    const made = await credential({ roles: [id] });
    const ask = async (topic: string) =>
      (
        await admin.post('/api/v1/explain', {
          credentialId: made.body.id,
          clientId: 'c',
          action: 'publish',
          topic,
        })
      ).body;
    expect(await ask('a/b')).toMatchObject({ allowed: true, ruleId: `role:${id}/p` });
    expect(await ask('b')).toMatchObject({ allowed: false, ruleId: 'default' });
  });
});

describe('roles and credentials that nobody has made', () => {
  const made = { autoGenerated: true };

  it('are refused a mark that is none, and no role is made a built-in one', async () => {
    const body = { name: randomUUID() };
    expect((await admin.post(BASE, { ...body, autoGenerated: 'perhaps' })).status).toBe(400);
    expect((await admin.post(BASE, { ...body, builtIn: true })).status).toBe(400);
    expect((await admin.get(`${BASE}?autoGenerated=perhaps`)).status).toBe(400);
    const { id } = (await added()).body;
    expect((await admin.patch(`${BASE}/${id}`, { builtIn: true })).status).toBe(400);
  });

  it('are told, and lists leave them out or have nothing else', async () => {
    const role = await added(made);
    expect(role.body).toMatchObject({ ...made, builtIn: false });
    const name = randomUUID();
    const sent = { name, match: { username: name }, passwordRequired: false, ...made };
    const user = await admin.post('/api/v1/credentials', sent);
    expect(user.body).toMatchObject(made);
    for (const [url, id] of [
      [BASE, role.body.id],
      ['/api/v1/credentials', user.body.id],
    ] as const) {
      const listed = async (query: string) =>
        (await admin.get(`${url}?pageSize=200&${query}`)).body.items.map((one) => one.id);
      expect(await listed('autoGenerated=true')).toEqual([id]);
      expect(await listed('autoGenerated=false')).not.toContain(id);
      expect(await listed('')).toContain(id);
    }
    const whole = { name: role.body.name, permissions: [] };
    const replaced = await admin.put(`${BASE}/${role.body.id}`, whole);
    expect(replaced.body).toMatchObject({ autoGenerated: false });
    const url = `/api/v1/credentials/${user.body.id}`;
    expect((await admin.patch(url, { autoGenerated: false })).body).toMatchObject({
      autoGenerated: false,
    });
  });

  it('a built-in role is neither changed nor removed, and no file speaks of it', async () => {
    const data = { id: 'built-in', name: 'built-in', builtIn: true, permissions: [] } as const;
    const meta = {
      commitId: randomUUID(),
      at: world.now,
      actor: { kind: 'system', id: 't' },
    } as const;
    expect((await world.executor.execute({ type: 'AddRole', data }, meta)).ok).toBe(true);
    for (const answer of [
      await admin.delete(`${BASE}/built-in`),
      await admin.delete(`${BASE}/built-in?detach=true`),
      await admin.patch(`${BASE}/built-in`, { name: 'other' }),
      await admin.put(`${BASE}/built-in`, { name: 'built-in', permissions: [] }),
      await admin.post(`${BASE}/built-in/permissions`, permission('a')),
    ]) {
      expect([answer.status, answer.body.code]).toEqual([409, 'role_built_in']);
    }
    expect((await admin.get(`${BASE}/built-in`)).body).toMatchObject({ builtIn: true });
    const file = (await admin.get('/api/v1/config/export')).text;
    expect(file).not.toContain('built-in');
    const empty = { version: 1, roles: [], credentials: [] };
    const pruned = await admin.post('/api/v1/config/diff?prune=true', empty);
    expect(pruned.status, pruned.text).toBe(200);
    expect(pruned.text).not.toContain('built-in');
  });
});
