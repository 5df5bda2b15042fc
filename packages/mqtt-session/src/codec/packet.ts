import type { ReasonCode } from './reason-code.ts';

/** 3 = MQTT 3.1, 4 = MQTT 3.1.1, 5 = MQTT 5.0: the Protocol Level on the wire. */
export type ProtocolVersion = 3 | 4 | 5;

export type Qos = 0 | 1 | 2;

export type UserProperty = readonly [name: string, value: string];

/** Properties of MQTT 5, of every packet; which ones a packet may have is the codec's business. @source MQTT-5.0 §2.2.2.2 */
export interface Properties {
  /** 0 = unspecified bytes, 1 = UTF-8 */
  payloadFormatIndicator?: 0 | 1;
  /** Seconds. */
  messageExpiryInterval?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Buffer;
  /** One in a SUBSCRIBE; any number in a PUBLISH of the server. */
  subscriptionIdentifiers?: number[];
  /** Seconds; 0xffffffff = never. */
  sessionExpiryInterval?: number;
  assignedClientIdentifier?: string;
  /** Seconds. */
  serverKeepAlive?: number;
  authenticationMethod?: string;
  authenticationData?: Buffer;
  requestProblemInformation?: 0 | 1;
  /** Seconds. */
  willDelayInterval?: number;
  requestResponseInformation?: 0 | 1;
  responseInformation?: string;
  serverReference?: string;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  maximumQos?: 0 | 1;
  retainAvailable?: 0 | 1;
  userProperties?: UserProperty[];
  /** Bytes. */
  maximumPacketSize?: number;
  wildcardSubscriptionAvailable?: 0 | 1;
  subscriptionIdentifierAvailable?: 0 | 1;
  sharedSubscriptionAvailable?: 0 | 1;
}

export interface Will {
  /** Checked as a topic name. */
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly properties?: Properties;
}

export interface ConnectPacket {
  readonly type: 'connect';
  readonly version: ProtocolVersion;
  /** Clean Session of MQTT 3.1 and 3.1.1, Clean Start of MQTT 5. */
  readonly cleanStart: boolean;
  readonly keepAliveSeconds: number;
  /** May be empty. */
  readonly clientId: string;
  readonly will?: Will;
  readonly username?: string;
  readonly password?: Buffer;
  readonly properties?: Properties;
}

export interface ConnackPacket {
  readonly type: 'connack';
  readonly sessionPresent: boolean;
  /** Reason code of MQTT 5, return code before. */
  readonly code: number;
  readonly properties?: Properties;
}

export interface PublishPacket {
  readonly type: 'publish';
  readonly qos: Qos;
  readonly dup: boolean;
  readonly retain: boolean;
  /** Checked as a topic name; empty only when a topic alias stands for it. */
  readonly topic: string;
  /** 1–65535 with QoS > 0, else 0. */
  readonly packetId: number;
  readonly properties: Properties | undefined;
  /** A view of the chunk that was read: copy it before keeping it. */
  readonly payload: Buffer;
}

export interface AckPacket {
  readonly type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';
  readonly packetId: number;
  /** 0 where the packet has none. */
  readonly code: number;
  readonly properties?: Properties;
}

export interface SubscriptionRequest {
  /** As sent, `$share/…` included. UTF-8 was checked, the syntax of filters was not: a bad filter has its own answer in MQTT 5. */
  readonly topicFilter: string;
  readonly qos: Qos;
  /** MQTT 5; false before. */
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** 0 = send retained messages, 1 = only for a new subscription, 2 = never. */
  readonly retainHandling: 0 | 1 | 2;
}

export interface SubscribePacket {
  readonly type: 'subscribe';
  readonly packetId: number;
  /** Never empty. */
  readonly subscriptions: readonly SubscriptionRequest[];
  readonly properties?: Properties;
}

export interface SubackPacket {
  readonly type: 'suback';
  readonly packetId: number;
  readonly codes: readonly number[];
  readonly properties?: Properties;
}

export interface UnsubscribePacket {
  readonly type: 'unsubscribe';
  readonly packetId: number;
  /** Never empty; UTF-8 was checked. */
  readonly topicFilters: readonly string[];
  readonly properties?: Properties;
}

export interface UnsubackPacket {
  readonly type: 'unsuback';
  readonly packetId: number;
  /** Empty before MQTT 5. */
  readonly codes: readonly number[];
  readonly properties?: Properties;
}

export interface PingreqPacket {
  readonly type: 'pingreq';
}

export interface PingrespPacket {
  readonly type: 'pingresp';
}

export interface DisconnectPacket {
  readonly type: 'disconnect';
  /** 0 before MQTT 5. */
  readonly code: number;
  readonly properties?: Properties;
}

export interface AuthPacket {
  readonly type: 'auth';
  readonly code: number;
  readonly properties?: Properties;
}

/** What a client may send. */
export type ClientPacket =
  | ConnectPacket
  | PublishPacket
  | AckPacket
  | SubscribePacket
  | UnsubscribePacket
  | PingreqPacket
  | DisconnectPacket
  | AuthPacket;

/** What the server sends. */
export type ServerPacket =
  | ConnackPacket
  | PublishPacket
  | AckPacket
  | SubackPacket
  | UnsubackPacket
  | PingrespPacket
  | DisconnectPacket
  | AuthPacket;

export type { ReasonCode };
