import { encodePacket } from '@sallyport/test-kit';

/** Where a packet says how long something is. */
export interface LengthField {
  readonly at: number;
  readonly kind: 'uint16' | 'varint';
}

export interface ValidPacket {
  readonly name: string;
  readonly bytes: Buffer;
  readonly lengths: readonly LengthField[];
}

/** One property of MQTT 5, encoded. */
export type EncodedProperty = Buffer;

export function encodeVarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** Builds the body of a packet and remembers where its length fields are. */
export class PacketWriter {
  readonly #parts: Buffer[] = [];
  readonly #lengths: LengthField[] = [];
  #length = 0;

  raw(bytes: Buffer): this {
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return this;
  }

  uint8(value: number): this {
    return this.raw(Buffer.from([value]));
  }

  uint16(value: number): this {
    return this.raw(Buffer.from([(value >> 8) & 0xff, value & 0xff]));
  }

  /** A string or binary data with its length before it. */
  field(value: string | Buffer): this {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    this.#lengths.push({ at: this.#length, kind: 'uint16' });
    return this.uint16(bytes.length).raw(bytes);
  }

  properties(properties: readonly EncodedProperty[]): this {
    const bytes = Buffer.concat(properties);
    this.#lengths.push({ at: this.#length, kind: 'varint' });
    return this.raw(encodeVarint(bytes.length)).raw(bytes);
  }

  finish(name: string, type: number, flags: number): ValidPacket {
    const bytes = encodePacket(type, flags, Buffer.concat(this.#parts));
    const header = bytes.length - this.#length;
    const lengths = this.#lengths.map(({ at, kind }) => ({ at: at + header, kind }));
    return { name, bytes, lengths: [{ at: 1, kind: 'varint' }, ...lengths] };
  }
}
