import { randomUUID } from 'node:crypto';
import { parseScramVerifier, sealingContext } from '@sallyport/secrets';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';
import { RETIRE_SECONDS_MAX } from './schema.ts';

const BASE = '/api/v1/credentials';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const credential = (more: object = {}) => {
  const name = randomUUID();
  return { name, match: { username: name }, password: 'canary-device-password', ...more };
};

describe('adding a credential', () => {
  it('refuses a body without a name, a match and a secret, and names each pointer', async () => {
    const empty = await admin.post(BASE, {});
    expect(empty.status).toBe(400);
    expect(empty.headers['content-type']).toContain('application/problem+json');
    expect(empty.body).toMatchObject({ code: 'invalid_request', status: 400 });
    const pointers = empty.body.errors.map((one) => one.pointer);
    expect(pointers.sort()).toEqual(['/match', '/name']);
    const secretless = await admin.post(BASE, { name: 'x', match: { username: 'x' } });
    expect(secretless.status).toBe(422);
    expect(secretless.body.errors).toEqual([
      { pointer: '/password', detail: 'is needed unless passwordRequired is false' },
    ]);
  });

  it('refuses members that it does not know, and says which', async () => {
    const answer = await admin.post(BASE, credential({ admin: true, superuser: false }));
    expect(answer.status).toBe(400);
    expect(answer.body.errors).toEqual([{ pointer: '/admin', detail: 'is not known here' }]);
  });

  it('refuses text where a boolean belongs', async () => {
    const answer = await admin.post(BASE, credential({ enabled: 'false' }));
    expect(answer.status).toBe(400);
    expect(answer.body.errors[0].pointer).toBe('/enabled');
  });

  it('refuses a password together with a generated secret', async () => {
    const answer = await admin.post(BASE, credential({ generateSecret: true }));
    expect(answer.status).toBe(400);
    expect(answer.body.errors[0].pointer).toBe('/generateSecret');
  });

  it('refuses an access of an unknown kind, and patterns that are none', async () => {
    const unknown = await admin.post(BASE, credential({ access: { kind: 'all' } }));
    expect(unknown.status).toBe(400);
    expect(unknown.body.errors[0].pointer).toBe('/access');
    const access = { kind: 'patterns', publish: ['('], subscribe: [] };
    const invalid = await admin.post(BASE, credential({ access }));
    expect(invalid.status).toBe(422);
    expect(invalid.body.errors[0].pointer).toBe('/access/publish/0');
  });

  it('answers with the stored object, its address, tag and revision, and never with the verifier', async () => {
    const sent = credential({ attributes: { site: 'a' } });
    const answer = await admin.post(BASE, sent);
    expect(answer.status).toBe(201);
    const { revision, id } = answer.body;
    expect(answer.body).toMatchObject({
      store: 'native',
      kind: 'password',
      name: sent.name,
      match: sent.match,
      enabled: true,
      superuser: false,
      passwordRequired: true,
      attributes: { site: 'a' },
      access: { kind: 'acl' },
      updatedRevision: revision,
    });
    expect(answer.headers).toMatchObject({
      location: `${BASE}/${id}`,
      etag: `"${revision}"`,
      'sallyport-revision': String(revision),
    });
    expect(answer.body.secrets).toEqual([
      { secretId: expect.any(String) as string, createdAt: new Date(world.now).toISOString() },
    ]);
    expect(answer.body.secret).toBeUndefined();
    const read = await admin.get(`${BASE}/${id}`);
    expect(read.body).toEqual({ ...answer.body, revision: undefined });
    expect(read.headers.etag).toBe(`"${revision}"`);
    expect(answer.text + read.text).not.toMatch(/argon2|verifier|canary/);
  });

  it('shows a generated secret once', async () => {
    const sent = credential({ password: undefined, generateSecret: true });
    const answer = await admin.post(BASE, sent);
    expect(answer.status).toBe(201);
    expect(answer.body.secret.length).toBeGreaterThanOrEqual(43);
    const read = await admin.get(`${BASE}/${answer.body.id}`);
    expect(read.text).not.toContain(answer.body.secret);
    const said = await world.everythingSaid();
    expect(said.filter((text) => text.includes(answer.body.secret))).toHaveLength(1);
  });

  it('refuses a taken name and a taken match with the pointer of what is taken', async () => {
    const first = credential();
    await admin.post(BASE, first);
    const name = await admin.post(BASE, { ...credential(), name: first.name });
    expect([name.status, name.body.code]).toEqual([409, 'credential_name_taken']);
    const match = await admin.post(BASE, { ...credential(), match: first.match });
    expect([match.status, match.body.code]).toEqual([409, 'credential_match_taken']);
  });

  it('takes a password of 4096 bytes and refuses one more', async () => {
    expect((await admin.post(BASE, credential({ password: 'x'.repeat(4096) }))).status).toBe(201);
    expect((await admin.post(BASE, credential({ password: 'x'.repeat(4097) }))).status).toBe(400);
    const wide = await admin.post(BASE, credential({ password: 'é'.repeat(2049) }));
    expect([wide.status, wide.body.errors[0].pointer]).toEqual([422, '/password']);
  });
});

describe('changing a credential', () => {
  const added = async (more: object = {}) => (await admin.post(BASE, credential(more))).body;

  it('answers 404 for an unknown id, whatever the method', async () => {
    const url = `${BASE}/${randomUUID()}`;
    for (const answer of [
      await admin.get(url),
      await admin.put(url, credential()),
      await admin.patch(url, { enabled: false }),
      await admin.delete(url),
      await admin.post(`${url}/secrets`, {}),
      await admin.delete(`${url}/secrets/x`),
    ]) {
      expect([answer.status, answer.body.code]).toEqual([404, 'credential_not_found']);
    }
  });

  it('PUT replaces everything but the secrets', async () => {
    const before = await added({ superuser: true, attributes: { a: '1' } });
    const { name, match } = before;
    const answer = await admin.put(`${BASE}/${before.id}`, { name, match });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ superuser: false, attributes: {} });
    expect(answer.body.secrets).toEqual(before.secrets);
    expect(answer.headers.etag).toBe(`"${answer.body.revision}"`);
  });

  it('PATCH merges members, and null removes', async () => {
    const before = await added({ attributes: { a: '1', b: '2' } });
    const patch = { enabled: false, attributes: { a: null, c: '3' } };
    const answer = await admin.patch(`${BASE}/${before.id}`, patch, {
      'content-type': 'application/merge-patch+json',
    });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ enabled: false, attributes: { b: '2', c: '3' } });
    expect(answer.body.attributes).not.toHaveProperty('a');
  });

  it('says what changes do to its live sessions, with any kind of access, or does not say it', async () => {
    const kinds = [
      { kind: 'acl' },
      { kind: 'unrestricted' },
      { kind: 'patterns', publish: ['a'], subscribe: [] },
      { kind: 'mapping', entries: [] },
      { kind: 'groups' },
      { kind: 'roles', roles: [], permissions: [] },
    ];
    for (const access of kinds) {
      const later = await admin.patch(`${BASE}/${(await added()).id}`, {
        access: { ...access, apply: 'later' },
      });
      expect(later.status, access.kind).toBe(400);
      const { id } = await added({ access: { ...access, apply: 'kick' } });
      const url = `${BASE}/${id}`;
      expect((await admin.get(url)).body.access).toEqual({ ...access, apply: 'kick' });
      const other = await admin.patch(url, { access: { apply: 'pinned' } });
      expect(other.body.access).toEqual({ ...access, apply: 'pinned' });
      const none = await admin.patch(url, { access: { apply: null } });
      expect(none.body.access).toEqual(access);
    }
  });

  it('PATCH of the access to another kind replaces it, of the same kind merges it', async () => {
    const access = { kind: 'patterns', publish: ['a/.*'], subscribe: ['b/.*'] };
    const { id } = await added({ access });
    const merged = await admin.patch(`${BASE}/${id}`, { access: { publish: ['c'] } });
    expect(merged.body.access).toEqual({ ...access, publish: ['c'] });
    const replaced = await admin.patch(`${BASE}/${id}`, { access: { kind: 'unrestricted' } });
    expect(replaced.body.access).toEqual({ kind: 'unrestricted' });
  });

  it('PATCH refuses unknown members, the removal of what has to be there, and wrong types', async () => {
    const { id, name } = await added();
    const url = `${BASE}/${id}`;
    expect((await admin.patch(url, {})).status).toBe(400);
    expect((await admin.patch(url, { id: randomUUID() })).body.errors[0].pointer).toBe('/id');
    expect((await admin.patch(url, { store: 'tbmq' })).status).toBe(400);
    expect((await admin.patch(url, { secrets: [] })).status).toBe(400);
    expect((await admin.patch(url, { name: null })).body.errors).toEqual([
      { pointer: '/name', detail: 'cannot be removed' },
    ]);
    expect((await admin.patch(url, { superuser: 'yes' })).body.errors[0].pointer).toBe(
      '/superuser',
    );
    expect((await admin.patch(url, { match: { username: null } })).status).toBe(422);
    expect((await admin.get(url)).body.name).toBe(name);
  });

  it('a password in a change replaces the present secrets', async () => {
    const { id, secrets } = await added();
    const answer = await admin.patch(`${BASE}/${id}`, { password: 'canary-second' });
    expect(answer.body.secrets).toHaveLength(1);
    expect(answer.body.secrets[0].secretId).not.toBe(secrets[0].secretId);
  });

  it('a rotation lets the old secret live as long as it is told to', async () => {
    const { id, secrets } = await added();
    const url = `${BASE}/${id}/secrets`;
    const rotated = await admin.post(url, { retireOldAfterSeconds: 60 });
    expect(rotated.status).toBe(201);
    expect(rotated.body.secret.length).toBeGreaterThanOrEqual(43);
    const both = (await admin.get(`${BASE}/${id}`)).body.secrets;
    expect(both).toHaveLength(2);
    expect(both[1]).toEqual({
      ...secrets[0],
      expiresAt: new Date(world.now + 60_000).toISOString(),
    });
    const third = await admin.post(url, { retireOldAfterSeconds: 60 });
    expect([third.status, third.body.code]).toEqual([409, 'too_many_secrets']);
    world.now += 60_000;
    expect((await admin.get(`${BASE}/${id}`)).body.secrets).toHaveLength(1);
    expect((await admin.post(url, { retireOldAfterSeconds: -1 })).status).toBe(400);
    const tooLong = { retireOldAfterSeconds: RETIRE_SECONDS_MAX + 1 };
    expect((await admin.post(url, tooLong)).status).toBe(400);
    const longest = { retireOldAfterSeconds: RETIRE_SECONDS_MAX };
    expect((await admin.post(url, longest)).status).toBe(201);
  });

  it('removes one secret, and the credential', async () => {
    const { id, secrets } = await added();
    const url = `${BASE}/${id}`;
    expect((await admin.delete(`${url}/secrets/${secrets[0].secretId}`)).status).toBe(204);
    const again = await admin.delete(`${url}/secrets/${secrets[0].secretId}`);
    expect([again.status, again.body.code]).toEqual([404, 'secret_not_found']);
    const removed = await admin.delete(url);
    expect(removed.status).toBe(204);
    expect(Number(removed.headers['sallyport-revision'])).toBe(world.model.revision);
    expect((await admin.get(url)).status).toBe(404);
  });

  it('twenty PATCHes at once of different attributes all arrive', async () => {
    const { id } = await added();
    const keys = Array.from({ length: 20 }, (_, index) => `key${index}`);
    const answers = await Promise.all(
      keys.map((key) => admin.patch(`${BASE}/${id}`, { attributes: { [key]: 'set' } })),
    );
    // Whoever lost the race too often is told so, and nobody's change is undone by another's.
    const kept = keys.filter((_, index) => answers[index]?.status === 200).sort();
    const attributes = (await admin.get(`${BASE}/${id}`)).body.attributes;
    expect(Object.keys(attributes).sort()).toEqual(kept);
    expect(answers.every(({ status }) => status === 200 || status === 409)).toBe(true);
    expect(kept.length).toBeGreaterThan(0);
  });
});

describe('lists', () => {
  it('pages, sorts, searches and filters by store', async () => {
    const prefix = randomUUID();
    for (const letter of ['c', 'a', 'B']) {
      await admin.post(BASE, credential({ name: `${prefix}-${letter}` }));
    }
    const url = `${BASE}?search=${prefix.toUpperCase()}`;
    const names = async (query: string) => {
      const { items } = (await admin.get(`${url}${query}`)).body;
      return items.map((one) => one.name.at(-1));
    };
    expect(await names('')).toEqual(['a', 'B', 'c']);
    expect(await names('&sort=name,desc')).toEqual(['c', 'B', 'a']);
    expect(await names('&pageSize=2')).toEqual(['a', 'B']);
    expect(await names('&pageSize=2&page=1')).toEqual(['c']);
    expect(await names('&pageSize=2&page=2')).toEqual([]);
    expect(await names('&store=tbmq')).toEqual([]);
    expect((await admin.get(url)).body).toMatchObject({ total: 3, page: 0, pageSize: 10 });
  });

  it.each(['pageSize=201', 'pageSize=0', 'page=-1', 'page=x', 'sort=password', 'sort=name,up'])(
    'refuses %s',
    async (query) => {
      const answer = await admin.get(`${BASE}?${query}`);
      expect([answer.status, answer.body.code]).toEqual([400, 'invalid_request']);
      expect(answer.body.errors[0].pointer).toBe(`/${query.split('=')[0]}`);
    },
  );

  it('takes a page of 200 and refuses query parameters that it does not know', async () => {
    expect((await admin.get(`${BASE}?pageSize=200`)).status).toBe(200);
    const unknown = await admin.get(`${BASE}?limit=5`);
    expect(unknown.body.errors).toEqual([
      { pointer: '/limit', detail: 'query parameter: is not known here' },
    ]);
    expect((await admin.get(`${BASE}/x?verbose=1`)).status).toBe(400);
    expect((await admin.delete(`${BASE}/x?force=1`)).status).toBe(400);
  });
});

describe('SCRAM', () => {
  const added = async (more: object = {}) => (await admin.post(BASE, credential(more))).body;
  const stored = (id: string) => world.model.reads.credential(id)?.secrets ?? [];

  it('is offered by no credential that was not asked to', async () => {
    const { id, secrets } = await added();
    expect(secrets[0]).not.toHaveProperty('scram');
    expect(stored(id)[0]).not.toHaveProperty('scram');
    const none = await added({ scram: [] });
    expect(none.secrets[0]).not.toHaveProperty('scram');
  });

  it.each([
    ['an unknown mechanism', ['SCRAM-SHA-1'], '/scram/0'],
    ['a mechanism twice', ['SCRAM-SHA-256', 'SCRAM-SHA-256'], '/scram'],
    ['a text', 'SCRAM-SHA-256', '/scram'],
    ['an object', { mechanism: 'SCRAM-SHA-256' }, '/scram'],
    ['null', null, '/scram'],
    ['a nested list', [['SCRAM-SHA-256']], '/scram/0'],
  ])('is refused as %s, wherever it is asked for', async (_, scram, pointer) => {
    const { id } = await added();
    const body = credential({ scram });
    for (const answer of [
      await admin.post(BASE, body),
      await admin.put(`${BASE}/${id}`, body),
      await admin.patch(`${BASE}/${id}`, { password: 'canary-other', scram }),
      await admin.post(`${BASE}/${id}/secrets`, { scram }),
    ]) {
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([400, pointer]);
    }
  });

  it('is refused without a secret to make keys from, and names the field', async () => {
    const scram = ['SCRAM-SHA-256'];
    const { id, name, match } = await added();
    for (const answer of [
      await admin.post(BASE, credential({ password: undefined, passwordRequired: false, scram })),
      await admin.put(`${BASE}/${id}`, { name, match, scram }),
      await admin.put(`${BASE}/${id}`, { name, match, scram: [] }),
      await admin.patch(`${BASE}/${id}`, { scram }),
    ]) {
      expect([answer.status, answer.body.errors]).toEqual([
        400,
        [
          {
            pointer: '/scram',
            detail: expect.stringMatching(/^needs a (new )?password/) as string,
          },
        ],
      ]);
    }
  });

  it('is refused where there is no user name to prove, or one that SASLprep changes', async () => {
    const scram = ['SCRAM-SHA-256'];
    for (const match of [{ clientId: randomUUID() }, { username: `\ufb01${randomUUID()}` }]) {
      const answer = await admin.post(BASE, credential({ match, scram }));
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([422, '/match/username']);
      const { id } = await added({ match });
      const changed = await admin.patch(`${BASE}/${id}`, { password: 'canary-other', scram });
      expect([changed.status, changed.body.errors[0].pointer]).toEqual([422, '/match/username']);
      const rotated = await admin.post(`${BASE}/${id}/secrets`, { scram });
      expect([rotated.status, rotated.body.errors[0].pointer]).toEqual([422, '/scram']);
    }
    const { id } = await added({ scram });
    const moved = await admin.patch(`${BASE}/${id}`, { match: { username: null, clientId: 'c' } });
    expect([moved.status, moved.body.errors[0].pointer]).toEqual([422, '/match/username']);
  });

  it('is refused with a password that it cannot take, which is taken without it', async () => {
    const password = 'canary\u200e-password';
    const refused = await admin.post(BASE, credential({ password, scram: ['SCRAM-SHA-256'] }));
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, '/password']);
    expect((await admin.post(BASE, credential({ password }))).status).toBe(201);
    const { id } = await added({ scram: ['SCRAM-SHA-256'] });
    const inherited = await admin.patch(`${BASE}/${id}`, { password });
    expect([inherited.status, inherited.body.errors[0].pointer]).toEqual([422, '/password']);
    const without = await admin.patch(`${BASE}/${id}`, { password, scram: [] });
    expect(without.status).toBe(200);
    expect(without.body.secrets).not.toHaveProperty([0, 'scram']);
  });

  it('is shown as mechanisms, and its keys are in nothing that is said', async () => {
    const scram = ['SCRAM-SHA-512', 'SCRAM-SHA-256'];
    const answer = await admin.post(BASE, credential({ scram }));
    expect(answer.status).toBe(201);
    expect(answer.body.secrets).toEqual([
      {
        secretId: expect.any(String) as string,
        scram,
        createdAt: new Date(world.now).toISOString(),
      },
    ]);
    const { id } = answer.body;
    expect((await admin.get(`${BASE}/${id}`)).body.secrets).toEqual(answer.body.secrets);
    const [secret] = stored(id);
    const context = sealingContext({ kind: 'credential', id });
    const said = await world.everythingSaid();
    for (const { verifier } of secret?.scram ?? []) {
      const keys = parseScramVerifier(world.box.open(verifier, context));
      const { salt, storedKey, serverKey } = keys ?? {};
      for (const key of [salt, storedKey, serverKey]) {
        const text = key?.toString('base64') ?? '';
        expect(text.length).toBeGreaterThan(20);
        expect(said.filter((one) => one.includes(text))).toEqual([]);
      }
      // Sealed, in the record of the log and nowhere else.
      expect(said.filter((one) => one.includes(verifier))).toHaveLength(1);
    }
  });

  it('makes keys of the very secret that is chosen or generated, for the user name that is matched', async () => {
    const chosen = await added({ scram: ['SCRAM-SHA-256'] });
    const generated = await added({
      password: undefined,
      generateSecret: true,
      scram: ['SCRAM-SHA-256'],
    });
    const rotated = (await admin.post(`${BASE}/${generated.id}/secrets`, {})).body;
    for (const [id, password] of [
      [chosen.id, 'canary-device-password'],
      [generated.id, rotated.secret],
    ] as const) {
      const [secret] = stored(id);
      const sealed = secret?.scram?.[0]?.verifier ?? '';
      const text = world.box.open(sealed, sealingContext({ kind: 'credential', id }));
      const { username = '' } = world.model.reads.credential(id)?.match ?? {};
      expect(text).toBe(await world.hasher.scramVerifier('SCRAM-SHA-256', { username, password }));
    }
  });

  it('stays with the next secret unless that is told otherwise', async () => {
    const { id } = await added({ scram: ['SCRAM-SHA-256'] });
    const mechanisms = () => stored(id)[0]?.scram?.map((one) => one.mechanism);
    const url = `${BASE}/${id}`;
    const rotated = await admin.post(`${url}/secrets`, { retireOldAfterSeconds: 60 });
    expect(rotated.body).toMatchObject({ scram: ['SCRAM-SHA-256'] });
    expect(stored(id).map((one) => one.scram?.length)).toEqual([1, 1]);
    await admin.patch(url, { password: 'canary-second' });
    expect(mechanisms()).toEqual(['SCRAM-SHA-256']);
    await admin.patch(url, { password: 'canary-third', scram: ['SCRAM-SHA-512'] });
    expect(mechanisms()).toEqual(['SCRAM-SHA-512']);
    const { name, match } = (await admin.get(url)).body;
    await admin.put(url, { name, match, password: 'canary-fourth' });
    expect(mechanisms()).toEqual(['SCRAM-SHA-512']);
    await admin.put(url, { name, match });
    expect(mechanisms()).toEqual(['SCRAM-SHA-512']);
    await admin.post(`${url}/secrets`, { scram: [] });
    expect(mechanisms()).toBeUndefined();
    await admin.post(`${url}/secrets`, {});
    expect(mechanisms()).toBeUndefined();
  });

  it('follows a user name that changes together with the password', async () => {
    const { id } = await added({ scram: ['SCRAM-SHA-256'] });
    const username = randomUUID();
    const patch = { match: { username }, password: 'canary-second' };
    expect((await admin.patch(`${BASE}/${id}`, patch)).status).toBe(200);
    const sealed = stored(id)[0]?.scram?.[0]?.verifier ?? '';
    const text = world.box.open(sealed, sealingContext({ kind: 'credential', id }));
    const of = { username, password: 'canary-second' };
    expect(text).toBe(await world.hasher.scramVerifier('SCRAM-SHA-256', of));
  });
});
