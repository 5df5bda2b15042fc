import type { Group } from '@sallyport/domain';
import type { Static } from 'typebox';
import { groupBody } from '../routes/groups/schema.ts';
import { pages } from '../bulk/pages.ts';
import { listSection } from './list-section.ts';
import { fieldChanges } from './section.ts';

type Entry = Static<typeof groupBody>;

/** Groups, by their names. */
export const groupsSection = listSection<Entry, Group>({
  name: 'groups',
  entry: groupBody,
  keyPointer: '/name',
  deletedLast: true,
  naming: {
    noun: 'group',
    keyOf: (entry) => (entry as Entry).name,
    find: (reads, name) => reads.groupIdByName(name),
  },
  keyOf: ({ name }) => name,
  keyOfPresent: ({ name }) => name,
  find(reads, { name }) {
    const id = reads.groupIdByName(name);
    return id === undefined ? undefined : reads.group(id);
  },
  pages: (snapshot) => pages((after: Group | undefined, limit) => snapshot.groups(after, limit)),
  written,

  compare(entry, present, { own }) {
    if (present === undefined) {
      return {
        after: entry,
        rehearsal: (inputs) => ({
          type: 'AddGroup',
          data: { ...entry, id: own(inputs).id('group') },
        }),
      };
    }
    const fields = fieldChanges(written(present), entry);
    if (fields.length === 0) return undefined;
    const { id, updatedRevision: ifRevision } = present;
    return {
      fields,
      rehearsal: () => ({ type: 'ReplaceGroup', data: { ...entry, id, ifRevision } }),
    };
  },
  remove: ({ id, updatedRevision: ifRevision }) => ({
    type: 'RemoveGroup',
    data: { id, ifRevision },
  }),
});

function written({ name, description, permissions }: Group) {
  return { name, description, permissions };
}
