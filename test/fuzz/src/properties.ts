import { type EncodedProperty, encodeVarint } from './packet-writer.ts';
import { anyText, bytesField, type Malice } from './texts.ts';

/** How the value of a property is encoded. @source MQTT-5.0 §2.2.2.2 */
const ENCODINGS = {
  byte: [0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a],
  uint16: [0x13, 0x21, 0x22, 0x23],
  uint32: [0x02, 0x11, 0x18, 0x27],
  varint: [0x0b],
  text: [0x03, 0x08, 0x12, 0x15, 0x1a, 0x1c, 0x1f],
  binary: [0x09, 0x16],
  pair: [0x26],
} as const;

const encodingOf: ReadonlyMap<number, keyof typeof ENCODINGS> = new Map(
  Object.entries(ENCODINGS).flatMap(([encoding, ids]) =>
    ids.map((id) => [id, encoding as keyof typeof ENCODINGS] as const),
  ),
);

/** Properties that a client may send, by packet; will properties have a list of their own. */
export const clientProperties = {
  connect: [0x11, 0x21, 0x22, 0x27, 0x17, 0x19, 0x26],
  will: [0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
  publish: [0x01, 0x02, 0x03, 0x08, 0x09, 0x26],
  acknowledgement: [0x1f, 0x26],
  subscribe: [0x0b, 0x26],
  unsubscribe: [0x26],
  disconnect: [0x11, 0x1f, 0x26],
  auth: [0x15, 0x16, 0x1f, 0x26],
} as const satisfies Record<string, readonly [number, ...number[]]>;

const EVERY_ID = [...encodingOf.keys()];
const UNKNOWN_IDS = [0x00, 0x04, 0x0a, 0x20, 0x2b, 0x7f, 0x80, 0xff] as const;
const UINT32_BOUNDS = [0, 1, 59, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff] as const;
const UINT16_BOUNDS = [0, 1, 2, 16, 17, 0x7fff, 0xffff] as const;

function valueOf(context: Malice, encoding: keyof typeof ENCODINGS): Buffer {
  const { random, malice } = context;
  switch (encoding) {
    case 'byte':
      return Buffer.from([random.chance(0.3 * malice) ? 2 : random.below(2)]);
    case 'uint16': {
      const value = random.chance(malice) ? random.pick(UINT16_BOUNDS) : random.between(1, 16);
      return Buffer.from([value >> 8, value & 0xff]);
    }
    case 'uint32': {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(random.pick(UINT32_BOUNDS));
      return bytes;
    }
    case 'varint':
      return encodeVarint(
        random.chance(0.2 * malice) ? 0 : random.pick([1, 127, 128, 16_383, 268_435_455]),
      );
    case 'text':
      return bytesField(anyText(context));
    case 'binary':
      return bytesField(random.bytes(random.below(20)));
    case 'pair':
      return Buffer.concat([bytesField(anyText(context)), bytesField(anyText(context))]);
  }
}

function property(context: Malice, id: number): EncodedProperty {
  const encoding = encodingOf.get(id) ?? 'byte';
  return Buffer.concat([encodeVarint(id), valueOf(context, encoding)]);
}

/**
 * Some properties for a place; values are at their bounds, which are not all allowed. With a small chance also what a client must
 * not send: the same property twice, one of another packet, an unknown one, too many user properties.
 */
export function someProperties(
  context: Malice,
  place: keyof typeof clientProperties,
): EncodedProperty[] {
  const { random, malice } = context;
  const allowed = clientProperties[place];
  const chosen = allowed.filter(() => random.chance(0.2)).map((id) => property(context, id));
  if (!random.chance(0.2 * malice)) return chosen;
  switch (random.below(4)) {
    case 0: {
      const twice = property(context, random.pick(allowed));
      return [...chosen, twice, twice];
    }
    case 1:
      return [...chosen, property(context, EVERY_ID[random.below(EVERY_ID.length)] ?? 0)];
    case 2:
      return [...chosen, property(context, random.pick(UNKNOWN_IDS))];
    default:
      return Array.from({ length: random.between(30, 300) }, () => property(context, 0x26));
  }
}
