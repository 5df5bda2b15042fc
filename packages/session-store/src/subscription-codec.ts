import type { StoredSubscription } from './session-store.ts';

type Options = readonly [qos: number, rh?: number, rap?: number, nl?: number, id?: number];

/** What a subscription asks besides its filter. */
export function encodeOptions(subscription: StoredSubscription): string {
  const { qos, rh, rap, nl, subscriptionIdentifier } = subscription;
  const flag = (value: boolean | undefined): number => (value === undefined ? -1 : Number(value));
  return JSON.stringify([qos, rh ?? -1, flag(rap), flag(nl), subscriptionIdentifier ?? -1]);
}

export function decodeOptions(topic: string, text: string): StoredSubscription {
  const [qos, rh = -1, rap = -1, nl = -1, id = -1] = JSON.parse(text) as Options; // `encodeOptions` wrote it.
  return {
    topic,
    qos: qos as 0 | 1 | 2, // As it was given.
    ...(rh !== -1 && { rh }),
    ...(rap !== -1 && { rap: rap === 1 }),
    ...(nl !== -1 && { nl: nl === 1 }),
    ...(id !== -1 && { subscriptionIdentifier: id }),
  };
}
