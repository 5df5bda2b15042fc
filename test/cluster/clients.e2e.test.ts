import { type Cluster, startCluster } from '@sallyport/test-kit';
import mqtt, { type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { MosquittoSub, run } from '../harness/mosquitto.ts';

let cluster: Cluster;
let device: { username: string; password: string };

beforeAll(async () => {
  cluster = await startCluster();
  const api = await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password);
  device = await api.addDevice('client', [
    { effect: 'allow', action: 'all', topicFilter: 'plant/#' },
  ]);
});

afterAll(() => cluster?.stop());

/** Connects to one node, past the load balancer, so that the test knows where it is. */
const at = (node: number): number => {
  const port = cluster.brokers[node]?.mqttPort;
  if (port === undefined) throw new Error(`no broker ${node}`);
  return port;
};

const mosquitto = (port: number, topic: string): string[] => [
  ...['-p', String(port), '-u', device.username, '-P', device.password, '-t', topic],
];

async function connect(port: number, protocol: 'mqtt' | 'ws' = 'mqtt'): Promise<MqttClient> {
  const path = protocol === 'ws' ? '/mqtt' : '';
  return mqtt.connectAsync(`${protocol}://127.0.0.1:${port}${path}`, {
    username: device.username,
    password: device.password,
    protocolVersion: 4,
    reconnectPeriod: 0,
  });
}

const next = (client: MqttClient): Promise<string> =>
  new Promise((resolve) => {
    client.once('message', (topic, payload) => resolve(`${topic} ${payload.toString()}`));
  });

describe('three nodes behind the load balancer', () => {
  it('carry messages from every node to every node, once', async () => {
    const received: string[][] = [[], [], []];
    const subscribers = await Promise.all([0, 1, 2].map((node) => connect(at(node))));
    for (const [node, client] of subscribers.entries()) {
      client.on('message', (_topic, payload) => received[node]?.push(payload.toString()));
      await client.subscribeAsync('plant/matrix/#', { qos: 1 });
    }
    const sent: string[] = [];
    for (const node of [0, 1, 2]) {
      const publisher = await connect(at(node));
      for (const qos of [0, 1] as const) {
        sent.push(`${node}/${qos}`);
        await publisher.publishAsync('plant/matrix/x', `${node}/${qos}`, { qos });
      }
      await publisher.endAsync();
    }
    // The last message of each node follows all others of it, so nothing can come twice unseen.
    for (const list of received) {
      await expect.poll(() => [...list].sort(), { timeout: 10_000 }).toEqual([...sent].sort());
    }
    for (const client of subscribers) await client.endAsync();
  });

  it('serve mosquitto_pub and mosquitto_sub through HAProxy', async () => {
    const { port } = cluster.mqtt;
    await using sub = await MosquittoSub.start(mosquitto(port, 'plant/mosquitto/#'));
    for (let count = 1; count <= 3; count++) {
      const message = ['-m', `hello ${count}`, '-q', '1'];
      const sent = await run('mosquitto_pub', [
        ...mosquitto(port, 'plant/mosquitto/1'),
        ...message,
      ]);
      expect(sent).toMatchObject({ code: 0 });
      await sub.waitFor(new RegExp(`^plant/mosquitto/1 hello ${count}$`, 'm'));
    }
  });

  it('serve mqtt.js through HAProxy, over TCP and WebSocket', async () => {
    const [tcp, ws] = [await connect(cluster.mqtt.port), await connect(cluster.wsPort, 'ws')];
    for (const client of [tcp, ws]) await client.subscribeAsync('plant/js', { qos: 1 });
    const both = Promise.all([next(tcp), next(ws)]);
    await ws.publishAsync('plant/js', 'from ws', { qos: 1 });
    expect(await both).toEqual(['plant/js from ws', 'plant/js from ws']);
    for (const client of [tcp, ws]) await client.endAsync();
  });

  it("serve Python's paho through HAProxy", async () => {
    const listener = await connect(at(2));
    await listener.subscribeAsync('plant/paho/#', { qos: 1 });
    const heard = next(listener);
    const script = `
import sys, paho.mqtt.client as paho
port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
client = paho.Client(client_id="paho", protocol=paho.MQTTv311)
client.username_pw_set(user, password)
client.on_connect = lambda c, u, f, rc: c.subscribe("plant/paho/back", 1)
client.on_subscribe = lambda c, u, mid, qos: c.publish("plant/paho/back", "from paho", 1)
client.on_message = lambda c, u, m: (print(m.topic, m.payload.decode()), c.disconnect())
client.connect("127.0.0.1", port, 10)
client.loop_forever()
`;
    const args = ['-c', script, String(cluster.mqtt.port), device.username, device.password];
    const { stdout, stderr } = await run('/usr/bin/python3', args);
    expect(stdout, stderr).toBe('plant/paho/back from paho\n');
    expect(await heard).toBe('plant/paho/back from paho');
    await listener.endAsync();
  });

  it('keep a persistent session in Redis: offline on one node, resumed on another', async () => {
    const session = { clientId: 'wanderer', clean: false } as const;
    const open = (node: number): Promise<MqttClient> =>
      mqtt.connectAsync(`mqtt://127.0.0.1:${at(node)}`, {
        ...session,
        ...device,
        protocolVersion: 4,
        reconnectPeriod: 0,
      });
    const first = await open(0);
    await first.subscribeAsync('plant/queue', { qos: 1 });
    await first.endAsync();
    const publisher = await connect(at(1));
    await publisher.publishAsync('plant/queue', 'while away', { qos: 1 });
    const received: string[] = [];
    const again = mqtt.connect(`mqtt://127.0.0.1:${at(2)}`, {
      ...session,
      ...device,
      protocolVersion: 4,
      reconnectPeriod: 0,
    });
    again.on('message', (_topic, payload) => received.push(payload.toString()));
    await expect.poll(() => received, { timeout: 10_000 }).toEqual(['while away']);
    await again.endAsync();
    await publisher.endAsync();
  });

  it('see the address of the client, not that of the load balancer', async () => {
    await run('mosquitto_pub', [
      ...['-p', String(cluster.mqtt.port), '-u', 'nobody-knows', '-P', 'x', '-t', 'a', '-m', 'b'],
    ]);
    const refusals = (): unknown[] =>
      cluster.brokers
        .flatMap(({ process }) => process.lines)
        .filter((line) => line.includes('nobody-knows'))
        .map((line) => (JSON.parse(line) as { peer: unknown }).peer);
    await expect.poll(refusals).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+$/)]);
  });
});
