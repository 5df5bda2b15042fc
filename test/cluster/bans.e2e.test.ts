import { type BrokerNode, type Cluster, RawMqtt5Client, startCluster } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';

const BANNED = 0x8a;
const ADMINISTRATIVE_ACTION = 0x98;

interface Page {
  readonly items: readonly { readonly clientId: string; readonly nodeId: string }[];
  readonly total: number;
  readonly silentNodes: readonly string[];
}

let cluster: Cluster;
let api: Api;
let device: { readonly username: string; readonly password: string };

beforeAll(async () => {
  cluster = await startCluster();
  api = await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password);
  device = await api.addDevice('device', []);
});
afterAll(() => cluster?.stop());

const nodeAt = (index: number): BrokerNode => {
  const node = cluster.brokers[index];
  if (node === undefined) throw new Error(`no broker ${index}`);
  return node;
};

async function connect(node: BrokerNode, clientId: string) {
  const client = await RawMqtt5Client.open(node.mqttPort);
  const { reasonCode } = await client.connect({ clientId, cleanStart: true, ...device });
  return { client, reasonCode };
}

const ban = (value: string, query: string) =>
  api.send('POST', `/api/v1/bans?${query}`, { kind: 'client_id', value });

describe('a ban that comes while a node', () => {
  it('is dead is known to it from its first connection on', async () => {
    const node = nodeAt(2);
    await node.process.kill();
    expect((await ban('while-dead', 'wait=enforced&timeoutMs=0')).status).toBeLessThan(300);
    await node.process.start();
    const { client, reasonCode } = await connect(node, 'while-dead');
    expect(reasonCode).toBe(BANNED);
    client.destroy();
  });

  it('is frozen is not said to be enforced, and is enforced when it is thawed', async () => {
    const node = nodeAt(1);
    const { client, reasonCode } = await connect(node, 'while-frozen');
    expect(reasonCode).toBe(0);
    node.process.freeze();
    try {
      const answer = await ban('while-frozen', 'wait=enforced&timeoutMs=1000');
      expect(answer.status).toBe(202);
      expect(answer.body).toMatchObject({ enforced: false, pendingNodes: [node.nodeId] });
    } finally {
      node.process.thaw();
    }
    const packets = await client.ending();
    expect(packets).toMatchObject([{ type: 'disconnect', reasonCode: ADMINISTRATIVE_ACTION }]);
  });
});

describe('the list of connections', () => {
  it('names the node that is frozen, has the others, and says of nobody that may be there that they are not', async () => {
    const clients = await Promise.all(
      cluster.brokers.map((node, index) => connect(node, `on-${index}`)),
    );
    expect(clients.map(({ reasonCode }) => reasonCode)).toEqual([0, 0, 0]);
    const list = (): Promise<Page> =>
      api.expect<Page>(200, 'GET', '/api/v1/connections?search=on-');
    expect(await list()).toMatchObject({ total: 3, silentNodes: [] });
    const node = nodeAt(1);
    node.process.freeze();
    try {
      const page = await list();
      expect(page.silentNodes).toEqual([node.nodeId]);
      expect(page.items.map((one) => one.clientId)).toEqual(['on-0', 'on-2']);
      await api.expect(503, 'GET', '/api/v1/connections/on-1');
      await api.expect(503, 'DELETE', '/api/v1/connections/nobody');
      await api.expect(204, 'DELETE', '/api/v1/connections/on-2');
    } finally {
      node.process.thaw();
    }
    await expect.poll(async () => (await list()).silentNodes, { timeout: 10_000 }).toEqual([]);
    expect((await list()).items.map((one) => one.clientId)).toEqual(['on-0', 'on-1']);
    for (const { client } of clients) client.destroy();
  });
});
