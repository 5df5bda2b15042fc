import { type Credential, type Permission } from '@sallyport/domain';
import { levelsOf, matches } from '@sallyport/topic';
import type { Decision } from './policy-spec.ts';
import { heldRoles, permissionRuleId, type RoleSource } from './roles-authority.ts';

const OPERATIONS: ReadonlyMap<string, 'read' | 'write'> = new Map([
  ['GET', 'read'],
  ['HEAD', 'read'],
  ['POST', 'write'],
  ['PUT', 'write'],
  ['PATCH', 'write'],
  ['DELETE', 'write'],
]);

/** What is asked of an HTTP API. */
export interface HttpRequest {
  readonly method: string;
  readonly path: string;
}

/**
 * Whether a credential's roles and permissions grant a request of an HTTP API, and which of them does: roles in the order of their ids,
 * then its own. Nothing else does, a superuser of topics least of all. `roles` are those that its access names.
 */
export function checkRequest(
  { id, access }: Pick<Credential, 'id' | 'access'>,
  roles: readonly RoleSource[],
  request: HttpRequest,
): Decision {
  if (access.kind !== 'roles') return UNGRANTED;
  const sources = [
    ...heldRoles(access, roles).map((role) => ({ of: { role: role.id }, ...role })),
    { of: { credential: id }, permissions: access.permissions },
  ];
  for (const { of, permissions } of sources) {
    const granting = grantingPermission(permissions, request);
    if (granting !== undefined) return { allowed: true, ruleId: permissionRuleId(of, granting) };
  }
  return UNGRANTED;
}

const UNGRANTED: Decision = { allowed: false, ruleId: 'default' };

/**
 * The first of the permissions that grants a request of an HTTP API. `method` is in capitals; one that is not of the six is granted to
 * nobody. `path` is that of the request, `/api/users/7`, without its query and as it was sent, not decoded. O(permissions × levels).
 *
 * Wildcards are MQTT's: `+` is one segment, `#` all that follow and the parent too. What a router may read as another path is
 * granted to nobody: `.` and `..`, encoded ones included, backslashes and empty segments. One `/` at the end changes nothing.
 */
export function grantingPermission(
  permissions: readonly Permission[],
  { method, path }: HttpRequest,
): Permission | undefined {
  const operation = OPERATIONS.get(method);
  const segments = segmentsOf(path);
  if (operation === undefined || segments === undefined) return undefined;
  return permissions.find(
    (one) =>
      one.context === 'http' &&
      (one.operation === operation || one.operation === 'readWrite') &&
      matches(levelsOf(one.resource), segments),
  );
}

/** The path's segments, of which the first is empty; undefined for a path that means more than it says. */
function segmentsOf(path: string): readonly string[] | undefined {
  if (!path.startsWith('/') || /[?#\\]/.test(path)) return undefined;
  const bare = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
  const [root = '', ...segments] = levelsOf(bare);
  if (bare !== '/' && segments.some(isEmptyOrDots)) return undefined;
  return [root, ...segments];
}

function isEmptyOrDots(segment: string): boolean {
  const decoded = segment.replaceAll(/%2e/gi, '.');
  return decoded === '' || decoded === '.' || decoded === '..';
}
