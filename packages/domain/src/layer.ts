/** What nobody has asked for yet. */
class Unmade<V> {
  readonly make: () => V;

  constructor(make: () => V) {
    this.make = make;
  }
}

/** What of one kind of object, or of an index of them, is other than in the state below. */
export class Layer<V> {
  /** Null is for what was removed. */
  readonly #own = new Map<string, V | Unmade<V> | null>();

  /** What was put, else what `below` finds. */
  get(key: string, below: () => V | undefined): V | undefined {
    const known = this.#own.get(key);
    if (known === undefined) return below();
    if (!(known instanceof Unmade)) return known ?? undefined;
    const made = known.make();
    this.#own.set(key, made);
    return made;
  }

  put(key: string, value: V | undefined): void {
    this.#own.set(key, value ?? null);
  }

  /** The same of what is made when it is asked for first: an import has a million objects that nobody does. */
  putUnmade(key: string, make: () => V): void {
    this.#own.set(key, new Unmade(make));
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
    const all: V[] = [];
    for (const one of this.#own.values()) {
      if (one !== null) all.push(one instanceof Unmade ? one.make() : one);
    }
    return all;
  }
}

/** A layer for each realm that names are unique in: joined to one text, each would be made and hashed anew for each lookup. */
export class RealmLayers<V> {
  readonly #layers = new Map<string, Layer<V>>();

  of(realm: string): Layer<V> {
    let layer = this.#layers.get(realm);
    if (layer === undefined) this.#layers.set(realm, (layer = new Layer()));
    return layer;
  }
}
