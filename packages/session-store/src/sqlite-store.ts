import { setImmediate as nextTurn } from 'node:timers/promises';
import { Readable } from 'node:stream';
import type { OperationalError } from '@sallyport/errors';
import { decodeDelivery, encodeDelivery } from './delivery-codec.ts';
import { GroupCommit } from './group-commit.ts';
import { LevelTrie } from './level-trie.ts';
import { type MergedDelivery, mergeSubscriptions } from './merge-subscriptions.ts';
import { decodePacket, encodePacket } from './packet-codec.ts';
import { PlaceTable } from './place-table.ts';
import {
  SessionTable,
  type SessionState,
  type WaitingWill,
  type WillState,
} from './session-table.ts';
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
  SECRET_USES_KEPT_SECONDS,
  type SecretUse,
  type SessionPlace,
  type SessionRecord,
  type StoredSession,
  type SessionStore,
  type StoreBroker,
  type StoreClient,
  type StoredSubscription,
  type StoreLimits,
  type StoreObserver,
  type StorePacket,
} from './session-store.ts';
import { allRows, closeDatabase, type Database, firstRow, guarded } from './sqlite-database.ts';
import {
  type EntryRow,
  FORGET_ORPHANS,
  prepareStatements,
  type Statements,
} from './sqlite-statements.ts';
import {
  messageOf,
  NoSuchPacket,
  packetBytes,
  packetOf,
  payloadBytes,
  pubrelOf,
} from './stored-packet.ts';
import { decodeOptions, encodeOptions } from './subscription-codec.ts';
import { SubscriptionIndex } from './subscription-index.ts';

/** A body of several queues that is larger than this is stored once. */
const SHARED_BODY_BYTES = 4096;

/** How many messages are read between two turns of the event loop. */
const PAGE = 100;

/** Most retained messages that expire in one call of `claimDue`. */
const EXPIRED_MAX = 1000;

/** How often all uses of secrets are looked through for those that are too old. */
const USES_FORGOTTEN_EVERY_MS = 24 * 3600 * 1000;

const STATES = ['queued', 'sent', 'released'] as const;

interface StoreOptions {
  readonly limits?: StoreLimits;
  readonly observer?: StoreObserver;
  readonly onProblem?: (problem: OperationalError) => void;
}

interface QueueSize {
  messages: number;
  bytes: number;
}

interface SubscriptionRow {
  readonly client: string;
  readonly filter: string;
  readonly options: string;
}

interface SessionRow {
  readonly epoch: number;
  readonly ends_at: number | null;
  readonly record: string;
  readonly will: Uint8Array | null;
}

interface WaitingWillRow {
  readonly epoch: number;
  readonly due_at: number;
  readonly record: string;
  readonly will: Uint8Array;
}

interface WillRow {
  readonly node: string;
  readonly will: Uint8Array;
}

interface DeliveryRow {
  readonly position: number;
  readonly state: 0 | 1 | 2;
  readonly message_id: number | null;
  readonly bytes: number;
  readonly delivery: string;
}

const bufferOf = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function entryFrom(row: EntryRow): QueueEntry {
  const state = STATES[row.state];
  const messageId = row.message_id ?? undefined;
  const packet = decodePacket(bufferOf(row.body));
  return {
    position: row.position,
    state,
    ...(messageId !== undefined && { messageId }),
    packet: state === 'released' ? pubrelOf(packet, messageId) : packet,
    ...decodeDelivery(row.delivery),
  };
}

/** What is in memory, and follows the file when a transaction fails. */
class Loaded {
  readonly subscriptions = new SubscriptionIndex();
  readonly queues = new Map<string, QueueSize>();
  readonly incoming = new Map<string, Set<number>>();
  readonly retained = new LevelTrie<string>();
  readonly position: number;
  readonly bodyId: number;

  constructor(statements: Statements) {
    const { subscriptions, queues, incoming, retained } = statements;
    for (const row of allRows<SubscriptionRow>(subscriptions)) {
      this.subscriptions.add(row.client, [decodeOptions(row.filter, row.options)]);
    }
    for (const { client, ...size } of allRows<QueueSize & { client: string }>(queues)) {
      this.queues.set(client, size);
    }
    for (const row of allRows<{ client: string; message_id: number }>(incoming)) {
      this.noteIncoming(row.client, row.message_id);
    }
    for (const { topic } of allRows<{ topic: string }>(retained)) this.retained.set(topic, topic);
    this.position = firstRow<{ position: number }>(statements.lastPosition)?.position ?? 0;
    this.bodyId = firstRow<{ id: number }>(statements.lastBody)?.id ?? 0;
  }

  noteIncoming(clientId: string, messageId: number): void {
    const ids = this.incoming.get(clientId);
    if (ids === undefined) this.incoming.set(clientId, new Set([messageId]));
    else ids.add(messageId);
  }
}

export class SqliteSessionStore implements SessionStore {
  readonly #statements: Statements;
  readonly #commits: GroupCommit;
  readonly #limits: StoreLimits;
  readonly #observer: StoreObserver;
  readonly #sessions: SessionTable;
  #memory: Loaded;
  #position: number;
  #bodyId: number;
  #broker: StoreBroker | undefined;
  readonly #places = new PlaceTable();
  #usesForgottenAt = 0;

  private constructor(database: Database, options: StoreOptions) {
    this.#limits = options.limits ?? defaultStoreLimits;
    this.#observer = options.observer ?? {};
    this.#statements = prepareStatements(database);
    this.#sessions = new SessionTable({
      saveSession: (state) => this.#saveSession(state),
      deleteSession: (clientId) => this.#commits.run(this.#statements.deleteSession, clientId),
      saveWill: (will) => this.#saveWill(will),
      deleteWill: (epoch) => this.#commits.run(this.#statements.deleteWill, epoch),
      forget: (clientId) => this.#forget(clientId),
    });
    this.#memory = new Loaded(this.#statements);
    this.#position = this.#memory.position;
    this.#bodyId = this.#memory.bodyId;
    this.#loadSessions();
    this.#commits = new GroupCommit(
      database,
      () => this.#load(),
      options.onProblem ?? (() => undefined),
    );
  }

  /** The database is the store's from now on. */
  static open(database: Database, options: StoreOptions = {}): SqliteSessionStore {
    try {
      return guarded('cannot be read', () => {
        database.exec(`BEGIN IMMEDIATE; ${FORGET_ORPHANS} COMMIT;`);
        return new SqliteSessionStore(database, options);
      });
    } catch (failure) {
      closeDatabase(database);
      throw failure;
    }
  }

  get connected(): boolean {
    return this.#commits.healthy;
  }

  get retainedCount(): number {
    return this.#memory.retained.size;
  }

  async setup(broker: StoreBroker): Promise<void> {
    this.#broker = broker;
  }

  async resyncSubscriptions(): Promise<void> {
    // Nobody else changes them.
  }

  async destroy(): Promise<void> {
    this.#commits.close();
  }

  storeRetained(packet: StorePacket): Promise<void> {
    const topic = packet.topic ?? '';
    return this.#commits.write(() => {
      if (payloadBytes(packet) === 0) this.#unretain(topic);
      else {
        const expiry = packet.messageExpiry ?? null;
        this.#commits.run(this.#statements.retain, topic, expiry, encodePacket(packet));
        this.#memory.retained.set(topic, topic);
      }
    });
  }

  createRetainedStream(topicFilter: string): Readable {
    return this.createRetainedStreamCombi([topicFilter]);
  }

  createRetainedStreamCombi(topicFilters: string[]): Readable {
    return Readable.from(this.#retained(topicFilters));
  }

  async retainedMessages(
    topicFilters: readonly string[],
    now: number,
  ): Promise<readonly StorePacket[]> {
    const found: StorePacket[] = [];
    for await (const packet of this.#retained(topicFilters)) {
      if (packet.messageExpiry === undefined || packet.messageExpiry > now) found.push(packet);
    }
    return found;
  }

  addSubscriptions(client: StoreClient, subscriptions: StoredSubscription[]): Promise<void> {
    return this.#commits.write(() => {
      for (const each of subscriptions) {
        this.#commits.run(this.#statements.subscribe, client.id, each.topic, encodeOptions(each));
      }
      this.#memory.subscriptions.add(client.id, subscriptions);
    });
  }

  removeSubscriptions(client: StoreClient, topicFilters: string[]): Promise<void> {
    return this.#commits.write(() => {
      for (const topicFilter of topicFilters) {
        this.#commits.run(this.#statements.unsubscribe, client.id, topicFilter);
      }
      this.#memory.subscriptions.remove(client.id, topicFilters);
    });
  }

  cleanSubscriptions(client: StoreClient): Promise<void> {
    return this.#commits.write(() => this.#forgetSubscriptions(client.id));
  }

  async subscriptionsByClient(client: StoreClient): Promise<StoredSubscription[]> {
    return this.#memory.subscriptions.ofClient(client.id);
  }

  async subscriptionsByTopic(topicName: string): Promise<RoutedSubscription[]> {
    return this.#memory.subscriptions.matching(topicName);
  }

  sharedSubscriptionsByTopic(topicName: string): readonly RoutedSubscription[] {
    return this.#memory.subscriptions.sharedMatching(topicName);
  }

  unqueuedSubscriptions(
    topicName: string,
    queued: readonly RoutedSubscription[],
  ): readonly RoutedSubscription[] {
    return this.#memory.subscriptions.unqueuedMatching(topicName, queued);
  }

  isShareMember(clientId: string): boolean {
    return this.#memory.subscriptions.hasShared(clientId);
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    const { qosCount, clientCount } = this.#memory.subscriptions;
    return { subsCount: qosCount, clientsCount: clientCount };
  }

  getClientList(topicFilter: string): Readable {
    return Readable.from(this.#memory.subscriptions.clientsOf(topicFilter));
  }

  outgoingEnqueue(subscription: RoutedOrClient, packet: StorePacket): Promise<void> {
    return this.outgoingEnqueueCombi([subscription], packet);
  }

  outgoingEnqueueCombi(
    subscriptions: readonly RoutedOrClient[],
    packet: StorePacket,
    incoming?: { readonly clientId: string; readonly messageId: number },
  ): Promise<void> {
    return this.#commits.write(() => {
      if (incoming !== undefined) {
        const { clientId, messageId } = incoming;
        this.#commits.run(this.#statements.noteIncoming, clientId, messageId);
        this.#memory.noteIncoming(clientId, messageId);
      }
      if (subscriptions.length > 0) {
        this.#enqueue(mergeSubscriptions(subscriptions, packet), messageOf(packet));
      }
    });
  }

  outgoingUpdate(client: StoreClient, packet: StorePacket): Promise<void> {
    return this.#commits.write(() => {
      const { messageId = null } = packet;
      if (packet.cmd === 'pubrel') {
        const { positionOf, release } = this.#statements;
        const row = firstRow<{ position: number }>(positionOf, client.id, messageId);
        if (row === undefined) throw new NoSuchPacket();
        this.#commits.run(release, row.position);
        return;
      }
      const delivery = this.#deliveryOf(client.id, packet, messageId);
      if (delivery === undefined) throw new NoSuchPacket();
      if (delivery.message_id === messageId && delivery.state !== 0) return;
      this.#commits.run(this.#statements.send, messageId, delivery.position);
    });
  }

  outgoingClearMessageId(
    client: StoreClient,
    { messageId }: StorePacket,
  ): Promise<StorePacket | undefined> {
    return this.#commits.write(() => {
      if (messageId === undefined) return undefined;
      const entry = firstRow<EntryRow>(this.#statements.entryOf, client.id, messageId);
      if (entry === undefined) return undefined;
      this.#remove(client.id, entry);
      return packetOf(entryFrom(entry));
    });
  }

  outgoingStream(client: StoreClient): Readable {
    return Readable.from(this.#queue(client.id, this.#position));
  }

  async readQueue(
    clientId: string,
    { after, limit }: { readonly after: number; readonly limit: number },
  ): Promise<readonly QueueEntry[]> {
    if (!this.#memory.queues.has(clientId)) return [];
    return this.#commits.read(() =>
      allRows<EntryRow>(this.#statements.page, clientId, after, limit).map(entryFrom),
    );
  }

  removeQueued(
    clientId: string,
    message: { readonly brokerId: string; readonly brokerCounter: number },
  ): Promise<void> {
    return this.#commits.write(() => {
      const delivery = this.#deliveryOf(clientId, message, null);
      if (delivery !== undefined) this.#remove(clientId, delivery);
    });
  }

  incomingStorePacket(client: StoreClient, packet: StorePacket): Promise<void> {
    return this.#commits.write(() => {
      const messageId = packet.messageId ?? 0;
      const body = encodePacket({ ...messageOf(packet), messageId });
      this.#commits.run(this.#statements.storeIncoming, client.id, messageId, body);
      this.#memory.noteIncoming(client.id, messageId);
    });
  }

  async incomingGetPacket(client: StoreClient, { messageId }: StorePacket): Promise<StorePacket> {
    const packet = this.#commits.read(() => {
      const { incomingOf } = this.#statements;
      const row = firstRow<{ packet: Uint8Array | null }>(incomingOf, client.id, messageId ?? 0);
      if (row === undefined) return undefined;
      const { packet: body } = row;
      return body === null ? { cmd: 'publish', messageId } : decodePacket(bufferOf(body));
    });
    if (packet === undefined) throw new NoSuchPacket();
    return packet;
  }

  incomingDelPacket(client: StoreClient, { messageId = 0 }: StorePacket): Promise<void> {
    return this.#commits.write(() => {
      const ids = this.#memory.incoming.get(client.id);
      if (ids?.delete(messageId) !== true) return;
      if (ids.size === 0) this.#memory.incoming.delete(client.id);
      this.#commits.run(this.#statements.deleteIncoming, client.id, messageId);
    });
  }

  cleanIncoming(client: StoreClient): Promise<void> {
    return this.#commits.write(() => this.#forgetIncoming(client.id));
  }

  async incomingIds(clientId: string): Promise<readonly number[]> {
    return [...(this.#memory.incoming.get(clientId) ?? [])];
  }

  putWill(client: StoreClient, packet: StorePacket): Promise<void> {
    return this.#commits.write(() => {
      const nodeId = this.#broker?.id ?? '';
      this.#commits.run(this.#statements.putWill, client.id, nodeId, encodePacket(packet));
    });
  }

  async getWill(client: StoreClient): Promise<StorePacket | undefined> {
    return this.#commits.read(() => this.#connectionWill(client.id)?.will);
  }

  delWill(client: StoreClient): Promise<StorePacket | undefined> {
    return this.#commits.write(() => {
      const found = this.#connectionWill(client.id);
      if (client.brokerId !== undefined && client.brokerId !== found?.node) return undefined;
      if (found !== undefined) this.#commits.run(this.#statements.removeWill, client.id);
      return found?.will;
    });
  }

  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    return Readable.from(this.#connectionWills(brokers));
  }

  openSession(session: OpenSession): OpenedSession | Promise<OpenedSession> {
    return this.#commits.writeOrAnswer(() => this.#sessions.open(session));
  }

  closeSession(session: CloseSession): Promise<void> {
    return this.#commits.write(() => this.#sessions.close(session));
  }

  recoverSessions(request: { readonly nodeId: string; readonly now: number }): Promise<void> {
    this.#places.leaveNode(request.nodeId);
    return this.#commits.write(() => this.#sessions.recover(request));
  }

  claimDue(request: { readonly now: number; readonly limit: number }): Promise<readonly DueItem[]> {
    return this.#commits.write(() => {
      const { retainedExpired } = this.#statements;
      const expired = allRows<{ topic: string }>(retainedExpired, request.now, EXPIRED_MAX);
      for (const { topic } of expired) this.#unretain(topic);
      return this.#sessions.claim(request);
    });
  }

  dropSession(client: { readonly clientId: string; readonly epoch?: number }): Promise<void> {
    return this.#commits.write(() => this.#sessions.drop(client));
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

  async leavePlace(place: SessionPlace): Promise<void> {
    this.#places.leave(place);
  }

  noteSecretUses(uses: readonly SecretUse[]): Promise<void> {
    const { noteUse, forgetUses, forgetOldUses } = this.#statements;
    return this.#commits.write(() => {
      let newest = 0;
      for (const { credentialId, secretId, at } of uses) {
        this.#commits.run(noteUse, credentialId, secretId, at);
        this.#commits.run(forgetUses, credentialId);
        newest = Math.max(newest, at);
      }
      if (newest < this.#usesForgottenAt + USES_FORGOTTEN_EVERY_MS) return;
      this.#usesForgottenAt = newest;
      this.#commits.run(forgetOldUses, newest - SECRET_USES_KEPT_SECONDS * 1000);
    });
  }

  async secretUses(credentialId: string): Promise<ReadonlyMap<string, number>> {
    const rows = this.#commits.read(() =>
      allRows<{ secret: string; at: number }>(this.#statements.uses, credentialId),
    );
    return new Map(rows.map(({ secret, at }) => [secret, at]));
  }

  #enqueue(deliveries: readonly MergedDelivery[], message: StorePacket): void {
    const body = encodePacket(message);
    const bytes = packetBytes(message);
    const accepted = deliveries.filter(
      (each) => !this.#isQueued(each, message) && this.#reserve(each.clientId, bytes),
    );
    const isShared = accepted.length > 1 && body.length > SHARED_BODY_BYTES;
    const shared = isShared ? ++this.#bodyId : null;
    const { saveBody, enqueue } = this.#statements;
    if (shared !== null) this.#commits.run(saveBody, shared, accepted.length, body);
    for (const delivery of accepted) {
      this.#commits.run(
        enqueue,
        ++this.#position,
        delivery.clientId,
        message.brokerId ?? '',
        message.brokerCounter ?? 0,
        bytes,
        encodeDelivery(delivery),
        isShared ? null : body,
        shared,
      );
    }
  }

  /** Whether the delivery is in the queue already, because somebody asks again. */
  #isQueued({ clientId, sharedFilter }: MergedDelivery, message: StorePacket): boolean {
    return this.#deliveriesOf(clientId, message).some(
      ({ delivery }) => decodeDelivery(delivery).sharedFilter === sharedFilter,
    );
  }

  /** Whether there is room for a message; then it is counted. */
  #reserve(clientId: string, bytes: number): boolean {
    const size = this.#memory.queues.get(clientId) ?? { messages: 0, bytes: 0 };
    const { queueMessagesMax, queueBytesMax } = this.#limits;
    if (size.messages >= queueMessagesMax || size.bytes + bytes > queueBytesMax) {
      this.#observer.onQueueFull?.(clientId);
      return false;
    }
    size.messages++;
    size.bytes += bytes;
    this.#memory.queues.set(clientId, size);
    return true;
  }

  #remove(clientId: string, entry: { readonly position: number; readonly bytes: number }): void {
    this.#commits.run(this.#statements.removeEntry, entry.position);
    const size = this.#memory.queues.get(clientId);
    if (size === undefined) return;
    size.messages--;
    size.bytes -= entry.bytes;
    if (size.messages === 0) this.#memory.queues.delete(clientId);
  }

  /** The delivery that is sent with this id, else one that was not sent, else the first. */
  #deliveryOf(
    clientId: string,
    message: StorePacket,
    messageId: number | null,
  ): DeliveryRow | undefined {
    const rows = this.#deliveriesOf(clientId, message);
    return (
      rows.find((row) => row.message_id !== null && row.message_id === messageId) ??
      rows.find(({ state }) => state === 0) ??
      rows[0]
    );
  }

  #deliveriesOf(
    clientId: string,
    { brokerCounter = 0, brokerId = '' }: StorePacket,
  ): DeliveryRow[] {
    if (!this.#memory.queues.has(clientId)) return [];
    const { deliveriesOf } = this.#statements;
    return allRows<DeliveryRow>(deliveriesOf, clientId, brokerCounter, brokerId);
  }

  /** What is in the queue up to `last`; not what comes while it is read. */
  async *#queue(clientId: string, last: number): AsyncGenerator<StorePacket> {
    for (let after = 0; after < last;) {
      const page = await this.readQueue(clientId, { after, limit: PAGE });
      for (const entry of page) {
        if (entry.position > last) return;
        yield packetOf(entry);
      }
      if (page.length < PAGE) return;
      after = page.at(-1)?.position ?? last;
      await nextTurn();
    }
  }

  async *#retained(topicFilters: readonly string[]): AsyncGenerator<StorePacket> {
    const topics = new Set<string>();
    for (const topicFilter of topicFilters) {
      for (const topic of this.#memory.retained.namesMatching(topicFilter)) topics.add(topic);
    }
    let count = 0;
    for (const topic of topics) {
      if (++count % PAGE === 0) await nextTurn();
      const packet = this.#commits.read(() => {
        const row = firstRow<{ body: Uint8Array }>(this.#statements.retainedOf, topic);
        return row && decodePacket(bufferOf(row.body));
      });
      if (packet !== undefined) yield packet; // Else removed meanwhile.
    }
  }

  #unretain(topic: string): void {
    if (this.#memory.retained.get(topic) === undefined) return;
    this.#commits.run(this.#statements.unretain, topic);
    this.#memory.retained.delete(topic);
  }

  #connectionWill(clientId: string): { node: string; will: StorePacket } | undefined {
    const row = firstRow<WillRow>(this.#statements.willOf, clientId);
    return row && { node: row.node, will: decodePacket(bufferOf(row.will)) };
  }

  *#connectionWills(brokers: Readonly<Record<string, unknown>>): Generator<StorePacket> {
    const { connectionWills } = this.#statements;
    const rows = this.#commits.read(() => allRows<WillRow & { client: string }>(connectionWills));
    for (const { client: clientId, node, will } of rows) {
      if (Object.hasOwn(brokers, node)) continue;
      yield { ...decodePacket(bufferOf(will)), clientId, brokerId: node };
    }
  }

  #saveSession({ record: { will, ...record }, epoch, endsAt }: SessionState): void {
    this.#commits.run(
      this.#statements.saveSession,
      record.clientId,
      epoch,
      endsAt ?? null,
      JSON.stringify(record),
      will === undefined ? null : encodePacket(will),
    );
  }

  #saveWill({ epoch, dueAt, record, will, why }: WaitingWill): void {
    const text = JSON.stringify(why === 'left' ? record : { ...record, why });
    this.#commits.run(this.#statements.saveWill, epoch, dueAt, text, encodePacket(will));
  }

  #forget(clientId: string): void {
    this.#forgetSubscriptions(clientId);
    this.#forgetIncoming(clientId);
    if (!this.#memory.queues.delete(clientId)) return;
    this.#commits.run(this.#statements.removeQueue, clientId);
  }

  #forgetSubscriptions(clientId: string): void {
    if (!this.#memory.subscriptions.has(clientId)) return;
    this.#commits.run(this.#statements.unsubscribeAll, clientId);
    this.#memory.subscriptions.removeClient(clientId);
  }

  #forgetIncoming(clientId: string): void {
    if (!this.#memory.incoming.delete(clientId)) return;
    this.#commits.run(this.#statements.deleteAllIncoming, clientId);
  }

  /** After a failure: what the file has. Positions only grow. */
  #load(): void {
    this.#memory = new Loaded(this.#statements);
    this.#loadSessions();
  }

  #loadSessions(): void {
    const sessions = allRows<SessionRow>(this.#statements.sessions);
    const wills = allRows<WaitingWillRow>(this.#statements.wills);
    this.#sessions.load(
      sessions.map(({ epoch, ends_at: endsAt, record, will }) => ({
        epoch,
        ...(endsAt !== null && { endsAt }),
        record: {
          ...(JSON.parse(record) as SessionRecord), // `#saveSession` wrote it.
          ...(will !== null && { will: decodePacket(bufferOf(will)) }),
        },
      })),
      wills.map(({ epoch, due_at: dueAt, record: text, will }) => {
        // `#saveWill` wrote it.
        const stored = JSON.parse(text) as SessionRecord & { readonly why?: WillState };
        const { why = 'left', ...record } = stored;
        return { epoch, dueAt, record, will: decodePacket(bufferOf(will)), why };
      }),
    );
  }
}
