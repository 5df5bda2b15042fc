import { RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const BAD_CREDENTIALS = 0x86;
const NOT_AUTHORIZED = 0x87;
const ADMINISTRATIVE_ACTION = 0x98;

/** compat C3.1, tbmq 7: rules are bound to the session when it authenticates. */
describe.each(PROFILES)('credentials with patterns on the %s profile', (profile) => {
  let running: Running;
  const clients: RawMqtt5Client[] = [];

  beforeAll(async () => {
    running = await startProfile(profile);
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client[Symbol.asyncDispose]()));
  });
  afterAll(() => running?.[Symbol.asyncDispose]());

  const patternsOf = (topic: string) => ({
    kind: 'patterns',
    publish: [topic],
    subscribe: [topic],
  });

  async function add(
    store: string,
    access: object,
    more = {},
  ): Promise<{ url: string; name: string }> {
    const name = `${store}-${Math.random().toString(36).slice(2)}`;
    const body = {
      name,
      store,
      match: { username: name },
      passwordRequired: false,
      access,
      ...more,
    };
    const path = '/api/v1/credentials';
    const { id } = await running.api.expect<{ id: string }>(
      201,
      'POST',
      `${path}?wait=enforced`,
      body,
    );
    return { url: `${path}/${id}`, name };
  }

  const patch = ({ url }: { url: string }, body: object, apply = '') =>
    running.api.expect(200, 'PATCH', `${url}?wait=enforced${apply}`, body);

  let turn = 0;
  async function attempt(username: string, password?: string) {
    const clientId = `${username}-${turn}`;
    const port = running.mqttPorts[turn++ % running.mqttPorts.length] ?? 0;
    const client = await RawMqtt5Client.open(port);
    clients.push(client);
    const proof = password === undefined ? {} : { password };
    const { reasonCode } = await client.connect({ clientId, username, ...proof });
    return { client, reasonCode };
  }

  async function open(username: string, password?: string): Promise<RawMqtt5Client> {
    const { client, reasonCode } = await attempt(username, password);
    expect(reasonCode).toBe(0);
    return client;
  }

  const mayPublish = async (client: RawMqtt5Client, topicName: string): Promise<boolean> =>
    (await client.deliver({ topicName, payload: 'x', qos: 1 })) < 0x80;

  it.each(['native', 'tbmq'])('of %s reach a device at its next CONNECT', async (store) => {
    const credential = await add(store, patternsOf('before'));
    const client = await open(credential.name);
    await patch(credential, { access: patternsOf('after') });
    expect([await mayPublish(client, 'before'), await mayPublish(client, 'after')]).toEqual([
      true,
      false,
    ]);
    const next = await open(credential.name);
    expect([await mayPublish(next, 'before'), await mayPublish(next, 'after')]).toEqual([
      false,
      true,
    ]);
  });

  /** Threat I7: the rules are pinned, and who may be there is not. */
  it.each([
    ['disabled', (one) => patch(one, { enabled: false })],
    ['deleted', (one) => running.api.expect(204, 'DELETE', `${one.url}?wait=enforced`)],
    ['over', (one) => patch(one, { validity: { until: '2020-01-01T00:00:00.000Z' } })],
  ] satisfies [string, (one: { url: string }) => Promise<unknown>][])(
    'end on every node with a credential of the store native that is %s, and the rights end with the answer',
    async (_, end) => {
      const credential = await add('native', patternsOf('a'));
      const clients = await Promise.all(running.mqttPorts.map(() => open(credential.name)));
      await end(credential);
      for (const client of clients) {
        expect((await client.expect('disconnect')).reasonCode).toBe(NOT_AUTHORIZED);
      }
    },
  );

  it('end with a replaced secret of the store native, when that retires and not before', async () => {
    const proof = { passwordRequired: true, password: 'before-then' };
    const credential = await add('native', patternsOf('a'), proof);
    const client = await open(credential.name, 'before-then');
    const rotate = (retireOldAfterSeconds: number, password: string) => {
      const path = `${credential.url}/secrets?wait=enforced`;
      return running.api.expect(201, 'POST', path, { password, retireOldAfterSeconds });
    };
    await rotate(2, 'after-that');
    const rotatedAt = performance.now();
    expect(await mayPublish(client, 'a')).toBe(true);
    const next = await open(credential.name, 'after-that');
    expect((await client.expect('disconnect')).reasonCode).toBe(NOT_AUTHORIZED);
    expect(performance.now() - rotatedAt).toBeGreaterThan(1_500);
    expect(await mayPublish(next, 'a')).toBe(true);
    await rotate(0, 'the-last-one');
    expect((await next.expect('disconnect')).reasonCode).toBe(NOT_AUTHORIZED);
  });

  it('leave a device connected whose credential is disabled or deleted, and let nobody else in', async () => {
    const credential = await add('tbmq', patternsOf('a'));
    const client = await open(credential.name);
    await patch(credential, { enabled: false });
    expect((await attempt(credential.name)).reasonCode).toBe(BAD_CREDENTIALS);
    expect(await mayPublish(client, 'a')).toBe(true);
    await running.api.expect(204, 'DELETE', `${credential.url}?wait=enforced`);
    expect((await attempt(credential.name)).reasonCode).toBe(BAD_CREDENTIALS);
    expect(await mayPublish(client, 'a')).toBe(true);
  });

  it('are bound in the store tbmq also where there is no pattern', async () => {
    const credential = await add('tbmq', { kind: 'unrestricted' });
    const client = await open(credential.name);
    await patch(credential, { access: patternsOf('only') });
    expect(await mayPublish(client, 'any')).toBe(true);
    expect(await mayPublish(await open(credential.name), 'any')).toBe(false);
  });

  it('reach a device at once with apply=live, and end it with apply=kick', async () => {
    const credential = await add('tbmq', patternsOf('before'));
    const client = await open(credential.name);
    await patch(credential, { access: patternsOf('after') }, '&apply=live');
    expect([await mayPublish(client, 'before'), await mayPublish(client, 'after')]).toEqual([
      false,
      true,
    ]);
    await patch(credential, { access: patternsOf('later') }, '&apply=kick');
    const last = await client.expect('disconnect');
    expect(last.reasonCode).toBe(ADMINISTRATIVE_ACTION);
  });

  it('do what the access of the credential says, where it says something', async () => {
    const followed = await add('native', { ...patternsOf('before'), apply: 'live' });
    const client = await open(followed.name);
    await patch(followed, { access: patternsOf('after') });
    expect([await mayPublish(client, 'before'), await mayPublish(client, 'after')]).toEqual([
      false,
      true,
    ]);
    const kicked = await add('tbmq', { ...patternsOf('before'), apply: 'kick' });
    const other = await open(kicked.name);
    await patch(kicked, { access: patternsOf('after') });
    expect((await other.expect('disconnect')).reasonCode).toBe(ADMINISTRATIVE_ACTION);
  });

  it('stay as they are with apply=pinned, whatever the access says, until the next CONNECT or change', async () => {
    const unrestricted = { kind: 'unrestricted' };
    for (const apply of ['live', 'kick']) {
      const credential = await add('native', { ...unrestricted, apply });
      const client = await open(credential.name);
      const access = { kind: 'patterns', publish: ['only'], subscribe: [], apply };
      await patch(credential, { access }, '&apply=pinned');
      expect(await mayPublish(client, 'any')).toBe(true);
      expect(await mayPublish(await open(credential.name), 'any')).toBe(false);
      await patch(credential, { attributes: { a: 'b' } }, '&apply=live');
      expect(await mayPublish(client, 'any')).toBe(false);
    }
    const ended = await add('native', unrestricted);
    const client = await open(ended.name);
    await patch(ended, { enabled: false }, '&apply=pinned');
    expect((await client.expect('disconnect')).reasonCode).toBe(NOT_AUTHORIZED);
  });

  it('are changed by an import that says how and waits until it is so', async () => {
    const credential = await add('native', patternsOf('before'));
    const client = await open(credential.name);
    const importing = async (access: object, query: string) => {
      const { name } = credential;
      const row = { name, match: { username: name }, passwordRequired: false, access };
      const path = `/api/v1/credentials/import?existing=update&wait=enforced${query}`;
      const answer = await running.api.expect<string>(200, 'POST', path, [row]);
      expect(answer).toContain('"enforced":true');
    };
    await importing(patternsOf('after'), '');
    expect(await mayPublish(client, 'before')).toBe(true);
    await importing(patternsOf('later'), '&apply=live');
    expect([await mayPublish(client, 'before'), await mayPublish(client, 'later')]).toEqual([
      false,
      true,
    ]);
    await importing(patternsOf('last'), '&apply=kick');
    expect((await client.expect('disconnect')).reasonCode).toBe(ADMINISTRATIVE_ACTION);
  });

  it('end with a ban, and when their credential is removed with apply=live', async () => {
    const banned = await add('tbmq', patternsOf('a'));
    const client = await open(banned.name);
    const ban = { kind: 'username', value: banned.name };
    await running.api.expect(201, 'POST', '/api/v1/bans?wait=enforced', ban);
    expect((await client.expect('disconnect')).reasonCode).toBe(ADMINISTRATIVE_ACTION);
    const removed = await add('tbmq', patternsOf('a'));
    const other = await open(removed.name);
    await running.api.expect(204, 'DELETE', `${removed.url}?wait=enforced&apply=live`);
    expect((await other.expect('disconnect')).reasonCode).toBe(NOT_AUTHORIZED);
  });
});
