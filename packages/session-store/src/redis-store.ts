import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { OperationalError } from '@sallyport/errors';
import { encodeDelivery } from './delivery-codec.ts';
import { mergeSubscriptions } from './merge-subscriptions.ts';
import { decodePacket, encodePacket } from './packet-codec.ts';
import {
  DUE_FIELDS,
  dueItemFrom,
  ENTRY_FIELDS,
  entryFrom,
  groupsOf,
  listOf,
  nameOf,
  openedFrom,
  packetFrom,
  retainedFrom,
  type RetainedPage,
  textOf,
} from './redis-answers.ts';
import { decodeSubscriptions, type RedisRoutes } from './redis-routes.ts';
import { type Answer, type Keys, type ScriptedRedis } from './redis-scripts.ts';
import {
  type CloseSession,
  defaultStoreLimits,
  DUE_LEASE_MS,
  type DueItem,
  type OpenedSession,
  type OpenSession,
  type PlaceLimits,
  PLACES_OF_STEP_MAX,
  type QueueEntry,
  type RoutedOrClient,
  type RoutedSubscription,
  SECRET_USES_KEPT_SECONDS,
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
import { encodeOptions } from './subscription-codec.ts';
import { storeFailure } from './store-failure.ts';
import { messageOf, NoSuchPacket, packetBytes, packetOf, payloadBytes } from './stored-packet.ts';

/** After this long a call fails, whether Redis is away, frozen or slow. */
export const COMMAND_TIMEOUT_MS = 3000;

/** State of a client that has no session is forgotten after this long: nobody would ever end it. */
const ORPHAN_TTL_SECONDS = 7 * 24 * 3600;

/** Most of one script call; larger requests take several. */
const BATCH = {
  queues: 1000,
  entries: 500,
  dueItems: 500,
  subscriptions: 500,
  sessions: 200,
  places: 500,
  uses: 500,
} as const;
const RETAINED_PAGE = { messages: 500, bytes: 1024 * 1024, steps: 2000 } as const;

/** How many entries `outgoingStream` reads ahead. */
const STREAM_PAGE = 100;

interface StoreOptions {
  readonly limits?: StoreLimits;
  readonly observer?: StoreObserver;
}

/**
 * The answer of a command, decoded. Fails in time, whatever the connection does; an answer that comes later is still decoded.
 * INVARIANT: calls return what this returns, without steps between, so that they resolve in the order of the answers.
 */
function ask<A, T>(command: Promise<A>, decode: (answer: A) => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new OperationalError('session_store_unavailable', 'Redis does not answer in time'));
    }, COMMAND_TIMEOUT_MS);
    command.then(
      (answer) => {
        clearTimeout(timer);
        try {
          resolve(decode(answer));
        } catch (cause) {
          reject(cause instanceof NoSuchPacket ? cause : storeFailure(cause));
        }
      },
      (cause: unknown) => {
        clearTimeout(timer);
        reject(storeFailure(cause));
      },
    );
  });
}

/** One call in nearly all cases. They leave in their order, and the first failure is the answer. */
function inBatches<T>(
  items: readonly T[],
  size: number,
  call: (batch: readonly T[], isLast: boolean) => Promise<void>,
): Promise<void> {
  if (items.length <= size) return call(items, true);
  const calls: Promise<void>[] = [];
  for (let at = 0; at < items.length; at += size) {
    calls.push(call(items.slice(at, at + size), at + size >= items.length));
  }
  return Promise.all(calls).then(ignore);
}

const ignore = (): void => undefined;

/** What a connection's place holds. */
const heldBy = ({ since, token }: SessionPlace): string => `${since} ${token}`;

/** The store of a cluster: everything is in Redis, so that a session resumes on any node exactly where it was. */
export class RedisSessionStore implements SessionStore {
  readonly #redis: ScriptedRedis;
  readonly #keys: Keys;
  readonly #routes: RedisRoutes;
  readonly #limits: StoreLimits;
  readonly #observer: StoreObserver;
  /** Tokens and client ids of sessions that nobody may know to be open. */
  readonly #abandoned = new Map<string, string>();
  #broker: StoreBroker | undefined;
  #retainedCount = 0;
  #destroyed = false;

  constructor(redis: ScriptedRedis, keys: Keys, routes: RedisRoutes, options: StoreOptions) {
    this.#redis = redis;
    this.#keys = keys;
    this.#routes = routes;
    this.#limits = options.limits ?? defaultStoreLimits;
    this.#observer = options.observer ?? {};
  }

  get connected(): boolean {
    return this.#redis.status === 'ready';
  }

  get #nodeId(): string {
    return this.#broker?.id ?? '';
  }

  get retainedCount(): number {
    return this.#retainedCount;
  }

  async setup(broker: StoreBroker): Promise<void> {
    this.#broker = broker;
    this.#retainedCount = await ask(this.#redis.zcard(this.#keys.retainedNames), Number);
    await this.#routes.start(broker);
  }

  resyncSubscriptions(): Promise<void> {
    return this.#routes.load();
  }

  async destroy(): Promise<void> {
    if (this.#destroyed) return;
    this.#destroyed = true;
    await this.#routes.stop();
    await this.#redis.quit().catch(() => this.#redis.disconnect());
  }

  storeRetained(packet: StorePacket): Promise<void> {
    const body = payloadBytes(packet) === 0 ? '' : encodePacket(packet);
    const expiry = packet.messageExpiry ?? '';
    return ask(this.#redis.spRetainBuffer(packet.topic ?? '', body, expiry), (count) => {
      this.#retainedCount = Number(count);
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
    if (subscriptions.length === 0) return Promise.resolve();
    return inBatches(subscriptions, BATCH.subscriptions, (batch) => {
      const args = batch.flatMap((each) => [each.topic, encodeOptions(each)]);
      return this.#change(this.#redis.spSubscribeBuffer(client.id, this.#nodeId, ...args), () => {
        this.#routes.changed(client.id, (index) => index.add(client.id, batch));
      });
    });
  }

  removeSubscriptions(client: StoreClient, topicFilters: string[]): Promise<void> {
    if (topicFilters.length === 0) return Promise.resolve();
    return inBatches(topicFilters, BATCH.subscriptions, (batch) =>
      this.#change(this.#redis.spUnsubscribeBuffer(client.id, this.#nodeId, ...batch), () => {
        this.#routes.changed(client.id, (index) => index.remove(client.id, batch));
      }),
    );
  }

  cleanSubscriptions(client: StoreClient): Promise<void> {
    return this.#change(this.#redis.spUnsubscribeBuffer(client.id, this.#nodeId), () => {
      this.#forget(client.id);
    });
  }

  subscriptionsByClient(client: StoreClient): Promise<StoredSubscription[]> {
    return ask(this.#redis.hgetall(this.#keys.subscriptions(client.id)), (fields) => {
      const subscriptions = decodeSubscriptions(fields);
      this.#routes.confirm(client.id, subscriptions);
      return subscriptions;
    });
  }

  async subscriptionsByTopic(topicName: string): Promise<RoutedSubscription[]> {
    await this.#routes.current();
    return this.#routes.index.matching(topicName);
  }

  sharedSubscriptionsByTopic(topicName: string): readonly RoutedSubscription[] {
    return this.#routes.index.sharedMatching(topicName);
  }

  unqueuedSubscriptions(
    topicName: string,
    queued: readonly RoutedSubscription[],
  ): readonly RoutedSubscription[] {
    return this.#routes.index.unqueuedMatching(topicName, queued);
  }

  isShareMember(clientId: string): boolean {
    return this.#routes.index.hasShared(clientId);
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    const { qosCount, clientCount } = this.#routes.index;
    return { subsCount: qosCount, clientsCount: clientCount };
  }

  getClientList(topicFilter: string): Readable {
    return Readable.from(this.#routes.index.clientsOf(topicFilter));
  }

  outgoingEnqueue(subscription: RoutedOrClient, packet: StorePacket): Promise<void> {
    return this.outgoingEnqueueCombi([subscription], packet);
  }

  outgoingEnqueueCombi(
    subscriptions: readonly RoutedOrClient[],
    packet: StorePacket,
    incoming?: { readonly clientId: string; readonly messageId: number },
  ): Promise<void> {
    const deliveries = mergeSubscriptions(subscriptions, packet);
    if (deliveries.length === 0 && incoming === undefined) return Promise.resolve();
    const message = messageOf(packet);
    const body = deliveries.length === 0 ? '' : encodePacket(message);
    // More queues than that would keep Redis from everybody else; the id is noted with the last of them.
    return inBatches(deliveries, BATCH.queues, (batch, isLast) => {
      const note = isLast && incoming !== undefined;
      return ask(
        this.#redis.spEnqueueBuffer(
          this.#limits.queueMessagesMax,
          this.#limits.queueBytesMax,
          packetBytes(message),
          nameOf(message),
          body,
          note ? incoming.clientId : '',
          note ? incoming.messageId : '',
          ORPHAN_TTL_SECONDS,
          ...batch.flatMap((each) => [
            each.clientId,
            encodeDelivery(each),
            each.sharedFilter ?? '',
          ]),
        ),
        (refused) => {
          for (const index of listOf(refused)) {
            const delivery = batch[Number(index)];
            if (delivery !== undefined) this.#observer.onQueueFull?.(delivery.clientId);
          }
        },
      );
    });
  }

  outgoingUpdate(client: StoreClient, packet: StorePacket): Promise<void> {
    const messageId = packet.messageId ?? '';
    const updating =
      packet.cmd === 'pubrel'
        ? this.#redis.spReleaseBuffer(client.id, messageId)
        : this.#redis.spSendBuffer(client.id, nameOf(packet), messageId);
    return ask(updating, (found) => {
      if (found !== 1) throw new NoSuchPacket();
    });
  }

  outgoingClearMessageId(
    client: StoreClient,
    { messageId }: StorePacket,
  ): Promise<StorePacket | undefined> {
    if (messageId === undefined) return Promise.resolve(undefined);
    return ask(this.#redis.spAcknowledgeBuffer(client.id, messageId), (answer) =>
      Array.isArray(answer) ? packetOf(entryFrom(answer)) : undefined,
    );
  }

  outgoingStream(client: StoreClient): Readable {
    return Readable.from(this.#queue(client.id));
  }

  async readQueue(
    clientId: string,
    page: { readonly after: number; readonly limit: number },
  ): Promise<readonly QueueEntry[]> {
    const entries: QueueEntry[] = [];
    for (let after = page.after; entries.length < page.limit;) {
      const limit = Math.min(page.limit - entries.length, BATCH.entries);
      const batch = await ask(this.#redis.spReadBuffer(clientId, after + 1, limit), (answer) =>
        groupsOf(listOf(answer), ENTRY_FIELDS).map(entryFrom),
      );
      entries.push(...batch);
      if (batch.length < limit) break;
      after = batch.at(-1)?.position ?? Infinity;
    }
    return entries;
  }

  removeQueued(
    clientId: string,
    message: { readonly brokerId: string; readonly brokerCounter: number },
  ): Promise<void> {
    return ask(this.#redis.spRemoveBuffer(clientId, nameOf(message)), ignore);
  }

  incomingStorePacket(client: StoreClient, packet: StorePacket): Promise<void> {
    const messageId = packet.messageId ?? 0;
    const body = encodePacket({ ...messageOf(packet), messageId });
    return ask(this.#redis.hset(this.#keys.incoming(client.id), messageId, body), ignore);
  }

  incomingGetPacket(client: StoreClient, { messageId }: StorePacket): Promise<StorePacket> {
    const field = String(messageId ?? 0);
    return ask(this.#redis.hgetBuffer(this.#keys.incoming(client.id), field), (body) => {
      if (body === null) throw new NoSuchPacket();
      return body.length === 0 ? { cmd: 'publish', messageId } : decodePacket(body);
    });
  }

  incomingDelPacket(client: StoreClient, { messageId }: StorePacket): Promise<void> {
    const field = String(messageId ?? 0);
    return ask(this.#redis.hdel(this.#keys.incoming(client.id), field), ignore);
  }

  cleanIncoming(client: StoreClient): Promise<void> {
    return ask(this.#redis.unlink(this.#keys.incoming(client.id)), ignore);
  }

  incomingIds(clientId: string): Promise<readonly number[]> {
    return ask(this.#redis.hkeys(this.#keys.incoming(clientId)), (fields) => fields.map(Number));
  }

  putWill(client: StoreClient, packet: StorePacket): Promise<void> {
    return ask(this.#redis.spPutWillBuffer(client.id, this.#nodeId, encodePacket(packet)), ignore);
  }

  getWill(client: StoreClient): Promise<StorePacket | undefined> {
    return ask(this.#redis.hgetBuffer(this.#keys.connectionWill(client.id), 'will'), packetFrom);
  }

  delWill(client: StoreClient): Promise<StorePacket | undefined> {
    return ask(this.#redis.spDeleteWillBuffer(client.id, client.brokerId ?? ''), packetFrom);
  }

  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    return Readable.from(this.#connectionWills(brokers));
  }

  openSession(session: OpenSession): Promise<OpenedSession> {
    const { clientId, will, willDelaySeconds } = session;
    const token = randomUUID();
    const opening = this.#redis.spOpenBuffer(
      clientId,
      session.owner,
      JSON.stringify(session.principal ?? null),
      session.expirySeconds,
      session.nodeId,
      will === undefined ? '' : encodePacket(will),
      willDelaySeconds ?? '',
      session.cleanStart ? 1 : 0,
      session.now,
      token,
    );
    const opened = this.#change(opening, (answer) => {
      const found = openedFrom(listOf(answer));
      if (!found.present) this.#forget(clientId, listOf(answer)[3]);
      return found;
    });
    opened.catch(() => {
      this.#abandoned.set(token, clientId);
      this.settleAbandoned();
    });
    return opened;
  }

  /** Closes sessions whose opening failed for the caller, but perhaps not in Redis: nobody else would ever close them. */
  settleAbandoned(): void {
    for (const [token, clientId] of this.#abandoned) {
      this.#redis.spAbandonBuffer(clientId, token, Date.now()).then(
        (gone) => {
          this.#abandoned.delete(token);
          if (Number(gone) > 0) this.#forget(clientId, 1);
        },
        () => undefined, // Asked again when Redis is back.
      );
    }
  }

  closeSession(session: CloseSession): Promise<void> {
    const { clientId, epoch, now, expirySeconds, holdWillSeconds = 0 } = session;
    const keepWill = session.will === 'keep' ? 1 : 0;
    const will = [keepWill, holdWillSeconds] as const;
    const closing = this.#redis.spCloseBuffer(clientId, epoch, now, expirySeconds, ...will);
    return this.#change(closing, (gone) => {
      if (Number(gone) > 0) this.#forget(clientId, 1);
    });
  }

  async recoverSessions(request: { readonly nodeId: string; readonly now: number }): Promise<void> {
    for (let more = true; more;) {
      const recovering = this.#redis.spRecoverBuffer(request.nodeId, request.now, BATCH.sessions);
      await this.#change(recovering, (answer) => {
        const [count, ...clientIds] = listOf(answer);
        for (const clientId of clientIds) this.#forget(textOf(clientId), 1);
        more = Number(count) > 0;
      });
    }
    const leaving = () => this.#redis.spLeaveNodeBuffer(request.nodeId, BATCH.places);
    while ((await ask(leaving(), Number)) > 0);
  }

  claimDue(request: { readonly now: number; readonly limit: number }): Promise<readonly DueItem[]> {
    const limit = Math.min(request.limit, BATCH.dueItems);
    const claiming = this.#redis.spClaimBuffer(request.now, limit, DUE_LEASE_MS, randomUUID());
    return ask(claiming, (answer) => {
      const [count, ...fields] = listOf(answer);
      this.#retainedCount = Number(textOf(count));
      return groupsOf(fields, DUE_FIELDS).map(dueItemFrom);
    });
  }

  dropSession(client: { readonly clientId: string; readonly epoch?: number }): Promise<void> {
    const { clientId, epoch } = client;
    return this.#change(this.#redis.spDropBuffer(clientId, epoch ?? ''), (gone) => {
      if (epoch === undefined || Number(gone) > 0) this.#forget(clientId, Number(gone));
    });
  }

  noteSecretUses(uses: readonly SecretUse[]): Promise<void> {
    if (uses.length === 0) return Promise.resolve();
    return inBatches(uses, BATCH.uses, (batch) => {
      const args = batch.flatMap(({ credentialId, secretId, at }) => [credentialId, secretId, at]);
      const bounds = [SECRET_USES_KEPT_SECONDS, SECRET_USES_MAX];
      return ask(this.#redis.spNoteUsesBuffer(...bounds, ...args), ignore);
    });
  }

  secretUses(credentialId: string): Promise<ReadonlyMap<string, number>> {
    return ask(
      this.#redis.hgetall(this.#keys.secretUses(credentialId)),
      (fields) => new Map(Object.entries(fields).map(([secret, at]) => [secret, Number(at)])),
    );
  }

  sessionRecord(clientId: string): Promise<StoredSession | undefined> {
    const fields = ['owner', 'principal', 'expiry', 'node', 'delay', 'ends'] as const;
    return ask(this.#redis.hmget(this.#keys.session(clientId), ...fields), (found) => {
      const [owner, principal, expiry, nodeId, delay, ends] = found;
      if (owner == null) return undefined;
      return {
        clientId,
        owner,
        principal: JSON.parse(principal ?? 'null') as unknown,
        expirySeconds: Number(expiry),
        nodeId: nodeId ?? '',
        ...(delay != null && delay !== '' && { willDelaySeconds: Number(delay) }),
        ...(ends != null && { endsAt: ends === 'inf' ? Infinity : Number(ends) }),
      };
    });
  }

  takePlace(place: SessionPlace, { most, nodeIds }: PlaceLimits): Promise<boolean> {
    const { owner, clientId, nodeId } = place;
    const held = heldBy(place);
    const taking = this.#redis.spTakePlaceBuffer(owner, clientId, nodeId, held, most, ...nodeIds);
    return ask(taking, (taken) => taken === 1);
  }

  leavePlace(place: SessionPlace): Promise<void> {
    const { owner, clientId, nodeId } = place;
    return ask(this.#redis.spLeavePlaceBuffer(owner, clientId, nodeId, heldBy(place)), ignore);
  }

  async limitPlaces(
    own: readonly SessionPlace[],
    { most, nodeIds }: PlaceLimits,
  ): Promise<readonly SessionPlace[]> {
    const lost: SessionPlace[] = [];
    for (let from = 0; from < own.length; from += PLACES_OF_STEP_MAX) {
      const step = own.slice(from, from + PLACES_OF_STEP_MAX);
      const [{ owner, nodeId }] = step as [SessionPlace]; // There is one at `from`.
      const args = step.flatMap((one) => [one.clientId, heldBy(one)]);
      const fixed = [owner, nodeId, most, step.length];
      const asking = this.#redis.spLimitPlacesBuffer(...fixed, ...args, ...nodeIds);
      const indexes = await ask(asking, (answer) => (answer as readonly Answer[]).map(Number)); // A list of numbers.
      lost.push(...indexes.flatMap((index) => step[index - 1] ?? []));
    }
    return lost;
  }

  tellPlaces(nodeId: string, revision: number): Promise<ReadonlyMap<string, number>> {
    return ask(this.#redis.spTellPlacesBuffer(nodeId, revision), (answer) => {
      const told = (answer as readonly Answer[]).map(String); // A list of pairs.
      const pairs = told.flatMap((one, at) =>
        at % 2 === 0 ? [[one, Number(told[at + 1])] as const] : [],
      );
      return new Map(pairs);
    });
  }

  /** A write that may change subscriptions. */
  #change<T>(
    writing: Promise<Answer | Answer[]>,
    follow: (answer: Answer | Answer[]) => T,
  ): Promise<T> {
    writing.catch(() => this.#routes.loadSoon()); // It may be done, or not.
    return ask(writing, follow);
  }

  #forget(clientId: string, gone?: Answer): void {
    if (Number(gone ?? 0) === 0 && !this.#routes.index.has(clientId)) return;
    this.#routes.changed(clientId, (index) => index.removeClient(clientId));
  }

  /** What is in the queue now; not what comes while it is read. */
  async *#queue(clientId: string): AsyncGenerator<StorePacket> {
    const last = await ask(this.#redis.hget(this.#keys.queue(clientId), 'n'), Number);
    for (let after = 0; after < last;) {
      const page = await this.readQueue(clientId, { after, limit: STREAM_PAGE });
      for (const entry of page) {
        if (entry.position > last) return;
        yield packetOf(entry);
      }
      if (page.length < STREAM_PAGE) return;
      after = page.at(-1)?.position ?? last;
    }
  }

  async *#retained(topicFilters: readonly string[]): AsyncGenerator<StorePacket> {
    const seen = new Set<string | undefined>();
    for (const topicFilter of topicFilters) {
      for await (const packet of this.#retainedOf(topicFilter)) {
        if (seen.has(packet.topic)) continue;
        if (topicFilters.length > 1) seen.add(packet.topic);
        yield packet;
      }
    }
  }

  async *#retainedOf(topicFilter: string): AsyncGenerator<StorePacket> {
    if (!/[+#]/.test(topicFilter)) {
      const finding = this.#redis.hgetBuffer(this.#keys.retained, topicFilter);
      const packet = await ask(finding, packetFrom);
      if (packet !== undefined) yield packet;
      return;
    }
    const { messages, bytes, steps } = RETAINED_PAGE;
    let cursor: string | Buffer = '';
    for (let more = true; more;) {
      const page = [messages, bytes, steps] as const;
      const finding = this.#redis.spFindRetainedBuffer(topicFilter, cursor, ...page);
      const found: RetainedPage = await ask(finding, retainedFrom);
      yield* found.packets;
      ({ more, cursor } = found);
    }
  }

  async *#connectionWills(brokers: Readonly<Record<string, unknown>>): AsyncGenerator<StorePacket> {
    const clientIds = await ask(this.#redis.smembers(this.#keys.connectionWills), (found) => found);
    for (const clientId of clientIds) {
      const key = this.#keys.connectionWill(clientId);
      const will = await ask(this.#redis.hmgetBuffer(key, 'node', 'will'), ([node, body]) => {
        const packet = packetFrom(body ?? null);
        return packet && { ...packet, clientId, brokerId: textOf(node ?? null) };
      });
      if (will !== undefined && !Object.hasOwn(brokers, will.brokerId)) yield will;
    }
  }
}
