import { type DynsecAccess, type DynsecAcl, type DynsecRoleHeld } from '@sallyport/domain';
import { check, compilePolicy, type PolicySpec } from '@sallyport/rules';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bytes, facts, World } from './testing/world.ts';

let world: World;

beforeEach(async () => {
  world = await World.open();
});

afterEach(() => world[Symbol.asyncDispose]());

const sending = (topic: string, more: Partial<DynsecAcl> = {}): DynsecAcl => ({
  ...{ aclType: 'publishClientSend', topic, priority: -1, allow: true },
  ...more,
});

const roleOf = (id: string, acls: readonly DynsecAcl[]) => ({
  ...{ kind: 'role' as const, id, name: id, description: '', allowWildcardSubs: true },
  acls,
});
const groupOf = (id: string, roles: readonly DynsecRoleHeld[]) => ({
  ...{ kind: 'group' as const, id, name: id, description: '' },
  roles,
});
const held = (role: string, priority = -1): DynsecRoleHeld => ({ role, priority });
const access = (
  roles: readonly DynsecRoleHeld[],
  groups: readonly string[] = [],
): DynsecAccess => ({
  kind: 'dynsec',
  roles,
  groups: groups.map((group) => ({ group, priority: -1 })),
});

const addRole = (id: string, ...acls: DynsecAcl[]) =>
  world.run({ type: 'AddDynsecObject', data: roleOf(id, acls) });

async function connect(username: string) {
  const proof = { facts: facts('c', username), password: bytes('p'), minRevision: 0 };
  const answer = await world.policy.authenticate(proof);
  if (!answer.ok) throw new Error(answer.reason);
  return answer;
}

const may = (policy: PolicySpec, topic: string) =>
  check(compilePolicy(policy), facts('c'), 'publish', topic.split('/'), topic);

describe('a credential with access by dynamic security', () => {
  it('stands without any role, and may do nothing but what is usual', async () => {
    await world.addCredential('u', 'p', { access: access([]) });
    const { policy } = await connect('u');
    expect(may(policy, 'a')).toEqual({ allowed: false, ruleId: 'default' });
    const received = check(compilePolicy(policy), facts('c'), 'receive', ['a'], 'a');
    expect(received.ruleId).toBe('dynsec/default/dynsecPublishClientReceive');
    expect(policy.applyMode).toBe('kick');
  });

  it('carries the tags of its roles, its groups, and the roles of these', async () => {
    await addRole('own');
    await addRole('inner');
    await world.run({ type: 'AddDynsecObject', data: groupOf('g', [held('inner')]) });
    await world.addCredential('u', 'p', { access: access([held('own')], ['g']) });
    const { resolved } = await connect('u');
    expect(resolved.tags).toEqual(
      expect.arrayContaining(['dynsec-role:own', 'dynsec-group:g', 'dynsec-role:inner']),
    );
  });

  it('shares one policy with those that have the same roles, and none with another order', async () => {
    await addRole('a', sending('x'));
    await addRole('b', sending('x', { allow: false }));
    await world.addCredential('u', 'p', { access: access([held('a'), held('b')]) });
    await world.addCredential('v', 'p', { access: access([held('a'), held('b')]) });
    await world.addCredential('w', 'p', { access: access([held('a'), held('b', 1)]) });
    const [u, v, w] = await Promise.all(['u', 'v', 'w'].map((one) => connect(one)));
    expect(v?.policy).toBe(u?.policy);
    expect(u && may(u.policy, 'x')).toEqual({ allowed: true, ruleId: 'dynsec-role:a/0' });
    expect(w && may(w.policy, 'x')).toEqual({ allowed: false, ruleId: 'dynsec-role:b/0' });
  });

  it('is decided by what was saved last: rows, roles of a group, and what is usual', async () => {
    await addRole('r', sending('x'));
    await world.run({ type: 'AddDynsecObject', data: groupOf('g', []) });
    await world.addCredential('u', 'p', { access: access([], ['g']) });
    expect(may((await connect('u')).policy, 'x').allowed).toBe(false);
    await world.run({ type: 'ReplaceDynsecObject', data: groupOf('g', [held('r')]) });
    expect(may((await connect('u')).policy, 'x').allowed).toBe(true);
    await world.run({ type: 'ReplaceDynsecObject', data: roleOf('r', [sending('y')]) });
    const replaced = await connect('u');
    expect(
      [may(replaced.policy, 'x'), may(replaced.policy, 'y')].map((one) => one.allowed),
    ).toEqual([false, true]);
    await world.run({
      type: 'ChangeSettings',
      data: { changes: { dynsecPublishClientSend: 'allow' } },
    });
    expect(may((await connect('u')).policy, 'x').ruleId).toBe(
      'dynsec/default/dynsecPublishClientSend',
    );
  });
});
