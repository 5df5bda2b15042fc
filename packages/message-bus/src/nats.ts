import { randomBytes } from 'node:crypto';
import type { Msg, NatsConnection, Status, Subscription } from '@nats-io/nats-core';
import { connect, type NodeConnectionOptions } from '@nats-io/transport-node';
import { OperationalError } from '@sallyport/errors';
import { decodeFrame, encodeFrame, FRAME_HEADER_BYTES_MAX } from './frame.ts';
import { LocalBus } from './local-bus.ts';
import type { BusListener, BusMessage, LocalBusOptions, MessageBus } from './message-bus.ts';
import { SeenWindow } from './seen-window.ts';
import { subjectOfTopic, subjectsOfFilter } from './subject.ts';

/** Largest payload by default; the server's `max_payload` must be above it by `FRAME_HEADER_BYTES_MAX`. */
const PAYLOAD_BYTES_MAX = 1024 * 1024;

/** When this much has been published since the server last answered, `emit` calls back only after its next answer. */
const UNANSWERED_BYTES_MAX = 4 * 1024 * 1024;

/** A frozen server is noticed after three of these; the client's defaults take minutes. */
const PING_INTERVAL_MS = 1000;
const PINGS_UNANSWERED_MAX = 2;
const CONNECT_TIMEOUT_MS = 2000;
const RECONNECT_WAIT_MS = 100;

/** INVARIANT: not `sallyport` alone, below which the event log has its subjects. */
const DEFAULT_SUBJECT_PREFIX = 'sallyport.bus';

/** The time without a server. What other nodes published in it is lost; what we published reached this node only. */
export interface BusGap {
  /** Reconnects since the bus was opened, this one included. */
  readonly reconnects: number;
  readonly durationMs: number;
  /** Messages of this node that no other node got, as far as it was known at the time: a lower bound. */
  readonly unsent: number;
}

export interface NatsMessageBusOptions extends LocalBusOptions {
  readonly connection: NodeConnectionOptions;
  /** First tokens of every subject; one for each cluster. Default `sallyport.bus`. */
  readonly prefix?: string;
  /** Largest payload that any node emits, in bytes. Default 1 MiB. */
  readonly payloadBytesMax?: number;
  /** The server is there again, all subscriptions too: re-drain queues and catch up whatever the bus carries. */
  readonly onReconnect?: (gap: BusGap) => void;
  /** Something to log: a lost connection, a refusal of the server, a frame that is not understood. */
  readonly onProblem?: (problem: OperationalError) => void;
}

/** Counts since the start; for metrics. */
export interface BusCounts {
  readonly reconnects: number;
  readonly unsent: number;
  /** Copies made by overlapping subscriptions. */
  readonly duplicates: number;
  /** Frames that were not understood. */
  readonly dropped: number;
}

interface Interest {
  readonly subscription: Subscription;
  filters: number;
}

function unavailable(message: string, cause?: unknown): OperationalError {
  return new OperationalError('message_bus_unavailable', message, { cause });
}

/** A bus over core NATS, for all nodes of a cluster. At most once between nodes: a gap loses messages, and is reported. */
export class NatsMessageBus extends LocalBus implements MessageBus, AsyncDisposable {
  readonly #connection: NatsConnection;
  readonly #prefix: string;
  readonly #origin = randomBytes(8);
  readonly #seen = new SeenWindow();
  readonly #onReconnect: (gap: BusGap) => void;
  readonly #onProblem: (problem: OperationalError) => void;
  /** How often each listener is registered for each filter: the matcher says nothing about what it removed. */
  readonly #registered = new Map<string, Map<BusListener, number>>();
  readonly #wanted = new Map<string, number>();
  readonly #interests = new Map<string, Interest>();
  #live = true;
  #sequence = 0;
  #counts = { reconnects: 0, unsent: 0, duplicates: 0, dropped: 0 };
  #gap = { since: 0, unsentBefore: 0 };
  #unansweredBytes = 0;
  #answer: Promise<void> | undefined;
  #confirming: (() => void)[] = [];

  /** `connection` must be made with `noEcho`. Use `openNatsMessageBus`. */
  constructor(connection: NatsConnection, options: Omit<NatsMessageBusOptions, 'connection'> = {}) {
    super(options);
    this.#connection = connection;
    this.#prefix = options.prefix ?? DEFAULT_SUBJECT_PREFIX;
    this.#onReconnect = options.onReconnect ?? (() => undefined);
    this.#onProblem = options.onProblem ?? (() => undefined);
    void this.#watch();
  }

  override get hasPeers(): boolean {
    return true;
  }

  override get connected(): boolean {
    return this.#live && !this.closed;
  }

  get counts(): BusCounts {
    return { ...this.#counts };
  }

  /** `done` waits until the server has the subscription. Without a server it does not: the reconnect restores it. */
  override on(topicFilter: string, listener: BusListener, done?: () => void): this {
    let listeners = this.#registered.get(topicFilter);
    if (listeners === undefined) {
      listeners = new Map();
      this.#registered.set(topicFilter, listeners);
      this.#subscribe(topicFilter);
    }
    listeners.set(listener, (listeners.get(listener) ?? 0) + 1);
    super.on(topicFilter, listener);
    if (done !== undefined) this.#confirm(done);
    return this;
  }

  override want(topicFilter: string, done?: () => void): void {
    const wanted = this.#wanted.get(topicFilter) ?? 0;
    this.#wanted.set(topicFilter, wanted + 1);
    if (wanted === 0) this.#subscribe(topicFilter);
    if (done !== undefined) this.#confirm(done);
  }

  override unwant(topicFilter: string): void {
    const wanted = this.#wanted.get(topicFilter) ?? 0;
    if (wanted > 1) {
      this.#wanted.set(topicFilter, wanted - 1);
    } else if (this.#wanted.delete(topicFilter)) {
      this.#unsubscribe(topicFilter);
    }
  }

  override removeListener(topicFilter: string, listener: BusListener, done?: () => void): this {
    const listeners = this.#registered.get(topicFilter);
    const count = listeners?.get(listener) ?? 0;
    if (count > 1) listeners?.set(listener, count - 1);
    if (count === 1) listeners?.delete(listener);
    if (listeners?.size === 0) this.#forget(topicFilter);
    return super.removeListener(topicFilter, listener, done);
  }

  override removeAllListeners(topicFilter: string, done?: () => void): this {
    if (this.#registered.has(topicFilter)) this.#forget(topicFilter);
    return super.removeAllListeners(topicFilter, done);
  }

  /** While the server is away the message reaches this node only; that is counted, and no error. */
  override emit(message: BusMessage, done?: (error?: Error | null) => void): unknown {
    const problem = this.problemOf(message);
    if (problem !== undefined) {
      done?.(problem);
      return this;
    }
    let failure: OperationalError | null = null;
    let pending = 2; // Our listeners, which may be quicker than the next lines, and the server.
    const settle = (): void => {
      if (--pending > 0) return;
      if (this.#answer === undefined) done?.(failure);
      else void this.#answer.then(() => done?.(failure));
    };
    super.emit(message, settle);
    failure = this.#send(message) ?? null;
    if (failure !== null) this.#onProblem(failure);
    settle();
    return this;
  }

  override close(done?: () => void): this {
    if (this.closed) return super.close(done);
    super.close(() => undefined);
    this.#interests.clear();
    void this.#connection
      .drain() // What was emitted leaves before the connection goes.
      .catch(() => this.#connection.close())
      .catch(() => undefined)
      .then(() => done?.());
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.close(resolve));
  }

  #subjectsOf(topicFilter: string): string[] {
    return subjectsOfFilter(this.#prefix, topicFilter, this.syntax);
  }

  #subscribe(topicFilter: string): void {
    for (const subject of this.#subjectsOf(topicFilter)) this.#want(subject);
  }

  #unsubscribe(topicFilter: string): void {
    for (const subject of this.#subjectsOf(topicFilter)) {
      const interest = this.#interests.get(subject);
      if (interest === undefined || --interest.filters > 0) continue;
      this.#interests.delete(subject);
      interest.subscription.unsubscribe();
    }
  }

  #want(subject: string): void {
    const interest = this.#interests.get(subject);
    if (interest !== undefined) {
      interest.filters++;
      return;
    }
    if (this.closed || this.#connection.isClosed()) return;
    const callback = (error: Error | null, message: Msg): void => {
      if (error !== null) this.#onProblem(unavailable('a subscription was refused', error));
      else this.#receive(message.data);
    };
    const subscription = this.#connection.subscribe(subject, { callback });
    this.#interests.set(subject, { subscription, filters: 1 });
  }

  #forget(topicFilter: string): void {
    this.#registered.delete(topicFilter);
    this.#unsubscribe(topicFilter);
  }

  /** One round trip to the server for all registrations of this turn. */
  #confirm(done: () => void): void {
    if (!this.connected) {
      setImmediate(done);
      return;
    }
    this.#confirming.push(done);
    if (this.#confirming.length > 1) return;
    queueMicrotask(() => {
      const waiting = this.#confirming;
      this.#confirming = [];
      void this.#flush().then(() => {
        for (const call of waiting) call();
      });
    });
  }

  /** Resolves when the server has answered, or is gone. */
  async #flush(): Promise<void> {
    try {
      await this.#connection.flush();
    } catch {
      // The connection went: `#watch` reports it, and the reconnect restores the subscriptions.
    }
  }

  #send(message: BusMessage): OperationalError | undefined {
    // What a client publishes under `$` must not look like a message of a node.
    if (message.topic.startsWith('$') && message.clientId !== undefined) return undefined;
    const subject = subjectOfTopic(this.#prefix, message.topic, this.syntax);
    if (subject === undefined) return undefined;
    if (!this.#live) {
      this.#counts.unsent++;
      return undefined;
    }
    const frame = encodeFrame({ origin: this.#origin, sequence: ++this.#sequence }, message);
    const bytesMax = this.#connection.info?.max_payload ?? 0;
    if (frame === undefined || frame.length > bytesMax) {
      this.#counts.unsent++;
      return unavailable(`a message is too large for the bus: more than ${bytesMax} bytes`);
    }
    try {
      this.#connection.publish(subject, frame);
    } catch (cause) {
      this.#counts.unsent++;
      return unavailable('a message could not be sent', cause);
    }
    this.#unansweredBytes += frame.length;
    if (this.#unansweredBytes > UNANSWERED_BYTES_MAX) this.#awaitAnswer();
    return undefined;
  }

  /** Back-pressure: without it a publisher that is quicker than the server fills our memory. */
  #awaitAnswer(): void {
    if (this.#answer !== undefined) return;
    this.#unansweredBytes = 0;
    this.#answer = this.#flush().then(() => {
      this.#answer = undefined;
    });
  }

  #receive(data: Uint8Array): void {
    if (this.closed) return;
    const decoded = decodeFrame(data);
    if (!decoded.ok) {
      this.#counts.dropped++;
      this.#onProblem(unavailable(`a frame was dropped: ${decoded.problem}`));
      return;
    }
    const { origin, sequence, message } = decoded.frame;
    if (!this.#seen.firstTime(origin, sequence)) {
      this.#counts.duplicates++;
      return;
    }
    try {
      super.emit(message, () => undefined);
    } catch (error) {
      // A bug of a listener. The NATS client would take it for a broken connection, and hide it.
      setImmediate(() => {
        throw error;
      });
    }
  }

  async #watch(): Promise<void> {
    for await (const status of this.#connection.status()) this.#onStatus(status);
    this.#live = false;
    if (!this.closed) this.#onProblem(unavailable('the connection is closed for good'));
  }

  #onStatus(status: Status): void {
    if (status.type === 'disconnect' && this.#live) {
      this.#live = false;
      this.#gap = { since: performance.now(), unsentBefore: this.#counts.unsent };
      if (!this.closed) this.#onProblem(unavailable('the connection is lost'));
    } else if (status.type === 'reconnect') {
      this.#live = true;
      this.#unansweredBytes = 0;
      this.#counts.reconnects++;
      this.#onReconnect({
        reconnects: this.#counts.reconnects,
        durationMs: performance.now() - this.#gap.since,
        unsent: this.#counts.unsent - this.#gap.unsentBefore,
      });
    } else if (status.type === 'error') {
      this.#onProblem(unavailable('the server reports an error', status.error));
    }
  }
}

/** Connects to NATS. Separate from the bus so that both can be tested with the same settings. */
export async function connectForBus(
  options: Pick<NatsMessageBusOptions, 'connection' | 'payloadBytesMax'>,
): Promise<NatsConnection> {
  let connection: NatsConnection;
  try {
    connection = await connect({
      name: 'sallyport-message-bus',
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: PINGS_UNANSWERED_MAX,
      timeout: CONNECT_TIMEOUT_MS,
      reconnectTimeWait: RECONNECT_WAIT_MS,
      ...options.connection,
      noEcho: true,
      reconnect: true,
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
    });
  } catch (cause) {
    throw unavailable('the server cannot be reached', cause);
  }
  const needed = (options.payloadBytesMax ?? PAYLOAD_BYTES_MAX) + FRAME_HEADER_BYTES_MAX;
  const allowed = connection.info?.max_payload ?? 0;
  if (allowed >= needed) return connection;
  await connection.close();
  throw unavailable(`max_payload of the NATS server is ${allowed}; it must be at least ${needed}`);
}

/** @throws OperationalError `message_bus_unavailable`, also when the server's `max_payload` is too small */
export async function openNatsMessageBus(options: NatsMessageBusOptions): Promise<NatsMessageBus> {
  return new NatsMessageBus(await connectForBus(options), options);
}
