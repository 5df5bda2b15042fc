import type { Problems } from '../text.ts';
import { checkDynsecPriority } from './acl.ts';

export const DYNSEC_KINDS = ['role', 'group'] as const;

/** The two kinds of objects of dynamic security. They are no Cybus roles, and no groups of connections. */
export type DynsecKind = (typeof DYNSEC_KINDS)[number];

/** Most roles of one credential or group. */
export const DYNSEC_ROLES_HELD_MAX = 32;
/** Most groups of one credential. */
export const DYNSEC_GROUPS_HELD_MAX = 64;

/** A role that a credential or a group has, by its id. */
export interface DynsecRoleHeld {
  readonly role: string;
  readonly priority: number;
}

/** A group that a credential is in, by its id. */
export interface DynsecGroupHeld {
  readonly group: string;
  readonly priority: number;
}

/** Access by roles of dynamic security: its own first, then those of its groups. */
export interface DynsecAccess {
  readonly kind: 'dynsec';
  readonly roles: readonly DynsecRoleHeld[];
  readonly groups: readonly DynsecGroupHeld[];
}

/** One text for each object of dynamic security. */
export const dynsecKey = (kind: DynsecKind, id: string): string => `${kind}:${id}`;

interface Holding {
  readonly roles: readonly DynsecRoleHeld[];
  readonly groups?: readonly DynsecGroupHeld[];
}

/** Keys of what a group or an access names. */
export const dynsecNamed = ({ roles, groups = [] }: Holding): readonly string[] => [
  ...roles.map(({ role }) => dynsecKey('role', role)),
  ...groups.map(({ group }) => dynsecKey('group', group)),
];

/** Keys of what an access of any kind names. */
export function dynsecNamedBy(access: { readonly kind: string } | undefined): readonly string[] {
  return access?.kind === 'dynsec' ? dynsecNamed(access as DynsecAccess) : []; // The kind tells.
}

/** The shape alone; what it names is looked up by `checkDynsecNamed`. */
export function checkDynsecAccess(
  problems: Problems,
  pointer: string,
  { roles, groups }: DynsecAccess,
): void {
  checkRolesHeld(problems, `${pointer}/roles`, roles);
  if (groups.length > DYNSEC_GROUPS_HELD_MAX) {
    problems.add(`${pointer}/groups`, `must have at most ${DYNSEC_GROUPS_HELD_MAX} entries`);
    return;
  }
  const seen = new Set<string>();
  for (const [index, { group, priority }] of groups.entries()) {
    const here = `${pointer}/groups/${index}`;
    checkDynsecPriority(problems, `${here}/priority`, priority);
    if (seen.has(group)) problems.add(`${here}/group`, 'is named twice');
    seen.add(group);
  }
}

export function checkRolesHeld(
  problems: Problems,
  pointer: string,
  roles: readonly DynsecRoleHeld[],
): void {
  if (roles.length > DYNSEC_ROLES_HELD_MAX) {
    problems.add(pointer, `must have at most ${DYNSEC_ROLES_HELD_MAX} entries`);
    return;
  }
  const seen = new Set<string>();
  for (const [index, { role, priority }] of roles.entries()) {
    checkDynsecPriority(problems, `${pointer}/${index}/priority`, priority);
    if (seen.has(role)) problems.add(`${pointer}/${index}/role`, 'is named twice');
    seen.add(role);
  }
}

/** Only of what the command itself names: of what was there, `RemoveDynsecObject` sees to it that it exists. */
export function checkDynsecNamed(
  problems: Problems,
  pointer: string,
  { roles, groups = [] }: Holding,
  exists: (kind: DynsecKind, id: string) => boolean,
): void {
  for (const [index, { role }] of roles.entries()) {
    if (!exists('role', role)) {
      problems.add(`${pointer}/roles/${index}/role`, 'is not the id of a role of dynamic security');
    }
  }
  for (const [index, { group }] of groups.entries()) {
    if (!exists('group', group)) {
      problems.add(
        `${pointer}/groups/${index}/group`,
        'is not the id of a group of dynamic security',
      );
    }
  }
}
