import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { BALANCER_SOURCE, type Haproxy, clusterHaproxyConfig, startHaproxy } from './haproxy.ts';
import {
  type NatsPasswords,
  type NatsServer,
  type NatsUser,
  NATS_LOG_API_PREFIX,
  startNatsServer,
} from './nats-server.ts';
import { type RedisServer, startRedisServer } from './redis-server.ts';
import { repositoryPath } from './repository.ts';
import type { ProcessExit, ServerProcess } from './server-process.ts';
import { startProcess } from './service-process.ts';
import { removeFolder, tempFolder } from './temp-folder.ts';
import { until } from './until.ts';

export interface ClusterOptions {
  /** Port of the load balancer; a free one when left out. */
  readonly mqttPort?: number | undefined;
  readonly wsPort?: number | undefined;
  readonly httpPort?: number | undefined;
  /** Host of the load balancer's addresses. */
  readonly host?: string | undefined;
  /** Kept when given, else a temporary folder that `stop` removes. */
  readonly dataDir?: string | undefined;
  /** Bytes that JetStream may take; no limit when left out. */
  readonly storeBytesMax?: number;
  readonly adminApis?: number;
  readonly policies?: number;
  readonly brokers?: number;
  /** First administrator's password; a random one when left out. */
  readonly adminPassword?: string | undefined;
  /** Key that seals verifiers, base64 of 32 bytes; give the same one with the same `dataDir`. */
  readonly secretsKey?: string | undefined;
  readonly otlpUrl?: string | undefined;
  /** Absolute paths of other programs than the built services. */
  readonly entries?: Partial<Record<ServiceName, string>>;
  /** More environment for a service, over what the cluster sets. */
  readonly env?: Partial<Record<ServiceName, Readonly<Record<string, string>>>>;
  /** Every line of every process; `verbose` writes them to standard error with the name of the process before. */
  readonly onLine?: ((line: string, name: string) => void) | undefined;
  readonly verbose?: boolean;
  readonly onProgress?: ((message: string) => void) | undefined;
  readonly onUnexpectedExit?: ((exit: ProcessExit, process: ServerProcess) => void) | undefined;
}

export type ServiceName = 'admin-api' | 'policy' | 'broker';

export interface ClusterNode {
  readonly name: string;
  readonly process: ServerProcess;
  /** Base URL of `/livez`, `/readyz`, `/metrics`. */
  readonly opsUrl: string;
}
export interface AdminApiNode extends ClusterNode {
  readonly url: string;
}
export interface PolicyNode extends ClusterNode {
  /** `host:port` of the gRPC service. */
  readonly address: string;
}
export interface BrokerNode extends ClusterNode {
  readonly nodeId: string;
  /** The node's own listeners. They want a PROXY header from the load balancer's address only. */
  readonly mqttPort: number;
  readonly wsPort: number;
}

export interface Cluster {
  /** Through the load balancer. */
  readonly mqtt: { readonly host: string; readonly port: number };
  readonly wsPort: number;
  readonly httpUrl: string;
  /** Past the load balancer. */
  readonly adminUrls: readonly string[];
  readonly admin: { readonly name: string; readonly password: string };
  readonly apiKey: { readonly key: string; readonly secret: string };
  readonly nats: NatsServer;
  readonly natsPasswords: NatsPasswords;
  /** By which brokers and admin-api prove themselves to the policy services. */
  readonly policyToken: string;
  readonly redis: RedisServer;
  readonly adminApis: readonly AdminApiNode[];
  readonly policies: readonly PolicyNode[];
  readonly brokers: readonly BrokerNode[];
  readonly haproxy: Haproxy;
  readonly dataDir: string;
  /** Stops everything, the edge first; removes a temporary data folder. */
  stop(): Promise<void>;
}

const HOST = '127.0.0.1';
/** Two cores start seven Node processes at once. */
const SERVICE_READY_TIMEOUT_MS = 60_000;
const BALANCER_READY_TIMEOUT_MS = 10_000;

/** Environment of a broker whose clients all come from one machine, as many, as fast and as wrong as they like, and publish as they like. */
export const NO_CONNECT_RATES: Readonly<Record<string, string>> = {
  SALLYPORT_MQTT__CONNECTS_PER_SOURCE_PER_SECOND: '0',
  SALLYPORT_MQTT__ACCEPTS_PER_SECOND: '0',
  SALLYPORT_MQTT__UNAUTHENTICATED_PERCENT_MAX: '100',
  SALLYPORT_MQTT__CONNECTS_PER_CREDENTIAL_PER_SECOND: '0',
  SALLYPORT_MQTT__FLAPPING__CONNECTS_MAX: '0',
  SALLYPORT_MQTT__FLAPPING__CREDENTIAL_CONNECTS_MAX: '0',
  SALLYPORT_MQTT__GUESSING__FAILURES_MAX: '0',
  SALLYPORT_MQTT__GUESSING__SOURCE_FAILURES_MAX: '0',
  SALLYPORT_MQTT__LIMITS__PUBLISHES_PER_SECOND: '0',
};

const randomText = () => randomBytes(18).toString('base64url');

interface Plan {
  readonly options: ClusterOptions;
  readonly dataDir: string;
  readonly passwords: NatsPasswords;
  readonly secretsKey: string;
  readonly policyToken: string;
  readonly admin: { readonly name: string; readonly password: string };
  readonly apiKey: { readonly key: string; readonly secret: string };
  readonly adminApis: readonly { readonly http: number; readonly ops: number }[];
  readonly policies: readonly { readonly grpc: number; readonly ops: number }[];
  readonly brokers: readonly { readonly mqtt: number; readonly ws: number; readonly ops: number }[];
  readonly onLine: ClusterOptions['onLine'];
}

interface Stores {
  readonly nats: NatsServer;
  readonly redis: RedisServer;
}

async function portsOf<Name extends string>(
  count: number,
  names: readonly Name[],
): Promise<Record<Name, number>[]> {
  const groups = Array.from({ length: count }, async () => {
    const pairs = names.map(async (name) => [name, await freePort()] as const);
    // One entry for each name.
    return Object.fromEntries(await Promise.all(pairs)) as Record<Name, number>;
  });
  return Promise.all(groups);
}

function lineSink(options: ClusterOptions): ClusterOptions['onLine'] {
  if (options.verbose !== true) return options.onLine;
  return (line, name) => {
    process.stderr.write(`${name} | ${line}\n`);
    options.onLine?.(line, name);
  };
}

async function plan(options: ClusterOptions): Promise<Plan> {
  return {
    options,
    dataDir: options.dataDir ?? tempFolder('cluster'),
    passwords: {
      'admin-api': randomText(),
      'admin-api-nodes': randomText(),
      policy: randomText(),
      broker: randomText(),
    },
    secretsKey: options.secretsKey ?? randomBytes(32).toString('base64'),
    policyToken: randomText(),
    admin: { name: 'admin', password: options.adminPassword ?? randomText() },
    apiKey: { key: 'local-cluster', secret: randomText() },
    adminApis: await portsOf(options.adminApis ?? 2, ['http', 'ops']),
    policies: await portsOf(options.policies ?? 2, ['grpc', 'ops']),
    brokers: await portsOf(options.brokers ?? 3, ['mqtt', 'ws', 'ops']),
    onLine: lineSink(options),
  };
}

function sharedEnv(plan: Plan, { nats }: Stores, user: NatsUser, ops: number) {
  const { otlpUrl } = plan.options;
  return {
    SALLYPORT_OPS__LISTEN: `${HOST}:${ops}`,
    SALLYPORT_NATS__SERVERS: nats.address,
    SALLYPORT_NATS__USER: user,
    SALLYPORT_NATS__PASSWORD: plan.passwords[user],
    ...(otlpUrl === undefined ? {} : { SALLYPORT_TELEMETRY__OTLP_URL: otlpUrl }),
  };
}

const endpoints = (plan: Plan) => plan.policies.map(({ grpc }) => `${HOST}:${grpc}`).join(',');

function folder(plan: Plan, name: string): string {
  const path = join(plan.dataDir, name);
  mkdirSync(path, { recursive: true });
  return path;
}

async function startService(
  plan: Plan,
  service: ServiceName,
  number: number,
  ops: number,
  env: Readonly<Record<string, string>>,
): Promise<ClusterNode> {
  const name = `${service}-${number}`;
  const { entries = {} } = plan.options;
  const entry = entries[service] ?? repositoryPath(`services/${service}/dist/main.js`);
  if (!existsSync(entry)) throw new Error(`services/${service} is not built: run npm run build`);
  const opsUrl = `http://${HOST}:${ops}`;
  const process = await startProcess({
    name,
    entry,
    env: { ...env, ...plan.options.env?.[service] },
    ready: { url: `${opsUrl}/readyz` },
    readyTimeoutMs: SERVICE_READY_TIMEOUT_MS,
    onLine: plan.onLine,
    onUnexpectedExit: plan.options.onUnexpectedExit,
  });
  plan.options.onProgress?.(`${name} is ready`);
  return { name, process, opsUrl };
}

async function startAdminApi(plan: Plan, stores: Stores, index: number): Promise<AdminApiNode> {
  const ports = plan.adminApis[index];
  if (ports === undefined) throw new Error(`no ports for admin-api ${index}`);
  const node = await startService(plan, 'admin-api', index + 1, ports.ops, {
    ...sharedEnv(plan, stores, 'admin-api', ports.ops),
    SALLYPORT_NATS__NODES_USER: 'admin-api-nodes',
    SALLYPORT_NATS__NODES_PASSWORD: plan.passwords['admin-api-nodes'],
    SALLYPORT_DATA_DIR: folder(plan, `admin-api-${index + 1}`),
    SALLYPORT_SECRETS__KEY: plan.secretsKey,
    SALLYPORT_HTTP__LISTEN: `${HOST}:${ports.http}`,
    SALLYPORT_HTTP__TRUSTED_PROXIES: BALANCER_SOURCE,
    // Whoever tries or tests a cluster on one machine is one operator.
    SALLYPORT_HTTP__REQUESTS_PER_SECOND_MAX: '1000',
    SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: plan.admin.password,
    SALLYPORT_BOOTSTRAP__API_KEY: plan.apiKey.key,
    SALLYPORT_BOOTSTRAP__API_SECRET: plan.apiKey.secret,
    SALLYPORT_LOG__REPLICAS: '1',
    SALLYPORT_POLICY__ENDPOINTS: endpoints(plan),
    SALLYPORT_POLICY__TOKEN: plan.policyToken,
  });
  return { ...node, url: `http://${HOST}:${ports.http}` };
}

async function startPolicy(plan: Plan, stores: Stores, index: number): Promise<PolicyNode> {
  const ports = plan.policies[index];
  if (ports === undefined) throw new Error(`no ports for policy ${index}`);
  const address = `${HOST}:${ports.grpc}`;
  const node = await startService(plan, 'policy', index + 1, ports.ops, {
    ...sharedEnv(plan, stores, 'policy', ports.ops),
    SALLYPORT_NATS__LOG_API_PREFIX: NATS_LOG_API_PREFIX,
    SALLYPORT_DATA_DIR: folder(plan, `policy-${index + 1}`),
    SALLYPORT_SECRETS__KEY: plan.secretsKey,
    SALLYPORT_GRPC__LISTEN: address,
    SALLYPORT_GRPC__TOKEN: plan.policyToken,
  });
  return { ...node, address };
}

async function startBroker(plan: Plan, stores: Stores, index: number): Promise<BrokerNode> {
  const ports = plan.brokers[index];
  if (ports === undefined) throw new Error(`no ports for broker ${index}`);
  const nodeId = `broker-${index + 1}`;
  const node = await startService(plan, 'broker', index + 1, ports.ops, {
    ...sharedEnv(plan, stores, 'broker', ports.ops),
    SALLYPORT_NATS__LOG_API_PREFIX: NATS_LOG_API_PREFIX,
    SALLYPORT_NODE__ID: nodeId,
    SALLYPORT_MQTT__TCP__LISTEN: `${HOST}:${ports.mqtt}`,
    SALLYPORT_MQTT__WS__LISTEN: `${HOST}:${ports.ws}`,
    SALLYPORT_MQTT__PROXY_FROM: BALANCER_SOURCE,
    ...NO_CONNECT_RATES,
    SALLYPORT_POLICY__ENDPOINTS: endpoints(plan),
    SALLYPORT_POLICY__TOKEN: plan.policyToken,
    SALLYPORT_REDIS__URL: stores.redis.url,
  });
  return { ...node, nodeId, mqttPort: ports.mqtt, wsPort: ports.ws };
}

async function startStores(plan: Plan, running: Running): Promise<Stores> {
  const watch = { onLine: plan.onLine, onUnexpectedExit: plan.options.onUnexpectedExit };
  const [[nats], [redis]] = await settleBoth(
    running.start([
      startNatsServer({
        ...watch,
        users: plan.passwords,
        storeDir: join(plan.dataDir, 'nats'),
        storeBytesMax: plan.options.storeBytesMax,
      }),
    ]),
    running.start([startRedisServer({ ...watch, dataDir: join(plan.dataDir, 'redis') })]),
  );
  if (nats === undefined || redis === undefined) throw new Error('the stores did not start');
  plan.options.onProgress?.('nats-server and redis-server are ready');
  return { nats, redis };
}

interface BalancerPorts {
  readonly host: string;
  readonly mqttPort: number;
  readonly wsPort: number;
  readonly httpPort: number;
}

/** Where to connect to what listens on every address. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? HOST : host;
}

async function startBalancer(
  plan: Plan,
  running: Running,
): Promise<{ haproxy: Haproxy; ports: BalancerPorts }> {
  const { options } = plan;
  const ports = {
    host: options.host ?? HOST,
    mqttPort: options.mqttPort ?? (await freePort()),
    wsPort: options.wsPort ?? (await freePort()),
    httpPort: options.httpPort ?? (await freePort()),
  };
  const { brokers, adminApis } = plan;
  const [haproxy] = await running.start([
    startHaproxy({
      ...clusterHaproxyConfig({ ...ports, brokers, adminApis }),
      readyPort: ports.mqttPort,
      onLine: plan.onLine,
      onUnexpectedExit: options.onUnexpectedExit,
    }),
  ]);
  if (haproxy === undefined) throw new Error('haproxy did not start');
  // Any answer of an admin-api will do: it stands behind the balancer then.
  const reached = async () => {
    const response = await fetch(`http://${reachable(ports.host)}:${ports.httpPort}/`).catch(
      () => undefined,
    );
    await response?.arrayBuffer();
    return response !== undefined && response.status < 500;
  };
  await until(reached, BALANCER_READY_TIMEOUT_MS, () => 'haproxy reaches no admin-api');
  options.onProgress?.('haproxy is ready');
  return { haproxy, ports };
}

type Stop = () => Promise<unknown>;

/** What runs, in groups that stop together, the one started last first. */
class Running {
  readonly #groups: Stop[][] = [];

  /** Waits for all of them, so that none is left starting when one fails. */
  async start<Node extends { readonly process: ServerProcess }>(
    starting: readonly Promise<Node>[],
  ): Promise<Node[]> {
    const group: Stop[] = [];
    this.#groups.push(group);
    const settled = await Promise.allSettled(starting);
    const nodes: Node[] = [];
    for (const result of settled) {
      if (result.status === 'rejected') continue;
      nodes.push(result.value);
      group.push(() => stopNode(result.value));
    }
    const failed = settled.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return nodes;
  }

  async stop(): Promise<void> {
    for (const group of this.#groups.splice(0).reverse()) {
      await Promise.allSettled(group.map((stop) => stop()));
    }
  }
}

/** A server removes its files as well when it is stopped; a service is its process. */
function stopNode(node: {
  readonly process: ServerProcess;
  readonly stop?: Stop;
}): Promise<unknown> {
  return node.stop === undefined ? node.process.stop() : node.stop();
}

async function startServices(plan: Plan, stores: Stores, running: Running) {
  // The first admin-api creates the log; the others would only wait for it.
  const first = await running.start([startAdminApi(plan, stores, 0)]);
  const others = plan.adminApis.slice(1).map((_, index) => startAdminApi(plan, stores, index + 1));
  const [moreAdminApis, policies] = await settleBoth(
    running.start(others),
    running.start(plan.policies.map((_, index) => startPolicy(plan, stores, index))),
  );
  const brokers = await running.start(
    plan.brokers.map((_, index) => startBroker(plan, stores, index)),
  );
  return { adminApis: [...first, ...moreAdminApis], policies, brokers };
}

async function settleBoth<First, Second>(
  first: Promise<First>,
  second: Promise<Second>,
): Promise<[First, Second]> {
  await Promise.allSettled([first, second]);
  return Promise.all([first, second]);
}

async function startAll(plan: Plan, running: Running): Promise<Omit<Cluster, 'stop'>> {
  const stores = await startStores(plan, running);
  const services = await startServices(plan, stores, running);
  const { haproxy, ports } = await startBalancer(plan, running);
  return {
    ...stores,
    ...services,
    haproxy,
    mqtt: { host: reachable(ports.host), port: ports.mqttPort },
    wsPort: ports.wsPort,
    httpUrl: `http://${reachable(ports.host)}:${ports.httpPort}`,
    adminUrls: services.adminApis.map((node) => node.url),
    admin: plan.admin,
    apiKey: plan.apiKey,
    natsPasswords: plan.passwords,
    policyToken: plan.policyToken,
    dataDir: plan.dataDir,
  };
}

/** nats-server, redis-server, admin-api, policy and broker processes of the built services, and HAProxy; all ready. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const planned = await plan(options);
  const running = new Running();
  const stop = async () => {
    await running.stop();
    if (options.dataDir === undefined) removeFolder(planned.dataDir);
  };
  try {
    return { ...(await startAll(planned, running)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
