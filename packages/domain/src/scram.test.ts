import { describe, expect, test } from 'vitest';
import { aCredential, aSecret, commit, given } from '../test/given.ts';
import { carriesMatch } from './login-keys.ts';
import type { Credential, CredentialMatch, Secret } from './credential.ts';
import type { CredentialCommand } from './decide-credential.ts';
import type { ScramMechanism } from './scram.ts';
import { decodeCommit } from './upcast.ts';

const scramSecret = (
  secretId: string,
  mechanisms: readonly ScramMechanism[] = ['SCRAM-SHA-256'],
): Secret => ({
  ...aSecret(secretId),
  scram: mechanisms.map((mechanism) => ({ mechanism, verifier: `sealed ${mechanism}` })),
});

const add = (match: CredentialMatch, secret: Secret): CredentialCommand => ({
  type: 'AddCredential',
  data: aCredential({ match, secrets: [secret] }),
});

const added = (secret: Secret, match: CredentialMatch = { username: 'pump' }) =>
  commit({ type: 'CredentialAdded', data: aCredential({ match, secrets: [secret] }) });

const change = (changes: object, secret?: Secret): CredentialCommand => ({
  type: 'ChangeCredential',
  data: { id: 'c1', changes, ...(secret !== undefined && { secret }) },
});

const rotate = (secret: Secret): CredentialCommand => ({
  type: 'RotateSecret',
  data: { id: 'c1', secret, retireAt: 5000 },
});

describe('a secret with SCRAM keys', () => {
  test.each([
    ['no user name', { clientId: 'c' }, 'is needed, because SCRAM proves a user name'],
    ['a user name that SASLprep changes', { username: '\ufb01n' }, 'must be as SASLprep'],
    ['a user name that SASLprep refuses', { username: 'a\u202eb' }, 'must be as SASLprep'],
  ] as [string, CredentialMatch, string][])(
    'is refused on a credential with %s, where one without them is not',
    (_, match, detail) => {
      const { problems } = given()
        .when(add(match, scramSecret('s1')))
        .thenRejected('credential_invalid');
      expect(problems).toEqual([
        { pointer: '/match/username', detail: expect.stringContaining(detail) as string },
      ]);
      given()
        .when(add(match, aSecret('s1')))
        .thenAccepted();
      given()
        .when(add(match, { ...aSecret('s1'), scram: [] }))
        .thenAccepted();
    },
  );

  test('is refused when it names a mechanism twice', () => {
    const { problems } = given()
      .when(add({ username: 'pump' }, scramSecret('s1', ['SCRAM-SHA-256', 'SCRAM-SHA-256'])))
      .thenRejected('credential_invalid');
    expect(problems?.map((one) => one.pointer)).toEqual(['/scram']);
  });

  test('is refused in a rotation where there is no user name to prove', () => {
    const { problems } = given(added(aSecret('s1'), { clientId: 'c' }))
      .when(rotate(scramSecret('s2')))
      .thenRejected('credential_invalid');
    expect(problems?.map((one) => one.pointer)).toEqual(['/scram']);
  });

  test('keeps the user name from being taken away for as long as it is live', () => {
    const match = { clientId: 'c' };
    given(added(scramSecret('s1')))
      .when(change({ match }))
      .thenRejected('credential_invalid');
    given(added({ ...scramSecret('s1'), expiresAt: 1001 }))
      .when(change({ match }), 1000)
      .thenRejected('credential_invalid');
    given(added({ ...scramSecret('s1'), expiresAt: 1000 }))
      .when(change({ match }), 1000)
      .thenAccepted();
    given(added(scramSecret('s1')))
      .when(change({ match }, aSecret('s2')))
      .thenAccepted();
    given(added(scramSecret('s1')))
      .when(change({ match: { username: 'other' } }))
      .thenAccepted();
  });

  test('is what the events say, at creation, in a change and in a rotation', () => {
    const both = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;
    const data = aCredential({ secrets: [scramSecret('s1', both)] });
    given().when({ type: 'AddCredential', data }).then({ type: 'CredentialAdded', data });
    const rotated = given(added(aSecret('s1')))
      .when(rotate(scramSecret('s2')))
      .thenGiven();
    expect(rotated.state.credential('c1')?.secrets).toEqual([
      scramSecret('s2'),
      { ...aSecret('s1'), expiresAt: 5000 },
    ]);
    const changed = given(added(scramSecret('s1')))
      .when(change({}, aSecret('s2')))
      .thenGiven();
    expect(changed.state.credential('c1')?.secrets[0]).toEqual(aSecret('s2'));
  });
});

test('a record from before SCRAM is folded as it always was', () => {
  const text =
    '{"v":1,"commitId":"k","at":7,"actor":{"kind":"operator","id":"o"},"events":[{"type":"CredentialAdded","data":{"id":"c1",' +
    '"store":"native","kind":"password","name":"pump","match":{"clientId":"c"},"enabled":true,"superuser":false,' +
    '"passwordRequired":true,"attributes":{},"access":{"kind":"acl"},' +
    '"secrets":[{"secretId":"s1","verifier":"s1.k.v","createdAt":7}]}}]}';
  const { events } = decodeCommit(text, 1);
  const { state } = given({ at: 7, events });
  expect(state.credential('c1')?.secrets).toEqual([
    { secretId: 's1', verifier: 's1.k.v', createdAt: 7 },
  ]);
});

describe('a user name that only SCRAM finds, compat tbmq 4.3', () => {
  const scram = [{ mechanism: 'SCRAM-SHA-256', verifier: 'sealed' }] as const;
  const user = (changes: Partial<Credential> = {}) => ({
    type: 'AddCredential' as const,
    data: aCredential({
      match: { scramUsername: 'ada' },
      secrets: [{ ...aSecret('s1'), scram }],
      ...changes,
    }),
  });

  test.each([
    ['no keys', { secrets: [aSecret('s1')] }, '/scram'],
    ['another user name', { match: { scramUsername: 'a', username: 'a' } }, '/match/scramUsername'],
    ['a client id', { match: { scramUsername: 'a', clientId: 'a' } }, '/match/scramUsername'],
    ['an empty one', { match: { scramUsername: '' } }, '/match/scramUsername'],
    // As SASLprep maps it: a soft hyphen is nothing.
    ['another form', { match: { scramUsername: 'a\u00ad' } }, '/match/scramUsername'],
    [
      'a certificate as another way in',
      { grants: [{ method: 'certificate', required: false }] },
      '/match/username',
    ],
  ] as [string, Partial<Credential>, string][])('with %s is refused', (_, changes, pointer) => {
    const { problems = [] } = given().when(user(changes)).thenRejected('credential_invalid');
    expect(problems.map((one) => one.pointer)).toContain(pointer);
  });

  test('stands beside the same user name for passwords, and not beside its like', () => {
    const plain = {
      type: 'AddCredential',
      data: aCredential({ id: 'c2', name: 'c2', match: { username: 'ada' } }),
    } as const;
    const added = commit({ type: 'CredentialAdded', data: user().data });
    given(added).when(plain).thenAccepted();
    given(added)
      .when(user({ id: 'c3', name: 'c3' }))
      .thenRejected('credential_match_taken');
    given(added)
      .when({ type: 'RotateSecret', data: { id: 'c1', secret: aSecret('s2'), retireAt: 0 } })
      .thenRejected('credential_invalid');
    given(added)
      .when({ type: 'ChangeCredential', data: { id: 'c1', changes: {}, secret: aSecret('s2') } })
      .thenRejected('credential_invalid');
    expect(given(added).state.usernameTaken('ada')).toBe(true);
  });

  test('is carried by who has proven it by SCRAM, and by nobody else', () => {
    const carries = (more: object) =>
      carriesMatch({ clientId: 'c', username: 'ada', ...more }, { scramUsername: 'ada' });
    expect([carries({}), carries({ methods: ['password'] })]).toEqual([false, false]);
    expect(carries({ methods: ['scram'], username: 'bob' })).toBe(false);
    expect(carries({ methods: ['scram'] })).toBe(true);
  });
});
