import {
  decodePublish,
  encodeAck,
  encodePublish,
  encodeSubscribe,
  encodeUnsubscribe,
  packetTypes,
  type RawConnect,
  RawMqttClient,
  type RawPacket,
} from '@sallyport/test-kit';
import { expect } from 'vitest';

/** Where to connect, and as whom. */
export interface Door {
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
}

/** A client with a persistent session that keeps its own side of it over connections, as the standard wants. */
abstract class DurableClient {
  readonly clientId: string;
  protected readonly door: Door;
  protected connection: RawMqttClient | undefined;
  #first = true;

  constructor(clientId: string, door: Door) {
    this.clientId = clientId;
    this.door = door;
  }

  /** Connects; the session must be there from the second time on. */
  async connect(more: Partial<RawConnect> = {}): Promise<RawMqttClient> {
    const { port, ...credentials } = this.door;
    const client = await RawMqttClient.open(port);
    const answer = await client.connect({
      clientId: this.clientId,
      cleanSession: false,
      ...credentials,
      ...more,
    });
    expect(answer, this.clientId).toEqual({ returnCode: 0, sessionPresent: !this.#first });
    this.#first = false;
    this.connection = client;
    void this.#listen(client);
    return client;
  }

  /** Ends the connection without a word. */
  async lose(): Promise<void> {
    await this.connection?.[Symbol.asyncDispose]();
    this.connection = undefined;
  }

  protected abstract onPacket(packet: RawPacket): void;

  async #listen(client: RawMqttClient): Promise<void> {
    for (;;) {
      // A day: the connection ends before that.
      const packet = await client.receive(86_400_000).catch(() => undefined);
      if (packet === undefined) return;
      if (this.connection === client) this.onPacket(packet);
    }
  }
}

interface Sent {
  readonly payload: string;
  readonly packetId: number;
  /** PUBREC has come: from then on the message is the broker's, and only PUBREL is sent. */
  received: boolean;
}

/** Publishes numbered messages, a few at a time, and sends what was not acknowledged again after a reconnect. */
export class DurablePublisher extends DurableClient {
  readonly qos: 1 | 2;
  readonly #topicName: string;
  readonly #onAcknowledged: () => void;
  readonly #unacknowledged = new Map<number, Sent>();
  #waiting: string[] = [];
  #nextId = 1;
  #numbers = 0;
  /** Payloads whose last acknowledgement has come, in the order in which they were published. */
  readonly acknowledged: string[] = [];

  constructor(
    clientId: string,
    door: Door,
    to: { readonly topicName: string; readonly qos: 1 | 2; readonly onAcknowledged: () => void },
  ) {
    super(clientId, door);
    this.#topicName = to.topicName;
    this.qos = to.qos;
    this.#onAcknowledged = to.onAcknowledged;
  }

  /** Adds messages to those that are to be sent. */
  add(howMany: number): void {
    for (let index = 0; index < howMany; index++) {
      this.#waiting.push(`${this.clientId} ${this.#numbers++}`);
    }
    this.#fill();
  }

  get published(): number {
    return this.#numbers;
  }

  /** Everything has been acknowledged. */
  get idle(): boolean {
    return this.#waiting.length === 0 && this.#unacknowledged.size === 0;
  }

  override async connect(): Promise<RawMqttClient> {
    const client = await super.connect();
    // MQTT-3.1.1 [MQTT-4.4.0-1]
    for (const sent of this.#unacknowledged.values()) {
      if (sent.received) client.send(encodeAck('pubrel', sent.packetId));
      else this.#send(client, sent, true);
    }
    this.#fill();
    return client;
  }

  protected onPacket({ type, body }: RawPacket): void {
    const packetId = body.readUInt16BE(0);
    const sent = this.#unacknowledged.get(packetId);
    if (type === packetTypes.pubrec) {
      if (sent !== undefined) sent.received = true;
      this.connection?.send(encodeAck('pubrel', packetId));
      return;
    }
    expect(type).toBe(this.qos === 1 ? packetTypes.puback : packetTypes.pubcomp);
    if (sent === undefined) return;
    this.#unacknowledged.delete(packetId);
    this.acknowledged.push(sent.payload);
    this.#onAcknowledged();
    this.#fill();
  }

  #fill(): void {
    const client = this.connection;
    if (client === undefined) return;
    while (this.#unacknowledged.size < 8) {
      const payload = this.#waiting.shift();
      if (payload === undefined) return;
      while (this.#unacknowledged.has(this.#nextId)) this.#nextId = (this.#nextId % 65_535) + 1;
      const sent = { payload, packetId: this.#nextId, received: false };
      this.#nextId = (this.#nextId % 65_535) + 1;
      this.#unacknowledged.set(sent.packetId, sent);
      this.#send(client, sent, false);
    }
  }

  #send(client: RawMqttClient, { payload, packetId }: Sent, duplicate: boolean): void {
    const message = { topicName: this.#topicName, payload, qos: this.qos, packetId, duplicate };
    client.send(encodePublish(message));
  }
}

/** Takes messages, and takes one of QoS 2 once for its packet id until that is released. */
export class DurableSubscriber extends DurableClient {
  /** Payloads by topic name, in the order in which they were taken. */
  readonly taken = new Map<string, string[]>();
  readonly #unreleased = new Set<number>();
  #count = 0;
  #answered: (codes: readonly number[]) => void = () => undefined;

  get count(): number {
    return this.#count;
  }

  async subscribe(topicFilter: string, qos: number): Promise<void> {
    expect(await this.#ask(encodeSubscribe(1, [{ topicFilter, qos }]))).toEqual([qos]);
  }

  async unsubscribe(topicFilter: string): Promise<void> {
    await this.#ask(encodeUnsubscribe(1, [topicFilter]));
  }

  /** Resolves after SUBACK or UNSUBACK, with the codes of the former. */
  #ask(request: Buffer): Promise<readonly number[]> {
    const answer = new Promise<readonly number[]>((resolve) => (this.#answered = resolve));
    this.connection?.send(request);
    return answer;
  }

  protected onPacket(packet: RawPacket): void {
    if (packet.type === packetTypes.pubrel) {
      const packetId = packet.body.readUInt16BE(0);
      this.#unreleased.delete(packetId);
      this.connection?.send(encodeAck('pubcomp', packetId));
    } else if (packet.type === packetTypes.publish) this.#take(packet);
    else this.#answered([...packet.body.subarray(2)]);
  }

  #take(packet: RawPacket): void {
    const client = this.connection;
    const { topicName, payload, qos, packetId = 0 } = decodePublish(packet);
    if (qos !== 2 || !this.#unreleased.has(packetId)) {
      const list = this.taken.get(topicName) ?? [];
      list.push(payload.toString());
      this.taken.set(topicName, list);
      this.#count++;
    }
    if (qos === 1) client?.send(encodeAck('puback', packetId));
    if (qos === 2) {
      this.#unreleased.add(packetId);
      client?.send(encodeAck('pubrec', packetId));
    }
  }
}
