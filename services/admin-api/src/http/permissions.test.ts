import { AssertionError } from '@sallyport/errors';
import fastify from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../testing/world.ts';
import { allows, type Permission, requirePermissions } from './permissions.ts';

let world: World;
let clients: Readonly<
  Record<'none' | 'viewer' | 'administrator' | 'apiKey' | 'viewerKey' | 'publisherKey', Client>
>;
beforeAll(async () => {
  world = await World.open();
  const administrator = await world.login();
  const key = await administrator.post('/api/v1/api-keys', { name: 'viewer', role: 'viewer' });
  const publisher = await administrator.post('/api/v1/api-keys', {
    ...{ name: 'publisher', role: 'publisher' },
  });
  clients = {
    none: world.anonymous(),
    viewer: await world.operator('viewer'),
    administrator,
    apiKey: world.keyClient(),
    viewerKey: world.keyClient(key.body.id, key.body.secret),
    publisherKey: world.keyClient(publisher.body.id, publisher.body.secret),
  };
});
afterAll(() => world[Symbol.asyncDispose]());

type Role = keyof typeof clients;

/** Who may use a route, said here a second time and in another way than the code says it. */
function mayUse(role: Role, method: string, path: string): boolean {
  const open = ['auth/login', 'auth/refresh', 'registration/register', 'registration/renew'];
  if (open.some((one) => path === `/api/v1/${one}`)) return true;
  if (role === 'none' || role === 'publisherKey') return false;
  const isKey = role === 'apiKey' || role === 'viewerKey';
  if (path.startsWith('/api/v1/auth/')) return !isKey;
  const accounts = /^\/api\/v1\/(operators|api-keys)/.test(path);
  if (accounts) return role === 'administrator';
  const reads = method === 'GET' || ['/api/v1/explain', '/api/v1/config/diff'].includes(path);
  return reads || role === 'administrator' || role === 'apiKey';
}

describe('every route of the OpenAPI document', () => {
  it.each(['none', 'viewer', 'administrator', 'apiKey', 'viewerKey', 'publisherKey'] as const)(
    'lets %s do what the role may do, and nothing else',
    async (role) => {
      const { operations } = world.conformance;
      expect(operations.length).toBeGreaterThan(35);
      for (const { method, path } of operations) {
        // Logging out would end the client's own session; its turn comes below.
        if (path === '/api/v1/auth/logout' && role !== 'none') continue;
        const url = path.replaceAll(/\{[^}]+\}/g, 'x');
        const answer = await clients[role].send(method as 'GET', url);
        const refused = answer.status === 401 || answer.status === 403;
        const expected = mayUse(role, method, path) ? 'allowed' : 'refused';
        expect([method, path, refused ? 'refused' : 'allowed']).toEqual([method, path, expected]);
        if (refused) expect(answer.status).toBe(role === 'none' ? 401 : 403);
      }
    },
  );

  it('knows every route that is registered, but for the façade and HEAD', () => {
    const routes = world.api.app.printRoutes({ commonPrefix: false, includeHooks: false });
    expect(routes).toContain('openapi.json');
    const documented = new Set(world.conformance.operations.map(({ path }) => path));
    for (const url of registered(world)) {
      const path = url.replaceAll(/:([A-Za-z]+)/g, '{$1}');
      if (path.startsWith('/api/v1')) expect(documented).toContain(path);
      else expect(path).toMatch(/^\/api\/(auth|mqtt)\//);
    }
  });

  it('has a summary, an operationId of its own, a permission and schemas for what it answers', () => {
    const ids = world.conformance.operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, operation } of world.conformance.operations) {
      expect(operation.summary?.length, path).toBeGreaterThan(5);
      expect(operation.operationId, path).toMatch(/^[a-z][A-Za-z]+$/);
      expect(operation['x-permission'], path).toBeDefined();
      expect(operation.security, path).toBeDefined();
      const { responses = {} } = operation;
      expect(Object.keys(responses), path).toEqual(
        expect.arrayContaining(['400', '401', '429', '500', '503']),
      );
      for (const [status, response] of Object.entries(responses)) {
        if (status === '204') expect(response.content).toBeUndefined();
        else {
          const forms = Object.keys(response.content ?? {});
          const many = path.endsWith('/export') && status === '200';
          expect(forms.length, `${path} ${status}`).toSatisfy((n: number) => n === 1 || many);
        }
      }
    }
  });
});

/** Addresses of all routes, from the server itself. */
function registered({ api }: World): string[] {
  const tree = api.app.printRoutes({ commonPrefix: false });
  const urls: string[] = [];
  const stack: string[] = [];
  for (const line of tree.split('\n')) {
    const found = /^([│ ]*)(?:├──|└──) (\S+)(?: \(([^)]+)\))?/.exec(line);
    if (found === null) continue;
    const depth = (found[1] ?? '').length / 4;
    stack.splice(depth);
    stack.push(found[2] ?? '');
    if (found[3] !== undefined) urls.push(stack.join(''));
  }
  return urls;
}

describe('permissions', () => {
  it('a route that declares none is a failure to start', () => {
    const app = fastify();
    requirePermissions(app);
    expect(() => app.get('/open', () => 'hello')).toThrow(AssertionError);
    app.get('/declared', { config: { permission: 'public' } }, () => 'hello');
  });

  it('something that is no permission is allowed to nobody', () => {
    const caller = { kind: 'operator', id: 'x', name: 'x', role: 'administrator' } as const;
    for (const permission of ['', 'everything', 'credentials']) {
      expect(allows(caller, permission as Permission)).toBe(false);
    }
    expect(allows(caller, 'credentials:write')).toBe(true);
  });

  it('HEAD needs what GET needs', async () => {
    expect((await clients.none.send('HEAD', '/api/v1/credentials')).status).toBe(401);
    expect((await clients.viewer.send('HEAD', '/api/v1/operators')).status).toBe(403);
    const head = await clients.viewer.send('HEAD', '/api/v1/credentials');
    expect([head.status, head.text]).toEqual([200, '']);
  });
});
