import { AssertionError } from '@sallyport/errors';
import { describe, expect, test } from 'vitest';
import { bytes, field, packet, properties, varint } from '../../test-support/client-bytes.ts';
import { oraclePacket } from '../../test-support/oracle.ts';
import {
  type AckPacket,
  encodeAck,
  encodeAuth,
  encodeConnack,
  encodeDisconnect,
  encodePingresp,
  encodePublish,
  encodeSuback,
  encodeUnsuback,
  packetIdOffset,
  type Properties,
  type PublishFields,
  withPacketId,
} from './index.ts';

const versions = [3, 4, 5] as const;

describe('CONNACK', () => {
  test('MQTT-3.1.1 §3.2 has flags and a return code, and MQTT 3.1 no flags', () => {
    const packetOf = (sessionPresent: boolean, code: number) =>
      ({ type: 'connack', sessionPresent, code }) as const;
    expect(encodeConnack(packetOf(true, 0), 4)).toEqual(bytes(0x20, 2, 1, 0));
    expect(encodeConnack(packetOf(true, 0), 3)).toEqual(bytes(0x20, 2, 0, 0));
    expect(encodeConnack(packetOf(false, 5), 4)).toEqual(bytes(0x20, 2, 0, 5));
    expect(encodeConnack(packetOf(false, 0x87), 5)).toEqual(bytes(0x20, 3, 0, 0x87, 0));
  });

  test('before MQTT 5 it has no properties', () => {
    const given = {
      type: 'connack',
      sessionPresent: false,
      code: 0,
      properties: { reasonString: 'r' },
    } as const;
    expect(encodeConnack(given, 4)).toEqual(bytes(0x20, 2, 0, 0));
  });

  test('a code of MQTT 5 before it is a bug', () => {
    const given = { type: 'connack', sessionPresent: false, code: 0x87 } as const;
    expect(() => encodeConnack(given, 4)).toThrow(AssertionError);
  });

  test('MQTT-3.1.1 [MQTT-3.2.2-4] MQTT-5.0 [MQTT-3.2.2-6] a session for a client that is refused is a bug', () => {
    for (const version of versions) {
      const given = { type: 'connack', sessionPresent: true, code: 1 } as const;
      expect(() => encodeConnack(given, version)).toThrow(AssertionError);
    }
  });
});

describe('acknowledgements', () => {
  test.each([
    ['puback', 0x40],
    ['pubrec', 0x50],
    ['pubrel', 0x62],
    ['pubcomp', 0x70],
  ] as const)('%s is as short as it can be', (type, first) => {
    const of = (code: number, rest?: Properties): AckPacket =>
      rest === undefined
        ? { type, packetId: 0x1234, code }
        : { type, packetId: 0x1234, code, properties: rest };
    for (const version of versions) {
      expect(encodeAck(of(0), version)).toEqual(bytes(first, 2, 0x12, 0x34));
    }
    expect(encodeAck(of(0x92), 4)).toEqual(bytes(first, 2, 0x12, 0x34));
    expect(encodeAck(of(0x92), 5)).toEqual(bytes(first, 3, 0x12, 0x34, 0x92));
    expect(encodeAck(of(0, {}), 5)).toEqual(bytes(first, 2, 0x12, 0x34));
    const reason = properties(0x1f, field('r'));
    expect(encodeAck(of(0, { reasonString: 'r' }), 5)).toEqual(
      packet(first, 0x12, 0x34, 0, reason),
    );
    expect(encodeAck(of(0, { reasonString: 'r' }), 4)).toEqual(bytes(first, 2, 0x12, 0x34));
  });

  test.each([0, 65_536, -1, 1.5, NaN])(
    'MQTT-5.0 [MQTT-2.2.1-4] packet identifier %d is a bug',
    (packetId) => {
      expect(() => encodeAck({ type: 'puback', packetId, code: 0 }, 4)).toThrow(AssertionError);
      expect(() => encodeSuback({ type: 'suback', packetId, codes: [0] }, 5)).toThrow(
        AssertionError,
      );
      expect(() => encodeUnsuback({ type: 'unsuback', packetId, codes: [] }, 4)).toThrow(
        AssertionError,
      );
      const publish = encodePublish({ topic: 't', payload: bytes(), qos: 1, retain: false }, 4);
      expect(() => withPacketId(publish, packetId)).toThrow(AssertionError);
    },
  );

  test('MQTT-3.1.1 [MQTT-3.9.3-2] every failure of a SUBACK is 0x80', () => {
    const given = { type: 'suback', packetId: 1, codes: [0, 1, 2, 0x80, 0x87, 0x9e] } as const;
    expect(encodeSuback(given, 4)).toEqual(packet(0x90, 0, 1, [0, 1, 2, 0x80, 0x80, 0x80]));
    expect(encodeSuback(given, 5)).toEqual(packet(0x90, 0, 1, 0, [0, 1, 2, 0x80, 0x87, 0x9e]));
  });

  test('MQTT-3.1.1 §3.11 an UNSUBACK has no codes', () => {
    const given = { type: 'unsuback', packetId: 1, codes: [0, 0x11] } as const;
    expect(encodeUnsuback(given, 4)).toEqual(bytes(0xb0, 2, 0, 1));
    expect(encodeUnsuback(given, 5)).toEqual(bytes(0xb0, 5, 0, 1, 0, 0, 0x11));
  });
});

describe('the rest', () => {
  test('PINGRESP, DISCONNECT and AUTH', () => {
    expect(encodePingresp()).toEqual(bytes(0xd0, 0));
    expect(encodeDisconnect({ type: 'disconnect', code: 0 })).toEqual(bytes(0xe0, 0));
    expect(encodeDisconnect({ type: 'disconnect', code: 0x8e })).toEqual(bytes(0xe0, 1, 0x8e));
    const moved = { type: 'disconnect', code: 0x9d, properties: { serverReference: 's' } } as const;
    expect(encodeDisconnect(moved)).toEqual(packet(0xe0, 0x9d, properties(0x1c, field('s'))));
    const auth = {
      type: 'auth',
      code: 0x18,
      properties: { authenticationMethod: 'm', authenticationData: bytes(1, 2) },
    } as const;
    expect(encodeAuth(auth)).toEqual(
      packet(0xf0, 0x18, properties(0x15, field('m'), 0x16, field(1, 2))),
    );
  });

  test('properties that a packet of the server may not have are left out', () => {
    const will: Properties = { willDelayInterval: 5, contentType: 'c', sessionExpiryInterval: 1 };
    const fields = {
      topic: 't',
      payload: bytes('x'),
      qos: 0,
      retain: false,
      properties: will,
    } as const;
    expect(encodePublish(fields, 5)).toEqual(
      packet(0x30, field('t'), properties(0x03, field('c')), 'x'),
    );
    // MQTT-5.0 [MQTT-3.14.2-2]
    const left: Properties = { sessionExpiryInterval: 1, receiveMaximum: 2 };
    expect(encodeDisconnect({ type: 'disconnect', code: 0, properties: left })).toEqual(
      bytes(0xe0, 0),
    );
  });

  test('numbers out of their range are a bug', () => {
    const connack = (rest: Properties) => () =>
      encodeConnack({ type: 'connack', sessionPresent: false, code: 0, properties: rest }, 5);
    for (const rest of [
      { receiveMaximum: 65_536 },
      { receiveMaximum: 0 },
      { receiveMaximum: -1 },
      { maximumPacketSize: 0 },
      { maximumQos: 2 },
      { serverKeepAlive: 1.5 },
      { maximumPacketSize: 2 ** 32 },
      { sessionExpiryInterval: -1 },
      { reasonString: 'r'.repeat(65_536) },
      { authenticationData: Buffer.alloc(65_536) },
      { userProperties: [['n', 'ä'.repeat(32_768)]] },
    ] as Properties[]) {
      expect(connack(rest), JSON.stringify(rest).slice(0, 60)).toThrow(AssertionError);
    }
    expect(connack({ receiveMaximum: 65_535, reasonString: 'r'.repeat(65_535) })).not.toThrow();
    for (const id of [0, -1, 0x1000_0000, 1.5]) {
      const own: Properties = { subscriptionIdentifiers: [id] };
      const fields = {
        topic: 't',
        payload: bytes(),
        qos: 0,
        retain: false,
        properties: own,
      } as const;
      expect(() => encodePublish(fields, 5), `${id}`).toThrow(AssertionError);
    }
    for (const code of [-1, 256, 1.5]) {
      expect(() => encodeDisconnect({ type: 'disconnect', code })).toThrow(AssertionError);
      expect(() => encodeAck({ type: 'puback', packetId: 1, code }, 5)).toThrow(AssertionError);
      expect(() => encodeSuback({ type: 'suback', packetId: 1, codes: [code] }, 5)).toThrow(
        AssertionError,
      );
    }
  });
});

describe('PUBLISH', () => {
  const fields = (given: Partial<PublishFields>): PublishFields => ({
    topic: 'a/b',
    payload: bytes('payload'),
    qos: 0,
    retain: false,
    ...given,
  });

  test('has its flags in the first byte', () => {
    const firstOf = (given: Partial<PublishFields>): number | undefined =>
      encodePublish(fields(given), 4)[0];
    expect(firstOf({})).toBe(0x30);
    expect(firstOf({ retain: true })).toBe(0x31);
    expect(firstOf({ qos: 1 })).toBe(0x32);
    expect(firstOf({ qos: 2, dup: true, retain: true })).toBe(0x3d);
  });

  test('may be given its topic as bytes', () => {
    for (const topic of ['a/b', 'ä/€/😀', 't'.repeat(48), 't'.repeat(49), 'ä'.repeat(600), '']) {
      for (const version of versions) {
        const expected = packet(0x30, field(topic), version === 5 ? [0] : [], 'payload');
        expect(encodePublish(fields({ topic }), version)).toEqual(expected);
        expect(encodePublish(fields({ topic: Buffer.from(topic) }), version)).toEqual(expected);
      }
    }
  });

  test('is right at every size of its remaining length', () => {
    for (const size of [
      0, 100, 121, 122, 123, 16_377, 16_378, 16_379, 2_097_145, 2_097_147, 2_097_148,
    ]) {
      const given = fields({ payload: Buffer.alloc(size) });
      const encoded = encodePublish(given, 4);
      const length = varint(size + 5);
      expect(encoded.length).toBe(1 + length.length + 5 + size);
      expect(encoded.subarray(1, encoded.length - size - 5)).toEqual(length);
    }
  });

  test.each(versions)('encoded once serves many receivers, version %i', (version) => {
    const rest = { properties: { contentType: 'c', userProperties: [['n', 'ü']] } as Properties };
    for (const payload of [bytes('payload'), Buffer.alloc(200)]) {
      const template = encodePublish(fields({ qos: 1, payload, ...rest }), version);
      const before = Buffer.from(template);
      const first = withPacketId(template, 1);
      const again = withPacketId(template, 0xfffe, true);
      expect(template).toEqual(before);
      expect(first).toEqual(
        encodePublish(fields({ qos: 1, payload, packetId: 1, ...rest }), version),
      );
      expect(again).toEqual(
        encodePublish(fields({ qos: 1, payload, packetId: 0xfffe, dup: true, ...rest }), version),
      );
      expect(template.readUInt16BE(packetIdOffset(template))).toBe(0);
      expect(oraclePacket(again, version)).toMatchObject({ packetId: 0xfffe, dup: true, payload });
    }
  });

  test('with QoS 0 has no packet identifier to be set', () => {
    const encoded = encodePublish(fields({ packetId: 5 }), 4);
    expect(encoded).toEqual(packet(0x30, field('a/b'), 'payload'));
    expect(() => withPacketId(encoded, 1)).toThrow(AssertionError);
    expect(() => packetIdOffset(encoded)).toThrow(AssertionError);
  });

  test('MQTT-5.0 §3.3.2.3.8 has all its subscription identifiers, one property each', () => {
    const given = fields({ properties: { subscriptionIdentifiers: [1, 128, 0x0fff_ffff] } });
    const ids = properties(0x0b, 1, 0x0b, [0x80, 1], 0x0b, [0xff, 0xff, 0xff, 0x7f]);
    expect(encodePublish(given, 5)).toEqual(packet(0x30, field('a/b'), ids, 'payload'));
  });

  test('of more than 268435455 bytes is a bug', () => {
    const payload = { length: 268_435_455 } as Uint8Array; // Only its length is looked at.
    expect(() => encodePublish(fields({ payload }), 4)).toThrow(AssertionError);
    const topic = 't'.repeat(65_536);
    expect(() => encodePublish(fields({ topic }), 4)).toThrow(AssertionError);
  });
});

test('a property that a newer node may have added to a message is left out', () => {
  const fields = { topic: 't', payload: Buffer.from('x'), qos: 0, retain: false } as const;
  const later = { contentType: 'a', routing: { targets: [] } };
  const bytes = encodePublish({ ...fields, properties: later }, 5);
  expect(bytes).toEqual(encodePublish({ ...fields, properties: { contentType: 'a' } }, 5));
});

describe('the Maximum Packet Size of a client', () => {
  const reasonString = 'r'.repeat(10); // 13 bytes
  const userProperties = [['n', 'v'.repeat(20)]] as const; // 26 bytes
  const both = { reasonString, userProperties: [...userProperties] };
  const sized: readonly (readonly [string, (rest: Properties, maximum?: number) => Buffer])[] = [
    [
      '[MQTT-3.2.2-19] [MQTT-3.2.2-20] CONNACK',
      (rest, maximum) =>
        encodeConnack(
          { type: 'connack', sessionPresent: false, code: 0x80, properties: rest },
          5,
          maximum,
        ),
    ],
    [
      '[MQTT-3.4.2-2] [MQTT-3.4.2-3] PUBACK',
      (rest, maximum) =>
        encodeAck({ type: 'puback', packetId: 1, code: 0x80, properties: rest }, 5, maximum),
    ],
    [
      '[MQTT-3.5.2-2] [MQTT-3.5.2-3] PUBREC',
      (rest, maximum) =>
        encodeAck({ type: 'pubrec', packetId: 1, code: 0x80, properties: rest }, 5, maximum),
    ],
    [
      '[MQTT-3.6.2-2] [MQTT-3.6.2-3] PUBREL',
      (rest, maximum) =>
        encodeAck({ type: 'pubrel', packetId: 1, code: 0x92, properties: rest }, 5, maximum),
    ],
    [
      '[MQTT-3.7.2-2] [MQTT-3.7.2-3] PUBCOMP',
      (rest, maximum) =>
        encodeAck({ type: 'pubcomp', packetId: 1, code: 0x92, properties: rest }, 5, maximum),
    ],
    [
      '[MQTT-3.9.2-1] [MQTT-3.9.2-2] SUBACK',
      (rest, maximum) =>
        encodeSuback({ type: 'suback', packetId: 1, codes: [0x87], properties: rest }, 5, maximum),
    ],
    [
      '[MQTT-3.11.2-1] [MQTT-3.11.2-2] UNSUBACK',
      (rest, maximum) =>
        encodeUnsuback(
          { type: 'unsuback', packetId: 1, codes: [0x87], properties: rest },
          5,
          maximum,
        ),
    ],
    [
      '[MQTT-3.14.2-3] [MQTT-3.14.2-4] DISCONNECT',
      (rest, maximum) =>
        encodeDisconnect({ type: 'disconnect', code: 0x82, properties: rest }, maximum),
    ],
    [
      '[MQTT-3.15.2-2] [MQTT-3.15.2-3] AUTH',
      (rest, maximum) => encodeAuth({ type: 'auth', code: 0x18, properties: rest }, maximum),
    ],
  ];

  test.each(sized)('MQTT-5.0 %s leaves out what does not fit', (_, encode) => {
    const all = encode(both);
    const onlyReason = encode({ reasonString });
    const onlyUser = encode({ userProperties: [...userProperties] });
    const none = encode({});
    expect(all.length).toBeGreaterThan(onlyUser.length);
    expect(onlyUser.length).toBeGreaterThan(onlyReason.length);
    expect(encode(both, all.length)).toEqual(all);
    expect(encode(both, all.length - 1)).toEqual(onlyReason);
    expect(encode(both, onlyReason.length)).toEqual(onlyReason);
    expect(encode(both, onlyReason.length - 1)).toEqual(none);
    expect(encode(both, none.length)).toEqual(none);
    // There is nothing left to leave out; the caller must not send it.
    expect(encode(both, 1)).toEqual(none);
    expect(encode({ userProperties: [...userProperties] }, onlyUser.length)).toEqual(onlyUser);
    expect(encode({ userProperties: [...userProperties] }, onlyUser.length - 1)).toEqual(none);
  });

  test('user properties stay when only the reason is too long', () => {
    const long = { reasonString: 'r'.repeat(100), userProperties: [...userProperties] };
    const [, encode] = sized[0] ?? [];
    expect(encode?.(long, 50)).toEqual(encode?.({ userProperties: [...userProperties] }));
  });

  test('everything else of a CONNACK stays', () => {
    const rest: Properties = { ...both, assignedClientIdentifier: 'c', serverKeepAlive: 9 };
    const given = { type: 'connack', sessionPresent: false, code: 0, properties: rest } as const;
    expect(oraclePacket(encodeConnack(given, 5, 10), 5)).toEqual({
      type: 'connack',
      sessionPresent: false,
      code: 0,
      properties: { assignedClientIdentifier: 'c', serverKeepAlive: 9 },
    });
    expect(rest.reasonString).toBe(reasonString);
  });
});
