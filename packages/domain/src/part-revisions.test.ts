import { describe, expect, test } from 'vitest';
import {
  aCredential,
  aGroup,
  aGroupRule,
  aPermission,
  aRole,
  commit,
  given,
  rolesAccess,
} from '../test/given.ts';
import type { AccessSpec, Credential, CredentialFields } from './credential.ts';
import { type CredentialPart, credentialPartRevision } from './credential-parts.ts';
import type { GroupPermission } from './group.ts';
import type { GroupRule } from './group-rules.ts';
import { partRevisions } from './part-revisions.ts';

const text = (part: string): string => part;

describe('partRevisions', () => {
  test('date what is new, and keep the date of what was there, wherever it stands', () => {
    expect(partRevisions(['a'], undefined, text, 5)).toEqual([5]);
    const before = { parts: ['a', 'b'], revisions: [1, 2] };
    expect(partRevisions(['c', 'b', 'a'], before, text, 5)).toEqual([5, 2, 1]);
    expect(partRevisions([], before, text, 5)).toEqual([]);
  });

  test('of equal parts the n-th is the n-th before', () => {
    const before = { parts: ['a', 'a'], revisions: [1, 2] };
    expect(partRevisions(['a', 'a', 'a'], before, text, 5)).toEqual([1, 2, 5]);
  });
});

const row = (topic: string): GroupPermission => ({ permission: 'allow', action: 'publish', topic });

test('a permission of a role is as old as itself: neither a new name nor another one dates it anew', () => {
  const [p1, p2] = [aPermission({ id: 'p1' }), aPermission({ id: 'p2' })];
  const data = { id: 'role-1' };
  const { state } = given(
    commit({ type: 'RoleAdded', data: aRole({ permissions: [p1] }) }),
    commit({ type: 'RoleChanged', data: { ...data, changes: { name: 'other' } } }),
    commit({ type: 'RolePermissionAdded', data: { ...data, permission: p2 } }),
    commit({ type: 'RoleChanged', data: { ...data, changes: { permissions: [p2, p1] } } }),
    commit({
      type: 'RolePermissionChanged',
      data: { ...data, permission: { ...p2, resource: 'other' } },
    }),
  );
  expect(state.role('role-1')?.permissionRevisions).toEqual([5, 1]);
});

test('a row of a group is as old as itself', () => {
  const replaced = (...permissions: GroupPermission[]) =>
    commit({ type: 'GroupReplaced', data: aGroup({ permissions }) });
  const { state } = given(
    commit({ type: 'GroupAdded', data: aGroup({ permissions: [row('a')] }) }),
    replaced(row('b'), row('a')),
    replaced(row('a'), { ...row('b'), permission: 'deny' }),
  );
  expect(state.group('g1')?.permissionRevisions).toEqual([1, 3]);
});

test('a group rule gives each of its groups since a revision, whatever it is called and gives beside it', () => {
  const replaced = (...rules: GroupRule[]) =>
    commit({ type: 'GroupRulesReplaced', data: { rules } });
  const rule = aGroupRule({ id: 'r1', groups: ['g1'] });
  const { state } = given(
    replaced(rule),
    replaced({ ...rule, groups: ['g2', 'g1'] }),
    replaced(aGroupRule({ id: 'r0', value: 'x', groups: [] }), {
      ...rule,
      id: 'r2',
      groups: ['g1', 'g2'],
    }),
  );
  expect(state.groupRules().givenRevisions).toEqual([[], [1, 2]]);
  const moved = given(replaced(rule), replaced({ ...rule, value: 'another' })).state;
  expect(moved.groupRules().givenRevisions).toEqual([[2]]);
});

describe('credentialPartRevision', () => {
  const after = (access: AccessSpec, ...changes: Partial<CredentialFields>[]): Credential => {
    const found = given(
      commit({ type: 'CredentialAdded', data: aCredential({ access }) }),
      ...changes.map((one) =>
        commit({ type: 'CredentialChanged', data: { id: 'c1', changes: one } }),
      ),
    ).state.credential('c1');
    if (found === undefined) throw new Error('the credential was added');
    return found;
  };
  const publish = (pattern: string): CredentialPart => ({
    kind: 'pattern',
    direction: 'publish',
    pattern,
  });

  test('is that of the newest change for a part that there is not', () => {
    const credential = after({ kind: 'acl' }, { name: 'other' });
    expect(credentialPartRevision(credential, publish('a'))).toBe(2);
    expect(credentialPartRevision(credential, { kind: 'access' })).toBe(1);
  });

  test('a credential keeps nothing as long as all its parts are as old as itself', () => {
    expect(after({ kind: 'acl' }, { name: 'other' })).not.toHaveProperty('partRevisions');
    expect(after({ kind: 'acl' }, { enabled: false })).toHaveProperty('partRevisions');
  });

  test('of patterns, in their direction', () => {
    const patterns = (...list: string[]) =>
      ({ kind: 'patterns', publish: list, subscribe: ['a'] }) as const;
    const credential = after(
      patterns('a'),
      { access: patterns('b', 'a') },
      { superuser: true, name: 'other' },
    );
    expect(credentialPartRevision(credential, publish('a'))).toBe(1);
    expect(credentialPartRevision(credential, publish('b'))).toBe(2);
    expect(credentialPartRevision(credential, { kind: 'superuser' })).toBe(3);
    expect(credentialPartRevision(credential, { kind: 'enabled' })).toBe(1);
  });

  test('of entries of a mapping, by their keys', () => {
    const entry = (key: string, ...list: string[]) => ({ key, publish: list, subscribe: [] });
    const credential = after(
      { kind: 'mapping', entries: [entry('k', 'a')] },
      { access: { kind: 'mapping', entries: [entry('l', 'a'), entry('k', 'b', 'a')] } },
    );
    const part = (key: string, pattern: string): CredentialPart => ({
      kind: 'entry',
      key,
      direction: 'publish',
      pattern,
    });
    expect(credentialPartRevision(credential, part('k', 'a'))).toBe(1);
    expect(credentialPartRevision(credential, part('k', 'b'))).toBe(2);
    expect(credentialPartRevision(credential, part('l', 'a'))).toBe(2);
  });

  test('of roles, own permissions and the prefix; a role that is taken from it dates nothing else', () => {
    const own = aPermission({ id: 'own' });
    const { state } = given(
      commit({
        type: 'CredentialAdded',
        data: aCredential({ access: rolesAccess({ roles: ['r1'] }) }),
      }),
      commit({
        type: 'CredentialChanged',
        data: {
          id: 'c1',
          changes: {
            access: rolesAccess({ roles: ['r2', 'r1'], permissions: [own], publishPrefix: 'p/' }),
          },
        },
      }),
      commit({ type: 'CredentialRoleRemoved', data: { id: 'c1', roleId: 'r2' } }),
    );
    const credential = state.credential('c1');
    if (credential === undefined) throw new Error('the credential was added');
    expect(credentialPartRevision(credential, { kind: 'role', roleId: 'r1' })).toBe(1);
    expect(credentialPartRevision(credential, { kind: 'permission', permission: own })).toBe(2);
    expect(credentialPartRevision(credential, { kind: 'prefix' })).toBe(2);
  });

  test('of its secrets: a password that is hashed anew is the same one', () => {
    const secret = { secretId: 's1', verifier: 'v', imported: 'md5', createdAt: 1 } as const;
    const { state } = given(
      commit({ type: 'CredentialAdded', data: aCredential({ secrets: [secret] }) }),
      commit({
        type: 'CredentialSecretRehashed',
        data: { id: 'c1', secretId: 's1', verifier: 'w' },
      }),
      commit({
        type: 'CredentialSecretAdded',
        data: { id: 'c1', secret: { ...secret, secretId: 's2' }, retired: [] },
      }),
      commit({ type: 'CredentialChanged', data: { id: 'c1', changes: { name: 'other' } } }),
    );
    const credential = state.credential('c1');
    if (credential === undefined) throw new Error('the credential was added');
    expect(credentialPartRevision(credential, { kind: 'secrets' })).toBe(3);
    expect(credentialPartRevision(credential, { kind: 'ways_in' })).toBe(1);
  });
});
