import { type Cluster, startCluster } from '@sallyport/test-kit';
import mqtt, { type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';

const ROUNDS = 200;

let cluster: Cluster;
let api: Api;

beforeAll(async () => {
  cluster = await startCluster();
  api = await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password);
  // A denied publish is acknowledged and dropped, so that the victims stay to be tested.
  await api.expect(200, 'PATCH', '/api/v1/settings?wait=enforced', { denyAction: 'ignore' });
});

afterAll(() => cluster?.stop());

interface Device {
  readonly username: string;
  readonly password: string;
}

/** One connection on each node; collects what it receives. */
async function onEveryNode({ username, password }: Device): Promise<Connected[]> {
  return Promise.all(
    cluster.brokers.map(async ({ mqttPort }) => {
      const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${mqttPort}`, {
        username,
        password,
        protocolVersion: 4,
        reconnectPeriod: 0,
      });
      const topics: string[] = [];
      client.on('message', (topic) => topics.push(topic));
      await client.subscribeAsync('v/#', { qos: 1 });
      return { client, topics };
    }),
  );
}

interface Connected {
  readonly client: MqttClient;
  readonly topics: string[];
}

const publishAll = (from: readonly Connected[], kind: string) =>
  Promise.all(
    from.map(({ client }, node) => client.publishAsync(`v/${kind}/${node}`, 'x', { qos: 1 })),
  );

/** Every one of `to` gets the three messages of this kind, one from each node. */
const arrive = (to: readonly Connected[], kind: string) =>
  expect
    .poll(
      () => to.map(({ topics }) => topics.filter((one) => one.startsWith(`v/${kind}/`)).length),
      { timeout: 10_000, interval: 5 },
    )
    .toEqual(to.map(() => cluster.brokers.length));

describe('a rule that is taken away with wait=enforced', () => {
  it(
    `is dead on all three nodes when the call returns, ${ROUNDS} times, with a policy replica killed half-way`,
    { timeout: 300_000 },
    async () => {
      const rules = [{ effect: 'allow', action: 'all', topicFilter: 'v/#' }] as const;
      const victim = await api.addDevice('victim', rules);
      const watcher = await api.addDevice('watcher', rules);
      const victims = await onEveryNode(victim);
      const watchers = await onEveryNode(watcher);
      const path = '/api/v1/acl/usernames/victim?wait=enforced';

      for (let round = 1; round <= ROUNDS; round++) {
        if (round === ROUNDS / 2) await cluster.policies[0]?.process.kill();

        const removed = await api.send('DELETE', path);
        expect(removed.status, `round ${round}`).toBe(204);
        expect(removed.headers.get('sallyport-enforced')).toBe('true');
        await publishAll(victims, `stolen-${round}`);
        await publishAll(watchers, `secret-${round}`);
        // Whatever the victims' nodes let through was sent before these, on the same ways.
        await arrive(watchers, `secret-${round}`);

        const granted = await api.send('PUT', path, { rules });
        expect(granted.status, `round ${round}`).toBeLessThan(202);
        await publishAll(watchers, `sentinel-${round}`);
        await publishAll(victims, `back-${round}`);
        await arrive(victims, `sentinel-${round}`);
        await arrive(watchers, `back-${round}`);

        const all = [...victims, ...watchers].flatMap(({ topics }) => topics);
        expect(all.filter((one) => one.startsWith('v/stolen-'))).toEqual([]);
        const leaked = victims.flatMap(({ topics }) => topics);
        expect(leaked.filter((one) => one.startsWith('v/secret-'))).toEqual([]);
        for (const { topics } of [...victims, ...watchers]) topics.length = 0;
      }
      expect(victims.every(({ client }) => client.connected)).toBe(true);
      for (const { client } of [...victims, ...watchers]) await client.endAsync();
    },
  );

  it('closes the sessions of a credential that is deleted, on all nodes, and lets nobody back in', async () => {
    await cluster.policies[0]?.process.start();
    const rules = [{ effect: 'allow', action: 'all', topicFilter: 'v/#' }] as const;
    const gone = await api.addDevice('gone', rules);
    const sessions = await onEveryNode(gone);
    const closed = sessions.map(
      ({ client }) => new Promise<void>((resolve) => client.once('close', () => resolve())),
    );
    const removed = await api.send('DELETE', `/api/v1/credentials/${gone.id}?wait=enforced`);
    expect(removed.status).toBe(204);
    await Promise.all(closed);
    for (const { mqttPort } of cluster.brokers) {
      const attempt = mqtt.connectAsync(`mqtt://127.0.0.1:${mqttPort}`, {
        ...gone,
        protocolVersion: 4,
        reconnectPeriod: 0,
      });
      await expect(attempt).rejects.toMatchObject({ code: 4 });
    }
  });

  it('answers 202 and names the node that has not said so, while it is frozen', async () => {
    const frozen = cluster.brokers[1];
    if (frozen === undefined) throw new Error('no broker 1');
    frozen.process.freeze();
    try {
      const path = '/api/v1/acl/everyone?wait=enforced&timeoutMs=1500';
      const answer = await api.send('PUT', path, { rules: [] });
      expect(answer.status).toBe(202);
      expect(answer.body).toMatchObject({ enforced: false, pendingNodes: [frozen.nodeId] });
    } finally {
      frozen.process.thaw();
    }
    await expect
      .poll(
        async () =>
          (await api.send('PUT', '/api/v1/acl/everyone?wait=enforced', { rules: [] })).status,
        {
          timeout: 20_000,
        },
      )
      .toBeLessThan(202);
  });
});

describe('a node that is stopped with SIGTERM', () => {
  it('closes its sessions, leaves at once, and no write waits for it; started again it is back', async () => {
    const [, , node] = cluster.brokers;
    if (node === undefined) throw new Error('no third broker');
    const device = await api.addDevice('drained', []);
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${node.mqttPort}`, {
      ...device,
      protocolVersion: 4,
      reconnectPeriod: 0,
    });
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    expect(await node.process.stop()).toMatchObject({ code: 0 });
    await closed;
    const path = '/api/v1/acl/everyone?wait=enforced&timeoutMs=5000';
    const without = await api.send('PUT', path, { rules: [] });
    expect(without.status).toBeLessThan(202);
    await node.process.start();
    const nodes = await api.expect<{ items: { nodeId: string }[] }>(200, 'GET', '/api/v1/nodes');
    expect(nodes.items.map((one) => one.nodeId)).toContain(node.nodeId);
    const again = await api.send('PUT', path, { rules: [] });
    expect(again.status).toBeLessThan(202);
  });
});

describe('health', () => {
  it('is open, and metrics are for loopback peers', async () => {
    for (const { opsUrl } of [...cluster.adminApis, ...cluster.policies, ...cluster.brokers]) {
      for (const path of ['livez', 'readyz', 'startupz']) {
        expect((await fetch(`${opsUrl}/${path}`)).status).toBe(200);
      }
      const metrics = await fetch(`${opsUrl}/metrics`);
      expect(await metrics.text()).toMatch(/^sallyport_process_memory/m);
      const forwarded = { headers: { 'x-forwarded-for': '192.0.2.1' } };
      expect((await fetch(`${opsUrl}/metrics`, forwarded)).status).toBe(403);
    }
  });
});
