import type { Permission, Role } from '@sallyport/domain';
import type { Static } from 'typebox';
import { createBody } from '../routes/roles/schema.ts';
import { type SentPermission, withIds } from '../routes/credentials/stored-body.ts';
import { pages } from '../bulk/pages.ts';
import { listSection } from './list-section.ts';
import { fieldChanges, withKeptIds } from './section.ts';

type Entry = Static<typeof createBody>;

/** Roles, by their names. */
export const rolesSection = listSection<Entry, Role>({
  name: 'roles',
  entry: createBody,
  keyPointer: '/name',
  deletedLast: true,
  naming: {
    noun: 'role',
    keyOf: (entry) => (entry as Entry).name,
    find: (reads, name) => reads.roleIdByName(name),
  },
  keyOf: ({ name }) => name,
  keyOfPresent: ({ name }) => name,
  find(reads, { name }) {
    const id = reads.roleIdByName(name);
    return id === undefined ? undefined : reads.role(id);
  },
  pages: (snapshot) => pages((after: Role | undefined, limit) => snapshot.roles(after, limit)),
  written: ({ name, permissions }) => ({ name, permissions }),

  compare({ name, permissions: sent }, present, { own }) {
    const permissions = withKeptPermissionIds(sent, present?.permissions ?? []);
    const whole = (inputs: Parameters<typeof own>[0]) => withIds(permissions, own(inputs));
    if (present === undefined) {
      return {
        after: { name, permissions },
        rehearsal: (inputs) => ({
          type: 'AddRole',
          data: { id: own(inputs).id('role'), name, permissions: whole(inputs) },
        }),
      };
    }
    const fields = fieldChanges({ permissions: present.permissions }, { permissions });
    if (fields.length === 0) return undefined;
    const { id, updatedRevision: ifRevision } = present;
    return {
      fields,
      rehearsal: (inputs) => ({
        type: 'ChangeRole',
        data: { id, changes: { permissions: whole(inputs) }, ifRevision },
      }),
    };
  },
  remove: ({ id, updatedRevision: ifRevision }) => ({
    type: 'RemoveRole',
    data: { id, ifRevision },
  }),
});

export const withKeptPermissionIds = (
  sent: readonly SentPermission[],
  present: readonly Permission[],
): readonly SentPermission[] =>
  withKeptIds(
    sent,
    present,
    (one, other) =>
      one.context === other.context &&
      one.resource === other.resource &&
      one.operation === other.operation,
  );
