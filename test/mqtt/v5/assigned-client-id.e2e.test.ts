import { expect, it } from 'vitest';
import { payloads, unique, useWireBroker5 } from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

it('MQTT-5.0 [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] gives a client without a client id one that nobody else has', async () => {
  const ids = new Set<string>();
  for (const cleanStart of [true, false, true, false]) {
    const { connack } = await broker.session({ clientId: '', cleanStart });
    const id = connack.properties.assignedClientIdentifier ?? '';
    expect(id).not.toBe('');
    expect(connack.sessionPresent).toBe(false);
    ids.add(id);
  }
  expect(ids.size).toBe(4);
});

it('MQTT-5.0 [MQTT-3.1.3-7] the client id that was given names a session like any other', async () => {
  const topic = unique('t');
  const properties = { sessionExpiryInterval: 60 };
  const { client, connack } = await broker.session({ clientId: '', properties });
  const clientId = connack.properties.assignedClientIdentifier ?? '';
  await client.subscribe(topic);
  await client.disconnect();
  const publisher = await broker.connect();
  await publisher.deliver({ topicName: topic, payload: 'x' });
  const again = await broker.resume(clientId);
  expect(again.connack.sessionPresent).toBe(true);
  expect(again.connack.properties).not.toHaveProperty('assignedClientIdentifier');
  expect(await payloads(again.client, 1)).toEqual(['x']);
});

it('MQTT-5.0 [MQTT-3.2.2-16] gives none to a client that has one', async () => {
  const { connack } = await broker.session();
  expect(connack.properties).not.toHaveProperty('assignedClientIdentifier');
});

it('MQTT-5.0 [MQTT-3.1.3-7] [MQTT-3.8.3-3] treats the client as if it had brought the client id', async () => {
  const topic = unique('t');
  const { client } = await broker.session({ clientId: '' });
  await client.subscribe({ topicFilter: topic, qos: 1, noLocal: true });
  await client.deliver({ topicName: topic, payload: 'own' });
  await client.silence();
});
