import { setTimeout as delay } from 'node:timers/promises';
import {
  encodeConnect,
  encodeField,
  encodePacket,
  encodePublish,
  encodeSubscribe,
  encodeUint16,
  packetTypes,
  PINGREQ,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  delivery,
  expectBytes,
  expectTypes,
  expectClosed,
  hexOf,
  OTHER,
  payloads,
  publish,
  taken,
  unique,
  useWireBroker,
} from '../../harness/wire-broker.ts';

const broker = useWireBroker();

const PINGRESP = 'd0 00';
const CLOSE_TIMEOUT_MS = 20_000;

/** Strings that are not well-formed UTF-8. */
const ILL_FORMED = {
  'a lone continuation byte': '61 80 62',
  'a start without continuation': '61 c3',
  'bytes that UTF-8 never has': '61 ff fe 62',
  'an overlong slash': 'c0 af',
  'an overlong slash of three bytes': 'e0 80 af',
  'an overlong U+0000': 'c0 80',
  'a high surrogate': 'ed a0 80',
  'a low surrogate': 'ed bf bf',
  'a pair of surrogates': 'ed a0 b4 ed b4 9e',
  'a code point above U+10FFFF': 'f4 90 80 80',
  'a sequence of five bytes': 'f8 88 80 80 80',
  'a character that is cut off': 'f0 9d 84',
};

type Packets = Readonly<Record<string, Uint8Array | string>>;

/** What a connection of its own says to these bytes: of a client that is connected, unless they are a CONNECT. */
async function answerTo(packet: Uint8Array | string): Promise<string> {
  const bytes =
    typeof packet === 'string' ? Buffer.from(packet.replaceAll(' ', ''), 'hex') : packet;
  const isConnect = (bytes[0] ?? 0) >> 4 === packetTypes.connect;
  const client = await (isConnect ? broker.open() : broker.connect());
  client.send(bytes);
  return client.receive(CLOSE_TIMEOUT_MS).then(hexOf, (error: Error) => error.message);
}

/** Each of the packets ends its connection, and nothing is sent before that. */
async function expectEachCloses(packets: Packets): Promise<void> {
  const answers = await Promise.all(
    Object.entries(packets).map(async ([what, packet]) => [what, await answerTo(packet)] as const),
  );
  expect(answers.filter(([, answer]) => answer !== 'the connection has ended')).toEqual([]);
}

/** Every packet of a client that holds a string, with this one in it. */
function packetsWith(what: string, text: Uint8Array): Packets {
  const { credentials } = broker;
  const clientId = unique('c');
  const will = { topicName: text, payload: 'x' };
  const unsubscribe = Buffer.concat([encodeUint16(1), encodeField(text)]);
  return {
    [`${what} in client id`]: encodeConnect({ ...credentials, clientId: text }),
    [`${what} in user name`]: encodeConnect({ clientId, username: text, password: 'x' }),
    [`${what} in will topic`]: encodeConnect({ ...credentials, clientId, will }),
    [`${what} in PUBLISH`]: encodePublish({ topicName: text, payload: 'x' }),
    [`${what} in PUBLISH with QoS 2`]: encodePublish({
      topicName: text,
      payload: 'x',
      qos: 2,
      packetId: 1,
    }),
    [`${what} in SUBSCRIBE`]: encodeSubscribe(1, [{ topicFilter: text, qos: 0 }]),
    [`${what} in UNSUBSCRIBE`]: encodePacket(packetTypes.unsubscribe, 2, unsubscribe),
  };
}

it('MQTT-3.1.1 [MQTT-1.5.3-1] [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11] [MQTT-3.8.3-1] [MQTT-3.10.3-1] a string that is not well-formed UTF-8 closes the connection', async () => {
  for (const [what, hex] of Object.entries(ILL_FORMED)) {
    await expectEachCloses(packetsWith(what, Buffer.from(hex.replaceAll(' ', ''), 'hex')));
  }
});

it('MQTT-3.1.1 [MQTT-1.5.3-2] [MQTT-4.7.3-2] a string with U+0000 closes the connection', async () => {
  for (const text of ['\0', 'a\0', '\0a', 'a\0b']) {
    await expectEachCloses(packetsWith(JSON.stringify(text), Buffer.from(text)));
  }
});

it('MQTT-3.1.1 [MQTT-1.5.3-3] U+FEFF is a character like any other, also at the beginning', async () => {
  const name = unique('t');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: `\uFEFF${name}`, qos: 1 }]);
  const publisher = await broker.connect();
  await publish(publisher, { topicName: name, payload: 'without', qos: 1 });
  await publish(publisher, { topicName: `\uFEFF${name}`, payload: 'with', qos: 1 });
  const { body } = await client.expect('publish');
  expect(body.subarray(2, 5).toString('hex')).toBe('efbbbf');
  expect(body.subarray(body.length - 4).toString()).toBe('with');
});

it('MQTT-3.1.1 §1.5.3 a string with control characters or non-characters closes the connection', async () => {
  const forbidden = ['\u0001', '\u001f', '\u007f', '\u009f', '\ufdd0', '\uffff', '\u{1fffe}'];
  for (const character of forbidden) {
    const what = `U+${character.codePointAt(0)?.toString(16)}`;
    await expectEachCloses(packetsWith(what, Buffer.from(`a${character}b`)));
  }
});

it('MQTT-3.1.1 [MQTT-2.2.2-1] [MQTT-2.2.2-2] a packet with flags that its type does not have closes the connection', async () => {
  const id = encodeUint16(1);
  const filter = Buffer.concat([id, encodeField('a')]);
  const subscription = Buffer.concat([filter, Buffer.from([0])]);
  const connect = encodeConnect({ clientId: unique('c'), ...broker.credentials }).subarray(2);
  const right = [
    { type: 'connect', flags: 0, body: connect },
    { type: 'puback', flags: 0, body: id },
    { type: 'pubrec', flags: 0, body: id },
    { type: 'pubrel', flags: 2, body: id },
    { type: 'pubcomp', flags: 0, body: id },
    { type: 'subscribe', flags: 2, body: subscription },
    { type: 'unsubscribe', flags: 2, body: filter },
    { type: 'pingreq', flags: 0, body: Buffer.alloc(0) },
    { type: 'disconnect', flags: 0, body: Buffer.alloc(0) },
  ] as const;
  const wrong = right.flatMap(({ type, flags, body }) =>
    [1, 2, 4, 8].map((bit) => {
      const packet = encodePacket(packetTypes[type], flags ^ bit, body);
      return [`${type} with flags ${flags ^ bit}`, packet] as const;
    }),
  );
  await expectEachCloses(Object.fromEntries(wrong));
});

it('MQTT-3.1.1 [MQTT-4.8.0-1] a packet that only a server sends, or of a reserved type, closes the connection', async () => {
  await expectEachCloses({
    connack: '20020000',
    suback: '9003000100',
    unsuback: 'b0020001',
    pingresp: 'd000',
    'type 0': '0000',
    'type 15': 'f000',
  });
});

it('MQTT-3.1.1 [MQTT-4.8.0-1] a packet that is shorter or longer than what is in it closes the connection', async () => {
  await expectEachCloses({
    'PUBLISH without topic': '3000',
    'PUBLISH with half a length': '300100',
    'PUBLISH whose topic does not end': '3004000361 62',
    'PUBLISH with QoS 1 without packet id': '3203000161',
    'PUBLISH with QoS 1 and half a packet id': '320400016100',
    'PUBACK without packet id': '4000',
    'PUBACK with half a packet id': '400100',
    'PUBACK with more': '4003000100',
    'PUBREC with half a packet id': '500100',
    'PUBREC with more': '5003000100',
    'PUBREL without packet id': '6200',
    'PUBREL with more': '6203000100',
    'PUBCOMP with half a packet id': '700100',
    'PUBCOMP with more': '7003000100',
    'SUBSCRIBE without anything': '8200',
    'SUBSCRIBE without QoS': '82050001000161',
    'SUBSCRIBE whose filter does not end': '82060001000361 62',
    'SUBSCRIBE with a second filter that does not end': '820a000100016100 00056162',
    'UNSUBSCRIBE whose filter does not end': 'a2060001000361 62',
    'PINGREQ with something': 'c00100',
    'DISCONNECT with something': 'e00100',
  });
});

it('MQTT-3.1.1 §2.2.3 a remaining length of more than four bytes closes the connection', async () => {
  await expectEachCloses({
    'PUBLISH, the largest': '30 ffffffff7f',
    'PUBLISH, the smallest': '30 8080808000',
    CONNECT: '10 ffffffff7f',
  });
});

it('MQTT-3.1.1 §2.2.3 packets at the limits of each length of the remaining length pass unchanged', async () => {
  const topicName = unique('t');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: topicName, qos: 0 }]);
  const publisher = await broker.connect();
  const head = 2 + topicName.length;
  for (const length of [head, 127, 128, 16_383, 16_384, 1_000_000]) {
    const payload = Buffer.alloc(length - head, `${length} `);
    publisher.publish({ topicName, payload });
    const packet = await client.expect('publish');
    expect(packet.body.length).toBe(length);
    expect(packet.body.subarray(head).equals(payload), `${length} bytes`).toBe(true);
  }
});

it.skipIf(OTHER)(
  'MQTT-3.1.1 §2.2.3 a packet of more than 1 MiB closes the connection as soon as its length is known',
  async () => {
    const limit = 1024 * 1024;
    const topicName = unique('t');
    const client = await broker.connect();
    await client.subscribe(1, [{ topicFilter: topicName, qos: 0 }]);
    const header = 1 + 3 + 2 + topicName.length;
    client.publish({ topicName, payload: Buffer.alloc(limit - header) });
    expect((await delivery(client)).payload).toHaveLength(limit - header);
    const tooLarge = encodePublish({ topicName, payload: Buffer.alloc(limit - header + 1) });
    client.send(tooLarge.subarray(0, 4));
    await expectClosed(client);
  },
);

it.skipIf(OTHER)(
  'MQTT-3.1.1 §2.2.3 a CONNECT of more than 64 KiB closes the connection as soon as its length is known',
  async () => {
    await expectEachCloses({ '64 KiB and one byte': '10 fdff03' });
    const client = await broker.open();
    client.send(Buffer.from('10fcff03', 'hex'));
    await expect(client.receive(100)).rejects.toThrow('no packet came');
  },
);

it('MQTT-3.1.1 §4.2 packets that come byte by byte are packets', async () => {
  const topicName = unique('t');
  const client = await broker.connect();
  const bytes = Buffer.concat([
    encodeSubscribe(1, [{ topicFilter: topicName, qos: 1 }]),
    encodePublish({ topicName, payload: 'slowly', qos: 1, packetId: 2 }),
    PINGREQ,
  ]);
  for (const [index, byte] of bytes.entries()) {
    client.send(Buffer.from([byte]));
    if (index % 8 === 0) await delay(1);
  }
  await expectTypes(client, ['suback', 'puback', 'publish', 'pingresp']);
});

it('MQTT-3.1.1 §4.2 packets that come in one segment, cut anywhere, are all taken in order', async () => {
  const topicName = unique('t');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: topicName, qos: 0 }]);
  const publisher = await broker.connect();
  const numbers = Array.from({ length: 200 }, (_, index) => String(index));
  const bytes = Buffer.concat(numbers.map((payload) => encodePublish({ topicName, payload })));
  for (let at = 0, step = 1; at < bytes.length; at += step, step = (step * 7) % 257) {
    publisher.send(bytes.subarray(at, at + step));
    await delay(0);
  }
  expect(await payloads(client, numbers.length)).toEqual(numbers);
});

it('MQTT-3.1.1 §2 what comes before a broken packet is done, what comes after it is not', async () => {
  const topicName = unique('t');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  const publisher = await broker.connect();
  publisher.send(
    Buffer.concat([
      encodePublish({ topicName, payload: 'before' }),
      Buffer.from('f000', 'hex'),
      encodePublish({ topicName, payload: 'after' }),
    ]),
  );
  await publisher.closed;
  expect((await delivery(client)).payload).toBe('before');
  await publish(await broker.connect(), { topicName, payload: 'marker', qos: 1 });
  expect((await taken(client)).payload).toBe('marker');
});

it('MQTT-3.1.1 §3.3.3 a payload is bytes, whatever they are', async () => {
  const topicName = unique('t');
  const client = await broker.connect();
  await client.subscribe(1, [{ topicFilter: topicName, qos: 2 }]);
  const payload = Buffer.from(Array.from({ length: 512 }, (_, index) => (index * 7) & 0xff));
  client.publish({ topicName, payload, qos: 0 });
  const packet = await client.expect('publish');
  expect(packet.body.subarray(2 + topicName.length).equals(payload)).toBe(true);
  client.send(PINGREQ);
  await expectBytes(client, PINGRESP);
});
