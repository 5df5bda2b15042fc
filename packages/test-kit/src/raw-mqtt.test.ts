import { type Server, type Socket, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { RawMqttClient } from './raw-mqtt-client.ts';
import {
  decodePacket,
  decodePublish,
  encodeAck,
  encodeConnect,
  encodePublish,
  encodeRemainingLength,
  encodeSubscribe,
} from './raw-mqtt.ts';

describe('encoding', () => {
  it.each([
    [0, '00'],
    [127, '7f'],
    [128, '8001'],
    [16_383, 'ff7f'],
    [16_384, '808001'],
    [268_435_455, 'ffffff7f'],
  ])('MQTT-3.1.1 §2.2.3 length %i is %s', (length, hex) => {
    expect(encodeRemainingLength(length).toString('hex')).toBe(hex);
  });

  it('MQTT-3.1.1 §3.1 CONNECT with everything', () => {
    const bytes = encodeConnect({
      clientId: 'c',
      cleanSession: false,
      keepAliveSeconds: 10,
      username: 'u',
      password: 'p',
      will: { topicName: 'w', payload: 'x', qos: 1, retain: true },
    });
    expect(bytes.toString('hex')).toBe('101900044d51545404ec000a000163000177000178000175000170');
  });

  it('MQTT-3.1.1 §3.8, §3.3, §3.6 SUBSCRIBE, PUBLISH and PUBREL', () => {
    const subscribe = encodeSubscribe(10, [{ topicFilter: 'a/b', qos: 1 }]);
    expect(subscribe.toString('hex')).toBe('8208000a0003612f6201');
    const publish = encodePublish({ topicName: 'a/b', payload: 'hi', qos: 1, packetId: 3 });
    expect(publish.toString('hex')).toBe('32090003612f6200036869');
    expect(encodeAck('pubrel', 258).toString('hex')).toBe('62020102');
  });
});

describe('decoding', () => {
  it('waits for a whole packet and keeps what follows', () => {
    const bytes = Buffer.concat([
      encodePublish({
        topicName: 'ü',
        payload: 'x'.repeat(200),
        qos: 2,
        packetId: 7,
        retain: true,
      }),
      Buffer.from([0xd0]),
    ]);
    for (let end = 0; end < bytes.length - 1; end += 1) {
      expect(decodePacket(bytes.subarray(0, end))).toBeUndefined();
    }
    const decoded = decodePacket(bytes);
    expect(decoded?.rest).toEqual(Buffer.from([0xd0]));
    expect(decoded && decodePublish(decoded.packet)).toMatchObject({
      topicName: 'ü',
      qos: 2,
      retain: true,
      duplicate: false,
      packetId: 7,
      payload: Buffer.from('x'.repeat(200)),
    });
  });

  it('refuses a length of five bytes', () => {
    expect(() => decodePacket(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01]))).toThrow('length');
  });
});

describe('RawMqttClient', () => {
  let server: Server | undefined;
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server?.close();
  });

  async function serve(onConnection: (socket: Socket) => void): Promise<RawMqttClient> {
    server = createServer((socket) => {
      sockets.push(socket);
      onConnection(socket);
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return RawMqttClient.open((server.address() as AddressInfo).port);
  }

  it('reads packets in order, however the bytes are cut', async () => {
    const connack = Buffer.from([0x20, 2, 1, 0]);
    const suback = Buffer.from([0x90, 4, 0, 10, 1, 0x80]);
    await using client = await serve((socket) => {
      socket.once('data', () => {
        socket.write(connack.subarray(0, 3));
        setImmediate(() => socket.write(Buffer.concat([connack.subarray(3), suback])));
      });
    });
    expect(await client.connect({ clientId: 'c' })).toEqual({
      returnCode: 0,
      sessionPresent: true,
    });
    expect(await client.subscribe(10, [{ topicFilter: 'a', qos: 1 }])).toEqual([1, 0x80]);
  });

  it('gives packets that were put back again, before all others', async () => {
    await using client = await serve((socket) => socket.write(Buffer.from('d000c000e000', 'hex')));
    const [first, second] = [await client.receive(), await client.receive()];
    client.putBack([first, second]);
    const types = [await client.receive(), await client.receive(), await client.receive()];
    expect(types.map(({ type }) => type)).toEqual([13, 12, 14]);
  });

  it('rejects when the connection ends, another packet comes, or nothing does', async () => {
    await using client = await serve((socket) => socket.write(Buffer.from([0xd0, 0])));
    await expect(client.expect('connack')).rejects.toThrow('expected connack, got type 13');
    await expect(client.receive(20)).rejects.toThrow('no packet came within 20 ms');
    const waiting = client.receive();
    sockets[0]?.destroy();
    await expect(waiting).rejects.toThrow('ended');
    await client.closed;
    await expect(client.receive()).rejects.toThrow('ended');
  });
});
