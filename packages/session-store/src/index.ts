export { createMemorySessionStore } from './memory.ts';
export type {
  RoutedSubscription,
  SessionStore,
  StoreBroker,
  StoreBrokerListener,
  StoreClient,
  StoredSubscription,
  StorePacket,
} from './session-store.ts';
