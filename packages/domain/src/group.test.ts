import { describe, expect, test } from 'vitest';
import { aGroup, aGroupRule, commit, given, onRevision } from '../test/given.ts';
import type { DomainEvent } from './commit.ts';
import {
  GROUP_DESCRIPTION_BYTES_MAX,
  GROUP_ROWS_BYTES_MAX,
  GROUP_ROWS_MAX,
  type GroupPermission,
  GROUPS_MAX,
  type NewGroup,
} from './group.ts';
import { NAME_BYTES_MAX } from './text.ts';

const added = (changes: Partial<NewGroup> = {}): DomainEvent => ({
  type: 'GroupAdded',
  data: aGroup(changes),
});
const add = (changes: Partial<NewGroup> = {}) =>
  ({ type: 'AddGroup', data: aGroup(changes) }) as const;
const replace = (changes: Partial<NewGroup> = {}) =>
  ({ type: 'ReplaceGroup', data: aGroup(changes) }) as const;
const remove = (id = 'g1') => ({ type: 'RemoveGroup', data: { id } }) as const;
const row = (topic: string): GroupPermission => ({ permission: 'allow', action: 'publish', topic });
const rows = (count: number): GroupPermission[] => Array.from({ length: count }, () => row('a'));

describe('a group that is not valid is refused, when it is added and when it is replaced:', () => {
  test.each<[string, Partial<NewGroup>, string]>([
    ['an empty name', { name: '' }, '/name'],
    ['a name that is too long', { name: 'x'.repeat(NAME_BYTES_MAX + 1) }, '/name'],
    ['a control character in its name', { name: 'a\u0000' }, '/name'],
    [
      'a description that is too long',
      { description: 'x'.repeat(GROUP_DESCRIPTION_BYTES_MAX + 1) },
      '/description',
    ],
    ['a control character in its description', { description: '\u0007' }, '/description'],
    ['an empty topic', { permissions: [row('a'), row('')] }, '/permissions/1/topic'],
    ['a topic with # inside', { permissions: [row('a/#/b')] }, '/permissions/0/topic'],
    ['a topic with + beside text', { permissions: [row('a+')] }, '/permissions/0/topic'],
    [
      'an unknown placeholder beside text',
      { permissions: [row('a${password}')] },
      '/permissions/0/topic',
    ],
    ['an unknown placeholder', { permissions: [row('${__proto__}')] }, '/permissions/0/topic'],
    ['one row too many', { permissions: rows(GROUP_ROWS_MAX + 1) }, '/permissions'],
    [
      'rows that do not fit into one event',
      { permissions: Array.from({ length: 300 }, () => row('x'.repeat(900))) },
      '/permissions',
    ],
  ])('%s', (_, changes, pointer) => {
    for (const when of [
      given().when(add(changes)),
      given(commit(added())).when(replace(changes)),
    ]) {
      const { problems } = when.thenRejected('group_invalid');
      expect(problems?.map((one) => one.pointer)).toContain(pointer);
    }
  });
});

describe('AddGroup', () => {
  test('is refused for an id or a name that is taken, and for one group too many', () => {
    const there = given(commit(added()));
    there.when(add({ name: 'other' })).thenRejected('group_exists');
    there.when(add({ id: 'g2' })).thenRejected('group_name_taken');
    const all = Array.from({ length: GROUPS_MAX }, (_, index) =>
      added({ id: `g${index}`, name: `n${index}` }),
    );
    given(commit(...all))
      .when(add({ id: 'x', name: 'x' }))
      .thenRejected('too_many_groups');
    given(commit(...all.slice(1)))
      .when(add({ id: 'x', name: 'x' }))
      .thenAccepted();
  });

  test('takes what is just within the limits, and names of JavaScript', () => {
    const most = {
      name: 'x'.repeat(NAME_BYTES_MAX),
      description: 'x'.repeat(GROUP_DESCRIPTION_BYTES_MAX),
      permissions: rows(GROUP_ROWS_MAX),
    };
    given().when(add(most)).then(added(most));
    const magic = { id: '__proto__', name: 'constructor', description: '' };
    const { state } = given().when(add(magic)).thenGiven();
    expect(state.group('__proto__')).toMatchObject({ name: 'constructor', createdRevision: 1 });
    expect(state.groupIdByName('constructor')).toBe('__proto__');
    expect(state.group('toString')).toBeUndefined();
  });

  test('takes rows of exactly as many bytes as they may have', () => {
    const filler = (bytes: number): GroupPermission[] => {
      const list = Array.from({ length: 200 }, () => row('x'.repeat(900)));
      const left = bytes - JSON.stringify([...list, row('')]).length;
      return [...list, row('x'.repeat(left))];
    };
    const full = filler(GROUP_ROWS_BYTES_MAX);
    expect(JSON.stringify(full)).toHaveLength(GROUP_ROWS_BYTES_MAX);
    // The last topic is longer than a filter may be: only that is wrong with it.
    const { problems = [] } = given()
      .when(add({ permissions: full }))
      .thenRejected('group_invalid');
    expect(problems.map((one) => one.pointer)).toEqual(['/permissions/200/topic']);
  });
});

describe('ReplaceGroup', () => {
  test('is refused for a group that is not there, that has changed, or whose new name is taken', () => {
    given().when(replace()).thenRejected('group_not_found');
    const two = given(commit(added()), commit(added({ id: 'g2', name: 'other' })));
    two.when(onRevision(replace(), 2)).thenRejected('precondition_failed');
    two.when(replace({ name: 'other' })).thenRejected('group_name_taken');
  });

  test('replaces all of it, and says so even when nothing differs', () => {
    const changes = { name: 'new', description: 'd', permissions: [row('b/#')] };
    const one = given(commit(added()));
    one
      .when(onRevision(replace(changes), 1))
      .then({ type: 'GroupReplaced', data: aGroup(changes) });
    one.when(replace()).then({ type: 'GroupReplaced', data: aGroup() });
    const { state } = one.when(replace(changes)).thenGiven();
    expect(state.group('g1')).toEqual({
      ...aGroup(changes),
      permissionRevisions: [2],
      createdAt: 1,
      createdRevision: 1,
      updatedAt: 1000,
      updatedRevision: 2,
    });
  });
});

describe('RemoveGroup', () => {
  test('is refused for a group that is not there, or that has changed', () => {
    given().when(remove()).thenRejected('group_not_found');
    given(commit(added())).when(onRevision(remove(), 7)).thenRejected('precondition_failed');
  });

  test('that no rule names leaves the rules alone', () => {
    const rules = [aGroupRule({ groups: ['g2'] })];
    given(
      commit(added(), added({ id: 'g2', name: 'other' })),
      commit({ type: 'GroupRulesReplaced', data: { rules } }),
    )
      .when(remove())
      .then({ type: 'GroupRemoved', data: { id: 'g1' } });
  });

  test('takes it out of every rule in the same commit, and keeps a rule that is left without groups', () => {
    const rules = [
      aGroupRule({ id: 'r1', groups: ['g1', 'g2'] }),
      aGroupRule({ id: 'r2', groups: ['g1'] }),
      aGroupRule({ id: 'r3', groups: ['g2'] }),
    ];
    const without = [['g2'], [], ['g2']];
    given(
      commit(added(), added({ id: 'g2', name: 'other' })),
      commit({ type: 'GroupRulesReplaced', data: { rules } }),
    )
      .when(remove())
      .then(
        { type: 'GroupRemoved', data: { id: 'g1' } },
        {
          type: 'GroupRulesReplaced',
          data: { rules: rules.map((rule, at) => ({ ...rule, groups: without[at] ?? [] })) },
        },
      );
  });

  test('gives its name free', () => {
    given(commit(added()))
      .when(remove())
      .thenGiven()
      .when(add({ id: 'g2' }))
      .thenAccepted();
  });
});
