import type { Duplex } from 'node:stream';
import {
  type AckPacket,
  type AuthPacket,
  type ClientPacket,
  type ConnectPacket,
  type DisconnectPacket,
  encodeAck,
  encodeDisconnect,
  encodePingresp,
  encodePublish,
  PacketDecoder,
  ProtocolError,
  type ProtocolVersion,
  type PublishPacket,
  type Qos,
  type ReasonCode,
  reasonCode,
  withPacketId,
} from '../codec/index.ts';
import type { Engine } from '../engine.ts';
import type { AcceptedClient, EngineEvent, Origin } from '../hooks.ts';
import type { Message } from '../message.ts';
import type { DeliveryTerms, Line } from '../session/outbound.ts';
import type { Publication } from '../session/publication.ts';
import type { Session } from '../session/session.ts';
import { Handshake } from './handshake.ts';
import { Inbound } from './inbound.ts';
import { Output } from './output.ts';
import { PublishRate, ratesOf } from './publish-rate.ts';
import { ReAuthentication } from './re-authentication.ts';
import { subscribe, unsubscribe } from './subscribing.ts';
import { TopicAliases } from './topic-aliases.ts';

/** What may be sent to a client before its keep alive runs out, as the standards have it: one and a half times as long. */
const KEEP_ALIVE_FACTOR = 1.5;

/** Longest time that a timer takes; a longer one is over at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** How long a socket may take to close after we have said goodbye. */
const CLOSE_TIMEOUT_MS = 2000;

/** What the CONNECT of an accepted client said, and what was agreed. */
export interface Agreement {
  /** The password is nobody's business any more. */
  readonly packet: Omit<ConnectPacket, 'password'>;
  /** Not empty. */
  readonly clientId: string;
  /** 0 = none. */
  readonly keepAliveSeconds: number;
  /** 0 = the session ends with the connection. */
  readonly expirySeconds: number;
  /** Largest packet that the client takes, in bytes. */
  readonly packetBytesMax: number;
  readonly receiveMax: number;
  readonly topicAliasMax: number;
}

const DONE = Promise.resolve();

/** `shutdown`: the node stops. `unopened`: the client was never told that it is connected. */
export type EndKind = 'goodbye' | 'goodbye_with_will' | 'broken' | 'shutdown' | 'unopened';

/**
 * One MQTT connection: bytes in, bytes out. Packets are handled one after the other; one that has to wait for a store holds up those
 * behind it, and in time the socket, but nobody else.
 */
export class Connection implements AcceptedClient, Line {
  readonly origin: Origin;
  readonly engine: Engine;
  readonly #stream: Duplex;
  readonly #decoder: PacketDecoder;
  readonly #output: Output;
  #handshake: Handshake | undefined;
  #agreement: Agreement | undefined;
  #session: Session | undefined;
  #inbound: Inbound | undefined;
  #aliases: TopicAliases | undefined;
  #publishRates: readonly PublishRate[] | undefined;
  #reAuthentication: ReAuthentication | undefined;
  #heardAt: number;
  /** Of `Engine.unreadMsUntil`, at that time. */
  #heardAtUnreadMs: number;
  /** When the connection must be over or open, in milliseconds of the engine's clock; 0 = no such time. */
  #deadline: number;
  /** By the keep alive, 0 = any. Here, because this is looked at for all connections again and again. */
  #silenceMsMax = 0;
  #waiting = 0;
  #processing = false;
  #paused = false;
  #closed = false;
  #ending: Promise<void> | undefined;

  constructor(engine: Engine, stream: Duplex, origin: Origin) {
    this.engine = engine;
    this.origin = origin;
    this.#stream = stream;
    this.#decoder = new PacketDecoder(engine.limits);
    const { socketBufferBytesMax } = engine.limits;
    this.#output = new Output(stream, engine.flusher, socketBufferBytesMax, () => this.#onRoom());
    this.#handshake = new Handshake(this);
    this.#heardAt = engine.now();
    this.#heardAtUnreadMs = engine.unreadMsUntil(this.#heardAt);
    this.#deadline = this.#heardAt + engine.limits.connectTimeoutMs;
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('drain', () => this.#onDrain());
    const left = (): void => this.#onLeft();
    stream.on('error', left);
    stream.on('end', left);
    stream.on('close', () => this.#onClose());
  }

  get clientId(): string {
    return this.#agreement?.clientId ?? this.#handshake?.clientId ?? '';
  }

  /** MQTT 3.1.1 as long as it is not known. */
  get version(): ProtocolVersion {
    return this.#decoder.version ?? 4;
  }

  get agreement(): Agreement | undefined {
    return this.#agreement;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether the protocol version of the CONNECT was one of ours. */
  get versionKnown(): boolean {
    return this.#decoder.version !== undefined;
  }

  // What the session sends. `Line`.

  get congested(): boolean {
    return this.#output.congested;
  }

  mayReceive(topic: string): boolean {
    const allowed = this.#session?.mayReceive(topic) === true;
    if (!allowed) this.count('delivery_denied');
    return allowed;
  }

  count(event: EngineEvent): void {
    this.engine.observer.count(event);
  }

  fail(reason: ReasonCode, error: Error): void {
    this.engine.observer.clientError(this, error);
    void this.disconnect(reason);
  }

  sendPublish(
    publication: Publication,
    qos: Qos,
    terms: DeliveryTerms,
    identity?: { readonly packetId: number; readonly dup: boolean },
  ): boolean {
    const packetBytesMax = this.#agreement?.packetBytesMax ?? 0;
    let bytes = this.#encode(publication, qos, terms, identity);
    if (bytes.length > packetBytesMax && this.#aliases !== undefined) {
      const { message } = publication;
      this.#aliases.forget(message.topic);
      // The bytes that tell of a new alias may be those too many.
      bytes = this.#encodeOwn(message, qos, terms, identity, undefined);
    }
    if (bytes.length > packetBytesMax) return false;
    this.#output.write(bytes);
    this.engine.observer.count('message_sent');
    return true;
  }

  sendPubrel(packetId: number, code: ReasonCode): void {
    this.#output.write(encodeAck({ type: 'pubrel', packetId, code }, this.version));
  }

  #encode(
    publication: Publication,
    qos: Qos,
    terms: DeliveryTerms,
    identity: { readonly packetId: number; readonly dup: boolean } | undefined,
  ): Buffer {
    const { message } = publication;
    const { version } = this;
    if (version === 5) {
      const own =
        terms.identifiers !== undefined ||
        message.messageExpiry !== undefined ||
        this.#aliases !== undefined;
      if (own) {
        const alias = this.#aliases?.aliasOf(message.topic);
        return this.#encodeOwn(message, qos, terms, identity, alias);
      }
    }
    const retain = terms.retainAsPublished && message.retain;
    const shared = publication.encoded(version, qos, retain);
    if (identity === undefined) return shared;
    return withPacketId(shared, identity.packetId, identity.dup);
  }

  /** A PUBLISH that only this client gets: with its subscription identifiers, the rest of the message's time, or an alias. */
  #encodeOwn(
    message: Message,
    qos: Qos,
    { retainAsPublished, identifiers }: DeliveryTerms,
    identity: { readonly packetId: number; readonly dup: boolean } | undefined,
    alias: { readonly alias: number; readonly known: boolean } | undefined,
  ): Buffer {
    const { payload, messageExpiry, retain } = message;
    const properties = {
      ...message.properties,
      ...(identifiers !== undefined && { subscriptionIdentifiers: [...identifiers] }),
      ...(messageExpiry !== undefined && {
        messageExpiryInterval: secondsLeft(messageExpiry, this.engine.clock()),
      }),
      ...(alias !== undefined && { topicAlias: alias.alias }),
    };
    return encodePublish(
      {
        topic: alias?.known === true ? '' : message.topic,
        payload,
        qos,
        retain: retainAsPublished && retain,
        dup: identity?.dup === true,
        properties,
        ...(identity !== undefined && { packetId: identity.packetId }),
      },
      5,
    );
  }

  /** Bytes of a packet that is not a PUBLISH. One that the client does not take is the end. @source MQTT-5.0 [MQTT-3.1.2-24] */
  send(bytes: Buffer): void {
    if (this.#closed) return;
    if (bytes.length <= (this.#agreement?.packetBytesMax ?? bytes.length)) {
      this.#output.write(bytes);
      return;
    }
    this.fail(reasonCode.packetTooLarge, new Error('an answer is larger than the client takes'));
  }

  // What the client sends.

  #onData(chunk: Buffer): void {
    this.#heard();
    if (this.#closed) return;
    this.#decoder.push(chunk);
    this.#process();
  }

  get heardAt(): number {
    return this.#heardAt;
  }

  #heard(): void {
    const now = this.engine.now();
    this.#heardAt = now;
    this.#heardAtUnreadMs = this.engine.unreadMsUntil(now);
  }

  #process(): void {
    if (this.#processing) return;
    this.#processing = true;
    try {
      while (this.#waiting === 0 && !this.#closed && !this.#output.congested) {
        const packet = this.#decoder.next();
        if (packet === undefined) break;
        this.#handle(packet);
      }
    } catch (error) {
      this.problem(error as Error);
    } finally {
      this.#processing = false;
    }
    this.#regulate();
  }

  /** While something waits, and while the client does not read itself, nothing is read: it is to fill its own memory and not ours. */
  #regulate(): void {
    const pause = (this.#waiting > 0 || this.#output.congested) && !this.#closed;
    if (pause === this.#paused) return;
    this.#paused = pause;
    if (pause) {
      this.#stream.pause();
      return;
    }
    // What it has sent meanwhile is still to be read.
    this.#heard();
    this.#stream.resume();
  }

  /** Nothing more is handled until `release` has been called once for each call of this. */
  hold(): void {
    this.#waiting++;
  }

  release(): void {
    this.#waiting--;
    if (this.#waiting === 0 && !this.#processing) this.#process();
  }

  /** Holds until the work is done. A failure of it ends the connection. */
  wait(work: Promise<void>): void {
    this.hold();
    work.then(
      () => this.release(),
      (error: Error) => {
        this.problem(error);
        this.release();
      },
    );
  }

  /** The client broke the protocol, or something of ours did not work. */
  problem(error: Error): void {
    if (this.#closed) return;
    this.engine.observer.clientError(this, error);
    const reason =
      error instanceof ProtocolError ? error.reason : reasonCode.implementationSpecificError;
    const most = error instanceof ProtocolError ? error.packetBytesMax : undefined;
    if (this.#handshake !== undefined) {
      // What is no CONNECT takes as long.
      this.origin.arriving?.();
      this.#handshake.refuse(reason, most);
    } else void this.disconnect(reason, error instanceof ProtocolError ? error.message : undefined);
  }

  #handle(packet: ClientPacket): void {
    if (this.#handshake !== undefined) {
      this.#handshake.handle(packet);
      return;
    }
    const session = this.#session;
    if (session === undefined) return;
    switch (packet.type) {
      case 'publish':
        this.#inboundOf(session).publish(packet);
        if (this.#publishRates !== undefined) this.#slowDown(this.#publishRates, packet);
        return;
      case 'subscribe':
        this.wait(subscribe(this, session, packet));
        return;
      case 'unsubscribe':
        this.wait(unsubscribe(this, session, packet));
        return;
      case 'pingreq':
        this.send(encodePingresp());
        return;
      case 'disconnect':
        this.#onDisconnect(packet);
        return;
      case 'auth':
        this.#onAuth(packet, session);
        return;
      case 'connect':
        // MQTT-3.1.1 [MQTT-3.1.0-2], MQTT-5.0 [MQTT-3.1.0-2]
        throw new ProtocolError(reasonCode.protocolError, 'a second CONNECT');
      default:
        this.#onAck(packet, session);
    }
  }

  /** Who publishes too fast is not read for a while: it keeps what it has to say, whatever its version and QoS, and loses nothing. */
  #slowDown(rates: readonly PublishRate[], { topic, payload }: PublishPacket): void {
    let waitMs = 0;
    for (const rate of rates) {
      // A character of a topic counts as one byte. The bytes came at that time or later.
      waitMs = Math.max(waitMs, rate.take(topic.length + payload.length, this.#heardAt));
    }
    if (waitMs === 0 || this.#closed) return;
    this.count('publish_held_up');
    this.hold();
    const timer = setTimeout(
      () => {
        this.#heard();
        this.release();
      },
      Math.min(TIMER_MS_MAX, Math.ceil(waitMs)),
    );
    timer.unref(); // Whoever has a socket open keeps the process alive.
  }

  #onAck(packet: AckPacket, session: Session): void {
    const { packetId, code } = packet;
    switch (packet.type) {
      case 'puback':
        session.outboundIfAny?.acknowledge(packetId, 1);
        return;
      case 'pubrec':
        // MQTT-5.0 §4.3.3: with an error the message is done with.
        if (code >= reasonCode.unspecifiedError) session.outboundIfAny?.acknowledge(packetId, 2);
        else session.outbound.received(packetId);
        return;
      case 'pubcomp':
        session.outboundIfAny?.completed(packetId);
        return;
      case 'pubrel':
        this.#inboundOf(session).release(packetId);
        return;
    }
  }

  #onDisconnect({ code, properties }: DisconnectPacket): void {
    this.origin.leaving?.();
    const agreed = this.#agreement;
    const expirySeconds = properties?.sessionExpiryInterval;
    if (agreed !== undefined && expirySeconds !== undefined) {
      if (agreed.expirySeconds === 0 && expirySeconds > 0) {
        // MQTT-5.0 [MQTT-3.14.2-2] is about the server; §3.14.2.2.2 has this one.
        throw new ProtocolError(reasonCode.protocolError, 'a session expiry after none in CONNECT');
      }
      const most = this.engine.limits.sessionExpirySecondsMax;
      this.#agreement = { ...agreed, expirySeconds: Math.min(expirySeconds, most) };
    }
    // MQTT-5.0 [MQTT-3.1.2-10] [MQTT-3.14.4-3]: only this one says that nothing is wrong.
    const ending = this.#close(code === reasonCode.success ? 'goodbye' : 'goodbye_with_will');
    // Who sees the connection end may rely on it that the goodbye is stored, and the will gone.
    if (ending === undefined) this.#stream.end();
    else void ending.then(() => this.#stream.end());
  }

  #onAuth(packet: AuthPacket, session: Session): void {
    this.#reAuthentication ??= new ReAuthentication(this, session);
    this.wait(this.#reAuthentication.handle(packet));
  }

  /** Made when it is needed: most connections are idle, or only receive. */
  #inboundOf(session: Session): Inbound {
    return (this.#inbound ??= new Inbound(this, session));
  }

  /** Resolves when nothing that the client has published is under way any more. */
  publishesDone(): Promise<void> {
    return this.#inbound?.done() ?? DONE;
  }

  // Its life.

  /** The session is there; the CONNACK is the next thing to be sent. */
  open(agreement: Agreement, session: Session): void {
    this.#agreement = agreement;
    this.#session = session;
    this.#silenceMsMax = agreement.keepAliveSeconds * 1000 * KEEP_ALIVE_FACTOR;
    const own = PublishRate.of(this.engine.limits, this.#heardAt);
    this.#publishRates = ratesOf(own, session.rights.publishRates);
    this.#handshake = undefined;
    this.#deadline = 0;
    if (agreement.topicAliasMax > 0) this.#aliases = new TopicAliases(agreement.topicAliasMax);
    this.#decoder.accept();
    this.origin.authenticated?.();
  }

  /** Called again and again; `now` is the engine's. */
  sweep(now: number): void {
    if (this.#deadline !== 0 && this.#isLate(now)) {
      this.#stream.destroy();
      this.#onClose();
      return;
    }
    if (this.#closed) return;
    const { limits } = this.engine;
    if (this.#output.isStuck(now, limits.drainTimeoutMs)) {
      this.engine.observer.clientError(this, new Error('the client takes nothing'));
      this.#stream.destroy();
      this.#onClose();
      return;
    }
    this.#session?.outboundIfAny?.sweep(now);
    // What we do not read ourselves is no silence of the client's.
    if (this.#silenceMsMax === 0 || this.#paused) return;
    // MQTT-3.1.1 [MQTT-3.1.2-24], MQTT-5.0 [MQTT-3.1.2-22]
    if (now - this.#heardAt <= this.#silenceMsMax) return;
    const unreadMs = this.engine.unreadMsUntil(now) - this.#heardAtUnreadMs;
    if (now - this.#heardAt - unreadMs > this.#silenceMsMax) {
      void this.disconnect(reasonCode.keepAliveTimeout);
    }
  }

  /** Who is still to say its CONNECT, and is not read, has its time all the same when it is read again. */
  #isLate(now: number): boolean {
    if (this.#handshake !== undefined && this.origin.unread === true) {
      this.#deadline = now + this.engine.limits.connectTimeoutMs;
    }
    return now >= this.#deadline;
  }

  disconnect(reason: ReasonCode, text?: string): Promise<void> {
    if (this.#closed) return this.#ending ?? DONE;
    if (this.#agreement !== undefined && this.version === 5) {
      const packet: DisconnectPacket = {
        type: 'disconnect',
        code: reason,
        ...(text !== undefined && { properties: { reasonString: text } }),
      };
      this.#output.write(encodeDisconnect(packet, this.#agreement.packetBytesMax));
    }
    const kind = reason === reasonCode.serverShuttingDown ? 'shutdown' : 'broken';
    const ending = this.#close(kind);
    this.#stream.end();
    return ending ?? DONE;
  }

  dismiss(reason: ReasonCode): Promise<void> {
    if (this.#agreement !== undefined) this.#agreement = { ...this.#agreement, expirySeconds: 0 };
    return this.disconnect(reason);
  }

  /** Ends a connection that never was open; `bytes` is the CONNACK, if there is one to send. */
  refuse(bytes: Buffer | undefined): void {
    if (bytes !== undefined) this.send(bytes);
    void this.#close('broken');
    this.#stream.end();
  }

  #onDrain(): void {
    this.#output.drained();
  }

  /** The socket takes bytes again. */
  #onRoom(): void {
    if (this.#closed) return;
    this.#session?.outboundIfAny?.drained();
    this.#process();
  }

  /** The end or a failure of the stream, which `close` follows. */
  #onLeft(): void {
    this.origin.leaving?.();
    this.#onClose();
  }

  #onClose(): void {
    void this.#close('broken');
    const stream = this.#stream;
    if (stream.destroyed) this.engine.forget(this);
    // To end it twice is an error, and one of those costs as much as a system call.
    else if (!stream.writableEnded) stream.end();
  }

  /** Resolves when the last write for its session is done; undefined when there is none. */
  #close(kind: EndKind): Promise<void> | undefined {
    if (this.#closed) return this.#ending;
    this.#output.finish();
    this.#closed = true;
    this.#deadline = this.engine.now() + CLOSE_TIMEOUT_MS;
    if (this.#paused) {
      // Else the end of the stream would never be seen.
      this.#paused = false;
      this.#stream.resume();
    }
    const { session, agreement } = this;
    this.#handshake?.abandon();
    this.#handshake = undefined;
    if (session === undefined || agreement === undefined) return undefined;
    this.#ending = this.engine.endSession(session, agreement, kind)?.catch((error: Error) => {
      this.engine.observer.problem(error);
    });
    return this.#ending;
  }
}

/** MQTT-5.0 [MQTT-3.3.2-6]: what is left of the message's time; at least 1, because 0 would mean none. */
function secondsLeft(expiry: number, now: number): number {
  return Math.max(1, Math.ceil((expiry - now) / 1000));
}
