import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { formatHostPort, parseListenAddress } from '@sallyport/config';
import { BODY_TIMEOUT_MS, limitBody } from './body-timeout.ts';

export const HEADERS_TIMEOUT_MS = 10_000;
export const KEEP_ALIVE_TIMEOUT_MS = 60_000;
export const HEADER_BYTES_MAX = 16 * 1024;
export const CONNECTIONS_MAX = 4096;
/** How long requests in flight may take after the process was told to end. */
export const CLOSE_TIMEOUT_MS = 5_000;

/** Servers on several addresses that share one handler. */
export class Listening {
  readonly #servers: Server[] = [];
  readonly #bodyTimeoutMs: number;

  constructor({ bodyTimeoutMs = BODY_TIMEOUT_MS } = {}) {
    this.#bodyTimeoutMs = bodyTimeoutMs;
  }

  /** Answers the addresses as `http://host:port`. On a failure nothing stays open. */
  async open(addresses: readonly string[], handler: RequestListener): Promise<readonly string[]> {
    try {
      const bound: string[] = [];
      for (const address of addresses) {
        const parsed = parseListenAddress(address);
        if (parsed === 'off') continue;
        bound.push(await this.#openOne(parsed, handler));
      }
      return bound;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #openOne(
    { host, port }: { readonly host: string; readonly port: number },
    handler: RequestListener,
  ): Promise<string> {
    const server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        // Bodies have a time of their own, which an import gets more of.
        requestTimeout: 0,
        keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
        connectionsCheckingInterval: 1000,
        maxHeaderSize: HEADER_BYTES_MAX,
      },
      (request, response) => {
        limitBody(request, response, this.#bodyTimeoutMs);
        handler(request, response);
      },
    );
    server.maxConnections = CONNECTIONS_MAX;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.off('error', reject);
        resolve();
      });
    });
    this.#servers.push(server);
    const bound = server.address() as AddressInfo; // A TCP server that listens has one.
    return `http://${formatHostPort({ host: bound.address, port: bound.port })}`;
  }

  /** Takes no more connections, waits for what is in flight, and closes what stays. */
  async close(): Promise<void> {
    const closed = this.#servers.map(
      (server) =>
        new Promise<void>((resolve) => {
          server.close(() => {
            resolve();
          });
          server.closeIdleConnections();
        }),
    );
    const timer = setTimeout(() => {
      for (const server of this.#servers) server.closeAllConnections();
    }, CLOSE_TIMEOUT_MS);
    await Promise.all(closed);
    clearTimeout(timer);
    this.#servers.length = 0;
  }
}
