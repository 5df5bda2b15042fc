import { parseSubscription } from '@sallyport/topic';
import type { Qos } from '../codec/index.ts';
import type { Subscription } from './router.ts';

/** A member that is connected to this node. */
interface LocalMember<S> {
  readonly kind: 'local';
  readonly subscriber: S;
  readonly subscription: Subscription;
}

/** A member that is connected to another node. */
interface RemoteMember {
  readonly kind: 'remote';
  readonly clientId: string;
  readonly nodeId: string;
}

export type ShareMember<S> = LocalMember<S> | RemoteMember;

type MemberIdentity<S> =
  | { readonly kind: 'local'; readonly subscriber: S }
  | { readonly kind: 'remote'; readonly clientId: string };

/** Fewer places of members that have left are kept. */
const COMPACT_MIN = 16;

/** The members of one `$share/<group>/<filter>` that are connected, on any node. Each change is O(1), amortized. */
export class ShareGroup<S> {
  readonly sharedFilter: string;
  readonly filter: string;
  /** In the order of joining; places of members that have left are empty until there are too many of them. */
  #members: (ShareMember<S> | undefined)[] = [];
  readonly #locals = new Map<S, number>();
  readonly #remotes = new Map<string, number>();
  #next = 0;

  constructor(sharedFilter: string, filter: string) {
    this.sharedFilter = sharedFilter;
    this.filter = filter;
  }

  get size(): number {
    return this.#locals.size + this.#remotes.size;
  }

  hasRemote(clientId: string): boolean {
    return this.#remotes.has(clientId);
  }

  /** The node that a member is connected to, when it is another one. */
  nodeOf(clientId: string): string | undefined {
    const at = this.#remotes.get(clientId);
    const member = at === undefined ? undefined : this.#members[at];
    return member?.kind === 'remote' ? member.nodeId : undefined;
  }

  /** The node with the lowest id of all that have members; `here` is the id of this one. Undefined when the group is empty. */
  firstNode(here: string): string | undefined {
    let first = this.#locals.size > 0 ? here : undefined;
    for (const at of this.#remotes.values()) {
      const member = this.#members[at];
      if (member?.kind !== 'remote') continue;
      if (first === undefined || member.nodeId < first) first = member.nodeId;
    }
    return first;
  }

  /**
   * The next member in turn that `accepts` says yes to; so each gets as many as any other that can take them. A member that is
   * passed over does not lose its turn for good: the turn goes on behind the one that was picked.
   */
  next(accepts: (member: ShareMember<S>) => boolean): ShareMember<S> | undefined {
    const { length } = this.#members;
    for (let step = 0; step < length; step++) {
      const at = (this.#next + step) % length;
      const member = this.#members[at];
      if (member === undefined || !accepts(member)) continue;
      this.#next = (at + 1) % length;
      return member;
    }
    return undefined;
  }

  /** Replaces the member with the same identity. */
  put(member: ShareMember<S>): void {
    const at = this.#placeOf(member);
    if (at !== undefined) {
      this.#members[at] = member;
      return;
    }
    this.#setPlace(member, this.#members.length);
    this.#members.push(member);
  }

  remove(member: MemberIdentity<S>): boolean {
    const at = this.#placeOf(member);
    if (at === undefined) return false;
    this.#removeAt(at, member);
    return true;
  }

  /** A remote member stays when another node has said meanwhile that it is there. */
  removeRemote(clientId: string, nodeId: string): boolean {
    const at = this.#remotes.get(clientId);
    const member = at === undefined ? undefined : this.#members[at];
    if (at === undefined || member?.kind !== 'remote' || member.nodeId !== nodeId) return false;
    this.#removeAt(at, member);
    return true;
  }

  removeNode(nodeId: string): void {
    for (const clientId of [...this.#remotes.keys()]) this.removeRemote(clientId, nodeId);
  }

  #placeOf(member: MemberIdentity<S>): number | undefined {
    return member.kind === 'local'
      ? this.#locals.get(member.subscriber)
      : this.#remotes.get(member.clientId);
  }

  #setPlace(member: ShareMember<S>, at: number): void {
    if (member.kind === 'local') this.#locals.set(member.subscriber, at);
    else this.#remotes.set(member.clientId, at);
  }

  #removeAt(at: number, member: MemberIdentity<S>): void {
    if (member.kind === 'local') this.#locals.delete(member.subscriber);
    else this.#remotes.delete(member.clientId);
    this.#members[at] = undefined;
    if (this.#members.length > 2 * this.size + COMPACT_MIN) this.#compact();
  }

  #compact(): void {
    const present = (member: ShareMember<S> | undefined) => member !== undefined;
    const before = this.#members.slice(0, this.#next).filter(present).length;
    this.#members = this.#members.filter(present);
    this.#next = before;
    for (const [at, member] of this.#members.entries()) {
      if (member !== undefined) this.#setPlace(member, at);
    }
  }
}

/** All share groups that this node knows of. */
export class ShareGroups<S> {
  readonly #at: (filter: string) => Map<string, ShareGroup<S>>;
  readonly #all = new Map<string, ShareGroup<S>>();
  readonly #on: { readonly added: () => void; readonly emptied: (filter: string) => void };

  /** `at` finds the place of a filter's groups, and makes it. */
  constructor(
    at: (filter: string) => Map<string, ShareGroup<S>>,
    on: { readonly added: () => void; readonly emptied: (filter: string) => void },
  ) {
    this.#at = at;
    this.#on = on;
  }

  get(sharedFilter: string): ShareGroup<S> | undefined {
    return this.#all.get(sharedFilter);
  }

  join(subscriber: S, subscription: Subscription): void {
    const { topicFilter, filter } = subscription;
    this.#group(topicFilter, filter).put({ kind: 'local', subscriber, subscription });
  }

  leave(subscriber: S, sharedFilter: string): void {
    const group = this.#all.get(sharedFilter);
    if (group?.remove({ kind: 'local', subscriber }) === true) this.#forgetIfEmpty(group);
  }

  /** What another node says of its members; a filter that cannot be read is left out. */
  joinRemote(sharedFilter: string, clientId: string, nodeId: string): void {
    const parsed = parseSubscription(sharedFilter);
    if (!parsed.ok || parsed.value.group === undefined) return;
    this.#group(sharedFilter, parsed.value.filter).put({ kind: 'remote', clientId, nodeId });
  }

  /** Says nothing of a member that has come to yet another node meanwhile. */
  leaveRemote(sharedFilter: string, clientId: string, nodeId: string): void {
    const group = this.#all.get(sharedFilter);
    if (group?.removeRemote(clientId, nodeId) === true) this.#forgetIfEmpty(group);
  }

  /** The node is gone, or about to say all of its members anew. */
  removeNode(nodeId: string): void {
    for (const group of [...this.#all.values()]) {
      group.removeNode(nodeId);
      this.#forgetIfEmpty(group);
    }
  }

  #group(sharedFilter: string, filter: string): ShareGroup<S> {
    let group = this.#all.get(sharedFilter);
    if (group === undefined) {
      group = new ShareGroup(sharedFilter, filter);
      this.#all.set(sharedFilter, group);
      this.#at(filter).set(sharedFilter, group);
      this.#on.added();
    }
    return group;
  }

  #forgetIfEmpty(group: ShareGroup<S>): void {
    if (group.size > 0) return;
    this.#all.delete(group.sharedFilter);
    this.#at(group.filter).delete(group.sharedFilter);
    this.#on.emptied(group.filter);
  }
}

/** The lower of a message's and a subscription's quality of service. */
export function lowerQos(a: Qos, b: Qos): Qos {
  return a < b ? a : b;
}
