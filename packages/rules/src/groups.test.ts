import {
  CONNECTION_GROUPS_MAX,
  DEFAULT_SETTINGS,
  type Group,
  type GroupPermission,
  type GroupRule,
} from '@sallyport/domain';
import { levelsOf, matches, parseTopicFilter } from '@sallyport/topic';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assemblePolicy, canonicalPolicyText } from './assemble.ts';
import { check } from './check.ts';
import { type CompiledPolicy, compilePolicy } from './compile.ts';
import { CONNECTION_ROWS_MAX, GroupMembership, groupsAuthority } from './groups.ts';
import type { Facts } from './policy-spec.ts';

const group = (id: string, permissions: readonly GroupPermission[]): Group => ({
  id,
  name: id,
  description: '',
  permissions,
  permissionRevisions: permissions.map(() => 1),
  createdAt: 0,
  createdRevision: 1,
  updatedAt: 0,
  updatedRevision: 1,
});
const row = (permission: 'allow' | 'deny', topic: string): GroupPermission => ({
  permission,
  action: 'publish',
  topic,
});
const facts: Facts = { clientId: 'pump', listener: 'tcp:default' };
const assembled = (groups: readonly Group[]) =>
  assemblePolicy({
    facts,
    credential: { id: 'c', store: 'clients', access: { kind: 'groups' }, superuser: false },
    tables: {},
    groups,
    settings: { ...DEFAULT_SETTINGS, noMatch: 'allow' },
  });
const compiled = (groups: readonly Group[]): CompiledPolicy =>
  compilePolicy({ policyId: 'p', ...assembled(groups) });
const mayPublish = (policy: CompiledPolicy, topic: string) =>
  check(policy, facts, 'publish', levelsOf(topic), topic);

describe('the policy of groups', () => {
  test('is pinned, and others are not', () => {
    expect(assembled([]).applyMode).toBe('pinned');
    expect(compiled([]).applyMode).toBe('pinned');
    const acl = assemblePolicy({
      facts,
      credential: { id: 'c', store: 'native', access: { kind: 'acl' }, superuser: false },
      tables: {},
      settings: { ...DEFAULT_SETTINGS, noMatch: 'allow' },
    });
    expect(acl).not.toHaveProperty('applyMode');
    expect(compilePolicy({ policyId: 'p', ...acl }).applyMode).toBe('live');
  });

  test('is another than the same rules that are not pinned', () => {
    const { applyMode: _, ...live } = assembled([]);
    const texts = [live, { ...live, applyMode: 'pinned' }, { ...live, applyMode: 'kick' }] as const;
    expect(new Set(texts.map(canonicalPolicyText)).size).toBe(3);
  });

  test('is one for all connections with the same groups, whatever their order', () => {
    const groups = [group('b', [row('deny', 'x')]), group('a', [row('allow', '#')])];
    const texts = [groups, groups.toReversed()].map((one) => canonicalPolicyText(assembled(one)));
    expect(texts[0]).toBe(texts[1]);
    expect(texts[0]).not.toBe(canonicalPolicyText(assembled(groups.slice(1))));
  });

  test('without any group denies everything', () => {
    expect(mayPublish(compiled([]), 'a')).toEqual({ allowed: false, ruleId: 'default' });
  });

  test('of as many groups as a connection may have decides; of one more it denies all', () => {
    const groups = Array.from({ length: CONNECTION_GROUPS_MAX + 1 }, (_, index) =>
      group(`g${index}`, [row('allow', 'a')]),
    );
    expect(mayPublish(compiled(groups.slice(1)), 'a').allowed).toBe(true);
    expect(mayPublish(compiled(groups), 'a')).toEqual({
      allowed: false,
      ruleId: 'groups/too-many',
    });
  });

  test('of as many rows as a connection may have decides; of one more it denies all', () => {
    const rows = Array.from({ length: CONNECTION_ROWS_MAX }, () => row('allow', 'a'));
    expect(mayPublish(compiled([group('g', rows)]), 'a').allowed).toBe(true);
    const more = [group('g', rows), group('h', [row('allow', 'a')])];
    for (const action of ['publish', 'receive'] as const) {
      expect(check(compiled(more), facts, action, ['a'], 'a').ruleId).toBe('groups/too-many');
    }
  });

  test('puts every deny row before every allow row, and names rows by group and place', () => {
    const { rules } = groupsAuthority([
      group('b', [row('allow', '1'), row('deny', '2')]),
      group('a', [row('deny', '3'), row('allow', '4')]),
    ]);
    expect(rules.map((one) => one.ruleId)).toEqual([
      'group:a/0',
      'group:b/1',
      'group:a/1',
      'group:b/0',
    ]);
  });

  test('decides as the definition says: denied if a row denies, else allowed if a row allows', () => {
    const level = fc.constantFrom('a', 'b', '+');
    const filter = fc
      .tuple(fc.array(level, { minLength: 1, maxLength: 3 }), fc.boolean())
      .map(([levels, hash]) => [...levels, ...(hash ? ['#'] : [])].join('/'));
    const rows = fc.array(
      fc.record({
        permission: fc.constantFrom('allow' as const, 'deny' as const),
        action: fc.constantFrom('publish' as const, 'subscribe' as const),
        topic: filter,
      }),
      { maxLength: 6 },
    );
    const topic = fc
      .array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 4 })
      .map((levels) => levels.join('/'));
    fc.assert(
      fc.property(fc.array(rows, { maxLength: 3 }), topic, (lists, name) => {
        const groups = lists.map((list, index) => group(`g${index}`, list));
        const hits = lists
          .flat()
          .filter((one) => one.action === 'publish' && matchesText(one.topic, name));
        const allowed =
          hits.some((one) => one.permission === 'allow') &&
          !hits.some((one) => one.permission === 'deny');
        expect(mayPublish(compiled(groups), name).allowed).toBe(allowed);
      }),
      { numRuns: 1000 },
    );
  });
});

function matchesText(filterText: string, nameText: string): boolean {
  const filter = parseTopicFilter(filterText);
  if (!filter.ok) throw new Error(filterText);
  return matches(levelsOf(filter.value), levelsOf(nameText));
}

describe('group rules', () => {
  const rule = (value: string, ...groups: string[]): GroupRule => ({
    id: value,
    matchBy: 'client_id',
    value,
    groups,
  });
  const groupsFor = (clientId: string, ...rules: GroupRule[]) =>
    new GroupMembership({ rules }).groupsOf({ ...facts, clientId }, 'c');

  test('give each group once, in one order', () => {
    const rules = [rule('*', 'b', 'a'), rule('pump', 'a', 'c'), rule('p*', 'b')];
    expect(groupsFor('pump', ...rules)).toEqual(['a', 'b', 'c']);
    expect(groupsFor('pump', ...rules.toReversed())).toEqual(['a', 'b', 'c']);
    expect(groupsFor('other')).toEqual([]);
  });

  test('match patterns as the definition says', () => {
    const part = fc.string({ unit: fc.constantFrom('a', 'b', '*', '\\'), maxLength: 8 });
    fc.assert(
      fc.property(part, part, (pattern, clientId) => {
        const source = pattern.replaceAll(/\\\*|\*|[^]/g, (token) => {
          if (token === '*') return '[^]*';
          return token === '\\*' ? '\\*' : token.replaceAll('\\', '\\\\');
        });
        const expected = new RegExp(`^${source}$`).test(clientId);
        expect(groupsFor(clientId, rule(pattern, 'g')).length > 0).toBe(expected);
      }),
      { numRuns: 5000 },
    );
  });

  test('take no longer for a hostile pattern and client id', () => {
    const hostile = Array.from({ length: 1000 }, () => rule(`${'*a'.repeat(120)}*b`, 'g'));
    const membership = new GroupMembership({ rules: hostile });
    const before = process.cpuUsage().user;
    expect(membership.groupsOf({ ...facts, clientId: 'a'.repeat(256) }, 'c')).toEqual([]);
    // Of processor time: the tests share their machine.
    expect(process.cpuUsage().user - before).toBeLessThan(1_000_000);
  });
});
