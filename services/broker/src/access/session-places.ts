import { randomUUID } from 'node:crypto';
import { OperationalError } from '@sallyport/errors';
import { ANONYMOUS_ID } from '@sallyport/policy-client';
import type { SessionPlace, SessionStore } from '@sallyport/session-store';
import type { LogThrottle } from '@sallyport/telemetry';
import type { LiveSession } from './live-sessions.ts';

/** Pause before places that could not be given back are given back again. */
export const LEAVE_RETRY_MS = 1000;

/** Longest wait for the places of other nodes; where theirs come later, all are counted again then. */
export const LIMIT_WAIT_MS = 2000;

/** Pause before it is asked again whether the other nodes have told theirs. */
const LIMIT_RETRY_MS = 20;

/** Pause before it is looked again whether all nodes know a limit. */
export const RECOUNT_MS = 200;

export interface SessionPlacesOptions {
  readonly store: Pick<SessionStore, 'takePlace' | 'leavePlace' | 'limitPlaces' | 'tellPlaces'>;
  readonly nodeId: string;
  /** Other nodes that are alive. */
  readonly otherNodes: () => readonly string[];
  /** Those of them that have not said to enforce this revision. */
  readonly nodesBehind: (revision: number) => readonly string[];
  /** Of a credential that says nothing itself; 0: as many as come. */
  readonly sessionsMax: number;
  readonly logger: Pick<LogThrottle, 'warn'>;
}

/**
 * How many clients are connected with one credential, over all nodes. A credential without a limit costs nothing; one with a limit costs
 * a question of the store at each CONNECT, and none in a process that has all sessions.
 */
export class SessionPlaces implements Disposable {
  readonly #options: SessionPlacesOptions;
  readonly #run = randomUUID();
  readonly #taken = new Map<LiveSession, SessionPlace>();
  /** Could not be given back yet. */
  readonly #owed = new Set<SessionPlace>();
  /** Of those that come, whose place was asked for and not answered. */
  readonly #asking = new Set<LiveSession>();
  /** Credentials with sessions that were counted, or taken, before every node knew the limit of this revision. */
  readonly #uncounted = new Map<string, number>();
  #places = 0;
  #timer: NodeJS.Timeout | undefined;
  #recount: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SessionPlacesOptions) {
    this.#options = options;
  }

  /**
   * Takes a place for a session that is coming; false when there is none. To be left whatever becomes of the session.
   * @throws OperationalError `session_store_unavailable`, in the promise; then it was left already
   */
  take(session: LiveSession): boolean | Promise<boolean> {
    const most = this.mostOf(session);
    if (most === Infinity) return true;
    const place = this.#placeOf(session);
    const taken = this.#options.store.takePlace(place, { most, nodeIds: this.#nodeIds });
    if (!(taken instanceof Promise)) return this.#answered(session, taken);
    this.#asking.add(session);
    return taken
      .then(
        (answer) => this.#answered(session, answer),
        (error: unknown) => {
          this.leave(session); // It may be taken all the same.
          throw error;
        },
      )
      .finally(() => this.#asking.delete(session));
  }

  /** Clients that may be connected with its credential at once. */
  mostOf(session: LiveSession): number {
    // Those that have no credential do not share one.
    if (session.principal.credentialId === ANONYMOUS_ID) return Infinity;
    return (session.sessionsMax ?? this.#options.sessionsMax) || Infinity;
  }

  /**
   * The limits of their credentials are lower since this revision, or there were none: ends those that have no place any more.
   * `sessions`: all of these credentials that are live on this node. Over all nodes the oldest of a credential keep their places: it waits
   * until the other nodes have told theirs, and for one that does not within `LIMIT_WAIT_MS` all are counted again when it has.
   * @throws OperationalError `session_store_unavailable`, in the promise: to be done again
   */
  async limit(sessions: readonly LiveSession[], revision: number): Promise<void> {
    const limited = sessions.filter((one) => this.mostOf(one) !== Infinity);
    if (limited.length === 0) return;
    await this.#count(limited);
    const until = performance.now() + LIMIT_WAIT_MS;
    while (this.#options.otherNodes().length > 0) {
      const told = await this.#options.store.tellPlaces(this.#options.nodeId, revision);
      const behind = this.#options.nodesBehind(revision);
      // Who enforces it has told of all, or had nobody.
      if (behind.every((nodeId) => (told.get(nodeId) ?? -1) >= revision)) {
        await this.#count(limited.filter((one) => this.#taken.has(one)));
        return;
      }
      if (performance.now() >= until || this.#closed) {
        for (const one of limited) this.#countLater(one, revision);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, LIMIT_RETRY_MS));
    }
  }

  /** Ends those of them that have no place. */
  async #count(sessions: readonly LiveSession[]): Promise<void> {
    const byCredential = new Map<string, LiveSession[]>();
    for (const one of sessions.toSorted((a, b) => a.beganAt - b.beganAt)) {
      const { credentialId } = one.principal;
      const same = byCredential.get(credentialId);
      if (same === undefined) byCredential.set(credentialId, [one]);
      else same.push(one);
    }
    for (const byAge of byCredential.values()) {
      const [first] = byAge as [LiveSession]; // None is empty.
      const most = this.mostOf(first);
      if (most === Infinity) continue;
      const own = new Map(byAge.map((one) => [this.#taken.get(one) ?? this.#placeOf(one), one]));
      const limits = { most, nodeIds: this.#nodeIds };
      for (const place of await this.#options.store.limitPlaces([...own.keys()], limits)) {
        const session = own.get(place);
        // It may have gone meanwhile.
        if (session === undefined || this.#taken.get(session) !== place) continue;
        this.#taken.delete(session);
        session.outnumber();
      }
    }
  }

  #countLater({ principal: { credentialId } }: LiveSession, revision: number): void {
    this.#uncounted.set(credentialId, Math.max(this.#uncounted.get(credentialId) ?? 0, revision));
    this.#recount ??= setTimeout(() => void this.#countAgain(), RECOUNT_MS).unref();
  }

  /** Those whose limit all nodes know by now. */
  async #countAgain(): Promise<void> {
    const due = new Set<string>();
    for (const [credentialId, revision] of this.#uncounted) {
      if (this.#options.nodesBehind(revision).length > 0) continue;
      due.add(credentialId);
      this.#uncounted.delete(credentialId);
    }
    const own = [...this.#taken.keys()].filter((one) => due.has(one.principal.credentialId));
    const settled = own.filter((one) => !this.#asking.has(one));
    try {
      await this.#count(settled);
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      const fields = { code: error.code, err: error };
      this.#options.logger.warn('session places', fields, 'places cannot be counted');
      for (const one of settled) this.#countLater(one, 0);
    }
    this.#recount = undefined;
    if (this.#uncounted.size === 0 || this.#closed) return;
    this.#recount = setTimeout(() => void this.#countAgain(), RECOUNT_MS).unref();
  }

  get #nodeIds(): readonly string[] {
    const { nodeId, otherNodes } = this.#options;
    return [nodeId, ...otherNodes().filter((one) => one !== nodeId)];
  }

  /** A new one, to be left whether it is taken or not. */
  #placeOf(session: LiveSession): SessionPlace {
    const { credentialId: owner, facts } = session.principal;
    const place = {
      ...{ owner, clientId: facts.clientId, nodeId: this.#options.nodeId },
      token: `${this.#run} ${++this.#places}`,
      since: Math.round(performance.timeOrigin + session.beganAt),
    };
    this.#taken.set(session, place);
    return place;
  }

  #answered(session: LiveSession, taken: boolean): boolean {
    if (!taken) this.#taken.delete(session);
    // Older sessions of a node that has yet to hear of the limit come before it.
    else if (this.#options.nodesBehind(session.revision).length > 0) {
      this.#countLater(session, session.revision);
    }
    return taken;
  }

  /** A session takes the place of another one of the same connection. */
  renew(former: LiveSession, session: LiveSession): void {
    const place = this.#taken.get(former);
    if (place === undefined) return;
    this.#taken.delete(former);
    this.#taken.set(session, place);
  }

  /** The session has gone. Does nothing for one that has no place. */
  leave(session: LiveSession): void {
    const place = this.#taken.get(session);
    if (place === undefined) return;
    this.#taken.delete(session);
    void this.#giveBack(place);
  }

  /** Again and again until it is done: a place that nobody gives back would be gone until the node starts again. */
  async #giveBack(place: SessionPlace): Promise<void> {
    try {
      await this.#options.store.leavePlace(place);
      this.#owed.delete(place);
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      this.#owed.add(place);
      const fields = { code: error.code, err: error, places: this.#owed.size };
      this.#options.logger.warn('session places', fields, 'places of credentials wait');
      this.#timer ??= setTimeout(() => this.#retry(), LEAVE_RETRY_MS).unref();
    }
  }

  #retry(): void {
    this.#timer = undefined;
    for (const place of this.#owed) void this.#giveBack(place);
  }

  /** What is still owed is given back by the start of the node. */
  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#recount);
  }
}
