import { encodeField, encodeMqtt5Property } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  OTHER,
  strict,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5();

it('MQTT-5.0 [MQTT-3.3.2-15] [MQTT-3.3.2-16] carries a request and its response, with Response Topic and Correlation Data as they are', async () => {
  const requests = unique('t');
  const responses = unique('ü/');
  const requester = await broker.connect();
  await requester.subscribe(responses);
  const responder = await broker.connect();
  await responder.subscribe(requests);
  for (const qos of [1, 2]) {
    for (const correlationData of [
      Buffer.alloc(0),
      Buffer.from([0, 0xff, 0xc0, 0x0a]),
      Buffer.alloc(2000, 'c'),
    ]) {
      const properties = { responseTopic: responses, correlationData };
      await requester.deliver({ topicName: requests, payload: 'question', qos, properties });
      const request = await responder.take();
      expect(request.properties).toEqual(properties);
      await responder.deliver({
        topicName: request.properties.responseTopic ?? '',
        payload: 'answer',
        qos,
        properties: { correlationData },
      });
      expect((await requester.take()).properties).toEqual({ correlationData });
    }
  }
});

it('MQTT-5.0 [MQTT-3.3.2-15] [MQTT-3.3.2-16] keeps both for a client that is away', async () => {
  const clientId = unique('c');
  const topic = unique('t');
  const { client: first } = await broker.resume(clientId);
  await first.subscribe(topic);
  await first.disconnect();
  const publisher = await broker.connect();
  const properties = { responseTopic: 'r/s', correlationData: Buffer.from([1, 0, 2]) };
  await publisher.deliver({ topicName: topic, payload: 'x', properties });
  const { client: second } = await broker.resume(clientId);
  expect((await second.take()).properties).toEqual(properties);
});

// mosquitto 2.0.11 lets wildcards pass.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.3.2-14] answers a Response Topic with wildcards with DISCONNECT 0x82',
  async () => {
    for (const responseTopic of ['#', 'a/+', 'a/#', '+']) {
      const client = await broker.connect();
      client.publish({ topicName: 'a', payload: 'x', properties: { responseTopic } });
      await expectDisconnect(client, 0x82, responseTopic);
    }
  },
);

it('MQTT-5.0 [MQTT-3.3.2-13] [MQTT-3.3.2-19] answers a Response Topic and a Content Type that are not UTF-8 with DISCONNECT 0x81', async () => {
  for (const name of ['responseTopic', 'contentType'] as const) {
    for (const hex of ['61c0', 'eda080', '610062']) {
      const client = await broker.connect();
      const properties = encodeMqtt5Property(name, Buffer.from(hex, 'hex'));
      client.publish({ topicName: 'a', payload: 'x', properties });
      await expectDisconnect(client, [0x81, 0x82], `${name} ${hex}`);
    }
  }
});

it('MQTT-5.0 [MQTT-4.13.1-1] answers a Response Topic, Correlation Data or Content Type that is there twice with DISCONNECT 0x82', async () => {
  for (const name of ['responseTopic', 'correlationData', 'contentType'] as const) {
    const client = await broker.connect();
    const one = encodeMqtt5Property(name, 'x');
    client.publish({ topicName: 'a', payload: 'x', properties: Buffer.concat([one, one]) });
    await expectDisconnect(client, [0x82, 0x81], name);
  }
  for (const properties of strict([encodeField('x')])) {
    const client = await broker.connect();
    client.publish({ topicName: 'a', payload: 'x', properties });
    await expectDisconnect(client, 0x81, 'no property at all');
  }
});

it('MQTT-5.0 [MQTT-3.1.2-28] sends no Response Information to a client that has not asked for it', async () => {
  for (const properties of [{}, { requestResponseInformation: 0 }]) {
    const { connack } = await broker.session({ properties });
    expect(connack.properties).not.toHaveProperty('responseInformation');
  }
  // One that has asked may get it or not.
  await broker.session({ properties: { requestResponseInformation: 1 } });
});
