interface Deadline<T> {
  readonly at: number;
  readonly item: T;
}

/** Items by the time at which they are due: a binary heap. An item that is no longer wanted stays in it until its time. */
export class Deadlines<T> {
  readonly #heap: Deadline<T>[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** O(log n). `Infinity` is never due and not kept. */
  add(at: number, item: T): void {
    if (at === Infinity) return;
    const heap = this.#heap;
    const added = { at, item };
    let index = heap.length;
    heap.push(added);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || above.at <= at) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = added;
  }

  /** Takes the item that is due first, if one is due. O(log n). */
  takeDue(now: number): T | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.at > now) return undefined;
    const last = this.#heap.pop();
    if (last !== undefined && last !== first) this.#sink(last);
    return first.item;
  }

  clear(): void {
    this.#heap.length = 0;
  }

  #sink(moved: Deadline<T>): void {
    const heap = this.#heap;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const right = heap[left + 1];
      let child = left;
      let below = heap[left];
      if (below !== undefined && right !== undefined && right.at < below.at) {
        child = left + 1;
        below = right;
      }
      if (below === undefined || below.at >= moved.at) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = moved;
  }
}
