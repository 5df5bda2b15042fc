import type { ProtocolVersion } from './packet.ts';
import { malformed, type ProtocolError, violation } from './reason-code.ts';

const CONNECT = 1;
const PUBLISH = 3;
const AUTH = 15;

const serverOnly: ReadonlySet<number> = new Set([2, 9, 11, 13]);

/** Types whose flags are 0010: PUBREL, SUBSCRIBE, UNSUBSCRIBE. */
const withFlagsTwo: ReadonlySet<number> = new Set([6, 8, 10]);

/** What is wrong with a first byte of a packet, of a client whose CONNECT was read. */
function problemOf(first: number, version: ProtocolVersion): ProtocolError | undefined {
  const type = first >> 4;
  if (type === 0 || (type === AUTH && version !== 5)) return malformed('packet type is reserved');
  if (serverOnly.has(type)) return violation('packet type is the server’s');
  // MQTT-3.1.1 [MQTT-3.1.0-2], MQTT-5.0 [MQTT-3.1.0-2]
  if (type === CONNECT) return violation('second CONNECT');
  if (type === PUBLISH) return problemOfPublish(first);
  // MQTT-3.1.1 [MQTT-2.2.2-1] [MQTT-2.2.2-2], MQTT-5.0 [MQTT-2.1.3-1]
  const expected = withFlagsTwo.has(type) ? 2 : 0;
  // MQTT 3.1 §2.1 has DUP also on packets that ask for an acknowledgement.
  const given = version === 3 && expected === 2 ? first & 7 : first & 15;
  return given === expected ? undefined : malformed('reserved flags of the fixed header are set');
}

function problemOfPublish(first: number): ProtocolError | undefined {
  // MQTT-3.1.1 [MQTT-3.3.1-4], MQTT-5.0 [MQTT-3.3.1-4]
  if ((first & 6) === 6) return malformed('PUBLISH has QoS 3');
  // MQTT-3.1.1 [MQTT-3.3.1-2], MQTT-5.0 [MQTT-3.3.1-2]
  return (first & 14) === 8 ? malformed('PUBLISH has DUP and QoS 0') : undefined;
}

/** Tells for each first byte of a packet whether it is allowed: 1, or 0. */
type FirstBytes = Uint8Array;

const firstBytesOf = (version: ProtocolVersion): FirstBytes =>
  Uint8Array.from({ length: 256 }, (_, first) => (problemOf(first, version) === undefined ? 1 : 0));

/** First bytes that are allowed behind a CONNECT. */
export const connected: Readonly<Record<ProtocolVersion, FirstBytes>> = {
  3: firstBytesOf(3),
  4: firstBytesOf(4),
  5: firstBytesOf(5),
};

/** Only a CONNECT without flags. @source MQTT-3.1.1 [MQTT-3.1.0-1], MQTT-5.0 [MQTT-3.1.0-1] */
export const beforeConnect: FirstBytes = Uint8Array.from({ length: 256 }, (_, first) =>
  first === CONNECT << 4 ? 1 : 0,
);

/** For a client that broke the protocol. */
export const noFirstByte: FirstBytes = new Uint8Array(256);

/** Why a first byte is not allowed; `version` is undefined before the CONNECT. */
export function refusedFirstByte(
  first: number,
  version: ProtocolVersion | undefined,
): ProtocolError {
  if (version === undefined) {
    if (first >> 4 === CONNECT) return malformed('reserved flags of the fixed header are set');
    return violation('first packet is no CONNECT');
  }
  return problemOf(first, version) ?? violation('packet is not allowed now');
}
