import { describe, expect, test } from 'vitest';
import {
  ATTRIBUTES_MAX,
  CREDENTIAL_SESSIONS_MAX,
  CREDENTIAL_NAME_BYTES_MAX,
  type Credential,
  isLive,
  LIVE_SECRETS_MAX,
  PATTERNS_MAX,
} from './credential.ts';
import { loginKey, loginKeysOf } from './login-keys.ts';
import { anAclRule, aCredential, aSecret, commit, given, onRevision } from '../test/given.ts';

const added = (changes: Partial<Credential> = {}) =>
  commit({ type: 'CredentialAdded', data: aCredential(changes) });

const add = (changes: Partial<Credential> = {}) =>
  ({ type: 'AddCredential', data: aCredential(changes) }) as const;

const change = (changes: Partial<Credential>, more: object = {}) =>
  ({ type: 'ChangeCredential', data: { id: 'c1', changes, ...more } }) as const;

const rotate = (secretId: string, retireAt: number) =>
  ({ type: 'RotateSecret', data: { id: 'c1', secret: aSecret(secretId), retireAt } }) as const;

describe('AddCredential', () => {
  test.each([
    ['an empty name', { name: '' }, '/name'],
    ['a name that is too long', { name: 'x'.repeat(CREDENTIAL_NAME_BYTES_MAX + 1) }, '/name'],
    ['a name with a control character', { name: 'a\u0000' }, '/name'],
    ['a name that is not Unicode', { name: '\ud800' }, '/name'],
    ['no match', { match: {} }, '/match'],
    ['an empty username', { match: { username: '' } }, '/match/username'],
    ['an empty client id', { match: { clientId: '' } }, '/match/clientId'],
    [
      'an attribute named __proto__',
      { attributes: JSON.parse('{"__proto__":"x"}') as Record<string, string> },
      '/attributes/__proto__',
    ],
    [
      'an attribute named constructor',
      { attributes: { constructor: 'x' } },
      '/attributes/constructor',
    ],
    ['an attribute with an empty name', { attributes: { '': 'x' } }, '/attributes/'],
    [
      'an attribute whose name needs escaping',
      { attributes: { 'a/~\u0001': 'x' } },
      '/attributes/a~1~0\u0001',
    ],
    [
      'a pattern that is none',
      { access: { kind: 'patterns', publish: ['('], subscribe: [] } },
      '/access/publish/0',
    ],
    [
      'a second pattern that Java refuses',
      { access: { kind: 'patterns', publish: [], subscribe: ['a', '{id}'] } },
      '/access/subscribe/1',
    ],
    [
      'too many patterns',
      {
        access: {
          kind: 'patterns',
          publish: Array<string>(PATTERNS_MAX + 1).fill('a'),
          subscribe: [],
        },
      },
      '/access/publish',
    ],
    ['no secret where one is needed', { secrets: [] }, '/password'],
    ['too many secrets', { secrets: ['s1', 's2', 's3'].map((id) => aSecret(id)) }, '/secrets'],
    ['too many attributes', { attributes: manyAttributes(ATTRIBUTES_MAX + 1) }, '/attributes'],
    ['too many sessions', { sessionsMax: CREDENTIAL_SESSIONS_MAX + 1 }, '/sessionsMax'],
    ['fewer sessions than none', { sessionsMax: -1 }, '/sessionsMax'],
    ['half a session', { sessionsMax: 1.5 }, '/sessionsMax'],
  ] as [string, Partial<Credential>, string][])('with %s is refused', (_, changes, pointer) => {
    const problems = given().when(add(changes)).thenRejected('credential_invalid').problems ?? [];
    expect(problems.map((one) => one.pointer)).toContain(pointer);
  });

  test('with an id that is taken is refused', () => {
    given(added())
      .when(add({ name: 'other', match: { username: 'other' } }))
      .thenRejected('credential_exists');
  });

  test('with a name that is taken in its store is refused, in another store it is not', () => {
    const other = { id: 'c2', match: { username: 'other' } };
    given(added()).when(add(other)).thenRejected('credential_name_taken');
    given(added())
      .when(add({ ...other, store: 'tbmq' }))
      .thenAccepted();
  });

  test('with a match that is taken in its store is refused, in another store it is not', () => {
    const other = { id: 'c2', name: 'other' };
    given(added()).when(add(other)).thenRejected('credential_match_taken');
    given(added())
      .when(add({ ...other, store: 'tbmq' }))
      .thenAccepted();
  });

  test('at every limit is accepted', () => {
    const data = aCredential({
      name: 'é'.repeat(CREDENTIAL_NAME_BYTES_MAX / 2),
      attributes: manyAttributes(ATTRIBUTES_MAX),
      sessionsMax: CREDENTIAL_SESSIONS_MAX,
      secrets: ['s1', 's2'].map((id) => aSecret(id)),
      access: { kind: 'patterns', publish: Array<string>(PATTERNS_MAX).fill('a'), subscribe: [] },
    });
    expect(data.secrets).toHaveLength(LIVE_SECRETS_MAX);
    given().when({ type: 'AddCredential', data }).then({ type: 'CredentialAdded', data });
  });

  test('without secrets is accepted where none is needed', () => {
    const data = aCredential({ secrets: [], passwordRequired: false });
    given().when({ type: 'AddCredential', data }).then({ type: 'CredentialAdded', data });
  });
});

function manyAttributes(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, '']));
}

describe('any change of a credential', () => {
  const commands = [
    change({ enabled: false }),
    rotate('s2', 1000),
    { type: 'RemoveSecret', data: { id: 'c1', secretId: 's1' } },
    { type: 'RemoveCredential', data: { id: 'c1' } },
  ] as const;

  test.each(commands)('$type of an unknown one is refused', (command) => {
    given().when(command).thenRejected('credential_not_found');
  });

  test.each(commands)(
    '$type on another revision is refused, on the last one accepted',
    (command) => {
      const state = given(
        added(),
        commit({ type: 'CredentialChanged', data: { id: 'c1', changes: { enabled: true } } }),
      );
      state.when(onRevision(command, 1)).thenRejected('precondition_failed');
      state.when(onRevision(command, 0)).thenRejected('precondition_failed');
      state.when(onRevision(command, 2)).thenAccepted();
    },
  );
});

describe('ChangeCredential', () => {
  test('that makes it invalid is refused', () => {
    given(added())
      .when(change({ match: {} }))
      .thenRejected('credential_invalid');
    given(added({ secrets: [], passwordRequired: false }))
      .when(change({ passwordRequired: true }))
      .thenRejected('credential_invalid');
  });

  describe('to another kind', () => {
    const certificate = { kind: 'certificate', match: { commonName: 'pump' } } as const;
    const password = { kind: 'password', match: { username: 'pump' } } as const;
    const pointersOf = (commits: ReturnType<typeof added>[], wanted: ReturnType<typeof change>) =>
      given(...commits)
        .when(wanted)
        .thenRejected('credential_invalid')
        .problems?.map(({ pointer }) => pointer);

    test('needs another match, and what opens it', () => {
      expect(pointersOf([added()], change({ kind: 'certificate' }))).toContain('/match');
      expect(pointersOf([added()], change({ match: certificate.match }))).toContain('/match');
      const bound = added({ ...certificate, secrets: [] });
      expect(pointersOf([bound], change(password))).toEqual(['/password']);
      const secret = aSecret('s2');
      expect(pointersOf([added()], change(certificate, { secret }))).toEqual(['/password']);
      const ways = [{ method: 'password', required: true }] as const;
      expect(pointersOf([added({ grants: ways })], change(certificate))).toEqual(['/grants']);
      const other = added({ id: 'c2', name: 'two', ...certificate, secrets: [] });
      given(added(), other).when(change(certificate)).thenRejected('credential_match_taken');
    });

    test('takes the secrets away that are no way in any more, and they do not come back', () => {
      const secrets = [aSecret('s1'), aSecret('s2')];
      const bound = given(added({ secrets })).when(change(certificate)).thenGiven();
      expect(bound.state.credential('c1')).toMatchObject({ ...certificate, secrets: [] });
      bound.when(change(password)).thenRejected('credential_invalid');
      const secret = aSecret('s3');
      const back = bound.when(change(password, { secret })).thenGiven();
      expect(back.state.credential('c1')).toMatchObject({ ...password, secrets: [secret] });
    });

    test('keeps the secret of one that needs certificate and password', () => {
      const grants = (['certificate', 'password'] as const).map((method) => ({
        method,
        required: true,
      }));
      given(added())
        .when(change({ ...certificate, grants }))
        .then({
          type: 'CredentialChanged',
          data: { id: 'c1', changes: { ...certificate, grants } },
        });
    });
  });

  test('to the name or the match of another is refused', () => {
    const other = added({ id: 'c2', name: 'two', match: { username: 'two' } });
    given(added(), other)
      .when(change({ name: 'two' }))
      .thenRejected('credential_name_taken');
    given(added(), other)
      .when(change({ match: { username: 'two' } }))
      .thenRejected('credential_match_taken');
  });

  test('records only what differs, and nothing when nothing does', () => {
    const { name, match } = aCredential();
    given(added())
      .when(change({ name, match, superuser: true }))
      .then({ type: 'CredentialChanged', data: { id: 'c1', changes: { superuser: true } } });
    given(added()).when(change({ name, match })).then();
  });

  test('with a secret ends all present ones now', () => {
    given(added())
      .when(change({}, { secret: aSecret('s2') }), 50)
      .then({
        type: 'CredentialSecretAdded',
        data: { id: 'c1', secret: aSecret('s2'), retired: [{ secretId: 's1', expiresAt: 50 }] },
      });
  });

  test('with a secret may begin to require one', () => {
    given(added({ secrets: [], passwordRequired: false }))
      .when(change({ passwordRequired: true }, { secret: aSecret('s2') }))
      .thenAccepted();
  });
});

describe('RotateSecret', () => {
  test('is refused while two secrets are live, and accepted once one has ended', () => {
    const rotated = commit({
      type: 'CredentialSecretAdded',
      data: { id: 'c1', secret: aSecret('s2'), retired: [{ secretId: 's1', expiresAt: 100 }] },
    });
    given(added(), rotated).when(rotate('s3', 500), 99).thenRejected('too_many_secrets');
    given(added(), rotated).when(rotate('s3', 500), 100).thenAccepted();
    // Everything older ends at once, so there is room.
    given(added(), rotated).when(rotate('s3', 99), 99).thenAccepted();
  });

  test('never lengthens the life of a secret', () => {
    given(added({ secrets: [{ ...aSecret('s1'), expiresAt: 200 }] }))
      .when(rotate('s2', 500), 100)
      .then({
        type: 'CredentialSecretAdded',
        data: { id: 'c1', secret: aSecret('s2'), retired: [{ secretId: 's1', expiresAt: 200 }] },
      });
  });

  test('keeps the replaced secret until it ends, and forgets it at the next rotation', () => {
    const rotated = given(added()).when(rotate('s2', 100), 10).thenGiven();
    expect(
      rotated.state.credential('c1')?.secrets.map((one) => [one.secretId, one.expiresAt]),
    ).toEqual([
      ['s2', undefined],
      ['s1', 100],
    ]);
    const later = rotated.when(rotate('s3', 300), 150).thenGiven();
    expect(later.state.credential('c1')?.secrets.map((one) => one.secretId)).toEqual(['s3', 's2']);
  });
});

describe('RemoveSecret', () => {
  const remove = (secretId: string) =>
    ({ type: 'RemoveSecret', data: { id: 'c1', secretId } }) as const;

  test('of an unknown secret is refused', () => {
    given(added()).when(remove('s9')).thenRejected('secret_not_found');
  });

  test('removes it', () => {
    given(added())
      .when(remove('s1'))
      .then({ type: 'CredentialSecretRemoved', data: { id: 'c1', secretId: 's1' } });
    const after = given(added()).when(remove('s1')).thenGiven();
    expect(after.state.credential('c1')?.secrets).toEqual([]);
  });
});

test('RemoveCredential frees its name and its match', () => {
  const removed = commit({ type: 'CredentialRemoved', data: { id: 'c1' } });
  given(added())
    .when({ type: 'RemoveCredential', data: { id: 'c1' } })
    .then(...removed.events);
  given(added(), removed)
    .when(add({ id: 'c2' }))
    .thenAccepted();
});

test('creation and change are dated by their commits', () => {
  const state = given(
    added(),
    commit({
      type: 'AclRuleAdded',
      data: { target: { kind: 'everyone' }, rule: anAclRule(), position: 0 },
    }),
    commit({ type: 'CredentialChanged', data: { id: 'c1', changes: { enabled: false } } }),
  ).state;
  expect(state.credential('c1')).toMatchObject({
    enabled: false,
    createdAt: 1,
    createdRevision: 1,
    updatedAt: 3,
    updatedRevision: 3,
  });
});

describe('login keys', () => {
  test('no two matches share one', () => {
    const names = ['a', 'b', ':', 'a:b', '1:a', 'username:a', ''];
    const matches = names.flatMap((one) => [
      { username: one },
      { clientId: one },
      ...names.map((two) => ({ username: one, clientId: two })),
    ]);
    expect(new Set(matches.map((one) => loginKey(one))).size).toBe(matches.length);
  });

  test('a CONNECT looks for both, then the username, then the client id', () => {
    expect(loginKeysOf({ username: 'u', clientId: 'c' })).toEqual([
      loginKey({ username: 'u', clientId: 'c' }),
      loginKey({ username: 'u' }),
      loginKey({ clientId: 'c' }),
    ]);
    for (const username of ['', undefined]) {
      expect(loginKeysOf({ username, clientId: 'c' })).toEqual([loginKey({ clientId: 'c' })]);
    }
  });

  test('a secret opens nothing from its first expired millisecond on', () => {
    expect(isLive({ ...aSecret('s'), expiresAt: 10 }, 9)).toBe(true);
    expect(isLive({ ...aSecret('s'), expiresAt: 10 }, 10)).toBe(false);
    expect(isLive(aSecret('s'), Number.MAX_SAFE_INTEGER)).toBe(true);
  });
});
