import type {
  AckPacket,
  ClientPacket,
  ConnackPacket,
  ConnectPacket,
  Properties,
  ProtocolVersion,
  PublishPacket,
  Qos,
  ServerPacket,
  SubackPacket,
  SubscriptionRequest,
  UnsubackPacket,
} from '../src/codec/packet.ts';
import { MemorySocket } from './memory-socket.ts';
import { oracleBytes, oraclePacket } from './oracle.ts';
import { within } from './settle.ts';

type TypeOf = ServerPacket['type'];
type OfType<T extends TypeOf> = Extract<ServerPacket, { type: T }> & ServerPacket;

export interface ConnectOptions extends Partial<Omit<ConnectPacket, 'type' | 'version'>> {
  readonly clientId?: string;
}

export interface PublishOptions {
  readonly topic: string;
  readonly payload?: string | Buffer;
  readonly qos?: Qos;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly packetId?: number;
  readonly properties?: Properties;
}

/** Whether a client does by itself what QoS 1 and 2 ask of it. */
export type Answers = 'none' | 'all';

/** A client that does what the test tells it, over memory; packets are written and read by mqtt-packet, not by our codec. */
export class TestClient {
  readonly socket: MemorySocket;
  readonly version: ProtocolVersion;
  /** Everything that came, in order. */
  readonly received: ServerPacket[] = [];
  readonly closed: Promise<void>;
  /** The server has ended its half. */
  ended = false;
  answers: Answers;
  readonly #waiters: ((packet: ServerPacket) => void)[] = [];
  #next = 0;
  #bytes = Buffer.alloc(0);
  #lastPacketId = 0;

  constructor(
    version: ProtocolVersion = 4,
    options: { answers?: Answers; highWaterMark?: number } = {},
  ) {
    this.version = version;
    this.answers = options.answers ?? 'none';
    this.socket = new MemorySocket(options.highWaterMark);
    this.socket.onBytes = (bytes) => this.#onBytes(bytes);
    this.closed = new Promise((resolve) => this.socket.on('close', () => resolve()));
    this.socket.on('finish', () => (this.ended = true));
  }

  send(...packets: (ClientPacket | Buffer)[]): void {
    const all = packets.map((one) => (Buffer.isBuffer(one) ? one : oracleBytes(one, this.version)));
    this.socket.feed(Buffer.concat(all));
  }

  /** The next packet that nobody has asked for yet. */
  next(what = 'a packet'): Promise<ServerPacket> {
    const packet = this.received[this.#next];
    if (packet !== undefined) {
      this.#next++;
      return Promise.resolve(packet);
    }
    return within(new Promise((resolve) => this.#waiters.push(resolve)), what);
  }

  /** The next packet, which must be of this type. */
  async expect<T extends TypeOf>(type: T): Promise<OfType<T>> {
    const packet = await this.next(type);
    if (packet.type !== type) {
      throw new Error(`expected ${type}, got ${JSON.stringify(packet)}`);
    }
    return packet as OfType<T>;
  }

  /** What came and nobody has asked for yet. */
  unread(): ServerPacket[] {
    const packets = this.received.slice(this.#next);
    this.#next = this.received.length;
    return packets;
  }

  get publishes(): PublishPacket[] {
    return this.received.filter((one) => one.type === 'publish');
  }

  /** Payloads of all deliveries, in order. */
  get payloads(): string[] {
    return this.publishes.map(({ payload }) => payload.toString());
  }

  async connect(options: ConnectOptions = {}): Promise<ConnackPacket> {
    this.sendConnect(options);
    return this.expect('connack');
  }

  sendConnect(options: ConnectOptions = {}): void {
    this.send({
      type: 'connect',
      version: this.version,
      cleanStart: true,
      keepAliveSeconds: 60,
      clientId: 'client',
      ...options,
    });
  }

  async subscribe(
    filters: string | readonly (string | Partial<SubscriptionRequest>)[],
    qos: Qos = 0,
    properties?: Properties,
  ): Promise<SubackPacket> {
    this.sendSubscribe(filters, qos, properties);
    return this.expect('suback');
  }

  sendSubscribe(
    filters: string | readonly (string | Partial<SubscriptionRequest>)[],
    qos: Qos = 0,
    properties?: Properties,
  ): number {
    const subscriptions = [filters].flat().map((one): SubscriptionRequest => ({
      topicFilter: '',
      qos,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
      ...(typeof one === 'string' ? { topicFilter: one } : one),
    }));
    const packetId = this.nextPacketId();
    this.send({ type: 'subscribe', packetId, subscriptions, ...(properties && { properties }) });
    return packetId;
  }

  async unsubscribe(...topicFilters: string[]): Promise<UnsubackPacket> {
    this.send({ type: 'unsubscribe', packetId: this.nextPacketId(), topicFilters });
    return this.expect('unsuback');
  }

  /** The packet id that was used. */
  publish(options: PublishOptions): number {
    const { payload = '', qos = 0, retain = false, dup = false, topic, properties } = options;
    const packetId = options.packetId ?? (qos === 0 ? 0 : this.nextPacketId());
    this.send({
      type: 'publish',
      topic,
      payload: Buffer.from(payload),
      qos,
      retain,
      dup,
      packetId,
      properties,
    });
    return packetId;
  }

  ack(type: AckPacket['type'], packetId: number, code = 0): void {
    this.send({ type, packetId, code });
  }

  disconnect(code = 0, properties?: Properties): void {
    this.send({ type: 'disconnect', code, ...(properties && { properties }) });
  }

  /** Gone without a word. */
  drop(): void {
    this.socket.destroy();
  }

  nextPacketId(): number {
    this.#lastPacketId = (this.#lastPacketId % 65_535) + 1;
    return this.#lastPacketId;
  }

  #onBytes(bytes: Buffer): void {
    let rest: Buffer = Buffer.concat([this.#bytes, bytes]);
    for (let length = packetLength(rest); length !== 0; length = packetLength(rest)) {
      const packet = oraclePacket(rest.subarray(0, length), this.version);
      rest = rest.subarray(length);
      this.#onPacket(packet);
    }
    this.#bytes = Buffer.from(rest);
  }

  #onPacket(packet: ServerPacket): void {
    this.received.push(packet);
    if (this.answers === 'all') this.#answer(packet);
    const waiter = this.#waiters.shift();
    if (waiter === undefined) return;
    this.#next++;
    waiter(packet);
  }

  #answer(packet: ServerPacket): void {
    if (packet.type === 'publish' && packet.qos === 1) this.ack('puback', packet.packetId);
    if (packet.type === 'publish' && packet.qos === 2) this.ack('pubrec', packet.packetId);
    if (packet.type === 'pubrel') this.ack('pubcomp', packet.packetId);
    if (packet.type === 'pubrec' && packet.code < 0x80) this.ack('pubrel', packet.packetId);
  }
}

/** The length of the first packet; 0 while it is not complete. */
function packetLength(bytes: Buffer): number {
  let length = 0;
  for (let index = 1; index <= 4; index++) {
    const digit = bytes[index];
    if (digit === undefined) return 0;
    length += (digit & 0x7f) * 128 ** (index - 1);
    if (digit > 0x7f) continue;
    const end = index + 1 + length;
    return end <= bytes.length ? end : 0;
  }
  throw new Error('a length of more than four bytes');
}
