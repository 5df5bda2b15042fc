import {
  type AclTable,
  type ApiKey,
  type AuthChain,
  type Ban,
  type BanKind,
  type ChainMember,
  type Credential,
  type Group,
  memberKey,
  type Operator,
  type PendingRegistration,
  type Revision,
  type Role,
} from '@sallyport/domain';
import { importedSecrets } from './imported-secret-counts.ts';
import type {
  BanSort,
  CredentialPageRequest,
  CredentialSort,
  GroupSort,
  Lists,
  Page,
  PageRequest,
  RegistrationSort,
  RoleSort,
} from './lists.ts';
import type { Database } from './sqlite.ts';
import { nameKey } from './tables.ts';

const sortColumns: Readonly<Record<CredentialSort & GroupSort, string>> = {
  name: 'name_key',
  createdAt: 'created_at',
  updatedAt: 'updated_at',
};

const banColumns: Readonly<Record<BanSort, string>> = {
  value: 'value_key',
  until: `coalesce(until, ${Number.MAX_SAFE_INTEGER})`,
  createdAt: 'created_at',
  updatedAt: 'updated_at',
};

const registrationColumns: Readonly<Record<RegistrationSort, string>> = {
  lastSeenAt: 'last_seen_at',
  createdAt: 'created_at',
  username: 'username_key',
};

interface Query {
  readonly table: string;
  /** The smallest index that has what is searched. */
  readonly countedBy?: string;
  readonly searched: string;
  /** Columns whose values no two rows share. */
  readonly order: readonly string[];
  readonly where?: readonly {
    readonly sql: string;
    readonly values: readonly (string | number)[];
  }[];
  /** How many there are, where that is known already. */
  readonly total?: number;
}

/** What a request finds, before it is put in order. */
interface Found {
  readonly query: Query;
  readonly where: string;
  readonly values: readonly (string | number)[];
}

interface Range {
  readonly offset: number;
  readonly limit: number;
  /** How many there are, where that is known. */
  readonly total?: number;
}

const opposite = { asc: 'desc', desc: 'asc' } as const;

/** Most numbers of what was found that are kept until the next commit: whoever turns pages asks for the same one again. */
export const TOTALS_KEPT_MAX = 64;

/** Most credentials of a role that are looked up one by one and sorted. */
export const SORTED_HOLDERS_MAX = 5000;

/** Few are found by the role, and then sorted; of many some are met soon on a walk in the order that is wanted. */
function havingRole(holders: number): string {
  return holders <= SORTED_HOLDERS_MAX
    ? 'id IN (SELECT credential_id FROM credential_roles WHERE role_id = ?)'
    : 'EXISTS (SELECT 1 FROM credential_roles WHERE role_id = ? AND credential_id = +credentials.id)';
}

function belonging(chains: readonly ChainMember[]) {
  const places = chains.map(() => '?').join(', ');
  return { sql: `store = 'emqx' AND chain IN (${places})`, values: chains.map(memberKey) };
}

/** Lists over the read model's tables. */
export class SqliteLists implements Lists {
  readonly #db: Database;
  #totals: { readonly revision: Revision; readonly counts: Map<string, number> };

  constructor(db: Database) {
    this.#db = db;
    this.#totals = { revision: 0, counts: new Map() };
  }

  credentials(request: CredentialPageRequest): Page<Credential> {
    const { store, role, chains, search = '' } = request;
    const holders = role === undefined ? 0 : this.#holders(role);
    return this.#page<Credential>(request, {
      table: 'credentials',
      searched: 'name_key',
      order: [sortColumns[request.sort], 'id'],
      ...(role === undefined && { countedBy: 'credentials_by_name' }),
      where: [
        ...(store === undefined ? [] : [{ sql: 'store = ?', values: [store] }]),
        ...(role === undefined ? [] : [{ sql: havingRole(holders), values: [role] }]),
        ...(chains === undefined ? [] : [belonging(chains)]),
      ],
      ...(role !== undefined &&
        store === undefined &&
        chains === undefined &&
        search === '' && { total: holders }),
    });
  }

  #holders(role: string): number {
    return this.#count('credential_roles WHERE role_id = ?', [role]);
  }

  aclTables(request: PageRequest<'target'>): Page<AclTable> {
    return this.#page<AclTable>(request, {
      table: 'acl_tables',
      searched: 'target_key',
      order: ['target_key', 'target'],
    });
  }

  operators(): readonly Operator[] {
    return this.#docs<Operator>('SELECT doc FROM operators ORDER BY name', []);
  }

  apiKeys(): readonly ApiKey[] {
    return this.#docs<ApiKey>('SELECT doc FROM api_keys ORDER BY name', []);
  }

  authChains(): readonly AuthChain[] {
    return this.#docs<AuthChain>('SELECT doc FROM auth_chains ORDER BY scope', []);
  }

  roles(request: PageRequest<RoleSort>): Page<Role> {
    return this.#page<Role>(request, {
      table: 'roles',
      searched: 'name_key',
      order: [sortColumns[request.sort], 'id'],
    });
  }

  groups(request: PageRequest<GroupSort>): Page<Group> {
    return this.#page<Group>(request, {
      table: 'access_groups',
      searched: 'name_key',
      order: [sortColumns[request.sort], 'id'],
    });
  }

  bans(request: PageRequest<BanSort> & { readonly kind?: BanKind }): Page<Ban> {
    return this.#page<Ban>(request, {
      table: 'bans',
      searched: 'value_key',
      order: [banColumns[request.sort], 'id'],
      where: request.kind === undefined ? [] : [{ sql: 'kind = ?', values: [request.kind] }],
    });
  }

  registrations(
    request: PageRequest<RegistrationSort> & { readonly at: number },
  ): Page<PendingRegistration> {
    return this.#page<PendingRegistration>(request, {
      table: 'registrations',
      searched: 'username_key',
      order: [registrationColumns[request.sort], 'id'],
      where: [
        { sql: 'status = ?', values: ['pending'] },
        { sql: 'until > ?', values: [request.at] },
      ],
    });
  }

  importedSecrets(): Readonly<Record<string, number>> {
    return importedSecrets(this.#db);
  }

  importCommits(importId: string): readonly Revision[] {
    const sql = 'SELECT revision FROM import_commits WHERE import_id = ? ORDER BY revision';
    const rows = this.#db.prepare(sql).all(importId) as { revision: number }[]; // The column of the statement.
    return rows.map((row) => row.revision);
  }

  #page<T>(request: PageRequest<string>, query: Query): Page<T> {
    const conditions = [...(query.where ?? [])];
    if (request.search !== undefined && request.search !== '') {
      conditions.push({
        sql: `instr(${query.searched}, ?) > 0`,
        values: [nameKey(request.search)],
      });
    }
    const where =
      conditions.length === 0 ? '' : `WHERE ${conditions.map((one) => one.sql).join(' AND ')}`;
    const found = { query, where, values: conditions.flatMap((one) => one.values) };
    const offset = request.page * request.pageSize;
    const { pageSize, order } = request;
    if (offset > 0) {
      const total = this.#total(found);
      const limit = Math.min(pageSize, total - offset);
      const items = limit > 0 ? this.#items<T>(found, order, { offset, limit, total }) : [];
      return { items, total };
    }
    const items = this.#items<T>(found, order, { offset, limit: pageSize });
    // A page that is not full is the last one, so that either the page or the count is cheap.
    return { items, total: items.length < pageSize ? items.length : this.#total(found) };
  }

  /** The rows of a page that is not past the end. What lies before it is walked over, or what lies behind it when that is less. */
  #items<T>(
    { query, where, values }: Found,
    order: 'asc' | 'desc',
    { offset, limit, total = Infinity }: Range,
  ): T[] {
    const by = (direction: 'asc' | 'desc'): string =>
      `ORDER BY ${query.order.map((column) => `${column} ${direction}`).join(', ')}`;
    const behind = total - offset - limit;
    const [walked, skipped] = behind < offset ? [opposite[order], behind] : [order, offset];
    // The inner query is answered by an index alone: a search that finds little looks at every row, and rows are large.
    return this.#docs<T>(
      `SELECT doc FROM ${query.table} WHERE rowid IN (
         SELECT rowid FROM ${query.table} ${where} ${by(walked)} LIMIT ? OFFSET ?
       ) ${by(order)}`,
      [...values, limit, skipped],
    );
  }

  #total({ query, where, values }: Found): number {
    if (query.total !== undefined) return query.total;
    const from = query.countedBy === undefined ? '' : `INDEXED BY ${query.countedBy}`;
    const sql = `${query.table} ${from} ${where}`;
    const meta: unknown = this.#db.prepare('SELECT revision FROM meta WHERE id = 1').get();
    const { revision } = meta as { readonly revision: Revision }; // The one row of the table.
    if (this.#totals.revision !== revision || this.#totals.counts.size >= TOTALS_KEPT_MAX) {
      this.#totals = { revision, counts: new Map() };
    }
    const key = JSON.stringify([sql, ...values]);
    const known = this.#totals.counts.get(key);
    if (known !== undefined) return known;
    const total = this.#count(sql, values);
    this.#totals.counts.set(key, total);
    return total;
  }

  #count(from: string, values: readonly (string | number)[]): number {
    const found: unknown = this.#db.prepare(`SELECT count(*) AS n FROM ${from}`).get(...values);
    return (found as { n: number }).n; // The one column that the SQL names.
  }

  #docs<T>(sql: string, values: readonly (string | number)[]): T[] {
    const rows = this.#db.prepare(sql).all(...values) as { doc: string }[]; // The one column of every caller's SQL.
    return rows.map((row) => this.#db.parse<T>(row.doc));
  }
}
