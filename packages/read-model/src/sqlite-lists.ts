import type {
  AclTable,
  ApiKey,
  Ban,
  BanKind,
  Credential,
  Operator,
  Revision,
  Role,
} from '@sallyport/domain';
import { importedSecrets } from './imported-secret-counts.ts';
import type {
  BanSort,
  CredentialPageRequest,
  CredentialSort,
  Lists,
  Page,
  PageRequest,
  RoleSort,
} from './lists.ts';
import type { Database } from './sqlite.ts';
import { nameKey } from './tables.ts';

const credentialColumns: Readonly<Record<CredentialSort, string>> = {
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

interface Query {
  readonly table: string;
  readonly searched: string;
  readonly sorted: string;
  readonly tieBreak: string;
  readonly where?: readonly { readonly sql: string; readonly value: string }[];
}

/** Lists over the read model's tables. */
export class SqliteLists implements Lists {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  credentials(request: CredentialPageRequest): Page<Credential> {
    const { store, role } = request;
    const having = 'id IN (SELECT credential_id FROM credential_roles WHERE role_id = ?)';
    return this.#page<Credential>(request, {
      table: 'credentials',
      searched: 'name_key',
      sorted: credentialColumns[request.sort],
      tieBreak: 'id',
      where: [
        ...(store === undefined ? [] : [{ sql: 'store = ?', value: store }]),
        ...(role === undefined ? [] : [{ sql: having, value: role }]),
      ],
    });
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

  roles(request: PageRequest<RoleSort>): Page<Role> {
    return this.#page<Role>(request, {
      table: 'roles',
      searched: 'name_key',
      sorted: credentialColumns[request.sort],
      tieBreak: 'id',
    });
  }

  bans(request: PageRequest<BanSort> & { readonly kind?: BanKind }): Page<Ban> {
    return this.#page<Ban>(request, {
      table: 'bans',
      searched: 'value_key',
      sorted: banColumns[request.sort],
      tieBreak: 'id',
      where: request.kind === undefined ? [] : [{ sql: 'kind = ?', value: request.kind }],
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
      conditions.push({ sql: `instr(${query.searched}, ?) > 0`, value: nameKey(request.search) });
    }
    const where =
      conditions.length === 0 ? '' : `WHERE ${conditions.map((one) => one.sql).join(' AND ')}`;
    const values = conditions.map((one) => one.value);
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
    return { items, total: last ? offset + items.length : this.#count(query, where, values) };
  }

  #count({ table }: Query, where: string, values: readonly string[]): number {
    const sql = `SELECT count(*) AS n FROM ${table} ${where}`;
    const counted = this.#db.prepare(sql).get(...values) as { n: number }; // The one column that the SQL names.
    return counted.n;
  }

  #docs<T>(sql: string, values: readonly (string | number)[]): T[] {
    const rows = this.#db.prepare(sql).all(...values) as { doc: string }[]; // The one column of every caller's SQL.
    return rows.map((row) => JSON.parse(row.doc) as T); // Written by Tables from a T.
  }
}
