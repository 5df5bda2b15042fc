import type { PublishRate } from './connection/publish-rate.ts';
import type { SessionRecord } from '@sallyport/session-store';
import type { TopicFilter } from '@sallyport/topic';
import type { ProtocolVersion, Qos, ReasonCode } from './codec/index.ts';
import type { Message } from './message.ts';

/** Where a connection came in, before a byte of it was read. */
export interface Origin {
  /** Such as `tcp:default`. */
  readonly listener: string;
  /** `address:port` of the client; IPv6 in brackets. */
  readonly peer: string;
  /** The first certificate of the client, when it showed one that the listener accepts. */
  readonly certificate?: unknown;
  /** Whether it is not read now, and not by its own doing: then its time for the CONNECT does not end. */
  readonly unread?: boolean;
  /** Told when a CONNECT was read, or something in its place, before anything is made of it. Perhaps more than once. */
  arriving?(): void;
  /** Told after that, when it is decided, or the client has to say more; also when the client has gone meanwhile. Perhaps more than once. */
  settled?(): void;
  /** Told when the CONNECT has been accepted. */
  authenticated?(): void;
  /** Told when the client leaves: a DISCONNECT, the end of the stream or its failure was read. Perhaps more than once. */
  leaving?(): void;
}

/** A CONNECT that is well-formed. */
export interface ConnectRequest {
  readonly clientId: string;
  /** Whether the client has sent none, and this one was made up for it. Absent: no. */
  readonly clientIdAssigned?: boolean;
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
  readonly willTopic: string | undefined;
  /** Of the will; absent without one. */
  readonly willTerms?: Pick<Message, 'qos' | 'retain'> | undefined;
  readonly version: ProtocolVersion;
  readonly origin: Origin;
}

/** What of a will decides whether it may be published. */
export type StoredWill = Pick<Message, 'topic' | 'qos' | 'retain'>;

/** One connection, as the hooks see it. */
export interface MqttClient {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  readonly origin: Origin;
  /**
   * Ends the connection; MQTT 5 tells the reason. Its will is published if its rights allow that. Resolves when the last write for
   * its session is done.
   */
  disconnect(reason: ReasonCode): Promise<void>;
  /** The same, and nothing of its session is left: no subscription, and no message that waits. */
  dismiss(reason: ReasonCode): Promise<void>;
}

/** A connection, as whoever has its socket sees it. */
export interface AcceptedClient extends MqttClient {
  /** When something came last, in milliseconds of `performance.now()`; at first when it was accepted. */
  readonly heardAt: number;
}

/** A client that is connected. */
export interface ConnectedClient {
  readonly client: MqttClient;
  /** 0 = none. */
  readonly keepAliveSeconds: number;
  /** Milliseconds since 1970. */
  readonly connectedAt: number;
  readonly rights: SessionRights;
}

/** What one connection may do. Every answer is synchronous and in memory. */
export interface SessionRights {
  /**
   * The topic that a message is published under when the client, or its will, names `topic`: the same, or with a prefix. Undefined when
   * there is no such topic. Asked once for each message, before anything else is asked of it.
   */
  publishedTopic(topic: string): string | undefined;
  /** Of a topic that `publishedTopic` gave. */
  mayPublish(topic: string, qos: Qos, retain: boolean): boolean;
  mayReceive(topic: string): boolean;
  /** By coverage of all topics that the filter matches; `shared`: it came behind `$share/<group>/`. */
  maySubscribe(filter: TopicFilter, qos: Qos, shared: boolean): boolean;
  mayUnsubscribe(filter: TopicFilter, shared: boolean): boolean;
  /** What becomes of a publish that is denied, before MQTT 5: acknowledged and dropped, or the end of the connection. */
  readonly deniedPublish: 'acknowledge' | 'disconnect';
  /** Whether a publish that is denied ends a connection of MQTT 5, and a subscription that is denied one of any version. */
  readonly deniedEnds?: boolean;
  /** Rates that the connection keeps to beside its own, together with others that have the same objects. Looked at once. */
  readonly publishRates?: readonly PublishRate[] | undefined;
}

export type ConnectRefusal =
  | 'not_authorized'
  | 'bad_credentials'
  | 'banned'
  | 'rate_exceeded'
  | 'quota_exceeded'
  | 'server_unavailable'
  | 'server_busy';

export type ConnectVerdict =
  | {
      readonly accepted: true;
      readonly rights: SessionRights;
      /** Whose session it is: the id of the credential. */
      readonly owner: string;
      /** For what happens when the client is not connected; JSON. */
      readonly principal: unknown;
    }
  | { readonly accepted: false; readonly reason: ConnectRefusal };

/** An exchange of AUTH packets. @source MQTT-5.0 §4.12 */
export interface EnhancedAuthentication {
  /** Never throws: what cannot be decided is refused. */
  step(data: Buffer | undefined): Promise<EnhancedStep>;
}

export type EnhancedStep =
  | { readonly outcome: 'continue'; readonly data: Buffer }
  | { readonly outcome: 'done'; readonly data?: Buffer; readonly verdict: ConnectVerdict };

/** What the engine asks before it acts, and tells. Names and filters that it hands over are valid. */
export interface MqttHooks {
  /** Never rejects: what cannot be decided is refused. Without a promise when nobody has to be asked: it costs as much as the rest. */
  authenticate(
    client: MqttClient,
    request: ConnectRequest,
  ): ConnectVerdict | Promise<ConnectVerdict>;
  /** Undefined for a method that is not known. `current` are the rights that are renewed, in a re-authentication. */
  authenticateEnhanced(
    client: MqttClient,
    request: ConnectRequest,
    method: string,
    current?: SessionRights,
  ): EnhancedAuthentication | undefined;
  /** The connection of an accepted verdict has ended, and its will was decided. Once for each of them. */
  ended(client: MqttClient, rights: SessionRights): void;
  /**
   * The topic that a stored principal, that is not connected, publishes its will under, as its rights are now. Undefined when it
   * may not. For a will whose time has come.
   */
  storedWillTopic(record: SessionRecord, will: StoredWill): Promise<string | undefined>;
  /**
   * Whether a client that is not connected may receive a topic, as its rights are now. In memory; undefined while that is not known, and
   * then it is found out. For whom of a share group a message waits; asked again when the client is back.
   */
  storedMayReceive?(clientId: string, topic: string): boolean | undefined;
  /** What is known of the rights of a client that is not connected may be wrong from now on: it was connected. */
  storedChanged?(clientId: string): void;
}

/** What the engine asks of the kernel: the publish pipeline, and the bus between nodes. */
export interface MqttKernel {
  /** Of this start of the node. */
  readonly brokerId: string;
  /** The next number of a message of this node. */
  nextCounter(): number;
  /**
   * Retained message, queues of persistent sessions, then all nodes with subscribers, this one first: in that order. `done` comes
   * after all of it, perhaps before this returns.
   * @param incoming the QoS 2 packet of a stored session that it came in as; noted together with the queues
   */
  publish(
    message: Message,
    incoming: { readonly clientId: string; readonly messageId: number } | undefined,
    done: (error?: Error | null) => void,
  ): void;
  /** Hands a message to the other nodes and to this one, without retaining or queueing it. */
  forward(message: Message): void;
  /** From `done` on, messages that match the filter reach this node. Counted. */
  want(topicFilter: string, done: () => void): void;
  unwant(topicFilter: string): void;
  /** A message to all other nodes, and perhaps to this one; `topic` is relative. `payload` is not asked for when nobody hears it. */
  signal(topic: string, payload: () => string): void;
}

/** Something to count. The names are the broker's metrics'. */
export type EngineEvent =
  | 'publish_allowed'
  | 'publish_denied'
  | 'publish_held_up'
  | 'delivery_denied'
  | 'delivery_expired'
  | 'delivery_too_large'
  | 'delivery_dropped'
  | 'queue_full'
  | 'message_sent'
  /** Somebody may come in, and cannot: the session store fails. */
  | 'session_unavailable';

export interface EngineObserver {
  /** Called on hot paths: add to a number, no more. */
  count(event: EngineEvent): void;
  /** A client broke the protocol, or its connection failed. As many as clients wish: throttle before logging. */
  clientError(client: MqttClient, error: Error): void;
  /** Something to log that is not one client's doing. */
  problem(error: Error): void;
}
