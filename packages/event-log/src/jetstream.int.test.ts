import { cp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  jetstream,
  jetstreamManager,
  type JetStreamManager,
  StorageType,
} from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { headers, type NatsConnection } from '@nats-io/nats-core';
import { encodeCommit, type NewCommit } from '@sallyport/domain';
import { type NatsServer, removeFolder, startNatsServer, tempFolder } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { describeEventLogContract } from './contract.ts';
import { COMMIT_BYTES_MAX, type EventLog, type RecordedCommit } from './event-log.ts';
import { digestOf } from './hash.ts';
import { natsConnectionOptions, openJetStreamEventLog } from './jetstream.ts';
import { commitOf, commitOfBytes, commitsOf } from './testing/commits.ts';
import { codeOf, Reader } from './testing/reader.ts';

let streams = 0;
/** Streams are never created again under a name that was used: every test has its own. */
const nextName = (): string => `log-${(streams += 1)}`;

describe('The JetStream log on one server', () => {
  const folder = tempFolder('event-log');
  const storeDir = join(folder, 'store');
  let server: NatsServer;
  let connection: NatsConnection;
  let jsm: JetStreamManager;

  beforeAll(async () => {
    server = await startNatsServer({ storeDir });
    connection = await connect(natsConnectionOptions({ servers: [server.address] }));
    jsm = await jetstreamManager(connection, { timeout: 1_000 });
  });
  afterAll(async () => {
    await connection.close();
    await server.stop();
    removeFolder(folder);
  });

  describeEventLogContract('JetStream', {
    restarts: true,
    start: async (records) => {
      const streamName = nextName();
      const options = {
        servers: [server.address],
        streamName,
        subjectPrefix: `prefix.${streamName}`,
        replicas: 1,
        createStream: true,
      };
      const handles: EventLog[] = [await openJetStreamEventLog(options)];
      const js = jetstream(connection);
      for (const record of records) await js.publish(`${options.subjectPrefix}.raw.x`, record);
      return {
        open: async () => {
          const handle = await openJetStreamEventLog(options);
          handles.push(handle);
          return handle;
        },
        restart: (signal) => server.restart(signal === 'SIGTERM' ? 'stop' : 'kill'),
        [Symbol.asyncDispose]: async () => {
          for (const handle of handles) await handle[Symbol.asyncDispose]();
        },
      };
    },
  });

  describe('', () => {
    let log: EventLog;
    let streamName: string;
    let subjectPrefix: string;
    const open = (): Promise<EventLog> =>
      openJetStreamEventLog({
        connection,
        streamName,
        subjectPrefix,
        replicas: 1,
        createStream: true,
      });

    beforeEach(async () => {
      streamName = nextName();
      subjectPrefix = `prefix.${streamName}`;
      log = await open();
    });
    afterEach(() => log[Symbol.asyncDispose]());

    it('creates a stream that lets nobody take anything away', async () => {
      const { config } = await jsm.streams.info(streamName);
      expect(config).toMatchObject({
        storage: 'file',
        deny_delete: true,
        deny_purge: true,
        discard: 'new',
        subjects: [`${subjectPrefix}.>`],
      });
      await expect(jsm.streams.purge(streamName)).rejects.toThrow();
      await expect(jsm.streams.deleteMessage(streamName, 1)).rejects.toThrow();
    });

    it('publishes under the subject of the first event', async () => {
      await log.append(
        [
          commitOf('1', {
            events: [
              {
                type: 'AclRulesReplaced',
                data: { target: { kind: 'client', name: 'a.b *>ü' }, rules: [] },
              },
            ],
          }),
        ],
        0,
      );
      const message = await jsm.streams.getMessage(streamName, { seq: 1 });
      expect(message?.subject).toBe(`${subjectPrefix}.acl-table.client%3Aa%2Eb%20%2A%3E%C3%BC`);
    });

    it.each([
      ['memory storage', { storage: StorageType.Memory, deny_delete: true, deny_purge: true }],
      ['deletes', { storage: StorageType.File, deny_delete: false, deny_purge: true }],
      ['a limit', { storage: StorageType.File, deny_delete: true, deny_purge: true, max_msgs: 9 }],
    ])('refuses a stream with %s', async (_, config) => {
      const name = nextName();
      const prefix = `prefix.${name}`;
      await jsm.streams.add({ name, subjects: [`${prefix}.>`], ...config });
      const opening = openJetStreamEventLog({
        connection,
        streamName: name,
        subjectPrefix: prefix,
        replicas: 1,
        createStream: true,
      });
      expect(await codeOf(opening)).toBe('config_invalid');
    });

    it('waits for the stream when it may not create it', async () => {
      const name = nextName();
      const options = {
        connection,
        streamName: name,
        subjectPrefix: `prefix.${name}`,
        replicas: 1,
      };
      const waiting = openJetStreamEventLog({ ...options, createStream: false });
      await using first = await openJetStreamEventLog({ ...options, createStream: true });
      await using second = await waiting;
      await first.append([commitOf('a')], 0);
      expect(await second.head()).toBe(1);
    });

    it('makes no consumer, and says on its feed that there is more, but not what', async () => {
      await using reader = new Reader(log, 0);
      const feed = connection.subscribe(`${subjectPrefix}-feed.>`, { max: 2 });
      await log.append(commitsOf('a', 2), 0);
      const said: string[] = [];
      for await (const message of feed) {
        said.push(`${message.headers?.get('Nats-Sequence')}:${message.data.length}`);
      }
      expect(said).toEqual(['1:0', '2:0']);
      await reader.count(2);
      expect((await jsm.streams.info(streamName)).state.consumer_count).toBe(0);
    });

    it('takes its own commits as they were acknowledged, without asking for them', async () => {
      await using reader = new Reader(log, 0);
      await log.append([commitOf('first')], 0);
      await reader.count(1);
      await reader.confirmed();
      const asked: unknown[] = [];
      const spy = connection.subscribe(`$JS.API.STREAM.MSG.GET.${streamName}`, {
        callback: (_error, message) => {
          asked.push(message.json());
        },
      });
      await connection.flush();
      for (let head = 1; head <= 5; head++) {
        await log.append([commitOf(`own-${head}`, { reason: 'ö' })], head);
        await reader.count(head + 1);
      }
      spy.unsubscribe();
      // The record before them may have been compared meanwhile.
      expect(asked.filter((one) => JSON.stringify(one) !== '{"seq":1}')).toEqual([]);
      expect(reader.revisions).toEqual([1, 2, 3, 4, 5, 6]);
      const [read] = await log.read(3, 1);
      expect(reader.commits[3]).toEqual(read);
    });

    it('finds that its own commits went to a stream in the place of the one that was read', async () => {
      const name = nextName();
      const prefix = `prefix.${name}`;
      const options = { connection, streamName: name, subjectPrefix: prefix, replicas: 1 };
      await using own = await openJetStreamEventLog({ ...options, createStream: true });
      await own.append(commitsOf('a', 2), 0);
      await using reader = new Reader(own, 0);
      await reader.count(2);
      await reader.confirmed();
      const { config } = await jsm.streams.info(name);
      const { republish: _feed, ...silent } = config;
      await jsm.streams.delete(name);
      await jsm.streams.add(silent);
      const js = jetstream(connection);
      for (const one of commitsOf('other', 2)) {
        await js.publish(`${prefix}.raw.x`, encodeCommit(one));
      }
      await own.append([commitOf('own')], 2);
      const failure = await reader.failed;
      expect(failure.code).toBe('log_diverged');
    });

    /** Puts another stream in the place of the test's, with other commits at its first revisions. */
    const replaceStream = async (count: number): Promise<void> => {
      const { config } = await jsm.streams.info(streamName);
      const { republish: _feed, ...silent } = config;
      await jsm.streams.delete(streamName);
      await jsm.streams.add(silent);
      const js = jetstream(connection);
      for (const one of commitsOf('other', count)) {
        await js.publish(`${subjectPrefix}.raw.x`, encodeCommit(one));
      }
    };

    it('hands over nothing behind a record that does not name the one that was read', async () => {
      await using foreign = await open();
      await using writer = new Reader(foreign, 0);
      await using reader = new Reader(log, 0);
      await log.append(commitsOf('a', 2), 0);
      await Promise.all([writer.count(2), reader.count(2)]);
      await reader.confirmed();
      await replaceStream(2);
      await jetstream(connection).publish(
        `${subjectPrefix}.raw.x`,
        encodeCommit(commitOf('unnamed')),
      );
      expect((await reader.failed).code).toBe('log_diverged');
      expect(reader.ids).toEqual(['a-0', 'a-1']);
    });

    it('finds that a record names what it reads, but stands in another stream', async () => {
      await using other = await open();
      await using writer = new Reader(other, 0);
      await using reader = new Reader(log, 0);
      await log.append(commitsOf('a', 2), 0);
      await Promise.all([writer.count(2), reader.count(2)]);
      await Promise.all([writer.confirmed(), reader.confirmed()]);
      await replaceStream(2);
      // By a writer that has not noticed.
      await other.append([commitOf('b')], 2);
      expect((await reader.failed).code).toBe('log_diverged');
    });

    it('reads each record once where the next one names it, and again where none does', async () => {
      await using other = await open();
      await using writer = new Reader(other, 0);
      await using reader = new Reader(log, 0);
      await other.append([commitOf('first')], 0);
      await Promise.all([writer.count(1), reader.count(1)]);
      await Promise.all([writer.confirmed(), reader.confirmed()]);
      const asked: number[] = [];
      const spy = connection.subscribe(`$JS.API.STREAM.MSG.GET.${streamName}`, {
        callback: (_error, message) => {
          asked.push(message.json<{ seq: number }>().seq);
        },
      });
      await connection.flush();
      const began = performance.now();
      for (let head = 1; head <= 20; head++) {
        await other.append([commitOf(`named-${head}`)], head);
        await Promise.all([writer.count(head + 1), reader.count(head + 1)]);
      }
      // Of each tail the first record of a run is compared every 250 ms.
      const compared = (2 * (performance.now() - began)) / 250;
      expect(new Set(asked.filter((seq) => seq > 1)).size).toBe(20);
      expect(asked.length).toBeLessThanOrEqual(20 + compared);
      await reader.confirmed();
      await jetstream(connection).publish(
        `${subjectPrefix}.raw.x`,
        encodeCommit(commitOf('unnamed')),
      );
      await reader.count(22);
      spy.unsubscribe();
      expect(asked.filter((seq) => seq === 21).length).toBeGreaterThan(1);
      expect(reader.ids.at(-1)).toBe('unnamed');
    });

    describe('A reader that reads lazily', () => {
      const events: NewCommit['events'] = [
        { type: 'BanRemoved', data: { id: 'b', kind: 'client_id', value: 'c' } },
        { type: 'RoleRemoved', data: { id: 'r' } },
        { type: 'RoleRemoved', data: { id: 's' } },
      ];
      const spoilt = async (types: string): Promise<void> => {
        const said = headers();
        said.set('Sallyport-Types', types);
        const subject = `${subjectPrefix}.raw.x`;
        await jetstream(connection).publish(subject, '{"v":1,', { headers: said });
      };
      const lazily = (): Reader => new Reader(log, 0, undefined, true);

      it.each([
        ['a type that is not known here', '1 RoleRemoved SomethingNew'],
        ['another version', '2 RoleRemoved'],
        ['no types', '1'],
      ])('stops before a record that it cannot read, and that says %s', async (_, types) => {
        await using reader = lazily();
        await spoilt(types);
        expect((await reader.failed).code).toBe('log_unreadable');
        expect(reader.commits).toEqual([]);
      });

      it('finds that a record cannot be read when it is asked for what is in it', async () => {
        await using reader = lazily();
        await spoilt('1 RoleRemoved');
        await reader.count(1);
        const [commit] = reader.commits;
        expect(commit?.eventTypes).toEqual(['RoleRemoved']);
        expect(() => commit?.events).toThrow('not JSON');
        // Whoever reads at once stops.
        await using eager = new Reader(log, 0);
        expect((await eager.failed).code).toBe('log_unreadable');
      });

      it('gets the same commits, and is told what types of events they have', async () => {
        await using other = await open();
        await using reader = lazily();
        const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
        const apply = 'kick';
        await other.append(
          [
            commitOf('a', { events, traceparent, apply, reason: 'ö', fingerprint: 'f' }),
            commitOf('b', { traceparent: 'of no trace' }),
          ],
          0,
        );
        await reader.count(2);
        const [first, second] = reader.commits;
        expect(first).toMatchObject({ eventTypes: ['BanRemoved', 'RoleRemoved'], traceparent });
        expect(second?.eventTypes).toBeUndefined();
        const copy = (commit: RecordedCommit) => {
          const { revision, digest, commitId, at, actor, reason, fingerprint, apply } = commit;
          const texts = { commitId, reason, fingerprint, apply, traceparent: commit.traceparent };
          return { revision, digest, at, actor, ...texts, events: commit.events };
        };
        expect(reader.commits.map(copy)).toEqual((await log.read(0, 2)).map(copy));
      });
    });

    it('packs a large commit, and reads those that an earlier version has not packed', async () => {
      const large = commitOfBytes('packed', COMMIT_BYTES_MAX);
      await log.append([large], 0);
      const earlier = commitOfBytes('earlier', COMMIT_BYTES_MAX);
      await jetstream(connection).publish(`${subjectPrefix}.raw.x`, encodeCommit(earlier));
      const stored = await jsm.streams.getMessage(streamName, { seq: 1 });
      expect(stored?.data.length).toBeLessThan(COMMIT_BYTES_MAX / 10);
      await using reader = new Reader(log, 0);
      await reader.count(2);
      const commits = await log.read(0, 2);
      expect(commits).toEqual(reader.commits);
      expect(commits.map(({ reason }) => reason)).toEqual([large.reason, earlier.reason]);
      expect(commits.map(({ digest }) => digest)).toEqual([
        digestOf(stored?.data ?? ''),
        digestOf(encodeCommit(earlier)),
      ]);
    });

    it('believes nothing that is said on its feed', async () => {
      await using reader = new Reader(log, 0);
      await log.append(commitsOf('a', 2), 0);
      await reader.count(2);
      for (const text of ['', encodeCommit(commitOf('forged'))]) {
        connection.publish(`${subjectPrefix}-feed.credential.a`, text);
      }
      await connection.flush();
      await reader.confirmed();
      await reader.confirmed();
      expect(reader.ids).toEqual(['a-0', 'a-1']);
    });

    it('reads on without a word on its feed, as from a stream that has none', async () => {
      const name = nextName();
      const prefix = `prefix.${name}`;
      await jsm.streams.add({
        name,
        subjects: [`${prefix}.>`],
        storage: StorageType.File,
        deny_delete: true,
        deny_purge: true,
      });
      await using silent = await openJetStreamEventLog({
        connection,
        streamName: name,
        subjectPrefix: prefix,
        replicas: 1,
        createStream: false,
      });
      await using reader = new Reader(silent, 0);
      await reader.confirmed();
      for (let head = 0; head < 4; head += 2) {
        const before = performance.now();
        await silent.append(commitsOf(`b${head}`, 2), head);
        await reader.count(head + 2);
        expect(performance.now() - before).toBeLessThan(3_000);
      }
      expect(reader.revisions).toEqual([1, 2, 3, 4]);
    });

    it('stops at a record that is missing, after what stands before it', async () => {
      const name = nextName();
      const prefix = `prefix.${name}`;
      const options = { connection, streamName: name, subjectPrefix: prefix, replicas: 1 };
      await using damaged = await openJetStreamEventLog({ ...options, createStream: true });
      await damaged.append(commitsOf('a', 3), 0);
      // What no user may do: the stream is changed and a record taken out.
      const { config } = await jsm.streams.info(name);
      await jsm.streams.delete(name);
      await jsm.streams.add({ ...config, deny_delete: false });
      const js = jetstream(connection);
      for (const one of commitsOf('a', 3)) await js.publish(`${prefix}.raw.x`, encodeCommit(one));
      await jsm.streams.deleteMessage(name, 2);
      await using reader = new Reader(damaged, 0);
      expect((await reader.failed).code).toBe('log_unreadable');
      expect(reader.ids).toEqual(['a-0']);
      expect(await codeOf(damaged.read(0, 10))).toBe('log_unreadable');
    });

    it('does not confirm its position while the server is frozen, and goes on after it', async () => {
      await using reader = new Reader(log, 0);
      await log.append(commitsOf('a', 2), 0);
      await reader.count(2);
      await reader.confirmed();
      server.process.freeze();
      const frozenAt = performance.now();
      const appending = log.append(commitsOf('b', 2), 2);
      await expect
        .poll(() => performance.now() - frozenAt, { timeout: 5_000 })
        .toBeGreaterThan(2_500);
      expect(reader.tail.confirmedAt).toBeLessThan(frozenAt);
      server.process.thaw();
      expect((await appending).map((one) => one.status)).toEqual(['appended', 'appended']);
      await reader.count(4);
      await reader.confirmed();
      expect(reader.ids).toEqual(['a-0', 'a-1', 'b-0', 'b-1']);
    });

    it('fails an append when its outcome cannot be known in time, and settles it afterwards', async () => {
      await server.kill();
      const failed = codeOf(log.append([commitOf('a')], 0));
      expect(await failed).toBe('log_unavailable');
      await server.process.start();
      const [result] = await log.append([commitOf('a')], 0);
      expect(result).toMatchObject({ status: 'appended', revision: 1 });
      expect(await log.head()).toBe(1);
    });

    it.each([
      [0, 'log_truncated'],
      [2, 'log_diverged'],
      [3, 'log_diverged'],
    ] as const)(
      'stops when the server comes back with an older copy and %i other commits: %s',
      async (count, code) => {
        await log.append(commitsOf('a', 1), 0);
        await server.process.stop();
        const copy = join(folder, `copy-${streamName}`);
        await cp(storeDir, copy, { recursive: true });
        await server.process.start();

        await using reader = new Reader(log, 0);
        await log.append(commitsOf('b', 2), 1);
        await reader.count(3);
        await reader.confirmed();
        await server.process.stop();
        await rm(storeDir, { recursive: true });
        await rename(copy, storeDir);
        // What others append before this reader is back, on a port that it does not know.
        {
          await using elsewhere = await startNatsServer({ storeDir });
          await using other = await openJetStreamEventLog({
            servers: [elsewhere.address],
            streamName,
            subjectPrefix,
            replicas: 1,
            createStream: false,
          });
          if (count > 0) await other.append(commitsOf('other', count), 1);
        }
        await server.process.start();
        expect((await reader.failed).code).toBe(code);
        expect(reader.ids).toEqual(['a-0', 'b-0', 'b-1']);
      },
    );
  });
});
