import { parseTopicFilter, topicProblemText } from '@sallyport/topic';
import { checkPlaceholders } from './placeholder.ts';
import type { Problems } from './text.ts';

export const PERMISSION_CONTEXTS = ['mqtt', 'http'] as const;
export const PERMISSION_OPERATIONS = ['read', 'write', 'readWrite'] as const;

/** Most permissions of one role, and most that one credential has of its own. */
export const PERMISSIONS_MAX = 200;
export const PERMISSION_ID_BYTES_MAX = 64;

/** A grant; there is no deny, and what no permission grants is refused. */
export interface Permission {
  /** Unique within its role, or within its credential. */
  readonly id: string;
  /** What is granted: topics, or calls of an HTTP API. */
  readonly context: (typeof PERMISSION_CONTEXTS)[number];
  /**
   * In `mqtt` a topic filter; a level may be one of `PLACEHOLDERS`. In `http` a path that starts with `/`, with the same
   * wildcards.
   */
  readonly resource: string;
  /** In `mqtt`: subscribe, publish, both. In `http`: GET and HEAD; POST, PUT, PATCH and DELETE; all of them. */
  readonly operation: (typeof PERMISSION_OPERATIONS)[number];
}

/** One text per permission; equal ones have equal texts. */
export const permissionText = ({ id, context, resource, operation }: Permission): string =>
  JSON.stringify([id, context, resource, operation]);

/** A whole list, its length included. `pointer` is that of the list. */
export function checkPermissions(
  problems: Problems,
  pointer: string,
  permissions: readonly Permission[],
): void {
  if (permissions.length > PERMISSIONS_MAX) {
    problems.add(pointer, `must have at most ${PERMISSIONS_MAX} entries`);
  }
  const seen = new Set<string>();
  for (const [index, permission] of permissions.entries()) {
    checkPermission(problems, `${pointer}/${index}`, permission);
    if (seen.has(permission.id)) problems.add(`${pointer}/${index}/id`, 'is used twice');
    seen.add(permission.id);
  }
}

export function checkPermission(
  problems: Problems,
  pointer: string,
  { id, context, resource, operation }: Permission,
): void {
  problems.text(`${pointer}/id`, id, PERMISSION_ID_BYTES_MAX);
  if (!PERMISSION_CONTEXTS.includes(context)) {
    problems.add(`${pointer}/context`, `must be one of ${PERMISSION_CONTEXTS.join(', ')}`);
  }
  if (!PERMISSION_OPERATIONS.includes(operation)) {
    problems.add(`${pointer}/operation`, `must be one of ${PERMISSION_OPERATIONS.join(', ')}`);
  }
  const here = `${pointer}/resource`;
  const parsed = parseTopicFilter(resource);
  if (!parsed.ok) problems.add(here, topicProblemText[parsed.problem]);
  if (context === 'http') checkPath(problems, here, resource);
  else checkPlaceholders(problems, here, resource);
}

function checkPath(problems: Problems, pointer: string, resource: string): void {
  if (!resource.startsWith('/')) problems.add(pointer, 'must start with / because it is a path');
  // It would be compared letter for letter, which nobody means who writes it.
  if (resource.includes('${')) problems.add(pointer, 'must not contain placeholders');
}
