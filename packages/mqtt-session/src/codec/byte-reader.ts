import { malformed, ProtocolError, reasonCode, type ReasonCode } from './reason-code.ts';
import { byteAt, packetIdAt, textOf, uint16At } from './text.ts';
import { topicNameOf } from './topic-reader.ts';

/** Longest string or binary data of the protocol, in bytes. */
const FIELD_BYTES_MAX = 0xffff;

/** Reads the fields of one packet's body in order. Every method throws ProtocolError when the body ends too early. */
export class ByteReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #position: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
  }

  get position(): number {
    return this.#position;
  }

  get remaining(): number {
    return this.#end - this.#position;
  }

  /** Moves behind `bytes` bytes and gives where they start. */
  #take(bytes: number): number {
    const start = this.#position;
    if (bytes > this.#end - start) throw malformed('packet ends within a field');
    this.#position = start + bytes;
    return start;
  }

  uint8(): number {
    return byteAt(this.#bytes, this.#take(1));
  }

  uint16(): number {
    return uint16At(this.#bytes, this.#take(2));
  }

  uint32(): number {
    const start = this.#take(4);
    // The first byte is multiplied, because a shift would make it the sign.
    return (
      byteAt(this.#bytes, start) * 0x1_000_000 +
      ((byteAt(this.#bytes, start + 1) << 16) | uint16At(this.#bytes, start + 2))
    );
  }

  /** A Variable Byte Integer in its shortest form. @source MQTT-5.0 [MQTT-1.5.5-1] */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.uint8();
      value |= (byte & 0x7f) << shift;
      if (byte > 0x7f) continue;
      if (byte === 0 && shift > 0) throw malformed('variable byte integer is longer than needed');
      return value;
    }
    throw malformed('variable byte integer has more than four bytes');
  }

  packetId(): number {
    return packetIdAt(this.#bytes, this.#take(2));
  }

  /** A UTF-8 string, as `textOf` allows it; one of more than `bytesMax` bytes is refused for `tooLong`. */
  text(bytesMax = FIELD_BYTES_MAX, tooLong: ReasonCode = reasonCode.malformedPacket): string {
    const start = this.#field(bytesMax, tooLong);
    return textOf(this.#bytes, start, this.#position);
  }

  /** As `topicNameOf`. */
  topicName(): string {
    const start = this.#take(this.uint16());
    return topicNameOf(this.#bytes, start, this.#position);
  }

  /** Binary data: a copy that shares its memory with nothing, because it outlives the packet. */
  binary(bytesMax = FIELD_BYTES_MAX, tooLong: ReasonCode = reasonCode.malformedPacket): Buffer {
    const start = this.#field(bytesMax, tooLong);
    const copy = Buffer.allocUnsafeSlow(this.#position - start);
    this.#bytes.copy(copy, 0, start, this.#position);
    return copy;
  }

  /** Moves behind a field with a length before it, and gives where its content starts. */
  #field(bytesMax: number, tooLong: ReasonCode): number {
    const bytes = this.uint16();
    if (bytes > bytesMax) throw new ProtocolError(tooLong, `field has more than ${bytesMax} bytes`);
    return this.#take(bytes);
  }

  /** A reader of the next `bytes` bytes, which this one skips. */
  slice(bytes: number): ByteReader {
    const start = this.#take(bytes);
    return new ByteReader(this.#bytes, start, start + bytes);
  }

  /** Refuses bytes behind the last field. */
  finish(): void {
    if (this.remaining > 0) throw malformed('packet has bytes behind its last field');
  }
}
