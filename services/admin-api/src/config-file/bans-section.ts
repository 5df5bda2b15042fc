import { type Ban, banTag, canonicalBanValue, isOver } from '@sallyport/domain';
import type { Static } from 'typebox';
import { createBody, timesOf, timeTexts } from '../routes/bans/schema.ts';
import { pages } from '../bulk/pages.ts';
import { listSection } from './list-section.ts';
import { fieldChanges } from './section.ts';

type Entry = Static<typeof createBody>;

/** Bans, by whom they are about. One that has run out, here or in the file, is as good as none. */
export const bansSection = listSection<Entry, Ban>({
  name: 'bans',
  entry: createBody,
  keyPointer: '/value',
  keyOf(entry, { at }) {
    const { kind, value } = canonical(entry);
    return isOver(timesOf(entry), at) ? undefined : banTag({ kind, value });
  },
  keyOfPresent: banTag,
  labelOf: (key) => key.slice('ban:'.length),
  find(reads, entry) {
    const { kind, value } = canonical(entry);
    return reads.banByValue(kind, value);
  },
  *pages(snapshot, at) {
    for (const page of pages((after: Ban | undefined, limit) => snapshot.bans(after, limit))) {
      yield page.filter((ban) => !isOver(ban, at));
    }
  },
  written,

  compare(entry, present, { own, by }) {
    const { until: _until, bannedAt: _bannedAt, ...members } = canonical(entry);
    const times = timesOf(entry);
    const after = { ...members, ...timeTexts(times) };
    const fields = present && fieldChanges(written(present), after);
    if (fields?.length === 0) return undefined;
    const fieldsOf = { ...members, ...times, by };
    return {
      ...(fields === undefined ? { after } : { fields }),
      rehearsal: (inputs) => ({
        type: 'AddBan',
        data: {
          ...fieldsOf,
          id: present?.id ?? own(inputs).id('ban'),
          ifRevision: present?.updatedRevision ?? 0,
        },
      }),
    };
  },
  remove: ({ id, updatedRevision: ifRevision }) => ({
    type: 'RemoveBan',
    data: { id, ifRevision },
  }),
});

/** What cannot be read stays, for the domain to refuse. */
const canonical = (entry: Entry): Entry => ({
  ...entry,
  value: canonicalBanValue(entry.kind, entry.value) ?? entry.value,
});

function written(ban: Ban): Readonly<Record<string, unknown>> {
  const { kind, value, reason } = ban;
  return { kind, value, ...(reason === undefined ? {} : { reason }), ...timeTexts(ban) };
}
