import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { isOperational, type OperationalError } from '@sallyport/errors';
import { persistenceContract } from '../test-support/contract.ts';
import { modelContract } from '../test-support/model-contract.ts';
import {
  loneBroker,
  message,
  session,
  sessionContract,
  type StoreOptions,
} from '../test-support/session-contract.ts';
import { PROBE_INTERVAL_MS } from './group-commit.ts';
import type { SessionStore } from './session-store.ts';
import { openDatabase } from './sqlite-database.ts';
import { SqliteSessionStore } from './sqlite-store.ts';
import { openSqliteSessionStore } from './sqlite.ts';

let folder: string;
let count = 0;
const opened: SessionStore[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-sessions-'));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((store) => store.destroy()));
});
afterAll(() => rm(folder, { recursive: true }));

const newPath = (): string => join(folder, `${++count}.sqlite`);

async function open(path = newPath(), options: StoreOptions = {}): Promise<SessionStore> {
  const store = await openSqliteSessionStore({ path, synchronous: 'normal', ...options });
  opened.push(store);
  return store;
}

/** A store whose disk can be made to fail. */
function openOn(path: string) {
  const database = openDatabase({ path, synchronous: 'normal' });
  const problems: OperationalError[] = [];
  const onProblem = (problem: OperationalError): void => void problems.push(problem);
  const store = SqliteSessionStore.open(database, { onProblem });
  opened.push(store);
  return { database, store, problems };
}

const will = { topic: 'w', payload: Buffer.from([0, 0xff]) };
const subscription = { topic: 'a/+', qos: 1 as const, rh: 1, rap: true, nl: false };
const { now } = session('c');

async function failureOf(answer: unknown): Promise<OperationalError> {
  const failure: unknown = await Promise.resolve(answer).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!isOperational(failure, 'session_store_unavailable')) throw new Error('no such failure');
  return failure;
}

describe('the SQLite store under the contracts', () => {
  persistenceContract(() => open());

  const openEmpty = async (options?: StoreOptions) => {
    const store = await open(newPath(), options);
    await store.setup(loneBroker);
    return store;
  };
  sessionContract(openEmpty);
  modelContract(openEmpty);
});

describe('the SQLite store, opened again', () => {
  test('has everything that it had', async () => {
    const path = newPath();
    const before = await open(path);
    await before.setup(loneBroker);
    const stays = await before.openSession(session('stays', { will, nodeId: 'dead' }));
    const waits = await before.openSession(session('waits', { will, willDelaySeconds: 5 }));
    await before.closeSession({
      clientId: 'waits',
      epoch: waits.epoch,
      now,
      expirySeconds: 9,
      will: 'keep',
    });
    const never = await before.openSession(session('never'));
    const expirySeconds = 0xffff_ffff;
    await before.closeSession({
      clientId: 'never',
      epoch: never.epoch,
      now,
      expirySeconds,
      will: 'keep',
    });
    await before.addSubscriptions({ id: 'stays' }, [
      subscription,
      { topic: '$share/g/a/b', qos: 0, subscriptionIdentifier: 3 },
    ]);
    for (const number of [1, 2, 3, 4]) {
      await before.outgoingEnqueueCombi([{ clientId: 'stays' }], message(number), {
        clientId: 'stays',
        messageId: number,
      });
    }
    await before.outgoingUpdate({ id: 'stays' }, message(1, { messageId: 11 }));
    await before.outgoingUpdate({ id: 'stays' }, message(2, { messageId: 12 }));
    await before.outgoingUpdate({ id: 'stays' }, { cmd: 'pubrel', messageId: 12 });
    await before.incomingDelPacket({ id: 'stays' }, { messageId: 2 });
    await before.storeRetained(message(1, { topic: 'r/1' }));
    await before.putWill({ id: 'k' }, will);
    const queue = await before.readQueue('stays', { after: 0, limit: 9 });
    await before.destroy();

    const after = await open(path);
    await after.setup(loneBroker);
    expect(await after.readQueue('stays', { after: 0, limit: 9 })).toEqual(queue);
    expect(await after.incomingIds('stays')).toEqual([1, 3, 4]);
    expect(await after.subscriptionsByTopic('a/b')).toEqual([
      { clientId: 'stays', ...subscription },
    ]);
    expect(after.sharedSubscriptionsByTopic('a/b')).toMatchObject([{ subscriptionIdentifier: 3 }]);
    expect(await after.retainedMessages(['#'], 0)).toMatchObject([{ topic: 'r/1' }]);
    expect(after.retainedCount).toBe(1);
    expect(await after.getWill({ id: 'k' })).toEqual(will);
    await after.recoverSessions({ nodeId: 'dead', now });
    expect(await after.claimDue({ now, limit: 9 })).toMatchObject([
      { kind: 'will', will, record: { clientId: 'stays' } },
    ]);
    expect(await after.claimDue({ now: now + 5000, limit: 9 })).toMatchObject([
      { kind: 'will', will, record: { clientId: 'waits' } },
    ]);
    const ended = await after.claimDue({ now: now + 100_000, limit: 9 });
    expect(ended.map(({ record }) => record.clientId)).toEqual(['waits', 'stays']);
    const again = await after.openSession(session('stays'));
    expect(again.epoch).toBeGreaterThan(Math.max(stays.epoch, waits.epoch, never.epoch));
    await after.outgoingEnqueue({ clientId: 'never' }, message(9));
    const [entry] = await after.readQueue('never', { after: 0, limit: 1 });
    expect(entry?.position).toBeGreaterThan(queue.at(-1)?.position ?? Infinity);
  });

  test('counts what is in its queues', async () => {
    const path = newPath();
    const before = await open(path);
    await before.openSession(session('c'));
    await before.outgoingEnqueue({ clientId: 'c' }, message(1));
    await before.destroy();
    const limits = { queueMessagesMax: 2, queueBytesMax: 1000 };
    const after = await open(path, { limits });
    for (const number of [2, 3]) await after.outgoingEnqueue({ clientId: 'c' }, message(number));
    expect(await after.readQueue('c', { after: 0, limit: 9 })).toHaveLength(2);
  });

  test('has forgotten what no session owns', async () => {
    const path = newPath();
    const before = await open(path);
    await before.addSubscriptions({ id: 'c' }, [subscription]);
    await before.outgoingEnqueueCombi([{ clientId: 'c' }], message(1), {
      clientId: 'c',
      messageId: 1,
    });
    await before.destroy();
    const after = await open(path);
    expect(await after.subscriptionsByTopic('a/b')).toEqual([]);
    expect(await after.readQueue('c', { after: 0, limit: 9 })).toEqual([]);
    expect(await after.incomingIds('c')).toEqual([]);
  });

  test('is refused while it is open', async () => {
    const path = newPath();
    const first = await open(path);
    const failure = await failureOf(openSqliteSessionStore({ path }));
    expect(failure.message).toContain('another process has it open');
    await first.destroy();
    const second = await open(path);
    expect(second.connected).toBe(true);
  });
});

describe('a file that is no session store', () => {
  test.each([
    ['text', (path: string) => writeFileSync(path, 'x'.repeat(8192)), 'no database'],
    [
      'another database',
      (path: string) => {
        const database = new DatabaseSync(path);
        database.exec('CREATE TABLE other (id INTEGER)');
        database.close();
      },
      'no session store',
    ],
    ['a folder that is not there', () => undefined, 'cannot be opened'],
  ])('is refused: %s', async (what, make, words) => {
    const path = what.startsWith('a folder') ? join(folder, 'none', 'x.sqlite') : newPath();
    make(path);
    const failure = await failureOf(openSqliteSessionStore({ path }));
    expect(failure.message).toContain(words);
  });

  test('is refused: a damaged one', async () => {
    const path = newPath();
    const before = await open(path);
    for (let number = 0; number < 50; number++) {
      await before.openSession(session(`c${number}`, { will }));
      await before.addSubscriptions({ id: `c${number}` }, [subscription]);
    }
    await before.destroy();
    const bytes = readFileSync(path);
    // The first page, which names the tables, stays; all others are noise.
    for (let at = 4096; at < bytes.length; at++) bytes[at] = (at * 7919) & 0xff;
    writeFileSync(path, bytes);
    const failure = await failureOf(openSqliteSessionStore({ path }));
    expect(failure.message).toContain('damaged');
  });
});

describe('when the disk fails', () => {
  test('a full disk refuses all of the turn, memory follows, and it works again with room', async () => {
    const { database, store, problems } = openOn(newPath());
    await store.openSession(session('c'));
    await store.addSubscriptions({ id: 'c' }, [subscription]);
    await store.outgoingEnqueue({ clientId: 'c' }, message(1));
    const pages = (database.prepare('PRAGMA page_count').get() as { page_count: number })
      .page_count;
    database.exec(`PRAGMA max_page_count = ${pages + 4}`);
    const results = await Promise.allSettled([
      store.addSubscriptions({ id: 'c' }, [{ topic: 'b', qos: 1 }]),
      store.outgoingEnqueueCombi([{ clientId: 'c' }], message(2), { clientId: 'c', messageId: 5 }),
      store.openSession(session('d')),
      store.storeRetained(message(3, { payload: Buffer.alloc(100_000) })),
      store.outgoingClearMessageId({ id: 'c' }, { messageId: 77 }),
    ]);
    for (const result of results) {
      expect(
        isOperational(result.status === 'rejected' && result.reason, 'session_store_unavailable'),
      ).toBe(true);
    }
    expect(store.connected).toBe(false);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.message).toContain('the disk is full');
    expect(await store.subscriptionsByTopic('b')).toEqual([]);
    expect(await store.subscriptionsByTopic('a/b')).toHaveLength(1);
    expect(store.retainedCount).toBe(0);
    expect(await store.incomingIds('c')).toEqual([]);
    expect(await store.readQueue('c', { after: 0, limit: 9 })).toHaveLength(1);
    await failureOf(store.outgoingEnqueue({ clientId: 'c' }, message(4))); // At once.
    database.exec('PRAGMA max_page_count = 1000000');
    await expect.poll(() => store.connected).toBe(true);
    await store.storeRetained(message(3, { payload: Buffer.alloc(100_000) }));
    await store.outgoingEnqueue({ clientId: 'c' }, message(5));
    const queue = await store.readQueue('c', { after: 0, limit: 9 });
    expect(queue.map(({ packet }) => packet.brokerCounter)).toEqual([1, 5]);
    expect(await store.openSession(session('d'))).toMatchObject({ present: false });
    expect(problems).toHaveLength(1);
  });

  test('a commit that fails refuses everything that waited for it', async () => {
    const { database, store } = openOn(newPath());
    await store.openSession(session('c'));
    const failing = vi.spyOn(database, 'exec').mockImplementation((sql) => {
      if (sql === 'COMMIT') throw Object.assign(new Error('disk I/O error'), { errcode: 1034 });
      return DatabaseSync.prototype.exec.call(database, sql);
    });
    const opening = store.openSession(session('c', { nodeId: 'node-2' }));
    const writes = [
      store.outgoingEnqueue({ clientId: 'c' }, message(1)),
      store.addSubscriptions({ id: 'c' }, [subscription]),
    ];
    // Reads see what the turn has written.
    expect(await store.readQueue('c', { after: 0, limit: 9 })).toHaveLength(1);
    const [failure] = await Promise.all([opening, ...writes].map(failureOf));
    expect(failure?.message).toContain('the disk failed');
    expect(await store.readQueue('c', { after: 0, limit: 9 })).toEqual([]);
    expect(await store.subscriptionsByTopic('a/b')).toEqual([]);
    failing.mockRestore();
    await expect.poll(() => store.connected).toBe(true);
    expect(await store.openSession(session('c'))).toMatchObject({
      present: true,
      previousNodeId: 'node-1',
    });
  });

  test('a file that cannot be read either keeps routing, and is read again when it can', async () => {
    const { database, store } = openOn(newPath());
    await store.openSession(session('c'));
    await store.addSubscriptions({ id: 'c' }, [subscription]);
    const failing = vi.spyOn(database, 'exec').mockImplementation(() => {
      throw Object.assign(new Error('disk I/O error'), { errcode: 10 });
    });
    await failureOf(store.addSubscriptions({ id: 'c' }, [{ topic: 'b', qos: 1 }]));
    expect(await store.subscriptionsByTopic('a/b')).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 1.5 * PROBE_INTERVAL_MS));
    expect(store.connected).toBe(false);
    failing.mockRestore();
    await expect.poll(() => store.connected).toBe(true);
    await store.addSubscriptions({ id: 'c' }, [{ topic: 'b', qos: 1 }]);
    expect(await store.subscriptionsByTopic('b')).toHaveLength(1);
  });

  test('a closed store answers so', async () => {
    const store = await open();
    await store.openSession(session('c'));
    const last = store.outgoingEnqueue({ clientId: 'c' }, message(1));
    await store.destroy();
    await store.destroy();
    await last; // It had been asked before.
    expect(store.connected).toBe(false);
    const failure = await failureOf(store.outgoingEnqueue({ clientId: 'c' }, message(2)));
    expect(failure.message).toContain('closed');
    await failureOf(store.readQueue('c', { after: 0, limit: 1 }));
  });
});

describe('transactions', () => {
  test('the writes of one turn of the event loop share one', async () => {
    const { database, store } = openOn(newPath());
    const commits = vi.spyOn(database, 'exec');
    await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        store.outgoingEnqueue({ clientId: `c${index}` }, message(index)),
      ),
    );
    expect(commits.mock.calls.map(([sql]) => sql)).toEqual(['BEGIN IMMEDIATE', 'COMMIT']);
  });

  test('what changes nothing needs none: a clean connection, an acknowledgement of nothing', async () => {
    const { database, store } = openOn(newPath());
    const commits = vi.spyOn(database, 'exec');
    await store.openSession(session('c', { cleanStart: true, expirySeconds: 0 }));
    await store.outgoingClearMessageId({ id: 'c' }, { messageId: 1 });
    await store.closeSession({ clientId: 'c', epoch: 1, now, expirySeconds: 0, will: 'keep' });
    await store.dropSession({ clientId: 'c' });
    await store.claimDue({ now, limit: 9 });
    await store.cleanIncoming({ id: 'c' });
    await store.storeRetained(message(1, { payload: Buffer.alloc(0) }));
    expect(commits).not.toHaveBeenCalled();
  });

  test('a clean connection is answered at once, but not before what was written before it', async () => {
    const { store } = openOn(newPath());
    const clean = session('c', { cleanStart: true, expirySeconds: 0 });
    expect(store.openSession(clean)).toMatchObject({ present: false });
    expect(store.openSession(session('kept'))).toBeInstanceOf(Promise);
    const order: string[] = [];
    const written = store.addSubscriptions({ id: 'kept' }, [subscription]);
    void written.then(() => order.push('written'));
    const later = store.openSession(clean);
    expect(later).toBeInstanceOf(Promise);
    await Promise.resolve(later).then(() => order.push('clean'));
    expect(order).toEqual(['written', 'clean']);
    await store.destroy();
    const refusal = await failureOf(store.openSession(clean));
    expect(isOperational(refusal, 'session_store_unavailable')).toBe(true);
  });

  test('a large body of many queues is stored once, and goes with the last of them', async () => {
    const { database, store } = openOn(newPath());
    const everyone = ['a', 'b', 'c'].map((clientId) => ({ clientId }));
    const payload = Buffer.alloc(5000, 'x');
    await store.outgoingEnqueueCombi(everyone, message(1, { payload }));
    const bodies = () => database.prepare('SELECT owners FROM bodies').all();
    expect(bodies()).toEqual([{ owners: 3 }]);
    await store.outgoingUpdate({ id: 'a' }, message(1, { messageId: 1 }));
    expect(await store.outgoingClearMessageId({ id: 'a' }, { messageId: 1 })).toMatchObject({
      payload,
    });
    await store.dropSession({ clientId: 'b' });
    expect(bodies()).toEqual([{ owners: 1 }]);
    expect(await store.readQueue('c', { after: 0, limit: 1 })).toMatchObject([
      { packet: { payload } },
    ]);
    await store.removeQueued('c', { brokerId: 'broker', brokerCounter: 1 });
    expect(bodies()).toEqual([]);
  });

  test('the file does not grow with what has gone', async () => {
    const path = newPath();
    const store = await open(path);
    for (let number = 1; number <= 200; number++) {
      await store.outgoingEnqueue(
        { clientId: 'c' },
        message(number, { payload: Buffer.alloc(50_000) }),
      );
      await store.removeQueued('c', { brokerId: 'broker', brokerCounter: number });
    }
    await store.destroy();
    expect(statSync(path).size).toBeLessThan(1_000_000);
  });
});
