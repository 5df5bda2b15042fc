import type { Readable } from 'node:stream';

/** What the store reads of a client. */
export interface StoreClient {
  readonly id: string;
  /** The node that holds the client's will; only for `delWill`. */
  readonly brokerId?: string;
}

/**
 * A packet as it is stored: a PUBLISH, or the PUBREL that takes its place in the queue. Retained messages and wills keep fields
 * that are not here, queued messages do not.
 */
export interface StorePacket {
  readonly cmd?: string;
  readonly topic?: string;
  readonly payload?: Buffer | string;
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly messageId?: number | undefined;
  /** The node that took the message in, and its count of messages: together they name the message. */
  readonly brokerId?: string;
  readonly brokerCounter?: number;
  /** The client that published it. */
  readonly clientId?: string;
  /** MQTT 5; byte values stand on the first level only. */
  readonly properties?: Readonly<Record<string, unknown>>;
  /** When the message expires, in milliseconds since 1970. */
  readonly messageExpiry?: number;
}

export interface StoredSubscription {
  /** As sent, `$share/<group>/…` included. */
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

/** A session of a client that outlives its connection, or the will of one that does not. Times are milliseconds since 1970. */
export interface SessionRecord {
  readonly clientId: string;
  /** The credential that the session belongs to: nobody else gets its queue. */
  readonly owner: string;
  /** Who the client was found to be; JSON of the broker's own, kept for what happens when nobody is connected. */
  readonly principal: unknown;
  /** How long it outlives the connection, in seconds; 0 = not at all. */
  readonly expirySeconds: number;
  /** The node that the client is, or was last, connected to. */
  readonly nodeId: string;
  /** Published when the connection ends without a proper goodbye. */
  readonly will?: StorePacket;
  readonly willDelaySeconds?: number;
}

export interface StoredSession extends SessionRecord {
  /** When it ends, in milliseconds since 1970; Infinity for never. Not there while a node has it open. */
  readonly endsAt?: number;
}

export interface OpenSession extends SessionRecord {
  /** MQTT 5 Clean Start, Clean Session before: forget what there was. */
  readonly cleanStart: boolean;
  readonly now: number;
}

export interface OpenedSession {
  /** Whether state of an earlier connection was found and kept. */
  readonly present: boolean;
  /**
   * Grows with the connections of this client id, over all nodes: the higher one owns the session. It is not less than `now`, so
   * that a store that has lost its newest writes does not give an epoch out a second time.
   */
  readonly epoch: number;
  /** The node that had the client id before, when it has not said goodbye. */
  readonly previousNodeId?: string;
}

export interface CloseSession {
  readonly clientId: string;
  /** Nothing happens when somebody has opened the session since, but that its will is dealt with. */
  readonly epoch: number;
  readonly now: number;
  /** As the DISCONNECT of MQTT 5 may have changed it; 0 ends the session at once. */
  readonly expirySeconds: number;
  /** `keep`: the will becomes due after its delay, or with the end of the session if that is earlier. */
  readonly will: 'keep' | 'discard';
  /**
   * The will that is kept is held for so long, where its delay or the session is shorter: it is not due before, whatever becomes of the
   * session, and gone when its owner opens the client id again, also for a new session. For the stop of a node, whose clients come back
   * at once. Seconds; 0 when it is not given.
   */
  readonly holdWillSeconds?: number;
}

/** Something whose time has come. */
export type DueItem =
  | { readonly kind: 'will'; readonly record: SessionRecord; readonly will: StorePacket }
  /** The session is over. Its state is still there: `dropSession` removes it, after shared messages were handed on. */
  | { readonly kind: 'expired'; readonly record: SessionRecord; readonly epoch: number };

/** A message of a session's queue, in the order of arrival. */
export interface QueueEntry {
  /** Grows with each message of the session; for `readQueue`. */
  readonly position: number;
  /**
   * `queued`: never sent. `sent`: as PUBLISH with `messageId`, not acknowledged. `released`: PUBREC has come, a PUBREL with
   * `messageId` is owed; `packet` may then be without topic and payload.
   */
  readonly state: 'queued' | 'sent' | 'released';
  readonly messageId?: number;
  readonly packet: StorePacket;
  /** Quality of service of this delivery: the lower of the message's and the subscription's. */
  readonly qos: 0 | 1 | 2;
  readonly retainAsPublished: boolean;
  readonly subscriptionIdentifiers: readonly number[];
  /** The share group and its filter, `$share/<group>/<filter>`, when it was queued for one. */
  readonly sharedFilter?: string;
}

export interface StoreLimits {
  /** Most messages of one session's queue; a newer one is not queued (the oldest are kept). */
  readonly queueMessagesMax: number;
  /** Most payload and topic bytes of one session's queue. */
  readonly queueBytesMax: number;
}

export const defaultStoreLimits: StoreLimits = {
  queueMessagesMax: 1000,
  queueBytesMax: 8 * 1024 * 1024,
};

/** What a store tells whoever opened it; for metrics and logs. */
export interface StoreObserver {
  /** A message was not queued for a session, because its queue is full. */
  readonly onQueueFull?: (clientId: string) => void;
}

/**
 * The state that outlives connections: sessions, subscriptions, queues, retained messages, wills. The first part of the contract is
 * that of aedes-persistence 11, in promises, which is what the kernel calls; the second is ours. Failures are `OperationalError`
 * `session_store_unavailable`; streams fail with the same. `incomingGetPacket` and `outgoingUpdate` also reject, with a plain
 * error, for a packet that is not there.
 *
 * INVARIANT: a promise of a write resolves when the write is as durable as the store makes it, and writes for one client take
 * effect, and are answered, in the order of the calls, awaited or not. A read sees what was written by the calls before it.
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
  /**
   * Subscriptions of persistent sessions with QoS > 0 that match the topic name, without shared ones; a session once for each of
   * its filters. None is missing whose `addSubscriptions` had resolved, on any node, before the call. Answers come in the order of
   * the calls.
   */
  subscriptionsByTopic(topicName: string): Promise<RoutedSubscription[]>;
  countOffline(): Promise<{ subsCount: number; clientsCount: number }>;
  getClientList(topicFilter: string): Readable;

  outgoingEnqueue(subscription: RoutedOrClient, packet: StorePacket): Promise<void>;
  /**
   * Queues the packet once for each session, however often it is named, merged as `mergeSubscriptions` says. `brokerId` and
   * `brokerCounter` name the message: what is in the queue already is not queued again.
   * @param incoming the QoS 2 packet that the message came in as: its id is noted in the same step, so that a crash leaves either
   *   both or neither, and the sender's repetition is recognised. With more sessions than one step takes it is noted last.
   */
  outgoingEnqueueCombi(
    subscriptions: readonly RoutedOrClient[],
    packet: StorePacket,
    incoming?: { readonly clientId: string; readonly messageId: number },
  ): Promise<void>;
  /**
   * Notes the packet id that a queued packet was sent with, or puts a PUBREL in its place. A session may have a message twice, for
   * itself and for a share group: then it is the one that has this packet id, else the first that was not sent.
   */
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

  // Ours

  /**
   * Takes the client id: finds or makes its session. What there was is forgotten when `cleanStart` is set, when it belongs to
   * another owner, or when it has expired. A will that waits for its delay is gone when the session goes on (MQTT-5.0
   * [MQTT-3.1.3-9]), and due now when it does not. The will of a connection that another node still has is due after `TAKEN_WILL_MS`
   * unless that node closes it, by then, and none when the session goes on before its delay. One atomic step. With `expirySeconds` 0, no will and nothing kept, no record is
   * written, but the epoch counts; what the caller then stores for the client it takes away itself. Answers at once, without a
   * promise, when a store in this process has nothing to write: most connects are such.
   */
  openSession(session: OpenSession): OpenedSession | Promise<OpenedSession>;
  /**
   * The connection has ended: sets the deadlines of the session and of its will. With expiry 0 the session ends at once, with its
   * queue: shared messages must have been handed on before.
   */
  closeSession(session: CloseSession): Promise<void>;
  /** Closes, with their wills kept, all sessions that this node had open when it died, and gives all of its places back. */
  recoverSessions(request: { readonly nodeId: string; readonly now: number }): Promise<void>;
  /**
   * What is due at `now`, at most `limit`; each item goes to one caller, on one node. A will is removed by the call; an expired
   * session is leased for `DUE_LEASE_MS` and comes again if nobody drops it.
   */
  claimDue(request: { readonly now: number; readonly limit: number }): Promise<readonly DueItem[]>;
  /**
   * Forgets everything of a client: record, subscriptions, queue, incoming ids. A will that waits is due. `epoch`: only if nobody
   * has opened it since.
   */
  dropSession(client: { readonly clientId: string; readonly epoch?: number }): Promise<void>;

  /** The session of a client, without its will; undefined when it has none. One that has ended is there until it is dropped. */
  sessionRecord(clientId: string): Promise<StoredSession | undefined>;

  /** The queue from behind `after` on (0 = the beginning), oldest first, at most `limit`. Expired messages are included. */
  readQueue(
    clientId: string,
    page: { readonly after: number; readonly limit: number },
  ): Promise<readonly QueueEntry[]>;
  /**
   * Removes one message of the queue that will not be delivered: expired, denied, or too large for the client. Of two deliveries of
   * it, the first that was not sent.
   */
  removeQueued(
    clientId: string,
    message: { readonly brokerId: string; readonly brokerCounter: number },
  ): Promise<void>;
  /** Ids of QoS 2 packets that came from this client and were not released. */
  incomingIds(clientId: string): Promise<readonly number[]>;

  /** Shared subscriptions of persistent sessions that match the topic name, with any QoS. In memory, synchronous. */
  sharedSubscriptionsByTopic(topicName: string): readonly RoutedSubscription[];
  /**
   * Subscriptions with QoS 0 that match the topic name as well, of sessions that `queued` has others of: they queue nothing, but their
   * identifiers and options are the message's too. In memory, synchronous.
   */
  unqueuedSubscriptions(
    topicName: string,
    queued: readonly RoutedSubscription[],
  ): readonly RoutedSubscription[];
  /** Whether a client has a shared subscription in a persistent session, as far as this node knows. In memory, synchronous. */
  isShareMember(clientId: string): boolean;

  /** Retained messages that any of the filters matches, each once; expired ones are not among them. */
  retainedMessages(topicFilters: readonly string[], now: number): Promise<readonly StorePacket[]>;
  /** How many retained messages there are, as far as this node knows. */
  readonly retainedCount: number;

  /**
   * Keeps when secrets were used, of any number; of two times for one secret the later. Of a credential the `SECRET_USES_MAX` that
   * were used last are kept, and forgotten once the last one is `SECRET_USES_KEPT_SECONDS` old.
   */
  noteSecretUses(uses: readonly SecretUse[]): Promise<void>;
  /** When the secrets of a credential were last used, in milliseconds since 1970, by their ids. */
  secretUses(credentialId: string): Promise<ReadonlyMap<string, number>>;

  /**
   * Takes a place for a connection, unless `most` other client ids have one of the credential on nodes that are alive. One atomic
   * step, O(nodes). On its node a client id has one place: the newest connection's. After a failure it may be taken all the same.
   * Answers at once, without a promise, when nobody outside this process has to be asked.
   */
  takePlace(place: SessionPlace, limits: PlaceLimits): boolean | Promise<boolean>;
  /** Gives the place back, unless a newer connection of the client id has it. Places of a node that died `recoverSessions` gives back. */
  leavePlace(place: SessionPlace): Promise<void>;
  /**
   * A limit is lower now, or there was none: answers those of `own` that have no place any more. `own`: connections of one credential to
   * one node that are to have a place, from the oldest on, whether they have it already or not. Of all that have one, over all nodes that
   * are alive, the `most` oldest keep it. Nothing is taken of other nodes, which ask for themselves: until they have, their oldest may be
   * missing, and more of `own` may have to go when it is asked again. One atomic step for each `PLACES_OF_STEP_MAX`, O(places of the
   * credential).
   */
  limitPlaces(
    own: readonly SessionPlace[],
    limits: PlaceLimits,
  ): readonly SessionPlace[] | Promise<readonly SessionPlace[]>;
  /**
   * Says that a node has asked for all its connections that limits up to this revision are about. Answers, by node, the revision that each
   * has said so of; `recoverSessions` forgets the node's own.
   */
  tellPlaces(
    nodeId: string,
    revision: number,
  ): ReadonlyMap<string, number> | Promise<ReadonlyMap<string, number>>;
}

/** A place that a connection takes of those that its credential has. */
export interface SessionPlace {
  /** The credential. */
  readonly owner: string;
  readonly clientId: string;
  readonly nodeId: string;
  /** Of the connection; no two of them share one. */
  readonly token: string;
  /** When it began, in milliseconds since 1970. */
  readonly since: number;
}

/** Connections that `limitPlaces` looks at in one atomic step. */
export const PLACES_OF_STEP_MAX = 500;

export interface PlaceLimits {
  /** Client ids that may have a place at once. */
  readonly most: number;
  /** Nodes that are alive: places on others are free. */
  readonly nodeIds: readonly string[];
}

/** A secret has let somebody in. An observation for people; nothing is decided by it. */
export interface SecretUse {
  readonly credentialId: string;
  /** Empty: the credential without a secret, such as one for a certificate. */
  readonly secretId: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

export const SECRET_USES_MAX = 16;
export const SECRET_USES_KEPT_SECONDS = 400 * 24 * 3600;

/**
 * How long the node that a client was taken from may take until it has dealt with its will; it says so by `closeSession`. The will is due
 * then, because a node that is dead does not.
 */
export const TAKEN_WILL_MS = 5000;

/** How long an expired session that `claimDue` handed out is not handed out again. */
export const DUE_LEASE_MS = 30_000;

/** The client to queue for; with the subscription that matched, when the caller knows it. */
export type RoutedOrClient = { readonly clientId: string } & Partial<StoredSubscription>;
