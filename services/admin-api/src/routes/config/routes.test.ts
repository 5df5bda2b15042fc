import { randomUUID } from 'node:crypto';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CONFIG_FILE_BYTES_MAX, YAML_ALIASES_MAX } from '../../config-file/file-body.ts';
import { PLAN_CHANGES_MAX } from '../../config-file/plan.ts';
import { type Answered, type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
const open = async () => {
  world = await World.open();
  admin = await world.login();
};
const close = () => world[Symbol.asyncDispose]();

interface Planned {
  readonly create: number;
  readonly update: number;
  readonly delete: number;
  readonly commits: number;
  readonly revision: number;
  readonly changes: readonly {
    readonly section: string;
    readonly action: string;
    readonly key: string;
    readonly fields?: readonly unknown[];
  }[];
}

const planned = (answer: Answered): Planned => {
  expect(answer.status, answer.text).toBe(200);
  return answer.body as unknown as Planned;
};

const yaml = (path: string, payload: string, headers: Record<string, string> = {}) =>
  world.request({
    method: 'POST',
    url: `/api/v1/config/${path}`,
    payload,
    headers: {
      authorization: admin.authorization ?? '',
      'content-type': 'application/yaml',
      ...headers,
    },
  });

const FILE = `
version: 1
settings: { noMatch: deny, denyAction: ignore }
credentials:
  - name: pump-1
    match: { username: pump-1 }
    password: canary-pump-password
    access: { kind: patterns, publish: ['a/.*'], subscribe: [] }
  - { name: pump-2, match: { clientId: pump-2 }, passwordRequired: false }
acl:
  - target: { kind: everyone }
    rules: [{ effect: deny, action: all, topicFilter: 'secret/#' }]
  - target: { kind: client, name: pump-2 }
    rules: []
`;

const counts = ({ create, update, delete: deleted }: Planned) => [create, update, deleted];

describe('a file that is refused', () => {
  beforeAll(open);
  afterAll(close);

  it.each([
    ['no YAML', 'a: [', 'malformed_body'],
    ['two documents', 'a: 1\n---\nb: 2', 'malformed_body'],
    ['a key that is there twice', 'version: 1\nversion: 1', 'malformed_body'],
    ['a tag of its own', 'version: !!js/function x', 'malformed_body'],
    ['a prototype', '__proto__: { superuser: true }', 'malformed_body'],
    ['a prototype inside', 'version: 1\nsettings: { constructor: 1 }', 'malformed_body'],
    ['a bomb of aliases', bomb(9), 'malformed_body'],
    ['too many aliases', `a: &a 1\nb: [${'*a,'.repeat(YAML_ALIASES_MAX + 1)}]`, 'malformed_body'],
    ['too deep', `a: ${'['.repeat(21)}${']'.repeat(21)}`, 'malformed_body'],
    ['a megabyte of brackets', '['.repeat(1024 * 1024 - 1), 'malformed_body'],
    ['a megabyte of dashes', '- '.repeat(512 * 1024 - 1), 'malformed_body'],
    ['a stair of keys', stair(700), 'malformed_body'],
    ['many values', `a: [${'1,'.repeat(60_000)}1]`, 'malformed_body'],
    ['another version', 'version: 2', 'invalid_request'],
    ['an unknown section', 'version: 1\noperators: []', 'invalid_request'],
    ['nothing', '', 'invalid_request'],
    ['a list', '- 1', 'invalid_request'],
    [
      'a name that is a number',
      'version: 1\ncredentials: [{ name: 1, match: { username: x } }]',
      'invalid_request',
    ],
    [
      'a name that is there twice',
      twice('credentials', '{ name: a, match: { username: b } }'),
      'invalid_request',
    ],
    [
      'a target that is there twice',
      twice('acl', '{ target: { kind: everyone }, rules: [] }'),
      'invalid_request',
    ],
    [
      'a target without a name',
      'version: 1\nacl: [{ target: { kind: client }, rules: [] }]',
      'invalid_request',
    ],
    [
      'everyone with a name',
      'version: 1\nacl: [{ target: { kind: everyone, name: x }, rules: [] }]',
      'invalid_request',
    ],
    [
      'a credential without a secret',
      'version: 1\ncredentials: [{ name: a, match: { username: a } }]',
      'credential_invalid',
    ],
    [
      'a filter that is none',
      'version: 1\nacl: [{ target: { kind: everyone }, rules: [{ effect: allow, action: all, topicFilter: "a#" }] }]',
      'acl_rule_invalid',
    ],
  ])('because of %s', async (_title, text, code) => {
    const before = world.model.revision;
    for (const path of ['diff', 'apply']) {
      const used = process.cpuUsage().user;
      const answer = await yaml(path, text);
      expect([answer.status >= 400 && answer.status < 500, answer.body.code]).toEqual([true, code]);
      // Of processor time: the tests share their machine.
      expect(process.cpuUsage().user - used).toBeLessThan(5_000_000);
    }
    expect(world.model.revision).toBe(before);
  });

  it('names where in the file', async () => {
    const text =
      'version: 1\ncredentials:\n  - { name: a, match: { username: a }, passwordRequired: false }\n  - { name: b, match: { username: a }, passwordRequired: false }';
    const answer = await yaml('apply', text);
    expect([answer.status, answer.body.code]).toEqual([409, 'credential_match_taken']);
    expect(answer.body.errors[0].pointer).toBe('/credentials/1/match');
    expect((await yaml('diff', text)).body.errors[0].pointer).toBe('/credentials/1/match');
    expect((await admin.get('/api/v1/credentials')).body.items).toEqual([]);
  });

  it('past its bytes', async () => {
    const large = await yaml('diff', `#${'x'.repeat(CONFIG_FILE_BYTES_MAX)}`);
    expect([large.status, large.body.code]).toEqual([413, 'body_too_large']);
    const fits = await yaml('diff', `version: 1\n#${'x'.repeat(CONFIG_FILE_BYTES_MAX - 12)}`);
    expect(fits.status).toBe(200);
  });
});

/** Each list holds the one before it ten times. */
function bomb(lists: number): string {
  const lines = ['l0: &l0 [x]'];
  for (let index = 1; index < lists; index++) {
    lines.push(`l${index}: &l${index} [${`*l${index - 1},`.repeat(10)}]`);
  }
  return lines.join('\n');
}

const stair = (steps: number) =>
  Array.from({ length: steps }, (_, index) => `${' '.repeat(index)}a:`).join('\n');
const twice = (section: string, entry: string) => `version: 1\n${section}: [${entry}, ${entry}]`;

describe('diff and apply', () => {
  beforeEach(open);
  afterEach(close);

  it('makes it so in one commit, and then there is nothing left to do', async () => {
    const diff = await yaml('diff', FILE);
    expect(counts(planned(diff))).toEqual([3, 1, 0]);
    expect(world.model.revision).toBe(planned(diff).revision);
    const before = world.model.revision;
    const applied = await yaml('apply', FILE, { 'if-match': String(diff.headers.etag) });
    expect(planned(applied)).toMatchObject({ create: 3, commits: 1, revision: before + 1 });
    expect(applied.headers['sallyport-revision']).toBe(String(before + 1));
    expect(diff.text + applied.text).not.toContain('canary');
    const again = planned(
      await yaml('diff', FILE.replace(/ {2}- target: \{ kind: client.*\n.*\n/, '')),
    );
    expect(counts(again)).toEqual([0, 0, 0]);
  });

  it.each(['qos: [1]', 'literal: true', 'source: 192.0.2.0/24'])(
    'takes a rule that differs only by %s for another',
    async (member) => {
      await yaml('apply', FILE);
      const changed = FILE.replace("'secret/#'", `'secret/#', ${member}`);
      expect(counts(planned(await yaml('diff', changed)))).toEqual([0, 1, 0]);
      await yaml('apply', changed);
      expect(counts(planned(await yaml('diff', changed)))).toEqual([0, 0, 0]);
    },
  );

  it('tells each member that changes, before and after, and changes only that', async () => {
    await yaml('apply', FILE);
    const changed = FILE.replace('denyAction: ignore', 'denyAction: disconnect')
      .replace('passwordRequired: false', 'passwordRequired: false, enabled: false')
      .replace('canary-pump-password', 'canary-other-password')
      .replace('secret/#', 'secrets/#');
    const plan = planned(await yaml('diff', changed));
    expect(plan.changes.map((one) => [one.section, one.key, one.fields])).toMatchObject([
      ['settings', 'settings', [{ pointer: '/denyAction', before: 'ignore', after: 'disconnect' }]],
      ['credentials', 'pump-1', [{ pointer: '/password', before: '(secret)', after: '(secret)' }]],
      ['credentials', 'pump-2', [{ pointer: '/enabled', before: true, after: false }]],
      ['acl', 'everyone', [{ pointer: '/rules' }]],
    ]);
    const rules = (await admin.get('/api/v1/acl/everyone')).body.rules;
    await yaml('apply', changed);
    expect((await admin.get('/api/v1/acl/everyone')).body.rules[0].ruleId).toBe(rules[0].ruleId);
    expect(counts(planned(await yaml('diff?prune=true', changed)))).toEqual([0, 0, 0]);
  });

  it('deletes only when it is asked to, and only in sections that are there', async () => {
    await yaml('apply', FILE);
    const empty = 'version: 1\ncredentials: []';
    expect(counts(planned(await yaml('apply', empty)))).toEqual([0, 0, 0]);
    expect(counts(planned(await yaml('apply?prune=true&dryRun=true', empty)))).toEqual([0, 0, 2]);
    expect(counts(planned(await yaml('apply?prune=true', empty)))).toEqual([0, 0, 2]);
    expect((await admin.get('/api/v1/acl')).body.items).toHaveLength(1);
    expect((await admin.get('/api/v1/settings')).body).toMatchObject({ denyAction: 'ignore' });
  });

  it('frees names and matches before they are taken', async () => {
    const of = (name: string, username: string) =>
      `version: 1\ncredentials: [{ name: ${name}, match: { username: ${username} }, passwordRequired: false }]`;
    await yaml('apply', of('old', 'pump'));
    const applied = planned(await yaml('apply?prune=true', of('new', 'pump')));
    expect(counts(applied)).toEqual([1, 0, 1]);
    expect(applied.commits).toBe(1);
  });

  it('refuses a plan that is not the one that was seen', async () => {
    const { etag } = (await yaml('diff', FILE)).headers;
    const before = world.model.revision;
    await admin.patch('/api/v1/settings', { denyAction: 'ignore' });
    const stale = await yaml('apply', FILE, { 'if-match': String(etag) });
    expect([stale.status, stale.body.code]).toEqual([412, 'precondition_failed']);
    const other = await yaml('apply', FILE.replace('canary', 'other'), {
      'if-match': String((await yaml('diff', FILE)).headers.etag),
    });
    expect(other.status).toBe(412);
    const touched = FILE.replace('denyAction: ignore', 'denyAction: disconnect');
    const older = await yaml(`apply?expectedRevision=${before}`, touched);
    expect([older.status, older.body.errors[0].pointer]).toEqual([412, '/settings']);
    expect((await yaml(`apply?expectedRevision=${before + 1}`, touched)).status).toBe(200);
  });

  it('in many commits when one does not hold it, unless it is to be atomic', async () => {
    const entries = Array.from({ length: 1500 }, (_, index) => ({
      name: `device-${index}`,
      match: { username: `device-${index}` },
      passwordRequired: false,
      attributes: { text: 'x'.repeat(100) },
    }));
    const file = { version: 1, credentials: entries };
    const before = world.model.revision;
    const atomic = await admin.post('/api/v1/config/apply?atomic=true', file);
    expect([atomic.status, atomic.body.code]).toEqual([413, 'commit_too_large']);
    expect(world.model.revision).toBe(before);
    const key = { 'idempotency-key': randomUUID() };
    const url = '/api/v1/config/apply?apply=pinned';
    const applied = planned(await admin.post(url, file, key));
    expect(applied).toMatchObject({ create: 1500 });
    expect(applied.commits).toBeGreaterThan(1);
    expect(world.model.revision).toBe(before + applied.commits);
    const commits = await world.log.read(before, applied.commits);
    expect(new Set(commits.map((one) => one.apply))).toEqual(new Set(['pinned']));
    const again = await admin.post(url, file, key);
    expect([again.status, again.headers['idempotency-replayed']]).toEqual([200, 'true']);
    expect(counts(planned(await admin.post('/api/v1/config/diff?prune=true', file)))).toEqual([
      0, 0, 0,
    ]);
  });

  it('makes as many changes as are allowed, and not one more', async () => {
    const rows = Array.from({ length: PLAN_CHANGES_MAX + 1 }, (_, index) => {
      const name = `device-${index}`;
      return JSON.stringify({ name, match: { username: name }, passwordRequired: false });
    });
    await world.request({
      method: 'POST',
      url: '/api/v1/credentials/import',
      payload: rows.join('\n'),
      headers: {
        authorization: admin.authorization ?? '',
        'content-type': 'application/x-ndjson',
      },
    });
    const past = await yaml('apply?prune=true', 'version: 1\ncredentials: []');
    expect([past.status, past.body.code]).toEqual([413, 'too_many_rows']);
    const kept =
      'version: 1\ncredentials: [{ name: device-0, match: { username: device-0 }, passwordRequired: false }]';
    const applied = planned(await yaml('apply?prune=true', kept));
    expect(applied).toMatchObject({ delete: PLAN_CHANGES_MAX });
    expect((await admin.get('/api/v1/credentials')).body).toMatchObject({ total: 1 });
  });

  it('goes on beside other writers', async () => {
    const others = Array.from({ length: 20 }, (_, index) =>
      admin.post('/api/v1/credentials', {
        name: `other-${index}`,
        match: { username: `other-${index}` },
        passwordRequired: false,
      }),
    );
    const [applied] = await Promise.all([yaml('apply', FILE), ...others]);
    expect(counts(planned(applied))).toEqual([3, 1, 0]);
  });
});

describe('the file that is written', () => {
  beforeEach(open);
  afterEach(close);

  it.each(['yaml', 'json'] as const)(
    'as %s conforms to the schema, and changes nothing',
    async (format) => {
      const empty = await admin.get(`/api/v1/config/export?format=${format}`);
      expect(parse(empty.text)).toMatchObject({ version: 1, credentials: [], acl: [] });
      await yaml('apply', FILE);
      for (const name of ['yes', '1', '=x', "it's", 'a: b', '- x', '#', 'ü🚰', ' ', '__proto__']) {
        const sent = { name, match: { username: name }, passwordRequired: false };
        expect((await admin.post('/api/v1/credentials', sent)).status, name).toBe(201);
      }
      const { text, headers } = await admin.get(`/api/v1/config/export?format=${format}`);
      expect(headers['sallyport-revision']).toBe(String(world.model.revision));
      expect(text).not.toMatch(/canary|s1\.|argon2/);
      const schema = (await admin.get('/api/v1/config/schema.json')).body;
      const ajv = new Ajv2020({ strict: false });
      addFormats.default(ajv);
      const validate = ajv.compile(schema as object);
      expect(validate(parse(text)), JSON.stringify(validate.errors)).toBe(true);
      const back =
        format === 'yaml'
          ? yaml('diff?prune=true', text)
          : admin.post('/api/v1/config/diff?prune=true', JSON.parse(text));
      expect(counts(planned(await back))).toEqual([0, 0, 0]);
    },
  );

  it('says the same to readers of YAML 1.1', async () => {
    for (const name of ['yes', 'off', '<<', '1:30', '017', '1_000', '2020-01-01']) {
      const sent = { name, match: { username: name }, passwordRequired: false };
      expect((await admin.post('/api/v1/credentials', sent)).status, name).toBe(201);
    }
    const ban = { kind: 'client_id', value: 'n', until: '2099-01-01T00:00:00.000Z' };
    expect((await admin.post('/api/v1/bans', ban)).status).toBe(201);
    const { text } = await admin.get('/api/v1/config/export');
    expect(parse(text, { version: '1.1' })).toEqual(parse(text));
  });

  it('is for people who may read it', async () => {
    const viewer = await world.operator('viewer');
    expect((await viewer.get('/api/v1/config/export')).status).toBe(200);
    expect((await viewer.post('/api/v1/config/diff', { version: 1 })).status).toBe(200);
    expect((await viewer.post('/api/v1/config/apply', { version: 1 })).status).toBe(403);
    expect((await world.anonymous().get('/api/v1/config/schema.json')).status).toBe(401);
  });
});
