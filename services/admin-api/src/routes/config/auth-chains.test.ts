import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

const LISTENER = 'listener:tcp:default';
const PASSWORD = 'password_based:built_in_database';
const passwords = (more: object = {}) => ({ mechanism: 'password_based', ...more });
const user = (scope: string | undefined, more: object = {}) => ({
  ...{ store: 'emqx', name: 'u', match: { username: 'u' }, passwordRequired: false },
  ...(scope !== undefined && { chain: { scope, authenticator: PASSWORD } }),
  ...more,
});
const FILE = {
  authChains: [
    { scope: 'global', authenticators: [passwords({ hash: { name: 'sha256' } })] },
    { scope: LISTENER, authenticators: [{ mechanism: 'scram' }, passwords({ enabled: false })] },
    { scope: 'listener:ws:open', authenticators: [], anonymous: true },
    { scope: 'gateway:stomp', authenticators: [] },
  ],
  groups: [{ name: 'pumps', permissions: [] }],
  credentials: [user(undefined), user(LISTENER)],
  groupRules: {
    rules: [
      {
        ...{ matchBy: 'credential', value: 'u', groups: ['pumps'] },
        ...{ store: 'emqx', chain: { scope: LISTENER, authenticator: PASSWORD } },
      },
    ],
  },
};

const send = (path: string, file: object, to = admin) =>
  to.post(`/api/v1/config/${path}`, { version: 1, ...file });

async function changes(path: string, file: object, to = admin): Promise<readonly string[]> {
  const answer = await send(path, file, to);
  expect(answer.status, answer.text).toBe(200);
  const body = answer.body as unknown as {
    readonly changes: readonly { action: string; section: string; key: string }[];
  };
  return body.changes.map(({ action, section, key }) => `${action} ${section} ${key}`);
}

const exported = async () => parse((await admin.get('/api/v1/config/export')).text) as typeof FILE;

describe('chains in the configuration file', () => {
  it('are refused as they are over the API, with where in the file', async () => {
    for (const [chain, pointer] of [
      [{ scope: 'x', authenticators: [] }, '/authChains/0/scope'],
      [
        { scope: 'global', authenticators: [{ mechanism: 'jwt' }] },
        '/authChains/0/authenticators/0/mechanism',
      ],
      [
        { scope: 'global', authenticators: [passwords({ id: 'x' })] },
        '/authChains/0/authenticators/0/id',
      ],
    ] as const) {
      const { body } = await send('apply', { authChains: [chain] });
      expect(body.errors[0].pointer).toBe(pointer);
    }
  });

  it('are made before their users, come back as they were written, and restore another system', async () => {
    expect(await changes('apply', FILE)).toEqual([
      'create groups pumps',
      'create authChains global',
      `create authChains ${LISTENER}`,
      'create authChains listener:ws:open',
      'create credentials emqx:u',
      `create credentials emqx@${LISTENER}/${PASSWORD}:u`,
      'update groupRules groupRules',
    ]);
    expect(await changes('diff?prune=true', FILE)).toEqual([]);
    const file = await exported();
    expect(file.authChains).toHaveLength(3);
    expect(file.credentials).toMatchObject([
      { name: 'u' },
      { name: 'u', chain: { scope: LISTENER } },
    ]);
    expect(await changes('diff?prune=true', file)).toEqual([]);
    await using other = await World.open();
    const there = await other.login();
    await changes('apply', file, there);
    expect(await changes('diff?prune=true', file, there)).toEqual([]);
    const { reads } = other.model;
    const chain = { scope: LISTENER, authenticator: PASSWORD } as const;
    expect(reads.groupRules().rules[0]?.value).toBe(reads.credentialIdByName('emqx', 'u', chain));
  });

  it('that are not named go with prune, behind their users; a file removes no users by itself', async () => {
    await changes('apply', FILE);
    const [global] = FILE.authChains;
    const less = { authChains: [global] };
    const { status, body } = await send('apply?prune=true', less);
    expect([status, body.code]).toEqual([409, 'authenticator_has_users']);
    const authChains = [global, { scope: LISTENER, authenticators: [] }];
    expect((await send('apply', { authChains })).body.code).toBe('authenticator_has_users');
    expect(await changes('apply?prune=true', { ...less, credentials: [] })).toEqual([
      'delete credentials emqx:u',
      `delete credentials emqx@${LISTENER}/${PASSWORD}:u`,
      `delete authChains ${LISTENER}`,
      'delete authChains listener:ws:open',
    ]);
    expect(await changes('apply?prune=true', { authChains: [] })).toEqual([
      'delete authChains global',
    ]);
    // It cannot be as if it had never been set, and says that nobody comes in.
    expect(world.model.reads.authChain('global')?.authenticators).toEqual([]);
    expect(await changes('diff?prune=true', { authChains: [] })).toEqual([]);
  });
});
