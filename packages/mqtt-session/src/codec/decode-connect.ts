import type { MqttLimits } from '../limits.ts';
import type { ByteReader } from './byte-reader.ts';
import {
  place,
  type PropertyLimits,
  readProperties,
  type UserPropertyUse,
} from './decode-properties.ts';
import type { ConnectPacket, Properties, ProtocolVersion, Qos, Will } from './packet.ts';
import { malformed, ProtocolError, reasonCode, violation } from './reason-code.ts';

export type ConnectLimits = PropertyLimits &
  Pick<MqttLimits, 'clientIdBytesMax' | 'usernameBytesMax' | 'passwordBytesMax'>;

/** Longest protocol name that is looked at; the longest that exists has six bytes. */
const PROTOCOL_NAME_BYTES_MAX = 16;

const flag = {
  reserved: 0x01,
  cleanStart: 0x02,
  will: 0x04,
  willRetain: 0x20,
  password: 0x40,
  username: 0x80,
} as const;

const levels: ReadonlyMap<string, readonly ProtocolVersion[]> = new Map([
  ['MQIsdp', [3]],
  ['MQTT', [4, 5]],
]);

/**
 * Reads protocol name and level.
 * @throws ProtocolError: protocol error for another protocol's name, unsupported protocol version for an unknown level
 * @source MQTT-3.1.1 [MQTT-3.1.2-1] [MQTT-3.1.2-2], MQTT-5.0 [MQTT-3.1.2-1] [MQTT-3.1.2-2]
 */
export function readProtocolVersion(reader: ByteReader): ProtocolVersion {
  const name = reader.text(PROTOCOL_NAME_BYTES_MAX, reasonCode.protocolError);
  const known = levels.get(name);
  if (known === undefined) throw violation('protocol name is not MQTT');
  const level = reader.uint8();
  const version = known.find((one) => one === level);
  if (version !== undefined) return version;
  throw new ProtocolError(reasonCode.unsupportedProtocolVersion, `protocol level ${level}`);
}

/** Reads what follows the protocol level of a CONNECT, to its end. @source MQTT-3.1.1 §3.1, MQTT-5.0 §3.1 */
export function readConnect(
  reader: ByteReader,
  version: ProtocolVersion,
  limits: ConnectLimits,
): ConnectPacket {
  const flags = reader.uint8();
  checkFlags(flags, version);
  const cleanStart = (flags & flag.cleanStart) !== 0;
  const keepAliveSeconds = reader.uint16();
  const use: UserPropertyUse = { count: 0, bytes: 0 };
  const properties = version === 5 ? readProperties(reader, place.connect, limits, use) : undefined;
  try {
    const head = { flags, version, limits, use };
    const { clientId, will, username, password } = readPayload(reader, head);
    // Field by field: copies by `...` are slow, and connects come in storms.
    const packet: Writable<ConnectPacket> = {
      type: 'connect',
      version,
      cleanStart,
      keepAliveSeconds,
      clientId,
    };
    if (will !== undefined) packet.will = will;
    if (username !== undefined) packet.username = username;
    if (password !== undefined) packet.password = password;
    if (properties !== undefined) packet.properties = properties;
    return packet;
  } catch (error) {
    if (error instanceof ProtocolError) error.packetBytesMax = properties?.maximumPacketSize;
    throw error;
  }
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

interface Payload {
  readonly clientId: string;
  readonly will: Will | undefined;
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
}

/** What a CONNECT says before its payload. */
interface ConnectHead {
  readonly flags: number;
  readonly version: ProtocolVersion;
  readonly limits: ConnectLimits;
  readonly use: UserPropertyUse;
}

function readPayload(reader: ByteReader, { flags, version, limits, use }: ConnectHead): Payload {
  const clientId = reader.text(limits.clientIdBytesMax, reasonCode.clientIdentifierNotValid);
  checkClientId(clientId, version, (flags & flag.cleanStart) !== 0);
  const will =
    (flags & flag.will) === 0 ? undefined : readWill(reader, flags, version, limits, use);
  // MQTT 3.1 §3.1 lets user name and password be missing in spite of their flags.
  const has = (bit: number): boolean =>
    (flags & bit) !== 0 && (version !== 3 || reader.remaining > 0);
  const username = has(flag.username)
    ? reader.text(limits.usernameBytesMax, reasonCode.badUserNameOrPassword)
    : undefined;
  const password = has(flag.password)
    ? reader.binary(limits.passwordBytesMax, reasonCode.badUserNameOrPassword)
    : undefined;
  reader.finish();
  return { clientId, will, username, password };
}

function checkFlags(flags: number, version: ProtocolVersion): void {
  // MQTT-3.1.1 [MQTT-3.1.2-3], MQTT-5.0 [MQTT-3.1.2-3]
  if ((flags & flag.reserved) !== 0) throw malformed('reserved flag of CONNECT is set');
  const hasWill = (flags & flag.will) !== 0;
  // MQTT-3.1.1 [MQTT-3.1.2-14], MQTT-5.0 [MQTT-3.1.2-12]
  if (hasWill && willQos(flags) === 3) throw malformed('will QoS is 3');
  // MQTT-3.1.1 [MQTT-3.1.2-11], MQTT-5.0 [MQTT-3.1.2-11] [MQTT-3.1.2-13]; MQTT 3.1 says to disregard them.
  if (!hasWill && version !== 3 && (willQos(flags) !== 0 || (flags & flag.willRetain) !== 0)) {
    throw malformed('will QoS or will retain without a will');
  }
  // MQTT-3.1.1 [MQTT-3.1.2-22]; MQTT 5 has passwords without a user name.
  if (version !== 5 && (flags & (flag.password | flag.username)) === flag.password) {
    throw malformed('password without a user name');
  }
}

const willQos = (flags: number): number => (flags >> 3) & 3;

function checkClientId(clientId: string, version: ProtocolVersion, cleanStart: boolean): void {
  // MQTT-3.1.1 [MQTT-3.1.3-8]; MQTT 3.1 knows no empty client id.
  if (clientId === '' && (version === 3 || (version === 4 && !cleanStart))) {
    throw new ProtocolError(reasonCode.clientIdentifierNotValid, 'client identifier is empty');
  }
}

function readWill(
  reader: ByteReader,
  flags: number,
  version: ProtocolVersion,
  limits: PropertyLimits,
  use: UserPropertyUse,
): Will {
  const properties: Properties | undefined =
    version === 5 ? readProperties(reader, place.will, limits, use) : undefined;
  const topic = reader.topicName();
  const payload = reader.binary();
  return {
    topic,
    payload,
    qos: willQos(flags) as Qos, // 3 was refused.
    retain: (flags & flag.willRetain) !== 0,
    ...(properties && { properties }),
  };
}
