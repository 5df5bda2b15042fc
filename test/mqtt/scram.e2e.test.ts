import { randomUUID } from 'node:crypto';
import {
  encodeAuth5,
  encodeConnect5,
  type Mqtt5PacketOf,
  RawMqtt5Client,
  ScramClient,
} from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const PASSWORD = 'a secret that a person chose';
const MECHANISMS = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;
type Mechanism = (typeof MECHANISMS)[number];

const CONTINUE = 0x18;
const RE_AUTHENTICATE = 0x19;
const PROTOCOL_ERROR = 0x82;
const NOT_AUTHORIZED = 0x87;
const BAD_METHOD = 0x8c;

interface Login {
  readonly mechanism?: Mechanism;
  readonly username?: string;
  readonly password?: string;
  /** User Name of the CONNECT itself. */
  readonly connectAs?: string;
}

describe.each(PROFILES)('SCRAM on the %s profile', (profile) => {
  let running: Running;
  let turn = 0;
  const clients: RawMqtt5Client[] = [];

  beforeAll(async () => {
    running = await startProfile(profile);
    for (const username of ['prover', 'other', 'plain']) {
      await running.api.expect(201, 'POST', '/api/v1/credentials', {
        name: username,
        match: { username },
        password: PASSWORD,
        ...(username !== 'plain' && { scram: [...MECHANISMS] }),
      });
      const path = `/api/v1/acl/usernames/${username}/rules?wait=enforced`;
      const rule = { effect: 'allow', action: 'all', topicFilter: `${username}/#` };
      await running.api.expect(201, 'POST', path, rule);
    }
  });

  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
  });

  afterAll(() => running?.[Symbol.asyncDispose]());

  async function open(): Promise<RawMqtt5Client> {
    const port = running.mqttPorts[turn++ % running.mqttPorts.length] ?? 0;
    const client = await RawMqtt5Client.open(port);
    clients.push(client);
    return client;
  }

  const send = (client: RawMqtt5Client, code: number, method: string, data: Buffer): void => {
    const properties = { authenticationMethod: method, authenticationData: data };
    client.send(encodeAuth5(code, properties));
  };

  /** The proof for the challenge that must come next. */
  async function answer(client: RawMqtt5Client, scram: ScramClient, mechanism: Mechanism) {
    const { reasonCode, properties } = await client.expect('auth');
    expect(reasonCode).toBe(CONTINUE);
    expect(properties.authenticationMethod).toBe(mechanism);
    const challenge = properties.authenticationData ?? Buffer.alloc(0);
    send(client, CONTINUE, mechanism, scram.final(challenge));
  }

  async function login(login: Login = {}): Promise<{
    client: RawMqtt5Client;
    connack: Mqtt5PacketOf<'connack'>;
    scram: ScramClient;
  }> {
    const { mechanism = 'SCRAM-SHA-256', username = 'prover', password = PASSWORD } = login;
    const client = await open();
    const scram = new ScramClient({ mechanism, username, password });
    client.send(
      encodeConnect5({
        clientId: randomUUID(),
        ...(login.connectAs !== undefined && { username: login.connectAs }),
        properties: { authenticationMethod: mechanism, authenticationData: scram.first() },
      }),
    );
    await answer(client, scram, mechanism);
    return { client, connack: await client.expect('connack'), scram };
  }

  it('refuses a wrong password, a name that nobody has, and one that has no SCRAM, with one answer', async () => {
    for (const wrong of [{ password: 'wrong' }, { username: 'nobody' }, { username: 'plain' }]) {
      const { client, connack } = await login(wrong);
      expect(connack.reasonCode, JSON.stringify(wrong)).toBe(NOT_AUTHORIZED);
      await client.closed;
    }
  });

  it('refuses a proof for somebody else than the CONNECT names', async () => {
    const client = await open();
    const scram = new ScramClient({
      mechanism: 'SCRAM-SHA-256',
      username: 'prover',
      password: PASSWORD,
    });
    const connack = await client.connect({
      clientId: randomUUID(),
      username: 'other',
      properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: scram.first() },
    });
    expect(connack.reasonCode).toBe(NOT_AUTHORIZED);
    await client.closed;
  });

  it('MQTT-5.0 [MQTT-4.12.0-1] answers a method that it does not know with 0x8C', async () => {
    const client = await open();
    const properties = { authenticationMethod: 'SCRAM-SHA-1' };
    const connack = await client.connect({ clientId: randomUUID(), properties });
    expect(connack.reasonCode).toBe(BAD_METHOD);
    await client.closed;
  });

  it('MQTT-5.0 [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] lets in who proves the password, proves itself, and gives the rights of the name', async () => {
    for (const mechanism of MECHANISMS) {
      const { client, connack, scram } = await login({ mechanism });
      expect(connack.reasonCode).toBe(0);
      expect(connack.properties.authenticationMethod).toBe(mechanism);
      expect(scram.verifies(connack.properties.authenticationData ?? Buffer.alloc(0))).toBe(true);
      const { reasonCodes } = await client.subscribe([
        { topicFilter: 'prover/x', qos: 0 },
        { topicFilter: 'other/x', qos: 0 },
      ]);
      expect(reasonCodes).toEqual([0, NOT_AUTHORIZED]);
    }
  });

  it('MQTT-5.0 [MQTT-4.12.1-1] authenticates again while the connection goes on', async () => {
    const mechanism = 'SCRAM-SHA-256';
    const { client } = await login();
    await client.subscribe({ topicFilter: 'prover/x', qos: 0 });
    const scram = new ScramClient({ mechanism, username: 'prover', password: PASSWORD });
    send(client, RE_AUTHENTICATE, mechanism, scram.first());
    await answer(client, scram, mechanism);
    const done = await client.expect('auth');
    expect(done.reasonCode).toBe(0);
    expect(scram.verifies(done.properties.authenticationData ?? Buffer.alloc(0))).toBe(true);
    client.publish({ topicName: 'prover/x', payload: 'still here' });
    expect((await client.take()).payload.toString()).toBe('still here');
  });

  it('MQTT-5.0 [MQTT-4.12.1-2] ends a connection that fails to, or proves to be somebody else', async () => {
    const mechanism = 'SCRAM-SHA-256';
    const impostors = [
      { username: 'prover', password: 'wrong' },
      { username: 'other', password: PASSWORD },
    ];
    for (const impostor of impostors) {
      const { client } = await login();
      const scram = new ScramClient({ mechanism, ...impostor });
      send(client, RE_AUTHENTICATE, mechanism, scram.first());
      await answer(client, scram, mechanism);
      const [last] = await client.ending();
      expect(last).toMatchObject({ type: 'disconnect', reasonCode: NOT_AUTHORIZED });
    }
  });

  it('MQTT-5.0 [MQTT-4.12.0-6] [MQTT-4.12.0-7] takes an AUTH out of turn, or with another method, for a protocol error', async () => {
    const wrong: ((client: RawMqtt5Client) => void)[] = [
      (client) => send(client, CONTINUE, 'SCRAM-SHA-256', Buffer.from('x')),
      (client) => send(client, RE_AUTHENTICATE, 'SCRAM-SHA-512', Buffer.from('n,,n=prover,r=x')),
    ];
    for (const act of wrong) {
      const { client } = await login();
      act(client);
      const [last] = await client.ending();
      expect(last).toMatchObject({ type: 'disconnect', reasonCode: PROTOCOL_ERROR });
    }
  });
});
