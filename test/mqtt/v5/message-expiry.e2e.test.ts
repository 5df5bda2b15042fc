import { type RawMqtt5Client } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import { OTHER, payloads, sleep, unique, useWireBroker5 } from '../../harness/wire-broker5.ts';

const broker = useWireBroker5({ concurrent: true });

/** mosquitto counts in whole seconds of its clock. */
const PAST_ONE_SECOND_MS = OTHER ? 2100 : 1200;

const expiring = (topicName: string, payload: string, seconds: number, qos = 1) => ({
  topicName,
  payload,
  qos,
  properties: { messageExpiryInterval: seconds },
});

async function away(): Promise<{ clientId: string; topic: string; publisher: RawMqtt5Client }> {
  const clientId = unique('c');
  const topic = unique('t');
  const { client } = await broker.resume(clientId);
  await client.subscribe(topic);
  await client.disconnect();
  return { clientId, topic, publisher: await broker.connect() };
}

it.concurrent(
  'MQTT-5.0 [MQTT-3.3.2-6] passes the interval on to whom gets the message at once',
  async () => {
    const topic = unique('t');
    const client = await broker.connect();
    await client.subscribe(topic);
    for (const seconds of [100, 0xffff_ffff]) {
      await client.deliver(expiring(topic, 'x', seconds));
      const { properties } = await client.take();
      expect(properties.messageExpiryInterval).toBeGreaterThanOrEqual(seconds - 1);
      expect(properties.messageExpiryInterval).toBeLessThanOrEqual(seconds);
    }
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.3.2-5] [MQTT-3.3.2-6] removes what expires while the client is away, and tells how long the rest is still good',
  async () => {
    const { clientId, topic, publisher } = await away();
    for (const qos of [1, 2]) {
      await publisher.deliver(expiring(topic, 'expires', 1, qos));
      await publisher.deliver(expiring(topic, 'lasts', 20, qos));
    }
    await publisher.deliver({ topicName: topic, payload: 'for ever' });
    await sleep(PAST_ONE_SECOND_MS);
    const { client } = await broker.resume(clientId);
    for (const qos of [1, 2]) {
      const packet = await client.take();
      expect(packet).toMatchObject({ qos, payload: Buffer.from('lasts') });
      expect(packet.properties.messageExpiryInterval).toBeGreaterThanOrEqual(16);
      expect(packet.properties.messageExpiryInterval).toBeLessThanOrEqual(19);
    }
    const last = await client.take();
    expect(last.payload.toString()).toBe('for ever');
    expect(last.properties).toEqual({});
    await client.silence();
  },
);

// mosquitto 2.0.11 stops at a message that has expired in its queue, and sends nothing behind it.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.3.2-5] removes what expires while it waits behind a full window',
  { concurrent: true },
  async () => {
    const topic = unique('t');
    const slow = await broker.connect({ properties: { receiveMaximum: 1 } });
    await slow.subscribe(topic);
    const publisher = await broker.connect();
    await publisher.deliver({ topicName: topic, payload: 'first' });
    await publisher.deliver(expiring(topic, 'expires', 1));
    await publisher.deliver(expiring(topic, 'expires', 1, 2));
    await publisher.deliver({ topicName: topic, payload: 'last' });
    await sleep(PAST_ONE_SECOND_MS);
    expect(await payloads(slow, 2)).toEqual(['first', 'last']);
    await slow.silence();
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.3.2-5] [MQTT-3.3.2-6] gives no retained message that has expired, and the rest with what is left',
  async () => {
    const topic = unique('t');
    const publisher = await broker.connect();
    await publisher.deliver({ ...expiring(`${topic}/short`, 'x', 1), retain: true });
    await publisher.deliver({ ...expiring(`${topic}/long`, 'x', 20), retain: true });
    await sleep(PAST_ONE_SECOND_MS);
    const client = await broker.connect();
    await client.subscribe(`${topic}/#`);
    const packet = await client.take();
    expect(packet.topicName).toBe(`${topic}/long`);
    expect(packet.properties.messageExpiryInterval).toBeGreaterThanOrEqual(16);
    expect(packet.properties.messageExpiryInterval).toBeLessThanOrEqual(19);
    await client.silence();
    await publisher.deliver({ topicName: `${topic}/long`, payload: '', retain: true });
  },
);

// mosquitto 2.0.11 forgets what it has sent.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-4.3.3-7] [MQTT-4.3.3-13] completes a QoS 2 delivery that has begun, though the message expires meanwhile',
  { concurrent: true },
  async () => {
    const clientId = unique('c');
    const topic = unique('t');
    const { client } = await broker.resume(clientId);
    await client.subscribe(topic);
    const publisher = await broker.connect();
    await publisher.deliver(expiring(topic, 'sent', 1, 2));
    await publisher.deliver(expiring(topic, 'received', 1, 2));
    publisher.publish({ ...expiring(unique('t'), 'own', 1, 2), packetId: 900 });
    await publisher.expect('pubrec');
    const sent = await client.expect('publish');
    const received = await client.expect('publish');
    client.ack('pubrec', received.packetId);
    await sleep(PAST_ONE_SECOND_MS);
    publisher.ack('pubrel', 900);
    expect(await publisher.expect('pubcomp')).toMatchObject({ packetId: 900, reasonCode: 0 });
    client.destroy();
    await client.closed;
    const { client: again } = await broker.resume(clientId);
    const seen: unknown[] = [];
    while (seen.length < 3) {
      const packet = await again.receive();
      if (packet.type !== 'publish' && packet.type !== 'pubrel') throw new Error(packet.type);
      const { type, packetId } = packet;
      seen.push([type, packetId, packet.type === 'publish' && packet.duplicate]);
      again.ack(type === 'publish' ? 'pubrec' : 'pubcomp', packetId);
    }
    expect(seen).toContainEqual(['publish', sent.packetId, true]);
    expect(seen).toContainEqual(['pubrel', sent.packetId, false]);
    expect(seen).toContainEqual(['pubrel', received.packetId, false]);
    await again.silence();
  },
);

// mosquitto 2.0.11 takes 0 for no interval.
it.skipIf(OTHER)(
  'does not let a message with an interval of 0 wait for anybody',
  { concurrent: true },
  async () => {
    const { clientId, topic, publisher } = await away();
    await publisher.deliver(expiring(topic, 'x', 0));
    await publisher.deliver({ ...expiring(topic, 'x', 0), retain: true });
    await sleep(OTHER ? 1100 : 100);
    const { client } = await broker.resume(clientId);
    await client.silence();
    const late = await broker.connect();
    await late.subscribe(topic);
    await late.silence();
  },
);
