import { setImmediate as nextTurn } from 'node:timers/promises';

// Taken before any test replaces the clocks.
const realSetTimeout = globalThis.setTimeout;
const realClearTimeout = globalThis.clearTimeout;
const realNow = process.hrtime.bigint;

/** Turns of the event loop in which everything that can happen by itself has happened. */
const QUIET_TURNS = 12;

const UNTIL_TIMEOUT_MS = 20_000;

/** Lets everything happen that needs no time to pass. */
export async function settle(turns = QUIET_TURNS): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await nextTurn();
}

/** Waits for a condition, turn by turn. Real time, whatever the test's clocks say. */
export async function until(
  condition: () => boolean,
  describe: () => string = () => condition.toString(),
  timeoutMs = UNTIL_TIMEOUT_MS,
): Promise<void> {
  const end = realNow() + BigInt(timeoutMs) * 1_000_000n;
  while (!condition()) {
    if (realNow() > end) throw new Error(`not within ${timeoutMs} ms: ${describe()}`);
    await nextTurn();
  }
}

/** The promise, or a failure that says what was waited for. */
export function within<T>(promise: Promise<T>, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = realSetTimeout(
      () => reject(new Error(`${what} did not come within ${UNTIL_TIMEOUT_MS} ms`)),
      UNTIL_TIMEOUT_MS,
    );
    promise.then(resolve, reject).finally(() => realClearTimeout(timer));
  });
}

/** Something that a test holds up until it lets it go. */
export class Gate {
  #open: (() => void) | undefined;
  #waiting = 0;
  readonly passed: Promise<void> = new Promise((resolve) => {
    this.#open = resolve;
  });

  /** How many have come to it. */
  get waiting(): number {
    return this.#waiting;
  }

  pass(): Promise<void> {
    this.#waiting++;
    return this.passed;
  }

  open(): void {
    this.#open?.();
  }
}

/** Numbers from 0 to 1 that are the same for the same seed. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
