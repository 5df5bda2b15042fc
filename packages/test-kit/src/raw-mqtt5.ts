import {
  encodeField,
  encodePacket,
  encodeUint16,
  packetTypes,
  type RawConnect,
  type RawPacket,
  type RawPublish,
  type RawSubscription,
} from './raw-mqtt.ts';
import {
  encodeMqtt5Properties,
  type Mqtt5Properties,
  type Mqtt5PropertyName,
  Mqtt5Reader,
  type RawMqtt5Properties,
} from './raw-mqtt5-properties.ts';

/** Packet types. @source MQTT-5.0 §2.1.2 */
export const mqtt5PacketTypes = { ...packetTypes, auth: 15 } as const;

export type Mqtt5PacketType = keyof typeof mqtt5PacketTypes;

export interface RawConnect5 extends Omit<RawConnect, 'cleanSession' | 'will'> {
  /** True when left out. */
  readonly cleanStart?: boolean;
  readonly properties?: RawMqtt5Properties;
  readonly will?: NonNullable<RawConnect['will']> & { readonly properties?: RawMqtt5Properties };
  /** The Connect Flags, instead of those that fit the other fields. */
  readonly flags?: number;
}

function connectFlags({ cleanStart = true, username, password, will }: RawConnect5): number {
  return (
    (username === undefined ? 0 : 0x80) |
    (password === undefined ? 0 : 0x40) |
    (will?.retain === true ? 0x20 : 0) |
    ((will?.qos ?? 0) << 3) |
    (will === undefined ? 0 : 0x04) |
    (cleanStart ? 0x02 : 0)
  );
}

/** CONNECT. @source MQTT-5.0 §3.1 */
export function encodeConnect5(options: RawConnect5): Buffer {
  const { protocolName = 'MQTT', protocolLevel = 5, keepAliveSeconds = 60, will } = options;
  const body = Buffer.concat([
    encodeField(protocolName),
    Buffer.from([protocolLevel, options.flags ?? connectFlags(options)]),
    encodeUint16(keepAliveSeconds),
    encodeMqtt5Properties(options.properties),
    encodeField(options.clientId),
    ...(will === undefined
      ? []
      : [
          encodeMqtt5Properties(will.properties),
          encodeField(will.topicName),
          encodeField(will.payload),
        ]),
    ...[options.username, options.password].filter((field) => field !== undefined).map(encodeField),
  ]);
  return encodePacket(packetTypes.connect, 0, body);
}

export interface RawPublish5 extends RawPublish {
  readonly properties?: RawMqtt5Properties;
}

/** PUBLISH. @source MQTT-5.0 §3.3 */
export function encodePublish5(options: RawPublish5): Buffer {
  const { topicName, payload, qos = 0, retain = false, duplicate = false, packetId } = options;
  const flags = (duplicate ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  const body = Buffer.concat([
    encodeField(topicName),
    ...(packetId === undefined ? [] : [encodeUint16(packetId)]),
    encodeMqtt5Properties(options.properties),
    typeof payload === 'string' ? Buffer.from(payload) : payload,
  ]);
  return encodePacket(packetTypes.publish, flags, body);
}

export type Mqtt5AckType = 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';

/** PUBACK, PUBREC, PUBREL or PUBCOMP; as short as it may be. @source MQTT-5.0 §3.4–§3.7 */
export function encodeAck5(
  type: Mqtt5AckType,
  packetId: number,
  reasonCode?: number,
  properties?: RawMqtt5Properties,
): Buffer {
  const body = Buffer.concat([encodeUint16(packetId), reasonAndProperties(reasonCode, properties)]);
  return encodePacket(packetTypes[type], type === 'pubrel' ? 2 : 0, body);
}

function reasonAndProperties(reasonCode?: number, properties?: RawMqtt5Properties): Buffer {
  if (properties !== undefined) {
    return Buffer.concat([Buffer.from([reasonCode ?? 0]), encodeMqtt5Properties(properties)]);
  }
  return reasonCode === undefined ? Buffer.alloc(0) : Buffer.from([reasonCode]);
}

export interface RawSubscription5 extends RawSubscription {
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  readonly retainHandling?: number;
  /** Bits 6 and 7 of the options. */
  readonly reserved?: number;
}

function subscriptionOptions(subscription: RawSubscription5): number {
  const { qos, noLocal, retainAsPublished, retainHandling = 0, reserved = 0 } = subscription;
  return (
    qos |
    (noLocal === true ? 4 : 0) |
    (retainAsPublished === true ? 8 : 0) |
    (retainHandling << 4) |
    (reserved << 6)
  );
}

/** SUBSCRIBE. @source MQTT-5.0 §3.8 */
export function encodeSubscribe5(
  packetId: number,
  subscriptions: readonly RawSubscription5[],
  properties?: RawMqtt5Properties,
): Buffer {
  const body = Buffer.concat([
    encodeUint16(packetId),
    encodeMqtt5Properties(properties),
    ...subscriptions.flatMap((subscription) => [
      encodeField(subscription.topicFilter),
      Buffer.from([subscriptionOptions(subscription)]),
    ]),
  ]);
  return encodePacket(packetTypes.subscribe, 2, body);
}

/** UNSUBSCRIBE. @source MQTT-5.0 §3.10 */
export function encodeUnsubscribe5(
  packetId: number,
  topicFilters: readonly (string | Uint8Array)[],
  properties?: RawMqtt5Properties,
): Buffer {
  const body = Buffer.concat([
    encodeUint16(packetId),
    encodeMqtt5Properties(properties),
    ...topicFilters.map(encodeField),
  ]);
  return encodePacket(packetTypes.unsubscribe, 2, body);
}

/** DISCONNECT; as short as it may be. @source MQTT-5.0 §3.14 */
export function encodeDisconnect5(reasonCode?: number, properties?: RawMqtt5Properties): Buffer {
  return encodePacket(packetTypes.disconnect, 0, reasonAndProperties(reasonCode, properties));
}

/** AUTH. @source MQTT-5.0 §3.15 */
export function encodeAuth5(reasonCode?: number, properties?: RawMqtt5Properties): Buffer {
  return encodePacket(mqtt5PacketTypes.auth, 0, reasonAndProperties(reasonCode, properties));
}

interface Reason {
  readonly reasonCode: number;
  readonly properties: Mqtt5Properties;
}

interface Shapes
  extends
    Record<Mqtt5AckType, Reason & { readonly packetId: number }>,
    Record<'disconnect' | 'auth', Reason>,
    Record<
      'suback' | 'unsuback',
      {
        readonly packetId: number;
        readonly reasonCodes: readonly number[];
        readonly properties: Mqtt5Properties;
      }
    > {
  readonly connack: Reason & { readonly sessionPresent: boolean };
  readonly publish: {
    readonly topicName: string;
    readonly qos: number;
    readonly retain: boolean;
    readonly duplicate: boolean;
    /** 0 with QoS 0. */
    readonly packetId: number;
    readonly properties: Mqtt5Properties;
    readonly payload: Buffer;
  };
  readonly pingresp: object;
}

/** What a server sends. */
export type Mqtt5ServerPacket = {
  [T in keyof Shapes]: { readonly type: T } & Shapes[T];
}[keyof Shapes];

/** The packets of one type. */
export type Mqtt5PacketOf<T extends Mqtt5ServerPacket['type']> = Extract<
  Mqtt5ServerPacket,
  { readonly type: T }
>;

const ackProperties: readonly Mqtt5PropertyName[] = ['reasonString', 'userProperties'];

/** Properties that a server may send. @source MQTT-5.0 §2.2.2.2 */
const serverProperties: Record<
  'connack' | 'publish' | 'disconnect' | 'auth',
  readonly Mqtt5PropertyName[]
> = {
  connack: [
    ...ackProperties,
    'sessionExpiryInterval',
    'assignedClientIdentifier',
    'serverKeepAlive',
    'authenticationMethod',
    'authenticationData',
    'responseInformation',
    'serverReference',
    'receiveMaximum',
    'topicAliasMaximum',
    'maximumQos',
    'retainAvailable',
    'maximumPacketSize',
    'wildcardSubscriptionAvailable',
    'subscriptionIdentifierAvailable',
    'sharedSubscriptionAvailable',
  ],
  publish: [
    'payloadFormatIndicator',
    'messageExpiryInterval',
    'contentType',
    'responseTopic',
    'correlationData',
    'subscriptionIdentifiers',
    'topicAlias',
    'userProperties',
  ],
  // MQTT-5.0 [MQTT-3.14.2-2] no Session Expiry Interval from a server.
  disconnect: [...ackProperties, 'serverReference'],
  auth: [...ackProperties, 'authenticationMethod', 'authenticationData'],
};

const publishCodes = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const releaseCodes = [0x00, 0x92];

/** Reason codes that a server may send. @source MQTT-5.0 §3.2.2.2, §3.4.2.1 and so on: the tables of each packet */
const serverCodes = {
  connack: [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
  ],
  puback: publishCodes,
  pubrec: publishCodes,
  pubrel: releaseCodes,
  pubcomp: releaseCodes,
  suback: [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
  unsuback: [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
  disconnect: [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
  ],
  auth: [0x00, 0x18, 0x19],
} as const;

function checkedCode(type: keyof typeof serverCodes, code: number): number {
  // `includes` of a tuple takes only its members, which is what is asked here.
  if ((serverCodes[type] as readonly number[]).includes(code)) return code;
  throw new Error(`reason code 0x${code.toString(16)} is not one of ${type}`);
}

type Decoder = (packet: RawPacket, reader: Mqtt5Reader) => Mqtt5ServerPacket;

function decodeConnack({ body }: RawPacket, reader: Mqtt5Reader): Mqtt5ServerPacket {
  const flags = reader.byte();
  if (flags > 1) throw new Error('reserved flags of CONNACK are set');
  // MQTT 3.1.1 refuses a version with two bytes, and so may a server that knows no other.
  return {
    type: 'connack',
    sessionPresent: flags === 1,
    reasonCode: checkedCode('connack', reader.byte()),
    properties: body.length === 2 ? {} : reader.properties(serverProperties.connack),
  };
}

function decodePublish5({ flags }: RawPacket, reader: Mqtt5Reader): Mqtt5ServerPacket {
  const qos = (flags >> 1) & 3;
  const duplicate = (flags & 8) === 8;
  if (qos === 3) throw new Error('PUBLISH with QoS 3');
  if (qos === 0 && duplicate) throw new Error('PUBLISH with QoS 0 and DUP');
  const topicName = reader.string();
  const packetId = qos === 0 ? 0 : reader.uint16();
  if (qos > 0 && packetId === 0) throw new Error('PUBLISH with packet id 0');
  const properties = reader.properties(serverProperties.publish);
  return {
    type: 'publish',
    topicName,
    qos,
    retain: (flags & 1) === 1,
    duplicate,
    packetId,
    properties,
    payload: reader.rest(),
  };
}

const decodeAck =
  (type: Mqtt5AckType): Decoder =>
  (_packet, reader) => ({
    type,
    packetId: reader.uint16(),
    reasonCode: reader.done ? 0 : checkedCode(type, reader.byte()),
    properties: reader.done ? {} : reader.properties(ackProperties),
  });

const decodeSubscriptionAck =
  (type: 'suback' | 'unsuback'): Decoder =>
  (_packet, reader) => ({
    type,
    packetId: reader.uint16(),
    properties: reader.properties(ackProperties),
    reasonCodes: [...reader.rest()].map((code) => checkedCode(type, code)),
  });

const decodeReason =
  (type: 'disconnect' | 'auth'): Decoder =>
  (_packet, reader) => ({
    type,
    reasonCode: reader.done ? 0 : checkedCode(type, reader.byte()),
    properties: reader.done ? {} : reader.properties(serverProperties[type]),
  });

const decoders: Partial<Record<number, Decoder>> = {
  [mqtt5PacketTypes.connack]: decodeConnack,
  [mqtt5PacketTypes.publish]: decodePublish5,
  [mqtt5PacketTypes.puback]: decodeAck('puback'),
  [mqtt5PacketTypes.pubrec]: decodeAck('pubrec'),
  [mqtt5PacketTypes.pubrel]: decodeAck('pubrel'),
  [mqtt5PacketTypes.pubcomp]: decodeAck('pubcomp'),
  [mqtt5PacketTypes.suback]: decodeSubscriptionAck('suback'),
  [mqtt5PacketTypes.unsuback]: decodeSubscriptionAck('unsuback'),
  [mqtt5PacketTypes.pingresp]: () => ({ type: 'pingresp' }),
  [mqtt5PacketTypes.disconnect]: decodeReason('disconnect'),
  [mqtt5PacketTypes.auth]: decodeReason('auth'),
};

/**
 * A packet of a server, read as strictly as the standard lets one.
 * @throws Error on anything that a server must not send: packet, flags, property, reason code, string, length
 */
export function decodeMqtt5Packet(packet: RawPacket): Mqtt5ServerPacket {
  const decoder = decoders[packet.type];
  if (decoder === undefined) throw new Error(`a server sends no packet of type ${packet.type}`);
  const expectedFlags = packet.type === mqtt5PacketTypes.pubrel ? 2 : 0;
  if (packet.type !== mqtt5PacketTypes.publish && packet.flags !== expectedFlags) {
    throw new Error(`flags ${packet.flags} of a packet of type ${packet.type}`);
  }
  const reader = new Mqtt5Reader(packet.body);
  const decoded = decoder(packet, reader);
  if (!reader.done) throw new Error(`bytes after the end of ${decoded.type}`);
  return decoded;
}
