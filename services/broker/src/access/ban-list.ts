import { addressOfPeer, BanIndex, type BanRule, type Commit } from '@sallyport/domain';
import type { BansAnswer } from '@sallyport/policy-client';

/** What a connection says of itself, and where it comes from. */
export interface BanSubject {
  readonly clientId?: string | undefined;
  readonly username?: string | undefined;
  /** `address:port` */
  readonly peer?: string | undefined;
}

/** Who may not connect to this node: the policy service's list, kept up to date by the log. Every answer is in memory. */
export class BanList {
  readonly #index: BanIndex;
  #revision: number;
  readonly #first: number;
  readonly #clock: () => number;

  /** `clock` tells milliseconds since 1970. */
  constructor({ bans, revision }: BansAnswer, clock: () => number) {
    this.#index = new BanIndex(bans);
    this.#revision = revision;
    this.#first = revision;
    this.#clock = clock;
  }

  /** Takes up a commit; those that the list began with are in it already. Answers whether somebody was banned by it. */
  apply({ revision, events }: Pick<Commit, 'revision' | 'events'>): boolean {
    if (revision <= this.#first) return false;
    let banned = false;
    for (const event of events) {
      if (event.type !== 'BanAdded' && event.type !== 'BanRemoved') continue;
      this.#index.apply(event);
      this.#revision = revision;
      banned ||= event.type === 'BanAdded';
    }
    return banned;
  }

  /** Of the newest change of the list that is known, or of the whole that it began with. */
  get revision(): number {
    return this.#revision;
  }

  /** How many regular expressions a name is compared with. */
  get patterns(): number {
    return this.#index.patterns;
  }

  /** The ban that keeps somebody out now. */
  find({ clientId, username, peer }: BanSubject): BanRule | undefined {
    if (this.#index.size === 0) return undefined;
    const address = peer === undefined ? undefined : addressOfPeer(peer);
    return this.#index.find({ clientId, username, address }, this.#clock());
  }

  /** Whether nobody from an address may connect now; `address` is canonical. */
  hasAddress(address: string): boolean {
    return this.#index.size > 0 && this.#index.find({ address }, this.#clock()) !== undefined;
  }
}
