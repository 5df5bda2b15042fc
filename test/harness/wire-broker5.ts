import { randomBytes } from 'node:crypto';
import {
  type Mqtt5PacketOf,
  type Mqtt5ServerPacket,
  type RawConnect5,
  RawMqtt5Client,
  type RawPublish5,
} from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { Api } from './api.ts';
import { type Standalone, startStandalone } from './standalone.ts';

/** `port` or `port/WebSocket port` of another broker on this machine that lets everybody in: to try the tests themselves. */
const OTHER_BROKER = process.env['MQTT_WIRE_BROKER'];

/** Tests of rules that are ours, and not the standard's, are skipped then. */
export const OTHER = OTHER_BROKER !== undefined;

type Credentials = Pick<RawConnect5, 'username' | 'password'>;

/** What a device that is `restricted` may use: everything below this level. */
export const ALLOWED_ROOT = 'allowed';

/** mosquitto takes its time to notice that a client is silent. */
const CLOSE_TIMEOUT_MS = 20_000;

export interface Session {
  readonly client: RawMqtt5Client;
  readonly connack: Mqtt5PacketOf<'connack'>;
}

/** A broker as a process of its own, two devices, and what a test opened on it. */
export class WireBroker5 {
  #standalone: Standalone | undefined;
  #clients: RawMqtt5Client[] = [];
  /** Of a device that may do everything; none when the other broker wants none. */
  device: Credentials = {};
  /** Of a device that may only use what is below `ALLOWED_ROOT`. */
  restricted: Credentials = {};

  async start(): Promise<void> {
    if (OTHER) return;
    // Tests of broken packets open connections as fast as they can.
    this.#standalone = await startStandalone({
      SALLYPORT_MQTT__CONNECTS_PER_SOURCE_PER_SECOND: '0',
    });
    const api = await Api.login(this.#standalone.url, 'admin', this.#standalone.adminPassword);
    const add = async (username: string, topicFilter: string): Promise<Credentials> => {
      const rules = [{ effect: 'allow', action: 'all', topicFilter }] as const;
      const { password } = await api.addDevice(username, rules);
      return { username, password };
    };
    this.device = await add('device', '#');
    this.restricted = await add('restricted', `${ALLOWED_ROOT}/#`);
  }

  get port(): number {
    return this.#standalone?.mqttPort ?? Number(OTHER_BROKER?.split('/')[0]);
  }

  get wsPort(): number {
    return this.#standalone?.wsPort ?? Number(OTHER_BROKER?.split('/')[1]);
  }

  /** A connection that has sent nothing. */
  async open(): Promise<RawMqtt5Client> {
    const client = await RawMqtt5Client.open(this.port);
    this.#clients.push(client);
    return client;
  }

  /** A client that was let in, and its CONNACK: a new session that ends with the connection, unless told otherwise. */
  async session(options: Partial<RawConnect5> = {}): Promise<Session> {
    const client = await this.open();
    const connack = await client.connect({ clientId: unique('c'), ...this.device, ...options });
    expect(connack.reasonCode).toBe(0);
    return { client, connack };
  }

  /** The same, without the CONNACK. */
  async connect(options: Partial<RawConnect5> = {}): Promise<RawMqtt5Client> {
    return (await this.session(options)).client;
  }

  /** The session of this client id, kept for a minute after the connection ends unless told otherwise. */
  resume(clientId: string, options: Partial<RawConnect5> = {}): Promise<Session> {
    const properties = { sessionExpiryInterval: 60 };
    return this.session({ clientId, cleanStart: false, properties, ...options });
  }

  /** Ends the connections of a test, so that the next one starts alone. */
  async endClients(): Promise<void> {
    const clients = this.#clients.splice(0);
    await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
  }

  /** SIGTERM, and the wait for its end. */
  async shutDown(): Promise<void> {
    await this.#standalone?.process.stop();
  }

  async stop(): Promise<void> {
    await this.endClients();
    await this.#standalone?.[Symbol.asyncDispose]();
  }
}

/**
 * The broker of a test file: started before its tests, stopped after them.
 * @param concurrent the tests wait for clocks and run side by side: what they opened stays open to the end of the file
 */
export function useWireBroker5({ concurrent = false } = {}): WireBroker5 {
  const broker = new WireBroker5();
  beforeAll(() => broker.start());
  if (!concurrent) afterEach(() => broker.endClients());
  afterAll(() => broker.stop());
  return broker;
}

const run = randomBytes(3).toString('hex');
let count = 0;

/** A name that no other test uses: of a client or of a topic. */
export const unique = (prefix: string): string => `${prefix}${run}${(count++).toString(36)}`;

export const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Payloads of the next messages, each acknowledged. */
export async function payloads(client: RawMqtt5Client, howMany: number): Promise<string[]> {
  const found: string[] = [];
  while (found.length < howMany) found.push((await client.take()).payload.toString());
  return found;
}

/** The next messages, whatever comes between them; acknowledged at once, so that none waits for another. */
export async function collect(
  client: RawMqtt5Client,
  howMany: number,
): Promise<Mqtt5PacketOf<'publish'>[]> {
  const found: Mqtt5PacketOf<'publish'>[] = [];
  let releases = 0;
  while (found.length < howMany || releases > 0) {
    const packet = await client.receive();
    if (packet.type === 'pubrel') {
      client.ack('pubcomp', packet.packetId);
      releases -= 1;
    } else if (packet.type === 'publish') {
      found.push(packet);
      if (packet.qos > 0) client.ack(packet.qos === 1 ? 'puback' : 'pubrec', packet.packetId);
      if (packet.qos === 2) releases += 1;
    }
  }
  return found;
}

/** Completes so many publishes of QoS 2 that this client has sent. */
export async function release(client: RawMqtt5Client, howMany: number): Promise<void> {
  let left = howMany;
  while (left > 0) {
    const packet = await client.receive();
    if (packet.type === 'pubrec') client.ack('pubrel', packet.packetId);
    if (packet.type === 'pubcomp') left -= 1;
  }
}

/** What is of interest in a PUBLISH, readable. */
export function told(packet: Mqtt5PacketOf<'publish'>): Omit<RawPublish5, 'packetId'> {
  const { type: _type, packetId: _packetId, payload, ...rest } = packet;
  return { ...rest, payload: payload.toString() };
}

const codesOf = (packets: readonly Mqtt5ServerPacket[]): string[] =>
  packets.map((packet) => {
    const code = 'reasonCode' in packet ? ` 0x${packet.reasonCode.toString(16)}` : '';
    return packet.type + code;
  });

/** Cases that break the standard in a way that mosquitto 2.0.11 does not look for: only we have to refuse them. */
export const strict = <T>(cases: readonly T[]): readonly T[] => (OTHER ? [] : cases);

/** The codes that another broker may choose as well, where the standard leaves a choice. */
type AlsoLegal = readonly number[];

async function expectLast(
  client: RawMqtt5Client,
  type: 'connack' | 'disconnect',
  codes: readonly [ours: number, ...alsoLegal: AlsoLegal],
  because: string,
): Promise<void> {
  const packets = await client.ending(CLOSE_TIMEOUT_MS).catch((error: Error) => {
    throw new Error(`${because}: ${error.message}`);
  });
  const seen = codesOf(packets);
  const legal = codes.map((code) => [`${type} 0x${code.toString(16)}`]);
  // CONNACK is a MAY and DISCONNECT a SHOULD of MQTT-5.0 §4.13.1: we send them, another broker may not.
  if (OTHER) expect([...legal, []], because).toContainEqual(seen);
  else expect(seen, because).toEqual(legal[0]);
}

/** The server ends the connection with a DISCONNECT of this reason, and sends nothing else before. */
export const expectDisconnect = (
  client: RawMqtt5Client,
  codes: number | readonly [number, ...AlsoLegal],
  because = '',
): Promise<void> =>
  expectLast(client, 'disconnect', typeof codes === 'number' ? [codes] : codes, because);

/** The server answers CONNECT with a CONNACK of this reason and ends the connection. */
export const expectRefusal = (
  client: RawMqtt5Client,
  codes: number | readonly [number, ...AlsoLegal],
  because = '',
): Promise<void> =>
  expectLast(client, 'connack', typeof codes === 'number' ? [codes] : codes, because);
