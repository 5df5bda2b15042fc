/** When a storm of leaving clients is one. */
export interface StormLimits {
  /** Clients that leave in one turn of the event loop; fewer are no storm, however long they take. */
  readonly leavesMin: number;
  /** How long they may take of it; also what a turn should take while reading begins again. 0: never brakes. */
  readonly turnMsMax: number;
}

/** Sockets that are read again in the first turn after a brake, and at least in each. */
export const SLICE_MIN = 128;
/** And at most: if all of them are dead, it is still a bearable turn. */
export const SLICE_MAX = 512;
/** Ages of what was heard last: 64 ms, and each next one twice as old. */
const AGES = 16;
/** Those of the first ones, below 16 s, are read before all others also when there are still some that are not read. */
const RECENT_AGES = 9;
/** What libuv takes of the system at a time, and at least in a turn. */
export const EVENTS_A_TURN = 1024;

/** Counts who leaves in a turn of the event loop. Pure. */
export class LeavingWatch {
  readonly #limits: StormLimits;
  #leaves = 0;
  #since = 0;

  constructor(limits: StormLimits) {
    this.#limits = limits;
  }

  /** Whether nobody has left in this turn. */
  get quiet(): boolean {
    return this.#leaves === 0;
  }

  get leaves(): number {
    return this.#leaves;
  }

  /** One more leaves at `now`, where so many were expected to. Answers whether that is a storm. */
  left(now: number, expected = 0): boolean {
    const { leavesMin, turnMsMax } = this.#limits;
    if (this.#leaves++ === 0) this.#since = now;
    return this.#leaves >= leavesMin + expected && now - this.#since >= turnMsMax;
  }

  /** The turn is over. */
  turned(): void {
    this.#leaves = 0;
  }
}

/** How many sockets are read again in a turn: more while turns are short, fewer when they are not. Pure. */
export class ReadingPace {
  readonly #turnMsMax: number;
  #slice = SLICE_MIN;

  constructor(turnMsMax: number) {
    this.#turnMsMax = turnMsMax;
  }

  get slice(): number {
    return this.#slice;
  }

  /** The turn of the last slice took so long. */
  turned(tookMs: number): void {
    if (tookMs > this.#turnMsMax) this.#slice = Math.max(SLICE_MIN, this.#slice / 2);
    else if (tookMs < this.#turnMsMax / 2) this.#slice = Math.min(SLICE_MAX, this.#slice * 2);
  }

  restart(): void {
    this.#slice = SLICE_MIN;
  }
}

/** The order in which sockets are read again: 0 is the first. `silentMs`: since something came. Pure. */
export function ageOf(silentMs: number): number {
  return Math.min(AGES - 1, 32 - Math.clz32(Math.max(0, silentMs) >> 6));
}

/** A socket that can be left unread for a while. */
export interface Brakeable {
  /** When something came last, by the brake's clock; what has just been accepted counts as heard. */
  readonly heardAt: number;
  /** False when it is not read anyway. Cheap: it is called for all sockets of the node in one go, again and again in a long storm. */
  stopReading(): boolean;
  /** Undoes `stopReading`. Does nothing once the socket is closed, or held up for another reason. */
  readAgain(): void;
}

export interface Braked {
  /** Sockets that are not read. */
  readonly sockets: number;
  /** Of clients that had left in the turn until then: goodbyes and ends. */
  readonly leaves: number;
  /** Whether all had been read until then. */
  readonly first: boolean;
}

export interface StormBrakeOptions {
  readonly limits: StormLimits;
  /** Nobody is read any more but who comes now. Again and again if another storm comes before the end of the first. */
  readonly onBrake?: (braked: Braked) => void;
  /** All are read again. */
  readonly onReleased?: () => void;
  /** Milliseconds that never go back. */
  readonly clock?: () => number;
}

/**
 * Keeps the event loop turning when very many clients leave at once. libuv hands out up to 48 × 1,024 ready sockets before a timer runs,
 * and closing each takes tens of microseconds, most of it in Node. When that is under way, all sockets are left unread, at half a
 * microsecond each, and read again in slices, a turn each: the rest of the storm comes in portions, and who is alive comes first. One
 * for all listeners of a node; idle it costs nothing.
 */
export class StormBrake {
  readonly #limits: StormLimits;
  readonly #options: StormBrakeOptions;
  readonly #clock: () => number;
  readonly #watch: LeavingWatch;
  readonly #pace: ReadingPace;
  readonly #members: (() => Iterable<Brakeable>)[] = [];
  /** Not read since a turn or two, in no order yet. */
  #stopped: Brakeable[] = [];
  #leaves = 0;
  #untold = false;
  /** In the order in which they are read again; those before `#next` are read. */
  #unread: Brakeable[] = [];
  #next = 0;
  /** Turns until the first slice. */
  #turnsBefore = 0;
  /** When the last slice was read again; 0 = not since the brake. */
  #slicedAt = 0;
  readonly #turned = (): void => this.#watch.turned();
  readonly #goOn = (): void => {
    // One thing a turn: the first one was long enough.
    if (this.#untold) this.#tell();
    else if (this.#stopped.length > 0) this.#order();
    else if (this.#turnsBefore > 0) this.#turnsBefore--;
    else this.#readSlice();
    if (this.unread > 0) setImmediate(this.#goOn);
    else this.#options.onReleased?.();
  };

  constructor(options: StormBrakeOptions) {
    this.#limits = options.limits;
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
    this.#watch = new LeavingWatch(options.limits);
    this.#pace = new ReadingPace(options.limits.turnMsMax);
  }

  /** Whose sockets are left unread: asked when it comes to that. */
  add(members: () => Iterable<Brakeable>): void {
    this.#members.push(members);
  }

  /** Sockets that are not read now. */
  get unread(): number {
    return this.#stopped.length + this.#unread.length - this.#next;
  }

  /** A client leaves: a goodbye, an end or a failure was read. */
  left(): void {
    if (this.#limits.turnMsMax === 0) return;
    // It runs behind all that the system has to tell in this turn.
    if (this.#watch.quiet) setImmediate(this.#turned);
    // What is read again may say goodbye and end in one turn.
    const expected = this.unread > 0 ? 2 * this.#pace.slice : 0;
    if (this.#watch.left(this.#clock(), expected)) this.#brake();
  }

  #brake(): void {
    const first = this.unread === 0;
    this.#leaves = this.#watch.leaves;
    this.#watch.turned();
    const stopped = this.#stopped;
    for (const members of this.#members) {
      for (const one of members()) if (one.stopReading()) stopped.push(one);
    }
    if (stopped.length === 0) return;
    this.#untold = true;
    if (first) setImmediate(this.#goOn);
  }

  #tell(): void {
    this.#untold = false;
    const first = this.#next === this.#unread.length;
    this.#options.onBrake?.({ sockets: this.unread, leaves: this.#leaves, first });
  }

  #order(): void {
    const now = this.#clock();
    const byAge: Brakeable[][] = Array.from({ length: AGES }, () => []);
    for (const one of this.#stopped) byAge[ageOf(now - one.heardAt)]?.push(one);
    const still = this.#unread.slice(this.#next);
    this.#unread = [byAge.slice(0, RECENT_AGES), [still], byAge.slice(RECENT_AGES)].flat(2);
    this.#next = 0;
    this.#stopped = [];
    this.#slicedAt = 0;
    this.#pace.restart();
    // What the system has to tell of sockets that are not read is to be gone first: else it would come between a slice and its turn,
    // and several slices would be handed out in one.
    this.#turnsBefore = Math.ceil(this.unread / EVENTS_A_TURN);
  }

  #readSlice(): void {
    const now = this.#clock();
    if (this.#slicedAt !== 0) this.#pace.turned(now - this.#slicedAt);
    this.#slicedAt = now;
    const end = Math.min(this.#unread.length, this.#next + this.#pace.slice);
    for (; this.#next < end; this.#next++) this.#unread[this.#next]?.readAgain();
    if (this.#next < this.#unread.length) return;
    this.#unread = [];
    this.#next = 0;
  }
}
