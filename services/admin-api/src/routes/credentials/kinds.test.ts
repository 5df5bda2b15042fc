import { randomUUID } from 'node:crypto';
import { PATTERN_BYTES_MAX } from '@sallyport/domain';
import { sealingContext } from '@sallyport/secrets';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

const BASE = '/api/v1/credentials';
const DIGEST = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const credential = (more: object = {}) => {
  const name = randomUUID();
  return { name, match: { username: name }, ...more };
};

const bound = (match: object, more: object = {}) =>
  credential({ kind: 'certificate', passwordRequired: false, match, ...more });

const stored = (id: string) => world.model.reads.credential(id);

const verifies = (id: string, password: string): Promise<boolean> => {
  const sealed = stored(id)?.secrets[0]?.verifier ?? '';
  const context = sealingContext({ kind: 'credential', id });
  return world.hasher.verify(world.box.open(sealed, context), Buffer.from(password));
};

describe('a certificate credential', () => {
  it.each([
    ['an unknown kind', { kind: 'token' }, '/kind', 400],
    ['an unknown store', { store: 'ldap' }, '/store', 400],
    ['no fingerprint', bound({ fingerprint: 'SHA256:zz' }), '/match/fingerprint', 422],
    [
      'a time that is none',
      bound({ commonName: 'a' }, { validity: { from: 'now' } }),
      '/validity/from',
      400,
    ],
    [
      'a leap second, which our clock does not have',
      bound({ commonName: 'a' }, { validity: { from: '2016-12-31T23:59:60Z' } }),
      '/validity/from',
      422,
    ],
    [
      'a pattern that Java refuses',
      bound({ parentCommonNamePattern: 'hall-{id}' }),
      '/match/parentCommonNamePattern',
      422,
    ],
    [
      'two kinds of client ids',
      bound({ commonName: 'a' }, { clientIds: { exact: 'a', pattern: 'a' } }),
      '/clientIds',
      422,
    ],
    [
      'a grant that is none',
      bound({ commonName: 'a' }, { grants: [{ method: 'jwt', required: true }] }),
      '/grants/0/method',
      400,
    ],
    [
      'a mapping with a pattern that is none',
      bound(
        { commonName: 'a' },
        { access: { kind: 'mapping', entries: [{ key: 'a', publish: ['('], subscribe: [] }] } },
      ),
      '/access/entries/0/publish/0',
      422,
    ],
  ] as const)('with %s is refused', async (_, more, pointer, status) => {
    const answer = await admin.post(BASE, { ...credential(), ...more });
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
  });

  it('is written in any form of the fingerprint, and read in one', async () => {
    const colons = (DIGEST.match(/../g) ?? []).join(':').toUpperCase();
    const validity = { from: '2026-01-01T00:00:00.000Z', until: '2036-01-01T00:00:00.000Z' };
    const grants = [
      { method: 'certificate', required: true },
      { method: 'password', required: true },
    ];
    const sent = bound(
      { fingerprint: `SHA256:${colons}` },
      { validity, grants, password: 'pw-of-cert' },
    );
    const { status, body } = await admin.post(BASE, { ...sent, store: 'clients' });
    expect(status).toBe(201);
    expect(body).toMatchObject({
      store: 'clients',
      kind: 'certificate',
      match: { fingerprint: DIGEST },
      grants,
      validity,
    });
    const read = await admin.get(`${BASE}/${body.id}`);
    expect(read.body).toEqual({ ...body, revision: undefined });
    const again = await admin.post(BASE, { ...bound({ fingerprint: DIGEST }), store: 'clients' });
    expect([again.status, again.body.code]).toEqual([409, 'credential_match_taken']);
    expect((await admin.post(BASE, bound({ fingerprint: DIGEST }))).status).toBe(201);
  });

  it('names the client ids that it is for, and is for all of them again', async () => {
    const clientIds = { pattern: 'pump-.*' };
    const sent = bound({ parentCommonNamePattern: `^${randomUUID()}` }, { clientIds });
    const { status, body } = await admin.post(BASE, sent);
    expect([status, body]).toMatchObject([201, { clientIds, match: sent.match }]);
    const url = `${BASE}/${body.id}`;
    const both = await admin.patch(url, { clientIds: { exact: 'a' } });
    expect([both.status, both.body.errors[0].pointer]).toEqual([422, '/clientIds']);
    const other = await admin.patch(url, { clientIds: { pattern: null, exact: 'a' } });
    expect(other.body).toMatchObject({ clientIds: { exact: 'a' } });
    const whole = { name: body.name, match: sent.match, passwordRequired: false };
    const replaced = await admin.put(url, whole);
    expect(replaced.status).toBe(200);
    expect(stored(body.id)?.clientIds).toEqual({});
    const before = stored(body.id)?.updatedRevision;
    expect((await admin.put(url, whole)).status).toBe(200);
    expect(stored(body.id)?.updatedRevision).toBe(before);
  });

  it('says how many clients may be connected at once, and that it is as usual again', async () => {
    const sent = bound({ commonName: randomUUID() }, { sessionsMax: 1_000_001 });
    const refused = await admin.post(BASE, sent);
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([400, '/sessionsMax']);
    const { status, body } = await admin.post(BASE, { ...sent, sessionsMax: 1_000_000 });
    expect([status, body.sessionsMax]).toEqual([201, 1_000_000]);
    const url = `${BASE}/${body.id}`;
    expect((await admin.patch(url, { sessionsMax: -1 })).status).toBe(400);
    expect((await admin.patch(url, { sessionsMax: null })).status).toBe(400);
    expect((await admin.patch(url, { sessionsMax: 2 })).body.sessionsMax).toBe(2);
    const whole = { name: body.name, match: sent.match, passwordRequired: false };
    expect((await admin.put(url, whole)).body.sessionsMax).toBe(0);
    const before = stored(body.id)?.updatedRevision;
    expect((await admin.put(url, whole)).status).toBe(200);
    expect(stored(body.id)?.updatedRevision).toBe(before);
  });

  it('is made one of passwords, and back, where all that it needs is said', async () => {
    const commonName = randomUUID();
    const { body } = await admin.post(BASE, bound({ commonName }, { passwordRequired: true }));
    const url = `${BASE}/${body.id}`;
    const match = { username: body.name };
    for (const [sent, pointer] of [
      [{ kind: 'password' }, '/match'],
      [{ kind: 'password', match }, '/password'],
      [{ kind: null, match }, '/kind'],
      [{ kind: 'token', match }, '/kind'],
    ] as const) {
      const refused = await admin.patch(url, sent);
      expect([refused.status >= 400, refused.body.errors[0].pointer]).toEqual([true, pointer]);
    }
    const password = 'canary-of-the-other-kind';
    const patched = await admin.patch(url, { kind: 'password', match, password });
    expect([patched.status, patched.body]).toMatchObject([200, { kind: 'password', match }]);
    expect(await verifies(body.id, password)).toBe(true);
    const { name } = body;
    const whole = { name, kind: 'certificate', match: { commonName } };
    const both = await admin.put(url, { ...whole, password });
    expect([both.status, both.body.errors[0].pointer]).toEqual([422, '/password']);
    const replaced = await admin.put(url, whole);
    expect(replaced.body).toMatchObject({ kind: 'certificate', match: { commonName } });
    expect(stored(body.id)?.secrets).toEqual([]);
    const again = await admin.put(url, { name, match: { commonName }, enabled: false });
    expect([again.status, again.body]).toMatchObject([200, { kind: 'certificate' }]);
    const taken = await admin.post(BASE, bound({ commonName }));
    expect([taken.status, taken.body.code]).toEqual([409, 'credential_match_taken']);
  });

  it('keeps what a patch does not name, and loses what a replacement leaves out', async () => {
    const validity = { until: '2036-01-01T00:00:00.000Z' };
    const { body } = await admin.post(BASE, bound({ commonName: randomUUID() }, { validity }));
    const url = `${BASE}/${body.id}`;
    const patched = await admin.patch(url, { validity: { from: '2026-01-01T00:00:00.000Z' } });
    expect(patched.body.validity).toEqual({ from: '2026-01-01T00:00:00.000Z', ...validity });
    const cut = await admin.patch(url, { validity: { until: null } });
    expect(cut.body.validity).toEqual({ from: '2026-01-01T00:00:00.000Z' });
    const { name, match } = body;
    const replaced = await admin.put(url, { name, match, passwordRequired: false });
    expect([replaced.status, replaced.body.validity]).toEqual([200, {}]);
    expect(stored(body.id)?.validity).toEqual({});
  });
});

describe('a pattern', () => {
  const withPattern = (length: number) =>
    credential({
      password: 'canary-device-password',
      access: { kind: 'patterns', publish: ['x'.repeat(length)], subscribe: [] },
    });

  it('may have so many characters, and not one more', async () => {
    const tooLong = await admin.post(BASE, withPattern(PATTERN_BYTES_MAX + 1));
    expect([tooLong.status, tooLong.body.errors[0].pointer]).toEqual([400, '/access/publish/0']);
    expect((await admin.post(BASE, withPattern(PATTERN_BYTES_MAX))).status).toBe(201);
  });
});

describe('a hash that somebody else has made', () => {
  const imported = (passwordHash: object, more: object = {}) =>
    credential({ passwordHash, ...more });
  const bcrypt = '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW';

  it.each([
    ['an unknown algorithm', { algorithm: 'crc32', hash: 'x' }, '/passwordHash/algorithm', 400],
    ['an unknown member', { algorithm: 'md5', hash: 'x', rounds: 5 }, '/passwordHash/rounds', 400],
    [
      'a member that means nothing with it',
      { algorithm: 'bcrypt', hash: bcrypt, salt: 'x' },
      '/passwordHash/salt',
      422,
    ],
    ['a digest of another length', { algorithm: 'md5', hash: 'abcd' }, '/passwordHash/hash', 422],
    [
      'a hostile cost',
      { algorithm: 'bcrypt', hash: bcrypt.replace('05', '31') },
      '/passwordHash/hash',
      422,
    ],
    [
      'a hostile count',
      { algorithm: 'pbkdf2', digest: 'sha1', iterations: 1_000_001, hash: 'abcd' },
      '/passwordHash/iterations',
      400,
    ],
    [
      'a digest that we do not have',
      { algorithm: 'pbkdf2', digest: 'md2', iterations: 1, hash: 'abcd' },
      '/passwordHash/digest',
      400,
    ],
  ] as const)('is refused with %s', async (_, hash, pointer, status) => {
    const answer = await admin.post(BASE, imported(hash));
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
  });

  it('does not go together with a password, a generated secret or SCRAM', async () => {
    const hash = { algorithm: 'bcrypt', hash: bcrypt };
    const pointers: string[] = [];
    for (const more of [
      { password: 'p' },
      { generateSecret: true },
      { scram: ['SCRAM-SHA-256'] },
    ]) {
      const answer = await admin.post(BASE, imported(hash, more));
      expect(answer.status).toBe(400);
      pointers.push(answer.body.errors[0].pointer);
    }
    expect(pointers).toEqual(['/passwordHash', '/generateSecret', '/scram']);
  });

  it('is kept sealed in its own form, shown as imported, and counted', async () => {
    const before = (await admin.get('/api/v1/status')).body.importedSecrets;
    const answer = await admin.post(BASE, imported({ algorithm: 'bcrypt', hash: bcrypt }));
    expect(answer.status).toBe(201);
    expect(answer.body.secrets).toEqual([
      {
        secretId: expect.any(String) as string,
        imported: 'bcrypt',
        createdAt: new Date(world.now).toISOString(),
      },
    ]);
    expect(await verifies(answer.body.id, 'U*U')).toBe(true);
    expect(JSON.stringify(stored(answer.body.id))).not.toContain('CCCC');
    const after = (await admin.get('/api/v1/status')).body.importedSecrets;
    expect(after['bcrypt']).toBe((before['bcrypt'] ?? 0) + 1);
  });

  it('tells a plain password to nobody', async () => {
    const canary = 'canary-plain-password';
    const answer = await admin.post(BASE, imported({ algorithm: 'plain', hash: canary }));
    expect(await verifies(answer.body.id, canary)).toBe(true);
    const said = await world.everythingSaid();
    expect(said.filter((text) => text.includes(canary))).toEqual([]);
    const encoded = Buffer.from(canary).toString('base64').slice(0, -4);
    expect(said.filter((text) => text.includes(encoded))).toEqual([]);
  });

  it('replaces the present secret at a rotation', async () => {
    const { body } = await admin.post(
      BASE,
      credential({ generateSecret: true, scram: ['SCRAM-SHA-256'] }),
    );
    const url = `${BASE}/${body.id}/secrets`;
    const passwordHash = { algorithm: 'bcrypt', hash: bcrypt };
    const answer = await admin.post(url, { passwordHash, retireOldAfterSeconds: 60 });
    expect([answer.status, answer.body.imported, answer.body.scram]).toEqual([
      201,
      'bcrypt',
      undefined,
    ]);
    expect(answer.body.secret).toBeUndefined();
    expect(stored(body.id)?.secrets).toHaveLength(2);
    expect(await verifies(body.id, 'U*U')).toBe(true);
  });
});

describe('a secret for SCRAM only', () => {
  it('needs a mechanism', async () => {
    const answer = await admin.post(BASE, credential({ password: 'p', scramOnly: true }));
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([400, '/scramOnly']);
  });

  it('is kept in no other form', async () => {
    const sent = credential({ password: 'pass phrase', scramOnly: true, scram: ['SCRAM-SHA-512'] });
    const { status, body } = await admin.post(BASE, sent);
    expect(status).toBe(201);
    expect(body.secrets[0]).toMatchObject({ scram: ['SCRAM-SHA-512'], scramOnly: true });
    expect(stored(body.id)?.secrets[0]).not.toHaveProperty('verifier');
  });
});
