import type { SessionStore, StoreClient, StoredSubscription } from '@sallyport/session-store';

/** `target` with some methods replaced; all others run on `target` itself. */
function override<T extends object>(target: T, replaced: Partial<T>): T {
  const methods = new Map<PropertyKey, unknown>(Object.entries(replaced));
  return new Proxy(target, {
    get(object, key) {
      const known = methods.get(key);
      if (known !== undefined) return known;
      const value: unknown = Reflect.get(object, key, object);
      if (typeof value !== 'function') return value;
      const method: unknown = value.bind(object);
      methods.set(key, method);
      return method;
    },
  });
}

/**
 * The session store as the kernel may use it.
 *
 * The kernel stores every filter of a SUBSCRIBE as soon as one of them is granted. A denied filter would fill the session's
 * queue, and come back at the next connect. So only what was granted to this very connection passes, whatever is asked.
 */
export class GrantedSubscriptions {
  /** For the kernel, instead of the store. */
  readonly store: SessionStore;
  readonly #inner: SessionStore;
  readonly #granted = new WeakMap<StoreClient, Set<string>>();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #onFailure: (cause: unknown) => void;

  constructor(inner: SessionStore, onFailure: (cause: unknown) => void) {
    this.#inner = inner;
    this.#onFailure = onFailure;
    this.store = override(inner, {
      addSubscriptions: (client, subscriptions) => this.#add(client, subscriptions),
      delWill: (client) => this.#deleteWill(client),
      // The kernel pipes it without a listener for `error`, which would end the process.
      createRetainedStreamCombi: (filters) =>
        inner.createRetainedStreamCombi(filters).on('error', onFailure),
    });
  }

  grant(client: StoreClient, topicFilter: string): void {
    let filters = this.#granted.get(client);
    if (filters === undefined) {
      filters = new Set();
      this.#granted.set(client, filters);
    }
    filters.add(topicFilter);
  }

  /** Also while the answer is not known: an earlier grant must not speak for a new question. */
  revoke(client: StoreClient, topicFilter: string): void {
    this.#granted.get(client)?.delete(topicFilter);
  }

  /** Takes a filter out of the store; for one that a restored session may no longer have. */
  async forget(client: StoreClient, topicFilter: string): Promise<void> {
    await this.#inner.removeSubscriptions(client, [topicFilter]);
  }

  /** Resolves when the deletions of wills that have been started are done. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pending);
  }

  async #add(client: StoreClient, subscriptions: StoredSubscription[]): Promise<void> {
    const granted = this.#granted.get(client);
    const allowed = subscriptions.filter((subscription) => granted?.has(subscription.topic));
    if (allowed.length > 0) await this.#inner.addSubscriptions(client, allowed);
  }

  /** Never rejects: at a CONNECT the kernel lets the rejection go by, which would end the process. */
  async #deleteWill(client: StoreClient): Promise<undefined> {
    const deletion = this.#inner.delWill(client).then(() => undefined, this.#onFailure);
    this.#pending.add(deletion);
    await deletion;
    this.#pending.delete(deletion);
  }
}
