import { randomBytes } from 'node:crypto';
import {
  decodePublish,
  DISCONNECT,
  encodeAck,
  encodePacket,
  encodeUnsubscribe,
  packetTypes,
  PINGREQ,
  type RawConnect,
  RawMqttClient,
  type RawPacket,
} from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { Api } from './api.ts';
import { type Standalone, startStandalone } from './standalone.ts';

/** `port` or `port/WebSocket port` of another broker on this machine that lets everybody in: to try the tests themselves. */
const OTHER_BROKER = process.env['MQTT_WIRE_BROKER'];

/** Tests of rules that are ours, and not the standard's, are skipped then. */
export const OTHER = OTHER_BROKER !== undefined;

/** How long nothing has to come before we believe that nothing comes. */
const SILENCE_MS = 150;
const CLOSE_TIMEOUT_MS = 20_000;

type Credentials = Pick<RawConnect, 'username' | 'password'>;

/** A broker as a process of its own, with one device that may do everything but read `$SYS`, and what a test opened on it. */
export class WireBroker {
  #standalone: Standalone | undefined;
  #credentials: Credentials = {};
  #clients: RawMqttClient[] = [];

  async start(): Promise<void> {
    if (OTHER) return;
    this.#standalone = await startStandalone();
    const api = await Api.login(this.#standalone.url, 'admin', this.#standalone.adminPassword);
    const { username, password } = await api.addDevice('device', [
      { effect: 'deny', action: 'all', topicFilter: '$SYS/#' },
      { effect: 'allow', action: 'all', topicFilter: '#' },
    ]);
    this.#credentials = { username, password };
  }

  get port(): number {
    return this.#standalone?.mqttPort ?? Number(OTHER_BROKER?.split('/')[0]);
  }

  get wsPort(): number {
    return this.#standalone?.wsPort ?? Number(OTHER_BROKER?.split('/')[1]);
  }

  /** Of the device; none when the other broker wants none. */
  get credentials(): Credentials {
    return this.#credentials;
  }

  /** A connection that has sent nothing. */
  async open(): Promise<RawMqttClient> {
    const client = await RawMqttClient.open(this.port);
    this.#clients.push(client);
    return client;
  }

  /** A client that is connected: with a clean session, unless told otherwise. */
  async connect(options: Partial<RawConnect> = {}): Promise<RawMqttClient> {
    const client = await this.open();
    const answer = await client.connect({ clientId: unique('c'), ...this.credentials, ...options });
    expect(answer.returnCode).toBe(0);
    return client;
  }

  /** A client with a session that outlives the connection; says whether there was one. */
  async resume(
    clientId: string,
    options: Partial<RawConnect> = {},
  ): Promise<{ readonly client: RawMqttClient; readonly sessionPresent: boolean }> {
    const client = await this.open();
    const answer = await client.connect({
      clientId,
      cleanSession: false,
      ...this.credentials,
      ...options,
    });
    expect(answer.returnCode).toBe(0);
    return { client, sessionPresent: answer.sessionPresent };
  }

  /** Ends the connections of a test, so that the next one starts alone. */
  async endClients(): Promise<void> {
    const clients = this.#clients.splice(0);
    await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
  }

  async stop(): Promise<void> {
    await this.endClients();
    await this.#standalone?.[Symbol.asyncDispose]();
  }
}

/** The broker of a test file: started before its tests, stopped after them. */
export function useWireBroker(): WireBroker {
  const broker = new WireBroker();
  beforeAll(() => broker.start());
  afterEach(() => broker.endClients());
  afterAll(() => broker.stop());
  return broker;
}

const run = randomBytes(3).toString('hex');
let count = 0;

/** A name that no other test uses: of a client or of a topic. */
export const unique = (prefix: string): string => `${prefix}${run}${(count++).toString(36)}`;

/** All bytes of a packet, in hexadecimal digits. */
export const hexOf = ({ type, flags, body }: RawPacket): string =>
  encodePacket(type, flags, body).toString('hex');

/** The connection ends, and nothing came before that. */
export async function expectClosed(client: RawMqttClient, because = ''): Promise<void> {
  const next = client.receive(CLOSE_TIMEOUT_MS).then(hexOf, (error: Error) => error.message);
  expect(await next, because).toBe('the connection has ended');
}

/** The next packet is this one, byte for byte; spaces are for the reader. */
export async function expectBytes(client: RawMqttClient, hex: string): Promise<void> {
  expect(hexOf(await client.receive())).toBe(hex.replaceAll(' ', ''));
}

/** Nothing comes, and the connection stays. */
export async function expectSilence(client: RawMqttClient, forMs = SILENCE_MS): Promise<void> {
  const next = client.receive(forMs).then(hexOf, (error: Error) => error.message);
  expect(await next).toBe(`no packet came within ${forMs} ms`);
}

/** The next packets are of these types; nothing says in which order the broker answers what was asked at once. */
export async function expectTypes(
  client: RawMqttClient,
  expected: readonly (keyof typeof packetTypes)[],
): Promise<void> {
  const names = Object.keys(packetTypes);
  const found: (string | undefined)[] = [];
  while (found.length < expected.length) found.push(names[(await client.receive()).type - 1]);
  expect(found.sort()).toEqual([...expected].sort());
}

export interface Delivery {
  readonly topicName: string;
  readonly payload: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly duplicate: boolean;
  readonly packetId: number | undefined;
}

/** The next packet, which must be a PUBLISH; not acknowledged. */
export async function delivery(client: RawMqttClient, timeoutMs?: number): Promise<Delivery> {
  return deliveryOf(await client.expect('publish', timeoutMs));
}

function deliveryOf(packet: RawPacket): Delivery {
  const message = decodePublish(packet);
  return { ...message, payload: message.payload.toString() };
}

/** The next deliveries, acknowledged, each with the whole exchange of its QoS. Messages beyond them are not touched. */
export async function deliveries(client: RawMqttClient, howMany: number): Promise<Delivery[]> {
  const found: Delivery[] = [];
  const owed = new Set<number>();
  const early: RawPacket[] = [];
  while (found.length < howMany || owed.size > 0) {
    const packet = await client.receive();
    if (packet.type === packetTypes.pubrel) {
      const packetId = packet.body.readUInt16BE(0);
      expect(owed.delete(packetId), `PUBREL of ${packetId}`).toBe(true);
      client.send(encodeAck('pubcomp', packetId));
    } else if (found.length === howMany) early.push(packet);
    else {
      expect(packet.type, hexOf(packet)).toBe(packetTypes.publish);
      const message = deliveryOf(packet);
      const { qos, packetId = 0 } = message;
      if (qos > 0) client.send(encodeAck(qos === 1 ? 'puback' : 'pubrec', packetId));
      if (qos === 2) owed.add(packetId);
      found.push(message);
    }
  }
  client.putBack(early);
  return found;
}

/** The next packet, which must be a PUBLISH; acknowledged, with the whole exchange when it has QoS 2. */
export async function taken(client: RawMqttClient): Promise<Delivery> {
  const [message] = await deliveries(client, 1);
  if (message === undefined) throw new Error('no delivery');
  return message;
}

/** Payloads of the next deliveries, acknowledged. */
export async function payloads(client: RawMqttClient, howMany: number): Promise<string[]> {
  return (await deliveries(client, howMany)).map(({ payload }) => payload);
}

/** Publishes and waits until the broker has taken it: for QoS 0 until a PINGREQ that follows is answered. */
export async function publish(
  client: RawMqttClient,
  message: {
    readonly topicName: string | Uint8Array;
    readonly payload: string | Uint8Array;
    readonly qos?: number;
    readonly retain?: boolean;
    readonly duplicate?: boolean;
    readonly packetId?: number;
  },
): Promise<void> {
  const { qos = 0, packetId = 1 } = message;
  client.publish(qos === 0 ? message : { ...message, packetId });
  if (qos === 0) {
    client.send(PINGREQ);
    await client.expect('pingresp');
  } else if (qos === 1) {
    expect((await client.expect('puback')).body.readUInt16BE(0)).toBe(packetId);
  } else {
    expect((await client.expect('pubrec')).body.readUInt16BE(0)).toBe(packetId);
    client.send(encodeAck('pubrel', packetId));
    expect((await client.expect('pubcomp')).body.readUInt16BE(0)).toBe(packetId);
  }
}

/** Ends the connection with DISCONNECT, and waits until the broker has closed it. */
export async function disconnect(client: RawMqttClient): Promise<void> {
  client.send(DISCONNECT);
  await expectClosed(client);
}

/** Sends UNSUBSCRIBE and waits for its UNSUBACK. */
export async function unsubscribe(
  client: RawMqttClient,
  packetId: number,
  topicFilters: readonly string[],
): Promise<void> {
  client.send(encodeUnsubscribe(packetId, topicFilters));
  const { body } = await client.expect('unsuback');
  expect(body.toString('hex')).toBe(packetId.toString(16).padStart(4, '0'));
}
