import type { Duplex } from 'node:stream';
import type { OperationalError } from '@sallyport/errors';
import type { ClientCertificate } from './client-certificate.ts';
import type { ConnectionGate } from './connection-gate.ts';
import type { StormBrake } from './storm-brake.ts';
import type { TlsCredentials, TrustOverride } from './tls-credentials.ts';

export interface ListenerOptions {
  /** Such as `tcp:default`; part of what a client is judged by. */
  readonly name: string;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /**
   * Addresses and CIDR blocks of load balancers. From them a PROXY header is required; from anybody else it is not looked for,
   * so that nobody can claim another's address.
   */
  readonly proxyFrom?: readonly string[];
  /** One for all listeners of the node: counts connections and closes those that are too many. */
  readonly gate: ConnectionGate;
  /** The same for all listeners of the node: their sockets are left unread for a while when very many clients leave, or come, at once. */
  readonly brakes?: StormBrakes;
  /** TLS, and client certificates as these say; plain when left out. */
  readonly tls?: TlsCredentials;
  /** MQTT inside WebSocket when given. */
  readonly webSocket?: WebSocketOptions;
  /** Something to log that concerns the listener, such as no more file descriptors. */
  readonly onProblem?: (problem: OperationalError) => void;
}

export interface StormBrakes {
  /** Leaves all sockets unread. */
  readonly leaving: StormBrake;
  /** Only those whose CONNECT is still to come. */
  readonly arriving: StormBrake;
}

export interface WebSocketOptions {
  /**
   * Origins of web pages that may connect, such as `https://example.org`. Undefined: all, but none where clients are asked for
   * certificates. A client without an origin always may.
   */
  readonly originsAllowed?: readonly string[];
  /** Largest WebSocket message in bytes; a larger one ends the connection. */
  readonly messageBytesMax: number;
}

/** A byte stream that should speak MQTT. Nothing of it has been read. */
export interface AcceptedConnection {
  readonly stream: Duplex;
  /** The name of the listener. */
  readonly listener: string;
  /** `address:port` of the client, as the PROXY header said; IPv6 in brackets, in the form of RFC 5952. */
  readonly peer: string;
  /** Whether it came over TLS. */
  readonly secure: boolean;
  /** What the client showed and our authorities vouch for. A client with a bad certificate does not get here. */
  readonly certificate?: ClientCertificate;
  /** Whoever speaks with it, to be set by it: those that were heard last come first when nobody can be read for a while. */
  speaker: Speaker | undefined;
  /** To be called when a CONNECT was read, or something in its place, before it is judged. */
  arriving(): void;
  /** To be called after that, when it is judged, whatever has become of the connection meanwhile. More than once does no harm. */
  settled(): void;
  /** To be called when the client leaves: a goodbye, an end or a failure was read. More than once does no harm. */
  leaving(): void;
  /** Whether it is not read now, because very many come or leave. */
  readonly unread: boolean;
  /**
   * To be called once the CONNECT is accepted. A connection for which it is not called counts as one without a CONNECT, and is
   * cut `connectTimeoutMs` after it was accepted.
   */
  authenticated(): void;
}

export interface Speaker {
  /** When something came last, by `performance.now()`. */
  readonly heardAt: number;
}

export interface RunningListener extends AsyncDisposable {
  readonly name: string;
  readonly address: { readonly host: string; readonly port: number };
  /** Open sockets, those without a CONNECT included. */
  readonly connections: number;
  /**
   * Reads the certificate files again, for handshakes from now on. What cannot be used is reported as a problem, and the old
   * ones stay. Without TLS it does nothing.
   */
  reload(): Promise<void>;
  /**
   * What a TLS listener shows and trusts in place of its files, for handshakes from now on. Without TLS it does nothing.
   * @throws OperationalError `config_invalid` when it cannot be used; then it refuses every handshake
   */
  override(trust: TrustOverride | undefined): void;
  /** Accepts nobody any more; open connections go on. */
  close(): void;
  /** Cuts all open connections. */
  closeConnections(): void;
}
