import { connect, type NatsConnection } from '@nats-io/transport-node';
import { startNatsCluster, startNatsServer } from '@sallyport/test-kit';
import { describe, expect, it } from 'vitest';
import { openNatsNodeRegistry } from './nats.ts';

const users = {
  'admin-api': 'writes-the-log',
  'admin-api-nodes': 'reads-the-nodes',
  policy: 'reads-the-log',
  broker: 'joins',
} as const;

async function dial(servers: readonly string[], user: keyof typeof users): Promise<NatsConnection> {
  return connect({ servers: [...servers], user, pass: users[user] });
}

/** A broker joins and announces; admin-api, whose user may not write entries of nodes, waits for it. */
async function proveOn(servers: readonly string[], replicas: number): Promise<void> {
  const own = await dial(servers, 'broker');
  const other = await dial(servers, 'admin-api-nodes');
  try {
    // Either may be the first, and creates the bucket.
    await using view = await openNatsNodeRegistry({ connection: other, replicas });
    await using nodes = await openNatsNodeRegistry({ connection: own, replicas });
    const report = { nodeId: 'broker-1', revision: 1, hash: 'h', whenStale: 'drop' } as const;
    const membership = await nodes.join(report);
    expect(await view.waitEnforced(2, 3_000)).toEqual({ enforced: false, pending: ['broker-1'] });
    membership.announce({ revision: 2, hash: 'i' });
    expect(await view.waitEnforced(2, 10_000)).toEqual({ enforced: true, pending: [] });
    await membership.leave();
  } finally {
    await Promise.all([own.close(), other.close()]);
  }
}

describe('The registry in the NATS account of the brokers', () => {
  it('shows nodes to the second user of admin-api', async () => {
    const server = await startNatsServer({ users });
    try {
      await proveOn([server.address], 1);
    } finally {
      await server.stop();
    }
  });

  it('does so with three copies', async () => {
    const cluster = await startNatsCluster(3, { users });
    try {
      await proveOn(cluster.addresses, 3);
    } finally {
      await cluster.stop();
    }
  });
});
