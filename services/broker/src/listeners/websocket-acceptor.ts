import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createWebSocketStream } from './websocket-stream.ts';

/** Where MQTT is; everything else is 404. */
export const WS_PATH = '/mqtt';

const REQUEST_HEADER_BYTES_MAX = 8 * 1024;

/** MQTT-3.1.1, MQTT-5.0 [MQTT-6.0.0-3] and, for 3.1, what clients have always sent. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'];

/** @source RFC 6455 §1.3, §4.2.1 */
const KEY_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const KEY = /^[+/0-9A-Za-z]{22}==$/;
const VERSION = '13';

export interface WebSocketAcceptorOptions {
  /** Web pages that may connect now; undefined: all. */
  readonly originsAllowed: () => readonly string[] | undefined;
  /** Largest WebSocket message in bytes; a larger one ends the connection. */
  readonly messageBytesMax: number;
}

export interface WebSocketHandlers<Connection> {
  onOpen(connection: Connection, stream: Duplex): void;
  /** It was no upgrade, or not one for us; the answer is on its way. */
  onRefused(connection: Connection, status: number): void;
}

function refuse(socket: Socket, status: number): void {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`, 'Connection: close'];
  if (status === 426) lines.push(`Sec-WebSocket-Version: ${VERSION}`);
  socket.write([...lines, 'Content-Length: 0', '\r\n'].join('\r\n'));
  socket.destroySoon();
}

function subprotocolOf(request: IncomingMessage): string | undefined {
  const offered = (request.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((name) => name.trim());
  return SUBPROTOCOLS.find((name) => offered.includes(name));
}

function pathOf(request: IncomingMessage): string {
  const [path = ''] = (request.url ?? '').split('?', 1);
  return path;
}

/** The HTTP status of the refusal, or undefined. */
function problemOf(
  request: IncomingMessage,
  originsAllowed: readonly string[] | undefined,
): number | undefined {
  if (pathOf(request) !== WS_PATH) return 404;
  const { origin, upgrade } = request.headers;
  if (origin !== undefined && originsAllowed !== undefined && !originsAllowed.includes(origin)) {
    return 403;
  }
  if (request.method !== 'GET') return 405;
  if (upgrade?.toLowerCase() !== 'websocket') return 400;
  if (request.headers['sec-websocket-version'] !== VERSION) return 426;
  if (!KEY.test(request.headers['sec-websocket-key'] ?? '')) return 400;
  return subprotocolOf(request) === undefined ? 400 : undefined;
}

function accept(socket: Socket, request: IncomingMessage): void {
  const key = `${request.headers['sec-websocket-key'] ?? ''}${KEY_SUFFIX}`;
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${createHash('sha1').update(key).digest('base64')}`,
    `Sec-WebSocket-Protocol: ${subprotocolOf(request) ?? ''}`,
  ];
  // No extensions: compression is a bomb for our memory, and nothing for small messages.
  socket.write([...lines, '\r\n'].join('\r\n'));
}

/** Makes WebSockets of sockets, plain or inside TLS, that somebody else has accepted. How long that may take is not its affair. */
export class WebSocketAcceptor<Connection extends object> {
  readonly #options: WebSocketAcceptorOptions;
  readonly #handlers: WebSocketHandlers<Connection>;
  readonly #server: Server;
  readonly #connections = new WeakMap<Socket, Connection>();

  constructor(options: WebSocketAcceptorOptions, handlers: WebSocketHandlers<Connection>) {
    this.#options = options;
    this.#handlers = handlers;
    this.#server = createServer(
      { maxHeaderSize: REQUEST_HEADER_BYTES_MAX },
      (request, response) => {
        const status = pathOf(request) === WS_PATH ? 426 : 404;
        this.#refused(request.socket, status);
        response.writeHead(status, {
          Connection: 'close',
          ...(status === 426 && { Upgrade: 'websocket' }),
        });
        response.end();
      },
    );
    // Its sockets are those that we were given; Node's types are wider.
    this.#server.on('upgrade', (request, socket, head) =>
      this.#upgrade(request, socket as Socket, head),
    );
    this.#server.on('clientError', (_error, socket) => {
      this.#refused(socket as Socket, 400);
      if (socket.writable) refuse(socket as Socket, 400);
      else socket.destroy();
    });
  }

  accept(connection: Connection, socket: Socket): void {
    this.#connections.set(socket, connection);
    this.#server.emit('connection', socket);
  }

  #refused(socket: Socket, status: number): void {
    const connection = this.#connections.get(socket);
    this.#connections.delete(socket);
    if (connection !== undefined) this.#handlers.onRefused(connection, status);
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const problem = problemOf(request, this.#options.originsAllowed());
    if (problem !== undefined) {
      this.#refused(socket, problem);
      refuse(socket, problem);
      return;
    }
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    accept(socket, request);
    const stream = createWebSocketStream(socket, head, this.#options.messageBytesMax);
    this.#handlers.onOpen(connection, stream);
  }
}
