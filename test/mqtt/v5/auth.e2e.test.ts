import {
  encodeAuth5,
  encodeConnect5,
  encodeDisconnect5,
  encodeMqtt5Property,
  encodePacket,
  encodePublish5,
  encodeSubscribe5,
  mqtt5PacketTypes,
  PINGREQ,
  type RawMqtt5Client,
  ScramClient,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  expectRefusal,
  OTHER,
  strict,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

it('MQTT-5.0 [MQTT-4.12.0-1] [MQTT-4.12.0-4] refuses an Authentication Method that it does not know with 0x8C', async () => {
  for (const properties of [
    { authenticationMethod: 'no such method' },
    { authenticationMethod: '' },
    { authenticationMethod: 'scram-sha-256' },
    { authenticationMethod: 'GS2-KRB5', authenticationData: Buffer.from('data') },
  ]) {
    const client = await broker.open();
    client.send(encodeConnect5({ clientId: unique('c'), ...broker.device, properties }));
    await expectRefusal(client, [0x8c, 0x87], properties.authenticationMethod);
  }
});

it('MQTT-5.0 [MQTT-4.12.0-6] says nothing of authentication to a client that has not named a method', async () => {
  const { client, connack } = await broker.session();
  expect(connack.properties).not.toHaveProperty('authenticationMethod');
  expect(connack.properties).not.toHaveProperty('authenticationData');
  await client.silence();
});

it('MQTT-5.0 [MQTT-4.12.0-7] [MQTT-4.12.1-1] answers AUTH of a client that has not named a method with DISCONNECT 0x82', async () => {
  for (const code of [0x18, 0x19]) {
    const client = await broker.connect();
    client.send(encodeAuth5(code, { authenticationMethod: 'SCRAM-SHA-256' }));
    await expectDisconnect(client, 0x82, `0x${code.toString(16)}`);
  }
});

it('MQTT-5.0 [MQTT-3.15.1-1] [MQTT-2.1.3-1] answers AUTH with flags with DISCONNECT 0x81', async () => {
  const body = encodeAuth5(0x19, { authenticationMethod: 'SCRAM-SHA-256' }).subarray(2);
  for (const flags of [1, 2, 8]) {
    const client = await broker.connect();
    client.send(encodePacket(mqtt5PacketTypes.auth, flags, body));
    await expectDisconnect(client, [0x81, 0x82], String(flags));
  }
});

it('MQTT-5.0 [MQTT-3.15.2-1] [MQTT-4.13.1-1] answers AUTH that is not well-formed with DISCONNECT', async () => {
  const method = encodeMqtt5Property('authenticationMethod', 'x');
  const cases: readonly (readonly [string, Buffer, ...number[]])[] = [
    ['no reason', encodeAuth5(), 0x82],
    ['no method', encodeAuth5(0x19, {}), 0x82],
    ['a reason of another packet', encodeAuth5(0x80, { authenticationMethod: 'x' }), 0x82],
    ['the method twice', encodeAuth5(0x19, Buffer.concat([method, method])), 0x82],
    ['a property of another packet', encodeAuth5(0x19, { topicAlias: 1 }), 0x81],
  ];
  for (const [what, bytes, code = 0] of cases) {
    const client = await broker.connect();
    client.send(bytes);
    await expectDisconnect(client, [code, 0x81, 0x82], what);
  }
});

/** A client in the middle of its handshake: a challenge has come, and no CONNACK. */
async function challenged(maximumPacketSize = 1000): Promise<RawMqtt5Client> {
  const scram = new ScramClient({
    mechanism: 'SCRAM-SHA-256',
    username: 'device',
    password: 'whatever',
  });
  const client = await broker.open();
  client.send(
    encodeConnect5({
      clientId: unique('c'),
      properties: {
        maximumPacketSize,
        authenticationMethod: 'SCRAM-SHA-256',
        authenticationData: scram.first(),
      },
    }),
  );
  return client;
}

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.15.2-2] [MQTT-3.15.2-3] [MQTT-4.12.0-2] [MQTT-4.12.0-5] challenges with AUTH 0x18 that has the method and the data, and nothing that could be left out',
  async () => {
    const client = await challenged();
    const { reasonCode, properties } = await client.expect('auth');
    expect(reasonCode).toBe(0x18);
    expect(Object.keys(properties).sort()).toEqual(['authenticationData', 'authenticationMethod']);
    expect(properties.authenticationMethod).toBe('SCRAM-SHA-256');
  },
);

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.1.2-30] [MQTT-3.14.0-1] [MQTT-4.12.0-4] ends a handshake in which something else than AUTH or DISCONNECT comes, and does nothing with it',
  async () => {
    const topic = unique('t');
    const watcher = await broker.connect();
    await watcher.subscribe(topic);
    for (const bytes of [
      encodePublish5({ topicName: topic, payload: 'x' }),
      encodeSubscribe5(1, [{ topicFilter: topic, qos: 0 }]),
      PINGREQ,
      encodeConnect5({ clientId: unique('c'), ...broker.device }),
    ]) {
      const client = await challenged();
      await client.expect('auth');
      client.send(bytes);
      await expectRefusal(client, 0x82, bytes.toString('hex', 0, 1));
    }
    const leaving = await challenged();
    await leaving.expect('auth');
    leaving.send(encodeDisconnect5());
    expect(await leaving.ending()).toEqual([]);
    await watcher.silence();
  },
);

it('MQTT-5.0 [MQTT-3.1.0-1] closes a connection that begins with AUTH, without a word', async () => {
  const client = await broker.open();
  client.send(encodeAuth5(0x18, { authenticationMethod: 'SCRAM-SHA-256' }));
  expect(await client.ending()).toEqual([]);
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-4.13.1-1] refuses Authentication Data without a method with 0x82',
  async () => {
    for (const properties of strict([{ authenticationData: Buffer.from('x') }])) {
      const client = await broker.open();
      client.send(encodeConnect5({ clientId: unique('c'), ...broker.device, properties }));
      await expectRefusal(client, 0x82);
    }
  },
);
