import { type ChildProcess, spawn } from 'node:child_process';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
export function run(command: string, args: readonly string[], timeoutMs = 15_000): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { timeout: timeoutMs });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** `mosquitto_sub`, once its subscription is there. */
export class MosquittoSub implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #output = '';

  private constructor(args: readonly string[]) {
    this.#child = spawn('stdbuf', ['-oL', 'mosquitto_sub', '-d', '-v', ...args]);
    const take = (chunk: Buffer): void => {
      this.#output += chunk.toString();
    };
    this.#child.stdout?.on('data', take);
    this.#child.stderr?.on('data', take);
    this.#ended = new Promise((resolve) => this.#child.on('close', () => resolve()));
  }

  /** Resolves after the SUBACK. */
  static async start(args: readonly string[]): Promise<MosquittoSub> {
    const sub = new MosquittoSub(args);
    await sub.waitFor(/Subscribed \(mid: \d+\)/);
    return sub;
  }

  get output(): string {
    return this.#output;
  }

  async waitFor(pattern: RegExp, timeoutMs = 10_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!pattern.test(this.#output)) {
      if (performance.now() > end || this.#child.exitCode !== null) {
        throw new Error(`mosquitto_sub did not say ${String(pattern)}:\n${this.#output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.#ended;
  }
}
