import { assert } from '@sallyport/errors';
import { type ByteWriter, varintBytes } from './byte-writer.ts';
import type { Properties, UserProperty } from './packet.ts';

/** Packets of the server that have properties; bits, so that one number says where a property belongs. */
export const place = {
  connack: 1,
  publish: 2,
  acknowledgement: 4,
  suback: 8,
  disconnect: 16,
  auth: 32,
} as const;

export type Place = (typeof place)[keyof typeof place];

interface PropertyFacts {
  readonly id: number;
  readonly kind: 'bit' | 'uint16' | 'uint32' | 'varint' | 'text' | 'binary' | 'pair';
  /** Where the server may use it. */
  readonly places: number;
  /** The smallest value of a number. */
  readonly least: 0 | 1;
}

const EVERYWHERE = 0xff;
const NOWHERE = 0;
const ANSWERS =
  place.connack | place.acknowledgement | place.suback | place.disconnect | place.auth;

const fact = (
  id: number,
  kind: PropertyFacts['kind'],
  places: number,
  least: 0 | 1 = 0,
): PropertyFacts => ({ id, kind, places, least });

/** @source MQTT-5.0 §2.2.2.2 */
const factsOf: Readonly<Record<keyof Properties, PropertyFacts>> = {
  payloadFormatIndicator: fact(0x01, 'bit', place.publish),
  messageExpiryInterval: fact(0x02, 'uint32', place.publish),
  contentType: fact(0x03, 'text', place.publish),
  responseTopic: fact(0x08, 'text', place.publish),
  correlationData: fact(0x09, 'binary', place.publish),
  subscriptionIdentifiers: fact(0x0b, 'varint', place.publish, 1),
  sessionExpiryInterval: fact(0x11, 'uint32', place.connack), // MQTT-5.0 [MQTT-3.14.2-2]
  assignedClientIdentifier: fact(0x12, 'text', place.connack),
  serverKeepAlive: fact(0x13, 'uint16', place.connack),
  authenticationMethod: fact(0x15, 'text', place.connack | place.auth),
  authenticationData: fact(0x16, 'binary', place.connack | place.auth),
  requestProblemInformation: fact(0x17, 'bit', NOWHERE),
  willDelayInterval: fact(0x18, 'uint32', NOWHERE),
  requestResponseInformation: fact(0x19, 'bit', NOWHERE),
  responseInformation: fact(0x1a, 'text', place.connack),
  serverReference: fact(0x1c, 'text', place.connack | place.disconnect),
  reasonString: fact(0x1f, 'text', ANSWERS),
  receiveMaximum: fact(0x21, 'uint16', place.connack, 1),
  topicAliasMaximum: fact(0x22, 'uint16', place.connack),
  topicAlias: fact(0x23, 'uint16', place.publish, 1),
  maximumQos: fact(0x24, 'bit', place.connack),
  retainAvailable: fact(0x25, 'bit', place.connack),
  userProperties: fact(0x26, 'pair', EVERYWHERE),
  maximumPacketSize: fact(0x27, 'uint32', place.connack, 1),
  wildcardSubscriptionAvailable: fact(0x28, 'bit', place.connack),
  subscriptionIdentifierAvailable: fact(0x29, 'bit', place.connack),
  sharedSubscriptionAvailable: fact(0x2a, 'bit', place.connack),
};

type PropertyValue = NonNullable<Properties[keyof Properties]>;

/**
 * Bytes of the properties that a packet may have, without their length. The others are left out: those of a will, say,
 * can be handed on as they are.
 */
export function propertiesBytes(properties: Properties | undefined, at: Place): number {
  let bytes = 0;
  for (const name in properties) {
    const key = name as keyof Properties; // Of another, such as one that a newer node has added, there are no facts.
    const value = properties[key];
    const facts: PropertyFacts | undefined = factsOf[key];
    if (value === undefined || facts === undefined || (facts.places & at) === 0) continue;
    bytes += valueBytes(facts, value);
  }
  return bytes;
}

/** Writes the properties and their length, which is what `propertiesBytes` gave for them. */
export function writeProperties(
  writer: ByteWriter,
  properties: Properties | undefined,
  at: Place,
  bytes: number,
): void {
  writer.varint(bytes);
  const start = writer.position;
  for (const name in properties) {
    const key = name as keyof Properties; // As above.
    const value = properties[key];
    const facts: PropertyFacts | undefined = factsOf[key];
    if (value === undefined || facts === undefined || (facts.places & at) === 0) continue;
    writeValue(writer, facts, value);
  }
  assert(writer.position === start + bytes, 'properties changed while they were written');
}

function valueBytes({ kind }: PropertyFacts, value: PropertyValue): number {
  if (typeof value === 'string') return 3 + Buffer.byteLength(value);
  if (typeof value === 'number') return kind === 'bit' ? 2 : kind === 'uint16' ? 3 : 5;
  if (Buffer.isBuffer(value)) return 3 + value.length;
  let bytes = 0;
  for (const one of value) {
    if (typeof one === 'number') bytes += 1 + varintBytes(one);
    else bytes += 5 + Buffer.byteLength(one[0]) + Buffer.byteLength(one[1]);
  }
  return bytes;
}

function writeValue(writer: ByteWriter, facts: PropertyFacts, value: PropertyValue): void {
  if (typeof value === 'object' && !Buffer.isBuffer(value)) {
    for (const one of value) writeOne(writer, facts, one);
  } else writeOne(writer, facts, value);
}

function writeOne(
  writer: ByteWriter,
  facts: PropertyFacts,
  value: string | number | Buffer | UserProperty,
): void {
  writer.uint8(facts.id);
  if (typeof value === 'string') writer.text(value);
  else if (typeof value === 'number') writeNumber(writer, facts, value);
  else if (Buffer.isBuffer(value)) writer.binary(value);
  else {
    writer.text(value[0]);
    writer.text(value[1]);
  }
}

function writeNumber(writer: ByteWriter, { kind, least }: PropertyFacts, value: number): void {
  assert(value >= least && (kind !== 'bit' || value <= 1), 'property has a value out of its range');
  if (kind === 'bit') writer.uint8(value);
  else if (kind === 'uint16') writer.uint16(value);
  else if (kind === 'uint32') writer.uint32(value);
  else writer.varint(value);
}
