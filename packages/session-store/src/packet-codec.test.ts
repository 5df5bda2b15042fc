import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodePacket, encodePacket } from './packet-codec.ts';
import type { StorePacket } from './session-store.ts';

const name = fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', 'toString'));
const bytes = fc.uint8Array({ maxLength: 20 }).map((array) => Buffer.from(array));
const packets: fc.Arbitrary<StorePacket> = fc.record(
  {
    cmd: fc.constantFrom('publish', 'pubrel'),
    topic: name,
    payload: fc.oneof(bytes, fc.string()),
    qos: fc.constantFrom(0, 1, 2),
    retain: fc.boolean(),
    dup: fc.boolean(),
    messageId: fc.integer({ min: 0, max: 65_535 }),
    brokerId: name,
    brokerCounter: fc.nat(),
    clientId: name,
    messageExpiry: fc.nat(Number.MAX_SAFE_INTEGER),
    properties: fc.dictionary(name, fc.oneof(bytes, fc.string(), fc.integer(), fc.array(name))),
    more: fc.oneof(fc.string(), fc.dictionary(name, fc.integer())),
  },
  { requiredKeys: [] },
);

/** Keys that `toEqual` does not look at, because objects inherit them. */
const ownKeys = (value: object): string[] => Object.getOwnPropertyNames(value).sort();

describe('a stored packet', () => {
  test('comes back as it was, bytes as bytes, whatever it is called', () => {
    fc.assert(
      fc.property(packets, (packet) => {
        const decoded = decodePacket(encodePacket(packet));
        expect(decoded).toEqual(packet);
        expect(ownKeys(decoded)).toEqual(ownKeys(packet));
        expect(ownKeys(decoded.properties ?? {})).toEqual(ownKeys(packet.properties ?? {}));
        expect(Buffer.isBuffer(decoded.payload)).toBe(Buffer.isBuffer(packet.payload));
      }),
      { numRuns: 500 },
    );
  });

  test('text that looks like bytes stays text, and bytes that look like text stay bytes', () => {
    const properties = { a: 'AAEC', b: Buffer.from('AAEC'), c: [['x', 'y']] };
    const decoded = decodePacket(encodePacket({ properties, payload: 'AAEC' }));
    expect(decoded).toEqual({ properties, payload: 'AAEC' });
  });

  test('undefined fields are left out', () => {
    const packet = { topic: 'a', messageId: undefined, properties: { x: undefined } };
    expect(ownKeys(decodePacket(encodePacket(packet)))).toEqual(['properties', 'topic']);
  });

  test('of another version is refused, not guessed', () => {
    const encoded = encodePacket({ topic: 'a' });
    encoded[0] = 2;
    expect(() => decodePacket(encoded)).toThrow();
    expect(() => decodePacket(Buffer.alloc(0))).toThrow();
    expect(() => decodePacket(encodePacket({ topic: 'a' }).subarray(0, 9))).toThrow();
  });
});
