import { describe, expect, test } from 'vitest';
import { mergeSubscriptions } from './merge-subscriptions.ts';

const packet = { topic: 'a/b', qos: 2 as const, clientId: 'publisher' };

describe('the deliveries of a message', () => {
  test('MQTT-5.0 [MQTT-3.3.4-2] [MQTT-3.3.4-3] are one for a session, with the highest QoS and all identifiers', () => {
    const subscriptions = [
      { clientId: 'c', topic: 'a/b', qos: 1, subscriptionIdentifier: 1 },
      { clientId: 'c', topic: 'a/+', qos: 2, rap: true },
      { clientId: 'c', topic: '#', qos: 0, subscriptionIdentifier: 3 },
    ] as const;
    expect(mergeSubscriptions(subscriptions, packet)).toEqual([
      { clientId: 'c', qos: 2, retainAsPublished: true, subscriptionIdentifiers: [1, 3] },
    ]);
    expect(mergeSubscriptions(subscriptions, { ...packet, qos: 1 })).toMatchObject([{ qos: 1 }]);
  });

  test('have the QoS of the message where the subscription is not known', () => {
    expect(mergeSubscriptions([{ clientId: 'c' }], packet)).toMatchObject([{ qos: 2 }]);
    expect(mergeSubscriptions([{ clientId: 'c' }], { topic: 'a' })).toMatchObject([{ qos: 0 }]);
  });

  test('MQTT-5.0 [MQTT-3.8.3-3] leave out what is no-local to the publisher, and only that', () => {
    const own = { clientId: 'publisher', nl: true, qos: 1 } as const;
    expect(mergeSubscriptions([{ ...own, topic: 'a/b' }], packet)).toEqual([]);
    expect(
      mergeSubscriptions(
        [
          { ...own, topic: 'a/b', subscriptionIdentifier: 1 },
          { ...own, nl: false },
        ],
        packet,
      ),
    ).toMatchObject([{ clientId: 'publisher', subscriptionIdentifiers: [] }]);
    expect(mergeSubscriptions([own], { topic: 'a/b' })).toHaveLength(1);
  });

  test('are apart for shared subscriptions, whatever names the clients have', () => {
    const subscriptions = [
      { clientId: 'c', topic: 'a/b', qos: 1 },
      { clientId: 'c', topic: '$share/g/a/b', qos: 1 },
      { clientId: 'c $share/g/a/b', topic: 'a/b', qos: 1 },
      { clientId: 'c', topic: '$share/h/a/b', qos: 1 },
    ] as const;
    const deliveries = mergeSubscriptions(subscriptions, packet);
    expect(deliveries.map(({ clientId, sharedFilter }) => [clientId, sharedFilter])).toEqual([
      ['c', undefined],
      ['c $share/g/a/b', undefined],
      ['c', '$share/g/a/b'],
      ['c', '$share/h/a/b'],
    ]);
  });
});
