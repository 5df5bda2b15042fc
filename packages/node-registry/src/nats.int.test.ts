import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/nats-core';
import { connect } from '@nats-io/transport-node';
import { isOperational } from '@sallyport/errors';
import { type NatsServer, startNatsServer } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { describeNodeRegistryContract, report } from './contract.ts';
import { openNatsNodeRegistry } from './nats.ts';
import { HISTORY_VALUES, nodeKey, nodeOfKey } from './nats/bucket.ts';
import { BARRIER_TIMEOUT_MS } from './nats/bucket-watch.ts';
import { PUT_INTERVAL_MS } from './nats/membership.ts';
import type { NodeRegistry } from './node-registry.ts';

const LONG_MS = 20_000;
const MAX_STALENESS_MS = 2_500;

let buckets = 0;
const nextBucket = (): string => `nodes-${(buckets += 1)}`;

describe('The NATS registry', () => {
  let server: NatsServer;
  const opened: AsyncDisposable[] = [];

  beforeAll(async () => {
    server = await startNatsServer();
  });
  afterAll(() => server.stop());

  /** A connection of its own, as a process has it. */
  const dial = async (): Promise<NatsConnection> => {
    const connection = await connect({
      servers: [server.address],
      pingInterval: 1_000,
      maxPingOut: 2,
      timeout: 1_000,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
      reconnectJitter: 0,
    });
    opened.push({ [Symbol.asyncDispose]: () => connection.close() });
    return connection;
  };
  const openIn = async (bucket: string): Promise<NodeRegistry> => {
    const registry = await openNatsNodeRegistry({
      connection: await dial(),
      bucket,
      replicas: 1,
      maxStalenessMs: MAX_STALENESS_MS,
    });
    opened.push(registry);
    return registry;
  };
  const closeAll = async (): Promise<void> => {
    for (const one of opened.splice(0).reverse()) await one[Symbol.asyncDispose]();
  };

  describeNodeRegistryContract('NATS', async () => {
    const bucket = nextBucket();
    return { open: () => openIn(bucket), [Symbol.asyncDispose]: closeAll };
  });

  describe('', () => {
    let bucket: string;
    let registry: NodeRegistry;
    let node: NodeRegistry;
    let jsm: JetStreamManager;

    beforeEach(async () => {
      bucket = nextBucket();
      registry = await openIn(bucket);
      node = await openIn(bucket);
      jsm = await jetstreamManager(await dial());
    });
    afterEach(closeAll);

    it('keeps more values of a node than that can say while a barrier is waited for', () => {
      expect(HISTORY_VALUES * PUT_INTERVAL_MS).toBeGreaterThan(BARRIER_TIMEOUT_MS);
    });

    it.each(['a', 'ä b', '=41', '.', 'x.y', '\u{1f600}', ''])('finds node %j in its key', (id) => {
      expect(nodeOfKey(nodeKey(id))).toBe(id);
    });

    it('counts a killed node as gone when it must have dropped its sessions', async () => {
      const killed = await openIn(bucket);
      await killed.join(report('killed', 1));
      await node.join(report('living', 2));
      await killed[Symbol.asyncDispose]();
      const answer = await registry.waitEnforced(2, 500);
      expect(answer).toEqual({ enforced: false, pending: ['killed'] });
      const before = performance.now();
      expect(await registry.waitEnforced(2, LONG_MS)).toEqual({ enforced: true, pending: [] });
      expect(performance.now() - before).toBeLessThan(LONG_MS / 2);
    });

    it('waits for a killed node that keeps its sessions', async () => {
      const killed = await openIn(bucket);
      await killed.join(report('killed', 1, { whenStale: 'keep' }));
      await killed[Symbol.asyncDispose]();
      const answer = await registry.waitEnforced(2, MAX_STALENESS_MS + 1_500);
      expect(answer).toEqual({ enforced: false, pending: ['killed'] });
    });

    it('takes the entry of a killed node for a living one in a process that has just begun', async () => {
      const killed = await openIn(bucket);
      await killed.join(report('killed', 1));
      await killed[Symbol.asyncDispose]();
      expect(await registry.waitEnforced(2, LONG_MS)).toMatchObject({ enforced: true });
      const fresh = await openIn(bucket);
      const answer = await fresh.waitEnforced(2, 500);
      expect(answer).toEqual({ enforced: false, pending: ['killed'] });
    });

    it('waits for a node whose report it cannot read', async () => {
      const kv = await new Kvm(await dial()).open(bucket);
      await kv.put(nodeKey('newer'), '{"version":2}');
      await kv.put(nodeKey('broken'), 'x');
      const answer = await registry.waitEnforced(0, 500);
      expect(answer).toEqual({ enforced: false, pending: ['broken', 'newer'] });
    });

    it('joins a burst of announcements into few messages', async () => {
      const membership = await node.join(report('a', 0));
      await registry.waitEnforced(0, LONG_MS);
      const before = await jsm.streams.info(`KV_${bucket}`);
      for (let revision = 1; revision <= 500; revision += 1) {
        membership.announce({ revision, hash: '' });
        if (revision % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await registry.waitEnforced(500, LONG_MS)).toMatchObject({ enforced: true });
      const after = await jsm.streams.info(`KV_${bucket}`);
      expect(after.state.last_seq - before.state.last_seq).toBeLessThan(50);
    });

    it('sees every registration while nodes talk as fast as they may', async () => {
      const talkers = await Promise.all(
        Array.from({ length: 4 }, (_, index) => node.join(report(`talker-${index}`, 1))),
      );
      let revision = 1;
      const talking = setInterval(() => {
        revision += 1;
        for (const one of talkers) one.announce({ revision, hash: '' });
      }, 5);
      try {
        for (let round = 0; round < 10; round += 1) {
          const membership = await node.join(report(`quiet-${round}`, 0));
          const asking = setInterval(() => membership.announce({ revision: 0, hash: '' }), 5);
          const fresh = await openIn(bucket);
          const [known, begun] = await Promise.all([
            registry.waitEnforced(1, 500),
            fresh.waitEnforced(1, 500),
          ]);
          clearInterval(asking);
          const expected = { enforced: false, pending: [`quiet-${round}`] };
          expect([known, begun]).toEqual([expected, expected]);
          await membership.leave();
        }
      } finally {
        clearInterval(talking);
      }
    });

    it('opens another watch when its own falls silent', async () => {
      const membership = await node.join(report('a', 1));
      expect(await registry.waitEnforced(1, LONG_MS)).toMatchObject({ enforced: true });
      const stream = `KV_${bucket}`;
      for (const consumer of await jsm.consumers.list(stream).next()) {
        await jsm.consumers.delete(stream, consumer.name);
      }
      membership.announce({ revision: 2, hash: '' });
      expect(await registry.waitEnforced(2, LONG_MS)).toEqual({ enforced: true, pending: [] });
      // And without anyone who asks: the heartbeats are heard.
      for (const consumer of await jsm.consumers.list(stream).next()) {
        await jsm.consumers.delete(stream, consumer.name);
      }
      const silent = (): number => registry.nodes()[0]?.silentMs ?? Infinity;
      await expect.poll(silent, { interval: 20 }).toBeGreaterThan(1_500);
      await expect.poll(silent, { timeout: LONG_MS, interval: 20 }).toBeLessThan(500);
    });

    it.each(['stop', 'kill'] as const)(
      'keeps what it knows and goes on when the server restarts after a %s',
      async (how) => {
        const first = await node.join(report('a', 1, { whenStale: 'keep' }));
        const second = await node.join(report('b', 1, { whenStale: 'keep' }));
        expect(await registry.waitEnforced(1, LONG_MS)).toMatchObject({ enforced: true });
        await server.process[how]();
        first.announce({ revision: 2, hash: '' });
        const waiting = registry.waitEnforced(2, LONG_MS);
        await server.process.start();
        await expect
          .poll(() => registry.nodes().map((one) => one.revision), { timeout: LONG_MS })
          .toEqual([2, 1]);
        second.announce({ revision: 2, hash: '' });
        expect(await waiting).toEqual({ enforced: true, pending: [] });
      },
    );

    it('never says enforced while the server is away', async () => {
      await node.join(report('a', 5));
      expect(await registry.waitEnforced(5, LONG_MS)).toMatchObject({ enforced: true });
      await server.process.stop();
      try {
        // A node that it does not know of may have joined before the server went away.
        await expect(registry.waitEnforced(5, 1_500)).rejects.toSatisfy((error) =>
          isOperational(error, 'node_registry_unavailable'),
        );
        const answer = await registry.waitEnforced(6, 500);
        expect(answer).toEqual({ enforced: false, pending: ['a'] });
      } finally {
        await server.process.start();
      }
      expect(await registry.waitEnforced(5, LONG_MS)).toMatchObject({ enforced: true });
    });

    it('refuses a bucket that keeps too few values', async () => {
      const name = nextBucket();
      await new Kvm(await dial()).create(name, { history: HISTORY_VALUES - 1 });
      await expect(openIn(name)).rejects.toSatisfy((error) =>
        isOperational(error, 'config_invalid'),
      );
    });
  });
});
