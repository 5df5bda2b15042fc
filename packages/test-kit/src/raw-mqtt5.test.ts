import { type AddressInfo, type Server, type Socket, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { decodePacket, encodePacket } from './raw-mqtt.ts';
import { RawMqtt5Client } from './raw-mqtt5-client.ts';
import { encodeMqtt5Properties, encodeMqtt5Property } from './raw-mqtt5-properties.ts';
import {
  decodeMqtt5Packet,
  encodeAck5,
  encodeAuth5,
  encodeConnect5,
  encodeDisconnect5,
  encodePublish5,
  encodeSubscribe5,
  encodeUnsubscribe5,
  type Mqtt5ServerPacket,
} from './raw-mqtt5.ts';

function decode(bytes: Buffer): Mqtt5ServerPacket {
  const decoded = decodePacket(bytes);
  if (decoded === undefined) throw new Error('not a whole packet');
  return decodeMqtt5Packet(decoded.packet);
}

const decodeHex = (hex: string): Mqtt5ServerPacket =>
  decode(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

describe('encoding', () => {
  it('MQTT-5.0 §2.2.2.2 every property under its identifier, in the order given', () => {
    const bytes = encodeMqtt5Properties({
      payloadFormatIndicator: 1,
      messageExpiryInterval: 2,
      contentType: 't',
      correlationData: Buffer.from([0, 255]),
      subscriptionIdentifiers: [1, 268_435_455],
      receiveMaximum: 258,
      userProperties: [
        ['k', 'v'],
        ['k', ''],
      ],
    });
    expect(bytes.toString('hex')).toBe(
      '27' +
        '0101' +
        '0200000002' +
        '03000174' +
        '09000200ff' +
        '0b010bffffff7f' +
        '210102' +
        '2600016b000176' +
        '2600016b0000',
    );
    expect(encodeMqtt5Properties().toString('hex')).toBe('00');
  });

  it('sends bytes as they are where properties or strings should stand', () => {
    expect(encodeMqtt5Properties(Buffer.from([0xff])).toString('hex')).toBe('01ff');
    const twice = [encodeMqtt5Property('topicAlias', 1), encodeMqtt5Property('topicAlias', 2)];
    expect(encodeMqtt5Properties(Buffer.concat(twice)).toString('hex')).toBe('06230001230002');
    expect(encodeMqtt5Property('contentType', Buffer.from([0xc0])).toString('hex')).toBe(
      '030001c0',
    );
  });

  it('MQTT-5.0 §3.1 CONNECT with everything', () => {
    const bytes = encodeConnect5({
      clientId: 'c',
      cleanStart: false,
      keepAliveSeconds: 10,
      properties: { sessionExpiryInterval: 1 },
      username: 'u',
      password: 'p',
      will: {
        topicName: 'w',
        payload: 'x',
        qos: 1,
        retain: true,
        properties: { willDelayInterval: 5 },
      },
    });
    expect(bytes.toString('hex')).toBe(
      '1025' +
        '00044d515454' +
        '05ec000a' +
        '051100000001' +
        '000163' +
        '051800000005' + //
        '000177000178' +
        '000175' +
        '000170',
    );
  });

  it('MQTT-5.0 §3.1.2.3 CONNECT with flags of the caller', () => {
    expect(encodeConnect5({ clientId: 'c', flags: 0x03 })[9]).toBe(3);
  });

  it('MQTT-5.0 §3.3, §3.8, §3.10 PUBLISH, SUBSCRIBE and UNSUBSCRIBE', () => {
    const publish = encodePublish5({ topicName: 'a', payload: 'hi', qos: 1, packetId: 3 });
    expect(publish.toString('hex')).toBe('3208' + '000161' + '0003' + '00' + '6869');
    const subscribe = encodeSubscribe5(
      10,
      [{ topicFilter: 'a', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 }],
      { subscriptionIdentifiers: [7] },
    );
    expect(subscribe.toString('hex')).toBe('8209' + '000a' + '020b07' + '000161' + '2d');
    expect(encodeUnsubscribe5(10, ['a']).toString('hex')).toBe('a206' + '000a' + '00' + '000161');
  });

  it('MQTT-5.0 §3.4–§3.7, §3.14, §3.15 acknowledgements, DISCONNECT and AUTH, as short as they may be', () => {
    expect(encodeAck5('pubrel', 258).toString('hex')).toBe('62020102');
    expect(encodeAck5('puback', 1, 0x10).toString('hex')).toBe('4003000110');
    expect(encodeAck5('pubrec', 1, 0, {}).toString('hex')).toBe('500400010000');
    expect(encodeDisconnect5().toString('hex')).toBe('e000');
    expect(encodeDisconnect5(4, { reasonString: 'r' }).toString('hex')).toBe('e00604041f000172');
    expect(encodeAuth5(0x18, {}).toString('hex')).toBe('f0021800');
  });
});

describe('decoding', () => {
  it('reads a PUBLISH with all its properties', () => {
    const properties = {
      payloadFormatIndicator: 1,
      messageExpiryInterval: 4_294_967_295,
      topicAlias: 65_535,
      responseTopic: '\u{feff}r',
      correlationData: Buffer.from([0, 1]),
      subscriptionIdentifiers: [1, 128],
      userProperties: [
        ['a', 'b'],
        ['a', 'c'],
      ],
      contentType: 'text',
    } as const;
    const options = { topicName: 'ü', payload: 'x'.repeat(200), qos: 2, packetId: 7 };
    const bytes = encodePublish5({ ...options, retain: true, duplicate: true, properties });
    expect(decode(bytes)).toEqual({
      ...options,
      type: 'publish',
      retain: true,
      duplicate: true,
      properties,
      payload: Buffer.from(options.payload),
    });
  });

  it('reads the other packets of a server, long and short', () => {
    expect(decodeHex('20 06 01 00 03 21 0064')).toEqual({
      type: 'connack',
      sessionPresent: true,
      reasonCode: 0,
      properties: { receiveMaximum: 100 },
    });
    expect(decodeHex('20 02 00 84')).toMatchObject({ reasonCode: 0x84, properties: {} });
    expect(decodeHex('40 02 0001')).toEqual({
      type: 'puback',
      packetId: 1,
      reasonCode: 0,
      properties: {},
    });
    expect(decodeHex('62 03 0001 92')).toMatchObject({ type: 'pubrel', reasonCode: 0x92 });
    expect(decodeHex('90 05 0001 00 02 87')).toMatchObject({ reasonCodes: [2, 0x87] });
    expect(decodeHex('b0 04 0001 00 11')).toMatchObject({ type: 'unsuback', reasonCodes: [0x11] });
    expect(decodeHex('d0 00')).toEqual({ type: 'pingresp' });
    expect(decodeHex('e0 06 8e 04 1f 0001 74')).toEqual({
      type: 'disconnect',
      reasonCode: 0x8e,
      properties: { reasonString: 't' },
    });
    expect(decodeHex('f0 05 18 03 15 0000')).toMatchObject({ type: 'auth', reasonCode: 0x18 });
  });

  it.each([
    ['a packet that only clients send', 'c0 00', 'sends no packet of type 12'],
    ['flags of the fixed header', 'd1 00', 'flags 1'],
    ['a PUBREL without its flag', '60 02 0001', 'flags 0'],
    ['reserved flags of CONNACK', '20 03 02 00 00', 'reserved flags'],
    ['a reason code of another packet', '40 03 0001 8e', 'reason code 0x8e'],
    ['a property of another packet', '40 07 0001 00 03 21 0001', 'property 0x21 is not allowed'],
    ['a Session Expiry Interval in DISCONNECT', 'e0 07 00 05 11 00000001', 'property 0x11'],
    ['a property twice', '20 09 00 00 06 21 0001 21 0001', 'occurs twice'],
    ['properties that reach beyond the packet', '20 04 00 00 04 21', 'beyond the packet'],
    ['a length that is not minimal', '20 04 00 00 80 00', 'not minimal'],
    ['a length of more than four bytes', '20 07 00 00 80 80 80 80 01', 'more than four bytes'],
    ['bytes after the end', 'd0 01 00', 'after the end of pingresp'],
    ['QoS 3', '36 05 0000 0001 00', 'QoS 3'],
    ['DUP with QoS 0', '38 03 0000 00', 'QoS 0 and DUP'],
    ['packet id 0', '32 05 0000 0000 00', 'packet id 0'],
    ['a string that is not UTF-8', '30 04 0001 ff 00', 'encoded data'],
    ['a string with U+0000', '30 04 0001 00 00', 'U+0000'],
  ])('refuses %s', (_what, hex, message) => {
    expect(() => decodeHex(hex)).toThrow(message);
  });
});

describe('RawMqtt5Client', () => {
  let server: Server | undefined;
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server?.close();
  });

  /** A server that answers each thing that comes with the next of these. */
  async function serve(...answers: readonly (string | undefined)[]): Promise<RawMqtt5Client> {
    const rest = [...answers];
    server = createServer((socket) => {
      sockets.push(socket);
      socket.on('data', () => {
        const answer = rest.shift();
        if (answer === undefined) socket.end();
        else socket.write(Buffer.from(answer.replaceAll(' ', ''), 'hex'));
      });
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return RawMqtt5Client.open((server.address() as AddressInfo).port);
  }

  const publishZero = '30 05 0001 61 00 78';

  it('keeps what comes before the answer that it waits for', async () => {
    await using client = await serve('20 03 00 00 00', `${publishZero} 90 04 0001 00 02`);
    expect(await client.connect({ clientId: 'c' })).toMatchObject({ reasonCode: 0 });
    expect(await client.subscribe('a')).toMatchObject({ reasonCodes: [2] });
    expect(await client.take()).toMatchObject({ topicName: 'a', payload: Buffer.from('x') });
  });

  it('completes a publish of QoS 2, and stops when PUBREC refuses', async () => {
    await using client = await serve('50 02 0001', '70 02 0001', '50 03 0002 87');
    expect(await client.deliver({ topicName: 'a', payload: '', qos: 2 })).toBe(0);
    expect(await client.deliver({ topicName: 'a', payload: '', qos: 2 })).toBe(0x87);
  });

  it('acknowledges what it takes', async () => {
    await using client = await serve('34 06 0001 61 0007 00', '62 02 0007', 'd0 00');
    client.send(Buffer.from([0]));
    expect(await client.take()).toMatchObject({ qos: 2, packetId: 7 });
    expect(await client.expect('pingresp')).toEqual({ type: 'pingresp' });
  });

  it('fails on a packet of another type, and on a DISCONNECT instead of an answer', async () => {
    await using client = await serve('d0 00', 'e0 01 82');
    client.send(Buffer.from([0]));
    await expect(client.expect('connack')).rejects.toThrow('expected connack, got {"type":"ping');
    await expect(client.subscribe('a')).rejects.toThrow('expected suback, got {"type":"disc');
  });

  it('tells silence from a packet, from an early one, and from the end', async () => {
    await using client = await serve('d0 00', `${publishZero} d0 00`, undefined);
    await client.silence(20);
    client.send(Buffer.from([0]));
    await expect(client.silence(1000)).rejects.toThrow('expected nothing, got {"type":"pingresp"}');
    await client.ping();
    await expect(client.silence(20)).rejects.toThrow('"topicName":"a"');
    await client.take();
    client.send(Buffer.from([0]));
    await expect(client.silence(1000)).rejects.toThrow('has ended');
  });

  it('reads what comes before the end, and wants the end', async () => {
    await using client = await serve('e0 01 82', undefined);
    client.send(Buffer.from([0]));
    await expect(client.ending(30)).rejects.toThrow('not closed within 30 ms');
    client.send(encodePacket(12, 0, Buffer.alloc(0)));
    expect(await client.ending()).toEqual([
      { type: 'disconnect', reasonCode: 0x82, properties: {} },
    ]);
  });
});
