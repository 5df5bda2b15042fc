import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ndjson, sendImport } from '../../testing/importing.ts';
import { type Answered, type Client, World } from '../../testing/world.ts';

const POLICY = { min: 8, lower: 1, upper: 2, numeric: 1, symbol: 1 };
/** Fails `min`, `upper` and `numeric`, and keeps the others. */
const WEAK = 'canary-';
const DETAIL =
  'must have at least 8 characters (min), 2 upper-case letters (upper), 1 digit (numeric)';
const GOOD = 'CANARY-good-1';

/** Before the policy became what it is. */
let before: World;
let world: World;
let admin: Client;
/** Its password is weak, and was taken. */
let old: { readonly id: string; readonly clientId: string };

beforeAll(async () => {
  before = await World.open();
  const then = await before.login();
  const credential = await then.post('/api/v1/credentials', {
    ...{ name: 'old', match: { username: 'old' }, password: WEAK },
  });
  const client = await then.post('/api/v1/clients', {
    ...{ name: 'old', authentication: 'credentials', username: 'old', password: WEAK },
  });
  expect([credential.status, client.status]).toEqual([201, 201]);
  old = { id: credential.body.id, clientId: client.body.id };
  world = await World.open({ replicaOf: before, passwordPolicy: POLICY });
  admin = await world.login();
  // As long as a test: six hashes, on a busy machine.
});
afterAll(async () => {
  const said = [...(await world.everythingSaid()), ...(await before.everythingSaid())].join('\n');
  expect(said).not.toMatch(/canary-(?!admin)/i);
  await world[Symbol.asyncDispose]();
  await before[Symbol.asyncDispose]();
});

const problems = ({ status, body }: Answered) => [status, body.code, body.errors];
const refusal = (status: number, code: string) => [
  status,
  code,
  [{ pointer: '/password', detail: DETAIL }],
];

describe('the password policy', () => {
  it('is told to every operator and API key, and to nobody else', async () => {
    expect((await world.anonymous().get('/api/v1/password-policy')).status).toBe(401);
    const viewer = await world.keyClient().get('/api/v1/password-policy');
    expect([viewer.status, viewer.body]).toEqual([200, POLICY]);
    const { status, body } = await (await before.login()).get('/api/v1/password-policy');
    expect([status, body]).toEqual([200, { min: 5, lower: 0, upper: 0, numeric: 0, symbol: 0 }]);
  });

  it.each([
    ['POST', '/api/v1/credentials', { name: 'new', match: { username: 'new' } }, 201],
    ['PUT', '/api/v1/credentials/{id}', { name: 'old', match: { username: 'old' } }, 200],
    ['PATCH', '/api/v1/credentials/{id}', {}, 200],
    ['POST', '/api/v1/credentials/{id}/secrets', {}, 201],
    [
      'POST',
      '/api/v1/clients',
      { name: 'new', authentication: 'credentials', username: 'new' },
      201,
    ],
    [
      'PUT',
      '/api/v1/clients/{client}',
      { name: 'old', authentication: 'credentials', username: 'old' },
      200,
    ],
  ] as const)(
    'is asked by %s %s, and every failed rule is named',
    async (method, url, body, ok) => {
      const address = url.replace('{id}', old.id).replace('{client}', old.clientId);
      const revision = world.model.revision;
      const answer = await admin.send(method, address, { ...body, password: WEAK });
      expect(problems(answer)).toEqual(refusal(422, 'credential_invalid'));
      expect(world.model.revision).toBe(revision);
      expect((await admin.send(method, address, { ...body, password: GOOD })).status).toBe(ok);
    },
  );

  it('is asked for operators too, who need 12 characters besides', async () => {
    const operator = { name: 'second', role: 'viewer' };
    const post = (password: string) => admin.post('/api/v1/operators', { ...operator, password });
    const detail = DETAIL.replace('8', '12');
    const short = await post(WEAK);
    expect(problems(short)).toEqual([400, 'invalid_request', [{ pointer: '/password', detail }]]);
    expect((await post('CANARY-good')).body.errors[0].detail).toMatch(/12 characters.*digit/);
    const made = await post('CANARY-good-1');
    expect(made.status).toBe(201);
    const changed = await admin.patch(`/api/v1/operators/${made.body.id}`, {
      password: 'canary-twelve-1',
    });
    expect([changed.status, changed.body.errors[0].detail]).toEqual([
      400,
      'must have at least 2 upper-case letters (upper)',
    ]);
  });

  it('is asked of strangers, who need 5 characters besides', async () => {
    await admin.post('/api/v1/registration/open');
    const register = (in_: World, password: string) =>
      in_.anonymous().post('/api/v1/registration/register', { username: 'agent-7', password });
    expect(problems(await register(world, WEAK))).toEqual(refusal(400, 'registration_invalid'));
    expect((await register(world, GOOD)).status).toBe(202);
    const lax = await World.open({ replicaOf: before, passwordPolicy: { min: 0 } });
    expect((await register(lax, 'four')).body.errors[0]).toEqual({
      pointer: '/password',
      detail: 'must have at least 5 characters (min)',
    });
    await lax[Symbol.asyncDispose]();
  });

  it.each(['?dryRun=true', ''])('is asked of rows of an import%s', async (query) => {
    const row = (name: string, password: string) => ({ name, match: { username: name }, password });
    const payload = ndjson([row('row-weak', WEAK), row('row-good', GOOD)]);
    const { rows } = await sendImport(admin, '/api/v1/credentials/import', {
      ...{ payload, type: 'application/x-ndjson', query },
    });
    expect(rows[0]).toMatchObject({
      ...{ outcome: 'error', code: 'credential_invalid', pointer: '/password', detail: DETAIL },
    });
    expect(rows[1]?.outcome).not.toBe('error');
  });

  it.each(['diff', 'apply'])('is asked of the configuration file (%s)', async (path) => {
    const entry = (name: string, password: string) => ({
      ...{ name, match: { username: name }, password },
    });
    const send = (...credentials: readonly object[]) =>
      admin.post(`/api/v1/config/${path}`, { version: 1, credentials });
    const fresh = await send(entry('file-good', GOOD), entry('file-weak', WEAK));
    expect(problems(fresh)).toEqual([
      422,
      'credential_invalid',
      [{ pointer: '/credentials/1/password', detail: DETAIL }],
    ]);
    const changed = await send(entry('old', 'canary'));
    expect([changed.status, changed.body.errors[0].pointer]).toEqual([
      422,
      '/credentials/0/password',
    ]);
  });

  it('asks nothing of passwords that are there', async () => {
    const later = await World.open({ replicaOf: before, passwordPolicy: { min: 200 } });
    // The login of the administrator is one.
    const now = await later.login();
    const patched = await now.patch(`/api/v1/credentials/${old.id}`, { enabled: false });
    expect(patched.status).toBe(200);
    const file = [{ name: 'old', match: { username: 'old' }, enabled: false, password: GOOD }];
    const same = await now.post('/api/v1/config/apply', { version: 1, credentials: file });
    expect([same.status, same.body]).toMatchObject([200, { update: 0, changes: [] }]);
    await later[Symbol.asyncDispose]();
  });

  it('asks nothing of secrets that we make, and of hashes', async () => {
    const named = (name: string, more: object) =>
      admin.post('/api/v1/credentials', { name, match: { username: name }, ...more });
    const passwordHash = { algorithm: 'sha256', hash: 'ab'.repeat(32) };
    expect((await named('made', { generateSecret: true })).status).toBe(201);
    expect((await named('hash', { passwordHash })).status).toBe(201);
  });
});
