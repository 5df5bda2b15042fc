import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { OperationalError } from '@sallyport/errors';
import type {
  AuthChain,
  Ban,
  BanIndex,
  Credential,
  DecisionReads,
  Revision,
} from '@sallyport/domain';
import {
  type DecisionModel,
  type EventLog,
  nextHash,
  type RecordedCommit,
  type Tail,
} from '@sallyport/event-log';
import { attributes as keys, setGauge, withSpan } from '@sallyport/telemetry';
import type { Lists, Snapshot } from './lists.ts';
import { SCHEMA, SCHEMA_VERSION } from './schema.ts';
import { type Database, DatabaseSync } from './sqlite.ts';
import { SqliteLists } from './sqlite-lists.ts';
import { SqliteSnapshot } from './sqlite-snapshot.ts';
import { Tables } from './tables.ts';

/** Most commits of one transaction of the fold; the event loop is held for as long as one takes. */
export const FOLD_COMMITS_MAX = 256;

/** Most snapshots that are open at the same time. */
export const SNAPSHOTS_MAX = 8;

/** How much of the file is mapped into memory at most; what lies beyond is read. */
const MAPPED_BYTES_MAX = 2 ** 31;

/** Pages of 4 KiB in the write-ahead log after which they are written to the file. */
const CHECKPOINT_PAGES = 8_000;

interface Checkpoint {
  readonly revision: Revision;
  readonly hash: string;
  /** Digest of the newest commit, to find that the log's record at `revision` is the one that was folded. */
  readonly digest: string;
}

interface Waiter {
  readonly revision: Revision;
  readonly resolve: () => void;
  readonly reject: (failure: OperationalError) => void;
  readonly timer: NodeJS.Timeout;
}

export interface ReadModelOptions {
  /** File of the SQLite database; made with its folder when absent. One process at a time. */
  readonly path: string;
  readonly log: EventLog;
  /** The fold has stopped for good. Answers stay those of the last revision; the process should say that it is not ready. */
  readonly onFailure: (failure: OperationalError) => void;
}

/** The log folded into SQLite, and kept at its head. */
export class ReadModel implements DecisionModel, AsyncDisposable {
  readonly #db: Database;
  readonly #lock: Database;
  readonly #tables: Tables;
  readonly #path: string;
  readonly #snapshots = new Set<Snapshot>();
  readonly lists: Lists;
  readonly #waiters = new Set<Waiter>();
  #checkpoint: Checkpoint;
  #tail: Tail | undefined;
  #failure: OperationalError | undefined;

  private constructor(path: string, { db, lock, checkpoint }: Opened) {
    this.#path = path;
    this.#db = db;
    this.#lock = lock;
    this.#checkpoint = checkpoint;
    this.#tables = new Tables(db);
    this.lists = new SqliteLists(db);
  }

  /**
   * Opens or makes the file, checks that the log still holds what was folded, and folds up to the log's present head.
   * @throws OperationalError `log_truncated`, `log_diverged`, `log_unreadable`, `log_unavailable`, `read_model_unavailable`
   */
  static async open(options: ReadModelOptions): Promise<ReadModel> {
    const model = new ReadModel(options.path, openDatabase(options.path));
    try {
      await model.#start(options);
    } catch (error) {
      await model[Symbol.asyncDispose]();
      throw error;
    }
    return model;
  }

  async #start({ log, onFailure }: ReadModelOptions): Promise<void> {
    await checkContinuity(log, this.#checkpoint);
    const head = await log.head();
    const failed = new Promise<never>((_resolve, reject) => {
      this.#tail = log.follow({
        after: this.#checkpoint.revision,
        onCommits: (commits) => this.#fold(commits),
        onFailure: (failure) => {
          this.#fail(failure);
          reject(failure);
          onFailure(failure);
        },
      });
    });
    failed.catch(() => undefined); // Told through onFailure once the start is over.
    await Promise.race([failed, this.#reached(head)]);
  }

  get revision(): Revision {
    return this.#checkpoint.revision;
  }

  /** Running hash of the log at `revision`. */
  get hash(): string {
    return this.#checkpoint.hash;
  }

  get failure(): OperationalError | undefined {
    return this.#failure;
  }

  /** When the model was last known to be at the log's head, as `performance.now()`. */
  get confirmedAt(): number {
    return this.#tail?.confirmedAt ?? -Infinity;
  }

  get reads(): DecisionReads {
    return this.#tables;
  }

  /** Credentials of every store that are found under a login key; one indexed lookup. */
  credentialsByLogin(key: string): readonly Credential[] {
    return this.#tables.credentialsByLogin(key);
  }

  /** A chain of authenticators; from memory. */
  authChain(scope: string): AuthChain | undefined {
    return this.#tables.authChain(scope);
  }

  /** Every ban that is stored, those that have run out included. */
  bans(): readonly Ban[] {
    return this.#tables.bans();
  }

  /** Who is banned; not to be changed. Held in memory. */
  get banIndex(): BanIndex {
    return this.#tables.banIndex;
  }

  /** @throws OperationalError `read_model_unavailable` past `SNAPSHOTS_MAX`, or when the file cannot be read */
  snapshot(): Snapshot {
    if (this.#snapshots.size >= SNAPSHOTS_MAX) {
      throw new OperationalError('read_model_unavailable', `${SNAPSHOTS_MAX} snapshots are open`);
    }
    try {
      const snapshot = new SqliteSnapshot(this.#path, () => this.#snapshots.delete(snapshot));
      this.#snapshots.add(snapshot);
      return snapshot;
    } catch (cause) {
      throw new OperationalError('read_model_unavailable', 'no snapshot', { cause });
    }
  }

  commitRevision(commitId: string): Revision | undefined {
    return this.#tables.commitRevision(commitId);
  }

  /** @throws OperationalError `policy_not_ready` after `timeoutMs`, or what stopped the fold */
  waitFor(revision: Revision, timeoutMs: number): Promise<void> {
    if (this.revision >= revision) return Promise.resolve();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        const behind = `revision ${revision} was not reached in ${timeoutMs} ms; at ${this.revision}`;
        reject(new OperationalError('policy_not_ready', behind));
      }, timeoutMs);
      const waiter: Waiter = { revision, resolve, reject, timer };
      this.#waiters.add(waiter);
    });
  }

  /** Like `waitFor` without an end; a long replay takes as long as it takes. */
  #reached(revision: Revision): Promise<void> {
    if (this.revision >= revision) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setInterval(() => undefined, 2 ** 30); // Keeps the shape of a waiter; never fires in practice.
      this.#waiters.add({ revision, resolve, reject, timer });
    });
  }

  async #fold(commits: readonly RecordedCommit[]): Promise<void> {
    for (let start = 0; start < commits.length; start += FOLD_COMMITS_MAX) {
      // Between two transactions others may run, so that a long replay does not stop the process.
      if (start > 0) await new Promise((resolve) => setImmediate(resolve));
      this.#foldBatch(commits.slice(start, start + FOLD_COMMITS_MAX));
    }
  }

  #foldBatch(commits: readonly RecordedCommit[]): void {
    let { revision, hash, digest } = this.#checkpoint;
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      for (const commit of commits) {
        this.#applyTraced(commit);
        ({ revision, digest } = commit);
        hash = nextHash(hash, digest);
      }
      this.#db
        .prepare('UPDATE meta SET revision = ?, hash = ?, digest = ? WHERE id = 1')
        .run(revision, hash, digest);
      this.#db.exec('COMMIT');
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      this.#tables.forget();
      throw error;
    }
    this.#checkpoint = { revision, hash, digest };
    setGauge('sallyport.log.revision', revision, {});
    this.#wake();
  }

  #applyTraced(commit: RecordedCommit): void {
    if (commit.traceparent === undefined) {
      this.#tables.apply(commit);
      return;
    }
    const attributes = { [keys.revision]: commit.revision };
    const options = { attributes, parent: commit.traceparent };
    withSpan('log.fold', options, () => this.#tables.apply(commit));
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      if (waiter.revision > this.revision) continue;
      clearTimeout(waiter.timer);
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }

  #fail(failure: OperationalError): void {
    this.#failure = failure;
    for (const waiter of this.#waiters) {
      clearTimeout(waiter.timer);
      waiter.reject(failure);
    }
    this.#waiters.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tail?.[Symbol.asyncDispose]();
    this.#fail(new OperationalError('read_model_unavailable', 'the read model is closed'));
    for (const snapshot of this.#snapshots) snapshot[Symbol.dispose]();
    if (this.#db.isOpen) this.#db.close();
    if (!this.#lock.isOpen) return;
    this.#lock.exec('ROLLBACK');
    this.#lock.close();
  }
}

interface Opened {
  readonly db: Database;
  /** Holds a lock for as long as it is open; the system gives it back when the process dies. */
  readonly lock: Database;
  readonly checkpoint: Checkpoint;
}

function openDatabase(path: string): Opened {
  try {
    mkdirSync(dirname(path), { recursive: true });
    const lock = new DatabaseSync(`${path}.lock`);
    lock.exec('BEGIN EXCLUSIVE');
    const existing = openExisting(path);
    let { db } = existing;
    let { checkpoint } = existing;
    if (db === undefined || checkpoint === undefined) {
      // Absent, of another version, damaged, or not ours: the log has everything, so nothing is lost.
      db?.close();
      for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
      db = connect(path);
      db.exec(SCHEMA);
      db.prepare('INSERT INTO meta VALUES (1, ?, 0, ?, ?)').run(SCHEMA_VERSION, '', '');
      checkpoint = { revision: 0, hash: '', digest: '' };
    }
    return { db, lock, checkpoint };
  } catch (cause) {
    const why = `cannot use ${path}; is another process using it?`;
    throw new OperationalError('read_model_unavailable', why, { cause });
  }
}

/** @source sqlite.org/rescode.html: SQLITE_CORRUPT, SQLITE_NOTADB */
const DAMAGED: ReadonlySet<number> = new Set([11, 26]);

function openExisting(path: string): { db?: Database; checkpoint?: Checkpoint | undefined } {
  let db: Database | undefined;
  try {
    db = connect(path);
    return { db, checkpoint: readCheckpoint(db) };
  } catch (error) {
    const { errcode = 0 } = error as { readonly errcode?: number };
    if (!DAMAGED.has(errcode & 0xff)) throw error;
    return db === undefined ? {} : { db };
  }
}

function connect(path: string): Database {
  const db = new DatabaseSync(path);
  // A crash may lose the newest transactions, never mix them; they are folded again from the log.
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;');
  // A hot page that is changed by many transactions is written to the file once, not for each thousand pages.
  db.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  // A lookup among a million credentials touches pages all over the file: mapped, it costs a third less.
  db.exec(`PRAGMA mmap_size = ${MAPPED_BYTES_MAX}`);
  return db;
}

function readCheckpoint(db: Database): Checkpoint | undefined {
  const found: unknown = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'meta'").get();
  if (found === undefined) return undefined;
  const meta = db.prepare('SELECT * FROM meta WHERE id = 1').get() as
    (Checkpoint & { schema_version: number }) | undefined; // The columns of SCHEMA.
  if (meta?.schema_version !== SCHEMA_VERSION) return undefined;
  const { revision, hash, digest } = meta;
  return { revision, hash, digest };
}

/** Nobody goes backwards: the log must still hold the commit that the checkpoint names, byte for byte. */
async function checkContinuity(log: EventLog, checkpoint: Checkpoint): Promise<void> {
  if (checkpoint.revision === 0) return;
  const head = await log.head();
  if (head < checkpoint.revision) {
    throw new OperationalError(
      'log_truncated',
      `the log ends at revision ${head}, and ${checkpoint.revision} was folded before`,
    );
  }
  const [commit] = await log.read(checkpoint.revision - 1, 1);
  if (commit?.digest !== checkpoint.digest) {
    throw new OperationalError(
      'log_diverged',
      `the log's record at revision ${checkpoint.revision} is not the one that was folded`,
    );
  }
}
