/** A message on its way between nodes: an MQTT PUBLISH with what the nodes add to it, or a message of the nodes themselves. */
export interface BusMessage {
  topic: string;
  cmd?: 'publish';
  payload?: Buffer | string;
  qos?: 0 | 1 | 2;
  retain?: boolean;
  dup?: boolean;
  messageId?: number | undefined;
  /** The node that took the message in, and its count of messages: together they name the message. */
  brokerId?: string;
  brokerCounter?: number;
  /** The client that published it; absent when a node did. */
  clientId?: string;
  /** No-local of the subscription it is delivered for. */
  nl?: boolean;
  /** MQTT 5 properties, and fields of ours in sub-objects. Byte values may stand on the first level only. */
  properties?: Readonly<Record<string, unknown>>;
  /** When the message expires, in milliseconds since 1970. */
  messageExpiry?: number;
}

/** Gets a message; `this` is the bus. Must call `done`, once, when it is ready for more. */
export type BusListener<M extends BusMessage = BusMessage> = (
  this: MessageBus,
  message: M,
  done: () => void,
) => void;

/** The contract of mqemitter. */
export interface Emitter {
  /** Messages that listeners have not finished with. */
  readonly current: number;
  readonly closed: boolean;
  /** Messages that wait because `concurrency` of them are with the listeners. */
  readonly length: number;
  /** Most messages that are with the listeners at once; 0 = no limit, so that one slow listener holds up nobody. */
  readonly concurrency: number;

  /** Registers a listener; `done` is called when messages published from then on, anywhere, reach it. */
  on(topicFilter: string, listener: BusListener, done?: () => void): this;
  removeListener(topicFilter: string, listener: BusListener, done?: () => void): this;
  /** Removes every listener of exactly this filter. */
  removeAllListeners(topicFilter: string, done?: () => void): this;
  /** Hands the message to the listeners of this process, then to the other nodes. `done` waits for the former only. */
  emit(message: BusMessage, done?: (error?: Error | null) => void): unknown;
  /** Takes no more messages and delivers none from other nodes. */
  close(done?: () => void): this;
}

/**
 * The emitter that nodes share: mqemitter's contract with MQTT's wildcards. A listener gets a message once for each
 * registration, whatever other filters overlap. A filter that starts with a wildcard never gets a topic that starts with
 * `$` (MQTT-3.1.1 [MQTT-4.7.2-1]). Nothing here throws; failures are `OperationalError` `message_bus_unavailable`.
 */
export interface MessageBus extends Emitter {
  /** Whether messages reach the other nodes now; for readiness. Always true for an open bus of one node. */
  readonly connected: boolean;
  /** Whether there are other nodes to hear what is emitted. */
  readonly hasPeers: boolean;

  /**
   * Hands every message that reaches this node, but those of `$SYS/…`, to one receiver, each once and before any listener. For
   * whoever does the matching itself: a listener for each filter would match every message a second time.
   */
  receiveWith(receiver: (message: BusMessage) => void): void;
  /** Messages of other nodes that match the filter reach the receiver from `done` on. Counted. */
  want(topicFilter: string, done?: () => void): void;
  unwant(topicFilter: string): void;
}

/** How topics are read; the defaults are MQTT's, and nodes of one cluster must agree. */
export interface TopicSyntax {
  readonly separator: string;
  readonly wildcardOne: string;
  readonly wildcardSome: string;
}

export interface LocalBusOptions extends Partial<TopicSyntax> {
  /** See `MessageBus.concurrency`. Default 0. */
  readonly concurrency?: number;
  /** Whether `+` matches an empty level. Default true. */
  readonly matchEmptyLevels?: boolean;
}
