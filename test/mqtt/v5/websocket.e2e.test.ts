import {
  decodeMqtt5Packet,
  decodePacket,
  encodeConnect5,
  encodePublish5,
  encodeSubscribe5,
  type Mqtt5ServerPacket,
  PINGREQ,
} from '@sallyport/test-kit';
import { afterEach, expect, it } from 'vitest';
import { type Handshake, opcodes, RawWebSocket } from '../../harness/raw-web-socket.ts';
import { OTHER, unique, useWireBroker5 } from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();
const sockets: RawWebSocket[] = [];

afterEach(async () => {
  await Promise.all(sockets.splice(0).map((socket) => socket[Symbol.asyncDispose]()));
});

async function open(
  protocols = 'mqtt',
): Promise<{ readonly socket: RawWebSocket; readonly handshake: Handshake }> {
  const { webSocket, handshake } = await RawWebSocket.open(broker.wsPort, { protocols });
  sockets.push(webSocket);
  return { socket: webSocket, handshake };
}

const chosen = ({ status, headers }: Handshake): unknown => [
  status,
  headers.get('sec-websocket-protocol'),
];

const connectBytes = (): Buffer => encodeConnect5({ clientId: unique('c'), ...broker.device });

/** The next packets, however they are framed; every frame must be binary. */
async function packets(socket: RawWebSocket, howMany: number): Promise<Mqtt5ServerPacket[]> {
  const found: Mqtt5ServerPacket[] = [];
  let bytes = Buffer.alloc(0);
  while (found.length < howMany) {
    bytes = Buffer.concat([bytes, await socket.bytes(1)]);
    for (let one = decodePacket(bytes); one !== undefined; one = decodePacket(bytes)) {
      found.push(decodeMqtt5Packet(one.packet));
      bytes = Buffer.from(one.rest);
    }
  }
  return found;
}

const typesOf = (found: readonly Mqtt5ServerPacket[]): string[] =>
  found.map(({ type }) => type).sort();

it('MQTT-5.0 [MQTT-6.0.0-4] [MQTT-6.0.0-1] [MQTT-4.2.0-1] chooses the subprotocol mqtt and speaks MQTT 5 in binary frames', async () => {
  const { socket, handshake } = await open();
  expect(chosen(handshake)).toEqual([101, 'mqtt']);
  socket.send(connectBytes());
  expect(await packets(socket, 1)).toMatchObject([{ type: 'connack', reasonCode: 0 }]);
  socket.send(PINGREQ);
  expect(await packets(socket, 1)).toEqual([{ type: 'pingresp' }]);
});

// mosquitto 2.0.11 takes the name that comes first.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-6.0.0-4] [MQTT-6.0.0-3] chooses mqtt among others, and refuses a client that does not offer it',
  async () => {
    for (const protocols of ['chat, mqtt', 'mqtt, chat']) {
      expect(chosen((await open(protocols)).handshake)).toEqual([101, 'mqtt']);
    }
    for (const protocols of ['chat', 'mqtt5', 'MQTT']) {
      expect((await open(protocols)).handshake.status, protocols).not.toBe(101);
    }
  },
);

it('MQTT-5.0 [MQTT-6.0.0-2] takes packets as they come: several in a frame, one in several frames', async () => {
  const topic = unique('t');
  const { socket } = await open();
  const publish = encodePublish5({ topicName: topic, payload: 'x'.repeat(150) });
  const stream = Buffer.concat([
    connectBytes(),
    encodeSubscribe5(1, [{ topicFilter: topic, qos: 0 }]),
    publish,
    publish,
    PINGREQ,
  ]);
  for (let at = 0; at < stream.length; at += 37) socket.send(stream.subarray(at, at + 37));
  expect(typesOf(await packets(socket, 5))).toEqual(
    ['connack', 'suback', 'publish', 'publish', 'pingresp'].sort(),
  );
  socket.send(Buffer.concat([publish, publish, PINGREQ]));
  expect(typesOf(await packets(socket, 3))).toEqual(['publish', 'publish', 'pingresp'].sort());
});

it('MQTT-5.0 [MQTT-6.0.0-2] takes a packet in a message of several fragments', async () => {
  const { socket } = await open();
  const bytes = connectBytes();
  socket.send(bytes.subarray(0, 5), opcodes.binary, { final: false });
  socket.send(bytes.subarray(5, 12), opcodes.continuation, { final: false });
  socket.send(bytes.subarray(12), opcodes.continuation);
  expect(await packets(socket, 1)).toMatchObject([{ type: 'connack', reasonCode: 0 }]);
});

// mosquitto 2.0.11 takes them.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-6.0.0-1] closes a connection that sends a text frame',
  async () => {
    for (const when of ['first', 'later'] as const) {
      const { socket } = await open();
      if (when === 'later') {
        socket.send(connectBytes());
        await packets(socket, 1);
        socket.send(PINGREQ, opcodes.text);
      } else {
        socket.send(connectBytes(), opcodes.text);
      }
      await socket.closed;
      // A frame that says goodbye may have come, and nothing of MQTT but DISCONNECT.
      for (;;) {
        const frame = await socket.receive(1).catch(() => undefined);
        if (frame === undefined) break;
        if (frame.opcode === opcodes.binary) expect((frame.payload[0] ?? 0) >> 4).toBe(14);
      }
    }
  },
);
