import { encodeCommit, type NewCommit } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AppendResult, COMMIT_BYTES_MAX, type EventLog } from './event-log.ts';
import { digestOf } from './hash.ts';
import { FOLLOW_BATCH_COMMITS_MAX } from './record.ts';
import { commitOf, commitOfBytes, commitsOf } from './testing/commits.ts';
import { codeOf, deferred, Reader } from './testing/reader.ts';

/** One log under test, empty but for the records that it was started with. */
export interface EventLogUnderTest extends AsyncDisposable {
  /** One more handle on the same log. The suite does not dispose it; the log under test does. */
  open(): Promise<EventLog>;
  /** Ends the store and starts it again on the same data, while handles are open. */
  restart?(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

export interface EventLogSetup {
  /** Starts a log that holds these texts, unseen, as its first records. */
  start(records: readonly string[]): Promise<EventLogUnderTest>;
  /** Whether `restart` is there; known before a test starts. */
  readonly restarts: boolean;
}

/** What every event log has to do. Runs inside of vitest. */
export function describeEventLogContract(name: string, setup: EventLogSetup): void {
  describe(`${name} keeps the contract of an event log:`, () => {
    let underTest: EventLogUnderTest;
    let log: EventLog;
    const disposables: AsyncDisposable[] = [];

    const start = async (records: readonly string[]): Promise<void> => {
      underTest = await setup.start(records);
      log = await underTest.open();
    };
    const read = (after: number, onBatch?: ConstructorParameters<typeof Reader>[2]): Reader => {
      const reader = new Reader(log, after, onBatch);
      disposables.push(reader);
      return reader;
    };

    beforeEach(() => start([]));
    afterEach(async () => {
      for (const one of disposables.splice(0)) await one[Symbol.asyncDispose]();
      await underTest[Symbol.asyncDispose]();
    });
    const restartWith = async (records: readonly string[]): Promise<void> => {
      await underTest[Symbol.asyncDispose]();
      await start(records);
    };

    const suite: Suite = { log: () => log, underTest: () => underTest, read, restartWith };
    describeAppend(suite);
    describeIdempotency(suite);
    describeFollow(suite);
    describeFollowFailures(suite);
    if (setup.restarts) describeRestart(suite);
  });
}

interface Suite {
  log(): EventLog;
  underTest(): EventLogUnderTest;
  read(after: number, onBatch?: ConstructorParameters<typeof Reader>[2]): Reader;
  restartWith(records: readonly string[]): Promise<void>;
}

const stored = (...revisions: number[]): AppendResult[] =>
  revisions.map((revision) => ({ status: 'appended', revision, duplicate: false }));
const duplicates = (...revisions: number[]): AppendResult[] =>
  revisions.map((revision) => ({ status: 'appended', revision, duplicate: true }));
const conflicts = (head: number, count: number): AppendResult[] =>
  Array.from({ length: count }, () => ({ status: 'conflict', head }));

async function idsIn(log: EventLog): Promise<string[]> {
  return (await log.read(0, 10_000)).map((commit) => commit.commitId);
}

function describeAppend(suite: Suite): void {
  it('refuses a commit that expects an older head, and says the head', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 2), 0);
    expect(await log.append([commitOf('late')], 1)).toEqual(conflicts(2, 1));
    expect(await idsIn(log)).toEqual(['a-0', 'a-1']);
  });

  it('refuses a commit that expects a head still to come', async () => {
    const log = suite.log();
    expect(await log.append([commitOf('early')], 1)).toEqual(conflicts(0, 1));
    expect(await log.head()).toBe(0);
  });

  it('stores nothing of a batch after its first conflict', async () => {
    const log = suite.log();
    await log.append([commitOf('first')], 0);
    expect(await log.append(commitsOf('b', 3), 0)).toEqual(conflicts(1, 3));
    expect(await idsIn(log)).toEqual(['first']);
  });

  it('refuses a commit of more than COMMIT_BYTES_MAX, with its whole batch', async () => {
    const log = suite.log();
    const batch = [commitOf('small'), commitOfBytes('large', COMMIT_BYTES_MAX + 1)];
    expect(await codeOf(log.append(batch, 0))).toBe('commit_too_large');
    expect(await log.head()).toBe(0);
  });

  it('stores a commit of exactly COMMIT_BYTES_MAX', async () => {
    const log = suite.log();
    const commit = commitOfBytes('full', COMMIT_BYTES_MAX);
    expect(await log.append([commit], 0)).toEqual(stored(1));
    const [found] = await log.read(0, 1);
    expect(found?.reason).toBe(commit.reason);
  });

  it('refuses a commit id that is not visible ASCII, or longer than 128', async () => {
    const log = suite.log();
    for (const id of ['', 'a b', 'ä', 'a\nb', 'x'.repeat(129)]) {
      expect(await codeOf(log.append([commitOf(id)], 0))).toBe('invalid_request');
    }
    expect(await log.append([commitOf('x'.repeat(128)), commitOf('~!"#')], 0)).toEqual(
      stored(1, 2),
    );
  });

  it('counts revisions from 1, without gaps, and reads back what was stored', async () => {
    const log = suite.log();
    const batch: NewCommit[] = [
      commitOf('a', { reason: 'why', traceparent: '00-1-2-01', fingerprint: 'print' }),
      commitOf('b', { actor: { kind: 'operator', id: 'ö' } }),
    ];
    expect(await log.append(batch, 0)).toEqual(stored(1, 2));
    expect(await log.append([commitOf('c')], 2)).toEqual(stored(3));
    const expected = [...batch, commitOf('c')].map((commit, index) => ({
      ...commit,
      revision: index + 1,
      digest: digestOf(encodeCommit(commit)),
    }));
    expect(await log.read(0, 10)).toEqual(expected);
    expect(await log.head()).toBe(3);
  });

  it('reads at most as many as asked for, from where asked, and nothing at the head', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 5), 0);
    expect((await log.read(1, 2)).map((commit) => commit.revision)).toEqual([2, 3]);
    expect((await log.read(3, 100)).map((commit) => commit.revision)).toEqual([4, 5]);
    expect(await log.read(5, 100)).toEqual([]);
    expect(await log.read(9, 100)).toEqual([]);
    expect(await log.read(0, 0)).toEqual([]);
  });

  it('stores streams whose names mean something to the store', async () => {
    const log = suite.log();
    const names = ['a.b', '*', '>', ' ', 'ü/#', '%2e', 'x'.repeat(256), '\u{1f600}'];
    const batch = names.map((name, index) =>
      commitOf(`n-${index}`, {
        events: [
          { type: 'AclRulesReplaced', data: { target: { kind: 'username', name }, rules: [] } },
        ],
      }),
    );
    expect(await log.append(batch, 0)).toEqual(stored(...names.map((_, index) => index + 1)));
    const found = (await log.read(0, 100)).map((commit) => commit.events);
    expect(found).toEqual(batch.map((commit) => commit.events));
  });

  it('lets exactly one of several writers have a revision', async () => {
    const handles = await Promise.all([1, 2, 3, 4].map(() => suite.underTest().open()));
    for (let round = 0; round < 10; round += 1) {
      const results = await Promise.all(
        handles.map((handle, writer) => handle.append([commitOf(`r${round}-w${writer}`)], round)),
      );
      const winners = results.flat().filter((result) => result.status === 'appended');
      expect(winners).toEqual(stored(round + 1));
    }
    expect(await suite.log().head()).toBe(10);
  });

  it('never lets a foreign commit into the middle of a batch that goes on after it', async () => {
    const handles = await Promise.all([1, 2, 3].map(() => suite.underTest().open()));
    const size = 5;
    const acknowledged = new Map<string, number>();
    const write = async (handle: EventLog, writer: number): Promise<void> => {
      for (let round = 0; round < 15; round += 1) {
        const batch = commitsOf(`w${writer}-r${round}`, size);
        const results = await handle.append(batch, await handle.head());
        for (const [index, result] of results.entries()) {
          const id = batch[index]?.commitId ?? '';
          if (result.status === 'appended') acknowledged.set(id, result.revision);
        }
      }
    };
    await Promise.all(handles.map(write));
    const ids = await idsIn(suite.log());
    for (const [index, id] of ids.entries()) {
      expect(acknowledged.get(id), `${id} is stored, so it was acknowledged`).toBe(index + 1);
      const [, writer, place] = /^(.*)-(\d+)$/.exec(id) ?? [];
      if (place === '0') continue;
      expect(ids[index - 1], `what ${id} stands behind`).toBe(`${writer}-${Number(place) - 1}`);
    }
    expect(acknowledged.size).toBe(ids.length);
    expect(ids.length).toBeGreaterThanOrEqual(size);
  });
}

function describeIdempotency(suite: Suite): void {
  it('answers a repeated commit id with its first revision, whatever it expects', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 3), 0);
    expect(await log.append([commitOf('a-1')], 1)).toEqual(duplicates(2));
    expect(await log.append([commitOf('a-1')], 3)).toEqual(duplicates(2));
    expect(await log.head()).toBe(3);
  });

  it('answers a repeated batch with its first revisions', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 3), 0);
    expect(await log.append(commitsOf('a', 3), 0)).toEqual(duplicates(1, 2, 3));
    expect(await log.head()).toBe(3);
  });

  it('stores the rest of a batch whose beginning is stored', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 2), 0);
    const results = await log.append(commitsOf('a', 4), 0);
    expect(results).toEqual([...duplicates(1, 2), ...stored(3, 4)]);
  });

  it('takes no place for a commit id that stands twice in one batch', async () => {
    const log = suite.log();
    const results = await log.append([commitOf('a'), commitOf('a'), commitOf('b')], 0);
    expect(results).toEqual([...stored(1), ...duplicates(1), ...stored(2)]);
  });

  it('goes on at the head after a commit of the batch that was stored long before', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 3), 0);
    const results = await log.append([commitOf('a-0'), commitOf('b')], 3);
    expect(results).toEqual([...duplicates(1), ...stored(4)]);
  });

  it('stores once what many append at the same time', async () => {
    const handles = await Promise.all([1, 2, 3].map(() => suite.underTest().open()));
    const results = await Promise.all(handles.map((handle) => handle.append([commitOf('a')], 0)));
    expect(results.flat().map((one) => one.status === 'appended' && one.revision)).toEqual([
      1, 1, 1,
    ]);
    expect(await suite.log().head()).toBe(1);
  });
}

function describeFollow(suite: Suite): void {
  it('hands over what exists, then what comes, in order and once each', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 3), 0);
    const reader = suite.read(0);
    await reader.count(3);
    await log.append(commitsOf('b', 2), 3);
    await log.append(commitsOf('c', 2), 5);
    await reader.count(7);
    expect(reader.revisions).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(reader.commits).toEqual(await log.read(0, 100));
    expect(reader.tail.position).toBe(7);
  });

  it('starts after the revision that it is given', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 5), 0);
    const reader = suite.read(3);
    const atHead = suite.read(5);
    await reader.count(2);
    expect(atHead.tail.position).toBe(5);
    await log.append([commitOf('b')], 5);
    await Promise.all([reader.count(3), atHead.count(1)]);
    expect(reader.ids).toEqual(['a-3', 'a-4', 'b']);
    expect(atHead.ids).toEqual(['b']);
  });

  it('notices what another handle appends', async () => {
    const reader = suite.read(0);
    await reader.confirmed();
    const other = await suite.underTest().open();
    await other.append(commitsOf('a', 3), 0);
    await reader.count(3);
    expect(reader.revisions).toEqual([1, 2, 3]);
  });

  it('hands over a history that is longer than one batch', async () => {
    const log = suite.log();
    const count = FOLLOW_BATCH_COMMITS_MAX + 1;
    await log.append(commitsOf('a', count), 0);
    const reader = suite.read(0);
    await reader.count(count);
    expect(reader.ids).toEqual(commitsOf('a', count).map((commit) => commit.commitId));
    expect(Math.max(...reader.batches)).toBeLessThanOrEqual(FOLLOW_BATCH_COMMITS_MAX);
  });

  it('waits for the reader, and joins what came meanwhile', async () => {
    const log = suite.log();
    const gate = deferred();
    const entered = deferred();
    let inside = 0;
    let insideMax = 0;
    const reader = suite.read(0, async () => {
      inside += 1;
      insideMax = Math.max(insideMax, inside);
      entered.resolve();
      await gate.promise;
      inside -= 1;
    });
    await log.append([commitOf('a')], 0);
    await entered.promise;
    const { confirmedAt } = reader.tail;
    await log.append(commitsOf('b', 20), 1);
    const other = suite.read(0);
    await other.count(21); // The log has handed all of it to someone who does not wait.
    expect(reader.commits).toEqual([]);
    expect(reader.tail.position).toBe(0);
    expect(reader.tail.confirmedAt).toBe(confirmedAt);
    gate.resolve();
    await reader.count(21);
    expect(insideMax).toBe(1);
    expect(reader.batches[0]).toBe(1);
    expect(reader.batches.length).toBeLessThan(21);
  });

  it('says when it last had everything, again and again while nothing comes', async () => {
    const log = suite.log();
    await log.append([commitOf('a')], 0);
    const reader = suite.read(0);
    expect(reader.tail.confirmedAt).toBe(-Infinity);
    await reader.count(1);
    await reader.confirmed();
    await reader.confirmed();
    expect(reader.tail.confirmedAt).toBeLessThanOrEqual(performance.now());
  });

  it('hands over nothing after it was disposed', async () => {
    const log = suite.log();
    const reader = suite.read(0);
    await log.append([commitOf('a')], 0);
    await reader.count(1);
    await reader[Symbol.asyncDispose]();
    await log.append([commitOf('b')], 1);
    const other = suite.read(0);
    await other.count(2);
    await other.confirmed();
    expect(reader.ids).toEqual(['a']);
    expect(reader.failures).toBe(0);
  });

  it('refuses everything after the log was disposed', async () => {
    const log = await suite.underTest().open();
    const reader = new Reader(log, 0);
    await log[Symbol.asyncDispose]();
    expect(reader.failures).toBe(0);
    expect(await codeOf(log.append([commitOf('a')], 0))).toBe('log_unavailable');
    expect(await codeOf(log.head())).toBe('log_unavailable');
    expect(await codeOf(log.read(0, 1))).toBe('log_unavailable');
    expect(() => new Reader(log, 0)).toThrow(OperationalError);
  });
}

function describeFollowFailures(suite: Suite): void {
  it('refuses a log that ends before a revision that was read before', async () => {
    await suite.log().append(commitsOf('a', 3), 0);
    const reader = suite.read(4);
    expect((await reader.failed).code).toBe('log_truncated');
    expect(reader.commits).toEqual([]);
  });

  it('stops with the failure of the reader, once', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 2), 0);
    const failure = new OperationalError('read_model_unavailable', 'the disk is full');
    const reader = suite.read(0, () => {
      throw failure;
    });
    expect(await reader.failed).toBe(failure);
    const other = suite.read(0);
    await log.append([commitOf('b')], 2);
    await other.count(3);
    expect(reader.failures).toBe(1);
    expect(reader.tail.position).toBe(0);
  });

  it('stops before a record that this version does not understand', async () => {
    const unknown = encodeCommit(commitOf('future')).replace('AclRulesReplaced', 'MoonPhaseSet');
    await suite.restartWith([encodeCommit(commitOf('a')), unknown, encodeCommit(commitOf('b'))]);
    const reader = suite.read(0);
    expect((await reader.failed).code).toBe('log_unreadable');
    expect(reader.ids).toEqual(['a']);
    expect(reader.tail.position).toBe(1);
    expect(await codeOf(suite.log().read(0, 10))).toBe('log_unreadable');
  });
}

function describeRestart(suite: Suite): void {
  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'loses nothing, doubles nothing and leaves no gap when the store ends with %s',
    async (signal) => {
      const log = suite.log();
      const reader = suite.read(0);
      const acknowledged: string[] = [];
      const wanted = 300;
      const writing = (async () => {
        for (let head = 0; head < wanted;) {
          const id = `c-${head}`;
          try {
            const [result] = await log.append([commitOf(id)], head);
            expect(result, id).toMatchObject({ status: 'appended', revision: head + 1 });
            acknowledged.push(id);
            head += 1;
          } catch (error) {
            // The same id and the same expectation again: it is stored once, or it was stored.
            expect(error).toMatchObject({ code: 'log_unavailable' });
          }
        }
      })();
      await reader.count(100);
      await suite.underTest().restart?.(signal);
      await writing;
      await reader.count(wanted);
      expect(reader.ids).toEqual(acknowledged);
      expect(reader.revisions).toEqual(acknowledged.map((_, index) => index + 1));
      expect(await log.head()).toBe(wanted);
      await reader.confirmed();
    },
  );

  it('answers a repeated commit id with its first revision after a restart', async () => {
    const log = suite.log();
    await log.append(commitsOf('a', 3), 0);
    await suite.underTest().restart?.('SIGKILL');
    expect(await log.append(commitsOf('a', 3), 0)).toEqual(duplicates(1, 2, 3));
    expect(await log.append([commitOf('b')], 2)).toEqual(conflicts(3, 1));
  });
}
