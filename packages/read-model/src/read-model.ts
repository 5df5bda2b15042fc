import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { assert, OperationalError } from '@sallyport/errors';
import type {
  AuthChain,
  Ban,
  BanIndex,
  Credential,
  DecisionReads,
  Revision,
  Settings,
} from '@sallyport/domain';
import {
  type DecisionModel,
  type EventLog,
  nextHash,
  type RecordedCommit,
  type Tail,
} from '@sallyport/event-log';
import { attributes as keys, count, setGauge, withSpan } from '@sallyport/telemetry';
import type { Lists, Snapshot } from './lists.ts';
import { LIST_INDEXES, SCHEMA, SCHEMA_VERSION } from './schema.ts';
import { type Connection, Database, DatabaseSync, isDamage } from './sqlite.ts';
import { SqliteLists } from './sqlite-lists.ts';
import { SqliteSnapshot } from './sqlite-snapshot.ts';
import { Tables } from './tables.ts';

/** Most commits of one transaction of the fold; the event loop is held for as long as one takes. */
export const FOLD_COMMITS_MAX = 256;
/** Events after which no further commit joins a transaction: a commit of an import has hundreds. */
export const FOLD_EVENTS_MAX = 1_000;

/** Most snapshots that are open at the same time. */
export const SNAPSHOTS_MAX = 8;

/** Pause before the disk is tried again, and before a repair is. */
const RETRY_MS = 500;

/**
 * How much of the file is mapped into memory at most; what lies beyond is read. What is mapped counts as the process' own memory as soon
 * as it was looked at, and a process with a million credentials is to stay below a gibibyte.
 */
const MAPPED_BYTES_MAX = 768 * 2 ** 20;

/** Pages that are kept in memory: those at the ends of the indexes are written once a transaction, and not read again for each. */
const CACHE_KIB = 32 * 1024;

/** A search looks at every entry of an index: of few large pages it takes a tenth less time than of many small ones. */
const PAGE_BYTES = 16 * 1024;

/** Pages in the write-ahead log after which they are written to the file. */
const CHECKPOINT_PAGES = 2_000;

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
  /** It is the repair that waits. */
  readonly repairing?: true;
}

export interface ReadModelOptions {
  /** File of the SQLite database; made with its folder when absent. One process at a time. */
  readonly path: string;
  readonly log: EventLog;
  /** The fold has stopped for good. Answers stay those of the last revision; the process should say that it is not ready. */
  readonly onFailure: (failure: OperationalError) => void;
  /** Something is wrong with the file or its disk; it is being put right (`trouble`). */
  readonly onTrouble?: (trouble: OperationalError) => void;
  /** False where nobody asks for `lists`: their indexes are not kept then. A file that was kept the other way is made anew. */
  readonly lists?: boolean;
}

/** The log folded into SQLite, and kept at its head. A file that turns out to be damaged is made anew from the log. */
export class ReadModel implements DecisionModel, AsyncDisposable {
  readonly #options: ReadModelOptions;
  readonly #lock: Connection;
  readonly #snapshots = new Set<Snapshot>();
  readonly #waiters = new Set<Waiter>();
  #file: File;
  #checkpoint: Checkpoint;
  #tail: Tail | undefined;
  #failure: OperationalError | undefined;
  #trouble: OperationalError | undefined;
  /** The file is damaged: nothing is answered from it. */
  #repair: Promise<void> | undefined;
  #closed = false;

  private constructor(options: ReadModelOptions, lock: Connection) {
    this.#options = options;
    this.#lock = lock;
    const file = this.#openFile();
    this.#file = file;
    this.#checkpoint = file.checkpoint;
  }

  /**
   * Opens or makes the file, checks that the log still holds what was folded, and folds up to the log's present head.
   * @throws OperationalError `log_truncated`, `log_diverged`, `log_unreadable`, `log_unavailable`, `read_model_unavailable`
   */
  static async open(options: ReadModelOptions): Promise<ReadModel> {
    const model = opening(options.path, () => new ReadModel(options, takeLock(options.path)));
    try {
      await checkContinuity(options.log, model.#checkpoint);
      await model.#follow();
      model.#probe();
      await model.#repair;
      if (model.#failure !== undefined) throw model.#failure;
    } catch (error) {
      await model[Symbol.asyncDispose]();
      throw error;
    }
    return model;
  }

  #openFile(): File {
    return openFile(this.#options, (failure) => this.#damaged(failure));
  }

  /** Folds from the checkpoint on. Resolves at what is the log's head now. */
  async #follow(): Promise<void> {
    const { log, onFailure } = this.#options;
    const head = await log.head();
    const failed = new Promise<never>((_resolve, reject) => {
      this.#tail = log.follow({
        after: this.#checkpoint.revision,
        onCommits: (commits) => this.#fold(commits),
        onFailure: (failure) => {
          reject(failure);
          // What stops the fold of a damaged file is the damage.
          if (this.#file.damage !== undefined || this.#closed) return;
          this.#fail(failure);
          onFailure(failure);
        },
      });
    });
    failed.catch(() => undefined); // Told through onFailure once the start is over.
    await Promise.race([failed, this.#reached(head)]);
  }

  /** Looks into every table, so that a file that is damaged all over is not found out by whoever comes first. */
  #probe(): void {
    try {
      const { db } = this.#file;
      const names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
      for (const { name } of names as { name: string }[]) {
        db.prepare(`SELECT * FROM "${name}" LIMIT 1`).all();
      }
    } catch (error) {
      if (this.#file.damage === undefined) throw error;
    }
  }

  /** Called in the middle of whatever has found it out. */
  #damaged(failure: OperationalError): void {
    this.#tell('damaged', failure);
    // At once: if the process does not live to see the repair, the next one begins with a new file.
    removeFile(this.#options.path);
    this.#repair ??= Promise.resolve().then(() => this.#rebuild());
  }

  /** Throws the file away and folds the log into a new one. Ends with the model at the log's head, or closed. */
  async #rebuild(): Promise<void> {
    const known = this.#checkpoint;
    for (let attempt = 0; !this.#closed; attempt++) {
      if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      try {
        await this.#tail?.[Symbol.asyncDispose]();
        this.#file.db.close();
        // Nobody goes backwards, also not by way of a new file.
        await checkContinuity(this.#options.log, known);
        removeFile(this.#options.path);
        const file = this.#openFile();
        this.#file = file;
        this.#checkpoint = file.checkpoint;
        await this.#follow();
        break;
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        if (this.#failure !== undefined) break;
        if (!error.retryable) {
          this.#fail(error);
          this.#options.onFailure(error);
          break;
        }
      }
    }
    this.#repair = undefined;
    if (this.#failure === undefined) this.#trouble = undefined;
    this.#wake();
  }

  #tell(reason: 'damaged' | 'disk', trouble: OperationalError): void {
    if (this.#trouble?.message === trouble.message) return;
    this.#trouble = trouble;
    count('sallyport.read_model.troubles', { reason });
    this.#options.onTrouble?.(trouble);
  }

  get revision(): Revision {
    return this.#checkpoint.revision;
  }

  /** Running hash of the log at `revision`. */
  get hash(): string {
    return this.#checkpoint.hash;
  }

  /** Why the fold has stopped for good. */
  get failure(): OperationalError | undefined {
    return this.#failure;
  }

  /** What is wrong for now, and is being put right: nothing new can be folded, or nothing read. */
  get trouble(): OperationalError | undefined {
    return this.#trouble;
  }

  /** When the model was last known to be at the log's head, as `performance.now()`. */
  get confirmedAt(): number {
    return this.#tail?.confirmedAt ?? -Infinity;
  }

  /** Not to be kept: another object after a repair. @throws OperationalError `read_model_unavailable` during one */
  get reads(): DecisionReads {
    return this.#usable.tables;
  }

  /** The same. Not there for a model that was opened without them. */
  get lists(): Lists {
    assert(this.#options.lists !== false, 'the model keeps lists');
    return this.#usable.lists;
  }

  get #usable(): File {
    if (this.#repair !== undefined && this.#trouble !== undefined) throw this.#trouble;
    return this.#file;
  }

  /** Credentials of every store that are found under login keys, in their order; an indexed lookup for each. */
  credentialsByLogin(...keys: readonly string[]): readonly Credential[] {
    return this.#usable.tables.credentialsByLogin(...keys);
  }

  /** So many credentials, or all that there are, from everywhere among them; a lookup for each. */
  someCredentials(count: number): readonly Credential[] {
    return this.#usable.tables.someCredentials(count);
  }

  /** Credentials of every store that match by a pattern, in the order in which they are tried; from memory. */
  patternCredentials(): readonly Credential[] {
    return this.#usable.tables.patternCredentials();
  }

  /** From memory. */
  settings(): Settings {
    return this.#usable.tables.settings();
  }

  /** A chain of authenticators; from memory. */
  authChain(scope: string): AuthChain | undefined {
    return this.#usable.tables.authChain(scope);
  }

  /** Every ban that is stored, those that have run out included. */
  bans(): readonly Ban[] {
    return this.#usable.tables.bans();
  }

  /** Who is banned; not to be changed. Held in memory. */
  get banIndex(): BanIndex {
    return this.#usable.tables.banIndex;
  }

  /** @throws OperationalError `read_model_unavailable` past `SNAPSHOTS_MAX`, or when the file cannot be read */
  snapshot(): Snapshot {
    if (this.#snapshots.size >= SNAPSHOTS_MAX) {
      throw new OperationalError('read_model_unavailable', `${SNAPSHOTS_MAX} snapshots are open`);
    }
    try {
      const snapshot = new SqliteSnapshot(this.#options.path, () =>
        this.#snapshots.delete(snapshot),
      );
      this.#snapshots.add(snapshot);
      return snapshot;
    } catch (cause) {
      throw new OperationalError('read_model_unavailable', 'no snapshot', { cause });
    }
  }

  commitRevision(commitId: string): Revision | undefined {
    return this.#usable.tables.commitRevision(commitId);
  }

  /** @throws OperationalError `policy_not_ready` after `timeoutMs`, or what stopped the fold */
  waitFor(revision: Revision, timeoutMs: number): Promise<void> {
    if (this.#failure !== undefined && this.revision < revision) {
      return Promise.reject(this.#failure);
    }
    if (this.revision >= revision && this.#repair === undefined) return Promise.resolve();
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
      this.#waiters.add({ revision, resolve, reject, timer, repairing: true });
    });
  }

  async #fold(commits: readonly RecordedCommit[]): Promise<void> {
    for (let start = 0; start < commits.length;) {
      // Between two transactions others may run, so that a long replay does not stop the process.
      if (start > 0) await new Promise((resolve) => setImmediate(resolve));
      const end = endOfBatch(commits, start);
      await this.#foldSurely(commits.slice(start, end));
      start = end;
    }
  }

  /** Until the disk takes it: the file has its space back then, and the log still has the commits. */
  async #foldSurely(commits: readonly RecordedCommit[]): Promise<void> {
    for (;;) {
      try {
        this.#foldBatch(commits);
        if (this.#repair === undefined) this.#trouble = undefined;
        return;
      } catch (error) {
        const refused =
          error instanceof OperationalError && error.code === 'read_model_unavailable';
        if (!refused || this.#file.damage !== undefined || this.#closed) throw error;
        this.#tell('disk', error);
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  #foldBatch(commits: readonly RecordedCommit[]): void {
    let { revision, hash, digest } = this.#checkpoint;
    const { db } = this.#file;
    db.exec('BEGIN IMMEDIATE');
    try {
      for (const commit of commits) {
        this.#applyTraced(commit);
        ({ revision, digest } = commit);
        hash = nextHash(hash, digest);
      }
      db.prepare('UPDATE meta SET revision = ?, hash = ?, digest = ? WHERE id = 1').run(
        revision,
        hash,
        digest,
      );
      db.exec('COMMIT');
    } catch (error) {
      this.#undo();
      throw error;
    }
    this.#checkpoint = { revision, hash, digest };
    setGauge('sallyport.log.revision', revision, {});
    this.#wake();
  }

  /** Takes back what was not committed, in the file and in memory. */
  #undo(): void {
    const { db, tables } = this.#file;
    try {
      if (db.isTransaction) db.exec('ROLLBACK');
      tables.forget();
    } catch (error) {
      // What memory holds may be of no revision at all.
      db.damaged(error);
    }
  }

  #applyTraced(commit: RecordedCommit): void {
    if (commit.traceparent === undefined) {
      this.#file.tables.apply(commit);
      return;
    }
    const attributes = { [keys.revision]: commit.revision };
    const options = { attributes, parent: commit.traceparent };
    withSpan('log.fold', options, () => this.#file.tables.apply(commit));
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      if (waiter.revision > this.revision) continue;
      if (this.#repair !== undefined && waiter.repairing !== true) continue;
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
    this.#closed = true;
    this.#fail(new OperationalError('read_model_unavailable', 'the read model is closed'));
    await this.#repair;
    await this.#tail?.[Symbol.asyncDispose]();
    for (const snapshot of this.#snapshots) snapshot[Symbol.dispose]();
    this.#file.db.close();
    if (!this.#lock.isOpen) return;
    this.#lock.exec('ROLLBACK');
    this.#lock.close();
  }
}

/** Index behind the last commit of the transaction that begins with the one at `start`. */
function endOfBatch(commits: readonly RecordedCommit[], start: number): number {
  let events = 0;
  for (let end = start; end < commits.length; end++) {
    if (end - start >= FOLD_COMMITS_MAX || events >= FOLD_EVENTS_MAX) return end;
    events += commits[end]?.events.length ?? 0;
  }
  return commits.length;
}

/** The file as it is open now. */
interface File {
  readonly db: Database;
  readonly tables: Tables;
  readonly lists: Lists;
  /** As of the opening. */
  readonly checkpoint: Checkpoint;
  /** Set once it has turned out. */
  readonly damage: OperationalError | undefined;
}

function opening<T>(path: string, open: () => T): T {
  try {
    return open();
  } catch (cause) {
    const why = `cannot use ${path}; is another process using it?`;
    throw new OperationalError('read_model_unavailable', why, { cause });
  }
}

/** Held for as long as it is open; the system gives it back when the process dies. */
function takeLock(path: string): Connection {
  mkdirSync(dirname(path), { recursive: true });
  const lock = new DatabaseSync(`${path}.lock`);
  lock.exec('BEGIN EXCLUSIVE');
  return lock;
}

type FileOptions = Pick<ReadModelOptions, 'path' | 'lists'>;

function openFile(options: FileOptions, onDamage: (failure: OperationalError) => void): File {
  // Absent, of another version, damaged, or not ours: the log has everything, so nothing is lost.
  return openExisting(options, onDamage) ?? createFile(options, onDamage);
}

function removeFile(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
}

function createFile(
  { path, lists = true }: FileOptions,
  onDamage: (failure: OperationalError) => void,
): File {
  removeFile(path);
  const driver = connect(path);
  driver.exec(SCHEMA);
  if (lists) driver.exec(LIST_INDEXES);
  const meta = driver.prepare('INSERT INTO meta VALUES (1, ?, 0, ?, ?, ?)');
  meta.run(SCHEMA_VERSION, '', '', Number(lists));
  return fileOf(driver, { revision: 0, hash: '', digest: '' }, onDamage);
}

function openExisting(
  { path, lists = true }: FileOptions,
  onDamage: (failure: OperationalError) => void,
): File | undefined {
  let driver: Connection | undefined;
  let opened = false;
  try {
    driver = connect(path);
    const checkpoint = readCheckpoint(driver, lists);
    if (checkpoint !== undefined) {
      // While it is opened nobody has to be told.
      const file = fileOf(driver, checkpoint, (failure) => {
        if (opened) onDamage(failure);
      });
      opened = true;
      return file;
    }
  } catch (error) {
    const cause = error instanceof OperationalError ? error.cause : error;
    if (!isDamage(cause)) throw error;
  }
  driver?.close();
  return undefined;
}

function fileOf(
  driver: Connection,
  checkpoint: Checkpoint,
  onDamage: (failure: OperationalError) => void,
): File {
  let damage: OperationalError | undefined;
  const db = new Database(driver, (failure) => {
    damage = failure;
    onDamage(failure);
  });
  return {
    db,
    tables: new Tables(db),
    lists: new SqliteLists(db),
    checkpoint,
    get damage() {
      return damage;
    },
  };
}

function connect(path: string): Connection {
  const db = new DatabaseSync(path);
  db.exec(`PRAGMA page_size = ${PAGE_BYTES}`); // Of a new file, before its journal mode is set.
  // A crash may lose the newest transactions, never mix them; they are folded again from the log.
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;');
  // A hot page that is changed by many transactions is written to the file once, not for each thousand pages.
  db.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  db.exec(`PRAGMA cache_size = -${CACHE_KIB}`);
  // A lookup among a million credentials touches pages all over the file: mapped, it costs a third less.
  db.exec(`PRAGMA mmap_size = ${MAPPED_BYTES_MAX}`);
  return db;
}

function readCheckpoint(db: Connection, lists: boolean): Checkpoint | undefined {
  const found: unknown = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'meta'").get();
  if (found === undefined) return undefined;
  const meta = db.prepare('SELECT * FROM meta WHERE id = 1').get() as
    (Checkpoint & { schema_version: number; lists: number }) | undefined; // The columns of SCHEMA.
  if (meta?.schema_version !== SCHEMA_VERSION || meta.lists !== Number(lists)) return undefined;
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
