import { type Credential, memberOf, STORES } from '@sallyport/domain';
import { Type } from 'typebox';
import { pages } from '../../bulk/pages.ts';
import { registerRowExport } from '../../bulk/row-export.ts';
import type { Routes } from '../../http/context.ts';
import { defaulted } from '../../http/list-query.ts';
import { validityView } from './proof-schema.ts';
import { exportedSchema } from './schema.ts';

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
  'match.parentCommonNamePattern',
  'enabled',
  'superuser',
  'passwordRequired',
  'access.kind',
  'access.publish',
  'access.subscribe',
  'access.apply',
  'access',
  'attributes',
  'grants',
  'validity.from',
  'validity.until',
  'chain.scope',
  'chain.authenticator',
  'clientIds.exact',
  'clientIds.pattern',
] as const;

/** What an export tells of a credential, and an import takes: never a secret, nor what one could be checked by. */
export function exportedFields(credential: Credential) {
  const { name, match, enabled, superuser, passwordRequired, attributes, access } = credential;
  const { grants = [], validity = {}, clientIds = {} } = credential;
  return {
    ...{ name, match, enabled, superuser, passwordRequired, attributes, access, grants },
    validity: validityView(validity),
    clientIds,
  };
}

type Exported = Pick<Credential, 'store' | 'kind' | 'chain'> & ReturnType<typeof exportedFields>;

function exportedRow(credential: Credential): Exported {
  const { store, kind } = credential;
  const chain = memberOf(credential);
  return { store, kind, ...exportedFields(credential), ...(chain === undefined ? {} : { chain }) };
}

/** Access that has columns of its own has those; any other is one cell. */
export function csvCells(fields: Exported): readonly string[] {
  const { store, kind, name, match, access, attributes, grants, validity, chain } = fields;
  const { exact, pattern } = fields.clientIds;
  const hasColumns = ['acl', 'unrestricted', 'patterns'].includes(access.kind);
  const lists = access.kind === 'patterns' ? [access.publish, access.subscribe] : [];
  const [publish, subscribe] = lists.map((one) => JSON.stringify(one));
  const { username, clientId, fingerprint, commonName, parentCommonName } = match;
  const { parentCommonNamePattern } = match;
  const cells = [
    ...[store, kind, name, username, clientId, fingerprint, commonName, parentCommonName],
    parentCommonNamePattern,
    ...[fields.enabled, fields.superuser, fields.passwordRequired].map(String),
    ...(hasColumns
      ? [access.kind, publish, subscribe, access.apply, undefined]
      : emptyThen(4, access)),
    ...[attributes, grants].map((one) =>
      Object.keys(one).length === 0 ? '' : JSON.stringify(one),
    ),
    ...[validity.from, validity.until, chain?.scope, chain?.authenticator, exact, pattern],
  ];
  return cells.map((cell) => cell ?? '');
}

const emptyThen = (empty: number, value: object): readonly (string | undefined)[] => [
  ...Array<undefined>(empty),
  JSON.stringify(value),
];

export const registerExport: Routes = (app, context) => {
  registerRowExport(app, context, {
    resource: 'credentials',
    operationId: 'exportCredentials',
    summary: 'Read all credentials of a store, at one revision',
    description:
      'Rows as an import takes them, in the order of their ids, without secrets. The revision is told as `Sallyport-Revision`.',
    query: { store: defaulted(Type.Enum([...STORES], { default: 'native' })) },
    row: exportedSchema,
    columns: CSV_COLUMNS,
    cells: csvCells,
    *pages(snapshot, { store }) {
      const read = (after: Credential | undefined, limit: number) =>
        snapshot.credentials(after?.id ?? '', limit);
      for (const page of pages(read)) {
        yield page.filter((one) => one.store === store).map(exportedRow);
      }
    },
  });
};
