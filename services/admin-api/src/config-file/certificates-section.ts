import { TLS_LISTENERS, type Trust } from '@sallyport/domain';
import { type Static, Type } from 'typebox';
import { prepareTrust, storedKey } from '../routes/certificates/prepare.ts';
import { replaceBody, trustTexts } from '../routes/certificates/schema.ts';
import { listSection } from './list-section.ts';
import { fieldChanges, HIDDEN } from './section.ts';

const entrySchema = Type.Object(
  { listener: Type.Enum([...TLS_LISTENERS]), ...replaceBody.properties },
  {
    additionalProperties: false,
    description:
      'Without `serverKey` the key that is stored for the listener stays; one that is written takes its place. It is never exported.',
  },
);

type Entry = Static<typeof entrySchema>;

/** What TLS listeners show and trust, by the listener. */
export const certificatesSection = listSection<Entry, Trust>({
  name: 'certificates',
  entry: entrySchema,
  keyPointer: '/listener',
  keyOf: ({ listener }) => listener,
  keyOfPresent: ({ listener }) => listener,
  find: (reads, { listener }) => reads.trust(listener),
  *pages(snapshot) {
    yield snapshot.trust();
  },
  written,

  compare({ serverKey, ...entry }, present, { context, at }) {
    const { listener } = entry;
    const newKey = serverKey !== undefined && storedKey(context, present) !== serverKey;
    const fields = [...fieldChanges(present === undefined ? {} : written(present), entry)];
    if (newKey) fields.push({ pointer: '/serverKey', before: HIDDEN, after: HIDDEN });
    if (fields.length === 0) return undefined;
    const body = { ...entry, ...(serverKey === undefined ? {} : { serverKey }) };
    const trust = prepareTrust(context, { listener, body, current: present, at });
    const ifRevision = present?.updatedRevision ?? 0;
    const hidden = newKey ? { serverKey: HIDDEN } : {};
    return {
      ...(present === undefined ? { after: { ...entry, ...hidden } } : { fields }),
      ...(newKey && { secretTag: context.ports.secretBox.fingerprint(serverKey) }),
      rehearsal: () => ({ type: 'ReplaceTrust', data: { listener, fields: trust, ifRevision } }),
    };
  },
  remove: ({ listener, updatedRevision: ifRevision }) => ({
    type: 'RemoveTrust',
    data: { listener, ifRevision },
  }),
});

function written(trust: Trust): Readonly<Record<string, unknown>> {
  return { listener: trust.listener, ...trustTexts(trust) };
}
