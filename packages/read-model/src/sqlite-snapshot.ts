import {
  type AclTable,
  aclTargetKey,
  type AuthChain,
  type Ban,
  type Credential,
  type DynsecKind,
  type DynsecObject,
  UNSET_SETTINGS,
  type Group,
  type GroupRules,
  memberKey,
  NO_GROUP_RULES,
  type Revision,
  type Role,
  type Settings,
  type Trust,
} from '@sallyport/domain';
import type { Snapshot } from './lists.ts';
import { type Connection, DatabaseSync } from './sqlite.ts';

/** A connection of its own inside of one read transaction: the fold goes on beside it. */
export class SqliteSnapshot implements Snapshot {
  readonly #db: Connection;
  readonly #onEnd: () => void;
  readonly revision: Revision;

  /** `path` is the file of an open read model. */
  constructor(path: string, onEnd: () => void) {
    this.#db = new DatabaseSync(path, { readOnly: true });
    this.#onEnd = onEnd;
    this.#db.exec('BEGIN');
    // The first read fixes what the transaction sees.
    const meta = this.#db.prepare('SELECT revision FROM meta WHERE id = 1').get() as {
      revision: number;
    }; // The one row of the table.
    this.revision = meta.revision;
  }

  credentials(after: string, limit: number): readonly Credential[] {
    return this.#docs('SELECT doc FROM credentials WHERE id > ? ORDER BY id LIMIT ?', after, limit);
  }

  credentialsByName(after: Credential | undefined, limit: number): readonly Credential[] {
    const sql =
      'SELECT doc FROM credentials WHERE (store, chain, name) > (?, ?, ?) ORDER BY store, chain, name LIMIT ?';
    return this.#docs(sql, after?.store ?? '', memberKey(after?.chain), after?.name ?? '', limit);
  }

  roles(after: Role | undefined, limit: number): readonly Role[] {
    const sql = 'SELECT doc FROM roles WHERE name > ? ORDER BY name LIMIT ?';
    return this.#docs(sql, after?.name ?? '', limit);
  }

  groups(after: Group | undefined, limit: number): readonly Group[] {
    const sql = 'SELECT doc FROM access_groups WHERE name > ? ORDER BY name LIMIT ?';
    return this.#docs(sql, after?.name ?? '', limit);
  }

  dynsecObjects<K extends DynsecKind>(
    kind: K,
    after: DynsecObject | undefined,
    limit: number,
  ): readonly (DynsecObject & { readonly kind: K })[] {
    const sql = 'SELECT doc FROM dynsec_objects WHERE kind = ? AND name > ? ORDER BY name LIMIT ?';
    return this.#docs(sql, kind, after?.name ?? '', limit);
  }

  aclTables(after: AclTable | undefined, limit: number): readonly AclTable[] {
    const sql = 'SELECT doc FROM acl_tables WHERE target > ? ORDER BY target LIMIT ?';
    return this.#docs(sql, after === undefined ? '' : aclTargetKey(after.target), limit);
  }

  bans(after: Ban | undefined, limit: number): readonly Ban[] {
    const sql = 'SELECT doc FROM bans WHERE (kind, value) > (?, ?) ORDER BY kind, value LIMIT ?';
    return this.#docs(sql, after?.kind ?? '', after?.value ?? '', limit);
  }

  trust(): readonly Trust[] {
    return this.#docs('SELECT doc FROM trust ORDER BY listener');
  }

  authChains(): readonly AuthChain[] {
    return this.#docs('SELECT doc FROM auth_chains ORDER BY scope');
  }

  groupRules(): GroupRules {
    const [stored] = this.#docs<GroupRules>('SELECT doc FROM group_rules WHERE id = 1');
    return stored ?? NO_GROUP_RULES;
  }

  credential(id: string): Credential | undefined {
    return this.#docs<Credential>('SELECT doc FROM credentials WHERE id = ?', id)[0];
  }

  role(id: string): Role | undefined {
    return this.#docs<Role>('SELECT doc FROM roles WHERE id = ?', id)[0];
  }

  group(id: string): Group | undefined {
    return this.#docs<Group>('SELECT doc FROM access_groups WHERE id = ?', id)[0];
  }

  dynsecObject(kind: DynsecKind, id: string): DynsecObject | undefined {
    const sql = 'SELECT doc FROM dynsec_objects WHERE kind = ? AND id = ?';
    return this.#docs<DynsecObject>(sql, kind, id)[0];
  }

  settings(): Settings {
    const [stored] = this.#docs<Settings>('SELECT doc FROM settings WHERE id = 1');
    return { ...UNSET_SETTINGS, ...stored };
  }

  #docs<T>(sql: string, ...values: readonly (string | number)[]): T[] {
    const rows = this.#db.prepare(sql).all(...values) as { doc: string }[]; // The one column of every caller's SQL.
    return rows.map((row) => JSON.parse(row.doc) as T); // Written by Tables from a T.
  }

  [Symbol.dispose](): void {
    if (!this.#db.isOpen) return;
    this.#db.close();
    this.#onEnd();
  }
}
