import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ADMIN_EMAIL, ADMIN_PASSWORD, API_KEY, API_SECRET, World } from '../../testing/world.ts';

const LOGIN = '/api/v1/auth/login';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world[Symbol.asyncDispose]());

const login = (payload: object, remoteAddress = '192.0.2.1') =>
  world.request({ method: 'POST', url: LOGIN, payload, remoteAddress });
const wrong = (username = 'admin', remoteAddress?: string) =>
  login({ username, password: 'canary-wrong' }, remoteAddress);
const right = (remoteAddress?: string) =>
  login({ username: 'admin', password: ADMIN_PASSWORD }, remoteAddress);

describe('login', () => {
  it('answers a wrong password, an unknown name and a disabled operator alike', async () => {
    const admin = await world.login();
    await admin.post('/api/v1/operators', {
      name: 'disabled',
      role: 'viewer',
      enabled: false,
      password: ADMIN_PASSWORD,
    });
    const answers = [
      await wrong(),
      await wrong('nobody'),
      await login({ username: 'disabled', password: ADMIN_PASSWORD }),
      await login({ username: '__proto__', password: 'x' }),
    ];
    for (const { status, body } of answers) {
      expect(status).toBe(401);
      expect({ ...body, instance: '' }).toEqual({ ...answers[0]?.body, instance: '' });
      expect(body.code).toBe('login_failed');
    }
  });

  it('takes the name or the e-mail address, and answers with tokens and their lifetimes', async () => {
    for (const who of [{ username: 'admin' }, { username: ADMIN_EMAIL }, { email: ADMIN_EMAIL }]) {
      const { status, body } = await login({ ...who, password: ADMIN_PASSWORD });
      expect(status).toBe(200);
      expect(body).toMatchObject({
        tokenType: 'Bearer',
        expiresInSeconds: 900,
        refreshExpiresInSeconds: 1800,
        operator: { name: 'admin', role: 'administrator' },
      });
    }
    expect((await login({ password: ADMIN_PASSWORD })).status).toBe(400);
    const both = { username: 'admin', email: ADMIN_EMAIL, password: ADMIN_PASSWORD };
    expect((await login(both)).status).toBe(400);
  });

  it('costs an unknown name as much work as a known one', async () => {
    const verify = vi.spyOn(world.hasher, 'verify');
    await wrong();
    await wrong('nobody');
    const costs = verify.mock.calls.map(([verifier]) => verifier.split('$').slice(0, 4).join('$'));
    expect(costs).toEqual(['$argon2id$v=19$m=19456,t=2,p=1', '$argon2id$v=19$m=19456,t=2,p=1']);
  });

  it('locks the account for the address after five failures, not after four', async () => {
    for (let failure = 0; failure < 4; failure++) expect((await wrong()).status).toBe(401);
    expect((await right()).status).toBe(200);
    for (let failure = 0; failure < 5; failure++) expect((await wrong()).status).toBe(401);
    const locked = await right();
    expect([locked.status, locked.body.code]).toEqual([429, 'login_locked']);
    expect(locked.headers['retry-after']).toBe('600');
    expect((await right('192.0.2.2')).status).toBe(200);
    world.now += 599_999;
    expect((await right()).status).toBe(429);
    world.now += 1;
    expect((await right()).status).toBe(200);
  });

  it('forgets failures that are older than five minutes, and locks unknown names too', async () => {
    for (let failure = 0; failure < 4; failure++) await wrong('nobody');
    world.now += 300_000;
    expect((await wrong('nobody')).status).toBe(401);
    for (let failure = 0; failure < 4; failure++) await wrong('nobody');
    expect((await wrong('nobody')).status).toBe(429);
  });

  it('lets no burst have more guesses than are allowed', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => wrong()));
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(5);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(15);
  });

  it('counts one IPv6 network as one address', async () => {
    for (let host = 1; host <= 5; host++) await wrong('admin', `2001:db8::${host}`);
    expect((await right('2001:db8::6')).status).toBe(429);
    expect((await right('2001:db8:0:1::6')).status).toBe(200);
  });
});

describe('tokens', () => {
  const tokens = async () => (await right()).body as { accessToken: string; refreshToken: string };
  const as = (authorization: string) =>
    world.request({ method: 'GET', url: '/api/v1/status', headers: { authorization } });
  const refresh = (refreshToken: string) =>
    world.request({ method: 'POST', url: '/api/v1/auth/refresh', payload: { refreshToken } });

  it('refuses what is no token of ours, each in its way', async () => {
    const { accessToken, refreshToken } = await tokens();
    const [header, claims] = accessToken.split('.');
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const none = `${encode({ alg: 'none' })}.${claims}.`;
    const signed = `${header}.${claims}`;
    const foreign = `${signed}.${createHmac('sha256', 'x').update(signed).digest('base64url')}`;
    const hs512 = `${encode({ alg: 'HS512' })}.${claims}`;
    const key = world.box.derive('operator-token');
    const other = `${hs512}.${createHmac('sha512', key).update(hs512).digest('base64url')}`;
    const codes: string[] = [];
    for (const token of [refreshToken, none, 'x.y.z', 'x'.repeat(5000), foreign, other]) {
      const answer = await as(`Bearer ${token}`);
      expect(answer.status).toBe(401);
      expect(answer.headers['www-authenticate']).toContain('Bearer');
      codes.push(answer.body.code);
    }
    expect(codes).toEqual([
      ...Array<string>(4).fill('unauthenticated'),
      'token_expired',
      'token_expired',
    ]);
    for (const header of ['Bearer', `Digest ${accessToken}`, '', `Bearer ${accessToken} x`]) {
      expect((await as(header)).body.code).toBe('unauthenticated');
    }
    expect((await as(`bearer ${accessToken}`)).status).toBe(200);
  });

  it('an access token ends after 15 minutes, and is continued by its refresh token', async () => {
    const { accessToken, refreshToken } = await tokens();
    world.now += 899_999;
    expect((await as(`Bearer ${accessToken}`)).status).toBe(200);
    world.now += 1;
    expect((await as(`Bearer ${accessToken}`)).body.code).toBe('token_expired');
    const next = await refresh(refreshToken);
    expect(next.status).toBe(200);
    expect((await as(`Bearer ${next.body.accessToken}`)).status).toBe(200);
    expect((await refresh(next.body.accessToken)).body.code).toBe('unauthenticated');
  });

  it('a session ends after 30 idle minutes, and after 12 hours in any case', async () => {
    let { refreshToken } = await tokens();
    for (let minutes = 29; minutes < 12 * 60; minutes += 29) {
      world.now += 29 * 60_000;
      const next = await refresh(refreshToken);
      expect(next.status).toBe(200);
      ({ refreshToken } = next.body);
    }
    world.now += 29 * 60_000;
    expect((await refresh(refreshToken)).body.code).toBe('token_expired');
    const idle = await tokens();
    world.now += 30 * 60_000;
    expect((await refresh(idle.refreshToken)).body.code).toBe('token_expired');
  });

  it('a logout ends every session of the operator on every replica at once, and no other', async () => {
    const replica = await World.open({ replicaOf: world });
    const viewer = await world.operator('viewer');
    const { accessToken, refreshToken } = await tokens();
    const elsewhere = await replica.login();
    const headers = { authorization: `Bearer ${accessToken}` };
    const out = await world.request({ method: 'POST', url: '/api/v1/auth/logout', headers });
    expect(out.status).toBe(204);
    expect((await elsewhere.get('/api/v1/status')).body.code).toBe('token_expired');
    expect((await as(`Bearer ${accessToken}`)).body.code).toBe('token_expired');
    expect((await refresh(refreshToken)).body.code).toBe('token_expired');
    expect((await viewer.get('/api/v1/status')).status).toBe(200);
    expect((await right()).status).toBe(200);
    await replica[Symbol.asyncDispose]();
  });

  it('a change of the operator ends its sessions', async () => {
    const admin = await world.login();
    const viewer = await world.operator('viewer');
    const { items } = (await admin.get('/api/v1/operators')).body;
    const id = items.find((one) => one.role === 'viewer')?.id;
    await admin.patch(`/api/v1/operators/${id}`, { role: 'administrator' });
    expect((await viewer.get('/api/v1/status')).body.code).toBe('token_expired');
  });
});

describe('API keys', () => {
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
  const as = (authorization: string) =>
    world.request({ method: 'GET', url: '/api/v1/status', headers: { authorization } });

  it('refuses wrong secrets, unknown ids and malformed proofs, and locks after five', async () => {
    for (const proof of [`${API_KEY}:wrong`, 'nobody:x', 'no-colon', ':', '__proto__:x']) {
      const answer = await as(basic(proof));
      expect([answer.status, answer.body.code]).toEqual([401, 'unauthenticated']);
    }
    for (let failure = 0; failure < 4; failure++) await as(basic(`${API_KEY}:wrong`));
    expect((await as(basic(`${API_KEY}:${API_SECRET}`))).body.code).toBe('login_locked');
  });

  it('a disabled, an expired and a removed key open nothing', async () => {
    const admin = await world.login();
    const expiresAt = new Date(world.now + 1000).toISOString();
    const made = { name: 'short', role: 'administrator', expiresAt };
    const { id, secret } = (await admin.post('/api/v1/api-keys', made)).body;
    const proof = basic(`${id}:${secret}`);
    expect((await as(proof)).status).toBe(200);
    await admin.patch(`/api/v1/api-keys/${id}`, { enabled: false });
    expect((await as(proof)).status).toBe(401);
    await admin.patch(`/api/v1/api-keys/${id}`, { enabled: true });
    expect((await as(proof)).status).toBe(200);
    world.now += 1000;
    expect((await as(proof)).status).toBe(401);
    await admin.delete(`/api/v1/api-keys/${API_KEY}`);
    expect((await as(basic(`${API_KEY}:${API_SECRET}`))).status).toBe(401);
  });
});

describe('requests a second', () => {
  it('are limited for each caller, and tell when to come again', async () => {
    const small = await World.open({ http: { requestsPerSecondMax: 3 } });
    const key = small.keyClient();
    for (let taken = 0; taken < 3; taken++) {
      expect((await key.get('/api/v1/status')).status).toBe(200);
    }
    const refused = await key.get('/api/v1/status');
    expect([refused.status, refused.body.code]).toEqual([429, 'rate_limited']);
    expect(refused.headers['retry-after']).toBe('1');
    const admin = await small.login();
    expect((await admin.get('/api/v1/status')).status).toBe(200);
    small.now += 334;
    expect((await key.get('/api/v1/status')).status).toBe(200);
    expect((await key.get('/api/v1/status')).status).toBe(429);
    for (let tries = 0; tries < 3; tries++) await small.anonymous().get('/api/v1/status');
    expect((await small.anonymous().get('/api/v1/status')).status).toBe(429);
    await small[Symbol.asyncDispose]();
  });
});
