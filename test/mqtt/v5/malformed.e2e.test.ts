import {
  encodeField,
  encodeMqtt5Properties,
  encodeMqtt5Property,
  encodePacket,
  encodePublish5,
  encodeSubscribe5,
  encodeUint16,
  packetTypes,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  OTHER,
  strict,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

type Case = readonly [what: string, bytes: Buffer | string, code: number];

/** Sends each on a connection of its own, which must end with this reason. */
async function expectEach(cases: readonly Case[]): Promise<void> {
  for (const [what, bytes, code] of cases) {
    const client = await broker.connect();
    client.send(typeof bytes === 'string' ? Buffer.from(bytes.replaceAll(' ', ''), 'hex') : bytes);
    await expectDisconnect(client, [code, 0x81, 0x82], what);
  }
}

const publish = (properties: Uint8Array): Buffer =>
  encodePublish5({ topicName: 'a', payload: 'x', properties });

it('MQTT-5.0 [MQTT-4.13.1-1] answers packets that only servers send, and the type 0, with DISCONNECT', async () => {
  await expectEach([
    ['type 0', '00 00', 0x81],
    ['CONNACK', '20 03 00 00 00', 0x82],
    // mosquitto 2.0.11 takes these as if it were the client of a bridge.
    ...strict<Case>([
      ['SUBACK', '90 04 00 01 00 00', 0x82],
      ['UNSUBACK', 'b0 04 00 01 00 00', 0x82],
      ['PINGRESP', 'd0 00', 0x82],
    ]),
  ]);
});

it('MQTT-5.0 [MQTT-1.5.5-1] [MQTT-4.13.1-1] answers lengths that are none with DISCONNECT 0x81', async () => {
  await expectEach([
    ['a remaining length of five bytes', '30 80 80 80 80 01', 0x81],
    ['a property length of five bytes', '30 09 00 01 61 80 80 80 80 01 78', 0x81],
    ['properties longer than the packet', '30 05 00 01 61 02 78', 0x81],
    ['a topic longer than the packet', '30 04 00 09 61 00', 0x81],
    ['no topic', '30 00', 0x81],
    ['half a topic length', '30 01 00', 0x81],
    ['no property length', '30 03 00 01 61', 0x81],
    ['no packet id', '32 03 00 01 61', 0x81],
    // mosquitto takes numbers that are longer than they have to be.
    ...strict<Case>([
      ['a remaining length of two bytes for 5', '30 85 00 00 01 61 00 78', 0x81],
      ['a property length of two bytes for 0', '30 06 00 01 61 80 00 78', 0x81],
      ['a subscription identifier of two bytes for 1', '82 0a 00 01 03 0b 81 00 00 01 61 00', 0x81],
    ]),
  ]);
});

// mosquitto 2.0.11 does not look.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-2.1.3-1] answers PINGREQ with flags, and with a body, with DISCONNECT 0x81',
  async () => {
    await expectEach([
      ['flags', 'c1 00', 0x81],
      ['a body', 'c0 01 00', 0x81],
    ]);
  },
);

it('MQTT-5.0 [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] answers strings that are not UTF-8 or have U+0000 with DISCONNECT 0x81, wherever they stand', async () => {
  const bad = [
    'c0',
    'c080',
    'eda080',
    'edbfbf',
    'f4908080',
    'e28228',
    'f0808080',
    '80',
    '00',
    '6100',
  ];
  await expectEach(
    bad.flatMap((hex): Case[] => {
      const bytes = Buffer.from(hex, 'hex');
      return [
        [`topic ${hex}`, encodePublish5({ topicName: bytes, payload: 'x' }), 0x81],
        [`name ${hex}`, publish(encodeMqtt5Property('userProperties', [bytes, 'v'])), 0x81],
        [`value ${hex}`, publish(encodeMqtt5Property('userProperties', ['n', bytes])), 0x81],
        [`content type ${hex}`, publish(encodeMqtt5Property('contentType', bytes)), 0x81],
        [`filter ${hex}`, encodeSubscribe5(1, [{ topicFilter: bytes, qos: 0 }]), 0x81],
      ];
    }),
  );
});

it.skipIf(OTHER)(
  'answers control characters and non-characters in any string with DISCONNECT 0x81',
  async () => {
    const texts = [
      '\u0001',
      '\u001f',
      '\u007f',
      '\u0085',
      '\ufdd0',
      '\ufdef',
      '\ufffe',
      '\u{10ffff}',
    ];
    await expectEach(
      texts.flatMap((text): Case[] => {
        const name = JSON.stringify(text);
        return [
          [`name ${name}`, publish(encodeMqtt5Property('userProperties', [text, 'v'])), 0x81],
          [`value ${name}`, publish(encodeMqtt5Property('userProperties', ['n', text])), 0x81],
          [`content type ${name}`, publish(encodeMqtt5Property('contentType', text)), 0x81],
          [`filter ${name}`, encodeSubscribe5(1, [{ topicFilter: text, qos: 0 }]), 0x81],
        ];
      }),
    );
  },
);

it('MQTT-5.0 [MQTT-1.5.4-1] takes every other character', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe(topic);
  const value = '\u{feff} \u{a0}ÿ\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10fffd}';
  const properties = { userProperties: [[value, value]] } as const;
  await client.deliver({ topicName: topic, payload: 'x', properties });
  expect((await client.take()).properties).toEqual(properties);
});

it('MQTT-5.0 [MQTT-4.13.1-1] answers properties that are unknown, of another packet, cut, or twice with DISCONNECT', async () => {
  const twice = (one: Buffer): Buffer => publish(Buffer.concat([one, one]));
  await expectEach([
    ['unknown', publish(Buffer.from([0x7e, 0])), 0x81],
    ['identifier of two bytes', publish(Buffer.from([0x81, 0x01, 0])), 0x81],
    ['of CONNECT', publish(encodeMqtt5Property('receiveMaximum', 1)), 0x81],
    ['of CONNACK', publish(encodeMqtt5Property('serverKeepAlive', 1)), 0x81],
    ['of an acknowledgement', publish(encodeMqtt5Property('reasonString', 'x')), 0x81],
    ['a number that is cut', publish(Buffer.from([0x02, 0, 0, 1])), 0x81],
    ['a string that is cut', publish(Buffer.from([0x03, 0, 2, 0x61])), 0x81],
    [
      'a name without a value',
      publish(Buffer.concat([Buffer.from([0x26]), encodeField('n')])),
      0x81,
    ],
    ['an identifier without a value', publish(Buffer.from([0x03])), 0x81],
    ['Message Expiry Interval twice', twice(encodeMqtt5Property('messageExpiryInterval', 1)), 0x82],
    [
      'Payload Format Indicator twice',
      twice(encodeMqtt5Property('payloadFormatIndicator', 1)),
      0x82,
    ],
    ...strict<Case>([
      [
        'Payload Format Indicator 2',
        publish(encodeMqtt5Property('payloadFormatIndicator', 2)),
        0x82,
      ],
    ]),
  ]);
});

it.skipIf(OTHER)('bounds user properties: 32 of them, and 8 KiB together', async () => {
  const many = (count: number, value: string): Buffer =>
    Buffer.concat(
      Array.from({ length: count }, () => encodeMqtt5Property('userProperties', ['n', value])),
    );
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe(topic);
  for (const properties of [many(32, 'v'), many(1, 'v'.repeat(8191))]) {
    await client.deliver({ topicName: topic, payload: 'x', properties });
    const { userProperties = [] } = (await client.take()).properties;
    expect(userProperties.length).toBeGreaterThan(0);
  }
  await expectEach([
    ['33', publish(many(33, 'v')), 0x97],
    ['8,193 bytes', publish(many(1, 'v'.repeat(8192))), 0x97],
  ]);
});

it('MQTT-5.0 [MQTT-2.2.2-1] takes packets byte by byte, and many at once', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe({ topicFilter: topic, qos: 0 });
  const properties = { userProperties: [['a', 'b']] } as const;
  const one = encodePublish5({ topicName: topic, payload: 'x'.repeat(150), properties });
  for (const byte of one) {
    client.send(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect((await client.take()).properties).toEqual(properties);
  client.send(Buffer.concat(Array.from({ length: 50 }, () => one)));
  for (let count = 0; count < 50; count += 1) await client.take();
});

it('MQTT-5.0 [MQTT-2.2.2-1] takes a QoS 1 publish with an empty property list and an empty payload', async () => {
  const topic = unique('t');
  const client = await broker.connect();
  await client.subscribe(topic);
  const body = Buffer.concat([encodeField(topic), encodeUint16(3), encodeMqtt5Properties()]);
  client.send(encodePacket(packetTypes.publish, 2, body));
  expect(await client.receive()).toBeDefined();
  expect(await client.receive()).toBeDefined();
});
