import { assert } from '@sallyport/errors';
import {
  assertPacketId,
  ByteWriter,
  VARINT_MAX,
  varintBytes,
  writeText,
  writeVarint,
} from './byte-writer.ts';
import { place, propertiesBytes, writeProperties } from './encode-properties.ts';
import type { Properties, ProtocolVersion, Qos } from './packet.ts';
import { uint16At } from './text.ts';

export interface PublishFields {
  /** Or its UTF-8 bytes, when the caller has them. */
  readonly topic: string | Uint8Array;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup?: boolean;
  /** Without one, a packet with QoS > 0 is a template for `withPacketId`. */
  readonly packetId?: number;
  /** MQTT 5; those that a PUBLISH may not have, and all of them before, are left out. */
  readonly properties?: Properties | undefined;
}

/** Sizes of a PUBLISH, in bytes. */
interface Sizes {
  readonly topic: number;
  /** Undefined where there is no place for properties. */
  readonly properties: number | undefined;
  /** The remaining length. */
  readonly body: number;
}

function sizesOf(fields: PublishFields, version: ProtocolVersion): Sizes {
  const { topic } = fields;
  const topicBytes = typeof topic === 'string' ? Buffer.byteLength(topic) : topic.length;
  assert(topicBytes <= 0xffff, 'topic name has more than 65535 bytes');
  const properties = version === 5 ? propertiesBytes(fields.properties, place.publish) : undefined;
  const head =
    2 +
    topicBytes +
    (fields.qos === 0 ? 0 : 2) +
    (properties === undefined ? 0 : varintBytes(properties) + properties);
  const body = head + fields.payload.length;
  assert(body <= VARINT_MAX, 'packet has more than 268435455 bytes');
  return { topic: topicBytes, properties, body };
}

/**
 * A PUBLISH in one buffer. One encoding serves all receivers with the same version, QoS, retain flag and properties: for
 * QoS > 0 leave out the packet id and give each receiver `withPacketId`.
 * @source MQTT-3.1.1 §3.3, MQTT-5.0 §3.3
 */
export function encodePublish(fields: PublishFields, version: ProtocolVersion): Buffer {
  const { payload } = fields;
  const sizes = sizesOf(fields, version);
  const bytes = Buffer.allocUnsafe(1 + varintBytes(sizes.body) + sizes.body);
  const end = writeHead(bytes, fields, sizes);
  bytes.set(payload, end);
  return bytes;
}

/** Writes everything before the payload, and gives where it ends. */
function writeHead(bytes: Buffer, fields: PublishFields, sizes: Sizes): number {
  const { topic, qos, packetId = 0 } = fields;
  bytes[0] = 0x30 | (fields.dup === true ? 8 : 0) | (qos << 1) | (fields.retain ? 1 : 0);
  let position = writeVarint(bytes, 1, sizes.body);
  bytes[position++] = sizes.topic >> 8;
  bytes[position++] = sizes.topic; // Modulo 256.
  if (typeof topic !== 'string') bytes.set(topic, position);
  else writeText(bytes, position, topic);
  position += sizes.topic;
  if (qos !== 0) {
    if (packetId !== 0) assertPacketId(packetId);
    bytes[position++] = packetId >> 8;
    bytes[position++] = packetId; // Modulo 256.
  }
  if (sizes.properties === undefined) return position;
  const writer = new ByteWriter(bytes, position);
  writeProperties(writer, fields.properties, place.publish, sizes.properties);
  return writer.position;
}

/** Where the packet id stands in an encoded PUBLISH with QoS > 0. */
export function packetIdOffset(publish: Uint8Array): number {
  assert(((publish[0] ?? 0) & 6) !== 0, 'a PUBLISH with QoS 0 has no packet identifier');
  let position = 1;
  while ((publish[position] ?? 0) > 0x7f) position++;
  return position + 3 + uint16At(publish, position + 1);
}

/** A copy of an encoded PUBLISH with QoS > 0, with this packet id; `dup` marks one that is sent again. */
export function withPacketId(publish: Buffer, packetId: number, dup = false): Buffer {
  assertPacketId(packetId);
  const offset = packetIdOffset(publish);
  const bytes = Buffer.allocUnsafe(publish.length);
  bytes.set(publish);
  if (dup) bytes[0] = (publish[0] ?? 0) | 8;
  bytes[offset] = packetId >> 8;
  bytes[offset + 1] = packetId; // Modulo 256.
  return bytes;
}
