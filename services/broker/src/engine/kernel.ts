import { randomUUID } from 'node:crypto';
import { OperationalError, unreachable } from '@sallyport/errors';
import type { MessageBus } from '@sallyport/message-bus';
import type { SessionStore } from '@sallyport/session-store';
import {
  parseSubscription,
  parseTopicName,
  textProblem,
  type TopicName,
  utf8Bytes,
} from '@sallyport/topic';
import type { AcceptedConnection } from '../listeners/listener.ts';
import {
  createNativeBroker,
  guardDeliveries,
  type NativeBroker,
  type NativeClient,
  type NativeConnect,
  type NativeHooks,
  type NativePacket,
  repairRegister,
} from './aedes-native.ts';
import { GrantedSubscriptions } from './granted-subscriptions.ts';
import type { ConnectVerdict, KernelClient, KernelHooks, KernelPublish } from './kernel-hooks.ts';

/** From the accepted socket to the CONNACK, whatever happens between. */
export const CONNECT_TIMEOUT_MS = 10_000;

/** A client that takes nothing for this long while we have something for it is cut. */
const DRAIN_TIMEOUT_MS = 10_000;

/** Longest client id, in UTF-8 bytes. */
export const CLIENT_ID_BYTES_MAX = 256;

/** @source MQTT-3.1.1 §3.2.2.3 */
const CONNACK_RETURN_CODE = {
  identifier_rejected: 2,
  server_unavailable: 3,
  bad_credentials: 4,
  not_authorized: 5,
} as const;

const SYSTEM_PREFIX = '$SYS/';

export interface KernelOptions {
  readonly sessionStore: SessionStore;
  /** Closed with the kernel. */
  readonly bus: MessageBus;
  readonly hooks: KernelHooks;
  /** Must be new at each start: it is part of packets' keys. Default: a random one. */
  readonly brokerId?: string;
  /** Something to log that is not one client's doing. */
  readonly onProblem?: (problem: OperationalError) => void;
  /** A client broke the protocol, or its connection failed. As many as clients wish: throttle before logging. */
  readonly onClientError?: (client: KernelClient, error: Error) => void;
}

export interface Kernel {
  readonly brokerId: string;
  /** Speaks MQTT on the connection until it ends. */
  handle(connection: AcceptedConnection): KernelClient;
  /** Cuts one connection. Its will is published if `authorizePublish` allows it. */
  disconnect(client: KernelClient): Promise<void>;
  /**
   * Cuts all connections, to drain the node. Their wills are deleted and **not** published: the clients come back on another node
   * at once, and their peers must not take maintenance for a failure.
   */
  closeAll(): Promise<void>;
  /** `closeAll`, then the kernel and the bus. The session store stays open. */
  close(): Promise<void>;
}

class Client implements KernelClient {
  readonly connection: AcceptedConnection;
  readonly native: NativeClient;
  readonly deadline: NodeJS.Timeout;
  clientId = '';
  clientIdGenerated = false;
  cleanSession = true;
  protocolVersion = 4;
  keepAliveSeconds = 0;
  will: KernelPublish | undefined;
  identifierRejected = false;

  constructor(connection: AcceptedConnection, native: NativeClient, deadline: NodeJS.Timeout) {
    this.connection = connection;
    this.native = native;
    this.deadline = deadline;
  }
}

function publishOf(packet: NativePacket, topic: TopicName): KernelPublish {
  const { payload } = packet;
  return {
    topic,
    qos: packet.qos ?? 0,
    retain: packet.retain ?? false,
    payload: typeof payload === 'string' ? Buffer.from(payload) : (payload ?? Buffer.alloc(0)),
  };
}

function refusalOf(verdict: Exclude<ConnectVerdict, 'accept'> | 'identifier_rejected') {
  return Object.assign(new Error(verdict), { returnCode: CONNACK_RETURN_CODE[verdict] });
}

/** Calls `answer` with the first answer only; a hook that throws has answered with `refusal`. */
function ask<T>(
  hook: (done: (answer: T) => void) => void,
  answer: (value: T) => void,
  refusal: T,
  report: (cause: unknown) => void,
): void {
  let answered = false;
  const once = (value: T): void => {
    if (answered) return;
    answered = true;
    answer(value);
  };
  try {
    hook(once);
  } catch (cause) {
    report(cause);
    once(refusal);
  }
}

/** aedes 1.2.0 behind our hooks. */
class AedesKernel implements Kernel {
  readonly #hooks: KernelHooks;
  readonly #granted: GrantedSubscriptions;
  readonly #onProblem: (problem: OperationalError) => void;
  readonly #onClientError: (client: KernelClient, error: Error) => void;
  /** Also those that have ended: the kernel still asks, for the will. */
  readonly #known = new WeakMap<NativeClient, Client>();
  readonly #open = new Set<Client>();
  /** PUBLISH packets that are acknowledged and go no further. */
  readonly #dropped = new WeakSet<NativePacket>();
  #broker: NativeBroker | undefined;

  constructor(options: KernelOptions) {
    this.#hooks = options.hooks;
    this.#onProblem = options.onProblem ?? (() => undefined);
    this.#onClientError = options.onClientError ?? (() => undefined);
    this.#granted = new GrantedSubscriptions(options.sessionStore, (cause) => {
      if (cause instanceof OperationalError) this.#onProblem(cause);
      else this.#report(cause);
    });
  }

  async start(options: KernelOptions): Promise<void> {
    const broker = await createNativeBroker({
      ...this.#nativeHooks(),
      id: options.brokerId ?? randomUUID(),
      persistence: this.#granted.store,
      mq: options.bus,
      concurrency: 0,
      connectTimeout: CONNECT_TIMEOUT_MS,
      drainTimeout: DRAIN_TIMEOUT_MS,
    });
    this.#broker = broker;
    // It publishes wills of dead nodes without asking, more than once, and under the wrong origin.
    clearInterval(broker._clearWillInterval);
    repairRegister(broker, (client) => {
      void this.#granted.store.delWill({ id: client.id, brokerId: broker.id });
    });
    this.#interceptPublish(broker);
    this.#listen(broker);
  }

  get brokerId(): string {
    return this.#native.id;
  }

  get #native(): NativeBroker {
    if (this.#broker === undefined) throw new TypeError('the kernel has not started');
    return this.#broker;
  }

  handle(connection: AcceptedConnection): KernelClient {
    const { stream } = connection;
    const native = this.#native.handle(stream);
    guardDeliveries(native);
    const deadline = setTimeout(() => stream.destroy(), CONNECT_TIMEOUT_MS);
    const client = new Client(connection, native, deadline);
    this.#known.set(native, client);
    this.#open.add(client);
    stream.once('close', () => {
      clearTimeout(deadline);
      this.#open.delete(client);
    });
    return client;
  }

  async disconnect(client: KernelClient): Promise<void> {
    if (!(client instanceof Client)) throw new TypeError('a client of another kernel');
    await new Promise<void>((resolve) => client.native.close(resolve));
  }

  async closeAll(): Promise<void> {
    const closing = [...this.#open].map((client) => {
      client.native._disconnected = true;
      return this.disconnect(client);
    });
    await Promise.all(closing);
    await this.#granted.settled();
  }

  async close(): Promise<void> {
    await this.closeAll();
    await new Promise<void>((resolve) => this.#native.close(resolve));
  }

  #report(cause: unknown): void {
    this.#onProblem(new OperationalError('internal', 'the MQTT kernel failed', { cause }));
  }

  #clientOf(native: NativeClient): Client {
    const client = this.#known.get(native);
    if (client === undefined) throw new TypeError('a client that was never handled');
    return client;
  }

  #nativeHooks(): NativeHooks {
    return {
      preConnect: (native, packet, done) => {
        const problem = this.#readConnect(this.#clientOf(native), packet);
        done(problem ?? null, problem === undefined);
      },
      authenticate: (native, username, password, done) => {
        this.#authenticate(this.#clientOf(native), username, password, done);
      },
      authorizePublish: (native, packet, done) => {
        this.#authorizePublish(native === null ? null : this.#clientOf(native), packet, done);
      },
      authorizeSubscribe: (native, subscription, done) => {
        this.#authorizeSubscribe(this.#clientOf(native), subscription, (error, granted) => {
          done(error, granted ? subscription : null);
        });
      },
      authorizeForward: (native, packet) => {
        try {
          const allowed = this.#hooks.authorizeForward(this.#clientOf(native), packet.topic);
          return allowed === true ? packet : null;
        } catch (cause) {
          this.#report(cause);
          return null;
        }
      },
    };
  }

  /** Why the connection must be closed without an answer, or undefined. */
  #readConnect(client: Client, packet: NativeConnect): Error | undefined {
    client.cleanSession = packet.clean;
    client.protocolVersion = packet.protocolVersion;
    client.keepAliveSeconds = packet.keepalive;
    if (packet.clientId === '') {
      // MQTT-3.1.1 [MQTT-3.1.3-7] [MQTT-3.1.3-8]; MQTT 3.1 knows no empty one.
      client.identifierRejected = !packet.clean || packet.protocolVersion === 3;
      client.clientIdGenerated = true;
      packet.clientId = packet.protocolVersion === 3 ? '' : `auto-${randomUUID()}`;
    }
    client.clientId = packet.clientId;
    if (textProblem(packet.clientId) !== undefined) return new Error('invalid client id');
    if (utf8Bytes(packet.clientId) > CLIENT_ID_BYTES_MAX) client.identifierRejected = true;
    if (packet.will == null) return undefined;
    const topic = parseTopicName(packet.will.topic);
    if (!topic.ok) return new Error(`invalid will topic: ${topic.problem}`);
    client.will = publishOf(packet.will, topic.value);
    return undefined;
  }

  #authenticate(
    client: Client,
    username: string | undefined,
    password: Uint8Array | undefined,
    done: Parameters<NativeHooks['authenticate']>[3],
  ): void {
    if (client.identifierRejected) {
      done(refusalOf('identifier_rejected'), false);
      return;
    }
    ask<ConnectVerdict>(
      (answer) => {
        const name = username ?? undefined; // The parser may say null.
        this.#hooks.authenticate(client, name, password ?? undefined, client.will, answer);
      },
      (verdict) => {
        if (verdict === 'accept') done(null, true);
        else done(refusalOf(verdict), false);
      },
      'server_unavailable',
      (cause) => this.#report(cause),
    );
  }

  #authorizePublish(
    client: Client | null,
    packet: NativePacket,
    done: (error?: Error | null) => void,
  ): void {
    const topic = parseTopicName(packet.topic);
    if (!topic.ok) {
      done(new Error(`invalid topic name: ${topic.problem}`));
      return;
    }
    ask<'allow' | 'drop' | 'disconnect'>(
      (answer) => this.#hooks.authorizePublish(client, publishOf(packet, topic.value), answer),
      (verdict) => {
        switch (verdict) {
          case 'allow':
            // Whatever the rules say: these drive the nodes, and anybody's client id could be taken over.
            if (packet.topic.startsWith(SYSTEM_PREFIX)) this.#dropped.add(packet);
            done(null);
            return;
          case 'drop':
            this.#dropped.add(packet);
            done(null);
            return;
          case 'disconnect':
            done(new Error('not authorized to publish'));
            return;
          default:
            unreachable(verdict);
        }
      },
      'disconnect',
      (cause) => this.#report(cause),
    );
  }

  #authorizeSubscribe(
    client: Client,
    { topic, qos }: { readonly topic: string; readonly qos: 0 | 1 | 2 },
    done: (error: Error | null, granted: boolean) => void,
  ): void {
    const restoring = !client.native.connackSent;
    this.#granted.revoke(client.native, topic);
    const answer = (granted: boolean): void => {
      if (granted) {
        this.#granted.grant(client.native, topic);
        done(null, true);
      } else if (restoring) {
        // Else the session's queue would go on filling.
        this.#granted.forget(client.native, topic).then(
          () => done(null, false),
          (cause: unknown) => done(cause as Error, false), // Of the store's contract.
        );
      } else done(null, false);
    };
    const parsed = parseSubscription(topic);
    if (!parsed.ok || parsed.value.group !== undefined) {
      answer(false); // The kernel has no shared subscriptions.
      return;
    }
    const { filter } = parsed.value;
    ask<boolean>(
      (reply) => this.#hooks.authorizeSubscribe(client, { filter, qos }, reply),
      (granted) => answer(granted === true),
      false,
      (cause) => this.#report(cause),
    );
  }

  #interceptPublish(broker: NativeBroker): void {
    const publish = broker.publish.bind(broker);
    broker.publish = (packet, client, done) => {
      if (this.#dropped.delete(packet)) setImmediate(done, null);
      else publish(packet, client, done);
    };
  }

  #listen(broker: NativeBroker): void {
    broker.on('error', (cause) => this.#report(cause));
    const failed = (native: NativeClient, error: Error): void => {
      this.#onClientError(this.#clientOf(native), error);
    };
    broker.on('clientError', failed);
    broker.on('connectionError', failed);
    broker.on('client', (native: NativeClient) => this.#hooks.connected(this.#clientOf(native)));
    broker.on('clientDisconnect', (native: NativeClient) => {
      this.#hooks.disconnected(this.#clientOf(native));
    });
    broker.on('connackSent', (packet: { returnCode: number }, native: NativeClient) => {
      if (packet.returnCode === 0) clearTimeout(this.#clientOf(native).deadline);
    });
  }
}

/** @throws OperationalError `session_store_unavailable` when the subscriptions cannot be loaded */
export async function createKernel(options: KernelOptions): Promise<Kernel> {
  const kernel = new AedesKernel(options);
  await kernel.start(options);
  return kernel;
}
