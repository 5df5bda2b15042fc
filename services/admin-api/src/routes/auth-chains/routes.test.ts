import { randomUUID } from 'node:crypto';
import { AUTHENTICATOR_USERS_REMOVED_MAX, type DomainEvent } from '@sallyport/domain';
import { sealingContext } from '@sallyport/secrets';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AnswerBody, type Client, World } from '../../testing/world.ts';
import { resumeRemovals } from './removal.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const URL = '/api/v1/auth-chains';
let listeners = 0;
/** A listener that no other test has. */
const fresh = (): string => `listener:tcp:test-${listeners++}`;
const [PASSWORD, SCRAM] = ['password_based:built_in_database', 'scram:built_in_database'] as const;
const passwords = (more: object = {}) => ({ mechanism: 'password_based', ...more });
const proofs = (more: object = {}) => ({ mechanism: 'scram', ...more });

type Chain = AnswerBody & {
  readonly authenticators: readonly { readonly id: string; readonly enabled: boolean }[];
  readonly removing: readonly string[];
  readonly updatedRevision: number;
};

const put = (scope: string, authenticators: readonly unknown[], more: object = {}) =>
  admin.put(`${URL}/${scope}`, { authenticators, ...more });
const read = async (scope: string) => (await admin.get(`${URL}/${scope}`)).body as Chain;

async function made(scope: string, authenticators: readonly unknown[], more: object = {}) {
  const answer = await put(scope, authenticators, more);
  expect(answer.status, answer.text).toBe(200);
  return answer;
}

const member = (scope: string, authenticator: string = PASSWORD) => ({ scope, authenticator });
const addUser = (chain: object | undefined, more: object = {}) =>
  admin.post('/api/v1/credentials', {
    store: 'emqx',
    name: 'u',
    match: { username: 'u' },
    password: 'canary-password',
    ...(chain && { chain }),
    ...more,
  });

async function user(chain: object | undefined, more: object = {}): Promise<string> {
  const name = randomUUID();
  const answer = await addUser(chain, { name, match: { username: name }, ...more });
  expect(answer.status, answer.text).toBe(201);
  return answer.body.id;
}

describe('chains', () => {
  it('say nothing at first, and are read so in every scope that there is', async () => {
    expect((await admin.get(URL)).body).toEqual({ items: [], total: 0 });
    for (const scope of ['global', fresh(), 'gateway:stomp', 'gateway:stomp:tcp:def']) {
      const first = await admin.get(`${URL}/${scope}`);
      expect([first.status, first.headers.etag]).toEqual([200, '"0"']);
      expect(first.body).toEqual({
        ...{ scope, authenticators: [], anonymous: false, removing: [], updatedRevision: 0 },
      });
    }
    for (const scope of ['x', 'listener:tcp', '__proto__', 'listener:tcp:a%2Fb']) {
      for (const answer of [await admin.get(`${URL}/${scope}`), await put(scope, [])]) {
        expect([answer.status, answer.body.errors[0].pointer]).toEqual([400, '/scope']);
      }
    }
  });

  it('are refused when they are not valid, with what is wrong and where; nothing is kept of them', async () => {
    const cases: [object, number, string][] = [
      [{}, 400, '/authenticators'],
      [{ authenticators: [{}] }, 400, '/authenticators/0/mechanism'],
      [{ authenticators: [passwords({ colour: 'red' })] }, 400, '/authenticators/0/colour'],
      [{ authenticators: [passwords(), proofs(), passwords()] }, 400, '/authenticators'],
      [{ authenticators: [passwords(), passwords()] }, 422, '/authenticators/1'],
      [{ authenticators: [{ mechanism: 'jwt' }] }, 422, '/authenticators/0/mechanism'],
      [{ authenticators: [passwords({ backend: 'http' })] }, 422, '/authenticators/0/backend'],
      [{ authenticators: [passwords({ backend: 'mysql' })] }, 422, '/authenticators/0/backend'],
      [{ authenticators: [passwords({ id: SCRAM })] }, 422, '/authenticators/0/id'],
      [{ authenticators: [passwords({ matchBy: 'name' })] }, 400, '/authenticators/0/matchBy'],
      [{ authenticators: [proofs({ matchBy: 'clientId' })] }, 422, '/authenticators/0/matchBy'],
      [{ authenticators: [proofs({ matchBy: 'either' })] }, 422, '/authenticators/0/matchBy'],
      [{ authenticators: [], admitsUnknown: 'yes' }, 400, '/admitsUnknown'],
      [{ authenticators: [passwords({ scram: 'SCRAM-SHA-256' })] }, 422, '/authenticators/0/scram'],
      [{ authenticators: [proofs({ hash: { name: 'plain' } })] }, 422, '/authenticators/0/hash'],
      [
        { authenticators: [passwords({ hash: { name: 'md4' } })] },
        400,
        '/authenticators/0/hash/name',
      ],
      [
        { authenticators: [passwords({ hash: { name: 'bcrypt', saltRounds: 15 } })] },
        422,
        '/authenticators/0/hash/saltRounds',
      ],
      [
        { authenticators: [passwords({ hash: { name: 'sha256', saltRounds: 5 } })] },
        422,
        '/authenticators/0/hash/saltRounds',
      ],
      [
        { authenticators: [passwords({ hash: { name: 'pbkdf2', iterations: 1 } })] },
        422,
        '/authenticators/0/hash/digest',
      ],
      [
        { authenticators: [passwords({ hash: { name: 'pbkdf2', digest: 'sha256' } })] },
        422,
        '/authenticators/0/hash/iterations',
      ],
    ];
    for (const [body, status, pointer] of cases) {
      const answer = await admin.put(`${URL}/global`, body);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
    }
    expect((await admin.get(URL)).body).toEqual({ items: [], total: 0 });
  });

  it('may have users of either name, and admit whom nobody knows', async () => {
    const scope = fresh();
    const answer = await made(scope, [passwords({ matchBy: 'either' })], { admitsUnknown: true });
    expect(answer.body).toMatchObject({ admitsUnknown: true, anonymous: false });
    const {
      updatedRevision: _r,
      updatedAt: _a,
      scope: _s,
      removing: _m,
      ...body
    } = (await admin.get(`${URL}/${scope}`)).body as unknown as Record<string, unknown>;
    expect(body).toMatchObject({ admitsUnknown: true, authenticators: [{ matchBy: 'either' }] });
    expect((await admin.put(`${URL}/${scope}`, body)).status).toBe(200);
    for (const match of [{ username: 'x' }, { clientId: 'x' }]) {
      const [kind = ''] = Object.keys(match);
      const added = await addUser(member(scope), { name: `${kind}:x`, match });
      expect(added.status, added.text).toBe(201);
    }
    const list = `/api/v1/credentials?chain=${scope}&sort=match`;
    for (const name of ['username', 'clientId']) {
      const { body: page } = await admin.get(`${list}&matchedBy=${name}&matchContains=x`);
      expect(page.items).toMatchObject([{ match: { [name]: 'x' } }]);
      expect((await admin.get(`${list}&matchedBy=${name}&matchContains=X`)).body.items).toEqual([]);
    }
    const usersOf = async (query: string) => (await admin.get(`${list}&${query}`)).body.items;
    expect(await usersOf('superuser=true')).toEqual([]);
    expect(await usersOf('superuser=false')).toHaveLength(2);
    expect((await admin.get(`${list}&superuser=yes`)).status).toBe(400);
    expect((await admin.get(`${list}&matchContains=x`)).status).toBe(400);
    expect((await admin.get(`${list}&matchedBy=name`)).status).toBe(400);
    await made(scope, [], { admitsUnknown: false });
    expect(await read(scope)).not.toHaveProperty('admitsUnknown');
  });

  it('are put whole, read with all defaults, and can be sent back as they are read', async () => {
    const scope = fresh();
    const hash = { name: 'pbkdf2', digest: 'sha256', iterations: 10, keyBytes: 32 };
    const answer = await made(scope, [proofs(), passwords({ enabled: false, hash })]);
    expect(answer.headers.etag).toBe(`"${answer.body.revision}"`);
    const chain = await read(scope);
    expect(chain.authenticators).toEqual([
      {
        ...{ id: SCRAM, mechanism: 'scram', backend: 'built_in_database', enabled: true },
        ...{ matchBy: 'username', scram: 'SCRAM-SHA-256' },
      },
      {
        ...{ id: PASSWORD, mechanism: 'password_based', backend: 'built_in_database' },
        ...{ enabled: false, matchBy: 'username', hash },
      },
    ]);
    const again = await made(scope, chain.authenticators.toReversed(), { anonymous: true });
    expect(again.body).toMatchObject({
      authenticators: [{ id: PASSWORD }, { id: SCRAM }],
      anonymous: true,
    });
    for (const [given, stored] of [
      [undefined, { name: 'argon2id' }],
      [{ name: 'sha256' }, { name: 'sha256', saltPosition: 'prefix' }],
      [{ name: 'bcrypt' }, { name: 'bcrypt', saltRounds: 10 }],
    ] as const) {
      const { body } = await made('global', [passwords(given && { hash: given })]);
      expect((body as Chain).authenticators).toMatchObject([{ hash: stored }]);
    }
    const { items, total } = (await admin.get(URL)).body as unknown as {
      items: Chain[];
      total: number;
    };
    expect([items.map((one) => (one as unknown as { scope: string }).scope), total]).toEqual([
      ['global', scope],
      2,
    ]);
  });

  it('of two people who save, the second gets a conflict; a retry gets the first answer', async () => {
    const headers = { 'if-match': (await admin.get(`${URL}/global`)).headers.etag ?? '' };
    const body = { authenticators: [passwords()] };
    const key = { ...headers, 'idempotency-key': 'once' };
    const first = await admin.put(`${URL}/global`, body, key);
    expect(first.status).toBe(200);
    const second = await admin.put(`${URL}/global`, { authenticators: [] }, headers);
    expect([second.status, second.headers.etag]).toEqual([412, first.headers.etag]);
    const retry = await admin.put(`${URL}/global`, body, key);
    expect([retry.headers['idempotency-replayed'], retry.body]).toEqual(['true', first.body]);
  });
});

describe('users of a chain', () => {
  it('are told, listed and refused by it', async () => {
    const scope = fresh();
    const same = { name: 'u', match: { username: 'u' } };
    const global = await user(undefined, same);
    expect((await addUser(member(scope))).body.errors[0].pointer).toBe('/chain/authenticator');
    await made(scope, [passwords(), proofs()]);
    const own = await user(member(scope), same);
    const proven = await user(member(scope, SCRAM), same);
    expect((await addUser(member(scope))).body.code).toBe('credential_name_taken');
    expect((await addUser(member(scope), { store: 'native' })).body.errors[0].pointer).toBe(
      '/chain',
    );
    expect((await addUser(member(scope, 'jwt'))).status).toBe(400);
    for (const [id, chain] of [
      [global, member('global')],
      [own, member(scope)],
      [proven, member(scope, SCRAM)],
    ] as const) {
      expect((await admin.get(`/api/v1/credentials/${id}`)).body).toMatchObject({ chain });
    }
    const listed = async (query: string) => {
      const { body } = await admin.get(`/api/v1/credentials?${query}`);
      return body.items?.map((one) => one.id).sort();
    };
    expect(await listed('chain=global')).toEqual([global]);
    expect(await listed(`chain=${scope}`)).toEqual([own, proven].sort());
    expect(await listed(`chain=${scope}&authenticator=${SCRAM}`)).toEqual([proven]);
    expect(await listed(`chain=${scope}&search=x`)).toEqual([]);
    expect(await listed('chain=gateway:stomp')).toEqual([]);
    const alone = await admin.get(`/api/v1/credentials?authenticator=${SCRAM}`);
    expect([alone.status, alone.body.errors[0].pointer]).toEqual([400, '/authenticator']);
    // It belongs there for good.
    const moved = await admin.patch(`/api/v1/credentials/${own}`, { chain: member('global') });
    expect(moved.status).toBe(400);
  });

  const verifierOf = (id: string): string => {
    const [secret] = world.model.reads.credential(id)?.secrets ?? [];
    const context = sealingContext({ kind: 'credential', id });
    return world.box.open(secret?.verifier ?? '', context);
  };

  it('have new passwords hashed as it says, and keep those that they have', async () => {
    const scope = fresh();
    await made(scope, [passwords({ hash: { name: 'sha256', saltPosition: 'suffix' } })]);
    const id = await user(member(scope));
    expect(verifierOf(id)).toMatch(/^sha256\$suffix\$/);
    await made(scope, [passwords({ hash: { name: 'bcrypt', saltRounds: 5 } })]);
    expect(verifierOf(id)).toMatch(/^sha256\$/);
    const long = 'x'.repeat(73);
    const url = `/api/v1/credentials/${id}`;
    const refused = await admin.patch(url, { password: long });
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, '/password']);
    expect((await admin.patch(url, { password: long.slice(1) })).status).toBe(200);
    expect(verifierOf(id)).toMatch(/^\$2[by]\$05\$/);
    await made(scope, [passwords({ hash: { name: 'pbkdf2', digest: 'sha256', iterations: 3 } })]);
    const rotated = await admin.post(`${url}/secrets`, { password: 'canary-password-2' });
    expect(rotated.status).toBe(201);
    expect(verifierOf(id)).toMatch(/^pbkdf2\$sha256\$3\$/);
    expect((await admin.post(`${url}/secrets`, {})).body.secret).toMatch(/./);
    expect(verifierOf(id)).toMatch(/^m1:/);
    expect(JSON.stringify(await world.everythingSaid())).not.toContain('canary-password');
  });

  it('of SCRAM get the keys that it says', async () => {
    const scope = fresh();
    await made(scope, [proofs({ scram: 'SCRAM-SHA-512' })]);
    const id = await user(member(scope, SCRAM));
    const { body } = await admin.get(`/api/v1/credentials/${id}`);
    expect(body.secrets).toMatchObject([{ scram: ['SCRAM-SHA-512'] }]);
    const none = await addUser(member(scope, SCRAM), { scram: [] });
    expect([none.status, none.body.errors[0].pointer]).toEqual([422, '/scram']);
  });

  it('are imported and exported with it, in every format', async () => {
    const scope = fresh();
    await made(scope, [passwords(), proofs()]);
    await user(undefined);
    await user(member(scope));
    const proven = {
      name: 'v',
      match: { username: 'v' },
      generateSecret: true,
      password: undefined,
    };
    await user(member(scope, SCRAM), proven);
    const all = (await admin.get('/api/v1/credentials?store=emqx')).body;
    const { total } = all as unknown as { total: number };
    expect(total).toBeGreaterThan(2);
    for (const format of ['csv', 'json', 'ndjson']) {
      const url = `/api/v1/credentials/export?store=emqx&format=${format}`;
      const exported = await admin.get(url);
      expect(exported.text).toContain(scope);
      const answer = await world.request({
        method: 'POST',
        url: '/api/v1/credentials/import?existing=update',
        payload: exported.text,
        headers: {
          authorization: admin.authorization ?? '',
          'content-type': String(exported.headers['content-type']),
        },
      });
      expect(JSON.parse(answer.text.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
        summary: { unchanged: total, created: 0, updated: 0, failed: 0 },
      });
    }
  });

  it('are told of by an explanation: whose they are, whether that is enabled, and whether it is in force', async () => {
    const scope = fresh();
    const id = await user(undefined, { access: { kind: 'unrestricted' } });
    const state = async (listener = scope.slice('listener:'.length)) => {
      const asked = {
        credentialId: id,
        clientId: 'c',
        username: 'u',
        action: 'publish',
        topic: 'a',
      };
      const { body } = await admin.post('/api/v1/explain', { ...asked, listener });
      return (body as unknown as { credential: { authenticator: object } }).credential
        .authenticator;
    };
    const of = { scope: 'global', id: PASSWORD };
    expect(await state()).toEqual({ ...of, enabled: true, inForce: true });
    await made('global', [passwords({ enabled: false })]);
    expect(await state()).toEqual({ ...of, enabled: false, inForce: true });
    await made(scope, [passwords()]);
    expect(await state()).toEqual({ ...of, enabled: false, inForce: false });
    expect(await state('ws:default')).toEqual({ ...of, enabled: false, inForce: true });
  });
});

describe('an authenticator that is removed', () => {
  const many = 2 * AUTHENTICATOR_USERS_REMOVED_MAX + 1;

  /** More users than one commit removes, as an import would have made them. */
  async function crowd(scope: string): Promise<void> {
    const events = Array.from({ length: many }, (_, index): DomainEvent => ({
      type: 'CredentialAdded',
      data: {
        ...{ id: randomUUID(), store: 'emqx', kind: 'password', name: `n${index}`, secrets: [] },
        ...{ enabled: true, superuser: false, passwordRequired: false, attributes: {} },
        match: { username: `n${index}` },
        access: { kind: 'acl' },
        chain: { scope, authenticator: PASSWORD },
      },
    }));
    for (let start = 0; start < many; start += 500) {
      const commit = {
        commitId: randomUUID(),
        at: world.now,
        actor: { kind: 'system', id: 'test' },
        events: events.slice(start, start + 500),
      } as const;
      await world.log.append([commit], await world.log.head());
    }
    await world.model.waitFor(await world.log.head(), 10_000);
  }

  const left = async (scope: string): Promise<number> => {
    const { body } = await admin.get(`/api/v1/credentials?chain=${scope}&pageSize=1`);
    return (body as unknown as { total: number }).total;
  };

  it('takes its users with it, all of them before it is answered, and comes back without any', async () => {
    const scope = fresh();
    await made(scope, [passwords()]);
    await crowd(scope);
    const kept = await user(undefined);
    expect(await left(scope)).toBe(many);
    const { etag } = (await made(scope, [])).headers;
    expect(await left(scope)).toBe(0);
    expect(await read(scope)).toMatchObject({ removing: [], updatedRevision: 0 });
    expect(etag).toBeDefined();
    expect((await admin.get(`/api/v1/credentials/${kept}`)).status).toBe(200);
    await made(scope, [passwords()]);
    expect(await left(scope)).toBe(0);
  });

  it('and whose process dies before all are gone is told, stays away, and is finished by the next', async () => {
    const scope = fresh();
    await made(scope, [passwords()]);
    await crowd(scope);
    const meta = () => ({
      commitId: randomUUID(),
      at: world.now,
      actor: { kind: 'system', id: 'test' } as const,
    });
    // The first commit, and nothing after it.
    const data = { scope, authenticators: [], anonymous: false };
    await world.executor.execute({ type: 'ReplaceAuthChain', data }, meta());
    expect(await left(scope)).toBe(many - AUTHENTICATOR_USERS_REMOVED_MAX);
    const { removing, updatedRevision } = await read(scope);
    expect(removing).toEqual([PASSWORD]);
    const early = await addUser(member(scope));
    expect(early.body.errors[0].pointer).toBe('/chain/authenticator');
    const { model, executor } = world;
    const telemetry = { logger: { warn: () => undefined }, tracing: false } as never;
    await resumeRemovals({ model, executor, clock: () => world.now, telemetry });
    expect(await left(scope)).toBe(0);
    expect((await read(scope)).removing).toEqual([]);
    expect(updatedRevision).toBeGreaterThan(0);
  });

  it('is finished by whoever saves the chain next', async () => {
    const scope = fresh();
    await made(scope, [passwords()]);
    await crowd(scope);
    const data = { scope, authenticators: [], anonymous: false };
    const actor = { kind: 'system', id: 'test' } as const;
    const meta = { commitId: randomUUID(), at: world.now, actor };
    await world.executor.execute({ type: 'ReplaceAuthChain', data }, meta);
    await made(scope, [passwords()]);
    expect(await left(scope)).toBe(0);
  });

  it('that is only disabled keeps them', async () => {
    const scope = fresh();
    await made(scope, [passwords()]);
    const id = await user(member(scope));
    await made(scope, [passwords({ enabled: false })]);
    expect((await admin.get(`/api/v1/credentials/${id}`)).status).toBe(200);
  });
});
