import type { StoreBroker, StoreBrokerListener, StorePacket } from './session-store.ts';

/** Where nodes tell each other of persistent subscriptions; fixed by aedes-persistence. */
const SUBSCRIPTION_FILTER = '$SYS/sub/+';

/**
 * Stands between the kernel and a persistence that loads the subscriptions first and listens for changes afterwards: it listens
 * from the start and hands over, once asked, what has arrived meanwhile. So no change falls between the two.
 */
export class SubscriptionChannel implements StoreBroker {
  readonly #broker: StoreBroker;
  #listener: StoreBrokerListener | undefined;
  #early: StorePacket[] = [];

  readonly #receive: StoreBrokerListener = (packet, done) => {
    if (this.#listener !== undefined) {
      this.#listener(packet, done);
      return;
    }
    this.#early.push(packet);
    done();
  };

  constructor(broker: StoreBroker) {
    this.#broker = broker;
  }

  get id(): string {
    return this.#broker.id;
  }

  async open(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#broker.subscribe(SUBSCRIPTION_FILTER, this.#receive, () => resolve());
    });
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#broker.unsubscribe(SUBSCRIPTION_FILTER, this.#receive, () => resolve());
    });
  }

  publish(packet: StorePacket, done: (error?: Error | null) => void): void {
    this.#broker.publish(packet, done);
  }

  subscribe(_topicFilter: string, listener: StoreBrokerListener, done: () => void): void {
    this.#listener = listener;
    for (const packet of this.#early.splice(0)) listener(packet, () => undefined);
    done();
  }

  unsubscribe(_topicFilter: string, _listener: StoreBrokerListener, done: () => void): void {
    this.#listener = undefined;
    done();
  }
}
