import {
  REGISTRATION_OPEN_MS_DEFAULT,
  REGISTRATION_OPEN_MS_MAX,
  REGISTRATION_OUTCOME_MS,
  REGISTRATION_PENDING_MS,
  type RegistrationAttempt,
} from '@sallyport/domain';
import { makeRegistration } from '@sallyport/secrets';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { REGISTRATIONS_PER_MINUTE_MAX } from '../../registration/registration-desk.ts';
import { writeRegistrations } from '../../registration/registration-writer.ts';
import { type Answered, type AnswerBody, type Client, World } from '../../testing/world.ts';

const BASE = '/api/v1/registration';
const REGISTER = `${BASE}/register`;
const PASSWORD = 'canary-password-of-agent-7';

let world: World;
let admin: Client;
beforeEach(async () => {
  world = await World.open();
  admin = await world.login();
});
afterEach(async () => {
  const said = (await world.everythingSaid()).join('\n');
  // Also not what it is verified by, unsealed.
  for (const secret of ['canary-', '$argon2id$']) expect(said).not.toContain(secret);
  await world[Symbol.asyncDispose]();
});

interface View extends AnswerBody {
  readonly state: string;
  readonly openUntil?: string;
  readonly total: number;
  readonly items: readonly (AnswerBody & {
    readonly username: string;
    readonly count: number;
    readonly conflicting: boolean;
  })[];
}

const view = async (query = ''): Promise<View> => (await admin.get(`${BASE}${query}`)).body as View;
const open = (openDuration = 60_000) => admin.post(`${BASE}/open`, { openDuration });

let source = 0;
/** Each time from an address of its own, unless the test is about addresses. */
const register = (more: object = {}, address = `192.0.2.${++source % 250}`): Promise<Answered> =>
  world.request({
    method: 'POST',
    url: REGISTER,
    payload: { username: 'agent-7', password: PASSWORD, ...more },
    remoteAddress: address,
  });
const outcome = async (more: object = {}): Promise<unknown> => {
  const { status, body } = await register(more);
  return [status, body.code ?? (body as unknown as { state: string }).state];
};

/** As the policy service does it. */
async function connect(username: string, password: string): Promise<string> {
  const { box, hasher } = world;
  const secret = await makeRegistration(
    { box, hasher },
    { username, password: Buffer.from(password) },
  );
  const attempt: RegistrationAttempt = {
    ...{ ...secret, username, origin: 'mqtt', count: 1 },
    ...{ clientId: 'device', address: '198.51.100.7' },
  };
  await writeRegistrations({ executor: world.executor, clock: () => world.now }, [attempt]);
  return secret.id;
}

const grant = (id: string, body: unknown = {}) => admin.post(`${BASE}/requests/${id}/grant`, body);
const deny = (id: string) => admin.delete(`${BASE}/requests/${id}`);

describe('the window', () => {
  it('is locked at first, opens for as long as it is told, and locks itself', async () => {
    expect(await view()).toMatchObject({ state: 'locked', items: [], total: 0 });
    const answer = await open(60_000);
    expect(answer.status).toBe(200);
    const openUntil = new Date(world.now + 60_000).toISOString();
    expect(answer.body).toMatchObject({ state: 'open', openUntil });
    world.now += 59_999;
    expect(await view()).toMatchObject({ state: 'open', openUntil });
    world.now += 1;
    const locked = await view();
    expect([locked.state, locked.openUntil]).toEqual(['locked', undefined]);
  });

  it('opens for 30 seconds when nobody says for how long, with a body or without', async () => {
    for (const body of [undefined, {}]) {
      const answer = await admin.post(`${BASE}/open`, body);
      const openUntil = new Date(world.now + REGISTRATION_OPEN_MS_DEFAULT).toISOString();
      expect(answer.body).toMatchObject({ state: 'open', openUntil });
    }
  });

  it('does not open for what is no time, or too long', async () => {
    for (const openDuration of [0, -1, 1.5, '60000', null, REGISTRATION_OPEN_MS_MAX + 1]) {
      const answer = await admin.post(`${BASE}/open`, { openDuration });
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([400, '/openDuration']);
    }
    expect((await open(REGISTRATION_OPEN_MS_MAX)).status).toBe(200);
  });

  it('is closed by hand, and closing it again is nothing', async () => {
    await open();
    for (let times = 0; times < 2; times++) {
      const answer = await admin.post(`${BASE}/close`);
      expect([answer.status, answer.body]).toMatchObject([200, { state: 'locked' }]);
    }
    expect(await outcome()).toEqual([423, 'registration_locked']);
  });
});

describe('asking for access', () => {
  it('is answered 423 while it is locked, and costs no hash', async () => {
    const hash = vi.spyOn(world.hasher, 'hashPasswordOf');
    expect(await outcome()).toEqual([423, 'registration_locked']);
    // Nobody learns of names that exist.
    await admin.post('/api/v1/credentials', {
      name: 'a',
      match: { username: 'agent-7' },
      generateSecret: true,
    });
    expect(await outcome()).toEqual([423, 'registration_locked']);
    expect(hash).not.toHaveBeenCalled();
    await open();
    expect(await outcome()).toEqual([409, 'registration_conflict']);
  });

  it('is answered 202 until it is decided, also once it is locked, and 201 then for an hour', async () => {
    await open();
    const first = await register();
    expect([first.status, first.headers['retry-after']]).toEqual([202, '10']);
    world.now += 60_000;
    expect(await outcome()).toEqual([202, 'pending']);
    const { items } = await view();
    expect(items).toHaveLength(1);
    const answer = await grant(items[0]?.id ?? '');
    expect(answer.status).toBe(201);
    expect(await outcome()).toEqual([201, 'granted']);
    expect(await outcome({ password: 'canary-another' })).toEqual([423, 'registration_locked']);
    world.now += REGISTRATION_OUTCOME_MS - 1;
    expect(await outcome()).toEqual([201, 'granted']);
    world.now += 1;
    expect(await outcome()).toEqual([423, 'registration_locked']);
  });

  it('is answered 403 once when it is denied, by any replica, and is new after that', async () => {
    await open();
    await register();
    const [one] = (await view()).items;
    expect((await deny(one?.id ?? '')).status).toBe(204);
    expect((await view()).items).toEqual([]);
    const answers = await Promise.all([outcome(), outcome()]);
    expect(answers.map((answer) => (answer as number[])[0]).sort()).toEqual([202, 403]);
    expect(await outcome()).toEqual([202, 'pending']);
  });

  it('is answered 409 with another password than the one that waits', async () => {
    await open();
    await register();
    const other = { password: 'canary-another-password' };
    expect(await outcome(other)).toEqual([409, 'registration_conflict']);
    await admin.post(`${BASE}/close`);
    expect(await outcome(other)).toEqual([409, 'registration_conflict']);
    expect((await view()).items).toHaveLength(1);
  });

  it('is answered 400 for what is wrong, and says where', async () => {
    const cases: readonly [string, object][] = [
      ['/username', { username: 'ab' }],
      ['/username', { username: 'x'.repeat(257) }],
      ['/username', { username: 'agent\u0007' }],
      ['/password', { password: 'four' }],
      ['/password', { password: 'ü'.repeat(2049) }],
      ['/password', { password: 5 }],
      ['/csr', { csr: '-----BEGIN CERTIFICATE REQUEST-----' }],
      ['/isAdmin', { isAdmin: true }],
      ['/context/x', { context: { x: 1 } }],
      [
        '/permissions/0/resource',
        { permissions: [{ context: 'mqtt', resource: 'a#', operation: 'read' }] },
      ],
    ];
    await open();
    for (const [pointer, more] of cases) {
      const answer = await register(more);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([400, pointer]);
    }
    expect((await view()).items).toEqual([]);
  });

  it('is answered 429 for the eleventh time in a minute, from one address, whatever it sends', async () => {
    const address = '192.0.2.254';
    for (let times = 0; times < REGISTRATIONS_PER_MINUTE_MAX; times++) {
      expect((await register({ username: '' }, address)).status).toBe(400);
    }
    const refused = await register({}, address);
    expect([refused.status, refused.body.code]).toEqual([429, 'rate_limited']);
    expect(refused.headers['retry-after']).toBe('6');
    expect((await register({}, '192.0.2.253')).status).toBe(423);
    world.now += 5_999;
    expect((await register({}, address)).status).toBe(429);
    world.now += 2;
    expect((await register({}, address)).status).toBe(423);
    expect((await register({}, address)).status).toBe(429);
  });

  it('believes the peer address of trusted proxies only', async () => {
    const asked = (address: string, forwarded: string) =>
      world.request({
        ...{ method: 'POST', url: REGISTER, remoteAddress: address },
        payload: { username: 'agent-7', password: PASSWORD },
        headers: { 'x-forwarded-for': forwarded },
      });
    for (let times = 0; times < REGISTRATIONS_PER_MINUTE_MAX; times++) {
      await asked('192.0.2.9', `203.0.113.${times}`);
    }
    expect((await asked('192.0.2.9', '203.0.113.99')).status).toBe(429);
  });

  it('is answered 413 for more than strangers may say', async () => {
    await open();
    const context = { x: 'x'.repeat(32 * 1024) };
    expect((await register({ context })).status).toBe(413);
  });

  it('is answered 503 when too much is hashed already', async () => {
    await open();
    const full = Array.from({ length: 200 }, (_, index) =>
      world.hasher.hashPasswordOf('x', Buffer.from(`${index}`)).catch(() => undefined),
    );
    const answer = await register();
    expect([answer.status, answer.body.code]).toEqual([503, 'hash_pool_full']);
    await Promise.all(full);
    expect(await outcome()).toEqual([202, 'pending']);
  });

  it('is known to every replica', async () => {
    const replica = await World.open({ replicaOf: world });
    await open();
    const payload = { username: 'agent-7', password: PASSWORD };
    const there = () => replica.request({ method: 'POST', url: REGISTER, payload });
    replica.now = world.now;
    expect((await there()).status).toBe(202);
    expect(await outcome()).toEqual([202, 'pending']);
    await grant((await view()).items[0]?.id ?? '');
    expect((await there()).status).toBe(201);
    await replica[Symbol.asyncDispose]();
  });
});

describe('requests', () => {
  const asked = {
    context: { pairingId: 'a82123' },
    roles: ['no-such-role'],
    permissions: [{ context: 'mqtt', resource: 'agents/agent-7/#', operation: 'readWrite' }],
  };

  it('are shown with what is asked, where they came from, and without their secret', async () => {
    await open();
    await register(asked, '192.0.2.200');
    world.now += 1;
    await connect('device-1', 'canary-of-device-1');
    const { items, total } = await view('?sort=createdAt,asc');
    expect(total).toBe(2);
    const at = (ms: number) => new Date(ms).toISOString();
    expect(items[0]).toEqual({
      id: expect.any(String) as string,
      ...{ username: 'agent-7', origin: 'http', count: 1, conflicting: false, ...asked },
      ...{ address: '192.0.2.200', createdAt: at(world.now - 1), lastSeenAt: at(world.now - 1) },
      expiresAt: at(world.now - 1 + REGISTRATION_PENDING_MS),
    });
    expect(items[1]).toMatchObject({
      ...{ username: 'device-1', origin: 'mqtt', clientId: 'device', address: '198.51.100.7' },
      ...{ context: {}, roles: [], permissions: [] },
    });
  });

  it('are paged, searched and sorted, and go when their time is over', async () => {
    await open();
    for (const name of ['pump-1', 'pump-2', 'Valve']) await connect(name, 'canary-password');
    const names = async (query: string) => {
      const { items, total } = await view(query);
      return [items.map(({ username }) => username), total];
    };
    expect(await names('?sort=username,desc&pageSize=1&page=1')).toEqual([['pump-2'], 3]);
    expect(await names('?sort=username&search=PUMP')).toEqual([['pump-1', 'pump-2'], 2]);
    world.now += REGISTRATION_PENDING_MS - 1;
    admin = await world.login();
    expect(await names('?sort=username')).toEqual([['pump-1', 'pump-2', 'Valve'], 3]);
    world.now += 1;
    expect(await names('?sort=username')).toEqual([[], 0]);
    expect(world.model.reads.registrationCounts().pending).toBe(3);
    await open();
    expect(world.model.reads.registrationCounts().pending).toBe(0);
  });

  it('of one user name conflict; granting one discards the others', async () => {
    await open();
    const first = await connect('device-1', 'canary-first');
    expect((await view()).items[0]?.conflicting).toBe(false);
    const second = await connect('device-1', 'canary-second');
    expect((await view()).items.map(({ conflicting }) => conflicting)).toEqual([true, true]);
    const made = (await grant(second)).body;
    expect((await view()).items).toEqual([]);
    expect((await grant(first)).body.code).toBe('registration_not_found');
    const secret = world.model.reads.credential(made.id)?.secrets[0];
    const verifier = world.box.open(secret?.verifier ?? '', `credential:${made.id}`);
    expect(await world.hasher.verify(verifier, Buffer.from('canary-second'))).toBe(true);
    expect(await world.hasher.verify(verifier, Buffer.from('canary-first'))).toBe(false);
  });

  it('are granted nothing unless it is said, whatever they ask', async () => {
    await open();
    await register(asked);
    const answer = await admin.post(`${BASE}/requests/${(await view()).items[0]?.id}/grant`);
    expect([answer.status, answer.body]).toMatchObject([
      201,
      {
        ...{ store: 'cybus', name: 'agent-7', match: { username: 'agent-7' }, superuser: false },
        access: { kind: 'roles', roles: [], permissions: [] },
      },
    ]);
    expect(answer.headers['location']).toBe(`/api/v1/credentials/${answer.body.id}`);
  });

  it('are granted a store, a name, roles and permissions that are named', async () => {
    const role = (await admin.post('/api/v1/roles', { name: 'agents' })).body.id;
    await open();
    const id = await connect('device-1', 'canary-first');
    const permission = { id: 'p', context: 'mqtt', resource: 'a/#', operation: 'read' };
    const body = { store: 'native', name: 'Device 1', roles: [role], permissions: [permission] };
    const answer = await grant(id, body);
    expect(answer.body).toMatchObject({
      ...{ store: 'native', name: 'Device 1' },
      access: { kind: 'roles', roles: [role], permissions: [permission] },
    });
  });

  it('are not granted with what is wrong, and are still there', async () => {
    const cases: readonly [number, string, object][] = [
      [422, '/roles/0', { roles: ['no-such-role'] }],
      [
        422,
        '/permissions/0/resource',
        { permissions: [{ context: 'mqtt', resource: 'a#', operation: 'read' }] },
      ],
      [422, '/name', { name: '' }],
      [409, '/name', { name: 'taken' }],
      [400, '/store', { store: 'other' }],
      [400, '/password', { password: 'canary-mine' }],
    ];
    const other = { name: 'taken', store: 'cybus', match: { username: 'other' } };
    await admin.post('/api/v1/credentials', { ...other, generateSecret: true });
    await open();
    const id = await connect('device-1', 'canary-first');
    for (const [status, pointer, body] of cases) {
      const answer = await grant(id, body);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
    }
    expect((await grant(id)).status).toBe(201);
  });

  it('are not granted when somebody has got the name meanwhile', async () => {
    await open();
    const id = await connect('device-1', 'canary-first');
    const other = {
      name: 'x',
      store: 'emqx',
      match: { username: 'device-1' },
      generateSecret: true,
    };
    await admin.post('/api/v1/credentials', other);
    expect((await grant(id)).body.code).toBe('registration_conflict');
  });

  it('are granted once: a retry gets the same answer', async () => {
    await open();
    const id = await connect('device-1', 'canary-first');
    const key = { 'idempotency-key': 'k1' };
    const url = `${BASE}/requests/${id}/grant`;
    const first = await admin.post(url, {}, key);
    const again = await admin.post(url, {}, key);
    expect([again.status, again.headers['idempotency-replayed'], again.body.id]).toEqual([
      201,
      'true',
      first.body.id,
    ]);
    expect((await grant(id)).status).toBe(404);
  });

  it('that are denied and came by MQTT are gone; others are not there', async () => {
    await open();
    const id = await connect('device-1', 'canary-first');
    expect((await deny(id)).status).toBe(204);
    expect((await deny(id)).body.code).toBe('registration_not_found');
    expect((await deny('nobody')).status).toBe(404);
    expect((await grant('__proto__')).status).toBe(404);
  });
});
