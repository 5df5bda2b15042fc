import { randomBytes } from 'node:crypto';
import { connect } from '@nats-io/transport-node';
import { startNatsCluster, startNatsServer, until } from '@sallyport/test-kit';
import { describe, expect, it } from 'vitest';
import type { EventLog } from './event-log.ts';
import { LOG_STREAM_NAME, natsConnectionOptions, openJetStreamEventLog } from './jetstream.ts';
import { commitOf, commitsOf } from './testing/commits.ts';
import { Reader } from './testing/reader.ts';

const users = {
  'admin-api': 'writes-the-log',
  'admin-api-nodes': 'reads-the-nodes',
  policy: 'reads-the-log',
  broker: 'reads-the-log-too',
} as const;

function open(servers: readonly string[], user: keyof typeof users, replicas: number) {
  const writes = user === 'admin-api';
  return openJetStreamEventLog({
    servers,
    user,
    pass: users[user],
    streamName: LOG_STREAM_NAME,
    replicas,
    createStream: writes,
    ...(!writes && { apiPrefix: 'LOG.API' }),
  });
}

async function appendOne(log: EventLog, id: string): Promise<void> {
  const [result] = await log.append([commitOf(id)], await log.head());
  expect(result?.status).toBe('appended');
}

describe('The JetStream log in an account of its own', () => {
  it('is read from other accounts: what is there, and at once what comes', async () => {
    const server = await startNatsServer({ users });
    try {
      await using writer = await open([server.address], 'admin-api', 1);
      await writer.append(commitsOf('a', 100), 0);
      for (const user of ['policy', 'broker'] as const) {
        await using log = await open([server.address], user, 1);
        const head = await log.head();
        expect(await log.read(0, 1000)).toEqual(await writer.read(0, 1000));
        await using reader = new Reader(log, 0);
        await reader.count(head);
        await reader.confirmed();
        let behindMs = 0;
        const count = 20;
        for (let index = 0; index < count; index += 1) {
          await appendOne(writer, `${user}-${index}`);
          // How long the disk of the server takes is its own business.
          const storedAt = performance.now();
          await reader.count(head + index + 1);
          behindMs += performance.now() - storedAt;
        }
        // Without a word on the feed each of them would wait for the next look, 250 ms.
        expect(behindMs).toBeLessThan((count * 250) / 2);
        expect(reader.commits).toEqual(await writer.read(0, 1000));
      }
    } finally {
      await server.stop();
    }
  });

  it('refuses an account with a limit of storage, past which the server would make holes', async () => {
    const server = await startNatsServer({ users, logBytesMax: 1024 * 1024 });
    try {
      await expect(open([server.address], 'admin-api', 1)).rejects.toMatchObject({
        code: 'config_invalid',
        message: expect.stringContaining('account') as string,
      });
    } finally {
      await server.stop();
    }
  });

  it('refuses what there is no room for on the server, without a hole, and goes on when there is', async () => {
    const server = await startNatsServer({ users, storeBytesMax: 300 * 1024 });
    try {
      await using writer = await open([server.address], 'admin-api', 1);
      await using log = await open([server.address], 'broker', 1);
      await using reader = new Reader(log, 0);
      let stored = 0;
      const append = async () => {
        const [result] = await writer.append(
          [commitOf(`c${stored}`, { reason: randomBytes(37_500).toString('base64') })],
          stored,
        );
        expect(result).toMatchObject({ status: 'appended', revision: stored + 1 });
        stored += 1;
      };
      const fill = async () => {
        while (stored < 50) await append();
      };
      await expect(fill()).rejects.toMatchObject({ code: 'log_full' });
      expect(stored).toBeGreaterThan(1);
      // Refused again and again it is still only refused.
      await expect(append()).rejects.toMatchObject({ code: 'log_full' });
      expect(await writer.head()).toBe(stored);
      server.setStoreBytesMax(10 * 1024 * 1024);
      await server.restart();
      await until(() =>
        append().then(
          () => true,
          () => false,
        ),
      );
      await append();
      await reader.count(stored);
      expect((await log.read(0, 1000)).map((one) => one.revision)).toEqual(
        Array.from({ length: stored }, (_, index) => index + 1),
      );
    } finally {
      await server.stop();
    }
  });

  it('goes on in another account after a kill of the server', async () => {
    const server = await startNatsServer({ users });
    try {
      await using writer = await open([server.address], 'admin-api', 1);
      await using log = await open([server.address], 'broker', 1);
      await using reader = new Reader(log, 0);
      await appendOne(writer, 'a');
      await reader.count(1);
      await server.restart('kill');
      await until(() =>
        writer.head().then(
          (head) => head === 1,
          () => false,
        ),
      );
      await appendOne(writer, 'b');
      await reader.count(2);
      await reader.confirmed();
      expect(reader.ids).toEqual(['a', 'b']);
    } finally {
      await server.stop();
    }
  });

  it('is read from other accounts on three servers, over the kill of any of them', async () => {
    const cluster = await startNatsCluster(3, { users });
    try {
      await using writer = await open(cluster.addresses, 'admin-api', 3);
      await using policy = await open(cluster.addresses, 'policy', 3);
      await using broker = await open(cluster.addresses, 'broker', 3);
      await using first = new Reader(policy, 0);
      await using second = new Reader(broker, 0);
      let count = 0;
      const append = async () => {
        await appendOne(writer, `c-${count}`);
        count += 1;
      };
      for (const victim of cluster.servers) {
        for (let index = 0; index < 5; index += 1) await append();
        await Promise.all([first.count(count), second.count(count)]);
        await victim.kill();
        // An election may be under way.
        await until(
          () =>
            append().then(
              () => true,
              () => false,
            ),
          20_000,
        );
        await Promise.all([first.count(count), second.count(count)]);
        await victim.restart('kill');
        await cluster.ready();
      }
      const stored = await writer.read(0, 1000);
      expect(first.commits).toEqual(stored);
      expect(second.commits).toEqual(stored);
      await Promise.all([first.confirmed(), second.confirmed()]);
    } finally {
      await cluster.stop();
    }
  }, 120_000);

  it('is not there for a reader that asks without the prefix', async () => {
    const server = await startNatsServer({ users });
    try {
      await using writer = await open([server.address], 'admin-api', 1);
      await appendOne(writer, 'a');
      const connection = await connect(
        natsConnectionOptions({ servers: [server.address], user: 'policy', pass: users.policy }),
      );
      const asking = openJetStreamEventLog({
        connection,
        streamName: LOG_STREAM_NAME,
        replicas: 1,
        createStream: false,
      });
      await expect(asking).rejects.toMatchObject({ code: 'log_unavailable' });
      await connection.close();
    } finally {
      await server.stop();
    }
  });
});
