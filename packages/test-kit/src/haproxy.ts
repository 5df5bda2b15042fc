import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { repositoryPath } from './repository.ts';
import { type ServerProcessOptions, ServerProcess, findProgram } from './server-process.ts';
import { startIn } from './start-in.ts';
import { removeFolder, tempFolder } from './temp-folder.ts';

export interface HaproxyOptions {
  /** Text of the configuration; `clusterHaproxyConfig` makes one from deploy/haproxy/haproxy.cfg. */
  readonly config: string;
  /** Variables that the configuration names. */
  readonly env?: Readonly<Record<string, string>>;
  /** A port that it listens on when it is ready. */
  readonly readyPort: number;
  readonly onLine?: ServerProcessOptions['onLine'];
  readonly onUnexpectedExit?: ServerProcessOptions['onUnexpectedExit'];
}

export interface Haproxy {
  readonly process: ServerProcess;
  stop(): Promise<void>;
  kill(): Promise<void>;
  restart(how?: 'stop' | 'kill'): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 500;

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => {
      finish(false);
    });
    socket.on('connect', () => {
      finish(true);
    });
    socket.on('error', () => {
      finish(false);
    });
  });
}

/** HAProxy in the foreground, listening. */
export async function startHaproxy(options: HaproxyOptions): Promise<Haproxy> {
  const command = findProgram('haproxy');
  const folder = tempFolder('haproxy');
  const path = join(folder, 'haproxy.cfg');
  writeFileSync(path, options.config);
  const process = new ServerProcess({
    name: 'haproxy',
    command,
    args: ['-db', '-f', path],
    env: options.env ?? {},
    ready: () => accepts(options.readyPort),
    onLine: options.onLine,
    onUnexpectedExit: options.onUnexpectedExit,
  });
  await startIn(folder, process);
  return {
    process,
    async stop() {
      await process.stop();
      removeFolder(folder);
    },
    async kill() {
      await process.kill();
    },
    restart: (how) => process.restart(how),
  };
}

/** The load balancer's own source address, so that nodes tell its connections from those of clients on this machine. */
export const BALANCER_SOURCE = '127.0.0.2';

export interface ClusterAddresses {
  readonly mqttPort: number;
  readonly wsPort: number;
  readonly httpPort: number;
  /** Host of the addresses that clients connect to. */
  readonly host: string;
  readonly brokers: readonly { readonly mqtt: number; readonly ws: number; readonly ops: number }[];
  readonly adminApis: readonly { readonly http: number; readonly ops: number }[];
}

/** A line for server 1 of the template stands for all; those of the others are examples. */
function repeatServers(template: string, counts: Readonly<Record<string, number>>): string {
  return template
    .split('\n')
    .flatMap((line) => {
      const match = /^\s+server (broker|admin-api)-(\d) /.exec(line);
      if (match === null) return [line];
      const [, kind = '', number] = match;
      if (number !== '1') return [];
      const numbers = Array.from({ length: counts[kind] ?? 0 }, (_, index) => index + 1);
      return numbers.map((n) =>
        line.replace(`${kind}-1`, `${kind}-${n}`).replaceAll(/_1_/g, `_${n}_`),
      );
    })
    .join('\n');
}

/** deploy/haproxy/haproxy.cfg for this many servers, and the variables that it names. */
export function clusterHaproxyConfig(addresses: ClusterAddresses): {
  readonly config: string;
  readonly env: Readonly<Record<string, string>>;
} {
  const template = readFileSync(repositoryPath('deploy/haproxy/haproxy.cfg'), 'utf8');
  const { brokers, adminApis, host } = addresses;
  const env: Record<string, string> = {
    SALLYPORT_LB_MQTT: `${host}:${addresses.mqttPort}`,
    SALLYPORT_LB_WS: `${host}:${addresses.wsPort}`,
    SALLYPORT_LB_SOURCE: BALANCER_SOURCE,
    SALLYPORT_LB_HTTP: `${host}:${addresses.httpPort}`,
  };
  for (const [index, ports] of brokers.entries()) {
    const prefix = `SALLYPORT_BROKER_${index + 1}`;
    env[`${prefix}_HOST`] = '127.0.0.1';
    env[`${prefix}_MQTT_PORT`] = String(ports.mqtt);
    env[`${prefix}_WS_PORT`] = String(ports.ws);
    env[`${prefix}_OPS_PORT`] = String(ports.ops);
  }
  for (const [index, ports] of adminApis.entries()) {
    const prefix = `SALLYPORT_ADMIN_API_${index + 1}`;
    env[`${prefix}_HOST`] = '127.0.0.1';
    env[`${prefix}_HTTP_PORT`] = String(ports.http);
    env[`${prefix}_OPS_PORT`] = String(ports.ops);
  }
  const counts = { broker: brokers.length, 'admin-api': adminApis.length };
  return { config: repeatServers(template, counts), env };
}
