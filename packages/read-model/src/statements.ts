import type { Database, Statement } from './sqlite.ts';

interface DocRow {
  readonly doc: string;
}

/** A name as it is searched and sorted by: without case, independent of any locale. */
export const nameKey = (name: string): string => name.toLowerCase();

/** The statements of a database, each prepared when it is used first. */
export class Statements {
  readonly #db: Database;
  readonly #prepared = new Map<string, Statement>();

  constructor(db: Database) {
    this.#db = db;
  }

  prepared(sql: string): Statement {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#prepared.set(sql, statement);
    }
    return statement;
  }

  get<T>(sql: string, ...values: (string | number)[]): T | undefined {
    return this.prepared(sql).get(...values) as T | undefined; // The columns are named by the SQL beside each call.
  }

  all<T>(sql: string, ...values: (string | number)[]): T[] {
    return this.prepared(sql).all(...values) as T[]; // The same.
  }

  /** What the column `doc` of the first row holds. */
  doc<T>(sql: string, ...values: (string | number)[]): T | undefined {
    const row = this.get<DocRow>(sql, ...values);
    return row === undefined ? undefined : this.#db.parse<T>(row.doc);
  }

  /** The same of every row. */
  docs<T>(sql: string, ...values: (string | number)[]): T[] {
    return this.all<DocRow>(sql, ...values).map((row) => this.#db.parse<T>(row.doc));
  }

  /** The column `n` of the one row of an aggregate. */
  count(sql: string, ...values: (string | number)[]): number {
    return this.get<{ n: number }>(sql, ...values)?.n ?? 0;
  }

  run(sql: string, ...values: (string | number | null)[]): void {
    this.prepared(sql).run(...values);
  }
}
