import { answerList, compareKeys, type ListKey, parseListQuestion } from '@sallyport/node-registry';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;

/** A node that has these clients connected, and what was asked of it but lists. */
async function addNode(nodeId: string, clientIds: readonly string[]) {
  const asked: unknown[] = [];
  await world.registry.join({ nodeId, revision: 0, hash: '', whenStale: 'drop' });
  const connection = (clientId: string) => ({
    clientId,
    address: '192.0.2.1',
    peer: '192.0.2.1:5',
    protocolVersion: '5.0',
    transport: 'tcp',
    listener: 'tcp:default',
    keepAliveSeconds: 60,
    connectedAt: world.now,
    nodeId,
  });
  const served = await world.calls.serve(nodeId, (question) => {
    const {
      op,
      clientId,
      endSession = false,
    } = question as { op: string; clientId: string; endSession?: boolean };
    if (op === 'connection') {
      return { connection: clientIds.includes(clientId) ? connection(clientId) : undefined };
    }
    if (op === 'disconnect') {
      asked.push(endSession ? `all of ${clientId}` : clientId);
      return { disconnected: clientIds.includes(clientId) };
    }
    const parsed = parseListQuestion(question);
    const { order, search = '' } = parsed.query;
    const keys = clientIds
      .filter((one) => one.includes(search))
      .map((id): ListKey => ({ value: id, id, nodeId }))
      .sort((a, b) => compareKeys(a, b, order));
    const rowAt = (index: number) => connection(keys[index]?.id ?? '');
    return answerList({ order, keys, rowAt }, parsed);
  });
  return { asked, stop: () => served[Symbol.asyncDispose]() };
}

let first: Awaited<ReturnType<typeof addNode>>;
let second: Awaited<ReturnType<typeof addNode>>;

beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const ids = (items: readonly object[]) =>
  items.map((one) => (one as { readonly clientId: string }).clientId);

describe('without nodes', () => {
  it('nobody is connected', async () => {
    const list = await admin.get('/api/v1/connections');
    expect(list.body).toEqual({ items: [], total: 0, page: 0, pageSize: 10, silentNodes: [] });
    for (const answer of [
      await admin.get('/api/v1/connections/x'),
      await admin.delete('/api/v1/connections/x'),
    ]) {
      expect([answer.status, answer.body.code]).toEqual([404, 'connection_not_found']);
    }
  });
});

describe('with two nodes', () => {
  beforeAll(async () => {
    first = await addNode('n1', ['a', 'c', '__proto__', 'x/y z%']);
    second = await addNode('n2', ['b', 'd']);
  });

  it('a page goes over both, in order', async () => {
    const page = await admin.get('/api/v1/connections?pageSize=2&page=1&sort=clientId,desc');
    expect(page.body).toMatchObject({ total: 6, page: 1, pageSize: 2, silentNodes: [] });
    expect(ids(page.body.items)).toEqual(['c', 'b']);
    const found = await admin.get('/api/v1/connections?search=proto');
    expect(ids(found.body.items)).toEqual(['__proto__']);
  });

  it('a sort that there is not is refused', async () => {
    for (const list of ['connections', 'refused-connections']) {
      expect((await admin.get(`/api/v1/${list}?sort=password`)).status).toBe(400);
      expect((await admin.get(`/api/v1/${list}?pageSize=201`)).status).toBe(400);
    }
  });

  it('one is found and disconnected on the node that has it', async () => {
    for (const clientId of ['d', '__proto__', 'x/y z%']) {
      const url = `/api/v1/connections/${encodeURIComponent(clientId)}`;
      expect((await admin.get(url)).body).toMatchObject({ clientId });
      expect((await admin.delete(url)).status).toBe(204);
      expect(second.asked.at(-1)).toBe(clientId);
    }
    const actor = world.logLines.find((line) => line.includes('a client was disconnected'));
    expect(actor).toContain('operator:');
  });

  it('one is disconnected with its session where that is asked for', async () => {
    const url = '/api/v1/connections/b';
    expect((await admin.delete(`${url}?session=gone`)).status).toBe(400);
    expect((await admin.delete(`${url}?session=keep`)).status).toBe(204);
    expect(second.asked.at(-1)).toBe('b');
    expect((await admin.delete(`${url}?session=end`)).status).toBe(204);
    expect(second.asked.at(-1)).toBe('all of b');
  });

  it('a viewer may look, and disconnect nobody', async () => {
    const viewer = await world.operator('viewer');
    expect((await viewer.get('/api/v1/connections/a')).status).toBe(200);
    expect((await viewer.delete('/api/v1/connections/a')).status).toBe(403);
    expect(first.asked).not.toContain('a');
  });
});

describe('with a node that is silent', () => {
  beforeAll(() => second.stop());

  it('lists have what the others know, and name it', async () => {
    const list = await admin.get('/api/v1/connections');
    expect(list.body).toMatchObject({ total: 4, silentNodes: ['n2'] });
  });

  it('nobody is said not to be there who may be', async () => {
    const answer = await admin.get('/api/v1/connections/d');
    expect([answer.status, answer.body.code]).toEqual([503, 'node_silent']);
    expect((await admin.delete('/api/v1/connections/d')).status).toBe(503);
    expect((await admin.get('/api/v1/connections/a')).status).toBe(200);
  });
});
