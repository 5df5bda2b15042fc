import {
  type DynsecGroup,
  type DynsecKind,
  type DynsecObject,
  type DynsecRole,
  NAME_BYTES_MAX,
  type NewDynsecObject,
} from '@sallyport/domain';
import { type Static, Type } from 'typebox';
import { pages } from '../bulk/pages.ts';
import type { CommandInputs } from '../http/write.ts';
import { dynsecNoun } from '../routes/dynsec/routes.ts';
import {
  groupBodyOf,
  groupFieldsOfStored,
  roleBody,
  roleFieldsOf,
} from '../routes/dynsec/schema.ts';
import { type EntryComparedWith, entryProblem, listSection, type Wanted } from './list-section.ts';
import { fieldChanges, type Names } from './section.ts';

type RoleEntry = Static<typeof roleBody>;
type GroupEntry = ReturnType<typeof groupFieldsOfStored>;

const NAMES = { role: 'dynsecRoles', group: 'dynsecGroups' } as const satisfies Record<
  DynsecKind,
  string
>;

/** What both sections share. */
const common = <K extends DynsecKind>(kind: K) => ({
  name: NAMES[kind],
  keyPointer: '/name',
  deletedLast: true as const,
  naming: {
    noun: dynsecNoun(kind),
    keyOf: (entry: unknown) => (entry as { readonly name: string }).name, // Both have it.
    find: (reads: Parameters<typeof findObject>[0], name: string) =>
      reads.dynsecIdByName(kind, name),
  },
  keyOf: ({ name }: { readonly name: string }) => name,
  keyOfPresent: ({ name }: { readonly name: string }) => name,
  remove: ({ id, updatedRevision: ifRevision }: DynsecObject) => ({
    type: 'RemoveDynsecObject' as const,
    data: { kind, id, ifRevision },
  }),
});

function findObject(
  reads: EntryComparedWith['context']['ports']['model']['reads'],
  kind: DynsecKind,
  { name }: { readonly name: string },
): DynsecObject | undefined {
  const id = reads.dynsecIdByName(kind, name);
  return id === undefined ? undefined : reads.dynsecObject(kind, id);
}

/** Of an object and what an entry says of it, both as a file has them. */
function wanted(
  kind: DynsecKind,
  present: DynsecObject | undefined,
  { before, entry }: { readonly before: object | undefined; readonly entry: object },
  objectOf: (inputs: CommandInputs, id: string) => NewDynsecObject,
  { own }: EntryComparedWith,
): Wanted | undefined {
  if (present === undefined) {
    return {
      after: entry,
      rehearsal: (inputs) => ({
        type: 'AddDynsecObject',
        data: objectOf(inputs, own(inputs).id(dynsecNoun(kind))),
      }),
    };
  }
  const fields = fieldChanges({ ...before }, { ...entry });
  if (fields.length === 0) return undefined;
  const { id, updatedRevision: ifRevision } = present;
  return {
    fields,
    rehearsal: (inputs) => ({
      type: 'ReplaceDynsecObject',
      data: { ...objectOf(inputs, id), ifRevision },
    }),
  };
}

/** Roles of dynamic security, by their names. */
export const dynsecRolesSection = listSection<RoleEntry, DynsecRole>({
  ...common('role'),
  entry: roleBody,
  find(reads, entry) {
    const found = findObject(reads, 'role', entry);
    return found?.kind === 'role' ? found : undefined;
  },
  pages: (snapshot) =>
    pages((after: DynsecRole | undefined, limit) => snapshot.dynsecObjects('role', after, limit)),
  written: roleFieldsOf,
  compare: (entry, present, against) =>
    wanted(
      'role',
      present,
      { before: present && roleFieldsOf(present), entry },
      (_inputs, id) => ({ ...entry, kind: 'role', id }),
      against,
    ),
});

function writtenGroup(group: DynsecGroup, names: Names): GroupEntry {
  const { roles, ...fields } = groupFieldsOfStored(group);
  const nameOf = (id: string): string => names.dynsecObject('role', id)?.name ?? id;
  return { ...fields, roles: roles.map((one) => ({ ...one, role: nameOf(one.role) })) };
}

/** Groups of dynamic security, by their names; roles are called by theirs. */
export const dynsecGroupsSection = listSection<GroupEntry, DynsecGroup>({
  ...common('group'),
  entry: groupBodyOf(
    Type.String({ maxLength: NAME_BYTES_MAX, description: 'Name of a role of dynamic security.' }),
  ),
  find(reads, entry) {
    const found = findObject(reads, 'group', entry);
    return found?.kind === 'group' ? found : undefined;
  },
  pages: (snapshot) =>
    pages((after: DynsecGroup | undefined, limit) => snapshot.dynsecObjects('group', after, limit)),
  written: writtenGroup,
  compare(entry, present, against) {
    const { references, context } = against;
    const roles = entry.roles.map(({ role, priority }, index) => {
      const reference = references.to(NAMES.role, role);
      if (reference !== undefined) return { reference, priority };
      const detail = 'is the name of no role of dynamic security';
      throw entryProblem('dynsec_invalid', `/roles/${index}/role`, detail);
    });
    return wanted(
      'group',
      present,
      { before: present && writtenGroup(present, context.ports.model.reads), entry },
      (inputs, id) => ({
        ...{ ...entry, kind: 'group', id },
        roles: roles.map(({ reference, priority }) => ({ role: reference(inputs), priority })),
      }),
      against,
    );
  },
});
