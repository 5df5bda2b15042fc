import { describe, expect, it } from 'vitest';

import { decide, decideOn } from './domain.ts';
import { streamOf } from './streams.ts';
import { IMPORT_COMMIT_ROWS_MAX, type ImportCommand, type ImportRow } from './import.ts';
import { MemoryState } from './memory-state.ts';
import { Overlay } from './overlay.ts';
import type { NewCredential } from './credential.ts';

const credential = (id: string, more: Partial<NewCredential> = {}): NewCredential => ({
  id,
  store: 'native',
  kind: 'password',
  name: `name ${id}`,
  match: { username: id },
  enabled: true,
  superuser: false,
  passwordRequired: false,
  attributes: {},
  access: { kind: 'acl' },
  secrets: [],
  ...more,
});

const add = (id: string, more: Partial<NewCredential> = {}) =>
  ({ command: { type: 'AddCredential', data: credential(id, more) } }) as const;

const store = (
  rows: readonly ImportRow[],
  more: Partial<ImportCommand['data']> = {},
): ImportCommand => ({
  type: 'StoreImportRows',
  data: { importId: 'i', mode: 'partial', first: 1, rows, fingerprint: 'f', done: false, ...more },
});

function run(state: MemoryState, command: Parameters<typeof decide>[1], revision = 1) {
  const decided = decide(state, command, 5);
  if (decided.ok) state.apply({ revision, at: 5, events: decided.events });
  return decided;
}

describe('StoreImportRows', () => {
  it('refuses rows that do not follow on what is stored, or come after the end, or are too many', () => {
    const state = new MemoryState();
    expect(run(state, store([add('a')], { first: 2 }))).toMatchObject({
      rejection: { code: 'import_moved' },
    });
    expect(run(state, store([add('a')])).ok).toBe(true);
    expect(run(state, store([add('a')])).ok).toBe(false);
    expect(run(state, store([], { first: 2, done: true })).ok).toBe(true);
    expect(run(state, store([add('b')], { first: 2 }))).toMatchObject({
      rejection: { code: 'import_moved' },
    });
    const many = Array.from({ length: IMPORT_COMMIT_ROWS_MAX + 1 }, () => ({ unchanged: 'x' }));
    expect(run(new MemoryState(), store(many))).toMatchObject({
      rejection: { code: 'too_many_rows' },
    });
    expect(run(new MemoryState(), store(many.slice(1))).ok).toBe(true);
  });

  it('decides each row on what those before it do, and notes what became of it', () => {
    const state = new MemoryState();
    const changed = {
      type: 'ChangeCredential',
      data: { id: 'a', changes: { enabled: false } },
    } as const;
    const decided = run(
      state,
      store([
        add('a'),
        add('b', { name: 'name a' }),
        add('c', { match: { username: 'a' } }),
        add('a', { name: 'other', match: { username: 'other' } }),
        { command: changed },
        { command: changed },
        { failure: { code: 'invalid_request', pointer: '/x', detail: 'no' } },
        { unchanged: 'a' },
        { unchanged: 'z' },
        { command: { type: 'RemoveCredential', data: { id: 'a' } } },
        add('d', { name: 'name a', match: { username: 'a' } }),
      ]),
    );
    expect(decided.ok && decided.events[0]).toMatchObject({
      data: {
        first: 1,
        last: 11,
        notes: [
          { row: 2, outcome: 'failed', code: 'credential_name_taken', pointer: '/name' },
          { row: 3, outcome: 'failed', code: 'credential_match_taken' },
          { row: 4, outcome: 'failed', code: 'credential_exists' },
          { row: 5, outcome: 'updated', id: 'a' },
          { row: 6, outcome: 'unchanged', id: 'a' },
          { row: 7, outcome: 'failed', code: 'invalid_request', pointer: '/x' },
          { row: 8, outcome: 'unchanged', id: 'a' },
          { row: 9, outcome: 'failed', code: 'credential_not_found' },
          { row: 10, outcome: 'updated', id: 'a' },
        ],
      },
    });
    expect(state.import('i')).toMatchObject({ created: 2, updated: 2, unchanged: 2, failed: 5 });
    expect(state.credential('a')).toBeUndefined();
    expect(state.credentialIdByName('native', 'name a')).toBe('d');
  });

  it('in atomic mode does nothing when one row is refused, and names it', () => {
    const decided = run(new MemoryState(), store([add('a'), add('a')], { mode: 'atomic' }));
    expect(decided).toMatchObject({
      rejection: { code: 'credential_exists', problems: [{ pointer: '/2' }] },
    });
  });
});

describe('ChangeTogether', () => {
  it('takes effect as a whole or not at all, and names the command that is refused', () => {
    const state = new MemoryState();
    const commands = [
      { type: 'AddCredential', data: credential('a') },
      { type: 'ChangeSettings', data: { changes: { noMatch: 'allow' } } },
      { type: 'RemoveAclRules', data: { target: { kind: 'everyone' } } },
    ] as const;
    expect(run(state, { type: 'ChangeTogether', data: { commands } })).toMatchObject({
      rejection: { code: 'acl_table_not_found', commandIndex: 2 },
    });
    const accepted = run(state, {
      type: 'ChangeTogether',
      data: { commands: commands.slice(0, 2) },
    });
    expect(accepted.ok && accepted.events.map((one) => one.type)).toEqual([
      'CredentialAdded',
      'SettingsChanged',
    ]);
    expect(run(state, { type: 'ChangeTogether', data: { commands: [] } })).toMatchObject({
      events: [],
    });
  });
});

describe('an overlay', () => {
  it('answers as the state would that has the events, and leaves the state below alone', () => {
    const base = new MemoryState();
    run(base, { type: 'AddCredential', data: credential('a') });
    const rule = { ruleId: 'r', effect: 'allow', action: 'all', topicFilter: 'x' } as const;
    const overlay = new Overlay(base, 5);
    const steps = [
      {
        type: 'ChangeCredential',
        data: { id: 'a', changes: { name: 'n', match: { clientId: 'c' } } },
      },
      {
        type: 'AddCredential',
        data: credential('b', { name: 'name a', match: { username: 'a' } }),
      },
      { type: 'ReplaceAclRules', data: { target: { kind: 'everyone' }, rules: [rule] } },
      { type: 'RemoveAclRule', data: { target: { kind: 'everyone' }, ruleId: 'r' } },
      { type: 'ChangeSettings', data: { changes: { denyAction: 'ignore' } } },
      { type: 'RemoveCredential', data: { id: 'a' } },
    ] as const;
    const whole = new MemoryState();
    run(whole, { type: 'AddCredential', data: credential('a') });
    for (const step of steps) {
      expect(decideOn(overlay, step, 5).ok).toBe(true);
      expect(run(whole, step, 0).ok).toBe(true);
    }
    for (const state of [overlay, whole]) {
      expect(state.credential('a')).toBeUndefined();
      expect(state.credentialIdByName('native', 'n')).toBeUndefined();
      expect(state.credentialIdByName('native', 'name a')).toBe('b');
      expect(state.credentialIdByMatch('native', { clientId: 'c' })).toBeUndefined();
      expect(state.credentialIdByMatch('native', { username: 'a' })).toBe('b');
      expect(state.aclTable({ kind: 'everyone' })).toBeUndefined();
      expect(state.settings().denyAction).toBe('ignore');
    }
    expect(base.credential('a')?.name).toBe('name a');
    expect(base.credentialIdByName('native', 'n')).toBeUndefined();
  });

  it('looks up at once what many additions will ask for, with the same outcome', () => {
    const base = new MemoryState();
    run(base, { type: 'AddCredential', data: credential('a') });
    let asked = 0;
    const counting = Object.assign(Object.create(base) as MemoryState, {
      takenBy: () => {
        asked++;
        return {
          ids: new Set(['a']),
          names: new Map([['native', new Map([['name a', 'a']])]]),
          logins: new Map([['native', new Map([['username:a', 'a']])]]),
        };
      },
      credential: (id: string) => base.credential(id),
      credentialIdByName: () => expect.fail('was looked up before'),
      credentialIdByMatch: () => expect.fail('was looked up before'),
      import: () => undefined,
    });
    const rows = [
      add('a'),
      add('b', { name: 'name a' }),
      add('c', { match: { username: 'a' } }),
      add('d'),
    ];
    const decided = decide(counting, store(rows), 5);
    expect(decided.ok && decided.events.map((one) => streamOf(one).key)).toEqual(['i', 'd']);
    expect(asked).toBe(1);
  });
});
