// The only file that knows the driver: it has the API of `node:sqlite`, so a newer Node replaces this one line.
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import type { NewCommit, Revision } from '@sallyport/domain';
import { isOperational, OperationalError } from '@sallyport/errors';
import { appendBatch, type EncodedCommit, encodeBatch } from './append-batch.ts';
import type { AppendResult, EventLog, FollowOptions, RecordedCommit, Tail } from './event-log.ts';
import { PullTail } from './pull-tail.ts';
import { decodeRecord, storedRecord, type StoredRecord } from './record.ts';
import { type SyncFile, WalSync } from './wal-sync.ts';

/** How long a write waits for another process that holds the file. */
export const BUSY_TIMEOUT_MS = 5_000;

/** How often a tail looks for commits of other handles and processes. */
export const FOLLOW_POLL_MS = 25;

/** Records that were read last and are kept with their commits, at most `COMMIT_BYTES_MAX` each. */
export const RECENT_RECORDS_MAX = 4;

/** A large commit is written page by page, and each costs two calls of the system: few large ones take a third of the time. */
const PAGE_BYTES = 16 * 1024;

/** Marks the file as a log of this program (`PRAGMA application_id`): "SPEL". */
const APPLICATION_ID = 0x5350454c;
const SCHEMA_VERSION = 1;

// INVARIANT: a commit is never changed and never taken away, whoever opens the file.
const SCHEMA = `
  CREATE TABLE commits (
    revision INTEGER PRIMARY KEY,
    commit_id TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
  ) STRICT;
  CREATE TRIGGER commits_deny_update BEFORE UPDATE ON commits
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
  CREATE TRIGGER commits_deny_delete BEFORE DELETE ON commits
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

interface PendingAppend {
  readonly batch: readonly EncodedCommit[];
  readonly expected: Revision;
  readonly resolve: (results: readonly AppendResult[]) => void;
  readonly reject: (failure: OperationalError) => void;
}

export interface SqliteEventLogOptions {
  readonly path: string;
  /** The disk has failed. Everything is refused with `log_unavailable` from then on, until the log is opened again. */
  readonly onFailure?: (failure: OperationalError) => void;
  /** How the write-ahead log gets to the disk; `fdatasync` when absent. */
  readonly sync?: SyncFile;
}

/**
 * Opens the log in one SQLite file, and creates it when it is not there. What is answered, read or handed over is on the disk: a power
 * cut takes nothing of it. One process writes; any number may read and follow at the same time.
 * @throws OperationalError `log_unavailable`; `log_unreadable` when the file is something else
 */
export async function openSqliteEventLog(options: SqliteEventLogOptions): Promise<EventLog> {
  const log = new SqliteEventLog(options);
  try {
    await log.settle();
  } catch (error) {
    await log[Symbol.asyncDispose]();
    throw error;
  }
  return log;
}

class SqliteEventLog implements EventLog {
  readonly #database: DatabaseSyncInstance;
  readonly #statements: Statements;
  readonly #sync: WalSync;
  readonly #listeners = new Set<() => void>();
  readonly #tails = new Set<Tail>();
  #pending: PendingAppend[] = [];
  /** By their revision: each tail of this process reads the same records, and a commit is decoded once for a record, or never when it is our own. */
  readonly #recent = new Map<Revision, StoredRecord>();
  /** Revisions that follow on each other, and were all appended here. */
  #own = { first: 0, last: 0 };
  #closed = false;

  constructor({ path, onFailure, sync }: SqliteEventLogOptions) {
    const database = guarded('open', () => openDatabase(path));
    const listener = {
      durable: () => this.#tellListeners(),
      failed: (failure: OperationalError) => onFailure?.(failure),
    };
    try {
      this.#sync = guarded('open', () => new WalSync(walOf(database), listener, sync));
    } catch (error) {
      database.close();
      throw error;
    }
    this.#database = database;
    this.#statements = prepare(database);
  }

  /** Resolves when what an earlier process has left is on the disk. */
  async settle(): Promise<void> {
    try {
      // Written anew, and not only synced: after a sync that failed the system may say of the same pages that they are on the disk.
      guarded('open', () => this.#database.exec('PRAGMA wal_checkpoint(PASSIVE)'));
    } catch (error) {
      if (!isOperational(error, 'log_full')) throw error;
    }
    await this.#sync.until(this.#head());
  }

  async append(
    commits: readonly NewCommit[],
    expected: Revision,
  ): Promise<readonly AppendResult[]> {
    this.#assertOpen();
    const batch = encodeBatch(commits);
    return new Promise((resolve, reject) => {
      // Appends of one turn of the event loop share one transaction.
      if (this.#pending.length === 0) setImmediate(() => void this.#flush());
      this.#pending.push({ batch, expected, resolve, reject });
    });
  }

  async read(after: Revision, limit: number): Promise<readonly RecordedCommit[]> {
    this.#assertOpen();
    await this.#sync.until(Math.min(after + limit, this.#head()));
    return this.#records(after, limit).map(decodeRecord);
  }

  async head(): Promise<Revision> {
    this.#assertOpen();
    const head = this.#head();
    await this.#sync.until(head);
    return head;
  }

  follow(options: FollowOptions): Tail {
    this.#assertOpen();
    let version: number | undefined;
    const source = {
      unchanged: () => {
        this.#assertWorks(); // A tail that is at the head does not go on saying so.
        const before = version;
        version = this.#version();
        return version === before;
      },
      records: (after: Revision, limit: number) => this.#records(after, limit),
      head: () => this.#toldHead(),
      subscribe: (listener: () => void) => {
        this.#listeners.add(listener);
        return () => {
          this.#listeners.delete(listener);
          this.#tails.delete(tail);
        };
      },
      pollMs: FOLLOW_POLL_MS,
    };
    const tail: Tail = new PullTail(source, options);
    this.#tails.add(tail);
    return tail;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#tails].map((tail) => tail[Symbol.asyncDispose]()));
    await this.#flush();
    await this.#sync[Symbol.asyncDispose]();
    this.#database.close();
  }

  async #flush(): Promise<void> {
    const pending = this.#pending;
    if (pending.length === 0) return;
    this.#pending = [];
    try {
      this.#assertWorks();
      const results = guarded('append', () => this.#transaction(pending));
      // Also what stored nothing: it may name a revision that is still on its way.
      await this.#sync.until(this.#head());
      for (const [index, one] of pending.entries()) one.resolve(results[index] ?? []);
    } catch (error) {
      for (const one of pending) one.reject(error as OperationalError); // `guarded` throws nothing else.
    }
  }

  #tellListeners(): void {
    for (const listener of this.#listeners) listener();
  }

  #transaction(pending: readonly PendingAppend[]): (readonly AppendResult[])[] {
    const statements = this.#statements;
    const stored: StoredRecord[] = [];
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const store = {
        head: () => this.#head(),
        revisionOf: (commitId: string) => {
          const row = statements.find.get(commitId) as { revision: number } | undefined; // The column of the statement.
          return row?.revision;
        },
        put: (encoded: EncodedCommit) => {
          const revision = this.#head() + 1;
          statements.insert.run(revision, encoded.commit.commitId, encoded.bytes);
          stored.push(storedRecord(encoded, revision));
          return revision;
        },
      };
      const results = pending.map((one) => appendBatch(store, one.batch, one.expected));
      this.#database.exec('COMMIT');
      for (const record of stored) this.#appended(record);
      return results;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  #appended(record: StoredRecord): void {
    const { revision } = record;
    const first = revision === this.#own.last + 1 ? this.#own.first : revision;
    this.#own = { first, last: revision };
    this.#remember(record);
  }

  /**
   * The head for tails: without commits of our own that are not on the disk yet. Nobody was told of them, so who has everything before
   * them has everything. Commits of others may have been told by those.
   */
  #toldHead(): Revision {
    const head = this.#head();
    const { durable } = this.#sync;
    const { first, last } = this.#own;
    return head > durable && first <= durable + 1 && last >= head ? durable : head;
  }

  #head(): Revision {
    return guarded('read', () => {
      const row = this.#statements.head.get() as { head: number }; // An aggregate has one row.
      return row.head;
    });
  }

  /** Changes with every transaction of another connection. */
  #version(): number {
    return guarded('read', () => {
      const row = this.#statements.version.get() as { data_version: number }; // Of a pragma that always answers.
      return row.data_version;
    });
  }

  /**
   * What follows on a revision and is on the disk. For what is not it asks: the listeners are told when it is.
   *
   * INVARIANT: nobody sees a commit before. What a reader makes of it, the file of a read model for one, may reach the disk first, and
   * would then know of a commit that the log has lost.
   */
  #records(after: Revision, limit: number): StoredRecord[] {
    this.#assertWorks();
    const { durable } = this.#sync;
    this.#sync.until(this.#head()).catch(() => undefined); // Told by `failure`.
    return guarded('read', () => {
      const known = this.#knownAfter(after, durable, limit);
      if (known.length > 0) return known;
      // The columns of the statement.
      const rows = this.#statements.read.all(after, durable, limit) as StoredRecord[];
      return rows.map((row) => this.#known(row));
    });
  }

  /** What is there right behind a revision and was read or written a moment ago: it need not be read again, a commit never changes. */
  #knownAfter(after: Revision, last: Revision, limit: number): StoredRecord[] {
    if (!this.#recent.has(after + 1)) return [];
    const most = Math.min(limit, RECENT_RECORDS_MAX);
    const found = this.#statements.revisions.all(after, last, most);
    const records: StoredRecord[] = [];
    for (const { revision } of found as { revision: Revision }[]) {
      const record = this.#recent.get(revision);
      if (record === undefined || revision !== after + records.length + 1) break;
      records.push(record);
    }
    return records;
  }

  #known(row: StoredRecord): StoredRecord {
    const known = this.#recent.get(row.revision);
    if (known?.text === row.text) return known;
    this.#remember(row);
    return row;
  }

  #remember(record: StoredRecord): void {
    this.#recent.set(record.revision, record);
    const oldest = this.#recent.keys().next();
    if (this.#recent.size > RECENT_RECORDS_MAX && oldest.done !== true) {
      this.#recent.delete(oldest.value);
    }
  }

  #assertWorks(): void {
    if (this.#sync.failure !== undefined) throw this.#sync.failure;
  }

  #assertOpen(): void {
    if (this.#closed) throw new OperationalError('log_unavailable', 'the log is closed');
  }
}

type Statements = ReturnType<typeof prepare>;

function prepare(database: DatabaseSyncInstance) {
  return {
    version: database.prepare('PRAGMA data_version'),
    head: database.prepare('SELECT coalesce(max(revision), 0) AS head FROM commits'),
    find: database.prepare('SELECT revision FROM commits WHERE commit_id = ?'),
    // Its bytes are those of the text: handed over as a text they would be made a second time.
    insert: database.prepare(
      'INSERT INTO commits (revision, commit_id, record) VALUES (?, ?, CAST(? AS TEXT))',
    ),
    revisions: database.prepare(
      'SELECT revision FROM commits WHERE revision BETWEEN ? + 1 AND ? ORDER BY revision LIMIT ?',
    ),
    read: database.prepare(
      'SELECT revision, record AS text FROM commits WHERE revision BETWEEN ? + 1 AND ? ORDER BY revision LIMIT ?',
    ),
  };
}

function openDatabase(path: string): DatabaseSyncInstance {
  const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    database.exec(`PRAGMA page_size = ${PAGE_BYTES}`); // Of a new file, before its journal mode is set.
    // A commit is written, and brought to the disk by `WalSync`. The driver itself syncs what it needs to put the log into the file.
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;');
    if (isEmpty(database)) create(database);
    const version = pragma(database, 'user_version');
    if (pragma(database, 'application_id') !== APPLICATION_ID || version !== SCHEMA_VERSION) {
      throw new OperationalError(
        'log_unreadable',
        `${path} is no log of version ${SCHEMA_VERSION}`,
      );
    }
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** As SQLite has named it: a symbolic link leads to another name. It is there since the schema was read, until the connection is closed. */
function walOf(database: DatabaseSyncInstance): string {
  const sql = "SELECT file FROM pragma_database_list WHERE name = 'main'";
  const { file } = database.prepare(sql).get() as { file: string }; // The column of the statement; the database is in a file.
  return `${file}-wal`;
}

function create(database: DatabaseSyncInstance): void {
  database.exec('BEGIN IMMEDIATE');
  // Another process may have been first.
  if (isEmpty(database)) database.exec(SCHEMA);
  database.exec('COMMIT');
}

function pragma(database: DatabaseSyncInstance, name: 'user_version' | 'application_id'): number {
  const row = database.prepare(`PRAGMA ${name}`).get() as Record<string, number>; // Both are one integer.
  return row[name] ?? 0;
}

function isEmpty(database: DatabaseSyncInstance): boolean {
  return database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined;
}

/** `SQLITE_CORRUPT` and `SQLITE_NOTADB`: the content is wrong, and trying again does not help. */
const UNREADABLE_ERRCODES: readonly unknown[] = [11, 26];

/** `SQLITE_FULL`: nothing was stored, and may be once there is space. */
const FULL_ERRCODE = 13;

/** `all` of the driver tells no code, only the text that SQLite has for it. */
const ERRCODES: ReadonlyMap<string, number> = new Map([
  ['database disk image is malformed', 11],
  ['database or disk is full', FULL_ERRCODE],
  ['file is not a database', 26],
]);

function errcodeOf(error: unknown): unknown {
  if (!(error instanceof Error)) return undefined;
  return 'errcode' in error ? error.errcode : ERRCODES.get(error.message);
}

/** Driver errors do not cross the port. */
function guarded<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof OperationalError) throw error;
    const errcode = errcodeOf(error);
    const code = UNREADABLE_ERRCODES.includes(errcode)
      ? 'log_unreadable'
      : errcode === FULL_ERRCODE
        ? 'log_full'
        : 'log_unavailable';
    throw new OperationalError(code, `the log file failed to ${what}`, { cause: error });
  }
}
