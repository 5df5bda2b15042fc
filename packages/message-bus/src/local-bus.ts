import { OperationalError } from '@sallyport/errors';
import mqemitter from 'mqemitter';
import type {
  BusListener,
  BusMessage,
  Emitter,
  LocalBusOptions,
  MessageBus,
  TopicSyntax,
} from './message-bus.ts';

/** Most levels of a topic that the matcher takes; it throws beyond that. */
export const BUS_TOPIC_LEVELS_MAX = 100;

/** Nodes' own messages. */
const SYSTEM_PREFIX = '$SYS/';

// mqemitter's types describe neither the class nor half of its fields.
const MqEmitter = mqemitter as unknown as new (options: LocalBusOptions) => Emitter;

/** mqemitter, which neither throws for a deep topic nor shows `$` topics to a leading wildcard. */
export class LocalBus extends MqEmitter implements MessageBus {
  protected readonly syntax: TopicSyntax;
  #receiver: ((message: BusMessage) => void) | undefined;
  /** Listeners of filters that match topics of clients. While there are none, those need not be matched here. */
  #listening = 0;
  readonly #guarded = new WeakMap<BusListener, BusListener>();

  constructor(options: LocalBusOptions = {}) {
    super({ ...options, concurrency: options.concurrency ?? 0 });
    this.syntax = {
      separator: options.separator ?? '/',
      wildcardOne: options.wildcardOne ?? '+',
      wildcardSome: options.wildcardSome ?? '#',
    };
  }

  get hasPeers(): boolean {
    return false;
  }

  get connected(): boolean {
    return !this.closed;
  }

  receiveWith(receiver: (message: BusMessage) => void): void {
    this.#receiver = receiver;
  }

  /** One node has no others to hear from. */
  want(_topicFilter: string, done?: () => void): void {
    done?.();
  }

  unwant(_topicFilter: string): void {
    // See `want`.
  }

  override on(topicFilter: string, listener: BusListener, done?: () => void): this {
    if (!topicFilter.startsWith(SYSTEM_PREFIX)) this.#listening++;
    return super.on(topicFilter, this.#guard(topicFilter, listener), done);
  }

  // `#listening` only grows: the matcher does not say whether anything was removed.
  override removeListener(topicFilter: string, listener: BusListener, done?: () => void): this {
    return super.removeListener(topicFilter, this.#guard(topicFilter, listener), done);
  }

  override emit(message: BusMessage, done?: (error?: Error | null) => void): unknown {
    const problem = this.problemOf(message);
    if (problem !== undefined) {
      done?.(problem);
      return this;
    }
    if (this.#receiver !== undefined && !message.topic.startsWith(SYSTEM_PREFIX)) {
      this.#receiver(message);
      if (this.#listening === 0) {
        done?.();
        return this;
      }
    }
    return super.emit(message, done);
  }

  override close(done?: () => void): this {
    return super.close(done ?? (() => undefined));
  }

  /** Why the message cannot be taken, or undefined. */
  protected problemOf(message: BusMessage): OperationalError | undefined {
    if (this.closed) {
      return new OperationalError('message_bus_unavailable', 'the message bus is closed');
    }
    const separator = this.syntax.separator;
    let levels = 1;
    for (let at = message.topic.indexOf(separator); at >= 0; levels++) {
      at = message.topic.indexOf(separator, at + separator.length);
    }
    if (levels <= BUS_TOPIC_LEVELS_MAX) return undefined;
    return new OperationalError(
      'message_bus_unavailable',
      `the topic has more than ${BUS_TOPIC_LEVELS_MAX} levels`,
    );
  }

  #guard(topicFilter: string, listener: BusListener): BusListener {
    const { wildcardOne, wildcardSome } = this.syntax;
    if (!topicFilter.startsWith(wildcardOne) && !topicFilter.startsWith(wildcardSome)) {
      return listener;
    }
    let guarded = this.#guarded.get(listener);
    if (guarded === undefined) {
      guarded = function (message, done) {
        if (message.topic.startsWith('$')) done();
        else listener.call(this, message, done);
      };
      this.#guarded.set(listener, guarded);
    }
    return guarded;
  }
}

/** A bus for a single node: mqemitter. */
export function createLocalBus(options: LocalBusOptions = {}): MessageBus {
  return new LocalBus(options);
}
