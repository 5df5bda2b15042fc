import { OperationalError } from '@sallyport/errors';
import {
  closeDatabase,
  type Database,
  sqliteFailure,
  type Statement,
  type Value,
} from './sqlite-database.ts';
import { NoSuchPacket } from './stored-packet.ts';

/** After a failure the file is tried this often; until a trial succeeds, writes are refused at once. */
export const PROBE_INTERVAL_MS = 1000;

/** A trial writes this much, so that a disk that is full but for a page does not count as good. */
const PROBE_BYTES = 256 * 1024;

/** The writes of one turn of the event loop: one transaction, and so one sync of the disk. */
interface Turn {
  readonly committed: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (failure: OperationalError) => void;
  readonly immediate: NodeJS.Immediate;
}

/**
 * Runs statements at once, so that reads see them, and commits them together at the end of the turn. When one of them fails, all
 * of the turn are undone and refused.
 */
export class GroupCommit {
  readonly #database: Database;
  /** Reads what is in memory from the file again. */
  readonly #restore: () => void;
  readonly #onFailure: (failure: OperationalError) => void;
  #turn: Turn | undefined;
  #failure: OperationalError | undefined;
  /** Whether memory may have what the file has not. */
  #stale = false;
  #probing: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(
    database: Database,
    restore: () => void,
    onFailure: (failure: OperationalError) => void,
  ) {
    this.#database = database;
    this.#restore = restore;
    this.#onFailure = onFailure;
  }

  /** Whether writes are taken. */
  get healthy(): boolean {
    return this.#failure === undefined && !this.#closed;
  }

  /**
   * Resolves when what `work` ran is on the disk, and at once when it ran nothing and nothing else waits. Writes resolve in the
   * order of the calls.
   */
  write<T>(work: () => T): Promise<T> {
    const answer = this.writeOrAnswer(work);
    return answer instanceof Promise ? answer : Promise.resolve().then(() => answer);
  }

  /** As `write`, but without a promise when `work` ran nothing and nothing else waits. */
  writeOrAnswer<T>(work: () => T): T | Promise<T> {
    if (this.#closed) return Promise.reject(closedFailure());
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    try {
      const value = work();
      return this.#turn === undefined ? value : this.#turn.committed.then(() => value);
    } catch (cause) {
      if (!(cause instanceof NoSuchPacket)) return Promise.reject(this.#fail(cause));
      // An answer, and in its place like others.
      const answer = (): never => {
        throw cause;
      };
      return (this.#turn?.committed ?? Promise.resolve()).then(answer);
    }
  }

  /** Only within `write`. */
  run(statement: Statement, ...values: Value[]): void {
    this.#turn ??= this.#begin();
    statement.run(...values);
  }

  read<T>(work: () => T): T {
    if (this.#closed) throw closedFailure();
    try {
      return work();
    } catch (cause) {
      throw sqliteFailure('cannot be read', cause);
    }
  }

  /** What waits is committed. */
  close(): void {
    if (this.#closed) return;
    this.#commit();
    this.#closed = true;
    clearTimeout(this.#probing);
    closeDatabase(this.#database);
  }

  #begin(): Turn {
    this.#database.exec('BEGIN IMMEDIATE');
    let resolve = (): void => undefined;
    let reject = (_failure: OperationalError): void => undefined;
    const committed = new Promise<void>((resolved, rejected) => {
      resolve = resolved;
      reject = rejected;
    });
    committed.catch(() => undefined); // Who waits for it is told.
    return { committed, resolve, reject, immediate: setImmediate(() => this.#commit()) };
  }

  #commit(): void {
    const turn = this.#turn;
    if (turn === undefined) return;
    clearImmediate(turn.immediate);
    try {
      this.#database.exec('COMMIT');
    } catch (cause) {
      this.#fail(cause);
      return;
    }
    this.#turn = undefined;
    turn.resolve();
  }

  #fail(cause: unknown): OperationalError {
    const failure = sqliteFailure('cannot be written', cause);
    const turn = this.#turn;
    this.#turn = undefined;
    this.#failure = failure;
    if (turn !== undefined) clearImmediate(turn.immediate);
    this.#stale = true;
    this.#recover();
    turn?.reject(failure);
    this.#onFailure(failure);
    this.#probeLater();
    return failure;
  }

  /** Undoes what is not committed, in the file and in memory. Whether that worked; else the next trial does it. */
  #recover(): boolean {
    try {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      if (this.#stale) this.#restore();
      this.#stale = false;
      return true;
    } catch {
      return false; // The failure that led here is told; this one says the same.
    }
  }

  #probeLater(): void {
    this.#probing = setTimeout(() => {
      if (this.#recover() && this.#probe()) this.#failure = undefined;
      else this.#probeLater();
    }, PROBE_INTERVAL_MS);
    this.#probing.unref();
  }

  #probe(): boolean {
    try {
      // Two transactions: what is deleted in the same one is never written.
      this.#database.exec(`
        INSERT INTO probe (filler) VALUES (zeroblob(${PROBE_BYTES}));
        DELETE FROM probe;
      `);
      return true;
    } catch {
      return false; // As before.
    }
  }
}

function closedFailure(): OperationalError {
  return new OperationalError('session_store_unavailable', 'the session store is closed');
}
