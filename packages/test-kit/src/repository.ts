import { fileURLToPath } from 'node:url';

/** Absolute path of a file of this repository; works from `src` and from `dist`, which lie equally deep. */
export function repositoryPath(path: string): string {
  return fileURLToPath(new URL(`../../../${path}`, import.meta.url));
}
