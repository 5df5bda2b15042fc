import { encodeMqtt5Property, type RawMqtt5Client } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import { expectDisconnect, unique, useWireBroker5 } from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

async function pair(): Promise<{
  readonly root: string;
  readonly subscriber: RawMqtt5Client;
  readonly publisher: RawMqtt5Client;
  readonly aliasMaximum: number;
}> {
  const root = unique('t');
  const subscriber = await broker.connect();
  await subscriber.subscribe(`${root}/#`);
  const { client, connack } = await broker.session();
  return {
    root,
    subscriber,
    publisher: client,
    aliasMaximum: connack.properties.topicAliasMaximum ?? 0,
  };
}

const aliased = (topicAlias: number, topicName = '') => ({
  topicName,
  payload: 'x',
  properties: { topicAlias },
});

it('MQTT-5.0 [MQTT-3.3.2-12] takes every alias that CONNACK announces, in place of the topic from then on', async () => {
  const { root, subscriber, publisher, aliasMaximum } = await pair();
  expect(aliasMaximum).toBeGreaterThan(0);
  const aliases = Array.from({ length: aliasMaximum }, (_, index) => index + 1);
  for (const alias of aliases) publisher.publish(aliased(alias, `${root}/${alias}`));
  for (const alias of aliases) publisher.publish(aliased(alias));
  for (const alias of [...aliases, ...aliases]) {
    const packet = await subscriber.take();
    expect(packet.topicName).toBe(`${root}/${alias}`);
    expect(packet.properties).toEqual({});
  }
});

it('MQTT-5.0 [MQTT-3.3.2-12] takes aliases with every QoS, and another topic for one that has one', async () => {
  const { root, subscriber, publisher } = await pair();
  await publisher.deliver(aliased(1, `${root}/a`));
  await publisher.deliver({ ...aliased(1), qos: 2 });
  await publisher.deliver({ ...aliased(1, `${root}/b`), qos: 2 });
  await publisher.deliver(aliased(1));
  const topics = [];
  while (topics.length < 4) topics.push((await subscriber.take()).topicName);
  expect(topics).toEqual([`${root}/a`, `${root}/a`, `${root}/b`, `${root}/b`]);
});

it('MQTT-5.0 [MQTT-3.3.2-8] answers alias 0 with DISCONNECT 0x94', async () => {
  const { root, subscriber, publisher } = await pair();
  publisher.publish(aliased(0, `${root}/a`));
  await expectDisconnect(publisher, [0x94, 0x81]);
  await subscriber.silence();
});

it('MQTT-5.0 [MQTT-3.3.2-9] [MQTT-3.2.2-17] answers an alias above the maximum with DISCONNECT 0x94', async () => {
  const { root, subscriber, publisher, aliasMaximum } = await pair();
  publisher.publish(aliased(aliasMaximum + 1, `${root}/a`));
  await expectDisconnect(publisher, 0x94);
  await subscriber.silence();
});

it('MQTT-5.0 [MQTT-4.13.1-1] answers an alias that stands for nothing yet with DISCONNECT 0x82', async () => {
  const { subscriber, publisher } = await pair();
  publisher.publish(aliased(2));
  await expectDisconnect(publisher, 0x82);
  await subscriber.silence();
});

it('MQTT-5.0 [MQTT-3.3.2-7] an alias ends with its connection, though the session goes on', async () => {
  const root = unique('t');
  const clientId = unique('c');
  const { client: first } = await broker.resume(clientId);
  await first.deliver(aliased(1, `${root}/a`));
  await first.disconnect();
  const { client: second, connack } = await broker.resume(clientId);
  expect(connack.sessionPresent).toBe(true);
  second.publish(aliased(1));
  await expectDisconnect(second, 0x82);
});

it('MQTT-5.0 [MQTT-4.13.1-1] answers an alias that is there twice with DISCONNECT 0x82', async () => {
  const { root, publisher } = await pair();
  const one = encodeMqtt5Property('topicAlias', 1);
  publisher.publish({ ...aliased(1, `${root}/a`), properties: Buffer.concat([one, one]) });
  await expectDisconnect(publisher, [0x82, 0x81]);
});

it('MQTT-5.0 [MQTT-3.1.2-27] sends no alias to a client that has not asked for any', async () => {
  const { root, subscriber, publisher } = await pair();
  for (let count = 0; count < 5; count += 1) {
    await publisher.deliver({ topicName: `${root}/a`, payload: 'x' });
    const packet = await subscriber.take();
    expect(packet.topicName).toBe(`${root}/a`);
    expect(packet.properties).toEqual({});
  }
});

it('MQTT-5.0 [MQTT-3.1.2-26] [MQTT-3.3.2-11] [MQTT-3.3.2-8] sends no alias above the maximum of the client, and none that it has not introduced', async () => {
  for (const topicAliasMaximum of [1, 3]) {
    const root = unique('t');
    const subscriber = await broker.connect({ properties: { topicAliasMaximum } });
    await subscriber.subscribe(`${root}/#`);
    const publisher = await broker.connect();
    const known = new Map<number, string>();
    const order = [0, 0, 1, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 4, 0].map((name) => `${root}/${name}`);
    for (const [index, topicName] of order.entries()) {
      await publisher.deliver({ topicName, payload: 'x', qos: 1 + (index % 2) });
      const packet = await subscriber.take();
      const { topicAlias } = packet.properties;
      if (topicAlias !== undefined) {
        expect(topicAlias).toBeGreaterThanOrEqual(1);
        expect(topicAlias).toBeLessThanOrEqual(topicAliasMaximum);
        if (packet.topicName !== '') known.set(topicAlias, packet.topicName);
      }
      expect(packet.topicName === '' ? known.get(topicAlias ?? 0) : packet.topicName).toBe(
        topicName,
      );
    }
  }
});

it('MQTT-5.0 [MQTT-3.3.2-7] [MQTT-4.4.0-1] sends again without the aliases of the earlier connection', async () => {
  const clientId = unique('c');
  const topic = unique('t');
  const aliases = { sessionExpiryInterval: 60, topicAliasMaximum: 5 };
  const { client: first } = await broker.resume(clientId, { properties: aliases });
  await first.subscribe(topic);
  const publisher = await broker.connect();
  for (let count = 0; count < 3; count += 1) {
    await publisher.deliver({ topicName: topic, payload: String(count) });
    await first.expect('publish');
  }
  first.destroy();
  await first.closed;
  const { client: second } = await broker.resume(clientId);
  for (let count = 0; count < 3; count += 1) {
    const packet = await second.take();
    expect(packet).toMatchObject({ topicName: topic, duplicate: true, properties: {} });
  }
});
