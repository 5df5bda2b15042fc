import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';

/** One core each, so that a broker never waits for the generator, nor the other way round. */
const BROKER_CORE = 0;
const GENERATOR_CORE = 1;
const TIMEOUT_MS = 60_000;

const canPin = availableParallelism() > 1;

export const pinning = canPin
  ? `broker on core ${BROKER_CORE}, generator on core ${GENERATOR_CORE}`
  : 'one core for both: the figures compare, but say nothing about a machine';

/** Moves all threads of a running process to the broker's core; those that it starts later inherit it. */
export function pinBroker(pid: number): void {
  if (!canPin) return;
  const args = ['--all-tasks', '--pid', '--cpu-list', String(BROKER_CORE), String(pid)];
  const { status, stderr } = spawnSync('taskset', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`taskset: ${stderr}`);
}

export interface Ran {
  readonly code: number | null;
  /** The last line of standard output that is JSON. */
  readonly result: unknown;
}

/** Starts a generator on its core. */
export function spawnPinned(
  command: string,
  args: readonly string[],
  options: { readonly timeout?: number } = {},
): ChildProcessWithoutNullStreams {
  // It becomes the command: who is killed is not a wrapper.
  const pin = ['--cpu-list', String(GENERATOR_CORE), command];
  return canPin ? spawn('taskset', [...pin, ...args], options) : spawn(command, [...args], options);
}

/** Runs a generator to its end on its core. @throws Error when it prints no result */
export function runPinned(command: string, args: readonly string[]): Promise<Ran> {
  const child = spawnPinned(command, args, { timeout: TIMEOUT_MS });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const line = stdout.split('\n').findLast((one) => one.startsWith('{'));
      if (line === undefined) {
        reject(new Error(`the generator ended with ${signal ?? code}: ${stderr.slice(-500)}`));
      } else resolve({ code, result: JSON.parse(line) });
    });
  });
}
