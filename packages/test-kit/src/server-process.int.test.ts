import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { repositoryPath } from './repository.ts';
import { ServerProcess, findProgram } from './server-process.ts';
import { startProcess } from './service-process.ts';
import { removeTempFolders, tempFolder } from './temp-folder.ts';
import { until } from './until.ts';

afterAll(removeTempFolders);

function script(body: string): string {
  const path = join(tempFolder('script'), 'main.mjs');
  writeFileSync(path, body);
  return path;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const FOREVER = 'setInterval(() => {}, 1000);';

describe('a missing program', () => {
  it('is refused with the Debian package that brings it', () => {
    expect(() => findProgram('redis-serverx')).toThrow(/redis-serverx is not installed/);
    const empty = tempFolder('path');
    mkdirSync(empty, { recursive: true });
    expect(() => findProgram('nats-server-none', empty)).toThrow("the Debian package '");
    expect(findProgram('redis-server')).toMatch(/\/redis-server$/);
  });
});

describe('startProcess', () => {
  it('waits for the line, captures both outputs, stops with SIGTERM and knows the exit code', async () => {
    const entry =
      script(`console.error('to stderr'); console.log('env', process.env.GIVEN, process.env.LEAKED);
      process.on('SIGTERM', () => { console.log('bye'); process.exit(7); }); ${FOREVER} console.log('up');`);
    process.env['LEAKED'] = 'x';
    const service = await startProcess({
      name: 'service',
      entry,
      env: { GIVEN: 'yes' },
      ready: { line: /^up$/ },
    });
    expect(service.lines).toEqual(expect.arrayContaining(['to stderr', 'env yes undefined']));
    expect(await service.stop()).toEqual({ code: 7, signal: null });
    expect(service.lines.at(-1)).toBe('bye');
    expect(service.running).toBe(false);
  });

  it('fails with the last lines when the process ends or is not ready', async () => {
    const dies = script("console.error('no such key'); process.exit(3);");
    const options = { name: 'svc', env: {}, ready: { line: /never/ } };
    await expect(startProcess({ ...options, entry: dies })).rejects.toThrow(
      /svc ended while starting \(code 3\)\n {2}svc \| no such key/,
    );
    const hangs = script(`console.log('pid', process.pid); ${FOREVER}`);
    const failed = startProcess({ ...options, entry: hangs, readyTimeoutMs: 500 });
    const message = await failed.then(
      () => '',
      (error: Error) => error.message,
    );
    expect(message).toContain('svc was not ready after 500 ms');
    expect(alive(Number(/pid (\d+)/.exec(message)?.[1]))).toBe(false);
  });

  it('is killed when it does not end in time, and restarted with the same command', async () => {
    const entry = script(
      `process.on('SIGTERM', () => {}); ${FOREVER} console.log('up', process.pid);`,
    );
    const service = await startProcess({ name: 's', entry, env: {}, ready: { line: /^up/ } });
    const first = service.pid;
    expect(await service.stop(50)).toEqual({ code: null, signal: 'SIGKILL' });
    await service.start();
    expect(service.pid).not.toBe(first);
    await service.restart('kill');
    expect(service.lines.filter((line) => line.startsWith('up'))).toHaveLength(3);
    await service.kill();
  });

  it('tells an end that nobody asked for, and only that', async () => {
    const entry = script(`${FOREVER} console.log('up');`);
    const ends: unknown[] = [];
    const service = await startProcess({
      name: 's',
      entry,
      env: {},
      ready: { line: /^up/ },
      onUnexpectedExit: (exit) => ends.push(exit),
    });
    service.signal('SIGKILL');
    await service.exit;
    expect(ends).toEqual([{ code: null, signal: 'SIGKILL' }]);
    await service.start();
    await service.stop();
    expect(ends).toHaveLength(1);
  });

  it('waits for a line that is still to come', async () => {
    const entry = script(
      `process.on('SIGUSR2', () => console.log('got it')); ${FOREVER} console.log('up');`,
    );
    const service = await startProcess({ name: 's', entry, env: {}, ready: { line: /^up/ } });
    const waiting = service.waitForLine(/got/);
    service.signal('SIGUSR2');
    expect(await waiting).toBe('got it');
    await expect(service.waitForLine(/never/, 20)).rejects.toThrow('wrote no line like /never/');
    await service.stop();
  });
});

describe('when the test process goes', () => {
  const child = (ending: string) => `
    import { startRedisServer } from ${JSON.stringify(repositoryPath('packages/test-kit/dist/index.js'))};
    const redis = await startRedisServer();
    ${ending}
    console.log('redis', redis.process.pid);`;

  it.each([
    [
      'with an uncaught exception',
      `process.on('SIGUSR2', () => { throw new Error('crash') }); ${FOREVER}`,
      'SIGUSR2',
    ],
    ['by SIGKILL', FOREVER, 'SIGKILL'],
  ] as const)('%s, its servers go with it', async (_name, ending, signal) => {
    const crashing = new ServerProcess({
      name: 'crashing',
      command: process.execPath,
      args: [script(child(ending))],
      // What the killed process cannot remove is removed with the other folders of this file.
      env: { TMPDIR: tempFolder('crash') },
      ready: (own) => own.lines.some((line) => line.startsWith('redis')),
    });
    await crashing.start();
    const pid = Number(
      /\d+/.exec(crashing.lines.find((line) => line.startsWith('redis')) ?? '')?.[0],
    );
    expect(pid).toBeGreaterThan(1);
    crashing.signal(signal);
    await crashing.exit;
    await until(() => !alive(pid));
  });
});
