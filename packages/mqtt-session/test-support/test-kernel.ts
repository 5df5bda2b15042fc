import type { RoutedOrClient, SessionStore, StorePacket } from '@sallyport/session-store';
import type { Engine } from '../src/engine.ts';
import type { MqttKernel } from '../src/hooks.ts';
import type { Message, MessageProperties } from '../src/message.ts';

/** What lies between nodes. What a node sends to itself arrives at once, in the same turn. */
export class TestBus {
  readonly #kernels: TestKernel[] = [];
  /** How long a message to another node takes; each pair of nodes keeps its order. */
  delay: () => Promise<void> = () => Promise.resolve();
  readonly #links = new Map<string, Promise<void>>();
  /** Pairs of nodes that do not hear each other. */
  readonly cut = new Set<string>();

  join(kernel: TestKernel): void {
    this.#kernels.push(kernel);
  }

  send(from: TestKernel, deliver: (to: TestKernel) => void): void {
    for (const to of this.#kernels) {
      if (to === from) deliver(to);
      else this.#transport(from, to, deliver);
    }
  }

  #transport(from: TestKernel, to: TestKernel, deliver: (to: TestKernel) => void): void {
    const link = `${from.brokerId} ${to.brokerId}`;
    if (this.cut.has(link)) return;
    const before = this.#links.get(link) ?? Promise.resolve();
    this.#links.set(
      link,
      Promise.all([before, this.delay()]).then(() => deliver(to)),
    );
  }
}

export interface TestKernelOptions {
  readonly brokerId?: string;
  readonly store: SessionStore;
  readonly bus?: TestBus;
}

/** The pipeline of the kernel over any store: retained message, queues, then the nodes. */
export class TestKernel implements MqttKernel {
  readonly brokerId: string;
  /** How often each filter is wanted. */
  readonly wanted = new Map<string, number>();
  readonly published: Message[] = [];
  readonly signals: { readonly topic: string; readonly payload: string }[] = [];
  /** Holds up a message before it is stored. */
  beforePublish: ((message: Message) => Promise<void>) | undefined;
  /** Holds up a subscription. */
  beforeWant: ((topicFilter: string) => Promise<void>) | undefined;
  readonly #store: SessionStore;
  readonly #bus: TestBus;
  #engine: Engine | undefined;
  #counter = 0;

  constructor({ brokerId = 'broker-1', store, bus = new TestBus() }: TestKernelOptions) {
    this.brokerId = brokerId;
    this.#store = store;
    this.#bus = bus;
    bus.join(this);
  }

  connect(engine: Engine): void {
    this.#engine = engine;
  }

  nextCounter(): number {
    return ++this.#counter;
  }

  publish(
    message: Message,
    incoming: { readonly clientId: string; readonly messageId: number } | undefined,
    done: (error?: Error | null) => void,
  ): void {
    this.published.push(message);
    const named = { ...message, brokerId: this.brokerId, brokerCounter: this.nextCounter() };
    if (message.qos === 0 && !message.retain && this.beforePublish === undefined) {
      this.forward(named);
      done(null);
      return;
    }
    this.#stored(named, incoming).then(
      (stored) => {
        this.forward(stored);
        done(null);
      },
      (error: Error) => done(error),
    );
  }

  async #stored(
    message: Message,
    incoming: { readonly clientId: string; readonly messageId: number } | undefined,
  ): Promise<Message> {
    await this.beforePublish?.(message);
    const packet: StorePacket = { ...message, cmd: 'publish' };
    if (message.retain) await this.#store.storeRetained(withoutRouting(packet));
    if (message.qos === 0) return message;
    const queued = await this.#store.subscriptionsByTopic(message.topic);
    const also = this.#store.unqueuedSubscriptions(message.topic, queued);
    const subscriptions = [...queued, ...also];
    const addressed = message.properties?.routing?.targets ?? [];
    const late = this.#engine?.lateTargets(message) ?? [];
    const targets = [...addressed, ...late];
    const picked = this.#store
      .sharedSubscriptionsByTopic(message.topic)
      .filter((one) =>
        targets.some(([clientId, shared]) => one.clientId === clientId && one.topic === shared),
      );
    const all: RoutedOrClient[] = [...subscriptions, ...picked.filter(({ qos }) => qos > 0)];
    await this.#store.outgoingEnqueueCombi(all, withoutRouting(packet), incoming);
    if (late.length === 0) return message;
    return { ...message, properties: { ...message.properties, routing: { targets } } };
  }

  forward(message: Message): void {
    this.#bus.send(this, (to) => to.#engine?.receive(message));
  }

  want(topicFilter: string, done: () => void): void {
    this.wanted.set(topicFilter, (this.wanted.get(topicFilter) ?? 0) + 1);
    if (this.beforeWant === undefined) done();
    else void this.beforeWant(topicFilter).then(done);
  }

  unwant(topicFilter: string): void {
    const count = this.wanted.get(topicFilter) ?? 0;
    if (count === 0) throw new Error(`${topicFilter} was not wanted`);
    if (count === 1) this.wanted.delete(topicFilter);
    else this.wanted.set(topicFilter, count - 1);
  }

  signal(topic: string, said: () => string): void {
    const payload = said();
    this.signals.push({ topic, payload });
    this.#bus.send(this, (to) => to.#engine?.signalled(this.brokerId, topic, payload));
  }
}

function withoutRouting(packet: StorePacket): StorePacket {
  // Of a message that the engine made.
  const { routing, ...properties } = (packet.properties ?? {}) as MessageProperties;
  return routing === undefined ? packet : { ...packet, properties };
}
