import { encodeDisconnect5, encodeMqtt5Property } from '@sallyport/test-kit';
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

const FOREVER = 0xffff_ffff;
/** Past an interval of one second; mosquitto looks for the end of sessions once a second. */
const PAST_ONE_SECOND_MS = OTHER ? 2300 : 1300;

/** Whether there is a session of this client id; looking makes one that ends at once. */
async function hasSession(clientId: string): Promise<boolean> {
  const { client, connack } = await broker.session({ clientId, cleanStart: false });
  await client.disconnect();
  return connack.sessionPresent;
}

const made = async (sessionExpiryInterval?: number) => {
  const clientId = unique('c');
  const client = await broker.connect({
    clientId,
    ...(sessionExpiryInterval !== undefined && { properties: { sessionExpiryInterval } }),
  });
  return { clientId, client };
};

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-23] keeps a session with an interval after the end of the connection, however that came',
  async () => {
    for (const end of ['DISCONNECT', 'cut'] as const) {
      for (const interval of [60, FOREVER]) {
        const { clientId, client } = await made(interval);
        if (end === 'cut') client.destroy();
        else client.send(encodeDisconnect5());
        await client.closed;
        expect(await hasSession(clientId), `${end}, ${interval} s`).toBe(true);
      }
    }
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-4.1.0-2] ends a session without an interval, and one with 0, with the connection',
  async () => {
    for (const interval of [undefined, 0]) {
      for (const end of ['DISCONNECT', 'cut'] as const) {
        const { clientId, client } = await made(interval);
        if (end === 'cut') client.destroy();
        else client.send(encodeDisconnect5());
        await client.closed;
        expect(await hasSession(clientId), `${end}, ${interval}`).toBe(false);
      }
    }
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-4.1.0-2] [MQTT-4.1.0-1] ends a session when its interval has passed after the connection, and not while it is open',
  async () => {
    const idle = await made(1);
    const gone = await made(1);
    const topic = unique('t');
    await gone.client.subscribe(topic);
    await idle.client.subscribe(topic);
    await gone.client.disconnect();
    await sleep(PAST_ONE_SECOND_MS);
    expect(await hasSession(gone.clientId)).toBe(false);
    const publisher = await broker.connect();
    await publisher.deliver({ topicName: topic, payload: 'x' });
    expect(await payloads(idle.client, 1)).toEqual(['x']);
    await idle.client.disconnect();
    expect(await hasSession(idle.clientId)).toBe(true);
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-4.1.0-2] gives nothing of a session that has expired to the next one',
  async () => {
    const { clientId, client } = await made(1);
    const topic = unique('t');
    await client.subscribe(topic);
    await client.disconnect();
    const publisher = await broker.connect();
    await publisher.deliver({ topicName: topic, payload: 'while it lasted' });
    await sleep(PAST_ONE_SECOND_MS);
    const next = await broker.resume(clientId);
    expect(next.connack.sessionPresent).toBe(false);
    await publisher.deliver({ topicName: topic, payload: 'later' });
    await next.client.silence();
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-23] the interval of a DISCONNECT takes the place of the one of CONNECT',
  async () => {
    const shortened = await made(60);
    await shortened.client.disconnect(0, { sessionExpiryInterval: 0 });
    expect(await hasSession(shortened.clientId)).toBe(false);
    const lengthened = await made(1);
    await lengthened.client.disconnect(0, { sessionExpiryInterval: 60 });
    const bounded = await made(60);
    await bounded.client.disconnect(0, { sessionExpiryInterval: 1 });
    await sleep(PAST_ONE_SECOND_MS);
    expect(await hasSession(lengthened.clientId)).toBe(true);
    expect(await hasSession(bounded.clientId)).toBe(false);
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-23] the interval of the last CONNECT holds, not that of an earlier one',
  async () => {
    const { clientId, client } = await made(60);
    await client.disconnect();
    const again = await broker.session({ clientId, cleanStart: false });
    expect(again.connack.sessionPresent).toBe(true);
    await again.client.disconnect();
    expect(await hasSession(clientId)).toBe(false);
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.14.2-2] [MQTT-4.13.1-1] answers a DISCONNECT that makes an interval out of none with DISCONNECT 0x82, and publishes the will',
  async () => {
    const topic = unique('t');
    const watcher = await broker.connect();
    await watcher.subscribe(topic);
    for (const properties of [{}, { sessionExpiryInterval: 0 }]) {
      const will = { topicName: topic, payload: 'gone' };
      const client = await broker.connect({ properties, will });
      client.send(encodeDisconnect5(0, { sessionExpiryInterval: 1 }));
      await expectDisconnect(client, 0x82);
      expect(await payloads(watcher, 1)).toEqual(['gone']);
    }
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-4.13.1-1] answers a Session Expiry Interval that is there twice with DISCONNECT 0x82',
  async () => {
    const { client } = await made(60);
    const once = encodeMqtt5Property('sessionExpiryInterval', 1);
    client.send(encodeDisconnect5(0, Buffer.concat([once, once])));
    await expectDisconnect(client, [0x82, 0x81]);
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-4.5.0-1] keeps messages of QoS 1 and 2 for a session that is away, in their order; and none of QoS 0',
  async () => {
    const { clientId, client } = await made(60);
    const topic = unique('t');
    await client.subscribe([
      { topicFilter: `${topic}/2`, qos: 2 },
      { topicFilter: `${topic}/0`, qos: 0 },
    ]);
    await client.disconnect();
    const publisher = await broker.connect();
    for (const [level, payload, qos] of [
      ['2', 'one', 1],
      ['2', 'none', 0],
      ['0', 'none', 2],
      ['2', 'two', 2],
      ['2', 'three', 1],
    ] as const) {
      const message = { topicName: `${topic}/${level}`, payload, qos };
      if (qos === 0) publisher.publish(message);
      else await publisher.deliver(message);
    }
    const { client: back } = await broker.resume(clientId);
    expect(await payloads(back, 3)).toEqual(['one', 'two', 'three']);
    await back.silence();
  },
);

it.concurrent(
  'a second connection with another interval does not cut the session short',
  async () => {
    const { clientId } = await made(1);
    const { client, connack } = await broker.resume(clientId);
    expect(connack.sessionPresent).toBe(true);
    await client.disconnect();
    await sleep(PAST_ONE_SECOND_MS);
    expect(await hasSession(clientId)).toBe(true);
  },
);
