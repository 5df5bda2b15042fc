import type { AccessSpec } from '@sallyport/domain';
import type { CommandInputs } from '../http/write.ts';
import { entryProblem } from './list-section.ts';
import type { Reference } from './references.ts';
import type { ComparedWith, Names } from './section.ts';

/** What an access names by the names of a file, in the order of its lists. */
export interface AccessReferences {
  readonly roles: readonly Reference[];
  readonly groups: readonly Reference[];
}

const NOTHING: AccessReferences = { roles: [], groups: [] };

/** An access as a file has it: what the schema lets be left out is empty. */
interface SentDynsec {
  readonly roles?: readonly { readonly role: string }[];
  readonly groups?: readonly { readonly group: string }[];
}

/** Finds what an access of a file names. @throws RefusedError `credential_invalid` */
export function accessReferences(
  sent: AccessSpec,
  { references }: Pick<ComparedWith, 'references'>,
): AccessReferences {
  const found = (section: string, name: string, pointer: string, what: string): Reference => {
    const reference = references.to(section, name);
    if (reference !== undefined) return reference;
    throw entryProblem('credential_invalid', `/access/${pointer}`, `is the name of no ${what}`);
  };
  if (sent.kind === 'roles') {
    const { roles = [] }: { readonly roles?: readonly string[] } = sent; // The schema lets it be left out.
    return {
      ...NOTHING,
      roles: roles.map((name, index) => found('roles', name, `roles/${index}`, 'role')),
    };
  }
  if (sent.kind !== 'dynsec') return NOTHING;
  const { roles = [], groups = [] }: SentDynsec = sent;
  return {
    roles: roles.map(({ role }, index) =>
      found('dynsecRoles', role, `roles/${index}/role`, 'role of dynamic security'),
    ),
    groups: groups.map(({ group }, index) =>
      found('dynsecGroups', group, `groups/${index}/group`, 'group of dynamic security'),
    ),
  };
}

/** The access with ids in place of names. */
export function accessWithIds(
  sent: AccessSpec,
  { roles, groups }: AccessReferences,
  inputs: CommandInputs,
): AccessSpec {
  if (sent.kind === 'roles') {
    return { ...sent, roles: roles.map((reference) => reference(inputs)) };
  }
  if (sent.kind !== 'dynsec') return sent;
  const { roles: sentRoles = [], groups: sentGroups = [] }: Partial<typeof sent> = sent; // As above.
  return {
    ...sent,
    roles: sentRoles.map((one, index) => ({ ...one, role: roles[index]?.(inputs) ?? one.role })),
    groups: sentGroups.map((one, index) => ({
      ...one,
      group: groups[index]?.(inputs) ?? one.group,
    })),
  };
}

/** The inverse, of an access that is stored. */
export function accessWithNames(access: AccessSpec, names: Names): AccessSpec {
  if (access.kind === 'roles') {
    return { ...access, roles: access.roles.map((id) => names.role(id)?.name ?? id) };
  }
  if (access.kind !== 'dynsec') return access;
  const nameOf = (kind: 'role' | 'group', id: string): string =>
    names.dynsecObject(kind, id)?.name ?? id;
  return {
    ...access,
    roles: access.roles.map((one) => ({ ...one, role: nameOf('role', one.role) })),
    groups: access.groups.map((one) => ({ ...one, group: nameOf('group', one.group) })),
  };
}
