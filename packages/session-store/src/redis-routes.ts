import type { OperationalError } from '@sallyport/errors';
import type { Redis } from 'ioredis';
import { CHANGES_KEPT, type Keys } from './redis-scripts.ts';
import type { StoreBroker, StoreBrokerListener, StoredSubscription } from './session-store.ts';
import { decodeOptions, encodeOptions } from './subscription-codec.ts';
import { storeFailure } from './store-failure.ts';
import { SubscriptionIndex } from './subscription-index.ts';

/** Where nodes tell each other whose subscriptions have changed. */
const CHANGES_FILTER = '$SYS/+/subscriptions';
const changesTopic = (nodeId: string): string => `$SYS/${nodeId}/subscriptions`;

/** Clients whose subscriptions are read in one round trip. */
const LOAD_BATCH = 1000;

/** Clients that one notice names: far below what a bus takes in one message. */
const NOTICE_CLIENTS = 500;

/** Most changes that are followed one by one; with more everything is read. Far fewer than are kept, so that none is missed. */
const CHANGES_FOLLOWED_MAX = CHANGES_KEPT / 10;

/** After a failure the subscriptions are read again, until that succeeds. */
const RELOAD_WAIT_MS = 1000;

/** The fields of a hash of subscriptions; ioredis gives names like `__proto__` as fields of their own. */
export function decodeSubscriptions(
  fields: Readonly<Record<string, string>>,
): StoredSubscription[] {
  return Object.entries(fields).map(([topic, options]) => decodeOptions(topic, options));
}

function textOf(subscriptions: readonly StoredSubscription[]): string {
  return subscriptions
    .map((each) => `${each.topic}\n${encodeOptions(each)}`)
    .sort()
    .join('\n');
}

/**
 * The subscriptions of all nodes' sessions, in memory. Redis has the truth, and a list of whose subscriptions have changed. A node
 * that changes them also tells the others at once; so notices may be lost in a gap of the bus, but not mixed up.
 */
export class RedisRoutes {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #onProblem: (problem: OperationalError) => void;
  #index = new SubscriptionIndex();
  #broker: StoreBroker | undefined;
  /** While everything is read: who has changed meanwhile. */
  #changed: Set<string> | undefined;
  #loading: Promise<void> = Promise.resolve();
  /** For all who are too far behind. */
  #catchingUp: Promise<void> | undefined;
  readonly #reading = new Set<Promise<void>>();
  #announced: string[] = [];
  /** The last change that is known here. */
  #position = '0-0';
  /** For all who ask in this turn of the event loop. */
  #following: Promise<void> | undefined;
  /** Whoever asked earlier goes on earlier. */
  #followed: Promise<unknown> = Promise.resolve();
  #reload: NodeJS.Timeout | undefined;
  #closed = false;

  readonly #receive: StoreBrokerListener = (packet, done) => {
    if (packet.topic !== this.#ownTopic) {
      for (const clientId of clientIdsOf(packet.payload)) this.#readAgain(clientId);
    }
    done();
  };

  constructor(redis: Redis, keys: Keys, onProblem: (problem: OperationalError) => void) {
    this.#redis = redis;
    this.#keys = keys;
    this.#onProblem = onProblem;
  }

  get index(): SubscriptionIndex {
    return this.#index;
  }

  get #ownTopic(): string | undefined {
    return this.#broker === undefined ? undefined : changesTopic(this.#broker.id);
  }

  /** Listens before it loads, so that no change falls between the two. */
  async start(broker: StoreBroker): Promise<void> {
    this.#broker = broker;
    await new Promise<void>((resolve) => {
      broker.subscribe(CHANGES_FILTER, this.#receive, () => resolve());
    });
    await this.load();
  }

  async stop(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#reload);
    await new Promise<void>((resolve) => {
      if (this.#broker === undefined) resolve();
      else this.#broker.unsubscribe(CHANGES_FILTER, this.#receive, () => resolve());
    });
  }

  /** Reads everything; one round after the other. On failure the old subscriptions stay in use. */
  async load(): Promise<void> {
    // A round that runs may have read before the caller's reason to ask, so the caller gets one of its own.
    const round = this.#loading.then(() => this.#load());
    this.#loading = round.catch(() => undefined);
    await round;
  }

  /** Reads everything soon; for whoever cannot wait, after a failure that leaves the truth unknown. */
  loadSoon(wait = RELOAD_WAIT_MS): void {
    if (this.#reload !== undefined || this.#closed || this.#broker === undefined) return;
    this.#reload = setTimeout(() => {
      this.#reload = undefined;
      this.load().catch((cause: unknown) => {
        // An outage is told by the connection.
        if (this.#redis.status === 'ready') this.#onProblem(storeFailure(cause));
        this.loadSoon();
      });
    }, wait);
    this.#reload.unref();
  }

  /**
   * Resolves when every change that Redis had confirmed to any node before the call is known here, in the order of the calls. A
   * message that is published after a SUBACK on another node must be queued for that session, though the notice is on its way yet.
   * @throws OperationalError `session_store_unavailable`
   */
  current(): Promise<void> {
    this.#following ??= new Promise((resolve, reject) => {
      setImmediate(() => {
        this.#following = undefined;
        const round = this.#follow();
        const inOrder = this.#followed.then(() => round);
        this.#followed = inOrder.catch(() => undefined);
        inOrder.then(resolve, reject);
      });
    });
    return this.#following;
  }

  /** Follows what Redis has confirmed. To be called in the order of its answers. */
  changed(clientId: string, change: (index: SubscriptionIndex) => void): void {
    change(this.#index);
    this.#announce(clientId);
    if (this.#changed !== undefined) this.#readAgain(clientId);
  }

  /** The truth about one client, as just read. Tells the others when it is news: whoever wrote it may have died before. */
  confirm(clientId: string, subscriptions: readonly StoredSubscription[]): void {
    const known = this.#index.ofClient(clientId);
    if (textOf(known) === textOf(subscriptions)) return;
    this.#replace(clientId, subscriptions);
    this.#announce(clientId);
  }

  async #follow(): Promise<void> {
    try {
      for (;;) {
        const found = await this.#changesSince(this.#position);
        if (found.length < CHANGES_FOLLOWED_MAX) {
          for (const [position, [, clientId = '', , nodeId]] of found) {
            this.#position = position;
            // An own change is known since Redis has answered it, which was before it answered this.
            if (nodeId !== this.#broker?.id) this.#readAgain(clientId);
          }
          // Also what an earlier round has begun to read.
          await Promise.all(this.#reading);
          return;
        }
        await (this.#catchingUp ??= this.load().finally(() => (this.#catchingUp = undefined)));
      }
    } catch (cause) {
      throw storeFailure(cause);
    }
  }

  #changesSince(position: string): Promise<[position: string, fields: string[]][]> {
    const { changes } = this.#keys;
    return this.#redis.xrange(changes, `(${position}`, '+', 'COUNT', CHANGES_FOLLOWED_MAX);
  }

  #replace(clientId: string, subscriptions: readonly StoredSubscription[]): void {
    this.#index.removeClient(clientId);
    this.#index.add(clientId, subscriptions);
    this.#changed?.add(clientId);
  }

  /** The changes of one turn of the event loop go in one message. */
  #announce(clientId: string): void {
    if (this.#announced.length === 0) {
      setImmediate(() => {
        const clientIds = [...new Set(this.#announced)];
        this.#announced = [];
        const topic = this.#ownTopic;
        if (topic === undefined || this.#closed) return;
        for (let at = 0; at < clientIds.length; at += NOTICE_CLIENTS) {
          const payload = Buffer.from(JSON.stringify(clientIds.slice(at, at + NOTICE_CLIENTS)));
          // Who misses it because the bus is away reads everything after the gap.
          this.#broker?.publish({ cmd: 'publish', topic, payload, qos: 0 }, () => undefined);
        }
      });
    }
    this.#announced.push(clientId);
  }

  #readAgain(clientId: string): void {
    this.#changed?.add(clientId);
    // Handled with the answer itself, as own changes are: so the order of the answers is kept.
    const reading = this.#redis.hgetall(this.#keys.subscriptions(clientId)).then((fields) => {
      this.#replace(clientId, decodeSubscriptions(fields));
    });
    this.#reading.add(reading);
    reading.catch(() => this.loadSoon()).finally(() => this.#reading.delete(reading));
  }

  async #load(): Promise<void> {
    if (this.#closed) return;
    const index = new SubscriptionIndex();
    const changed = new Set<string>();
    this.#changed = changed;
    try {
      const [last] = await this.#redis.xrevrange(this.#keys.changes, '+', '-', 'COUNT', 1);
      const scan = this.#redis.sscanStream(this.#keys.subscribers, { count: LOAD_BATCH });
      for await (const clientIds of scan) await this.#read(index, clientIds as string[]); // Members of a set.
      await Promise.all(this.#reading);
      for (const clientId of changed) {
        index.removeClient(clientId);
        index.add(clientId, this.#index.ofClient(clientId));
      }
      this.#index = index;
      this.#position = last?.[0] ?? '0-0';
    } catch (cause) {
      throw storeFailure(cause);
    } finally {
      this.#changed = undefined;
    }
  }

  async #read(index: SubscriptionIndex, clientIds: readonly string[]): Promise<void> {
    const pipeline = this.#redis.pipeline();
    for (const clientId of clientIds) pipeline.hgetall(this.#keys.subscriptions(clientId));
    const answers = (await pipeline.exec()) ?? [];
    for (const [position, clientId] of clientIds.entries()) {
      const [error, fields] = answers[position] ?? [new Error('no answer')];
      if (error !== null) throw error;
      index.add(clientId, decodeSubscriptions(fields as Record<string, string>)); // A hash.
    }
  }
}

/** What other nodes wrote; a message that cannot be read names nobody. */
function clientIdsOf(payload: Buffer | string | undefined): string[] {
  try {
    const clientIds: unknown = JSON.parse(payload?.toString() ?? '');
    return Array.isArray(clientIds) ? clientIds.filter((each) => typeof each === 'string') : [];
  } catch {
    return [];
  }
}
