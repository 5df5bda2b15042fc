import mqtt, { type Packet } from 'mqtt-packet';
import type {
  ClientPacket,
  Properties,
  ProtocolVersion,
  ServerPacket,
  UserProperty,
  Will,
} from '../src/codec/packet.ts';

/** mqtt-packet's own words for what it calls differently, and which of its numbers are booleans. */
const oracleNames: Readonly<Record<string, string>> = {
  subscriptionIdentifiers: 'subscriptionIdentifier',
  maximumQos: 'maximumQoS',
  subscriptionIdentifierAvailable: 'subscriptionIdentifiersAvailable',
};
const booleans = new Set([
  'payloadFormatIndicator',
  'requestProblemInformation',
  'requestResponseInformation',
  'retainAvailable',
  'wildcardSubscriptionAvailable',
  'subscriptionIdentifierAvailable',
  'sharedSubscriptionAvailable',
]);

type Plain = Record<string, unknown>;

function toOracleProperties(properties: Properties | undefined): Plain | undefined {
  if (properties === undefined) return undefined;
  const result: Plain = {};
  for (const [name, value] of Object.entries(properties)) {
    const oracleName = oracleNames[name] ?? name;
    if (name === 'userProperties') {
      const grouped: Record<string, string[]> = {};
      for (const [key, text] of value as UserProperty[]) (grouped[key] ??= []).push(text);
      result[oracleName] = grouped;
    } else if (name === 'subscriptionIdentifiers') {
      const ids = value as number[];
      result[oracleName] = ids.length === 1 ? ids[0] : ids;
    } else result[oracleName] = booleans.has(name) ? value === 1 : value;
  }
  return result;
}

function fromOracleProperties(properties: Plain | undefined): Properties | undefined {
  if (properties === undefined) return undefined;
  const result: Plain = {};
  for (const [name, oracleName] of propertyNames) {
    const value = properties[oracleName];
    if (value === undefined) continue;
    if (name === 'userProperties') {
      result[name] = Object.entries(value as Plain).flatMap(([key, texts]) =>
        [texts].flat().map((text) => [key, text]),
      );
    } else if (name === 'subscriptionIdentifiers') result[name] = [value].flat();
    else result[name] = booleans.has(name) ? Number(value) : value;
  }
  return result;
}

const propertyNames: readonly (readonly [ours: string, oracle: string])[] = [
  'payloadFormatIndicator',
  'messageExpiryInterval',
  'contentType',
  'responseTopic',
  'correlationData',
  'subscriptionIdentifiers',
  'sessionExpiryInterval',
  'assignedClientIdentifier',
  'serverKeepAlive',
  'authenticationMethod',
  'authenticationData',
  'requestProblemInformation',
  'willDelayInterval',
  'requestResponseInformation',
  'responseInformation',
  'serverReference',
  'reasonString',
  'receiveMaximum',
  'topicAliasMaximum',
  'topicAlias',
  'maximumQos',
  'retainAvailable',
  'userProperties',
  'maximumPacketSize',
  'wildcardSubscriptionAvailable',
  'subscriptionIdentifierAvailable',
  'sharedSubscriptionAvailable',
].map((name) => [name, oracleNames[name] ?? name]);

const toOracleWill = (will: Will | undefined): Plain | undefined =>
  will && { ...will, properties: toOracleProperties(will.properties) };

/** The packet in mqtt-packet's own shape. */
function toOracle(packet: ClientPacket): Plain {
  const properties = 'properties' in packet ? toOracleProperties(packet.properties) : undefined;
  switch (packet.type) {
    case 'connect':
      return {
        cmd: 'connect',
        protocolId: packet.version === 3 ? 'MQIsdp' : 'MQTT',
        protocolVersion: packet.version,
        clean: packet.cleanStart,
        keepalive: packet.keepAliveSeconds,
        clientId: packet.clientId,
        will: toOracleWill(packet.will),
        username: packet.username,
        password: packet.password,
        properties,
      };
    case 'publish':
      return { ...packet, cmd: 'publish', messageId: packet.packetId, properties };
    case 'subscribe':
      return {
        cmd: 'subscribe',
        messageId: packet.packetId,
        subscriptions: packet.subscriptions.map((one) => ({
          topic: one.topicFilter,
          qos: one.qos,
          nl: one.noLocal,
          rap: one.retainAsPublished,
          rh: one.retainHandling,
        })),
        properties,
      };
    case 'unsubscribe':
      return {
        cmd: 'unsubscribe',
        messageId: packet.packetId,
        unsubscriptions: packet.topicFilters,
        properties,
      };
    case 'pingreq':
      return { cmd: 'pingreq' };
    case 'disconnect':
    case 'auth':
      return { cmd: packet.type, reasonCode: packet.code, properties };
    default:
      return {
        cmd: packet.type,
        messageId: packet.packetId,
        reasonCode: packet.code,
        properties,
      };
  }
}

/** What mqtt-packet sends for a packet of a client. */
export function oracleBytes(packet: ClientPacket, version: ProtocolVersion): Buffer {
  // The shapes are the oracle's, and the test shows that it understands them.
  return mqtt.generate(toOracle(packet) as unknown as Packet, { protocolVersion: version });
}

/** What mqtt-packet reads in the bytes of a server: all of them one packet, in our own shape. */
export function oraclePacket(bytes: Buffer, version: ProtocolVersion): ServerPacket {
  const parser = mqtt.parser({ protocolVersion: version });
  const packets: Plain[] = [];
  parser.on('packet', (packet) => packets.push(packet as unknown as Plain));
  parser.on('error', (error: Error) => {
    throw error;
  });
  const rest = parser.parse(bytes);
  const [packet] = packets;
  if (packet === undefined || packets.length > 1 || rest > 0) throw new Error('not one packet');
  return fromOracle(packet, version);
}

function fromOracle(packet: Plain, version: ProtocolVersion): ServerPacket {
  const properties = fromOracleProperties(packet['properties'] as Plain | undefined);
  const rest = properties && { properties };
  const packetId = packet['messageId'];
  // Each shape is ours as far as the oracle has filled it, which is what the test compares.
  switch (packet['cmd']) {
    case 'connack':
      return {
        type: 'connack',
        sessionPresent: packet['sessionPresent'],
        code: version === 5 ? packet['reasonCode'] : packet['returnCode'],
        ...rest,
      } as ServerPacket;
    case 'publish':
      return {
        type: 'publish',
        qos: packet['qos'],
        dup: packet['dup'],
        retain: packet['retain'],
        topic: packet['topic'],
        packetId: packetId ?? 0,
        properties,
        payload: packet['payload'],
      } as ServerPacket;
    case 'suback':
    case 'unsuback':
      return {
        type: packet['cmd'],
        packetId,
        codes: packet['granted'] ?? [],
        ...rest,
      } as ServerPacket;
    case 'pingresp':
      return { type: 'pingresp' };
    case 'disconnect':
    case 'auth':
      return { type: packet['cmd'], code: packet['reasonCode'], ...rest } as ServerPacket;
    default:
      return {
        type: packet['cmd'],
        packetId,
        code: packet['reasonCode'] ?? 0,
        ...rest,
      } as ServerPacket;
  }
}
