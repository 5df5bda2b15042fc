import {
  encodeAck,
  type Properties,
  ProtocolError,
  type PublishPacket,
  type ReasonCode,
  reasonCode,
} from '../codec/index.ts';
import type { Message, MessageProperties } from '../message.ts';
import type { Session } from '../session/session.ts';
import type { Connection } from './connection.ts';

/** Publishes that may be under way for one client before the next one waits. */
const UNDER_WAY_MAX = 64;

/** A publish that the kernel works on. Acknowledgements leave in the order of the publishes. */
interface UnderWay {
  readonly packetId: number;
  readonly qos: 0 | 1 | 2;
  code: ReasonCode;
  done: boolean;
}

/** Before MQTT 5 these are acknowledged, where they do not end the connection. */
const DENIALS: ReadonlySet<ReasonCode> = new Set([
  reasonCode.notAuthorized,
  reasonCode.topicNameInvalid,
]);

const ALL_DONE = Promise.resolve();

/**
 * What a client publishes. Nothing is acknowledged before it is stored and handed on.
 *
 * Order: publishes of the same kind (QoS > 0, not retained) may overlap in the store, which keeps their order for each topic; any
 * other waits until those before it are done.
 */
export class Inbound {
  readonly #connection: Connection;
  readonly #session: Session;
  #aliases: Map<number, string> | undefined;
  #underWay: UnderWay[] = [];
  #mayOverlap = true;
  #held: PublishPacket | undefined;
  /** Those under way with QoS 1. */
  #ones = 0;
  /** QoS 2 packets that came on an earlier connection: they do not count against the window of this one. @source MQTT-5.0 §4.9 */
  readonly #earlierIds: Set<number> | undefined;
  #whenDone: (() => void) | undefined;

  constructor(connection: Connection, session: Session) {
    this.#connection = connection;
    this.#session = session;
    if (session.incomingCount > 0) this.#earlierIds = new Set(session.incomingIds);
  }

  /** Resolves when the kernel is done with all that was published. */
  done(): Promise<void> {
    if (this.#underWay.length === 0) return ALL_DONE;
    return new Promise((resolve) => (this.#whenDone = resolve));
  }

  publish(packet: PublishPacket): void {
    const topic = packet.properties === undefined ? packet.topic : this.#topicOf(packet);
    if (packet.qos === 0 && !packet.retain && this.#underWay.length === 0) {
      this.#publishAtOnce(packet, topic);
    } else {
      this.#publishInOrder(packet, topic);
    }
  }

  /** @source MQTT-5.0 §3.3.2.3.4 */
  #topicOf({ topic, properties }: PublishPacket): string {
    const alias = properties?.topicAlias;
    if (alias === undefined) return topic;
    const { limits } = this.#connection.engine;
    if (alias > limits.topicAliasMax) {
      throw new ProtocolError(reasonCode.topicAliasInvalid, 'a topic alias above the maximum');
    }
    this.#aliases ??= new Map();
    if (topic !== '') {
      this.#aliases.set(alias, topic);
      return topic;
    }
    const known = this.#aliases.get(alias);
    if (known !== undefined) return known;
    throw new ProtocolError(reasonCode.protocolError, 'a topic alias that was never set');
  }

  #publishAtOnce(packet: PublishPacket, named: string): void {
    const { engine } = this.#connection;
    const topic = this.#session.publishedTopic(named);
    if (this.#problemOf(packet, topic) !== undefined || topic === undefined) return;
    engine.publishAtOnce(this.#messageOf(packet, topic, packet.payload));
  }

  /** Why the message is not taken; `topic` is what it is published under. Counts it, and ends the connection where that is the answer. */
  #problemOf(
    packet: PublishPacket,
    topic: string | undefined,
  ): ReasonCode | undefined | Promise<ReasonCode | undefined> {
    if (topic === undefined) return this.#deny(reasonCode.topicNameInvalid);
    if (!this.#session.mayPublish(topic, packet.qos, packet.retain)) {
      return this.#deny(reasonCode.notAuthorized);
    }
    const { engine } = this.#connection;
    engine.observer.count('publish_allowed');
    return packet.retain ? engine.retainProblem(topic, packet.payload) : undefined;
  }

  #deny(reason: ReasonCode): ReasonCode {
    const connection = this.#connection;
    connection.engine.observer.count('publish_denied');
    const { deniedPublish, deniedEnds = false } = this.#session.rights;
    if (connection.version === 5 ? deniedEnds : deniedPublish === 'disconnect') {
      void connection.disconnect(reason);
    }
    return reason;
  }

  /** `named`: as the client says it, its alias resolved. What becomes of it is what the rights are when its turn has come. */
  #publishInOrder(packet: PublishPacket, named: string): void {
    const { packetId, qos, retain } = packet;
    const overlaps = qos > 0 && !retain;
    if (this.#mustWait(overlaps)) {
      this.#held =
        named === packet.topic
          ? packet
          : { ...packet, topic: named, properties: withoutAlias(packet) };
      this.#connection.hold();
      return;
    }
    const entry: UnderWay = { packetId, qos, code: reasonCode.success, done: false };
    if (qos === 2 && this.#session.incomingIds.has(packetId)) {
      // It was taken before. MQTT-3.1.1 [MQTT-4.3.3-2] [MQTT-4.6.0-3], MQTT-5.0 [MQTT-4.3.3-10] [MQTT-4.6.0-3]
      this.#begin(entry);
      this.#settle(entry, reasonCode.success);
      return;
    }
    this.#checkWindow(qos);
    this.#mayOverlap = overlaps;
    const topic = this.#session.publishedTopic(named);
    const problem = this.#problemOf(packet, topic);
    if (this.#connection.closed) return;
    this.#begin(entry);
    // Without a topic there is a problem, and no message is made.
    if (problem instanceof Promise) this.#decideLater(entry, packet, topic ?? named, problem);
    else this.#decide(entry, packet, topic ?? named, problem);
  }

  #begin(entry: UnderWay): void {
    this.#underWay.push(entry);
    if (entry.qos === 1) this.#ones++;
  }

  #decide(
    entry: UnderWay,
    packet: PublishPacket,
    topic: string,
    problem: ReasonCode | undefined,
  ): void {
    if (problem !== undefined) this.#settle(entry, problem);
    else this.#handOver(entry, this.#messageOf(packet, topic, ownBytes(packet)));
  }

  #decideLater(
    entry: UnderWay,
    packet: PublishPacket,
    topic: string,
    problem: Promise<ReasonCode | undefined>,
  ): void {
    problem.then(
      (code) => this.#decide(entry, packet, topic, code),
      (error: Error) => {
        this.#connection.engine.observer.problem(error);
        this.#settle(entry, reasonCode.implementationSpecificError);
      },
    );
  }

  #mustWait(overlaps: boolean): boolean {
    const { length } = this.#underWay;
    return length >= UNDER_WAY_MAX || (length > 0 && !(overlaps && this.#mayOverlap));
  }

  #handOver(entry: UnderWay, message: Message): void {
    const { engine } = this.#connection;
    const { clientId, stored } = this.#session;
    const { packetId, qos } = entry;
    if (qos === 2) this.#session.incomingIds.add(packetId);
    const incoming = qos === 2 && stored ? { clientId, messageId: packetId } : undefined;
    engine.publish(message, incoming, (error) => {
      if (error != null) engine.observer.problem(error);
      this.#settle(
        entry,
        error == null ? reasonCode.success : reasonCode.implementationSpecificError,
      );
    });
  }

  /**
   * Before MQTT 5 the window cannot be told; of QoS 1 the client is held up instead, but what it does not release is its own doing.
   * @source MQTT-5.0 [MQTT-3.3.4-9] and §3.1.2.11.3
   */
  #checkWindow(qos: 0 | 1 | 2): void {
    if (qos === 0 || (qos === 1 && this.#connection.version !== 5)) return;
    const { inboundInflightMax } = this.#connection.engine.limits;
    const unreleased = this.#session.incomingCount - (this.#earlierIds?.size ?? 0);
    if (this.#ones + unreleased >= inboundInflightMax) {
      throw new ProtocolError(reasonCode.receiveMaximumExceeded, 'more than Receive Maximum');
    }
  }

  #settle(entry: UnderWay, code: ReasonCode): void {
    entry.done = true;
    entry.code = code;
    const underWay = this.#underWay;
    while (underWay[0]?.done === true) {
      const first = underWay.shift();
      if (first === undefined) break;
      if (first.qos === 1) this.#ones--;
      this.#answer(first);
    }
    if (underWay.length === 0) this.#whenDone?.();
    const held = this.#held;
    if (held === undefined || underWay.length > 0) return;
    this.#held = undefined;
    this.#resume(held);
  }

  #resume(held: PublishPacket): void {
    const connection = this.#connection;
    try {
      if (!connection.closed) this.#publishInOrder(held, held.topic);
    } catch (error) {
      connection.problem(error as Error);
    }
    connection.release();
  }

  #answer({ packetId, qos, code }: UnderWay): void {
    if (qos === 0) return;
    const connection = this.#connection;
    const failed = code >= reasonCode.unspecifiedError;
    if (qos === 2 && failed) this.#fail(packetId, code);
    if (connection.closed) return;
    if (failed && connection.version !== 5 && !DENIALS.has(code)) {
      // There is no way to say it but to go. MQTT-3.1.1 §4.3 keeps the message with the client.
      void connection.disconnect(code);
      return;
    }
    this.#acknowledge(packetId, qos === 1 ? 'puback' : 'pubrec', code);
  }

  /** The packet was not taken; nor were those that repeat it. */
  #fail(packetId: number, code: ReasonCode): void {
    this.#session.incomingIds.delete(packetId);
    for (const one of this.#underWay) {
      if (one.qos === 2 && one.packetId === packetId) one.code = code;
    }
  }

  #acknowledge(packetId: number, type: 'puback' | 'pubrec' | 'pubcomp', code: ReasonCode): void {
    const { version } = this.#connection;
    this.#connection.send(encodeAck({ type, packetId, code: version === 5 ? code : 0 }, version));
  }

  /** PUBREL. @source MQTT-3.1.1 [MQTT-4.3.3-2], MQTT-5.0 [MQTT-4.3.3-11] */
  release(packetId: number): void {
    const session = this.#session;
    const { engine } = this.#connection;
    if (!session.incomingIds.has(packetId)) {
      this.#acknowledge(packetId, 'pubcomp', reasonCode.packetIdentifierNotFound);
      return;
    }
    session.incomingIds.delete(packetId);
    this.#earlierIds?.delete(packetId);
    if (!session.stored) {
      this.#acknowledge(packetId, 'pubcomp', reasonCode.success);
      return;
    }
    this.#connection.wait(
      engine.store
        .incomingDelPacket({ id: session.clientId }, { messageId: packetId })
        .then(() => this.#acknowledge(packetId, 'pubcomp', reasonCode.success)),
    );
  }

  #messageOf(packet: PublishPacket, topic: string, payload: Buffer): Message {
    const { qos, retain, properties } = packet;
    const { clientId } = this.#session;
    if (properties === undefined) return { topic, payload, qos, retain, clientId };
    const { messageExpiryInterval } = properties;
    const kept = keptProperties(properties);
    return {
      topic,
      payload,
      qos,
      retain,
      clientId,
      ...(kept !== undefined && { properties: kept }),
      ...(messageExpiryInterval !== undefined && {
        messageExpiry: this.#connection.engine.clock() + messageExpiryInterval * 1000,
      }),
    };
  }
}

/** The properties that a publisher's message takes along to its receivers, unchanged. @source MQTT-5.0 §3.3.2.3 */
export function keptProperties(properties: Properties): Readonly<MessageProperties> | undefined {
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } =
    properties;
  const kept: MessageProperties = {
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData }),
    ...(userProperties !== undefined && { userProperties }),
  };
  return Object.keys(kept).length === 0 ? undefined : Object.freeze(kept);
}

/** The payload without the rest of the chunk that was read. */
const ownBytes = ({ payload }: PublishPacket): Buffer => Buffer.from(payload);

/** The properties of a packet whose alias has been resolved. */
function withoutAlias({ properties }: PublishPacket): Properties | undefined {
  if (properties === undefined) return undefined;
  const { topicAlias: _, ...others } = properties;
  return others;
}
