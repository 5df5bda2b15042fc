import { LevelTrie } from './level-trie.ts';
import type { RoutedSubscription, StoredSubscription } from './session-store.ts';

type Matches = Set<RoutedSubscription>;

const NONE: readonly RoutedSubscription[] = [];

/** The filter of `$share/<group>/<filter>`, or undefined when the subscription is not shared. */
export function filterOfShared(topic: string): string | undefined {
  if (!topic.startsWith('$share/')) return undefined;
  const end = topic.indexOf('/', 7);
  return end < 0 ? undefined : topic.slice(end + 1);
}

function routed(clientId: string, subscription: StoredSubscription): RoutedSubscription {
  const { topic, qos, rh, rap, nl, subscriptionIdentifier } = subscription;
  return {
    clientId,
    topic,
    qos,
    ...(rh !== undefined && { rh }),
    ...(rap !== undefined && { rap }),
    ...(nl !== undefined && { nl }),
    ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
  };
}

/** The subscriptions of persistent sessions, by client and by what matches a topic name. */
export class SubscriptionIndex {
  readonly #clients = new Map<string, Map<string, RoutedSubscription>>();
  /** With QoS > 0, not shared. */
  readonly #queued = new LevelTrie<Matches>();
  /** With QoS 0, not shared; by client. */
  readonly #unqueued = new LevelTrie<Map<string, RoutedSubscription>>();
  /** By the filter within, of all groups. */
  readonly #shared = new LevelTrie<Matches>();
  #qosCount = 0;

  get clientCount(): number {
    return this.#clients.size;
  }

  /** Subscriptions with QoS > 0. */
  get qosCount(): number {
    return this.#qosCount;
  }

  /** Whether `matching` has nothing to find. */
  get isEmpty(): boolean {
    return this.#queued.size === 0;
  }

  has(clientId: string): boolean {
    return this.#clients.has(clientId);
  }

  /** Whether the client has a shared subscription. O(its subscriptions). */
  hasShared(clientId: string): boolean {
    for (const topic of this.#clients.get(clientId)?.keys() ?? []) {
      if (filterOfShared(topic) !== undefined) return true;
    }
    return false;
  }

  /** Replaces what the client had for the same filters. */
  add(clientId: string, subscriptions: Iterable<StoredSubscription>): void {
    for (const subscription of subscriptions) {
      let own = this.#clients.get(clientId);
      if (own === undefined) {
        own = new Map();
        this.#clients.set(clientId, own);
      }
      const previous = own.get(subscription.topic);
      if (previous !== undefined) this.#unlink(previous);
      const added = routed(clientId, subscription);
      own.set(added.topic, added);
      this.#link(added);
    }
  }

  remove(clientId: string, topicFilters: Iterable<string>): void {
    const own = this.#clients.get(clientId);
    if (own === undefined) return;
    for (const topicFilter of topicFilters) {
      const previous = own.get(topicFilter);
      if (previous === undefined) continue;
      this.#unlink(previous);
      own.delete(topicFilter);
    }
    if (own.size === 0) this.#clients.delete(clientId);
  }

  removeClient(clientId: string): void {
    for (const previous of this.#clients.get(clientId)?.values() ?? []) this.#unlink(previous);
    this.#clients.delete(clientId);
  }

  /** In the order in which they were first made. */
  ofClient(clientId: string): StoredSubscription[] {
    const own = this.#clients.get(clientId);
    if (own === undefined) return [];
    return Array.from(own.values(), ({ clientId: _, ...subscription }) => subscription);
  }

  /** Those with QoS > 0 that are not shared. O(levels), more with `+` in filters. */
  matching(topicName: string): RoutedSubscription[] {
    return this.#queued.filtersMatching(topicName).flatMap((found) => [...found]);
  }

  /** Those with QoS 0 that are not shared, of the clients of `queued`. O(levels + clients * filters that match). */
  unqueuedMatching(
    topicName: string,
    queued: readonly RoutedSubscription[],
  ): readonly RoutedSubscription[] {
    if (queued.length === 0 || this.#unqueued.size === 0) return NONE;
    const clients = new Set(queued.map(({ clientId }) => clientId));
    return this.#unqueued
      .filtersMatching(topicName)
      .flatMap((found) => [...clients].flatMap((clientId) => found.get(clientId) ?? []));
  }

  /** Shared ones with any QoS. */
  sharedMatching(topicName: string): RoutedSubscription[] {
    return this.#shared.filtersMatching(topicName).flatMap((found) => [...found]);
  }

  /** Clients that have this very filter, with any QoS. */
  *clientsOf(topicFilter: string): Generator<string> {
    for (const [clientId, own] of this.#clients) if (own.has(topicFilter)) yield clientId;
  }

  #placeOf({ topic, qos }: RoutedSubscription): [LevelTrie<Matches>, string] | undefined {
    const shared = filterOfShared(topic);
    if (shared !== undefined) return [this.#shared, shared];
    return qos > 0 ? [this.#queued, topic] : undefined;
  }

  #link(subscription: RoutedSubscription): void {
    if (subscription.qos > 0) this.#qosCount++;
    const place = this.#placeOf(subscription);
    if (place === undefined) {
      const { clientId, topic } = subscription;
      const known = this.#unqueued.get(topic);
      if (known === undefined) this.#unqueued.set(topic, new Map([[clientId, subscription]]));
      else known.set(clientId, subscription);
      return;
    }
    const [trie, topicFilter] = place;
    const known = trie.get(topicFilter);
    if (known === undefined) trie.set(topicFilter, new Set([subscription]));
    else known.add(subscription);
  }

  #unlink(subscription: RoutedSubscription): void {
    if (subscription.qos > 0) this.#qosCount--;
    const place = this.#placeOf(subscription);
    if (place === undefined) {
      const { clientId, topic } = subscription;
      const known = this.#unqueued.get(topic);
      known?.delete(clientId);
      if (known?.size === 0) this.#unqueued.delete(topic);
      return;
    }
    const [trie, topicFilter] = place;
    const known = trie.get(topicFilter);
    known?.delete(subscription);
    if (known?.size === 0) trie.delete(topicFilter);
  }
}
