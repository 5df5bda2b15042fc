import { setTimeout as delay } from 'node:timers/promises';
import { PINGREQ, type RawMqttClient } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  delivery,
  expectBytes,
  OTHER,
  publish,
  unique,
  useWireBroker,
} from '../../harness/wire-broker.ts';

const broker = useWireBroker();

const KEEP_ALIVE_SECONDS = 1;
/** 1.5 times the keep alive, and not the time of a machine that others use too. Mosquitto counts whole seconds, and looks every five. */
const CLOSE_MS = { min: OTHER ? 1000 : 1450, max: 10_000 };

/** Milliseconds until the connection has ended; undefined when it has not in time. */
async function endOf(client: RawMqttClient, withinMs = CLOSE_MS.max): Promise<number | undefined> {
  const start = performance.now();
  const ended = client.closed.then(() => performance.now() - start);
  return Promise.race([ended, delay(withinMs).then(() => undefined)]);
}

it('MQTT-3.1.1 [MQTT-3.12.4-1] every PINGREQ is answered with a PINGRESP of two bytes', async () => {
  const client = await broker.connect();
  for (let index = 0; index < 3; index++) {
    client.send(PINGREQ);
    await expectBytes(client, 'd0 00');
  }
  client.send(Buffer.concat([PINGREQ, PINGREQ]));
  await expectBytes(client, 'd0 00');
  await expectBytes(client, 'd0 00');
});

it('MQTT-3.1.1 [MQTT-3.1.2-24] [MQTT-3.1.2-8] a client that is silent for 1.5 times its keep alive is cut, and its will is published; whoever sends anything, or has no keep alive, is not', async () => {
  const topicName = unique('t');
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: `${topicName}/will`, qos: 1 }]);
  const options = { keepAliveSeconds: KEEP_ALIVE_SECONDS };
  const will = { topicName: `${topicName}/will`, payload: 'silent', qos: 1 };

  const silent = endOf(await broker.connect({ ...options, will }));
  const receiver = await broker.connect(options);
  await receiver.subscribe(1, [{ topicFilter: topicName, qos: 0 }]);
  // What it receives says nothing of its being alive.
  const receiving = endOf(receiver);
  const pinging = await broker.connect(options);
  const publishing = await broker.connect(options);
  const trickling = await broker.connect(options);
  const without = await broker.connect({ keepAliveSeconds: 0 });
  const ends = [pinging, publishing, without].map((client) => endOf(client, 3300));
  // Half a packet is no packet.
  const trickle = endOf(trickling);
  trickling.send(PINGREQ.subarray(0, 1));

  for (let round = 0; round < 8; round++) {
    await delay(400);
    pinging.send(PINGREQ);
    await expectBytes(pinging, 'd0 00');
    publishing.publish({ topicName, payload: String(round) });
  }
  for (const end of [silent, receiving, trickle]) {
    expect(await end).toBeGreaterThan(CLOSE_MS.min);
    expect(await end).toBeLessThan(CLOSE_MS.max);
  }
  expect(await Promise.all(ends)).toEqual([undefined, undefined, undefined]);
  expect(await delivery(observer)).toMatchObject({ payload: 'silent', qos: 1 });
  await publish(without, { topicName, payload: 'still here', qos: 1 });
});
