import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectTcp, createServer as createTcpServer } from 'node:net';
import { type Server, createServer } from 'node:http';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { freePort } from './free-port.ts';
import { clusterHaproxyConfig, startHaproxy } from './haproxy.ts';
import { startNatsCluster, startNatsServer } from './nats-server.ts';
import { startRedisServer } from './redis-server.ts';
import { repositoryPath } from './repository.ts';
import { until } from './until.ts';

describe('freePort', () => {
  it('never gives one twice and none that is taken', async () => {
    const ports = await Promise.all(Array.from({ length: 100 }, () => freePort()));
    expect(new Set(ports).size).toBe(100);
  });

  it('never gives one to two processes, though nobody listens on any of them yet', async () => {
    const module = repositoryPath('packages/test-kit/dist/free-port.js');
    const script = `
      const { freePorts } = await import(process.argv[1]);
      process.send(await freePorts(300));
      process.once('message', () => process.disconnect());
    `;
    const children = Array.from({ length: 8 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', script, module], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      }),
    );
    const answers = children.map((child) => once(child, 'message') as Promise<[number[]]>);
    const ports = (await Promise.all(answers)).flatMap(([list]) => list);
    for (const child of children) child.send('done');
    expect(new Set(ports).size).toBe(8 * 300);
  });
});

describe('nats-server', () => {
  it('keeps what is stored over kill and restart on the same port, and takes 1 MiB with a header', async () => {
    const nats = await startNatsServer();
    const open = () => connect({ servers: nats.address });
    const before = await open();
    await (await jetstreamManager(before)).streams.add({ name: 'kept', subjects: ['kept.>'] });
    const payload = new Uint8Array(1024 * 1024 + 64 * 1024);
    expect((await jetstream(before).publish('kept.a', payload)).seq).toBe(1);
    await before.close();
    await nats.restart('kill');
    const after = await open();
    const stored = await jetstreamManager(after).then((manager) => manager.streams.info('kept'));
    expect(stored.state.messages).toBe(1);
    await after.close();
    await nats.stop();
    await expect(open()).rejects.toThrow();
  });

  it('runs as a cluster of three that survives its leader', async () => {
    const cluster = await startNatsCluster(3);
    const client = await connect({ servers: [...cluster.addresses] });
    const manager = await jetstreamManager(client);
    const info = await manager.streams.add({ name: 'r3', subjects: ['r3.>'], num_replicas: 3 });
    const leader = cluster.servers.find((server) => server.process.name === info.cluster?.leader);
    expect(leader).toBeDefined();
    await leader?.kill();
    const publish = () =>
      jetstream(client)
        .publish('r3.a', 'x', { msgID: 'one', timeout: 1000 })
        .then(
          () => true,
          () => false,
        );
    await until(publish, 30_000);
    await leader?.restart();
    await cluster.ready();
    await client.close();
    await cluster.stop();
  });
});

describe('redis-server', () => {
  it('keeps what it acknowledged over kill and restart on the same port', async () => {
    const redis = await startRedisServer();
    const client = new Redis(redis.url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
    // It reconnects by itself while the server is away.
    client.on('error', () => undefined);
    await client.set('key', 'value');
    // With `everysec` it would answer before it writes, on a disk that is slow at that moment.
    expect(await client.config('GET', 'appendfsync')).toEqual(['appendfsync', 'no']);
    await redis.restart('kill');
    expect(await client.get('key')).toBe('value');
    client.disconnect();
    await redis.stop();
    expect(redis.process.running).toBe(false);
  });
});

/** A node as the balancer sees it: an MQTT port that tells what it gets, and a health port. */
async function fakeNode() {
  const state = { ready: true };
  const got: Buffer[] = [];
  const tcp = createTcpServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => got.push(chunk));
    socket.write(`${mqtt}`);
  });
  const ops: Server = createServer((request, response) => {
    response.writeHead(request.url === '/readyz' && state.ready ? 200 : 503).end(`${mqtt}`);
  });
  const [mqtt, opsPort] = [await freePort(), await freePort()];
  await new Promise<void>((resolve) => tcp.listen(mqtt, '127.0.0.1', resolve));
  await new Promise<void>((resolve) => ops.listen(opsPort, '127.0.0.1', resolve));
  const close = () => {
    tcp.close();
    ops.close();
    ops.closeAllConnections();
  };
  return { mqtt, ws: mqtt, http: opsPort, ops: opsPort, state, got, close };
}

function greeting(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host: '127.0.0.1', port });
    socket.write('hello');
    socket.on('error', () => {
      resolve('');
    });
    socket.on('close', () => {
      resolve('');
    });
    socket.on('data', (chunk) => {
      resolve(chunk.toString());
      socket.destroy();
    });
  });
}

describe('haproxy with the configuration of deploy/haproxy', () => {
  it('sends PROXY v2, and new connections to ready nodes only', async () => {
    const nodes = [await fakeNode(), await fakeNode()] as const;
    const [mqttPort, wsPort, httpPort] = [await freePort(), await freePort(), await freePort()];
    const haproxy = await startHaproxy({
      ...clusterHaproxyConfig({
        host: '127.0.0.1',
        mqttPort,
        wsPort,
        httpPort,
        brokers: nodes,
        adminApis: nodes,
      }),
      readyPort: wsPort,
    });
    const [first, second] = nodes;
    const ports = nodes.map((node) => String(node.mqtt));
    const seen = new Set<string>();
    await until(async () => seen.add(await greeting(mqttPort)).size === 2);
    expect([...seen].sort()).toEqual([...ports].sort());
    await until(() => first.got.length > 0);
    const header = first.got[0]?.subarray(0, 28);
    expect(header?.subarray(0, 12).toString('hex')).toBe('0d0a0d0a000d0a515549540a');
    // TCP over IPv4, 12 bytes: source address 127.0.0.1 first.
    expect(header?.subarray(12, 20).toString('hex')).toBe('2111000c7f000001');

    first.state.ready = false;
    await until(async () => (await fetch(`http://127.0.0.1:${httpPort}/readyz`)).status === 200);
    await haproxy.process.waitForLine(/Server mqtt\/broker-1 is DOWN/);
    for (let i = 0; i < 10; i += 1) expect(await greeting(mqttPort)).toBe(String(second.mqtt));
    await haproxy.stop();
    for (const node of nodes) node.close();
  });

  it('redispatches to another node while a dead one still counts as up', async () => {
    const [dead, living] = [await fakeNode(), await fakeNode()];
    const [mqttPort, wsPort, httpPort] = [await freePort(), await freePort(), await freePort()];
    const nodes = [dead, living];
    const haproxy = await startHaproxy({
      ...clusterHaproxyConfig({
        host: '127.0.0.1',
        mqttPort,
        wsPort,
        httpPort,
        brokers: nodes,
        adminApis: nodes,
      }),
      readyPort: wsPort,
    });
    dead.close();
    for (let i = 0; i < 4; i += 1) expect(await greeting(mqttPort)).toBe(String(living.mqtt));
    await haproxy.stop();
    living.close();
  });
});
