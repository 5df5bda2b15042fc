import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { type ServerProcessOptions, ServerProcess, findProgram } from './server-process.ts';
import { startIn } from './start-in.ts';
import { removeFolder, tempFolder } from './temp-folder.ts';

export interface RedisServerOptions {
  /** A free one when left out. */
  readonly port?: number;
  /** A temporary folder, removed by `stop`, when left out. */
  readonly dataDir?: string;
  readonly onLine?: ServerProcessOptions['onLine'];
  readonly onUnexpectedExit?: ServerProcessOptions['onUnexpectedExit'];
}

/** Disposing stops it. */
export interface RedisServer extends AsyncDisposable {
  readonly process: ServerProcess;
  readonly port: number;
  readonly url: string;
  stop(): Promise<void>;
  kill(): Promise<void>;
  /** Same port, same files. */
  restart(how?: 'stop' | 'kill'): Promise<void>;
}

const HOST = '127.0.0.1';
const PING_TIMEOUT_MS = 500;

/** Whether Redis answers PING; while it loads its file it answers an error. */
function pings(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: HOST, port });
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PING_TIMEOUT_MS, () => {
      finish(false);
    });
    socket.on('error', () => {
      finish(false);
    });
    socket.on('data', (chunk) => {
      finish(chunk.toString().startsWith('+PONG'));
    });
    socket.write('PING\r\n');
  });
}

/**
 * redis-server with an append-only file, ready. `stop` removes its files; `kill` and `restart` keep them, and every
 * answered command with them, unless the machine itself goes down.
 */
export async function startRedisServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const command = findProgram('redis-server');
  const folder = tempFolder('redis');
  const port = options.port ?? (await freePort());
  const dataDir = options.dataDir ?? join(folder, 'data');
  mkdirSync(dataDir, { recursive: true });
  const settings = {
    bind: HOST,
    port,
    dir: dataDir,
    appendonly: 'yes',
    // `everysec` answers before it writes while an earlier fsync is under way (up to 2 s on a slow disk), and what was
    // not written dies with the process. `no` always writes before it answers and leaves the fsync to the system.
    appendfsync: 'no',
    save: '',
    'maxmemory-policy': 'noeviction',
  };
  const process = new ServerProcess({
    name: 'redis',
    command,
    args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]),
    ready: () => pings(port),
    onLine: options.onLine,
    onUnexpectedExit: options.onUnexpectedExit,
  });
  await startIn(folder, process);
  const stop = async () => {
    await process.stop();
    removeFolder(folder);
  };
  return {
    process,
    port,
    url: `redis://${HOST}:${port}`,
    stop,
    async kill() {
      await process.kill();
    },
    restart: (how) => process.restart(how),
    [Symbol.asyncDispose]: stop,
  };
}
