import { affects, authChainTagsOf, type DomainEvent } from '@sallyport/domain';
import { MemoryEventLog } from '@sallyport/event-log';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';
import { PAST_COMMITS_MAX, stateAt } from './past-state.ts';

let world: World;
let admin: Client;
/** What the node tells of a client, by its id. */
const sessions = new Map<string, object>();
let asked: unknown[] = [];
let serving: AsyncDisposable;

beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
  await world.registry.join({ nodeId: 'n1', revision: 0, hash: '', whenStale: 'drop' });
  await world.registry.join({ nodeId: 'n2', revision: 0, hash: '', whenStale: 'drop' });
  await world.calls.serve('n1', () => ({}));
  serving = await world.calls.serve('n2', (question) => {
    asked.push(question);
    return { explained: sessions.get((question as { clientId: string }).clientId) };
  });
});
afterAll(() => world[Symbol.asyncDispose]());

const explain = (body: object, client = admin) => client.post('/api/v1/explain', body);
const question = { action: 'publish', topic: 'a', qos: 1, retain: true };

type Told = { credentialId: string; revision: number } & Readonly<Record<string, unknown>>;

/** A session whose node decided by a rule of its table. */
function session(clientId: string, more: Told) {
  const told = {
    explanation: { allowed: true, ruleId: `acl:client:${clientId}/r`, opinions: [] },
    enforcedRevision: world.model.revision,
    applyMode: 'pinned',
    facts: {
      clientId,
      username: 'u',
      listener: 'tcp:default',
      peer: '192.0.2.1:5',
      certificate: { fingerprintSha256: 'ab', commonName: 'cn', chainCommonNames: ['cn', 'ca'] },
      attributes: { site: 'north' },
    },
    secretId: 's',
    groups: ['g'],
    tags: [`credential:${more.credentialId}`, `acl:client:${clientId}`, 'acl:everyone', 'settings'],
    connectedAt: world.now,
    nodeId: 'n2',
    ...more,
  };
  sessions.set(clientId, told);
}

async function credential(name: string) {
  const answer = await admin.post('/api/v1/credentials', {
    name,
    match: { username: name },
    passwordRequired: false,
  });
  expect(answer.status).toBe(201);
  return answer.body;
}

const table = (clientId: string) => `/api/v1/acl/clients/${clientId}`;
const rule = (topicFilter: string) => ({
  ruleId: 'r',
  effect: 'allow',
  action: 'publish',
  topicFilter,
});

describe('POST /explain for a live session', () => {
  it('wants a connection or what would be one, and says what is too much and what is missing', async () => {
    for (const [body, pointers] of [
      [{}, ['/clientId']],
      [{ proof: 'scram' }, ['/clientId']],
      [{ connection: 'c', stores: ['native'], proof: 'scram' }, ['/stores', '/proof']],
      [{ credentialId: 'x' }, ['/clientId']],
      [{ connection: 'c', clientId: 'c' }, ['/clientId']],
      [{ connection: 'c', listener: 'tcp:default' }, ['/listener']],
      [
        { connection: 'c', credentialId: 'x', username: 'u', peer: 'p', certificate: {} },
        ['/credentialId', '/username', '/peer', '/certificate'],
      ],
    ] as const) {
      const answer = await explain({ ...question, ...body });
      const named = answer.body.errors?.map(({ pointer }) => pointer);
      expect([answer.status, named]).toEqual([400, pointers]);
    }
    for (const connection of [
      '',
      7,
      {},
      { clientId: 'c', nodes: 1 },
      { clientId: 'c', node: '' },
    ]) {
      const answer = await explain({ ...question, connection });
      expect(answer.status, JSON.stringify(connection)).toBe(400);
      expect(answer.body.errors[0].pointer).toMatch(/^\/connection/);
    }
  });

  it('nobody is explained who is not there, and the field is named', async () => {
    for (const [connection, pointer] of [
      ['nobody', '/connection'],
      ['__proto__', '/connection'],
      [{ clientId: 'nobody' }, '/connection/clientId'],
      [{ clientId: 'nobody', node: 'n2' }, '/connection/clientId'],
      [{ clientId: 'nobody', node: 'n3' }, '/connection/node'],
    ] as const) {
      const { status, body } = await explain({ ...question, connection });
      expect([status, body.code, body.errors[0].pointer]).toEqual([
        404,
        'connection_not_found',
        pointer,
      ]);
    }
  });

  it('asks the node for exactly this, and tells what the session is judged by', async () => {
    const { id, revision } = await credential('whole');
    session('whole', { credentialId: id, revision });
    asked = [];
    const { status, body } = await explain({ ...question, connection: 'whole' });
    expect(asked).toEqual([{ op: 'explain', clientId: 'whole', ...question }]);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      allowed: true,
      revision,
      connection: {
        clientId: 'whole',
        nodeId: 'n2',
        connectedAt: new Date(world.now).toISOString(),
        listener: 'tcp:default',
        username: 'u',
        peer: '192.0.2.1:5',
        certificate: { fingerprint: 'ab', commonName: 'cn', chainCommonNames: ['cn', 'ca'] },
        attributes: { site: 'north' },
        groups: ['g'],
        secretId: 's',
        applyMode: 'pinned',
      },
    });
  });

  it('names the row as it was at the revision of the session, whatever became of it and of the credential', async () => {
    const { id } = await credential('pinned');
    const first = await admin.put(table('pinned'), { rules: [rule('old')] });
    const { revision } = first.body;
    session('pinned', { credentialId: id, revision });
    const expected = {
      revision,
      origin: { type: 'acl', id: 'client:pinned', position: 0, row: { topicFilter: 'old' } },
      event: { revision },
      credential: { id, name: 'pinned', enabled: true },
    };
    const told = async () => (await explain({ ...question, connection: 'pinned' })).body;
    expect(await told()).toMatchObject(expected);
    await admin.put(table('pinned'), { rules: [rule('new')] });
    expect(await told()).toMatchObject(expected);
    await admin.delete(table('pinned'));
    expect(await told()).toMatchObject(expected);
    await admin.patch(`/api/v1/credentials/${id}`, { enabled: false, name: 'renamed' });
    expect(await told()).toMatchObject(expected);
    await admin.delete(`/api/v1/credentials/${id}`);
    expect(await told()).toMatchObject(expected);
  });

  describe('that no credential opens', () => {
    const CHAIN = '/api/v1/auth-chains/listener:ws:open';
    const passwords = {
      ...{ mechanism: 'password_based', backend: 'built_in_database', enabled: false },
      ...{ matchBy: 'username', hash: { name: 'argon2id' } },
    };
    const facts = (clientId: string) => ({ clientId, listener: 'ws:open', peer: '192.0.2.1:5' });
    const anonymous = (clientId: string, revision: number, ruleId: string, allowed: boolean) =>
      session(clientId, {
        ...{ credentialId: 'anonymous', revision, facts: facts(clientId) },
        explanation: { allowed, ruleId, opinions: [{ authority: 'acl', verdict: 'deny', ruleId }] },
        tags: [
          ...['credential:anonymous', 'settings', 'acl:everyone', `acl:client:${clientId}`],
          ...authChainTagsOf('ws:open'),
        ],
      });
    const told = async (clientId: string) =>
      (await explain({ ...question, connection: clientId })).body;

    it('is told the chain that lets it in, since when and by whom, whatever became of it', async () => {
      const body = { anonymous: true, authenticators: [passwords] };
      const headers = { 'audit-reason': 'an open day' };
      const made = await admin.put(CHAIN, body, headers);
      expect(made.status, made.text).toBe(200);
      const { revision } = made.body;
      const commit = (await world.log.read(revision - 1, 1))[0];
      const event = {
        ...{ revision, commitId: commit?.commitId, actor: commit?.actor },
        at: new Date(world.now).toISOString(),
      };
      const expected = {
        ...{ allowed: false, revision, event },
        origin: { type: 'auth_chain', id: 'listener:ws:open', row: { anonymous: true } },
        admittedBy: {
          ...{ type: 'auth_chain', scope: 'listener:ws:open', anonymous: true, event },
          authenticators: [{ id: 'password_based:built_in_database', enabled: false }],
        },
      };
      anonymous('stranger', revision, 'default', false);
      const before = await told('stranger');
      expect(before).toMatchObject(expected);
      expect(before).not.toHaveProperty('credential');
      // Set again, and then gone.
      await admin.put(CHAIN, { anonymous: true, authenticators: [] });
      expect(await told('stranger')).toMatchObject(expected);
      await admin.put(CHAIN, { anonymous: false, authenticators: [] });
      expect(await told('stranger')).toMatchObject(expected);
    });

    it('is told the listener where that asks nobody, and no chain', async () => {
      const open = { ...facts('walk-in'), open: true, zone: 'hall-7' } as const;
      const { revision } = world.model;
      session('walk-in', {
        ...{ credentialId: 'anonymous', revision, facts: open, tags: ['settings'] },
        explanation: { allowed: false, ruleId: 'default', opinions: [] },
      });
      const body = await told('walk-in');
      expect(body).toMatchObject({
        origin: { type: 'listener', id: 'ws:open' },
        connection: { listener: 'ws:open', zone: 'hall-7' },
      });
      expect(body).not.toHaveProperty('admittedBy');
    });

    it('is told the row that decides besides, and the global chain where it is that', async () => {
      const global = '/api/v1/auth-chains/global';
      const chain = (await admin.put(global, { anonymous: true, authenticators: [] })).body;
      const row = await admin.put(table('guest'), { rules: [rule('guests/#')] });
      anonymous('guest', row.body.revision, 'acl:client:guest/r', true);
      expect(await told('guest')).toMatchObject({
        origin: { type: 'acl', id: 'client:guest', position: 0, row: { topicFilter: 'guests/#' } },
        event: { revision: row.body.revision },
        admittedBy: { scope: 'global', authenticators: [], event: { revision: chain.revision } },
      });
      anonymous('guest', row.body.revision, 'guard', false);
      const guarded = await told('guest');
      expect(guarded).toMatchObject({
        origin: { type: 'built_in' },
        admittedBy: { scope: 'global' },
      });
      expect(guarded).not.toHaveProperty('event');
      await admin.put(global, { anonymous: false, authenticators: [] });
    });
  });

  it('a viewer may ask, and a stranger may not', async () => {
    const viewer = await world.operator('viewer');
    expect((await explain({ ...question, connection: 'nobody' }, viewer)).status).toBe(404);
    expect((await explain({ ...question, connection: 'x' }, world.anonymous())).status).toBe(401);
  });

  it('a node that does not answer is named, unless another has the client', async () => {
    const { id, revision } = await credential('elsewhere');
    session('elsewhere', { credentialId: id, revision });
    await world.registry.join({ nodeId: 'mute', revision: 0, hash: '', whenStale: 'drop' });
    expect((await explain({ ...question, connection: 'elsewhere' })).status).toBe(200);
    for (const connection of ['nobody', { clientId: 'elsewhere', node: 'mute' }]) {
      const { status, text, body } = await explain({ ...question, connection });
      expect([status, body.code]).toEqual([503, 'node_silent']);
      expect(text).toContain('mute');
    }
    await serving[Symbol.asyncDispose]();
    const gone = await explain({ ...question, connection: 'elsewhere' });
    expect([gone.status, gone.text.includes('n2')]).toEqual([503, true]);
  });
});

describe('stateAt', () => {
  const added = (id: string): DomainEvent => ({
    type: 'GroupAdded',
    data: { id, name: id, description: '', permissions: [] },
  });

  it('has what bears the tags, as it was then', async () => {
    const log = new MemoryEventLog();
    const actor = { kind: 'system', id: 'test' } as const;
    const events: DomainEvent[] = [added('a'), added('b')];
    for (let index = 0; index < 1200; index++) {
      events.push({
        type: 'GroupReplaced',
        data: { id: 'a', name: `${index}`, description: '', permissions: [] },
      });
    }
    const commits = events.map((event, at) => ({
      commitId: `c${at}`,
      at,
      actor,
      events: [event],
    }));
    await log.append(commits, 0);
    const tags = new Set(affects(added('a')));
    for (const revision of [1, 3, 500, 501, 1202]) {
      const state = await stateAt(log, revision, tags);
      expect(state?.group('a')?.updatedRevision).toBe(revision);
      expect(state?.group('b')).toBeUndefined();
    }
    // A log that is shorter than it is said to be tells nothing.
    expect(await stateAt(log, 1203, tags)).toBeUndefined();
  });

  it('does not look through more than it may', async () => {
    let reads = 0;
    const log = { read: () => Promise.resolve((reads++, [])) };
    expect(await stateAt(log, PAST_COMMITS_MAX + 1, new Set())).toBeUndefined();
    expect(reads).toBe(0);
    await stateAt(log, PAST_COMMITS_MAX, new Set());
    expect(reads).toBe(1);
  });
});
