import { randomUUID } from 'node:crypto';
import type { KV, KvWatchEntry } from '@nats-io/kv';
import type { NatsConnection, QueuedIterator } from '@nats-io/nats-core';
import { HEARTBEAT_MS } from '../node-registry.ts';

/** How long a barrier may take from its put to its sight; past it the watch is taken for dead. */
export const BARRIER_TIMEOUT_MS = 1_000;
/** How often to look whether the watch still lives, and after how much silence to ask. */
const CHECK_INTERVAL_MS = 250;
const SILENCE_MS = 2 * HEARTBEAT_MS;

interface Watching {
  readonly entries: QueuedIterator<KvWatchEntry>;
  /** Differs after every reconnect: the server may have forgotten the watch. */
  readonly connectedAs: string;
  /** Resolves when everything that was in the bucket at the start has been seen. */
  readonly initialized: Promise<void>;
}

/**
 * Watches a bucket, and opens the watch anew when it has fallen silent: the consumer below it lives on one server, and
 * ends with that, often without a word.
 */
export class BucketWatch {
  readonly #connection: NatsConnection;
  readonly #kv: KV;
  readonly #onEntry: (entry: KvWatchEntry) => void;
  readonly #barrierKey = `barrier.${randomUUID()}`;
  readonly #sights = new Map<string, () => void>();
  #barriers = 0;
  #watching: Watching | undefined;
  #opening = false;
  #stopped = false;
  #seenAt = -Infinity;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<boolean> = Promise.resolve(true);
  #next: Promise<boolean> | undefined;

  constructor(connection: NatsConnection, kv: KV, onEntry: (entry: KvWatchEntry) => void) {
    this.#connection = connection;
    this.#kv = kv;
    this.#onEntry = onEntry;
    void this.#check();
  }

  /**
   * Whether everything that was stored before this call has been seen. False when that could not be found out now. Calls
   * that come while a barrier is under way share the next one.
   */
  barrier(): Promise<boolean> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      this.#running = this.#passBarrier();
      return this.#running;
    });
    return this.#next;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#watching?.entries.stop();
    this.#watching = undefined;
  }

  async #check(): Promise<void> {
    const watching = this.#watching;
    if (watching?.connectedAs !== this.#connectedAs()) {
      await this.#open();
    } else if (performance.now() - this.#seenAt > SILENCE_MS) {
      await this.barrier();
    }
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#check(), CHECK_INTERVAL_MS);
  }

  async #passBarrier(): Promise<boolean> {
    const watching = this.#watching;
    if (watching === undefined || this.#stopped) return false;
    const deadline = performance.now() + BARRIER_TIMEOUT_MS;
    // INVARIANT: put after the start is through. What the bucket held then comes as the last value of each key only, and
    // that may stand behind a barrier that the registration itself was before.
    const initialized = await within(watching.initialized, deadline);
    const seen = initialized && (await this.#putAndSee(deadline));
    if (this.#watching !== watching) return false;
    if (!seen) await this.#open();
    return seen;
  }

  async #putAndSee(deadline: number): Promise<boolean> {
    const value = String((this.#barriers += 1));
    const sight = new Promise<void>((resolve) => this.#sights.set(value, resolve));
    try {
      await this.#kv.put(this.#barrierKey, value);
      return await within(sight, deadline);
    } catch {
      // The server does not answer: nothing is known.
      return false;
    } finally {
      this.#sights.delete(value);
    }
  }

  /** Opens another watch, then ends the one before it. Leaves that in place when it fails; the next check tries again. */
  async #open(): Promise<void> {
    if (this.#opening || this.#stopped) return;
    this.#opening = true;
    const connectedAs = this.#connectedAs();
    try {
      // So that there is something to begin with: only an entry tells that the start is through.
      await this.#kv.put(this.#barrierKey, 'start');
      const entries = await this.#kv.watch();
      if (this.#isStopped()) {
        entries.stop();
        return;
      }
      this.#watching?.entries.stop();
      let initialized: () => void = () => undefined;
      const promise = new Promise<void>((resolve) => (initialized = resolve));
      const watching = { entries, connectedAs, initialized: promise };
      this.#watching = watching;
      this.#seenAt = performance.now();
      void this.#receive(watching, initialized);
    } catch {
      // The server does not answer; a watch that is still there may be good.
    } finally {
      this.#opening = false;
    }
  }

  async #receive(watching: Watching, initialized: () => void): Promise<void> {
    try {
      for await (const entry of watching.entries) {
        if (this.#watching !== watching) return;
        this.#seenAt = performance.now();
        if (entry.key !== this.#barrierKey) this.#onEntry(entry);
        else this.#sights.get(entry.string())?.();
        if (entry.isUpdate) initialized();
      }
    } catch {
      // The client has given this watch up; the next check opens another.
    }
    if (this.#watching === watching) this.#watching = undefined;
  }

  #isStopped(): boolean {
    return this.#stopped;
  }

  #connectedAs(): string {
    const info = this.#connection.info;
    return `${info?.server_id}:${info?.client_id}`;
  }
}

/** Whether the promise resolves before the deadline, a `performance.now()`. */
async function within(promise: Promise<void>, deadline: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), Math.max(0, deadline - performance.now()));
  });
  const inTime = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
