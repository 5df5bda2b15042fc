import { TOPIC_BYTES_MAX } from '@sallyport/topic';
import { describe, expect, test } from 'vitest';
import {
  aCredential,
  aPermission,
  aRole,
  commit,
  given,
  onRevision,
  rolesAccess,
} from '../test/given.ts';
import { BUILT_IN_ROLES } from './built-in-roles.ts';
import type { Permission } from './permission.ts';
import { PERMISSION_ID_BYTES_MAX, PERMISSIONS_MAX } from './permission.ts';
import {
  DETACHED_CREDENTIALS_MAX,
  type NewRole,
  ROLE_ID_BYTES_MAX,
  type RoleCommand,
} from './role.ts';
import { NAME_BYTES_MAX } from './text.ts';

const added = (changes: Partial<NewRole> = {}) =>
  commit({ type: 'RoleAdded', data: aRole(changes) });
const add = (changes: Partial<NewRole> = {}): RoleCommand => ({
  type: 'AddRole',
  data: aRole(changes),
});
const change = (changes: Partial<Pick<NewRole, 'name' | 'permissions'>>): RoleCommand => ({
  type: 'ChangeRole',
  data: { id: 'role-1', changes },
});
const remove = (detach?: boolean): RoleCommand => ({
  type: 'RemoveRole',
  data: { id: 'role-1', ...(detach !== undefined && { detach }) },
});
const addPermission = (changes: Partial<Permission>): RoleCommand => ({
  type: 'AddRolePermission',
  data: { id: 'role-1', permission: aPermission(changes) },
});
const changePermission = (changes: Partial<Permission>): RoleCommand => ({
  type: 'ChangeRolePermission',
  data: { id: 'role-1', permission: aPermission(changes) },
});
const removePermission = (permissionId: string): RoleCommand => ({
  type: 'RemoveRolePermission',
  data: { id: 'role-1', permissionId },
});
const permissions = (count: number): readonly Permission[] =>
  Array.from({ length: count }, (_, index) => aPermission({ id: `p${index}` }));

/** A credential that has the role, and perhaps others. */
const holder = (id: string, roles: readonly string[] = ['role-1']) =>
  commit({
    type: 'CredentialAdded',
    data: aCredential({
      id,
      name: id,
      match: { username: id },
      access: rolesAccess({ roles, permissions: [aPermission()], publishPrefix: 'p/' }),
    }),
  });

const invalid: readonly (readonly [string, Partial<Permission>, string])[] = [
  ['an unknown context', { context: 'ftp' as never }, '/context'],
  ['a context that objects have', { context: 'constructor' as never }, '/context'],
  ['an unknown operation', { operation: 'readwrite' as never }, '/operation'],
  ['an operation that objects have', { operation: '__proto__' as never }, '/operation'],
  ['an empty resource', { resource: '' }, '/resource'],
  ['# that is not last', { resource: 'a/#/b' }, '/resource'],
  ['+ that is not alone', { resource: 'a+' }, '/resource'],
  ['NUL', { resource: 'a\u0000' }, '/resource'],
  ['a lone surrogate', { resource: 'a\ud800' }, '/resource'],
  ['a resource that is too long', { resource: 'x'.repeat(TOPIC_BYTES_MAX + 1) }, '/resource'],
  ['a resource that is too deep', { resource: '/'.repeat(32) }, '/resource'],
  ['an unknown placeholder in a part of a level', { resource: 'd-${password}/x' }, '/resource'],
  ['an unknown placeholder', { resource: '${password}' }, '/resource'],
  ['a path without a slash', { context: 'http', resource: 'api/users' }, '/resource'],
  ['a path that is a wildcard only', { context: 'http', resource: '#' }, '/resource'],
  ['an illegal filter as a path', { context: 'http', resource: '/api/#/x' }, '/resource'],
  ['a placeholder in a path', { context: 'http', resource: '/api/${clientid}' }, '/resource'],
  ['an empty id', { id: '' }, '/id'],
  ['an id that is too long', { id: 'x'.repeat(PERMISSION_ID_BYTES_MAX + 1) }, '/id'],
];

describe('a permission that is not valid', () => {
  test.each(invalid)(
    '%s is refused wherever it comes from, with its pointer',
    (_, bad, pointer) => {
      const list = [aPermission({ id: 'ok' }), aPermission(bad)];
      for (const command of [add({ permissions: list }), change({ permissions: list })]) {
        const { problems } = given(added({ permissions: [] }))
          .when(command)
          .thenRejected('role_invalid');
        expect(problems?.map((one) => one.pointer)).toContain(`/permissions/1${pointer}`);
      }
      const single = given(added({ permissions: [] }))
        .when(addPermission(bad))
        .thenRejected('role_invalid');
      expect(single.problems?.map((one) => one.pointer)).toContain(pointer);
    },
  );

  test.each([
    aPermission({ resource: '$SYS/#', operation: 'read' }),
    aPermission({ resource: '__proto__/constructor/${clientid}/+/${username}/#' }),
    aPermission({ resource: 'x'.repeat(TOPIC_BYTES_MAX) }),
    aPermission({ id: 'x'.repeat(PERMISSION_ID_BYTES_MAX) }),
    aPermission({ id: '__proto__' }),
    aPermission({ context: 'http', resource: '/' }),
    aPermission({ context: 'http', resource: '/api/users/+', operation: 'write' }),
    aPermission({ context: 'http', resource: '/#', operation: 'readWrite' }),
  ])('$context $resource is valid', (permission) => {
    given()
      .when(add({ permissions: [permission] }))
      .then({ type: 'RoleAdded', data: aRole({ permissions: [permission] }) });
  });
});

describe('AddRole', () => {
  test.each([
    ['an empty name', { name: '' }, '/name'],
    ['a name that is too long', { name: 'x'.repeat(NAME_BYTES_MAX + 1) }, '/name'],
    ['a name with NUL', { name: '\u0000' }, '/name'],
    ['an empty id', { id: '' }, '/id'],
    ['an id that is too long', { id: 'x'.repeat(ROLE_ID_BYTES_MAX + 1) }, '/id'],
    ['an id used twice', { permissions: [aPermission(), aPermission()] }, '/permissions/1/id'],
    ['a permission too many', { permissions: permissions(PERMISSIONS_MAX + 1) }, '/permissions'],
  ])('with %s is refused', (_, changes, pointer) => {
    const { problems } = given().when(add(changes)).thenRejected('role_invalid');
    expect(problems?.map((one) => one.pointer)).toEqual([pointer]);
  });

  test('at the limits is accepted', () => {
    given()
      .when(
        add({
          id: 'x'.repeat(ROLE_ID_BYTES_MAX),
          name: 'x'.repeat(NAME_BYTES_MAX),
          permissions: permissions(PERMISSIONS_MAX),
        }),
      )
      .thenAccepted();
  });

  test('with an id or a name that is there is refused; names differ by case', () => {
    given(added())
      .when(add({ name: 'other' }))
      .thenRejected('role_exists');
    const { problems } = given(added())
      .when(add({ id: 'role-2' }))
      .thenRejected('role_name_taken');
    expect(problems).toMatchObject([{ pointer: '/name' }]);
    given(added())
      .when(add({ id: 'role-2', name: 'operators' }))
      .thenAccepted();
  });

  test.each(['__proto__', 'constructor', 'hasOwnProperty'])('takes the magic name %s', (name) => {
    const after = given()
      .when(add({ id: name, name }))
      .thenGiven();
    expect(after.state.role(name)?.name).toBe(name);
    expect(after.state.roleIdByName(name)).toBe(name);
    expect(given().state.role(name)).toBeUndefined();
  });
});

describe('ChangeRole', () => {
  test('of a role that is not there is refused', () => {
    given()
      .when(change({ name: 'x' }))
      .thenRejected('role_not_found');
  });

  test('to the name of another role is refused, to its own or a free one accepted', () => {
    const both = given(added(), added({ id: 'role-2', name: 'Others' }));
    both.when(change({ name: 'Others' })).thenRejected('role_name_taken');
    both.when(change({ name: 'Operators' })).then();
    both
      .when(change({ name: 'Free' }))
      .then({ type: 'RoleChanged', data: { id: 'role-1', changes: { name: 'Free' } } });
  });

  test('says only what differs, and nothing when nothing does', () => {
    const role = given(added());
    role.when(change({ permissions: [aPermission()] })).then();
    const next = [aPermission({ operation: 'read' })];
    role
      .when(change({ name: 'Operators', permissions: next }))
      .then({ type: 'RoleChanged', data: { id: 'role-1', changes: { permissions: next } } });
    role.when(change({ permissions: [] })).thenAccepted();
  });

  test('keeps what it does not name, and tells when it was', () => {
    const after = given(added())
      .when(change({ name: 'New' }), 77)
      .thenGiven();
    expect(after.state.role('role-1')).toEqual({
      ...aRole({ name: 'New' }),
      permissionRevisions: [1],
      createdAt: 1,
      createdRevision: 1,
      updatedAt: 77,
      updatedRevision: 2,
    });
  });
});

describe('one permission', () => {
  test('is added at the end, under an id that is free', () => {
    given(added()).when(addPermission({})).thenRejected('permission_exists');
    const permission = aPermission({ id: 'p2' });
    const after = given(added())
      .when(addPermission({ id: 'p2' }))
      .thenGiven();
    expect(after.state.role('role-1')?.permissions).toEqual([aPermission(), permission]);
  });

  test('is refused by a full role, and taken by one with room for one', () => {
    given(added({ permissions: permissions(PERMISSIONS_MAX) }))
      .when(addPermission({ id: 'more' }))
      .thenRejected('too_many_permissions');
    given(added({ permissions: permissions(PERMISSIONS_MAX - 1) }))
      .when(addPermission({ id: 'more' }))
      .thenAccepted();
  });

  test('is changed in its place', () => {
    const before = given(added({ permissions: permissions(3) }));
    before.when(changePermission({ id: 'p9' })).thenRejected('permission_not_found');
    before.when(changePermission({ id: 'p1', resource: 'a+' })).thenRejected('role_invalid');
    before.when(changePermission({ id: 'p1' })).then();
    const after = before.when(changePermission({ id: 'p1', resource: 'b' })).thenGiven();
    const resources = after.state.role('role-1')?.permissions.map(({ resource }) => resource);
    expect(resources).toEqual(['a/#', 'b', 'a/#']);
  });

  test('is removed', () => {
    const before = given(added({ permissions: permissions(2) }));
    before.when(removePermission('p9')).thenRejected('permission_not_found');
    const after = before.when(removePermission('p0')).thenGiven();
    expect(after.state.role('role-1')?.permissions).toEqual([aPermission({ id: 'p1' })]);
    after.when(removePermission('p0')).thenRejected('permission_not_found');
  });

  test('of a role that is not there is refused', () => {
    for (const command of [addPermission({}), changePermission({}), removePermission('p1')]) {
      given().when(command).thenRejected('role_not_found');
    }
  });
});

describe('a built-in role, compat cybus A1.2', () => {
  const builtIn = added({ builtIn: true });
  const other = aPermission({ id: 'other' });

  test.each([
    ['another name', change({ name: 'other' })],
    ['what it has already', change({ name: aRole().name })],
    ['no permission', change({ permissions: [] })],
    ['one more', addPermission(other)],
    ['another one', changePermission({ operation: 'read' })],
    ['one less', { type: 'RemoveRolePermission', data: { id: 'role-1', permissionId: 'p1' } }],
    [
      'being made by a system',
      { type: 'ChangeRole', data: { id: 'role-1', changes: { autoGenerated: true } } },
    ],
    ['an end', remove()],
    ['an end, with whoever has it', remove(true)],
  ] as [string, RoleCommand][])('is refused %s', (_, command) => {
    given(builtIn).when(command).thenRejected('role_built_in');
  });

  test('is added, and taken on and off by credentials, as any other', () => {
    for (const data of BUILT_IN_ROLES) {
      const after = given().when({ type: 'AddRole', data }).thenGiven();
      expect(after.state.role(data.id)?.builtIn).toBe(true);
      after.when({ type: 'RemoveRole', data: { id: data.id } }).thenRejected('role_built_in');
    }
    const access = rolesAccess({ roles: ['role-1'] });
    given(builtIn)
      .when({ type: 'AddCredential', data: aCredential({ access }) })
      .thenGiven()
      .when({
        type: 'ChangeCredential',
        data: { id: 'c1', changes: { access: rolesAccess({ roles: [] }) } },
      })
      .thenAccepted();
    given(builtIn)
      .when(add({ id: 'role-2' }))
      .thenRejected('role_name_taken');
  });
});

test('a role is told to be made by a system once, and not again', () => {
  const marked = (autoGenerated: boolean): RoleCommand => ({
    type: 'ChangeRole',
    data: { id: 'role-1', changes: { autoGenerated } },
  });
  given(added()).when(marked(false)).then();
  const after = given(added()).when(marked(true)).thenGiven();
  expect(after.state.role('role-1')).toMatchObject({ autoGenerated: true });
  after.when(marked(true)).then();
  after.when(marked(false)).thenAccepted();
});

describe('RemoveRole', () => {
  test('of a role that is not there is refused', () => {
    given().when(remove()).thenRejected('role_not_found');
  });

  test('that nobody has is accepted, and frees its name', () => {
    const after = given(added()).when(remove()).thenGiven();
    expect(after.state.role('role-1')).toBeUndefined();
    after.when(add({ id: 'role-2' })).thenAccepted();
  });

  test('that a credential has is refused, and tells which', () => {
    const { detail } = given(added(), holder('c1')).when(remove()).thenRejected('role_in_use');
    expect(detail).toContain('c1');
  });

  test('with detach takes it from all who have it, and leaves them everything else', () => {
    const other = added({ id: 'role-2', name: 'Others' });
    const before = given(
      added(),
      other,
      holder('c1', ['role-1', 'role-2']),
      holder('c2'),
      holder('c3', ['role-2']),
    );
    const access = (roles: readonly string[]) =>
      rolesAccess({ roles, permissions: [aPermission()], publishPrefix: 'p/' });
    before
      .when(remove(true))
      .then(
        { type: 'RoleRemoved', data: { id: 'role-1' } },
        { type: 'CredentialRoleRemoved', data: { id: 'c1', roleId: 'role-1' } },
        { type: 'CredentialRoleRemoved', data: { id: 'c2', roleId: 'role-1' } },
      );
    const after = before.when(remove(true)).thenGiven();
    expect(after.state.credentialIdsByRole('role-1', 9)).toEqual([]);
    expect(after.state.credentialIdsByRole('role-2', 9)).toEqual(['c1', 'c3']);
    expect(after.state.credential('c1')).toMatchObject({
      access: access(['role-2']),
      updatedRevision: 6,
    });
    expect(after.state.credential('c2')?.access).toEqual(access([]));
    expect(after.state.credential('c3')?.updatedRevision).toBe(5);
  });

  test('with detach from one credential too many is refused, at the limit accepted', () => {
    const holders = (count: number) =>
      Array.from({ length: count }, (_, index) => holder(`c${index}`));
    given(added(), ...holders(DETACHED_CREDENTIALS_MAX + 1))
      .when(remove(true))
      .thenRejected('role_in_use');
    const most = given(added(), ...holders(DETACHED_CREDENTIALS_MAX));
    most.when(remove(true)).thenAccepted();
  });

  test('at the limit, with ids as long as they are made, fits into one commit', () => {
    const uuid = '6f0c1c3e-7a51-4c3b-9b1e-2d6d0a4f9e77';
    const event = { type: 'CredentialRoleRemoved', data: { id: uuid, roleId: uuid } };
    const bytes = DETACHED_CREDENTIALS_MAX * (JSON.stringify(event).length + 1);
    // What is left is for the rest of the record; `COMMIT_BYTES_MAX` of the log is 256 KiB.
    expect(bytes).toBeLessThan(200 * 1024);
  });
});

test('every change on another revision is refused, on the last one accepted', () => {
  const before = given(
    added({ permissions: [] }),
    commit({ type: 'RolePermissionAdded', data: { id: 'role-1', permission: aPermission() } }),
  );
  const commands = [
    change({ name: 'New' }),
    addPermission({ id: 'p2' }),
    changePermission({ resource: 'b' }),
    removePermission('p1'),
    remove(),
  ];
  for (const command of commands) {
    for (const revision of [0, 1, 3]) {
      before.when(onRevision(command, revision)).thenRejected('precondition_failed');
    }
    before.when(onRevision(command, 2)).thenAccepted();
  }
});
