import type { MergedDelivery } from './merge-subscriptions.ts';
import type { QueueEntry, StoreLimits, StorePacket } from './session-store.ts';
import { NoSuchPacket, packetBytes, pubrelOf } from './stored-packet.ts';

/** Fewer removed entries than this are left where they are. */
const COMPACT_MIN = 32;

interface Queued {
  readonly position: number;
  readonly key: string;
  readonly delivery: MergedDelivery;
  readonly bytes: number;
  packet: StorePacket;
  state: QueueEntry['state'];
  messageId: number | undefined;
  removed: boolean;
}

const keyOf = (message: StorePacket): string => `${message.brokerCounter ?? 0} ${message.brokerId}`;

function entryOf(queued: Queued): QueueEntry {
  const { position, state, messageId, packet, delivery } = queued;
  const { qos, retainAsPublished, subscriptionIdentifiers, sharedFilter } = delivery;
  return {
    position,
    state,
    ...(messageId !== undefined && { messageId }),
    packet,
    qos,
    retainAsPublished,
    subscriptionIdentifiers,
    ...(sharedFilter !== undefined && { sharedFilter }),
  };
}

/** The queue of one session. Everything but a page is O(1), amortized. */
export class MemoryQueue {
  /** By position, removed ones among them. */
  #entries: Queued[] = [];
  /** More than one when the session gets a message for itself and for a share group. */
  readonly #byMessage = new Map<string, Queued[]>();
  readonly #byMessageId = new Map<number, Queued>();
  #messages = 0;
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#messages === 0;
  }

  /** Whether the packet is in the queue: the newest is refused when the queue would pass a limit. */
  push(
    limits: StoreLimits,
    position: number,
    packet: StorePacket,
    delivery: MergedDelivery,
  ): boolean {
    const key = keyOf(packet);
    const others = this.#byMessage.get(key);
    if (others?.some((each) => each.delivery.sharedFilter === delivery.sharedFilter)) return true;
    const bytes = packetBytes(packet);
    if (this.#messages >= limits.queueMessagesMax) return false;
    if (this.#bytes + bytes > limits.queueBytesMax) return false;
    const queued: Queued = {
      position,
      key,
      delivery,
      packet,
      bytes,
      state: 'queued',
      messageId: undefined,
      removed: false,
    };
    this.#entries.push(queued);
    if (others === undefined) this.#byMessage.set(key, [queued]);
    else others.push(queued);
    this.#messages++;
    this.#bytes += bytes;
    return true;
  }

  /** @throws Error when there is no such message */
  update(packet: StorePacket): void {
    if (packet.cmd === 'pubrel') this.#release(packet);
    else this.#send(packet);
  }

  /** The entry that was sent with this id. */
  clear(messageId: number): QueueEntry | undefined {
    const queued = this.#byMessageId.get(messageId);
    if (queued === undefined) return undefined;
    this.#remove(queued);
    return entryOf(queued);
  }

  /** An entry of the message that was not sent yet goes first. */
  removeMessage(message: StorePacket): void {
    const found = this.#byMessage.get(keyOf(message));
    const queued = found?.find(({ state }) => state === 'queued') ?? found?.[0];
    if (queued !== undefined) this.#remove(queued);
  }

  page(after: number, limit: number): QueueEntry[] {
    const page: QueueEntry[] = [];
    for (let index = this.#indexBehind(after); page.length < limit; index++) {
      const queued = this.#entries[index];
      if (queued === undefined) break;
      if (!queued.removed) page.push(entryOf(queued));
    }
    return page;
  }

  #send(packet: StorePacket): void {
    const found = this.#byMessage.get(keyOf(packet)) ?? [];
    const queued =
      found.find(({ messageId }) => messageId !== undefined && messageId === packet.messageId) ??
      found.find(({ state }) => state === 'queued') ??
      found[0];
    if (queued === undefined) throw new NoSuchPacket();
    if (queued.state === 'queued') queued.state = 'sent';
    this.#number(queued, packet.messageId);
  }

  #release({ messageId }: StorePacket): void {
    const queued = messageId === undefined ? undefined : this.#byMessageId.get(messageId);
    if (queued === undefined) throw new NoSuchPacket();
    queued.state = 'released';
    queued.packet = pubrelOf(queued.packet, messageId);
  }

  #number(queued: Queued, messageId: number | undefined): void {
    if (queued.messageId === messageId) return;
    this.#forgetNumber(queued);
    queued.messageId = messageId;
    if (messageId !== undefined) this.#byMessageId.set(messageId, queued);
  }

  #forgetNumber(queued: Queued): void {
    const { messageId } = queued;
    if (messageId === undefined || this.#byMessageId.get(messageId) !== queued) return;
    this.#byMessageId.delete(messageId);
  }

  #remove(queued: Queued): void {
    queued.removed = true;
    this.#forgetNumber(queued);
    const found = this.#byMessage.get(queued.key) ?? [];
    if (found.length > 1) found.splice(found.indexOf(queued), 1);
    else this.#byMessage.delete(queued.key);
    this.#messages--;
    this.#bytes -= queued.bytes;
    const gone = this.#entries.length - this.#messages;
    if (gone >= COMPACT_MIN && gone > this.#messages) {
      this.#entries = this.#entries.filter(({ removed }) => !removed);
    }
  }

  #indexBehind(after: number): number {
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#entries[middle]?.position ?? 0) > after) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
