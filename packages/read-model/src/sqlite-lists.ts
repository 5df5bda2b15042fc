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
  readonly searched: string;
  readonly sorted: string;
  readonly tieBreak: string;
  readonly where?: readonly {
    readonly sql: string;
    readonly values: readonly (string | number)[];
  }[];
  /** How many there are, where that is known already. */
  readonly total?: number;
}

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

  constructor(db: Database) {
    this.#db = db;
  }

  credentials(request: CredentialPageRequest): Page<Credential> {
    const { store, role, chains, search = '' } = request;
    const holders = role === undefined ? 0 : this.#holders(role);
    return this.#page<Credential>(request, {
      table: 'credentials',
      searched: 'name_key',
      sorted: sortColumns[request.sort],
      tieBreak: 'id',
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
      sorted: 'target_key',
      tieBreak: 'target',
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
      sorted: sortColumns[request.sort],
      tieBreak: 'id',
    });
  }

  groups(request: PageRequest<GroupSort>): Page<Group> {
    return this.#page<Group>(request, {
      table: 'access_groups',
      searched: 'name_key',
      sorted: sortColumns[request.sort],
      tieBreak: 'id',
    });
  }

  bans(request: PageRequest<BanSort> & { readonly kind?: BanKind }): Page<Ban> {
    return this.#page<Ban>(request, {
      table: 'bans',
      searched: 'value_key',
      sorted: banColumns[request.sort],
      tieBreak: 'id',
      where: request.kind === undefined ? [] : [{ sql: 'kind = ?', values: [request.kind] }],
    });
  }

  registrations(
    request: PageRequest<RegistrationSort> & { readonly at: number },
  ): Page<PendingRegistration> {
    return this.#page<PendingRegistration>(request, {
      table: 'registrations',
      searched: 'username_key',
      sorted: registrationColumns[request.sort],
      tieBreak: 'id',
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
    const values = conditions.flatMap((one) => one.values);
    const direction = request.order === 'asc' ? 'ASC' : 'DESC';
    const order = `ORDER BY ${query.sorted} ${direction}, ${query.tieBreak} ${direction}`;
    const offset = request.page * request.pageSize;
    // The inner query is answered by an index alone: a search that finds little looks at every row, and rows are large.
    const items = this.#docs<T>(
      `SELECT doc FROM ${query.table} WHERE rowid IN (
         SELECT rowid FROM ${query.table} ${where} ${order} LIMIT ? OFFSET ?
       ) ${order}`,
      [...values, request.pageSize, offset],
    );
    // A page that is not full is the last one, so that either the page or the count is cheap.
    const last = items.length < request.pageSize && (items.length > 0 || offset === 0);
    const total = (): number => query.total ?? this.#count(`${query.table} ${where}`, values);
    return { items, total: last ? offset + items.length : total() };
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
