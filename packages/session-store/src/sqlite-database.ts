// The only file of this package that knows the driver: it has the API of `node:sqlite`, so a newer Node replaces these lines.
import {
  DatabaseSync,
  type DatabaseSyncInstance,
  type StatementSyncInstance,
} from '@photostructure/sqlite';
import { OperationalError } from '@sallyport/errors';

export type Database = DatabaseSyncInstance;
export type Statement = StatementSyncInstance;

export type Value = string | number | Uint8Array | null;

/** The first row; `Row` are the columns that the statement names. */
export function firstRow<Row>(statement: Statement, ...values: Value[]): Row | undefined {
  return statement.get(...values) as Row | undefined; // The driver cannot know them.
}

/** All rows; `Row` are the columns that the statement names. */
export function allRows<Row>(statement: Statement, ...values: Value[]): Row[] {
  return statement.all(...values) as Row[]; // As above.
}

/** How long an open waits for a process that is about to let the file go. */
export const BUSY_TIMEOUT_MS = 1000;

/** Marks the file as a session store of this program (`PRAGMA application_id`): "SPSS". */
const APPLICATION_ID = 0x53505353;
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE sessions (
    client TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    ends_at REAL, -- Milliseconds; infinite for never; null while a node has it open.
    record TEXT NOT NULL,
    will BLOB
  ) STRICT;
  CREATE TABLE wills (
    epoch INTEGER PRIMARY KEY,
    due_at REAL NOT NULL,
    record TEXT NOT NULL,
    will BLOB NOT NULL
  ) STRICT;
  CREATE TABLE subscriptions (
    client TEXT NOT NULL,
    filter TEXT NOT NULL,
    options TEXT NOT NULL,
    PRIMARY KEY (client, filter)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE queue (
    position INTEGER PRIMARY KEY,
    client TEXT NOT NULL,
    broker TEXT NOT NULL,
    counter INTEGER NOT NULL,
    state INTEGER NOT NULL, -- 0 queued, 1 sent, 2 released.
    message_id INTEGER,
    bytes INTEGER NOT NULL,
    delivery TEXT NOT NULL,
    body BLOB, -- Or the number of one that several queues share.
    shared INTEGER
  ) STRICT;
  CREATE INDEX queue_client ON queue (client, position, bytes);
  CREATE INDEX queue_message ON queue (client, counter);
  CREATE INDEX queue_number ON queue (client, message_id) WHERE message_id IS NOT NULL;
  CREATE TABLE bodies (
    id INTEGER PRIMARY KEY,
    owners INTEGER NOT NULL,
    body BLOB NOT NULL
  ) STRICT;
  CREATE TRIGGER bodies_release AFTER DELETE ON queue WHEN old.shared IS NOT NULL BEGIN
    UPDATE bodies SET owners = owners - 1 WHERE id = old.shared;
    DELETE FROM bodies WHERE id = old.shared AND owners < 1;
  END;
  CREATE TABLE incoming (
    client TEXT NOT NULL,
    message_id INTEGER NOT NULL,
    packet BLOB,
    PRIMARY KEY (client, message_id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE retained (
    topic TEXT PRIMARY KEY,
    expiry REAL,
    body BLOB NOT NULL
  ) STRICT;
  CREATE INDEX retained_expiry ON retained (expiry) WHERE expiry IS NOT NULL;
  CREATE TABLE connection_wills (
    client TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    will BLOB NOT NULL
  ) STRICT;
  CREATE TABLE probe (
    id INTEGER PRIMARY KEY,
    filler BLOB NOT NULL
  ) STRICT;
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** Came after the first files of this version, and means nothing to what does not know it. */
const ADDED = `
  CREATE TABLE IF NOT EXISTS secret_uses (
    credential TEXT NOT NULL,
    secret TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (credential, secret)
  ) STRICT, WITHOUT ROWID;
`;

export interface DatabaseOptions {
  readonly path: string;
  readonly synchronous: 'full' | 'normal';
}

/**
 * Opens the file, and creates it when it is not there. It is ours alone until it is closed.
 * @throws OperationalError `session_store_unavailable` when another process has it, or it is something else or damaged
 */
export function openDatabase({ path, synchronous }: DatabaseOptions): Database {
  return guarded(`cannot be opened (${path})`, () => {
    const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    try {
      // Exclusive before the first access: then the index of the WAL is in memory, and no other process gets in.
      database.exec('PRAGMA locking_mode = EXCLUSIVE');
      database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}`);
      database.exec('BEGIN IMMEDIATE');
      if (isEmpty(database)) database.exec(SCHEMA);
      database.exec('COMMIT');
      checkIdentity(database, path);
      database.exec(ADDED);
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

/** Lets the file go; never throws. The driver keeps a closed connection alive for its statements, until they are collected, and its lock with it. */
export function closeDatabase(database: Database): void {
  try {
    // Out of the WAL, because a lock that was taken for it stays; then the next access lets go.
    database.exec(`
      PRAGMA journal_mode = DELETE;
      PRAGMA locking_mode = NORMAL;
      SELECT 1 FROM sqlite_schema;
    `);
  } catch {
    // A file that is broken: it goes with the process.
  }
  database.close();
}

function checkIdentity(database: Database, path: string): void {
  const identity = [pragma(database, 'application_id'), pragma(database, 'user_version')];
  if (identity[0] === APPLICATION_ID && identity[1] === SCHEMA_VERSION) return;
  throw new OperationalError(
    'session_store_unavailable',
    `${path} is no session store of version ${SCHEMA_VERSION}`,
  );
}

function pragma(database: Database, name: 'user_version' | 'application_id'): number {
  const row = firstRow<Record<string, number>>(database.prepare(`PRAGMA ${name}`));
  return row?.[name] ?? 0;
}

function isEmpty(database: Database): boolean {
  return database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined;
}

/** What SQLite means, for operators. */
const REASONS: Readonly<Record<number, string>> = {
  5: 'another process has it open',
  10: 'the disk failed',
  11: 'it is damaged',
  13: 'the disk is full',
  26: 'it is no database',
};

/** Driver errors do not cross the port. */
export function sqliteFailure(what: string, error: unknown): OperationalError {
  if (error instanceof OperationalError) return error;
  const errcode = error instanceof Error && 'errcode' in error ? Number(error.errcode) : 0;
  const reason = REASONS[errcode & 0xff]; // The low byte is the primary code.
  return new OperationalError(
    'session_store_unavailable',
    `the file of the session store ${what}${reason === undefined ? '' : `: ${reason}`}`,
    { cause: error },
  );
}

export function guarded<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw sqliteFailure(what, error);
  }
}
