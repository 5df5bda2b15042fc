import type { AclTable, ApiKey, Ban, BanKind, Credential, Operator, Role } from '@sallyport/domain';
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

  #page<T>(request: PageRequest<string>, query: Query): Page<T> {
    const conditions = [...(query.where ?? [])];
    if (request.search !== undefined && request.search !== '') {
      conditions.push({ sql: `instr(${query.searched}, ?) > 0`, value: nameKey(request.search) });
    }
    const where =
      conditions.length === 0 ? '' : `WHERE ${conditions.map((one) => one.sql).join(' AND ')}`;
    const values = conditions.map((one) => one.value);
    const direction = request.order === 'asc' ? 'ASC' : 'DESC';
    const counted = this.#db
      .prepare(`SELECT count(*) AS n FROM ${query.table} ${where}`)
      .get(...values) as { n: number }; // The one column that the SQL names.
    const items = this.#docs<T>(
      `SELECT doc FROM ${query.table} ${where}
       ORDER BY ${query.sorted} ${direction}, ${query.tieBreak} ${direction} LIMIT ? OFFSET ?`,
      [...values, request.pageSize, request.page * request.pageSize],
    );
    return { items, total: counted.n };
  }

  #docs<T>(sql: string, values: readonly (string | number)[]): T[] {
    const rows = this.#db.prepare(sql).all(...values) as { doc: string }[]; // The one column of every caller's SQL.
    return rows.map((row) => JSON.parse(row.doc) as T); // Written by Tables from a T.
  }
}
