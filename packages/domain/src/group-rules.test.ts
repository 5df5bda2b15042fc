import { describe, expect, test } from 'vitest';
import { aCredential, aGroup, aGroupRule, commit, given, onRevision } from '../test/given.ts';
import { fingerprintText } from './fingerprint.ts';
import {
  CONNECTION_GROUPS_MAX,
  GROUP_RULES_BYTES_MAX,
  GROUP_RULES_MAX,
  type GroupRule,
  NO_GROUP_RULES,
} from './group-rules.ts';
import { NAME_BYTES_MAX } from './text.ts';

const groups = Array.from({ length: CONNECTION_GROUPS_MAX + 1 }, (_, index) => `g${index}`);
const world = commit(
  ...groups.map((id) => ({ type: 'GroupAdded' as const, data: aGroup({ id, name: id }) })),
  { type: 'CredentialAdded', data: aCredential() },
);
const replace = (...rules: GroupRule[]) =>
  ({ type: 'ReplaceGroupRules', data: { rules } }) as const;
const replaced = (...rules: GroupRule[]) =>
  ({ type: 'GroupRulesReplaced', data: { rules } }) as const;
const many = (count: number, more: Partial<GroupRule> = {}): GroupRule[] =>
  Array.from({ length: count }, (_, index) => aGroupRule({ id: `r${index}`, ...more }));
const HEX = 'ab'.repeat(32);

describe('rules that are not valid are refused:', () => {
  test.each<[string, Partial<GroupRule>, string]>([
    ['an empty id', { id: '' }, '/id'],
    ['an id that is too long', { id: 'x'.repeat(65) }, '/id'],
    ['an empty client id', { value: '' }, '/value'],
    ['a client id that is too long', { value: 'x'.repeat(NAME_BYTES_MAX + 1) }, '/value'],
    ['a control character in a client id', { value: 'a\u0000' }, '/value'],
    ['no fingerprint', { matchBy: 'certificate_fingerprint', value: 'AA:BB' }, '/value'],
    ['a credential that is not there', { matchBy: 'credential', value: 'c9' }, '/value'],
    ['a credential named __proto__', { matchBy: 'credential', value: '__proto__' }, '/value'],
    ['no group', { groups: [] }, '/groups'],
    ['a group that is not there', { groups: ['g1', 'nobody'] }, '/groups/1'],
    ['a group named constructor', { groups: ['constructor'] }, '/groups/0'],
    ['a group twice', { groups: ['g1', 'g2', 'g1'] }, '/groups/2'],
    ['one group too many', { groups }, '/groups'],
  ])('%s', (_, changes, pointer) => {
    const { problems } = given(world)
      .when(replace(aGroupRule({ id: 'fine' }), aGroupRule(changes)))
      .thenRejected('group_rule_invalid');
    expect(problems?.map((one) => one.pointer)).toContain(`/rules/1${pointer}`);
  });

  test('an id that is used twice', () => {
    const { problems } = given(world)
      .when(replace(aGroupRule(), aGroupRule()))
      .thenRejected('group_rule_invalid');
    expect(problems).toEqual([{ pointer: '/rules/1/id', detail: 'is used twice' }]);
  });

  test('one rule too many; as many as there may be are taken', () => {
    given(world)
      .when(replace(...many(GROUP_RULES_MAX + 1)))
      .thenRejected('too_many_group_rules');
    given(world)
      .when(replace(...many(GROUP_RULES_MAX)))
      .thenAccepted();
  });

  test('rules that do not fit into one event; what just fits is taken', () => {
    const sized = (bytes: number): GroupRule[] => {
      const long = many(600, { value: 'x'.repeat(NAME_BYTES_MAX) });
      const left = bytes - JSON.stringify([...long, aGroupRule({ value: '' })]).length;
      const rest = many(Math.ceil(left / 200), { value: 'y' }).map((rule, index) => ({
        ...rule,
        id: `s${index}`,
      }));
      const short = JSON.stringify([...long, ...rest]).length;
      const missing = bytes - short;
      expect(missing).toBeGreaterThanOrEqual(0);
      return [...long, ...rest].map((rule, index) => {
        const grow = Math.min(200, Math.max(0, missing - (index - 600) * 200));
        return index < 600 ? rule : { ...rule, value: 'y'.repeat(1 + grow) };
      });
    };
    const full = sized(GROUP_RULES_BYTES_MAX);
    expect(JSON.stringify(full)).toHaveLength(GROUP_RULES_BYTES_MAX);
    given(world)
      .when(replace(...full))
      .thenAccepted();
    const [first, ...others] = full;
    const { problems } = given(world)
      .when(replace(...others, { ...aGroupRule(first), id: `${first?.id}+` }))
      .thenRejected('group_rule_invalid');
    expect(problems?.map((one) => one.pointer)).toEqual(['/rules']);
  });
});

describe('ReplaceGroupRules', () => {
  test('is refused when the document has changed, also before the first change', () => {
    const command = replace(aGroupRule());
    given(world).when(onRevision(command, 1)).thenRejected('precondition_failed');
    given(world).when(onRevision(command, 0)).thenAccepted();
    const changed = given(world, commit(replaced(aGroupRule())));
    changed.when(onRevision(command, 0)).thenRejected('precondition_failed');
    changed.when(onRevision(command, 2)).thenAccepted();
  });

  test('keeps fingerprints in their canonical form, however they are written', () => {
    const base64 = Buffer.from(HEX, 'hex').toString('base64');
    const rule = aGroupRule({ matchBy: 'certificate_fingerprint' });
    for (const value of [HEX, HEX.toUpperCase(), `sha256:${HEX}`, base64, base64.slice(0, -1)]) {
      given(world)
        .when(replace({ ...rule, value }))
        .then(replaced({ ...rule, value: fingerprintText(HEX) }));
    }
  });

  test('takes as many groups of one rule as a connection may have, and says so when nothing differs', () => {
    const rule = aGroupRule({ groups: groups.slice(1) });
    given(world, commit(replaced(rule)))
      .when(replace(rule))
      .then(replaced(rule));
  });

  test('keeps a rule whose credential is gone, but takes no new one of that kind', () => {
    const rule = aGroupRule({ matchBy: 'credential', value: 'c1' });
    const gone = given(
      world,
      commit(replaced(rule)),
      commit({ type: 'CredentialRemoved', data: { id: 'c1' } }),
    );
    expect(gone.state.groupRules().rules).toEqual([rule]);
    gone.when(replace(rule, aGroupRule({ id: 'r2' }))).thenAccepted();
    gone.when(replace({ ...rule, id: 'r2' })).thenRejected('group_rule_invalid');
  });

  test('keeps a rule whose groups are gone, but takes no new one without groups', () => {
    const rule = aGroupRule();
    const gone = given(world, commit(replaced(rule)))
      .when({ type: 'RemoveGroup', data: { id: 'g1' } })
      .thenGiven();
    const empty = { ...rule, groups: [] };
    expect(gone.state.groupRules().rules).toEqual([empty]);
    gone.when(replace(empty)).then(replaced(empty));
    gone.when(replace({ ...empty, id: 'r2' })).thenRejected('group_rule_invalid');
    given(world, commit(replaced(rule)))
      .when(replace(empty))
      .thenRejected('group_rule_invalid');
  });

  test('can take all rules away', () => {
    const { state } = given(world, commit(replaced(aGroupRule())))
      .when(replace())
      .thenGiven();
    expect(state.groupRules()).toEqual({
      rules: [],
      givenRevisions: [],
      updatedAt: 1000,
      updatedRevision: 3,
    });
    expect(given().state.groupRules()).toEqual(NO_GROUP_RULES);
  });
});
