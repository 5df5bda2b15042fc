import { decodeDelivery } from './delivery-codec.ts';
import { decodePacket } from './packet-codec.ts';
import type { Answer } from './redis-scripts.ts';
import type {
  DueItem,
  OpenedSession,
  QueueEntry,
  SessionRecord,
  StorePacket,
} from './session-store.ts';
import { pubrelOf } from './stored-packet.ts';

/** How many fields an entry of a queue and a due item have in the answers of scripts. */
export const ENTRY_FIELDS = 4;
export const DUE_FIELDS = 9;

export const textOf = (answer: Answer | undefined): string => answer?.toString() ?? '';
/** What queues call a message. */
export const nameOf = (message: StorePacket): string =>
  `${message.brokerCounter ?? 0} ${message.brokerId ?? ''}`;

/** Scripts answer one value or a list. */
export const listOf = (answer: Answer | Answer[]): Answer[] =>
  Array.isArray(answer) ? answer : [];

/** A stored packet, or that there is none. */
export function packetFrom(answer: Answer | Answer[]): StorePacket | undefined {
  return Buffer.isBuffer(answer) ? decodePacket(answer) : undefined;
}

function packetOrThrow(answer: Answer | undefined): StorePacket {
  const packet = packetFrom(answer ?? null);
  if (packet === undefined) throw new TypeError('a stored packet is missing');
  return packet;
}

/** Position, state, delivery and body, as the scripts answer them. */
export function entryFrom([position, state, delivery, body]: readonly Answer[]): QueueEntry {
  const [, released, digits] = /^(r?)(\d*)$/.exec(textOf(state)) ?? [];
  const messageId = digits === '' ? undefined : Number(digits);
  const packet = packetOrThrow(body);
  const isReleased = released === 'r';
  return {
    position: Number(textOf(position)),
    state: isReleased ? 'released' : messageId === undefined ? 'queued' : 'sent',
    ...(messageId !== undefined && { messageId }),
    packet: isReleased ? pubrelOf(packet, messageId) : packet,
    ...decodeDelivery(textOf(delivery)),
  };
}

export function dueItemFrom(fields: readonly Answer[]): DueItem {
  const [kind, epoch, clientId, owner, nodeId, principal, expiry, delay] = fields.map(textOf);
  const record: SessionRecord = {
    clientId: clientId ?? '',
    owner: owner ?? '',
    principal: JSON.parse(principal ?? 'null') as unknown,
    expirySeconds: Number(expiry),
    nodeId: nodeId ?? '',
    ...(delay !== '' && { willDelaySeconds: Number(delay) }),
  };
  if (kind === 'will') return { kind, record, will: packetOrThrow(fields[8]) };
  return { kind: 'expired', record, epoch: Number(epoch) };
}

/** The answer of a list of equal records. */
export function groupsOf(fields: readonly Answer[], size: number): Answer[][] {
  const groups: Answer[][] = [];
  for (let at = 0; at < fields.length; at += size) groups.push(fields.slice(at, at + size));
  return groups;
}

/** Present, epoch, previous node. */
export function openedFrom([present, epoch, previous]: readonly Answer[]): OpenedSession {
  return {
    present: present === 1,
    epoch: Number(textOf(epoch)),
    ...(Buffer.isBuffer(previous) && { previousNodeId: previous.toString() }),
  };
}

export interface RetainedPage {
  readonly packets: readonly StorePacket[];
  readonly more: boolean;
  readonly cursor: Buffer | string;
}

/** Whether there may be more, where to go on, and bodies. */
export function retainedFrom(answer: Answer | Answer[]): RetainedPage {
  const [more, cursor, ...bodies] = listOf(answer);
  return {
    packets: bodies.map(packetOrThrow),
    more: more === 1,
    cursor: Buffer.isBuffer(cursor) ? cursor : '',
  };
}
