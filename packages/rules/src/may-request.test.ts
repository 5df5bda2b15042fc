import type { AccessSpec, Permission } from '@sallyport/domain';
import { describe, expect, test } from 'vitest';
import { checkRequest, grantingPermission } from './may-request.ts';

const mayRequest = (permissions: readonly Permission[], method: string, path: string): boolean =>
  grantingPermission(permissions, { method, path }) !== undefined;

const grant = (
  resource: string,
  operation: Permission['operation'] = 'readWrite',
  context: Permission['context'] = 'http',
): Permission => ({ id: 'p', context, resource, operation });

const READS = ['GET', 'HEAD'];
const WRITES = ['POST', 'PUT', 'PATCH', 'DELETE'];

describe('methods', () => {
  test.each(['', 'get', 'OPTIONS', 'TRACE', 'CONNECT', 'PROPFIND', '__proto__', 'constructor'])(
    '%j is granted to nobody',
    (method) => {
      expect(mayRequest([grant('/#')], method, '/a')).toBe(false);
    },
  );

  test('read is GET and HEAD, write the four that change, readWrite all', () => {
    const granted = (operation: Permission['operation']) =>
      [...READS, ...WRITES].filter((method) => mayRequest([grant('/a', operation)], method, '/a'));
    expect(granted('read')).toEqual(READS);
    expect(granted('write')).toEqual(WRITES);
    expect(granted('readWrite')).toEqual([...READS, ...WRITES]);
  });
});

const table: readonly (readonly [string, string, boolean])[] = [
  ['/api/users', '/api/users', true],
  ['/api/users', '/api/users/', true],
  ['/api/users', '/api/users/7', false],
  ['/api/users', '/api/Users', false],
  ['/api/users', '/api', false],
  ['/api/users/+', '/api/users/7', true],
  ['/api/users/+', '/api/users/a+b', true],
  ['/api/users/+', '/api/users/a%2Fb', true],
  ['/api/users/+', '/api/users', false],
  ['/api/users/+', '/api/users/', false],
  ['/api/users/+', '/api/users/7/roles', false],
  ['/api/+/7', '/api/users/7', true],
  ['/api/#', '/api', true],
  ['/api/#', '/api/users/7/roles', true],
  ['/api/#', '/apis', false],
  ['/#', '/', true],
  ['/#', '/api', true],
  ['/+', '/api', true],
  ['/', '/', true],
  ['/', '/api', false],
  ['/api/__proto__', '/api/__proto__', true],
  ['/api/+', '/api/__proto__', true],
];

describe('paths', () => {
  test.each(table)('%s grants %s: %s', (resource, path, granted) => {
    for (const method of [...READS, ...WRITES]) {
      expect(mayRequest([grant(resource)], method, path)).toBe(granted);
    }
  });

  test.each([
    '',
    'api',
    '*',
    'http://host/api',
    '//api',
    '/api//users',
    '/api/users//',
    '/api/../admin',
    '/api/./users',
    '/api/..',
    '/api/%2e%2E/admin',
    '/api/.%2e/admin',
    '/api\\admin',
    '/api?x=1',
    '/api#x',
  ])('%j means more than it says, and is granted to nobody', (path) => {
    expect(mayRequest([grant('/#')], 'GET', path)).toBe(false);
  });

  test('names with dots are names', () => {
    expect(mayRequest([grant('/api/+')], 'GET', '/api/openapi.json')).toBe(true);
    expect(mayRequest([grant('/api/+')], 'GET', '/api/...')).toBe(true);
  });
});

test('permissions add up; those for topics say nothing about calls', () => {
  expect(mayRequest([], 'GET', '/a')).toBe(false);
  expect(mayRequest([grant('/#', 'readWrite', 'mqtt')], 'GET', '/a')).toBe(false);
  const both = [grant('/a', 'read'), grant('/+', 'write')];
  expect([mayRequest(both, 'GET', '/a'), mayRequest(both, 'POST', '/a')]).toEqual([true, true]);
  expect(mayRequest(both, 'GET', '/b')).toBe(false);
});

describe('checkRequest', () => {
  const own = { ...grant('/own/#', 'read'), id: 'own' };
  const access: AccessSpec = { kind: 'roles', roles: ['b', 'a'], permissions: [own] };
  const roles = ['b', 'a', 'c'].map((id) => ({
    id,
    permissions: [
      { ...grant(`/${id}`), id: 'p' },
      { ...grant('/both'), id: 'q' },
    ],
  }));
  const ask = (path: string, of: AccessSpec = access, method = 'GET') =>
    checkRequest({ id: 'k', access: of }, roles, { method, path });

  test.each([
    ['/nothing', access, 'GET'],
    ['/own/x', access, 'POST'],
    // Of a role that it does not have.
    ['/c', access, 'GET'],
    ['/a', { ...access, roles: [] }, 'GET'],
    ['/a', { kind: 'unrestricted' }, 'GET'],
    ['/a', { kind: 'acl' }, 'GET'],
  ] as [string, AccessSpec, string][])('%s is not granted by %j', (path, of, method) => {
    expect(ask(path, of, method)).toEqual({ allowed: false, ruleId: 'default' });
  });

  test.each([
    ['/a', 'role:a/p'],
    ['/b', 'role:b/p'],
    ['/both', 'role:a/q'],
    ['/own/x', 'credential:k/permission/own'],
  ])('%s is granted by %s', (path, ruleId) => {
    expect(ask(path)).toEqual({ allowed: true, ruleId });
  });
});
