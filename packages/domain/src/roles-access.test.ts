import { describe, expect, test } from 'vitest';
import { aCredential, aPermission, aRole, commit, given, rolesAccess } from '../test/given.ts';
import type { Command } from './domain.ts';
import { PERMISSIONS_MAX } from './permission.ts';
import {
  CREDENTIAL_ROLES_MAX,
  PUBLISH_PREFIX_BYTES_MAX,
  type RolesAccess,
} from './roles-access.ts';

const role = (id: string) => commit({ type: 'RoleAdded', data: aRole({ id, name: id }) });
const add = (access: RolesAccess): Command => ({
  type: 'AddCredential',
  data: aCredential({ access }),
});
const change = (access: RolesAccess): Command => ({
  type: 'ChangeCredential',
  data: { id: 'c1', changes: { access } },
});
const there = commit({ type: 'CredentialAdded', data: aCredential() });
const many = <T>(count: number, make: (index: number) => T): readonly T[] =>
  Array.from({ length: count }, (_, index) => make(index));
const permissions = (count: number) => many(count, (index) => aPermission({ id: `p${index}` }));

const invalid: readonly (readonly [string, Partial<RolesAccess>, string])[] = [
  ['a role that is not there', { roles: ['nobody'] }, '/access/roles/0'],
  ['a role with a magic name', { roles: ['__proto__'] }, '/access/roles/0'],
  ['a role that is named twice', { roles: ['r0', 'r1', 'r0'] }, '/access/roles/2'],
  [
    'a role too many',
    { roles: many(CREDENTIAL_ROLES_MAX + 1, (index) => `r${index}`) },
    '/access/roles',
  ],
  [
    'a permission too many',
    { permissions: permissions(PERMISSIONS_MAX + 1) },
    '/access/permissions',
  ],
  [
    'a permission that is not valid',
    { permissions: [aPermission(), aPermission({ id: 'p2', resource: 'a/#/b' })] },
    '/access/permissions/1/resource',
  ],
  ['a prefix with +', { publishPrefix: 'a/+/' }, '/access/publishPrefix'],
  ['a prefix with #', { publishPrefix: '#' }, '/access/publishPrefix'],
  ['a prefix with NUL', { publishPrefix: 'a\u0000' }, '/access/publishPrefix'],
  ['a prefix with a control character', { publishPrefix: 'a\u0007' }, '/access/publishPrefix'],
  ['a prefix with half a character', { publishPrefix: 'a\ud83d' }, '/access/publishPrefix'],
  ['a prefix that starts with $', { publishPrefix: '$SYS/' }, '/access/publishPrefix'],
  [
    'a prefix of a byte too many',
    { publishPrefix: `${'ü'.repeat(PUBLISH_PREFIX_BYTES_MAX / 2)}x` },
    '/access/publishPrefix',
  ],
];

const roles = many(CREDENTIAL_ROLES_MAX + 1, (index) => role(`r${index}`));

describe('access by roles', () => {
  test.each(invalid)('with %s is refused when it is added or changed', (_, bad, pointer) => {
    for (const [before, command] of [
      [given(...roles), add(rolesAccess(bad))],
      [given(...roles, there), change(rolesAccess(bad))],
    ] as const) {
      const { problems } = before.when(command).thenRejected('credential_invalid');
      expect(problems?.map((one) => one.pointer)).toEqual([pointer]);
    }
  });

  test.each<Partial<RolesAccess>>([
    {},
    { publishPrefix: '' },
    { publishPrefix: 'ü'.repeat(PUBLISH_PREFIX_BYTES_MAX / 2) },
    { publishPrefix: 'a$' },
    { publishPrefix: 'no slash at the end, and 😀' },
    { roles: many(CREDENTIAL_ROLES_MAX, (index) => `r${index}`) },
    { permissions: permissions(PERMISSIONS_MAX) },
    { permissions: [aPermission({ context: 'http', resource: '/api/#' })] },
  ])('at the limits is accepted (%#)', (good) => {
    given(...roles)
      .when(add(rolesAccess(good)))
      .thenAccepted();
    given(...roles, there)
      .when(change(rolesAccess(good)))
      .thenAccepted();
  });

  test('a change of something else does not ask again for the roles that are there', () => {
    const access = rolesAccess({ roles: ['r0'] });
    const before = given(
      role('r0'),
      commit({ type: 'CredentialAdded', data: aCredential({ access }) }),
    );
    before
      .when({ type: 'ChangeCredential', data: { id: 'c1', changes: { enabled: false } } })
      .then({ type: 'CredentialChanged', data: { id: 'c1', changes: { enabled: false } } });
    before.when(change(rolesAccess({ roles: ['r0', 'gone'] }))).thenRejected('credential_invalid');
  });

  test('a role that has been removed is not there', () => {
    given(role('r0'), commit({ type: 'RoleRemoved', data: { id: 'r0' } }))
      .when(add(rolesAccess({ roles: ['r0'] })))
      .thenRejected('credential_invalid');
  });

  test('a role that was taken away from another kind of access changes nothing of it', () => {
    const taken = { type: 'CredentialRoleRemoved', data: { id: 'c1', roleId: 'r0' } } as const;
    expect(given(there, commit(taken)).state.credential('c1')).toMatchObject({
      access: { kind: 'acl' },
      updatedRevision: 2,
    });
    expect(given(commit(taken)).state.credential('c1')).toBeUndefined();
  });
});
