import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folders = new Set<string>();

/** A server that was killed a moment ago may still be writing. */
const REMOVE = { recursive: true, force: true, maxRetries: 10, retryDelay: 50 } as const;

process.on('exit', () => {
  for (const folder of folders) rmSync(folder, REMOVE);
});

/** A new folder for files of a test, removed when the process ends, or by `removeFolder`. */
export function tempFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `sallyport-${name}-`));
  folders.add(folder);
  return folder;
}

export function removeFolder(folder: string): void {
  folders.delete(folder);
  rmSync(folder, REMOVE);
}

/** All that is left of this process: for `afterAll`, because a test runner may end its workers without an exit event. */
export function removeTempFolders(): void {
  for (const folder of folders) removeFolder(folder);
}
