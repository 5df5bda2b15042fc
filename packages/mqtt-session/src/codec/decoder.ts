import type { MqttLimits } from '../limits.ts';
import { ByteReader } from './byte-reader.ts';
import { readAck, readAuth, readDisconnect } from './decode-answer.ts';
import { readConnect, readProtocolVersion } from './decode-connect.ts';
import { place, readProperties } from './decode-properties.ts';
import { readSubscribe, readUnsubscribe } from './decode-request.ts';
import { beforeConnect, connected, noFirstByte, refusedFirstByte } from './first-byte.ts';
import type {
  ClientPacket,
  ConnectPacket,
  Properties,
  ProtocolVersion,
  PublishPacket,
  Qos,
} from './packet.ts';
import { malformed, ProtocolError, reasonCode, violation } from './reason-code.ts';
import { byteAt, packetIdAt, uint16At } from './text.ts';
import { TopicReader } from './topic-reader.ts';

export type DecoderLimits = Pick<
  MqttLimits,
  | 'packetBytesMax'
  | 'connectPacketBytesMax'
  | 'clientIdBytesMax'
  | 'usernameBytesMax'
  | 'passwordBytesMax'
  | 'userPropertiesMax'
  | 'userPropertiesBytesMax'
  | 'filtersPerPacketMax'
>;

const NOTHING: Buffer = Buffer.alloc(0);

/** First allocation for a packet that comes in pieces; it is doubled until the packet fits. */
const PIECES_BYTES_MIN = 512;

/**
 * Cuts the bytes of one client into packets. What is refused is refused as early as its bytes show it: type and flags with
 * the first byte, the size with the fixed header, and nothing of a body that is too large is ever kept.
 *
 * A packet that lies in one chunk is decoded where it lies, so the payload of a PUBLISH is a view of that chunk; all else
 * is copied. A packet in many chunks is put together in a buffer that doubles: linear cost, at most twice its memory,
 * and however small the chunks are, none is kept.
 *
 * Reason codes beyond the obvious: too many filters or user properties are `quotaExceeded`; a client id that is too long
 * is `clientIdentifierNotValid`, user name and password `badUserNameOrPassword`; a topic name that is well-formed text
 * but no topic name of ours (wildcards, too long, too deep) is `topicNameInvalid`, in every version.
 */
export class PacketDecoder {
  readonly #limits: DecoderLimits;
  /** Most clients of a large node publish nothing. */
  #topics: TopicReader | undefined;
  #version: ProtocolVersion | undefined;
  #firstBytes = beforeConnect;
  #packetBytesMax: number;

  /** Chunks behind the one that is read. */
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #chunk = NOTHING;
  #position = 0;

  /** Start of a packet whose rest is still to come; and how much of it is there. */
  #pieces = NOTHING;
  #piecesBytes = 0;

  constructor(limits: DecoderLimits) {
    this.#limits = limits;
    this.#packetBytesMax = limits.connectPacketBytesMax;
  }

  /**
   * Undefined until the protocol level of a CONNECT was read. Set also when the rest of that CONNECT is refused, so that
   * the refusal can be told in the client's own version; undefined after `unsupportedProtocolVersion`.
   */
  get version(): ProtocolVersion | undefined {
    return this.#version;
  }

  /**
   * To call when the CONNECT has been accepted: from then on `packetBytesMax` counts, not `connectPacketBytesMax`. A client
   * may send on without waiting for its CONNACK, so what follows the CONNECT is to be read after this, but for an AUTH.
   */
  accept(): void {
    this.#packetBytesMax = this.#limits.packetBytesMax;
  }

  /** Takes over the chunk: its bytes must not change any more. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (this.#position < this.#chunk.length) {
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.length;
    } else {
      this.#chunk = chunk;
      this.#position = 0;
    }
  }

  /** Bytes held back. After `next` gave undefined this is less than the size limit. */
  get bufferedBytes(): number {
    return this.#piecesBytes + this.#chunk.length - this.#position + this.#waitingBytes;
  }

  /**
   * The next whole packet, or undefined when more bytes are needed.
   * @throws ProtocolError when the client broke the protocol; from then on every byte is refused
   */
  next(): ClientPacket | undefined {
    try {
      while (this.#position < this.#chunk.length) {
        const packet = this.#piecesBytes === 0 ? this.#fromChunk() : this.#fromPieces();
        if (this.#position === this.#chunk.length) this.#nextChunk();
        if (packet !== undefined) return packet;
      }
      return undefined;
    } catch (error) {
      this.#refuseAll();
      throw error;
    }
  }

  #refuseAll(): void {
    this.#firstBytes = noFirstByte;
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
    this.#chunk = NOTHING;
    this.#position = 0;
    this.#pieces = NOTHING;
    this.#piecesBytes = 0;
  }

  /** Lets go of the chunk, which may be much larger than what is kept of it. */
  #nextChunk(): void {
    this.#chunk = this.#waiting.shift() ?? NOTHING;
    this.#waitingBytes -= this.#chunk.length;
    this.#position = 0;
  }

  /** The packet that starts at the position of the chunk; undefined when it ends in a later one. */
  #fromChunk(): ClientPacket | undefined {
    const chunk = this.#chunk;
    const start = this.#position;
    const body = this.#bodyOffset(chunk, start, chunk.length);
    const end = body === 0 ? 0 : body + lengthBefore(chunk, start, body);
    if (body === 0 || end > chunk.length) {
      this.#keep(chunk, start, chunk.length);
      this.#position = chunk.length;
      return undefined;
    }
    this.#position = end;
    return this.#decode(chunk, start, body, end);
  }

  /** The packet that started in an earlier chunk. */
  #fromPieces(): ClientPacket | undefined {
    const chunk = this.#chunk;
    let body = this.#bodyOffset(this.#pieces, 0, this.#piecesBytes);
    while (body === 0 && this.#position < chunk.length) {
      this.#keep(chunk, this.#position, this.#position + 1);
      this.#position++;
      body = this.#bodyOffset(this.#pieces, 0, this.#piecesBytes);
    }
    if (body === 0) return undefined;
    const end = body + lengthBefore(this.#pieces, 0, body);
    const missing = Math.min(end - this.#piecesBytes, chunk.length - this.#position);
    this.#keep(chunk, this.#position, this.#position + missing);
    this.#position += missing;
    if (this.#piecesBytes < end) return undefined;
    const packet = this.#pieces;
    this.#pieces = NOTHING;
    this.#piecesBytes = 0;
    return this.#decode(packet, 0, body, end);
  }

  #keep(bytes: Buffer, start: number, end: number): void {
    const kept = this.#piecesBytes + end - start;
    if (kept > this.#pieces.length) {
      const larger = Buffer.allocUnsafe(
        Math.max(PIECES_BYTES_MIN, kept, Math.min(2 * this.#pieces.length, this.#packetBytesMax)),
      );
      this.#pieces.copy(larger, 0, 0, this.#piecesBytes);
      this.#pieces = larger;
    }
    bytes.copy(this.#pieces, this.#piecesBytes, start, end);
    this.#piecesBytes = kept;
  }

  /**
   * Where the body begins of the packet that starts at `start`, or 0 while its fixed header is incomplete.
   * @source MQTT-3.1.1 §2.2, MQTT-5.0 §2.1
   */
  #bodyOffset(bytes: Buffer, start: number, end: number): number {
    const first = byteAt(bytes, start);
    if (this.#firstBytes[first] === 0) throw refusedFirstByte(first, this.#version);
    let length = 0;
    for (let index = start + 1; index < end; index++) {
      const byte = byteAt(bytes, index);
      const count = index - start;
      length += (byte & 0x7f) << (7 * (count - 1));
      if (byte > 0x7f) {
        if (count === 4) throw malformed('remaining length has more than four bytes');
        continue;
      }
      // MQTT-5.0 [MQTT-1.5.5-1]; MQTT 3.1.1 does not say so.
      if (byte === 0 && count > 1 && this.#version === 5) throw longerThanNeeded();
      if (1 + count + length > this.#packetBytesMax) {
        throw new ProtocolError(
          reasonCode.packetTooLarge,
          `packet has more than ${this.#packetBytesMax} bytes`,
        );
      }
      return index + 1;
    }
    return 0;
  }

  #decode(bytes: Buffer, start: number, body: number, end: number): ClientPacket {
    const first = byteAt(bytes, start);
    const type = first >> 4;
    if (type === 3) return this.#publish(first, bytes, body, end);
    const reader = new ByteReader(bytes, body, end);
    if (type === 1) {
      const isLonger = body - start > 2 && byteAt(bytes, body - 1) === 0;
      return this.#connect(reader, isLonger);
    }
    const version = this.#version;
    if (version === undefined) throw refusedFirstByte(first, version);
    switch (type) {
      case 4:
        return readAck('puback', reader, version, this.#limits);
      case 5:
        return readAck('pubrec', reader, version, this.#limits);
      case 6:
        return readAck('pubrel', reader, version, this.#limits);
      case 7:
        return readAck('pubcomp', reader, version, this.#limits);
      case 8:
        return readSubscribe(reader, version, this.#limits);
      case 10:
        return readUnsubscribe(reader, version, this.#limits);
      case 12:
        reader.finish();
        return { type: 'pingreq' };
      case 14:
        return readDisconnect(reader, version, this.#limits);
      case 15:
        return readAuth(reader, this.#limits);
      default:
        throw refusedFirstByte(first, version);
    }
  }

  #connect(reader: ByteReader, isLengthLonger: boolean): ConnectPacket {
    const version = readProtocolVersion(reader);
    this.#version = version;
    this.#firstBytes = connected[version];
    if (isLengthLonger && version === 5) throw longerThanNeeded();
    return readConnect(reader, version, this.#limits);
  }

  #topicAt(bytes: Buffer, start: number, end: number): string {
    return (this.#topics ??= new TopicReader()).read(bytes, start, end);
  }

  /** @source MQTT-3.1.1 §3.3, MQTT-5.0 §3.3 */
  #publish(first: number, bytes: Buffer, body: number, end: number): PublishPacket {
    const qos = ((first >> 1) & 3) as Qos; // 3 was refused with the first byte.
    const topicStart = body + 2;
    const topicEnd = topicStart <= end ? topicStart + uint16At(bytes, body) : topicStart;
    let position = qos === 0 ? topicEnd : topicEnd + 2;
    if (position > end) throw malformed('packet ends within a field');
    const packetId = qos === 0 ? 0 : packetIdAt(bytes, topicEnd);
    let properties: Properties | undefined;
    if (this.#version === 5) {
      const reader = new ByteReader(bytes, position, end);
      properties = readProperties(reader, place.publish, this.#limits);
      position = reader.position;
    }
    if (topicStart === topicEnd) checkEmptyTopic(properties, this.#version);
    return {
      type: 'publish',
      qos,
      dup: (first & 8) !== 0,
      retain: (first & 1) !== 0,
      topic: topicStart === topicEnd ? '' : this.#topicAt(bytes, topicStart, topicEnd),
      packetId,
      properties,
      payload: position === end ? NOTHING : bytes.subarray(position, end),
    };
  }
}

/** The remaining length that the bytes between `start` and `body` say; they were checked. */
function lengthBefore(bytes: Buffer, start: number, body: number): number {
  let length = 0;
  for (let index = body - 1; index > start; index--) {
    length = (length << 7) | (byteAt(bytes, index) & 0x7f);
  }
  return length;
}

const longerThanNeeded = (): ProtocolError => malformed('remaining length is longer than needed');

/** @source MQTT-3.1.1 [MQTT-4.7.3-1], MQTT-5.0 §3.3.2.1 */
function checkEmptyTopic(
  properties: Properties | undefined,
  version: ProtocolVersion | undefined,
): void {
  if (properties?.topicAlias !== undefined) return;
  if (version === 5) throw violation('neither topic name nor topic alias');
  throw malformed('topic name is empty');
}
