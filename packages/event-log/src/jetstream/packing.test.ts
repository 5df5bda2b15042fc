import { brotliCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { COMMIT_BYTES_MAX } from '../event-log.ts';
import { pack, PACKED_BYTES_MIN, unpack } from './packing.ts';

const packedBy = (bytes: Uint8Array) => Buffer.concat([Buffer.of(1), brotliCompressSync(bytes)]);

describe('A record in the stream', () => {
  it.each([
    ['is cut off', packedBy(Buffer.alloc(1000, 'x')).subarray(0, -2)],
    ['is no packed one', Buffer.from([1, 0xff, 0xff, 0xff])],
    ['has only the mark of one', Buffer.of(1)],
    ['would be larger than a commit', packedBy(Buffer.alloc(COMMIT_BYTES_MAX + 1, 'x'))],
  ])('is unreadable when it %s', (_, stored) => {
    expect(() => unpack(stored)).toThrow(expect.objectContaining({ code: 'log_unreadable' }));
  });

  it('of the largest commit is unpacked', () => {
    const bytes = Buffer.alloc(COMMIT_BYTES_MAX, 'x');
    expect(unpack(packedBy(bytes)).equals(bytes)).toBe(true);
  });

  it('is stored as it is below PACKED_BYTES_MIN, and packed from there on', () => {
    const small = Buffer.alloc(PACKED_BYTES_MIN - 1, '{');
    expect(pack(small)).toBe(small);
    expect(unpack(small)).toBe(small);
    const large = Buffer.alloc(PACKED_BYTES_MIN, '{');
    const packed = Buffer.from(pack(large));
    expect(packed.length).toBeLessThan(large.length / 10);
    expect(unpack(packed).equals(large)).toBe(true);
    expect(PACKED_BYTES_MIN).toBe(16_384);
  });
});
