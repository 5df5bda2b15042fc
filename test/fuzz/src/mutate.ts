import { encodeVarint, type LengthField, type ValidPacket } from './packet-writer.ts';
import type { Random } from './random.ts';

type Mutator = (random: Random, packet: ValidPacket, other: ValidPacket) => Buffer;

const BYTE_BOUNDS = [0x00, 0x01, 0x7f, 0x80, 0x81, 0xfe, 0xff] as const;
const UINT16_BOUNDS = [0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xfffe, 0xffff] as const;
const VARINT_LIES = [0, 1, 127, 128, 16_383, 16_384, 2_097_152, 268_435_455] as const;
const DUPLICATED_BYTES_MAX = 64;

function flipBits(random: Random, { bytes }: ValidPacket): Buffer {
  const copy = Buffer.from(bytes);
  for (let count = random.between(1, 4); count > 0; count--) {
    const at = random.below(copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8));
  }
  return copy;
}

function insertBytes(random: Random, { bytes }: ValidPacket): Buffer {
  const at = random.between(0, bytes.length);
  const more = random.bytes(random.between(1, 8));
  return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
}

function deleteBytes(random: Random, { bytes }: ValidPacket): Buffer {
  const at = random.below(bytes.length);
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.between(1, 4))]);
}

function duplicateRange(random: Random, { bytes }: ValidPacket): Buffer {
  const at = random.below(bytes.length);
  const end = Math.min(bytes.length, at + random.between(1, DUPLICATED_BYTES_MAX));
  return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
}

function boundaryValue(random: Random, { bytes }: ValidPacket): Buffer {
  const copy = Buffer.from(bytes);
  const at = random.below(copy.length);
  if (random.chance(0.5) || at + 2 > copy.length) copy[at] = random.pick(BYTE_BOUNDS);
  else copy.writeUInt16BE(random.pick(UINT16_BOUNDS), at);
  return copy;
}

function truncate(random: Random, { bytes }: ValidPacket): Buffer {
  return bytes.subarray(0, random.below(bytes.length));
}

/** The beginning of one packet and the end of another. */
function splice(random: Random, { bytes }: ValidPacket, { bytes: other }: ValidPacket): Buffer {
  const head = bytes.subarray(0, random.between(1, bytes.length));
  return Buffer.concat([head, other.subarray(random.below(other.length))]);
}

/** Bytes that the variable length at `at` takes. */
function varintWidth(bytes: Buffer, at: number): number {
  let width = 1;
  while (width < 4 && ((bytes[at + width - 1] ?? 0) & 0x80) !== 0) width++;
  return width;
}

function replaceLength(bytes: Buffer, { at, kind }: LengthField, value: Buffer): Buffer {
  const width = kind === 'uint16' ? 2 : varintWidth(bytes, at);
  return Buffer.concat([bytes.subarray(0, at), value, bytes.subarray(at + width)]);
}

/** One length field tells something else; the others, the remaining length too, stay as they are. */
function lieAboutLength(random: Random, { bytes, lengths }: ValidPacket): Buffer {
  const field = lengths[random.below(lengths.length)] ?? { at: 1, kind: 'varint' };
  if (field.kind === 'uint16') {
    const old = bytes.readUInt16BE(field.at);
    const near = (old + random.pick([-2, -1, 1, 2]) + 0x1_0000) & 0xffff;
    const value = random.chance(0.5) ? near : random.pick(UINT16_BOUNDS);
    return replaceLength(bytes, field, Buffer.from([value >> 8, value & 0xff]));
  }
  return replaceLength(bytes, field, encodeVarint(random.pick(VARINT_LIES)));
}

/** A length of more bytes than four, or more than its value needs. */
function overlongLength(random: Random, { bytes, lengths }: ValidPacket): Buffer {
  const varints = lengths.filter(({ kind }) => kind === 'varint');
  const field = varints[random.below(varints.length)] ?? { at: 1, kind: 'varint' };
  const overlong = random.pick([
    [0x80, 0x00],
    [0xff, 0xff, 0xff, 0xff],
    [0xff, 0xff, 0xff, 0xff, 0x7f],
    [0x80, 0x80, 0x80, 0x80, 0x01],
  ]);
  return replaceLength(bytes, field, Buffer.from(overlong));
}

/** Announces as much as there can be, and sends some of it. */
function hugeRemainingLength(random: Random, { bytes }: ValidPacket): Buffer {
  const header = Buffer.concat([bytes.subarray(0, 1), Buffer.from([0xff, 0xff, 0xff, 0x7f])]);
  return Buffer.concat([header, bytes.subarray(2), Buffer.alloc(random.below(70_000), 0x63)]);
}

function garbage(random: Random): Buffer {
  return random.bytes(random.between(1, 200));
}

export const mutators = {
  flipBits,
  insertBytes,
  deleteBytes,
  duplicateRange,
  boundaryValue,
  truncate,
  splice,
  lieAboutLength,
  overlongLength,
  hugeRemainingLength,
  garbage,
} as const satisfies Record<string, Mutator>;

const NAMES = Object.keys(mutators) as [keyof typeof mutators, ...(keyof typeof mutators)[]];

/** One or two mutations of a packet; often with a remaining length that fits again, so that more than the framing is tried. */
export function mutate(random: Random, packet: ValidPacket, other: ValidPacket): Buffer {
  const once = mutators[random.pick(NAMES)](random, packet, other);
  if (once.length < 2) return once;
  if (random.chance(0.4)) return reframe(once);
  if (random.chance(0.5)) return once;
  // What was mutated has no known length fields but the first.
  const again = { ...packet, bytes: once, lengths: [{ at: 1, kind: 'varint' }] } as const;
  return mutators[random.pick(NAMES)](random, again, other);
}

function reframe(bytes: Buffer): Buffer {
  const body = bytes.subarray(1 + varintWidth(bytes, 1));
  return Buffer.concat([bytes.subarray(0, 1), encodeVarint(body.length), body]);
}
