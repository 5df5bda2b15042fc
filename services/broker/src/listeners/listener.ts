import type { Duplex } from 'node:stream';
import type { OperationalError } from '@sallyport/errors';

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
  /** Most sockets at once, those without a CONNECT included; one more is closed at once. */
  readonly connectionsMax: number;
  /** Something to log that concerns the listener, such as no more file descriptors. */
  readonly onProblem?: (problem: OperationalError) => void;
}

/** A byte stream that should speak MQTT. Nothing of it has been read. */
export interface AcceptedConnection {
  readonly stream: Duplex;
  /** The name of the listener. */
  readonly listener: string;
  /** `address:port` of the client, as the PROXY header said; IPv6 in brackets. */
  readonly peer: string;
}

export interface RunningListener extends AsyncDisposable {
  readonly name: string;
  readonly address: { readonly host: string; readonly port: number };
  /** Open sockets. */
  readonly connections: number;
  /** Accepts nobody any more; open connections go on. */
  close(): void;
  /** Cuts all open connections. */
  closeConnections(): void;
}
