import { once } from 'node:events';
import { BlockList, createServer, isIP, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { OperationalError } from '@sallyport/errors';
import type { ClientCertificate } from './client-certificate.ts';
import type { ConnectionGate, Gated, RefusalReason } from './connection-gate.ts';
import type {
  AcceptedConnection,
  ListenerOptions,
  RunningListener,
  Speaker,
  StormBrakes,
  WebSocketOptions,
} from './listener.ts';
import { readProxyHeader } from './read-proxy-header.ts';
import { readAgain, stopReading } from './socket-reading.ts';
import { canonicalAddress, peerOf, type Source } from './source-address.ts';
import type { Brakeable } from './storm-brake.ts';
import { CLIENTS_OF_HANDSHAKE, type Shaking, TlsAcceptor } from './tls-acceptor.ts';
import type { TrustOverride } from './tls-credentials.ts';
import { WebSocketAcceptor } from './websocket-acceptor.ts';

export function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

/**
 * Addresses and CIDR blocks as a list that can be asked.
 * @throws OperationalError `config_invalid`
 */
export function blockListOf(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', prefix, ...more] = entry.split('/');
    try {
      if (isIP(address) === 0 || more.length > 0) throw new RangeError('not an address');
      if (prefix === undefined) list.addAddress(address, familyOf(address));
      else if (!/^[0-9]{1,3}$/.test(prefix)) throw new RangeError('not a prefix length');
      else list.addSubnet(address, Number(prefix), familyOf(address));
    } catch (cause) {
      throw new OperationalError('config_invalid', `not an address or CIDR block: ${entry}`, {
        cause,
      });
    }
  }
  return list;
}

const ignore = (): void => undefined; // `close` follows, and whoever reads sees it.

/** Everything that a listener keeps of a connection: one object, no timer, no closure. */
class Connection implements AcceptedConnection, Brakeable, Gated, Shaking {
  readonly listener: string;
  readonly secure: boolean;
  readonly #gate: ConnectionGate;
  readonly #brakes: StormBrakes | undefined;
  readonly #socket: Socket;
  #refused = false;
  /** Because of a brake. */
  #unread = false;
  #hasCome = false;
  #underWay = false;
  stream: Duplex;
  peer: string;
  certificate?: ClientCertificate;
  shakingKey: string | undefined;
  speaker: Speaker | undefined;

  constructor(options: ListenerOptions, socket: Socket, source: Source) {
    this.listener = options.name;
    this.secure = options.tls !== undefined;
    this.#gate = options.gate;
    this.#brakes = options.brakes;
    this.#socket = socket;
    this.stream = socket;
    this.peer = peerOf(source);
  }

  authenticated(): void {
    this.#gate.authenticated(this);
  }

  /** Whether its CONNECT is still to be read. */
  get isArriving(): boolean {
    return !this.#hasCome;
  }

  get unread(): boolean {
    return this.#unread;
  }

  arriving(): void {
    if (!this.#hasCome) {
      this.#hasCome = true;
      this.#underWay = true;
      this.#brakes?.arriving.begun();
    }
    this.comesNearer();
  }

  settled(): void {
    if (!this.#underWay) return;
    this.#underWay = false;
    this.#brakes?.arriving.done();
  }

  /** A step of those before the CONNECT is done, a handshake has begun, or the CONNECT was read. */
  comesNearer(clients = 1): void {
    this.#brakes?.arriving.seen(clients);
  }

  leaving(): void {
    this.#brakes?.leaving.seen();
  }

  /** Who does not speak yet has its time, and has just come. */
  get heardAt(): number {
    return this.speaker?.heardAt ?? Infinity;
  }

  stopReading(): boolean {
    if (this.#unread || !stopReading(this.#socket)) return false;
    this.#unread = true;
    return true;
  }

  readAgain(): void {
    this.#unread = false;
    this.#gate.restart(this);
    readAgain(this.#socket);
  }

  expire(): void {
    this.refuse('connect_timeout');
  }

  refuse(reason: RefusalReason, detail?: string): void {
    this.tell(reason, detail);
    this.#socket.destroy();
  }

  /** Counts a refusal whose socket closes by itself. Once: the end of a socket is noticed in several places. */
  tell(reason: RefusalReason, detail?: string): void {
    if (this.#refused) return;
    this.#refused = true;
    this.#gate.refuse({ reason, listener: this.listener, peer: this.peer, detail });
  }
}

class Listener implements RunningListener {
  readonly name: string;
  readonly #options: ListenerOptions;
  readonly #gate: ConnectionGate;
  readonly #proxies: BlockList;
  readonly #hasProxies: boolean;
  readonly #onConnection: (connection: AcceptedConnection) => void;
  readonly #connections = new Map<Socket, Connection>();
  readonly #tls: TlsAcceptor<Connection> | undefined;
  readonly #webSocket: WebSocketAcceptor<Connection> | undefined;
  readonly #server: Server;
  /** Also after it was closed. */
  #address = { host: '', port: 0 };
  /** One for all sockets. */
  readonly #onClose: (this: Socket) => void;

  constructor(options: ListenerOptions, onConnection: (connection: AcceptedConnection) => void) {
    this.name = options.name;
    this.#options = options;
    this.#gate = options.gate;
    this.#proxies = blockListOf(options.proxyFrom ?? []);
    this.#hasProxies = this.#proxies.rules.length > 0;
    this.#onConnection = onConnection;
    if (options.tls !== undefined) {
      this.#tls = new TlsAcceptor(options.tls, {
        onBegun: (connection) => connection.comesNearer(CLIENTS_OF_HANDSHAKE),
        onSecure: (connection, socket, certificate) =>
          this.#secured(connection, socket, certificate),
        onFailure: (connection, reason, detail) => connection.refuse(reason, detail),
      });
    }
    if (options.webSocket !== undefined)
      this.#webSocket = this.#webSocketAcceptor(options.webSocket);
    const forget = (socket: Socket): void => this.#forget(socket);
    this.#onClose = function onClose() {
      forget(this);
    };
    options.brakes?.leaving.add(() => this.#connections.values());
    options.brakes?.arriving.add(() => this.#arriving());
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  #webSocketAcceptor({
    originsAllowed,
    messageBytesMax,
  }: WebSocketOptions): WebSocketAcceptor<Connection> {
    const { tls } = this.#options;
    // A browser shows its certificate whatever page opens the connection.
    const unlisted = () => (tls === undefined || tls.clientCertificate === 'none' ? undefined : []);
    return new WebSocketAcceptor<Connection>(
      { originsAllowed: () => originsAllowed ?? unlisted(), messageBytesMax },
      {
        onOpen: (connection, stream) => {
          connection.comesNearer();
          this.#handOver(connection, stream);
        },
        onRefused: (connection, status) => connection.tell('websocket_upgrade', String(status)),
      },
    );
  }

  /** @throws OperationalError `config_invalid` when the address cannot be listened on */
  async listen(): Promise<void> {
    const { host, port, onProblem } = this.#options;
    this.#server.listen(port, host);
    try {
      await once(this.#server, 'listening');
    } catch (cause) {
      this.#tls?.close();
      throw new OperationalError(
        'config_invalid',
        `${this.name} cannot listen on ${host}:${port}`,
        {
          cause,
        },
      );
    }
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new TypeError('not a TCP server');
    this.#address = { host: address.address, port: address.port };
    this.#server.on('error', (cause) =>
      onProblem?.(new OperationalError('internal', `${this.name} could not accept`, { cause })),
    );
  }

  get address(): { host: string; port: number } {
    return this.#address;
  }

  get connections(): number {
    return this.#connections.size;
  }

  async reload(): Promise<void> {
    await this.#options.tls?.reload();
  }

  override(trust: TrustOverride | undefined): void {
    this.#options.tls?.override(trust);
  }

  close(): void {
    this.#server.close(); // Called twice it does nothing: the error goes to a callback that is not there.
    this.#tls?.close();
  }

  closeConnections(): void {
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#tls?.close();
    this.closeConnections();
    await closed;
  }

  *#arriving(): Iterable<Connection> {
    for (const connection of this.#connections.values()) {
      if (connection.isArriving) yield connection;
    }
  }

  #accept(socket: Socket): void {
    socket.on('error', ignore);
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined) {
      socket.destroy(); // Gone already.
      return;
    }
    const own = { address: canonicalAddress(remoteAddress), port: remotePort ?? 0 };
    const connection = new Connection(this.#options, socket, own);
    const refusal = this.#gate.enter(connection);
    if (refusal !== undefined) {
      connection.refuse(refusal);
      return;
    }
    this.#connections.set(socket, connection);
    socket.on('close', this.#onClose);
    // Looking an address up in an empty list takes a good part of what accepting it takes.
    if (!this.#hasProxies || !this.#proxies.check(own.address, familyOf(own.address))) {
      this.#identified(connection, socket, own.address);
      return;
    }
    readProxyHeader(socket, (header) => {
      if (header === 'malformed') {
        connection.refuse('proxy_header');
        return;
      }
      const { address, port } = header.source ?? own;
      const source = { address: canonicalAddress(address), port };
      connection.peer = peerOf(source);
      this.#identified(connection, socket, source.address);
    });
  }

  /** It is known who connects; `address` is canonical. */
  #identified(connection: Connection, socket: Socket, address: string): void {
    const refusal = this.#gate.admit(address, this.name);
    if (refusal !== undefined) connection.refuse(refusal);
    else if (this.#tls !== undefined) this.#tls.accept(connection, socket);
    else this.#established(connection, socket);
  }

  #secured(
    connection: Connection,
    socket: TLSSocket,
    certificate: ClientCertificate | undefined,
  ): void {
    connection.comesNearer();
    if (certificate !== undefined) connection.certificate = certificate;
    this.#established(connection, socket);
  }

  #established(connection: Connection, socket: Socket): void {
    if (this.#webSocket !== undefined) this.#webSocket.accept(connection, socket);
    else this.#handOver(connection, socket);
  }

  #handOver(connection: Connection, stream: Duplex): void {
    connection.stream = stream;
    this.#onConnection(connection);
  }

  #forget(socket: Socket): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    this.#connections.delete(socket);
    this.#gate.leave(connection);
    this.#tls?.forget(connection);
  }
}

/**
 * One listener: MQTT over TCP, TLS, WebSocket or secure WebSocket, by one way. Each socket passes the gate, the PROXY header
 * where one is due, the TLS handshake and the WebSocket upgrade where they are wanted, and is handed over then.
 * @throws OperationalError `config_invalid` when the address cannot be listened on, or `proxyFrom` is not valid
 */
export async function startListener(
  options: ListenerOptions,
  onConnection: (connection: AcceptedConnection) => void,
): Promise<RunningListener> {
  const listener = new Listener(options, onConnection);
  await listener.listen();
  return listener;
}
