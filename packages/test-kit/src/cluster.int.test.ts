import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '@nats-io/transport-node';
import { Redis } from 'ioredis';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { type Cluster, startCluster } from './cluster.ts';
import { RawMqttClient } from './raw-mqtt-client.ts';
import { removeTempFolders, tempFolder } from './temp-folder.ts';
import { until } from './until.ts';

afterAll(removeTempFolders);

/** A program in the place of a service: answers as its environment says, and prints what it was given. */
const PLACEHOLDER = `
import { createServer } from 'node:http';
import { createServer as createTcp } from 'node:net';
const env = process.env;
const at = (name) => { const [host, port] = env[name].split(':'); return [Number(port), host]; };
const given = Object.keys(env).filter((name) => name.startsWith('SALLYPORT_')).sort();
console.log(given.join(' '));
if (env.FAIL === 'yes') { console.error('cannot start'); process.exit(9); }
createServer((req, res) => res.writeHead(req.url === '/readyz' ? 200 : 404).end()).listen(...at('SALLYPORT_OPS__LISTEN'));
const answer = (req, res) => res.end(JSON.stringify({ from: env.SALLYPORT_HTTP__LISTEN, peer: req.headers['x-forwarded-for'] }));
if (env.SALLYPORT_HTTP__LISTEN) createServer(answer).listen(...at('SALLYPORT_HTTP__LISTEN'));
if (env.SALLYPORT_NODE__ID) createTcp((socket) => {
  socket.on('error', () => {});
  socket.once('data', () => socket.write(Buffer.from([0x20, 2, 0, 0])));
}).listen(...at('SALLYPORT_MQTT__TCP__LISTEN'));
process.on('SIGTERM', () => { console.log('drained'); process.exit(0); });
`;

function entries() {
  const path = join(tempFolder('placeholder'), 'main.mjs');
  writeFileSync(path, PLACEHOLDER);
  return { 'admin-api': path, policy: path, broker: path };
}

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

describe('startCluster', () => {
  it('starts everything, reaches it through the balancer, and leaves nothing behind', async () => {
    const progress: string[] = [];
    const ends: string[] = [];
    cluster = await startCluster({
      entries: entries(),
      otlpUrl: 'http://127.0.0.1:4318',
      onProgress: (message) => progress.push(message),
      onUnexpectedExit: (_exit, own) => ends.push(own.name),
    });
    const { adminApis, policies, brokers, nats, redis, natsPasswords } = cluster;
    expect([adminApis.length, policies.length, brokers.length]).toEqual([2, 2, 3]);
    expect(progress[0]).toBe('nats-server and redis-server are ready');
    expect(progress.at(-1)).toBe('haproxy is ready');
    expect(brokers[0]?.process.lines[0]?.split(' ')).toEqual([
      'SALLYPORT_MQTT__ACCEPTS_PER_SECOND',
      'SALLYPORT_MQTT__CONNECTS_PER_CREDENTIAL_PER_SECOND',
      'SALLYPORT_MQTT__CONNECTS_PER_SOURCE_PER_SECOND',
      'SALLYPORT_MQTT__FLAPPING__CONNECTS_MAX',
      'SALLYPORT_MQTT__FLAPPING__CREDENTIAL_CONNECTS_MAX',
      'SALLYPORT_MQTT__GUESSING__FAILURES_MAX',
      'SALLYPORT_MQTT__GUESSING__SOURCE_FAILURES_MAX',
      'SALLYPORT_MQTT__LIMITS__PUBLISHES_PER_SECOND',
      'SALLYPORT_MQTT__PROXY_FROM',
      'SALLYPORT_MQTT__TCP__LISTEN',
      'SALLYPORT_MQTT__UNAUTHENTICATED_PERCENT_MAX',
      'SALLYPORT_MQTT__WS__LISTEN',
      'SALLYPORT_NATS__LOG_API_PREFIX',
      'SALLYPORT_NATS__PASSWORD',
      'SALLYPORT_NATS__SERVERS',
      'SALLYPORT_NATS__USER',
      'SALLYPORT_NODE__ID',
      'SALLYPORT_OPS__LISTEN',
      'SALLYPORT_POLICY__ENDPOINTS',
      'SALLYPORT_POLICY__TOKEN',
      'SALLYPORT_REDIS__URL',
      'SALLYPORT_TELEMETRY__OTLP_URL',
    ]);

    const answer = await fetch(cluster.httpUrl).then((response) => response.json());
    expect(answer).toMatchObject({ peer: '127.0.0.1' });
    const client = await RawMqttClient.open(cluster.mqtt.port, cluster.mqtt.host);
    expect(await client.connect({ clientId: 'c' })).toMatchObject({ returnCode: 0 });
    client.destroy();
    const login = { user: 'broker', pass: natsPasswords.broker };
    await (await connect({ servers: nats.address, ...login })).close();
    const store = new Redis(redis.url);
    expect(await store.ping()).toBe('PONG');
    store.disconnect();

    brokers[1]?.process.signal('SIGKILL');
    await brokers[1]?.process.exit;
    await brokers[2]?.process.restart();
    expect(ends).toEqual(['broker-2']);

    const all = [...adminApis, ...policies, ...brokers].map((node) => node.process);
    const others = [nats.process, redis.process, cluster.haproxy.process];
    await cluster.stop();
    expect([...all, ...others].filter((own) => own.running)).toEqual([]);
    expect(all.filter((own) => own.lines.at(-1) === 'drained')).toHaveLength(6);
    expect(existsSync(cluster.dataDir)).toBe(false);
    await expect(fetch(cluster.httpUrl)).rejects.toThrow();
    expect(ends).toEqual(['broker-2']);
  });

  it('fails with the reason of the service that does not start, and stops the rest', async () => {
    const dataDir = tempFolder('kept');
    const seen = new Set<string>();
    const starting = startCluster({
      entries: entries(),
      dataDir,
      env: { policy: { FAIL: 'yes' } },
      onLine: (_line, name) => seen.add(name),
    });
    await expect(starting).rejects.toThrow(
      /policy-\d ended while starting \(code 9\)[^]*policy-\d \| cannot start/,
    );
    expect(seen).toContain('admin-api-2');
    expect(existsSync(join(dataDir, 'redis'))).toBe(true);
    // Redis writes its last words when it is stopped.
    const again = await startCluster({ entries: entries(), dataDir });
    await again.stop();
    await until(() => !again.redis.process.running);
  });
});
