import { levelsOf } from '@sallyport/topic';
import type { Qos } from '../codec/index.ts';
import type { ShareGroup } from './share-group.ts';
import { ShareGroups } from './share-group.ts';

/** Topics whose receivers are remembered. */
export const PLANS_MAX = 10_000;

/** Receivers that are remembered, of all those topics together: some 20 MB. */
export const PLANNED_DELIVERIES_MAX = 200_000;

/** What a session has subscribed to, under one filter. */
export interface Subscription {
  /** As sent; the key of the subscription. */
  readonly topicFilter: string;
  /** Without `$share/<group>/`. */
  readonly filter: string;
  readonly shared: boolean;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly identifier: number | undefined;
}

/** One session that gets a message of a topic, whatever number of its subscriptions match. */
export interface Delivery<S> {
  readonly subscriber: S;
  /** The highest of its subscriptions. */
  readonly qos: Qos;
  readonly retainAsPublished: boolean;
  /** Not for its own messages. */
  readonly noLocal: boolean;
  readonly identifiers: readonly number[] | undefined;
  /** For its own messages, when some of its subscriptions are for them and some are not: what the former say. */
  readonly own?: Delivery<S> | undefined;
}

/** Who gets the messages of one topic. Valid until the next change of any subscription. */
export interface Plan<S> {
  readonly deliveries: readonly Delivery<S>[];
  readonly groups: readonly ShareGroup<S>[];
}

interface Node<S> {
  children: Map<string, Node<S>> | undefined;
  subscribers: Map<S, Subscription> | undefined;
  groups: Map<string, ShareGroup<S>> | undefined;
}

const newNode = <S>(): Node<S> => ({
  children: undefined,
  subscribers: undefined,
  groups: undefined,
});

function isEmpty<S>(node: Node<S>): boolean {
  return node.children === undefined && node.subscribers === undefined && node.groups === undefined;
}

function mergeDelivery<S>(known: Delivery<S>, subscription: Subscription): Delivery<S> {
  const { qos, noLocal, retainAsPublished, identifier } = subscription;
  return {
    subscriber: known.subscriber,
    qos: qos > known.qos ? qos : known.qos,
    retainAsPublished: known.retainAsPublished || retainAsPublished,
    noLocal: known.noLocal && noLocal,
    identifiers:
      identifier === undefined ? known.identifiers : [...(known.identifiers ?? []), identifier],
    own: ownDelivery(known, subscription),
  };
}

/** Undefined when there is nothing special about the subscriber's own messages. @source MQTT-5.0 [MQTT-3.8.3-3] */
function ownDelivery<S>(known: Delivery<S>, subscription: Subscription): Delivery<S> | undefined {
  if (known.own === undefined && known.noLocal === subscription.noLocal) return undefined;
  if (known.noLocal) return deliveryOf(known.subscriber, subscription);
  const before = known.own ?? known;
  return subscription.noLocal ? before : mergeDelivery(before, subscription);
}

function deliveryOf<S>(subscriber: S, subscription: Subscription): Delivery<S> {
  const { qos, noLocal, retainAsPublished, identifier } = subscription;
  const identifiers = identifier === undefined ? undefined : [identifier];
  return { subscriber, qos, retainAsPublished, noLocal, identifiers };
}

/** What each subscriber gets, whatever number of the filters it has. With one filter nothing is to be merged. */
function deliveriesOf<S>(matching: readonly Map<S, Subscription>[]): Delivery<S>[] {
  const [first, ...others] = matching;
  if (first === undefined) return [];
  if (others.length === 0) return Array.from(first, ([one, its]) => deliveryOf(one, its));
  const merged = new Map<S, Delivery<S>>();
  for (const subscribers of matching) {
    for (const [subscriber, subscription] of subscribers) {
      const known = merged.get(subscriber);
      merged.set(
        subscriber,
        known === undefined
          ? deliveryOf(subscriber, subscription)
          : mergeDelivery(known, subscription),
      );
    }
  }
  return [...merged.values()];
}

/**
 * The subscriptions of the sessions that are connected to this node: one entry for each distinct filter, in a trie of levels, and a
 * cache topic → receivers. Adding and removing are O(levels), whatever number of sessions share the filter.
 */
export class Router<S> {
  readonly #root = newNode<S>();
  readonly #plans = new Map<string, Plan<S>>();
  #plannedDeliveries = 0;
  /** Members of share groups on every node, found by topic as the subscriptions are. */
  readonly groups: ShareGroups<S>;

  constructor() {
    this.groups = new ShareGroups<S>((filter) => this.#groupsAt(filter), {
      added: () => this.#forgetPlans(),
      emptied: (filter) => this.#prune(levelsOf(filter)),
    });
  }

  /** Whether nothing is left of anything that was ever added. */
  get isEmpty(): boolean {
    return isEmpty(this.#root);
  }

  /** Adds, or replaces the subscription with the same `topicFilter`. Shared ones go to `groups`. */
  add(subscriber: S, subscription: Subscription): void {
    const node = this.#nodeAt(levelsOf(subscription.filter));
    node.subscribers ??= new Map();
    node.subscribers.set(subscriber, subscription);
    this.#forgetPlans();
  }

  remove(subscriber: S, filter: string): void {
    const levels = levelsOf(filter);
    const node = this.#find(levels);
    if (node?.subscribers?.delete(subscriber) !== true) return;
    this.#forgetPlans();
    if (node.subscribers.size > 0) return;
    node.subscribers = undefined;
    this.#prune(levels);
  }

  /** Who gets messages of this topic name. */
  plan(topic: string): Plan<S> {
    const known = this.#plans.get(topic);
    if (known !== undefined) return known;
    const plan = this.#match(topic);
    const { length } = plan.deliveries;
    if (
      this.#plans.size >= PLANS_MAX ||
      this.#plannedDeliveries + length > PLANNED_DELIVERIES_MAX
    ) {
      this.#forgetPlans();
    }
    this.#plans.set(topic, plan);
    this.#plannedDeliveries += length;
    return plan;
  }

  #forgetPlans(): void {
    if (this.#plans.size === 0) return;
    this.#plans.clear();
    this.#plannedDeliveries = 0;
  }

  #match(topic: string): Plan<S> {
    const matching: Map<S, Subscription>[] = [];
    const groups: ShareGroup<S>[] = [];
    this.#visit(levelsOf(topic), (node) => {
      if (node?.groups !== undefined) groups.push(...node.groups.values());
      if (node?.subscribers !== undefined) matching.push(node.subscribers);
    });
    return { deliveries: deliveriesOf(matching), groups };
  }

  /** Every node whose filter matches. @source MQTT-3.1.1 [MQTT-4.7.2-1], MQTT-5.0 [MQTT-4.7.2-1] */
  #visit(levels: readonly string[], take: (node: Node<S> | undefined) => void): void {
    const reserved = levels[0]?.startsWith('$') ?? false;
    const walk = (node: Node<S>, depth: number): void => {
      const { children } = node;
      const wild = !(reserved && depth === 0);
      // `#` includes its parent level.
      if (wild) take(children?.get('#'));
      if (depth === levels.length) {
        take(node);
        return;
      }
      if (children === undefined) return;
      const literal = children.get(levels[depth] ?? '');
      if (literal !== undefined) walk(literal, depth + 1);
      const plus = wild ? children.get('+') : undefined;
      if (plus !== undefined) walk(plus, depth + 1);
    };
    walk(this.#root, 0);
  }

  #groupsAt(filter: string): Map<string, ShareGroup<S>> {
    const node = this.#nodeAt(levelsOf(filter));
    node.groups ??= new Map<string, ShareGroup<S>>();
    return node.groups;
  }

  #nodeAt(levels: readonly string[]): Node<S> {
    let node = this.#root;
    for (const level of levels) {
      node.children ??= new Map();
      let child = node.children.get(level);
      if (child === undefined) node.children.set(level, (child = newNode()));
      node = child;
    }
    return node;
  }

  #find(levels: readonly string[]): Node<S> | undefined {
    let node: Node<S> | undefined = this.#root;
    for (const level of levels) node = node?.children?.get(level);
    return node;
  }

  /** Takes away nodes of the path that hold nothing any more. */
  #prune(levels: readonly string[]): void {
    this.#forgetPlans();
    pruneBelow(this.#root, levels, 0);
  }
}

/** Whether the node is empty afterwards. */
function pruneBelow<S>(node: Node<S>, levels: readonly string[], depth: number): boolean {
  const level = levels[depth];
  const child = level === undefined ? undefined : node.children?.get(level);
  if (level !== undefined && child !== undefined && pruneBelow(child, levels, depth + 1)) {
    node.children?.delete(level);
    if (node.children?.size === 0) node.children = undefined;
  }
  if (node.groups?.size === 0) node.groups = undefined;
  return isEmpty(node);
}
