import type { StoredSubscription } from '@sallyport/session-store';
import { parseSubscription, topicProblemText } from '@sallyport/topic';
import {
  encodeSuback,
  encodeUnsuback,
  ProtocolError,
  type ReasonCode,
  reasonCode,
  type SubscribePacket,
  type SubscriptionRequest,
  type UnsubscribePacket,
} from '../codec/index.ts';
import type { Subscription } from '../routing/router.ts';
import type { Session } from '../session/session.ts';
import type { Connection } from './connection.ts';

/** The failure code of MQTT 3.1.1. */
const FAILURE = 0x80;

interface Granted {
  readonly subscription: Subscription;
  readonly retainHandling: 0 | 1 | 2;
  readonly isNew: boolean;
}

/** What happens on SUBSCRIBE: judged, stored, routed, acknowledged; then the retained messages. */
export async function subscribe(
  connection: Connection,
  session: Session,
  packet: SubscribePacket,
): Promise<void> {
  const { engine, version } = connection;
  const identifier = packet.properties?.subscriptionIdentifiers?.[0];
  const granted: Granted[] = [];
  let count = session.subscriptions.size;
  let denied = false;
  const codes = packet.subscriptions.map((request): ReasonCode | typeof FAILURE => {
    const judged = judge(connection, session, request, identifier);
    denied ||= judged === reasonCode.notAuthorized;
    if (typeof judged === 'number') return version === 5 ? judged : FAILURE;
    const known = granted.some((one) => sameFilter(one, judged)) || !judged.isNew;
    if (!known && count >= engine.limits.subscriptionsMax) {
      return version === 5 ? reasonCode.quotaExceeded : FAILURE;
    }
    if (!known) count++;
    granted.push({ ...judged, isNew: !known });
    return judged.subscription.qos;
  });
  if (denied && session.rights.deniedEnds === true) {
    // Nothing of the packet is granted. @source compat emqx 5.5
    await connection.disconnect(reasonCode.notAuthorized);
    return;
  }
  const subscriptions = granted.map(({ subscription }) => subscription);
  if (session.stored && subscriptions.length > 0) {
    await engine.store.addSubscriptions({ id: session.clientId }, subscriptions.map(storedOf));
  }
  if (connection.closed) return;
  if (session.stored && subscriptions.some((one) => endsQueueing(session, one))) {
    session.outbound.lookForLast();
  }
  await engine.route(session, subscriptions);
  if (connection.closed) return;
  const { packetId } = packet;
  connection.send(
    encodeSuback(
      { type: 'suback', packetId, codes },
      version,
      connection.agreement?.packetBytesMax,
    ),
  );
  await engine.sendRetained(
    session,
    granted.filter(wantsRetained).map(({ subscription }) => subscription),
  );
}

function sameFilter(one: Granted, other: Granted): boolean {
  return one.subscription.topicFilter === other.subscription.topicFilter;
}

/** Whether what was queued for the subscription comes from the bus as QoS 0 from now on, and so would stay in the queue. */
function endsQueueing({ subscriptions }: Session, { topicFilter, qos }: Subscription): boolean {
  return qos === 0 && (subscriptions.get(topicFilter)?.qos ?? 0) > 0;
}

/** @source MQTT-5.0 [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11], §4.8.2 */
function wantsRetained({ subscription, retainHandling, isNew }: Granted): boolean {
  if (subscription.shared || retainHandling === 2) return false;
  return retainHandling === 0 || isNew;
}

/** The subscription, or why there is none. A filter that is no filter ends the connection, before MQTT 5. */
function judge(
  { version }: Connection,
  session: Session,
  request: SubscriptionRequest,
  identifier: number | undefined,
): Granted | ReasonCode {
  const parsed = parseSubscription(request.topicFilter);
  if (!parsed.ok) {
    if (version === 5) return reasonCode.topicFilterInvalid;
    throw new ProtocolError(
      reasonCode.topicFilterInvalid,
      `the topic filter ${topicProblemText[parsed.problem]}`,
    );
  }
  const { filter, group } = parsed.value;
  const shared = group !== undefined;
  if (!session.rights.maySubscribe(filter, request.qos, shared)) return reasonCode.notAuthorized;
  const { topicFilter, qos, noLocal, retainAsPublished, retainHandling } = request;
  return {
    subscription: {
      topicFilter,
      filter,
      shared,
      qos,
      noLocal,
      retainAsPublished,
      identifier,
    },
    retainHandling,
    isNew: !session.subscriptions.has(topicFilter),
  };
}

function storedOf(subscription: Subscription): StoredSubscription {
  const { topicFilter, qos, noLocal, retainAsPublished, identifier } = subscription;
  return {
    topic: topicFilter,
    qos,
    nl: noLocal,
    rap: retainAsPublished,
    ...(identifier !== undefined && { subscriptionIdentifier: identifier }),
  };
}

/** What happens on UNSUBSCRIBE. */
export async function unsubscribe(
  connection: Connection,
  session: Session,
  { packetId, topicFilters }: UnsubscribePacket,
): Promise<void> {
  const { engine, version } = connection;
  const denied = new Set<string>();
  const codes = topicFilters.map((filter, index): ReasonCode => {
    const parsed = parseSubscription(filter);
    if (!parsed.ok) return reasonCode.topicFilterInvalid;
    if (!session.rights.mayUnsubscribe(parsed.value.filter, parsed.value.group !== undefined)) {
      denied.add(filter);
      return reasonCode.notAuthorized;
    }
    // The second time it is gone.
    const present = session.subscriptions.has(filter) && topicFilters.indexOf(filter) === index;
    return present ? reasonCode.success : reasonCode.noSubscriptionExisted;
  });
  // Before MQTT 5 there is no word for a refusal: it is acknowledged, and the subscription stays.
  const ended = topicFilters.filter((filter) => !denied.has(filter));
  // The store first, so that nothing is queued any more once the UNSUBACK is sent.
  if (session.stored && ended.length > 0) {
    await engine.store.removeSubscriptions({ id: session.clientId }, ended);
  }
  if (connection.closed) return;
  engine.unroute(session, ended);
  // What the store has queued by then is delivered, though it comes from the bus too late: else it would wait for the next connection.
  if (session.stored && ended.some((filter) => !filter.startsWith('$share/'))) {
    session.outbound.lookForLast();
  }
  connection.send(
    encodeUnsuback(
      { type: 'unsuback', packetId, codes: version === 5 ? codes : [] },
      version,
      connection.agreement?.packetBytesMax,
    ),
  );
}
