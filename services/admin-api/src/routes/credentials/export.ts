import { Readable } from 'node:stream';
import { type Credential, STORES } from '@sallyport/domain';
import type { Snapshot } from '@sallyport/read-model';
import { Type } from 'typebox';
import { csvLine } from '../../bulk/csv-cells.ts';
import { turn } from '../../bulk/turn.ts';
import type { Routes } from '../../http/context.ts';
import { defaulted } from '../../http/list-query.ts';
import { answers, READ_PROBLEMS } from '../../http/openapi.ts';
import { validityView } from './proof-schema.ts';
import { exportedSchema } from './schema.ts';

/** Credentials that are read at once; between two reads others have their turn. */
const PAGE_ROWS = 200;

const FORMATS = ['ndjson', 'json', 'csv'] as const;
type Format = (typeof FORMATS)[number];

const mediaTypes = {
  ndjson: 'application/x-ndjson',
  json: 'application/json',
  csv: 'text/csv; charset=utf-8; header=present',
} as const satisfies Record<Format, string>;

const exportQuery = Type.Object(
  {
    format: defaulted(Type.Enum([...FORMATS], { default: 'ndjson' })),
    store: defaulted(Type.Enum([...STORES], { default: 'native' })),
  },
  { additionalProperties: false },
);

/** Columns of the CSV; an import takes the same ones. */
export const CSV_COLUMNS = [
  'store',
  'kind',
  'name',
  'match.username',
  'match.clientId',
  'match.fingerprint',
  'match.commonName',
  'match.parentCommonName',
  'enabled',
  'superuser',
  'passwordRequired',
  'access.kind',
  'access.publish',
  'access.subscribe',
  'access',
  'attributes',
  'grants',
  'validity.from',
  'validity.until',
] as const;

/** What an export tells of a credential, and an import takes: never a secret, nor what one could be checked by. */
export function exportedFields(credential: Credential) {
  const { name, match, enabled, superuser, passwordRequired, attributes, access } = credential;
  const { grants = [], validity = {} } = credential;
  return {
    ...{ name, match, enabled, superuser, passwordRequired, attributes, access, grants },
    validity: validityView(validity),
  };
}

type Exported = Pick<Credential, 'store' | 'kind'> & ReturnType<typeof exportedFields>;

const exportedRow = (credential: Credential): Exported => ({
  store: credential.store,
  kind: credential.kind,
  ...exportedFields(credential),
});

/** Access that has columns of its own has those; any other is one cell. */
export function csvCells(fields: Exported): readonly string[] {
  const { store, kind, name, match, access, attributes, grants, validity } = fields;
  const hasColumns = ['acl', 'unrestricted', 'patterns'].includes(access.kind);
  const lists = access.kind === 'patterns' ? [access.publish, access.subscribe] : [];
  const [publish, subscribe] = lists.map((one) => JSON.stringify(one));
  const { username, clientId, fingerprint, commonName, parentCommonName } = match;
  const cells = [
    ...[store, kind, name, username, clientId, fingerprint, commonName, parentCommonName],
    ...[fields.enabled, fields.superuser, fields.passwordRequired].map(String),
    ...(hasColumns ? [access.kind, publish, subscribe, undefined] : emptyThen(3, access)),
    ...[attributes, grants].map((one) =>
      Object.keys(one).length === 0 ? '' : JSON.stringify(one),
    ),
    ...[validity.from, validity.until],
  ];
  return cells.map((cell) => cell ?? '');
}

const emptyThen = (empty: number, value: object): readonly (string | undefined)[] => [
  ...Array<undefined>(empty),
  JSON.stringify(value),
];

/** How a format puts the rows together. */
const writers: Readonly<
  Record<Format, { head: string; between: string; tail: string; row: (one: Exported) => string }>
> = {
  ndjson: { head: '', between: '', tail: '', row: (one) => `${JSON.stringify(one)}\n` },
  json: { head: '[', between: ',\n', tail: ']\n', row: (one) => JSON.stringify(one) },
  csv: { head: csvLine(CSV_COLUMNS), between: '', tail: '', row: (one) => csvLine(csvCells(one)) },
};

// Loose on purpose, as `answers` is.
const found: Readonly<Record<string, unknown>> = {
  200: {
    description: 'The credentials, in the order of their ids',
    content: {
      'application/x-ndjson': { schema: exportedSchema },
      'application/json': { schema: Type.Array(exportedSchema) },
      'text/csv': { schema: Type.String() },
    },
  },
};

export const registerExport: Routes = (app, { ports }) => {
  app.get(
    '/credentials/export',
    {
      config: { permission: 'credentials:read' },
      schema: {
        tags: ['credentials'],
        operationId: 'exportCredentials',
        summary: 'Read all credentials of a store, at one revision',
        description:
          'Rows as an import takes them, without secrets. The revision is told as `Sallyport-Revision`.',
        querystring: exportQuery,
        response: { ...answers({}, READ_PROBLEMS), ...found },
      },
    },
    (request, reply) => {
      const { format, store } = request.query;
      const snapshot = ports.model.snapshot();
      // Whatever becomes of the answer: an open snapshot keeps the read model's file growing.
      reply.raw.once('close', () => {
        snapshot[Symbol.dispose]();
      });
      void reply
        .type(mediaTypes[format])
        .header('sallyport-revision', String(snapshot.revision))
        .header('content-disposition', `attachment; filename="credentials.${format}"`);
      return reply.send(Readable.from(textOf(snapshot, format, store)));
    },
  );
};

async function* textOf(
  snapshot: Snapshot,
  format: Format,
  store: Credential['store'],
): AsyncGenerator<string> {
  const { head, between, tail, row } = writers[format];
  let text = head;
  let first = true;
  let after = '';
  for (;;) {
    const page = snapshot.credentials(after, PAGE_ROWS);
    for (const credential of page) {
      if (credential.store !== store) continue;
      text += (first ? '' : between) + row(exportedRow(credential));
      first = false;
    }
    const last = page.at(-1);
    if (last === undefined) break;
    after = last.id;
    if (text !== '') yield text;
    text = '';
    await turn();
  }
  yield text + tail;
}
