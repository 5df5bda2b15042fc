import type { Qos } from '../codec/index.ts';
import type { Connection } from '../connection/connection.ts';
import type { SessionRights } from '../hooks.ts';
import type { Subscription } from '../routing/router.ts';
import type { Outbound } from './outbound.ts';

const NO_SUBSCRIPTIONS: ReadonlyMap<string, Subscription> = new Map();

/**
 * A session while its client is connected. What outlives the connection is in the store; without one, a session is gone with its
 * connection.
 */
export class Session {
  readonly clientId: string;
  readonly connection: Connection;
  /** Whether the store has it. */
  readonly stored: boolean;
  readonly epoch: number;
  /** Milliseconds since 1970. */
  readonly connectedAt: number;
  rights: SessionRights;
  /** Whether it has ended in the store, because a newcomer on another node has begun a new one. */
  isOver = false;
  #subscriptions: Map<string, Subscription> | undefined;
  /** Ids of QoS 2 packets of the client that it has not released. */
  #incomingIds: Set<number> | undefined;
  #outbound: Outbound | undefined;
  readonly #makeOutbound: (session: Session) => Outbound;

  constructor(options: {
    readonly clientId: string;
    readonly connection: Connection;
    readonly stored: boolean;
    readonly epoch: number;
    readonly connectedAt: number;
    readonly rights: SessionRights;
    readonly makeOutbound: (session: Session) => Outbound;
  }) {
    this.clientId = options.clientId;
    this.connection = options.connection;
    this.stored = options.stored;
    this.epoch = options.epoch;
    this.connectedAt = options.connectedAt;
    this.rights = options.rights;
    this.#makeOutbound = options.makeOutbound;
  }

  /** What cannot be decided is denied. */
  mayReceive(topic: string): boolean {
    try {
      return this.rights.mayReceive(topic);
    } catch (error) {
      return this.#undecided(error);
    }
  }

  /** What cannot be decided is denied. */
  mayPublish(topic: string, qos: Qos, retain: boolean): boolean {
    try {
      return this.rights.mayPublish(topic, qos, retain);
    } catch (error) {
      return this.#undecided(error);
    }
  }

  /** See `SessionRights.publishedTopic`. What cannot be decided is no topic. */
  publishedTopic(topic: string): string | undefined {
    try {
      return this.rights.publishedTopic(topic);
    } catch (error) {
      this.#undecided(error);
      return undefined;
    }
  }

  #undecided(error: unknown): false {
    this.connection.engine.observer.problem(error as Error); // Of a hook.
    return false;
  }

  get subscriptions(): ReadonlyMap<string, Subscription> {
    return this.#subscriptions ?? NO_SUBSCRIPTIONS;
  }

  setSubscription(subscription: Subscription): void {
    this.#subscriptions ??= new Map();
    this.#subscriptions.set(subscription.topicFilter, subscription);
  }

  deleteSubscription(topicFilter: string): void {
    this.#subscriptions?.delete(topicFilter);
  }

  get incomingIds(): Set<number> {
    return (this.#incomingIds ??= new Set());
  }

  get incomingCount(): number {
    return this.#incomingIds?.size ?? 0;
  }

  get outbound(): Outbound {
    return (this.#outbound ??= this.#makeOutbound(this));
  }

  /** Undefined as long as nothing was ever to be delivered. */
  get outboundIfAny(): Outbound | undefined {
    return this.#outbound;
  }
}
