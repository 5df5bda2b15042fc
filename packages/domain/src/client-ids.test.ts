import { describe, expect, test } from 'vitest';
import { aCredential, aSecret, commit, given } from '../test/given.ts';
import { letsIn } from './client-ids.ts';
import { type AccessSpec, type Credential, refusesClientId, type Secret } from './credential.ts';
import { resolvedPattern } from './pattern-placeholder.ts';
import { NAME_BYTES_MAX } from './text.ts';

const pointers = (changes: Partial<Credential>): readonly string[] => {
  const command = { type: 'AddCredential', data: aCredential(changes) } as const;
  const { problems = [] } = given().when(command).thenRejected('credential_invalid');
  return problems.map((one) => one.pointer);
};

const patterns = (publish: readonly string[], subscribe: readonly string[] = []): AccessSpec => ({
  kind: 'patterns',
  publish,
  subscribe,
});

describe('client ids that a credential lets in', () => {
  test.each([
    [{ exact: 'a', pattern: 'a' }, '/clientIds'],
    [{ exact: '' }, '/clientIds/exact'],
    [{ exact: 'a\u0000' }, '/clientIds/exact'],
    [{ exact: 'x'.repeat(NAME_BYTES_MAX + 1) }, '/clientIds/exact'],
    ...['', '(', '{id}', 'a(?=b)', '(a)\\1', 'x'.repeat(1025)].map(
      (pattern) => [{ pattern }, '/clientIds/pattern'] as const,
    ),
  ] as const)('%j are refused', (clientIds, pointer) => {
    expect(pointers({ clientIds })).toEqual([pointer]);
  });

  test.each([
    [{ exact: 'pump-1' }, ['pump-11', 'pump-', 'PUMP-1', ''], ['pump-1']],
    // The whole of it, unlike a pattern for a certificate.
    [{ pattern: 'pump-[0-9]+' }, ['xpump-1', 'pump-1x', 'pump-1\n', ''], ['pump-1', 'pump-22']],
    [{ pattern: 'a|b' }, ['ab', 'xb', 'ax'], ['a', 'b']],
    [{ pattern: '(' }, ['(', ''], []],
    [{}, [], ['', 'a', 'a/+/#']],
    [undefined, [], ['a']],
  ])('%j', (clientIds, refused, admitted) => {
    expect(refused.filter((one) => letsIn(clientIds, one))).toEqual([]);
    expect(admitted.filter((one) => !letsIn(clientIds, one))).toEqual([]);
  });

  test('are taken away by saying none, and none are none', () => {
    const change = (clientIds: object) =>
      ({ type: 'ChangeCredential', data: { id: 'c1', changes: { clientIds } } }) as const;
    const without = commit({ type: 'CredentialAdded', data: aCredential() });
    given(without).when(change({})).then();
    const limited = given(without)
      .when(change({ exact: 'a' }))
      .thenGiven();
    limited.when(change({ exact: 'a' })).then();
    limited.when(change({})).thenAccepted();
  });
});

describe('a pattern that names the client id', () => {
  test.each([
    // What is no placeholder here is refused as Java refuses it.
    [patterns(['t/${cn}']), '/access/publish/0'],
    [patterns(['t/${clientid}']), '/access/publish/0'],
    [patterns(['t', 't/${username}']), '/access/publish/1'],
    [patterns([], ['(${clientId}']), '/access/subscribe/0'],
  ])('%j is refused', (access, pointer) => {
    expect(pointers({ access })).toEqual([pointer]);
  });

  test('is refused of a credential that only SCRAM proves', () => {
    const access = patterns(['t/${clientId}']);
    const { verifier: _none, ...bare } = aSecret('s1');
    const scram = [{ mechanism: 'SCRAM-SHA-256', verifier: 'sealed' }] as const;
    const secret: Secret = { ...bare, scram };
    expect(pointers({ access, secrets: [secret] })).toEqual(['/access']);
    const plain = commit({ type: 'CredentialAdded', data: aCredential({ access }) });
    const next: Secret = { ...secret, secretId: 's2' };
    given(plain)
      .when({ type: 'RotateSecret', data: { id: 'c1', secret: next, retireAt: 0 } })
      .thenRejected('credential_invalid');
    given(plain)
      .when({ type: 'ChangeCredential', data: { id: 'c1', changes: {}, secret: next } })
      .thenRejected('credential_invalid');
    const proven = commit({
      type: 'CredentialAdded',
      data: aCredential({ secrets: [secret] }),
    });
    given(proven)
      .when({ type: 'ChangeCredential', data: { id: 'c1', changes: { access } } })
      .thenRejected('credential_invalid');
    given()
      .when({
        type: 'AddCredential',
        data: aCredential({ access, secrets: [{ ...aSecret('s1'), scram }] }),
      })
      .thenAccepted();
  });

  test.each(['', 'a/b', '+', '#', 'a+', 'a\0'])('lets no client id %j in', (clientId) => {
    const named = aCredential({ access: patterns([], ['t/${clientId}']) });
    expect(refusesClientId(named, { clientId })).toBe(true);
    expect(refusesClientId(aCredential({ access: patterns(['t']) }), { clientId })).toBe(false);
  });

  test('of a mapping only where its entry applies', () => {
    const entry = (key: string, pattern: string) => ({ key, publish: [], subscribe: [pattern] });
    const access: AccessSpec = {
      kind: 'mapping',
      entries: [entry('pump', 't/${clientId}'), entry('fan', 't/${cn}')],
    };
    const refuses = (name: string, clientId: string) => {
      const certificate = { fingerprintSha256: '', commonName: name, chainCommonNames: [name] };
      return refusesClientId({ access }, { clientId, certificate });
    };
    expect([refuses('pump', 'a/b'), refuses('fan', 'a/b')]).toEqual([true, false]);
    expect([refuses('pump', 'a'), refuses('fan', 'a')]).toEqual([false, false]);
  });
});

describe('resolvedPattern', () => {
  test.each([
    ['t/${clientId}', { clientId: 'a/b' }],
    ['t/${clientId}', { clientId: '#' }],
    ['t/${clientId}', { clientId: '' }],
    ['t/${cn}/${clientId}', { commonName: 'a+', clientId: 'b' }],
    // Longer than a pattern may be once it is in.
    ['t/${clientId}', { clientId: '.'.repeat(1024) }],
  ])('%j with %j allows nothing', (pattern, values) => {
    expect(resolvedPattern(pattern, values)).toBeUndefined();
  });

  test.each([
    ['t/.*', { clientId: 'a/b' }, 't/.*'],
    ['t/${clientId}/x', { clientId: 'a.*|b' }, 't/a\\.\\*\\|b/x'],
    ['${clientId}/${cn}', { clientId: '${cn}', commonName: 'n' }, '\\$\\{cn\\}/n'],
    ['${cn}/${clientId}', { clientId: 'c', commonName: '${clientId}' }, '\\$\\{clientId\\}/c'],
    ['${clientId}${clientId}', { clientId: 'a\\E' }, 'a\\\\Ea\\\\E'],
    ['${clientId}', { clientId: '$&$1' }, '\\$&\\$1'],
  ])('%j with %j is %j', (pattern, values, expected) => {
    expect(resolvedPattern(pattern, values)).toBe(expected);
  });
});
