import type { MqttLimits } from '../limits.ts';
import type { ByteReader } from './byte-reader.ts';
import { place, type PropertyLimits, readProperties } from './decode-properties.ts';
import type {
  ProtocolVersion,
  Qos,
  SubscribePacket,
  SubscriptionRequest,
  UnsubscribePacket,
} from './packet.ts';
import { malformed, ProtocolError, reasonCode, violation } from './reason-code.ts';

export type RequestLimits = PropertyLimits & Pick<MqttLimits, 'filtersPerPacketMax'>;

/** @source MQTT-3.1.1 §3.8, MQTT-5.0 §3.8 */
export function readSubscribe(
  reader: ByteReader,
  version: ProtocolVersion,
  limits: RequestLimits,
): SubscribePacket {
  const packetId = reader.packetId();
  const properties = version === 5 ? readProperties(reader, place.subscribe, limits) : undefined;
  const subscriptions = readAll(reader, limits, () => {
    const topicFilter = topicFilterOf(reader, version);
    return subscriptionRequest(topicFilter, reader.uint8(), version);
  });
  return { type: 'subscribe', packetId, subscriptions, ...(properties && { properties }) };
}

/** @source MQTT-3.1.1 §3.10, MQTT-5.0 §3.10 */
export function readUnsubscribe(
  reader: ByteReader,
  version: ProtocolVersion,
  limits: RequestLimits,
): UnsubscribePacket {
  const packetId = reader.packetId();
  const properties = version === 5 ? readProperties(reader, place.unsubscribe, limits) : undefined;
  const topicFilters = readAll(reader, limits, () => topicFilterOf(reader, version));
  return { type: 'unsubscribe', packetId, topicFilters, ...(properties && { properties }) };
}

/**
 * The entries up to the end of the packet.
 * @throws ProtocolError: protocol error when there are none, quota exceeded when there are too many
 * @source MQTT-3.1.1 [MQTT-3.8.3-3] [MQTT-3.10.3-2], MQTT-5.0 [MQTT-3.8.3-2] [MQTT-3.10.3-2]
 */
function readAll<T>(
  reader: ByteReader,
  { filtersPerPacketMax }: RequestLimits,
  read: () => T,
): T[] {
  if (reader.remaining === 0) throw violation('packet has no topic filter');
  const all: T[] = [];
  while (reader.remaining > 0) {
    if (all.length === filtersPerPacketMax) {
      throw new ProtocolError(
        reasonCode.quotaExceeded,
        `packet has more than ${filtersPerPacketMax} topic filters`,
      );
    }
    all.push(read());
  }
  return all;
}

/** An empty one has an answer of its own in MQTT 5. @source MQTT-3.1.1 [MQTT-4.7.3-1] */
function topicFilterOf(reader: ByteReader, version: ProtocolVersion): string {
  const topicFilter = reader.text();
  if (topicFilter === '' && version !== 5) throw violation('topic filter is empty');
  return topicFilter;
}

function subscriptionRequest(
  topicFilter: string,
  options: number,
  version: ProtocolVersion,
): SubscriptionRequest {
  // MQTT-3.1.1 [MQTT-3.8.3-4], MQTT-5.0 [MQTT-3.8.3-5]
  if ((options & (version === 5 ? 0xc0 : 0xfc)) !== 0) {
    throw malformed('reserved subscription options are set');
  }
  const qos = options & 3;
  if (qos === 3) throw violation('subscription has QoS 3'); // MQTT-5.0 §3.8.3.1
  const noLocal = (options & 4) !== 0;
  const retainHandling = (options >> 4) & 3;
  if (retainHandling === 3) throw violation('subscription has retain handling 3');
  if (noLocal && topicFilter.startsWith('$share/')) {
    throw violation('no-local on a shared subscription'); // MQTT-5.0 [MQTT-3.8.3-4]
  }
  return {
    topicFilter,
    qos: qos as Qos, // 3 was refused; so it was below.
    noLocal,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}
