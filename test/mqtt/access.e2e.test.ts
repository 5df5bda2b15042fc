import { RawMqttClient } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

interface Device {
  readonly username: string;
  readonly password: string;
}

const BAD_CREDENTIALS = 4;
const NOT_AUTHORIZED = 5;
const FAILURE = 0x80;

describe.each(PROFILES)('access on the %s profile', (profile) => {
  let running: Running;
  let device: Device;
  let watcher: Device;

  beforeAll(async () => {
    running = await startProfile(profile);
    const { api } = running;
    device = await api.addDevice('device', [
      { effect: 'deny', action: 'all', topicFilter: 'a/secret/#' },
      { effect: 'allow', action: 'all', topicFilter: 'a/#' },
      { effect: 'allow', action: 'all', topicFilter: 'own/${clientid}/#' },
    ]);
    watcher = await api.addDevice('watcher', [
      { effect: 'allow', action: 'all', topicFilter: '#' },
      { effect: 'allow', action: 'subscribe', topicFilter: '$SYS/#' },
    ]);
  });

  afterAll(() => running?.[Symbol.asyncDispose]());

  /** Each connection goes to the next node, so that what one sends another gets over the bus. */
  let turn = 0;
  async function open(who: Device, clientId: string, more: object = {}): Promise<RawMqttClient> {
    const port = running.mqttPorts[turn++ % running.mqttPorts.length] ?? 0;
    const client = await RawMqttClient.open(port);
    const answer = await client.connect({ clientId, cleanSession: true, ...who, ...more });
    expect(answer.returnCode).toBe(0);
    return client;
  }

  const refusedWith = async (options: object): Promise<number> => {
    const client = await RawMqttClient.open(running.mqttPorts[0] ?? 0);
    const { returnCode } = await client.connect({
      clientId: 'x',
      cleanSession: true,
      ...device,
      ...options,
    });
    await client.closed;
    return returnCode;
  };

  it('MQTT-3.1.1 §3.2.2.3 refuses with one code whatever is wrong with name or password', async () => {
    expect(await refusedWith({ password: 'wrong' })).toBe(BAD_CREDENTIALS);
    expect(await refusedWith({ username: 'nobody' })).toBe(BAD_CREDENTIALS);
    expect(await refusedWith({ username: '__proto__', clientId: 'constructor' })).toBe(
      BAD_CREDENTIALS,
    );
    expect(await refusedWith({ username: 'u'.repeat(257) })).toBe(BAD_CREDENTIALS);
    expect(await refusedWith({ username: undefined, password: undefined })).toBe(BAD_CREDENTIALS);
  });

  it('never stores a denied filter of a mixed SUBSCRIBE, in either order (A1)', async () => {
    for (const [index, order] of [
      ['a/1', 'forbidden/1'],
      ['forbidden/1', 'a/1'],
    ].entries()) {
      const clientId = `mixed-${index}`;
      const persistent = { cleanSession: false };
      const first = await open(device, clientId, persistent);
      const topics = order.map((topicFilter) => ({ topicFilter, qos: 1 as const }));
      const codes = await first.subscribe(1, topics);
      expect(codes).toEqual(order.map((one) => (one === 'a/1' ? 1 : FAILURE)));
      first.destroy();
      await first.closed;
      const publisher = await open(watcher, `publisher-${index}`);
      for (const [id, topic] of ['forbidden/1', 'a/1'].entries()) {
        publisher.publish({
          topicName: topic,
          payload: Buffer.from('x'),
          qos: 1,
          packetId: id + 1,
        });
        await publisher.expect('puback');
      }
      const again = await open(device, clientId, persistent);
      const packet = await again.expect('publish');
      expect(packet.body.subarray(2, 5).toString()).toBe('a/1');
      await expect(again.receive(300)).rejects.toThrow(/no packet/);
      again.destroy();
      publisher.destroy();
    }
  });

  it('judges a SUBSCRIBE by all topics that it matches, not as if it were a topic (A2)', async () => {
    const client = await open(device, 'wide');
    const cases: [string, number][] = [
      ['a/#', 0],
      ['a/+', 0],
      ['#', FAILURE],
      ['+/x', FAILURE],
      ['a/secret/#', FAILURE],
      ['a/secret/x', FAILURE],
      ['own/wide/#', 0],
      ['own/+/#', FAILURE],
      ['own/other/#', FAILURE],
      ['$SYS/#', FAILURE],
    ];
    for (const [id, [topicFilter, code]] of cases.entries()) {
      const answer = await client.subscribe(id + 1, [{ topicFilter, qos: 0 }]);
      expect(answer, topicFilter).toEqual([code]);
    }
    client.destroy();
  });

  it('withholds what a deny rule cuts out of a granted filter: live and retained', async () => {
    const publisher = await open(watcher, 'cutter');
    publisher.publish({
      topicName: 'a/secret/r',
      payload: Buffer.from('no'),
      qos: 1,
      packetId: 1,
      retain: true,
    });
    await publisher.expect('puback');
    publisher.publish({
      topicName: 'a/open/r',
      payload: Buffer.from('yes'),
      qos: 1,
      packetId: 2,
      retain: true,
    });
    await publisher.expect('puback');
    const client = await open(device, 'holes');
    expect(await client.subscribe(1, [{ topicFilter: 'a/#', qos: 0 }])).toEqual([0]);
    const retained = await client.expect('publish');
    expect(retained.body.toString()).toContain('a/open/r');
    publisher.publish({ topicName: 'a/secret/1', payload: Buffer.from('no'), qos: 0 });
    publisher.publish({ topicName: 'a/open/1', payload: Buffer.from('yes'), qos: 0 });
    const live = await client.expect('publish');
    expect(live.body.toString()).toContain('a/open/1');
    await expect(client.receive(300)).rejects.toThrow(/no packet/);
    for (const topic of ['a/secret/r', 'a/open/r']) {
      publisher.publish({
        topicName: topic,
        payload: Buffer.alloc(0),
        qos: 1,
        packetId: 3,
        retain: true,
      });
      await publisher.expect('puback');
    }
    client.destroy();
    publisher.destroy();
  });

  it('lets nobody publish to $…, however wide the rules are (A4)', async () => {
    for (const topic of ['$SYS/x', '$SYS/y/new/clients', '$share/g/a', '$x']) {
      const client = await open(watcher, 'intruder');
      client.publish({ topicName: topic, payload: Buffer.from('victim'), qos: 1, packetId: 1 });
      await expect(client.receive(), topic).rejects.toThrow();
      await client.closed;
    }
  });

  it('refuses a CONNECT whose will may not be published, and publishes one that may', async () => {
    const will = (topic: string) => ({
      will: { topicName: topic, payload: Buffer.from('gone'), qos: 1 },
    });
    expect(await refusedWith(will('forbidden/will'))).toBe(NOT_AUTHORIZED);
    expect(await refusedWith(will('$SYS/will'))).toBe(NOT_AUTHORIZED);
    const listener = await open(watcher, 'mourner');
    await listener.subscribe(1, [{ topicFilter: 'a/will', qos: 0 }]);
    const dying = await open(device, 'dying', will('a/will'));
    dying.destroy();
    const packet = await listener.expect('publish');
    expect(packet.body.toString()).toContain('gone');
    listener.destroy();
  });

  it('does not publish the will of a session whose rights were taken away meanwhile (A6)', async () => {
    const { api } = running;
    const rules = [{ effect: 'allow', action: 'all', topicFilter: 'w/#' }] as const;
    const mortal = await api.addDevice('mortal', rules);
    const listener = await open(watcher, 'mourner-2');
    await listener.subscribe(1, [{ topicFilter: 'w/#', qos: 0 }]);
    const will = { topicName: 'w/will', payload: Buffer.from('gone'), qos: 1 as const };
    const client = await open(mortal, 'mortal', { will });
    const removed = await api.send('DELETE', `/api/v1/credentials/${mortal.id}?wait=enforced`);
    expect(removed.status).toBe(204);
    await client.closed;
    await expect(listener.receive(500)).rejects.toThrow(/no packet/);
    listener.destroy();
  });

  it('closes a client of MQTT 3.1.1 that publishes without the right, or acknowledges and drops, as set', async () => {
    const { api } = running;
    const listener = await open(watcher, 'collector');
    await listener.subscribe(1, [{ topicFilter: 'forbidden/#', qos: 0 }]);
    const first = await open(device, 'denied');
    first.publish({ topicName: 'forbidden/1', payload: Buffer.from('x'), qos: 1, packetId: 7 });
    await expect(first.receive()).rejects.toThrow();
    await first.closed;
    await api.expect(200, 'PATCH', '/api/v1/settings?wait=enforced', { denyAction: 'ignore' });
    const second = await open(device, 'denied');
    second.publish({
      topicName: 'forbidden/1',
      payload: Buffer.from('x'),
      qos: 1,
      packetId: 7,
      retain: true,
    });
    const ack = await second.expect('puback');
    expect(ack.body.readUInt16BE(0)).toBe(7);
    await expect(listener.receive(300)).rejects.toThrow(/no packet/);
    const late = await open(watcher, 'late');
    await late.subscribe(1, [{ topicFilter: 'forbidden/#', qos: 0 }]);
    await expect(late.receive(300)).rejects.toThrow(/no packet/);
    await api.expect(200, 'PATCH', '/api/v1/settings?wait=enforced', { denyAction: 'disconnect' });
    for (const client of [listener, second, late]) client.destroy();
  });

  it('lets a device in on any node as soon as the call that made it has answered', async () => {
    for (let index = 0; index < 10; index++) {
      const fresh = {
        name: `fresh-${index}`,
        match: { username: `fresh-${index}` },
        password: 'password',
      };
      await running.api.expect(201, 'POST', '/api/v1/credentials', fresh);
      const who = { username: `fresh-${index}`, password: 'password' };
      (await open(who, `fresh-${index}`)).destroy();
    }
  });
});
