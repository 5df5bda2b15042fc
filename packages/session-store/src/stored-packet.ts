import type { QueueEntry, StorePacket } from './session-store.ts';

const NOTHING = Buffer.alloc(0);

/** What the stores answer for a packet that they do not have: not a failure. */
export class NoSuchPacket extends Error {
  override readonly name = 'NoSuchPacket';

  constructor() {
    super('no such packet');
  }
}

/** What is queued of a packet: the fields of a message, and nothing that belongs to one transmission of it. */
export function messageOf(packet: StorePacket): StorePacket {
  const { clientId, properties, messageExpiry } = packet;
  return {
    cmd: packet.cmd ?? 'publish',
    ...(packet.brokerId !== undefined && { brokerId: packet.brokerId }),
    brokerCounter: packet.brokerCounter ?? 0,
    ...(packet.topic !== undefined && { topic: packet.topic }),
    payload: packet.payload ?? NOTHING,
    qos: packet.qos ?? 0,
    retain: packet.retain ?? false,
    dup: false,
    ...(clientId !== undefined && { clientId }),
    ...(properties !== undefined && { properties }),
    ...(messageExpiry !== undefined && { messageExpiry }),
  };
}

const byteLength = (value: Buffer | string | undefined): number =>
  typeof value === 'string' ? Buffer.byteLength(value) : (value?.length ?? 0);

export function payloadBytes(packet: StorePacket): number {
  return byteLength(packet.payload);
}

/** What a packet counts in a queue: its payload and its topic. */
export function packetBytes(packet: StorePacket): number {
  return byteLength(packet.payload) + byteLength(packet.topic);
}

/** What stands in the queue for a message whose PUBREC has come: its name, and nothing to send but a PUBREL. */
export function pubrelOf(packet: StorePacket, messageId: number | undefined): StorePacket {
  const { brokerId, brokerCounter } = packet;
  return {
    cmd: 'pubrel',
    messageId,
    ...(brokerId !== undefined && { brokerId }),
    ...(brokerCounter !== undefined && { brokerCounter }),
  };
}

/** An entry as aedes-persistence gives it out: a new object, which the kernel may change. */
export function packetOf({ state, packet, messageId, qos }: QueueEntry): StorePacket {
  return state === 'released' ? { cmd: 'pubrel', messageId } : { ...packet, qos, messageId };
}
