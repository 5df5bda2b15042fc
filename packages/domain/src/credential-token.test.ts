import { describe, expect, test } from 'vitest';
import { aCredential, commit, given, onRevision } from '../test/given.ts';
import { CREDENTIAL_TOKENS_MAX, type CredentialToken, liveTokens } from './credential-token.ts';
import type { Credential } from './credential.ts';
import { affects } from './cache-tags.ts';
import { type Grant, needsSecret } from './grants.ts';
import { NAME_BYTES_MAX } from './text.ts';

const NOW = 1000;

const aToken = (tokenId: string, more: Partial<CredentialToken> = {}): CredentialToken => ({
  tokenId,
  label: 'of a tool',
  verifier: `sealed ${tokenId}`,
  createdAt: 1,
  ...more,
});

const add = (token: CredentialToken) =>
  ({ type: 'AddCredentialToken', data: { id: 'c1', token } }) as const;
const remove = (tokenId: string) =>
  ({ type: 'RemoveCredentialToken', data: { id: 'c1', tokenId } }) as const;

const present = commit({ type: 'CredentialAdded', data: aCredential() });
const withTokens = (...tokens: readonly CredentialToken[]) =>
  given(
    present,
    ...tokens.map((token) => commit({ type: 'CredentialTokenAdded', data: { id: 'c1', token } })),
  );

const grants = (...text: string[]): readonly Grant[] =>
  text.map((one) => ({
    method: one.startsWith('p') ? 'password' : one.startsWith('t') ? 'token' : 'certificate',
    required: one.endsWith('!'),
  }));

describe('AddCredentialToken', () => {
  test.each([
    ['an empty label', { label: '' }, '/label'],
    ['a label that is too long', { label: 'x'.repeat(NAME_BYTES_MAX + 1) }, '/label'],
    ['an end that is now', { expiresAt: NOW }, '/expiresAt'],
    ['an end that is none', { expiresAt: Number.NaN }, '/expiresAt'],
  ] as const)('with %s is refused', (_, more, pointer) => {
    const refused = given(present)
      .when(add(aToken('t1', more)))
      .thenRejected('credential_invalid');
    expect(refused.problems?.map((one) => one.pointer)).toEqual([pointer]);
  });

  test('of nobody, and on another revision, is refused', () => {
    given()
      .when(add(aToken('t1')))
      .thenRejected('credential_not_found');
    given(present)
      .when(onRevision(add(aToken('t1')), 2))
      .thenRejected('precondition_failed');
  });

  test(`is refused with ${CREDENTIAL_TOKENS_MAX} that are live, and not with those that have ended`, () => {
    const many = Array.from({ length: CREDENTIAL_TOKENS_MAX }, (_, index) => aToken(`t${index}`));
    withTokens(...many)
      .when(add(aToken('more')))
      .thenRejected('too_many_tokens');
    const [first, ...others] = many;
    const ended = { ...first, expiresAt: NOW } as CredentialToken; // There is a first one.
    const after = withTokens(ended, ...others)
      .when(add(aToken('more')))
      .thenGiven();
    const { tokens = [] } = after.state.credential('c1') ?? {};
    expect(tokens.map((one) => one.tokenId)).toEqual([...others.map((one) => one.tokenId), 'more']);
  });

  test('concerns whoever depends on the credential, and leaves its secrets alone', () => {
    const event = {
      type: 'CredentialTokenAdded',
      data: { id: 'c1', token: aToken('t1') },
    } as const;
    expect(affects(event)).toEqual(['credential:c1']);
    given(present)
      .when(add(aToken('t1')))
      .then(event);
    const credential = withTokens(aToken('t1')).state.credential('c1');
    expect(credential?.secrets).toEqual(aCredential().secrets);
    expect(credential).toMatchObject({ tokens: [aToken('t1')], updatedRevision: 2 });
  });
});

test('RemoveCredentialToken is refused for one that is not there, and takes the other away', () => {
  given(present).when(remove('t1')).thenRejected('token_not_found');
  withTokens(aToken('t1')).when(remove('t2')).thenRejected('token_not_found');
  withTokens(aToken('t1')).when(remove('s1')).thenRejected('token_not_found');
  const after = withTokens(aToken('t1'), aToken('t2')).when(remove('t1')).thenGiven();
  expect(after.state.credential('c1')?.tokens).toEqual([aToken('t2')]);
  after.when(remove('t1')).thenRejected('token_not_found');
});

test('a token is live until the millisecond at which it ends', () => {
  const tokens = [aToken('t1', { expiresAt: 5 })];
  expect([4, 5].map((at) => liveTokens({ tokens }, at).length)).toEqual([1, 0]);
});

describe('the grant of tokens', () => {
  test.each([
    ['twice', { grants: grants('t', 't') }, '/grants'],
    ['required beside the password', { grants: grants('t!', 'p!') }, '/grants'],
    ['without a user name', { match: { clientId: 'c' }, grants: grants('t') }, '/match/username'],
  ] as [string, Partial<Credential>, string][])('%s is refused', (_, changes, pointer) => {
    const command = { type: 'AddCredential', data: aCredential(changes) } as const;
    const { problems = [] } = given().when(command).thenRejected('credential_invalid');
    expect(problems.map((one) => one.pointer)).toContain(pointer);
  });

  test.each([
    [['t'], false],
    [['t', 'p'], false],
    [['t!', 'p'], false],
    [['t', 'p!'], true],
    [['p'], true],
  ] as const)('%j needs a password: %s', (ways, needed) => {
    expect(needsSecret({ ...aCredential(), grants: grants(...ways) })).toBe(needed);
    const command = {
      type: 'AddCredential',
      data: aCredential({ grants: grants(...ways), secrets: [] }),
    } as const;
    if (needed) given().when(command).thenRejected('credential_invalid');
    else given().when(command).thenAccepted();
  });
});
