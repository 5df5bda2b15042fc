import {
  type AclTable,
  type AclTarget,
  type ApiKey,
  type AuthChain,
  type Ban,
  type BanKind,
  type ChainMember,
  type Credential,
  type DynsecKind,
  type DynsecObject,
  type Group,
  type IssuedCertificate,
  loginKey,
  memberKey,
  type Operator,
  type PendingRegistration,
  type Revision,
  type Role,
} from '@sallyport/domain';
import { importedSecrets } from './imported-secret-counts.ts';
import type {
  AclPageRequest,
  BanSort,
  CredentialPageRequest,
  CredentialSort,
  DynsecSort,
  GroupSort,
  IssuedCertificatePageRequest,
  IssuedCertificateSort,
  Lists,
  Page,
  PageRequest,
  RegistrationSort,
  RoleSort,
} from './lists.ts';
import { type Piece, Pieces } from './pieces.ts';
import { markedAs } from './schema.ts';
import type { Database } from './sqlite.ts';
import { nameKey } from './statements.ts';

const sortColumns: Readonly<Record<RoleSort & GroupSort, string>> = {
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

/** A blob, which is above every text and every number. @source sqlite.org/datatype3.html §4.1 */
const ABOVE_ALL = "x''";

interface CredentialOrder {
  readonly column: string;
  readonly index: string;
  /** All columns of the index, so that it is walked and nothing is sorted. */
  readonly order: readonly string[];
}

/** What a list of credentials may be narrowed by, and what tells rows apart that are alike in it. */
const NARROWING = ['store', 'chain', 'roles', 'marks', 'rowid'] as const;

const BY_NAME = 'credentials_by_name';
/** Without what the others have for lists: each CONNECT looks here. */
const BY_LOGIN = 'credentials_login';

const credentialOrders: Readonly<Record<CredentialSort, CredentialOrder>> = {
  name: {
    column: 'name_key',
    index: BY_NAME,
    order: ['name_key', ...NARROWING],
  },
  createdAt: {
    column: 'created_at',
    index: 'credentials_by_created',
    order: ['created_at', 'name_key', ...NARROWING],
  },
  updatedAt: {
    column: 'updated_at',
    index: 'credentials_by_updated',
    order: ['updated_at', 'name_key', ...NARROWING],
  },
  match: {
    column: 'login_key',
    index: BY_LOGIN,
    order: ['login_key', 'store', 'chain'],
  },
};

interface Condition {
  readonly sql: string;
  readonly values: readonly (string | number)[];
}

/** How a table is walked over in the order of a list. */
interface Walked {
  readonly column: string;
  /** Begins with the column. */
  readonly index: string;
}

interface Query {
  readonly table: string;
  readonly searched: string;
  /** Columns whose values no two rows share. */
  readonly order: readonly string[];
  readonly where?: readonly Condition[];
  /** Of a table that may have a million rows, of which many are looked at. */
  readonly walked?: Walked;
  /** Where the index that is walked does not have all that is asked about, one that has more of it. */
  readonly counted?: { readonly index: string; readonly where: readonly Condition[] };
}

/** What a request finds, before it is put in order. */
interface Found {
  readonly query: Query;
  readonly where: string;
  readonly values: readonly (string | number)[];
}

interface FoundOn extends Found {
  readonly index: string;
}

const fromOf = ({ query, where, ...on }: Found | FoundOn): string =>
  `${query.table} ${'index' in on ? `INDEXED BY ${on.index} ` : ''}${where}`;

interface Range {
  readonly offset: number;
  readonly limit: number;
  /** How many there are, where that is known. */
  readonly total?: number;
}

/** How many are found in a piece of a table. */
interface Counted {
  readonly piece: Piece;
  readonly found: number;
}

const sum = (counted: readonly Counted[]): number =>
  counted.reduce((total, { found }) => total + found, 0);

const numberOf = (row: unknown): number => (row as { n: number }).n; // The one column that the SQL names.

const by = ({ order }: Query, direction: 'asc' | 'desc'): string =>
  `ORDER BY ${order.map((column) => `${column} ${direction}`).join(', ')}`;

const opposite = { asc: 'desc', desc: 'asc' } as const;

const issuedColumns = {
  issuedAt: 'issued_at',
  subject: 'subject_key',
  notAfter: 'not_after',
} as const satisfies Record<IssuedCertificateSort, string>;

/** What has ended is over, revoked or not. */
const inState = {
  valid: (at: number): Condition[] => [
    { sql: 'revoked_at IS NULL', values: [] },
    { sql: 'not_after >= ?', values: [at] },
  ],
  revoked: (): Condition[] => [{ sql: 'revoked_at IS NOT NULL', values: [] }],
  ended: (at: number): Condition[] => [{ sql: 'not_after < ?', values: [at] }],
};

/** Most searches whose numbers of what was found are kept until the next commit: whoever turns pages asks for the same one again. */
export const TOTALS_KEPT_MAX = 64;

/** Most rows that are looked up one by one and sorted. */
export const SORTED_ROWS_MAX = 5000;

/** Of a role that few have: they are found by it, and then sorted. */
const amongHolders = (role: string): Condition => ({
  sql: 'id IN (SELECT credential_id FROM credential_roles WHERE role_id = ?)',
  values: [role],
});

/** Of a role that many have: they are met on a walk in the order that is wanted. */
function havingRole(role: string): Condition {
  const quoted = JSON.stringify(role);
  // Of such an id, between quotes, an array of texts has no other place than the id's.
  if (/^"[\w.:-]+"$/.test(quoted)) return { sql: 'instr(roles, ?) > 0', values: [quoted] };
  return { sql: 'EXISTS (SELECT 1 FROM json_each(roles) WHERE value = ?)', values: [role] };
}

/** Of a role: no text within a document reads like that, its quotes are escaped. */
const AUTO_GENERATED = 'instr(doc, \'"autoGenerated":true\') > 0';

/** Few credentials have the mark, and an index of their own has them; those of lists have everybody's. */
const amongFew = (
  mark: 'superuser' | 'autoGenerated',
  wanted: boolean | undefined,
  index: string,
): readonly Condition[] => {
  if (wanted === undefined) return [];
  if (!wanted && index !== BY_LOGIN) return [{ sql: `NOT ${markedAs(mark)}`, values: [] }];
  const few = `(SELECT rowid FROM credentials WHERE ${markedAs(mark)})`;
  return [{ sql: `rowid ${wanted ? 'IN' : 'NOT IN'} ${few}`, values: [] }];
};

function belonging(chains: readonly ChainMember[]): Condition {
  const places = chains.map(() => '?').join(', ');
  return { sql: `store = 'emqx' AND chain IN (${places})`, values: chains.map(memberKey) };
}

/**
 * Of one name, perhaps with a text in it, as it is written. On a walk by that name the pieces are what the index is entered by: SQLite
 * takes one range, and by this one it would look at all rows for each piece.
 */
function matching(
  { name, contains }: NonNullable<CredentialPageRequest['matchedBy']>,
  index: string,
): readonly Condition[] {
  const prefix = loginKey({ [name]: '' });
  // A semicolon comes right behind the colon that the prefix ends with.
  const range = [prefix, `${prefix.slice(0, -1)};`];
  const among =
    index === BY_LOGIN
      ? { sql: '+login_key >= ? AND +login_key < ?', values: range }
      : { sql: markedAs(name), values: [] };
  if (contains === undefined) return [among];
  const sql = `instr(substr(login_key, ${prefix.length + 1}), ?) > 0`;
  return [among, { sql, values: [contains] }];
}

/** What narrows a list of credentials, but for the name, as it is asked of an index. The plus keeps SQLite from sorting what is in order. */
const narrowed = (
  { store, chains, autoGenerated, superuser, matchedBy }: CredentialPageRequest,
  index: string,
): readonly Condition[] => [
  ...(store === undefined ? [] : [{ sql: '+store = ?', values: [store] }]),
  ...(chains === undefined ? [] : [belonging(chains)]),
  ...amongFew('autoGenerated', autoGenerated, index),
  ...amongFew('superuser', superuser, index),
  ...(matchedBy === undefined ? [] : matching(matchedBy, index)),
];

/** An index that has what is asked about, where the one that is walked has not; undefined where it has. */
function countedOn(request: CredentialPageRequest): string | undefined {
  const { sort, search = '', role, superuser, autoGenerated, matchedBy } = request;
  if (sort === 'match') {
    const others = superuser === false || autoGenerated === false;
    return search !== '' || role !== undefined || others ? BY_NAME : undefined;
  }
  if (matchedBy?.contains === undefined) return undefined;
  return search === '' ? BY_LOGIN : BY_NAME;
}

/** The targets of one kind, which lie together in `aclTargetKey`. */
function ofKind(kind: AclTarget['kind']): Condition {
  if (kind === 'everyone') return { sql: 'target = ?', values: [kind] };
  // A semicolon comes right behind the colon.
  return { sql: 'target >= ? AND target < ?', values: [`${kind}:`, `${kind};`] };
}

/** Lists over the read model's tables. */
export class SqliteLists implements Lists {
  readonly #db: Database;
  readonly #pieces: Pieces;
  #kept: { readonly revision: Revision; readonly answers: Map<string, unknown> };

  constructor(db: Database) {
    this.#db = db;
    this.#pieces = new Pieces(db, 'credentials');
    this.#kept = { revision: 0, answers: new Map() };
  }

  credentials(request: CredentialPageRequest): Page<Credential> {
    const { role } = request;
    const { column, index, order } = credentialOrders[request.sort];
    const few = role !== undefined && this.#hasFew(role);
    const ofRole = role === undefined ? [] : [few ? amongHolders(role) : havingRole(role)];
    const whereOn = (one: string) => [...ofRole, ...narrowed(request, one)];
    const counted = countedOn(request);
    return this.#page<Credential>(request, {
      table: 'credentials',
      searched: 'name_key',
      order,
      ...(!few && { walked: { column, index } }),
      ...(counted !== undefined && { counted: { index: counted, where: whereOn(counted) } }),
      where: whereOn(index),
    });
  }

  /** Whether not more than `SORTED_ROWS_MAX` credentials have a role. */
  #hasFew(role: string): boolean {
    const some = '(SELECT 1 FROM credential_roles WHERE role_id = ? LIMIT ?)';
    return this.#count(some, [role, SORTED_ROWS_MAX + 1]) <= SORTED_ROWS_MAX;
  }

  aclTables(request: AclPageRequest): Page<AclTable> {
    const { kind } = request;
    const prefix = kind === undefined || kind === 'everyone' ? '' : `${kind}:`;
    return this.#page<AclTable>(request, {
      table: 'acl_tables',
      searched: `substr(target_key, ${prefix.length + 1})`,
      order: ['target_key', 'target'],
      ...(kind !== undefined && { where: [ofKind(kind)] }),
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

  roles(request: PageRequest<RoleSort> & { readonly autoGenerated?: boolean }): Page<Role> {
    const { autoGenerated: wanted } = request;
    return this.#page<Role>(request, {
      table: 'roles',
      searched: 'name_key',
      order: [sortColumns[request.sort], 'id'],
      where:
        wanted === undefined ? [] : [{ sql: `(${AUTO_GENERATED}) = ?`, values: [wanted ? 1 : 0] }],
    });
  }

  groups(request: PageRequest<GroupSort>): Page<Group> {
    return this.#page<Group>(request, {
      table: 'access_groups',
      searched: 'name_key',
      order: [sortColumns[request.sort], 'id'],
    });
  }

  dynsecObjects<K extends DynsecKind>(
    kind: K,
    request: PageRequest<DynsecSort>,
  ): Page<DynsecObject & { readonly kind: K }> {
    return this.#page<DynsecObject & { readonly kind: K }>(request, {
      table: 'dynsec_objects',
      searched: 'name_key',
      order: [sortColumns[request.sort], 'id'],
      where: [{ sql: 'kind = ?', values: [kind] }],
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

  issuedCertificates(request: IssuedCertificatePageRequest): Page<IssuedCertificate> {
    const { credentialId, state, at } = request;
    return this.#page<IssuedCertificate>(request, {
      table: 'issued_certificates',
      searched: 'subject_key',
      order: [issuedColumns[request.sort], 'fingerprint'],
      where: [
        ...(credentialId === undefined
          ? []
          : [{ sql: 'credential_id = ?', values: [credentialId] }]),
        ...(state === undefined ? [] : inState[state](at)),
      ],
    });
  }

  revokedCertificates(authority: string, at: number, most: number): readonly IssuedCertificate[] {
    return this.#docs<IssuedCertificate>(
      `SELECT doc FROM issued_certificates
       WHERE revoked_at IS NOT NULL AND not_after >= ? AND doc ->> '$.authority' = ?
       ORDER BY revoked_at DESC, fingerprint LIMIT ?`,
      [at, authority, most],
    );
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
    const found = this.#foundBy(request, query, query.where ?? []);
    const { where } = found;
    const offset = request.page * request.pageSize;
    const { pageSize: limit, order } = request;
    if (query.counted !== undefined && query.walked !== undefined) {
      const { index, where: narrowing } = query.counted;
      const walk = { ...found, index: query.walked.index };
      const counted = { ...this.#foundBy(request, query, narrowing), index };
      return this.#pageElsewhere<T>(walk, counted, request);
    }
    const pieces =
      query.walked === undefined || where === '' ? [] : this.#pieces.by(query.walked.column);
    if (query.walked !== undefined && pieces.length > 0) {
      const walk = { ...found, walked: query.walked };
      const counted = this.#countPieces(walk, pieces);
      const items = this.#itemsOf<T>(walk, order, { offset, limit, counted });
      return { items, total: sum(counted) };
    }
    if (offset > 0) {
      const total = this.#total(fromOf(found), found.values);
      const left = Math.min(limit, total - offset);
      const items = left > 0 ? this.#items<T>(found, order, { offset, limit: left, total }) : [];
      return { items, total };
    }
    const items = this.#items<T>(found, order, { offset, limit });
    // A page that is not full is the last one, so that either the page or the count is cheap.
    const isAll = items.length < limit;
    return { items, total: isAll ? items.length : this.#total(fromOf(found), found.values) };
  }

  #foundBy({ search = '' }: PageRequest<string>, query: Query, where: readonly Condition[]): Found {
    const searched = { sql: `instr(${query.searched}, ?) > 0`, values: [nameKey(search)] };
    const all = search === '' ? where : [...where, searched];
    return {
      query,
      where: all.length === 0 ? '' : `WHERE ${all.map((one) => one.sql).join(' AND ')}`,
      values: all.flatMap((one) => one.values),
    };
  }

  /** What is asked about is on another index than the one that is in order: there it is found, when it is little, or at least counted. */
  #pageElsewhere<T>(
    walk: FoundOn,
    counted: FoundOn,
    { page, pageSize: limit, order }: PageRequest<string>,
  ): Page<T> {
    const { query, values } = counted;
    const from = fromOf(counted);
    const offset = page * limit;
    const rows = this.#some(from, values);
    if (rows.length <= SORTED_ROWS_MAX) {
      const items = this.#docs<T>(
        `SELECT doc FROM ${query.table} WHERE rowid IN (
           SELECT rowid FROM ${query.table} WHERE rowid IN (SELECT value FROM json_each(?))
             ${by(query, order)} LIMIT ? OFFSET ?
         ) ${by(query, order)}`,
        [JSON.stringify(rows), limit, offset],
      );
      return { items, total: rows.length };
    }
    const total = this.#total(from, values);
    const left = Math.min(limit, total - offset);
    const range = { offset, limit: left, total };
    return { items: left > 0 ? this.#items<T>(walk, order, range) : [], total };
  }

  /** Row ids of what is found, of not many more than may be sorted. */
  #some(from: string, values: Found['values']): readonly number[] {
    return this.#remembered(`some ${JSON.stringify([from, ...values])}`, () => {
      const sql = `SELECT rowid AS n FROM ${from} LIMIT ?`;
      return this.#db
        .prepare(sql)
        .all(...values, SORTED_ROWS_MAX + 1)
        .map(numberOf);
    });
  }

  /** The rows of a page that is not past the end. What lies before it is walked over, or what lies behind it when that is less. */
  #items<T>(
    found: Found | FoundOn,
    order: 'asc' | 'desc',
    { offset, limit, total = Infinity }: Range,
  ): T[] {
    const { query, values } = found;
    const behind = total - offset - limit;
    const [walked, skipped] = behind < offset ? [opposite[order], behind] : [order, offset];
    // The inner query is answered by an index alone: a search that finds little looks at every row, and rows are large.
    return this.#docs<T>(
      `SELECT doc FROM ${query.table} WHERE rowid IN (
         SELECT rowid FROM ${fromOf(found)} ${by(query, walked)} LIMIT ? OFFSET ?
       ) ${by(query, order)}`,
      [...values, limit, skipped],
    );
  }

  /** The same, of the pieces that the page lies in. */
  #itemsOf<T>(
    { query, where, values, walked }: Found & { readonly walked: Walked },
    order: 'asc' | 'desc',
    { offset, limit, counted }: Range & { readonly counted: readonly Counted[] },
  ): T[] {
    const items: T[] = [];
    let skipped = offset;
    for (const { piece, found } of order === 'asc' ? counted : counted.toReversed()) {
      if (items.length === limit) break;
      if (skipped >= found) {
        skipped -= found;
        continue;
      }
      const sql = `SELECT doc FROM ${query.table} INDEXED BY ${walked.index}
        ${where} AND ${walked.column} >= ? AND ${walked.column} < coalesce(?, ${ABOVE_ALL})
        ${by(query, order)} LIMIT ? OFFSET ?`;
      // Not a row further than what was counted: the walk would go on to the end of the piece.
      const wanted = Math.min(limit - items.length, found - skipped);
      const range = [piece.from, piece.to ?? null];
      items.push(...this.#docs<T>(sql, [...values, ...range, wanted, skipped]));
      skipped = 0;
    }
    return items;
  }

  /** How many there are in each piece; one walk over all rows. */
  #countPieces(
    { query, where, values, walked }: Found & { readonly walked: Walked },
    pieces: readonly Piece[],
  ): readonly Counted[] {
    const { index, column } = walked;
    const from = `${query.table} INDEXED BY ${index} ${where}`;
    return this.#remembered(`pieces ${JSON.stringify([from, ...values])}`, () => {
      // One statement: a thousand would cost half as much as the walk.
      const sql = `SELECT (
          SELECT count(*) FROM ${from}
            AND ${column} >= piece.value ->> 0 AND ${column} < coalesce(piece.value ->> 1, ${ABOVE_ALL})
        ) AS n FROM json_each(?) AS piece`;
      const bounds = pieces.map(({ from, to }) => [from, to]);
      const counts = this.#db
        .prepare(sql)
        .all(...values, JSON.stringify(bounds))
        .map(numberOf);
      return pieces.map((piece, place) => ({ piece, found: counts[place] ?? 0 }));
    });
  }

  #total(from: string, values: Found['values']): number {
    const key = `total ${JSON.stringify([from, ...values])}`;
    return this.#remembered(key, () => this.#count(from, values));
  }

  /** What was found since the last commit, or is now. The key names the question, and so what its answer is. */
  #remembered<T>(key: string, find: () => T): T {
    const meta: unknown = this.#db.prepare('SELECT revision FROM meta WHERE id = 1').get();
    const { revision } = meta as { readonly revision: Revision }; // The one row of the table.
    if (this.#kept.revision !== revision || this.#kept.answers.size >= TOTALS_KEPT_MAX) {
      this.#kept = { revision, answers: new Map() };
    }
    const known = this.#kept.answers.get(key) as T | undefined;
    if (known !== undefined) return known;
    const found = find();
    this.#kept.answers.set(key, found);
    return found;
  }

  #count(from: string, values: readonly (string | number)[]): number {
    return numberOf(this.#db.prepare(`SELECT count(*) AS n FROM ${from}`).get(...values));
  }

  #docs<T>(sql: string, values: readonly (string | number | null)[]): T[] {
    const rows = this.#db.prepare(sql).all(...values) as { doc: string }[]; // The one column of every caller's SQL.
    return rows.map((row) => this.#db.parse<T>(row.doc));
  }
}
