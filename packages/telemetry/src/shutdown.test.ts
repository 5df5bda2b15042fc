import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-shutdown-'));
  const source = readFileSync(new URL('./shutdown.ts', import.meta.url), 'utf8');
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
  });
  writeFileSync(join(folder, 'shutdown.mjs'), outputText);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const LOGGER = `const say = (level) => (a, b) => console.log(level, b ?? a, a.err?.message ?? '');
const logger = { info: say('info'), error: say('error'), fatal: say('fatal') };`;

/** A process of its own, because signals and exit codes are what is tested. */
async function start(body: string): Promise<{
  readonly child: ChildProcess;
  readonly line: (text: string) => Promise<void>;
  readonly exit: Promise<number | null>;
  readonly output: () => string;
}> {
  const code = `import { runUntilSignal } from './shutdown.mjs';\n${LOGGER}\n${body}\nconsole.log('up');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { cwd: folder });
  let output = '';
  const waiting: (() => void)[] = [];
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    for (const wake of waiting.splice(0)) wake();
  });
  const line = async (text: string) => {
    while (!output.includes(text)) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  const exit = new Promise<number | null>((resolve) => child.on('close', resolve));
  await Promise.race([line('up'), exit]);
  return { child, line, exit, output: () => output };
}

const KEEP_ALIVE = 'setInterval(() => {}, 1000);';

describe('runUntilSignal', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('drains once on %s and exits 0', async (signal) => {
    const run = await start(`${KEEP_ALIVE}
      runUntilSignal({ logger, drain: async () => console.log('draining now') });`);
    run.child.kill(signal);
    expect(await run.exit).toBe(0);
    expect(run.output().match(/draining now/g)).toHaveLength(1);
    expect(run.output()).toContain('info drained');
  });

  it('exits at once on a second signal', async () => {
    const run = await start(`${KEEP_ALIVE}
      runUntilSignal({ logger, drain: () => new Promise(() => console.log('draining now')) });`);
    run.child.kill('SIGTERM');
    await run.line('draining now');
    run.child.kill('SIGINT');
    expect(await run.exit).toBe(130);
  });

  it('exits 1 when draining takes too long or fails', async () => {
    const slow = await start(`${KEEP_ALIVE}
      runUntilSignal({ logger, timeoutMs: 20, drain: () => new Promise(() => {}) });`);
    slow.child.kill('SIGTERM');
    expect(await slow.exit).toBe(1);
    expect(slow.output()).toContain('error draining took too long');
    const broken = await start(`${KEEP_ALIVE}
      runUntilSignal({ logger, drain: async () => { throw new Error('stuck') } });`);
    broken.child.kill('SIGTERM');
    expect(await broken.exit).toBe(1);
    expect(broken.output()).toContain('error draining failed stuck');
  });

  it('logs an exception or a rejection that nobody caught, and exits 1', async () => {
    const threw = await start(`runUntilSignal({ logger, drain: async () => {} });
      setImmediate(() => { throw new Error('bug') }); ${KEEP_ALIVE}`);
    expect(await threw.exit).toBe(1);
    expect(threw.output()).toContain('fatal uncaught exception bug');
    const rejected = await start(`runUntilSignal({ logger, drain: async () => {} });
      void Promise.reject(new Error('bug')); ${KEEP_ALIVE}`);
    expect(await rejected.exit).toBe(1);
    expect(rejected.output()).toContain('fatal unhandled rejection bug');
  });
});
