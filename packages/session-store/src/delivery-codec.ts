import type { MergedDelivery } from './merge-subscriptions.ts';

/** What differs between the deliveries of one message, as it is stored with each of them. */
export type DeliveryOptions = Omit<MergedDelivery, 'clientId'>;

export function encodeDelivery(delivery: DeliveryOptions): string {
  const { qos, retainAsPublished, subscriptionIdentifiers: ids, sharedFilter } = delivery;
  const rap = retainAsPublished ? 1 : 0;
  return JSON.stringify(
    sharedFilter === undefined ? [qos, rap, ids] : [qos, rap, ids, sharedFilter],
  );
}

export function decodeDelivery(text: string): DeliveryOptions {
  // `encodeDelivery` wrote it.
  const [qos, rap, subscriptionIdentifiers, sharedFilter] = JSON.parse(text) as [
    0 | 1 | 2,
    number,
    number[],
    string?,
  ];
  return {
    qos,
    retainAsPublished: rap === 1,
    subscriptionIdentifiers,
    ...(sharedFilter !== undefined && { sharedFilter }),
  };
}
