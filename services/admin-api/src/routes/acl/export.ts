import type { AclRule, AclTable, AclTarget } from '@sallyport/domain';
import { pages } from '../../bulk/pages.ts';
import { registerRowExport } from '../../bulk/row-export.ts';
import type { Routes } from '../../http/context.ts';
import { aclRow } from './schema.ts';

type Row = AclRule & { readonly target: AclTarget };

/** Targets whose rules are read at once; each may have a thousand. */
const PAGE_TARGETS = 20;

/** A new member does not compile until it has a column. */
const MEMBERS: Readonly<Record<keyof AclRule, true>> = {
  ruleId: true,
  effect: true,
  action: true,
  topicFilter: true,
  literal: true,
  any: true,
  qos: true,
  retain: true,
  shared: true,
  wildcard: true,
  clientIdPattern: true,
  usernamePattern: true,
  source: true,
  listener: true,
  listenerPattern: true,
  zone: true,
  zonePattern: true,
};
const members = Object.keys(MEMBERS) as readonly (keyof AclRule)[]; // The type of the record.
const COLUMNS = ['target.kind', 'target.name', ...members];

function cells({ target, ...rule }: Row): readonly string[] {
  const name = target.kind === 'everyone' ? '' : target.name;
  return [target.kind, name, ...members.map((member) => cell(rule[member]))];
}

const cell = (value: AclRule[keyof AclRule]): string =>
  value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value);

export const registerExport: Routes = (app, context) => {
  registerRowExport<Row, Record<never, never>>(app, context, {
    resource: 'acl',
    operationId: 'exportAcl',
    summary: 'Read all rules of all targets, at one revision',
    description:
      'Rows as an import takes them, those of one target in their order. The revision is told as `Sallyport-Revision`.',
    query: {},
    row: aclRow,
    columns: COLUMNS,
    cells,
    *pages(snapshot) {
      const read = (after: AclTable | undefined) => snapshot.aclTables(after, PAGE_TARGETS);
      for (const page of pages(read)) {
        yield page.flatMap(({ target, rules }) => rules.map((rule) => ({ target, ...rule })));
      }
    },
  });
};
