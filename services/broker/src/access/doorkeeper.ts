import { addressOfPeer, type Revision } from '@sallyport/domain';
import { ANONYMOUS_ID, type Principal } from '@sallyport/policy-client';
import type { RateLimit } from '../listeners/rate-limit.ts';
import type { BanList, BanSubject } from './ban-list.ts';
import type { Flapping } from './flapping.ts';
import type { Attempt, Guessing } from './guessing.ts';
import type { RefusedAttempts } from './refused-attempts.ts';

/** Why somebody is sent away whatever they show. */
export interface Objection {
  readonly verdict: 'banned' | 'rate_exceeded';
  readonly reason: 'banned' | 'flapping' | 'guessing' | 'credential_rate';
  /** The ban; absent where it is only how often somebody comes. */
  readonly by?: DecidedBy;
}

/** What refused somebody, for the log and the trace. */
export interface DecidedBy {
  readonly ruleId?: string;
  readonly revision: Revision;
}

/** A CONNECT, as far as it is judged without a credential. */
export interface Caller {
  readonly clientId: string;
  readonly username?: string | undefined;
  readonly listener: string;
  readonly peer: string;
}

/** Whose attempt is kept, as far as it was told. */
export interface RefusedSubject extends BanSubject {
  readonly listener: string;
  /** Whether the client id was made up for a client that has sent none. Absent: no. */
  readonly clientIdAssigned?: boolean | undefined;
}

export interface DoorkeeperOptions {
  readonly bans: BanList;
  /** Of client ids. */
  readonly flapping: Flapping;
  /** Of credentials. */
  readonly credentialFlapping: Flapping;
  readonly guessing: Guessing;
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
    const { flapping, guessing } = this.#options;
    const by = this.banOf(caller);
    if (by !== undefined) return { verdict: 'banned', reason: 'banned', by };
    const { clientId } = caller;
    const attempt = attemptOf(caller);
    if (!flapping.take(clientId, attempt.address)) {
      return { verdict: 'rate_exceeded', reason: 'flapping' };
    }
    if (!guessing.isDelayed(attempt)) return undefined;
    return { verdict: 'rate_exceeded', reason: 'guessing' };
  }

  /** It has not proven who it is. `proof`: its password; undefined: one that nobody can compare with others. */
  unproven(caller: Omit<Caller, 'listener'>, proof: Uint8Array | undefined): void {
    this.#options.guessing.failed(attemptOf(caller), proof);
  }

  /** Once it is proven who it is, and in the same turn of the event loop as the session's place in the index. */
  lastObjection({ credentialId, secretId, facts }: Principal): Objection | undefined {
    const { credentialFlapping, credentialRate, guessing } = this.#options;
    const by = this.banOf(facts);
    if (by !== undefined) return { verdict: 'banned', reason: 'banned', by };
    // Those that have no credential do not share one: their sources are what is counted.
    if (credentialId === ANONYMOUS_ID) return undefined;
    const attempt = attemptOf(facts);
    if (secretId !== undefined) guessing.succeeded(attempt);
    if (!credentialFlapping.admits(credentialId, attempt.address)) {
      return { verdict: 'rate_exceeded', reason: 'flapping' };
    }
    if (credentialRate?.take(credentialId) !== false) return undefined;
    return { verdict: 'rate_exceeded', reason: 'credential_rate' };
  }

  /**
   * Somebody who was let in has gone. Short connections of a credential are counted by their ends, so that a fleet that shares one behind
   * one address, and stays, does not count as one that comes again and again.
   */
  ended({ credentialId, facts }: Principal, livedMs: number): void {
    if (credentialId === ANONYMOUS_ID) return;
    this.#options.credentialFlapping.ended(credentialId, attemptOf(facts).address, livedMs);
  }

  /** The ban of somebody, also of one who was let in once. */
  banOf(subject: BanSubject): DecidedBy | undefined {
    const { bans } = this.#options;
    const ban = bans.find(subject);
    return ban && { ruleId: `ban:${ban.id}`, revision: bans.revision };
  }

  /** Keeps who was refused, for those who look. A client id that was made up says nothing: with it no attempt is like another. */
  refused({ listener, ...subject }: RefusedSubject, reason: string): void {
    const { peer, clientIdAssigned, username } = subject;
    const clientId = clientIdAssigned === true ? undefined : subject.clientId;
    this.#options.refused.record({
      reason,
      listener,
      address: peer === undefined ? '' : (addressOfPeer(peer) ?? ''),
      clientId,
      username,
    });
  }
}

function attemptOf({
  clientId,
  username,
  peer = '',
}: Pick<Caller, 'clientId' | 'username'> & { readonly peer?: string | undefined }): Attempt {
  return { clientId, username, address: addressOfPeer(peer) ?? peer };
}
