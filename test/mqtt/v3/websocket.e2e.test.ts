import {
  encodeAck,
  encodeConnect,
  encodePublish,
  encodeSubscribe,
  PINGREQ,
} from '@sallyport/test-kit';
import { afterEach, expect, it } from 'vitest';
import { opcodes, RawWebSocket } from '../../harness/raw-web-socket.ts';
import { OTHER, publish, taken, unique, useWireBroker } from '../../harness/wire-broker.ts';

const broker = useWireBroker();
const sockets: RawWebSocket[] = [];

afterEach(async () => {
  await Promise.all(sockets.splice(0).map((socket) => socket[Symbol.asyncDispose]()));
});

const ACCEPTED = '20020000';
const PINGRESP = 'd000';

/** An upgraded connection that has sent nothing yet. */
async function open(protocols = 'mqtt'): Promise<RawWebSocket> {
  const { webSocket, handshake } = await RawWebSocket.open(broker.wsPort, { protocols });
  sockets.push(webSocket);
  expect(handshake.status).toBe(101);
  return webSocket;
}

async function connected(clientId = unique('c')): Promise<RawWebSocket> {
  const webSocket = await open();
  webSocket.send(encodeConnect({ clientId, ...broker.credentials }));
  expect((await webSocket.bytes(4)).toString('hex')).toBe(ACCEPTED);
  return webSocket;
}

/** The connection ends; a close frame may come before that, and nothing else. */
async function expectEnd(webSocket: RawWebSocket, because = ''): Promise<void> {
  const answer = await webSocket.receive().then(
    ({ opcode }) => opcode,
    (error: Error) => error.message,
  );
  expect([opcodes.close, 'the connection has ended'], because).toContain(answer);
  if (answer === opcodes.close) {
    webSocket.send(Buffer.from([0x03, 0xe8]), opcodes.close);
    await webSocket.closed;
  }
}

it('MQTT-3.1.1 [MQTT-6.0.0-1] packets come and go in binary frames', async () => {
  const webSocket = await connected();
  const topicName = unique('t');
  webSocket.send(encodeSubscribe(1, [{ topicFilter: topicName, qos: 1 }]));
  expect((await webSocket.bytes(5)).toString('hex')).toBe('9003000101');
  const overTcp = await broker.connect();
  await publish(overTcp, { topicName, payload: 'over TCP', qos: 1 });
  const message = await webSocket.bytes(4 + topicName.length + 2 + 8);
  expect(message.toString()).toContain('over TCP');
  const packetId = message.readUInt16BE(4 + topicName.length);
  webSocket.send(encodeAck('puback', packetId));
  await overTcp.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  webSocket.send(encodePublish({ topicName, payload: 'over WebSocket' }));
  expect((await taken(overTcp)).payload).toBe('over WebSocket');
});

it('MQTT-3.1.1 [MQTT-6.0.0-1] a text frame closes the connection', async () => {
  const before = await open();
  before.send(encodeConnect({ clientId: unique('c'), ...broker.credentials }), opcodes.text);
  await expectEnd(before, 'instead of CONNECT');
  const after = await connected();
  after.send(PINGREQ, opcodes.text);
  await expectEnd(after, 'after CONNECT');
});

it('MQTT-3.1.1 [MQTT-6.0.0-1] the will is published when a text frame closes the connection', async () => {
  const topicName = unique('t');
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  const webSocket = await open();
  const will = { topicName, payload: 'gone', qos: 1 };
  webSocket.send(encodeConnect({ clientId: unique('c'), ...broker.credentials, will }));
  await webSocket.bytes(4);
  webSocket.send(PINGREQ, opcodes.text);
  expect((await taken(observer)).payload).toBe('gone');
});

it('MQTT-3.1.1 [MQTT-6.0.0-2] a frame may hold several packets, or a part of one', async () => {
  const webSocket = await open();
  const topicName = unique('t');
  const bytes = Buffer.concat([
    encodeConnect({ clientId: unique('c'), ...broker.credentials }),
    encodeSubscribe(1, [{ topicFilter: topicName, qos: 0 }]),
    PINGREQ,
  ]);
  webSocket.send(bytes);
  const answers = (await webSocket.bytes(11)).toString('hex');
  const suback = '9003000100';
  // Nothing says that a PINGREQ waits for a SUBSCRIBE.
  expect([`${suback}${PINGRESP}`, `${PINGRESP}${suback}`]).toContain(answers.slice(8));
  expect(answers.slice(0, 8)).toBe(ACCEPTED);
  const message = encodePublish({ topicName, payload: 'in pieces' });
  for (const byte of message) webSocket.send(Buffer.from([byte]));
  expect((await webSocket.bytes(message.length)).equals(message)).toBe(true);
  webSocket.send(Buffer.concat([PINGREQ, message.subarray(0, 3)]));
  expect((await webSocket.bytes(2)).toString('hex')).toBe(PINGRESP);
  webSocket.send(Buffer.concat([message.subarray(3), PINGREQ.subarray(0, 1)]));
  expect((await webSocket.bytes(message.length)).equals(message)).toBe(true);
  webSocket.send(PINGREQ.subarray(1));
  expect((await webSocket.bytes(2)).toString('hex')).toBe(PINGRESP);
});

it('MQTT-3.1.1 [MQTT-6.0.0-2] a message in fragments is put together, with control frames between them', async () => {
  const webSocket = await connected();
  const topicName = unique('t');
  webSocket.send(encodeSubscribe(1, [{ topicFilter: topicName, qos: 0 }]));
  await webSocket.bytes(5);
  const message = encodePublish({ topicName, payload: 'fragments' });
  webSocket.send(message.subarray(0, 1), opcodes.binary, { final: false });
  webSocket.send(message.subarray(1, 6), opcodes.continuation, { final: false });
  webSocket.send(Buffer.from('hello'), opcodes.ping);
  const pong = await webSocket.receive();
  expect([pong.opcode, pong.payload.toString()]).toEqual([opcodes.pong, 'hello']);
  webSocket.send(message.subarray(6), opcodes.continuation);
  expect((await webSocket.bytes(message.length)).equals(message)).toBe(true);
});

it('MQTT-3.1.1 [MQTT-6.0.0-2] messages of 125, 126, 65535 and 65536 bytes pass', async () => {
  const webSocket = await connected();
  const topicName = unique('t');
  webSocket.send(encodeSubscribe(1, [{ topicFilter: topicName, qos: 0 }]));
  await webSocket.bytes(5);
  for (const length of [125, 126, 65_535, 65_536]) {
    const rest =
      length - encodePublish({ topicName, payload: Buffer.alloc(length) }).length + length;
    const message = encodePublish({ topicName, payload: Buffer.alloc(rest, 'x') });
    webSocket.send(message);
    expect((await webSocket.bytes(message.length)).equals(message), `${length}`).toBe(true);
  }
});

it('MQTT-3.1.1 [MQTT-6.0.0-4] the sub-protocol that is selected is mqtt', async () => {
  for (const protocols of ['mqtt', 'mqttv3.1, mqtt', 'foo, mqtt , bar']) {
    const { webSocket, handshake } = await RawWebSocket.open(broker.wsPort, { protocols });
    sockets.push(webSocket);
    expect(handshake.status).toBe(101);
    expect(handshake.headers.get('sec-websocket-protocol'), protocols).toBe('mqtt');
  }
});

it.skipIf(OTHER)(
  'MQTT-3.1.1 [MQTT-6.0.0-3] an upgrade that does not offer mqtt is refused',
  async () => {
    for (const protocols of [undefined, '', 'foo', 'MQTT', 'mqtt2', 'mqttv5']) {
      const { webSocket, handshake } = await RawWebSocket.open(broker.wsPort, { protocols });
      sockets.push(webSocket);
      expect(handshake.status, protocols).toBe(400);
      await webSocket.closed;
    }
  },
);

it.skipIf(OTHER)(
  'RFC 6455 an upgrade of another path, or another request, is refused',
  async () => {
    const { handshake } = await RawWebSocket.open(broker.wsPort, { path: '/', protocols: 'mqtt' });
    expect(handshake.status).toBe(404);
    const plain = await fetch(`http://127.0.0.1:${broker.wsPort}/mqtt`);
    expect(plain.status).toBe(426);
  },
);

it('RFC 6455 §5.1 a frame that is not masked closes the connection', async () => {
  const webSocket = await connected();
  webSocket.send(PINGREQ, opcodes.binary, { masked: false });
  await expectEnd(webSocket);
});

it('MQTT-3.1.1 [MQTT-3.14.4-3] DISCONNECT over WebSocket ends the connection without the will', async () => {
  const topicName = unique('t');
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  const webSocket = await open();
  const will = { topicName, payload: 'gone', qos: 1 };
  webSocket.send(encodeConnect({ clientId: unique('c'), ...broker.credentials, will }));
  await webSocket.bytes(4);
  webSocket.send(Buffer.from([0xe0, 0]));
  await expectEnd(webSocket);
  await publish(await broker.connect(), { topicName, payload: 'marker', qos: 1 });
  expect((await taken(observer)).payload).toBe('marker');
});

it('MQTT-3.1.1 [MQTT-3.1.2-8] a close frame without DISCONNECT is a lost connection: the will is published', async () => {
  const topicName = unique('t');
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  const webSocket = await open();
  const will = { topicName, payload: 'gone', qos: 1 };
  webSocket.send(encodeConnect({ clientId: unique('c'), ...broker.credentials, will }));
  await webSocket.bytes(4);
  webSocket.send(Buffer.from([0x03, 0xe8]), opcodes.close);
  expect((await taken(observer)).payload).toBe('gone');
  await webSocket.closed;
});
