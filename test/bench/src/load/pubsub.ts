import { setTimeout as delay } from 'node:timers/promises';
import { encodePublish, encodeSubscribe } from '@sallyport/test-kit';
import { levelsOf, matches } from '@sallyport/topic';
import type { PubsubJob, PubsubResult } from '../mqtt/generator.ts';
import {
  encodePubacks,
  LoadConnection,
  type Login,
  loginsOf,
  openAll,
  type Receiver,
} from './connection.ts';
import { Histogram } from './histogram.ts';
import { measureLoad } from './processor.ts';

const HANDSHAKES = 64;
const SETTLE_MS = 300;
/** Nothing has come for so long: what is missing will not come. */
const DRAIN_QUIET_MS = 500;
const GIVE_UP_MS = 2000;
const PACKET_IDS = 65_535;

/** In the payload: publisher, then the moment at which the message was due, in microseconds. */
const PUBLISHER_AT = 0;
const DUE_AT = 4;

const nowMicroseconds = (): number => performance.now() * 1000;

const fill = (template: string, login: Login, number: number): string =>
  template.replaceAll('%u', login.username).replaceAll('%d', String(number));

/** One publisher and what has become of its messages. */
class Publisher {
  readonly #connection: LoadConnection;
  readonly #template: Buffer;
  readonly #payloadAt: number;
  readonly #qos: 0 | 1;
  /** Subscribers that each message reaches. */
  readonly #fanout: number;
  sent = 0;
  delivered = 0;
  #acknowledged = 0;
  #givenUp = 0;
  #progress = -1;
  #progressAt = 0;

  constructor(options: {
    readonly connection: LoadConnection;
    readonly number: number;
    readonly topicName: string;
    readonly fanout: number;
    readonly job: PubsubJob;
    /** Acknowledgements have come. */
    readonly onAcknowledged: (publisher: Publisher) => void;
  }) {
    const { connection, number, topicName, fanout, job, onAcknowledged } = options;
    const payload = Buffer.alloc(job.payloadBytes);
    payload.writeUInt32LE(number, PUBLISHER_AT);
    this.#connection = connection;
    this.#qos = job.qos;
    this.#fanout = fanout;
    const packetId = job.qos === 0 ? {} : { packetId: 1 };
    this.#template = encodePublish({ topicName, payload, qos: job.qos, ...packetId });
    this.#payloadAt = this.#template.length - job.payloadBytes;
    connection.receive({
      onPublish: () => undefined,
      onPuback: () => (this.#acknowledged += 1),
      onRead: () => onAcknowledged(this),
    });
  }

  get expected(): number {
    return this.sent * this.#fanout;
  }

  /** Messages not yet acknowledged, or not yet delivered; deliveries averaged over the subscribers. */
  get inFlight(): number {
    const delivered = Math.floor(this.delivered / this.#fanout);
    const done = this.#qos === 0 ? delivered : Math.min(delivered, this.#acknowledged);
    return Math.max(0, this.sent - done - this.#givenUp);
  }

  /** Sends `count` messages in one write. */
  send(count: number, dueMicroseconds: number): void {
    const length = this.#template.length;
    const bytes = Buffer.allocUnsafe(count * length);
    for (let index = 0; index < count; index++) {
      const at = index * length;
      this.#template.copy(bytes, at);
      bytes.writeDoubleLE(dueMicroseconds, at + this.#payloadAt + DUE_AT);
      if (this.#qos > 0) {
        const packetId = (this.sent % PACKET_IDS) + 1;
        bytes.writeUInt16BE(packetId, at + this.#payloadAt - 2);
      }
      this.sent += 1;
    }
    this.#connection.write(bytes);
  }

  /** After a while without any delivery what is in flight counts as lost, so that one loss does not end the run. */
  giveUp(now: number): void {
    const progress = this.delivered + this.#acknowledged;
    if (progress !== this.#progress || this.inFlight === 0) {
      this.#progress = progress;
      this.#progressAt = now;
    } else if (now - this.#progressAt > GIVE_UP_MS) {
      this.#givenUp += this.inFlight;
    }
  }
}

/** Publishers and subscribers of one job, from the first connection to the last delivery. */
export class PubsubRun {
  readonly #job: PubsubJob;
  readonly #publishers: Publisher[] = [];
  readonly #latencies = new Histogram();
  #measuring = false;
  #publishing = false;
  #deliveredWhileMeasuring = 0;
  #measuredFrom = 0;
  #delivered = 0;
  /** Messages that the rate has made due so far; the next one is that number of periods after the start. */
  #dueCount = 0;
  #startedAt = 0;

  private constructor(job: PubsubJob) {
    this.#job = job;
  }

  static async run(job: PubsubJob): Promise<PubsubResult> {
    const one = new PubsubRun(job);
    await one.#connect();
    return one.#measure();
  }

  async #connect(): Promise<void> {
    const { port, publishers, subscribers, topic, topicFilter } = this.#job;
    const onLost = (error: Error): never => {
      throw error;
    };
    const open = async (logins: readonly Login[], number: number) => {
      const login = logins[number] ?? { clientId: '', username: '', password: '' };
      return { login, connection: await LoadConnection.open({ port, number, login }, onLost) };
    };
    const subscriberLogins = loginsOf(subscribers);
    const filters = subscriberLogins.map((login, number) => fill(topicFilter, login, number));
    await openAll(subscribers.count, HANDSHAKES, async (number) => {
      const { connection } = await open(subscriberLogins, number);
      const wanted = [{ topicFilter: filters[number] ?? '', qos: this.#job.qos }];
      await connection.subscribe(encodeSubscribe(1, wanted));
      connection.receive(this.#subscriber(connection));
    });
    const levels = filters.map(levelsOf);
    const publisherLogins = loginsOf(publishers);
    await openAll(publishers.count, HANDSHAKES, async (number) => {
      const { login, connection } = await open(publisherLogins, number);
      const topicName = fill(topic, login, number);
      const name = levelsOf(topicName);
      const fanout = levels.filter((filter) => matches(filter, name)).length;
      if (fanout === 0) throw new Error(`nobody subscribes to ${topicName}`);
      this.#publishers[number] = new Publisher({
        ...{ connection, number, topicName, fanout },
        job: this.#job,
        onAcknowledged: (publisher) => this.#refill(publisher),
      });
    });
    await delay(SETTLE_MS);
  }

  #subscriber(connection: LoadConnection): Receiver {
    const packetIds: number[] = [];
    const touched = new Set<Publisher>();
    return {
      onPublish: (payload, packetId) => {
        if (packetId > 0) packetIds.push(packetId);
        const publisher = this.#publishers[payload.readUInt32LE(PUBLISHER_AT)];
        if (publisher === undefined) return;
        publisher.delivered += 1;
        this.#delivered += 1;
        touched.add(publisher);
        if (!this.#measuring) return;
        this.#deliveredWhileMeasuring += 1;
        const due = payload.readDoubleLE(DUE_AT);
        if (due >= this.#measuredFrom) this.#latencies.add(nowMicroseconds() - due);
      },
      onPuback: () => undefined,
      onRead: () => {
        if (packetIds.length > 0) connection.write(encodePubacks(packetIds.splice(0)));
        for (const publisher of touched) this.#refill(publisher);
        touched.clear();
      },
    };
  }

  /** Sends what the window lets through; with a rate `#pace` does. */
  #refill(publisher: Publisher): void {
    if (!this.#publishing || this.#job.rate > 0) return;
    const room = this.#job.window - publisher.inFlight;
    if (room > 0) publisher.send(room, nowMicroseconds());
  }

  /** Sends what is due. Runs in every turn of the loop: a timer would be up to a millisecond late. */
  #pace = (): void => {
    if (!this.#publishing) return;
    const { rate, window } = this.#job;
    const period = 1e6 / rate;
    for (;;) {
      const due = this.#startedAt + this.#dueCount * period;
      const publisher = this.#publishers[this.#dueCount % this.#publishers.length];
      if (publisher === undefined || due > nowMicroseconds()) break;
      if (publisher.inFlight >= window) break;
      publisher.send(1, due);
      this.#dueCount += 1;
    }
    setImmediate(this.#pace);
  };

  async #measure(): Promise<PubsubResult> {
    const { pid, rate, warmupSeconds, measuredSeconds } = this.#job;
    const sentSoFar = () => this.#publishers.reduce((sum, one) => sum + one.sent, 0);
    const watch = setInterval(() => this.#watch(), GIVE_UP_MS / 4);
    this.#publishing = true;
    this.#startedAt = nowMicroseconds();
    if (rate > 0) this.#pace();
    else for (const publisher of this.#publishers) this.#refill(publisher);
    await delay(warmupSeconds * 1000);
    const sentBefore = sentSoFar();
    const loadOf = measureLoad(pid);
    this.#measuredFrom = nowMicroseconds();
    this.#measuring = true;
    await delay(measuredSeconds * 1000);
    this.#measuring = false;
    const seconds = (nowMicroseconds() - this.#measuredFrom) / 1e6;
    const load = loadOf();
    const sent = sentSoFar() - sentBefore;
    this.#publishing = false;
    await this.#drained();
    clearInterval(watch);
    const expected = this.#publishers.reduce((sum, one) => sum + one.expected, 0);
    return {
      ...load,
      sentPerSecond: sent / seconds,
      deliveredPerSecond: this.#deliveredWhileMeasuring / seconds,
      p50: this.#latencies.percentile(0.5),
      p99: this.#latencies.percentile(0.99),
      lost: expected - this.#delivered,
    };
  }

  #watch(): void {
    for (const publisher of this.#publishers) {
      publisher.giveUp(performance.now());
      this.#refill(publisher);
    }
  }

  async #drained(): Promise<void> {
    for (let before = -1; before !== this.#delivered;) {
      before = this.#delivered;
      await delay(DRAIN_QUIET_MS);
    }
  }
}
