import { checkPermissions, type Permission } from './permission.ts';
import type { Problems } from './text.ts';

/** Most roles of one credential. With `PERMISSIONS_MAX` it bounds the rules of a policy. */
export const CREDENTIAL_ROLES_MAX = 32;
export const PUBLISH_PREFIX_BYTES_MAX = 1024;

/** Access by roles and permissions of the credential's own: together they grant, and nothing else does. */
export interface RolesAccess {
  readonly kind: 'roles';
  /** Ids of roles that exist. */
  readonly roles: readonly string[];
  readonly permissions: readonly Permission[];
  /**
   * Put in front of the topic of every PUBLISH and will, as it is: no slash is added. Empty or absent: none. What is subscribed to and
   * delivered stays as it is.
   */
  readonly publishPrefix?: string;
}

export function checkRolesAccess(
  problems: Problems,
  pointer: string,
  { roles, permissions, publishPrefix }: RolesAccess,
): void {
  if (roles.length > CREDENTIAL_ROLES_MAX) {
    problems.add(`${pointer}/roles`, `must have at most ${CREDENTIAL_ROLES_MAX} entries`);
  }
  for (const [index, id] of roles.entries()) {
    if (roles.indexOf(id) < index) problems.add(`${pointer}/roles/${index}`, 'is named twice');
  }
  checkPermissions(problems, `${pointer}/permissions`, permissions);
  checkPrefix(problems, `${pointer}/publishPrefix`, publishPrefix);
}

function checkPrefix(problems: Problems, pointer: string, prefix: string | undefined): void {
  if (prefix === undefined || prefix === '') return;
  problems.text(pointer, prefix, PUBLISH_PREFIX_BYTES_MAX);
  if (prefix.includes('+') || prefix.includes('#'))
    problems.add(pointer, 'must not contain + or #');
  if (prefix.startsWith('$')) problems.add(pointer, 'must not start with $, which is reserved');
}

/** Roles that an access spec names. */
export function rolesOf(access: { readonly kind: string } | undefined): readonly string[] {
  return access?.kind === 'roles' ? (access as RolesAccess).roles : []; // The kind tells.
}

/** The access spec when a role that it may name is gone. */
export function withoutRole<A extends { readonly kind: string }>(access: A, roleId: string): A {
  if (access.kind !== 'roles') return access;
  return { ...access, roles: rolesOf(access).filter((one) => one !== roleId) };
}
