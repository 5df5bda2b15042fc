import type { Permission, Role, RolesAccess } from '@sallyport/domain';
import { unreachable } from '@sallyport/errors';
import type { Action, AuthoritySpec, RuleSpec } from './policy-spec.ts';

/** As much of a role as its rules are made from. */
export type RoleSource = Pick<Role, 'id' | 'permissions'>;

/**
 * What roles and own permissions grant, and nothing else. Only grants, so their order means nothing: it is that of the role ids, and
 * credentials with the same roles have the same rules. A role that is not among `roles` grants nothing.
 */
export function rolesAuthority(
  credentialId: string,
  access: RolesAccess,
  roles: readonly RoleSource[],
): AuthoritySpec {
  const held = roles.filter(({ id }) => access.roles.includes(id));
  const rules = [
    ...held.sort(byId).flatMap(({ id, permissions }) => rulesOf(permissions, `role:${id}/`)),
    ...rulesOf(access.permissions, `credential:${credentialId}/permission/`),
  ];
  return { name: 'credential', rules, noMatch: 'deny' };
}

const byId = (left: RoleSource, right: RoleSource): number => (left.id < right.id ? -1 : 1);

function rulesOf(permissions: readonly Permission[], source: string): RuleSpec[] {
  return permissions
    .filter(({ context }) => context === 'mqtt')
    .map(({ id, operation, resource }) => ({
      ruleId: `${source}${id}`,
      effect: 'allow',
      actions: actionsOf(operation),
      matcher: { kind: 'filter', filter: resource },
    }));
}

function actionsOf(operation: Permission['operation']): readonly Action[] {
  switch (operation) {
    case 'read':
      return ['subscribe', 'receive'];
    case 'write':
      return ['publish'];
    case 'readWrite':
      return ['publish', 'subscribe', 'receive'];
    default:
      return unreachable(operation);
  }
}
