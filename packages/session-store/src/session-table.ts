import { Deadlines } from './deadlines.ts';
import {
  type CloseSession,
  DUE_LEASE_MS,
  TAKEN_WILL_MS,
  type DueItem,
  type OpenedSession,
  type OpenSession,
  type SessionRecord,
  type StoredSession,
  type StorePacket,
} from './session-store.ts';

/** A Session Expiry Interval that means never. @source MQTT-5.0 §3.1.2.11.2 */
const EXPIRY_NEVER_SECONDS = 0xffff_ffff;

export interface SessionState {
  readonly record: SessionRecord;
  readonly epoch: number;
  /** When the session ends; absent while a node has it open, `Infinity` for never. */
  readonly endsAt?: number;
}

/**
 * `left`: its connection has ended. `held`: the same, see `CloseSession.holdWillSeconds`. `taken`: its client has come to another
 * node, see `TAKEN_WILL_MS`.
 */
export type WillState = 'left' | 'held' | 'taken';

/** A will whose connection has ended. */
export interface WaitingWill {
  /** Of the session that left it; no two wills share one. */
  readonly epoch: number;
  readonly record: SessionRecord;
  readonly will: StorePacket;
  readonly why: WillState;
  readonly dueAt: number;
}

/** What has to follow when sessions change. */
export interface SessionSink {
  saveSession(state: SessionState): void;
  deleteSession(clientId: string): void;
  saveWill(will: WaitingWill): void;
  deleteWill(epoch: number): void;
  /** Deletes subscriptions, queue and incoming ids. */
  forget(clientId: string): void;
}

interface SessionDeadline {
  readonly clientId: string;
  readonly epoch: number;
  readonly at: number;
}

/** When a session that is closed at `now` ends. */
export function endOfSession(now: number, expirySeconds: number): number {
  return expirySeconds >= EXPIRY_NEVER_SECONDS ? Infinity : now + expirySeconds * 1000;
}

/** When the will of a connection that ends now is due. @source MQTT-5.0 [MQTT-3.1.2-8], §3.1.3.2.2 */
function dueOfWill(
  { now, expirySeconds, holdWillSeconds = 0 }: CloseSession,
  { willDelaySeconds = 0 }: SessionRecord,
): Pick<WaitingWill, 'dueAt' | 'why'> {
  const delaySeconds = Math.min(willDelaySeconds, expirySeconds);
  if (holdWillSeconds <= delaySeconds) return { dueAt: now + delaySeconds * 1000, why: 'left' };
  return { dueAt: now + holdWillSeconds * 1000, why: 'held' };
}

/** The will of a connection to another node that this one takes the client from; one that is back before its delay has none. */
function takenFrom(
  known: SessionState | undefined,
  { nodeId, now }: OpenSession,
  present: boolean,
): WaitingWill | undefined {
  if (known === undefined || known.endsAt !== undefined) return undefined;
  const { will, ...record } = known.record;
  if (will === undefined || record.nodeId === nodeId) return undefined;
  const delaySeconds = Math.min(record.willDelaySeconds ?? 0, record.expirySeconds);
  if (present && delaySeconds > 0) return undefined;
  return { epoch: known.epoch, record, will, dueAt: now + TAKEN_WILL_MS, why: 'taken' };
}

export function recordOf(session: SessionRecord): SessionRecord {
  const { clientId, owner, principal, expirySeconds, nodeId, will, willDelaySeconds } = session;
  return {
    clientId,
    owner,
    principal,
    expirySeconds,
    nodeId,
    ...(will !== undefined && { will }),
    ...(willDelaySeconds !== undefined && { willDelaySeconds }),
  };
}

function goesOn({ record, endsAt }: SessionState, request: OpenSession): boolean {
  if (request.cleanStart || record.owner !== request.owner) return false;
  return endsAt === undefined || endsAt > request.now;
}

/** Sessions and waiting wills of a store that one process owns. */
export class SessionTable {
  readonly #sink: SessionSink;
  readonly #sessions = new Map<string, SessionState>();
  readonly #wills = new Map<number, WaitingWill>();
  /** Epochs of wills that are held, by client: the session may be over. */
  readonly #held = new Map<string, number>();
  /** Of closed sessions, until they end or, when they are handed out, until the lease does. */
  readonly #nextDue = new Map<string, number>();
  readonly #sessionDeadlines = new Deadlines<SessionDeadline>();
  readonly #willDeadlines = new Deadlines<{ readonly epoch: number; readonly at: number }>();
  #epoch = 0;

  constructor(sink: SessionSink) {
    this.#sink = sink;
  }

  /** Replaces everything by what was stored. */
  load(sessions: Iterable<SessionState>, wills: Iterable<WaitingWill>): void {
    this.#sessions.clear();
    this.#wills.clear();
    this.#held.clear();
    this.#nextDue.clear();
    this.#sessionDeadlines.clear();
    this.#willDeadlines.clear();
    for (const state of sessions) this.#remember(state);
    for (const will of wills) this.#rememberWill(will);
  }

  open(request: OpenSession): OpenedSession {
    const { clientId, now } = request;
    const known = this.#sessions.get(clientId);
    const present = known !== undefined && goesOn(known, request);
    const epoch = Math.max(this.#epoch + 1, now);
    this.#epoch = epoch;
    this.#takeBackHeld(request);
    this.#settleWill(known, now, present);
    const taken = takenFrom(known, request, present);
    if (taken !== undefined) this.#saveWill(taken);
    if (!present) this.#sink.forget(clientId);
    if (present || request.expirySeconds > 0 || request.will !== undefined) {
      this.#save({ record: recordOf(request), epoch });
    } else if (known !== undefined) {
      this.#delete(clientId);
    }
    const before = known?.endsAt === undefined ? known?.record.nodeId : undefined;
    return before === undefined ? { present, epoch } : { present, epoch, previousNodeId: before };
  }

  record(clientId: string): StoredSession | undefined {
    const known = this.#sessions.get(clientId);
    if (known === undefined) return undefined;
    const { will: _, ...record } = known.record;
    return known.endsAt === undefined ? record : { ...record, endsAt: known.endsAt };
  }

  close(closing: CloseSession): void {
    const { clientId, epoch, now, expirySeconds, will } = closing;
    const known = this.#sessions.get(clientId);
    if (known?.epoch !== epoch) {
      const waiting = this.#wills.get(epoch);
      if (waiting?.why === 'taken') this.#deleteWill(waiting);
      return;
    }
    if (known.endsAt !== undefined) return;
    const { will: left, ...record } = { ...known.record, expirySeconds };
    if (will === 'keep' && left !== undefined) {
      this.#saveWill({ epoch, record, will: left, ...dueOfWill(closing, record) });
    }
    if (expirySeconds === 0) this.#end(clientId);
    else this.#save({ record, epoch, endsAt: endOfSession(now, expirySeconds) });
  }

  recover({ nodeId, now }: { readonly nodeId: string; readonly now: number }): void {
    for (const [clientId, { record, epoch, endsAt }] of this.#sessions) {
      if (endsAt !== undefined || record.nodeId !== nodeId) continue;
      this.close({ clientId, epoch, now, expirySeconds: record.expirySeconds, will: 'keep' });
    }
  }

  claim({ now, limit }: { readonly now: number; readonly limit: number }): DueItem[] {
    const items: DueItem[] = [];
    while (items.length < limit) {
      const item = this.#claimWill(now) ?? this.#claimExpired(now);
      if (item === undefined) break;
      items.push(item);
    }
    return items;
  }

  drop({ clientId, epoch }: { readonly clientId: string; readonly epoch?: number }): void {
    const known = this.#sessions.get(clientId);
    if (epoch !== undefined && known?.epoch !== epoch) return;
    this.#settleWill(known, 0, false);
    this.#end(clientId);
  }

  /** A waiting will goes with a session that goes on, and is due with one that ends. */
  #settleWill(known: SessionState | undefined, now: number, goesOn: boolean): void {
    const waiting = known === undefined ? undefined : this.#wills.get(known.epoch);
    if (waiting?.why !== 'left') return;
    if (waiting.dueAt <= now) return; // A due one must be published.
    if (goesOn)
      this.#deleteWill(waiting); // MQTT-5.0 [MQTT-3.1.3-9]
    else this.#saveWill({ ...waiting, dueAt: now });
  }

  /** A held will goes with the return of whoever left it. */
  #takeBackHeld({ clientId, owner, now }: OpenSession): void {
    const epoch = this.#held.get(clientId);
    const waiting = epoch === undefined ? undefined : this.#wills.get(epoch);
    if (waiting === undefined || waiting.dueAt <= now || waiting.record.owner !== owner) return;
    this.#deleteWill(waiting);
  }

  #claimWill(now: number): DueItem | undefined {
    for (;;) {
      const deadline = this.#willDeadlines.takeDue(now);
      if (deadline === undefined) return undefined;
      const waiting = this.#wills.get(deadline.epoch);
      if (waiting?.dueAt !== deadline.at) continue;
      this.#deleteWill(waiting);
      return { kind: 'will', record: waiting.record, will: waiting.will };
    }
  }

  #claimExpired(now: number): DueItem | undefined {
    for (;;) {
      const deadline = this.#sessionDeadlines.takeDue(now);
      if (deadline === undefined) return undefined;
      const { clientId, epoch, at } = deadline;
      const known = this.#sessions.get(clientId);
      if (known?.epoch !== epoch || this.#nextDue.get(clientId) !== at) continue;
      this.#schedule(known, now + DUE_LEASE_MS);
      return { kind: 'expired', record: known.record, epoch };
    }
  }

  #end(clientId: string): void {
    this.#sink.forget(clientId);
    if (this.#sessions.has(clientId)) this.#delete(clientId);
  }

  #save(state: SessionState): void {
    this.#remember(state);
    this.#sink.saveSession(state);
  }

  #remember(state: SessionState): void {
    this.#sessions.set(state.record.clientId, state);
    this.#epoch = Math.max(this.#epoch, state.epoch);
    if (state.endsAt === undefined) this.#nextDue.delete(state.record.clientId);
    else this.#schedule(state, state.endsAt);
  }

  #schedule({ record: { clientId }, epoch }: SessionState, at: number): void {
    this.#nextDue.set(clientId, at);
    this.#sessionDeadlines.add(at, { clientId, epoch, at });
  }

  #delete(clientId: string): void {
    this.#sessions.delete(clientId);
    this.#nextDue.delete(clientId);
    this.#sink.deleteSession(clientId);
  }

  #saveWill(will: WaitingWill): void {
    this.#rememberWill(will);
    this.#sink.saveWill(will);
  }

  #deleteWill({ epoch, record: { clientId } }: WaitingWill): void {
    this.#wills.delete(epoch);
    if (this.#held.get(clientId) === epoch) this.#held.delete(clientId);
    this.#sink.deleteWill(epoch);
  }

  #rememberWill(will: WaitingWill): void {
    this.#wills.set(will.epoch, will);
    if (will.why === 'held') this.#held.set(will.record.clientId, will.epoch);
    this.#epoch = Math.max(this.#epoch, will.epoch);
    this.#willDeadlines.add(will.dueAt, { epoch: will.epoch, at: will.dueAt });
  }
}
