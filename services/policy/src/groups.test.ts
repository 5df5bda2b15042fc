import {
  affects,
  credentialTag,
  GROUP_RULES_TAG,
  type GroupPermission,
  type GroupRule,
  groupTag,
} from '@sallyport/domain';
import { HEAR_TIMEOUT_MS, PolicyCache } from '@sallyport/policy-client';
import { check, compilePolicy, type Facts, type PolicySpec } from '@sallyport/rules';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bytes, facts, World } from './testing/world.ts';

let world: World;

beforeEach(async () => {
  world = await World.open();
  for (const id of ['one', 'two']) {
    await world.addCredential(id, 'p', { store: 'clients', access: { kind: 'groups' } });
  }
});

afterEach(() => world[Symbol.asyncDispose]());

const publishing = (topic: string): GroupPermission => ({
  permission: 'allow',
  action: 'publish',
  topic,
});
const addGroup = (id: string, ...permissions: GroupPermission[]) =>
  world.run({ type: 'AddGroup', data: { id, name: id, description: '', permissions } });
const replaceGroup = (id: string, ...permissions: GroupPermission[]) =>
  world.run({ type: 'ReplaceGroup', data: { id, name: id, description: '', permissions } });
const setRules = (...rules: Omit<GroupRule, 'id'>[]) =>
  world.run({
    type: 'ReplaceGroupRules',
    data: { rules: rules.map((rule, index) => ({ ...rule, id: `r${index}` })) },
  });
const byClientId = (value: string, ...groups: string[]) =>
  ({ matchBy: 'client_id', value, groups }) as const;

async function connect(name: string, more: Partial<Facts> = {}) {
  const answer = await world.policy.authenticate({
    facts: { ...facts(`${name}-1`, name), ...more },
    password: bytes('p'),
    minRevision: 0,
  });
  if (!answer.ok) throw new Error(answer.reason);
  return answer;
}

const may = (policy: PolicySpec, topic: string) =>
  check(compilePolicy(policy), facts('c'), 'publish', topic.split('/'), topic);

const certificateOf = (byte: string) => ({
  fingerprintSha256: byte.repeat(32),
  chainCommonNames: [],
});

describe('a credential with access by groups', () => {
  it('stands without any group, and may do nothing', async () => {
    const { policy, resolved } = await connect('one');
    expect(may(policy, 'a')).toEqual({ allowed: false, ruleId: 'default' });
    expect(policy.applyMode).toBe('pinned');
    expect(resolved).not.toHaveProperty('groups');
    expect(resolved.tags).toContain(GROUP_RULES_TAG);
  });

  it('has the groups of its client id, its credential and its certificate together', async () => {
    const fingerprint = 'cd'.repeat(32);
    for (const id of ['a', 'b', 'c', 'd']) await addGroup(id, publishing(id));
    await setRules(
      byClientId('one-*', 'a'),
      { matchBy: 'credential', value: 'one', groups: ['b'] },
      { matchBy: 'certificate_fingerprint', value: fingerprint.toUpperCase(), groups: ['c'] },
      { matchBy: 'credential', value: 'two', groups: ['d'] },
    );
    const plain = await connect('one');
    expect(plain.resolved.groups).toEqual(['a', 'b']);
    const certificate = { fingerprintSha256: fingerprint, chainCommonNames: [] };
    const shown = await connect('one', { certificate });
    expect(shown.resolved.groups).toEqual(['a', 'b', 'c']);
    expect(shown.resolved.tags).toEqual(expect.arrayContaining(['a', 'b', 'c'].map(groupTag)));
    expect(may(shown.policy, 'c')).toEqual({ allowed: true, ruleId: 'group:c/0' });
    expect(may(shown.policy, 'd').allowed).toBe(false);
    const resolve = { principals: [shown.principal], minRevision: 0 };
    expect((await world.policy.resolve(resolve)).results[0]?.groups).toEqual(['a', 'b', 'c']);
  });

  it('shares one policy with every connection of the same groups', async () => {
    await addGroup('a', publishing('x/#'));
    await setRules(byClientId('*', 'a'));
    const [one, two] = [await connect('one'), await connect('two')];
    expect(one.policy).toBe(two.policy);
  });

  it('is decided by what was saved last: rows, rules, groups that are gone, credentials that are gone', async () => {
    await addGroup('a', publishing('x'));
    await addGroup('b', publishing('y'));
    await setRules(byClientId('*', 'a'));
    expect(may((await connect('one')).policy, 'x').allowed).toBe(true);
    await replaceGroup('a', publishing('z'));
    const replaced = await connect('one');
    expect([may(replaced.policy, 'x').allowed, may(replaced.policy, 'z').allowed]).toEqual([
      false,
      true,
    ]);
    await setRules(byClientId('*', 'a', 'b'));
    expect((await connect('one')).resolved.groups).toEqual(['a', 'b']);
    await world.run({ type: 'RemoveGroup', data: { id: 'a' } });
    const left = await connect('one');
    expect(left.resolved.groups).toEqual(['b']);
    expect(may(left.policy, 'z').allowed).toBe(false);
    await world.run({ type: 'RemoveCredential', data: { id: 'one' } });
    await expect(connect('one')).rejects.toThrow('unknown_client');
  });

  it('is explained by the row that decides', async () => {
    await addGroup('a', publishing('x'), { permission: 'deny', action: 'publish', topic: 'y' });
    await setRules(byClientId('*', 'a'));
    const { principal } = await connect('one');
    const terms = { qos: 0, retain: false } as const;
    const ask = { principal, action: 'publish', topic: 'y', terms, minRevision: 0 } as const;
    expect(await world.policy.explain(ask)).toMatchObject({
      allowed: false,
      ruleId: 'group:a/1',
      opinions: [{ authority: 'groups', verdict: 'deny', ruleId: 'group:a/1' }],
    });
  });
});

describe('the cache of a node', () => {
  function node() {
    const cache = new PolicyCache({
      client: world.policy,
      log: world.log,
      revision: world.model.revision,
      clock: () => world.now,
    });
    const hear = async (): Promise<void> => {
      for (const commit of await world.log.read(cache.revision, 1000)) {
        cache.invalidate(commit.revision, commit.events.flatMap(affects));
      }
    };
    const admitted = async (more: Partial<Facts> = {}) => {
      const proof = { facts: { ...facts('one-1', 'one'), ...more }, password: bytes('p') };
      const admission = await cache.authenticate(proof);
      if (!admission.ok) throw new Error(admission.reason);
      return { ...admission.admitted, proof };
    };
    return { cache, hear, admitted };
  }

  it('forgets a connection when its groups, or the rules, change', async () => {
    await addGroup('a', publishing('x'));
    await setRules(byClientId('*', 'a'));
    const { cache, hear, admitted } = node();
    for (const change of [
      () => replaceGroup('a', publishing('y')),
      () => setRules(byClientId('other', 'a')),
    ]) {
      const { proof } = await admitted();
      expect(cache.cached(proof)).toBeDefined();
      await change();
      await hear();
      expect(cache.cached(proof)).toBeUndefined();
    }
  });

  it('never answers for another certificate, or for none', async () => {
    const { cache, admitted } = node();
    const { proof } = await admitted({ certificate: certificateOf('ab') });
    expect(cache.cached(proof)).toBeDefined();
    const { certificate: _, ...without } = proof.facts;
    expect(cache.cached({ ...proof, facts: without })).toBeUndefined();
    const other = { ...proof.facts, certificate: certificateOf('ac') };
    expect(cache.cached({ ...proof, facts: other })).toBeUndefined();
  });

  it('knows by the log that an answer is not the newest, before it has heard of the change', async () => {
    await addGroup('a', publishing('x'));
    await setRules(byClientId('*', 'a'));
    const { cache, hear, admitted } = node();
    const entry = await admitted();
    expect(await cache.isNewest(entry)).toBe(true);
    await replaceGroup('a');
    expect(cache.cached(entry.proof)).toBeDefined();
    const answer = cache.isNewest(entry);
    await hear();
    expect(await answer).toBe(false);
    expect(await cache.isNewest(await admitted())).toBe(true);
  });

  it('takes a change that does not concern an answer for no reason to ask again', async () => {
    const { cache, hear, admitted } = node();
    const entry = await admitted();
    await addGroup('b');
    const answer = cache.isNewest(entry);
    await hear();
    expect(await answer).toBe(true);
  });

  it('does not take the answer of an older question for the end of the log', async () => {
    const { cache, hear, admitted } = node();
    const entry = await admitted();
    const head = world.log.head.bind(world.log);
    const asked: (() => void)[] = [];
    world.log.head = async () => {
      const found = await head();
      await new Promise<void>((resolve) => asked.push(resolve));
      return found;
    };
    const first = cache.isNewest(entry);
    await expect.poll(() => asked.length).toBe(1);
    await world.run({ type: 'RemoveCredential', data: { id: 'one' } });
    await hear();
    // The question of the first was answered from before the change; those that come now ask once more, together.
    const later = [cache.isNewest(entry), cache.isNewest(entry)];
    asked[0]?.();
    await first;
    await expect.poll(() => asked.length).toBe(2);
    asked[1]?.();
    expect(await Promise.all(later)).toEqual([false, false]);
    expect(credentialTag('one')).toBe(entry.resolved.tags[0]);
  });

  it('fails when the log cannot be asked, and when the node does not hear of its end', async () => {
    const { cache, admitted } = node();
    const entry = await admitted();
    await addGroup('b');
    const started = performance.now();
    await expect(cache.isNewest(entry)).rejects.toMatchObject({ code: 'policy_not_ready' });
    expect(performance.now() - started).toBeGreaterThan(HEAR_TIMEOUT_MS - 50);
    world.log.head = () => Promise.reject(new Error('away'));
    await expect(cache.isNewest(entry)).rejects.toThrow('away');
  });
});
