import type { Duplex } from 'node:stream';
import type {
  CloseSession,
  OpenedSession,
  OpenSession,
  SessionStore,
} from '@sallyport/session-store';
import { type ReasonCode, reasonCode } from './codec/index.ts';
import { type Agreement, Connection, type EndKind } from './connection/connection.ts';
import { keptProperties } from './connection/inbound.ts';
import { Flusher } from './connection/output.ts';
import { DueWork } from './due-work.ts';
import type {
  AcceptedClient,
  ConnectedClient,
  ConnectVerdict,
  EngineObserver,
  MqttHooks,
  MqttKernel,
  Origin,
} from './hooks.ts';
import type { MqttLimits } from './limits.ts';
import type { Message, MessageProperties, Routing, SharedTarget } from './message.ts';
import { Router, type Subscription } from './routing/router.ts';
import { type Orphan, Sharing } from './routing/sharing.ts';
import { Takeovers } from './takeovers.ts';
import { Outbound } from './session/outbound.ts';
import { Publication } from './session/publication.ts';
import { Session } from './session/session.ts';

/** How often time limits of connections are looked at. */
const SWEEP_INTERVAL_MS = 250;

export interface EngineOptions {
  /** The name of the node, the same after a restart. */
  readonly nodeId: string;
  readonly limits: MqttLimits;
  readonly store: SessionStore;
  readonly kernel: MqttKernel;
  readonly hooks: MqttHooks;
  readonly observer: EngineObserver;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

type Accepted = Extract<ConnectVerdict, { accepted: true }>;

/** The will of a connection that has ended. */
interface DueWill {
  readonly message: Message;
  readonly delaySeconds: number;
  /** See `CloseSession`. */
  readonly holdSeconds: number;
}

/** An accepted client, and what it is to be told. */
export interface Newcomer {
  readonly connection: Connection;
  readonly agreement: Agreement;
  readonly verdict: Accepted;
  readonly connack: (sessionPresent: boolean) => Buffer;
}

/** What a connection is opened with. */
interface Admission {
  readonly connack: Buffer;
  readonly subscriptions: readonly Subscription[];
}

/** A client id that is being taken. */
interface Claim {
  /** The highest epoch of a newcomer on another node. */
  overtakenBy: number;
  settled: Promise<void>;
}

const NOWHERE: readonly string[] = [];
const NO_TARGETS: readonly SharedTarget[] = [];
const NOTHING_LEFT = Promise.resolve();
const NO_ORPHANS: readonly Orphan[] = [];

/** All MQTT connections and sessions of a node. Speaks to whatever is a stream; knows no sockets. */
export class Engine implements AsyncDisposable {
  readonly limits: MqttLimits;
  readonly store: SessionStore;
  readonly hooks: MqttHooks;
  readonly observer: EngineObserver;
  readonly clock: () => number;
  readonly flusher = new Flusher();
  readonly #nodeId: string;
  readonly #kernel: MqttKernel;
  readonly #router = new Router<Session>();
  readonly #sharing: Sharing;
  readonly #takeovers: Takeovers;
  readonly #dueWork: DueWork;
  readonly #sessions = new Map<string, Session>();
  readonly #connections = new Set<Connection>();
  /** Client ids that are being taken, so that two connections with one id follow each other. */
  readonly #claims = new Map<string, Claim>();
  /** Of connections that have ended, while the last writes for their sessions are under way. */
  readonly #endings = new Map<string, Promise<void>>();
  readonly #published = (error?: Error | null): void => {
    if (error != null) this.observer.problem(error);
  };
  readonly #renamed = (message: Message): Message => ({
    ...message,
    retain: true,
    brokerId: this.#kernel.brokerId,
    brokerCounter: this.#kernel.nextCounter(),
  });
  #sweep: NodeJS.Timeout | undefined;
  /** Milliseconds for which nobody was read, and since when that is so again; 0 = it is not. */
  #unreadMs = 0;
  #unreadSince = 0;
  #closing = false;

  constructor(options: EngineOptions) {
    this.limits = options.limits;
    this.store = options.store;
    this.hooks = options.hooks;
    this.observer = options.observer;
    this.clock = options.clock;
    this.#nodeId = options.nodeId;
    this.#kernel = options.kernel;
    const { store, kernel, observer, clock, hooks } = options;
    this.#sharing = new Sharing({
      groups: this.#router.groups,
      sessions: this.#sessions,
      store,
      kernel,
      hooks,
      observer,
    });
    this.#takeovers = new Takeovers({
      nodeId: options.nodeId,
      kernel,
      disconnect: (clientId, epoch, over) => this.#giveUp(clientId, epoch, over),
      end: (clientId) => this.#end(clientId),
    });
    this.#dueWork = new DueWork({
      store,
      hooks,
      observer,
      clock,
      publish: (message) => this.#publishWill(message),
      handOn: (clientId) => this.#sharing.handOnStored(clientId),
    });
  }

  /** Takes up what a former run of this node left behind, and begins to look at the time. */
  async start(): Promise<void> {
    await this.store.recoverSessions({ nodeId: this.#nodeId, now: this.clock() });
    this.#sweep = setInterval(() => {
      const now = this.now();
      for (const connection of this.#connections) connection.sweep(now);
    }, SWEEP_INTERVAL_MS);
    this.#dueWork.start();
    this.#sharing.start();
  }

  /** Milliseconds of a clock that never goes back; for limits of time. */
  now(): number {
    return performance.now();
  }

  /** Whoever has the sockets reads nobody for a while: until `readsAll`, what is not heard is no silence of a client's. */
  readsNobody(): void {
    if (this.#unreadSince === 0) this.#unreadSince = this.now();
  }

  /** All are read again. */
  readsAll(): void {
    this.#unreadMs = this.unreadMsUntil(this.now());
    this.#unreadSince = 0;
  }

  /** For how many milliseconds nobody was read until `now`, since the start. A whole number. */
  unreadMsUntil(now: number): number {
    if (this.#unreadSince === 0) return this.#unreadMs;
    return this.#unreadMs + Math.round(now - this.#unreadSince);
  }

  /** Open connections, those without a CONNECT included. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Sessions of clients that are connected. */
  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Clients that are connected now, in no order. */
  *connected(): Iterable<ConnectedClient> {
    for (const session of this.#sessions.values()) yield connectedClient(session);
  }

  connectedAs(clientId: string): ConnectedClient | undefined {
    const session = this.#sessions.get(clientId);
    return session && connectedClient(session);
  }

  /** Speaks MQTT on the stream until it ends. */
  accept(stream: Duplex, origin: Origin): AcceptedClient {
    const connection = new Connection(this, stream, origin);
    this.#connections.add(connection);
    return connection;
  }

  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }

  // Sessions come and go.

  /**
   * Makes or resumes the session of an accepted client, and opens the connection with the CONNACK. Sees to it that `hooks.ended` is
   * called, whatever becomes of it. Undefined when all is done: most clients take nobody's place and leave nothing behind, and when
   * very many come at once, waiting costs more than everything else.
   * @throws OperationalError `session_store_unavailable`, in the promise, before anything was sent
   */
  establish(newcomer: Newcomer): Promise<void> | undefined {
    const { connection, agreement } = newcomer;
    const { clientId } = agreement;
    const isTaken =
      this.#claims.has(clientId) || this.#sessions.has(clientId) || this.#endings.has(clientId);
    if (isTaken || connection.closed || this.#closing || this.store.isShareMember(clientId)) {
      return this.#establishInTurn(newcomer);
    }
    const opened = this.#open(newcomer);
    if (opened instanceof Promise || opened.present || opened.previousNodeId !== undefined) {
      return this.#establishInTurn(newcomer, opened);
    }
    const session = this.#sessionOf(newcomer, opened);
    try {
      void this.#takeovers.claim(clientId, opened);
      this.#begin(session, agreement, newcomer.connack(false));
      return undefined;
    } catch (error) {
      return this.#fail(session, agreement, error);
    }
  }

  /** `opened`: what the store has answered, or will; when nobody has the client id it was asked at once. */
  async #establishInTurn(
    newcomer: Newcomer,
    opened?: OpenedSession | Promise<OpenedSession>,
  ): Promise<void> {
    const { clientId } = newcomer.agreement;
    for (let before; (before = this.#claims.get(clientId)) !== undefined;) await before.settled;
    const claim: Claim = { overtakenBy: 0, settled: NOTHING_LEFT };
    this.#claims.set(clientId, claim);
    const established = this.#establish(newcomer, claim, opened);
    claim.settled = established.then(
      () => undefined,
      () => undefined,
    );
    try {
      await established;
    } finally {
      this.#claims.delete(clientId);
    }
  }

  async #establish(
    newcomer: Newcomer,
    claim: Claim,
    asked: OpenedSession | Promise<OpenedSession> | undefined,
  ): Promise<void> {
    const { connection, agreement, connack } = newcomer;
    const opened = await this.#take(newcomer, asked);
    if (opened === undefined) return;
    const session = this.#sessionOf(newcomer, opened);
    let admission: Admission;
    try {
      admission = await this.#prepare(session, opened, connack, claim);
    } catch (error) {
      return this.#fail(session, agreement, error);
    }
    if (connection.closed || this.#closing || claim.overtakenBy > opened.epoch) {
      // It went while we were asking, and was never told that it had come.
      if (!connection.closed) connection.refuse(undefined);
      await this.endSession(session, agreement, 'unopened');
      return;
    }
    this.#begin(session, agreement, admission.connack);
    const subscribed = this.route(session, admission.subscriptions);
    if (opened.present) session.outbound.resume(subscribed);
  }

  #begin(session: Session, agreement: Agreement, connack: Buffer): void {
    const { clientId, connection } = session;
    this.#sessions.set(clientId, session);
    connection.open(agreement, session);
    connection.send(connack);
  }

  /** The session could not begin. */
  async #fail(session: Session, agreement: Agreement, error: unknown): Promise<void> {
    await this.endSession(session, agreement, 'unopened');
    throw error;
  }

  /**
   * Undefined when the connection has gone before its turn has come: whoever has the client id keeps it.
   * @param asked the store's answer, when it was asked already
   */
  async #take(
    newcomer: Newcomer,
    asked: OpenedSession | Promise<OpenedSession> | undefined,
  ): Promise<OpenedSession | undefined> {
    const { connection, agreement, verdict } = newcomer;
    const { clientId } = agreement;
    try {
      if (asked !== undefined) return await asked;
      if (!connection.closed && !this.#closing) {
        await this.#sessions.get(clientId)?.connection.disconnect(reasonCode.sessionTakenOver);
        await this.#endings.get(clientId);
        if (!connection.closed) {
          await this.#leaveGroups(newcomer);
          return await this.#open(newcomer);
        }
      }
    } catch (error) {
      this.hooks.ended(connection, verdict.rights);
      throw error;
    }
    if (!connection.closed) connection.refuse(undefined);
    this.hooks.ended(connection, verdict.rights);
    return undefined;
  }

  /**
   * What waits for share groups in a session that the newcomer does not go on with would be forgotten with it. While its client is
   * connected to another node, only that knows what the client has been sent: it ends the session.
   * @source MQTT-5.0 §4.8.2
   */
  async #leaveGroups({ agreement, verdict }: Newcomer): Promise<void> {
    const { clientId, packet } = agreement;
    if (!this.store.isShareMember(clientId)) return;
    const known = packet.cleanStart ? undefined : await this.store.sessionRecord(clientId);
    const { owner, endsAt = Infinity } = known ?? {};
    if (owner === verdict.owner && endsAt > this.clock()) return;
    const brokerId = await this.#sharing.nodeOf(clientId);
    // A node that does not answer hands on what it has at hand, once it hears that the session is over.
    if (brokerId === undefined || (await this.#takeovers.endElsewhere(clientId, brokerId))) {
      await this.#sharing.handOnStored(clientId);
    }
  }

  /** The session of a client ends, because it begins anew on another node. Resolves when the last write for it is done. */
  async #end(clientId: string): Promise<void> {
    await this.#sessions.get(clientId)?.connection.dismiss(reasonCode.sessionTakenOver);
    await this.#endings.get(clientId);
  }

  /** Takes the client id in the store. Whatever goes wrong is in the promise. */
  #open({ agreement, verdict }: Newcomer): OpenedSession | Promise<OpenedSession> {
    try {
      return this.store.openSession(this.#opening(agreement, verdict));
    } catch (error) {
      const failure = error as Error; // A store throws nothing else.
      return Promise.reject(failure);
    }
  }

  #sessionOf(
    { connection, agreement, verdict: { rights } }: Newcomer,
    { present, epoch }: OpenedSession,
  ): Session {
    const { clientId, expirySeconds } = agreement;
    return new Session({
      clientId,
      connection,
      stored: expirySeconds > 0 || present,
      epoch,
      rights,
      connectedAt: this.clock(),
      makeOutbound: (one) => this.#outboundOf(one, agreement),
    });
  }

  /** Everything that has to be there before the connection is opened. */
  async #prepare(
    session: Session,
    opened: OpenedSession,
    connack: (sessionPresent: boolean) => Buffer,
    { overtakenBy }: Claim,
  ): Promise<Admission> {
    const { present, epoch } = opened;
    if (overtakenBy < epoch) await this.#takeovers.claim(session.clientId, opened);
    return {
      connack: connack(present),
      subscriptions: present ? await this.#restore(session) : [],
    };
  }

  #opening(agreement: Agreement, { owner, principal }: Accepted): OpenSession {
    const { packet, clientId, expirySeconds } = agreement;
    const { will, cleanStart } = packet;
    const nodeId = this.#nodeId;
    const now = this.clock();
    const opening = { clientId, owner, principal, expirySeconds, nodeId, cleanStart, now };
    if (will === undefined) return opening;
    return {
      ...opening,
      will: { ...willMessage(agreement), cmd: 'publish' },
      willDelaySeconds: will.properties?.willDelayInterval ?? 0,
    };
  }

  /** What a stored session had: those of its subscriptions that it may still have, and its half-done QoS 2 packets. */
  async #restore(session: Session): Promise<Subscription[]> {
    const client = { id: session.clientId };
    const [stored, incoming] = await Promise.all([
      this.store.subscriptionsByClient(client),
      this.store.incomingIds(session.clientId),
    ]);
    for (const id of incoming) session.incomingIds.add(id);
    const { kept, lost } = this.#sharing.restored(stored, session.rights);
    if (lost.length > 0) await this.store.removeSubscriptions(client, lost);
    return kept;
  }

  #outboundOf(session: Session, agreement: Agreement): Outbound {
    return new Outbound({
      clientId: session.clientId,
      line: session.connection,
      store: session.stored ? this.store : undefined,
      window: Math.min(agreement.receiveMax, this.limits.outboundInflightMax),
      limits: this.limits,
      clock: this.clock,
      renamed: this.#renamed,
      refused: (orphan, refusedAt) => this.#sharing.refused(orphan, session.clientId, refusedAt),
    });
  }

  /**
   * The connection of a session has ended. Everything that needs no store happens at once; resolves when the last write for the
   * session is done. Undefined when there is none. Never rejects.
   */
  endSession(session: Session, agreement: Agreement, kind: EndKind): Promise<void> | undefined {
    const { clientId, connection, rights, stored } = session;
    if (this.#sessions.get(clientId) === session) this.#sessions.delete(clientId);
    if (session.subscriptions.size > 0) this.unroute(session, [...session.subscriptions.keys()]);
    const orphans = session.outboundIfAny?.close() ?? NO_ORPHANS;
    const will = dueWill(agreement, kind, this.limits);
    const mourned = will && permitted(will, session);
    this.hooks.ended(connection, rights);
    if ((!stored || session.isOver) && orphans.length > 0) this.#sharing.handOn(orphans, clientId);
    if (!stored && agreement.packet.will === undefined) return undefined;
    const ending = this.#conclude(session, agreement, mourned).finally(() => {
      if (this.#endings.get(clientId) === ending) this.#endings.delete(clientId);
    });
    this.#endings.set(clientId, ending);
    return ending;
  }

  /** What a publish that is under way writes comes before the session is closed, and the will behind what was published. */
  async #conclude(
    session: Session,
    agreement: Agreement,
    will: DueWill | undefined,
  ): Promise<void> {
    await session.connection.publishesDone();
    const waits = will !== undefined && will.delaySeconds + will.holdSeconds > 0;
    const later = waits && !session.isOver;
    if (will !== undefined && !later) await this.#publishWill(will.message);
    const { expirySeconds } = agreement;
    const now = this.clock();
    const kept = later
      ? ({ will: 'keep', holdWillSeconds: will.holdSeconds } as const)
      : ({ will: 'discard' } as const);
    const close = () => this.#closeStored(session, { now, expirySeconds, ...kept });
    try {
      await close();
    } catch (error) {
      this.observer.problem(error as Error); // Of the store's contract.
      this.#dueWork.repeat(close);
    }
  }

  async #closeStored(
    { clientId, stored, epoch }: Session,
    closing: Omit<CloseSession, 'clientId' | 'epoch'>,
  ): Promise<void> {
    if (stored && closing.expirySeconds === 0) await this.#sharing.handOnStored(clientId);
    await this.store.closeSession({ clientId, epoch, ...closing });
  }

  /** Another node has the client now. Resolves when the last write for the session is done. */
  async #giveUp(clientId: string, epoch: number, over: boolean): Promise<void> {
    const claim = this.#claims.get(clientId);
    if (claim !== undefined) {
      // One that is just coming must come, or be sent away, before it can go; it waits for nobody with a higher epoch.
      claim.overtakenBy = Math.max(claim.overtakenBy, epoch);
      this.#takeovers.overtaken(clientId, epoch);
      await claim.settled;
    }
    const session = this.#sessions.get(clientId);
    if (session === undefined) await this.#endings.get(clientId);
    if (session === undefined || session.epoch >= epoch) return;
    session.isOver = over;
    await session.connection.disconnect(reasonCode.sessionTakenOver);
  }

  // Subscriptions.

  /** From the moment at which this resolves, messages of every node reach the session. */
  async route(session: Session, subscriptions: readonly Subscription[]): Promise<void> {
    if (subscriptions.length === 0) return;
    const wanted: Promise<void>[] = [];
    for (const subscription of subscriptions) {
      const { topicFilter, filter, shared } = subscription;
      const isNew = !session.subscriptions.has(topicFilter);
      session.setSubscription(subscription);
      if (shared) this.#sharing.join(session, subscription);
      else this.#router.add(session, subscription);
      if (isNew) wanted.push(new Promise((resolve) => this.#kernel.want(filter, resolve)));
    }
    await Promise.all(wanted);
  }

  /** Nothing new comes from these any more; what waits for a share group goes to its other members. */
  unroute(session: Session, topicFilters: readonly string[]): void {
    const { clientId, connection } = session;
    for (const topicFilter of topicFilters) {
      const subscription = session.subscriptions.get(topicFilter);
      if (subscription === undefined) continue;
      session.deleteSubscription(topicFilter);
      this.#kernel.unwant(subscription.filter);
      if (!subscription.shared) {
        this.#router.remove(session, subscription.filter);
        continue;
      }
      this.#sharing.leave(session, topicFilter);
      if (connection.closed) continue;
      this.#sharing.handOn(session.outboundIfAny?.leaveGroup(topicFilter) ?? [], clientId);
    }
  }

  async sendRetained(session: Session, subscriptions: readonly Subscription[]): Promise<void> {
    const { outbound, clientId } = session;
    for (const { filter, qos, identifier, noLocal } of subscriptions) {
      const identifiers = identifier === undefined ? undefined : [identifier];
      const batch = outbound.expectRetained({ qos, retainAsPublished: true, identifiers });
      const found = await this.store.retainedMessages([filter], this.clock());
      if (session.connection.closed) return;
      // MQTT-5.0 [MQTT-3.8.3-3]
      const wanted = noLocal ? found.filter((packet) => packet.clientId !== clientId) : found;
      // What was retained is what the kernel made of a message.
      outbound.deliverRetained(batch, wanted as readonly Message[]);
    }
  }

  // Messages.

  /** A message with QoS 0 that is not retained: nobody waits for it. */
  publishAtOnce(message: Message): void {
    this.#kernel.publish(this.#addressed(message), undefined, this.#published);
  }

  publish(
    message: Message,
    incoming: { readonly clientId: string; readonly messageId: number } | undefined,
    done: (error?: Error | null) => void,
  ): void {
    this.#kernel.publish(this.#addressed(message), incoming, done);
  }

  /** Why a message cannot be retained, or undefined. An empty one always can: it takes away. */
  retainProblem(
    topic: string,
    payload: Buffer,
  ): ReasonCode | undefined | Promise<ReasonCode | undefined> {
    const { retainedPayloadBytesMax, retainedMessagesMax } = this.limits;
    if (payload.length === 0) return undefined;
    if (payload.length > retainedPayloadBytesMax) return reasonCode.quotaExceeded;
    return this.store.retainedCount < retainedMessagesMax ? undefined : this.#replaceProblem(topic);
  }

  /** When there are as many as there may be: only what takes the place of another one can be retained. */
  async #replaceProblem(topic: string): Promise<ReasonCode | undefined> {
    const there = await this.store.retainedMessages([topic], this.clock());
    return there.length > 0 ? undefined : reasonCode.quotaExceeded;
  }

  /** Says who of each share group gets the message. */
  #addressed(message: Message): Message {
    const { groups } = this.#router.plan(message.topic);
    const targets = this.#sharing.pick(message, groups);
    if (targets.length === 0) return message;
    const properties: MessageProperties = { ...message.properties, routing: { targets } };
    return { ...message, properties };
  }

  /**
   * Members of share groups that a message, with its targets picked, is to be stored for besides, once every subscription that was
   * acknowledged before it came is known here. They are to travel with it as targets.
   */
  lateTargets(message: Message): readonly SharedTarget[] {
    return this.#sharing.pickLate(message, message.properties?.routing?.targets ?? NO_TARGETS);
  }

  /** A will that cannot be retained is published all the same. Never rejects. */
  async #publishWill(will: Message): Promise<void> {
    try {
      const problem = will.retain ? await this.retainProblem(will.topic, will.payload) : undefined;
      const message = expiring(will, this.clock());
      await this.#publishAndWait(problem === undefined ? message : { ...message, retain: false });
    } catch (error) {
      this.observer.problem(error as Error); // Of the kernel, or of the store's contract.
    }
  }

  #publishAndWait(message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      this.publish(message, undefined, (error) => (error == null ? resolve() : reject(error)));
    });
  }

  /** A message that reached this node, from any node: each once. */
  receive(message: Message): void {
    const routing = message.properties?.routing;
    const publication = new Publication(routing === undefined ? message : withoutRouting(message));
    if (routing?.targetsOnly !== true) this.#deliver(publication, routing?.targets ?? NO_TARGETS);
    if (routing !== undefined) this.#deliverShared(publication, routing);
  }

  #deliver(publication: Publication, targets: readonly SharedTarget[]): void {
    const { message } = publication;
    const { topic, clientId } = message;
    const { deliveries, groups } = this.#router.plan(topic);
    for (const delivery of deliveries) {
      const { subscriber } = delivery;
      if (subscriber.clientId !== clientId) subscriber.outbound.deliver(publication, delivery);
      // MQTT-5.0 [MQTT-3.8.3-3]
      else if (!delivery.noLocal) {
        subscriber.outbound.deliver(publication, delivery.own ?? delivery);
      }
    }
    if (groups.length > 0 && message.brokerId !== this.#kernel.brokerId) {
      this.#sharing.pickUnheard(message, groups, targets);
    }
  }

  #deliverShared(publication: Publication, { targets, refusedAt = NOWHERE }: Routing): void {
    for (const target of targets) {
      const delivery = this.#sharing.deliveryFor(target, publication.message);
      if (delivery === 'elsewhere') continue;
      if (delivery === 'left') {
        this.#sharing.handOnLeft(target, publication.message);
      } else {
        const { session, terms } = delivery;
        session.outbound.deliver(publication, { ...terms, refusedAt });
      }
    }
  }

  /** A message from node to node; see `MqttKernel.signal`. */
  signalled(brokerId: string, topic: string, payload: string): void {
    this.#sharing.signalled(brokerId, topic, payload);
    this.#takeovers.signalled(topic, payload);
  }

  /** The node has died: its clients are nobody's members any more. */
  nodeGone(brokerId: string): void {
    this.#sharing.nodeGone(brokerId);
  }

  /** The bus has had a gap: what was stored meanwhile for clients that are connected here is looked for. */
  catchUp(): void {
    for (const session of this.#sessions.values()) {
      if (session.stored) session.outbound.catchUp();
    }
  }

  // The end.

  /**
   * Says goodbye to everybody. Wills are not published: the clients come back on another node at once, and their peers must not take
   * maintenance for a failure.
   */
  async closeAll(): Promise<void> {
    this.#closing = true;
    const open = [...this.#connections];
    await Promise.all(open.map((one) => one.disconnect(reasonCode.serverShuttingDown)));
    // Those that were just coming are sent away; those that had just gone write their last.
    await Promise.all([...this.#claims.values()].map(({ settled }) => settled));
    await Promise.all(this.#endings.values());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeAll();
    clearInterval(this.#sweep);
    this.#takeovers.close();
    await this.#dueWork[Symbol.asyncDispose]();
  }
}

function connectedClient({ connection, connectedAt, rights }: Session): ConnectedClient {
  const keepAliveSeconds = connection.agreement?.keepAliveSeconds ?? 0;
  return { client: connection, keepAliveSeconds, connectedAt, rights };
}

/** As clients may see it. */
function withoutRouting({ properties, ...message }: Message): Message {
  const { routing: _, ...others } = properties ?? {};
  return Object.keys(others).length === 0 ? message : { ...message, properties: others };
}

/** The will as the message that it becomes, under the topic that its client names. @source MQTT-5.0 §3.1.3.2 */
function willMessage({ packet, clientId }: Agreement): Message {
  const { will } = packet;
  if (will === undefined) throw new TypeError('no will');
  const { topic, payload, qos, retain, properties } = will;
  const kept = properties === undefined ? undefined : keptProperties(properties);
  const { messageExpiryInterval } = properties ?? {};
  const all = messageExpiryInterval === undefined ? kept : { ...kept, messageExpiryInterval };
  return { topic, payload, qos, retain, clientId, ...(all !== undefined && { properties: all }) };
}

/** The will as its rights have it now, under the topic that it is published under; undefined when it may not be. */
function permitted(will: DueWill, session: Session): DueWill | undefined {
  const { message } = will;
  const topic = session.publishedTopic(message.topic);
  if (topic === undefined || !session.mayPublish(topic, message.qos, message.retain)) {
    return undefined;
  }
  return { ...will, message: { ...message, topic } };
}

/** The will that is to be published now or later. A delay never outlasts the session. @source MQTT-5.0 §3.1.3.2.2 */
function dueWill(
  agreement: Agreement,
  kind: EndKind,
  { shutdownWillSeconds }: MqttLimits,
): DueWill | undefined {
  const { will } = agreement.packet;
  if (will === undefined || kind === 'goodbye' || kind === 'unopened') return undefined;
  const delay = will.properties?.willDelayInterval ?? 0;
  const delaySeconds = Math.min(delay, agreement.expirySeconds);
  // MQTT-5.0 §3.1.2.5: a server that shuts down may defer wills.
  const holdSeconds = kind === 'shutdown' ? shutdownWillSeconds : 0;
  return { message: willMessage(agreement), delaySeconds, holdSeconds };
}

/** The time of a will begins when it is published. @source MQTT-5.0 §3.1.3.2.4 */
function expiring(will: Message, now: number): Message {
  const { messageExpiryInterval, ...properties } = will.properties ?? {};
  if (messageExpiryInterval === undefined) return will;
  return { ...will, properties, messageExpiry: now + messageExpiryInterval * 1000 };
}
