/** When a storm of clients that come or leave is one. */
export interface StormLimits {
  /** Clients that do so in one turn of the event loop; fewer are no storm, however long they take. */
  readonly clientsMin: number;
  /** How long they may take of it; also what a turn should take while reading begins again. 0: never brakes. */
  readonly turnMsMax: number;
}

/** How sockets are read again after a brake. */
export interface StormSlices {
  /** Sockets in the first turn, and at least in each. */
  readonly min: number;
  /** And at most: if every one is part of the storm, it is still a bearable turn. */
  readonly max: number;
  /** Who was heard last comes first; else those come first that have waited longest. */
  readonly recentFirst: boolean;
}

/** Of a client that leaves, a living one is told by what it has said a moment ago. Dead ones take 50 µs. */
export const LEAVING_SLICES: StormSlices = { min: 128, max: 512, recentFirst: true };
/** A CONNECT takes some hundreds of microseconds, and whoever came first has the least time left. */
export const ARRIVING_SLICES: StormSlices = { min: 16, max: 256, recentFirst: false };

/** Ages of what was heard last: 64 ms, and each next one twice as old. */
const AGES = 16;
/** Those of the first ones, below 16 s, are read before all others also when there are still some that are not read. */
const RECENT_AGES = 9;
/** What libuv takes of the system at a time, and at least in a turn. */
export const EVENTS_A_TURN = 1024;
/** Longest wait for those that are under way: then some more are read all the same, whatever holds the others up. */
export const UNDER_WAY_MS_MAX = 1000;

/** Counts who comes, or leaves, in a turn of the event loop. Pure. */
export class TurnWatch {
  readonly #limits: StormLimits;
  #clients = 0;
  #since = 0;

  constructor(limits: StormLimits) {
    this.#limits = limits;
  }

  /** Whether there was nobody in this turn. */
  get quiet(): boolean {
    return this.#clients === 0;
  }

  get clients(): number {
    return this.#clients;
  }

  /** One more at `now`, where so many were expected, or what takes as long as several. Answers whether that is a storm. */
  seen(now: number, expected = 0, clients = 1): boolean {
    const { clientsMin, turnMsMax } = this.#limits;
    if (this.quiet) this.#since = now;
    this.#clients += clients;
    return this.#clients >= clientsMin + expected && now - this.#since >= turnMsMax;
  }

  /** The turn is over. */
  turned(): void {
    this.#clients = 0;
  }
}

/** How many sockets are read again in a turn: more while turns are short, fewer when they are not. Pure. */
export class ReadingPace {
  readonly #turnMsMax: number;
  readonly #slices: StormSlices;
  #slice: number;

  constructor(turnMsMax: number, slices: StormSlices) {
    this.#turnMsMax = turnMsMax;
    this.#slices = slices;
    this.#slice = slices.min;
  }

  get slice(): number {
    return this.#slice;
  }

  /** The turn of the last slice took so long. */
  turned(tookMs: number): void {
    const { min, max } = this.#slices;
    if (tookMs > this.#turnMsMax) this.#slice = Math.max(min, this.#slice / 2);
    else if (tookMs < this.#turnMsMax / 2) this.#slice = Math.min(max, this.#slice * 2);
  }

  restart(): void {
    this.#slice = this.#slices.min;
  }
}

/** The order in which sockets are read again where recent ones come first: 0 is the first. `silentMs`: since something came. Pure. */
export function ageOf(silentMs: number): number {
  return Math.min(AGES - 1, 32 - Math.clz32(Math.max(0, silentMs) >> 6));
}

/** A socket that can be left unread for a while. */
export interface Brakeable {
  /** When something came last, by the brake's clock; what has just been accepted counts as heard. */
  readonly heardAt: number;
  /** False when it is not read anyway, also because of another brake. Cheap: it is called for all sockets of the node in one go, again and again in a long storm. */
  stopReading(): boolean;
  /** Undoes `stopReading`. Does nothing once the socket is closed, or held up for another reason. */
  readAgain(): void;
}

export interface Braked {
  /** Sockets that are not read. */
  readonly sockets: number;
  /** That had come, or left, in the turn until then. */
  readonly clients: number;
  /** Whether all had been read until then. */
  readonly first: boolean;
}

export interface StormBrakeOptions {
  readonly limits: StormLimits;
  readonly slices: StormSlices;
  /** More that have begun and are not done are a storm too, and while there are so many nobody is read again; none when absent. */
  readonly underWayMax?: number;
  /** Nobody is read any more but who comes now. Again and again if another storm comes before the end of the first. */
  readonly onBrake?: (braked: Braked) => void;
  /** All are read again. */
  readonly onReleased?: () => void;
  /** Milliseconds that never go back. */
  readonly clock?: () => number;
}

/**
 * Keeps the event loop turning when very many clients leave, or come, at once. libuv hands out up to 48 × 1,024 ready sockets before a
 * timer runs; closing one takes tens of microseconds, most of it in Node, and a CONNECT some hundreds. When that is under way, all sockets
 * that may be part of it are left unread, at half a microsecond each, and read again in slices, a turn each: the rest of the storm comes
 * in portions. One of each kind for all listeners of a node, and a socket has at most one that leaves it unread; idle it costs nothing.
 */
export class StormBrake {
  readonly #limits: StormLimits;
  readonly #options: StormBrakeOptions;
  readonly #clock: () => number;
  readonly #watch: TurnWatch;
  readonly #pace: ReadingPace;
  readonly #members: (() => Iterable<Brakeable>)[] = [];
  /** Not read since a turn or two, in no order yet. */
  #stopped: Brakeable[] = [];
  #clients = 0;
  #untold = false;
  /** In the order in which they are read again; those before `#next` are read. */
  #unread: Brakeable[] = [];
  #next = 0;
  /** Turns until the first slice. */
  #turnsBefore = 0;
  /** When the last slice was read again; 0 = not since the brake. */
  #slicedAt = 0;
  #underWay = 0;
  /** For some of them to be done. */
  #waiting: NodeJS.Timeout | undefined;
  readonly #turned = (): void => this.#watch.turned();
  readonly #goOn = (): void => {
    // One thing a turn: the first one was long enough.
    if (this.#untold) this.#tell();
    else if (this.#stopped.length > 0) this.#order();
    else if (this.#turnsBefore > 0) this.#turnsBefore--;
    else if (this.#room <= 0) {
      this.#waiting = setTimeout(this.#goOnAnyway, UNDER_WAY_MS_MAX).unref();
      return;
    } else this.#readSlice(this.#room);
    this.#goOnLater();
  };
  readonly #goOnAnyway = (): void => {
    this.#waiting = undefined;
    this.#readSlice(Infinity);
    this.#goOnLater();
  };

  constructor(options: StormBrakeOptions) {
    this.#limits = options.limits;
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
    this.#watch = new TurnWatch(options.limits);
    this.#pace = new ReadingPace(options.limits.turnMsMax, options.slices);
  }

  /** Whose sockets are left unread: asked when it comes to that. */
  add(members: () => Iterable<Brakeable>): void {
    this.#members.push(members);
  }

  /** Sockets that are not read now. */
  get unread(): number {
    return this.#stopped.length + this.#unread.length - this.#next;
  }

  /**
   * A client leaves: a goodbye, an end or a failure was read. Or it comes: a CONNECT was, or what goes before it. `clients`: what it takes
   * is as much as so many of them take.
   */
  seen(clients = 1): void {
    if (this.#limits.turnMsMax === 0) return;
    // It runs behind all that the system has to tell in this turn.
    if (this.#watch.quiet) setImmediate(this.#turned);
    // What is read again may say goodbye and end in one turn, or log in and be sent away.
    const expected = this.unread > 0 ? 2 * this.#pace.slice : 0;
    if (this.#watch.seen(this.#clock(), expected, clients)) this.#brake();
  }

  #goOnLater(): void {
    if (this.unread > 0) setImmediate(this.#goOn);
    else this.#options.onReleased?.();
  }

  /** Something has begun that takes a while: `done` says when it is over. */
  begun(): void {
    this.#underWay++;
    if (this.#limits.turnMsMax > 0 && this.#room < 0 && this.unread === 0) this.#brake();
  }

  done(): void {
    this.#underWay--;
    if (this.#waiting === undefined || this.#room <= 0) return;
    clearTimeout(this.#waiting);
    this.#waiting = undefined;
    // How long that was says nothing about a slice.
    this.#slicedAt = 0;
    setImmediate(this.#goOn);
  }

  /** How many more may be under way. */
  get #room(): number {
    return (this.#options.underWayMax ?? Infinity) - this.#underWay;
  }

  #brake(): void {
    const first = this.unread === 0;
    this.#clients = this.#watch.clients;
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
    this.#options.onBrake?.({ sockets: this.unread, clients: this.#clients, first });
  }

  #order(): void {
    const still = this.#unread.slice(this.#next);
    this.#unread = this.#options.slices.recentFirst
      ? this.#recentFirst(still)
      : [...still, ...this.#stopped];
    this.#next = 0;
    this.#stopped = [];
    this.#slicedAt = 0;
    this.#pace.restart();
    // What the system has to tell of sockets that are not read is to be gone first: else it would come between a slice and its turn,
    // and several slices would be handed out in one.
    this.#turnsBefore = Math.ceil(this.unread / EVENTS_A_TURN);
  }

  #recentFirst(still: readonly Brakeable[]): Brakeable[] {
    const now = this.#clock();
    const byAge: Brakeable[][] = Array.from({ length: AGES }, () => []);
    for (const one of this.#stopped) byAge[ageOf(now - one.heardAt)]?.push(one);
    return [byAge.slice(0, RECENT_AGES), [still], byAge.slice(RECENT_AGES)].flat(2);
  }

  #readSlice(room: number): void {
    const now = this.#clock();
    if (this.#slicedAt !== 0) this.#pace.turned(now - this.#slicedAt);
    this.#slicedAt = now;
    const end = Math.min(this.#unread.length, this.#next + Math.min(this.#pace.slice, room));
    for (; this.#next < end; this.#next++) this.#unread[this.#next]?.readAgain();
    if (this.#next < this.#unread.length) return;
    this.#unread = [];
    this.#next = 0;
  }
}
