/** Longest client id and username that are kept, in characters; the rest is cut off. */
export const REFUSED_NAME_LENGTH_MAX = 128;

/** Entries of one source; what it tries beyond them is counted in one entry without a name for each reason. */
export const REFUSED_PER_SOURCE_MAX = 32;

/** What was refused, and to whom. */
export interface RefusedAttempt {
  /** Such as `banned`, `wrong_secret` or `tls_handshake`. */
  readonly reason: string;
  readonly listener: string;
  /** Canonical address; empty when it is not known. */
  readonly address: string;
  readonly clientId?: string | undefined;
  readonly username?: string | undefined;
}

export interface RefusedEntry extends RefusedAttempt {
  /** Unique on this node. */
  readonly id: string;
  count: number;
  /** Milliseconds since 1970. */
  readonly firstAt: number;
  lastAt: number;
}

export interface RefusedAttemptsOptions {
  /** Most entries; of more, the one that was not seen for longest is forgotten. 0 keeps nothing. */
  readonly entriesMax: number;
  /** How long an entry outlives its last attempt. */
  readonly keepMs: number;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

const cut = (text: string | undefined): string | undefined =>
  text === undefined || text.length <= REFUSED_NAME_LENGTH_MAX
    ? text
    : text.slice(0, REFUSED_NAME_LENGTH_MAX);

/**
 * Who tried to connect and was not let in. Strangers decide what comes in here, so everything has a bound: the number of entries,
 * of one source's, and their length. O(1) for each attempt.
 */
export class RefusedAttempts {
  readonly #options: RefusedAttemptsOptions;
  /** The one seen last stands last. */
  readonly #entries = new Map<string, RefusedEntry>();
  readonly #ofSource = new Map<string, number>();
  #ids = 0;

  constructor(options: RefusedAttemptsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  record(attempt: RefusedAttempt): void {
    const { entriesMax, clock } = this.#options;
    if (entriesMax === 0) return;
    const now = clock();
    this.#expire(now);
    const found = this.#find(attempt);
    const { key, named } = found;
    const entry = found.entry ?? this.#create(named, now);
    entry.count += 1;
    entry.lastAt = now;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    if (this.#entries.size > entriesMax) this.#dropOldest();
  }

  /** Those that have not expired. */
  all(): readonly RefusedEntry[] {
    this.#expire(this.#options.clock());
    return [...this.#entries.values()];
  }

  #find(attempt: RefusedAttempt) {
    const { reason, listener, address } = attempt;
    const named = {
      reason,
      listener,
      address,
      clientId: cut(attempt.clientId),
      username: cut(attempt.username),
    };
    const key = JSON.stringify(Object.values(named).map((value) => value ?? null));
    const entry = this.#entries.get(key);
    const isFull = (this.#ofSource.get(address) ?? 0) >= REFUSED_PER_SOURCE_MAX;
    if (entry !== undefined || !isFull) return { key, named, entry };
    const nameless = { reason, listener, address };
    const common = JSON.stringify(['others', reason, listener, address]);
    return { key: common, named: nameless, entry: this.#entries.get(common) };
  }

  #create(attempt: RefusedAttempt, now: number): RefusedEntry {
    const { address } = attempt;
    this.#ofSource.set(address, (this.#ofSource.get(address) ?? 0) + 1);
    return { ...attempt, id: String((this.#ids += 1)), count: 0, firstAt: now, lastAt: now };
  }

  #expire(now: number): void {
    for (const [key, entry] of this.#entries) {
      if (now - entry.lastAt < this.#options.keepMs) return;
      this.#drop(key, entry);
    }
  }

  #dropOldest(): void {
    for (const [key, entry] of this.#entries) {
      this.#drop(key, entry);
      return;
    }
  }

  #drop(key: string, { address }: RefusedEntry): void {
    this.#entries.delete(key);
    const left = (this.#ofSource.get(address) ?? 1) - 1;
    if (left === 0) this.#ofSource.delete(address);
    else this.#ofSource.set(address, left);
  }
}
