import type { Duplex } from 'node:stream';
import { RawMqttClient } from './raw-mqtt-client.ts';
import { PINGREQ, type RawPacket } from './raw-mqtt.ts';
import {
  decodeMqtt5Packet,
  encodeAck5,
  encodeConnect5,
  encodeDisconnect5,
  encodePublish5,
  encodeSubscribe5,
  encodeUnsubscribe5,
  type Mqtt5AckType,
  type Mqtt5PacketOf,
  type Mqtt5ServerPacket,
  type RawConnect5,
  type RawPublish5,
  type RawSubscription5,
} from './raw-mqtt5.ts';
import type { RawMqtt5Properties } from './raw-mqtt5-properties.ts';

/** No test waits for it, as with `RawMqttClient`. */
const RECEIVE_TIMEOUT_MS = 20_000;
const SILENCE_MS = 120;
const PACKET_ID_MAX = 65_535;

/**
 * MQTT 5: bytes in, bytes out, and nothing by itself. What the server sends is decoded strictly; a packet that breaks the
 * standard fails the call that meets it.
 */
export class RawMqtt5Client implements AsyncDisposable {
  readonly #raw: RawMqttClient;
  /** What came while a call waited for its own answer, in order. */
  readonly #early: Mqtt5ServerPacket[] = [];
  #lastPacketId = 0;

  private constructor(raw: RawMqttClient) {
    this.#raw = raw;
  }

  /** Over a stream that is open: TLS, WebSocket, or what a test makes of them. */
  static over(stream: Duplex): RawMqtt5Client {
    return new RawMqtt5Client(RawMqttClient.over(stream));
  }

  /** Opens a TCP connection and sends nothing; as `RawMqttClient`. */
  static async open(
    port: number,
    host = '127.0.0.1',
    localAddress?: string,
  ): Promise<RawMqtt5Client> {
    return new RawMqtt5Client(await RawMqttClient.open(port, host, localAddress));
  }

  /** Settles when the connection has ended, whoever ended it. */
  get closed(): Promise<void> {
    return this.#raw.closed;
  }

  /** A packet id that this client has not used yet. */
  nextPacketId(): number {
    this.#lastPacketId = (this.#lastPacketId % PACKET_ID_MAX) + 1;
    return this.#lastPacketId;
  }

  /** Any bytes. */
  send(bytes: Uint8Array): void {
    this.#raw.send(bytes);
  }

  /** The next packet, in the order of arrival. @throws Error when the connection ends or nothing comes in time */
  async receive(timeoutMs = RECEIVE_TIMEOUT_MS): Promise<Mqtt5ServerPacket> {
    return this.#early.shift() ?? decodeMqtt5Packet(await this.#raw.receive(timeoutMs));
  }

  /** The next packet as it came, not decoded. Only before anything else has waited for an answer. */
  receiveRaw(timeoutMs = RECEIVE_TIMEOUT_MS): Promise<RawPacket> {
    return this.#raw.receive(timeoutMs);
  }

  /** The next packet, which must have this type. */
  async expect<T extends Mqtt5ServerPacket['type']>(
    type: T,
    timeoutMs?: number,
  ): Promise<Mqtt5PacketOf<T>> {
    const packet = await this.receive(timeoutMs);
    if (isOfType(packet, type)) return packet;
    throw new Error(`expected ${type}, got ${describe(packet)}`);
  }

  /** The next packet of this type and id; what comes before it is kept for `receive`. */
  async #answer<T extends Mqtt5ServerPacket['type']>(
    type: T,
    packetId?: number,
  ): Promise<Mqtt5PacketOf<T>> {
    for (;;) {
      const packet = decodeMqtt5Packet(await this.#raw.receive(RECEIVE_TIMEOUT_MS));
      const sameId =
        packetId === undefined || ('packetId' in packet && packet.packetId === packetId);
      if (isOfType(packet, type) && sameId) return packet;
      if (packet.type === 'disconnect')
        throw new Error(`expected ${type}, got ${describe(packet)}`);
      this.#early.push(packet);
    }
  }

  /** Sends CONNECT; answers the CONNACK, which must be the first packet. */
  async connect(options: RawConnect5): Promise<Mqtt5PacketOf<'connack'>> {
    this.send(encodeConnect5(options));
    return this.expect('connack');
  }

  /** Sends SUBSCRIBE; answers the SUBACK. A string is a filter with QoS 2. */
  async subscribe(
    subscriptions: string | RawSubscription5 | readonly RawSubscription5[],
    properties?: RawMqtt5Properties,
  ): Promise<Mqtt5PacketOf<'suback'>> {
    const packetId = this.nextPacketId();
    const list =
      typeof subscriptions === 'string'
        ? [{ topicFilter: subscriptions, qos: 2 }]
        : [subscriptions].flat();
    this.send(encodeSubscribe5(packetId, list, properties));
    return this.#answer('suback', packetId);
  }

  /** Sends UNSUBSCRIBE; answers the UNSUBACK. */
  async unsubscribe(...topicFilters: readonly string[]): Promise<Mqtt5PacketOf<'unsuback'>> {
    const packetId = this.nextPacketId();
    this.send(encodeUnsubscribe5(packetId, topicFilters));
    return this.#answer('unsuback', packetId);
  }

  /** Sends PUBLISH and waits for nothing; with QoS > 0 and no packet id it takes the next one. Answers the packet id. */
  publish(options: RawPublish5): number {
    const { qos = 0, packetId = qos === 0 ? undefined : this.nextPacketId() } = options;
    this.send(encodePublish5({ ...options, ...(packetId !== undefined && { packetId }) }));
    return packetId ?? 0;
  }

  /** Sends PUBLISH with QoS 1 or 2 and completes it; answers the reason code of the PUBACK or PUBREC. */
  async deliver(options: RawPublish5): Promise<number> {
    const packetId = this.publish({ qos: 1, ...options });
    if (options.qos !== 2) return (await this.#answer('puback', packetId)).reasonCode;
    const { reasonCode } = await this.#answer('pubrec', packetId);
    if (reasonCode >= 0x80) return reasonCode;
    this.ack('pubrel', packetId);
    await this.#answer('pubcomp', packetId);
    return reasonCode;
  }

  /** Sends PUBACK, PUBREC, PUBREL or PUBCOMP. */
  ack(type: Mqtt5AckType, packetId: number, reasonCode?: number): void {
    this.send(encodeAck5(type, packetId, reasonCode));
  }

  /** The next packet, which must be a PUBLISH, acknowledged to the end. */
  async take(timeoutMs?: number): Promise<Mqtt5PacketOf<'publish'>> {
    const packet = await this.expect('publish', timeoutMs);
    if (packet.qos === 1) this.ack('puback', packet.packetId);
    if (packet.qos === 2) {
      this.ack('pubrec', packet.packetId);
      await this.#answer('pubrel', packet.packetId);
      this.ack('pubcomp', packet.packetId);
    }
    return packet;
  }

  /** Sends PINGREQ and waits for the answer: the server has then handled what was sent before. */
  async ping(): Promise<void> {
    this.send(PINGREQ);
    await this.#answer('pingresp');
  }

  /** Fails when anything comes within this time, or the connection ends. */
  async silence(timeoutMs = SILENCE_MS): Promise<void> {
    const early = this.#early[0];
    if (early !== undefined) throw new Error(`expected nothing, got ${describe(early)}`);
    const outcome = await this.#raw.receive(timeoutMs).then(
      (packet) => describe(decodeMqtt5Packet(packet)),
      (error: Error) => error.message,
    );
    if (!outcome.startsWith('no packet')) throw new Error(`expected nothing, got ${outcome}`);
  }

  /** What comes until the server closes the connection, which it must. */
  async ending(timeoutMs = RECEIVE_TIMEOUT_MS): Promise<readonly Mqtt5ServerPacket[]> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`the connection was not closed within ${timeoutMs} ms`));
      }, timeoutMs);
    });
    await Promise.race([this.closed, late]).finally(() => {
      clearTimeout(timer);
    });
    const packets = this.#early.splice(0);
    for (;;) {
      const packet = await this.#raw.receive(1).catch(() => undefined);
      if (packet === undefined) return packets;
      packets.push(decodeMqtt5Packet(packet));
    }
  }

  /** Says goodbye and waits until the server has closed the connection. */
  async disconnect(reasonCode?: number, properties?: RawMqtt5Properties): Promise<void> {
    this.send(encodeDisconnect5(reasonCode, properties));
    await this.ending();
  }

  /** Ends the connection without DISCONNECT, as a lost network does: the will is published. */
  destroy(): void {
    this.#raw.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#raw[Symbol.asyncDispose]();
  }
}

function isOfType<T extends Mqtt5ServerPacket['type']>(
  packet: Mqtt5ServerPacket,
  type: T,
): packet is Mqtt5PacketOf<T> {
  return packet.type === type;
}

function describe(packet: Mqtt5ServerPacket): string {
  const readable =
    packet.type === 'publish' ? { ...packet, payload: packet.payload.toString() } : packet;
  return JSON.stringify(readable, (_key, value: unknown) =>
    typeof value === 'string' && value.length > 200 ? `${value.slice(0, 200)}…` : value,
  );
}
