import type { RoutedOrClient, StorePacket } from './session-store.ts';

/** One delivery of a message to a session, whatever number of its subscriptions matched. */
export interface MergedDelivery {
  readonly clientId: string;
  readonly qos: 0 | 1 | 2;
  readonly retainAsPublished: boolean;
  readonly subscriptionIdentifiers: readonly number[];
  readonly sharedFilter?: string;
}

/**
 * What each session gets of a message: once, with the highest QoS that its subscriptions grant but not more than the message's,
 * and all their identifiers. A subscription with no-local does not count for its client's own messages. A shared subscription is
 * a delivery of its own. A caller that does not know the subscription queues with the message's QoS. Whom only subscriptions with QoS 0
 * are for gets none of a message with more.
 * @source MQTT-5.0 [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.8.3-3]
 */
export function mergeSubscriptions(
  subscriptions: readonly RoutedOrClient[],
  packet: StorePacket,
): MergedDelivery[] {
  const own = new Map<string, MergedDelivery>();
  const shared = new Map<string, MergedDelivery>();
  for (const one of subscriptions) {
    if (one.nl === true && one.clientId === packet.clientId) continue;
    const topic = one.topic ?? '';
    const isShared = topic.startsWith('$share/');
    const deliveries = isShared ? shared : own;
    const key = isShared ? `${topic}\n${one.clientId}` : one.clientId; // A filter has no line breaks.
    const known = deliveries.get(key);
    deliveries.set(key, known === undefined ? first(one, packet) : merged(known, one, packet));
  }
  const all = [...own.values(), ...shared.values()];
  // Where QoS 0 is all that is left, nothing is queued.
  return packet.qos === undefined || packet.qos === 0 ? all : all.filter(({ qos }) => qos > 0);
}

function first(one: RoutedOrClient, packet: StorePacket): MergedDelivery {
  const { clientId, topic, subscriptionIdentifier } = one;
  return {
    clientId,
    qos: Math.min(packet.qos ?? 0, one.qos ?? 2) as 0 | 1 | 2, // The lower of two of them.
    retainAsPublished: one.rap === true,
    subscriptionIdentifiers: subscriptionIdentifier === undefined ? [] : [subscriptionIdentifier],
    ...(topic?.startsWith('$share/') === true && { sharedFilter: topic }),
  };
}

function merged(known: MergedDelivery, one: RoutedOrClient, packet: StorePacket): MergedDelivery {
  const added = first(one, packet);
  return {
    ...known,
    qos: known.qos > added.qos ? known.qos : added.qos,
    retainAsPublished: known.retainAsPublished || added.retainAsPublished,
    subscriptionIdentifiers: [...known.subscriptionIdentifiers, ...added.subscriptionIdentifiers],
  };
}
