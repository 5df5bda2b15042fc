import { describe, expect, test } from 'vitest';
import {
  aCredential,
  aDynsecGroup,
  aDynsecRole,
  anAcl,
  commit,
  dynsecAccess,
  given,
  onRevision,
} from '../../test/given.ts';
import { applyModeOf } from '../apply-mode.ts';
import type { DomainEvent } from '../commit.ts';
import { credentialPartRevision } from '../credential-parts.ts';
import { NAME_BYTES_MAX } from '../text.ts';
import { DYNSEC_GROUPS_HELD_MAX, DYNSEC_ROLES_HELD_MAX, type DynsecAccess } from './access.ts';
import {
  DYNSEC_ACLS_BYTES_MAX,
  DYNSEC_ACLS_MAX,
  DYNSEC_PRIORITY_MAX,
  type DynsecAcl,
  type DynsecAclType,
  dynsecFilter,
} from './acl.ts';
import {
  DYNSEC_DESCRIPTION_BYTES_MAX,
  DYNSEC_OBJECTS_MAX,
  dynsecPartRevision,
  type NewDynsecGroup,
  type NewDynsecObject,
  type NewDynsecRole,
} from './object.ts';

const added = (data: NewDynsecObject): DomainEvent => ({ type: 'DynsecObjectAdded', data });
const add = (data: NewDynsecObject) => ({ type: 'AddDynsecObject', data }) as const;
const replace = (data: NewDynsecObject) => ({ type: 'ReplaceDynsecObject', data }) as const;
const remove = (kind: 'role' | 'group', id = 'd1') =>
  ({ type: 'RemoveDynsecObject', data: { kind, id } }) as const;
const acls = (count: number): DynsecAcl[] => Array.from({ length: count }, () => anAcl());
const roles = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ role: `r${index}`, priority: -1 }));
const groups = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ group: `g${index}`, priority: -1 }));

/** Roles `r0`, `r1` … and groups `g0`, `g1` …, in one commit. */
const objects = (ofRoles: number, ofGroups = 0) =>
  commit(
    ...roles(ofRoles).map(({ role }) => added(aDynsecRole({ id: role, name: role }))),
    ...groups(ofGroups).map(({ group }) => added(aDynsecGroup({ id: group, name: group }))),
  );

describe('a role that is not valid is refused, when it is added and when it is replaced:', () => {
  test.each<[string, Partial<NewDynsecRole>, string]>([
    ['an empty name', { name: '' }, '/name'],
    ['a name that is too long', { name: 'x'.repeat(NAME_BYTES_MAX + 1) }, '/name'],
    ['a control character in its name', { name: 'a\u0000' }, '/name'],
    [
      'a description that is too long',
      { description: 'x'.repeat(DYNSEC_DESCRIPTION_BYTES_MAX + 1) },
      '/description',
    ],
    ['an unknown type', { acls: [anAcl({ aclType: 'all' as DynsecAclType })] }, '/acls/0/aclType'],
    ['an empty topic', { acls: [anAcl(), anAcl({ topic: '' })] }, '/acls/1/topic'],
    ['a topic with # inside', { acls: [anAcl({ topic: 'a/#/b' })] }, '/acls/0/topic'],
    [
      'a text that is no filter',
      { acls: [anAcl({ aclType: 'subscribeLiteral', topic: 'a+' })] },
      '/acls/0/topic',
    ],
    [
      'a topic that is too long once its placeholders are written out',
      { acls: [anAcl({ topic: `%c/${'x'.repeat(1021)}` })] },
      '/acls/0/topic',
    ],
    [
      'a priority that is too high',
      { acls: [anAcl({ priority: DYNSEC_PRIORITY_MAX + 1 })] },
      '/acls/0/priority',
    ],
    [
      'a priority that is too low',
      { acls: [anAcl({ priority: -DYNSEC_PRIORITY_MAX - 1 })] },
      '/acls/0/priority',
    ],
    ['a broken priority', { acls: [anAcl({ priority: 1.5 })] }, '/acls/0/priority'],
    ['one row too many', { acls: acls(DYNSEC_ACLS_MAX + 1) }, '/acls'],
    [
      'rows that do not fit into one event',
      { acls: Array.from({ length: 300 }, () => anAcl({ topic: 'x'.repeat(900) })) },
      '/acls',
    ],
  ])('%s', (_, changes, pointer) => {
    const there = given(commit(added(aDynsecRole())));
    for (const when of [
      given().when(add(aDynsecRole(changes))),
      there.when(replace(aDynsecRole(changes))),
    ]) {
      const { problems } = when.thenRejected('dynsec_invalid');
      expect(problems?.map((one) => one.pointer)).toContain(pointer);
    }
  });
});

describe('a group that is not valid is refused, when it is added and when it is replaced:', () => {
  test.each<[string, Partial<NewDynsecGroup>, string]>([
    ['an empty name', { name: '' }, '/name'],
    ['a role that is not there', { roles: [{ role: 'x', priority: 0 }] }, '/roles/0/role'],
    [
      'a role that is named twice',
      { roles: [...roles(1), { role: 'r0', priority: 5 }] },
      '/roles/1/role',
    ],
    [
      'a priority that is too high',
      { roles: [{ role: 'r0', priority: DYNSEC_PRIORITY_MAX + 1 }] },
      '/roles/0/priority',
    ],
    ['one role too many', { roles: roles(DYNSEC_ROLES_HELD_MAX + 1) }, '/roles'],
  ])('%s', (_, changes, pointer) => {
    const there = given(objects(DYNSEC_ROLES_HELD_MAX + 1), commit(added(aDynsecGroup())));
    for (const when of [
      there.when(add(aDynsecGroup({ ...changes, id: 'new', name: changes.name ?? 'new' }))),
      there.when(replace(aDynsecGroup(changes))),
    ]) {
      const { problems } = when.thenRejected('dynsec_invalid');
      expect(problems?.map((one) => one.pointer)).toContain(pointer);
    }
  });
});

describe('AddDynsecObject', () => {
  test('is refused for an id or a name that is taken by one of its kind, and for one too many', () => {
    const there = given(commit(added(aDynsecRole())));
    there.when(add(aDynsecRole({ name: 'other' }))).thenRejected('dynsec_exists');
    there.when(add(aDynsecRole({ id: 'd2' }))).thenRejected('dynsec_name_taken');
    there.when(add(aDynsecGroup({ name: 'reader' }))).thenAccepted();
    const all = Array.from({ length: DYNSEC_OBJECTS_MAX }, (_, index) =>
      added(aDynsecRole({ id: `d${index}`, name: `n${index}`, acls: [] })),
    );
    const one = { id: 'x', name: 'x' };
    given(commit(...all))
      .when(add(aDynsecRole(one)))
      .thenRejected('too_many_dynsec_objects');
    given(commit(...all))
      .when(add(aDynsecGroup(one)))
      .thenAccepted();
    given(commit(...all.slice(1)))
      .when(add(aDynsecRole(one)))
      .thenAccepted();
  });

  test('takes what is just within the limits, and names of JavaScript', () => {
    const most = aDynsecRole({
      name: 'x'.repeat(NAME_BYTES_MAX),
      description: 'x'.repeat(DYNSEC_DESCRIPTION_BYTES_MAX),
      acls: [
        ...acls(DYNSEC_ACLS_MAX - 2),
        anAcl({ priority: DYNSEC_PRIORITY_MAX }),
        anAcl({ priority: -DYNSEC_PRIORITY_MAX }),
      ],
    });
    given().when(add(most)).then(added(most));
    const group = aDynsecGroup({ roles: roles(DYNSEC_ROLES_HELD_MAX) });
    given(objects(DYNSEC_ROLES_HELD_MAX)).when(add(group)).then(added(group));
    const magic = aDynsecRole({ id: '__proto__', name: 'constructor' });
    const { state } = given().when(add(magic)).thenGiven();
    expect(state.dynsecObject('role', '__proto__')).toMatchObject({ name: 'constructor' });
    expect(state.dynsecIdByName('role', 'constructor')).toBe('__proto__');
    expect(state.dynsecObject('role', 'toString')).toBeUndefined();
  });

  test('takes rows of exactly as many bytes as they may have', () => {
    const list = Array.from({ length: 190 }, () => anAcl({ topic: 'x'.repeat(900) }));
    const left = DYNSEC_ACLS_BYTES_MAX - JSON.stringify([...list, anAcl({ topic: '' })]).length;
    const full = [...list, anAcl({ topic: 'x'.repeat(left) })];
    expect(JSON.stringify(full)).toHaveLength(DYNSEC_ACLS_BYTES_MAX);
    const { problems = [] } = given()
      .when(add(aDynsecRole({ acls: full })))
      .thenRejected('dynsec_invalid');
    // The last topic is longer than a filter may be: only that is wrong with it.
    expect(problems.map((one) => one.pointer)).toEqual(['/acls/190/topic']);
  });
});

describe('ReplaceDynsecObject', () => {
  test('is refused for one that is not there, that has changed, or whose new name is taken', () => {
    given().when(replace(aDynsecRole())).thenRejected('dynsec_not_found');
    given(commit(added(aDynsecRole())))
      .when(replace(aDynsecGroup()))
      .thenRejected('dynsec_not_found');
    const two = given(
      commit(added(aDynsecRole())),
      commit(added(aDynsecRole({ id: 'd2', name: 'other' }))),
    );
    two.when(onRevision(replace(aDynsecRole()), 2)).thenRejected('precondition_failed');
    two.when(replace(aDynsecRole({ name: 'other' }))).thenRejected('dynsec_name_taken');
  });

  test('replaces all of it, and says so even when nothing differs', () => {
    const there = given(commit(added(aDynsecRole())));
    const next = aDynsecRole({ name: 'new', allowWildcardSubs: false, acls: [] });
    there.when(onRevision(replace(next), 1)).then({ type: 'DynsecObjectReplaced', data: next });
    there.when(replace(aDynsecRole())).then({ type: 'DynsecObjectReplaced', data: aDynsecRole() });
  });

  test('what stays as it is keeps its revision', () => {
    const [one, two] = [anAcl({ topic: 'one' }), anAcl({ topic: 'two' })];
    const { state } = given(
      commit(added(aDynsecRole({ acls: [one] }))),
      commit({ type: 'DynsecObjectReplaced', data: aDynsecRole({ acls: [two, one] }) }),
      commit({
        type: 'DynsecObjectReplaced',
        data: aDynsecRole({ acls: [{ ...two, priority: 1 }, one], allowWildcardSubs: false }),
      }),
    );
    const role = state.dynsecObject('role', 'd1');
    if (role === undefined) throw new Error('the role was added');
    expect(role.partRevisions).toEqual([3, 3, 1]);
    expect(dynsecPartRevision(role, 2)).toBe(1);
    expect(role).toMatchObject({ createdRevision: 1, updatedRevision: 3 });
    const held = (...list: { role: string; priority: number }[]) => aDynsecGroup({ roles: list });
    const a = { role: 'a', priority: -1 };
    const b = { role: 'b', priority: -1 };
    const grouped = given(
      commit(added(held(a))),
      commit({ type: 'DynsecObjectReplaced', data: held(b, a) }),
    ).state;
    expect(grouped.dynsecObject('group', 'd1')?.partRevisions).toEqual([2, 1]);
  });
});

describe('RemoveDynsecObject', () => {
  const inGroup = commit(added(aDynsecGroup({ roles: [{ role: 'r0', priority: -1 }] })));
  const held = (access: Partial<DynsecAccess>) =>
    commit({ type: 'CredentialAdded', data: aCredential({ access: dynsecAccess(access) }) });

  test('is refused while something names it, and for one that is not there or has changed', () => {
    given().when(remove('role')).thenRejected('dynsec_not_found');
    const { detail } = given(objects(1), inGroup)
      .when(remove('role', 'r0'))
      .thenRejected('dynsec_in_use');
    expect(detail).toBe('The group d1 has the role.');
    const member = given(
      objects(1, 1),
      held({ roles: [{ role: 'r0', priority: 0 }], groups: [{ group: 'g0', priority: 0 }] }),
    );
    expect(member.when(remove('role', 'r0')).thenRejected('dynsec_in_use').detail).toBe(
      'The credential c1 has the role.',
    );
    expect(member.when(remove('group', 'g0')).thenRejected('dynsec_in_use').detail).toBe(
      'The credential c1 is in the group.',
    );
    given(objects(1))
      .when(onRevision(remove('role', 'r0'), 7))
      .thenRejected('precondition_failed');
  });

  test('removes what nothing names any more', () => {
    given(objects(1), inGroup, commit({ type: 'DynsecObjectReplaced', data: aDynsecGroup() }))
      .when(remove('role', 'r0'))
      .then({ type: 'DynsecObjectRemoved', data: { kind: 'role', id: 'r0' } });
    const { state } = given(objects(0, 1)).when(remove('group', 'g0')).thenGiven();
    expect(state.dynsecCount('group')).toBe(0);
  });
});

describe('a credential with access by dynamic security', () => {
  const created = (access: Partial<DynsecAccess>) =>
    ({ type: 'AddCredential', data: aCredential({ access: dynsecAccess(access) }) }) as const;

  test.each<[string, Partial<DynsecAccess>, string]>([
    ['a role that is not there', { roles: [{ role: 'x', priority: 0 }] }, '/access/roles/0/role'],
    [
      'a group that is not there',
      { groups: [{ group: 'x', priority: 0 }] },
      '/access/groups/0/group',
    ],
    ['a role twice', { roles: [...roles(1), ...roles(1)] }, '/access/roles/1/role'],
    ['a group twice', { groups: [...groups(1), ...groups(1)] }, '/access/groups/1/group'],
    [
      'a priority that is too high',
      { groups: [{ group: 'g0', priority: DYNSEC_PRIORITY_MAX + 1 }] },
      '/access/groups/0/priority',
    ],
    ['one role too many', { roles: roles(DYNSEC_ROLES_HELD_MAX + 1) }, '/access/roles'],
    ['one group too many', { groups: groups(DYNSEC_GROUPS_HELD_MAX + 1) }, '/access/groups'],
  ])('is refused with %s', (_, access, pointer) => {
    const { problems } = given(objects(DYNSEC_ROLES_HELD_MAX + 1, DYNSEC_GROUPS_HELD_MAX + 1))
      .when(created(access))
      .thenRejected('credential_invalid');
    expect(problems?.map((one) => one.pointer)).toContain(pointer);
  });

  test('is taken with as many as there may be; a change may keep what it has', () => {
    const there = given(objects(DYNSEC_ROLES_HELD_MAX, DYNSEC_GROUPS_HELD_MAX));
    const most = { roles: roles(DYNSEC_ROLES_HELD_MAX), groups: groups(DYNSEC_GROUPS_HELD_MAX) };
    there.when(created(most)).thenAccepted();
    there
      .when(created({ roles: roles(1) }))
      .thenGiven()
      .when({
        type: 'ChangeCredential',
        data: { id: 'c1', changes: { access: dynsecAccess({ roles: roles(2) }) } },
      })
      .thenAccepted();
  });

  test('is disconnected by changes, unless it says otherwise', () => {
    expect(applyModeOf({ store: 'native', access: dynsecAccess() })).toBe('kick');
    const live = { ...dynsecAccess(), apply: 'live' } as const;
    expect(applyModeOf({ store: 'native', access: live })).toBe('live');
  });

  test('each of its roles and groups is there since a revision of its own', () => {
    const [role] = roles(1);
    const [group] = groups(1);
    if (role === undefined || group === undefined) throw new Error('there is one of each');
    const changed = (access: Partial<DynsecAccess>) =>
      commit({
        type: 'CredentialChanged',
        data: { id: 'c1', changes: { access: dynsecAccess(access) } },
      });
    const { state } = given(
      commit({
        type: 'CredentialAdded',
        data: aCredential({ access: dynsecAccess({ roles: [role] }) }),
      }),
      changed({ roles: [role], groups: [group] }),
      changed({ roles: [{ ...role, priority: 9 }], groups: [group] }),
    );
    const credential = state.credential('c1');
    if (credential === undefined) throw new Error('the credential was added');
    const since = (part: Parameters<typeof credentialPartRevision>[1]) =>
      credentialPartRevision(credential, part);
    expect(since({ kind: 'dynsec_role', held: { ...role, priority: 9 } })).toBe(3);
    expect(since({ kind: 'dynsec_group', held: group })).toBe(2);
    expect(since({ kind: 'access' })).toBe(1);
  });
});

test('a filter is written in the language of all other rules, in which nothing else is a placeholder', () => {
  expect(dynsecFilter('a/%c/%u/#')).toBe('a/${clientid}/${username}/#');
  expect(dynsecFilter('a%c/%d')).toBe('a%c/%d');
  expect(dynsecFilter('${username}/x${a}')).toBe('${$}{username}/x${$}{a}');
});
