import { encodeConnect, encodePublish, type RawMqttClient } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import {
  delivery,
  disconnect,
  expectClosed,
  expectSilence,
  publish,
  taken,
  unique,
  useWireBroker,
} from '../../harness/wire-broker.ts';

const broker = useWireBroker();

interface Mortal {
  readonly client: RawMqttClient;
  readonly observer: RawMqttClient;
  readonly clientId: string;
  readonly topicName: string;
}

/** A client with a will, and who listens for it. */
async function mortal(
  will: { readonly qos?: number; readonly retain?: boolean; readonly payload?: string } = {},
  more: { readonly cleanSession?: boolean; readonly keepAliveSeconds?: number } = {},
): Promise<Mortal> {
  const topicName = unique('will/');
  const clientId = unique('c');
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: topicName, qos: 2 }]);
  const client = await broker.connect({
    clientId,
    will: { topicName, payload: 'gone', ...will },
    ...more,
  });
  return { client, observer, clientId, topicName };
}

it('MQTT-3.1.1 [MQTT-3.1.2-8] the will is published when the connection is lost, not before', async () => {
  const { client, observer, topicName } = await mortal();
  await expectSilence(observer, 100);
  client.destroy();
  expect(await taken(observer)).toMatchObject({ topicName, payload: 'gone', qos: 0 });
  await expectSilence(observer, 100);
});

it('MQTT-3.1.1 [MQTT-3.1.2-8] the will is published when the client breaks the protocol', async () => {
  const wrong = {
    'type 15': Buffer.from('f000', 'hex'),
    'second CONNECT': encodeConnect({ clientId: unique('c'), ...broker.credentials }),
    'wildcard in a topic name': encodePublish({ topicName: '#', payload: 'x' }),
    'invalid filter': Buffer.from('8207 0001 0002 2361 00'.replaceAll(' ', ''), 'hex'),
  };
  for (const [what, bytes] of Object.entries(wrong)) {
    const { client, observer } = await mortal({ payload: what });
    client.send(bytes);
    await expectClosed(client, what);
    const { payload } = await delivery(observer, 1000).catch(() => ({ payload: 'no will' }));
    expect(payload).toBe(what);
  }
});

it('MQTT-3.1.1 [MQTT-3.1.2-8] [MQTT-3.1.4-2] the will of a connection that is taken over is published', async () => {
  const { client, observer, clientId } = await mortal();
  await broker.connect({ clientId });
  await expectClosed(client);
  expect((await taken(observer)).payload).toBe('gone');
  await expectSilence(observer, 100);
});

it('MQTT-3.1.1 [MQTT-3.14.4-3] [MQTT-3.1.2-10] the will is forgotten with DISCONNECT', async () => {
  for (const cleanSession of [true, false]) {
    const { client, observer, clientId } = await mortal({ qos: 1 }, { cleanSession });
    await disconnect(client);
    await expectSilence(observer, 100);
    const again = await broker.connect({ clientId, cleanSession });
    again.destroy();
    await expectSilence(observer, 100);
  }
});

it('MQTT-3.1.1 [MQTT-3.1.2-10] the will is published once, and not again for the next connection of the client', async () => {
  const { client, observer, clientId } = await mortal({ qos: 1 }, { cleanSession: false });
  client.destroy();
  expect((await taken(observer)).payload).toBe('gone');
  const { client: again, sessionPresent } = await broker.resume(clientId);
  expect(sessionPresent).toBe(true);
  again.destroy();
  await expectSilence(observer);
});

it('MQTT-3.1.1 [MQTT-3.1.2-12] a client without will leaves without one', async () => {
  const observer = await broker.connect();
  await observer.subscribe(1, [{ topicFilter: '#', qos: 0 }]);
  const client = await broker.connect();
  client.destroy();
  await expectSilence(observer);
});

it('MQTT-3.1.1 [MQTT-3.1.2-9] [MQTT-3.1.2-14] the will has the QoS that CONNECT says', async () => {
  for (const qos of [0, 1, 2]) {
    const { client, observer } = await mortal({ qos });
    client.destroy();
    expect(await taken(observer)).toMatchObject({ payload: 'gone', qos });
  }
});

it('MQTT-3.1.1 [MQTT-3.1.2-16] a will without retain is not retained', async () => {
  const { client, observer, topicName } = await mortal({ qos: 1 });
  client.destroy();
  expect(await taken(observer)).toMatchObject({ payload: 'gone', retain: false });
  const late = await broker.connect();
  await late.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  await expectSilence(late, 100);
});

it('MQTT-3.1.1 [MQTT-3.1.2-17] a will with retain is retained', async () => {
  const { client, observer, topicName } = await mortal({ qos: 1, retain: true });
  client.destroy();
  expect(await taken(observer)).toMatchObject({ payload: 'gone', retain: false });
  const late = await broker.connect();
  await late.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  expect(await taken(late)).toMatchObject({ payload: 'gone', retain: true, qos: 1 });
  await publish(await broker.connect(), { topicName, payload: '', retain: true });
});

it('MQTT-3.1.1 [MQTT-3.1.2-17] an empty will with retain removes the retained message', async () => {
  const { client, observer, topicName } = await mortal({ payload: '', retain: true });
  const publisher = await broker.connect();
  await publish(publisher, { topicName, payload: 'there', retain: true, qos: 1 });
  expect((await taken(observer)).payload).toBe('there');
  client.destroy();
  expect(await taken(observer)).toMatchObject({ payload: '', retain: false });
  const late = await broker.connect();
  await late.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  await expectSilence(late, 100);
});

it('MQTT-3.1.1 [MQTT-3.1.2-5] a will with QoS 1 waits for a client that is away', async () => {
  const { client, topicName } = await mortal({ qos: 1 });
  const clientId = unique('c');
  const { client: away } = await broker.resume(clientId);
  await away.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  await disconnect(away);
  client.destroy();
  await expectSilence(await broker.connect(), 100);
  const { client: back } = await broker.resume(clientId);
  expect(await taken(back)).toMatchObject({ payload: 'gone', qos: 1 });
});

it('MQTT-3.1.1 [MQTT-3.14.1-1] a DISCONNECT with flags closes the connection, and is none: the will is published', async () => {
  for (const flags of [1, 2, 4, 8, 15]) {
    const { client, observer } = await mortal();
    client.send(Buffer.from([0xe0 | flags, 0]));
    await expectClosed(client, `flags ${flags}`);
    expect((await taken(observer)).payload).toBe('gone');
  }
});

it('MQTT-3.1.1 [MQTT-3.14.4-1] [MQTT-3.14.4-2] the broker closes the connection after DISCONNECT and ignores what follows it', async () => {
  const { client, observer, topicName } = await mortal();
  client.send(
    Buffer.concat([
      Buffer.from([0xe0, 0]),
      encodePublish({ topicName, payload: 'late', qos: 1, packetId: 1 }),
    ]),
  );
  await expectClosed(client);
  await expectSilence(observer);
});

it('MQTT-3.1.1 §3.14.4 what was published before DISCONNECT in the same segment is delivered', async () => {
  const { client, observer, topicName } = await mortal();
  client.send(
    Buffer.concat([
      encodePublish({ topicName, payload: '1' }),
      encodePublish({ topicName, payload: '2', qos: 1, packetId: 1 }),
      encodePublish({ topicName, payload: '3' }),
      Buffer.from([0xe0, 0]),
    ]),
  );
  await client.closed;
  const got = [await taken(observer), await taken(observer), await taken(observer)];
  expect(got.map(({ payload }) => payload)).toEqual(['1', '2', '3']);
  await expectSilence(observer, 100);
});

it('MQTT-3.1.1 [MQTT-3.1.2-8] a will may be empty, and goes to its own client when that is subscribed', async () => {
  const topicName = unique('will/');
  const clientId = unique('c');
  const will = { topicName, payload: '', qos: 1 };
  const { client } = await broker.resume(clientId, { will });
  await client.subscribe(1, [{ topicFilter: topicName, qos: 1 }]);
  client.destroy();
  await client.closed;
  await expectSilence(await broker.connect(), 100);
  const { client: again } = await broker.resume(clientId);
  expect(await delivery(again)).toMatchObject({ topicName, payload: '', qos: 1 });
});
