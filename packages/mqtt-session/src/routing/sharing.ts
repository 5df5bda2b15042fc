import type {
  RoutedSubscription,
  SessionStore,
  StoredSubscription,
} from '@sallyport/session-store';
import { parseSubscription } from '@sallyport/topic';
import type { EngineObserver, MqttHooks, MqttKernel, SessionRights } from '../hooks.ts';
import type { Message, SharedTarget } from '../message.ts';
import type { DeliveryTerms } from '../session/outbound.ts';
import type { Session } from '../session/session.ts';
import type { Subscription } from './router.ts';
import type { ShareGroup, ShareGroups, ShareMember } from './share-group.ts';

/** Where nodes tell each other of their members. */
const SHARE_TOPIC = 'share';

/** A node has just started, and wants to know the members of the others. */
const HELLO_TOPIC = 'hello';

/** Members that one message tells of: with the longest names there are, it is smaller than what a bus takes. */
const ANNOUNCED_MAX = 500;

/** A message that so many members may not receive is dropped: more than a cluster has nodes, and it ends. */
export const REFUSALS_MAX = 32;

/** Stored messages that are handed on at once. */
const PAGE_LENGTH = 100;

/** A message that another member of its group may get. */
export interface Orphan {
  readonly message: Message;
  readonly sharedFilter: string;
}

/** What a node says of its members. */
interface Announcement {
  /** The list is complete: forget what was said before. */
  readonly all?: boolean;
  readonly joined?: readonly (readonly [clientId: string, sharedFilter: string])[];
  readonly left?: readonly (readonly [clientId: string, sharedFilter: string])[];
}

export interface SharingOptions {
  readonly groups: ShareGroups<Session>;
  readonly sessions: ReadonlyMap<string, Session>;
  readonly store: SessionStore;
  readonly kernel: MqttKernel;
  readonly hooks: Pick<MqttHooks, 'storedMayReceive' | 'storedChanged'>;
  readonly observer: EngineObserver;
}

const NOBODY: readonly SharedTarget[] = [];
const NO_FILTERS: ReadonlySet<string> = new Set();

/** Groups of members that are not connected whose turns are remembered. */
const OFFLINE_TURNS_MAX = 10_000;

/** Who of this node gets a message that was addressed to a member, and how. */
export interface SharedDelivery {
  readonly session: Session;
  readonly terms: DeliveryTerms;
}

/**
 * Shared subscriptions. The node that a message comes in at picks one member of each group, on any node: in turn, passing over
 * those whose window or socket is full; if all are, one of them all the same; if nobody is connected, a stored session of the
 * group that may receive it, as far as that is known. The message carries its targets along.
 */
export class Sharing {
  readonly #options: SharingOptions;
  /** Whose turn it is among the members that are not connected. */
  readonly #offlineTurns = new Map<string, number>();

  constructor(options: SharingOptions) {
    this.#options = options;
  }

  /** The members that get the message, one of each group; `except` is leaving and gets none. */
  pick(
    message: Message,
    groups: readonly ShareGroup<Session>[],
    except?: string,
  ): readonly SharedTarget[] {
    const stored = this.#storedFor(message, except);
    if (groups.length === 0 && stored.length === 0) return NOBODY;
    const targets: SharedTarget[] = [];
    const served = new Set<string>();
    for (const group of groups) {
      const member = pickConnected(group, message);
      if (member === undefined) continue;
      served.add(group.sharedFilter);
      targets.push(this.#targetOf(member, group.sharedFilter));
    }
    for (const { topic, clientId } of this.#pickStored(stored, served, message.topic)) {
      targets.push([clientId, topic, '']);
    }
    return targets;
  }

  /**
   * For groups that none of the targets is of, a stored session that nobody is connected of: what was heard of only after the targets
   * were picked, such as a subscription that another node had acknowledged by then.
   */
  pickLate(message: Message, targets: readonly SharedTarget[]): readonly SharedTarget[] {
    const stored = this.#storedFor(message, undefined);
    if (stored.length === 0) return NOBODY;
    const served = new Set(targets.map(([, sharedFilter]) => sharedFilter));
    const picked = this.#pickStored(stored, served, message.topic);
    return picked.map(({ topic, clientId }) => [clientId, topic, '']);
  }

  #storedFor({ topic, qos }: Message, except: string | undefined): readonly RoutedSubscription[] {
    if (qos === 0) return [];
    const stored = this.#options.store.sharedSubscriptionsByTopic(topic);
    return except === undefined ? stored : stored.filter(({ clientId }) => clientId !== except);
  }

  #targetOf(member: ShareMember<Session>, sharedFilter: string): SharedTarget {
    return member.kind === 'local'
      ? [member.subscriber.clientId, sharedFilter, this.#options.kernel.brokerId]
      : [member.clientId, sharedFilter, member.nodeId];
  }

  /** One stored session of each group that nobody is connected of. */
  #pickStored(
    stored: readonly RoutedSubscription[],
    served: ReadonlySet<string>,
    topicName: string,
  ): RoutedSubscription[] {
    if (stored.length === 0) return [];
    const byGroup = new Map<string, RoutedSubscription[]>();
    for (const one of stored) {
      if (served.has(one.topic) || one.qos === 0) continue;
      // One that is connected, and was not picked, may not receive the message.
      if (this.#options.sessions.get(one.clientId)?.subscriptions.has(one.topic) === true) continue;
      const known = byGroup.get(one.topic);
      if (known === undefined) byGroup.set(one.topic, [one]);
      else known.push(one);
    }
    return [...byGroup].flatMap(([sharedFilter, members]) => {
      const turn = this.#offlineTurns.get(sharedFilter) ?? 0;
      const picked = this.#nextAway(members, turn, topicName);
      if (picked === undefined) return [];
      if (this.#offlineTurns.size >= OFFLINE_TURNS_MAX) this.#offlineTurns.clear();
      this.#offlineTurns.set(sharedFilter, picked.turn + 1);
      return picked.member;
    });
  }

  /** From its turn on the first member that may receive the topic; if of none that is known, the first of which nothing is. */
  #nextAway(
    members: readonly RoutedSubscription[],
    turn: number,
    topicName: string,
  ): { readonly member: RoutedSubscription; readonly turn: number } | undefined {
    const { hooks } = this.#options;
    let unknown: { readonly member: RoutedSubscription; readonly turn: number } | undefined;
    for (let step = 0; step < members.length; step++) {
      const member = members[(turn + step) % members.length];
      if (member === undefined) continue;
      const may = hooks.storedMayReceive?.(member.clientId, topicName);
      if (may === true) return { member, turn: turn + step };
      if (may === undefined) unknown ??= { member, turn: turn + step };
    }
    return unknown;
  }

  /**
   * How a target of a message is served here: `elsewhere` when that is another node's business or the store has the message for it,
   * `left` when it was ours and has gone meanwhile.
   */
  deliveryFor(
    [clientId, sharedFilter, brokerId]: SharedTarget,
    message: Message,
  ): SharedDelivery | 'elsewhere' | 'left' {
    const session = this.#options.sessions.get(clientId);
    const subscription = session?.subscriptions.get(sharedFilter);
    if (session !== undefined && subscription !== undefined) {
      const other = session.stored ? undefined : this.#readyInstead(session, subscription, message);
      return other ?? { session, terms: termsOf(subscription) };
    }
    if (brokerId !== this.#options.kernel.brokerId) return 'elsewhere';
    const stored = this.#storedFor(message, undefined);
    return stored.some((one) => one.clientId === clientId && one.topic === sharedFilter)
      ? 'elsewhere'
      : 'left';
  }

  /** Many messages may have been addressed to a member before the first has come: those that do not fit now go to others. */
  #readyInstead(
    session: Session,
    subscription: Subscription,
    message: Message,
  ): SharedDelivery | undefined {
    if (message.qos === 0 || subscription.qos === 0) return undefined;
    if (session.outboundIfAny === undefined || session.outboundIfAny.hasRoom) return undefined;
    const group = this.#options.groups.get(subscription.topicFilter);
    const other = group?.next(
      (member) =>
        member.kind === 'local' && !member.subscriber.stored && mayAndCan(member, message),
    );
    if (other?.kind !== 'local') return undefined;
    return { session: other.subscriber, terms: termsOf(other.subscription) };
  }

  /**
   * A message of another node, for groups that none of its targets is of though they have members here: that node had not heard of
   * those yet, whose SUBACK may have come before the message did. One node gives it to a member: the first that has any.
   * Whoever has a SUBACK has the subscription, on whichever node the next message comes in.
   */
  pickUnheard(
    message: Message,
    groups: readonly ShareGroup<Session>[],
    targets: readonly SharedTarget[],
  ): void {
    const { brokerId } = this.#options.kernel;
    for (const group of groups) {
      const { sharedFilter } = group;
      if (targets.some(([, served]) => served === sharedFilter)) continue;
      if (group.firstNode(brokerId) === brokerId) this.handOn([{ message, sharedFilter }]);
    }
  }

  /**
   * Gives each message to another member of its group; without one it has no receiver any more.
   * @param except who has just left
   */
  handOn(orphans: readonly Orphan[], except?: string): void {
    for (const orphan of orphans) {
      this.#handOn(orphan, except).catch((error: Error) => this.#options.observer.problem(error));
    }
  }

  /** A message whose member has left after it was picked. If the session goes on, the store may have the message in its queue already. */
  handOnLeft([clientId, sharedFilter]: SharedTarget, message: Message): void {
    const { sessions, observer } = this.#options;
    const isStored = message.qos > 0 && sessions.get(clientId)?.stored === true;
    const handedOn = this.#handOn({ message, sharedFilter });
    const done = isStored ? handedOn.then(() => this.#takeOut(clientId, message)) : handedOn;
    done.catch((error: Error) => observer.problem(error));
  }

  async #takeOut(clientId: string, { brokerId, brokerCounter }: Message): Promise<void> {
    if (brokerId === undefined || brokerCounter === undefined) return;
    await this.#options.store.removeQueued(clientId, { brokerId, brokerCounter });
  }

  async #handOn({ message, sharedFilter }: Orphan, except?: string): Promise<void> {
    const group = this.#options.groups.get(sharedFilter);
    const target = this.pick(message, group === undefined ? [] : [group], except).find(
      ([, picked]) => picked === sharedFilter,
    );
    if (target !== undefined) await this.#sendOn({ message, sharedFilter }, target);
  }

  /**
   * Gives a message that its member may not receive to one that may: here if there is one, else on a node that has not refused it,
   * else to a stored session that nobody is connected of. Each node refuses once what is under way, so it does not go round; who was
   * not connected may refuse it later, `REFUSALS_MAX` times in all. False when it could not be stored for whoever gets it: a queue
   * that has it must keep it then.
   * @source MQTT-5.0 §4.8.2: a message goes to one of the members, and not to none because one has lost its right
   */
  async refused(orphan: Orphan, by: string, refusedAt: readonly string[]): Promise<boolean> {
    const { message, sharedFilter } = orphan;
    const { groups, kernel, observer } = this.#options;
    if (refusedAt.length >= REFUSALS_MAX) return true;
    const group = groups.get(sharedFilter);
    const here = group?.next((member) => member.kind === 'local' && may(member, message));
    const everywhere = [...refusedAt, kernel.brokerId];
    const picked =
      here ??
      group?.next((member) => member.kind === 'remote' && !everywhere.includes(member.nodeId));
    const target =
      picked === undefined
        ? this.#offlineTarget(orphan, group, by)
        : this.#targetOf(picked, sharedFilter);
    if (target === undefined) return true;
    const passed = here === undefined ? everywhere : refusedAt;
    try {
      await this.#sendOn(orphan, target, passed);
      return true;
    } catch (error) {
      observer.problem(error as Error); // Of the store's contract.
      return false;
    }
  }

  #offlineTarget(
    { message, sharedFilter }: Orphan,
    group: ShareGroup<Session> | undefined,
    by: string,
  ): SharedTarget | undefined {
    const stored = this.#storedFor(message, by).filter(
      ({ topic, clientId }) => topic === sharedFilter && group?.hasRemote(clientId) !== true,
    );
    const [picked] = this.#pickStored(stored, NO_FILTERS, message.topic);
    return picked && [picked.clientId, sharedFilter, ''];
  }

  async #sendOn(
    { message, sharedFilter }: Orphan,
    target: SharedTarget,
    refusedAt?: readonly string[],
  ): Promise<void> {
    const { store, kernel } = this.#options;
    const { routing: _, ...properties } = message.properties ?? {};
    const again = {
      ...message,
      dup: false,
      messageId: undefined,
      properties,
      brokerId: kernel.brokerId,
      brokerCounter: kernel.nextCounter(),
    };
    const subscription = this.#storedFor(message, undefined).find(
      ({ clientId, topic }) => clientId === target[0] && topic === sharedFilter,
    );
    if (subscription !== undefined) {
      const kept =
        refusedAt === undefined || refusedAt.length === 0
          ? again
          : { ...again, properties: { ...properties, routing: { targets: [], refusedAt } } };
      await store.outgoingEnqueueCombi([subscription], kept);
    }
    const routing = {
      targets: [target],
      targetsOnly: true,
      ...(refusedAt !== undefined && { refusedAt }),
    };
    kernel.forward({ ...again, properties: { ...properties, routing } });
  }

  /** A stored session ends: what waits in its queue for a group goes to other members. */
  async handOnStored(clientId: string): Promise<void> {
    const { store } = this.#options;
    let after = 0;
    for (;;) {
      const page = await store.readQueue(clientId, { after, limit: PAGE_LENGTH });
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.position;
      for (const { sharedFilter, qos, state, packet } of page) {
        if (sharedFilter === undefined || (qos === 2 && state !== 'queued')) continue;
        // What is queued is what the kernel made of a message.
        await this.#handOn({ message: packet as Message, sharedFilter }, clientId);
      }
    }
  }

  /** The other node that a client with a stored session is connected to as a member of some group. */
  async nodeOf(clientId: string): Promise<string | undefined> {
    const { groups, store } = this.#options;
    for (const { topic } of await store.subscriptionsByClient({ id: clientId })) {
      const brokerId = groups.get(topic)?.nodeOf(clientId);
      if (brokerId !== undefined) return brokerId;
    }
    return undefined;
  }

  join(session: Session, subscription: Subscription): void {
    this.#options.groups.join(session, subscription);
    this.#tell({ joined: [[session.clientId, subscription.topicFilter]] });
  }

  leave(session: Session, sharedFilter: string): void {
    this.#options.groups.leave(session, sharedFilter);
    this.#options.hooks.storedChanged?.(session.clientId);
    this.#tell({ left: [[session.clientId, sharedFilter]] });
  }

  /** This node is new here. */
  start(): void {
    this.announce();
    this.#options.kernel.signal(HELLO_TOPIC, () => '');
  }

  /** Tells the other nodes of all members here. */
  announce(): void {
    const joined: [string, string][] = [];
    for (const session of this.#options.sessions.values()) {
      for (const { shared, topicFilter } of session.subscriptions.values()) {
        if (shared) joined.push([session.clientId, topicFilter]);
      }
    }
    this.#tell({ all: true, joined: joined.slice(0, ANNOUNCED_MAX) });
    for (let start = ANNOUNCED_MAX; start < joined.length; start += ANNOUNCED_MAX) {
      this.#tell({ joined: joined.slice(start, start + ANNOUNCED_MAX) });
    }
  }

  nodeGone(brokerId: string): void {
    this.#options.groups.removeNode(brokerId);
  }

  signalled(brokerId: string, topic: string, payload: string): void {
    if (brokerId === this.#options.kernel.brokerId) return;
    if (topic === HELLO_TOPIC) this.announce();
    if (topic !== SHARE_TOPIC) return;
    const { groups, hooks } = this.#options;
    // Written by `#tell` of a node of this cluster.
    const { all, joined, left } = JSON.parse(payload) as Announcement;
    if (all === true) groups.removeNode(brokerId);
    for (const [clientId, sharedFilter] of joined ?? []) {
      groups.joinRemote(sharedFilter, clientId, brokerId);
    }
    for (const [clientId, sharedFilter] of left ?? []) {
      groups.leaveRemote(sharedFilter, clientId, brokerId);
      hooks.storedChanged?.(clientId);
    }
  }

  #tell(announcement: Announcement): void {
    this.#options.kernel.signal(SHARE_TOPIC, () => JSON.stringify(announcement));
  }

  /** The subscriptions of a stored session: those that it may still have, and the filters of those that it may not. */
  restored(
    stored: readonly StoredSubscription[],
    rights: SessionRights,
  ): { readonly kept: Subscription[]; readonly lost: string[] } {
    const kept: Subscription[] = [];
    const lost: string[] = [];
    for (const one of stored) {
      const known = parsed(one.topic);
      if (known === undefined || !rights.maySubscribe(known.filter, one.qos, known.shared)) {
        lost.push(one.topic);
        continue;
      }
      kept.push({
        topicFilter: one.topic,
        filter: known.filter,
        shared: known.shared,
        qos: one.qos,
        noLocal: one.nl === true,
        retainAsPublished: one.rap === true,
        identifier: one.subscriptionIdentifier,
      });
    }
    return { kept, lost };
  }
}

function parsed(topicFilter: string) {
  const result = parseSubscription(topicFilter);
  if (!result.ok) return undefined;
  return { filter: result.value.filter, shared: result.value.group !== undefined };
}

function termsOf(subscription: Subscription): DeliveryTerms {
  const { qos, retainAsPublished, identifier, topicFilter } = subscription;
  const identifiers = identifier === undefined ? undefined : [identifier];
  return { qos, retainAsPublished, identifiers, sharedFilter: topicFilter };
}

function pickConnected(
  group: ShareGroup<Session>,
  message: Message,
): ShareMember<Session> | undefined {
  return (
    group.next((member) => mayAndCan(member, message)) ??
    group.next((member) => may(member, message))
  );
}

function may(member: ShareMember<Session>, { topic }: Message): boolean {
  return member.kind === 'remote' || member.subscriber.mayReceive(topic);
}

/** Of a member on another node only that node knows. */
function mayAndCan(member: ShareMember<Session>, message: Message): boolean {
  if (member.kind === 'remote') return true;
  if (!may(member, message)) return false;
  const { connection, outboundIfAny } = member.subscriber;
  if (connection.congested) return false;
  const needsWindow = message.qos > 0 && member.subscription.qos > 0;
  return !needsWindow || outboundIfAny === undefined || outboundIfAny.hasRoom;
}
