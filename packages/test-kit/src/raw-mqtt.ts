/** Packet types. @source MQTT-3.1.1 §2.2.1 */
export const packetTypes = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
} as const;

/** Length as 1 to 4 bytes. @source MQTT-3.1.1 §2.2.3 */
export function encodeRemainingLength(length: number): Buffer {
  const bytes: number[] = [];
  let rest = length;
  do {
    const digit = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? digit + 128 : digit);
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** A packet from its type, flags and everything after the fixed header. */
export function encodePacket(type: number, flags: number, body: Uint8Array): Buffer {
  const header = Buffer.from([(type << 4) | flags]);
  return Buffer.concat([header, encodeRemainingLength(body.length), body]);
}

/** Two bytes of length, then the bytes; a string as UTF-8. Bytes are taken as they are, valid or not. */
export function encodeField(value: string | Uint8Array): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([encodeUint16(bytes.length), bytes]);
}

export function encodeUint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

export interface RawConnect {
  readonly clientId: string | Uint8Array;
  readonly cleanSession?: boolean;
  readonly keepAliveSeconds?: number;
  readonly username?: string | Uint8Array;
  readonly password?: string | Uint8Array;
  readonly will?: {
    readonly topicName: string | Uint8Array;
    readonly payload: string | Uint8Array;
    readonly qos?: number;
    readonly retain?: boolean;
  };
  /** `MQTT` and 4 for 3.1.1, which is what it is when left out. */
  readonly protocolName?: string;
  readonly protocolLevel?: number;
}

function connectFlags(options: RawConnect): number {
  const { cleanSession = true, username, password, will } = options;
  return (
    (username === undefined ? 0 : 0x80) |
    (password === undefined ? 0 : 0x40) |
    (will?.retain === true ? 0x20 : 0) |
    ((will?.qos ?? 0) << 3) |
    (will === undefined ? 0 : 0x04) |
    (cleanSession ? 0x02 : 0)
  );
}

/** CONNECT. @source MQTT-3.1.1 §3.1 */
export function encodeConnect(options: RawConnect): Buffer {
  const { protocolName = 'MQTT', protocolLevel = 4, keepAliveSeconds = 60, will } = options;
  const fields = [
    options.clientId,
    ...(will === undefined ? [] : [will.topicName, will.payload]),
    ...[options.username, options.password].filter((field) => field !== undefined),
  ];
  const body = Buffer.concat([
    encodeField(protocolName),
    Buffer.from([protocolLevel, connectFlags(options)]),
    encodeUint16(keepAliveSeconds),
    ...fields.map(encodeField),
  ]);
  return encodePacket(packetTypes.connect, 0, body);
}

export interface RawSubscription {
  readonly topicFilter: string | Uint8Array;
  readonly qos: number;
}

/** SUBSCRIBE. @source MQTT-3.1.1 §3.8 */
export function encodeSubscribe(packetId: number, topics: readonly RawSubscription[]): Buffer {
  const filters = topics.flatMap(({ topicFilter, qos }) => [
    encodeField(topicFilter),
    Buffer.from([qos]),
  ]);
  return encodePacket(
    packetTypes.subscribe,
    2,
    Buffer.concat([encodeUint16(packetId), ...filters]),
  );
}

export function encodeUnsubscribe(packetId: number, topicFilters: readonly string[]): Buffer {
  const body = Buffer.concat([encodeUint16(packetId), ...topicFilters.map(encodeField)]);
  return encodePacket(packetTypes.unsubscribe, 2, body);
}

export interface RawPublish {
  readonly topicName: string | Uint8Array;
  readonly payload: string | Uint8Array;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly duplicate?: boolean;
  /** For QoS 1 and 2. */
  readonly packetId?: number;
}

/** PUBLISH. @source MQTT-3.1.1 §3.3 */
export function encodePublish(options: RawPublish): Buffer {
  const { topicName, payload, qos = 0, retain = false, duplicate = false, packetId } = options;
  const flags = (duplicate ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  const body = Buffer.concat([
    encodeField(topicName),
    ...(packetId === undefined ? [] : [encodeUint16(packetId)]),
    typeof payload === 'string' ? Buffer.from(payload) : payload,
  ]);
  return encodePacket(packetTypes.publish, flags, body);
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function encodeAck(
  type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp',
  packetId: number,
): Buffer {
  return encodePacket(packetTypes[type], type === 'pubrel' ? 2 : 0, encodeUint16(packetId));
}

export const PINGREQ = encodePacket(packetTypes.pingreq, 0, Buffer.alloc(0));
export const DISCONNECT = encodePacket(packetTypes.disconnect, 0, Buffer.alloc(0));

/** One packet as it came. */
export interface RawPacket {
  readonly type: number;
  readonly flags: number;
  /** Everything after the fixed header. */
  readonly body: Buffer;
}

/** The first packet of `bytes` and what follows it; undefined while it is not complete. */
export function decodePacket(
  bytes: Buffer,
): { readonly packet: RawPacket; readonly rest: Buffer } | undefined {
  let length = 0;
  for (let index = 1; index <= 4; index += 1) {
    const digit = bytes[index];
    if (digit === undefined) return undefined;
    length += (digit & 0x7f) * 128 ** (index - 1);
    if ((digit & 0x80) !== 0) continue;
    const start = index + 1;
    if (bytes.length < start + length) return undefined;
    const first = bytes[0] ?? 0;
    const packet = {
      type: first >> 4,
      flags: first & 0x0f,
      body: bytes.subarray(start, start + length),
    };
    return { packet, rest: bytes.subarray(start + length) };
  }
  throw new Error('a length of more than four bytes');
}

/** Topic, packet id and payload of a PUBLISH of MQTT 3.1.1. */
export function decodePublish(packet: RawPacket): {
  readonly topicName: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly duplicate: boolean;
  readonly packetId: number | undefined;
  readonly payload: Buffer;
} {
  const { body, flags } = packet;
  const topicEnd = 2 + body.readUInt16BE(0);
  const qos = (flags >> 1) & 3;
  return {
    topicName: body.toString('utf8', 2, topicEnd),
    qos,
    retain: (flags & 1) === 1,
    duplicate: (flags & 8) === 8,
    packetId: qos === 0 ? undefined : body.readUInt16BE(topicEnd),
    payload: body.subarray(qos === 0 ? topicEnd : topicEnd + 2),
  };
}
