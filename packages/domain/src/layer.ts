/** What of one kind of object, or of an index of them, is other than in the state below. */
export class Layer<V> {
  /** Null is for what was removed. */
  readonly #own = new Map<string, V | null>();

  /** What was put, else what `below` finds. */
  get(key: string, below: () => V | undefined): V | undefined {
    const known = this.#own.get(key);
    return known === undefined ? below() : (known ?? undefined);
  }

  put(key: string, value: V | undefined): void {
    this.#own.set(key, value ?? null);
  }

  /** Whether the state below is not asked for this key. */
  covers(key: string): boolean {
    return this.#own.has(key);
  }

  /** Number of keys that the state below is not asked for. */
  get size(): number {
    return this.#own.size;
  }

  /** What was put and is still there. */
  present(): readonly V[] {
    return [...this.#own.values()].filter((one) => one !== null);
  }
}
