import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { OperationalError } from '@sallyport/errors';
import { createLocalBus, type MessageBus } from '@sallyport/message-bus';
import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { createKernel, type Kernel } from '../src/engine/kernel.ts';
import type { KernelClient, KernelHooks } from '../src/engine/kernel-hooks.ts';
import type { RunningListener } from '../src/listeners/listener.ts';
import { startTcpListener } from '../src/listeners/tcp-listener.ts';

/** Allows everything, and notes who came and went. */
export class TestHooks implements KernelHooks {
  readonly log: string[] = [];
  readonly clients: KernelClient[] = [];

  authenticate: KernelHooks['authenticate'] = (_client, _username, _password, _will, done) => {
    done('accept');
  };
  authorizePublish: KernelHooks['authorizePublish'] = (_client, _packet, done) => done('allow');
  authorizeSubscribe: KernelHooks['authorizeSubscribe'] = (_client, _subscription, done) => {
    done(true);
  };
  authorizeForward: KernelHooks['authorizeForward'] = () => true;
  connected(client: KernelClient): void {
    this.log.push(`+${client.clientId}`);
    this.clients.push(client);
  }
  disconnected(client: KernelClient): void {
    this.log.push(`-${client.clientId}`);
  }
}

export interface Message {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly retain: boolean;
}

export class TestClient {
  readonly mqtt: MqttClient;
  readonly messages: Message[] = [];
  readonly closed: Promise<void>;

  constructor(client: MqttClient) {
    this.mqtt = client;
    this.closed = new Promise((resolve) => client.once('close', () => resolve()));
    client.on('error', () => undefined);
    client.on('message', (topic, payload, { qos, retain }) => {
      this.messages.push({ topic, payload: payload.toString(), qos, retain });
    });
  }

  /** Answers the codes of the SUBACK; the library rejects when one of them is a refusal. */
  async subscribe(filters: string[], qos: 0 | 1 | 2 = 1): Promise<number[]> {
    const packet = Object.fromEntries(filters.map((filter) => [filter, { qos }]));
    return new Promise((resolve, reject) => {
      this.mqtt.subscribe(packet, (error, _granted, suback) => {
        if (suback === undefined) reject(error ?? new Error('no SUBACK'));
        else resolve(suback.granted as number[]);
      });
    });
  }

  get texts(): string[] {
    return this.messages.map(({ topic, payload }) => `${topic}=${payload}`);
  }
}

/** One node with a TCP listener and, unless given, a store and a bus of its own. */
export class TestNode implements AsyncDisposable {
  readonly kernel: Kernel;
  readonly hooks: TestHooks;
  readonly store: SessionStore;
  readonly listener: RunningListener;
  readonly problems: OperationalError[];
  readonly #mqtt: MqttClient[] = [];

  private constructor(
    kernel: Kernel,
    hooks: TestHooks,
    store: SessionStore,
    listener: RunningListener,
    problems: OperationalError[],
  ) {
    this.kernel = kernel;
    this.hooks = hooks;
    this.store = store;
    this.listener = listener;
    this.problems = problems;
  }

  static async start(
    options: { store?: SessionStore; bus?: MessageBus; hooks?: Partial<KernelHooks> } = {},
  ): Promise<TestNode> {
    const hooks = Object.assign(new TestHooks(), options.hooks);
    const store = options.store ?? createMemorySessionStore();
    const problems: OperationalError[] = [];
    const kernel = await createKernel({
      sessionStore: store,
      bus: options.bus ?? createLocalBus(),
      hooks,
      onProblem: (problem) => problems.push(problem),
    });
    const listener = await startTcpListener(
      { name: 'tcp:default', host: '127.0.0.1', port: 0, connectionsMax: 100 },
      (connection) => kernel.handle(connection),
    );
    return new TestNode(kernel, hooks, store, listener, problems);
  }

  get port(): number {
    return this.listener.address.port;
  }

  /** Resolves with the CONNACK; rejects with its return code. */
  async connect(clientId: string, options: IClientOptions = {}): Promise<TestClient> {
    const client = mqtt.connect(`mqtt://127.0.0.1:${this.port}`, {
      clientId,
      protocolVersion: 4,
      reconnectPeriod: 0,
      connectTimeout: 5000,
      resubscribe: false,
      ...options,
    });
    this.#mqtt.push(client);
    const test = new TestClient(client); // Before the CONNACK: the queue may come with it.
    await Promise.race([
      new Promise((resolve, reject) => client.once('connect', resolve).once('error', reject)),
      test.closed.then(() => Promise.reject(new Error('closed without a CONNACK'))),
    ]);
    return test;
  }

  /** Of the last `connect`, also while it has no CONNACK. */
  get lastMqtt(): MqttClient {
    const client = this.#mqtt.at(-1);
    if (client === undefined) throw new Error('nobody connects');
    return client;
  }

  async dial(): Promise<Socket> {
    const socket = connect(this.port, '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.listener.close();
    await this.kernel.close();
    await this.listener[Symbol.asyncDispose]();
    for (const client of this.#mqtt) client.end(true);
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function packet(header: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  for (let rest = body.length; ; rest = rest >> 7) {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    if (rest <= 0x7f) break;
  }
  return Buffer.concat([Buffer.from([header, ...length]), body]);
}

/** Packets of MQTT 3.1.1 that a client library would not send. */
export const raw = {
  connect: (clientId: string, cleanSession = true): Buffer =>
    packet(0x10, text('MQTT'), Buffer.from([4, cleanSession ? 2 : 0, 0, 60]), text(clientId)),
  subscribe: (...filters: string[]): Buffer =>
    packet(
      0x82,
      Buffer.from([0, 1]),
      ...filters.flatMap((filter) => [text(filter), Buffer.from([1])]),
    ),
  publish: (topic: string): Buffer => packet(0x30, text(topic), Buffer.from('x')),
};

/** What the socket gets until it has `length` bytes or is closed. */
export async function read(socket: Socket, length: number): Promise<Buffer> {
  let data = Buffer.alloc(0);
  return new Promise((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      data = Buffer.concat([data, chunk]);
      if (data.length >= length) resolve(data);
    });
    socket.on('close', () => resolve(data));
  });
}
