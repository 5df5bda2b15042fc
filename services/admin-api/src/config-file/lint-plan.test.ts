import { ACL_RULES_MAX } from '@sallyport/domain';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answered, type Client, World } from '../testing/world.ts';
import { PLAN_LINT_ROWS_MAX, PLAN_WARNINGS_MAX } from './lint-plan.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

interface Warned {
  readonly warnings?: readonly { code: string; pointer: string; by: readonly string[] }[];
  readonly warningsComplete?: boolean;
}

const send = (path: string, file: object): Promise<Answered> =>
  admin.post(`/api/v1/config/${path}`, { version: 1, ...file });

async function warned(path: string, file: object): Promise<Warned> {
  const { status, text, body } = await send(path, file);
  expect(status, text).toBe(200);
  return body as Warned;
}

const warnings = async (file: object, path = 'diff'): Promise<readonly string[]> =>
  ((await warned(path, file)).warnings ?? []).map(({ code, pointer }) => `${pointer} ${code}`);

const allow = (topicFilter: string) => ({ effect: 'allow', action: 'all', topicFilter });
const deny = (topicFilter: string) => ({ effect: 'deny', action: 'all', topicFilter });
const everyone = (...rules: object[]) => ({ acl: [{ target: { kind: 'everyone' }, rules }] });
const permission = (resource: string) => ({ context: 'mqtt', operation: 'read', resource });

describe('lint of a plan', () => {
  it('says nothing of a file that is refused, and none of what it removes', async () => {
    const refused = await send('diff', everyone(deny('a/#'), allow('a#')));
    expect([refused.status, (refused.body as Warned).warnings]).toEqual([422, undefined]);
    await send('apply', everyone(deny('a/#'), allow('a/b')));
    expect(await warned('diff?prune=true', { acl: [] })).toMatchObject({
      delete: 1,
      warnings: [],
      warningsComplete: true,
    });
    await send('apply?prune=true', { acl: [] });
  });

  it('warns of rows that are added, with where in the file, and takes them all the same', async () => {
    const file = everyone(deny('a/#'), allow('a/b'));
    expect(await warnings(file)).toEqual(['/acl/0/rules/1 shadowed']);
    expect(await warnings(file, 'apply?dryRun=true')).toEqual(['/acl/0/rules/1 shadowed']);
    expect((await warned('apply', file)).warnings).toBeUndefined();
    expect(await warnings(file)).toEqual([]);
    // What was there already is no news, even when it stands elsewhere now.
    const more = everyone(allow('x'), deny('a/#'), allow('a/b'), allow('a/c'));
    expect(await warnings(more)).toEqual(['/acl/0/rules/3 shadowed']);
    // As the file itself would have it judged.
    const settings = { aclSubscribeMatch: 'containment' };
    expect(await warnings({ ...more, settings })).toEqual(['/acl/0/rules/3 in_part']);
    await send('apply?prune=true', { acl: [] });
  });

  it('warns of groups, roles and credentials, also of each other of the same file', async () => {
    const file = {
      groups: [
        {
          ...{ name: 'pumps', description: '' },
          permissions: [
            { permission: 'allow', action: 'publish', topic: 'a' },
            { permission: 'deny', action: 'publish', topic: '+' },
          ],
        },
      ],
      roles: [{ name: 'wide', permissions: [permission('a/#'), permission('a/b')] }],
      credentials: [
        {
          ...{ name: 'by-role', match: { username: 'by-role' }, passwordRequired: false },
          access: {
            kind: 'roles',
            roles: ['wide'],
            permissions: [permission('c'), permission('a/+')],
          },
        },
        {
          ...{ name: 'by-pattern', match: { username: 'by-pattern' }, passwordRequired: false },
          access: { kind: 'patterns', publish: [], subscribe: ['a', '\\$SYS/.*'] },
        },
      ],
    };
    const found = [
      '/credentials/0/access/permissions/1 shadowed',
      '/credentials/1/access/subscribe/1 guarded',
      '/groups/0/permissions/0 shadowed',
      '/roles/0/permissions/1 shadowed',
    ];
    expect([...(await warnings(file))].sort()).toEqual(found);
    await send('apply', file);
    expect(await warnings(file)).toEqual([]);
  });

  it('warns of rows of a username, of dynamic security and of mappings', async () => {
    const row = (topic: string) => ({
      ...{ aclType: 'publishClientSend', topic, priority: 0, allow: true },
    });
    const entry = (key: string, ...publish: string[]) => ({ key, publish, subscribe: [] });
    const mapped = (...entries: object[]) => ({
      ...{ name: 'mapped', match: { username: 'mapped' }, passwordRequired: false },
      access: { kind: 'mapping', entries },
    });
    const file = {
      acl: [
        { target: { kind: 'username', name: 'u' }, rules: [allow('a/b'), allow('b')] },
        { target: { kind: 'everyone' }, rules: [allow('a/#')] },
      ],
      dynsecRoles: [{ name: 'd', acls: [row('a/#'), row('a/b')] }],
      dynsecGroups: [{ name: 'g', roles: [] }],
      credentials: [mapped(entry('pump', 'a/.*'), entry('pump-7', 'b', 'a/b'))],
    };
    const found = [
      '/acl/0/rules/0 redundant',
      '/credentials/0/access/entries/1/publish/1 shadowed',
      '/dynsecRoles/0/acls/1 shadowed',
    ];
    expect([...(await warnings(file))].sort()).toEqual(found);
    await send('apply', file);
    expect(await warnings(file)).toEqual([]);
    // The same pattern for another key is news.
    const credentials = [mapped(entry('pump', 'a/.*'), entry('pump-8', 'b', 'a/b'))];
    expect(await warnings({ credentials })).toEqual([found[1]]);
    const dynsecRoles = [{ name: 'd', acls: [row('a/#'), row('a/b'), row('a/c')] }];
    expect(await warnings({ dynsecRoles })).toEqual(['/dynsecRoles/0/acls/2 shadowed']);
    await send('apply?prune=true', { acl: [] });
  });

  it('looks at as many rules as it may, and tells that there are more', async () => {
    const rules = Array.from({ length: ACL_RULES_MAX }, (_, index) => allow(`a/${index}`));
    const acl = Array.from({ length: PLAN_LINT_ROWS_MAX / ACL_RULES_MAX }, (_, index) => ({
      target: { kind: 'username', name: `u${index}` },
      rules,
    }));
    expect(await warned('diff', { acl })).toMatchObject({ warnings: [], warningsComplete: true });
    const one = { target: { kind: 'everyone' }, rules: [allow('x')] };
    const past = await warned('diff', { acl: [...acl, one] });
    expect(past).toMatchObject({ warnings: [], warningsComplete: false });
  });

  it('counts rows that others are compared with, too', async () => {
    const rows = (name: string, count: number) =>
      Array.from({ length: count }, (_, index) => allow(`${name}/${index}`));
    const users = PLAN_LINT_ROWS_MAX / ACL_RULES_MAX - 2;
    const table = (name: string, more = 0) => ({
      target: { kind: 'username', name },
      rules: rows('a', ACL_RULES_MAX / users + more),
    });
    const behind = { target: { kind: 'everyone' }, rules: rows('x', ACL_RULES_MAX) };
    const acl = [behind, ...Array.from({ length: users - 1 }, (_, index) => table(`u${index}`))];
    const most = await warned('diff', { acl: [...acl, table('last')] });
    expect(most).toMatchObject({ warnings: [], warningsComplete: true });
    const past = await warned('diff', { acl: [...acl, table('last', 1)] });
    expect(past).toMatchObject({ warnings: [], warningsComplete: false });
  });

  it('tells as many warnings as it may, and that there are more', async () => {
    const rows = (count: number) =>
      everyone(deny('#'), ...Array.from({ length: count }, (_, index) => allow(`a/${index}`)));
    const most = await warned('diff', rows(PLAN_WARNINGS_MAX));
    expect([most.warnings?.length, most.warningsComplete]).toEqual([PLAN_WARNINGS_MAX, true]);
    const past = await warned('diff', rows(PLAN_WARNINGS_MAX + 1));
    expect([past.warnings?.length, past.warningsComplete]).toEqual([PLAN_WARNINGS_MAX, false]);
  });
});
