import { randomUUID } from 'node:crypto';
import { sealingContext } from '@sallyport/secrets';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';
import { TOKEN_SECONDS_MAX } from './schema.ts';

const BASE = '/api/v1/credentials';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

interface Told {
  readonly tokenId: string;
  readonly label: string;
  readonly token?: string;
  readonly expiresAt?: string;
  readonly lastUsedAt?: string;
}

async function aCredential(): Promise<string> {
  const name = randomUUID();
  const grants = [{ method: 'token', required: false }];
  const { status, body } = await admin.post(BASE, {
    ...{ name, match: { username: name }, grants, passwordRequired: false },
  });
  expect(status).toBe(201);
  return body.id;
}

const tokensOf = async (id: string): Promise<readonly Told[]> =>
  ((await admin.get(`${BASE}/${id}`)).body as unknown as { tokens: readonly Told[] }).tokens;

describe('tokens of a credential', () => {
  it.each([
    ['no label', {}, 400],
    ['an empty label', { label: '' }, 400],
    ['a label that is too long in bytes', { label: 'ü'.repeat(129) }, 422],
    ['no time', { label: 'a', expiresInSeconds: 0 }, 400],
    ['more time than there is', { label: 'a', expiresInSeconds: TOKEN_SECONDS_MAX + 1 }, 400],
    ['a text of its own', { label: 'a', token: 'mine' }, 400],
  ])('are refused with %s', async (_, body, status) => {
    const id = await aCredential();
    expect((await admin.post(`${BASE}/${id}/tokens`, body)).status).toBe(status);
    expect(await tokensOf(id)).toEqual([]);
  });

  it('are refused of nobody, on another revision, and where there is none to revoke', async () => {
    const id = await aCredential();
    const asked = { label: 'tool' };
    const nobody = await admin.post(`${BASE}/${randomUUID()}/tokens`, asked);
    expect([nobody.status, nobody.body.code]).toEqual([404, 'credential_not_found']);
    const stale = await admin.post(`${BASE}/${id}/tokens`, asked, { 'if-match': '"0"' });
    expect(stale.status).toBe(412);
    const none = await admin.delete(`${BASE}/${id}/tokens/none`);
    expect([none.status, none.body.code]).toEqual([404, 'token_not_found']);
  });

  it('are shown once, listed without what opens anything, and gone when they are revoked', async () => {
    const id = await aCredential();
    const made = await admin.post(`${BASE}/${id}/tokens`, {
      ...{ label: 'tool', expiresInSeconds: TOKEN_SECONDS_MAX },
    });
    expect(made.status).toBe(201);
    const told = made.body as unknown as Told;
    expect(told.token).toMatch(/^[\w-]{40,}$/);
    const [stored] = world.model.reads.credential(id)?.tokens ?? [];
    const context = sealingContext({ kind: 'credential', id });
    const verifier = world.box.open(stored?.verifier ?? '', context);
    expect(world.hasher.verifyFast(verifier, Buffer.from(told.token ?? ''))).toBe(true);
    const { token: _once, ...listed } = told;
    const { tokenId, label, expiresAt } = listed;
    expect(await tokensOf(id)).toMatchObject([{ tokenId, label: 'tool', expiresAt }]);
    expect(label).toBe('tool');
    const text = (await admin.get(`${BASE}/${id}`)).text;
    expect(text).not.toMatch(/verifier|s1\./);
    expect(text).not.toContain(told.token);
    expect((await admin.delete(`${BASE}/${id}/tokens/${tokenId}`)).status).toBe(204);
    expect(await tokensOf(id)).toEqual([]);
  });

  it('are not shown again to a retry, nor listed when they have ended', async () => {
    const id = await aCredential();
    const key = { 'idempotency-key': randomUUID() };
    const asked = { label: 'tool', expiresInSeconds: 60 };
    const first = await admin.post(`${BASE}/${id}/tokens`, asked, key);
    const again = await admin.post(`${BASE}/${id}/tokens`, asked, key);
    expect(again.status).toBe(201);
    expect(again.body).not.toHaveProperty('token');
    const { tokenId } = first.body as unknown as Told;
    expect(again.body).toMatchObject({ tokenId });
    expect(await tokensOf(id)).toHaveLength(1);
  });
});
