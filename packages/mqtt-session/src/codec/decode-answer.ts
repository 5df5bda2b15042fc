import type { ByteReader } from './byte-reader.ts';
import { place, type PropertyLimits, readProperties } from './decode-properties.ts';
import type { AckPacket, AuthPacket, DisconnectPacket, ProtocolVersion } from './packet.ts';
import { reasonCode, violation } from './reason-code.ts';

/** Of a client: "no matching subscribers" is only the server's to say. @source MQTT-5.0 §3.4.2.1, §3.5.2.1 */
const receivedCodes: ReadonlySet<number> = new Set([
  reasonCode.success,
  reasonCode.unspecifiedError,
  reasonCode.implementationSpecificError,
  reasonCode.notAuthorized,
  reasonCode.topicNameInvalid,
  reasonCode.packetIdentifierInUse,
  reasonCode.quotaExceeded,
  reasonCode.payloadFormatInvalid,
]);

/** @source MQTT-5.0 §3.6.2.1, §3.7.2.1 */
const releasedCodes: ReadonlySet<number> = new Set([
  reasonCode.success,
  reasonCode.packetIdentifierNotFound,
]);

/** @source MQTT-5.0 §3.14.2.1, the rows of the client */
const disconnectCodes: ReadonlySet<number> = new Set([
  reasonCode.success,
  reasonCode.disconnectWithWill,
  reasonCode.unspecifiedError,
  reasonCode.malformedPacket,
  reasonCode.protocolError,
  reasonCode.implementationSpecificError,
  reasonCode.topicNameInvalid,
  reasonCode.receiveMaximumExceeded,
  reasonCode.topicAliasInvalid,
  reasonCode.packetTooLarge,
  reasonCode.messageRateTooHigh,
  reasonCode.quotaExceeded,
  reasonCode.administrativeAction,
  reasonCode.payloadFormatInvalid,
]);

/** @source MQTT-5.0 [MQTT-3.15.2-1], the rows of the client */
const authCodes: ReadonlySet<number> = new Set([
  reasonCode.continueAuthentication,
  reasonCode.reAuthenticate,
]);

/**
 * PUBACK, PUBREC, PUBREL or PUBCOMP. In MQTT 5 the reason code and the properties may be missing.
 * @source MQTT-3.1.1 §3.4–3.7, MQTT-5.0 [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
 */
export function readAck(
  type: AckPacket['type'],
  reader: ByteReader,
  version: ProtocolVersion,
  limits: PropertyLimits,
): AckPacket {
  const packetId = reader.packetId();
  if (version !== 5 || reader.remaining === 0) {
    reader.finish();
    return { type, packetId, code: reasonCode.success };
  }
  const allowed = type === 'puback' || type === 'pubrec' ? receivedCodes : releasedCodes;
  const code = readCode(reader, allowed);
  const properties = readLastProperties(reader, place.acknowledgement, limits);
  return properties ? { type, packetId, code, properties } : { type, packetId, code };
}

/** @source MQTT-3.1.1 §3.14, MQTT-5.0 [MQTT-3.14.2-1] */
export function readDisconnect(
  reader: ByteReader,
  version: ProtocolVersion,
  limits: PropertyLimits,
): DisconnectPacket {
  if (version !== 5 || reader.remaining === 0) {
    reader.finish();
    return { type: 'disconnect', code: reasonCode.success };
  }
  const code = readCode(reader, disconnectCodes);
  const properties = readLastProperties(reader, place.disconnect, limits);
  return { type: 'disconnect', code, ...(properties && { properties }) };
}

/** Only of MQTT 5. Without a body it would say "success", which is the server's to say. @source MQTT-5.0 §3.15 */
export function readAuth(reader: ByteReader, limits: PropertyLimits): AuthPacket {
  if (reader.remaining === 0) throw violation('AUTH of a client says success');
  const code = readCode(reader, authCodes);
  const properties = readLastProperties(reader, place.auth, limits);
  if (properties?.authenticationMethod === undefined) {
    throw violation('AUTH has no authentication method'); // MQTT-5.0 §3.15.2.2.2
  }
  return { type: 'auth', code, properties };
}

function readCode(reader: ByteReader, allowed: ReadonlySet<number>): number {
  const code = reader.uint8();
  if (!allowed.has(code)) throw violation(`reason code ${code} is none of a client in this packet`);
  return code;
}

function readLastProperties(
  reader: ByteReader,
  at: Parameters<typeof readProperties>[1],
  limits: PropertyLimits,
): ReturnType<typeof readProperties> {
  if (reader.remaining === 0) return undefined;
  const properties = readProperties(reader, at, limits);
  reader.finish();
  return properties;
}
