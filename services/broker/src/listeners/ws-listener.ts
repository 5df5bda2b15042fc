import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { startAccepting } from './accept.ts';
import type { AcceptedConnection, ListenerOptions, RunningListener } from './listener.ts';

/** Where MQTT is; everything else is 404. */
export const WS_PATH = '/mqtt';

/** Largest WebSocket message: the largest MQTT packet and its header. */
const WS_PAYLOAD_BYTES_MAX = 1024 * 1024 + 64 * 1024;

/** Until the upgrade; afterwards the time limits of MQTT hold. */
export const UPGRADE_TIMEOUT_MS = 10_000;
const REQUEST_HEADER_BYTES_MAX = 8 * 1024;

/** MQTT-3.1.1 [MQTT-6.0.0-3] and, for 3.1, what clients have always sent. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'];

export interface WsListenerOptions extends ListenerOptions {
  /** Origins of web pages that may connect, such as `https://example.org`. Undefined: all. A client without one always may. */
  readonly originsAllowed?: readonly string[];
  /** Largest WebSocket message in bytes; a larger one ends the connection. */
  readonly payloadBytesMax?: number;
}

function refuse(socket: Duplex, status: number): void {
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
  );
}

function offeredProtocols(request: IncomingMessage): string[] {
  return (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
}

/** The HTTP status of the refusal, or undefined. */
function problemOf(request: IncomingMessage, options: WsListenerOptions): number | undefined {
  const [path] = (request.url ?? '').split('?', 1);
  if (path !== WS_PATH) return 404;
  const { origin } = request.headers;
  const { originsAllowed } = options;
  if (origin !== undefined && originsAllowed !== undefined && !originsAllowed.includes(origin)) {
    return 403;
  }
  const offered = offeredProtocols(request);
  return SUBPROTOCOLS.some((name) => offered.includes(name)) ? undefined : 400;
}

function streamOf(socket: WebSocket): Duplex {
  // Before the stream's own listener, which would take the text for bytes. MQTT-3.1.1 [MQTT-6.0.0-1]
  socket.on('message', (_data, isBinary) => {
    if (!isBinary) stream.destroy();
  });
  const stream = createWebSocketStream(socket);
  stream.on('error', () => undefined); // `close` follows, and whoever reads sees it.
  return stream;
}

function httpServer(): Server {
  return createServer(
    {
      maxHeaderSize: REQUEST_HEADER_BYTES_MAX,
    },
    (request, response) => {
      const [path] = (request.url ?? '').split('?', 1);
      response.writeHead(path === WS_PATH ? 426 : 404, {
        Connection: 'close',
        ...(path === WS_PATH && { Upgrade: 'websocket' }),
      });
      response.end();
    },
  );
}

/** MQTT over WebSocket. @throws OperationalError `config_invalid` when the address cannot be listened on */
export async function startWsListener(
  options: WsListenerOptions,
  onConnection: (connection: AcceptedConnection) => void,
): Promise<RunningListener> {
  const peers = new WeakMap<Duplex, string>();
  const deadlines = new WeakMap<Duplex, NodeJS.Timeout>();
  const upgrader = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false, // A bomb for our memory, and nothing for small messages.
    maxPayload: options.payloadBytesMax ?? WS_PAYLOAD_BYTES_MAX,
    handleProtocols: (offered) => SUBPROTOCOLS.find((name) => offered.has(name)) ?? false,
  });
  const server = httpServer();
  server.on('upgrade', (request, socket, head) => {
    const problem = problemOf(request, options);
    if (problem !== undefined) {
      refuse(socket, problem);
      return;
    }
    const peer = peers.get(socket) ?? '';
    upgrader.handleUpgrade(request, socket, head, (webSocket) => {
      clearTimeout(deadlines.get(socket));
      onConnection({ stream: streamOf(webSocket), listener: options.name, peer });
    });
  });
  return startAccepting(options, (socket, peer) => {
    peers.set(socket, peer);
    // The server's own time limits work only while it listens itself.
    const deadline = setTimeout(() => socket.destroy(), UPGRADE_TIMEOUT_MS);
    deadlines.set(socket, deadline);
    socket.once('close', () => clearTimeout(deadline));
    server.emit('connection', socket);
  });
}
