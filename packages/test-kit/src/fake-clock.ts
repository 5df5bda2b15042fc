interface Timer {
  readonly id: number;
  at: number;
  readonly everyMs: number | undefined;
  readonly run: () => void;
}

/** A clock that moves only when told. Hand its methods to code that takes a clock or timers. */
export class FakeClock {
  #now: number;
  #lastId = 0;
  readonly #timers = new Map<number, Timer>();

  /** @param startMs milliseconds since 1970 */
  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#now = startMs;
  }

  readonly now = (): number => this.#now;
  readonly isoNow = (): string => new Date(this.#now).toISOString();

  readonly setTimeout = (run: () => void, delayMs: number): number => this.#add(run, delayMs);
  readonly setInterval = (run: () => void, everyMs: number): number =>
    this.#add(run, everyMs, everyMs);
  readonly clear = (id: number | undefined): void => {
    if (id !== undefined) this.#timers.delete(id);
  };

  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Moves on, and runs what is due in order, each at its own time; promises settle in between. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#now = Math.max(this.#now, next.at);
      if (next.everyMs === undefined) this.#timers.delete(next.id);
      else next.at += Math.max(1, next.everyMs);
      next.run();
      await settled();
    }
    this.#now = end;
    await settled();
  }

  #add(run: () => void, delayMs: number, everyMs?: number): number {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#timers.set(id, { id, at: this.#now + Math.max(0, delayMs), everyMs, run });
    return id;
  }

  #next(end: number): Timer | undefined {
    const due = [...this.#timers.values()].filter((timer) => timer.at <= end);
    return due.sort((a, b) => a.at - b.at || a.id - b.id)[0];
  }
}

/** Lets every promise that can settle do so. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
