import {
  type DynsecEvent,
  dynsecHeldBy,
  dynsecKey,
  type DynsecKind,
  type DynsecObject,
  type EventContext,
  evolveDynsec,
} from '@sallyport/domain';
import { nameKey, type Statements } from './statements.ts';

/** Most objects that are kept parsed. */
export const DYNSEC_KEPT_MAX = 1000;

/** Roles and groups of dynamic security, and an index of what names them. */
export class DynsecTables {
  readonly #sql: Statements;
  // Few objects are of many credentials: parsed once a change, and not once a credential.
  readonly #kept = new Map<string, DynsecObject>();

  constructor(sql: Statements) {
    this.#sql = sql;
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
      this.#sql.run('DELETE FROM dynsec_objects WHERE kind = ? AND id = ?', kind, id);
      return;
    }
    const { name, createdAt, updatedAt } = next;
    this.#sql.run(
      `INSERT INTO dynsec_objects VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key,
         updated_at = excluded.updated_at, doc = excluded.doc`,
      kind,
      id,
      name,
      nameKey(name),
      createdAt,
      updatedAt,
      JSON.stringify(next),
    );
  }

  /** `holder` named what has the keys `before`, and names `next` now. */
  hold(holder: string, before: readonly string[], next: readonly string[]): void {
    for (const held of before) {
      if (next.includes(held)) continue;
      this.#sql.run('DELETE FROM dynsec_holders WHERE held = ? AND holder = ?', held, holder);
    }
    for (const held of next) {
      if (before.includes(held)) continue;
      this.#sql.run('INSERT OR IGNORE INTO dynsec_holders VALUES (?, ?)', held, holder);
    }
  }

  object(kind: DynsecKind, id: string): DynsecObject | undefined {
    const key = dynsecKey(kind, id);
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    const sql = 'SELECT doc FROM dynsec_objects WHERE kind = ? AND id = ?';
    const object = this.#sql.doc<DynsecObject>(sql, kind, id);
    if (object === undefined) return undefined;
    if (this.#kept.size >= DYNSEC_KEPT_MAX) this.#kept.clear();
    this.#kept.set(key, object);
    return object;
  }

  idByName(kind: DynsecKind, name: string): string | undefined {
    const sql = 'SELECT id FROM dynsec_objects WHERE kind = ? AND name = ?';
    return this.#sql.get<{ id: string }>(sql, kind, name)?.id;
  }

  count(kind: DynsecKind): number {
    const sql = 'SELECT count(*) AS n FROM dynsec_objects WHERE kind = ?';
    return this.#sql.count(sql, kind);
  }

  holders(kind: DynsecKind, id: string, max: number): readonly string[] {
    const sql = 'SELECT holder FROM dynsec_holders WHERE held = ? ORDER BY holder LIMIT ?';
    return this.#sql
      .all<{ holder: string }>(sql, dynsecKey(kind, id), max)
      .map(({ holder }) => holder);
  }
}
