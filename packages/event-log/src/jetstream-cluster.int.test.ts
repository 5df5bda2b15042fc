import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { connect } from '@nats-io/transport-node';
import { isOperational } from '@sallyport/errors';
import { type NatsCluster, type NatsServer, startNatsCluster } from '@sallyport/test-kit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventLog } from './event-log.ts';
import { natsConnectionOptions, openJetStreamEventLog } from './jetstream.ts';
import { commitOf, commitsOf } from './testing/commits.ts';
import { Reader } from './testing/reader.ts';

/** Repeats an append until it is known what became of it; an election may take longer than one append tries. */
async function settled<T>(append: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await append();
    } catch (error) {
      if (!isOperational(error, 'log_unavailable')) throw error;
    }
  }
}

describe('The JetStream log on three servers', () => {
  let cluster: NatsCluster;
  let connection: NatsConnection;
  let jsm: JetStreamManager;
  /** Of each test its own: a consumer whose server was away when it was to be deleted stays for minutes. */
  let streamName: string;
  let streams = 0;

  beforeAll(async () => {
    cluster = await startNatsCluster();
    connection = await connect(natsConnectionOptions({ servers: cluster.addresses }));
    jsm = await jetstreamManager(connection, { timeout: 1_000, checkAPI: false });
  });
  beforeEach(() => {
    streamName = `replicated-${(streams += 1)}`;
  });
  afterAll(async () => {
    await connection.close();
    await cluster.stop();
  });

  const open = (servers: readonly string[] = cluster.addresses): Promise<EventLog> =>
    openJetStreamEventLog({
      servers,
      streamName,
      subjectPrefix: `prefix.${streamName}`,
      replicas: 3,
      createStream: true,
    });

  /** Appends one commit after the other until told to stop, however long each takes. */
  const keepWriting = (log: EventLog, prefix: string) => {
    const acknowledged: string[] = [];
    let stopped = false;
    const done = (async () => {
      let head = await log.head();
      for (let index = 0; !stopped; index += 1) {
        const id = `${prefix}-${index}`;
        const [result] = await settled(() => log.append([commitOf(id)], head));
        expect(result).toMatchObject({ status: 'appended', revision: head + 1 });
        acknowledged.push(id);
        head += 1;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    const stop = async (): Promise<void> => {
      stopped = true;
      await done;
    };
    return { stop, acknowledged };
  };

  const named = (name: string): NatsServer => {
    const found = cluster.servers.find((server) => server.process.name === name);
    if (found === undefined) throw new Error(`no server is called ${name}`);
    return found;
  };

  /** The server that answers what is asked about the stream. */
  const leader = async (): Promise<NatsServer> => {
    for (;;) {
      // A server that has just lost or won an election does not answer.
      const info = await jsm.streams.info(streamName).catch(() => undefined);
      const name = info?.cluster?.leader;
      if (name !== undefined && name !== '') return named(name);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };

  it('never lets a foreign commit into the middle of a batch that goes on after it', async () => {
    const writers = await Promise.all(cluster.addresses.map((address) => open([address])));
    const size = 6;
    const acknowledged = new Map<string, number>();
    let cut = 0;
    await Promise.all(
      writers.map(async (writer, name) => {
        for (let round = 0; round < 40; round += 1) {
          const batch = commitsOf(`w${name}-r${round}`, size);
          const head = await settled(() => writer.head());
          const results = await settled(() => writer.append(batch, head));
          const stored = results.filter((one) => one.status === 'appended');
          for (const [index, one] of stored.entries()) {
            acknowledged.set(batch[index]?.commitId ?? '', one.revision);
          }
          if (stored.length > 0 && stored.length < size) cut += 1;
        }
      }),
    );
    const [reader] = writers;
    if (reader === undefined) throw new Error('no writer');
    const ids = (await settled(() => reader.read(0, 10_000))).map((commit) => commit.commitId);
    for (const [index, id] of ids.entries()) {
      expect(acknowledged.get(id)).toBe(index + 1);
      const [, batch, place] = /^(.*)-(\d+)$/.exec(id) ?? [];
      if (place !== '0') expect(ids[index - 1]).toBe(`${batch}-${Number(place) - 1}`);
    }
    expect(acknowledged.size).toBe(ids.length);
    // The test has met what it is about: batches in whose middle another writer was faster.
    expect(cut).toBeGreaterThan(0);
    for (const writer of writers) await writer[Symbol.asyncDispose]();
  });

  it.each(['killed', 'frozen'] as const)(
    'loses nothing and doubles nothing when the leader of its stream is %s',
    async (how) => {
      await using writer = await open();
      await using follower = await open();
      const start = await follower.head();
      await using reader = new Reader(follower, start);
      const writing = keepWriting(writer, how);
      try {
        await reader.count(20);
        const victim = await leader();
        if (how === 'killed') await victim.kill();
        else victim.process.freeze();
        await reader.count(reader.commits.length + 200);
        if (how === 'killed') await victim.process.start();
        else victim.process.thaw();
        await reader.count(reader.commits.length + 50);
        await cluster.ready();
      } finally {
        await writing.stop();
      }
      const ids = writing.acknowledged;
      await reader.count(ids.length);
      expect(reader.ids).toEqual(ids);
      expect(reader.revisions).toEqual(ids.map((_, index) => start + index + 1));
      await reader.confirmed();
    },
    90_000,
  );
});
