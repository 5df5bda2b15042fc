import { describe, expect, test, vi } from 'vitest';
import {
  bytes,
  connectBytes,
  decoderOf,
  field,
  noProperties,
  packet,
  packetsOf,
  properties,
  protocolName,
  refusal,
  uint16,
  varint,
} from '../../test-support/client-bytes.ts';
import { PacketDecoder, type PublishPacket, reasonCode } from './index.ts';
import { defaultLimits } from '../limits.ts';

const versions = [3, 4, 5] as const;
const pingreq = packet(0xc0);

describe('framing', () => {
  test('nothing comes out before there is a whole packet', () => {
    const decoder = new PacketDecoder(defaultLimits);
    expect(decoder.next()).toBeUndefined();
    decoder.push(Buffer.alloc(0));
    expect(decoder.next()).toBeUndefined();
    const given = connectBytes(4);
    for (let index = 0; index < given.length - 1; index++) {
      decoder.push(given.subarray(index, index + 1));
      expect(decoder.next()).toBeUndefined();
      expect(decoder.bufferedBytes).toBe(index + 1);
    }
    decoder.push(given.subarray(given.length - 1));
    expect(decoder.next()).toMatchObject({ type: 'connect', clientId: 'c' });
    expect(decoder.bufferedBytes).toBe(0);
    expect(decoder.next()).toBeUndefined();
  });

  test('several packets in one chunk come one by one', () => {
    const decoder = decoderOf(4);
    decoder.push(bytes(pingreq, packet(0x40, uint16(1)), packet(0xe0)));
    expect(decoder.bufferedBytes).toBe(8);
    expect(decoder.next()).toEqual({ type: 'pingreq' });
    expect(decoder.bufferedBytes).toBe(6);
    expect(decoder.next()).toEqual({ type: 'puback', packetId: 1, code: 0 });
    expect(decoder.next()).toEqual({ type: 'disconnect', code: 0 });
    expect(decoder.next()).toBeUndefined();
  });

  test('chunks may be pushed before the earlier ones are read', () => {
    const decoder = decoderOf(4);
    const stream = bytes(
      packet(0x32, field('a/b'), uint16(1), 'one'),
      pingreq,
      packet(0x34, field('a/b'), uint16(2), 'two'),
    );
    for (const byte of stream) decoder.push(bytes(byte));
    expect(decoder.bufferedBytes).toBe(stream.length);
    expect(decoder.next()).toMatchObject({ packetId: 1 });
    expect(decoder.next()).toMatchObject({ type: 'pingreq' });
    expect(decoder.next()).toMatchObject({ packetId: 2, payload: Buffer.from('two') });
    expect(decoder.next()).toBeUndefined();
    expect(decoder.bufferedBytes).toBe(0);
  });

  test('a CONNECT and what is sent right behind it may share a chunk', () => {
    for (const version of versions) {
      const decoder = decoderOf(0);
      decoder.push(bytes(connectBytes(version), pingreq));
      expect(decoder.version).toBeUndefined();
      expect(decoder.next()).toMatchObject({ type: 'connect' });
      expect(decoder.version).toBe(version);
      decoder.accept();
      expect(decoder.next()).toEqual({ type: 'pingreq' });
    }
  });

  test('a payload in one chunk is a view of it, and one in many is not', () => {
    const given = packet(0x30, field('t'), 'payload');
    const [whole] = packetsOf(decoderOf(4), [given]) as PublishPacket[];
    expect(whole?.payload.buffer).toBe(given.buffer);
    const parts = [given.subarray(0, 9), given.subarray(9)];
    const [joined] = packetsOf(decoderOf(4), parts) as PublishPacket[];
    given.fill(0);
    expect(whole?.payload).toEqual(Buffer.alloc(7));
    expect(joined?.payload).toEqual(Buffer.from('payload'));
  });

  test('what outlives its packet is no view of the chunk', () => {
    const given = packet(
      0x10,
      field('MQTT'),
      5,
      0xc6,
      uint16(0),
      properties(0x15, field('m'), 0x16, field('data')),
      field('c'),
      properties(0x09, field('correlation')),
      field('w'),
      field('will'),
      field('u'),
      field('password'),
    );
    const [connect] = packetsOf(decoderOf(0), [given]);
    given.fill(0);
    expect(connect).toMatchObject({
      password: Buffer.from('password'),
      will: {
        payload: Buffer.from('will'),
        properties: { correlationData: Buffer.from('correlation') },
      },
      properties: { authenticationData: Buffer.from('data') },
    });
    if (connect?.type !== 'connect') throw new Error('no CONNECT');
    // Nor of a pool that it would keep alive.
    expect(connect.password?.buffer.byteLength).toBe(8);
    expect(connect.will?.payload.buffer.byteLength).toBe(4);
  });

  test('a chunk that is read is let go, and so is one of which a packet remains', () => {
    const decoder = decoderOf(4);
    const chunk = Buffer.alloc(65_536);
    const publish = packet(0x30, field('t'), 'x');
    for (let at = 0; at < chunk.length; at += 6) publish.copy(chunk, at);
    const packets = packetsOf(decoder, [chunk.subarray(0, 65_534)]);
    expect(packets).toHaveLength(10_922);
    expect(decoder.bufferedBytes).toBe(2);
    chunk.fill(0xff);
    expect(packetsOf(decoder, [publish.subarray(2)])).toMatchObject([
      { topic: 't', payload: Buffer.from('x') },
    ]);
  });

  test('a packet byte by byte allocates a few times its size, not the square of it', () => {
    const decoder = decoderOf(4, { packetBytesMax: 300_000 });
    const given = packet(0x30, field('t'), Buffer.alloc(250_000, 7));
    const last = given.length - 1;
    const allocate = vi.spyOn(Buffer, 'allocUnsafe');
    try {
      let early = 0;
      for (let index = 0; index < last; index++) {
        decoder.push(given.subarray(index, index + 1));
        if (decoder.next() !== undefined) early++;
      }
      expect(early).toBe(0);
      const allocated = allocate.mock.calls.reduce((sum, [size]) => sum + size, 0);
      expect(allocated).toBeGreaterThan(given.length);
      expect(allocated).toBeLessThan(4 * given.length);
      expect(allocate.mock.calls.length).toBeLessThan(20);
    } finally {
      allocate.mockRestore();
    }
    const payload = Buffer.alloc(250_000, 7);
    const packets = packetsOf(decoder, [given.subarray(last)]);
    expect(packets).toMatchObject([{ type: 'publish', topic: 't' }]);
    expect((packets[0] as PublishPacket).payload.equals(payload)).toBe(true);
  });
});

describe('sizes', () => {
  const limits = { packetBytesMax: 1000, connectPacketBytesMax: 100 } as const;
  const { packetTooLarge } = reasonCode;

  const publishOf = (size: number): Buffer => {
    const lengthBytes = size - 2 > 127 ? 2 : 1;
    return packet(0x30, field('t'), Buffer.alloc(size - 1 - lengthBytes - 3));
  };
  const connectOf = (size: number): Buffer => {
    const head = bytes(protocolName(4), 4, 0xc2, uint16(0), field('c'), field('u'));
    return packet(0x10, head, field(Buffer.alloc(size - 2 - head.length - 2)));
  };

  test('a packet may be as large as the limit, and not a byte larger', () => {
    expect(publishOf(1000)).toHaveLength(1000);
    expect(refusal(decoderOf(4, limits), publishOf(1000))).toBeUndefined();
    expect(refusal(decoderOf(4, limits), publishOf(1001))).toBe(packetTooLarge);
  });

  test('before the CONNECT is accepted the other limit counts', () => {
    expect(connectOf(100)).toHaveLength(100);
    expect(refusal(decoderOf(0, limits), connectOf(100))).toBeUndefined();
    expect(refusal(decoderOf(0, limits), connectOf(101))).toBe(packetTooLarge);
    expect(refusal(decoderOf(0, limits), connectOf(100), publishOf(100))).toBeUndefined();
    expect(refusal(decoderOf(0, limits), connectOf(100), publishOf(101))).toBe(packetTooLarge);
  });

  test('a size is refused with the fixed header, before any of the body', () => {
    const announced = bytes(0x30, varint(1001 - 3));
    expect(refusal(decoderOf(4, limits), announced)).toBe(packetTooLarge);
    for (const length of [0x0fff_ffff, 2_097_152, 16_384]) {
      expect(refusal(decoderOf(0, limits), bytes(0x10, varint(length)))).toBe(packetTooLarge);
      const [first, ...rest] = bytes(0x30, varint(length));
      const decoder = decoderOf(5, limits);
      expect(refusal(decoder, bytes(first ?? 0), ...rest.map((byte) => bytes(byte)))).toBe(
        packetTooLarge,
      );
      expect(decoder.bufferedBytes).toBe(0);
    }
  });

  test('what is held back stays below the limit', () => {
    const decoder = decoderOf(4, limits);
    const given = publishOf(1000);
    for (let index = 0; index < 999; index++) {
      decoder.push(given.subarray(index, index + 1));
      expect(decoder.next()).toBeUndefined();
      expect(decoder.bufferedBytes).toBe(index + 1);
    }
  });

  test.each(versions)(
    'MQTT 3.1, 3.1.1 and 5: client id, user name and password have their own limits, version %i',
    (version) => {
      const own = { clientIdBytesMax: 10, usernameBytesMax: 8, passwordBytesMax: 6 };
      const connect = (clientId: string, username: string, password: string): Buffer =>
        packet(
          0x10,
          protocolName(version),
          version,
          0xc2,
          uint16(0),
          noProperties(version),
          field(clientId),
          field(username),
          field(password),
        );
      const reasonOf = (...fields: [string, string, string]): number | undefined =>
        refusal(decoderOf(0, own), connect(...fields));
      // Bytes, not characters.
      expect(reasonOf('äääää', 'uuuuuuuu', 'pppppp')).toBeUndefined();
      expect(reasonOf('äääääc', 'u', 'p')).toBe(reasonCode.clientIdentifierNotValid);
      expect(reasonOf('c', 'uuuuuuuuu', 'p')).toBe(reasonCode.badUserNameOrPassword);
      expect(reasonOf('c', 'u', 'ppppppp')).toBe(reasonCode.badUserNameOrPassword);
    },
  );

  test.each(versions)(
    'a SUBSCRIBE or UNSUBSCRIBE has so many filters and no more, version %i',
    (version) => {
      const request = (first: number, count: number): Buffer =>
        packet(
          first,
          uint16(1),
          noProperties(version),
          ...Array.from({ length: count }, (_, index) =>
            bytes(field(`t/${index}`), first === 0x82 ? 1 : []),
          ),
        );
      for (const first of [0x82, 0xa2]) {
        expect(
          refusal(decoderOf(version, { filtersPerPacketMax: 3 }), request(first, 3)),
        ).toBeUndefined();
        expect(refusal(decoderOf(version, { filtersPerPacketMax: 3 }), request(first, 4))).toBe(
          reasonCode.quotaExceeded,
        );
      }
    },
  );

  test('MQTT-5.0 user properties are limited in number and in bytes, over both lists of a CONNECT', () => {
    const own = { userPropertiesMax: 3, userPropertiesBytesMax: 20 };
    const pairs = (...sizes: number[]): Buffer =>
      properties(...sizes.map((size) => bytes(0x26, field('n'), field('v'.repeat(size - 1)))));
    const publish = (...sizes: number[]): Buffer => packet(0x30, field('t'), pairs(...sizes));
    const connect = (inConnect: Buffer, inWill: Buffer): Buffer =>
      packet(
        0x10,
        field('MQTT'),
        5,
        6,
        uint16(0),
        inConnect,
        field('c'),
        inWill,
        field('w'),
        field(),
      );
    const reasonOf = (given: Buffer, version: 0 | 5): number | undefined =>
      refusal(decoderOf(version, own), given);
    const { quotaExceeded } = reasonCode;
    expect(reasonOf(publish(1, 1, 1), 5)).toBeUndefined();
    expect(reasonOf(publish(1, 1, 1, 1), 5)).toBe(quotaExceeded);
    expect(reasonOf(publish(10, 10), 5)).toBeUndefined();
    expect(reasonOf(publish(10, 11), 5)).toBe(quotaExceeded);
    expect(reasonOf(connect(pairs(9), pairs(9, 2)), 0)).toBeUndefined();
    expect(reasonOf(connect(pairs(9), pairs(9, 3)), 0)).toBe(quotaExceeded);
    expect(reasonOf(connect(pairs(1, 1), pairs(1, 1)), 0)).toBe(quotaExceeded);
    // One packet's use is not the next one's.
    expect(refusal(decoderOf(5, own), publish(20), publish(20))).toBeUndefined();
  });

  test('a topic name has at most 1024 bytes and 32 levels', () => {
    const reasonOf = (topic: string): number | undefined =>
      refusal(decoderOf(4), packet(0x30, field(topic)));
    expect(reasonOf('t'.repeat(1024))).toBeUndefined();
    expect(reasonOf('t'.repeat(1025))).toBe(reasonCode.topicNameInvalid);
    expect(reasonOf('ä'.repeat(512))).toBeUndefined();
    expect(reasonOf(`${'ä'.repeat(512)}t`)).toBe(reasonCode.topicNameInvalid);
    expect(reasonOf('/'.repeat(31))).toBeUndefined();
    expect(reasonOf('/'.repeat(32))).toBe(reasonCode.topicNameInvalid);
    expect(reasonOf(`ä${'/t'.repeat(32)}`)).toBe(reasonCode.topicNameInvalid);
    expect(reasonOf('t'.repeat(65_535))).toBe(reasonCode.topicNameInvalid);
  });
});
