// The only import of the driver in this package. Its API is `node:sqlite`'s.
import type { DatabaseSyncInstance } from '@photostructure/sqlite';
import { OperationalError } from '@sallyport/errors';

export { DatabaseSync } from '@photostructure/sqlite';
/** A connection as the driver gives it. */
export type Connection = DatabaseSyncInstance;

type Value = string | number | null;

/** A prepared statement; answers are the driver's, whatever the caller takes them for. */
export interface Statement {
  get(...values: readonly Value[]): unknown;
  all(...values: readonly Value[]): unknown[];
  run(...values: readonly Value[]): void;
  /** The same with values that are an array already: there may be hundreds, and each call that spreads them copies them. */
  runWith(values: readonly Value[]): void;
}

/** @source sqlite.org/rescode.html: SQLITE_CORRUPT, SQLITE_NOTADB */
const DAMAGED: ReadonlySet<number> = new Set([11, 26]);
/** The same: SQLITE_BUSY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN. What the disk refuses now it may take later. */
const REFUSED: ReadonlySet<number> = new Set([5, 10, 13, 14]);

/** SQLITE_IOERR_SHORT_READ: the file ends where it must not. */
const CUT_OFF = 522;
/** `all` of the driver tells no code, only the text that SQLite has for it. */
const CODES: ReadonlyMap<string, number> = new Map([
  ['database is locked', 5],
  ['disk I/O error', 10],
  ['database disk image is malformed', 11],
  ['database or disk is full', 13],
  ['unable to open database file', 14],
  ['file is not a database', 26],
]);

function codeOf(error: unknown): number {
  const { errcode, message } = error as { readonly errcode?: number; readonly message?: string };
  return errcode ?? CODES.get(message ?? '') ?? 0;
}

/** The low byte is the primary code. */
const primary = (code: number): number => code & 0xff;

/** Whether the file is not what it was written as. */
export function isDamage(error: unknown): boolean {
  const code = codeOf(error);
  return code === CUT_OFF || DAMAGED.has(primary(code));
}

const unavailable = (why: string, cause: unknown): OperationalError =>
  new OperationalError('read_model_unavailable', `the read model's file ${why}`, { cause });

/** A database whose failures are `read_model_unavailable`; one that turns out to be damaged is told, and only to be closed from then on. */
export class Database {
  readonly #db: Connection;
  readonly #onDamage: (failure: OperationalError) => void;
  #damage: OperationalError | undefined;

  constructor(db: Connection, onDamage: (failure: OperationalError) => void) {
    this.#db = db;
    this.#onDamage = onDamage;
  }

  get isTransaction(): boolean {
    return this.#db.isTransaction;
  }

  exec(sql: string): void {
    this.#guarded(() => this.#db.exec(sql));
  }

  prepare(sql: string): Statement {
    const statement = this.#guarded(() => this.#db.prepare(sql));
    return {
      get: (...values) => this.#guarded((): unknown => statement.get(...values)),
      all: (...values) => this.#guarded((): unknown[] => statement.all(...values)),
      run: (...values) => this.#guarded(() => void statement.run(...values)),
      runWith: (values) => this.#guarded(() => void statement.run(...values)),
    };
  }

  /** A document of a row. One that is none was not written by us. */
  parse<T>(doc: string): T {
    try {
      return JSON.parse(doc) as T; // Written from a T.
    } catch (error) {
      throw this.damaged(error);
    }
  }

  damaged(cause: unknown): OperationalError {
    if (this.#damage === undefined) {
      this.#damage = unavailable('is damaged', cause);
      this.#onDamage(this.#damage);
    }
    return this.#damage;
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  #guarded<T>(call: () => T): T {
    if (this.#damage !== undefined) throw this.#damage;
    if (!this.#db.isOpen) throw unavailable('is closed', undefined);
    try {
      return call();
    } catch (error) {
      if (isDamage(error)) throw this.damaged(error);
      if (REFUSED.has(primary(codeOf(error)))) throw unavailable('cannot be used now', error);
      throw error;
    }
  }
}
