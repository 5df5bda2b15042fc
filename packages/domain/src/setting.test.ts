import { describe, expect, test } from 'vitest';
import { commit, given } from '../test/given.ts';
import { affects, SETTINGS_TAG } from './cache-tags.ts';
import {
  DEFAULT_SETTINGS,
  FOREIGN_VALUE_BYTES_MAX,
  FOREIGN_VALUE_NAME_BYTES_MAX,
  FOREIGN_VALUES_BYTES_MAX,
  FOREIGN_VALUES_MAX,
  TBMQ_PROVIDERS,
  type TbmqProvider,
} from './setting.ts';

const changed = commit({ type: 'SettingsChanged', data: { changes: { noMatch: 'allow' } } });

test('before any event the defaults hold, and they deny', () => {
  expect(given().state.settings()).toEqual({
    ...DEFAULT_SETTINGS,
    valueRevisions: {},
    updatedRevision: 0,
  });
  expect(DEFAULT_SETTINGS.noMatch).toBe('deny');
});

test('a change on another revision is refused, on the last one accepted', () => {
  const change = (ifRevision: number) =>
    ({ type: 'ChangeSettings', data: { changes: { noMatch: 'deny' }, ifRevision } }) as const;
  given(changed).when(change(0)).thenRejected('precondition_failed');
  given(changed).when(change(2)).thenRejected('precondition_failed');
  given(changed).when(change(1)).thenAccepted();
});

test('only what differs is recorded, and nothing when nothing does', () => {
  given(changed)
    .when({ type: 'ChangeSettings', data: { changes: { noMatch: 'allow', denyAction: 'ignore' } } })
    .then({ type: 'SettingsChanged', data: { changes: { denyAction: 'ignore' } } });
  given(changed)
    .when({ type: 'ChangeSettings', data: { changes: { noMatch: 'allow' } } })
    .then();
});

test('a change keeps the settings that it does not name', () => {
  expect(given(changed).state.settings()).toEqual({
    ...DEFAULT_SETTINGS,
    noMatch: 'allow',
    valueRevisions: { noMatch: 1 },
    updatedRevision: 1,
  });
});

test('a value keeps the revision that it was set by when another one is set', () => {
  const other = commit({ type: 'SettingsChanged', data: { changes: { denyAction: 'ignore' } } });
  expect(given(changed, other).state.settings()).toMatchObject({
    valueRevisions: { noMatch: 1, denyAction: 2 },
    updatedRevision: 2,
  });
});

describe('values of foreign APIs', () => {
  const change = (foreignValues: Record<string, string>) =>
    ({ type: 'ChangeSettings', data: { changes: { foreignValues } } }) as const;
  const many = (count: number, text = '') =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`name-${index}`, text]));

  test.each<[string, Record<string, string>]>([
    ['without a name', { '': 'x' }],
    ['with a name of JavaScript', JSON.parse('{"__proto__":"x"}') as Record<string, string>],
    ['with a name that is too long', { ['n'.repeat(FOREIGN_VALUE_NAME_BYTES_MAX + 1)]: '' }],
    ['with a text that is too long', { n: 'x'.repeat(FOREIGN_VALUE_BYTES_MAX + 1) }],
    ['with a control character', { n: 'a\u0000' }],
    ['that are too many', many(FOREIGN_VALUES_MAX + 1)],
    ['that are too long together', many(17, 'x'.repeat(FOREIGN_VALUE_BYTES_MAX))],
  ])('%s are refused', (_, values) => {
    given().when(change(values)).thenRejected('setting_invalid');
  });

  test('are taken up to every limit', () => {
    const name = 'n'.repeat(FOREIGN_VALUE_NAME_BYTES_MAX);
    for (const values of [
      many(FOREIGN_VALUES_MAX),
      { [name]: 'x'.repeat(FOREIGN_VALUE_BYTES_MAX) },
      many(16, 'x'.repeat(FOREIGN_VALUES_BYTES_MAX / 16 - 'name-10'.length)),
    ]) {
      given().when(change(values)).thenAccepted();
    }
  });

  test('are replaced as a whole, and are the same in any order', () => {
    const event = (foreignValues: Record<string, string>) =>
      ({ type: 'SettingsChanged', data: { changes: { foreignValues } } }) as const;
    const past = commit(event({ a: '1', b: '2' }));
    given(past)
      .when(change({ b: '2', a: '1' }))
      .then();
    for (const other of [{ a: '1' }, { a: '1', b: '3' }, { a: '1', c: '2' }, {}]) {
      given(past).when(change(other)).then(event(other));
    }
    expect(given(past).state.settings()).toMatchObject({ foreignValues: { a: '1', b: '2' } });
  });

  test('concern no decision, and whatever is changed with them does', () => {
    const data = { changes: { foreignValues: { a: '1' } } };
    expect(affects({ type: 'SettingsChanged', data })).toEqual([]);
    const more = { changes: { ...data.changes, aclEnabled: false } };
    expect(affects({ type: 'SettingsChanged', data: more })).toEqual([SETTINGS_TAG]);
  });
});

test('a list that says the same is no change', () => {
  const change = (...tbmqProviders: readonly TbmqProvider[]) =>
    ({ type: 'ChangeSettings', data: { changes: { tbmqProviders } } }) as const;
  given()
    .when(change(...TBMQ_PROVIDERS))
    .then();
  const narrowed = given().when(change('certificate', 'password')).thenGiven();
  narrowed.when(change('certificate', 'password')).then();
  narrowed.when(change('password', 'certificate')).thenAccepted();
  narrowed.when(change()).thenAccepted();
});
