import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { repositoryPath, type ServerProcess } from '@sallyport/test-kit';

/** For the environment of a service whose memory is looked at with `residentWithoutGarbage`. */
export const COLLECTS_GARBAGE = {
  NODE_OPTIONS: `--import=${pathToFileURL(repositoryPath('test/harness/collect-garbage.mjs')).href}`,
};

/** Resident memory of a process in MiB, with whatever garbage it has. */
export function resident({ pid }: ServerProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? NaN) / 1024;
}

/** What is left in MiB when the garbage is gone; the service must have been started with `COLLECTS_GARBAGE`. */
export async function residentWithoutGarbage(process: ServerProcess): Promise<number> {
  const from = process.lines.length;
  process.signal('SIGUSR2');
  await process.waitForLine(/^garbage collected$/, undefined, from);
  return resident(process);
}
