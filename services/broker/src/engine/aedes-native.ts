import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import type { MessageBus } from '@sallyport/message-bus';
import type { SessionStore, StorePacket } from '@sallyport/session-store';
import { Aedes } from 'aedes';

/** The parts of aedes 1.2.0 that we use and that its types do not have, or have wrong. The only place that knows. */
export interface NativeClient {
  readonly id: string;
  readonly closed: boolean;
  readonly connackSent: boolean;
  readonly conn: Duplex;
  close(done?: () => void): void;
  /** Set by a DISCONNECT packet: the will is not published, and deleted from the store. */
  _disconnected: boolean;
  /** Highest message count of each node that was delivered; the kernel's filter of duplicates. */
  duplicates: Record<string, number>;
  deliver0: Deliver;
  deliverQoS: Deliver;
}

export type Deliver = (packet: NativePacket, done: () => void) => void;

export interface NativePacket extends StorePacket {
  readonly topic: string;
}

export interface NativeConnect {
  clientId: string;
  readonly protocolVersion: number;
  readonly clean: boolean;
  readonly keepalive: number;
  readonly will?: NativePacket | null;
}

export interface NativeSubscription {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
}

export interface NativeHooks {
  preConnect(
    client: NativeClient,
    packet: NativeConnect,
    done: (error: Error | null, go: boolean) => void,
  ): void;
  authenticate(
    client: NativeClient,
    username: string | undefined,
    password: Uint8Array | undefined,
    done: (error: (Error & { returnCode: number }) | null, accepted: boolean) => void,
  ): void;
  authorizePublish(
    client: NativeClient | null,
    packet: NativePacket,
    done: (error?: Error | null) => void,
  ): void;
  authorizeSubscribe(
    client: NativeClient,
    subscription: NativeSubscription,
    done: (error: Error | null, granted: NativeSubscription | null) => void,
  ): void;
  authorizeForward(client: NativeClient, packet: NativePacket): NativePacket | null;
}

export interface NativeBroker extends EventEmitter {
  readonly id: string;
  readonly clients: Record<string, NativeClient>;
  readonly _clearWillInterval: NodeJS.Timeout;
  connectedClients: number;
  handle(stream: Duplex): NativeClient;
  publish(
    packet: NativePacket,
    client: NativeClient | null,
    done: (error?: Error | null) => void,
  ): void;
  registerClient(client: NativeClient): void;
  _finishRegisterClient(client: NativeClient): void;
  unregisterClient(client: NativeClient): void;
  close(done: () => void): void;
}

export interface NativeOptions extends NativeHooks {
  readonly id: string;
  readonly persistence: SessionStore;
  readonly mq: MessageBus;
  readonly concurrency: number;
  readonly connectTimeout: number;
  readonly drainTimeout: number;
}

/** Starts the kernel. */
export async function createNativeBroker(options: NativeOptions): Promise<NativeBroker> {
  const create = Aedes.createBroker.bind(Aedes) as unknown as (
    options: NativeOptions,
  ) => Promise<NativeBroker>;
  return create(options);
}

/** Reads as 0 whatever is asked, and keeps nothing. */
const NOTHING_SEEN = new Proxy<Record<string, number>>(Object.create(null) as never, {
  get: () => 0,
  set: () => true,
});

/**
 * Corrects what the kernel delivers to a client, and when.
 *
 * Its filter of duplicates keeps the highest count of each node: a QoS 1 message that waits for the store is overtaken by QoS 0
 * messages, and is then taken for a duplicate and lost. What it is for, one message that matches several filters of a client, comes
 * in one go from the bus, so that the last message is all there is to compare with.
 *
 * A restored session hears the bus before its CONNACK is sent, and a PUBLISH must not come first (MQTT-3.1.1 [MQTT-3.2.0-1]). Until
 * then the session counts as offline: QoS 1 and 2 messages are in its queue, which is read after the CONNACK.
 */
export function guardDeliveries(client: NativeClient): void {
  const { deliver0, deliverQoS } = client;
  let last: NativePacket | undefined;
  const due = (packet: NativePacket): boolean => {
    if (!client.connackSent) return false;
    const { brokerId, brokerCounter } = packet;
    if (typeof brokerId !== 'string') return true; // A retained message.
    if (brokerId === last?.brokerId && brokerCounter === last.brokerCounter) return false;
    last = packet;
    return true;
  };
  client.duplicates = NOTHING_SEEN;
  client.deliver0 = (packet, done) => {
    if (due(packet)) deliver0(packet, done);
    else setImmediate(done);
  };
  client.deliverQoS = (packet, done) => {
    // The kernel's function calls `deliver0` for QoS 0, which would ask a second time.
    if (packet.qos === 0) client.deliver0(packet, done);
    else if (due(packet)) deliverQoS(packet, done);
    else setImmediate(done);
  };
}

/**
 * Repairs the register of clients: a client that went while its session was loaded is not registered; of two that come with the
 * same id at the same time the later one stays; and a client takes away only its own entry.
 */
export function repairRegister(
  broker: NativeBroker,
  onNeverRegistered: (client: NativeClient) => void,
): void {
  const registered = new WeakSet<NativeClient>();
  const finish = broker._finishRegisterClient.bind(broker);
  const unregister = broker.unregisterClient.bind(broker);
  broker._finishRegisterClient = (client) => {
    const other = broker.clients[client.id];
    if (client.closed) {
      onNeverRegistered(client);
    } else if (other !== undefined && other !== client && !other.closed) {
      broker.registerClient(client); // Closes the other one, and comes back here.
    } else {
      registered.add(client);
      finish(client);
    }
  };
  broker.unregisterClient = (client) => {
    if (!registered.delete(client)) return;
    if (broker.clients[client.id] === client) {
      unregister(client);
      return;
    }
    broker.connectedClients--;
    broker.emit('clientDisconnect', client);
  };
}
