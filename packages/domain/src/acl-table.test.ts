import { describe, expect, test } from 'vitest';
import { anAclRule, commit, given, onRevision } from '../test/given.ts';
import {
  ACL_PATTERNS_MAX,
  ACL_RULES_MAX,
  type AclRule,
  type AclTable,
  type AclTableEvent,
  type AclTarget,
  aclTargetKey,
  evolveAclTable,
} from './acl-table.ts';
import { NAME_BYTES_MAX } from './text.ts';

const everyone = { kind: 'everyone' } as const;
const rows = (count: number): AclRule[] =>
  Array.from({ length: count }, (_, index) => anAclRule({ ruleId: `r${index + 1}` }));
const replaced = (rules: readonly AclRule[], target: AclTarget = everyone) =>
  commit({ type: 'AclRulesReplaced', data: { target, rules } });
const replace = (rules: readonly AclRule[], more: object = {}) =>
  ({ type: 'ReplaceAclRules', data: { target: everyone, rules, ...more } }) as const;
const add = (rule: AclRule, more: object = {}) =>
  ({ type: 'AddAclRule', data: { target: everyone, rule, ...more } }) as const;

const invalidRules: readonly [string, Partial<AclRule>, string][] = [
  ['an empty id', { ruleId: '' }, '/ruleId'],
  ['an id that is too long', { ruleId: 'x'.repeat(65) }, '/ruleId'],
  ['an empty filter', { topicFilter: '' }, '/topicFilter'],
  ['a filter with # inside', { topicFilter: 'a/#/b' }, '/topicFilter'],
  ['a filter with + beside text', { topicFilter: 'a+' }, '/topicFilter'],
  ['an unknown placeholder beside text', { topicFilter: 'd-${password}/x' }, '/topicFilter'],
  ['an unknown placeholder', { topicFilter: '${password}' }, '/topicFilter'],
  ['an attribute without a name', { topicFilter: '${client_attrs.}' }, '/topicFilter'],
  ['an attribute without a name', { topicFilter: 'x-${client_attrs.}' }, '/topicFilter'],
  ['a literal that is no filter', { topicFilter: 'a/#/b', literal: true }, '/topicFilter'],
  ['everything beside another filter', { topicFilter: 'a/#', any: true }, '/any'],
  ['everything as a literal', { topicFilter: '#', any: true, literal: true }, '/any'],
  ['no QoS at all', { qos: [] }, '/qos'],
  ['a QoS that there is not', { qos: [0, 3 as 2] }, '/qos'],
  ['a QoS twice', { qos: [1, 1] }, '/qos'],
  ['an empty expression for client ids', { clientIdPattern: '' }, '/clientIdPattern'],
  ['an empty expression for usernames', { usernamePattern: '' }, '/usernamePattern'],
  ['a source that is a name', { source: 'localhost' }, '/source'],
  ['a source with a port', { source: '192.0.2.1:80' }, '/source'],
  ['a network that is too wide', { source: '192.0.2.0/33' }, '/source'],
  ['an empty listener', { listener: '' }, '/listener'],
  ['a listener that is too long', { listener: 'x'.repeat(65) }, '/listener'],
  ['an empty zone', { zone: '' }, '/zone'],
  ['a zone that is too long', { zone: 'x'.repeat(65) }, '/zone'],
  ['an empty expression for listeners', { listenerPattern: '' }, '/listenerPattern'],
  ['an empty expression for zones', { zonePattern: '' }, '/zonePattern'],
  ['shared of a publish', { action: 'publish', shared: true }, '/shared'],
  ['shared of everything', { action: 'all', shared: false }, '/shared'],
  ['wildcard of everything', { action: 'all', wildcard: false }, '/wildcard'],
  ['a QoS of UNSUBSCRIBE', { action: 'unsubscribe', qos: [1] }, '/qos'],
  ['retain of UNSUBSCRIBE', { action: 'unsubscribe', retain: true }, '/retain'],
  ['retain of a subscription', { action: 'subscribe', retain: true }, '/retain'],
];

const invalidTargets: readonly AclTarget[] = [
  { kind: 'client', name: '' },
  { kind: 'username', name: 'a\u0000' },
  { kind: 'client', name: 'x'.repeat(NAME_BYTES_MAX + 1) },
];

describe('rules that are not valid', () => {
  test.each(invalidRules)('%s is refused', (_, changes, pointer) => {
    const rule = anAclRule(changes);
    const one = given().when(add(rule)).thenRejected('acl_rule_invalid');
    expect(one.problems?.map((problem) => problem.pointer)).toContain(pointer);
    const list = given()
      .when(replace([anAclRule(), rule]))
      .thenRejected('acl_rule_invalid');
    expect(list.problems?.map((problem) => problem.pointer)).toContain(`/rules/1${pointer}`);
  });

  test.each(invalidTargets)('the target $kind:$name is refused', (target) => {
    given().when(add(anAclRule(), { target })).thenRejected('acl_rule_invalid');
    given()
      .when(replace([anAclRule()], { target }))
      .thenRejected('acl_rule_invalid');
  });
});

describe('regular expressions of a rule', () => {
  test.each([
    ['clientIdPattern', 'a('],
    ['clientIdPattern', '(?=a)'],
    ['usernamePattern', '(a)\\1'],
    ['usernamePattern', 'x'.repeat(1025)],
    ['listenerPattern', 'tcp('],
    ['zonePattern', '(?!a)'],
  ])('%s %s is refused as what it is', (member, pattern) => {
    const rule = anAclRule({ [member]: pattern });
    const one = given().when(add(rule)).thenRejected('pattern_invalid');
    expect(one.problems).toMatchObject([{ pointer: `/${member}` }]);
    const list = given()
      .when(replace([anAclRule(), { ...rule, ruleId: 'other' }]))
      .thenRejected('pattern_invalid');
    expect(list.problems).toMatchObject([{ pointer: `/rules/1/${member}` }]);
  });

  test('are at most so many in a list; rules without any still fit', () => {
    const full = rows(ACL_PATTERNS_MAX / 2).map((one) => ({
      ...one,
      clientIdPattern: '^a',
      usernamePattern: 'b$',
    }));
    // All of a row count.
    const quarter = rows(ACL_PATTERNS_MAX / 4).map((one) => ({
      ...one,
      ...{ clientIdPattern: 'a', usernamePattern: 'b', listenerPattern: 'c', zonePattern: 'd' },
    }));
    given().when(replace(quarter)).thenAccepted();
    given().when(replace(full)).thenAccepted();
    const more = { ...anAclRule({ ruleId: 'more' }), clientIdPattern: 'c' };
    given()
      .when(replace([...full, more]))
      .thenRejected('too_many_acl_rules');
    given(replaced(full)).when(add(more)).thenRejected('too_many_acl_rules');
    given(replaced(quarter)).when(add(more)).thenRejected('too_many_acl_rules');
    given(replaced(full))
      .when(add(anAclRule({ ruleId: 'plain' })))
      .thenAccepted();
  });

  test('are another rule when they are others', () => {
    const [rule] = rows(1) as [AclRule];
    const before = given(replaced([rule])).state.aclTable(everyone);
    const after = given(
      replaced([rule]),
      replaced([{ ...rule, source: '192.0.2.0/24' }]),
    ).state.aclTable(everyone);
    expect([before?.ruleRevisions, after?.ruleRevisions]).toEqual([[1], [2]]);
  });
});

describe('a list without rules', () => {
  const empty = (keptEmpty?: true) =>
    commit({
      type: 'AclRulesReplaced',
      data: { target: everyone, rules: [], ...(keptEmpty && { keptEmpty }) },
    });

  test('is none unless it is kept; with rules there is nothing to keep', () => {
    expect(given(empty()).state.aclTable(everyone)).toBeUndefined();
    given()
      .when(replace([]))
      .then(...empty().events);
    given()
      .when(replace([], { keepEmpty: true }))
      .then(...empty(true).events);
    given()
      .when(replace(rows(1), { keepEmpty: true }))
      .then(...replaced(rows(1)).events);
  });

  test('that is kept is one to replace, under its revision, and to remove', () => {
    const { state } = given(empty(true));
    expect(state.aclTable(everyone)).toMatchObject({ rules: [], updatedRevision: 1 });
    const create = replace(rows(1), { ifRevision: 0 });
    given(empty(true)).when(create).thenRejected('precondition_failed');
    given(empty(true))
      .when({ type: 'RemoveAclRules', data: { target: everyone } })
      .then(...empty().events);
    given()
      .when({ type: 'RemoveAclRules', data: { target: everyone } })
      .thenRejected('acl_table_not_found');
  });

  test('is gone with the last rule that was added to it', () => {
    const [rule] = rows(1) as [AclRule];
    const one = { type: 'AclRuleAdded', data: { target: everyone, rule, position: 0 } } as const;
    const gone = {
      type: 'AclRuleRemoved',
      data: { target: everyone, ruleId: rule.ruleId },
    } as const;
    const { state } = given(empty(true), commit(one), commit(gone));
    expect(state.aclTable(everyone)).toBeUndefined();
  });
});

describe('ReplaceAclRules', () => {
  test('with one rule too many is refused, at the limit accepted', () => {
    given()
      .when(replace(rows(ACL_RULES_MAX + 1)))
      .thenRejected('too_many_acl_rules');
    given()
      .when(replace(rows(ACL_RULES_MAX)))
      .then(...replaced(rows(ACL_RULES_MAX)).events);
  });

  test('with a rule id used twice is refused', () => {
    const rejection = given()
      .when(replace([anAclRule(), anAclRule({ topicFilter: 'b' })]))
      .thenRejected('acl_rule_invalid');
    expect(rejection.problems).toMatchObject([{ pointer: '/rules/1/ruleId' }]);
  });

  test('keeps the order', () => {
    const rules = [anAclRule({ ruleId: 'b' }), anAclRule({ ruleId: 'a' })];
    const after = given().when(replace(rules)).thenGiven();
    expect(after.state.aclTable(everyone)?.rules).toEqual(rules);
  });

  test.each(['${clientid}/+/${username}/#', 'd-${clientid}/${username}.${client_attrs.a}/${$}'])(
    'accepts the placeholders in a level and alone in it: %s',
    (topicFilter) => {
      given()
        .when(replace([anAclRule({ topicFilter })]))
        .thenAccepted();
    },
  );
});

describe('AddAclRule', () => {
  test('with an id that the list has is refused', () => {
    given(replaced(rows(2)))
      .when(add(anAclRule({ ruleId: 'r2' })))
      .thenRejected('acl_rule_exists');
  });

  test('for a rule that is there does as is asked, by its id and by what it says', () => {
    const there = given(replaced([anAclRule(), anAclRule({ ruleId: 'r2', qos: [1] })]));
    const bring = (changes: Partial<AclRule>, existing: 'refuse' | 'keep' | 'update') =>
      there.when(add(anAclRule(changes), { existing }));
    bring({ topicFilter: 'b' }, 'refuse').thenRejected('acl_rule_exists');
    bring({ ruleId: 'new' }, 'refuse').thenRejected('acl_rule_exists');
    bring({ topicFilter: 'b#' }, 'keep').thenRejected('acl_rule_invalid');
    bring({ topicFilter: 'b' }, 'keep').then();
    bring({ ruleId: 'new' }, 'update').then();
    bring({ ruleId: 'new', qos: [2] }, 'update').then({
      type: 'AclRuleAdded',
      data: { target: everyone, rule: anAclRule({ ruleId: 'new', qos: [2] }), position: 2 },
    });
    const rule = anAclRule({ topicFilter: 'b' });
    const world = bring({ topicFilter: 'b' }, 'update').thenGiven();
    expect(world.state.aclTable(everyone)?.rules.map((one) => one.ruleId)).toEqual(['r1', 'r2']);
    expect(world.state.aclTable(everyone)?.rules[0]).toEqual(rule);
  });

  test('to a full list is refused, to one below it accepted', () => {
    const rule = anAclRule({ ruleId: 'new' });
    given(replaced(rows(ACL_RULES_MAX)))
      .when(add(rule))
      .thenRejected('too_many_acl_rules');
    given(replaced(rows(ACL_RULES_MAX - 1)))
      .when(add(rule))
      .thenAccepted();
  });

  test.each([-1, 3, 0.5, NaN])('at position %d of two is refused', (position) => {
    given(replaced(rows(2)))
      .when(add(anAclRule({ ruleId: 'new' }), { position }))
      .thenRejected('acl_rule_invalid');
  });

  test.each([
    [0, ['new', 'r1', 'r2']],
    [1, ['r1', 'new', 'r2']],
    [2, ['r1', 'r2', 'new']],
    [undefined, ['r1', 'r2', 'new']],
  ])('at position %s puts the rule there', (position, expected) => {
    const more = position === undefined ? {} : { position };
    const after = given(replaced(rows(2)))
      .when(add(anAclRule({ ruleId: 'new' }), more))
      .thenGiven();
    expect(after.state.aclTable(everyone)?.rules.map((one) => one.ruleId)).toEqual(expected);
  });
});

describe('removing', () => {
  const remove = { type: 'RemoveAclRule', data: { target: everyone, ruleId: 'r1' } } as const;
  const removeAll = { type: 'RemoveAclRules', data: { target: everyone } } as const;

  test('what is not there is refused', () => {
    given().when(remove).thenRejected('acl_rule_not_found');
    given(replaced(rows(1), { kind: 'client', name: 'x' }))
      .when(remove)
      .thenRejected('acl_rule_not_found');
    given().when(removeAll).thenRejected('acl_table_not_found');
  });

  test('the last rule removes the list', () => {
    const after = given(replaced(rows(1)))
      .when(remove)
      .thenGiven();
    expect(after.state.aclTable(everyone)).toBeUndefined();
    after.when(removeAll).thenRejected('acl_table_not_found');
  });

  test('one rule leaves the others, all rules leave none', () => {
    const after = given(replaced(rows(2)))
      .when(remove)
      .thenGiven();
    expect(after.state.aclTable(everyone)?.rules.map((one) => one.ruleId)).toEqual(['r2']);
    given(replaced(rows(2)))
      .when(removeAll)
      .then(...replaced([]).events);
  });
});

describe('conditions', () => {
  const commands = [
    replace([anAclRule({ ruleId: 'new' })]),
    add(anAclRule({ ruleId: 'new' })),
    { type: 'RemoveAclRule', data: { target: everyone, ruleId: 'r1' } },
    { type: 'RemoveAclRules', data: { target: everyone } },
  ] as const;

  test.each(commands)(
    '$type on another revision is refused, on the last one accepted',
    (command) => {
      const state = given(replaced(rows(1)), replaced(rows(2)));
      state.when(onRevision(command, 0)).thenRejected('precondition_failed');
      state.when(onRevision(command, 1)).thenRejected('precondition_failed');
      state.when(onRevision(command, 3)).thenRejected('precondition_failed');
      state.when(onRevision(command, 2)).thenAccepted();
    },
  );

  test('0 means that there is no list yet', () => {
    given()
      .when(replace(rows(1), { ifRevision: 0 }))
      .thenAccepted();
    given(replaced(rows(1)))
      .when(replace(rows(1), { ifRevision: 0 }))
      .thenRejected('precondition_failed');
  });
});

test('no two targets share a key', () => {
  const names = ['everyone', 'client', 'a', 'client:a', ':', ''];
  const targets: AclTarget[] = [
    everyone,
    ...names.flatMap((name): AclTarget[] => [
      { kind: 'client', name },
      { kind: 'username', name },
    ]),
  ];
  expect(new Set(targets.map(aclTargetKey)).size).toBe(targets.length);
});

describe('conditions, literals and everything', () => {
  test('are accepted as they are', () => {
    const rules: AclRule[] = [
      anAclRule({ ruleId: 'r1', qos: [0, 1, 2], retain: true, action: 'publish' }),
      anAclRule({ ruleId: 'r2', topicFilter: 'a/${clientid}-x/#', literal: true }),
      anAclRule({ ruleId: 'r3', topicFilter: '#', any: true, effect: 'deny' }),
      anAclRule({ ruleId: 'r4', topicFilter: '${client_attrs.site}/${cert_common_name}/+' }),
    ];
    given()
      .when(replace(rules))
      .then(...replaced(rules).events);
  });
});

describe('the revision of a rule', () => {
  const at = (revision: number, event: AclTableEvent, state?: AclTable) =>
    evolveAclTable(state, event, { at: 0, revision });
  const replacing = (...rules: AclRule[]): AclTableEvent => ({
    type: 'AclRulesReplaced',
    data: { target: everyone, rules },
  });

  test('is that of the commit that brought it or changed any member of it, wherever it moves', () => {
    const [a, b, c] = rows(3) as [AclRule, AclRule, AclRule];
    const first = at(1, replacing(a, b));
    expect(first?.ruleRevisions).toEqual([1, 1]);
    const changed = { ...b, qos: [1] as const };
    const second = at(2, replacing(changed, { ...a }, c), first);
    expect(second?.ruleRevisions).toEqual([2, 1, 2]);
    const added = { ...c, ruleId: 'new' };
    const third = at(
      3,
      { type: 'AclRuleAdded', data: { target: everyone, rule: added, position: 0 } },
      second,
    );
    expect(third?.ruleRevisions).toEqual([3, 2, 1, 2]);
    const last = at(
      4,
      { type: 'AclRuleRemoved', data: { target: everyone, ruleId: a.ruleId } },
      third,
    );
    expect(last?.ruleRevisions).toEqual([3, 2, 2]);
    const unconditional = at(5, replacing(b), last);
    expect(unconditional?.ruleRevisions).toEqual([5]);
  });
});
