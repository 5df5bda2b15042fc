import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram, freePort, ServerProcess } from '@sallyport/test-kit';
import { Api } from '../../../harness/api.ts';
import { startStandalone } from '../../../harness/standalone.ts';
import { pinBroker } from './pinned.ts';
import { ownTopics, type User } from './users.ts';

/** One of the two sides, or the least that a broker on Node does: see `load/relay.ts`. */
export interface Broker extends AsyncDisposable {
  readonly name: 'mosquitto' | 'sallyport' | 'relay';
  readonly port: number;
  /** The process that was started last. */
  readonly pid: number;
  /** A new process with the same users, on its core. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const PROVISIONERS = 32;

/** The standalone profile with `count` credentials, each with a machine secret and a rule for its username. */
export async function startSallyport(
  count: number,
): Promise<{ readonly broker: Broker; readonly users: readonly User[] }> {
  const one = await startStandalone({
    SALLYPORT_HTTP__REQUESTS_PER_SECOND_MAX: '100000',
  });
  const users = await provision(await Api.login(one.url, 'admin', one.adminPassword), count);
  const broker: Broker = {
    name: 'sallyport',
    port: one.mqttPort,
    get pid() {
      return one.process.pid ?? 0;
    },
    restart: async () => {
      await one.process.restart();
      pinBroker(one.process.pid ?? 0);
    },
    stop: async () => void (await one.process.stop()),
    [Symbol.asyncDispose]: () => one[Symbol.asyncDispose](),
  };
  return { broker, users };
}

async function provision(api: Api, count: number): Promise<readonly User[]> {
  const users: User[] = [];
  let next = 0;
  const provisioner = async (): Promise<void> => {
    while (next < count) {
      const index = next++;
      const username = `u${index}`;
      const topicFilter = ownTopics(username);
      users[index] = await api.addDevice(username, [
        { effect: 'allow', action: 'all', topicFilter },
      ]);
    }
  };
  await Promise.all(Array.from({ length: PROVISIONERS }, provisioner));
  return users;
}

/** Debian's mosquitto with the same users, the same rights, and nothing on disk; it logs as little as ours does. */
export async function startMosquitto(folder: string, users: readonly User[]): Promise<Broker> {
  const port = await freePort();
  const passwords = join(folder, 'passwords');
  const rules = join(folder, 'acl');
  const config = join(folder, 'mosquitto.conf');
  const perUser = (line: (user: User) => string): string => users.map(line).join('');
  writeFileSync(
    passwords,
    perUser(({ username, password }) => `${username}:${password}\n`),
    { mode: 0o600 },
  );
  const { status, stderr } = spawnSync(findProgram('mosquitto_passwd'), ['-U', passwords], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`mosquitto_passwd: ${stderr}`);
  writeFileSync(
    rules,
    perUser(({ username }) => `user ${username}\ntopic readwrite ${ownTopics(username)}\n\n`),
    { mode: 0o600 },
  );
  const lines = [
    `listener ${port} 127.0.0.1`,
    'allow_anonymous false',
    `password_file ${passwords}`,
    `acl_file ${rules}`,
    'persistence false',
    'set_tcp_nodelay true',
    'connection_messages false',
    'log_type error',
    'log_type warning',
    // Started by root it would drop to a user that cannot read the folder; started by others it ignores the line.
    `user ${userInfo().username}`,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  return brokerOf('mosquitto', port, [findProgram('mosquitto'), '-c', config]);
}

const RELAY = fileURLToPath(new URL('../load/relay.js', import.meta.url));

export async function startRelay(): Promise<Broker> {
  const port = await freePort();
  return brokerOf('relay', port, [process.execPath, RELAY, String(port)]);
}

function brokerOf(
  name: Broker['name'],
  port: number,
  [command, ...args]: readonly [string, ...string[]],
): Broker {
  const server = new ServerProcess({ name, command, args, ready: () => accepts(port) });
  return {
    name,
    port,
    get pid() {
      return server.pid ?? 0;
    },
    restart: async () => {
      await server.restart();
      pinBroker(server.pid ?? 0);
    },
    stop: async () => void (await server.stop()),
    [Symbol.asyncDispose]: async () => void (await server.stop()),
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}
