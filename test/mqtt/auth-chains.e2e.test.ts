import { encodeAuth5, encodeConnect5, RawMqtt5Client, ScramClient } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openMqttStream } from '../harness/mqtt-streams.ts';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const CONTINUE = 0x18;
const BAD_CREDENTIALS = 0x86;
const NOT_AUTHORIZED = 0x87;
const BANNED = 0x8a;

const [PASSWORD, SCRAM] = ['password_based:built_in_database', 'scram:built_in_database'] as const;
const LISTENER = 'listener:tcp:default';
const OTHER_LISTENER = 'listener:ws:default';
const passwords = (more: object = {}) => ({ mechanism: 'password_based', ...more });
const proofs = (more: object = {}) => ({ mechanism: 'scram', ...more });

describe.each(PROFILES)('chains of authenticators on the %s profile', (profile) => {
  let running: Running;
  let turn = 0;
  const clients: RawMqtt5Client[] = [];

  beforeAll(async () => {
    running = await startProfile(profile, {
      ...{ SALLYPORT_MQTT__WS__AUTHENTICATION: 'none', SALLYPORT_MQTT__WS__ZONE: 'hall-7' },
    });
    const rules = [{ effect: 'allow', action: 'all', topicFilter: 'anyone/#' }];
    await running.api.expect(200, 'PUT', '/api/v1/acl/everyone?wait=enforced', { rules });
  });

  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
  });

  afterAll(() => running?.[Symbol.asyncDispose]());

  const put = (scope: string, authenticators: readonly object[], anonymous = false) =>
    running.api.expect<{ updatedRevision: number }>(
      200,
      'PUT',
      `/api/v1/auth-chains/${scope}?wait=enforced`,
      { authenticators, anonymous },
    );

  let made = 0;
  /** A user name that no other test has, so that each begins anew. */
  let name: string;
  beforeEach(() => {
    name = `user-${made++}`;
  });

  const add = (
    scope: string,
    password: string,
    more: { authenticator?: string; store?: string; match?: object } = {},
  ) => {
    const { authenticator = PASSWORD, store = 'emqx', match = { username: name } } = more;
    const chain = store === 'emqx' ? { chain: { scope, authenticator } } : {};
    const body = { store, name, match, password, ...chain };
    return running.api.expect<{ id: string }>(
      201,
      'POST',
      '/api/v1/credentials?wait=enforced',
      body,
    );
  };

  /** Each goes to the next node. */
  async function connection() {
    const clientId = `${name}-${turn}`;
    const port = running.mqttPorts[turn++ % running.mqttPorts.length] ?? 0;
    const client = await RawMqtt5Client.open(port);
    clients.push(client);
    return { client, clientId };
  }

  async function attempt(password: string | undefined, username: string | undefined = name) {
    const { client, clientId } = await connection();
    const connack = await client.connect({
      clientId,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
    });
    return { client, code: connack.reasonCode };
  }

  const codeOf = async (password: string | undefined, username?: string): Promise<number> =>
    (await attempt(password, username)).code;

  async function open(password: string | undefined) {
    const { client, code } = await attempt(password);
    expect(code).toBe(0);
    return client;
  }

  async function openByScram(password: string) {
    const { client, clientId } = await connection();
    const mechanism = 'SCRAM-SHA-256';
    const scram = new ScramClient({ mechanism, username: name, password });
    const properties = { authenticationMethod: mechanism, authenticationData: scram.first() };
    client.send(encodeConnect5({ clientId, properties }));
    const challenge = (await client.expect('auth')).properties.authenticationData;
    const data = scram.final(challenge ?? Buffer.alloc(0));
    client.send(
      encodeAuth5(CONTINUE, { authenticationMethod: mechanism, authenticationData: data }),
    );
    return { client, code: (await client.expect('connack')).reasonCode };
  }

  const explained = (clientId: string) =>
    running.api.expect<object>(200, 'POST', '/api/v1/explain', {
      ...{ connection: clientId, action: 'publish', topic: 'theirs' },
    });

  const may = async (client: RawMqtt5Client, topicName: string): Promise<boolean> =>
    (await client.deliver({ topicName, payload: 'x', qos: 1 })) < 0x80;

  it('before any is set, users of the store come in as they always did', async () => {
    await running.api.expect(201, 'POST', '/api/v1/credentials?wait=enforced', {
      ...{ store: 'emqx', name, match: { username: name }, password: 'as always' },
    });
    expect(await codeOf('wrong')).toBe(BAD_CREDENTIALS);
    expect(await codeOf('as always')).toBe(0);
  });

  it('the same user has one password in the global chain and another one in that of a listener, which stands in its place', async () => {
    await put('global', [passwords()]);
    await put(OTHER_LISTENER, [passwords()]);
    await add('global', 'global');
    await add(OTHER_LISTENER, 'of the listener');
    expect(await codeOf('global')).toBe(0);
    expect(await codeOf('of the listener')).toBe(BAD_CREDENTIALS);
    await put(LISTENER, [passwords()]);
    expect(await codeOf('global')).toBe(BAD_CREDENTIALS);
    await add(LISTENER, 'of this listener');
    expect(await codeOf('of this listener')).toBe(0);
    expect(await codeOf('of the listener')).toBe(BAD_CREDENTIALS);
    // Disabled it still stands there, and lets nobody in, also nobody without a name.
    await put(LISTENER, [passwords({ enabled: false })]);
    for (const password of ['global', 'of this listener', undefined]) {
      expect(await codeOf(password)).toBe(BAD_CREDENTIALS);
    }
    expect(await codeOf(undefined, '')).toBe(BAD_CREDENTIALS);
    // With the last authenticator it goes, and its users with it.
    await put(LISTENER, []);
    expect(await codeOf('global')).toBe(0);
    await put(LISTENER, [passwords()]);
    expect(await codeOf('of this listener')).toBe(BAD_CREDENTIALS);
    await put(LISTENER, []);
  });

  it('the authenticator that knows the user decides for the store, and other stores are asked after it', async () => {
    await put('global', [proofs(), passwords()]);
    await add('global', 'by password');
    await add('global', 'by proof', { authenticator: SCRAM });
    await add('', 'of cybus', { store: 'cybus' });
    expect(await codeOf('by password')).toBe(0);
    expect(await codeOf('by proof')).toBe(BAD_CREDENTIALS);
    expect(await codeOf('of cybus')).toBe(0);
    expect((await openByScram('by proof')).code).toBe(0);
    expect((await openByScram('by password')).code).toBe(NOT_AUTHORIZED);
    // Unknown and wrong have one code: nobody learns a name.
    expect(await codeOf('x', 'nobody')).toBe(await codeOf('x'));
  });

  it('a change is enforced on live sessions when it is answered, and only on those that it is about', async () => {
    await put('global', [passwords(), proofs()]);
    await add('global', 'by password');
    await add('global', 'by proof', { authenticator: SCRAM });
    await add('', 'of cybus', { store: 'cybus' });
    const byPassword = await Promise.all(running.mqttPorts.map(() => open('by password')));
    const byProof = (await openByScram('by proof')).client;
    const other = await open('of cybus');
    // Neither order nor algorithm decides who stays.
    const hash = { name: 'sha256' };
    await put('global', [proofs(), passwords({ hash })]);
    await Promise.all(byPassword.map((client) => client.ping()));
    await put('global', [proofs(), passwords({ enabled: false, hash })]);
    for (const client of byPassword) {
      expect(await client.ending()).toMatchObject([
        { type: 'disconnect', reasonCode: NOT_AUTHORIZED },
      ]);
    }
    await Promise.all([byProof, other].map((client) => client.ping()));
    expect(await codeOf('by password')).toBe(BAD_CREDENTIALS);
    await put('global', [proofs(), passwords({ hash })]);
    const again = await open('by password');
    // Another chain in its place: who came by the global one has no business here any more.
    await put(LISTENER, [passwords()]);
    for (const client of [again, byProof]) {
      expect(await client.ending()).toMatchObject([{ reasonCode: NOT_AUTHORIZED }]);
    }
    await other.ping();
    await put(LISTENER, []);
    expect(await codeOf('by password')).toBe(0);
  });

  it('a removed authenticator takes its users with it, and ends their sessions', async () => {
    await put('global', [passwords()]);
    const { id } = await add('global', 'password');
    const client = await open('password');
    await put('global', []);
    expect(await client.ending()).toMatchObject([{ reasonCode: NOT_AUTHORIZED }]);
    await running.api.expect(404, 'GET', `/api/v1/credentials/${id}`);
    await put('global', [passwords()]);
    expect(await codeOf('password')).toBe(BAD_CREDENTIALS);
  });

  it('passwords are hashed as the chain says from then on, and older ones go on opening', async () => {
    await put('global', [passwords()]);
    const { id } = await add('global', 'first');
    for (const hash of [
      { name: 'plain' },
      { name: 'sha512', saltPosition: 'suffix' },
      { name: 'bcrypt', saltRounds: 5 },
      { name: 'pbkdf2', digest: 'sha256', iterations: 100 },
    ]) {
      await put('global', [passwords({ hash })]);
      expect(await codeOf('first')).toBe(0);
      const password = `by ${hash.name}`;
      await running.api.expect(201, 'POST', `/api/v1/credentials/${id}/secrets?wait=enforced`, {
        password,
      });
      expect(await codeOf('wrong')).toBe(BAD_CREDENTIALS);
      expect(await codeOf(password)).toBe(0);
      await running.api.expect(201, 'POST', `/api/v1/credentials/${id}/secrets?wait=enforced`, {
        password: 'first',
      });
    }
  });

  it('a listener that asks nobody lets in whoever comes, as nobody; another one does not', async () => {
    await put('global', [passwords()]);
    await add('global', 'password');
    const rules = [{ effect: 'allow', action: 'all', topicFilter: 'theirs' }];
    const path = `/api/v1/acl/usernames/${name}?wait=enforced`;
    await running.api.expect(200, 'PUT', path, { rules });
    expect(await codeOf('wrong')).toBe(BAD_CREDENTIALS);
    const port = running.wsPort;
    const nobody = RawMqtt5Client.over(await openMqttStream('ws:default', { port }));
    clients.push(nobody);
    const clientId = `${name}-ws`;
    const asked = { clientId, username: name, password: 'wrong' };
    expect((await nobody.connect(asked)).reasonCode).toBe(0);
    expect([await may(nobody, 'anyone/x'), await may(nobody, 'theirs')]).toEqual([true, false]);
    expect(await explained(clientId)).toMatchObject({
      origin: { type: 'listener', id: 'ws:default' },
      connection: { zone: 'hall-7' },
    });
  });

  it('nobody comes in unproven unless that was asked for; then as nobody, and to what is for everyone', async () => {
    await put('global', [passwords()]);
    await add('global', 'password');
    const rules = [{ effect: 'allow', action: 'all', topicFilter: 'theirs' }];
    const path = `/api/v1/acl/usernames/${name}?wait=enforced`;
    await running.api.expect(200, 'PUT', path, { rules });
    await put(LISTENER, [passwords()], true);
    expect(await codeOf(undefined, '')).toBe(BAD_CREDENTIALS);
    const letIn = await put(LISTENER, [passwords({ enabled: false })], true);
    const nobody = await open('password');
    expect(await explained(`${name}-${turn - 1}`)).toMatchObject({
      ...{ allowed: false, ruleId: 'default' },
      origin: { type: 'auth_chain', id: LISTENER },
      admittedBy: {
        ...{ scope: LISTENER, anonymous: true },
        authenticators: [{ id: PASSWORD, enabled: false }],
        event: { revision: letIn.updatedRevision, actor: { kind: 'operator' } },
      },
    });
    expect(await may(nobody, 'anyone/x')).toBe(true);
    expect(await may(nobody, 'theirs')).toBe(false);
    expect(await codeOf(undefined, '')).toBe(0);
    // A native device is still who it is.
    const device = await running.api.addDevice(`${name}-device`, [
      { effect: 'allow', action: 'all', topicFilter: 'device' },
    ]);
    const { client, code } = await attempt(device.password, device.username);
    expect([code, await may(client, 'device')]).toEqual([0, true]);
    const ban = await running.api.expect<{ id: string }>(
      201,
      'POST',
      '/api/v1/bans?wait=enforced',
      {
        ...{ kind: 'username', value: name },
      },
    );
    expect(await codeOf('password')).toBe(BANNED);
    await running.api.expect(204, 'DELETE', `/api/v1/bans/${ban.id}?wait=enforced`);
    await put(LISTENER, []);
    expect(await nobody.ending()).toMatchObject([{ reasonCode: NOT_AUTHORIZED }]);
    await client.ping();
    expect(await may(await open('password'), 'theirs')).toBe(true);
    expect(await codeOf(undefined, '')).toBe(BAD_CREDENTIALS);
  });
});
