import {
  type AclTable,
  aclTargetKey,
  type DynsecRole,
  type Group,
  type Role,
} from '@sallyport/domain';
import type { Page, PageRequest } from '@sallyport/read-model';
import {
  followingRows,
  lintAclTable,
  lintDynsecRole,
  lintGroup,
  type LintReport,
  lintRole,
} from '@sallyport/rules';
import { turn } from '../../bulk/turn.ts';
import type { Routes } from '../../http/context.ts';
import { answers, READ_PROBLEMS } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import { lintCredential, targetOfKey } from '../../lint/lint-object.ts';
import type { AdminReadModel } from '../../ports.ts';
import { type LintQuery, lintQuery, lintSchema, SHARED_TYPES } from './schema.ts';

export const lintRoutes: Routes = (app, { ports: { model } }) => {
  app.get(
    '/lint',
    {
      config: { permission: 'policy:read' },
      schema: {
        tags: ['policy'],
        operationId: 'lint',
        summary: 'Find rules that never decide anything, or not what they seem to',
        description:
          'Of one object, or of a page of all tables, groups and roles of both kinds. What is not found may still be useless: patterns are compared as texts unless they are one text or all behind one, a placeholder only with itself.',
        querystring: lintQuery,
        response: answers({ 200: lintSchema }, READ_PROBLEMS),
      },
    },
    async (request) => {
      const { query } = request;
      checkQuery(query);
      const { page, pageSize, id } = query;
      if (id !== undefined) {
        const { revision } = model;
        return { items: [linted(oneOf(model, query, id))], total: 1, page, pageSize, revision };
      }
      return walk(model, query);
    },
  );
};

/** @throws RefusedError `invalid_request` for members that would not be looked at, or do not say enough */
function checkQuery({ type, id, clientId, ...beside }: LintQuery): void {
  const problems: { pointer: string; detail: string }[] = [];
  if (id !== undefined && type === undefined) {
    problems.push({ pointer: '/type', detail: 'is required with an id' });
  }
  if (id === undefined && type === 'credential') {
    problems.push({ pointer: '/id', detail: 'is required: credentials are not walked' });
  }
  if (clientId !== undefined && type !== 'credential') {
    problems.push({ pointer: '/clientId', detail: 'is for a credential only' });
  }
  for (const name of ['username', 'listener'] as const) {
    if (beside[name] === undefined || clientId !== undefined) continue;
    problems.push({ pointer: `/${name}`, detail: 'is for a clientId only' });
  }
  if (problems.length > 0) throw refused('invalid_request', { problems });
}

/** An object, and how to look at its rules. */
interface Linted {
  readonly type: NonNullable<LintQuery['type']>;
  readonly id: string;
  readonly name?: string;
  readonly updatedRevision: number;
  readonly lint: () => LintReport;
}

function linted({ lint, ...object }: Linted) {
  const { findings, rules, examined } = lint();
  return { ...object, rules, examined, findings };
}

const ofTable = (model: AdminReadModel, table: AclTable): Linted => ({
  ...{ type: 'acl', id: aclTargetKey(table.target) },
  ...(table.target.kind !== 'everyone' && { name: table.target.name }),
  updatedRevision: table.updatedRevision,
  lint: () => {
    const settings = model.reads.settings();
    const { kind } = table.target;
    const everyone = kind === 'username' ? model.reads.aclTable({ kind: 'everyone' }) : undefined;
    return lintAclTable(table, settings, followingRows(everyone));
  },
});

const ofGroup = (group: Group): Linted => {
  const { id, name, updatedRevision } = group;
  return { type: 'group', id, name, updatedRevision, lint: () => lintGroup(group) };
};

const ofRole = (role: Role): Linted => {
  const { id, name, updatedRevision } = role;
  return { type: 'role', id, name, updatedRevision, lint: () => lintRole(role) };
};

const ofDynsecRole = (role: DynsecRole): Linted => {
  const { id, name, updatedRevision } = role;
  return { type: 'dynsecRole', id, name, updatedRevision, lint: () => lintDynsecRole(role) };
};

/** @throws RefusedError when there is none */
function oneOf(model: AdminReadModel, query: LintQuery, id: string): Linted {
  const { reads } = model;
  switch (query.type) {
    case 'group':
      return ofGroup(reads.group(id) ?? missing('group_not_found'));
    case 'role':
      return ofRole(reads.role(id) ?? missing('role_not_found'));
    case 'dynsecRole': {
      const role = reads.dynsecObject('role', id);
      return role?.kind === 'role' ? ofDynsecRole(role) : missing('dynsec_not_found');
    }
    case 'credential':
      return ofCredential(model, query, id);
    default: {
      const target = targetOfKey(id);
      const table = target && reads.aclTable(target);
      return ofTable(model, table ?? missing('acl_table_not_found'));
    }
  }
}

function missing(code: Parameters<typeof refused>[0]): never {
  throw refused(code);
}

function ofCredential(
  { reads }: AdminReadModel,
  { clientId, username, listener = 'tcp:default' }: LintQuery,
  id: string,
): Linted {
  const credential = reads.credential(id) ?? missing('credential_not_found');
  const { name, match, updatedRevision } = credential;
  const client =
    clientId === undefined
      ? undefined
      : { clientId, username: username ?? match.username, listener };
  const lint = () => lintCredential(reads, credential, client);
  return { type: 'credential', id, name, updatedRevision, lint };
}

type List = (request: Omit<PageRequest<never>, 'sort'>) => Page<Linted>;

const listsOf = (model: AdminReadModel): Readonly<Record<(typeof SHARED_TYPES)[number], List>> => {
  const { lists } = model;
  const each = <T>({ items, total }: Page<T>, of: (one: T) => Linted): Page<Linted> => ({
    items: items.map(of),
    total,
  });
  return {
    acl: (asked) =>
      each(lists.aclTables({ ...asked, sort: 'target' }), (one) => ofTable(model, one)),
    group: (asked) => each(lists.groups({ ...asked, sort: 'name' }), ofGroup),
    role: (asked) => each(lists.roles({ ...asked, sort: 'name' }), ofRole),
    dynsecRole: (asked) =>
      each(lists.dynsecObjects('role', { ...asked, sort: 'name' }), ofDynsecRole),
  };
};

/** One page of the objects of all types, one type after the other. */
async function walk(model: AdminReadModel, { type, page, pageSize }: LintQuery) {
  const { revision } = model;
  const types = SHARED_TYPES.filter((one) => type === undefined || type === one);
  const found: Linted[] = [];
  let before = 0;
  for (const one of types) {
    const list = listsOf(model)[one];
    const start = page * pageSize + found.length - before;
    const { items, total } = part(list, Math.max(start, 0), pageSize - found.length, pageSize);
    found.push(...items);
    before += total;
  }
  const items = [];
  for (const one of found) {
    const told = linted(one);
    if (told.findings.length > 0) items.push(told);
    // A thousand rules take tens of milliseconds.
    await turn();
  }
  return { items, total: before, page, pageSize, revision };
}

/** Objects of a list from `start` on, which need not be the start of a page of it. */
function part(list: List, start: number, count: number, pageSize: number): Page<Linted> {
  const first = Math.floor(start / pageSize);
  const pages = [first, first + 1].map((page) => list({ page, pageSize, order: 'asc' }));
  const all = pages.flatMap(({ items }) => items);
  const from = start - first * pageSize;
  return { items: all.slice(from, from + count), total: pages[0]?.total ?? 0 };
}
