import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answered, type Client, World } from '../../testing/world.ts';
import { LINT_OBJECTS_MAX } from './schema.ts';

const LINT = '/api/v1/lint';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

interface Linted {
  readonly type: string;
  readonly id: string;
  readonly examined: number;
  readonly findings: readonly { code: string; ruleId: string; by: readonly string[] }[];
}

interface LintBody {
  readonly items: readonly Linted[];
  readonly total: number;
}

const bodyOf = (answer: Answered): LintBody => {
  expect(answer.status, answer.text).toBe(200);
  return answer.body as unknown as LintBody;
};

const linted = async (query: string): Promise<LintBody> =>
  bodyOf(await admin.get(`${LINT}?${query}`));

const texts = ({ items }: LintBody): readonly string[] =>
  items.flatMap(({ type, id, findings }) =>
    findings.map(({ code, ruleId, by }) => `${type} ${id}: ${code} ${[ruleId, ...by].join(' ')}`),
  );

const allow = (topicFilter: string, more: object = {}) => ({
  ...{ effect: 'allow', action: 'all', topicFilter, ruleId: topicFilter },
  ...more,
});
const deny = (topicFilter: string) => allow(topicFilter, { effect: 'deny' });

async function idOf(answer: Promise<Answered>): Promise<string> {
  const { status, text, body } = await answer;
  expect(status, text).toBe(201);
  return body.id;
}

const permission = (id: string, resource: string) => ({
  ...{ id, context: 'mqtt', operation: 'readWrite', resource },
});

describe('lint', () => {
  it('refuses what it would not look at, and what is not there', async () => {
    for (const [query, pointer] of [
      ['id=everyone', '/type'],
      ['type=credential', '/id'],
      ['type=acl&clientId=c', '/clientId'],
      ['type=credential&id=x&username=u', '/username'],
      ['type=credential&id=x&listener=u', '/listener'],
      [`pageSize=${LINT_OBJECTS_MAX + 1}`, '/pageSize'],
      ['type=nothing', '/type'],
      ['other=1', '/other'],
    ] as const) {
      const { status, body } = await admin.get(`${LINT}?${query}`);
      expect([status, body.errors[0].pointer], query).toEqual([400, pointer]);
    }
    for (const [query, code] of [
      ['type=acl&id=everyone', 'acl_table_not_found'],
      ['type=acl&id=nobody', 'acl_table_not_found'],
      ['type=acl&id=client:nobody', 'acl_table_not_found'],
      ['type=group&id=x', 'group_not_found'],
      ['type=role&id=x', 'role_not_found'],
      ['type=dynsecRole&id=x', 'dynsec_not_found'],
      ['type=credential&id=x', 'credential_not_found'],
    ] as const) {
      const { status, body } = await admin.get(`${LINT}?${query}`);
      expect([status, body.code], query).toEqual([404, code]);
    }
    expect((await world.anonymous().get(LINT)).status).toBe(401);
    expect((await (await world.operator('viewer')).get(LINT)).status).toBe(200);
  });

  it('looks at one object, or at a page of all that are shared', async () => {
    expect(await linted('')).toMatchObject({ items: [], total: 0 });
    const put = (url: string, rules: readonly object[]) =>
      admin.put(`/api/v1/acl/${url}`, { rules });
    await put('everyone', [deny('a/#'), allow('a/b'), allow('c')]);
    await put('clients/p%2F1', [allow('a/${clientid}')]);
    await put('usernames/u', [allow('a')]);
    const group = await idOf(
      admin.post('/api/v1/groups', {
        ...{ name: 'pumps', description: '' },
        permissions: [
          { permission: 'allow', action: 'publish', topic: 'a' },
          { permission: 'allow', action: 'publish', topic: '#' },
        ],
      }),
    );
    const permissions = [permission('1', 'a/+'), permission('2', 'a/b')];
    const role = await idOf(admin.post('/api/v1/roles', { name: 'r', permissions }));
    const row = (topic: string, priority: number) => ({
      ...{ aclType: 'publishClientSend', topic, priority, allow: true },
    });
    const acls = [row('a/%c', 0), row('a/+', 1)];
    const dynsec = await idOf(admin.post('/api/v1/dynsec/roles', { name: 'd', acls }));
    const found = {
      client: 'acl client:p/1: unfillable acl:client:p/1/a/${clientid}',
      everyone: 'acl everyone: shadowed acl:everyone/a/b acl:everyone/a/#',
      group: `group ${group}: redundant group:${group}/0 group:${group}/1`,
      role: `role ${role}: shadowed role:${role}/2 role:${role}/1`,
      dynsec: `dynsecRole ${dynsec}: shadowed dynsec-role:${dynsec}/0 dynsec-role:${dynsec}/1`,
    };
    expect(texts(await linted(''))).toEqual(Object.values(found));
    expect(texts(await linted(`type=group&id=${group}`))).toEqual([found.group]);
    expect(texts(await linted('type=acl&id=client:p%2F1'))).toEqual([found.client]);
    expect(texts(await linted(`type=dynsecRole&id=${dynsec}`))).toEqual([found.dynsec]);
    expect(await linted('type=acl&id=username:u')).toMatchObject({
      items: [{ id: 'username:u', rules: 1, examined: 1, findings: [] }],
      total: 1,
    });
    // Page by page, over the ends of the lists: each object once.
    for (const pageSize of [1, 2, 3, 4, 5, 6]) {
      const pages = [];
      for (let page = 0; page * pageSize < 6; page++) {
        pages.push(await linted(`page=${page}&pageSize=${pageSize}`));
      }
      expect(pages.flatMap(texts), `pages of ${pageSize}`).toEqual(Object.values(found));
      expect(pages.map((one) => one.total)).toEqual(pages.map(() => 6));
    }
    expect(await linted('page=7')).toMatchObject({ items: [], total: 6 });
    expect(texts(await linted('type=role'))).toEqual([found.role]);
    expect(texts(await linted('type=dynsecRole'))).toEqual([found.dynsec]);
    // What follows the rows of a username for everybody: of a client id it is not certain.
    await put('usernames/u', [allow('c'), allow('a/b')]);
    await put('clients/p%2F1', [allow('c')]);
    expect(texts(await linted('type=acl'))).toEqual([
      found.everyone,
      'acl username:u: redundant acl:username:u/c acl:everyone/c',
    ]);
  });

  it('judges by the setting: in part is granted only by what is contained', async () => {
    await admin.put('/api/v1/acl/everyone', { rules: [deny('a/#'), allow('a/b')] });
    const codes = async () =>
      (await linted('type=acl&id=everyone')).items[0]?.findings.map((one) => one.code);
    expect(await codes()).toEqual(['shadowed']);
    await admin.patch('/api/v1/settings', { aclSubscribeMatch: 'containment' });
    expect(await codes()).toEqual(['in_part']);
    await admin.patch('/api/v1/settings', { aclSubscribeMatch: 'text' });
  });

  it('looks at a credential by itself, and as one of its connections would be judged', async () => {
    const add = (access: object, more: object = {}) =>
      idOf(
        admin.post('/api/v1/credentials', {
          ...{
            name: `n-${JSON.stringify(access)}`,
            match: { username: 'u9' },
            passwordRequired: false,
          },
          ...{ access, ...more },
        }),
      );
    const patterns = await add({
      kind: 'patterns',
      publish: ['a/.*', 'a/.*'],
      subscribe: ['a/.*'],
    });
    expect(texts(await linted(`type=credential&id=${patterns}`))).toEqual([
      `credential ${patterns}: duplicate credential:${patterns}/publish/1 credential:${patterns}/publish/0`,
    ]);
    await admin.delete(`/api/v1/credentials/${patterns}`);
    const sent = { name: 'wide', permissions: [permission('w', '${username}/#')] };
    const role = await idOf(admin.post('/api/v1/roles', sent));
    const own = [permission('o', '${username}/x'), permission('s', '${client_attrs.site}')];
    const roles = await add({ kind: 'roles', roles: [role], permissions: own });
    const said = [
      `credential ${roles}: shadowed credential:${roles}/permission/o role:${role}/w`,
      `credential ${roles}: unfillable credential:${roles}/permission/s`,
    ];
    expect(texts(await linted(`type=credential&id=${roles}`))).toEqual(said);
    await admin.put('/api/v1/acl/clients/c9', { rules: [deny('q/#')] });
    await admin.put('/api/v1/acl/everyone', {
      rules: [allow('q/r'), allow('z', { listener: 'x' })],
    });
    const connection = `type=credential&id=${roles}&clientId=c9`;
    expect(texts(await linted(connection))).toEqual([
      ...said,
      `credential ${roles}: shadowed acl:everyone/q/r acl:client:c9/q/#`,
    ]);
    expect(await linted(`${connection}&listener=x`)).toMatchObject({ items: [{ examined: 6 }] });
    expect(await linted(connection)).toMatchObject({ items: [{ examined: 5 }] });
    // What roles do not allow is denied, so that a table allows nothing beside them.
    await admin.put('/api/v1/acl/everyone', { rules: [deny('p'), allow('z')] });
    await admin.put('/api/v1/acl/clients/c9', { rules: [deny('u9/y')] });
    expect(texts(await linted(connection))).toEqual([
      ...said,
      `credential ${roles}: overruled acl:everyone/z`,
    ]);
  });

  it('looks at dynamic security and mappings for any certificate', async () => {
    const row = (topic: string) => ({
      ...{ aclType: 'publishClientSend', topic, priority: 0, allow: true },
    });
    const role = async (name: string, ...topics: string[]) =>
      idOf(admin.post('/api/v1/dynsec/roles', { name, acls: topics.map(row) }));
    const [first, second] = [await role('first', 'a/#'), await role('second', 'a/b', 'b')];
    const add = (username: string, access: object) =>
      idOf(
        admin.post('/api/v1/credentials', {
          ...{ name: username, match: { username }, passwordRequired: false, access },
        }),
      );
    const held = await add('u10', {
      kind: 'dynsec',
      roles: [
        { role: first, priority: 1 },
        { role: second, priority: 0 },
      ],
      groups: [],
    });
    expect(texts(await linted(`type=credential&id=${held}`))).toEqual([
      `credential ${held}: shadowed dynsec-role:${second}/0 dynsec-role:${first}/0`,
    ]);
    // By itself the role says something that no other of its rows does.
    expect(texts(await linted(`type=dynsecRole&id=${second}`))).toEqual([]);
    const mapping = await add('u11', {
      kind: 'mapping',
      entries: [
        { key: 'pump', publish: ['a/.*', '${cn}/.*'], subscribe: [] },
        { key: 'pump-7', publish: ['a/b', '${cn}/.*'], subscribe: [] },
      ],
    });
    const rules = [deny('a/b'), allow('q', { effect: 'deny', action: 'publish' }), allow('z')];
    await admin.put('/api/v1/acl/everyone', { rules });
    await admin.put('/api/v1/acl/clients/c10', { rules: [deny('b')] });
    expect(texts(await linted(`type=credential&id=${held}&clientId=c10`))).toEqual([
      `credential ${held}: shadowed dynsec-role:${second}/0 dynsec-role:${first}/0`,
      `credential ${held}: needless acl:everyone/q`,
      `credential ${held}: overruled acl:everyone/z`,
    ]);
    const entries = `credential:${mapping}/entries`;
    const shadowed = [
      `credential ${mapping}: shadowed ${entries}/1/publish/0 ${entries}/0/publish/0`,
      `credential ${mapping}: shadowed ${entries}/1/publish/1 ${entries}/0/publish/1`,
    ];
    expect(texts(await linted(`type=credential&id=${mapping}`))).toEqual(shadowed);
    expect(texts(await linted(`type=credential&id=${mapping}&clientId=c10`))).toEqual([
      ...shadowed,
      `credential ${mapping}: overruled acl:everyone/z`,
    ]);
    // Which groups there are besides is up to the certificate, so that what is denied may be needed.
    const grouped = await add('u12', { kind: 'groups' });
    expect(texts(await linted(`type=credential&id=${grouped}&clientId=c10`))).toEqual([
      `credential ${grouped}: overruled acl:everyone/z`,
    ]);
  });
});
