import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decoderOf } from '../../test-support/client-bytes.ts';
import { oracleBytes } from '../../test-support/oracle.ts';
import { clientPacket, connectPacket } from '../../test-support/packets.ts';
import { PacketDecoder, ProtocolError, type ProtocolVersion } from './index.ts';
import { defaultLimits } from '../limits.ts';

const RUNS = { numRuns: 500, verbose: 1 } as const; // A failure prints its seed.
const limits = { ...defaultLimits, packetBytesMax: 600, connectPacketBytesMax: 300 };

interface Input {
  readonly stream: Buffer;
  readonly edits: readonly (readonly [kind: number, at: number, value: number])[];
  readonly cuts: readonly number[];
}

/** The stream with some bytes changed, left out, put in, or swapped for those that matter to the protocol. */
function mutated({ stream, edits }: Input): Buffer {
  let bytes = stream;
  for (const [kind, at, value] of edits) {
    if (bytes.length === 0) break;
    const index = at % bytes.length;
    const head = bytes.subarray(0, index);
    const tail = bytes.subarray(index + (kind === 2 ? 0 : 1));
    const special = [0x00, 0x7f, 0x80, 0xff][value % 4] ?? 0;
    const here = bytes[index] ?? 0;
    const middle = [[value], [], [value], [special], [here ^ (1 << (value & 7))]][kind] ?? [];
    bytes = Buffer.concat([head, Buffer.from(middle), tail]);
  }
  return bytes;
}

/** Feeds the bytes in pieces; the decoder may refuse them, but must not do anything else. */
function feed(decoder: PacketDecoder, bytes: Buffer, cuts: readonly number[]): void {
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let start = 0;
  try {
    for (const end of [...ends, bytes.length]) {
      decoder.push(bytes.subarray(start, end));
      start = end;
      while (decoder.next() !== undefined);
      expect(decoder.bufferedBytes).toBeLessThan(limits.packetBytesMax);
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    expect(decoder.bufferedBytes).toBe(0);
  }
}

const edits = fc.array(
  fc.tuple(fc.integer({ min: 0, max: 4 }), fc.nat(2000), fc.integer({ min: 0, max: 255 })),
  { maxLength: 6 },
);
const cuts = fc.array(fc.nat(2000), { maxLength: 4 });

function assertOnlyRefused(input: fc.Arbitrary<Input>, decoder: () => PacketDecoder): void {
  fc.assert(
    fc.property(input, (one) => {
      feed(decoder(), mutated(one), one.cuts);
    }),
    RUNS,
  );
}

describe.each<ProtocolVersion>([3, 4, 5])('mutated bytes of version %i', (version) => {
  test('are read or refused, and never held beyond the limit', () => {
    const stream = fc
      .array(clientPacket(version), { minLength: 1, maxLength: 4 })
      .map((packets) => Buffer.concat(packets.map((packet) => oracleBytes(packet, version))));
    assertOnlyRefused(fc.record({ stream, edits, cuts }), () => decoderOf(version, limits));
  });

  test('of a CONNECT are read or refused', () => {
    const stream = connectPacket(version).map((packet) => oracleBytes(packet, version));
    assertOnlyRefused(fc.record({ stream, edits, cuts }), () => new PacketDecoder(limits));
  });
});

test('any bytes at all are read or refused', () => {
  const stream = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  const input = fc.record({ stream, edits: fc.constant([]), cuts });
  for (const version of [0, 3, 4, 5] as const) {
    assertOnlyRefused(input, () => decoderOf(version, limits));
  }
});
