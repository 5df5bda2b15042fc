import { RawMqtt5Client, until } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const STORED = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };

/** MQTT-5.0 §4.8.2, compat C5: what is queued for a member that has lost its right is another member's. */
describe.each(PROFILES)('the queue of a revoked member on the %s profile', (profile) => {
  let running: Running;
  const clients: RawMqtt5Client[] = [];

  beforeAll(async () => {
    running = await startProfile(profile);
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
  });
  afterAll(() => running?.[Symbol.asyncDispose]());

  const port = (index: number) => running.mqttPorts[index % running.mqttPorts.length] ?? 0;

  async function connect(index: number, who: object, clientId: string, options = {}) {
    const client = await RawMqtt5Client.open(port(index));
    clients.push(client);
    const { reasonCode } = await client.connect({ clientId, ...who, ...options });
    expect(reasonCode).toBe(0);
    return client;
  }

  const device = (name: string) =>
    running.api.addDevice(name, [{ effect: 'allow', action: 'all', topicFilter: '#' }]);

  it.each(['connected', 'away'])('goes to one that is %s', async (where) => {
    const [losing, keeping] = [await device(`losing-${where}`), await device(`keeping-${where}`)];
    const filter = { topicFilter: `$share/g/${where}/#`, qos: 2 };
    const publisher = await connect(2, keeping, `${where}-publisher`);
    const away = await connect(0, losing, `${where}-losing`, STORED);
    await away.subscribe(filter);
    away.destroy();
    await away.closed;
    const names = [1, 2, 1].map((qos, index) => ({ topicName: `${where}/${index}`, qos }));
    for (const one of names) await publisher.deliver({ ...one, payload: 'x' });
    let other = await connect(1, keeping, `${where}-keeping`, STORED);
    await other.subscribe(filter);
    if (where === 'away') {
      other.destroy();
      await other.closed;
    }
    const path = `/api/v1/acl/usernames/losing-${where}?wait=enforced`;
    await running.api.expect(204, 'DELETE', path);
    const back = await connect(1, losing, `${where}-losing`, STORED);
    await back.silence(300);
    if (where === 'away') other = await connect(2, keeping, `${where}-keeping`, STORED);
    const got = [];
    for (const _ of names) got.push((await other.take()).topicName);
    expect(got.sort()).toEqual(names.map((one) => one.topicName));
    await Promise.all([back.silence(), other.silence()]);
  });

  it('is passed over: what comes while nobody is there waits for one that may receive it', async () => {
    const [losing, keeping] = [await device('losing-turns'), await device('keeping-turns')];
    const publisher = await connect(2, keeping, 'turns-publisher');
    const filter = { topicFilter: '$share/g/turns/#', qos: 1 };
    const leave = async (client: RawMqtt5Client, clientId: string) => {
      client.destroy();
      await client.closed;
      const path = `/api/v1/connections/${clientId}`;
      await until(async () => (await running.api.send('GET', path)).status === 404);
    };
    for (const [who, clientId] of [
      [losing, 'turns-losing'],
      [keeping, 'turns-keeping'],
    ] as const) {
      const member = await connect(0, who, clientId, STORED);
      await member.subscribe(filter);
      await leave(member, clientId);
    }
    const path = '/api/v1/acl/usernames/losing-turns?wait=enforced';
    await running.api.expect(204, 'DELETE', path);
    // Without this every other message waits for the one that may not have it. The rights are learned behind the first.
    let inTurn = 0;
    for (let round = 0; round < 20 && inTurn < 4; round++) {
      await publisher.deliver({ topicName: `turns/${round}`, payload: 'x', qos: 1 });
      const back = await connect(1, keeping, 'turns-keeping', STORED);
      const got = await back.take(1_000).catch(() => undefined);
      inTurn = got === undefined ? 0 : inTurn + 1;
      await leave(back, 'turns-keeping');
    }
    expect(inTurn).toBe(4);
  });
});
