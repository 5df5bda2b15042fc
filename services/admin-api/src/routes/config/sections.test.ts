import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type AnswerBody, type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
const open = async () => {
  world = await World.open();
  admin = await world.login();
};
const close = () => world[Symbol.asyncDispose]();

type File = Readonly<Record<string, unknown>>;

interface Planned {
  readonly create: number;
  readonly update: number;
  readonly delete: number;
  readonly commits: number;
  readonly changes: readonly {
    readonly section: string;
    readonly action: string;
    readonly key: string;
  }[];
}

const send = (path: string, file: File, headers?: Record<string, string>, to = admin) =>
  to.post(`/api/v1/config/${path}`, { version: 1, ...file }, headers);

async function done(path: string, file: File, to = admin): Promise<Planned> {
  const answer = await send(path, file, {}, to);
  expect(answer.status, answer.text).toBe(200);
  return answer.body as unknown as Planned;
}

const counts = ({ create, update, delete: deleted }: Planned) => [create, update, deleted];
const told = ({ changes }: Planned) =>
  changes.map(({ action, section, key }) => `${action} ${section} ${key}`);

async function refusal(file: File, path = 'apply'): Promise<string> {
  const { status, body } = await send(path, file);
  return `${status} ${body.code} ${body.errors.map((one) => one.pointer).join()}`;
}

const exported = async (from = admin) =>
  parse((await from.get('/api/v1/config/export')).text) as File;

const filter = (resource: string) => ({ context: 'mqtt', resource, operation: 'readWrite' });
const rights = (topic: string) => ({ permission: 'allow', action: 'publish', topic });
const device = (name: string, more: object = {}) => ({
  name,
  match: { username: name },
  passwordRequired: false,
  ...more,
});
const withRoles = (...roles: readonly string[]) => ({ access: { kind: 'roles', roles } });
const pump = { store: 'clients', kind: 'certificate', match: { commonName: 'pump' } };

/** One of everything; certificates have a test of their own. */
const FILE = {
  settings: { noMatch: 'deny', denyAction: 'ignore' },
  roles: [
    { name: 'operators', permissions: [filter('a/#'), filter('b/#')] },
    { name: 'auditors: all', permissions: [] },
  ],
  groups: [
    { name: 'pumps', description: 'a: b # c', permissions: [rights('pumps/${clientid}')] },
    { name: 'valves', permissions: [] },
  ],
  credentials: [
    device('desk', {
      access: { ...withRoles('operators', 'auditors: all').access, apply: 'kick' },
    }),
    { name: 'pump', ...pump, access: { kind: 'groups', apply: 'live' } },
    device('pump', { store: 'tbmq' }),
  ],
  groupRules: {
    rules: [
      { matchBy: 'credential', value: 'pump', groups: ['valves', 'pumps'] },
      { matchBy: 'credential', value: 'desk', store: 'native', groups: ['valves'] },
      { matchBy: 'client_id', value: 'pump-*', groups: ['pumps'] },
      { matchBy: 'certificate_fingerprint', value: 'ab'.repeat(32), groups: ['pumps'] },
    ],
  },
  acl: [
    {
      target: { kind: 'client', name: 'x' },
      rules: [{ effect: 'allow', action: 'publish', topicFilter: 'a', qos: [1], retain: false }],
    },
  ],
  bans: [
    { kind: 'cidr', value: '192.0.2.7/24', reason: 'scans' },
    { kind: 'client_id', value: 'thief', until: '2099-01-01T01:00:00+01:00' },
  ],
};

describe('a file of everything', () => {
  beforeEach(open);
  afterEach(close);

  it('is made in one commit, what is named before what names it, and then nothing differs', async () => {
    const before = world.model.revision;
    const plan = await done('diff', FILE);
    expect(told(plan)).toEqual([
      'update settings settings',
      'create roles operators',
      'create roles auditors: all',
      'create groups pumps',
      'create groups valves',
      'create credentials desk',
      'create credentials clients:pump',
      'create credentials tbmq:pump',
      'update groupRules groupRules',
      'create acl client:x',
      'create bans cidr:192.0.2.0/24',
      'create bans client_id:thief',
    ]);
    expect(await done('apply', FILE)).toMatchObject({ commits: 1 });
    expect(world.model.revision).toBe(before + 1);
    expect(counts(await done('diff?prune=true', FILE))).toEqual([0, 0, 0]);
    const { reads } = world.model;
    const [rule] = reads.groupRules().rules;
    expect(rule?.value).toBe(reads.credentialIdByName('clients', 'pump'));
    expect(rule?.groups[1]).toBe(reads.groupIdByName('pumps'));
    const thief = reads.banByValue('client_id', 'thief');
    expect(thief).toMatchObject({ by: 'operator:admin', until: Date.parse('2099-01-01') });
  });

  it('comes back as it was written, here and on an empty system', async () => {
    await done('apply', FILE);
    const file = await exported();
    expect(counts(await done('diff?prune=true', file))).toEqual([0, 0, 0]);
    expect(JSON.stringify(file)).not.toMatch(/updatedRevision|createdAt|inert/);
    const other = await World.open();
    try {
      const there = await other.login();
      await done('apply', file, there);
      expect(await exported(there)).toEqual(file);
    } finally {
      await other[Symbol.asyncDispose]();
    }
  });

  it('is taken away as a whole, who names something before what is named', async () => {
    await done('apply', FILE);
    const none = { roles: [], groups: [], credentials: [], groupRules: { rules: [] } };
    const plan = await done('apply?prune=true', { ...none, acl: [], bans: [] });
    expect(plan).toMatchObject({ create: 0, update: 1, delete: 10, commits: 1 });
    expect(told(plan).slice(0, 4)).toEqual([
      'delete credentials clients:pump',
      'delete credentials desk',
      'delete credentials tbmq:pump',
      'update groupRules groupRules',
    ]);
    const sections = plan.changes.map(({ section }) => section);
    expect(sections.slice(-4)).toEqual(['groups', 'groups', 'roles', 'roles']);
    expect(await exported()).toMatchObject({ ...none, acl: [], bans: [] });
  });

  it('over several commits is made, and taken away, in an order that each of them can have', async () => {
    const rest = { attributes: { text: 'x'.repeat(200) } };
    const credentials = Array.from({ length: 900 }, (_, index) =>
      device(`d${index}`, { ...withRoles('operators'), ...rest }),
    );
    const made = await done('apply', { roles: FILE.roles, credentials });
    expect(made.commits).toBeGreaterThan(1);
    const without = credentials.map((one) => ({ ...one, access: { kind: 'acl' } }));
    const removed = await done('apply?prune=true', { roles: [], credentials: without });
    expect(counts(removed)).toEqual([0, 900, 2]);
    expect(removed.commits).toBeGreaterThan(1);
    expect(await exported()).toMatchObject({ roles: [] });
  });
});

describe('roles and groups of dynamic security', () => {
  beforeEach(open);
  afterEach(close);

  const acl = { aclType: 'publishClientSend', topic: 'a/%c', priority: -1, allow: true };
  const access = {
    kind: 'dynsec',
    roles: [{ role: 'sender' }],
    groups: [{ group: 'pumps', priority: 4 }],
  };
  const whole = {
    dynsecRoles: [{ name: 'sender', acls: [acl], allowWildcardSubs: false }, { name: 'quiet' }],
    dynsecGroups: [{ name: 'pumps', roles: [{ role: 'quiet', priority: 2 }] }],
    credentials: [device('desk', { access })],
  };

  it('are made before what names them, found again by their names, and come back as they were', async () => {
    const plan = await done('apply', whole);
    expect(told(plan)).toEqual([
      'create dynsecRoles sender',
      'create dynsecRoles quiet',
      'create dynsecGroups pumps',
      'create credentials desk',
    ]);
    expect(counts(await done('diff?prune=true', whole))).toEqual([0, 0, 0]);
    const { reads } = world.model;
    const [desk, quiet] = [
      reads.credential(reads.credentialIdByName('native', 'desk') ?? ''),
      reads.dynsecIdByName('role', 'quiet'),
    ];
    const group = reads.dynsecIdByName('group', 'pumps') ?? '';
    expect(desk?.access).toMatchObject({ groups: [{ group, priority: 4 }] });
    expect(reads.dynsecObject('group', group)).toMatchObject({ roles: [{ role: quiet }] });
    const file = await exported();
    expect(file).toMatchObject({
      dynsecGroups: [{ name: 'pumps', roles: [{ role: 'quiet', priority: 2 }] }],
      credentials: [{ access: { ...access, roles: [{ role: 'sender', priority: -1 }] } }],
    });
    expect(counts(await done('diff?prune=true', file))).toEqual([0, 0, 0]);
    const changed = { dynsecGroups: [{ name: 'pumps', roles: [{ role: 'sender' }] }] };
    expect(told(await done('apply', changed))).toEqual(['update dynsecGroups pumps']);
  });

  it('are refused where they name what is not there, and kept while something names them', async () => {
    await done('apply', whole);
    const { dynsecRoles } = whole;
    for (const [file, said] of [
      [
        { dynsecGroups: [{ name: 'g', roles: [{ role: 'nobody' }] }] },
        '422 dynsec_invalid /dynsecGroups/0/roles/0/role',
      ],
      [
        { credentials: [device('x', { access: { ...access, groups: [{ group: 'nobody' }] } })] },
        '422 credential_invalid /credentials/0/access/groups/0/group',
      ],
      [
        { dynsecRoles: [{ name: 'x', acls: [{ ...acl, topic: 'a#' }] }] },
        '422 dynsec_invalid /dynsecRoles/0/acls/0/topic',
      ],
      [
        { dynsecRoles: [dynsecRoles[0], dynsecRoles[0]] },
        '400 invalid_request /dynsecRoles/1/name',
      ],
    ] as const) {
      expect(await refusal(file)).toBe(said);
    }
    const pruned = await refusal({ dynsecRoles: [] }, 'apply?prune=true');
    expect(pruned).toMatch(/^409 dynsec_in_use/);
    const none = { dynsecRoles: [], dynsecGroups: [], credentials: [] };
    const plan = await done('apply?prune=true', none);
    expect(told(plan)).toEqual([
      'delete credentials desk',
      'delete dynsecGroups pumps',
      'delete dynsecRoles quiet',
      'delete dynsecRoles sender',
    ]);
  });
});

describe('what refers to others', () => {
  beforeEach(open);
  afterEach(close);

  it('hands on what only one credential may match, in whatever order it is written, but in no circle', async () => {
    const names = ['a', 'b', 'c', 'd'];
    const matching = (...usernames: readonly string[]) =>
      names.map((name, index) => device(name, { match: { username: usernames[index] } }));
    await done('apply', { credentials: matching('1', '2', '3', '4') });
    const circle = { credentials: matching('2', '3', '1', '5') };
    expect(await refusal(circle)).toMatch(/^409 credential_match_taken/);
    const handed = { credentials: matching('2', '3', '4', '5') };
    const applied = await done('apply', handed);
    expect(told(applied).map((one) => one.slice(-1))).toEqual(['d', 'c', 'b', 'a']);
    expect(counts(await done('diff', handed))).toEqual([0, 0, 0]);
  });

  it('lets go of a role that the same file takes away, and not of one that it leaves', async () => {
    await done('apply', FILE);
    const [operators] = FILE.roles;
    const named = { roles: [operators], credentials: FILE.credentials };
    expect(counts(await done('diff', named))).toEqual([0, 0, 0]);
    const dropped = await send('apply?prune=true', named);
    expect([dropped.status, dropped.body.code]).toEqual([422, 'credential_invalid']);
    expect(dropped.body.errors[0]).toEqual({
      pointer: '/credentials/0/access/roles/1',
      detail: 'is the name of no role',
    });
    const unnamed = await send('apply?prune=true', { roles: [operators] });
    expect([unnamed.status, unnamed.body.code]).toEqual([409, 'role_in_use']);
    expect(unnamed.body.errors[0].pointer).toBe('/roles');
    expect(unnamed.body.errors[0].detail).toMatch(/has the role/);
    const credentials = [device('desk', withRoles('operators')), ...FILE.credentials.slice(1)];
    const plan = await done('apply?prune=true', { roles: [operators], credentials });
    expect(told(plan)).toEqual(['update credentials desk', 'delete roles auditors: all']);
  });

  it('gets a role, a group and a client that the same file makes', async () => {
    await done('apply', FILE);
    const plan = await done('apply', {
      roles: [{ name: 'night', permissions: [] }],
      groups: [{ name: 'night' }],
      credentials: [
        device('desk', withRoles('operators', 'night')),
        { ...pump, name: 'new', match: { commonName: 'new' } },
      ],
      groupRules: { rules: [{ matchBy: 'credential', value: 'new', groups: ['night', 'pumps'] }] },
    });
    expect(told(plan)).toEqual([
      'create roles night',
      'create groups night',
      'update credentials desk',
      'create credentials clients:new',
      'update groupRules groupRules',
    ]);
    const { reads } = world.model;
    const [rule, ...others] = reads.groupRules().rules;
    expect(others).toEqual([]);
    expect(rule?.value).toBe(reads.credentialIdByName('clients', 'new'));
    expect(rule?.groups).toEqual(['night', 'pumps'].map((name) => reads.groupIdByName(name)));
  });

  it('of a rule that gives nothing any more the file says nothing, and a plan leaves it alone', async () => {
    await done('apply', FILE);
    await done('apply?prune=true', { groups: [FILE.groups[1]] });
    const client = world.model.reads.credentialIdByName('clients', 'pump') ?? '';
    await admin.delete(`/api/v1/clients/${client}`);
    const { rules } = (await admin.get('/api/v1/group-rules')).body;
    expect(rules).toHaveLength(4);
    const file = await exported();
    expect(file['groupRules']).toMatchObject({
      rules: [{ value: 'desk', store: 'native', groups: ['valves'] }],
    });
    expect(counts(await done('diff?prune=true', file))).toEqual([0, 0, 0]);
  });

  it('keeps the ids of permissions and rules that are written without', async () => {
    await done('apply', FILE);
    const before = await exported();
    const roles = [{ name: 'operators', permissions: [filter('c/#'), filter('a/#')] }];
    const plan = await done('apply', { roles, groupRules: FILE.groupRules });
    expect(told(plan)).toEqual(['update roles operators']);
    const idOf = (file: File, resource: string) =>
      (file['roles'] as AnswerBody[])
        .flatMap((one) => [...one.permissions])
        .find((one) => one.resource === resource)?.id;
    const after = await exported();
    expect(idOf(after, 'a/#')).toBe(idOf(before, 'a/#'));
    expect(idOf(after, 'c/#')).not.toBe(idOf(before, 'b/#'));
  });

  it('makes a credential one of another kind, and back', async () => {
    const pumps = (more: object) => ({
      credentials: [{ store: 'clients', name: 'pump', ...more }],
    });
    await done('apply', FILE);
    const match = { username: 'pump' };
    const file = pumps({ match, access: { kind: 'groups' } });
    expect(await refusal(file)).toBe('422 credential_invalid /credentials/0/password');
    const whole = pumps({ match, access: { kind: 'groups' }, password: 'canary-of-a-pump' });
    const plan = await done('apply', whole);
    expect(told(plan)).toEqual(['update credentials clients:pump']);
    expect(JSON.stringify(plan)).toContain('"pointer":"/kind"');
    expect(counts(await done('diff', whole))).toEqual([0, 0, 0]);
    expect(counts(await done('apply', { credentials: [FILE.credentials[1]] }))).toEqual([0, 1, 0]);
    const id = world.model.reads.credentialIdByName('clients', 'pump') ?? '';
    expect(world.model.reads.credential(id)?.secrets).toEqual([]);
  });

  it('keeps a list without rules where it is told to, and gives it back', async () => {
    const target = { kind: 'client', name: 'quiet' };
    const kept = { acl: [{ target, rules: [], keepEmpty: true }] };
    expect(counts(await done('diff', { acl: [{ target, rules: [] }] }))).toEqual([0, 0, 0]);
    expect(counts(await done('apply', kept))).toEqual([1, 0, 0]);
    expect(counts(await done('diff', kept))).toEqual([0, 0, 0]);
    expect(await exported()).toMatchObject(kept);
    const ruled = { acl: [{ target, rules: FILE.acl[0]?.rules }] };
    expect(counts(await done('apply', ruled))).toEqual([0, 1, 0]);
    expect(counts(await done('apply', kept))).toEqual([0, 1, 0]);
    expect(world.model.reads.aclTable({ kind: 'client', name: 'quiet' })?.rules).toEqual([]);
    expect(counts(await done('apply?prune=true', { acl: [] }))).toEqual([0, 0, 1]);
  });

  it('sees every member of a rule', async () => {
    await done('apply', FILE);
    const [{ target, rules }] = FILE.acl as [(typeof FILE.acl)[number]];
    for (const member of [{ qos: [2] }, { retain: true }, { literal: true }]) {
      const acl = [{ target, rules: [{ ...rules[0], ...member }] }];
      expect(counts(await done('diff', { acl }))).toEqual([0, 1, 0]);
    }
  });
});

describe('a refusal', () => {
  beforeAll(open);
  afterAll(close);

  const rule = (more: object) => ({
    groups: FILE.groups,
    groupRules: { rules: [{ matchBy: 'client_id', value: 'x', groups: ['pumps'] }, more] },
  });
  const lone = { permission: 'allow', action: 'publish', topic: 'a#' };
  it.each([
    [
      'a role',
      { roles: [{ name: 'r', permissions: [filter('a#')] }] },
      '422 role_invalid /roles/0/permissions/0/resource',
    ],
    [
      'a name without text',
      { roles: [{ name: '', permissions: [] }] },
      '422 role_invalid /roles/0/name',
    ],
    [
      'a role twice',
      { roles: [FILE.roles[0], FILE.roles[0]] },
      '400 invalid_request /roles/1/name',
    ],
    [
      'a group',
      { groups: [{ name: 'g', permissions: [lone] }] },
      '422 group_invalid /groups/0/permissions/0/topic',
    ],
    ['an address', { bans: [{ kind: 'address', value: 'x' }] }, '422 ban_invalid /bans/0/value'],
    [
      'one network twice',
      { bans: ['192.0.2.1/24', '192.0.2.2/24'].map((value) => ({ kind: 'cidr', value })) },
      '400 invalid_request /bans/1/value',
    ],
    [
      'a role of a credential',
      { credentials: [device('a', withRoles('nobody'))] },
      '422 credential_invalid /credentials/0/access/roles/0',
    ],
    [
      'a prefix',
      { credentials: [device('a', { access: { kind: 'roles', publishPrefix: '#' } })] },
      '422 credential_invalid /credentials/0/access/publishPrefix',
    ],
    [
      'a password',
      { credentials: [device('a', { password: 'canary\u0001', scram: ['SCRAM-SHA-256'] })] },
      '422 credential_invalid /credentials/0/password',
    ],
    [
      'a group of a rule',
      rule({ matchBy: 'client_id', value: 'y', groups: ['pumps', 'none'] }),
      '422 group_rule_invalid /groupRules/rules/1/groups/1',
    ],
    [
      'a group twice in a rule',
      rule({ matchBy: 'client_id', value: 'y', groups: ['pumps', 'pumps'] }),
      '422 group_rule_invalid /groupRules/rules/1/groups/1',
    ],
    [
      'a rule without groups',
      rule({ matchBy: 'client_id', value: 'y', groups: [] }),
      '400 invalid_request /groupRules/rules/1/groups',
    ],
    [
      'a client of a rule',
      rule({ matchBy: 'credential', value: 'y', groups: ['pumps'] }),
      '422 group_rule_invalid /groupRules/rules/1/value',
    ],
    [
      'a fingerprint',
      rule({ matchBy: 'certificate_fingerprint', value: 'y', groups: ['pumps'] }),
      '422 group_rule_invalid /groupRules/rules/1/value',
    ],
    [
      'a store beside a client id',
      rule({ matchBy: 'client_id', value: 'y', store: 'native', groups: ['pumps'] }),
      '422 group_rule_invalid /groupRules/rules/1/store',
    ],
    [
      'a listener',
      { certificates: [{ listener: 'tcp:default', clientCertificate: 'none' }] },
      '400 invalid_request /certificates/0/listener',
    ],
    [
      'authorities that are needed',
      { certificates: [{ listener: 'ssl:default', clientCertificate: 'required' }] },
      '422 trust_invalid /certificates/0/authorities',
    ],
    [
      'a text that is no certificate',
      {
        certificates: [
          {
            listener: 'ssl:default',
            clientCertificate: 'none',
            serverCertificate: 'x',
            serverKey: 'y',
          },
        ],
      },
      '422 trust_invalid /certificates/0/serverCertificate,/certificates/0/serverKey',
    ],
  ])('of %s says where in the file, and nothing is done', async (_title, file, expected) => {
    const before = world.model.revision;
    expect(await refusal(file)).toBe(expected);
    expect(world.model.revision).toBe(before);
  });
});

describe('a plan', () => {
  beforeEach(open);
  afterEach(close);

  it('that takes away a client is refused where a rule of the file wants it', async () => {
    await done('apply', FILE);
    const credentials = FILE.credentials.filter(({ name }) => name !== 'pump');
    const file = { credentials, groupRules: FILE.groupRules };
    expect(await refusal(file, 'apply?prune=true')).toBe(
      '422 group_rule_invalid /groupRules/rules/0/value',
    );
  });

  it('is refused when one of its objects has changed since it was seen', async () => {
    await done('apply', FILE);
    const changed = { roles: [{ name: 'operators', permissions: [] }], bans: [] };
    const { etag } = (await send('diff?prune=true', changed)).headers;
    const id = world.model.reads.roleIdByName('operators') ?? '';
    await admin.post(`/api/v1/roles/${id}/permissions`, filter('z'));
    const stale = await send('apply?prune=true', changed, { 'if-match': String(etag) });
    expect([stale.status, stale.body.code]).toEqual([412, 'precondition_failed']);
  });
});

describe('a ban that has run out', () => {
  beforeAll(open);
  afterAll(close);

  it('is as good as none, here and in the file', async () => {
    const soon = new Date(world.now + 60_000).toISOString();
    const bans = [
      { kind: 'client_id', value: 'a', until: soon },
      { kind: 'client_id', value: 'b' },
    ];
    await done('apply', { bans });
    expect(counts(await done('diff?prune=true', { bans }))).toEqual([0, 0, 0]);
    world.now += 60_000;
    admin = await world.login();
    expect((await exported())['bans']).toEqual([{ kind: 'client_id', value: 'b' }]);
    expect(counts(await done('diff?prune=true', { bans }))).toEqual([0, 0, 0]);
    const anew = [{ kind: 'client_id', value: 'a' }];
    expect(told(await done('apply?prune=true', { bans: anew }))).toEqual([
      'delete bans client_id:b',
      'update bans client_id:a',
    ]);
    expect((await exported())['bans']).toEqual(anew);
  });
});
