export { LevelTrie } from './level-trie.ts';
export { createMemorySessionStore } from './memory.ts';
export { type MergedDelivery, mergeSubscriptions } from './merge-subscriptions.ts';
export {
  type CloseSession,
  defaultStoreLimits,
  DUE_LEASE_MS,
  type DueItem,
  type OpenedSession,
  type OpenSession,
  type PlaceLimits,
  type QueueEntry,
  type RoutedOrClient,
  type RoutedSubscription,
  SECRET_USES_KEPT_SECONDS,
  SECRET_USES_MAX,
  type SecretUse,
  PLACES_OF_STEP_MAX,
  type SessionPlace,
  type SessionRecord,
  type StoredSession,
  type SessionStore,
  type StoreBroker,
  type StoreBrokerListener,
  type StoreClient,
  type StoredSubscription,
  type StoreLimits,
  type StoreObserver,
  type StorePacket,
} from './session-store.ts';
export { SubscriptionIndex } from './subscription-index.ts';
