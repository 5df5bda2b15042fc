import { randomUUID } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { OperationalError } from '@sallyport/errors';
import type { BusListener, MessageBus } from '@sallyport/message-bus';
import type { Message, MessageProperties, MqttKernel, SharedTarget } from '@sallyport/mqtt-session';
import type {
  RoutedOrClient,
  RoutedSubscription,
  SessionStore,
  StoreBroker,
  StorePacket,
} from '@sallyport/session-store';
import { Aedes } from 'aedes';

/** Nodes' own messages; what a client publishes there, whatever its rules say, would drive the nodes. */
const SYSTEM_PREFIX = '$SYS/';

/** What nodes say to each other. */
const SIGNALS = ['hello', 'share', 'takeover', 'released'] as const;

const HEARTBEAT_INTERVAL_MS = 5000;
/** A node that was not heard for this many heartbeats is gone. */
const HEARTBEATS_MISSED_MAX = 3;

/** What aedes 1.2.0 calls of a persistence when our sessions are in front of it. */
interface KernelPersistence {
  setup(broker: StoreBroker): Promise<void>;
  storeRetained(packet: StorePacket): Promise<void>;
  subscriptionsByTopic(topic: string): Promise<RoutedSubscription[]>;
  outgoingEnqueueCombi(subscriptions: RoutedSubscription[], packet: StorePacket): Promise<void>;
}

/** The parts of aedes 1.2.0 that we use, some of which its types do not have. This file is the only one that knows them. */
interface NativeBroker extends EventEmitter {
  readonly id: string;
  /** Of messages; the next one gets the next. */
  counter: number;
  /** When each node was heard last. */
  readonly brokers: Record<string, number>;
  readonly _clearWillInterval: NodeJS.Timeout;
  publish(packet: object, client: null, done: (error?: Error | null) => void): void;
  close(done: () => void): void;
}

interface NativeOptions {
  readonly id: string;
  readonly persistence: KernelPersistence;
  readonly mq: MessageBus;
  readonly concurrency: number;
  readonly heartbeatInterval: number;
}

export interface KernelOptions {
  readonly store: SessionStore;
  /** Closed with the kernel. */
  readonly bus: MessageBus;
  readonly onProblem: (problem: OperationalError) => void;
}

/** What the kernel hands over. */
export interface KernelReceiver {
  receive(message: Message): void;
  /** See `Engine`. */
  lateTargets(message: Message): readonly SharedTarget[];
  signalled(brokerId: string, topic: string, payload: string): void;
  nodeGone(brokerId: string): void;
}

/** Without what was added for the way between nodes. */
function withoutRouting(packet: StorePacket): StorePacket {
  // Of a message that the engine made.
  const { routing, ...properties } = (packet.properties ?? {}) as MessageProperties;
  return routing === undefined ? packet : { ...packet, properties };
}

/**
 * The aedes kernel without its clients: the publish pipeline (retained message, queues, bus), heartbeats, `$SYS`. Unpatched; its
 * sessions, takeovers and wills are not used.
 */
export class AedesKernel implements MqttKernel {
  readonly #store: SessionStore;
  readonly #bus: MessageBus;
  readonly #onProblem: (problem: OperationalError) => void;
  /** QoS 2 packets of clients that become a message with this number. */
  readonly #incoming = new Map<number, { clientId: string; messageId: number }>();
  #native: NativeBroker | undefined;
  #receiver: KernelReceiver | undefined;
  #watch: NodeJS.Timeout | undefined;

  private constructor({ store, bus, onProblem }: KernelOptions) {
    this.#store = store;
    this.#bus = bus;
    this.#onProblem = onProblem;
  }

  /** @throws OperationalError `session_store_unavailable` when the subscriptions cannot be loaded */
  static async start(options: KernelOptions): Promise<AedesKernel> {
    const kernel = new AedesKernel(options);
    // The published types know neither `concurrency: 0` nor a persistence of promises.
    const create = Aedes.createBroker.bind(Aedes) as unknown as (
      options: NativeOptions,
    ) => Promise<NativeBroker>;
    const native = await create({
      id: randomUUID(), // New at each start: it is part of the names of messages.
      persistence: kernel.#persistence(),
      mq: options.bus,
      concurrency: 0,
      heartbeatInterval: HEARTBEAT_INTERVAL_MS,
    });
    // It would publish wills of dead nodes without asking, more than once, and under the wrong origin.
    clearInterval(native._clearWillInterval);
    native.on('error', (cause: unknown) => kernel.#report(cause));
    kernel.#native = native;
    return kernel;
  }

  get brokerId(): string {
    return this.#broker.id;
  }

  get #broker(): NativeBroker {
    if (this.#native === undefined) throw new TypeError('the kernel has not started');
    return this.#native;
  }

  /** From now on messages and signals go to the receiver; once this resolves, those of all nodes. */
  async connect(receiver: KernelReceiver): Promise<void> {
    this.#receiver = receiver;
    // What the kernel emits is the message with `cmd`, and what another node sent is the same after its way over the bus.
    this.#bus.receiveWith((message) => receiver.receive(message as Message));
    this.#watch = setInterval(() => this.#lookForGone(receiver), HEARTBEAT_INTERVAL_MS);
    await Promise.all(SIGNALS.map((topic) => this.#listenFor(topic, receiver)));
  }

  #listenFor(signal: string, receiver: KernelReceiver): Promise<void> {
    const listener: BusListener = ({ topic, payload }, done) => {
      const brokerId = topic.split('/')[1] ?? '';
      try {
        receiver.signalled(brokerId, signal, (payload ?? '').toString());
      } catch (cause) {
        this.#report(cause);
      }
      done();
    };
    return new Promise((resolve) => {
      this.#bus.on(`${SYSTEM_PREFIX}+/${signal}`, listener, resolve);
    });
  }

  nextCounter(): number {
    return ++this.#broker.counter;
  }

  publish(
    message: Message,
    incoming: { readonly clientId: string; readonly messageId: number } | undefined,
    done: (error?: Error | null) => void,
  ): void {
    if (message.topic.startsWith(SYSTEM_PREFIX)) {
      done(null);
      return;
    }
    const broker = this.#broker;
    if (incoming === undefined) {
      broker.publish(message, null, done);
      return;
    }
    const brokerCounter = this.nextCounter();
    this.#incoming.set(brokerCounter, incoming);
    broker.publish({ ...message, brokerId: broker.id, brokerCounter }, null, (error) => {
      this.#incoming.delete(brokerCounter);
      done(error);
    });
  }

  forward(message: Message): void {
    this.#bus.emit({ ...message, cmd: 'publish' }, (error) => {
      if (error != null) this.#report(error);
    });
  }

  want(topicFilter: string, done: () => void): void {
    this.#bus.want(topicFilter, done);
  }

  unwant(topicFilter: string): void {
    this.#bus.unwant(topicFilter);
  }

  signal(topic: string, payload: () => string): void {
    if (!this.#bus.hasPeers) return;
    const message = {
      topic: `${SYSTEM_PREFIX}${this.brokerId}/${topic}`,
      payload: Buffer.from(payload()),
      qos: 0 as const,
    };
    this.#bus.emit(message, (error) => {
      if (error != null) this.#report(error);
    });
  }

  /** The bus too; the session store stays open. */
  async close(): Promise<void> {
    clearInterval(this.#watch);
    await new Promise<void>((resolve) => this.#broker.close(resolve));
  }

  #persistence(): KernelPersistence {
    const store = this.#store;
    return {
      // An `async function`, because the kernel looks.
      setup: async (broker) => store.setup(broker),
      storeRetained: (packet) => store.storeRetained(withoutRouting(packet)),
      // The kernel does not answer a publish whose look-up fails; one whose queueing fails, it does. So both are done there.
      subscriptionsByTopic: async () => [],
      outgoingEnqueueCombi: (_none, packet) => this.#enqueue(packet),
    };
  }

  /** For sessions that match, members of share groups that were picked, and the sender's own QoS 2 packet: in one step. */
  async #enqueue(packet: StorePacket): Promise<void> {
    const message = packet as Message; // The kernel adds `cmd` to what the engine made.
    const { brokerCounter = 0, topic = '' } = packet;
    const queued = await this.#store.subscriptionsByTopic(topic);
    const also = this.#store.unqueuedSubscriptions(topic, queued);
    const subscriptions = also.length === 0 ? queued : [...queued, ...also];
    const incoming = this.#incoming.get(brokerCounter);
    // The look-up before has waited for what other nodes have acknowledged; the targets were picked without.
    const late = this.#receiver?.lateTargets(message) ?? [];
    const { routing } = message.properties ?? {};
    if (routing === undefined && late.length === 0) {
      return this.#store.outgoingEnqueueCombi(subscriptions, packet, incoming);
    }
    const targets = [...(routing?.targets ?? []), ...late];
    const picked = this.#store.sharedSubscriptionsByTopic(topic).filter((one) =>
      targets.some(([clientId, shared]) => {
        return one.clientId === clientId && one.topic === shared;
      }),
    );
    const all: RoutedOrClient[] = [...subscriptions, ...picked.filter(({ qos }) => qos > 0)];
    const stored = withoutRouting(packet);
    // What the kernel emits next is this very packet: who is connected elsewhere gets it at once, and no other node picks for them.
    if (late.length > 0) {
      Object.assign(packet, { properties: { ...packet.properties, routing: { targets } } });
    }
    return this.#store.outgoingEnqueueCombi(all, stored, incoming);
  }

  #lookForGone(receiver: KernelReceiver): void {
    const { brokers } = this.#broker;
    const oldest = Date.now() - HEARTBEAT_INTERVAL_MS * HEARTBEATS_MISSED_MAX;
    for (const [brokerId, heardAt] of Object.entries(brokers)) {
      if (heardAt >= oldest) continue;
      delete brokers[brokerId];
      receiver.nodeGone(brokerId);
    }
  }

  #report(cause: unknown): void {
    if (cause instanceof OperationalError) this.#onProblem(cause);
    else this.#onProblem(new OperationalError('internal', 'the MQTT kernel failed', { cause }));
  }
}
