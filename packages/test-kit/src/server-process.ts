import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { until } from './until.ts';

/** The Debian package of each program that is not Node. */
const DEBIAN_PACKAGES: Readonly<Record<string, string>> = {
  'nats-server': 'nats-server',
  'redis-server': 'redis-server',
  haproxy: 'haproxy',
  mosquitto_passwd: 'mosquitto',
  openssl: 'openssl',
};

/** Where Debian puts servers; not every user has the last two in the path. */
const MORE_FOLDERS = ['/usr/local/sbin', '/usr/sbin'];

/** Absolute path of a program. @throws Error naming the Debian package when it is not installed */
export function findProgram(name: string, path = process.env['PATH'] ?? ''): string {
  const found = [...path.split(':'), ...MORE_FOLDERS]
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((candidate) => existsSync(candidate));
  if (found !== undefined) return found;
  const brings = DEBIAN_PACKAGES[name] ?? name;
  throw new Error(`${name} is not installed; install the Debian package '${brings}'`);
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ServerProcessOptions {
  /** Shown in errors and before the lines. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment but `PATH`, `HOME` and `TZ`: nothing else is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Asked until it answers true; the process counts as started then. */
  readonly ready: (process: ServerProcess) => boolean | Promise<boolean>;
  readonly readyTimeoutMs?: number;
  /** Called for each line of standard output and standard error. */
  readonly onLine?: ((line: string, name: string) => void) | undefined;
  /** The process ended though nobody asked it to. */
  readonly onUnexpectedExit?: ((exit: ProcessExit, process: ServerProcess) => void) | undefined;
}

const READY_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 15_000;
/** Lines that are kept; the oldest go first. */
const LINES_MAX = 10_000;
const LINES_IN_ERROR = 40;

const running = new Set<ChildProcess>();

// Runs after an uncaught exception and after process.exit too.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** With it the kernel kills the child when we are killed; Debian's util-linux has it. */
const SETPRIV = '/usr/bin/setpriv';

function inherited(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TZ', 'LANG', 'NODE_EXTRA_CA_CERTS'];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** A child process that is started, stopped, killed, frozen and started again with the same command. */
export class ServerProcess implements AsyncDisposable {
  readonly name: string;
  /** The last lines of standard output and standard error of all runs. */
  readonly lines: string[] = [];
  readonly #options: ServerProcessOptions;
  #child: ChildProcess | undefined;
  #exit: Promise<ProcessExit> = Promise.resolve({ code: null, signal: null });
  #expected = false;
  #listeners = new Set<() => void>();

  constructor(options: ServerProcessOptions) {
    this.name = options.name;
    this.#options = options;
  }

  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    const server = new ServerProcess(options);
    await server.start();
    return server;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Settles when the current run, or the last one, has ended. */
  get exit(): Promise<ProcessExit> {
    return this.#exit;
  }

  /** Starts and waits until it is ready. @throws Error with the last lines when it ends or is not ready in time */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error(`${this.name} is running`);
    const child = this.#spawn();
    const { ready, readyTimeoutMs = READY_TIMEOUT_MS } = this.#options;
    const answered = until(
      async () => this.#child !== child || (await ready(this)),
      readyTimeoutMs,
      () => `${this.name} was not ready after ${readyTimeoutMs} ms`,
    );
    try {
      await answered;
      if (this.#child !== child) {
        const { code, signal } = await this.#exit;
        throw new Error(`${this.name} ended while starting (${signal ?? `code ${code}`})`);
      }
    } catch (error) {
      await this.kill();
      const text = error instanceof Error ? error.message : String(error);
      const tail = this.lines.slice(-LINES_IN_ERROR).map((line) => `  ${this.name} | ${line}`);
      throw new Error([text, ...tail].join('\n'), { cause: error });
    }
  }

  /** SIGTERM, then SIGKILL when it does not end in time. Answers how it ended. */
  async stop(timeoutMs = STOP_TIMEOUT_MS): Promise<ProcessExit> {
    this.#expected = true;
    // A frozen process sees SIGTERM only once it runs again.
    this.#child?.kill('SIGCONT');
    this.#child?.kill('SIGTERM');
    const timer = setTimeout(() => this.#child?.kill('SIGKILL'), timeoutMs);
    try {
      return await this.#exit;
    } finally {
      clearTimeout(timer);
    }
  }

  /** SIGKILL: what it had not stored is gone. */
  async kill(): Promise<ProcessExit> {
    this.#expected = true;
    this.#child?.kill('SIGKILL');
    return this.#exit;
  }

  /** Ends the run, if there is one, and starts again: same command, ports and files. */
  async restart(how: 'stop' | 'kill' = 'stop'): Promise<void> {
    await this[how]();
    await this.start();
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** SIGSTOP: connections stay open and nobody answers. */
  freeze(): void {
    this.signal('SIGSTOP');
  }

  thaw(): void {
    this.signal('SIGCONT');
  }

  /** Lets it write files up to this length only, as if their disk were full; without a limit again when left out. */
  limitFiles(bytes?: number): void {
    const limit = bytes === undefined ? 'unlimited' : `${bytes}:unlimited`;
    execFileSync('prlimit', ['--pid', String(this.pid), `--fsize=${limit}`]);
  }

  /** The first line from `from` on that matches; waits for it. */
  async waitForLine(pattern: RegExp, timeoutMs = READY_TIMEOUT_MS, from = 0): Promise<string> {
    const find = () => this.lines.slice(from).find((line) => pattern.test(line));
    return new Promise((resolve, reject) => {
      const finish = (line: string | undefined) => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        if (line === undefined)
          reject(new Error(`${this.name} wrote no line like ${String(pattern)}`));
        else resolve(line);
      };
      const look = () => {
        const line = find();
        if (line !== undefined) finish(line);
      };
      const timer = setTimeout(() => {
        finish(undefined);
      }, timeoutMs);
      this.#listeners.add(look);
      look();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #spawn(): ChildProcess {
    const { command, args, env, cwd } = this.#options;
    const guarded = existsSync(SETPRIV);
    const child = spawn(
      guarded ? SETPRIV : command,
      guarded ? ['--pdeathsig', 'KILL', command, ...args] : args,
      {
        env: { ...inherited(), ...env },
        ...(cwd === undefined ? {} : { cwd }),
        // Its own group: Ctrl-C reaches us only, and we stop the children in order.
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    running.add(child);
    this.#child = child;
    this.#expected = false;
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.#onLine(line);
      });
    }
    this.#exit = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#onLine(error.message);
        this.#ended(child, { code: null, signal: null });
        resolve({ code: null, signal: null });
      });
      // 'close', not 'exit': the last lines have been read then.
      child.once('close', (code, signal) => {
        this.#ended(child, { code, signal });
        resolve({ code, signal });
      });
    });
    return child;
  }

  #ended(child: ChildProcess, exit: ProcessExit): void {
    running.delete(child);
    if (this.#child !== child) return;
    this.#child = undefined;
    if (!this.#expected) this.#options.onUnexpectedExit?.(exit, this);
  }

  #onLine(line: string): void {
    this.lines.push(line);
    if (this.lines.length > LINES_MAX) this.lines.shift();
    this.#options.onLine?.(line, this.name);
    for (const look of this.#listeners) look();
  }
}
