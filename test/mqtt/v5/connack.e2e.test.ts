import { encodeConnect5, type RawConnect5 } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectRefusal,
  OTHER,
  payloads,
  strict,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

const FOREVER = 0xffff_ffff;
const SESSION_EXPIRY_SECONDS_MAX = 604_800;

it('MQTT-5.0 [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.2.2-1] CONNACK comes before the messages of a session that is resumed, and once', async () => {
  const clientId = unique('c');
  const topic = unique('t');
  const { client: first } = await broker.resume(clientId);
  await first.subscribe(topic);
  await first.disconnect();
  const publisher = await broker.connect();
  for (const payload of ['1', '2', '3']) await publisher.deliver({ topicName: topic, payload });
  const { client, connack } = await broker.resume(clientId);
  expect(connack).toMatchObject({ type: 'connack', sessionPresent: true, reasonCode: 0 });
  expect(await payloads(client, 3)).toEqual(['1', '2', '3']);
  await client.silence();
});

it('MQTT-5.0 [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] a refusal says Session Present 0 even when there is a session, and keeps it', async () => {
  const clientId = unique('c');
  const { client } = await broker.resume(clientId);
  await client.disconnect();
  const refused = await broker.open();
  const connack = await refused.connect({
    clientId,
    cleanStart: false,
    ...broker.device,
    properties: { authenticationMethod: 'no such method' },
  });
  expect([0x8c, 0x87]).toContain(connack.reasonCode);
  expect(connack.sessionPresent).toBe(false);
  expect(await refused.ending()).toEqual([]);
  expect((await broker.resume(clientId)).connack.sessionPresent).toBe(true);
});

it('MQTT-5.0 [MQTT-3.2.2-9] [MQTT-3.2.2-10] announces no lack of QoS, retained messages or kinds of subscriptions, because nothing lacks', async () => {
  const { connack } = await broker.session();
  for (const name of [
    'maximumQos',
    'retainAvailable',
    'wildcardSubscriptionAvailable',
    'subscriptionIdentifierAvailable',
    'sharedSubscriptionAvailable',
  ] as const) {
    expect([undefined, 1], name).toContain(connack.properties[name]);
  }
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.2.2-22] announces our limits, and no Server Keep Alive when the one of the client will do',
  async () => {
    const { connack } = await broker.session({ keepAliveSeconds: 1200 });
    expect(connack.properties).toMatchObject({
      receiveMaximum: 100,
      maximumPacketSize: 1_048_576,
      topicAliasMaximum: 16,
    });
    expect(connack.properties).not.toHaveProperty('serverKeepAlive');
    expect(connack.properties).not.toHaveProperty('assignedClientIdentifier');
    expect(connack.properties).not.toHaveProperty('sessionExpiryInterval');
  },
);

it.skipIf(OTHER)('tells a client that its session expires earlier than it asked for', async () => {
  for (const [asked, told] of [
    [SESSION_EXPIRY_SECONDS_MAX, undefined],
    [SESSION_EXPIRY_SECONDS_MAX + 1, SESSION_EXPIRY_SECONDS_MAX],
    [FOREVER, SESSION_EXPIRY_SECONDS_MAX],
  ] as const) {
    const { connack } = await broker.session({ properties: { sessionExpiryInterval: asked } });
    expect(connack.properties.sessionExpiryInterval, `${asked} s`).toBe(told);
  }
});

it('MQTT-5.0 [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.1.2-24] no CONNACK is larger than what the client takes', async () => {
  const refusals: readonly Partial<RawConnect5>[] = [
    {},
    ...strict<Partial<RawConnect5>>([
      { properties: { authenticationMethod: 'none' } },
      { clientId: 'i'.repeat(300) },
      { password: 'wrong' },
    ]),
  ];
  for (const options of refusals) {
    for (const maximumPacketSize of [1, 4, 5, 8, 16, 32, 64]) {
      const client = await broker.open();
      client.send(
        encodeConnect5({
          clientId: unique('c'),
          ...broker.device,
          ...options,
          properties: { ...options.properties, maximumPacketSize },
        }),
      );
      const packet = await client.receiveRaw(300).catch(() => undefined);
      const size = packet === undefined ? 0 : 2 + packet.body.length;
      expect(size, JSON.stringify(options)).toBeLessThanOrEqual(maximumPacketSize);
    }
  }
});

it('MQTT-5.0 [MQTT-3.2.2-12] [MQTT-3.2.2-13] takes a will of QoS 2 that is retained, because it supports both', async () => {
  const will = { topicName: unique('t'), payload: 'x', qos: 2, retain: true };
  const client = await broker.connect({ will });
  await client.disconnect();
});

it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.2.2-7] [MQTT-4.13.2-1] closes after a refusal, and not before it was sent',
  async () => {
    for (let count = 0; count < 5; count += 1) {
      const client = await broker.open();
      client.send(encodeConnect5({ clientId: unique('c'), username: 'device', password: 'wrong' }));
      await expectRefusal(client, 0x86);
    }
  },
);
