import {
  type DynsecEvent,
  dynsecHeldBy,
  dynsecKey,
  type DynsecKind,
  type DynsecObject,
  type EventContext,
  evolveDynsec,
} from '@sallyport/domain';
import type { Database, Statement } from './sqlite.ts';

/** Most objects that are kept parsed. */
export const DYNSEC_KEPT_MAX = 1000;

/** Roles and groups of dynamic security, and an index of what names them. */
export class DynsecTables {
  readonly #db: Database;
  readonly #nameKey: (name: string) => string;
  readonly #statements = new Map<string, Statement>();
  // Few objects are of many credentials: parsed once a change, and not once a credential.
  readonly #kept = new Map<string, DynsecObject>();

  constructor(db: Database, nameKey: (name: string) => string) {
    this.#db = db;
    this.#nameKey = nameKey;
  }

  #prepared(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  /** After a rollback. */
  forget(): void {
    this.#kept.clear();
  }

  apply(event: DynsecEvent, context: EventContext): void {
    const { kind, id } = event.data;
    const key = dynsecKey(kind, id);
    const before = this.object(kind, id);
    const next = evolveDynsec(before, event, context);
    this.#kept.delete(key);
    this.hold(key, dynsecHeldBy(before), dynsecHeldBy(next));
    if (next === undefined) {
      this.#prepared('DELETE FROM dynsec_objects WHERE kind = ? AND id = ?').run(kind, id);
      return;
    }
    const { name, createdAt, updatedAt } = next;
    this.#prepared(
      `INSERT INTO dynsec_objects VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key,
         updated_at = excluded.updated_at, doc = excluded.doc`,
    ).run(kind, id, name, this.#nameKey(name), createdAt, updatedAt, JSON.stringify(next));
  }

  /** `holder` named what has the keys `before`, and names `next` now. */
  hold(holder: string, before: readonly string[], next: readonly string[]): void {
    for (const held of before) {
      if (next.includes(held)) continue;
      this.#prepared('DELETE FROM dynsec_holders WHERE held = ? AND holder = ?').run(held, holder);
    }
    for (const held of next) {
      if (before.includes(held)) continue;
      this.#prepared('INSERT OR IGNORE INTO dynsec_holders VALUES (?, ?)').run(held, holder);
    }
  }

  object(kind: DynsecKind, id: string): DynsecObject | undefined {
    const key = dynsecKey(kind, id);
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    const sql = 'SELECT doc FROM dynsec_objects WHERE kind = ? AND id = ?';
    const row = this.#prepared(sql).get(kind, id) as { doc: string } | undefined; // The column of the statement.
    if (row === undefined) return undefined;
    const object = this.#db.parse<DynsecObject>(row.doc);
    if (this.#kept.size >= DYNSEC_KEPT_MAX) this.#kept.clear();
    this.#kept.set(key, object);
    return object;
  }

  idByName(kind: DynsecKind, name: string): string | undefined {
    const sql = 'SELECT id FROM dynsec_objects WHERE kind = ? AND name = ?';
    return (this.#prepared(sql).get(kind, name) as { id: string } | undefined)?.id; // The same.
  }

  count(kind: DynsecKind): number {
    const sql = 'SELECT count(*) AS n FROM dynsec_objects WHERE kind = ?';
    return (this.#prepared(sql).get(kind) as { n: number }).n; // The same.
  }

  holders(kind: DynsecKind, id: string, max: number): readonly string[] {
    const sql = 'SELECT holder FROM dynsec_holders WHERE held = ? ORDER BY holder LIMIT ?';
    const rows = this.#prepared(sql).all(dynsecKey(kind, id), max) as { holder: string }[]; // The same.
    return rows.map(({ holder }) => holder);
  }
}
