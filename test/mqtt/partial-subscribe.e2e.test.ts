import { RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const NOT_AUTHORIZED = 0x87;

/** compat C5: what is wider than the rules is granted where the listener says so, and nothing else is delivered. */
describe.each(PROFILES)('mqtt.tcp.partialSubscribe=filter on the %s profile', (profile) => {
  let running: Running;
  const clients: RawMqtt5Client[] = [];

  beforeAll(async () => {
    running = await startProfile(profile, { SALLYPORT_MQTT__TCP__PARTIAL_SUBSCRIBE: 'filter' });
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
  });
  afterAll(() => running?.[Symbol.asyncDispose]());

  let turn = 0;
  async function connect(who: { username: string; password: string }, options = {}) {
    const port = running.mqttPorts[turn++ % running.mqttPorts.length] ?? 0;
    const client = await RawMqtt5Client.open(port);
    clients.push(client);
    const { reasonCode } = await client.connect({ clientId: who.username, ...who, ...options });
    expect(reasonCode).toBe(0);
    return client;
  }

  it('withholds what is not allowed, live, retained and queued, and refuses what is not allowed at all', async () => {
    const all = await running.api.addDevice('all', [
      { effect: 'allow', action: 'all', topicFilter: '#' },
    ]);
    const part = await running.api.addDevice('part', [
      { effect: 'deny', action: 'all', topicFilter: 'a/no' },
      { effect: 'allow', action: 'subscribe', topicFilter: 'a/yes' },
    ]);
    const publisher = await connect(all);
    const send = async (name: string, retain: boolean) => {
      for (const topicName of [`a/no`, `a/other/${name}`, 'b', 'a/yes']) {
        await publisher.deliver({ topicName, payload: name, qos: 1, retain });
      }
    };
    await send('kept', true);
    const stored = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };
    const client = await connect(part, stored);
    for (const topicFilter of ['a/no', 'b/#', 'c', '$SYS/#']) {
      const { reasonCodes } = await client.subscribe({ topicFilter, qos: 1 });
      expect(reasonCodes, topicFilter).toEqual([NOT_AUTHORIZED]);
    }
    const { reasonCodes } = await client.subscribe({ topicFilter: '#', qos: 1 });
    expect(reasonCodes).toEqual([1]);
    const took = async (from: RawMqtt5Client) => {
      const { topicName, payload } = await from.take();
      return [topicName, payload.toString()];
    };
    // What is newer would take its place while it is looked for.
    expect(await took(client)).toEqual(['a/yes', 'kept']);
    await send('live', false);
    expect(await took(client)).toEqual(['a/yes', 'live']);
    await client.silence();
    client.destroy();
    await client.closed;
    await send('queued', false);
    const back = await connect(part, stored);
    expect(await took(back)).toEqual(['a/yes', 'queued']);
    await back.silence();
  });
});
