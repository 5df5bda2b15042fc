import {
  type AclTable,
  type Credential,
  DEFAULT_SETTINGS,
  type Revision,
  type Settings,
} from '@sallyport/domain';
import type { Snapshot } from './lists.ts';
import { type Database, DatabaseSync } from './sqlite.ts';

/** A connection of its own inside of one read transaction: the fold goes on beside it. */
export class SqliteSnapshot implements Snapshot {
  readonly #db: Database;
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

  aclTables(after: string, limit: number): readonly AclTable[] {
    const sql = 'SELECT doc FROM acl_tables WHERE target > ? ORDER BY target LIMIT ?';
    return this.#docs(sql, after, limit);
  }

  settings(): Settings {
    const [stored] = this.#docs<Settings>('SELECT doc FROM settings WHERE id = 1');
    return stored ?? { ...DEFAULT_SETTINGS, updatedRevision: 0 };
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
