import { type ServerProcessOptions, ServerProcess } from './server-process.ts';
import { answers } from './until.ts';

export interface ServiceProcessOptions {
  readonly name: string;
  /** Absolute path of the service's `dist/main.js`. */
  readonly entry: string;
  readonly env: Readonly<Record<string, string>>;
  /** Ready when a line matches, or when the URL answers 200. */
  readonly ready: { readonly line: RegExp } | { readonly url: string };
  readonly args?: readonly string[];
  /** A disk of its own, of so many bytes, behind a folder that is there: see `diskPath`. */
  readonly disk?: { readonly folder: string; readonly bytes: number };
  readonly cwd?: string;
  readonly readyTimeoutMs?: number;
  readonly onLine?: ServerProcessOptions['onLine'];
  readonly onUnexpectedExit?: ServerProcessOptions['onUnexpectedExit'];
}

/** Runs a service as a process of its own, with this environment only, and waits until it is ready. */
export async function startProcess(options: ServiceProcessOptions): Promise<ServerProcess> {
  const { entry, ready, args = [], disk, ...rest } = options;
  let firstLine = 0;
  const server = new ServerProcess({
    ...rest,
    ...withDisk(disk, [process.execPath, '--enable-source-maps', entry, ...args]),
    ready: (own) => {
      if ('url' in ready) return answers(ready.url);
      const found = own.lines.slice(firstLine).some((line) => ready.line.test(line));
      // The lines of this run must not make the next one ready.
      if (found) firstLine = own.lines.length;
      return found;
    },
  });
  await server.start();
  return server;
}

/** In a mount namespace, which root may make, and whoever may make a user namespace: nothing has to be unmounted afterwards. */
function withDisk(
  disk: ServiceProcessOptions['disk'],
  [command, ...args]: readonly [string, ...string[]],
): { readonly command: string; readonly args: readonly string[] } {
  if (disk === undefined) return { command, args };
  const { folder, bytes } = disk;
  const script = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"';
  const namespaces = process.getuid?.() === 0 ? '-m' : '-rm';
  return {
    command: 'unshare',
    args: [namespaces, 'sh', '-c', script, 'sh', String(bytes), folder, command, ...args],
  };
}

/** Where others find a folder of a process that has a disk of its own. */
export const diskPath = (pid: number | undefined, folder: string): string =>
  `/proc/${pid}/root${folder}`;
