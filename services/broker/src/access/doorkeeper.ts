import { addressOfPeer } from '@sallyport/domain';
import { ANONYMOUS_ID } from '@sallyport/policy-client';
import type { RateLimit } from '../listeners/rate-limit.ts';
import type { BanList, BanSubject } from './ban-list.ts';
import type { Flapping } from './flapping.ts';
import type { RefusedAttempts } from './refused-attempts.ts';

/** Why somebody is sent away whatever they show. */
export interface Objection {
  readonly verdict: 'banned' | 'rate_exceeded';
  readonly reason: 'banned' | 'flapping' | 'credential_rate';
}

/** A CONNECT, as far as it is judged without a credential. */
export interface Caller {
  readonly clientId: string;
  readonly username?: string | undefined;
  readonly listener: string;
  readonly peer: string;
}

export interface DoorkeeperOptions {
  readonly bans: BanList;
  readonly flapping: Flapping;
  /** Connects of each credential; undefined: as many as they like. */
  readonly credentialRate: RateLimit | undefined;
  readonly refused: RefusedAttempts;
}

/** What is asked before a secret is looked at, and again before somebody is let in. Synchronous and in memory. */
export class Doorkeeper {
  readonly #options: DoorkeeperOptions;

  constructor(options: DoorkeeperOptions) {
    this.#options = options;
  }

  /** Once for each CONNECT, before anything costly. */
  objection(caller: Caller): Objection | undefined {
    const { bans, flapping } = this.#options;
    if (bans.find(caller) !== undefined) return { verdict: 'banned', reason: 'banned' };
    const { clientId, peer } = caller;
    if (flapping.take(clientId, addressOfPeer(peer) ?? peer)) return undefined;
    return { verdict: 'rate_exceeded', reason: 'flapping' };
  }

  /** Once it is proven who it is, and in the same turn of the event loop as the session's place in the index. */
  lastObjection(proven: { readonly credentialId: string } & BanSubject): Objection | undefined {
    const { bans, credentialRate } = this.#options;
    if (bans.find(proven) !== undefined) return { verdict: 'banned', reason: 'banned' };
    // Those that have no credential do not share one: their sources are what is counted.
    if (proven.credentialId === ANONYMOUS_ID) return undefined;
    if (credentialRate?.take(proven.credentialId) !== false) return undefined;
    return { verdict: 'rate_exceeded', reason: 'credential_rate' };
  }

  /** Whether somebody who was let in once is banned now. */
  isBanned(facts: BanSubject): boolean {
    return this.#options.bans.find(facts) !== undefined;
  }

  /** Keeps who was refused, for those who look. */
  refused(
    { listener, ...subject }: { readonly listener: string } & BanSubject,
    reason: string,
  ): void {
    const { peer, clientId, username } = subject;
    this.#options.refused.record({
      reason,
      listener,
      address: peer === undefined ? '' : (addressOfPeer(peer) ?? ''),
      clientId,
      username,
    });
  }
}
