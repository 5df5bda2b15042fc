// eslint-disable-next-line @typescript-eslint/triple-slash-reference -- published without types; tests are checked file by file
/// <reference path="./aedes-persistence-redis.d.ts" />
import { OperationalError } from '@sallyport/errors';
import openPersistence from 'aedes-persistence-redis';
import { Redis, type RedisOptions } from 'ioredis';
import { PersistenceStore, storeFailure } from './persistence-store.ts';
import type { AedesPersistence, SessionStore, StoreBroker } from './session-store.ts';
import { SubscriptionChannel } from './subscription-channel.ts';

/** After this long a command fails, whether Redis is away, frozen or slow. */
export const COMMAND_TIMEOUT_MS = 3000;
const CONNECT_TIMEOUT_MS = 3000;

/** A command survives this many reconnects within its time. */
const RETRIES_PER_COMMAND_MAX = 3;
const RECONNECT_WAIT_MS = 50;
const RECONNECT_WAIT_MS_MAX = 1000;

/** Most messages of a queue that a resuming session gets; the package's own 1,000 would leave the rest behind. */
const SESSION_DELIVERY_MAX = 1_000_000;

export interface RedisSessionStoreOptions {
  /** Where Redis is and how to log in. Time limits and retries are ours. */
  readonly connection: RedisOptions;
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

type OpenRedisPersistence = (options: {
  readonly conn: Redis;
  readonly maxSessionDelivery: number;
}) => AedesPersistence;

/** Answers that a command gives without Redis. */
type Answers = Readonly<Record<string, () => Promise<unknown>>>;

/**
 * The connection as aedes-persistence-redis gets it. The package starts some commands without waiting for them (those of the
 * list of wills, and clean-ups); when they fail, Node would end the process for an unhandled rejection. Who awaits a command
 * still sees its failure.
 */
function guarded(redis: Redis, answers: Answers = {}): Redis {
  const methods = new Map<PropertyKey, unknown>(Object.entries(answers));
  return new Proxy(redis, {
    get(target, key) {
      const known = methods.get(key);
      if (known !== undefined) return known;
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      const method = (...args: unknown[]): unknown => {
        const result: unknown = Reflect.apply(value, target, args);
        if (result instanceof Promise) result.catch(() => undefined);
        return result;
      };
      methods.set(key, method);
      return method;
    },
  });
}

function openInstance(conn: Redis): AedesPersistence {
  return (openPersistence as OpenRedisPersistence)({
    conn,
    maxSessionDelivery: SESSION_DELIVERY_MAX,
  });
}

class RedisSessionStore extends PersistenceStore {
  readonly #redis: Redis;
  protected readonly queues: AedesPersistence;
  protected routes: AedesPersistence;
  #broker: StoreBroker | undefined;
  #channel: SubscriptionChannel | undefined;
  #resyncing: Promise<void> = Promise.resolve();
  #destroyed = false;

  constructor(redis: Redis) {
    super();
    this.#redis = redis;
    // This instance never routes, so it need not load everybody's subscriptions at its setup.
    this.queues = openInstance(guarded(redis, { smembers: () => Promise.resolve([]) }));
    this.routes = this.queues; // Until `setup`.
  }

  get connected(): boolean {
    return this.#redis.status === 'ready';
  }

  async setup(broker: StoreBroker): Promise<void> {
    this.#broker = broker;
    await this.queues.setup({
      get id() {
        return broker.id;
      },
      publish: (_packet, done) => done(null),
      subscribe: (_filter, _listener, done) => done(),
      unsubscribe: (_filter, _listener, done) => done(),
    });
    await this.resyncSubscriptions();
  }

  /** One round after the other; on failure the old subscriptions stay in use. */
  async resyncSubscriptions(): Promise<void> {
    // A round that runs may have read before the caller's reason to ask, so the caller gets one of its own.
    const round = this.#resyncing.then(() => this.#resync());
    this.#resyncing = round.catch(() => undefined);
    await round;
  }

  async destroy(): Promise<void> {
    if (this.#destroyed) return;
    this.#destroyed = true;
    await this.#channel?.close();
    await this.#redis.quit().catch(() => this.#redis.disconnect());
  }

  async #resync(): Promise<void> {
    if (this.#broker === undefined || this.#destroyed) return;
    const routes = openInstance(guarded(this.#redis));
    const channel = new SubscriptionChannel(this.#broker);
    await channel.open();
    try {
      await routes.setup(channel);
    } catch (cause) {
      await channel.close();
      throw storeFailure(cause);
    }
    const previous = this.#channel;
    this.routes = routes;
    this.#channel = channel;
    await previous?.close();
  }
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
    lazyConnect: true,
    enableAutoPipelining: true,
    enableOfflineQueue: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: COMMAND_TIMEOUT_MS, // A frozen server: without it the connection would count as good.
    maxRetriesPerRequest: RETRIES_PER_COMMAND_MAX,
    retryStrategy: (attempt) => Math.min(RECONNECT_WAIT_MS * attempt, RECONNECT_WAIT_MS_MAX),
  });
  reportOutages(redis, options.onProblem ?? (() => undefined));
  try {
    await redis.connect();
    await redis.ping();
  } catch (cause) {
    redis.disconnect();
    throw new OperationalError('session_store_unavailable', 'Redis cannot be reached', { cause });
  }
  return new RedisSessionStore(redis);
}
