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
  readonly cwd?: string;
  readonly readyTimeoutMs?: number;
  readonly onLine?: ServerProcessOptions['onLine'];
  readonly onUnexpectedExit?: ServerProcessOptions['onUnexpectedExit'];
}

/** Runs a service as a process of its own, with this environment only, and waits until it is ready. */
export async function startProcess(options: ServiceProcessOptions): Promise<ServerProcess> {
  const { entry, ready, args = [], ...rest } = options;
  let firstLine = 0;
  const server = new ServerProcess({
    ...rest,
    command: process.execPath,
    args: ['--enable-source-maps', entry, ...args],
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
