/** So many keys, each with what is known of it; of more, the one that has been quiet longest is forgotten. O(1). */
export class RecentMap<V> {
  readonly #keysMax: number;
  /** The key that came last stands last. */
  readonly #values = new Map<string, V>();

  constructor(keysMax: number) {
    this.#keysMax = keysMax;
  }

  get size(): number {
    return this.#values.size;
  }

  /** Without making the key any younger. */
  get(key: string): V | undefined {
    return this.#values.get(key);
  }

  /** As the youngest; made when it is not there. */
  touched(key: string, create: () => V): V {
    const value = this.#values.get(key) ?? create();
    this.#values.delete(key);
    this.#values.set(key, value);
    if (this.#values.size > this.#keysMax) {
      const oldest = this.#values.keys().next();
      if (oldest.done !== true) this.#values.delete(oldest.value);
    }
    return value;
  }

  delete(key: string): void {
    this.#values.delete(key);
  }
}
