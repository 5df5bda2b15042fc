import { assert } from '@sallyport/errors';
import { assertPacketId, ByteWriter, varintBytes, writeVarint } from './byte-writer.ts';
import { place, type Place, propertiesBytes, writeProperties } from './encode-properties.ts';
import type {
  AckPacket,
  AuthPacket,
  ConnackPacket,
  DisconnectPacket,
  Properties,
  ProtocolVersion,
  SubackPacket,
  UnsubackPacket,
} from './packet.ts';
import { reasonCode } from './reason-code.ts';

// Every function with a `maximumPacketSize` leaves out user properties, the reason string or both when the packet would
// be larger: MQTT-5.0 [MQTT-3.2.2-19] [MQTT-3.2.2-20] and their like in the other packets. What is still larger then
// must not be sent at all [MQTT-3.1.2-24]: the caller compares the length.

/** For a client that has not said how large a packet it takes. */
const NO_MAXIMUM = Number.POSITIVE_INFINITY;

const accepted = { fresh: Buffer.from([0x20, 2, 0, 0]), present: Buffer.from([0x20, 2, 1, 0]) };

/**
 * For a client whose protocol level is unknown, answer with version 4. Before MQTT 5 an acceptance is the same bytes each time: not to
 * be changed.
 * @source MQTT-3.1.1 §3.2, MQTT-5.0 §3.2
 */
export function encodeConnack(
  { sessionPresent, code, properties }: ConnackPacket,
  version: ProtocolVersion,
  maximumPacketSize = NO_MAXIMUM,
): Buffer {
  // MQTT-3.1.1 [MQTT-3.2.2-4], MQTT-5.0 [MQTT-3.2.2-6]
  assert(code === 0 || !sessionPresent, 'a client that is refused has no session');
  // The byte is reserved in MQTT 3.1.
  const isPresent = sessionPresent && version !== 3;
  if (version === 5) {
    const head = [isPresent ? 1 : 0, code];
    return packetOf({ first: 0x20, head, at: place.connack, properties }, maximumPacketSize);
  }
  if (code === 0) return isPresent ? accepted.present : accepted.fresh;
  assert(code <= 5, 'CONNACK has a reason code of MQTT 5');
  return plainPacketOf(0x20, [0, code]);
}

const ackFirst: Readonly<Record<AckPacket['type'], number>> = {
  puback: 0x40,
  pubrec: 0x50,
  pubrel: 0x62,
  pubcomp: 0x70,
};

/** @source MQTT-3.1.1 §3.4–3.7, MQTT-5.0 §3.4–3.7 */
export function encodeAck(
  { type, packetId, code, properties }: AckPacket,
  version: ProtocolVersion,
  maximumPacketSize = NO_MAXIMUM,
): Buffer {
  assertPacketId(packetId);
  const first = ackFirst[type];
  if (version === 5 && (code !== reasonCode.success || properties !== undefined)) {
    const head = [packetId >> 8, packetId & 0xff, code];
    const parts = { first, head, at: place.acknowledgement, properties, isShortAllowed: true };
    return packetOf(parts, maximumPacketSize);
  }
  const bytes = Buffer.allocUnsafe(4);
  bytes[0] = first;
  bytes[1] = 2;
  bytes[2] = packetId >> 8;
  bytes[3] = packetId; // Modulo 256.
  return bytes;
}

/** Before MQTT 5 every failure is 0x80. @source MQTT-3.1.1 [MQTT-3.9.3-2], MQTT-5.0 §3.9 */
export function encodeSuback(
  { packetId, codes, properties }: SubackPacket,
  version: ProtocolVersion,
  maximumPacketSize = NO_MAXIMUM,
): Buffer {
  const head = packetIdBytes(packetId);
  if (version === 5) {
    return packetOf({ first: 0x90, head, at: place.suback, properties, codes }, maximumPacketSize);
  }
  const failure = reasonCode.unspecifiedError;
  return plainPacketOf(0x90, [...head, ...codes.map((code) => Math.min(code, failure))]);
}

/** Before MQTT 5 it has no codes. @source MQTT-3.1.1 §3.11, MQTT-5.0 §3.11 */
export function encodeUnsuback(
  { packetId, codes, properties }: UnsubackPacket,
  version: ProtocolVersion,
  maximumPacketSize = NO_MAXIMUM,
): Buffer {
  const head = packetIdBytes(packetId);
  if (version !== 5) return plainPacketOf(0xb0, head);
  return packetOf({ first: 0xb0, head, at: place.suback, properties, codes }, maximumPacketSize);
}

const pingresp = Buffer.from([0xd0, 0]);

/** The same bytes each time: not to be changed. */
export function encodePingresp(): Buffer {
  return pingresp;
}

/** Of MQTT 5 only: before, a server just closes. @source MQTT-5.0 §3.14 */
export function encodeDisconnect(
  { code, properties }: DisconnectPacket,
  maximumPacketSize = NO_MAXIMUM,
): Buffer {
  const parts = {
    first: 0xe0,
    head: [code],
    at: place.disconnect,
    properties,
    isShortAllowed: true,
  };
  return packetOf(parts, maximumPacketSize);
}

/** Of MQTT 5 only. @source MQTT-5.0 §3.15 */
export function encodeAuth(
  { code, properties }: AuthPacket,
  maximumPacketSize = NO_MAXIMUM,
): Buffer {
  return packetOf({ first: 0xf0, head: [code], at: place.auth, properties }, maximumPacketSize);
}

function packetIdBytes(packetId: number): number[] {
  assertPacketId(packetId);
  return [packetId >> 8, packetId & 0xff];
}

interface Parts {
  /** The first byte of the packet. */
  readonly first: number;
  /** Bytes before the properties. */
  readonly head: readonly number[];
  readonly at: Place;
  readonly properties: Properties | undefined;
  /** Bytes behind the properties. */
  readonly codes?: readonly number[];
  /** Whether the packet may end with the reason code, or before one that is 0, when it has no properties. */
  readonly isShortAllowed?: boolean;
}

/** A packet of MQTT 5. */
function packetOf(parts: Parts, maximumPacketSize: number): Buffer {
  const { first, head, at, codes = [] } = parts;
  const properties = fittingProperties(parts, maximumPacketSize);
  const bytes = propertiesBytes(properties, at);
  if (bytes === 0 && parts.isShortAllowed === true) {
    return plainPacketOf(first, head.at(-1) === reasonCode.success ? head.slice(0, -1) : head);
  }
  const body = head.length + varintBytes(bytes) + bytes + codes.length;
  const packet = Buffer.allocUnsafe(1 + varintBytes(body) + body);
  packet[0] = first;
  const writer = new ByteWriter(packet, writeVarint(packet, 1, body));
  for (const one of head) writer.uint8(one);
  writeProperties(writer, properties, at, bytes);
  for (const one of codes) writer.uint8(one);
  return packet;
}

/** A packet without properties. */
function plainPacketOf(first: number, body: readonly number[]): Buffer {
  const packet = Buffer.allocUnsafe(1 + varintBytes(body.length) + body.length);
  packet[0] = first;
  const writer = new ByteWriter(packet, writeVarint(packet, 1, body.length));
  for (const one of body) writer.uint8(one);
  return packet;
}

/** The properties, without those for people as far as the packet would be too large with them. */
function fittingProperties(
  { head, at, properties, codes = [] }: Parts,
  maximumPacketSize: number,
): Properties | undefined {
  if (properties === undefined || maximumPacketSize === NO_MAXIMUM) return properties;
  const { userProperties: _user, ...withoutUser } = properties;
  const { reasonString: _reason, ...withoutReason } = properties;
  const { reasonString: _also, ...withoutBoth } = withoutUser;
  const fits = (candidate: Properties): boolean => {
    const bytes = propertiesBytes(candidate, at);
    const body = head.length + varintBytes(bytes) + bytes + codes.length;
    return 1 + varintBytes(body) + body <= maximumPacketSize;
  };
  return [properties, withoutUser, withoutReason].find(fits) ?? withoutBoth;
}
