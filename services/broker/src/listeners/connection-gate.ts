import { RateLimit } from './rate-limit.ts';
import { networkOf } from './source-address.ts';

/** Why a connection was closed before its CONNECT was accepted. */
export type RefusalReason =
  /** `connectionsMax` is reached. */
  | 'connections_max'
  /** `unauthenticatedPercentMax` is reached. */
  | 'unauthenticated_max'
  /** `connectsPerSourcePerSecond` is reached. */
  | 'source_rate'
  /** `acceptsPerSecond` is reached. */
  | 'accept_rate'
  /** No CONNECT was accepted within `connectTimeoutMs`. */
  | 'connect_timeout'
  /** A load balancer did not begin with a PROXY header. */
  | 'proxy_header'
  | 'tls_handshake'
  /** Nobody may connect from this address. */
  | 'banned'
  /** `acceptsPerSecond` of its listener is reached. */
  | 'listener_rate'
  | 'client_certificate'
  | 'websocket_upgrade';

export interface Refusal {
  readonly reason: RefusalReason;
  /** The name of the listener. */
  readonly listener: string;
  /** `address:port`, as far as it is known. */
  readonly peer?: string | undefined;
  /** A code of the TLS library, or an HTTP status. */
  readonly detail?: string | undefined;
}

export interface ConnectionLimits {
  readonly connectionsMax: number;
  /** Share of `connectionsMax`, 1 to 100. */
  readonly unauthenticatedPercentMax: number;
  /** 0 is no limit. */
  readonly connectsPerSourcePerSecond: number;
  readonly connectsPerSourceBurst: number;
  /** 0 is no limit. */
  readonly acceptsPerSecond: number;
  /** The same for each listener, by its name; a listener that is not there has no limit of its own. */
  readonly acceptsPerSecondOf?: ReadonlyMap<string, number>;
  /** From the accepted socket until `authenticated`. */
  readonly connectTimeoutMs: number;
}

export interface GateOptions {
  readonly limits: ConnectionLimits;
  /** As many as strangers wish: throttle before logging. */
  readonly onRefused?: (refusal: Refusal) => void;
  /** Whether nobody from this canonical address may connect. */
  readonly isBanned?: (address: string) => boolean;
  /** Milliseconds that never go back. */
  readonly clock?: () => number;
}

/** What the gate knows of a connection. */
export interface Gated {
  /** Whether nothing is read of it now, and not by its own doing. */
  readonly unread?: boolean;
  /** Its time is over: ends it. */
  expire(): void;
}

/** Sources whose rate is remembered: some 2 MiB. */
const SOURCES_MAX = 16_384;
/** How often a connection has its time for the CONNECT anew: storms that somebody makes again and again keep nobody who says nothing. */
export const CONNECT_RESTARTS_MAX = 5;
const NODE = '';

/**
 * The limits of a node's connections, over all its listeners: how many, how many without a CONNECT and for how long, how fast
 * from one source and from all. Costs two entries for a connection, one once it is authenticated, and one timer for all.
 */
export class ConnectionGate {
  readonly #limits: ConnectionLimits;
  readonly #unauthenticatedMax: number;
  readonly #onRefused: GateOptions['onRefused'];
  readonly #clock: () => number;
  readonly #sources: RateLimit | undefined;
  readonly #node: RateLimit | undefined;
  readonly #listeners: ReadonlyMap<string, RateLimit>;
  readonly #isBanned: GateOptions['isBanned'];
  /** Without a CONNECT. INVARIANT: in the order of their deadlines, because all have the same time. */
  readonly #waiting = new Map<Gated, { readonly deadline: number; readonly restarts: number }>();
  readonly #refused = new Map<RefusalReason, number>();
  #connections = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ limits, onRefused, isBanned, clock = () => performance.now() }: GateOptions) {
    this.#limits = limits;
    this.#isBanned = isBanned;
    const share = (limits.connectionsMax * limits.unauthenticatedPercentMax) / 100;
    this.#unauthenticatedMax = Math.max(1, Math.floor(share));
    this.#onRefused = onRefused;
    this.#clock = clock;
    const { connectsPerSourcePerSecond, connectsPerSourceBurst, acceptsPerSecond } = limits;
    if (connectsPerSourcePerSecond > 0) {
      this.#sources = new RateLimit({
        perSecond: connectsPerSourcePerSecond,
        burst: connectsPerSourceBurst,
        keysMax: SOURCES_MAX,
        clock,
      });
    }
    const together = (perSecond: number): RateLimit =>
      new RateLimit({ perSecond, burst: perSecond, keysMax: 1, clock });
    if (acceptsPerSecond > 0) this.#node = together(acceptsPerSecond);
    this.#listeners = new Map(
      [...(limits.acceptsPerSecondOf ?? [])].map(([name, rate]) => [name, together(rate)]),
    );
  }

  /** Open ones, over all listeners. */
  get connections(): number {
    return this.#connections;
  }

  /** Those of them without an accepted CONNECT. */
  get unauthenticated(): number {
    return this.#waiting.size;
  }

  /** Closed so far before a CONNECT was accepted. */
  get refused(): ReadonlyMap<RefusalReason, number> {
    return this.#refused;
  }

  /** A socket has come. Unless a reason is answered it counts, until `leave`. */
  enter(connection: Gated): RefusalReason | undefined {
    if (this.#connections >= this.#limits.connectionsMax) return 'connections_max';
    if (this.#waiting.size >= this.#unauthenticatedMax) return 'unauthenticated_max';
    this.#connections += 1;
    this.#wait(connection, 0);
    if (this.#timer === undefined) this.#timer = this.#wakeIn(this.#limits.connectTimeoutMs);
    return undefined;
  }

  /**
   * It is known where a connection comes from; `address` is canonical. Neither the node's permits nor the listener's go to a source
   * that is banned or has used up its own.
   */
  admit(address: string, listener = ''): RefusalReason | undefined {
    if (this.#isBanned?.(address) === true) return 'banned';
    if (this.#sources?.take(networkOf(address)) === false) return 'source_rate';
    if (this.#listeners.get(listener)?.take(NODE) === false) return 'listener_rate';
    return this.#node?.take(NODE) === false ? 'accept_rate' : undefined;
  }

  /** Its time begins anew: it was not read. False, and nothing is done, once its CONNECT was accepted or after `CONNECT_RESTARTS_MAX`. */
  restart(connection: Gated): boolean {
    const { restarts = CONNECT_RESTARTS_MAX } = this.#waiting.get(connection) ?? {};
    if (restarts >= CONNECT_RESTARTS_MAX) return false;
    this.#waiting.delete(connection); // Behind all others.
    this.#wait(connection, restarts + 1);
    return true;
  }

  #wait(connection: Gated, restarts: number): void {
    const deadline = this.#clock() + this.#limits.connectTimeoutMs;
    this.#waiting.set(connection, { deadline, restarts });
  }

  /** Its CONNECT was accepted. */
  authenticated(connection: Gated): void {
    this.#waiting.delete(connection);
  }

  /** Once for each that has entered. */
  leave(connection: Gated): void {
    this.#connections -= 1;
    this.#waiting.delete(connection);
  }

  /** Counts and tells a refusal. */
  refuse(refusal: Refusal): void {
    this.#refused.set(refusal.reason, (this.#refused.get(refusal.reason) ?? 0) + 1);
    this.#onRefused?.(refusal);
  }

  #wakeIn(ms: number): NodeJS.Timeout {
    const timer = setTimeout(() => this.#expire(), Math.max(1, Math.ceil(ms)));
    timer.unref(); // Whoever has a socket open keeps the process alive.
    return timer;
  }

  #expire(): void {
    this.#timer = undefined;
    const now = this.#clock();
    for (const [connection, { deadline }] of this.#waiting) {
      if (deadline > now) {
        this.#timer = this.#wakeIn(deadline - now);
        return;
      }
      if (connection.unread === true && this.restart(connection)) continue;
      this.#waiting.delete(connection);
      connection.expire();
    }
  }
}
