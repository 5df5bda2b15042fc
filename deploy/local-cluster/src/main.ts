import { isAbsolute, resolve } from 'node:path';
import { loadConfig } from '@sallyport/config';
import { OperationalError } from '@sallyport/errors';
import {
  type Cluster,
  type ProcessExit,
  type ServerProcess,
  startCluster,
} from '@sallyport/test-kit';
import { type LocalClusterConfig, configSchema } from './config.ts';
import { type Deployment, openDeployment } from './deployment.ts';

const LINES_OF_THE_DEAD = 20;
const EXIT_INTERRUPTED = 130;

const say = (text: string) => process.stdout.write(`${text}\n`);

function report({ code, signal }: ProcessExit, { name, lines }: ServerProcess): void {
  process.stderr.write(`cluster: ${name} ended unexpectedly (${signal ?? `code ${code}`})\n`);
  for (const line of lines.slice(-LINES_OF_THE_DEAD)) process.stderr.write(`  ${name} | ${line}\n`);
}

function introduce(cluster: Cluster): void {
  const { mqtt, httpUrl, admin } = cluster;
  const credential = JSON.stringify({
    name: 'pump-7',
    match: { username: 'pump-7' },
    password: 'a long secret',
    access: { kind: 'unrestricted' },
  });
  const login = JSON.stringify({ username: admin.name, password: admin.password });
  const device = `-h ${mqtt.host} -p ${mqtt.port} -u pump-7 -P 'a long secret' -t demo/hello`;
  say('');
  say(`  MQTT            ${mqtt.host}:${mqtt.port}`);
  say(`  WebSocket       ws://${mqtt.host}:${cluster.wsPort}/mqtt`);
  say(`  REST            ${httpUrl}`);
  for (const node of cluster.adminApis) say(`  ${node.name.padEnd(15)} ${node.url}`);
  for (const node of cluster.policies) say(`  ${node.name.padEnd(15)} ${node.address} (gRPC)`);
  for (const node of cluster.brokers) say(`  ${node.name.padEnd(15)} ${node.opsUrl}/readyz`);
  say(`  nats-server     ${cluster.nats.address}`);
  say(`  redis-server    ${cluster.redis.url}`);
  say(`  data            ${cluster.dataDir}`);
  say('');
  say(`  administrator   ${admin.name}`);
  say(`  password        ${admin.password}`);
  say('');
  say('Paste into another terminal: log in, make a credential, listen, publish.');
  say('');
  say(`TOKEN=$(curl -s ${httpUrl}/api/v1/auth/login -H 'content-type: application/json' \\`);
  say(`  -d '${login}' | sed 's/.*"accessToken":"\\([^"]*\\)".*/\\1/')`);
  say(`curl -s '${httpUrl}/api/v1/credentials?wait=enforced' -H "authorization: Bearer $TOKEN" \\`);
  say(`  -H 'content-type: application/json' -d '${credential}'`);
  say(`mosquitto_sub ${device} &`);
  say(`mosquitto_pub ${device} -m 'hello'`);
  say('');
  say('Ctrl-C stops everything.');
}

function start(config: LocalClusterConfig, deployment: Deployment): Promise<Cluster> {
  const { cluster, dataDir, telemetry } = config;
  return startCluster({
    ...cluster,
    ...deployment,
    dataDir: dataDir === undefined || isAbsolute(dataDir) ? dataDir : resolve(dataDir),
    otlpUrl: telemetry.otlpUrl,
    onProgress: (message) => say(`cluster: ${message}`),
    onUnexpectedExit: report,
  });
}

async function main(): Promise<void> {
  const state: { cluster?: Cluster; stopping: boolean } = { stopping: false };
  const onSignal = () => {
    // While it starts, and on a second signal: the exit hook of test-kit kills what runs and removes the files.
    if (state.stopping || state.cluster === undefined) process.exit(EXIT_INTERRUPTED);
    state.stopping = true;
    say('cluster: stopping');
    void state.cluster.stop().then(() => process.exit(0));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const config = loadConfig({ schema: configSchema, env: process.env });
  const deployment = openDeployment(config.dataDir, config.bootstrap.adminPassword);
  say('cluster: starting');
  state.cluster = await start(config, deployment);
  introduce(state.cluster);
}

try {
  await main();
} catch (error) {
  const reason =
    error instanceof OperationalError || error instanceof Error ? error.message : error;
  process.stderr.write(`cluster: ${String(reason)}\n`);
  process.exit(1);
}
