/**
 * Spreads work over turns of the event loop: answers that come in one packet are many, and each is followed up. Those that are few are
 * followed up at once. The work of one origin is done in its order, and that of several by turns: none waits behind all that another
 * has brought. Idle it costs nothing.
 */
export class TurnPace {
  readonly #perTurn: number;
  readonly #turned = (): void => this.#goOn();
  #done = 0;
  /** By origin; the one that comes next is first. None is empty, and what is done is in none: it would be kept for a whole storm. */
  readonly #waiting = new Map<object, (() => void)[]>();

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
  }

  /** Does it now, or in a later turn behind all of its origin that waits. `work` throws nothing. */
  do(work: () => void, origin: object = this): void {
    if (this.#done >= this.#perTurn || this.#waiting.size > 0) {
      const queue = this.#waiting.get(origin);
      if (queue === undefined) this.#waiting.set(origin, [work]);
      else queue.push(work);
      return;
    }
    // It runs behind all that the system has to tell in this turn.
    if (this.#done++ === 0) setImmediate(this.#turned);
    work();
  }

  /** What waits of it is not done. */
  forget(origin: object): void {
    this.#waiting.delete(origin);
  }

  #goOn(): void {
    this.#done = 0;
    while (this.#done < this.#perTurn) {
      const work = this.#next();
      if (work === undefined) break;
      this.#done++;
      work();
    }
    if (this.#done > 0) setImmediate(this.#turned);
  }

  #next(): (() => void) | undefined {
    for (const [origin, queue] of this.#waiting) {
      const work = queue.shift();
      // Behind the others, if it has more.
      this.#waiting.delete(origin);
      if (queue.length > 0) this.#waiting.set(origin, queue);
      return work;
    }
    return undefined;
  }
}
