import {
  encodeDisconnect5,
  PINGREQ,
  type RawConnect5,
  type RawMqtt5Client,
} from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  expectDisconnect,
  OTHER,
  payloads,
  sleep,
  strict,
  told,
  unique,
  useWireBroker5,
} from '../../harness/wire-broker5.ts';

const broker = useWireBroker5({ concurrent: true });

/** mosquitto looks for delayed wills once a second. */
const PAST_ONE_SECOND_MS = OTHER ? 2300 : 1500;

type Will = NonNullable<RawConnect5['will']>;

interface Scene {
  readonly topic: string;
  readonly watcher: RawMqtt5Client;
  readonly will: (more?: Partial<Will>) => { readonly will: Will };
}

/** A topic for a will, and somebody who watches it. */
async function scene(): Promise<Scene> {
  const topic = unique('t');
  const watcher = await broker.connect();
  await watcher.subscribe({ topicFilter: topic, qos: 2, retainAsPublished: true });
  const will = (more: Partial<Will> = {}) => ({
    will: { topicName: topic, payload: 'gone', qos: 1, ...more },
  });
  return { topic, watcher, will };
}

async function cut(client: RawMqtt5Client): Promise<void> {
  client.destroy();
  await client.closed;
}

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-10] publishes the will once when the connection is lost',
  async () => {
    const { watcher, will } = await scene();
    const clientId = unique('c');
    await cut((await broker.resume(clientId, will())).client);
    expect(await payloads(watcher, 1)).toEqual(['gone']);
    const { client } = await broker.session({ clientId, cleanStart: false });
    await cut(client);
    await watcher.silence();
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-8] [MQTT-3.1.2-22] publishes the will when the server ends the connection',
  async () => {
    const { watcher, will } = await scene();
    const broken = await broker.connect(will());
    broken.send(Buffer.from([0x36, 0]));
    await broken.ending();
    expect(await payloads(watcher, 1)).toEqual(['gone']);
    const silent = await broker.connect({ ...will(), keepAliveSeconds: 1 });
    await expectDisconnect(silent, 0x8d);
    expect(await payloads(watcher, 1)).toEqual(['gone']);
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3] a DISCONNECT with 0x00 removes the will',
  async () => {
    const { watcher, will } = await scene();
    for (const bytes of [encodeDisconnect5(), encodeDisconnect5(0), encodeDisconnect5(0, {})]) {
      const client = await broker.connect(will());
      client.send(bytes);
      await client.ending();
    }
    const { client } = await broker.resume(unique('c'), will());
    await client.disconnect();
    await watcher.silence();
  },
);

it.concurrent('MQTT-5.0 [MQTT-3.1.2-8] a DISCONNECT with another reason publishes it', async () => {
  const { watcher, will } = await scene();
  // mosquitto 2.0.11 publishes it for 0x04 only.
  for (const code of [0x04, ...strict([0x80, 0x83, 0x97])]) {
    const client = await broker.connect(will());
    client.send(encodeDisconnect5(code));
    await client.ending();
    expect(await payloads(watcher, 1), `0x${code.toString(16)}`).toEqual(['gone']);
  }
});

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-14] [MQTT-3.1.2-15] keeps the will as a retained message when its flag says so, and not otherwise',
  async () => {
    for (const retain of [false, true]) {
      const { topic, watcher, will } = await scene();
      await cut(await broker.connect(will({ retain })));
      expect(await watcher.take()).toMatchObject({ retain });
      const late = await broker.connect();
      await late.subscribe(topic);
      if (retain) expect(told(await late.take())).toMatchObject({ payload: 'gone', retain: true });
      else await late.silence();
      await late.deliver({ topicName: topic, payload: '', retain: true });
    }
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.3-10] [MQTT-3.1.2-9] publishes the will with its properties, and user properties in their order',
  async () => {
    const { watcher, will } = await scene();
    const properties = {
      payloadFormatIndicator: 1,
      contentType: 'text',
      responseTopic: 'r',
      correlationData: Buffer.from([0, 255]),
      userProperties: [
        ['b', '1'],
        ['a', '2'],
        ['b', '0'],
      ],
    } as const;
    await cut(await broker.connect(will({ properties: { ...properties, willDelayInterval: 0 } })));
    expect((await watcher.take()).properties).toEqual(properties);
  },
);

it.concurrent(
  'publishes the will with a Message Expiry Interval that counts from then',
  async () => {
    const { watcher, will } = await scene();
    const properties = { messageExpiryInterval: 30 };
    const client = await broker.connect(will({ properties }));
    await sleep(1100);
    await cut(client);
    expect((await watcher.take()).properties).toEqual(properties);
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-8] publishes a delayed will when its delay has passed, not before, and once',
  async () => {
    const { watcher, will } = await scene();
    const delayed = will({ properties: { willDelayInterval: 1 } });
    await cut((await broker.resume(unique('c'), delayed)).client);
    await watcher.silence(500);
    expect(await payloads(watcher, 1)).toEqual(['gone']);
    await watcher.silence();
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.3-9] does not publish a delayed will when the session goes on in time',
  async () => {
    const { watcher, will } = await scene();
    const clientId = unique('c');
    const delayed = will({ properties: { willDelayInterval: 1 } });
    await cut((await broker.resume(clientId, delayed)).client);
    const { connack } = await broker.resume(clientId);
    expect(connack.sessionPresent).toBe(true);
    await watcher.silence(PAST_ONE_SECOND_MS);
  },
);

// mosquitto 2.0.11 waits for the delay.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.1.2-8] publishes a delayed will when the session ends before its delay has passed',
  { concurrent: true },
  async () => {
    const { watcher, will } = await scene();
    const delayed = will({ properties: { willDelayInterval: 60 } });
    await cut(await broker.connect(delayed));
    expect(await payloads(watcher, 1)).toEqual(['gone']);
    const properties = { sessionExpiryInterval: 1 };
    await cut((await broker.resume(unique('c'), { ...delayed, properties })).client);
    await watcher.silence(500);
    expect(await payloads(watcher, 1)).toEqual(['gone']);
    await watcher.silence();
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.14.4-3] a DISCONNECT with 0x04 publishes a delayed will after its delay',
  async () => {
    const { watcher, will } = await scene();
    const delayed = will({ properties: { willDelayInterval: 1 } });
    const { client } = await broker.resume(unique('c'), delayed);
    await client.disconnect(0x04);
    await watcher.silence(500);
    expect(await payloads(watcher, 1)).toEqual(['gone']);
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.4-3] [MQTT-3.1.3-9] a takeover does not publish a will with a delay when the session goes on',
  async () => {
    const { watcher, will } = await scene();
    const clientId = unique('c');
    const delayed = will({ properties: { willDelayInterval: 1 } });
    const { client: first } = await broker.resume(clientId, delayed);
    await broker.resume(clientId);
    await expectDisconnect(first, 0x8e);
    await watcher.silence(PAST_ONE_SECOND_MS);
  },
);

// The note at the end of §3.1.4; mosquitto 2.0.11 publishes nothing.
it.skipIf(OTHER)(
  'MQTT-5.0 [MQTT-3.1.4-3] [MQTT-3.1.2-8] a takeover publishes a will without a delay, and any will when Clean Start ends its session',
  { concurrent: true },
  async () => {
    const { watcher, will } = await scene();
    const clientId = unique('c');
    const delayed = will({ payload: 'delayed', properties: { willDelayInterval: 60 } });
    const { client: first } = await broker.resume(clientId, will());
    const { client: second } = await broker.resume(clientId, delayed);
    await expectDisconnect(first, 0x8e);
    expect(await payloads(watcher, 1)).toEqual(['gone']);
    await broker.connect({ clientId });
    await expectDisconnect(second, 0x8e);
    expect(await payloads(watcher, 1)).toEqual(['delayed']);
    await watcher.silence();
  },
);

it.concurrent(
  'MQTT-5.0 [MQTT-3.1.2-7] a CONNECT without a will replaces one that had one',
  async () => {
    const { watcher, will } = await scene();
    const clientId = unique('c');
    const { client: first } = await broker.resume(clientId, will());
    await first.disconnect();
    const { client: second } = await broker.resume(clientId);
    await cut(second);
    await watcher.silence();
  },
);

it.skipIf(OTHER)(
  'publishes a will with the rights that its client has when it is due',
  { concurrent: true },
  async () => {
    const { topic, watcher } = await scene();
    const client = await broker.open();
    const connack = await client.connect({
      clientId: unique('c'),
      ...broker.restricted,
      will: { topicName: topic, payload: 'no' },
    });
    expect(connack.reasonCode).toBe(0x87);
    client.send(PINGREQ);
    await client.ending();
    await watcher.silence();
  },
);
