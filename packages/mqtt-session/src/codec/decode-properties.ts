import type { MqttLimits } from '../limits.ts';
import type { ByteReader } from './byte-reader.ts';
import type { Properties, UserProperty } from './packet.ts';
import { malformed, ProtocolError, reasonCode, violation } from './reason-code.ts';

export type PropertyLimits = Pick<MqttLimits, 'userPropertiesMax' | 'userPropertiesBytesMax'>;

/** Places where a client may put properties; bits, so that one number says where a property belongs. */
export const place = {
  connect: 1,
  will: 2,
  publish: 4,
  acknowledgement: 8,
  subscribe: 16,
  unsubscribe: 32,
  disconnect: 64,
  auth: 128,
} as const;

export type Place = (typeof place)[keyof typeof place];

const EVERYWHERE = 0xff;
const ABOUT_A_MESSAGE = place.publish | place.will;
const AUTHENTICATION = place.connect | place.auth;

const USER_PROPERTY = 0x26;

/** Where a client may use each property. @source MQTT-5.0 §2.2.2.2 */
const placesOf: readonly (readonly [id: number, places: number])[] = [
  [0x01, ABOUT_A_MESSAGE],
  [0x02, ABOUT_A_MESSAGE],
  [0x03, ABOUT_A_MESSAGE],
  [0x08, ABOUT_A_MESSAGE],
  [0x09, ABOUT_A_MESSAGE],
  [0x0b, place.subscribe],
  [0x11, place.connect | place.disconnect],
  [0x15, AUTHENTICATION],
  [0x16, AUTHENTICATION],
  [0x17, place.connect],
  [0x18, place.will],
  [0x19, place.connect],
  [0x1f, place.acknowledgement | place.disconnect | place.auth],
  [0x21, place.connect],
  [0x22, place.connect],
  [0x23, place.publish],
  [USER_PROPERTY, EVERYWHERE],
  [0x27, place.connect],
];

interface PropertyFacts {
  readonly places: number;
  /** A bit of its own, or 0 for the one that may come again. */
  readonly once: number;
}

const factsOf: ReadonlyMap<number, PropertyFacts> = new Map(
  placesOf.map(([id, places], index) => [
    id,
    { places, once: id === USER_PROPERTY ? 0 : 1 << index },
  ]),
);

/** Of these, a server may send one in a packet of the same type, so they are understood and refused. */
const SERVER_ONLY: ReadonlyMap<number, number> = new Map([
  [0x0b, place.publish], // MQTT-5.0 [MQTT-3.3.4-6]
  [0x1c, place.disconnect],
]);

/** What the user properties of one packet have used of their limits; a CONNECT has two lists of them. */
export interface UserPropertyUse {
  count: number;
  bytes: number;
}

const overQuota = (limit: string): ProtocolError =>
  new ProtocolError(reasonCode.quotaExceeded, `packet has more than ${limit}`);

/**
 * The properties of a packet of MQTT 5, their length included; undefined when there are none.
 *
 * @throws ProtocolError: malformed packet for bytes that are no properties and for a property of other packets; protocol
 * error for one that comes twice, has a value out of its range or is the server's only; quota exceeded for too many user
 * properties
 * @source MQTT-5.0 §2.2.2
 */
export function readProperties(
  reader: ByteReader,
  at: Place,
  limits: PropertyLimits,
  use: UserPropertyUse = { count: 0, bytes: 0 },
): Properties | undefined {
  const bytes = reader.varint();
  if (bytes === 0) return undefined;
  const rest = reader.slice(bytes);
  const properties: Properties = {};
  let seen = 0;
  while (rest.remaining > 0) {
    const id = rest.varint();
    const facts = factsOf.get(id);
    if (facts === undefined || (facts.places & at) === 0) throw misplaced(id, at);
    if ((facts.once & seen) !== 0) throw violation(`property ${id} comes twice`);
    seen |= facts.once;
    if (id !== USER_PROPERTY) readProperty(rest, id, properties);
    else (properties.userProperties ??= []).push(readUserProperty(rest, limits, use));
  }
  if (properties.authenticationMethod === undefined && properties.authenticationData) {
    throw violation('authentication data without an authentication method');
  }
  return properties;
}

function readUserProperty(
  reader: ByteReader,
  { userPropertiesMax, userPropertiesBytesMax }: PropertyLimits,
  use: UserPropertyUse,
): UserProperty {
  use.count++;
  if (use.count > userPropertiesMax) throw overQuota(`${userPropertiesMax} user properties`);
  const start = reader.position;
  const property: UserProperty = [reader.text(), reader.text()];
  // Name and value have two bytes of length before them, which do not count.
  use.bytes += reader.position - start - 4;
  if (use.bytes <= userPropertiesBytesMax) return property;
  throw overQuota(`${userPropertiesBytesMax} bytes of user properties`);
}

function misplaced(id: number, at: Place): ProtocolError {
  if (((SERVER_ONLY.get(id) ?? 0) & at) !== 0) return violation('property is the server’s');
  return malformed(`property ${id} is unknown in this packet`);
}

function readProperty(reader: ByteReader, id: number, into: Properties): void {
  switch (id) {
    case 0x01:
      into.payloadFormatIndicator = bit(reader.uint8());
      return;
    case 0x02:
      into.messageExpiryInterval = reader.uint32();
      return;
    case 0x03:
      into.contentType = reader.text();
      return;
    case 0x08:
      into.responseTopic = responseTopic(reader.text());
      return;
    case 0x09:
      into.correlationData = reader.binary();
      return;
    case 0x0b:
      into.subscriptionIdentifiers = [positive(reader.varint())];
      return;
    case 0x23:
      into.topicAlias = topicAliasOf(reader.uint16());
      return;
    default:
      readConnectionProperty(reader, id, into);
  }
}

/** Properties that are about the connection, not about a message or a subscription. */
function readConnectionProperty(reader: ByteReader, id: number, into: Properties): void {
  switch (id) {
    case 0x11:
      into.sessionExpiryInterval = reader.uint32();
      return;
    case 0x15:
      into.authenticationMethod = reader.text();
      return;
    case 0x16:
      into.authenticationData = reader.binary();
      return;
    case 0x17:
      into.requestProblemInformation = bit(reader.uint8());
      return;
    case 0x18:
      into.willDelayInterval = reader.uint32();
      return;
    case 0x19:
      into.requestResponseInformation = bit(reader.uint8());
      return;
    case 0x1f:
      into.reasonString = reader.text();
      return;
    case 0x21:
      into.receiveMaximum = positive(reader.uint16());
      return;
    case 0x22:
      into.topicAliasMaximum = reader.uint16();
      return;
    case 0x27:
      into.maximumPacketSize = positive(reader.uint32());
      return;
    default:
      throw malformed(`property ${id} is unknown`);
  }
}

function bit(value: number): 0 | 1 {
  if (value !== 0 && value !== 1) throw violation('property is neither 0 nor 1');
  return value;
}

function positive(value: number): number {
  if (value === 0) throw violation('property is 0');
  return value;
}

/** @source MQTT-5.0 [MQTT-3.3.2-14] [MQTT-4.7.3-1] */
function responseTopic(topic: string): string {
  if (topic === '' || topic.includes('+') || topic.includes('#')) {
    throw violation('response topic is no topic name');
  }
  return topic;
}

/** @source MQTT-5.0 [MQTT-3.3.2-8] */
function topicAliasOf(alias: number): number {
  if (alias > 0) return alias;
  throw new ProtocolError(reasonCode.topicAliasInvalid, 'topic alias is 0');
}
