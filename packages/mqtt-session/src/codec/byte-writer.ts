import { assert, AssertionError } from '@sallyport/errors';

/** Largest value of a Variable Byte Integer. @source MQTT-5.0 §1.5.5 */
export const VARINT_MAX = 0x0fff_ffff;

const UINT16_MAX = 0xffff;
const UINT32_MAX = 0xffff_ffff;

/** As `assert`, but the message costs nothing while all is well. */
export function assertBetween(value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new AssertionError(`${value} is not in ${min}–${max}`);
}

export const assertPacketId = (packetId: number): void => assertBetween(packetId, 1, UINT16_MAX);

/** Bytes of a Variable Byte Integer. */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  assertBetween(value, 0, VARINT_MAX);
  return 4;
}

/** Writes `value` at `position` and gives the position behind it. `varintBytes` has checked the value. */
export function writeVarint(bytes: Uint8Array, position: number, value: number): number {
  let rest = value;
  let at = position;
  while (rest > 0x7f) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

/** Longest text, in UTF-16 units, that is written faster by a loop than by a call into native code. */
const LOOP_LENGTH_MAX = 48;

/** Writes `text` as UTF-8 at `position` and gives how many bytes it took. */
export function writeText(bytes: Buffer, position: number, text: string): number {
  if (text.length > LOOP_LENGTH_MAX) return bytes.write(text, position, 'utf8');
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit > 0x7f) return bytes.write(text, position, 'utf8');
    bytes[position + index] = unit;
  }
  return text.length;
}

/** Writes fields one after the other; the caller has made the buffer as large as they need. */
export class ByteWriter {
  readonly #bytes: Buffer;
  #position: number;

  constructor(bytes: Buffer, position: number) {
    this.#bytes = bytes;
    this.#position = position;
  }

  get position(): number {
    return this.#position;
  }

  uint8(value: number): void {
    assertBetween(value, 0, 0xff);
    this.#bytes[this.#position++] = value;
  }

  uint16(value: number): void {
    assertBetween(value, 0, UINT16_MAX);
    this.#bytes[this.#position++] = value >> 8;
    this.#bytes[this.#position++] = value; // Modulo 256.
  }

  uint32(value: number): void {
    assertBetween(value, 0, UINT32_MAX);
    this.#position = this.#bytes.writeUInt32BE(value, this.#position);
  }

  varint(value: number): void {
    assertBetween(value, 0, VARINT_MAX);
    this.#position = writeVarint(this.#bytes, this.#position, value);
  }

  text(text: string): void {
    const start = this.#position + 2;
    const bytes = writeText(this.#bytes, start, text);
    assert(bytes <= UINT16_MAX, 'text has more than 65535 bytes');
    this.uint16(bytes);
    this.#position = start + bytes;
  }

  binary(binary: Uint8Array): void {
    assert(binary.length <= UINT16_MAX, 'binary data has more than 65535 bytes');
    this.uint16(binary.length);
    this.#bytes.set(binary, this.#position);
    this.#position += binary.length;
  }
}
