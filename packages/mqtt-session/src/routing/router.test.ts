import { levelsOf, matches, parseTopicFilter } from '@sallyport/topic';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Qos } from '../codec/index.ts';
import {
  type Delivery,
  PLANNED_DELIVERIES_MAX,
  PLANS_MAX,
  Router,
  type Subscription,
} from './router.ts';

const sub = (filter: string, changes: Partial<Subscription> = {}): Subscription => ({
  topicFilter: filter,
  filter,
  shared: false,
  qos: 0,
  noLocal: false,
  retainAsPublished: false,
  identifier: undefined,
  ...changes,
});

const shared = (group: string, filter: string, changes: Partial<Subscription> = {}): Subscription =>
  sub(filter, { topicFilter: `$share/${group}/${filter}`, shared: true, ...changes });

const receivers = (router: Router<string>, topic: string): string[] =>
  router
    .plan(topic)
    .deliveries.map(({ subscriber }) => subscriber)
    .sort();

describe('who gets a message', () => {
  test.each([
    ['a/b', 'a/b', true],
    ['a/b', 'a/c', false],
    ['a/b', 'a', false],
    ['a/b', 'a/b/c', false],
    ['#', 'a', true],
    ['#', '/', true],
    ['#', '$SYS', false],
    ['#', '$SYS/a', false],
    ['+', '$SYS', false],
    ['+/a', '$SYS/a', false],
    ['$SYS/#', '$SYS', true],
    ['$SYS/+', '$SYS/a', true],
    ['$SYS/#', '$SYS/a/b', true],
    ['a/$b', 'a/$b', true],
    ['a/+', 'a/$b', true],
    ['a/#', 'a', true],
    ['a/#', 'a/', true],
    ['a/#', 'a/b/c', true],
    ['a/#', 'ab', false],
    ['+', 'a', true],
    ['+', '/a', false],
    ['+/+', '/', true],
    ['/+', '/', true],
    ['/', '/', true],
    ['a//b', 'a//b', true],
    ['a/+/b', 'a//b', true],
    ['a/+', 'a/', true],
    ['a/+', 'a', false],
    ['+/#', 'a', true],
    ['+/+/#', 'a/b', true],
    ['+/+/#', 'a', false],
    ['__proto__/constructor', '__proto__/constructor', true],
    ['constructor', 'toString', false],
  ])('MQTT-5.0 §4.7 %s and %s: %s', (filter, topic, is) => {
    const router = new Router<string>();
    router.add('s', sub(filter));
    expect(receivers(router, topic)).toEqual(is ? ['s'] : []);
    router.remove('s', filter);
    expect(receivers(router, topic)).toEqual([]);
  });

  test('nobody, where nobody has subscribed', () => {
    expect(new Router<string>().plan('a')).toEqual({ deliveries: [], groups: [] });
  });

  test('removing what is not there changes nothing', () => {
    const router = new Router<string>();
    router.add('s', sub('a/b'));
    for (const filter of ['a', 'a/b/c', 'b', '#']) router.remove('s', filter);
    router.remove('other', 'a/b');
    expect(receivers(router, 'a/b')).toEqual(['s']);
  });

  test('the plan of a topic follows every change', () => {
    const router = new Router<string>();
    expect(receivers(router, 'a/b')).toEqual([]);
    router.add('one', sub('a/b'));
    expect(receivers(router, 'a/b')).toEqual(['one']);
    router.add('two', sub('a/#'));
    expect(receivers(router, 'a/b')).toEqual(['one', 'two']);
    router.add('one', sub('a/b', { qos: 2 }));
    expect(router.plan('a/b').deliveries.find((one) => one.subscriber === 'one')?.qos).toBe(2);
    router.remove('one', 'a/b');
    expect(receivers(router, 'a/b')).toEqual(['two']);
    router.groups.join('three', shared('g', 'a/+'));
    expect(router.plan('a/b').groups).toHaveLength(1);
    router.groups.leave('three', '$share/g/a/+');
    expect(router.plan('a/b').groups).toHaveLength(0);
    router.groups.joinRemote('$share/g/a/b', 'c', 'node-2');
    expect(router.plan('a/b').groups).toHaveLength(1);
    router.groups.removeNode('node-2');
    expect(router.plan('a/b').groups).toHaveLength(0);
  });

  test('a plan is made once, until something changes', () => {
    const router = new Router<string>();
    router.add('s', sub('#'));
    const plan = router.plan('a');
    expect(router.plan('a')).toBe(plan);
    router.add('t', sub('elsewhere'));
    expect(router.plan('a')).not.toBe(plan);
  });

  test('plans of more topics than are remembered are right all the same', () => {
    const router = new Router<string>();
    router.add('s', sub('t/+'));
    let deliveries = 0;
    for (let count = 0; count < PLANS_MAX + 10; count++) {
      deliveries += router.plan(`t/${count}`).deliveries.length;
    }
    expect(deliveries).toBe(PLANS_MAX + 10);
    router.remove('s', 't/+');
    expect(router.plan('t/1').deliveries).toEqual([]);
  });

  test('plans with many receivers are not remembered beyond a number of receivers', () => {
    const router = new Router<number>();
    const receiversEach = 10_000;
    for (let count = 0; count < receiversEach; count++) router.add(count, sub('t/+'));
    const first = router.plan('t/0');
    const fits = PLANNED_DELIVERIES_MAX / receiversEach;
    for (let count = 1; count < fits; count++) router.plan(`t/${count}`);
    expect(router.plan('t/0')).toBe(first);
    router.plan(`t/${fits}`);
    expect(router.plan('t/0')).not.toBe(first);
  });
});

describe('overlapping subscriptions', () => {
  test('MQTT-5.0 [MQTT-3.3.4-2] [MQTT-3.3.4-3] are one delivery with the highest QoS and all identifiers', () => {
    const router = new Router<string>();
    router.add('s', sub('a/#', { qos: 1, identifier: 7 }));
    router.add('s', sub('a/b', { qos: 2, identifier: 9, retainAsPublished: true }));
    router.add('s', sub('a/+', { qos: 0 }));
    const [delivery, ...others] = router.plan('a/b').deliveries;
    expect(others).toEqual([]);
    expect(delivery).toMatchObject({ qos: 2, retainAsPublished: true, noLocal: false });
    expect([...(delivery?.identifiers ?? [])].sort()).toEqual([7, 9]);
  });

  test('without identifiers there are none', () => {
    const router = new Router<string>();
    router.add('s', sub('a'));
    router.add('s', sub('#'));
    expect(router.plan('a').deliveries[0]?.identifiers).toBeUndefined();
  });

  test('MQTT-5.0 [MQTT-3.8.3-3] those with no-local do not count for what the subscriber publishes itself', () => {
    const router = new Router<string>();
    router.add('s', sub('a/#', { qos: 2, identifier: 1, noLocal: true }));
    router.add('s', sub('a/+', { qos: 0, identifier: 2 }));
    const [delivery] = router.plan('a/b').deliveries;
    expect(delivery).toMatchObject({ qos: 2, identifiers: [1, 2], noLocal: false });
    expect(delivery?.own).toMatchObject({ qos: 0, identifiers: [2] });
  });

  test('a replaced subscription leaves nothing of the old one', () => {
    const router = new Router<string>();
    router.add('s', sub('a', { qos: 2, identifier: 1, retainAsPublished: true }));
    router.add('s', sub('a', { qos: 0 }));
    expect(router.plan('a').deliveries).toMatchObject([
      { qos: 0, retainAsPublished: false, identifiers: undefined },
    ]);
  });
});

// Few different levels, so that random filters and names meet.
const level = fc.constantFrom('a', 'b', '', '$x', 'ä');
const topicName = fc
  .array(level, { minLength: 1, maxLength: 5 })
  .map((levels) => levels.join('/'))
  .filter((name) => name !== '');
const topicFilter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 4 }), fc.boolean())
  .map(([levels, all]) => [...levels, ...(all ? ['#'] : [])].join('/'))
  .filter((filter) => filter !== '' && parseTopicFilter(filter).ok);
const qos = fc.constantFrom<Qos[]>(0, 1, 2);

interface Step {
  readonly subscriber: string;
  readonly filter: string;
  readonly group: string | undefined;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly identifier: number | undefined;
  readonly add: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  subscriber: fc.constantFrom('s1', 's2', 's3'),
  filter: topicFilter,
  group: fc.option(fc.constantFrom('g1', 'g2'), { nil: undefined }),
  qos,
  noLocal: fc.boolean(),
  retainAsPublished: fc.boolean(),
  identifier: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
  add: fc.boolean(),
});

/** What a list of subscriptions and a loop over them would say. */
class NaiveRouter {
  readonly own = new Map<string, { subscriber: string; subscription: Subscription }>();
  readonly groups = new Map<string, Set<string>>();

  run({ subscriber, filter, group, add, ...rest }: Step): void {
    if (group === undefined) {
      const key = `${subscriber} ${filter}`;
      if (add) this.own.set(key, { subscriber, subscription: sub(filter, rest) });
      else this.own.delete(key);
      return;
    }
    const key = `$share/${group}/${filter}`;
    const members = this.groups.get(key) ?? new Set();
    if (add) members.add(subscriber);
    else members.delete(subscriber);
    if (members.size > 0) this.groups.set(key, members);
    else this.groups.delete(key);
  }

  deliveries(topic: string): Record<string, object> {
    const merged: Record<string, { qos: Qos; rap: boolean; nl: boolean; ids: number[] }> = {};
    for (const { subscriber, subscription } of this.own.values()) {
      if (!matches(levelsOf(subscription.filter), levelsOf(topic))) continue;
      const { identifier, retainAsPublished, noLocal } = subscription;
      const none = { qos: 0 as Qos, rap: false, nl: true, ids: [] };
      const { qos: most, rap, nl, ids } = merged[subscriber] ?? none;
      merged[subscriber] = {
        qos: Math.max(most, subscription.qos) as Qos, // One of the two.
        rap: rap || retainAsPublished,
        nl: nl && noLocal,
        ids: [...ids, ...[identifier].filter((id) => id !== undefined)].sort(),
      };
    }
    return merged;
  }

  /** Of each subscriber's own messages. */
  ownDeliveries(topic: string): Record<string, object> {
    const others = new NaiveRouter();
    for (const [key, one] of this.own) if (!one.subscription.noLocal) others.own.set(key, one);
    return others.deliveries(topic);
  }

  groupsOf(topic: string): string[] {
    return [...this.groups.keys()]
      .filter((key) => matches(levelsOf(key.split('/').slice(2).join('/')), levelsOf(topic)))
      .sort();
  }
}

function apply(router: Router<string>, { subscriber, filter, group, add, ...rest }: Step): void {
  if (group === undefined) {
    if (add) router.add(subscriber, sub(filter, rest));
    else router.remove(subscriber, filter);
  } else if (add) router.groups.join(subscriber, shared(group, filter, rest));
  else router.groups.leave(subscriber, `$share/${group}/${filter}`);
}

const summary = (deliveries: readonly Delivery<string>[]): Record<string, object> =>
  Object.fromEntries(
    deliveries.map(({ subscriber, qos: most, retainAsPublished, noLocal, identifiers }) => [
      subscriber,
      { qos: most, rap: retainAsPublished, nl: noLocal, ids: [...(identifiers ?? [])].sort() },
    ]),
  );

/** What the engine does for a subscriber's own messages. */
const ownSummary = (deliveries: readonly Delivery<string>[]): Record<string, object> =>
  summary(deliveries.filter(({ noLocal }) => !noLocal).map((one) => one.own ?? one));

describe('beside a loop over all subscriptions', () => {
  test('every topic has the same receivers and groups after every change', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 30 }),
        fc.array(topicName, { minLength: 1, maxLength: 8 }),
        (steps, topics) => {
          const router = new Router<string>();
          const naive = new NaiveRouter();
          for (const one of steps) {
            apply(router, one);
            naive.run(one);
            for (const topic of topics) {
              const plan = router.plan(topic);
              expect(summary(plan.deliveries)).toEqual(naive.deliveries(topic));
              expect(ownSummary(plan.deliveries)).toEqual(naive.ownDeliveries(topic));
              expect(plan.groups.map(({ sharedFilter }) => sharedFilter).sort()).toEqual(
                naive.groupsOf(topic),
              );
            }
          }
        },
      ),
      { numRuns: 300, verbose: 1 },
    );
  });

  test('what was added and removed in any order leaves nothing behind', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(), (steps, turn) => {
        const router = new Router<string>();
        for (const one of steps) apply(router, one);
        const start = steps.length === 0 ? 0 : turn % steps.length;
        for (const one of [...steps.slice(start), ...steps.slice(0, start)]) {
          apply(router, { ...one, add: false });
        }
        expect(router.isEmpty).toBe(true);
      }),
      { numRuns: 300, verbose: 1 },
    );
  });
});
