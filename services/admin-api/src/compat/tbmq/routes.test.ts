import { randomUUID } from 'node:crypto';
import { sealingContext } from '@sallyport/secrets';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADMIN_EMAIL,
  ADMIN_PASSWORD,
  type AnswerBody,
  type Answered,
  World,
} from '../../testing/world.ts';

const BASE = '/api/mqtt/client/credentials';

let world: World;
let token: string;
beforeAll(async () => {
  world = await World.open();
  token = (await login(ADMIN_EMAIL)).body.token;
});
afterAll(() => world[Symbol.asyncDispose]());

const json = { 'content-type': 'application/json' };

const login = (username: string, password = ADMIN_PASSWORD) =>
  send('POST', '/api/auth/login', JSON.stringify({ username, password }), json);

/** As the documentation's curl does it. */
function send(
  method: 'GET' | 'POST' | 'DELETE' | 'PUT',
  url: string,
  payload?: string,
  headers: Record<string, string> = { ...json, 'X-Authorization': `Bearer ${token}` },
): Promise<Answered> {
  return world.request({ method, url, headers, ...(payload === undefined ? {} : { payload }) });
}

interface Value {
  userName?: unknown;
  password?: unknown;
  authorizationRulePattern?: unknown;
  [more: string]: unknown;
}
const basic = (value: Value, more: object = {}) =>
  JSON.stringify({
    clientId: null,
    credentialsType: 'MQTT_BASIC',
    credentialsValue: JSON.stringify(value),
    ...more,
  });
const create = (value: Value, more?: object) => send('POST', BASE, basic(value, more));

/** The envelope of every error; its time is ISO 8601 text in era S. */
function expectError(answer: Answered, status: number, errorCode: number, message: string): void {
  expect({ http: answer.status, ...answer.body, timestamp: '' }).toEqual({
    http: status,
    status,
    message,
    errorCode,
    timestamp: '',
  });
  expect(answer.body.timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/);
}

describe('TBMQ login', () => {
  it.each([
    ['wrong password', { username: ADMIN_EMAIL, password: 'canary-wrong' }],
    ['unknown user', { username: 'nobody@example.org', password: ADMIN_PASSWORD }],
    ['name of 257 bytes', { username: 'x'.repeat(257), password: ADMIN_PASSWORD }],
  ])('refuses: %s', async (_title, body) => {
    const answer = await send('POST', '/api/auth/login', JSON.stringify(body), json);
    expectError(answer, 401, 10, 'Invalid username or password');
  });

  it.each([
    ['blank name', '{"username":" ","password":"x"}'],
    ['empty password', '{"username":"admin","password":""}'],
    ['no members', '{}'],
    ['no JSON', 'username=admin'],
    ['no object', 'null'],
    ['numbers', '{"username":1,"password":2}'],
    ['a prototype', '{"__proto__":{"username":"admin"}}'],
  ])('cannot read: %s', async (_title, body) => {
    expectError(
      await send('POST', '/api/auth/login', body, json),
      401,
      10,
      'Authentication failed',
    );
  });

  it.each(['GET', 'PUT', 'DELETE'] as const)('refuses %s on its addresses', async (method) => {
    for (const url of ['/api/auth/login', '/api/auth/token']) {
      const answer = await send(method, url, undefined, {});
      expectError(answer, 401, 10, 'Authentication method not supported');
    }
  });

  it.each([{}, { 'content-type': 'text/plain' }, { 'content-type': 'x' }])(
    'does not look at the content type: %j',
    async (headers) => {
      const payload = JSON.stringify({ username: 'admin', password: ADMIN_PASSWORD });
      const answer = await send('POST', '/api/auth/login', payload, headers);
      expect(answer.status).toBe(200);
      expect(Object.keys(answer.body)).toEqual(['token', 'refreshToken']);
    },
  );

  it('tells a disabled operator so, but only who knows the password', async () => {
    const admin = await world.login();
    const operator = { name: 'gone', role: 'viewer', enabled: false, password: ADMIN_PASSWORD };
    await admin.post('/api/v1/operators', operator);
    expectError(await login('gone'), 401, 10, 'User account is not active');
    expectError(await login('gone', 'canary-wrong'), 401, 10, 'Invalid username or password');
  });

  it('locks after five failures', async () => {
    for (let failure = 0; failure < 5; failure++) await login('locked', 'canary-wrong');
    const answer = await login('locked', 'canary-wrong');
    expectError(answer, 429, 33, 'Too many requests');
    expect(answer.headers['retry-after']).toBe('600');
  });

  it('continues with the refresh token only', async () => {
    const first = (await login('admin')).body;
    const refresh = (refreshToken: unknown) =>
      send('POST', '/api/auth/token', JSON.stringify({ refreshToken }), json);
    expectError(await refresh(' '), 401, 10, 'Authentication failed');
    expectError(await refresh(first.token), 401, 10, 'Invalid username or password');
    const next = await refresh(first.refreshToken);
    expect(next.status).toBe(200);
    const headers = { 'X-Authorization': `Bearer ${next.body.token}` };
    expect((await send('GET', BASE, undefined, headers)).status).toBe(200);
  });
});

describe('TBMQ tokens', () => {
  const get = (headers: Record<string, string>) => send('GET', BASE, undefined, headers);

  it('the scheme is cut off by its length, and Authorization is the second choice', async () => {
    expect((await get({ 'X-Authorization': `Bearer ${token}` })).status).toBe(200);
    expect((await get({ 'X-Authorization': `Xxxxxx_${token}` })).status).toBe(200);
    expect((await get({ Authorization: `Bearer ${token}` })).status).toBe(200);
    const both = { 'X-Authorization': ' ', Authorization: `Bearer ${token}` };
    expect((await get(both)).status).toBe(200);
  });

  it('refuses in the words and with the codes of TBMQ', async () => {
    expectError(await get({}), 401, 10, 'Authentication failed');
    expectError(await get({ 'X-Authorization': 'Bearer' }), 401, 10, 'Authentication failed');
    const wrong = 'Invalid username or password';
    expectError(await get({ 'X-Authorization': 'Bearer ' }), 401, 10, wrong);
    expectError(await get({ 'X-Authorization': 'Bearer x' }), 401, 10, wrong);
    const [, claims] = token.split('.');
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    expectError(await get({ 'X-Authorization': `Bearer ${none}.${claims}.` }), 401, 10, wrong);
    const tampered = { 'X-Authorization': `Bearer ${token.slice(0, -4)}AAAA` };
    expectError(await get(tampered), 401, 11, 'Token has expired');
  });

  it('lives for 2.5 hours, and is no token of the native API, nor the other way round', async () => {
    const own = (await login('admin')).body.token;
    const native = await world.login();
    const authorization = `Bearer ${own}`;
    const there = await world.request({ url: '/api/v1/status', headers: { authorization } });
    expect(there.status).toBe(401);
    expect((await get({ Authorization: native.authorization ?? '' })).status).toBe(401);
    world.now += 9_000_000 - 1;
    expect((await get({ 'X-Authorization': authorization })).status).toBe(200);
    world.now += 1;
    expectError(await get({ 'X-Authorization': authorization }), 401, 11, 'Token has expired');
    token = (await login('admin')).body.token;
  });

  it('a viewer may look and nothing else', async () => {
    const admin = await world.login();
    await admin.post('/api/v1/operators', {
      name: 'eye',
      role: 'viewer',
      password: ADMIN_PASSWORD,
    });
    const headers = { 'X-Authorization': `Bearer ${(await login('eye')).body.token}` };
    expect((await get(headers)).status).toBe(200);
    const message = "You don't have permission to perform this operation!";
    expectError(await send('POST', BASE, basic({ userName: 'x' }), headers), 403, 20, message);
    const url = `${BASE}/${randomUUID()}`;
    expectError(await send('DELETE', url, undefined, headers), 403, 20, message);
  });
});

describe('TBMQ credentials, era S', () => {
  it('takes the example of the documentation', async () => {
    const answer = await send(
      'POST',
      BASE,
      `{
    "clientId": null,
    "credentialsType":"MQTT_BASIC",
    "credentialsValue":"{\\"userName\\":\\"test_user\\",\\"password\\":\\"test_pass\\",\\"authorizationRulePattern\\":\\"test_basic/.*\\"}"
}`,
    );
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      createdTime: world.now,
      clientId: null,
      credentialsId: 'username|test_user',
      credentialsType: 'MQTT_BASIC',
      credentialsValue:
        '{"userName":"test_user","password":null,"authorizationRulePattern":"test_basic/.*"}',
    });
    const stored = world.model.reads.credential(answer.body.id);
    expect(stored).toMatchObject({
      store: 'tbmq',
      name: 'username|test_user',
      match: { username: 'test_user' },
      passwordRequired: true,
      access: { kind: 'patterns', publish: ['test_basic/.*'], subscribe: ['test_basic/.*'] },
    });
    expect(await opens(answer.body.id, 'test_pass')).toBe(true);
    const list = await send('GET', BASE);
    expect(list.body).toContainEqual(answer.body);
    expect(list.text).not.toMatch(/argon2|test_pass/);
  });

  it('without a pattern nothing is restricted, and without a password any opens it', async () => {
    const { body } = await create({ userName: randomUUID() });
    const stored = world.model.reads.credential(body.id);
    expect(stored).toMatchObject({ access: { kind: 'unrestricted' }, passwordRequired: false });
    expect((JSON.parse(body.credentialsValue) as Value).authorizationRulePattern).toBe(null);
  });

  it('derives the credentials id from what is matched', async () => {
    const name = randomUUID();
    const ids = [
      await create({ userName: name }),
      await create({ userName: '' }, { clientId: name }),
      await create({ userName: name }, { clientId: name, credentialsId: 'mine', id: null }),
    ].map(({ body }) => body.credentialsId);
    expect(ids).toEqual([`username|${name}`, `client_id|${name}`, `mixed|${name}|${name}`]);
  });

  it.each([
    ['no type', { credentialsType: null }, 'MQTT Client credentials type should be specified'],
    ['no value', { credentialsValue: null }, 'Invalid credentials body for mqtt credentials!'],
    [
      'a value that is no JSON',
      { credentialsValue: '{' },
      'Invalid credentials body for mqtt credentials!',
    ],
    [
      'a value that is an object',
      { credentialsValue: {} },
      'Invalid credentials body for mqtt credentials!',
    ],
    [
      'a value with an unknown member',
      { credentialsValue: '{"userName":"x","x":1}' },
      'Invalid credentials body for mqtt credentials!',
    ],
    [
      'a number as user name',
      { credentialsValue: '{"userName":1}' },
      'Invalid credentials body for mqtt credentials!',
    ],
    [
      'neither user nor client',
      { credentialsValue: '{"userName":""}', clientId: '' },
      'Both mqtt client id and user name are empty!',
    ],
    [
      'a pattern that is none',
      { credentialsValue: '{"userName":"x","authorizationRulePattern":"("}' },
      'Authorization rule pattern should be a valid regex!',
    ],
    ['an id that is none', { id: 'x' }, 'Invalid UUID string: x'],
    [
      'an unknown id',
      { id: '00000000-0000-4000-8000-000000000000' },
      'Unable to update non-existent MQTT Client credentials!',
    ],
    [
      'certificates',
      { credentialsType: 'SSL' },
      'MQTT Client credentials type SSL is not supported yet, only MQTT_BASIC is!',
    ],
    [
      'SCRAM',
      { credentialsType: 'SCRAM' },
      'MQTT Client credentials type SCRAM is not supported yet, only MQTT_BASIC is!',
    ],
    [
      'rules of the newer form',
      { credentialsValue: '{"userName":"x","authRules":{}}' },
      'authRules are not supported yet, only authorizationRulePattern is!',
    ],
  ])('refuses %s', async (_title, more, message) => {
    const userName = randomUUID();
    expectError(await create({ userName }, more), 400, 31, message);
  });

  it.each(['', 'null', '[]', '"x"', '{', '{"__proto__":1}'])(
    'refuses the body %j',
    async (body) => {
      const message = 'Invalid credentials body for mqtt credentials!';
      expectError(await send('POST', BASE, body), 400, 31, message);
    },
  );

  it('refuses a second record for the same client, in a create and in an update', async () => {
    const [first, second] = [randomUUID(), randomUUID()];
    const a = await create({ userName: first });
    const b = await create({ userName: second });
    const again = 'Such MQTT Client credentials are already created!';
    expectError(await create({ userName: first }), 400, 31, again);
    const onto = await create({ userName: first }, { id: b.body.id });
    expectError(onto, 400, 31, 'New MQTT Client credentials are already created!');
    expect((await create({ userName: first }, { id: a.body.id })).status).toBe(200);
  });

  it('an ambiguous credentials id counts as taken', async () => {
    const [user, client] = [randomUUID(), randomUUID()];
    await create({ userName: `${user}|b` }, { clientId: client });
    const other = await create({ userName: user }, { clientId: `b|${client}` });
    expectError(other, 400, 31, 'Such MQTT Client credentials are already created!');
  });

  it('takes names of 256 bytes both, and refuses 257', async () => {
    const long = (length: number) => randomUUID().padEnd(length, 'x');
    const most = await create({ userName: long(256) }, { clientId: long(256) });
    expect(most.status).toBe(200);
    const over = await create({ userName: long(257) });
    expectError(over, 400, 31, '/match/username must be at most 256 bytes of UTF-8');
  });

  it('what was read can be posted back: the password stays, the pattern stays', async () => {
    const userName = randomUUID();
    const { body } = await create({
      userName,
      password: 'test_pass',
      authorizationRulePattern: 'a/.*',
    });
    const before = world.model.reads.credential(body.id);
    const head = await world.log.head();
    const back = await send('POST', BASE, JSON.stringify(body));
    expect(back.body).toEqual(body);
    expect(await world.log.head()).toBe(head);
    expect(world.model.reads.credential(body.id)).toEqual(before);
  });

  it('posting the present password again stores nothing; another one replaces it', async () => {
    const userName = randomUUID();
    const { id } = (await create({ userName, password: 'test_pass' })).body;
    const head = await world.log.head();
    await create({ userName, password: 'test_pass' }, { id });
    expect(await world.log.head()).toBe(head);
    await create({ userName, password: 'other_pass' }, { id });
    expect(await opens(id, 'test_pass')).toBe(false);
    expect(await opens(id, 'other_pass')).toBe(true);
  });

  it('a password given to a record without one is asked for from then on', async () => {
    const userName = randomUUID();
    const { id, createdTime } = (await create({ userName })).body;
    world.now += 1000;
    const after = await create({ userName, password: 'p' }, { id, createdTime: 0 });
    expect(after.body.createdTime).toBe(createdTime);
    expect(world.model.reads.credential(id)?.passwordRequired).toBe(true);
  });

  it('an access that one pattern cannot say survives the round trip', async () => {
    const admin = await world.login();
    const { id } = (await create({ userName: randomUUID(), authorizationRulePattern: 'a' })).body;
    for (const access of [
      { kind: 'acl' },
      { kind: 'patterns', publish: ['a'], subscribe: ['b'] },
      { kind: 'patterns', publish: [], subscribe: [] },
    ]) {
      await admin.patch(`/api/v1/credentials/${id}`, { access });
      const list = await listed();
      const read = list.find((one) => one.id === id);
      const value = JSON.parse(read?.credentialsValue ?? '') as Value;
      expect(value.authorizationRulePattern).toBe('[^\\s\\S]');
      expect((await send('POST', BASE, JSON.stringify(read))).status).toBe(200);
      expect(world.model.reads.credential(id)?.access).toEqual(access);
    }
  });

  it('deletes once', async () => {
    const { id } = (await create({ userName: randomUUID() })).body;
    const gone = await send('DELETE', `${BASE}/${id}`);
    expect([gone.status, gone.text]).toEqual([200, '']);
    const again = await send('DELETE', `${BASE}/${id}`);
    expectError(again, 404, 32, "Requested item wasn't found!");
    expectError(await send('DELETE', `${BASE}/xyz`), 400, 31, 'Invalid UUID string: xyz');
  });

  it('neither shows nor touches credentials of another store', async () => {
    const admin = await world.login();
    const name = randomUUID();
    const sent = { name, match: { username: name }, passwordRequired: false };
    const { id } = (await admin.post('/api/v1/credentials', sent)).body;
    expect((await send('GET', BASE)).text).not.toContain(id);
    expect((await send('DELETE', `${BASE}/${id}`)).status).toBe(404);
    expect((await create({ userName: name }, { id })).status).toBe(400);
  });

  it('lists more than one page of the read model, oldest first', async () => {
    const names = Array.from({ length: 201 }, () => randomUUID());
    for (const userName of names) {
      world.now += 1;
      await create({ userName });
    }
    const list = await listed();
    const ids = list.map((one) => one.credentialsId);
    expect(ids.slice(-201)).toEqual(names.map((name) => `username|${name}`));
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('answers in the same shape where it serves nothing', async () => {
    const paged = await send('GET', `${BASE}?pageSize=10&page=0`);
    expectError(paged, 400, 31, 'Paging and search are not supported yet, only the whole list is!');
    expectError(await send('GET', '/api/mqtt/nothing'), 404, 32, 'Not Found');
    const put = await send('PUT', BASE, '{}');
    expectError(put, 405, 31, "Request method 'PUT' not supported");
    expect(put.headers.allow).toBe('GET, HEAD, POST');
    const large = await send('POST', BASE, 'x'.repeat(1024 * 1024 + 1));
    expectError(large, 413, 31, 'The body is too large');
  });
});

/** The bare list is an array. */
async function listed(): Promise<readonly AnswerBody[]> {
  const { body } = await send('GET', BASE);
  return body as unknown as readonly AnswerBody[];
}

async function opens(id: string, password: string): Promise<boolean> {
  const context = sealingContext({ kind: 'credential', id });
  const secrets = world.model.reads.credential(id)?.secrets ?? [];
  const live = secrets.filter((one) => one.expiresAt === undefined || one.expiresAt > world.now);
  const results = live.map((one) =>
    world.hasher.verify(world.box.open(one.verifier ?? '', context), Buffer.from(password)),
  );
  return (await Promise.all(results)).includes(true);
}
