import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WRITTEN_CLIENTS } from '../test-support/killed-writer.ts';
import { transpilePackage } from '../test-support/transpiled.ts';
import {
  after,
  type ClientState,
  emptyState,
  type Operation,
  stateOf,
} from '../test-support/writer-model.ts';
import { openSqliteSessionStore } from './sqlite.ts';

const KILLS = 25;
/** What a writer has confirmed at least before it is killed, however slow the disk is. */
const CONFIRMED_MIN = 21;

let folder: string;
let support: string;
let path: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-sessions-'));
  support = transpilePackage(folder);
});
beforeEach(() => {
  path = join(folder, `${randomUUID()}.sqlite`);
});
afterAll(() => rm(folder, { recursive: true }));

/** A process of its own that writes to the store at `path`. */
function startWriter(first: number): ChildProcess {
  const code = `
    import { writeUntilKilled } from '${join(support, 'killed-writer.js')}';
    await writeUntilKilled(process.argv[1], ${first});
  `;
  return spawn(process.execPath, ['--input-type=module', '-e', code, path]);
}

/** A process that writes, killed after it has done so for a while, and something is done; what it said until then. */
async function killedWriter(first: number, milliseconds: number): Promise<string[]> {
  const child = startWriter(first);
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
  child.stderr?.pipe(process.stderr);
  let output = '';
  let startedAt: number | undefined;
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    startedAt ??= performance.now();
    const confirmed = output.split('\ndone ').length - 1;
    const leftMs = startedAt + milliseconds - performance.now();
    if (confirmed >= CONFIRMED_MIN) setTimeout(() => child.kill('SIGKILL'), Math.max(0, leftMs));
  });
  expect(await closed).toBeNull(); // By the signal, not by an error of its own.
  return output.split('\n').slice(0, -1); // The last line may be cut.
}

describe('the SQLite store, killed in the middle of writes', () => {
  test(`has what it confirmed, and of what it had begun all or nothing, ${KILLS} times`, async () => {
    const states = new Map<string, ClientState>(WRITTEN_CLIENTS.map((id) => [id, emptyState]));
    let number = 0;
    let confirmed = 0;
    let undecided = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const begun = new Map<string, Operation>();
      for (const line of await killedWriter(number, 5 + ((kill * 37) % 200))) {
        const operation = JSON.parse(line.slice(line.indexOf(' '))) as Operation;
        const { clientId } = operation;
        number = Math.max(number, operation.number);
        if (line.startsWith('begin')) begun.set(clientId, operation);
        else {
          begun.delete(clientId);
          confirmed++;
          states.set(clientId, after(states.get(clientId) ?? emptyState, operation));
        }
      }
      const store = await openSqliteSessionStore({ path });
      for (const clientId of WRITTEN_CLIENTS) {
        const known = states.get(clientId) ?? emptyState;
        const operation = begun.get(clientId);
        const found = await stateOf(store, clientId);
        if (operation === undefined) expect(found, `kill ${kill}`).toEqual(known);
        else {
          undecided++;
          expect([known, after(known, operation)], `kill ${kill}`).toContainEqual(found);
        }
        states.set(clientId, found);
      }
      await store.destroy();
    }
    expect(confirmed).toBeGreaterThanOrEqual(KILLS * CONFIRMED_MIN);
    expect(undecided).toBeGreaterThan(KILLS);
  }, 240_000);

  test('another process is refused while one has the file', async () => {
    const store = await openSqliteSessionStore({ path });
    const child = startWriter(0);
    let output = '';
    child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(1);
    expect(output).toContain('another process has it open');
    await store.destroy();
  });
});
