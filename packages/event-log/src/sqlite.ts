// The only file that knows the driver: it has the API of `node:sqlite`, so a newer Node replaces this one line.
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import type { NewCommit, Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { appendBatch, type EncodedCommit, encodeBatch } from './append-batch.ts';
import type { AppendResult, EventLog, FollowOptions, RecordedCommit, Tail } from './event-log.ts';
import { PullTail } from './pull-tail.ts';
import { decodeRecord, storedRecord, type StoredRecord } from './record.ts';

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

/**
 * Opens the log in one SQLite file, and creates it when it is not there. An acknowledged commit is on the disk (WAL with
 * `synchronous=FULL`). One process writes; any number may read and follow at the same time.
 * @throws OperationalError `log_unavailable`; `log_unreadable` when the file is something else
 */
export async function openSqliteEventLog(options: { readonly path: string }): Promise<EventLog> {
  return new SqliteEventLog(options.path);
}

class SqliteEventLog implements EventLog {
  readonly #database: DatabaseSyncInstance;
  readonly #statements: Statements;
  readonly #listeners = new Set<() => void>();
  readonly #tails = new Set<Tail>();
  #pending: PendingAppend[] = [];
  /** By their revision: each tail of this process reads the same records, and a commit is decoded once for a record, or never when it is our own. */
  readonly #recent = new Map<Revision, StoredRecord>();
  #closed = false;

  constructor(path: string) {
    this.#database = guarded('open', () => openDatabase(path));
    this.#statements = prepare(this.#database);
  }

  async append(
    commits: readonly NewCommit[],
    expected: Revision,
  ): Promise<readonly AppendResult[]> {
    this.#assertOpen();
    const batch = encodeBatch(commits);
    return new Promise((resolve, reject) => {
      // Appends of one turn of the event loop share one transaction, and so one fsync.
      if (this.#pending.length === 0) setImmediate(() => this.#flush());
      this.#pending.push({ batch, expected, resolve, reject });
    });
  }

  async read(after: Revision, limit: number): Promise<readonly RecordedCommit[]> {
    this.#assertOpen();
    return this.#records(after, limit).map(decodeRecord);
  }

  async head(): Promise<Revision> {
    this.#assertOpen();
    return this.#head();
  }

  follow(options: FollowOptions): Tail {
    this.#assertOpen();
    let version: number | undefined;
    const source = {
      unchanged: () => {
        const before = version;
        version = this.#version();
        return version === before;
      },
      records: (after: Revision, limit: number) => this.#records(after, limit),
      head: () => this.#head(),
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
    this.#flush();
    this.#database.close();
  }

  #flush(): void {
    const pending = this.#pending;
    if (pending.length === 0) return;
    this.#pending = [];
    let results: (readonly AppendResult[])[];
    try {
      results = guarded('append', () => this.#transaction(pending));
    } catch (error) {
      for (const one of pending) one.reject(error as OperationalError); // `guarded` throws nothing else.
      return;
    }
    for (const [index, one] of pending.entries()) one.resolve(results[index] ?? []);
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
      for (const record of stored) this.#remember(record);
      return results;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
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

  #records(after: Revision, limit: number): StoredRecord[] {
    return guarded('read', () => {
      const known = this.#knownAfter(after, limit);
      // The columns of the statement.
      if (known.length > 0) return known;
      const rows = this.#statements.read.all(after, limit) as StoredRecord[];
      return rows.map((row) => this.#known(row));
    });
  }

  /** What is there right behind a revision and was read or written a moment ago: it need not be read again, a commit never changes. */
  #knownAfter(after: Revision, limit: number): StoredRecord[] {
    if (!this.#recent.has(after + 1)) return [];
    const found = this.#statements.revisions.all(after, Math.min(limit, RECENT_RECORDS_MAX));
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
      'SELECT revision FROM commits WHERE revision > ? ORDER BY revision LIMIT ?',
    ),
    read: database.prepare(
      'SELECT revision, record AS text FROM commits WHERE revision > ? ORDER BY revision LIMIT ?',
    ),
  };
}

function openDatabase(path: string): DatabaseSyncInstance {
  const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    database.exec(`PRAGMA page_size = ${PAGE_BYTES}`); // Of a new file, before its journal mode is set.
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
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
