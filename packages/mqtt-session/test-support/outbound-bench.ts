import {
  createMemorySessionStore,
  type RoutedOrClient,
  type SessionStore,
} from '@sallyport/session-store';
import type { Qos, ReasonCode } from '../src/codec/index.ts';
import type { EngineEvent } from '../src/hooks.ts';
import { defaultLimits, type MqttLimits } from '../src/limits.ts';
import type { Message } from '../src/message.ts';
import { type DeliveryTerms, type Line, Outbound } from '../src/session/outbound.ts';
import { Publication } from '../src/session/publication.ts';

/** What went out, as `publish <payload> q<qos> #<id>` with ` dup` and ` retain` where they are set, or `pubrel #<id> <code>`. */
export class RecordingLine implements Line {
  readonly sent: string[] = [];
  readonly counts = new Map<EngineEvent, number>();
  readonly failures: { readonly reason: ReasonCode; readonly error: Error }[] = [];
  readonly denied = new Set<string>();
  congested = false;
  /** Largest payload that the client takes. */
  payloadMax = Number.POSITIVE_INFINITY;
  onSent: (line: string) => void = () => undefined;

  sendPublish(
    { message }: Publication,
    qos: Qos,
    terms: DeliveryTerms,
    again?: { readonly packetId: number; readonly dup: boolean },
  ): boolean {
    if (message.payload.length > this.payloadMax) return false;
    const retain = terms.retainAsPublished && message.retain ? ' retain' : '';
    const id = again === undefined ? '' : ` #${again.packetId}${again.dup ? ' dup' : ''}`;
    this.#record(`publish ${message.payload.toString()} q${qos}${id}${retain}`);
    return true;
  }

  sendPubrel(packetId: number, code: ReasonCode): void {
    this.#record(`pubrel #${packetId} ${code}`);
  }

  mayReceive(topic: string): boolean {
    if (!this.denied.has(topic)) return true;
    this.count('delivery_denied');
    return false;
  }

  count(event: EngineEvent): void {
    this.counts.set(event, (this.counts.get(event) ?? 0) + 1);
  }

  fail(reason: ReasonCode, error: Error): void {
    this.failures.push({ reason, error });
  }

  /** What went out since it was last asked. */
  take(): string[] {
    return this.sent.splice(0);
  }

  #record(line: string): void {
    this.sent.push(line);
    this.onSent(line);
  }
}

export const terms = (qos: Qos, changes: Partial<DeliveryTerms> = {}): DeliveryTerms => ({
  qos,
  retainAsPublished: false,
  identifiers: undefined,
  ...changes,
});

export interface BenchOptions {
  readonly window?: number;
  readonly limits?: Partial<MqttLimits>;
  /** A stored session, on this store. */
  readonly store?: SessionStore;
}

/** One client's `Outbound`, with whatever the kernel would do beside it. */
export class OutboundBench {
  readonly line = new RecordingLine();
  readonly store: SessionStore;
  readonly stored: boolean;
  now = 1000;
  outbound: Outbound;
  readonly #options: BenchOptions;
  #counter = 0;

  constructor(options: BenchOptions = {}) {
    this.#options = options;
    this.stored = options.store !== undefined;
    this.store = options.store ?? createMemorySessionStore();
    this.outbound = this.#open(options);
  }

  /** The client is on a new connection. */
  reconnect(options: BenchOptions = this.#options): void {
    this.outbound.close();
    this.outbound = this.#open(options);
    this.outbound.resume(Promise.resolve());
  }

  message(payload: string, changes: Partial<Message> = {}): Message {
    return {
      topic: 't',
      payload: Buffer.from(payload),
      qos: 1,
      retain: false,
      brokerId: 'b',
      brokerCounter: ++this.#counter,
      ...changes,
    };
  }

  /** Comes from the bus, and is in the store before. */
  async publish(
    payload: string,
    qos: Qos = 1,
    changes: Partial<Message> & { readonly sharedFilter?: string } = {},
  ): Promise<void> {
    const { sharedFilter, ...rest } = changes;
    const message = this.message(payload, { qos, ...rest });
    await this.enqueue(message, sharedFilter);
    this.deliver(message, sharedFilter);
  }

  async enqueue(message: Message, sharedFilter?: string): Promise<void> {
    if (!this.stored || message.qos === 0) return;
    const target: RoutedOrClient = {
      clientId: 'c',
      qos: message.qos,
      ...(sharedFilter !== undefined && { topic: sharedFilter }),
    };
    await this.store.outgoingEnqueueCombi([target], { ...message, cmd: 'publish' });
  }

  deliver(message: Message, sharedFilter?: string): void {
    this.outbound.deliver(new Publication(message), terms(2, { sharedFilter }));
  }

  /** The payloads that the store has, with their states. */
  async queued(): Promise<string[]> {
    const entries = await this.store.readQueue('c', { after: 0, limit: 10_000 });
    return entries.map(({ packet, state, messageId }) => {
      const id = messageId === undefined ? '' : ` #${messageId}`;
      return `${(packet.payload ?? '').toString()} ${state}${id}`;
    });
  }

  #open({ window = 4, limits, store }: BenchOptions): Outbound {
    return new Outbound({
      clientId: 'c',
      line: this.line,
      store,
      window,
      limits: { ...defaultLimits, ...limits },
      clock: () => this.now,
      renamed: (message) => ({
        ...message,
        retain: true,
        brokerId: 'here',
        brokerCounter: ++this.#counter,
      }),
    });
  }
}
