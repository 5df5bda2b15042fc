import type { Database } from './sqlite.ts';

/** Rows of one piece of a long list, about. A page that is scattered over many of them costs a second walk over each. */
export const PIECE_ROWS = 1_000;

/** Most pieces of one list; of longer ones they are larger. */
export const PIECES_MAX = 1_000;

/** How much longer or shorter a table may have become before its pieces are cut anew. */
const GROWTH = 1.25;

type Bound = string | number;

/** The rows whose values of one column are not below `from`, and below `to`. */
export interface Piece {
  /** Every value is at least this of the first one. */
  readonly from: Bound;
  /** Absent of the last one. */
  readonly to?: Bound;
}

/**
 * Cuts a table into pieces by a column, in its order, so that one walk over all of them tells how many rows are found and where a
 * page of them begins. Every cut is right; those of a sample are about even.
 */
export class Pieces {
  readonly #db: Database;
  readonly #table: string;
  readonly #cut = new Map<string, readonly Piece[]>();
  #rows = 0;

  constructor(db: Database, table: string) {
    this.#db = db;
    this.#table = table;
  }

  /** All rows, in the ascending order of an indexed column. Its values are texts, or whole numbers. None when there are few. */
  by(column: string): readonly Piece[] {
    const rows = this.#newestRow();
    if (rows > this.#rows * GROWTH || rows < this.#rows / GROWTH) {
      this.#rows = rows;
      this.#cut.clear();
    }
    let pieces = this.#cut.get(column);
    if (pieces === undefined) {
      pieces = between(this.#bounds(column));
      this.#cut.set(column, pieces);
    }
    return pieces;
  }

  /** About the number of rows: those that were removed are still counted. */
  #newestRow(): number {
    const found: unknown = this.#db.prepare(`SELECT max(rowid) AS n FROM ${this.#table}`).get();
    return (found as { n: number | null }).n ?? 0; // The one column of the statement.
  }

  /** The values of rows that lie evenly in the table, in SQLite's own order. */
  #bounds(column: string): readonly Bound[] {
    const wanted = Math.min(PIECES_MAX, Math.floor(this.#rows / PIECE_ROWS));
    const sample = Array.from({ length: wanted }, (_, index) =>
      Math.ceil(((index + 1) * this.#rows) / (wanted + 1)),
    );
    const sql = `SELECT DISTINCT ${column} AS bound FROM ${this.#table}
      WHERE rowid IN (SELECT value FROM json_each(?)) ORDER BY bound`;
    const rows = this.#db.prepare(sql).all(JSON.stringify(sample)) as { bound: Bound }[]; // The same.
    return rows.map(({ bound }) => bound);
  }
}

function between(bounds: readonly Bound[]): readonly Piece[] {
  if (bounds.length === 0) return [];
  const lowest = typeof bounds[0] === 'number' ? Number.MIN_SAFE_INTEGER : '';
  return [lowest, ...bounds].map((from, index) => {
    const to = bounds[index];
    return to === undefined ? { from } : { from, to };
  });
}
