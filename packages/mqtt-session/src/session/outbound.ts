import { isOperational } from '@sallyport/errors';
import type { QueueEntry, SessionStore } from '@sallyport/session-store';
import type { Qos, ReasonCode } from '../codec/index.ts';
import { reasonCode } from '../codec/index.ts';
import type { EngineEvent } from '../hooks.ts';
import type { MqttLimits } from '../limits.ts';
import { isExpired, type Message } from '../message.ts';
import { Publication } from './publication.ts';
import { RetainedBacklog, type RetainedBatch } from './retained-backlog.ts';

/** Entries that are read from the store at once. */
const PAGE_LENGTH = 64;

/** Live messages of a stored session that wait in memory; more stay in the store until there is room. */
const MEMORY_QUEUE_MAX = 128;

/** Messages that were read from the store and may still come from the bus; and for how long. */
const RECENT_KEYS_MAX = 2048;
export const RECENT_KEPT_MS = 60_000;

/** How long a node may take from looking up who gets a message until it has stored it for them. */
export const LATE_PUBLISH_MS = 1000;

const PACKET_ID_MAX = 0xffff;

const NOTHING = Buffer.alloc(0);

/** How messages are to be sent to one client: what its subscriptions say. */
export interface DeliveryTerms {
  /** The message's own may be lower. */
  readonly qos: Qos;
  /** Whether RETAIN stays as it was published. */
  readonly retainAsPublished: boolean;
  readonly identifiers: readonly number[] | undefined;
  readonly sharedFilter?: string | undefined;
  /** Of a shared message: nodes whose members may not receive it. */
  readonly refusedAt?: readonly string[] | undefined;
}

/** A message with QoS > 0 on its way to one client. */
interface Outgoing {
  readonly publication: Publication;
  readonly qos: 1 | 2;
  readonly terms: DeliveryTerms;
  /** Whether the store has it. */
  stored: boolean;
  state: 'queued' | 'sent' | 'released';
  /** 0 until it is sent. */
  packetId: number;
  /** Whether it takes a place of the window: only what was sent as PUBLISH on this connection. */
  counted: boolean;
}

/** The connection, as the queue sees it. */
export interface Line {
  /** Whether the socket holds back more than it should. */
  readonly congested: boolean;
  /** False when the client does not take packets of that size. */
  sendPublish(
    publication: Publication,
    qos: Qos,
    terms: DeliveryTerms,
    again?: { readonly packetId: number; readonly dup: boolean },
  ): boolean;
  sendPubrel(packetId: number, code: ReasonCode): void;
  mayReceive(topic: string): boolean;
  count(event: EngineEvent): void;
  /** Ends the connection. */
  fail(reason: ReasonCode, error: Error): void;
}

export interface OutboundOptions {
  readonly clientId: string;
  readonly line: Line;
  /** Of a session that outlives its connection. */
  readonly store: SessionStore | undefined;
  /** Most unacknowledged messages: the lower of our limit and the client's Receive Maximum. */
  readonly window: number;
  readonly limits: MqttLimits;
  readonly clock: () => number;
  /** A retained message as a message of its own: the same may be in the session's queue already. */
  readonly renamed: (message: Message) => Message;
  /** The client may not receive a shared message that was picked for it: another member is to get it. False: it could not be stored for one. */
  readonly refused?: (
    orphan: { readonly message: Message; readonly sharedFilter: string },
    refusedAt: readonly string[],
  ) => Promise<boolean>;
}

/** A session may get a message for itself and, as another delivery, for each of its share groups. */
const nameOf = ({ brokerId, brokerCounter }: Message, sharedFilter: string | undefined): string =>
  `${brokerId}:${brokerCounter}:${sharedFilter ?? ''}`;

const nameOfEntry = ({ publication, terms }: Outgoing): string =>
  nameOf(publication.message, terms.sharedFilter);

const sizeOf = ({ topic, payload }: Message): number => topic.length + payload.length;

/**
 * What one client is owed: a window of unacknowledged messages, and a bounded queue behind it.
 *
 * A stored session's messages are in the store before they come here. While everything that the store has is also here, it is
 * `live`: messages go from the bus to the window. When the queue here is full, or at a resume, it is `behind`: messages of the bus
 * are ignored, because the store has them, and the store is read page by page until nothing is left. So the backlog always comes
 * before what is newer.
 */
export class Outbound {
  readonly #options: OutboundOptions;
  readonly #inflight = new Map<number, Outgoing>();
  #queue: Outgoing[] = [];
  #queueBytes = 0;
  #quota: number;
  #nextPacketId = 1;
  #pumping = false;
  #closed = false;

  // Of stored sessions.
  #behind = false;
  #reading = false;
  /** Whether a message came from the bus while the store was read. */
  #arrived = false;
  /** Whether entries that were sent on an earlier connection are still to come. */
  #resuming = false;
  /** Packet ids of those. */
  #sentBefore: Set<number> | undefined;
  #cursor = 0;
  #recent: Set<string> | undefined;
  /** When they are forgotten; 0 = not decided. */
  #recentUntil = 0;
  /** When the store is looked at again; 0 = not decided. */
  #lookAt: number | undefined;
  #heldQos0: { publication: Publication; terms: DeliveryTerms }[] = [];
  #heldBytes = 0;

  /** Messages whose packet id is being stored before they are sent. */
  #notedFirst = 0;

  /** Retained messages of new subscriptions, sent as fast as the client takes them. */
  #retained: RetainedBacklog | undefined;
  /** Those of them that are being queued in the store, and whether their topic has had a newer message meanwhile. */
  #retainedUnderWay: { readonly topic: string; outdated: boolean }[] = [];

  constructor(options: OutboundOptions) {
    this.#options = options;
    this.#quota = options.window;
  }

  /** Whether a further message with QoS > 0 would leave at once. */
  get hasRoom(): boolean {
    return this.#quota > 0 && this.#queue.length === 0 && !this.#behind;
  }

  /**
   * Takes up a session that was found in the store: sends again what is unacknowledged, then the backlog. The store is not read
   * before its subscriptions are there again, or a message could fall between the two.
   */
  resume(subscribed: Promise<void>): void {
    this.#behind = true;
    this.#resuming = true;
    this.#reading = true;
    this.#written(subscribed, () => {
      this.#reading = false;
      this.#pump();
    });
  }

  /** Messages may have been stored without coming from the bus: looks for them. */
  catchUp(): void {
    if (this.#options.store === undefined) return;
    this.#behind = true;
    this.#arrived = true;
    this.#pump();
  }

  /**
   * Nothing is queued any more for a filter that was there: looks for what was, and once more for what other nodes had under way then.
   * None of it needs to come from the bus.
   */
  lookForLast(): void {
    this.catchUp();
    this.#lookAt = 0;
  }

  /** A message from the bus. */
  deliver(publication: Publication, terms: DeliveryTerms): void {
    const { message } = publication;
    if (this.#retained !== undefined) this.#outdateRetained(this.#retained, message.topic);
    const qos = message.qos < terms.qos ? message.qos : terms.qos;
    if (qos === 0) this.#deliverQos0(publication, terms);
    else if (this.#options.store === undefined) this.#enqueue(publication, qos, terms);
    else this.#deliverStored(publication, qos, terms);
  }

  /** Retained messages will follow, for a subscription just made. To be called before the store is asked for them. */
  expectRetained(terms: DeliveryTerms): RetainedBatch {
    this.#retained ??= new RetainedBacklog();
    return this.#retained.begin(terms);
  }

  /** They come behind the backlog and in front of what waits here, but bypass neither window nor socket. */
  deliverRetained(batch: RetainedBatch, messages: readonly Message[]): void {
    this.#retained?.found(batch, messages);
    this.#pump();
  }

  /** The socket takes bytes again. */
  drained(): void {
    this.#pump();
  }

  /** To be called now and then: thousands of sessions that were resumed must not remember all that they had for ever. */
  sweep(now: number): void {
    if (this.#lookAt !== undefined) this.#lookAgain(this.#lookAt, now);
    if (this.#recent === undefined || this.#behind) return;
    if (this.#recentUntil === 0) this.#recentUntil = now + RECENT_KEPT_MS;
    else if (now >= this.#recentUntil) this.#recent = undefined;
  }

  #lookAgain(at: number, now: number): void {
    if (at === 0) this.#lookAt = now + LATE_PUBLISH_MS;
    else if (now >= at) {
      this.#lookAt = undefined;
      this.catchUp();
    }
  }

  /** PUBACK of a message with QoS 1, or PUBREC with an error of one with QoS 2. One that does not fit changes nothing. */
  acknowledge(packetId: number, qos: 1 | 2): void {
    const entry = this.#inflight.get(packetId);
    if (entry?.state === 'sent' && entry.qos === qos) this.#settle(entry);
  }

  /** PUBREC. An id that is not known is released all the same: it may be of a session that ended. */
  received(packetId: number): void {
    const entry = this.#inflight.get(packetId);
    if (entry === undefined || entry.qos !== 2) {
      this.#options.line.sendPubrel(packetId, reasonCode.packetIdentifierNotFound);
      return;
    }
    const { line, store, clientId } = this.#options;
    const first = entry.state === 'sent';
    entry.state = 'released';
    const release = (): void => line.sendPubrel(packetId, reasonCode.success);
    if (!entry.stored || store === undefined || !first) {
      release();
      return;
    }
    const { brokerId, brokerCounter } = entry.publication.message;
    this.#written(
      store.outgoingUpdate(
        { id: clientId },
        {
          cmd: 'pubrel',
          messageId: packetId,
          ...(brokerId !== undefined && { brokerId }),
          ...(brokerCounter !== undefined && { brokerCounter }),
        },
      ),
      release,
    );
  }

  /** PUBCOMP. */
  completed(packetId: number): void {
    const entry = this.#inflight.get(packetId);
    if (entry?.state === 'released') this.#settle(entry);
  }

  /**
   * The connection has ended. Answers what another member of a share group may get instead: what this one has not acknowledged,
   * but nothing with QoS 2 that it may have seen.
   * @source MQTT-5.0 [MQTT-4.8.2-4] [MQTT-4.8.2-5]
   */
  close(): readonly { message: Message; sharedFilter: string }[] {
    this.#closed = true;
    const entries = [...this.#inflight.values(), ...this.#queue];
    this.#inflight.clear();
    this.#queue = [];
    this.#heldQos0 = [];
    this.#retained = undefined;
    return entries.flatMap((entry) => this.#handOn(entry));
  }

  /** The client has left a share group: what waits for it there goes to another member. */
  leaveGroup(sharedFilter: string): readonly { message: Message; sharedFilter: string }[] {
    const leaving = this.#queue.filter((entry) => entry.terms.sharedFilter === sharedFilter);
    if (leaving.length === 0) return [];
    this.#queue = this.#queue.filter((entry) => entry.terms.sharedFilter !== sharedFilter);
    for (const { publication } of leaving) this.#queueBytes -= sizeOf(publication.message);
    return leaving.flatMap((entry) => {
      this.#forget(entry);
      return this.#handOn(entry);
    });
  }

  #handOn(entry: Outgoing): { message: Message; sharedFilter: string }[] {
    const { terms, state, qos, publication } = entry;
    const { sharedFilter } = terms;
    if (sharedFilter === undefined || (qos === 2 && state !== 'queued')) return [];
    return [{ message: publication.message, sharedFilter }];
  }

  #deliverQos0(publication: Publication, terms: DeliveryTerms): void {
    const { line, limits } = this.#options;
    if (!this.#behind) {
      this.#sendQos0(publication, terms);
      return;
    }
    const bytes = sizeOf(publication.message);
    const full =
      this.#heldQos0.length >= limits.queueMessagesMax ||
      this.#heldBytes + bytes > limits.queueBytesMax;
    if (full) {
      line.count('delivery_dropped');
      return;
    }
    this.#heldQos0.push({ publication: publication.kept, terms });
    this.#heldBytes += bytes;
  }

  #sendQos0(publication: Publication, terms: DeliveryTerms): void {
    const { line } = this.#options;
    if (line.congested) {
      line.count('delivery_dropped');
      return;
    }
    if (this.#isExpired(publication)) return;
    const { message } = publication;
    // Queued while its subscription had a higher QoS, and sent from the queue.
    if (message.qos > 0 && this.#recent?.has(nameOf(message, terms.sharedFilter)) === true) return;
    if (!line.mayReceive(message.topic)) void this.#refuse(publication, terms);
    else if (!line.sendPublish(publication, 0, terms)) line.count('delivery_too_large');
  }

  #isExpired({ message }: Publication): boolean {
    const { line, clock } = this.#options;
    if (message.messageExpiry === undefined || !isExpired(message, clock())) return false;
    line.count('delivery_expired');
    return true;
  }

  /** The client may not receive it: one that was picked for it of a share group may. Undefined when there is nothing to wait for. */
  #refuse(
    publication: Publication,
    { sharedFilter, refusedAt = [] }: DeliveryTerms,
  ): Promise<boolean> | undefined {
    if (sharedFilter === undefined) return undefined;
    return this.#options.refused?.({ message: publication.kept.message, sharedFilter }, refusedAt);
  }

  /** It stays in the store until another has it. */
  #refuseEntry(entry: Outgoing): void {
    const handedOn = this.#refuse(entry.publication, entry.terms);
    if (handedOn === undefined) this.#forget(entry);
    else void handedOn.then((done) => done && this.#forget(entry));
  }

  #deliverStored(publication: Publication, qos: 1 | 2, terms: DeliveryTerms): void {
    if (this.#behind) {
      this.#arrived = true;
      return;
    }
    if (this.#recent?.has(nameOf(publication.message, terms.sharedFilter)) === true) return;
    const { queueBytesMax } = this.#options.limits;
    if (this.#queue.length >= MEMORY_QUEUE_MAX || this.#queueBytes >= queueBytesMax) {
      this.#behind = true;
      this.#arrived = true;
      return;
    }
    this.#enqueue(publication, qos, terms, true);
  }

  #enqueue(publication: Publication, qos: 1 | 2, terms: DeliveryTerms, stored = false): void {
    const { limits, line } = this.#options;
    const full =
      this.#queue.length >= limits.queueMessagesMax || this.#queueBytes >= limits.queueBytesMax;
    if (full && !stored) {
      line.count('queue_full');
      line.fail(reasonCode.quotaExceeded, new Error('the queue of a slow client is full'));
      return;
    }
    this.#push({ publication, qos, terms, stored, state: 'queued', packetId: 0, counted: false });
    this.#pump();
  }

  #push(entry: Outgoing): void {
    this.#queue.push(entry);
    this.#queueBytes += sizeOf(entry.publication.message);
  }

  /** Sends what may be sent now. What changes meanwhile, the loop sees itself. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      do this.#pumpQueue();
      while (this.#retained !== undefined && this.#sendNextRetained());
    } finally {
      this.#pumping = false;
    }
    if (this.#behind && !this.#reading && !this.#closed && this.#queue.length === 0) {
      void this.#read();
    }
  }

  #pumpQueue(): void {
    const { line } = this.#options;
    while (this.#quota > 0 && !this.#closed && !line.congested) {
      const entry = this.#queue.shift();
      if (entry === undefined) break;
      this.#queueBytes -= sizeOf(entry.publication.message);
      this.#send(entry);
    }
  }

  #send(entry: Outgoing): void {
    const { store, clientId } = this.#options;
    const { message } = entry.publication;
    if (entry.state !== 'queued') {
      this.#sendAgain(entry, entry.state);
      return;
    }
    if (this.#isExpired(entry.publication)) {
      this.#forget(entry);
      return;
    }
    if (!this.#options.line.mayReceive(message.topic)) {
      this.#refuseEntry(entry);
      return;
    }
    entry.packetId = this.#allocatePacketId();
    this.#take(entry);
    if (!entry.stored || store === undefined) {
      this.#transmit(entry, false);
      return;
    }
    const { brokerId, brokerCounter } = message;
    const update = store.outgoingUpdate(
      { id: clientId },
      {
        messageId: entry.packetId,
        ...(brokerId !== undefined && { brokerId }),
        ...(brokerCounter !== undefined && { brokerCounter }),
      },
    );
    if (entry.qos === 1 && this.#notedFirst === 0) {
      this.#written(update);
      this.#transmit(entry, false);
      return;
    }
    // If we died between the two, a message with QoS 2 would get another packet id, and be taken for another message. Those
    // behind it wait too, for the order.
    this.#notedFirst++;
    const noted = (): void => {
      this.#notedFirst--;
      this.#transmit(entry, false);
    };
    this.#written(update, noted, entry.qos === 1 ? noted : () => this.#drop(entry));
  }

  /**
   * The store does not have a message with QoS 2 that the bus has brought: the queue was full, or an earlier connection has had the
   * message already and the bus was slow. So nobody gets it twice.
   */
  #drop(entry: Outgoing): void {
    this.#notedFirst--;
    this.#options.line.count('delivery_dropped');
    entry.stored = false;
    if (this.#inflight.get(entry.packetId) === entry) this.#settle(entry);
  }

  /** From now on it counts against the window. */
  #take(entry: Outgoing): void {
    entry.state = 'sent';
    entry.counted = true;
    this.#inflight.set(entry.packetId, entry);
    this.#quota--;
  }

  /**
   * What was sent on an earlier connection, though it has expired meanwhile.
   * @source MQTT-3.1.1 [MQTT-4.4.0-1], MQTT-5.0 [MQTT-4.4.0-1] [MQTT-4.3.3-7]
   */
  #sendAgain(entry: Outgoing, state: 'sent' | 'released'): void {
    if (state === 'released') {
      this.#release(entry);
    } else if (this.#options.line.mayReceive(entry.publication.message.topic)) {
      this.#take(entry);
      this.#transmit(entry, true);
    } else if (entry.qos === 1) {
      this.#refuseEntry(entry);
    } else {
      this.#release(entry);
    }
  }

  /**
   * Ends the exchange of a message with QoS 2. Also of one that the client must not get any more: it may have it, and would take the
   * next message with that packet id for the same.
   */
  #release(entry: Outgoing): void {
    entry.state = 'released';
    this.#inflight.set(entry.packetId, entry);
    this.#options.line.sendPubrel(entry.packetId, reasonCode.success);
  }

  /** Goes on when the store has it. "No such packet" is no failure, see `#drop`. */
  #written(write: Promise<unknown>, then?: () => void, absent = then): void {
    write.then(
      () => {
        if (!this.#closed) then?.();
      },
      (error: Error) => {
        if (this.#closed) return;
        if (isOperational(error, 'session_store_unavailable')) {
          this.#options.line.fail(reasonCode.implementationSpecificError, error);
        } else absent?.();
      },
    );
  }

  #transmit(entry: Outgoing, dup: boolean): void {
    const { line } = this.#options;
    const { publication, qos, terms, packetId } = entry;
    if (this.#inflight.get(packetId) !== entry) return; // The client has acknowledged what it was not sent.
    if (line.sendPublish(publication, qos, terms, { packetId, dup })) return;
    // MQTT-5.0 [MQTT-3.1.2-25]: as if it had been delivered.
    line.count('delivery_too_large');
    if (dup && qos === 2) this.#release(entry);
    else this.#settle(entry);
  }

  #settle(entry: Outgoing): void {
    const { store, clientId } = this.#options;
    this.#inflight.delete(entry.packetId);
    // MQTT-5.0 [MQTT-3.3.4-9]: a PUBCOMP for what an earlier connection has sent makes no room.
    if (entry.counted) this.#quota++;
    if (entry.stored && store !== undefined) {
      this.#written(store.outgoingClearMessageId({ id: clientId }, { messageId: entry.packetId }));
    }
    this.#pump();
  }

  /** Takes a message that will not be delivered out of the store. */
  #forget(entry: Outgoing): void {
    if (entry.stored) this.#takeOut(entry.publication.message);
  }

  #takeOut({ brokerId, brokerCounter }: Message): void {
    const { store, clientId } = this.#options;
    if (store === undefined || brokerId === undefined || brokerCounter === undefined) return;
    this.#written(store.removeQueued(clientId, { brokerId, brokerCounter }));
  }

  #allocatePacketId(): number {
    // Window and queue are far below 65,535, so that there is always a free one.
    while (this.#isTaken(this.#nextPacketId)) this.#advancePacketId();
    const id = this.#nextPacketId;
    this.#advancePacketId();
    return id;
  }

  #isTaken(packetId: number): boolean {
    return this.#inflight.has(packetId) || this.#sentBefore?.has(packetId) === true;
  }

  #advancePacketId(): void {
    this.#nextPacketId = this.#nextPacketId === PACKET_ID_MAX ? 1 : this.#nextPacketId + 1;
  }

  /** One page of the store; the next one when its messages have left. */
  async #read(): Promise<void> {
    const { store, clientId, line } = this.#options;
    if (store === undefined) return;
    this.#reading = true;
    this.#arrived = false;
    try {
      const page = await store.readQueue(clientId, { after: this.#cursor, limit: PAGE_LENGTH });
      if (this.#resuming) this.#sentBefore ??= await this.#idsSentBefore(store, page);
      if (!this.#closed) this.#takePage(page);
    } catch (error) {
      if (this.#closed) return;
      line.fail(reasonCode.implementationSpecificError, error as Error); // Of the store's contract.
      return;
    } finally {
      this.#reading = false;
    }
    this.#pump();
  }

  /**
   * The packet ids of everything in the queue that was sent before. Nothing new may get one of them, though it comes first: nodes
   * that publish at the same time may have been heard in another order than the store has them.
   */
  async #idsSentBefore(
    store: SessionStore,
    firstPage: readonly QueueEntry[],
  ): Promise<Set<number>> {
    const { clientId } = this.#options;
    const ids = new Set<number>();
    let page = firstPage;
    for (;;) {
      for (const { messageId } of page) if (messageId !== undefined) ids.add(messageId);
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_LENGTH || this.#closed) return ids;
      page = await store.readQueue(clientId, { after: last.position, limit: PAGE_LENGTH });
    }
  }

  #takePage(page: readonly QueueEntry[]): void {
    if (page.length === 0 && !this.#arrived) {
      this.#goLive();
      return;
    }
    const known = this.#namesHere();
    this.#cursor = page.at(-1)?.position ?? this.#cursor;
    for (const entry of this.#resuming ? sentFirst(page) : page) {
      // It is what the kernel made of a message.
      const name = nameOf(entry.packet as Message, entry.sharedFilter);
      // What was sent on this connection is here, or has been acknowledged since the store was read.
      if (known.has(name) || (entry.state !== 'queued' && !this.#resuming)) continue;
      if (entry.qos === 0) continue;
      this.#remember(name);
      this.#push(outgoingOf(entry, entry.qos));
    }
  }

  #namesHere(): Set<string> {
    return new Set([...this.#inflight.values(), ...this.#queue].map(nameOfEntry));
  }

  /** Nothing is left in the store that is not here. */
  #goLive(): void {
    this.#behind = false;
    this.#resuming = false;
    this.#sentBefore = undefined;
    this.#heldBytes = 0;
    for (const { publication, terms } of this.#heldQos0.splice(0)) {
      this.#sendQos0(publication, terms);
    }
  }

  #remember(key: string): void {
    this.#recentUntil = 0;
    this.#recent ??= new Set();
    if (this.#recent.size >= RECENT_KEYS_MAX) {
      const oldest = this.#recent.values().next();
      if (oldest.done !== true) this.#recent.delete(oldest.value);
    }
    this.#recent.add(key);
  }

  /** Whether there was one to send, and the client takes it now. */
  #sendNextRetained(): boolean {
    const next = this.#retained?.peek();
    if (next === undefined) {
      this.#dropRetainedIfDone();
      return false;
    }
    const { message, terms } = next;
    const { line } = this.#options;
    const qos = message.qos < terms.qos ? message.qos : terms.qos;
    const room = this.#quota - this.#retainedUnderWay.length;
    if (this.#closed || this.#behind || line.congested || (qos > 0 && room <= 0)) return false;
    this.#retained?.take();
    const publication = new Publication(this.#options.renamed(message));
    if (qos === 0) this.#sendQos0(publication, terms);
    else this.#sendRetained(publication, qos, terms);
    return true;
  }

  #outdateRetained(retained: RetainedBacklog, topic: string): void {
    retained.outdate(topic);
    for (const one of this.#retainedUnderWay) if (one.topic === topic) one.outdated = true;
  }

  #dropRetainedIfDone(): void {
    if (this.#retained?.isEmpty !== true || this.#retainedUnderWay.length > 0) return;
    this.#retained = undefined;
  }

  /** A stored session's are queued in the store first, as if they had just been published to it. */
  #sendRetained(publication: Publication, qos: 1 | 2, terms: DeliveryTerms): void {
    const { store, clientId } = this.#options;
    if (store === undefined) {
      this.#push({
        publication,
        qos,
        terms,
        stored: false,
        state: 'queued',
        packetId: 0,
        counted: false,
      });
      return;
    }
    const identifier = terms.identifiers?.[0];
    const subscription = {
      clientId,
      qos,
      rap: true,
      ...(identifier !== undefined && { subscriptionIdentifier: identifier }),
    };
    const underWay = { topic: publication.message.topic, outdated: false };
    this.#retainedUnderWay.push(underWay);
    this.#written(store.outgoingEnqueueCombi([subscription], publication.message), () => {
      this.#retainedUnderWay.splice(this.#retainedUnderWay.indexOf(underWay), 1);
      if (underWay.outdated) this.#takeOut(publication.message);
      else this.#deliverStored(publication, qos, terms);
      this.#pump();
    });
  }
}

/** What was sent before goes first: those are the oldest, but for messages that were heard in another order than they were stored. */
function sentFirst(page: readonly QueueEntry[]): readonly QueueEntry[] {
  const sent = page.filter(({ state }) => state !== 'queued');
  return [...sent, ...page.filter(({ state }) => state === 'queued')];
}

function outgoingOf(entry: QueueEntry, qos: 1 | 2): Outgoing {
  const { packet, state, messageId, subscriptionIdentifiers, sharedFilter } = entry;
  const { retainAsPublished } = entry;
  const identifiers = subscriptionIdentifiers.length > 0 ? subscriptionIdentifiers : undefined;
  // The kernel's packet has the fields of the message that it was made from; of a released one the store may have kept the name only.
  const stored = { topic: '', payload: NOTHING, ...packet } as Message;
  const { routing, ...properties } = stored.properties ?? {};
  const message = routing === undefined ? stored : { ...stored, properties };
  return {
    publication: new Publication(message),
    qos,
    terms: { qos, retainAsPublished, identifiers, sharedFilter, refusedAt: routing?.refusedAt },
    stored: true,
    state,
    packetId: messageId ?? 0,
    counted: false,
  };
}
