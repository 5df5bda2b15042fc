import { setTimeout as delay } from 'node:timers/promises';
import { encodeAck, RawMqttClient } from '@sallyport/test-kit';
import type { FuzzLogin } from './packets.ts';

/** A round trip that takes longer is a broker that stands still. */
const ROUND_TRIP_MS_MAX = 10_000;
const PAUSE_MS = 20;

/** A client that does nothing wrong, on one connection all the time: it sends itself messages and wants them back. */
export class Canary {
  readonly #client: RawMqttClient;
  readonly #topicName: string;
  readonly #ended: Promise<void>;
  #singing = true;
  /** Milliseconds of each round trip. */
  readonly roundTrips: number[] = [];
  /** What must not have happened, once it has. */
  finding: string | undefined;

  private constructor(client: RawMqttClient, topicName: string) {
    this.#client = client;
    this.#topicName = topicName;
    this.#ended = this.#sing();
  }

  static async start(port: number, login: FuzzLogin): Promise<Canary> {
    const client = await RawMqttClient.open(port);
    const { returnCode } = await client.connect({ clientId: 'canary', ...login });
    if (returnCode !== 0) throw new Error(`the canary was refused: ${returnCode}`);
    const topicFilter = `dev/${login.username}/#`;
    const [granted] = await client.subscribe(1, [{ topicFilter, qos: 1 }]);
    if (granted !== 1) throw new Error(`the canary may not subscribe: ${granted}`);
    return new Canary(client, `dev/${login.username}/x`);
  }

  async stop(): Promise<void> {
    this.#singing = false;
    await this.#ended;
    await this.#client[Symbol.asyncDispose]();
  }

  async #sing(): Promise<void> {
    try {
      for (let count = 1; this.#singing; count++) {
        const started = performance.now();
        await this.#roundTrip(count);
        this.roundTrips.push(performance.now() - started);
        await delay(PAUSE_MS);
      }
    } catch (error) {
      this.finding = `canary: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  /** Sends with QoS 1; the acknowledgement and the message come in either order, and nothing else does. */
  async #roundTrip(count: number): Promise<void> {
    const payload = `song ${count}`;
    const packetId = (count % 65_535) + 1;
    this.#client.publish({ topicName: this.#topicName, payload, qos: 1, packetId });
    for (let missing = 2; missing > 0; missing--) {
      const { type, flags, body } = await this.#client.receive(ROUND_TRIP_MS_MAX);
      if (type === 4 && body.readUInt16BE(0) === packetId) continue;
      const topicEnd = 2 + body.readUInt16BE(0);
      if (type !== 3 || (flags & 6) !== 2 || body.toString('utf8', topicEnd + 2) !== payload) {
        throw new Error(`it heard ${type}: ${body.subarray(0, 100).toString('latin1')}`);
      }
      this.#client.send(encodeAck('puback', body.readUInt16BE(topicEnd)));
    }
  }
}
