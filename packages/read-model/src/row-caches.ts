/** Most objects of one kind that are kept parsed beside SQLite: those that decisions read again and again. */
export const CACHED_ROWS_MAX = 16_384;

/** Most keys of one kind that are kept to tell, without asking SQLite, that there is no such row. */
export const KNOWN_KEYS_MAX = 65_536;

/** Parsed rows by their key; the one that was put first goes first. Whoever writes a row tells it. */
export class RowCache<T> {
  readonly #rows = new Map<string, T>();

  get(key: string, read: () => T | undefined): T | undefined {
    const known = this.#rows.get(key);
    if (known !== undefined) return known;
    const row = read();
    if (row === undefined) return undefined;
    if (this.#rows.size >= CACHED_ROWS_MAX) {
      const oldest = this.#rows.keys().next();
      if (oldest.done !== true) this.#rows.delete(oldest.value);
    }
    this.#rows.set(key, row);
    return row;
  }

  drop(key: string): void {
    this.#rows.delete(key);
  }

  clear(): void {
    this.#rows.clear();
  }
}

/** The keys of a table, as long as there are not too many; most questions are about rows that are not there. */
export class KnownKeys {
  readonly #load: (limit: number) => readonly string[];
  #keys: Set<string> | undefined;

  /** `load` answers at most `limit` keys. */
  constructor(load: (limit: number) => readonly string[]) {
    this.#load = load;
  }

  /** False only when there is certainly no such row. */
  mayHave(key: string): boolean {
    this.#keys ??= new Set(this.#load(KNOWN_KEYS_MAX + 1));
    return this.#keys.size > KNOWN_KEYS_MAX || this.#keys.has(key);
  }

  /** A row was written. Once there are too many they are not counted any more, until all is forgotten. */
  add(key: string): void {
    if (this.#keys !== undefined && this.#keys.size <= KNOWN_KEYS_MAX) this.#keys.add(key);
  }

  clear(): void {
    this.#keys = undefined;
  }
}
