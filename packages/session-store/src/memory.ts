import { Readable } from 'node:stream';
import { LevelTrie } from './level-trie.ts';
import { MemoryQueue } from './memory-queue.ts';
import { mergeSubscriptions } from './merge-subscriptions.ts';
import { PlaceTable } from './place-table.ts';
import { SessionTable } from './session-table.ts';
import {
  type CloseSession,
  defaultStoreLimits,
  type DueItem,
  type OpenedSession,
  type OpenSession,
  type PlaceLimits,
  type QueueEntry,
  type RoutedOrClient,
  type RoutedSubscription,
  SECRET_USES_MAX,
  type SecretUse,
  type SessionPlace,
  type StoredSession,
  type SessionStore,
  type StoreBroker,
  type StoreClient,
  type StoredSubscription,
  type StoreLimits,
  type StoreObserver,
  type StorePacket,
} from './session-store.ts';
import { messageOf, NoSuchPacket, packetOf, payloadBytes } from './stored-packet.ts';
import { SubscriptionIndex } from './subscription-index.ts';

/** Answers of the calls that every message makes. */
const DONE = Promise.resolve();
// Typed as the port says; frozen, because all callers share it.
const NO_SUBSCRIPTIONS = Promise.resolve(Object.freeze([]) as unknown as RoutedSubscription[]);

interface StoredWill {
  readonly brokerId: string;
  readonly packet: StorePacket;
}

class MemorySessionStore implements SessionStore {
  readonly connected = true;
  readonly #limits: StoreLimits;
  readonly #observer: StoreObserver;
  readonly #subscriptions = new SubscriptionIndex();
  readonly #queues = new Map<string, MemoryQueue>();
  readonly #incoming = new Map<string, Map<number, StorePacket>>();
  readonly #retained = new LevelTrie<StorePacket>();
  /** Topics of retained messages that expire. */
  readonly #expiring = new Map<string, number>();
  readonly #wills = new Map<string, StoredWill>();
  readonly #sessions = new SessionTable({
    saveSession: () => undefined,
    deleteSession: () => undefined,
    saveWill: () => undefined,
    deleteWill: () => undefined,
    forget: (clientId) => this.#forget(clientId),
  });
  readonly #uses = new Map<string, Map<string, number>>();
  readonly #places = new PlaceTable();
  #broker: StoreBroker | undefined;
  #position = 0;

  constructor(limits: StoreLimits, observer: StoreObserver) {
    this.#limits = limits;
    this.#observer = observer;
  }

  get retainedCount(): number {
    return this.#retained.size;
  }

  async setup(broker: StoreBroker): Promise<void> {
    this.#broker = broker;
  }

  resyncSubscriptions(): Promise<void> {
    return DONE; // Nobody else changes them.
  }

  destroy(): Promise<void> {
    return DONE;
  }

  storeRetained(packet: StorePacket): Promise<void> {
    const topic = packet.topic ?? '';
    this.#expiring.delete(topic);
    if (payloadBytes(packet) === 0) this.#retained.delete(topic);
    else {
      this.#retained.set(topic, { ...packet });
      if (packet.messageExpiry !== undefined) this.#expiring.set(topic, packet.messageExpiry);
    }
    return DONE;
  }

  createRetainedStream(topicFilter: string): Readable {
    return this.createRetainedStreamCombi([topicFilter]);
  }

  createRetainedStreamCombi(topicFilters: string[]): Readable {
    return Readable.from(this.#retainedOf(topicFilters));
  }

  async retainedMessages(topicFilters: readonly string[], now: number): Promise<StorePacket[]> {
    return this.#retainedOf(topicFilters).filter(
      ({ messageExpiry }) => messageExpiry === undefined || messageExpiry > now,
    );
  }

  addSubscriptions(client: StoreClient, subscriptions: StoredSubscription[]): Promise<unknown> {
    this.#subscriptions.add(client.id, subscriptions);
    return DONE;
  }

  removeSubscriptions(client: StoreClient, topicFilters: string[]): Promise<unknown> {
    this.#subscriptions.remove(client.id, topicFilters);
    return DONE;
  }

  cleanSubscriptions(client: StoreClient): Promise<unknown> {
    this.#subscriptions.removeClient(client.id);
    return DONE;
  }

  async subscriptionsByClient(client: StoreClient): Promise<StoredSubscription[]> {
    return this.#subscriptions.ofClient(client.id);
  }

  subscriptionsByTopic(topicName: string): Promise<RoutedSubscription[]> {
    if (this.#subscriptions.isEmpty) return NO_SUBSCRIPTIONS;
    return Promise.resolve(this.#subscriptions.matching(topicName));
  }

  sharedSubscriptionsByTopic(topicName: string): readonly RoutedSubscription[] {
    return this.#subscriptions.sharedMatching(topicName);
  }

  unqueuedSubscriptions(
    topicName: string,
    queued: readonly RoutedSubscription[],
  ): readonly RoutedSubscription[] {
    return this.#subscriptions.unqueuedMatching(topicName, queued);
  }

  isShareMember(clientId: string): boolean {
    return this.#subscriptions.hasShared(clientId);
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    const { qosCount, clientCount } = this.#subscriptions;
    return { subsCount: qosCount, clientsCount: clientCount };
  }

  getClientList(topicFilter: string): Readable {
    return Readable.from(this.#subscriptions.clientsOf(topicFilter));
  }

  outgoingEnqueue(subscription: RoutedOrClient, packet: StorePacket): Promise<void> {
    return this.outgoingEnqueueCombi([subscription], packet);
  }

  outgoingEnqueueCombi(
    subscriptions: readonly RoutedOrClient[],
    packet: StorePacket,
    incoming?: { readonly clientId: string; readonly messageId: number },
  ): Promise<void> {
    if (incoming !== undefined) {
      this.#noteIncoming(incoming.clientId, { cmd: 'publish', messageId: incoming.messageId });
    }
    if (subscriptions.length === 0) return DONE;
    const message = messageOf(packet);
    for (const delivery of mergeSubscriptions(subscriptions, packet)) {
      const { clientId } = delivery;
      const queue = this.#queues.get(clientId) ?? new MemoryQueue();
      const taken = queue.push(this.#limits, ++this.#position, message, delivery);
      if (taken) this.#queues.set(clientId, queue);
      else this.#observer.onQueueFull?.(clientId);
    }
    return DONE;
  }

  async outgoingUpdate(client: StoreClient, packet: StorePacket): Promise<unknown> {
    const queue = this.#queues.get(client.id);
    if (queue === undefined) throw new NoSuchPacket();
    queue.update(packet);
    return undefined;
  }

  async outgoingClearMessageId(
    client: StoreClient,
    { messageId }: StorePacket,
  ): Promise<StorePacket | undefined> {
    if (messageId === undefined) return undefined;
    const queue = this.#queues.get(client.id);
    const entry = queue?.clear(messageId);
    if (queue?.isEmpty === true) this.#queues.delete(client.id);
    return entry === undefined ? undefined : packetOf(entry);
  }

  outgoingStream(client: StoreClient): Readable {
    return Readable.from((this.#queues.get(client.id)?.page(0, Infinity) ?? []).map(packetOf));
  }

  async readQueue(
    clientId: string,
    { after, limit }: { readonly after: number; readonly limit: number },
  ): Promise<readonly QueueEntry[]> {
    return this.#queues.get(clientId)?.page(after, limit) ?? [];
  }

  removeQueued(
    clientId: string,
    message: { readonly brokerId: string; readonly brokerCounter: number },
  ): Promise<void> {
    const queue = this.#queues.get(clientId);
    queue?.removeMessage(message);
    if (queue?.isEmpty === true) this.#queues.delete(clientId);
    return DONE;
  }

  incomingStorePacket(client: StoreClient, packet: StorePacket): Promise<void> {
    this.#noteIncoming(client.id, { ...messageOf(packet), messageId: packet.messageId });
    return DONE;
  }

  async incomingGetPacket(client: StoreClient, { messageId }: StorePacket): Promise<StorePacket> {
    const packet = this.#incoming.get(client.id)?.get(messageId ?? 0);
    if (packet === undefined) throw new NoSuchPacket();
    return packet;
  }

  incomingDelPacket(client: StoreClient, { messageId }: StorePacket): Promise<void> {
    const packets = this.#incoming.get(client.id);
    packets?.delete(messageId ?? 0);
    if (packets?.size === 0) this.#incoming.delete(client.id);
    return DONE;
  }

  cleanIncoming(client: StoreClient): Promise<void> {
    this.#incoming.delete(client.id);
    return DONE;
  }

  async incomingIds(clientId: string): Promise<readonly number[]> {
    return [...(this.#incoming.get(clientId)?.keys() ?? [])];
  }

  putWill(client: StoreClient, packet: StorePacket): Promise<unknown> {
    this.#wills.set(client.id, { brokerId: this.#broker?.id ?? '', packet: { ...packet } });
    return DONE;
  }

  async getWill(client: StoreClient): Promise<StorePacket | undefined> {
    return this.#wills.get(client.id)?.packet;
  }

  async delWill(client: StoreClient): Promise<StorePacket | undefined> {
    const will = this.#wills.get(client.id);
    if (client.brokerId !== undefined && client.brokerId !== will?.brokerId) return undefined;
    this.#wills.delete(client.id);
    return will?.packet;
  }

  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    const wills: StorePacket[] = [];
    for (const [clientId, { brokerId, packet }] of this.#wills) {
      if (!Object.hasOwn(brokers, brokerId)) wills.push({ ...packet, clientId, brokerId });
    }
    return Readable.from(wills);
  }

  openSession(session: OpenSession): OpenedSession {
    return this.#sessions.open(session);
  }

  closeSession(session: CloseSession): Promise<void> {
    this.#sessions.close(session);
    return DONE;
  }

  recoverSessions(request: { readonly nodeId: string; readonly now: number }): Promise<void> {
    this.#sessions.recover(request);
    this.#places.leaveNode(request.nodeId);
    return DONE;
  }

  async claimDue(request: {
    readonly now: number;
    readonly limit: number;
  }): Promise<readonly DueItem[]> {
    for (const [topic, expiry] of this.#expiring) {
      if (expiry > request.now) continue;
      this.#expiring.delete(topic);
      this.#retained.delete(topic);
    }
    return this.#sessions.claim(request);
  }

  dropSession(client: { readonly clientId: string; readonly epoch?: number }): Promise<void> {
    this.#sessions.drop(client);
    return DONE;
  }

  noteSecretUses(uses: readonly SecretUse[]): Promise<void> {
    for (const { credentialId, secretId, at } of uses) {
      const known = this.#uses.get(credentialId) ?? new Map<string, number>();
      this.#uses.set(credentialId, known);
      known.set(secretId, Math.max(at, known.get(secretId) ?? 0));
      if (known.size <= SECRET_USES_MAX) continue;
      const [oldest] = [...known].sort(([, one], [, other]) => one - other);
      if (oldest !== undefined) known.delete(oldest[0]);
    }
    return DONE;
  }

  async secretUses(credentialId: string): Promise<ReadonlyMap<string, number>> {
    return new Map(this.#uses.get(credentialId));
  }

  async sessionRecord(clientId: string): Promise<StoredSession | undefined> {
    return this.#sessions.record(clientId);
  }

  takePlace(place: SessionPlace, limits: PlaceLimits): boolean {
    return this.#places.take(place, limits);
  }

  limitPlaces(own: readonly SessionPlace[], limits: PlaceLimits): readonly SessionPlace[] {
    return this.#places.limit(own, limits);
  }

  tellPlaces(nodeId: string, revision: number): ReadonlyMap<string, number> {
    return this.#places.tell(nodeId, revision);
  }

  leavePlace(place: SessionPlace): Promise<void> {
    this.#places.leave(place);
    return DONE;
  }

  #retainedOf(topicFilters: readonly string[]): StorePacket[] {
    const found = new Set<StorePacket>();
    for (const topicFilter of topicFilters) {
      for (const packet of this.#retained.namesMatching(topicFilter)) found.add(packet);
    }
    return Array.from(found, (packet) => ({ ...packet }));
  }

  #noteIncoming(clientId: string, packet: StorePacket): void {
    const packets = this.#incoming.get(clientId);
    const messageId = packet.messageId ?? 0;
    if (packets === undefined) this.#incoming.set(clientId, new Map([[messageId, packet]]));
    else packets.set(messageId, packet);
  }

  #forget(clientId: string): void {
    this.#subscriptions.removeClient(clientId);
    this.#queues.delete(clientId);
    this.#incoming.delete(clientId);
  }
}

/** The store of a single node that forgets everything at its end. Its promises are resolved when they are answered. */
export function createMemorySessionStore(
  options: { readonly limits?: StoreLimits; readonly observer?: StoreObserver } = {},
): SessionStore {
  return new MemorySessionStore(options.limits ?? defaultStoreLimits, options.observer ?? {});
}
