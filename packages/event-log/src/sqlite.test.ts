import { randomUUID } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeEventLogContract } from './contract.ts';
import { type AppendResult, type EventLog } from './event-log.ts';
import { FOLLOW_POLL_MS, openSqliteEventLog } from './sqlite.ts';
import { commitOf, commitsOf } from './testing/commits.ts';
import { codeOf, type Deferred, deferred, Reader } from './testing/reader.ts';

describeEventLogContract('The SQLite log', {
  restarts: false,
  start: async (records) => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-log-'));
    const path = join(folder, 'log.sqlite');
    const handles: EventLog[] = [await openSqliteEventLog({ path })];
    if (records.length > 0) {
      const database = new DatabaseSync(path);
      const insert = database.prepare('INSERT INTO commits (commit_id, record) VALUES (?, ?)');
      for (const record of records) insert.run(randomUUID(), record);
      database.close();
    }
    return {
      open: async () => {
        const handle = await openSqliteEventLog({ path });
        handles.push(handle);
        return handle;
      },
      [Symbol.asyncDispose]: async () => {
        for (const handle of handles) await handle[Symbol.asyncDispose]();
        await rm(folder, { recursive: true });
      },
    };
  },
});

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-log-'));
  path = join(folder, 'log.sqlite');
});
afterEach(() => rm(folder, { recursive: true }));

describe('The SQLite log', () => {
  it('refuses a file that is another database', async () => {
    const database = new DatabaseSync(path);
    database.exec('CREATE TABLE other (id INTEGER)');
    database.close();
    expect(await codeOf(openSqliteEventLog({ path }))).toBe('log_unreadable');
  });

  it('refuses a file that is no database', async () => {
    await writeFile(path, 'x'.repeat(8192));
    expect(await codeOf(openSqliteEventLog({ path }))).toBe('log_unreadable');
  });

  it('refuses a path that cannot be opened', async () => {
    expect(await codeOf(openSqliteEventLog({ path: join(folder, 'no', 'log') }))).toBe(
      'log_unavailable',
    );
  });

  it('lets nobody change or take away a commit', async () => {
    await using log = await openSqliteEventLog({ path });
    await log.append([commitOf('a')], 0);
    const database = new DatabaseSync(path);
    expect(() => database.exec('DELETE FROM commits')).toThrow('append-only');
    expect(() => database.exec("UPDATE commits SET record = ''")).toThrow('append-only');
    database.close();
  });

  it('stops when a record is missing', async () => {
    await using log = await openSqliteEventLog({ path });
    await log.append(commitsOf('a', 3), 0);
    const database = new DatabaseSync(path);
    database.exec('DROP TRIGGER commits_deny_delete; DELETE FROM commits WHERE revision = 2');
    database.close();
    await using reader = new Reader(log, 0);
    expect((await reader.failed).message).toContain('revision 2 is missing');
    expect(reader.ids).toEqual(['a-0']);
  });

  it('says that a damaged file cannot be read, and not that it is away', async () => {
    const first = await openSqliteEventLog({ path });
    await first.append(commitsOf('a', 200), 0);
    await first[Symbol.asyncDispose]();
    const log = await openSqliteEventLog({ path });
    for (const name of [path, `${path}-wal`]) {
      if (!existsSync(name)) continue;
      const bytes = readFileSync(name);
      const file = openSync(name, 'r+');
      writeSync(file, bytes.fill(0x5a, 4096), 0, bytes.length, 0);
      closeSync(file);
    }
    expect(await codeOf(log.read(0, 200))).toBe('log_unreadable');
    expect(await codeOf(log.append([commitOf('b')], 200))).toBe('log_unreadable');
    await log[Symbol.asyncDispose]();
  });

  it('keeps commits, and the memory of their ids, over a restart', async () => {
    await using first = await openSqliteEventLog({ path });
    await first.append(commitsOf('a', 3), 0);
    await first[Symbol.asyncDispose]();
    await using second = await openSqliteEventLog({ path });
    expect(await second.append([commitOf('a-1')], 3)).toEqual([
      { status: 'appended', revision: 2, duplicate: true },
    ]);
    await using reader = new Reader(second, 1);
    await reader.count(2);
    expect(reader.ids).toEqual(['a-1', 'a-2']);
  });

  it('stores what was asked for before it was closed', async () => {
    const log = await openSqliteEventLog({ path });
    const appended = log.append([commitOf('a')], 0);
    await log[Symbol.asyncDispose]();
    expect(await appended).toEqual([{ status: 'appended', revision: 1, duplicate: false }]);
  });

  it('decides appends of one turn one after the other', async () => {
    await using log = await openSqliteEventLog({ path });
    const results = await Promise.all([
      log.append([commitOf('a')], 0),
      log.append([commitOf('b')], 0),
      log.append([commitOf('c')], 1),
    ]);
    expect(results.flat().map((one) => one.status)).toEqual(['appended', 'conflict', 'appended']);
  });

  it('stops a follower when the file is an older copy of the log', async () => {
    await using log = await openSqliteEventLog({ path });
    await log.append(commitsOf('a', 3), 0);
    await using reader = new Reader(log, 0);
    await reader.count(3);
    const database = new DatabaseSync(path);
    database.exec('DROP TRIGGER commits_deny_delete; DELETE FROM commits WHERE revision > 1');
    database.close();
    expect((await reader.failed).code).toBe('log_truncated');
  });
});

const stored = (revision: number): AppendResult[] => [
  { status: 'appended', revision, duplicate: false },
];

/** Lets everything happen that needs no disk. */
async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A disk that takes what it is given when it is told to. */
class SlowDisk {
  /** Syncs that were asked for. */
  syncs = 0;
  slow = false;
  failure: Error | undefined;
  #gate: Deferred = deferred();

  readonly sync = async (descriptor: number): Promise<void> => {
    this.syncs++;
    if (this.slow) await this.#gate.promise;
    if (this.failure !== undefined) throw this.failure;
    fdatasyncSync(descriptor);
  };

  /** Ends the sync that is under way. */
  take(): void {
    this.#gate.resolve();
    this.#gate = deferred();
  }
}

describe('A commit of the SQLite log that is not on the disk yet', () => {
  let disk: SlowDisk;
  let log: EventLog;
  beforeEach(async () => {
    disk = new SlowDisk();
    log = await openSqliteEventLog({ path, sync: disk.sync });
    await log.append([commitOf('a')], 0);
    disk.slow = true;
    disk.syncs = 0;
  });
  afterEach(() => log[Symbol.asyncDispose]());

  it('is not answered, not read, not handed over and not the head', async () => {
    await using reader = new Reader(log, 0);
    await reader.count(1);
    const told: string[] = [];
    const appended = log.append([commitOf('b')], 1).then(() => told.push('append'));
    await turns();
    const head = log.head().then((revision) => told.push(`head ${revision}`));
    const read = log.read(1, 1).then(([commit]) => told.push(`read ${commit?.commitId}`));
    await turns();
    expect(told).toEqual([]);
    expect(reader.ids).toEqual(['a']);
    // Nobody was told of it, so who has what is before it has everything.
    await reader.confirmed();
    await using late = new Reader(log, 1);
    await late.confirmed();
    expect(await log.read(0, 1)).toMatchObject([{ commitId: 'a' }]);
    disk.take();
    await Promise.all([appended, head, read, reader.count(2)]);
    expect(told.sort()).toEqual(['append', 'head 2', 'read b']);
    expect(disk.syncs).toBe(1);
  });

  it('is not named by a refusal or a repetition either', async () => {
    const told: string[] = [];
    const appends = [
      log.append([commitOf('b')], 1),
      turns(1).then(() => log.append([commitOf('late')], 1)),
      turns(2).then(() => log.append([commitOf('b')], 1)),
    ].map(async (append, index) => {
      told.push(`${index} ${(await append)[0]?.status}`);
    });
    await turns();
    expect(told).toEqual([]);
    disk.take();
    await Promise.all(appends);
    expect(told).toEqual(['0 appended', '1 conflict', '2 appended']);
    expect(disk.syncs).toBe(1);
  });

  it('does not hold up those behind it, which share the next sync, and all are answered in order', async () => {
    const told: number[] = [];
    const append = async (revision: number): Promise<void> => {
      expect(await log.append([commitOf(`c-${revision}`)], revision - 1)).toEqual(stored(revision));
      told.push(revision);
    };
    const appends: Promise<void>[] = [];
    for (const revision of [2, 3, 4, 5]) {
      appends.push(append(revision));
      await turns();
    }
    expect(disk.syncs).toBe(1);
    disk.take();
    await turns();
    expect([told, disk.syncs]).toEqual([[2], 2]);
    disk.take();
    await Promise.all(appends);
    expect([told, disk.syncs]).toEqual([[2, 3, 4, 5], 2]);
  });

  it('is waited for when the log is closed', async () => {
    const appended = log.append([commitOf('b')], 1);
    let closed = false;
    const closing = log[Symbol.asyncDispose]().then(() => (closed = true));
    await turns();
    expect(closed).toBe(false);
    disk.take();
    await closing;
    expect(await appended).toEqual(stored(2));
  });

  it('is not handed over by another handle before that has synced it itself', async () => {
    const other = new SlowDisk();
    await using second = await openSqliteEventLog({ path, sync: other.sync });
    await using reader = new Reader(second, 0);
    await reader.count(1);
    other.slow = true;
    const appended = log.append([commitOf('b')], 1);
    await turns();
    disk.take();
    await appended;
    const { confirmedAt } = reader.tail;
    await new Promise((resolve) => setTimeout(resolve, 4 * FOLLOW_POLL_MS));
    expect(reader.ids).toEqual(['a']);
    // It is told by the other one: who does not have it does not have everything.
    expect(reader.tail.confirmedAt).toBe(confirmedAt);
    other.take();
    await reader.count(2);
    await reader.confirmed();
  });

  it('ends the use of the log when the disk fails: nothing is answered, and no sync is tried again', async () => {
    await log[Symbol.asyncDispose]();
    disk.slow = false;
    const failures: string[] = [];
    log = await openSqliteEventLog({
      path,
      sync: disk.sync,
      onFailure: (failure) => failures.push(failure.code),
    });
    await using reader = new Reader(log, 0);
    await reader.count(1);
    disk.slow = true;
    const appends = [
      log.append([commitOf('b')], 1),
      turns(1).then(() => log.append([commitOf('c')], 2)),
    ].map(codeOf);
    const reading = [codeOf(log.head()), codeOf(turns(2).then(() => log.head()))];
    await turns();
    disk.failure = Object.assign(new Error('i/o error'), { code: 'EIO' });
    disk.take();
    expect(await Promise.all(appends)).toEqual(['log_unavailable', 'log_unavailable']);
    expect(await Promise.all(reading)).toEqual(['no failure', 'log_unavailable']);
    expect(failures).toEqual(['log_unavailable']);
    disk.slow = false;
    disk.failure = undefined;
    disk.syncs = 0;
    const { confirmedAt } = reader.tail;
    expect(await codeOf(log.append([commitOf('d')], 3))).toBe('log_unavailable');
    expect(await codeOf(log.head())).toBe('log_unavailable');
    expect(await codeOf(log.read(0, 1))).toBe('log_unavailable');
    await new Promise((resolve) => setTimeout(resolve, 2 * FOLLOW_POLL_MS));
    expect([reader.ids, reader.failures, reader.tail.confirmedAt]).toEqual([['a'], 0, confirmedAt]);
    expect([failures.length, disk.syncs]).toEqual([1, 0]);
    // What had not been answered may be there or not; nothing came after it.
    await using again = await openSqliteEventLog({ path });
    expect(await again.head()).toBe(3);
  });
});

describe('A power cut', () => {
  let copies = 0;
  function copied(): string {
    const copy = join(folder, `copy-${copies++}`);
    mkdirSync(copy);
    for (const end of ['', '-wal']) {
      copyFileSync(`${path}${end}`, join(copy, `log.sqlite${end}`));
    }
    return join(copy, 'log.sqlite');
  }
  const headOf = (file: string): number => {
    const database = new DatabaseSync(file);
    const row = database.prepare('SELECT max(revision) AS head FROM commits').get();
    database.close();
    return (row as { head: number }).head; // The column of the statement.
  };

  it('takes nothing away that was answered, read or handed over', async () => {
    let onDisk = '';
    // What was there when a sync began is on the disk when it has ended.
    const sync = async (): Promise<void> => {
      const copy = copied();
      await turns(3);
      onDisk = copy;
    };
    const behind: string[] = [];
    const check = (what: string, revision: number): void => {
      if (revision > 0 && !(headOf(onDisk) >= revision)) behind.push(`${what} ${revision}`);
    };
    await using log = await openSqliteEventLog({ path, sync });
    await using reader = new Reader(log, 0, (commits) => {
      check('handed over', commits.at(-1)?.revision ?? 0);
    });
    const appends: Promise<void>[] = [];
    for (let revision = 1; revision <= 40; revision++) {
      const appended = log.append([commitOf(`c-${revision}`)], revision - 1);
      appends.push(
        appended.then((results) => {
          expect(results).toEqual(stored(revision));
          check('answered', revision);
        }),
        log.head().then((head) => check('head', head)),
        log.read(revision - 2, 5).then((read) => check('read', read.at(-1)?.revision ?? 0)),
      );
      await turns(revision % 3);
    }
    await Promise.all([...appends, reader.count(40)]);
    expect(behind).toEqual([]);
  });

  it('after a restart takes nothing away that the process before has left in the write-ahead log', async () => {
    const before = await openSqliteEventLog({ path });
    await before.append(commitsOf('a', 3), 0);
    const killed = copied();
    await before[Symbol.asyncDispose]();
    const disk = new SlowDisk();
    await using log = await openSqliteEventLog({ path: killed, sync: disk.sync });
    expect(disk.syncs).toBe(1);
    // Without the write-ahead log: the system may hold pages of it that never get to the disk.
    const file = join(folder, 'file.sqlite');
    copyFileSync(killed, file);
    expect(headOf(file)).toBe(3);
    expect(await log.head()).toBe(3);
  });

  it('is nothing that a log behind a symbolic link has to fear either', async () => {
    const other = join(folder, 'other');
    await mkdir(other);
    await symlink(join(other, 'real.sqlite'), path);
    await using log = await openSqliteEventLog({ path });
    expect(await log.append([commitOf('a')], 0)).toEqual(stored(1));
    expect(existsSync(join(other, 'real.sqlite-wal'))).toBe(true);
  });
});
