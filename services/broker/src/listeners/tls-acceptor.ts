import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { type ClientCertificate, readClientCertificate } from './client-certificate.ts';
import type { TlsCredentials, TlsUser } from './tls-credentials.ts';

export interface TlsHandlers<Connection> {
  /** The first bytes of a handshake were dealt with: a millisecond or two, most of it for the signature. */
  onBegun(connection: Connection): void;
  /** The handshake is done, and the certificate, if one was asked for, is as it must be. */
  onSecure(
    connection: Connection,
    socket: TLSSocket,
    certificate: ClientCertificate | undefined,
  ): void;
  /** The handshake failed, or the certificate did; the socket is closed. */
  onFailure(
    connection: Connection,
    reason: 'tls_handshake' | 'client_certificate',
    detail: string,
  ): void;
}

/** Clients whose CONNECT takes as long as the first bytes of a handshake. */
export const CLIENTS_OF_HANDSHAKE = 2;

/** A connection while its handshake lasts. */
export interface Shaking {
  /** Which of the sockets it is: once the socket is closed, it does not know any more. */
  shakingKey: string | undefined;
}

/** Which of the sockets it is, both plain and inside TLS; undefined once the peer is gone. */
function keyOf({ remoteAddress, remotePort, localAddress }: Socket): string | undefined {
  return remoteAddress === undefined
    ? undefined
    : `${remoteAddress} ${remotePort ?? 0} ${localAddress ?? ''}`;
}

const ignore = (): void => undefined; // `close` follows, and whoever reads sees it.

/** Makes TLS of sockets that somebody else has accepted, and knows which became which. */
export class TlsAcceptor<Connection extends Shaking> implements TlsUser {
  readonly #credentials: TlsCredentials;
  readonly #handlers: TlsHandlers<Connection>;
  #server: Server;
  #asks: boolean;
  readonly #shaking = new Map<string, Connection>();
  /** One for all sockets. */
  readonly #onReadable: (this: Socket) => void;

  constructor(credentials: TlsCredentials, handlers: TlsHandlers<Connection>) {
    this.#credentials = credentials;
    this.#handlers = handlers;
    this.#asks = credentials.clientCertificate !== 'none';
    this.#server = this.#newServer();
    const begin = (socket: Socket): void => this.#begin(socket);
    this.#onReadable = function onReadable() {
      begin(this);
    };
    credentials.attach(this);
  }

  #newServer(): Server {
    const server = createServer({
      ...this.#credentials.context,
      requestCert: this.#asks,
      // Node would close without a word about whom and why. INVARIANT: #certificateOf refuses what Node lets through.
      rejectUnauthorized: false,
    });
    server.on('secureConnection', (socket) => this.#secured(socket));
    server.on('tlsClientError', (error, socket) => this.#failed(error, socket));
    return server;
  }

  /** A server cannot begin to ask for certificates. What shakes hands with the old one comes here all the same. */
  renewed(): void {
    const asks = this.#credentials.clientCertificate !== 'none';
    if (asks === this.#asks) {
      this.#server.setSecureContext(this.#credentials.context);
      return;
    }
    this.#asks = asks;
    this.#server = this.#newServer();
  }

  setTicketKeys(keys: Buffer): void {
    this.#server.setTicketKeys(keys);
  }

  /**
   * Nothing of `socket` has been read but what was put back. Its handshake begins with its first bytes, and not before: so a storm of
   * them can be seen, and the rest of it left in the sockets, while the first are dealt with.
   */
  accept(connection: Connection, socket: Socket): void {
    const key = keyOf(socket);
    if (key === undefined) {
      socket.destroy();
      return;
    }
    if (!this.#credentials.usable) {
      socket.destroy();
      this.#handlers.onFailure(connection, 'tls_handshake', 'CERTIFICATES_UNUSABLE');
      return;
    }
    connection.shakingKey = key;
    this.#shaking.set(key, connection);
    socket.on('readable', this.#onReadable);
  }

  #begin(socket: Socket): void {
    if (socket.readableLength === 0) {
      socket.read(); // Its end comes out, and closes it.
      return;
    }
    socket.off('readable', this.#onReadable);
    const connection = this.#shaking.get(keyOf(socket) ?? '');
    if (connection === undefined) {
      socket.destroy(); // Gone in the same moment.
      return;
    }
    this.#server.emit('connection', socket);
    this.#handlers.onBegun(connection);
  }

  /** The socket of a connection has closed. */
  forget(connection: Connection): void {
    const { shakingKey } = connection;
    if (shakingKey === undefined) return;
    connection.shakingKey = undefined;
    // A newer one may have the same addresses already.
    if (this.#shaking.get(shakingKey) === connection) this.#shaking.delete(shakingKey);
    this.#handlers.onFailure(connection, 'tls_handshake', 'CLOSED');
  }

  /** Connections whose handshake is not done. */
  get shaking(): number {
    return this.#shaking.size;
  }

  close(): void {
    this.#credentials.detach(this);
  }

  #take(socket: TLSSocket): Connection | undefined {
    const key = keyOf(socket);
    if (key === undefined) return undefined;
    const connection = this.#shaking.get(key);
    this.#shaking.delete(key);
    if (connection !== undefined) connection.shakingKey = undefined;
    return connection;
  }

  #secured(socket: TLSSocket): void {
    socket.on('error', ignore);
    const connection = this.#take(socket);
    if (connection === undefined) {
      socket.destroy(); // Gone in the same moment.
      return;
    }
    const certificate = this.#certificateOf(socket);
    if (typeof certificate === 'string') {
      socket.destroy();
      this.#handlers.onFailure(connection, 'client_certificate', certificate);
      return;
    }
    this.#handlers.onSecure(connection, socket, certificate);
  }

  #failed(error: Error & { readonly code?: string }, socket: TLSSocket): void {
    const connection = this.#take(socket);
    socket.destroy();
    // One that is gone is not known any more; `forget` tells of it.
    if (connection === undefined) return;
    this.#handlers.onFailure(connection, 'tls_handshake', error.code ?? 'UNKNOWN');
  }

  /** Undefined: none, and none is needed. A text: why it is refused. */
  #certificateOf(socket: TLSSocket): ClientCertificate | string | undefined {
    const { clientCertificate, authorities } = this.#credentials;
    if (clientCertificate === 'none') return undefined;
    try {
      const leaf = socket.getPeerX509Certificate();
      if (leaf === undefined) return clientCertificate === 'required' ? 'MISSING' : undefined;
      if (!socket.authorized) return String(socket.authorizationError);
      return readClientCertificate(leaf, authorities);
    } catch {
      return 'UNREADABLE'; // What the library throws at is nothing that we know anybody by.
    }
  }
}
