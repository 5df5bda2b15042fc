import { randomUUID } from 'node:crypto';
import { SECRET_BYTES_MAX } from '@sallyport/secrets';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const BASE = '/api/v1/clients';
const PASSWORD = 'canary-client-password';
const client = (name: string, more: object = {}) => ({
  name,
  authentication: 'credentials',
  username: `user-${name}`,
  password: PASSWORD,
  ...more,
});
const add = (name: string, more: object = {}) => admin.post(BASE, client(name, more));

describe('clients', () => {
  it('that are not there, or are credentials of another store, are not found', async () => {
    const native = await admin.post('/api/v1/credentials', {
      name: 'native',
      match: { username: 'native' },
      generateSecret: true,
    });
    for (const id of [randomUUID(), '__proto__', native.body.id]) {
      const { password: _, ...body } = client('x');
      for (const answer of [
        await admin.get(`${BASE}/${id}`),
        await admin.put(`${BASE}/${id}`, body),
        await admin.delete(`${BASE}/${id}`),
      ]) {
        expect([answer.status, answer.body.code]).toEqual([404, 'credential_not_found']);
      }
    }
    expect((await admin.get(`/api/v1/credentials/${native.body.id}`)).status).toBe(200);
  });

  it('are refused when they are not valid, with members named as they were sent', async () => {
    const cases: [object, number, string][] = [
      [client('x', { name: undefined }), 400, '/name'],
      [client('x', { username: undefined }), 400, '/username'],
      [client('x', { password: undefined }), 400, '/password'],
      [client('x', { password: '' }), 400, '/password'],
      [client('x', { password: 'x'.repeat(SECRET_BYTES_MAX + 1) }), 400, '/password'],
      [client('x', { authentication: 'magic' }), 400, '/authentication'],
      [client('x', { superuser: true }), 400, '/superuser'],
      [client('x', { name: '' }), 422, '/name'],
      [client('x', { username: '' }), 422, '/username'],
      [client('x', { username: 'x'.repeat(257) }), 422, '/username'],
    ];
    for (const [body, status, pointer] of cases) {
      const answer = await admin.post(BASE, body);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
    }
  });

  it('are credentials with access by groups, and never tell a password', async () => {
    const made = await add('pump');
    expect(made.status).toBe(201);
    const { id } = made.body;
    expect(made.headers.location).toBe(`/api/v1/clients/${id}`);
    const shown = {
      id,
      name: 'pump',
      authentication: 'credentials',
      username: 'user-pump',
      createdAt: expect.any(String) as string,
      updatedAt: expect.any(String) as string,
      updatedRevision: made.body.revision,
    };
    expect(made.body).toEqual({ ...shown, revision: made.body.revision });
    const read = await admin.get(`${BASE}/${id}`);
    expect(read.body).toEqual(shown);
    expect(read.headers.etag).toBe(made.headers.etag);
    expect((await admin.get(`/api/v1/credentials/${id}`)).body).toMatchObject({
      store: 'clients',
      access: { kind: 'groups' },
      match: { username: 'user-pump' },
      passwordRequired: true,
      superuser: false,
    });
    for (const said of await world.everythingSaid()) expect(said).not.toContain(PASSWORD);
  });

  it('have a name and a username of their own, also when they are replaced', async () => {
    const { body } = await add('one');
    const other = await add('two');
    for (const send of [
      (more: object) => admin.post(BASE, client('three', more)),
      (more: object) => admin.put(`${BASE}/${other.body.id}`, client('three', more)),
    ]) {
      const name = await send({ name: 'one' });
      expect([name.status, name.body.code]).toEqual([409, 'credential_name_taken']);
      expect(name.body.errors[0].pointer).toBe('/name');
      const username = await send({ username: 'user-one' });
      expect([username.status, username.body.code]).toEqual([409, 'credential_match_taken']);
      expect(username.body.errors[0].pointer).toBe('/username');
    }
    for (const id of [body.id, other.body.id]) await admin.delete(`${BASE}/${id}`);
    // A native credential may have both.
    const native = { name: 'pump', match: { username: 'user-pump' }, generateSecret: true };
    expect((await admin.post('/api/v1/credentials', native)).status).toBe(201);
  });

  it('are replaced with or without a new password, and keep what this view does not show', async () => {
    const { body, headers } = await add('before');
    const url = `${BASE}/${body.id}`;
    const credential = `/api/v1/credentials/${body.id}`;
    await admin.patch(credential, { enabled: false, attributes: { site: 'x' } });
    const secretOf = async () => (await admin.get(credential)).body.secrets[0].secretId;
    const before = await secretOf();
    const { password: _, ...renamed } = client('after');
    const first = await admin.put(url, renamed);
    expect([first.status, first.body.name]).toEqual([200, 'after']);
    expect(await secretOf()).toBe(before);
    const second = await admin.put(url, client('after', { password: 'canary-other-password' }));
    expect(second.status).toBe(200);
    expect(await secretOf()).not.toBe(before);
    expect((await admin.get(credential)).body).toMatchObject({
      enabled: false,
      attributes: { site: 'x' },
      access: { kind: 'groups' },
    });
    const stale = await admin.put(url, renamed, { 'if-match': headers.etag ?? '' });
    expect([stale.status, stale.headers.etag]).toEqual([412, second.headers.etag]);
    expect((await admin.delete(url, { 'if-match': headers.etag ?? '' })).status).toBe(412);
    expect((await admin.delete(url)).status).toBe(204);
    expect((await admin.get(url)).status).toBe(404);
  });

  it('are known by a certificate: its fingerprint, its Common Name, or their own name', async () => {
    const hex = 'ab'.repeat(32);
    const shownAs = `SHA256:${Array<string>(32).fill('AB').join(':')}`;
    for (const [binding, match, shown] of [
      [{ fingerprint: hex }, { fingerprint: hex }, { fingerprint: shownAs }],
      [{ commonName: 'pump-7' }, { commonName: 'pump-7' }, { commonName: 'pump-7' }],
      [{}, { commonName: 'named' }, { commonName: 'named' }],
    ] as const) {
      const body = { name: 'named', authentication: 'certificate', ...binding };
      const made = await admin.post(BASE, body);
      expect(made.status, made.text).toBe(201);
      expect(made.body).toMatchObject({ authentication: 'certificate', ...shown });
      const url = `${BASE}/${made.body.id}`;
      expect((await admin.get(`/api/v1/credentials/${made.body.id}`)).body).toMatchObject({
        kind: 'certificate',
        match,
        access: { kind: 'groups' },
        secrets: [],
      });
      const renamed = await admin.put(url, { ...body, name: 'renamed', ...shown });
      expect([renamed.status, renamed.body.name]).toEqual([200, 'renamed']);
      expect((await admin.delete(url)).status).toBe(204);
    }
  });

  it('change their authentication: the password goes, and comes only when it is sent', async () => {
    const { body } = await add('changing');
    const url = `${BASE}/${body.id}`;
    await admin.patch(`/api/v1/credentials/${body.id}`, {
      match: { clientId: 'x' },
      attributes: { site: 'a' },
    });
    const bound = { name: 'changing', authentication: 'certificate', commonName: 'cn-changing' };
    const other = await admin.post(BASE, { ...bound, name: 'other' });
    const clash = await admin.put(url, bound);
    expect([clash.status, clash.body.code]).toEqual([409, 'credential_match_taken']);
    await admin.delete(`${BASE}/${other.body.id}`);
    const certified = await admin.put(url, { ...bound, password: '' });
    expect(certified.status, certified.text).toBe(200);
    expect(certified.body).toMatchObject({ authentication: 'certificate', id: body.id });
    const stored = () => world.model.reads.credential(body.id);
    expect(stored()).toMatchObject({ match: { commonName: 'cn-changing' }, secrets: [] });
    for (const password of [undefined, '']) {
      const refused = await admin.put(url, client('changing', { password }));
      expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, '/password']);
    }
    const back = await admin.put(url, client('changing'));
    expect(back.body).toMatchObject({ authentication: 'credentials', username: 'user-changing' });
    expect(stored()).toMatchObject({
      match: { username: 'user-changing' },
      attributes: { site: 'a' },
    });
    const secrets = stored()?.secrets;
    const kept = await admin.put(url, client('changed', { password: '' }));
    expect([kept.status, kept.body.name]).toEqual([200, 'changed']);
    expect(stored()?.secrets).toEqual(secrets);
    await admin.delete(url);
  });

  it.each([
    ['/username', { authentication: 'certificate', username: 'u' }, 400],
    ['/password', { authentication: 'certificate', password: 'p' }, 400],
    ['/commonName', { authentication: 'certificate', fingerprint: 'x', commonName: 'y' }, 400],
    ['/fingerprint', { authentication: 'certificate', fingerprint: 'no digest' }, 422],
    ['/commonName', { authentication: 'certificate', commonName: 'a/b' }, 422],
    ['/fingerprint', { ...client('x'), fingerprint: 'ab'.repeat(32) }, 400],
    ['/username', { authentication: 'credentials', password: 'p' }, 400],
    ['/password', { authentication: 'credentials', username: 'u' }, 400],
  ])('refuse what does not go with their authentication: %s', async (pointer, more, status) => {
    const answer = await admin.post(BASE, { name: 'refused', ...more });
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
  });

  it('are listed without the credentials of other stores; searched by name and not by username', async () => {
    for (const name of ['Zeta', 'alpha', 'Beta']) await add(name);
    const page = await admin.get(`${BASE}?sort=name,desc&pageSize=2`);
    expect(page.body).toMatchObject({ total: 4, page: 0, pageSize: 2 });
    expect(page.body.items.map((one) => one.name)).toEqual(['Zeta', 'pump']);
    const last = await admin.get(`${BASE}?sort=name,desc&pageSize=2&page=1`);
    expect(last.body.items.map((one) => one.name)).toEqual(['Beta', 'alpha']);
    expect((await admin.get(`${BASE}?search=ETA`)).body).toMatchObject({ total: 2 });
    expect((await admin.get(`${BASE}?search=user-`)).body).toMatchObject({ total: 0 });
    expect((await admin.get(`${BASE}?search=native`)).body).toMatchObject({ total: 0 });
  });
});
