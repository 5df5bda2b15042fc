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
  expectClosed,
  expectSilence,
  expectTypes,
  OTHER,
  payloads,
  publish,
  taken,
  unique,
  useWireBroker,
} from '../../harness/wire-broker.ts';

const broker = useWireBroker();

const ACCEPTED = '20 02 00 00';
const SESSION_PRESENT = '20 02 01 00';

/** A CONNECT from its parts, right or wrong. */
function connectOf(parts: {
  readonly name?: string;
  readonly level?: number;
  readonly flags?: number;
  readonly fields: readonly (string | Uint8Array)[];
  readonly after?: Uint8Array;
}): Buffer {
  const { name = 'MQTT', level = 4, flags = 0x02, fields, after = Buffer.alloc(0) } = parts;
  const body = Buffer.concat([
    encodeField(name),
    Buffer.from([level, flags]),
    encodeUint16(60),
    ...fields.map(encodeField),
    after,
  ]);
  return encodePacket(packetTypes.connect, 0, body);
}

/** Name and password of the device, and the connect flags that announce them. */
const login = () => {
  const { username, password } = broker.credentials;
  if (username === undefined || password === undefined) return { flags: 0, fields: [] };
  return { flags: 0xc0, fields: [username, password] };
};

async function answerTo(bytes: Uint8Array, hex: string): Promise<void> {
  const client = await broker.open();
  client.send(bytes);
  await expectBytes(client, hex);
  if (hex !== ACCEPTED && hex !== SESSION_PRESENT) await expectClosed(client);
}

async function closedBy(bytes: Uint8Array, because: string): Promise<void> {
  const client = await broker.open();
  client.send(bytes);
  await expectClosed(client, because);
}

it('MQTT-3.1.1 [MQTT-3.1.0-1] any other first packet closes the connection', async () => {
  const first = {
    publish: encodePublish({ topicName: 'a', payload: 'x' }),
    subscribe: encodeSubscribe(1, [{ topicFilter: 'a', qos: 0 }]),
    unsubscribe: Buffer.from('a2050001000161', 'hex'),
    puback: Buffer.from('40020001', 'hex'),
    pingreq: PINGREQ,
    disconnect: Buffer.from('e000', 'hex'),
    connack: Buffer.from('20020000', 'hex'),
  };
  for (const [name, bytes] of Object.entries(first)) {
    await closedBy(Buffer.concat([bytes, encodeConnect({ clientId: unique('c') })]), name);
  }
});

it('MQTT-3.1.1 [MQTT-3.1.0-2] a second CONNECT closes the connection', async () => {
  const clientId = unique('c');
  const client = await broker.connect({ clientId });
  client.send(encodeConnect({ clientId, ...broker.credentials }));
  await expectClosed(client);
});

it('MQTT-3.1.1 [MQTT-3.1.4-4] [MQTT-7.1.1-1] a CONNECT over TCP is accepted with a CONNACK of four bytes', async () => {
  await answerTo(encodeConnect({ clientId: unique('c'), ...broker.credentials }), ACCEPTED);
});

it('MQTT-3.1.1 [MQTT-3.1.2-1] an unknown protocol name closes the connection without a CONNACK', async () => {
  for (const name of ['MQTX', 'mqtt', 'MQTTT', 'MQT', '', 'HTTP']) {
    await closedBy(connectOf({ name, fields: [unique('c')] }), name);
  }
});

it('MQTT-3.1.1 [MQTT-3.1.2-2] a protocol level that is not supported is answered with return code 1, and the connection closed', async () => {
  for (const level of [0, 1, 2, 3, 6, 0x44]) {
    await answerTo(connectOf({ level, fields: [unique('c')] }), '20 02 00 01');
  }
  await answerTo(connectOf({ name: 'MQIsdp', level: 4, fields: [unique('c')] }), '20 02 00 01');
});

it('MQTT-3.1.1 [MQTT-3.1.2-3] a CONNECT with the reserved flag closes the connection without a CONNACK', async () => {
  await closedBy(connectOf({ flags: 0x03, fields: [unique('c')] }), 'reserved flag');
});

it('MQTT-3.1.1 [MQTT-3.1.2-9] a CONNECT with the will flag needs will topic and will message', async () => {
  await closedBy(connectOf({ flags: 0x06, fields: [unique('c')] }), 'neither');
  await closedBy(connectOf({ flags: 0x06, fields: [unique('c'), 'a'] }), 'no message');
});

it('MQTT-3.1.1 [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15] without the will flag there is no will QoS, retain, topic or message', async () => {
  const { flags, fields } = login();
  await closedBy(connectOf({ flags: flags | 0x0a, fields: [unique('c'), ...fields] }), 'QoS 1');
  await closedBy(connectOf({ flags: flags | 0x12, fields: [unique('c'), ...fields] }), 'QoS 2');
  await closedBy(connectOf({ flags: flags | 0x22, fields: [unique('c'), ...fields] }), 'retain');
  const withWill = [unique('c'), 'topic', 'message', ...fields];
  await closedBy(connectOf({ flags: flags | 0x02, fields: withWill }), 'fields of a will');
});

it('MQTT-3.1.1 [MQTT-3.1.2-14] a will with QoS 3 closes the connection without a CONNACK', async () => {
  const { flags, fields } = login();
  const all = [unique('c'), 'topic', 'message', ...fields];
  await closedBy(connectOf({ flags: flags | 0x1e, fields: all }), 'will QoS 3');
});

it('MQTT-3.1.1 [MQTT-3.1.2-18] [MQTT-3.1.2-20] a user name or password that no flag announces closes the connection', async () => {
  await closedBy(connectOf({ flags: 0x02, fields: [unique('c'), 'name'] }), 'user name');
  const both = [unique('c'), 'name', 'password'];
  await closedBy(connectOf({ flags: 0x02, fields: both }), 'user name and password');
  await closedBy(connectOf({ flags: 0x82, fields: both }), 'password');
});

it('MQTT-3.1.1 [MQTT-3.1.2-19] [MQTT-3.1.2-21] a user name or password that is announced must be there', async () => {
  await closedBy(connectOf({ flags: 0x82, fields: [unique('c')] }), 'user name');
  await closedBy(connectOf({ flags: 0xc2, fields: [unique('c'), 'name'] }), 'password');
  const half = Buffer.from([0, 9, 0x61]);
  await closedBy(connectOf({ flags: 0xc2, fields: [unique('c'), 'n'], after: half }), 'half');
});

it('MQTT-3.1.1 [MQTT-3.1.2-22] a password without a user name closes the connection', async () => {
  await closedBy(connectOf({ flags: 0x42, fields: [unique('c'), 'password'] }), 'password only');
});

it('MQTT-3.1.1 [MQTT-3.1.3-1] [MQTT-3.1.3-3] the payload is client id, will topic, will message, user name and password, in this order', async () => {
  const topic = unique('will/');
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: topic, qos: 0 }]);
  const { flags, fields } = login();
  const clientId = unique('c');
  const client = await broker.open();
  client.send(connectOf({ flags: flags | 0x06, fields: [clientId, topic, 'gone', ...fields] }));
  await expectBytes(client, ACCEPTED);
  client.destroy();
  expect(await delivery(observer)).toMatchObject({ topicName: topic, payload: 'gone' });
  await closedBy(connectOf({ fields: [] }), 'no client id');
  await closedBy(connectOf({ fields: [], after: Buffer.from([0]) }), 'half a length');
});

it('MQTT-3.1.1 [MQTT-3.1.3-5] client ids of 1 to 23 letters and digits are accepted', async () => {
  const characters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  const ids = ['Z', characters.slice(0, 23), characters.slice(23, 46), characters.slice(46)];
  for (const clientId of ids) {
    await answerTo(encodeConnect({ clientId, ...broker.credentials }), ACCEPTED);
  }
});

it('MQTT-3.1.1 [MQTT-3.1.3-6] an empty client id with clean session is replaced by a unique one', async () => {
  const one = await broker.connect({ clientId: '' });
  const other = await broker.connect({ clientId: '' });
  const topicName = unique('t');
  for (const client of [one, other])
    await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  const third = await broker.connect({ clientId: '' });
  await publish(third, { topicName, payload: 'x', qos: 1 });
  for (const client of [one, other]) expect(await payloads(client, 1)).toEqual(['x']);
});

it('MQTT-3.1.1 [MQTT-3.1.3-7] [MQTT-3.1.3-8] an empty client id without clean session is refused with return code 2', async () => {
  const connect = { clientId: '', cleanSession: false, ...broker.credentials };
  await answerTo(encodeConnect(connect), '20 02 00 02');
});

it.skipIf(OTHER)(
  'MQTT-3.1.1 [MQTT-3.1.3-9] a client id of 257 bytes is refused with return code 2, one of 256 is not',
  async () => {
    const id = (bytes: number) => unique('c').padEnd(bytes, 'x');
    const { credentials } = broker;
    await answerTo(encodeConnect({ clientId: id(256), ...credentials }), ACCEPTED);
    await answerTo(encodeConnect({ clientId: id(257), ...credentials }), '20 02 00 02');
    const euros = '€'.repeat(86); // 258 bytes in 86 characters
    await answerTo(encodeConnect({ clientId: euros, ...credentials }), '20 02 00 02');
  },
);

it('MQTT-3.1.1 [MQTT-3.1.4-1] a malformed CONNECT closes the connection without a CONNACK', async () => {
  const whole = encodeConnect({
    clientId: unique('c'),
    ...broker.credentials,
    will: { topicName: 'a', payload: 'x' },
  });
  const body = whole.subarray(2);
  for (let length = 0; length < body.length; length++) {
    await closedBy(encodePacket(1, 0, body.subarray(0, length)), `cut after ${length} bytes`);
  }
  await closedBy(encodePacket(1, 0, Buffer.concat([body, Buffer.from([0])])), 'one byte more');
});

it('MQTT-3.1.1 [MQTT-3.2.2-6] a will topic that is no topic name closes the connection without a CONNACK', async () => {
  for (const topicName of ['', 'a/#', '+', 'a/+/b', Buffer.from('a\0b')]) {
    const will = { topicName, payload: 'x' };
    const connect = { clientId: unique('c'), ...broker.credentials, will };
    await closedBy(encodeConnect(connect), String(topicName));
  }
});

it('MQTT-3.1.1 [MQTT-3.1.4-5] nothing that follows a refused CONNECT is processed', async () => {
  const topicName = unique('t');
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  const refused = await broker.open();
  refused.send(
    Buffer.concat([
      encodeConnect({ clientId: '', cleanSession: false, ...broker.credentials }),
      encodePublish({ topicName, payload: 'x', qos: 1, packetId: 1 }),
      PINGREQ,
    ]),
  );
  await expectBytes(refused, '20 02 00 02');
  await expectClosed(refused);
  await expectSilence(observer);
});

it.skipIf(OTHER)(
  'MQTT-3.1.1 [MQTT-3.1.4-5] nothing that follows a CONNECT with a wrong password is processed',
  async () => {
    const topicName = unique('t');
    const observer = await broker.connect();
    await observer.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
    const refused = await broker.open();
    const will = { topicName, payload: 'will' };
    refused.send(
      Buffer.concat([
        encodeConnect({ clientId: unique('c'), username: 'device', password: 'wrong', will }),
        encodePublish({ topicName, payload: 'x', qos: 1, packetId: 1, retain: true }),
        encodeSubscribe(1, [{ topicFilter: '#', qos: 0 }]),
      ]),
    );
    await expectBytes(refused, '20 02 00 04');
    await expectClosed(refused);
    await expectSilence(observer);
  },
);

it('MQTT-3.1.1 [MQTT-3.2.0-1] the first packet is a CONNACK, whatever waits for the client or follows its CONNECT', async () => {
  const clientId = unique('c');
  const topicName = unique('t');
  const { client } = await broker.resume(clientId);
  await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  client.destroy();
  await client.closed;
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: 'waits', qos: 1, retain: true });
  const again = await broker.open();
  again.send(
    Buffer.concat([
      encodeConnect({ clientId, cleanSession: false, ...broker.credentials }),
      encodeSubscribe(2, [{ topicFilter: topicName, qos: 1 }]),
      PINGREQ,
    ]),
  );
  await expectBytes(again, SESSION_PRESENT);
  await expectTypes(again, ['publish', 'publish', 'suback', 'pingresp']);
  await publish(publisher, { topicName, payload: '', qos: 1, retain: true });
});

it('MQTT-3.1.1 [MQTT-3.2.2-1] a clean session answers session present 0, even when there was a session', async () => {
  const clientId = unique('c');
  const kept = { clientId, cleanSession: false, ...broker.credentials };
  await answerTo(encodeConnect(kept), ACCEPTED);
  await answerTo(encodeConnect({ ...kept, cleanSession: true }), ACCEPTED);
  await answerTo(encodeConnect(kept), ACCEPTED);
});

it('MQTT-3.1.1 [MQTT-3.2.2-2] [MQTT-3.2.2-3] session present says whether there is stored state', async () => {
  const kept = { clientId: unique('c'), cleanSession: false, ...broker.credentials };
  await answerTo(encodeConnect(kept), ACCEPTED);
  await answerTo(encodeConnect(kept), SESSION_PRESENT);
  await answerTo(encodeConnect({ ...kept, clientId: unique('c') }), ACCEPTED);
});

it('MQTT-3.1.1 [MQTT-3.2.2-4] [MQTT-3.2.2-5] a refusal says session present 0 and closes the connection, also when there is a session', async () => {
  const clientId = unique('c');
  const { client } = await broker.resume(clientId);
  await client.subscribe(1, [{ topicFilter: 'a', qos: 1 }]);
  client.destroy();
  await client.closed;
  await answerTo(connectOf({ level: 6, flags: 0, fields: [clientId] }), '20 02 00 01');
  await answerTo(
    encodeConnect({ clientId, cleanSession: false, ...broker.credentials }),
    SESSION_PRESENT,
  );
});

it.skipIf(OTHER)(
  'MQTT-3.1.1 [MQTT-3.2.2-4] [MQTT-3.2.2-5] a wrong password is refused with 4 and neither ends nor shows the session',
  async () => {
    const clientId = unique('c');
    const kept = { clientId, cleanSession: false, ...broker.credentials };
    const { client } = await broker.resume(clientId);
    await answerTo(encodeConnect({ ...kept, password: 'wrong' }), '20 02 00 04');
    await answerTo(encodeConnect({ clientId, cleanSession: false }), '20 02 00 04');
    await answerTo(encodeConnect({ ...kept, cleanSession: true, password: '' }), '20 02 00 04');
    await publish(client, { topicName: unique('t'), payload: 'still here', qos: 1 });
    client.destroy();
    await client.closed;
    await answerTo(encodeConnect(kept), SESSION_PRESENT);
  },
);

it('MQTT-3.1.1 §3.1 packets that follow a CONNECT in the same segment are processed after it', async () => {
  const topicName = unique('t');
  const client = await broker.open();
  client.send(
    Buffer.concat([
      encodeConnect({ clientId: unique('c'), ...broker.credentials }),
      encodeSubscribe(7, [{ topicFilter: topicName, qos: 1 }]),
      encodePublish({ topicName, payload: '1', qos: 1, packetId: 8 }),
      encodePublish({ topicName, payload: '2' }),
    ]),
  );
  await expectBytes(client, ACCEPTED);
  await expectTypes(client, ['suback', 'puback', 'publish', 'publish']);
});

it('MQTT-3.1.1 §3.1 a CONNECT that comes byte by byte is accepted', async () => {
  const client = await broker.open();
  for (const byte of encodeConnect({ clientId: unique('c'), ...broker.credentials })) {
    client.send(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await expectBytes(client, ACCEPTED);
});

it('MQTT-3.1.1 §3.1.3.5 a client id may hold any characters that UTF-8 has, and names that mean something in JavaScript', async () => {
  for (const clientId of ['__proto__', 'constructor', 'toString', '/+#', 'ä€𝄞 ', '${clientid}']) {
    const topicName = unique('t');
    const { client } = await broker.resume(clientId);
    await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
    client.destroy();
    await client.closed;
    const publisher = await broker.connect();
    await publish(publisher, { topicName, payload: clientId, qos: 1 });
    const { client: again, sessionPresent } = await broker.resume(clientId);
    expect(sessionPresent, clientId).toBe(true);
    expect((await taken(again)).payload).toBe(clientId);
    again.destroy();
    await again.closed;
    (await broker.connect({ clientId })).destroy();
  }
});

it('MQTT-3.1.1 [MQTT-3.1.3-2] client ids that differ in one bit are different clients', async () => {
  const clientId = unique('c');
  const topicName = unique('t');
  const ids = [clientId, clientId.toUpperCase(), `${clientId} `, `${clientId}\u0301`];
  for (const [index, id] of ids.entries()) {
    const { client, sessionPresent } = await broker.resume(id);
    expect(sessionPresent, id).toBe(false);
    await client.subscribe(1, [{ topicFilter: `${topicName}/${index}`, qos: 1 }]);
    client.destroy();
    await client.closed;
  }
  const publisher = await broker.connect();
  for (const index of ids.keys()) {
    const id = index + 1;
    const message = { topicName: `${topicName}/${index}`, payload: `for ${index}`, qos: 1 };
    await publish(publisher, { ...message, packetId: id });
  }
  for (const [index, id] of ids.entries()) {
    const { client, sessionPresent } = await broker.resume(id);
    expect(sessionPresent, id).toBe(true);
    expect(await payloads(client, 1)).toEqual([`for ${index}`]);
    await expectSilence(client, 50);
  }
});
