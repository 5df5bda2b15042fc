import { OperationalError } from '@sallyport/errors';
import { Redis, type RedisOptions } from 'ioredis';
import { RedisRoutes } from './redis-routes.ts';
import { defineScripts, keysIn } from './redis-scripts.ts';
import { COMMAND_TIMEOUT_MS, RedisSessionStore } from './redis-store.ts';
import type { SessionStore, StoreLimits, StoreObserver } from './session-store.ts';

export { COMMAND_TIMEOUT_MS } from './redis-store.ts';

const CONNECT_TIMEOUT_MS = 3000;

/** A command survives this many reconnects within its time. */
const RETRIES_PER_COMMAND_MAX = 3;
const RECONNECT_WAIT_MS = 50;
const RECONNECT_WAIT_MS_MAX = 1000;

export interface RedisSessionStoreOptions {
  /** Where Redis is and how to log in. Time limits and retries are ours. `keyPrefix` keeps clusters in one Redis apart. */
  readonly connection: RedisOptions;
  readonly limits?: StoreLimits;
  readonly observer?: StoreObserver;
  /** Something to log: called once for each outage. */
  readonly onProblem?: (problem: OperationalError) => void;
}

/** The parts of a `redis://` or `rediss://` URL that say where and who; validated when the configuration is loaded. */
export function redisConnection(url: string): RedisOptions {
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  return {
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? 6379 : Number(port),
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
    ...(pathname.length > 1 && { db: Number(pathname.slice(1)) }),
    ...(protocol === 'rediss:' && { tls: {} }),
  };
}

/** Without a listener of its own an `error` event would end the process. */
function reportOutages(redis: Redis, report: (problem: OperationalError) => void): void {
  let reported = false;
  const tell = (message: string, cause?: unknown): void => {
    if (reported) return;
    reported = true;
    report(new OperationalError('session_store_unavailable', message, { cause }));
  };
  redis.on('error', (cause) => tell('the connection to Redis failed', cause));
  redis.on('close', () => {
    if (redis.status !== 'end') tell('the connection to Redis is lost');
  });
  redis.on('ready', () => (reported = false));
}

/** @throws OperationalError `session_store_unavailable` when Redis does not answer now; later outages heal by themselves */
export async function openRedisSessionStore(
  options: RedisSessionStoreOptions,
): Promise<SessionStore> {
  const redis = new Redis({
    ...options.connection,
    keyPrefix: '', // Scripts name their keys themselves.
    lazyConnect: true,
    enableAutoPipelining: true,
    enableOfflineQueue: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: COMMAND_TIMEOUT_MS, // A frozen server: without it the connection would count as good.
    maxRetriesPerRequest: RETRIES_PER_COMMAND_MAX,
    retryStrategy: (attempt) => Math.min(RECONNECT_WAIT_MS * attempt, RECONNECT_WAIT_MS_MAX),
  });
  const namespace = `${options.connection.keyPrefix ?? ''}sp:`;
  const scripted = defineScripts(redis, namespace);
  reportOutages(redis, options.onProblem ?? (() => undefined));
  try {
    await redis.connect();
    await redis.ping();
  } catch (cause) {
    redis.disconnect();
    throw new OperationalError('session_store_unavailable', 'Redis cannot be reached', { cause });
  }
  const keys = keysIn(namespace);
  const routes = new RedisRoutes(redis, keys, options.onProblem ?? (() => undefined));
  const store = new RedisSessionStore(scripted, keys, routes, options);
  // Redis may have lost what it had, and calls may have been cut off whose end nobody knows.
  redis.on('ready', () => {
    routes.loadSoon(0);
    store.settleAbandoned();
  });
  return store;
}
