import type { Readable } from 'node:stream';

/** What the store reads of a client. */
export interface StoreClient {
  readonly id: string;
  /** The node that holds the client's will; only for `delWill`. */
  readonly brokerId?: string;
}

/** A packet as it is stored: a PUBLISH, or the PUBREL that takes its place in the queue. Unknown fields are kept. */
export interface StorePacket {
  readonly cmd?: string;
  readonly topic?: string;
  readonly payload?: Buffer | string;
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly messageId?: number | undefined;
  readonly brokerId?: string;
  readonly brokerCounter?: number;
}

export interface StoredSubscription {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly rh?: number;
  readonly rap?: boolean;
  readonly nl?: boolean;
  readonly subscriptionIdentifier?: number;
}

export interface RoutedSubscription extends StoredSubscription {
  readonly clientId: string;
}

/** What the store asks of the kernel: the node's id, and the bus on which nodes tell each other of subscriptions. */
export interface StoreBroker {
  readonly id: string;
  publish(packet: StorePacket, done: (error?: Error | null) => void): void;
  subscribe(topicFilter: string, listener: StoreBrokerListener, done: () => void): void;
  unsubscribe(topicFilter: string, listener: StoreBrokerListener, done: () => void): void;
}

export type StoreBrokerListener = (packet: StorePacket, done: () => void) => void;

/**
 * The state that outlives connections: subscriptions, queues, retained messages, wills. The contract is aedes-persistence 11,
 * in promises. Failures are `OperationalError` `session_store_unavailable`; streams fail with the same. `incomingGetPacket` and
 * `outgoingUpdate` also reject, with a plain error, for a packet that is not there.
 */
export interface SessionStore {
  /** Whether the store can be reached now; for readiness. */
  readonly connected: boolean;

  /** Loads what routing needs. Must be an `async function`, because the kernel looks. */
  setup(broker: StoreBroker): Promise<void>;
  /** Loads all subscriptions again: for a node that may have missed what others said on the bus. */
  resyncSubscriptions(): Promise<void>;
  destroy(): Promise<void>;

  /** An empty payload removes the message. */
  storeRetained(packet: StorePacket): Promise<void>;
  createRetainedStream(topicFilter: string): Readable;
  /** Retained messages that any of the filters matches. */
  createRetainedStreamCombi(topicFilters: string[]): Readable;

  addSubscriptions(client: StoreClient, subscriptions: StoredSubscription[]): Promise<unknown>;
  removeSubscriptions(client: StoreClient, topicFilters: string[]): Promise<unknown>;
  cleanSubscriptions(client: StoreClient): Promise<unknown>;
  subscriptionsByClient(client: StoreClient): Promise<StoredSubscription[]>;
  /** Subscriptions of persistent sessions with QoS > 0 that match the topic name; a session once for each of its filters. */
  subscriptionsByTopic(topicName: string): Promise<RoutedSubscription[]>;
  countOffline(): Promise<{ subsCount: number; clientsCount: number }>;
  getClientList(topicFilter: string): Readable;

  outgoingEnqueue(subscription: { clientId: string }, packet: StorePacket): Promise<void>;
  /** Queues the packet once for each session, however often it is named. */
  outgoingEnqueueCombi(subscriptions: { clientId: string }[], packet: StorePacket): Promise<void>;
  /** Notes the packet id that a queued packet was sent with, or puts a PUBREL in its place. */
  outgoingUpdate(client: StoreClient, packet: StorePacket): Promise<unknown>;
  /** Removes the packet that was sent with this packet id, and answers it. */
  outgoingClearMessageId(
    client: StoreClient,
    packet: StorePacket,
  ): Promise<StorePacket | undefined>;
  outgoingStream(client: StoreClient): Readable;

  incomingStorePacket(client: StoreClient, packet: StorePacket): Promise<void>;
  incomingGetPacket(client: StoreClient, packet: StorePacket): Promise<StorePacket>;
  incomingDelPacket(client: StoreClient, packet: StorePacket): Promise<void>;
  cleanIncoming(client: StoreClient): Promise<void>;

  putWill(client: StoreClient, packet: StorePacket): Promise<unknown>;
  getWill(client: StoreClient): Promise<StorePacket | null | undefined>;
  delWill(client: StoreClient): Promise<StorePacket | null | undefined>;
  /** Wills of nodes that are not keys of `brokers`. */
  streamWill(brokers: Readonly<Record<string, unknown>>): Readable;
}

/** What our adapters wrap: the published packages, which are the contract without our additions. */
export type AedesPersistence = Omit<SessionStore, 'connected' | 'resyncSubscriptions'>;
