import { isOperational } from '@sallyport/errors';
import type { DueItem, SessionStore } from '@sallyport/session-store';
import type { EngineObserver, MqttHooks } from './hooks.ts';
import type { Message } from './message.ts';

/** How often the store is asked what is due. */
const INTERVAL_MS = 500;

/** Items that are taken at once. */
const BATCH_LENGTH = 100;

export interface DueWorkOptions {
  readonly store: SessionStore;
  readonly hooks: MqttHooks;
  readonly observer: EngineObserver;
  readonly clock: () => number;
  readonly publish: (message: Message) => Promise<void>;
  /** Gives what waits for share groups to other members. */
  readonly handOn: (clientId: string) => Promise<void>;
}

/** Delayed wills and the ends of sessions, whichever node the clients were on. Each item is taken by one node. */
export class DueWork implements AsyncDisposable {
  readonly #options: DueWorkOptions;
  /** What the store did not take, because it was away. */
  #again: (() => Promise<void>)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> | undefined;

  constructor(options: DueWorkOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#working ??= this.#work().finally(() => (this.#working = undefined));
    }, INTERVAL_MS);
  }

  /** Does the work again and again, until the store takes it. */
  repeat(work: () => Promise<void>): void {
    this.#again.push(work);
  }

  async #work(): Promise<void> {
    const { store, clock } = this.#options;
    try {
      await this.#workAgain();
      for (;;) {
        const items = await store.claimDue({ now: clock(), limit: BATCH_LENGTH });
        for (const item of items) await this.#try(item);
        if (items.length < BATCH_LENGTH) return;
      }
    } catch (error) {
      this.#report(error);
    }
  }

  async #workAgain(): Promise<void> {
    for (let work = this.#again[0]; work !== undefined; work = this.#again[0]) {
      await work();
      this.#again.shift();
    }
  }

  /** What is in the way of one item is not in the way of the others, which are taken already. */
  async #try(item: DueItem): Promise<void> {
    try {
      await this.#do(item);
    } catch (error) {
      this.#report(error);
    }
  }

  /** While the store is away nothing is lost: what is due stays due. */
  #report(error: unknown): void {
    if (isOperational(error, 'session_store_unavailable')) return;
    this.#options.observer.problem(error as Error); // What is thrown here is one.
  }

  async #do(item: DueItem): Promise<void> {
    const { store, hooks, publish, handOn } = this.#options;
    const { clientId } = item.record;
    if (item.kind === 'expired') {
      await handOn(clientId);
      await store.dropSession({ clientId, epoch: item.epoch });
      return;
    }
    const will = item.will as Message; // What `openSession` was given.
    // It is stored as the client named it, so that what it becomes is what the rights are now.
    const topic = await hooks.storedWillTopic(item.record, will);
    if (topic !== undefined) await publish({ ...will, topic });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#working;
  }
}
