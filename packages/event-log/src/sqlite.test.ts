import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeEventLogContract } from './contract.ts';
import type { EventLog } from './event-log.ts';
import { openSqliteEventLog } from './sqlite.ts';
import { commitOf, commitsOf } from './testing/commits.ts';
import { codeOf, Reader } from './testing/reader.ts';

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

describe('The SQLite log', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sallyport-log-'));
    path = join(folder, 'log.sqlite');
  });
  afterEach(() => rm(folder, { recursive: true }));

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
