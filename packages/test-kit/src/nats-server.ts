import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, freePorts } from './free-port.ts';
import { repositoryPath } from './repository.ts';
import { type ServerProcessOptions, ServerProcess, findProgram } from './server-process.ts';
import { startIn } from './start-in.ts';
import { removeFolder, tempFolder } from './temp-folder.ts';
import { answers, until } from './until.ts';

/** The users of deploy/nats/users.conf. */
export type NatsUser = 'admin-api' | 'admin-api-nodes' | 'policy' | 'broker';
export type NatsPasswords = Readonly<Record<NatsUser, string>>;

/** Names that deploy/nats/users.conf grants; the services use the same. */
export const NATS_LOG_STREAM = 'sallyport-log';
export const NATS_NODES_BUCKET = 'sallyport-nodes';
/** Under which the users `policy` and `broker` read the log, which another account holds. */
export const NATS_LOG_API_PREFIX = 'LOG.API';

export interface NatsServerOptions {
  readonly name?: string;
  /** A free one when left out. */
  readonly port?: number;
  /** A temporary folder, removed by `remove`, when left out. */
  readonly storeDir?: string;
  /** Passwords of the users; without them everybody may do everything. */
  readonly users?: NatsPasswords;
  readonly cluster?: { readonly port: number; readonly routes: readonly number[] };
  /** The largest message it takes, when not that of deploy/nats. */
  readonly payloadBytesMax?: number;
  /** Bytes that all streams together may take; as many as there are when left out. */
  readonly storeBytesMax?: number | undefined;
  /** Bytes that the log's account may store, with `users`; as many as there are when left out. */
  readonly logBytesMax?: number | undefined;
  readonly onLine?: ServerProcessOptions['onLine'];
  readonly onUnexpectedExit?: ServerProcessOptions['onUnexpectedExit'];
}

/** Disposing stops it. */
export interface NatsServer extends AsyncDisposable {
  readonly process: ServerProcess;
  readonly port: number;
  /** `127.0.0.1:4222`, as clients want it. */
  readonly address: string;
  /** Base of `/healthz`, `/jsz`, `/varz`. */
  readonly monitorUrl: string;
  stop(): Promise<void>;
  kill(): Promise<void>;
  /** From its next start on. */
  setStoreBytesMax(bytes: number): void;
  /** Same port, same files. */
  restart(how?: 'stop' | 'kill'): Promise<void>;
}

const HOST = '127.0.0.1';
const quoted = (value: string | number) => JSON.stringify(value);

function passwordVariables(users: NatsPasswords): Record<string, string> {
  return Object.fromEntries(
    Object.entries(users).map(([user, password]) => [
      `SALLYPORT_NATS_${user.toUpperCase().replaceAll('-', '_')}_PASSWORD`,
      quoted(password),
    ]),
  );
}

/** Puts the files of deploy/nats beside a main file that includes the parts that are wanted. */
function writeConfig(folder: string, options: NatsServerOptions): string {
  const parts = [
    'server.conf',
    ...(options.users === undefined ? [] : ['users.conf']),
    ...(options.cluster === undefined ? [] : ['cluster.conf']),
  ];
  mkdirSync(folder, { recursive: true });
  for (const part of parts) {
    copyFileSync(repositoryPath(`deploy/nats/${part}`), join(folder, part));
  }
  if (options.users !== undefined) writeAccounts(join(folder, 'users.conf'), options);
  const path = join(folder, 'main.conf');
  const lines = parts.map((part) => `include ./${part}`);
  // What comes last counts.
  if (options.payloadBytesMax !== undefined) lines.push(`max_payload: ${options.payloadBytesMax}`);
  if (options.storeBytesMax !== undefined) {
    const { storeBytesMax } = options;
    lines.push(`jetstream { store_dir: $SALLYPORT_NATS_STORE, max_file_store: ${storeBytesMax} }`);
  }
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

/** What is reserved for the nodes must fit into the server's store. */
const NODES_BYTES_MAX = 128 * 1024;

function writeAccounts(path: string, { logBytesMax, storeBytesMax }: NatsServerOptions): void {
  const changes = new Map([
    ...(logBytesMax === undefined
      ? []
      : [
          [
            'jetstream { max_streams: 1 }',
            `jetstream { max_streams: 1, max_store: ${logBytesMax} }`,
          ] as const,
        ]),
    ...(storeBytesMax === undefined
      ? []
      : [['max_store: 1GB', `max_store: ${NODES_BYTES_MAX}`] as const]),
  ]);
  let text = readFileSync(repositoryPath('deploy/nats/users.conf'), 'utf8');
  for (const [before, after] of changes) {
    if (!text.includes(before)) throw new Error(`users.conf has no ${before}`);
    text = text.replace(before, after);
  }
  writeFileSync(path, text);
}

interface Addresses {
  readonly port: number;
  readonly monitor: number;
  readonly storeDir: string;
}

function variables(options: NatsServerOptions, { port, monitor, storeDir }: Addresses) {
  const { name = 'nats', cluster, users } = options;
  const routes = cluster?.routes.map((route) => quoted(`nats://${HOST}:${route}`)) ?? [];
  return {
    SALLYPORT_NATS_NAME: quoted(name),
    SALLYPORT_NATS_LISTEN: quoted(`${HOST}:${port}`),
    SALLYPORT_NATS_MONITOR: quoted(`${HOST}:${monitor}`),
    SALLYPORT_NATS_STORE: quoted(storeDir),
    ...(users === undefined ? {} : passwordVariables(users)),
    ...(cluster === undefined
      ? {}
      : {
          SALLYPORT_NATS_ROUTE: quoted(`${HOST}:${cluster.port}`),
          SALLYPORT_NATS_ROUTES: `[${routes.join(', ')}]`,
        }),
  };
}

async function prepare(
  options: NatsServerOptions,
): Promise<NatsServer & { start(): Promise<void> }> {
  const command = findProgram('nats-server');
  const { name = 'nats' } = options;
  const folder = tempFolder(name);
  const port = options.port ?? (await freePort());
  const monitor = await freePort();
  const storeDir = options.storeDir ?? join(folder, 'store');
  const monitorUrl = `http://${HOST}:${monitor}`;
  const process = new ServerProcess({
    name,
    command,
    args: ['--config', writeConfig(join(folder, 'config'), options)],
    env: variables(options, { port, monitor, storeDir }),
    ready: () => answers(`${monitorUrl}/healthz`),
    onLine: options.onLine,
    onUnexpectedExit: options.onUnexpectedExit,
  });
  const stop = async () => {
    await process.stop();
    removeFolder(folder);
  };
  return {
    process,
    port,
    address: `${HOST}:${port}`,
    monitorUrl,
    start: () => startIn(folder, process),
    stop,
    async kill() {
      await process.kill();
    },
    setStoreBytesMax: (storeBytesMax) =>
      void writeConfig(join(folder, 'config'), { ...options, storeBytesMax }),
    restart: (how) => process.restart(how),
    [Symbol.asyncDispose]: stop,
  };
}

/** nats-server with JetStream, ready. `stop` removes its files; `kill` and `restart` keep them. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const server = await prepare(options);
  await server.start();
  return server;
}

/** Disposing stops all of them. */
export interface NatsCluster extends AsyncDisposable {
  readonly servers: readonly NatsServer[];
  readonly addresses: readonly string[];
  /** Waits until `size` servers agree on a leader; after a kill, say. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

interface Jsz {
  readonly meta_cluster?: { readonly leader?: string; readonly cluster_size?: number };
}

const CLUSTER_READY_TIMEOUT_MS = 30_000;

async function agrees(server: NatsServer, size: number): Promise<boolean> {
  if (!(await answers(`${server.monitorUrl}/healthz`))) return false;
  const response = await fetch(`${server.monitorUrl}/jsz`);
  const { meta_cluster: meta } = (await response.json()) as Jsz;
  return (meta?.leader ?? '') !== '' && meta?.cluster_size === size;
}

/** `size` servers in one cluster, with a JetStream leader. */
export async function startNatsCluster(
  size = 3,
  options: Pick<NatsServerOptions, 'users' | 'onLine' | 'onUnexpectedExit'> = {},
): Promise<NatsCluster> {
  const routes = await freePorts(size);
  const servers = await Promise.all(
    routes.map((port, index) =>
      prepare({ ...options, name: `nats-${index + 1}`, cluster: { port, routes } }),
    ),
  );
  await Promise.all(servers.map((server) => server.start()));
  const ready = async () => {
    const alive = servers.filter((server) => server.process.running);
    await until(
      async () => (await Promise.all(alive.map((one) => agrees(one, size)))).every(Boolean),
      CLUSTER_READY_TIMEOUT_MS,
      () => 'the NATS cluster has no leader',
    );
  };
  await ready();
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  return {
    servers,
    addresses: servers.map((server) => server.address),
    ready,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
