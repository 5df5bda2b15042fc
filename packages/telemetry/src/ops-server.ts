import { createHash, timingSafeEqual } from 'node:crypto';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Telemetry } from './telemetry.ts';

export interface OpsChecks {
  /** False, or why not: the process must be restarted. */
  readonly live: () => boolean | string;
  /** True, or why not, for each thing that must work before traffic may come. */
  readonly ready: () => Readonly<Record<string, true | string>>;
  /** Whether the start is over. */
  readonly started: () => boolean;
}

export interface OpsOptions {
  readonly checks: OpsChecks;
  readonly telemetry: Pick<Telemetry, 'metricsText'>;
  /** Bearer token of `/metrics`; without it only loopback peers may read them. */
  readonly metricsToken?: string | undefined;
}

export interface OpsRequest {
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Address of the peer of the socket, never a forwarded one. */
  readonly peerAddress: string | undefined;
}

export interface OpsResponse {
  readonly status: number;
  readonly contentType: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Answers the four paths, undefined for any other. */
export type OpsHandler = (request: OpsRequest) => Promise<OpsResponse | undefined>;

/** The paths that `createOpsHandler` answers. */
export const OPS_PATHS = ['/livez', '/readyz', '/startupz', '/metrics'] as const;

function json(status: number, body: unknown, headers: Record<string, string> = {}): OpsResponse {
  return {
    status,
    contentType: 'application/json; charset=utf-8',
    headers: { 'cache-control': 'no-store', ...headers },
    body: `${JSON.stringify(body)}\n`,
  };
}

function health(failing: Readonly<Record<string, string>>): OpsResponse {
  const healthy = Object.keys(failing).length === 0;
  return json(healthy ? 200 : 503, { status: healthy ? 'ok' : 'failing', failing });
}

function live({ live: check }: OpsChecks): OpsResponse {
  const answer = check();
  if (answer === true) return health({});
  return health({ live: answer === false ? 'not live' : answer });
}

function ready({ ready: check }: OpsChecks): OpsResponse {
  const failing = Object.entries(check()).filter((entry) => entry[1] !== true);
  return health(Object.fromEntries(failing.map(([name, why]) => [name, String(why)])));
}

function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false;
  return address === '::1' || /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(address);
}

function sameText(a: string, b: string): boolean {
  // Digests have one length, so that the comparison tells nothing of the token's.
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function mayReadMetrics(options: OpsOptions, request: OpsRequest): boolean {
  if (options.metricsToken === undefined) {
    // A proxy on this machine makes every client look local, but says that it forwards.
    const { forwarded, 'x-forwarded-for': forwardedFor } = request.headers;
    const direct = forwarded === undefined && forwardedFor === undefined;
    return direct && isLoopback(request.peerAddress);
  }
  const { authorization } = request.headers;
  if (typeof authorization !== 'string') return false;
  const [scheme, token, ...rest] = authorization.split(' ');
  if (scheme?.toLowerCase() !== 'bearer' || rest.length > 0) return false;
  return sameText(token ?? '', options.metricsToken);
}

async function metrics(options: OpsOptions, request: OpsRequest): Promise<OpsResponse> {
  if (!mayReadMetrics(options, request)) {
    const headers: Record<string, string> =
      options.metricsToken === undefined ? {} : { 'www-authenticate': 'Bearer' };
    return json(options.metricsToken === undefined ? 403 : 401, { status: 'refused' }, headers);
  }
  return {
    status: 200,
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    headers: { 'cache-control': 'no-store' },
    body: await options.telemetry.metricsText(),
  };
}

async function answer(options: OpsOptions, request: OpsRequest): Promise<OpsResponse | undefined> {
  const { checks } = options;
  switch (request.path) {
    case '/livez':
      return live(checks);
    case '/readyz':
      return checks.started() ? ready(checks) : health({ startup: 'starting' });
    case '/startupz':
      return health(checks.started() ? {} : { startup: 'starting' });
    case '/metrics':
      return metrics(options, request);
    default:
      return undefined;
  }
}

/** The health and metrics routes without a server, to be mounted on any. A check that throws counts as failing. */
export function createOpsHandler(options: OpsOptions): OpsHandler {
  return async (request) => {
    const ours = OPS_PATHS.some((path) => path === request.path);
    if (ours && request.method !== 'GET' && request.method !== 'HEAD') {
      return json(405, { status: 'refused' }, { allow: 'GET, HEAD' });
    }
    try {
      return await answer(options, request);
    } catch {
      return health({ check: 'failed' });
    }
  };
}

export interface OpsServer {
  /** Where it listens, with the port that the system chose when 0 was asked for. */
  readonly address: { readonly host: string; readonly port: number };
  close(): Promise<void>;
}

const HEADERS_TIMEOUT_MS = 5000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_TIMEOUT_MS = 5000;
const HEADER_BYTES_MAX = 8 * 1024;
const CONNECTIONS_MAX = 256;

async function respond(
  handler: OpsHandler,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const found = await handler({
    method: request.method ?? '',
    path: (request.url ?? '').split('?', 1)[0] ?? '',
    headers: request.headers,
    peerAddress: request.socket.remoteAddress,
  });
  const { status, contentType, headers, body } = found ?? json(404, { status: 'not found' });
  response.writeHead(status, { ...headers, 'content-type': contentType });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function listen(server: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      // A TCP server that listens has an address object.
      resolve(server.address() as AddressInfo);
    });
  });
}

/** Serves health and metrics on a port of its own. Rejects when the address is in use. */
export async function startOpsServer(
  options: OpsOptions & { readonly address: { readonly host: string; readonly port: number } },
): Promise<OpsServer> {
  const handler = createOpsHandler(options);
  const server = createServer(
    {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      maxHeaderSize: HEADER_BYTES_MAX,
    },
    (request, response) => {
      // `handler` does not reject; a peer that is gone while we write raises 'error' on the response.
      response.on('error', () => response.destroy());
      void respond(handler, request, response);
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  const bound = await listen(server, options.address.host, options.address.port);
  return {
    address: { host: bound.address, port: bound.port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
