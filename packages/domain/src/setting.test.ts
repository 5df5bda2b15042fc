import { expect, test } from 'vitest';
import { commit, given } from '../test/given.ts';
import { DEFAULT_SETTINGS } from './setting.ts';

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
