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
  const rules = [
    ...heldRoles(access, roles).flatMap(({ id, permissions }) =>
      rulesOf(permissions, { role: id }),
    ),
    ...rulesOf(access.permissions, { credential: credentialId }),
  ];
  return { name: 'credential', rules, noMatch: 'deny' };
}

/** The roles that an access names, in the order of their ids. */
export const heldRoles = (access: RolesAccess, roles: readonly RoleSource[]): RoleSource[] =>
  roles.filter(({ id }) => access.roles.includes(id)).sort(byId);

/** Whose a permission is. */
type Holder = { readonly role: string } | { readonly credential: string };

/** What a decision calls a permission. */
export const permissionRuleId = (of: Holder, { id }: Pick<Permission, 'id'>): string =>
  'role' in of ? `role:${of.role}/${id}` : `credential:${of.credential}/permission/${id}`;

const byId = (left: RoleSource, right: RoleSource): number => (left.id < right.id ? -1 : 1);

function rulesOf(permissions: readonly Permission[], holder: Holder): RuleSpec[] {
  return permissions
    .filter(({ context }) => context === 'mqtt')
    .map((permission) => ({
      ruleId: permissionRuleId(holder, permission),
      effect: 'allow',
      actions: actionsOf(permission.operation),
      matcher: { kind: 'filter', filter: permission.resource },
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
