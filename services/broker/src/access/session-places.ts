import { randomUUID } from 'node:crypto';
import { OperationalError } from '@sallyport/errors';
import { ANONYMOUS_ID } from '@sallyport/policy-client';
import type { SessionPlace, SessionStore } from '@sallyport/session-store';
import type { LogThrottle } from '@sallyport/telemetry';
import type { LiveSession } from './live-sessions.ts';

/** Pause before places that could not be given back are given back again. */
export const LEAVE_RETRY_MS = 1000;

export interface SessionPlacesOptions {
  readonly store: Pick<SessionStore, 'takePlace' | 'leavePlace' | 'limitPlaces'>;
  readonly nodeId: string;
  /** Other nodes that are alive. */
  readonly otherNodes: () => readonly string[];
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
  #places = 0;
  #timer: NodeJS.Timeout | undefined;

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
    return taken.then(
      (answer) => this.#answered(session, answer),
      (error: unknown) => {
        this.leave(session); // It may be taken all the same.
        throw error;
      },
    );
  }

  /** Clients that may be connected with its credential at once. */
  mostOf(session: LiveSession): number {
    // Those that have no credential do not share one.
    if (session.principal.credentialId === ANONYMOUS_ID) return Infinity;
    return (session.sessionsMax ?? this.#options.sessionsMax) || Infinity;
  }

  /**
   * The limit of their credential is lower now, or there was none: ends those that have no place any more. `sessions`: all of one
   * credential that are live on this node. Over all nodes the oldest of those that had a place keep it; where there was no limit, and so
   * no places, what is free goes to those of the node that hears of it first. @throws OperationalError `session_store_unavailable`, in
   * the promise: to be done again
   */
  async limit(sessions: readonly LiveSession[]): Promise<void> {
    const byAge = sessions.toSorted((one, other) => one.beganAt - other.beganAt);
    const [first] = byAge;
    const most = first === undefined ? Infinity : this.mostOf(first);
    if (most === Infinity) return;
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
    clearTimeout(this.#timer);
  }
}
