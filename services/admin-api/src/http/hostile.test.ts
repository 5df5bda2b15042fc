import { randomUUID } from 'node:crypto';
import { CREDENTIAL_NAME_BYTES_MAX } from '@sallyport/domain';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../testing/world.ts';
import { JSON_DEPTH_MAX } from './json-body.ts';

let world: World;
let admin: Client;
let authorization: string;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
  authorization = admin.authorization ?? '';
});
afterAll(() => world[Symbol.asyncDispose]());

const CREDENTIALS = '/api/v1/credentials';

const raw = (payload: string | Buffer, type: string | undefined = 'application/json') =>
  world.request({
    method: 'POST',
    url: CREDENTIALS,
    headers: { authorization, ...(type === undefined ? {} : { 'content-type': type }) },
    payload,
  });

const hostile = {
  __proto__: '__proto__',
  constructor: 'constructor',
  'U+0000': 'a\u0000b',
  'a control character': 'a\u0007b',
  'a lone surrogate': 'a\ud800b',
  '257 bytes': 'x'.repeat(257),
  '257 bytes in wide characters': 'é'.repeat(128) + 'x',
  'an emoji': 'pump 🚰',
  'an empty text': '',
  'a path': '../../etc/passwd',
  'a wildcard': 'a#',
  markup: '<script>alert(1)</script>',
} as const;
/** Those that are names like any other. */
const fine = ['__proto__', 'constructor', 'an emoji', 'a path', 'a wildcard', 'markup'];

describe.each(Object.entries(hostile))('a name that is %s', (title, name) => {
  const expected = fine.includes(title) ? [200, 201] : [400, 404, 422];

  it('in a body', async () => {
    const unique = { name: randomUUID(), match: { username: name }, passwordRequired: false };
    const stored = await admin.post(CREDENTIALS, unique);
    expect(expected).toContain(stored.status);
    if (stored.status === 201) {
      const read = await admin.get(`${CREDENTIALS}/${stored.body.id}`);
      expect(read.body.match).toEqual({ username: name });
      await admin.delete(`${CREDENTIALS}/${stored.body.id}`);
    }
    // The name of a credential may be longer than those that others go by.
    const longName = title.startsWith('257 bytes')
      ? name + 'x'.repeat(CREDENTIAL_NAME_BYTES_MAX - 256)
      : name;
    const named = { ...unique, name: longName, match: { clientId: randomUUID() } };
    expect(expected).toContain((await admin.post(CREDENTIALS, named)).status);
    const operator = { name, role: 'viewer', password: 'canary-twelve-chars' };
    expect(expected).toContain((await admin.post('/api/v1/operators', operator)).status);
    expect(expected).toContain(
      (await admin.post('/api/v1/api-keys', { name, role: 'viewer' })).status,
    );
  });

  it('in an address', async () => {
    // A lone surrogate cannot be written in an address at all.
    if (title === 'a lone surrogate') return;
    const rules = [{ effect: 'allow', action: 'all', topicFilter: 'a/#' }];
    for (const kind of ['clients', 'usernames']) {
      const url = `/api/v1/acl/${kind}/${encodeURIComponent(name)}`;
      const stored = await admin.put(url, { rules });
      expect(expected).toContain(stored.status);
      const read = await admin.get(url);
      expect(read.status).toBe(stored.status === 200 ? 200 : 404);
      if (stored.status === 200) expect(read.body.target.name).toBe(name);
    }
    for (const resource of ['credentials', 'operators']) {
      const read = await admin.get(`/api/v1/${resource}/${encodeURIComponent(name)}`);
      expect([200, 404]).toContain(read.status);
      expect(read.status).toBe(name === '' ? read.status : 404);
    }
  });

  it('as a search, an attribute and a topic', async () => {
    const search = await admin.get(
      `${CREDENTIALS}?search=${encodeURIComponent(name.replace(/\p{Surrogate}/u, ''))}`,
    );
    expect([200, 400]).toContain(search.status);
    const unique = randomUUID();
    const attributes = Object.fromEntries([[name, 'x']]);
    const sent = { name: unique, match: { username: unique }, passwordRequired: false, attributes };
    expect([201, 400, 422]).toContain((await admin.post(CREDENTIALS, sent)).status);
    const rules = [{ effect: 'allow', action: 'all', topicFilter: name }];
    expect([200, 400, 422]).toContain((await admin.put('/api/v1/acl/everyone', { rules })).status);
  });
});

describe('bodies', () => {
  it.each([
    ['no JSON', '{'],
    ['nothing', ''],
    ['two values', '{}{}'],
    ['a prototype', '{"__proto__":{"superuser":true}}'],
    ['a prototype inside', '{"name":"x","attributes":{"constructor":{"prototype":1}}}'],
    ['U+0000 in a key', '{"a\\u0000":1}'],
    ['a lone surrogate behind a line break', '{"name":"\\n\\ud800"}'],
    ['too deep', '['.repeat(JSON_DEPTH_MAX + 1) + ']'.repeat(JSON_DEPTH_MAX + 1)],
    ['a megabyte of brackets', '['.repeat(1024 * 1024)],
    ['a hundred thousand values', `[${'1,'.repeat(100_000)}1]`],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
  ])('refuses %s', async (_title, payload) => {
    const answer = await raw(payload);
    expect(answer.status).toBe(400);
    expect(['malformed_body', 'invalid_request']).toContain(answer.body.code);
  });

  it('takes brackets inside of a text, and twenty levels', async () => {
    const deep = '['.repeat(JSON_DEPTH_MAX) + ']'.repeat(JSON_DEPTH_MAX);
    expect((await raw(deep)).body.code).toBe('invalid_request');
    const name = '['.repeat(100) + '"\\';
    const sent = { name, match: { username: randomUUID() }, passwordRequired: false };
    expect((await admin.post(CREDENTIALS, sent)).status).toBe(201);
  });

  it('answers 413 past a megabyte and 415 for other media', async () => {
    const filled = (length: number) => `{"name":"${'x'.repeat(length - 11)}"}`;
    expect((await raw(filled(1024 * 1024))).status).toBe(400);
    const large = await raw(filled(1024 * 1024 + 1));
    expect([large.status, large.body.code]).toEqual([413, 'body_too_large']);
    for (const type of ['text/plain', 'application/xml', 'application/x-www-form-urlencoded']) {
      const other = await raw('{}', type);
      expect([other.status, other.body.code]).toEqual([415, 'unsupported_media_type']);
    }
  });

  it('tells at most fifty problems', async () => {
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`k${index}`, 1]));
    expect((await admin.post(CREDENTIALS, many)).body.errors).toHaveLength(50);
  });
});

describe('addresses', () => {
  it('answers 404 where there is nothing, and 405 with the methods where there is another', async () => {
    for (const url of ['/api/v1/nothing', '/api/v1', '/', '/etc/passwd']) {
      const answer = await admin.get(url);
      expect([url, answer.status]).toEqual([url, 404]);
      expect(answer.body.code).toBe('route_not_found');
    }
    const answer = await admin.put(CREDENTIALS, {});
    expect([answer.status, answer.body.code]).toEqual([405, 'method_not_allowed']);
    expect(answer.headers.allow).toBe('GET, HEAD, POST');
    const options = await world.anonymous().send('OPTIONS', `${CREDENTIALS}/x`);
    expect(options.status).toBe(405);
    expect(options.headers).not.toHaveProperty('access-control-allow-origin');
  });

  it('refuses an address that cannot be decoded', async () => {
    const answer = await admin.get('/api/v1/credentials/%ff');
    expect([answer.status, answer.body.code]).toEqual([400, 'invalid_request']);
    expect(answer.headers['x-content-type-options']).toBe('nosniff');
  });

  it('gives every answer the headers that keep browsers from doing harm', async () => {
    for (const answer of [
      await world.anonymous().get('/api/v1/status'),
      await admin.get('/api/v1/status'),
      await admin.get('/nothing'),
      await world.anonymous().post('/api/auth/login', {}),
    ]) {
      expect(answer.headers).toMatchObject({
        'cache-control': 'no-store',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
      });
    }
  });

  it('tells nobody of the document without proof of identity', async () => {
    expect((await world.anonymous().get('/api/v1/openapi.json')).status).toBe(401);
    const { body } = await admin.get('/api/v1/openapi.json');
    expect(body.openapi).toBe('3.1.0');
    expect(Object.keys(body.components.securitySchemes).sort()).toEqual(['apiKey', 'bearer']);
    expect(JSON.stringify(body)).not.toContain('def-0');
  });
});

describe('what is let out', () => {
  it('never holds a password or a verifier, wherever the tests above have planted one', async () => {
    const said = await world.everythingSaid();
    expect(said.length).toBeGreaterThan(100);
    const leaks = said.filter((text) => /canary|\$argon2id|m1:/.test(text));
    expect(leaks.map((text) => text.slice(0, 200))).toEqual([]);
  });
});
