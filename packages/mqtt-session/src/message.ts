import type { Properties, Qos } from './codec/index.ts';

/**
 * A member of a share group that was picked to get a message. `sharedFilter` is `$share/<group>/<filter>`; `brokerId` names the node
 * that the client was connected to then, and is empty when it was connected to none.
 */
export type SharedTarget = readonly [clientId: string, sharedFilter: string, brokerId: string];

/** What travels with a message between nodes, and through queues, beside what its publisher said; never sent to a client. */
export interface Routing {
  readonly targets: readonly SharedTarget[];
  /** Only these get it: it was published before, and the member that had it is gone. */
  readonly targetsOnly?: boolean;
  /** Nodes whose members of the group may not receive it, once for each time: none of theirs that is connected is picked again. */
  readonly refusedAt?: readonly string[];
}

export type MessageProperties = Properties & { routing?: Routing };

/** A message on its way from its publisher to its subscribers; the kernel's packet has the same fields. */
export interface Message {
  readonly topic: string;
  /** Own bytes when `qos` > 0 or `retain`; else perhaps a view of what the publisher's socket has read. */
  readonly payload: Buffer;
  readonly qos: Qos;
  /** As published; a delivery has it only where the subscription asks for it. */
  readonly retain: boolean;
  /** Frozen where it is shared between receivers. */
  readonly properties?: Readonly<MessageProperties>;
  /** When it expires, in milliseconds since 1970. */
  readonly messageExpiry?: number;
  /** The publisher. */
  readonly clientId?: string;
  /** The node that took it in, and its count there; together they name it. Set by the kernel. */
  readonly brokerId?: string;
  readonly brokerCounter?: number;
}

export function isExpired(message: Message, now: number): boolean {
  return message.messageExpiry !== undefined && message.messageExpiry <= now;
}
