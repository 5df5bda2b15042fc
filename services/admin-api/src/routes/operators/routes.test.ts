import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN_PASSWORD, type Client, World } from '../../testing/world.ts';

const OPERATORS = '/api/v1/operators';
const KEYS = '/api/v1/api-keys';
const SETTINGS = '/api/v1/settings';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const operator = (more: object = {}) => ({
  name: randomUUID(),
  role: 'viewer',
  password: 'canary-pass1',
  ...more,
});

describe('operators', () => {
  it('need a password of twelve characters, a known role and nothing unknown', async () => {
    for (const wrong of [
      operator({ password: 'canary-pass' }),
      operator({ role: 'root' }),
      operator({ password: undefined }),
      operator({ sessionEpoch: 7 }),
      operator({ id: randomUUID() }),
    ]) {
      expect((await admin.post(OPERATORS, wrong)).status).toBe(400);
    }
    expect((await admin.post(OPERATORS, operator())).status).toBe(201);
  });

  it('are told without their verifiers, and log in with what they were given', async () => {
    const email = `${randomUUID()}@example.org`;
    const sent = operator({ email });
    const made = await admin.post(OPERATORS, sent);
    const { password: _password, ...told } = sent;
    expect(made.body).toMatchObject({ ...told, enabled: true });
    expect(made.headers.location).toBe(`${OPERATORS}/${made.body.id}`);
    const read = await admin.get(`${OPERATORS}/${made.body.id}`);
    expect(read.body).toEqual({ ...made.body, revision: undefined });
    expect(read.text).not.toMatch(/assword|verifier/);
    await world.login(email, sent.password);
    const taken = await admin.post(OPERATORS, operator({ name: email }));
    expect([taken.status, taken.body.code]).toEqual([409, 'operator_exists']);
  });

  it('a new password ends the old one', async () => {
    const sent = operator();
    const { id } = (await admin.post(OPERATORS, sent)).body;
    const changed = await admin.patch(`${OPERATORS}/${id}`, { password: 'canary-other-1' });
    expect(changed.status).toBe(200);
    await expect(world.login(sent.name, sent.password)).rejects.toThrow('login_failed');
    await world.login(sent.name, 'canary-other-1');
    expect((await admin.patch(`${OPERATORS}/${id}`, {})).status).toBe(400);
    const stale = await admin.patch(
      `${OPERATORS}/${id}`,
      { enabled: false },
      { 'if-match': '"1"' },
    );
    expect([stale.status, stale.headers.etag]).toEqual([412, changed.headers.etag]);
  });

  it('the last administrator can be neither removed, disabled nor demoted', async () => {
    const { items } = (await admin.get(OPERATORS)).body;
    const id = items.find((one) => one.name === 'admin')?.id;
    for (const answer of [
      await admin.delete(`${OPERATORS}/${id}`),
      await admin.patch(`${OPERATORS}/${id}`, { enabled: false }),
      await admin.patch(`${OPERATORS}/${id}`, { role: 'viewer' }),
    ]) {
      expect([answer.status, answer.body.code]).toEqual([409, 'last_administrator']);
    }
    const second = await admin.post(OPERATORS, operator({ role: 'administrator' }));
    expect((await admin.delete(`${OPERATORS}/${second.body.id}`)).status).toBe(204);
    expect((await admin.get(`${OPERATORS}/${second.body.id}`)).status).toBe(404);
    await world.login('admin', ADMIN_PASSWORD);
  });
});

describe('API keys', () => {
  it('have a secret that is shown once and opens what the role may', async () => {
    const made = await admin.post(KEYS, { name: randomUUID(), role: 'administrator' });
    expect(made.status).toBe(201);
    const { id, secret } = made.body;
    expect((await world.keyClient(id, secret).get('/api/v1/settings')).status).toBe(200);
    const listed = await admin.get(KEYS);
    expect(listed.text).toContain(id);
    expect(listed.text).not.toContain(secret);
    const again = await admin.post(KEYS, { name: made.body.name, role: 'viewer' });
    expect([again.status, again.body.code]).toEqual([409, 'api_key_exists']);
  });

  it('are refused with an expiry that is no time, an id, or a secret of the caller', async () => {
    for (const more of [{ expiresAt: 'soon' }, { id: 'mine' }, { secret: 'canary-mine' }]) {
      expect((await admin.post(KEYS, { name: 'x', role: 'viewer', ...more })).status).toBe(400);
    }
  });

  it('are changed in every part but the secret, and may have no end any more', async () => {
    const made = await admin.post(KEYS, {
      ...{ name: randomUUID(), role: 'viewer', description: 'a', enabled: false },
    });
    const url = `${KEYS}/${made.body.id}`;
    for (const body of [{}, { role: 'owner' }, { secret: 'canary-mine' }, { expiresAt: 7 }]) {
      expect((await admin.patch(url, body)).status).toBe(400);
    }
    const expiresAt = new Date(world.now + 1000).toISOString();
    const changes = { name: randomUUID(), role: 'publisher', description: 'b', enabled: true };
    const changed = await admin.patch(url, { ...changes, expiresAt });
    expect(changed.body).toMatchObject({ ...changes, expiresAt });
    const other = await admin.post(KEYS, { name: randomUUID(), role: 'viewer' });
    const taken = await admin.patch(url, { name: other.body.name });
    expect([taken.status, taken.body.code]).toEqual([409, 'api_key_exists']);
    const endless = await admin.patch(url, { expiresAt: null });
    expect(endless.body).not.toHaveProperty('expiresAt');
  });

  it('of a publisher open nothing of this API', async () => {
    const made = await admin.post(KEYS, { name: randomUUID(), role: 'publisher' });
    const key = world.keyClient(made.body.id, made.body.secret);
    for (const path of [SETTINGS, KEYS, '/api/v1/credentials']) {
      expect((await key.get(path)).status).toBe(403);
    }
    expect((await key.patch(SETTINGS, { noMatch: 'allow' })).status).toBe(403);
  });

  it('an unknown one can be neither changed nor removed', async () => {
    for (const answer of [
      await admin.patch(`${KEYS}/nothing`, { enabled: true }),
      await admin.delete(`${KEYS}/nothing`),
    ]) {
      expect([answer.status, answer.body.code]).toEqual([404, 'api_key_not_found']);
    }
  });
});

describe('settings', () => {
  it('start as the defaults, and change in part', async () => {
    const before = await admin.get(SETTINGS);
    expect(before.body).toEqual({
      noMatch: 'deny',
      denyAction: 'disconnect',
      aclSubscribeMatch: 'text',
      aclEnabled: true,
      tbmqProviders: ['password', 'certificate', 'scram'],
      tbmqStrategy: 'client_id_and_username',
      tokensAsPasswords: false,
      dynsecPublishClientSend: 'deny',
      dynsecPublishClientReceive: 'allow',
      dynsecSubscribe: 'deny',
      dynsecUnsubscribe: 'allow',
      updatedRevision: 0,
    });
    expect((await admin.patch(SETTINGS, {})).status).toBe(400);
    expect((await admin.patch(SETTINGS, { noMatch: 'maybe' })).status).toBe(400);
    for (const wrong of [['jwt'], ['scram', 'scram'], 'scram', null]) {
      expect((await admin.patch(SETTINGS, { tbmqProviders: wrong })).status).toBe(400);
    }
    expect((await admin.patch(SETTINGS, { tbmqStrategy: 'both' })).status).toBe(400);
    expect((await admin.patch(SETTINGS, { tokensAsPasswords: 'yes' })).status).toBe(400);
    const changed = await admin.patch(SETTINGS, { noMatch: 'allow' }, { 'if-match': '"0"' });
    expect(changed.body).toMatchObject({ noMatch: 'allow', denyAction: 'disconnect' });
    expect((await admin.patch(SETTINGS, { noMatch: 'deny' }, { 'if-match': '"0"' })).status).toBe(
      412,
    );
  });

  it('a change that changes nothing stores nothing, and says so by its revision', async () => {
    const head = await world.log.head();
    const same = await admin.patch(SETTINGS, { noMatch: 'allow' });
    expect(same.status).toBe(200);
    expect(same.headers['sallyport-revision']).toBe(String(head));
    expect(await world.log.head()).toBe(head);
  });
});

describe('status, nodes and explanations', () => {
  it('tell the revision and the hash', async () => {
    const { revision, hash } = world.model;
    const status = { revision, hash, importedSecrets: {} };
    expect((await admin.get('/api/v1/status')).body).toEqual(status);
    const membership = await world.registry.join({
      nodeId: 'n',
      revision,
      hash,
      whenStale: 'keep',
    });
    const nodes = await admin.get('/api/v1/nodes');
    expect(nodes.body).toMatchObject({ revision, hash, total: 1 });
    expect(nodes.body.items[0]).toMatchObject({ nodeId: 'n', revision, whenStale: 'keep' });
    await membership.leave();
  });

  it('explain what a client may do, by the rule that says so', async () => {
    const name = randomUUID();
    const access = { kind: 'patterns', publish: ['a/.*'], subscribe: [] };
    const sent = { name, match: { username: name }, passwordRequired: false, access };
    const { id: credentialId } = (await admin.post('/api/v1/credentials', sent)).body;
    const question = { credentialId, clientId: 'c', username: name, action: 'publish' };
    const ask = (more: object) => admin.post('/api/v1/explain', { ...question, ...more });
    const yes = await ask({ topic: 'a/b' });
    expect(yes.body).toMatchObject({
      allowed: true,
      ruleId: `credential:${credentialId}/publish/0`,
      revision: world.model.revision,
    });
    expect((await ask({ topic: 'b' })).body.allowed).toBe(false);
    const shared = await ask({ action: 'subscribe', topic: '$share/g/a/#' });
    expect([shared.status, shared.body.allowed]).toEqual([200, false]);
    const rules = [{ effect: 'deny', action: 'all', topicFilter: 'p/secret' }];
    await admin.put('/api/v1/acl/clients/partial', { rules });
    const partial = await ask({ clientId: 'partial', action: 'subscribe', topic: 'p/#' });
    const verdicts = partial.body.opinions.map((one) => one.verdict);
    expect([partial.status, verdicts]).toEqual([200, expect.arrayContaining(['partial'])]);
    for (const topic of ['a/#', '', 'a\u0007']) {
      expect((await ask({ topic })).body.errors[0].pointer).toBe('/topic');
    }
    expect((await ask({ action: 'subscribe', topic: 'a#' })).status).toBe(400);
    expect((await ask({ action: 'connect', topic: 'a' })).status).toBe(400);
    expect((await ask({ credentialId: 'x', topic: 'a' })).status).toBe(404);
  });
});
