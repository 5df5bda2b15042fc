import { describe, expect, test } from 'vitest';
import { anApiKey, anOperator, commit, given, onRevision } from '../test/given.ts';
import { API_KEY_DESCRIPTION_BYTES_MAX, type ApiKey, type Operator } from './operator.ts';

const added = (changes: Partial<Operator> = {}) =>
  commit({ type: 'OperatorAdded', data: anOperator(changes) });
const second = { id: 'o2', name: 'two', email: 'two@example.org' };
const add = (changes: Partial<Operator> = {}) =>
  ({ type: 'AddOperator', data: anOperator(changes) }) as const;
const change = (id: string, changes: Partial<Operator>, more: object = {}) =>
  ({ type: 'ChangeOperator', data: { id, changes, ...more } }) as const;
const remove = (id: string) => ({ type: 'RemoveOperator', data: { id } }) as const;

describe('Bootstrap', () => {
  test('is refused when any operator exists, a viewer too', () => {
    given(added({ role: 'viewer' }))
      .when({ type: 'Bootstrap', data: anOperator(second) })
      .thenRejected('already_bootstrapped');
  });

  test('with an operator that is not valid is refused', () => {
    given()
      .when({ type: 'Bootstrap', data: anOperator({ name: '' }) })
      .thenRejected('operator_invalid');
  });

  test('creates the first operator', () => {
    given()
      .when({ type: 'Bootstrap', data: anOperator() })
      .then(...added().events);
  });
});

describe('AddOperator', () => {
  test.each([
    ['/name', { name: '' }],
    ['/name', { name: 'a\u0000' }],
    ['/email', { email: '' }],
    ['/email', { email: 'x'.repeat(257) }],
  ])('with a problem at %s is refused: %j', (pointer, changes) => {
    const rejection = given().when(add(changes)).thenRejected('operator_invalid');
    expect(rejection.problems).toMatchObject([{ pointer }]);
  });

  test.each([
    ['id', { ...second, id: 'o1' }],
    ['name', { ...second, name: 'root' }],
    ['name as the e-mail address of another', { ...second, name: 'root@example.org' }],
    ['e-mail address', { ...second, email: 'root@example.org' }],
    ['e-mail address as the name of another', { ...second, email: 'root' }],
  ])('with a taken %s is refused', (_, changes) => {
    given(added({ email: 'root@example.org' }))
      .when(add(changes))
      .thenRejected('operator_exists');
  });

  test('is accepted beside others', () => {
    given(added())
      .when(add(second))
      .then(...added(second).events);
  });
});

describe('changes of an operator', () => {
  const commands = [
    change('o1', { email: 'x@example.org' }),
    { type: 'EndOperatorSessions', data: { id: 'o1' } },
    remove('o1'),
  ] as const;

  test.each(commands)('$type of an unknown one is refused', (command) => {
    given(added(second)).when(command).thenRejected('operator_not_found');
  });

  test.each(commands)(
    '$type on another revision is refused, on the last one accepted',
    (command) => {
      const state = given(added(), added(second));
      state.when(onRevision(command, 2)).thenRejected('precondition_failed');
      state.when(onRevision(command, 1)).thenAccepted();
    },
  );

  test('to a login of another is refused, to one of its own accepted', () => {
    const state = given(added(), added(second));
    state.when(change('o1', { name: 'two' })).thenRejected('operator_exists');
    state.when(change('o1', { email: 'two@example.org' })).thenRejected('operator_exists');
    state.when(change('o2', { name: 'two@example.org' })).thenAccepted();
  });

  test('that make it invalid are refused', () => {
    given(added())
      .when(change('o1', { name: '' }))
      .thenRejected('operator_invalid');
  });

  test.each([remove('o1'), change('o1', { enabled: false }), change('o1', { role: 'viewer' })])(
    'the last enabled administrator stays: %j',
    (command) => {
      given(added()).when(command).thenRejected('last_administrator');
      given(added(), added({ ...second, enabled: false }))
        .when(command)
        .thenRejected('last_administrator');
      given(added(), added({ ...second, role: 'viewer' }))
        .when(command)
        .thenRejected('last_administrator');
      given(added(), added(second)).when(command).thenAccepted();
    },
  );

  test('of one who is no administrator need no other', () => {
    given(added(), added({ ...second, role: 'viewer' }))
      .when(remove('o2'))
      .then({ type: 'OperatorRemoved', data: { id: 'o2' } });
  });

  test('the fields and the password are two events', () => {
    given(added())
      .when(change('o1', { email: 'x@example.org' }, { passwordVerifier: 'new' }))
      .then(
        { type: 'OperatorChanged', data: { id: 'o1', changes: { email: 'x@example.org' } } },
        { type: 'OperatorPasswordChanged', data: { id: 'o1', passwordVerifier: 'new' } },
      );
    given(added()).when(change('o1', {})).then();
  });

  test('every one of them ends the tokens of before', () => {
    for (const command of [
      change('o1', { email: 'x@example.org' }),
      change('o1', {}, { passwordVerifier: 'new' }),
      { type: 'EndOperatorSessions', data: { id: 'o1' } } as const,
    ]) {
      expect(given(added()).when(command).thenGiven().state.operator('o1')?.sessionEpoch).toBe(1);
    }
  });
});

describe('API keys', () => {
  const key = (changes: Partial<ApiKey> = {}) =>
    commit({ type: 'ApiKeyAdded', data: anApiKey(changes) });
  const addKey = (changes: Partial<ApiKey> = {}) =>
    ({ type: 'AddApiKey', data: anApiKey(changes) }) as const;
  const changeKey = {
    type: 'ChangeApiKey',
    data: { id: 'k1', changes: { enabled: false } },
  } as const;
  const removeKey = { type: 'RemoveApiKey', data: { id: 'k1' } } as const;

  test.each([
    ['/id', { id: '' }],
    ['/id', { id: 'a:b' }],
    ['/id', { id: 'x'.repeat(65) }],
    ['/name', { name: '' }],
    ['/description', { description: 'x'.repeat(API_KEY_DESCRIPTION_BYTES_MAX + 1) }],
  ])('with a problem at %s are refused: %j', (pointer, changes) => {
    const rejection = given().when(addKey(changes)).thenRejected('api_key_invalid');
    expect(rejection.problems).toMatchObject([{ pointer }]);
  });

  test('with a taken id or name are refused', () => {
    given(key())
      .when(addKey({ name: 'other' }))
      .thenRejected('api_key_exists');
    given(key())
      .when(addKey({ id: 'k2' }))
      .thenRejected('api_key_exists');
    given(key())
      .when(addKey({ id: 'k2', name: 'other' }))
      .thenAccepted();
  });

  test('that are unknown cannot be changed or removed', () => {
    given().when(changeKey).thenRejected('api_key_not_found');
    given().when(removeKey).thenRejected('api_key_not_found');
  });

  test.each([changeKey, removeKey])('$type on another revision is refused', (command) => {
    given(key()).when(onRevision(command, 0)).thenRejected('precondition_failed');
    given(key()).when(onRevision(command, 1)).thenAccepted();
  });

  test('take no name of another, and no text that is too long', () => {
    const two = [key(), key({ id: 'k2', name: 'other' })] as const;
    const change = (changes: object) =>
      ({ type: 'ChangeApiKey', data: { id: 'k1', changes } }) as const;
    given(...two)
      .when(change({ name: 'other' }))
      .thenRejected('api_key_exists');
    given(...two)
      .when(change({ name: 'ci' }))
      .thenAccepted();
    given(...two)
      .when(change({ name: '' }))
      .thenRejected('api_key_invalid');
    const longest = 'x'.repeat(API_KEY_DESCRIPTION_BYTES_MAX);
    given(...two)
      .when(change({ description: `${longest}x` }))
      .thenRejected('api_key_invalid');
    given(...two)
      .when(change({ description: longest }))
      .thenAccepted();
  });

  test('get another role, end, description and secret, and an end can be taken away', () => {
    const change = (changes: object) =>
      ({ type: 'ChangeApiKey', data: { id: 'k1', changes } }) as const;
    const changes = { role: 'publisher', description: '', secretVerifier: 'v2', expiresAt: 9 };
    const changed = given(key()).when(change(changes)).thenGiven();
    expect(changed.state.apiKey('k1')).toMatchObject(changes);
    expect(
      changed
        .when(change({ enabled: true }))
        .thenGiven()
        .state.apiKey('k1')?.expiresAt,
    ).toBe(9);
    const endless = changed.when(change({ expiresAt: null })).thenGiven();
    expect(endless.state.apiKey('k1')).not.toHaveProperty('expiresAt');
  });

  test('are changed and removed', () => {
    const disabled = given(key()).when(changeKey).thenGiven();
    expect(disabled.state.apiKey('k1')).toMatchObject({ enabled: false, updatedRevision: 2 });
    const gone = disabled.when(removeKey).thenGiven();
    expect(gone.state.apiKey('k1')).toBeUndefined();
    expect(gone.state.apiKeyByName('ci')).toBeUndefined();
  });
});
