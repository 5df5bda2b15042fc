import type { Permission } from '@sallyport/domain';
import { levelsOf, matches } from '@sallyport/topic';

const OPERATIONS: ReadonlyMap<string, 'read' | 'write'> = new Map([
  ['GET', 'read'],
  ['HEAD', 'read'],
  ['POST', 'write'],
  ['PUT', 'write'],
  ['PATCH', 'write'],
  ['DELETE', 'write'],
]);

/**
 * Whether one of the permissions grants a request of an HTTP API. `method` is in capitals; one that is not of the six is granted to
 * nobody. `path` is that of the request, `/api/users/7`, without its query and as it was sent, not decoded. O(permissions × levels).
 *
 * Wildcards are MQTT's: `+` is one segment, `#` all that follow and the parent too. What a router may read as another path is
 * granted to nobody: `.` and `..`, encoded ones included, backslashes and empty segments. One `/` at the end changes nothing.
 */
export function mayRequest(
  permissions: readonly Permission[],
  method: string,
  path: string,
): boolean {
  const operation = OPERATIONS.get(method);
  const segments = segmentsOf(path);
  if (operation === undefined || segments === undefined) return false;
  return permissions.some(
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
