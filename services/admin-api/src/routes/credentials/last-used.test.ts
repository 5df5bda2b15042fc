import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;

beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

interface Used {
  readonly lastUsedAt?: string;
  readonly tokens: readonly { readonly tokenId: string; readonly lastUsedAt?: string }[];
  readonly secrets: readonly { readonly secretId: string; readonly lastUsedAt?: string }[];
}

const told = async (id: string): Promise<Used> => {
  const { status, body } = await admin.get(`/api/v1/credentials/${id}`);
  expect(status).toBe(200);
  return body as unknown as Used;
};

describe('GET /credentials/{id}', () => {
  it('has the latest use that any node tells of, and is answered when none does', async () => {
    const body = { name: 'used', match: { username: 'used' }, generateSecret: true };
    const { id } = (await admin.post('/api/v1/credentials', body)).body;
    const [{ secretId }] = (await admin.get(`/api/v1/credentials/${id}`)).body.secrets;
    await admin.post(`/api/v1/credentials/${id}/tokens`, { label: 'a tool' });
    const [{ tokenId = '' } = {}] = (await told(id)).tokens;
    expect(await told(id)).not.toHaveProperty('lastUsedAt');

    const uses: Record<string, Record<string, number>> = {
      n1: { [secretId]: 5000, [tokenId]: 6000, gone: 9000 },
      n2: { [secretId]: 7000 },
    };
    const asked: unknown[] = [];
    const serving = await Promise.all(
      Object.entries(uses).map(async ([nodeId, known]) => {
        await world.registry.join({ nodeId, revision: 0, hash: '', whenStale: 'drop' });
        return world.calls.serve(nodeId, (question) => {
          asked.push(question);
          return { uses: known };
        });
      }),
    );
    const used = await told(id);
    expect(asked[0]).toEqual({ op: 'secret-uses', credentialId: id });
    expect(used.secrets).toMatchObject([{ secretId, lastUsedAt: new Date(7000).toISOString() }]);
    expect(used.tokens).toMatchObject([{ tokenId, lastUsedAt: new Date(6000).toISOString() }]);
    // By a secret that is no more.
    expect(used.lastUsedAt).toBe(new Date(9000).toISOString());
    expect(used.secrets).toHaveLength(1);

    await serving[1]?.[Symbol.asyncDispose]();
    expect((await told(id)).secrets[0]?.lastUsedAt).toBe(new Date(5000).toISOString());
    await serving[0]?.[Symbol.asyncDispose]();
    expect(await told(id)).not.toHaveProperty('lastUsedAt');
  });

  it('does not ask for a list, nor for a credential that is not there', async () => {
    let asked = 0;
    await world.calls.serve('n1', () => ((asked += 1), { uses: {} }));
    expect((await admin.get('/api/v1/credentials')).status).toBe(200);
    expect((await admin.get('/api/v1/credentials/nobody')).status).toBe(404);
    expect(asked).toBe(0);
  });
});
