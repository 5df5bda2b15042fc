import { describe, expect, test } from 'vitest';
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
} from '../../test-support/client-bytes.ts';
import { type ProtocolVersion, type ReasonCode, reasonCode } from './index.ts';

const { malformedPacket, protocolError, topicNameInvalid, clientIdentifierNotValid } = reasonCode;

type Case = readonly [statement: string, version: ProtocolVersion, bytes: Buffer, ReasonCode];

/** The same bytes in some versions, each under its own statement. */
const both = (
  old: string,
  five: string,
  reason: ReasonCode,
  build: (v: ProtocolVersion) => Buffer,
): Case[] => [
  [`MQTT-3.1.1 ${old}`, 4, build(4), reason],
  [`MQTT-5.0 ${five}`, 5, build(5), reason],
];

/** A CONNECT from its flags on. */
const connect = (version: ProtocolVersion, flags: number, ...payload: Buffer[]): Buffer =>
  packet(
    0x10,
    protocolName(version),
    version,
    flags,
    uint16(60),
    noProperties(version),
    ...payload,
  );

const will = (version: ProtocolVersion, topic = field('w'), payload = field('x')): Buffer =>
  bytes(noProperties(version), topic, payload);

const CLEAN = 0x02;
const WILL = 0x04;

describe('a CONNECT', () => {
  const cases: Case[] = [
    ...both(
      '[MQTT-3.1.2-1] another protocol name',
      '[MQTT-3.1.2-1] another protocol name',
      protocolError,
      (v) => packet(0x10, field('MQTX'), v, CLEAN, uint16(60), noProperties(v), field('c')),
    ),
    [
      'MQTT-3.1.1 [MQTT-3.1.2-1] a protocol name in other letters',
      4,
      packet(0x10, field('mqtt'), 4, CLEAN, uint16(60), field('c')),
      protocolError,
    ],
    [
      'MQTT-3.1.1 [MQTT-3.1.2-1] a protocol name with more behind it',
      4,
      packet(0x10, field('MQTTT'), 4, CLEAN, uint16(60), field('c')),
      protocolError,
    ],
    [
      'an empty protocol name',
      4,
      packet(0x10, field(), 4, CLEAN, uint16(60), field('c')),
      protocolError,
    ],
    [
      'a protocol name that is no text',
      4,
      packet(0x10, field([0xff, 0xfe, 0x80, 0]), 4),
      malformedPacket,
    ],
    ['a very long protocol name', 4, packet(0x10, field('M'.repeat(17)), 4), protocolError],
    ...both(
      '[MQTT-3.1.2-3] the reserved flag',
      '[MQTT-3.1.2-3] the reserved flag',
      malformedPacket,
      (v) => connect(v, CLEAN | 1, field('c')),
    ),
    ...both('[MQTT-3.1.2-14] will QoS 3', '[MQTT-3.1.2-12] will QoS 3', malformedPacket, (v) =>
      connect(v, CLEAN | WILL | 0x18, field('c'), will(v)),
    ),
    [
      'MQTT 3.1 will QoS 3',
      3,
      connect(3, CLEAN | WILL | 0x18, field('c'), will(3)),
      malformedPacket,
    ],
    ...both(
      '[MQTT-3.1.2-13] will QoS without a will',
      '[MQTT-3.1.2-11] will QoS without a will',
      malformedPacket,
      (v) => connect(v, CLEAN | 0x08, field('c')),
    ),
    ...both(
      '[MQTT-3.1.2-15] will retain without a will',
      '[MQTT-3.1.2-13] will retain without a will',
      malformedPacket,
      (v) => connect(v, CLEAN | 0x20, field('c')),
    ),
    [
      'MQTT-3.1.1 [MQTT-3.1.2-22] a password without a user name',
      4,
      connect(4, CLEAN | 0x40, field('c'), field('p')),
      malformedPacket,
    ],
    [
      'MQTT 3.1 a password without a user name',
      3,
      connect(3, CLEAN | 0x40, field('c'), field('p')),
      malformedPacket,
    ],
    [
      'MQTT-3.1.1 [MQTT-3.1.3-8] an empty client id that wants a session',
      4,
      connect(4, 0, field()),
      clientIdentifierNotValid,
    ],
    ['MQTT 3.1 an empty client id', 3, connect(3, CLEAN, field()), clientIdentifierNotValid],
    ...both(
      '[MQTT-3.1.3-4] a client id that is no UTF-8',
      '[MQTT-3.1.3-4] a client id that is no UTF-8',
      malformedPacket,
      (v) => connect(v, CLEAN, field('c', 0x80)),
    ),
    ...both(
      '[MQTT-3.1.3-11] a user name that is no UTF-8',
      '[MQTT-3.1.3-12] a user name that is no UTF-8',
      malformedPacket,
      (v) => connect(v, CLEAN | 0x80, field('c'), field(0xc3)),
    ),
    ...both(
      '[MQTT-3.1.3-10] a will topic that is no UTF-8',
      '[MQTT-3.1.3-11] a will topic that is no UTF-8',
      malformedPacket,
      (v) => connect(v, CLEAN | WILL, field('c'), will(v, field('w', 0xff))),
    ),
    ...both(
      '[MQTT-3.3.2-2] a will topic with a wildcard',
      '[MQTT-3.3.2-2] a will topic with a wildcard',
      malformedPacket,
      (v) => connect(v, CLEAN | WILL, field('c'), will(v, field('w/#'))),
    ),
    ...both(
      '[MQTT-4.7.3-1] an empty will topic',
      '[MQTT-4.7.3-1] an empty will topic',
      topicNameInvalid,
      (v) => connect(v, CLEAN | WILL, field('c'), will(v, field())),
    ),
    ...both('a will without its fields', 'a will without its fields', malformedPacket, (v) =>
      connect(v, CLEAN | WILL, field('c')),
    ),
    ...both('a user name that is missing', 'a user name that is missing', malformedPacket, (v) =>
      connect(v, CLEAN | 0x80, field('c')),
    ),
    ...both('no client id', 'no client id', malformedPacket, (v) => connect(v, CLEAN)),
    ...both('bytes behind the last field', 'bytes behind the last field', malformedPacket, (v) =>
      connect(v, CLEAN, field('c'), bytes(0)),
    ),
    ...both('a user name without its flag', 'a user name without its flag', malformedPacket, (v) =>
      connect(v, CLEAN, field('c'), field('u')),
    ),
    [
      'MQTT-5.0 properties that reach behind the packet',
      5,
      packet(0x10, field('MQTT'), 5, CLEAN, uint16(60), 200, 1, field('c')),
      malformedPacket,
    ],
  ];

  test.each(cases)('%s is refused, version %i', (_, __, given, reason) => {
    expect(refusal(decoderOf(0), given)).toBe(reason);
  });

  test.each([
    ['MQTT-3.1.1 [MQTT-3.1.2-2]', 'MQTT', 3],
    ['MQTT-3.1.1 [MQTT-3.1.2-2]', 'MQTT', 0],
    ['MQTT-3.1.1 [MQTT-3.1.2-2]', 'MQTT', 0x84],
    ['MQTT-5.0 [MQTT-3.1.2-2]', 'MQTT', 6],
    ['MQTT 3.1', 'MQIsdp', 4],
    ['MQTT 3.1', 'MQIsdp', 5],
  ])(
    '%s %s with level %i is an unsupported version, and there is none to answer in',
    (_, name, level) => {
      const decoder = decoderOf(0);
      const given = packet(0x10, field(name), level, CLEAN, uint16(60), field('c'));
      expect(refusal(decoder, given)).toBe(reasonCode.unsupportedProtocolVersion);
      expect(decoder.version).toBeUndefined();
    },
  );

  test.each([3, 4, 5] as const)('of version %i is refused in that version', (version) => {
    const decoder = decoderOf(0);
    expect(decoder.version).toBeUndefined();
    expect(refusal(decoder, connect(version, CLEAN | 1, field('c')))).toBe(malformedPacket);
    expect(decoder.version).toBe(version);
  });

  test('MQTT 3.1 disregards will QoS and will retain without a will', () => {
    expect(packetsOf(decoderOf(0), [connect(3, CLEAN | 0x38, field('c'))])).toEqual([
      { type: 'connect', version: 3, cleanStart: true, keepAliveSeconds: 60, clientId: 'c' },
    ]);
  });

  test('MQTT 3.1 lets user name and password be missing in spite of their flags', () => {
    const [none] = packetsOf(decoderOf(0), [connect(3, CLEAN | 0xc0, field('c'))]);
    expect(none).not.toHaveProperty('username');
    expect(none).not.toHaveProperty('password');
    const [one] = packetsOf(decoderOf(0), [connect(3, CLEAN | 0xc0, field('c'), field('u'))]);
    expect(one).toMatchObject({ username: 'u' });
    expect(one).not.toHaveProperty('password');
  });

  test('MQTT-5.0 §3.1.2.9 a password needs no user name', () => {
    const [packetRead] = packetsOf(decoderOf(0), [
      connect(5, CLEAN | 0x40, field('c'), field('p')),
    ]);
    expect(packetRead).toMatchObject({ password: Buffer.from('p') });
    expect(packetRead).not.toHaveProperty('username');
  });

  test('MQTT-5.0 [MQTT-3.1.3-6] MQTT-3.1.1 [MQTT-3.1.3-6] a client id may be empty, when no session is wanted', () => {
    for (const [version, flags] of [
      [4, CLEAN],
      [5, CLEAN],
      [5, 0],
    ] as const) {
      expect(packetsOf(decoderOf(0), [connect(version, flags, field())])).toMatchObject([
        { clientId: '' },
      ]);
    }
  });

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty'])(
    'may say %s anywhere',
    (name) => {
      const user = bytes(0x26, field(name), field(name));
      const given = packet(
        0x10,
        field('MQTT'),
        5,
        CLEAN | WILL | 0x80,
        uint16(60),
        properties(user),
        field(name),
        properties(user),
        field(name),
        field(name),
        field(name),
      );
      expect(packetsOf(decoderOf(0), [given])).toEqual([
        {
          type: 'connect',
          version: 5,
          cleanStart: true,
          keepAliveSeconds: 60,
          clientId: name,
          username: name,
          will: {
            topic: name,
            payload: Buffer.from(name),
            qos: 0,
            retain: false,
            properties: { userProperties: [[name, name]] },
          },
          properties: { userProperties: [[name, name]] },
        },
      ]);
    },
  );
});

describe('the first byte of a packet', () => {
  const anyLength = 0xff; // The length is not there yet, so only the first byte can have been judged.
  test.each([
    ['MQTT-3.1.1 [MQTT-3.1.0-1]', 0x30, protocolError],
    ['MQTT-5.0 [MQTT-3.1.0-1]', 0xf0, protocolError],
    ['MQTT-3.1.1 [MQTT-3.1.0-1]', 0xc0, protocolError],
    ['MQTT-3.1.1 [MQTT-2.2.2-1]', 0x11, malformedPacket],
    ['another protocol', 'G'.charCodeAt(0), protocolError],
    ['TLS on the wrong port', 0x16, malformedPacket],
  ])('%s is no CONNECT: %i is refused at once', (_, first, reason) => {
    expect(refusal(decoderOf(0), bytes(first))).toBe(reason);
  });

  const firstBytes: readonly (readonly [string, ProtocolVersion, readonly number[], ReasonCode])[] =
    [
      ['MQTT-3.1.1 §2.2.1 the reserved type 0', 4, [0x00, 0x0f], malformedPacket],
      ['MQTT-5.0 §2.1.2 the reserved type 0', 5, [0x00, 0x0f], malformedPacket],
      ['MQTT-3.1.1 §2.2.1 the reserved type 15', 4, [0xf0, 0xff], malformedPacket],
      ['MQTT 3.1 the reserved type 15', 3, [0xf0, 0xff], malformedPacket],
      ['MQTT-3.1.1 [MQTT-3.1.0-2] a second CONNECT', 4, [0x10, 0x11], protocolError],
      ['MQTT-5.0 [MQTT-3.1.0-2] a second CONNECT', 5, [0x10], protocolError],
      ['MQTT 3.1 a second CONNECT', 3, [0x10], protocolError],
      ['a packet of the server', 4, [0x20, 0x90, 0xb0, 0xd0], protocolError],
      ['a packet of the server', 5, [0x20, 0x90, 0xb0, 0xd0], protocolError],
      ['MQTT-3.1.1 [MQTT-3.3.1-4] QoS 3', 4, [0x36, 0x37, 0x3e, 0x3f], malformedPacket],
      ['MQTT-5.0 [MQTT-3.3.1-4] QoS 3', 5, [0x36, 0x37, 0x3e, 0x3f], malformedPacket],
      ['MQTT-3.1.1 [MQTT-3.3.1-2] DUP with QoS 0', 4, [0x38, 0x39], malformedPacket],
      ['MQTT-5.0 [MQTT-3.3.1-2] DUP with QoS 0', 5, [0x38, 0x39], malformedPacket],
      [
        'MQTT-3.1.1 [MQTT-2.2.2-2] reserved flags',
        4,
        [0x41, 0x52, 0x74, 0xc8, 0xe1],
        malformedPacket,
      ],
      [
        'MQTT-5.0 [MQTT-2.1.3-1] reserved flags',
        5,
        [0x41, 0x52, 0x74, 0xc8, 0xe1, 0xf2],
        malformedPacket,
      ],
      [
        'MQTT-3.1.1 [MQTT-3.6.1-1] flags of PUBREL',
        4,
        [0x60, 0x61, 0x63, 0x66, 0x6a],
        malformedPacket,
      ],
      [
        'MQTT-3.1.1 [MQTT-3.8.1-1] flags of SUBSCRIBE',
        4,
        [0x80, 0x83, 0x86, 0x8a],
        malformedPacket,
      ],
      [
        'MQTT-3.1.1 [MQTT-3.10.1-1] flags of UNSUBSCRIBE',
        4,
        [0xa0, 0xa3, 0xa6, 0xaa],
        malformedPacket,
      ],
      [
        'MQTT-5.0 [MQTT-3.6.1-1] flags of PUBREL',
        5,
        [0x60, 0x61, 0x63, 0x66, 0x6a],
        malformedPacket,
      ],
      ['MQTT-5.0 [MQTT-3.8.1-1] flags of SUBSCRIBE', 5, [0x80, 0x83, 0x86, 0x8a], malformedPacket],
      [
        'MQTT-5.0 [MQTT-3.10.1-1] flags of UNSUBSCRIBE',
        5,
        [0xa0, 0xa3, 0xa6, 0xaa],
        malformedPacket,
      ],
      ['MQTT-3.1.1 [MQTT-3.14.1-1] flags of DISCONNECT', 4, [0xe1, 0xe8], malformedPacket],
      ['MQTT-5.0 [MQTT-3.14.1-1] flags of DISCONNECT', 5, [0xe1, 0xe8], malformedPacket],
      ['MQTT-5.0 [MQTT-3.15.1-1] flags of AUTH', 5, [0xf1, 0xf8], malformedPacket],
    ];

  test.each(firstBytes)('%s is refused at once, version %i', (_, version, all, reason) => {
    for (const first of all) {
      expect(refusal(decoderOf(version), bytes(first)), `${first}`).toBe(reason);
      expect(refusal(decoderOf(version), bytes(first, anyLength)), `${first}`).toBe(reason);
    }
  });

  test('of all 256 those are allowed that a client may send', () => {
    const allowed = (version: ProtocolVersion): number[] =>
      Array.from({ length: 256 }, (_, first) => first).filter(
        (first) => refusal(decoderOf(version), bytes(first)) === undefined,
      );
    const publishes = [0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3a, 0x3b, 0x3c, 0x3d];
    const others = [0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xc0, 0xe0];
    expect(allowed(4)).toEqual([...publishes, ...others]);
    expect(allowed(5)).toEqual([...publishes, ...others, 0xf0]);
    const withDup = [0x6a, 0x8a, 0xaa]; // MQTT 3.1 §2.1
    expect(allowed(3)).toEqual([...publishes, ...others, ...withDup].sort((a, b) => a - b));
  });
});

describe('the remaining length', () => {
  test.each([3, 4, 5] as const)('has at most four bytes, version %i', (version) => {
    expect(refusal(decoderOf(0), bytes(0x10, [0x80, 0x80, 0x80, 0x80]))).toBe(malformedPacket);
    expect(refusal(decoderOf(version), bytes(0x30, [0xff, 0xff, 0xff, 0xff]))).toBe(
      malformedPacket,
    );
    expect(refusal(decoderOf(version), bytes(0x30, [0x80, 0x80, 0x80, 0x81, 0]))).toBe(
      malformedPacket,
    );
  });

  test('MQTT-5.0 [MQTT-1.5.5-1] has no byte too many', () => {
    const disconnects = [
      [0x80, 0],
      [0x80, 0x80, 0],
      [0x80, 0x80, 0x80, 0],
    ];
    for (const length of disconnects) {
      expect(refusal(decoderOf(5), bytes(0xc0, length))).toBe(malformedPacket);
    }
    expect(refusal(decoderOf(5), bytes(0x30, [0x83, 0x00], field('t'), 0))).toBe(malformedPacket);
    const connectBody = connectBytes(5).subarray(2);
    const longer = bytes(0x10, [connectBody.length | 0x80, 0], connectBody);
    expect(refusal(decoderOf(0), longer)).toBe(malformedPacket);
    for (let cut = 1; cut < longer.length; cut++) {
      const halves = [longer.subarray(0, cut), longer.subarray(cut)];
      expect(refusal(decoderOf(0), ...halves)).toBe(malformedPacket);
    }
  });

  test.each([3, 4] as const)(
    'may have bytes too many in version %i, which does not forbid it',
    (version) => {
      for (const length of [[0], [0x80, 0], [0x80, 0x80, 0], [0x80, 0x80, 0x80, 0]]) {
        expect(packetsOf(decoderOf(version), [bytes(0xc0, length)])).toEqual([{ type: 'pingreq' }]);
      }
      const connectBody = connectBytes(version).subarray(2);
      const longer = bytes(0x10, [connectBody.length | 0x80, 0x80, 0], connectBody);
      expect(packetsOf(decoderOf(0), [longer])).toMatchObject([{ type: 'connect', version }]);
    },
  );
});

const filter = (text: string, options: number): Buffer => bytes(field(text), options);

describe('the body of a packet', () => {
  const cases: Case[] = [
    ...both(
      '[MQTT-3.3.2-2] a wildcard in a topic name',
      '[MQTT-3.3.2-2] a wildcard in a topic name',
      malformedPacket,
      (v) => packet(0x30, field('a/+'), noProperties(v)),
    ),
    ...both(
      '[MQTT-3.3.2-2] # in a topic name',
      '[MQTT-3.3.2-2] # in a topic name',
      malformedPacket,
      (v) => packet(0x30, field('#'), noProperties(v)),
    ),
    ['MQTT-3.1.1 [MQTT-4.7.3-1] an empty topic name', 4, packet(0x30, field()), malformedPacket],
    ['MQTT 3.1 an empty topic name', 3, packet(0x30, field(), 'payload'), malformedPacket],
    [
      'MQTT-5.0 §3.3.2.1 an empty topic name without a topic alias',
      5,
      packet(0x30, field(), 0),
      protocolError,
    ],
    [
      'MQTT-5.0 [MQTT-3.3.2-8] topic alias 0',
      5,
      packet(0x30, field(), properties(0x23, 0, 0)),
      reasonCode.topicAliasInvalid,
    ],
    ...both(
      '[MQTT-3.3.2-1] a topic name that is no UTF-8',
      '[MQTT-3.3.2-1] a topic name that is no UTF-8',
      malformedPacket,
      (v) => packet(0x30, field('a', 0xc0, 0x80), noProperties(v)),
    ),
    ...both(
      'a topic name that reaches behind the packet',
      'a topic name that reaches behind the packet',
      malformedPacket,
      () => packet(0x30, uint16(3), 'ab'),
    ),
    ...both('a PUBLISH of one byte', 'a PUBLISH of one byte', malformedPacket, () =>
      packet(0x30, 0),
    ),
    ...both('a PUBLISH of no bytes', 'a PUBLISH of no bytes', malformedPacket, () => packet(0x30)),
    ...both(
      '[MQTT-2.3.1-1] packet identifier 0',
      '[MQTT-2.2.1-3] packet identifier 0',
      protocolError,
      (v) => packet(0x32, field('t'), uint16(0), noProperties(v)),
    ),
    ...both(
      'a PUBLISH that ends before its packet identifier',
      'a PUBLISH that ends before its packet identifier',
      malformedPacket,
      () => packet(0x32, field('t'), 1),
    ),
    [
      'MQTT-5.0 [MQTT-2.2.2-1] a PUBLISH without a property length',
      5,
      packet(0x30, field('t')),
      malformedPacket,
    ],
    [
      'MQTT-5.0 [MQTT-3.3.4-6] a subscription identifier',
      5,
      packet(0x30, field('t'), properties(0x0b, 1)),
      protocolError,
    ],

    ...both(
      '[MQTT-2.3.1-1] a PUBACK of packet identifier 0',
      '[MQTT-2.2.1-3] a PUBACK of packet identifier 0',
      protocolError,
      () => packet(0x40, uint16(0)),
    ),
    ...both(
      'a PUBACK without a packet identifier',
      'a PUBACK without a packet identifier',
      malformedPacket,
      () => packet(0x40),
    ),
    ...both('a PUBREL of one byte', 'a PUBREL of one byte', malformedPacket, () => packet(0x62, 1)),
    ['MQTT-3.1.1 §3.4 a PUBACK with a reason code', 4, packet(0x40, uint16(1), 0), malformedPacket],
    ['MQTT 3.1 a PUBCOMP with a reason code', 3, packet(0x70, uint16(1), 0), malformedPacket],
    [
      'MQTT-5.0 [MQTT-3.4.2-1] a PUBACK with an unknown reason code',
      5,
      packet(0x40, uint16(1), 0x01),
      protocolError,
    ],
    [
      'MQTT-5.0 §3.4.2.1 a PUBACK with a reason code of the server',
      5,
      packet(0x40, uint16(1), 0x10),
      protocolError,
    ],
    [
      'MQTT-5.0 [MQTT-3.5.2-1] a PUBREC with an unknown reason code',
      5,
      packet(0x50, uint16(1), 0x92),
      protocolError,
    ],
    [
      'MQTT-5.0 [MQTT-3.6.2-1] a PUBREL with an unknown reason code',
      5,
      packet(0x62, uint16(1), 0x80),
      protocolError,
    ],
    [
      'MQTT-5.0 [MQTT-3.7.2-1] a PUBCOMP with an unknown reason code',
      5,
      packet(0x70, uint16(1), 0x80),
      protocolError,
    ],
    [
      'MQTT-5.0 a PUBACK with bytes behind its properties',
      5,
      packet(0x40, uint16(1), 0, 0, 0),
      malformedPacket,
    ],
    [
      'MQTT-5.0 a PUBACK whose properties reach behind it',
      5,
      packet(0x40, uint16(1), 0, 1),
      malformedPacket,
    ],

    ...both(
      '[MQTT-3.8.3-3] a SUBSCRIBE without a filter',
      '[MQTT-3.8.3-2] a SUBSCRIBE without a filter',
      protocolError,
      (v) => packet(0x82, uint16(1), noProperties(v)),
    ),
    ...both(
      '[MQTT-2.3.1-1] a SUBSCRIBE with packet identifier 0',
      '[MQTT-2.2.1-3] a SUBSCRIBE with packet identifier 0',
      protocolError,
      (v) => packet(0x82, uint16(0), noProperties(v), filter('t', 0)),
    ),
    [
      'MQTT-3.1.1 [MQTT-4.7.3-1] an empty filter',
      4,
      packet(0x82, uint16(1), filter('', 0)),
      protocolError,
    ],
    ...both(
      '[MQTT-3.8.3-1] a filter that is no UTF-8',
      '[MQTT-3.8.3-1] a filter that is no UTF-8',
      malformedPacket,
      (v) => packet(0x82, uint16(1), noProperties(v), field('a', 0xed, 0xa0, 0x80), 0),
    ),
    ...both(
      '[MQTT-3.8.3-4] a subscription with QoS 3',
      '§3.8.3.1 a subscription with QoS 3',
      protocolError,
      (v) => packet(0x82, uint16(1), noProperties(v), filter('t', 3)),
    ),
    ...both('a filter without its options', 'a filter without its options', malformedPacket, (v) =>
      packet(0x82, uint16(1), noProperties(v), field('t')),
    ),
    ...([0x04, 0x08, 0x10, 0x20, 0x40, 0x80] as const).map((option): Case => [
      `MQTT-3.1.1 [MQTT-3.8.3-4] the reserved subscription option ${option}`,
      4,
      packet(0x82, uint16(1), filter('t', option)),
      malformedPacket,
    ]),
    ...([0x40, 0x80, 0xc1] as const).map((option): Case => [
      `MQTT-5.0 [MQTT-3.8.3-5] the reserved subscription option ${option}`,
      5,
      packet(0x82, uint16(1), 0, filter('t', option)),
      malformedPacket,
    ]),
    [
      'MQTT-5.0 §3.8.3.1 retain handling 3',
      5,
      packet(0x82, uint16(1), 0, filter('t', 0x30)),
      protocolError,
    ],
    [
      'MQTT-5.0 [MQTT-3.8.3-4] no-local on a shared subscription',
      5,
      packet(0x82, uint16(1), 0, filter('$share/g/t', 0x04)),
      protocolError,
    ],
    [
      'a bad filter behind a good one',
      5,
      packet(0x82, uint16(1), 0, filter('t', 0), filter('u', 3)),
      protocolError,
    ],

    ...both(
      '[MQTT-3.10.3-2] an UNSUBSCRIBE without a filter',
      '[MQTT-3.10.3-2] an UNSUBSCRIBE without a filter',
      protocolError,
      (v) => packet(0xa2, uint16(1), noProperties(v)),
    ),
    ...both(
      '[MQTT-3.10.3-1] an UNSUBSCRIBE of a filter that is no UTF-8',
      '[MQTT-3.10.3-1] an UNSUBSCRIBE of a filter that is no UTF-8',
      malformedPacket,
      (v) => packet(0xa2, uint16(1), noProperties(v), field(0xf8)),
    ),
    ...both(
      '[MQTT-2.3.1-1] an UNSUBSCRIBE with packet identifier 0',
      '[MQTT-2.2.1-3] an UNSUBSCRIBE with packet identifier 0',
      protocolError,
      (v) => packet(0xa2, uint16(0), noProperties(v), field('t')),
    ),
    [
      'MQTT-3.1.1 [MQTT-4.7.3-1] an UNSUBSCRIBE of an empty filter',
      4,
      packet(0xa2, uint16(1), field()),
      protocolError,
    ],

    ...both('§3.12 a PINGREQ with a body', '§3.12 a PINGREQ with a body', malformedPacket, () =>
      packet(0xc0, 0),
    ),
    ['MQTT-3.1.1 §3.14 a DISCONNECT with a body', 4, packet(0xe0, 0), malformedPacket],
    [
      'MQTT-5.0 [MQTT-3.14.2-1] a DISCONNECT with an unknown reason code',
      5,
      packet(0xe0, 0x01),
      protocolError,
    ],
    ...(
      [
        0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
      ] as const
    ).map((code): Case => [
      `MQTT-5.0 §3.14.2.1 a DISCONNECT with the server’s reason code ${code}`,
      5,
      packet(0xe0, code),
      protocolError,
    ]),
    [
      'MQTT-5.0 §3.14.2.2.5 a DISCONNECT with a server reference',
      5,
      packet(0xe0, 0, properties(0x1c, field('s'))),
      protocolError,
    ],
    [
      'MQTT-5.0 §3.15.2.1 an AUTH without a body, which says success',
      5,
      packet(0xf0),
      protocolError,
    ],
    [
      'MQTT-5.0 [MQTT-3.15.2-1] an AUTH that says success',
      5,
      packet(0xf0, 0, properties(0x15, field('m'))),
      protocolError,
    ],
    ['MQTT-5.0 §3.15.2.2.2 an AUTH without a method', 5, packet(0xf0, 0x18, 0), protocolError],
    ['MQTT-5.0 §3.15.2.2.2 an AUTH without properties', 5, packet(0xf0, 0x18), protocolError],
  ];

  test.each(cases)('%s is refused, version %i', (_, version, given, reason) => {
    expect(refusal(decoderOf(version), given)).toBe(reason);
  });

  test('after the refusal nothing is accepted any more', () => {
    const decoder = decoderOf(4);
    expect(refusal(decoder, packet(0x30, field('#')), packet(0xc0))).toBe(malformedPacket);
    expect(decoder.bufferedBytes).toBe(0);
    expect(refusal(decoder, packet(0xc0))).toBe(protocolError);
    expect(refusal(decoder, packet(0xc0))).toBe(protocolError);
  });
});

describe('MQTT-5.0 properties', () => {
  const inPublish = (...parts: Parameters<typeof properties>): Buffer =>
    packet(0x30, field('t'), properties(...parts), 'payload');
  const inConnect = (...parts: Parameters<typeof properties>): Buffer =>
    packet(0x10, field('MQTT'), 5, CLEAN, uint16(0), properties(...parts), field('c'));
  const inWill = (...parts: Parameters<typeof properties>): Buffer =>
    packet(
      0x10,
      field('MQTT'),
      5,
      CLEAN | WILL,
      uint16(0),
      0,
      field('c'),
      properties(...parts),
      field('w'),
      field('x'),
    );

  const four = [0, 0, 0, 1];
  /** Each property in a good form: where it may be, and where else it is malformed. */
  const all: readonly (readonly [id: number, value: Buffer])[] = [
    [0x01, bytes(1)],
    [0x02, bytes(four)],
    [0x03, field('text')],
    [0x08, field('topic')],
    [0x09, field('data')],
    [0x0b, bytes(1)],
    [0x11, bytes(four)],
    [0x12, field('id')],
    [0x13, bytes(0, 1)],
    [0x15, field('method')],
    [0x16, field('data')],
    [0x17, bytes(1)],
    [0x18, bytes(four)],
    [0x19, bytes(1)],
    [0x1a, field('info')],
    [0x1c, field('server')],
    [0x1f, field('reason')],
    [0x21, bytes(0, 1)],
    [0x22, bytes(0, 1)],
    [0x23, bytes(0, 1)],
    [0x24, bytes(1)],
    [0x25, bytes(1)],
    [0x26, bytes(field('name'), field('value'))],
    [0x27, bytes(four)],
    [0x28, bytes(1)],
    [0x29, bytes(1)],
    [0x2a, bytes(1)],
  ];
  const method = bytes(0x15, field('m'));
  /** Authentication data is nothing without a method. */
  const needed = (id: number): Buffer => (id === 0x16 ? method : bytes([]));
  const places: readonly (readonly [
    string,
    ProtocolVersion | 0,
    readonly number[],
    (id: number, ...value: Buffer[]) => Buffer,
  ])[] = [
    [
      'CONNECT',
      0,
      [0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
      (id, ...value) => inConnect(needed(id), ...value),
    ],
    ['a will', 0, [0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26], (_, ...value) => inWill(...value)],
    [
      'PUBLISH',
      5,
      [0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26],
      (_, ...value) => inPublish(...value),
    ],
    ['PUBACK', 5, [0x1f, 0x26], (_, ...value) => packet(0x40, uint16(1), 0, properties(...value))],
    ['PUBREC', 5, [0x1f, 0x26], (_, ...value) => packet(0x50, uint16(1), 0, properties(...value))],
    ['PUBREL', 5, [0x1f, 0x26], (_, ...value) => packet(0x62, uint16(1), 0, properties(...value))],
    ['PUBCOMP', 5, [0x1f, 0x26], (_, ...value) => packet(0x70, uint16(1), 0, properties(...value))],
    [
      'SUBSCRIBE',
      5,
      [0x0b, 0x26],
      (_, ...value) => packet(0x82, uint16(1), properties(...value), filter('t', 0)),
    ],
    [
      'UNSUBSCRIBE',
      5,
      [0x26],
      (_, ...value) => packet(0xa2, uint16(1), properties(...value), field('t')),
    ],
    ['DISCONNECT', 5, [0x11, 0x1f, 0x26], (_, ...value) => packet(0xe0, 0, properties(...value))],
    [
      'AUTH',
      5,
      [0x15, 0x16, 0x1f, 0x26],
      (id, ...value) => packet(0xf0, 0x18, properties(id === 0x15 ? bytes([]) : method, ...value)),
    ],
  ];
  /** Of the same packet of the server, so these are understood. */
  const serverOnly = new Set(['PUBLISH 11', 'DISCONNECT 28']);

  test.each(places)(
    '§2.2.2.2 in %s are those that a client may send there, each once',
    (name, version, allowed, build) => {
      for (const [id, value] of all) {
        const once = bytes(id, value);
        if (!allowed.includes(id)) {
          const reason = serverOnly.has(`${name} ${id}`) ? protocolError : malformedPacket;
          expect(refusal(decoderOf(version), build(id, once)), `${id}`).toBe(reason);
          continue;
        }
        expect(refusal(decoderOf(version), build(id, once)), `${id}`).toBeUndefined();
        const twice = refusal(decoderOf(version), build(id, once, once));
        expect(twice, `${id} twice`).toBe(id === 0x26 ? undefined : protocolError);
      }
      for (const id of [0x00, 0x04, 0x0a, 0x2b, 0x7f]) {
        expect(refusal(decoderOf(version), build(id, bytes(id, 0))), `${id}`).toBe(malformedPacket);
      }
    },
  );

  test.each(places)('of %s that end too early are malformed', (_, version, allowed, build) => {
    for (const [id, value] of all.filter(([one]) => allowed.includes(one))) {
      for (let end = 0; end < value.length; end++) {
        const given = build(id, bytes(id, value.subarray(0, end)));
        expect(refusal(decoderOf(version), given), `${id} at ${end}`).toBe(malformedPacket);
      }
    }
  });

  const cases: readonly (readonly [string, ProtocolVersion | 0, Buffer, ReasonCode])[] = [
    ['§3.3.2.3.2 payload format indicator 2', 5, inPublish(0x01, 2), protocolError],
    ['§3.1.2.11.7 request response information 2', 0, inConnect(0x19, 2), protocolError],
    ['§3.1.2.11.8 request problem information 255', 0, inConnect(0x17, 255), protocolError],
    ['§3.1.2.11.3 receive maximum 0', 0, inConnect(0x21, 0, 0), protocolError],
    ['§3.1.2.11.4 maximum packet size 0', 0, inConnect(0x27, 0, 0, 0, 0), protocolError],
    ['[MQTT-3.3.2-8] topic alias 0', 5, inPublish(0x23, 0, 0), reasonCode.topicAliasInvalid],
    [
      '§3.8.2.1.2 subscription identifier 0',
      5,
      packet(0x82, uint16(1), properties(0x0b, 0), filter('t', 0)),
      protocolError,
    ],
    [
      '[MQTT-1.5.5-1] a subscription identifier with a byte too many',
      5,
      packet(0x82, uint16(1), properties(0x0b, 0x81, 0), filter('t', 0)),
      malformedPacket,
    ],
    [
      '§1.5.5 a subscription identifier of five bytes',
      5,
      packet(0x82, uint16(1), properties(0x0b, 0x80, 0x80, 0x80, 0x80, 1), filter('t', 0)),
      malformedPacket,
    ],
    ['[MQTT-3.3.2-14] a response topic with +', 5, inPublish(0x08, field('a/+')), protocolError],
    ['[MQTT-3.3.2-14] a response topic with #', 5, inPublish(0x08, field('#')), protocolError],
    ['[MQTT-3.3.2-14] a will’s response topic with #', 0, inWill(0x08, field('#')), protocolError],
    ['[MQTT-4.7.3-1] an empty response topic', 5, inPublish(0x08, field()), protocolError],
    [
      '[MQTT-3.3.2-13] a response topic that is no UTF-8',
      5,
      inPublish(0x08, field(0xff)),
      malformedPacket,
    ],
    [
      '[MQTT-3.3.2-19] a content type that is no UTF-8',
      5,
      inPublish(0x03, field(0xff)),
      malformedPacket,
    ],
    [
      '[MQTT-1.5.7-1] a user property whose name is no UTF-8',
      5,
      inPublish(0x26, field(0xff), field('v')),
      malformedPacket,
    ],
    [
      '[MQTT-1.5.7-1] a user property whose value is no UTF-8',
      5,
      inPublish(0x26, field('n'), field(0xff)),
      malformedPacket,
    ],
    [
      '§3.1.2.11.10 authentication data without a method',
      0,
      inConnect(0x16, field('d')),
      protocolError,
    ],
    [
      '§3.15.2.2.3 authentication data without a method',
      5,
      packet(0xf0, 0x18, properties(0x16, field('d'))),
      protocolError,
    ],
    [
      '[MQTT-1.5.5-1] a property length with a byte too many',
      5,
      packet(0x30, field('t'), 0x80, 0),
      malformedPacket,
    ],
    [
      '§1.5.5 a property length of five bytes',
      5,
      packet(0x30, field('t'), 0x80, 0x80, 0x80, 0x80, 0),
      malformedPacket,
    ],
    [
      'a property length behind the packet',
      5,
      packet(0x30, field('t'), 3, 0x01, 1),
      malformedPacket,
    ],
    [
      'a property that reaches behind the properties',
      5,
      packet(0x30, field('t'), 2, 0x03, 0, 1, 'x'),
      malformedPacket,
    ],
    ['a property identifier with a byte too many', 5, inPublish(0x81, 0, 1), malformedPacket],
  ];

  test.each(cases)('%s is refused', (_, version, given, reason) => {
    expect(refusal(decoderOf(version), given)).toBe(reason);
  });

  test('at the ends of their ranges are read', () => {
    const [connected] = packetsOf(decoderOf(0), [
      inConnect(
        0x11,
        [255, 255, 255, 255],
        0x21,
        [255, 255],
        0x27,
        [0x80, 0, 0, 0],
        0x22,
        [0, 0],
        0x17,
        0,
        0x19,
        1,
      ),
    ]);
    expect(connected).toMatchObject({
      properties: {
        sessionExpiryInterval: 0xffff_ffff,
        receiveMaximum: 0xffff,
        maximumPacketSize: 0x8000_0000,
        topicAliasMaximum: 0,
        requestProblemInformation: 0,
        requestResponseInformation: 1,
      },
    });
    const [subscribed] = packetsOf(decoderOf(5), [
      packet(0x82, uint16(1), properties(0x0b, [0xff, 0xff, 0xff, 0x7f]), filter('t', 0)),
    ]);
    expect(subscribed).toMatchObject({ properties: { subscriptionIdentifiers: [0x0fff_ffff] } });
  });

  test('that the packet has none of are undefined', () => {
    for (const given of [
      packet(0x30, field('t'), 0),
      packet(0x40, uint16(1)),
      packet(0x40, uint16(1), 0),
      packet(0x40, uint16(1), 0, 0),
      packet(0xe0),
      packet(0xe0, 4),
      packet(0xe0, 4, 0),
      packet(0xa2, uint16(1), 0, field('t')),
    ]) {
      const [one] = packetsOf(decoderOf(5), [given]);
      expect(one).toBeDefined();
      expect((one as { properties?: unknown }).properties).toBeUndefined();
    }
  });

  test('user properties keep their order and may have one name twice', () => {
    const pair = (name: string, value: string): Buffer => bytes(0x26, field(name), field(value));
    const [one] = packetsOf(decoderOf(5), [
      inPublish(pair('b', '1'), pair('a', '2'), pair('b', '1'), pair('', '')),
    ]);
    expect(one).toMatchObject({
      properties: {
        userProperties: [
          ['b', '1'],
          ['a', '2'],
          ['b', '1'],
          ['', ''],
        ],
      },
    });
  });
});

describe('MQTT-5.0 short forms', () => {
  test.each([
    [packet(0x40, uint16(7)), { type: 'puback', packetId: 7, code: 0 }],
    [packet(0x50, uint16(7), 0x87), { type: 'pubrec', packetId: 7, code: 0x87 }],
    [packet(0x62, uint16(7), 0x92, 0), { type: 'pubrel', packetId: 7, code: 0x92 }],
    [
      packet(0x70, uint16(7), 0, properties(0x1f, field('r'))),
      { type: 'pubcomp', packetId: 7, code: 0, properties: { reasonString: 'r' } },
    ],
    [packet(0xe0), { type: 'disconnect', code: 0 }],
    [packet(0xe0, 4), { type: 'disconnect', code: 4 }],
    [
      packet(0xe0, 0, properties(0x11, 0, 0, 0, 9)),
      { type: 'disconnect', code: 0, properties: { sessionExpiryInterval: 9 } },
    ],
    [
      packet(0xf0, 0x19, properties(0x15, field('m'))),
      { type: 'auth', code: 0x19, properties: { authenticationMethod: 'm' } },
    ],
  ])('%# is read', (given, expected) => {
    expect(packetsOf(decoderOf(5), [given])).toEqual([expected]);
  });

  test('MQTT-5.0 §3.3.2.3.4 a topic alias stands for an empty topic name', () => {
    expect(packetsOf(decoderOf(5), [packet(0x30, field(), properties(0x23, 0, 9), 'x')])).toEqual([
      {
        type: 'publish',
        qos: 0,
        dup: false,
        retain: false,
        topic: '',
        packetId: 0,
        properties: { topicAlias: 9 },
        payload: Buffer.from('x'),
      },
    ]);
  });
});
