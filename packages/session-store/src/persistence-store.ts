import { Readable } from 'node:stream';
import { OperationalError } from '@sallyport/errors';
import type {
  AedesPersistence,
  RoutedSubscription,
  SessionStore,
  StoreBroker,
  StoreClient,
  StoredSubscription,
  StorePacket,
} from './session-store.ts';

/** The answers "it is not there" of the published packages: they have no codes, so the text is all there is. */
const ABSENT_PACKET = new Set(['no such packet', 'unknown key']);

/** The failure as callers get it: a driver's error never crosses the port. */
export function storeFailure(cause: unknown): Error {
  if (cause instanceof OperationalError) return cause;
  if (cause instanceof Error && ABSENT_PACKET.has(cause.message)) return cause;
  return new OperationalError('session_store_unavailable', 'the session store failed', { cause });
}

async function* withFailure(stream: Readable): AsyncGenerator<unknown> {
  try {
    yield* stream;
  } catch (cause) {
    throw storeFailure(cause);
  }
}

async function run<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw storeFailure(cause);
  }
}

/**
 * A store made of published persistences: `routes` knows who subscribed to what, `queues` does everything else. They may be the
 * same object.
 */
export abstract class PersistenceStore implements SessionStore {
  abstract readonly connected: boolean;
  protected abstract readonly queues: AedesPersistence;
  protected abstract readonly routes: AedesPersistence;

  abstract setup(broker: StoreBroker): Promise<void>;
  abstract resyncSubscriptions(): Promise<void>;
  abstract destroy(): Promise<void>;

  storeRetained(packet: StorePacket): Promise<void> {
    return run(() => this.queues.storeRetained(packet));
  }

  createRetainedStream(topicFilter: string): Readable {
    return Readable.from(withFailure(this.queues.createRetainedStream(topicFilter)));
  }

  createRetainedStreamCombi(topicFilters: string[]): Readable {
    return Readable.from(withFailure(this.queues.createRetainedStreamCombi(topicFilters)));
  }

  addSubscriptions(client: StoreClient, subscriptions: StoredSubscription[]): Promise<unknown> {
    return run(() => this.routes.addSubscriptions(client, subscriptions));
  }

  removeSubscriptions(client: StoreClient, topicFilters: string[]): Promise<unknown> {
    return run(() => this.routes.removeSubscriptions(client, topicFilters));
  }

  cleanSubscriptions(client: StoreClient): Promise<unknown> {
    return run(() => this.routes.cleanSubscriptions(client));
  }

  subscriptionsByClient(client: StoreClient): Promise<StoredSubscription[]> {
    return run(() => this.routes.subscriptionsByClient(client));
  }

  subscriptionsByTopic(topicName: string): Promise<RoutedSubscription[]> {
    return run(() => this.routes.subscriptionsByTopic(topicName));
  }

  countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    return run(() => this.routes.countOffline());
  }

  getClientList(topicFilter: string): Readable {
    return Readable.from(withFailure(this.routes.getClientList(topicFilter)));
  }

  outgoingEnqueue(subscription: { clientId: string }, packet: StorePacket): Promise<void> {
    return run(() => this.queues.outgoingEnqueue(subscription, packet));
  }

  outgoingEnqueueCombi(subscriptions: { clientId: string }[], packet: StorePacket): Promise<void> {
    // Of several filters of a session that match, one is enough: a second copy would share the first one's packet id.
    const once = new Map(subscriptions.map((one) => [one.clientId, one]));
    return run(() => this.queues.outgoingEnqueueCombi([...once.values()], packet));
  }

  outgoingUpdate(client: StoreClient, packet: StorePacket): Promise<unknown> {
    return run(() => this.queues.outgoingUpdate(client, packet));
  }

  outgoingClearMessageId(
    client: StoreClient,
    packet: StorePacket,
  ): Promise<StorePacket | undefined> {
    return run(() => this.queues.outgoingClearMessageId(client, packet));
  }

  outgoingStream(client: StoreClient): Readable {
    return Readable.from(withFailure(this.queues.outgoingStream(client)));
  }

  incomingStorePacket(client: StoreClient, packet: StorePacket): Promise<void> {
    return run(() => this.queues.incomingStorePacket(client, packet));
  }

  incomingGetPacket(client: StoreClient, packet: StorePacket): Promise<StorePacket> {
    return run(() => this.queues.incomingGetPacket(client, packet));
  }

  incomingDelPacket(client: StoreClient, packet: StorePacket): Promise<void> {
    return run(() => this.queues.incomingDelPacket(client, packet));
  }

  cleanIncoming(client: StoreClient): Promise<void> {
    return run(() => this.queues.cleanIncoming(client));
  }

  putWill(client: StoreClient, packet: StorePacket): Promise<unknown> {
    return run(() => this.queues.putWill(client, packet));
  }

  getWill(client: StoreClient): Promise<StorePacket | null | undefined> {
    return run(() => this.queues.getWill(client));
  }

  delWill(client: StoreClient): Promise<StorePacket | null | undefined> {
    return run(() => this.queues.delWill(client));
  }

  streamWill(brokers: Readonly<Record<string, unknown>>): Readable {
    return Readable.from(withFailure(this.queues.streamWill(brokers)));
  }
}
