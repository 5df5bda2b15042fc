import type { Permission, RolesAccess } from '@sallyport/domain';
import { PolicyCache } from '@sallyport/policy-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bytes, facts, World } from './testing/world.ts';

let world: World;

beforeEach(async () => {
  world = await World.open();
});

afterEach(() => world[Symbol.asyncDispose]());

const permission = (id: string, resource: string): Permission => ({
  id,
  context: 'mqtt',
  resource,
  operation: 'readWrite',
});

const addRole = (id: string, ...permissions: readonly Permission[]): Promise<number> =>
  world.run({ type: 'AddRole', data: { id, name: id, permissions } });

const access = (roles: readonly string[], more: Partial<RolesAccess> = {}): RolesAccess => ({
  kind: 'roles',
  roles,
  permissions: [],
  ...more,
});

async function connect(username: string) {
  const proof = { facts: facts('c', username), password: bytes('p'), minRevision: 0 };
  const answer = await world.policy.authenticate(proof);
  if (!answer.ok) throw new Error(answer.reason);
  return answer;
}

const allowed = async (username: string, topic: string): Promise<boolean> => {
  const { principal } = await connect(username);
  const terms = { qos: 0, retain: false } as const;
  const question = { principal, action: 'publish', topic, terms, minRevision: 0 } as const;
  return (await world.policy.explain(question)).allowed;
};

describe('a policy made from roles', () => {
  it('carries the tag of every role that it was made from', async () => {
    await addRole('r1');
    await addRole('r2');
    await world.addCredential('u', 'p', { access: access(['r1', 'r2']) });
    const { resolved } = await connect('u');
    expect(resolved.tags).toEqual(expect.arrayContaining(['role:r1', 'role:r2']));
  });

  it('is one object for credentials with the same roles, in any order', async () => {
    await addRole('r1', permission('p1', 'a'));
    await addRole('r2', permission('p1', 'b'));
    await world.addCredential('u', 'p', { access: access(['r1', 'r2']) });
    await world.addCredential('v', 'p', { access: access(['r2', 'r1']) });
    await world.addCredential('prefixed', 'p', {
      access: access(['r1', 'r2'], { publishPrefix: 'x' }),
    });
    const own = access(['r1', 'r2'], { permissions: [permission('p1', 'c')] });
    await world.addCredential('own', 'p', { access: own });
    const [u, v, prefixed, other] = await Promise.all(
      ['u', 'v', 'prefixed', 'own'].map((one) => connect(one)),
    );
    expect(v?.policy).toBe(u?.policy);
    expect(prefixed?.policy.policyId).not.toBe(u?.policy.policyId);
    expect(prefixed?.policy).toMatchObject({ publishPrefix: 'x' });
    expect(other?.policy.policyId).not.toBe(u?.policy.policyId);
  });

  it('follows every change of a role, and of who has it', async () => {
    await addRole('r1', permission('p1', 'a'));
    await world.addCredential('u', 'p', { access: access(['r1']) });
    expect([await allowed('u', 'a'), await allowed('u', 'b')]).toEqual([true, false]);
    const id = 'r1';
    await world.run({ type: 'AddRolePermission', data: { id, permission: permission('p2', 'b') } });
    expect([await allowed('u', 'a'), await allowed('u', 'b')]).toEqual([true, true]);
    await world.run({ type: 'RemoveRolePermission', data: { id, permissionId: 'p1' } });
    expect([await allowed('u', 'a'), await allowed('u', 'b')]).toEqual([false, true]);
    await world.run({ type: 'RemoveRole', data: { id, detach: true } });
    expect([await allowed('u', 'a'), await allowed('u', 'b')]).toEqual([false, false]);
  });

  it('is stale in a node’s cache as soon as the node has heard of the change of a role', async () => {
    await addRole('r1', permission('p1', 'a'));
    const revision = await world.addCredential('u', 'p', { access: access(['r1']) });
    const cache = new PolicyCache({
      client: world.policy,
      log: world.log,
      revision,
      clock: () => world.now,
    });
    const proof = { facts: facts('c', 'u'), password: bytes('p') };
    expect(await cache.authenticate(proof)).toMatchObject({ ok: true });
    expect(cache.cached(proof)).toBeDefined();
    cache.invalidate(revision + 1, ['role:r2']);
    expect(cache.cached(proof)).toBeDefined();
    cache.invalidate(revision + 2, ['role:r1']);
    expect(cache.cached(proof)).toBeUndefined();
  });
});
