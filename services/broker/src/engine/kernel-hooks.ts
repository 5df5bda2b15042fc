import type { TopicFilter, TopicName } from '@sallyport/topic';
import type { AcceptedConnection } from '../listeners/listener.ts';

/** One MQTT connection; the same object in every hook. State of the hooks' own belongs in a WeakMap. */
export interface KernelClient {
  readonly connection: AcceptedConnection;
  /** Empty until the CONNECT has come; never empty in a hook. */
  readonly clientId: string;
  /** Whether we made the client id, because the client sent none. */
  readonly clientIdGenerated: boolean;
  readonly cleanSession: boolean;
  /** 3 = MQTT 3.1, 4 = 3.1.1, 5 = 5.0 */
  readonly protocolVersion: number;
  /** 0 = none. */
  readonly keepAliveSeconds: number;
}

/** A PUBLISH, or a will. */
export interface KernelPublish {
  readonly topic: TopicName;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly payload: Uint8Array;
}

export type ConnectVerdict = 'accept' | 'bad_credentials' | 'not_authorized' | 'server_unavailable';

/** `drop`: acknowledged as if it had been taken, but not retained, queued or delivered. */
export type PublishVerdict = 'allow' | 'drop' | 'disconnect';

/**
 * What the kernel asks before it acts. Everything has been parsed: names and filters are valid. A hook that throws has refused;
 * one that never answers holds up its own connection only, until the connect deadline or for ever. Order for one client:
 * `authenticate`, `authorizeSubscribe` for what a stored session has, `connected`, anything, `disconnected`.
 */
export interface KernelHooks {
  authenticate(
    client: KernelClient,
    username: string | undefined,
    password: Uint8Array | undefined,
    will: KernelPublish | undefined,
    done: (verdict: ConnectVerdict) => void,
  ): void;
  /** `client` is null for the will of a node that is gone. For a will, anything but `allow` means that it is not published. */
  authorizePublish(
    client: KernelClient | null,
    packet: KernelPublish,
    done: (verdict: PublishVerdict) => void,
  ): void;
  authorizeSubscribe(
    client: KernelClient,
    subscription: { readonly filter: TopicFilter; readonly qos: 0 | 1 | 2 },
    done: (granted: boolean) => void,
  ): void;
  /** Asked for each delivery: live, retained, queued. Must be quick. */
  authorizeForward(client: KernelClient, topic: string): boolean;
  /** The client is registered and gets messages from now on; its CONNACK follows. */
  connected(client: KernelClient): void;
  /** Once for each `connected`. */
  disconnected(client: KernelClient): void;
}
