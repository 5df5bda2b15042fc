import { randomUUID } from 'node:crypto';
import { OperationalError } from '@sallyport/errors';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Client, World } from '../testing/world.ts';

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
  return { name, match: { username: name }, passwordRequired: false, ...more };
};

describe('Idempotency-Key', () => {
  const key = () => ({ 'idempotency-key': randomUUID() });

  it.each(['', ' ', 'ü', 'a b', 'x'.repeat(129)])('refuses the key %j', async (bad) => {
    const answer = await admin.post(BASE, credential(), { 'idempotency-key': bad });
    expect([answer.status, answer.body.code]).toEqual([400, 'invalid_request']);
  });

  it('takes a key of 128 characters', async () => {
    const headers = { 'idempotency-key': 'x'.repeat(128) };
    expect((await admin.post(BASE, credential(), headers)).status).toBe(201);
  });

  it('answers a repeated request with the first answer, and stores nothing again', async () => {
    const headers = key();
    const sent = credential();
    const first = await admin.post(BASE, sent, headers);
    const head = await world.log.head();
    const again = await admin.post(BASE, sent, headers);
    expect(again.status).toBe(201);
    expect(again.body).toEqual(first.body);
    expect(again.headers['sallyport-revision']).toBe(first.headers['sallyport-revision']);
    expect(again.headers['idempotency-replayed']).toBe('true');
    expect(first.headers['idempotency-replayed']).toBeUndefined();
    expect(await world.log.head()).toBe(head);
  });

  it('answers the first answer even when the object has changed or gone since', async () => {
    const headers = key();
    const sent = credential();
    const first = await admin.post(BASE, sent, headers);
    await admin.patch(`${BASE}/${first.body.id}`, { enabled: false });
    expect((await admin.post(BASE, sent, headers)).body).toEqual(first.body);
    const gone = key();
    expect((await admin.delete(`${BASE}/${first.body.id}`, gone)).status).toBe(204);
    expect((await admin.delete(`${BASE}/${first.body.id}`, gone)).status).toBe(204);
    expect((await admin.delete(`${BASE}/${first.body.id}`)).status).toBe(404);
    expect((await admin.post(BASE, sent, headers)).body).toEqual(first.body);
  });

  it('does not tell a generated secret a second time', async () => {
    const headers = key();
    const sent = credential({ generateSecret: true });
    expect((await admin.post(BASE, sent, headers)).body.secret).toBeDefined();
    expect((await admin.post(BASE, sent, headers)).body.secret).toBeUndefined();
  });

  it('refuses the key for another body, another address and another method', async () => {
    const headers = key();
    const sent = credential({ password: 'canary-one' });
    const { id } = (await admin.post(BASE, sent, headers)).body;
    for (const answer of [
      await admin.post(BASE, { ...sent, password: 'canary-two' }, headers),
      await admin.post(`${BASE}/${id}/secrets`, sent, headers),
      await admin.put(`${BASE}/${id}`, sent, headers),
    ]) {
      expect([400, 422]).toContain(answer.status);
    }
    const other = await admin.put(`${BASE}/${id}`, credential(), headers);
    expect([other.status, other.body.code]).toEqual([422, 'idempotency_key_reused']);
  });

  it('of two callers is two keys', async () => {
    const headers = key();
    const sent = credential();
    expect((await admin.post(BASE, sent, headers)).status).toBe(201);
    const other = await world.keyClient().post(BASE, credential(), headers);
    expect(other.status).toBe(201);
    expect(other.headers['idempotency-replayed']).toBeUndefined();
  });

  it('holds among requests that run at the same time, on two replicas', async () => {
    const replica = await World.open({ replicaOf: world });
    const there = await replica.login();
    const headers = key();
    const sent = credential();
    const answers = await Promise.all(
      [admin, there, admin, there, admin].map((client) => client.post(BASE, sent, headers)),
    );
    expect(new Set(answers.map((one) => one.text)).size).toBe(1);
    expect(answers.map((one) => one.status)).toEqual(Array<number>(5).fill(201));
    const replayed = answers.filter((one) => one.headers['idempotency-replayed'] === 'true');
    expect(replayed).toHaveLength(4);
    await replica[Symbol.asyncDispose]();
  });

  it('a request that was refused may be repeated with the same key', async () => {
    const headers = key();
    const taken = credential();
    const { id } = (await admin.post(BASE, taken)).body;
    expect((await admin.post(BASE, taken, headers)).status).toBe(409);
    await admin.delete(`${BASE}/${id}`);
    expect((await admin.post(BASE, taken, headers)).status).toBe(201);
  });
});

describe('If-Match', () => {
  it('refuses a stale tag with the current one, and takes the current one', async () => {
    const { id, revision } = (await admin.post(BASE, credential())).body;
    const url = `${BASE}/${id}`;
    for (const tag of [`"${revision + 1}"`, `W/"${revision}"`, '"x"', `"${revision - 1}"`]) {
      const stale = await admin.patch(url, { enabled: false }, { 'if-match': tag });
      expect([stale.status, stale.body.code]).toEqual([412, 'precondition_failed']);
      expect(stale.headers.etag).toBe(`"${revision}"`);
    }
    const list = { 'if-match': `"1", "${revision}"` };
    expect((await admin.patch(url, { enabled: false }, list)).status).toBe(200);
    expect((await admin.delete(url, list)).status).toBe(412);
    expect((await admin.delete(url, { 'if-match': '*' })).status).toBe(204);
  });

  it.each(['5', 'x', '"5', '"5",', Array(17).fill('"1"').join()])('refuses %s', async (header) => {
    const { id } = (await admin.post(BASE, credential())).body;
    const answer = await admin.delete(`${BASE}/${id}`, { 'if-match': header });
    expect([answer.status, answer.body.code]).toEqual([400, 'invalid_request']);
  });

  it('of many changes at once under one tag lets one through', async () => {
    const { id, revision } = (await admin.post(BASE, credential())).body;
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        admin.patch(
          `${BASE}/${id}`,
          { attributes: { index: String(index) } },
          {
            'if-match': `"${revision}"`,
          },
        ),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([
      200,
      ...Array<number>(7).fill(412),
    ]);
    const current = (await admin.get(`${BASE}/${id}`)).headers.etag;
    for (const { status, headers } of answers)
      if (status === 412) expect(headers.etag).toBe(current);
  });
});

describe('?wait=enforced', () => {
  const report = (nodeId: string) =>
    ({ nodeId, revision: 0, hash: '', whenStale: 'drop' }) as const;

  it('refuses other words and timeouts out of bounds', async () => {
    for (const query of [
      'wait=yes',
      'wait=enforced&timeoutMs=60001',
      'wait=enforced&timeoutMs=-1',
    ]) {
      expect((await admin.post(`${BASE}?${query}`, credential())).status, query).toBe(400);
    }
  });

  it('names the nodes that are late, and hands over what was made even so', async () => {
    const late = await world.registry.join(report('late'));
    const sent = credential({ generateSecret: true });
    const answer = await admin.post(`${BASE}?wait=enforced&timeoutMs=20`, sent);
    expect(answer.status).toBe(202);
    expect(answer.body).toMatchObject({ enforced: false, pendingNodes: ['late'] });
    expect(answer.body.result.secret).toBeDefined();
    expect(answer.body.result.revision).toBe(answer.body.revision);
    expect(answer.headers['sallyport-enforced']).toBeUndefined();
    const url = `${BASE}/${answer.body.result.id}?wait=enforced&timeoutMs=20`;
    const removed = await admin.delete(url);
    expect([removed.status, removed.body.result]).toEqual([202, undefined]);
    await late.leave();
  });

  it('answers when every node has announced the revision', async () => {
    const node = await world.registry.join(report('node'));
    const waiting = admin.post(`${BASE}?wait=enforced`, credential());
    const before = world.model.revision;
    await world.model.waitFor(before + 1, 1000);
    node.announce({ revision: before + 1, hash: '' });
    const answer = await waiting;
    expect(answer.status).toBe(201);
    expect(answer.headers['sallyport-enforced']).toBe('true');
    const listed = await admin.get('/api/v1/nodes');
    expect(listed.body.items).toMatchObject([{ nodeId: 'node', revision: before + 1 }]);
    await node.leave();
  });

  it('does not call a stored write a failure when the registry cannot be asked', async () => {
    const node = await world.registry.join(report('seen'));
    vi.spyOn(world.registry, 'waitEnforced').mockRejectedValueOnce(
      new OperationalError('node_registry_unavailable', 'away'),
    );
    const answer = await admin.post(`${BASE}?wait=enforced`, credential());
    expect(answer.status).toBe(202);
    expect(answer.body).toMatchObject({ enforced: false, pendingNodes: ['seen'] });
    await node.leave();
  });
});

describe('the commit of a write', () => {
  it('names the actor, the reason and the fingerprint, and holds no secret', async () => {
    const headers = { 'idempotency-key': randomUUID(), 'sallyport-reason': 'Störung 4711' };
    const encoded = Buffer.from(headers['sallyport-reason']).toString('latin1');
    const sent = { ...headers, 'sallyport-reason': encoded };
    const answer = await admin.post(BASE, credential({ password: 'canary-device' }), sent);
    const [commit] = await world.log.read(answer.body.revision - 1, 1);
    expect(commit).toMatchObject({ reason: 'Störung 4711', actor: { kind: 'operator' } });
    expect(commit?.fingerprint).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.stringify(commit)).not.toContain('canary');
    const byKey = await world.keyClient().post(BASE, credential());
    const [other] = await world.log.read(byKey.body.revision - 1, 1);
    expect(other).toMatchObject({ actor: { kind: 'api_key', id: 'tests' } });
    expect(other).not.toHaveProperty('reason');
  });

  it.each(['x'.repeat(513), 'a\tb', '\u00ff'])('refuses the reason %j', async (reason) => {
    const answer = await admin.post(BASE, credential(), { 'sallyport-reason': reason });
    expect([answer.status, answer.body.code]).toEqual([400, 'invalid_request']);
  });

  it('a log that is away is a 503 that may be tried again, without the words of a driver', async () => {
    vi.spyOn(world.log, 'append').mockRejectedValueOnce(
      new OperationalError('log_unavailable', 'nats: secret-host refused'),
    );
    const answer = await admin.post(BASE, credential());
    expect([answer.status, answer.body.code]).toEqual([503, 'log_unavailable']);
    expect(answer.headers['retry-after']).toBe('1');
    expect(answer.text).not.toContain('secret-host');
  });
});

describe('two replicas', () => {
  it('a write is read back through the other one at once', async () => {
    const replica = await World.open({ replicaOf: world });
    const there = await replica.login();
    for (let round = 0; round < 10; round++) {
      const { id } = (await admin.post(BASE, credential())).body;
      expect((await there.get(`${BASE}/${id}`)).status).toBe(200);
    }
    await replica[Symbol.asyncDispose]();
  });

  it('reads go on from what is known while the log is away', async () => {
    vi.spyOn(world.log, 'head').mockRejectedValueOnce(
      new OperationalError('log_unavailable', 'away'),
    );
    expect((await admin.get(BASE)).status).toBe(200);
    world.now += 1000;
  });
});
