import openPersistence from 'aedes-persistence';
import { PersistenceStore } from './persistence-store.ts';
import type { AedesPersistence, SessionStore, StoreBroker } from './session-store.ts';

class MemorySessionStore extends PersistenceStore {
  // The published types are those of callbacks; without one every method answers a promise.
  protected readonly queues = (openPersistence as unknown as () => AedesPersistence)();
  protected readonly routes = this.queues;
  readonly connected = true;

  async setup(broker: StoreBroker): Promise<void> {
    await this.queues.setup(broker);
  }

  async resyncSubscriptions(): Promise<void> {
    // Nobody else changes them.
  }

  async destroy(): Promise<void> {
    await this.queues.destroy();
  }
}

/** The store of a single node that forgets everything at its end; aedes-persistence 11. */
export function createMemorySessionStore(): SessionStore {
  return new MemorySessionStore();
}
