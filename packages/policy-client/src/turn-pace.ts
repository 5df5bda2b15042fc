/**
 * Spreads work over turns of the event loop: answers that come in one packet are many, and each is followed up. In their order; those
 * that are few are followed up at once. Idle it costs nothing.
 */
export class TurnPace {
  readonly #perTurn: number;
  readonly #turned = (): void => this.#goOn();
  #done = 0;
  #waiting: (() => void)[] = [];
  #next = 0;

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
  }

  /** Does it now, or in a later turn behind all that wait. `work` throws nothing. */
  do(work: () => void): void {
    if (this.#done >= this.#perTurn || this.#next < this.#waiting.length) {
      this.#waiting.push(work);
      return;
    }
    // It runs behind all that the system has to tell in this turn.
    if (this.#done++ === 0) setImmediate(this.#turned);
    work();
  }

  #goOn(): void {
    this.#done = 0;
    while (this.#done < this.#perTurn) {
      const work = this.#waiting[this.#next];
      if (work === undefined) break;
      this.#next++;
      this.#done++;
      work();
    }
    if (this.#next === this.#waiting.length) {
      this.#waiting = [];
      this.#next = 0;
    }
    if (this.#done > 0) setImmediate(this.#turned);
  }
}
