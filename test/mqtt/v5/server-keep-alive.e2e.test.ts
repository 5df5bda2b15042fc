import { PINGREQ } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  OTHER,
  payloads,
  sleep,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5({ concurrent: true });

const KEEP_ALIVE_SECONDS_MAX = 1200;

it.concurrent(
  'MQTT-5.0 [MQTT-3.2.2-21] tells a Server Keep Alive to a client whose own is too long',
  async () => {
    for (const keepAliveSeconds of [KEEP_ALIVE_SECONDS_MAX + 1, 65_535, ...(OTHER ? [] : [0])]) {
      const { connack } = await broker.session({ keepAliveSeconds });
      expect(connack.properties.serverKeepAlive).toBe(KEEP_ALIVE_SECONDS_MAX);
    }
  },
);

it.concurrent('MQTT-5.0 [MQTT-3.2.2-22] tells none to a client whose own will do', async () => {
  for (const keepAliveSeconds of [1, 60, KEEP_ALIVE_SECONDS_MAX]) {
    const { connack } = await broker.session({ keepAliveSeconds });
    expect(connack.properties).not.toHaveProperty('serverKeepAlive');
  }
});

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-22] ends a connection with 0x8D when one and a half times its Keep Alive have passed in silence, and publishes its will',
  async () => {
    const topic = unique('t');
    const watcher = await broker.connect();
    await watcher.subscribe(topic);
    const start = performance.now();
    const client = await broker.connect({
      keepAliveSeconds: 1,
      will: { topicName: topic, payload: 'gone' },
    });
    await expectDisconnect(client, 0x8d);
    // mosquitto counts in seconds of its clock, and looks once in a while.
    expect(performance.now() - start).toBeGreaterThanOrEqual(OTHER ? 500 : 1490);
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(await payloads(watcher, 1)).toEqual(['gone']);
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-22] [MQTT-3.12.4-1] every packet of the client keeps the connection, and PINGREQ is answered with PINGRESP',
  async () => {
    const topic = unique('t');
    const pinging = await broker.connect({ keepAliveSeconds: 1 });
    const publishing = await broker.connect({ keepAliveSeconds: 1 });
    for (let count = 0; count < 8; count += 1) {
      await sleep(350);
      pinging.send(PINGREQ);
      expect(await pinging.expect('pingresp')).toEqual({ type: 'pingresp' });
      publishing.publish({ topicName: topic, payload: 'x' });
    }
    await publishing.ping();
  },
);

it.concurrent('MQTT-5.0 [MQTT-3.1.2-22] what the server sends does not count', async () => {
  const topic = unique('t');
  const client = await broker.connect({ keepAliveSeconds: 1 });
  await client.subscribe({ topicFilter: topic, qos: 0 });
  const publisher = await broker.connect();
  const end = performance.now() + 10_000;
  let closed = false;
  void client.closed.then(() => (closed = true));
  while (!closed && performance.now() < end) {
    publisher.publish({ topicName: topic, payload: 'x' });
    await sleep(100);
  }
  expect(closed).toBe(true);
});
