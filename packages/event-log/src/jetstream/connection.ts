import { OperationalError } from '@sallyport/errors';
import { connect, type NatsConnection, type NodeConnectionOptions } from '@nats-io/transport-node';

// The client's own defaults notice a server that is frozen after minutes.
const PING_INTERVAL_MS = 1_000;
const PINGS_OUT_MAX = 2;
const CONNECT_TIMEOUT_MS = 1_000;
const RECONNECT_WAIT_MS = 100;
const RECONNECT_JITTER_MS = 50;
/** How long the first connection may take, over all servers. */
const FIRST_CONNECT_TIMEOUT_MS = 10_000;

/** Where NATS is, and who we are there. */
export interface NatsServers {
  readonly servers: readonly string[];
  readonly user?: string | undefined;
  readonly pass?: string | undefined;
  readonly token?: string | undefined;
  readonly tls?: NodeConnectionOptions['tls'] | undefined;
  /** Name of the connection, for the server's operator. */
  readonly name?: string | undefined;
}

/** The options of a connection that notices a dead or frozen server within seconds, and comes back for ever. */
export function natsConnectionOptions(where: NatsServers): NodeConnectionOptions {
  const { servers, user, pass, token, tls, name } = where;
  return {
    servers: [...servers],
    ...(user === undefined ? {} : { user }),
    ...(pass === undefined ? {} : { pass }),
    ...(token === undefined ? {} : { token }),
    ...(tls === undefined ? {} : { tls }),
    ...(name === undefined ? {} : { name }),
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: PINGS_OUT_MAX,
    timeout: CONNECT_TIMEOUT_MS,
    reconnect: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT_MS,
    reconnectJitter: RECONNECT_JITTER_MS,
    reconnectJitterTLS: RECONNECT_JITTER_MS,
    // A password that is rotated on the server first must not end the process' only connection.
    ignoreAuthErrorAbort: true,
  };
}

/** @throws OperationalError `log_unavailable` when no server answers within 10 s */
export async function openNatsConnection(where: NatsServers): Promise<NatsConnection> {
  const deadline = performance.now() + FIRST_CONNECT_TIMEOUT_MS;
  for (;;) {
    try {
      return await connect(natsConnectionOptions(where));
    } catch (cause) {
      if (performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, RECONNECT_WAIT_MS));
        continue;
      }
      throw new OperationalError('log_unavailable', 'no NATS server answers', { cause });
    }
  }
}
