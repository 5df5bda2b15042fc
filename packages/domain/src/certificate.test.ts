import { describe, expect, test } from 'vitest';
import { aCredential, aSecret, commit, given } from '../test/given.ts';
import { type CertificateIdentity, mayName } from './certificate.ts';
import { byPatternOrder, nearestFirst, PARENT_PATTERNS_MAX } from './certificate-match.ts';
import { parseFingerprint } from './fingerprint.ts';
import {
  type CertificateMapping,
  mapCertificate,
  MAPPING_ENTRIES_MAX,
  MAPPING_PATTERNS_MAX,
} from './certificate-mapping.ts';
import { carriesMatch, loginKey, loginKeysOf } from './login-keys.ts';
import type { Credential } from './credential.ts';
import { affects, PATTERNS_TAG } from './cache-tags.ts';
import { decideOn } from './domain.ts';
import { scopeOf } from './scope.ts';
import { Overlay } from './overlay.ts';

const DIGEST = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';

describe('parseFingerprint', () => {
  test.each([
    '',
    DIGEST.slice(1),
    `${DIGEST}0`,
    DIGEST.replace('b', 'g'),
    `SHA1:${DIGEST}`,
    `${DIGEST.slice(0, 62)}:${DIGEST.slice(62)}`,
    // One bit that is beyond the digest.
    'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa1=',
    'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa',
  ])('refuses %j', (text) => {
    expect(parseFingerprint(text)).toBeUndefined();
  });

  const colons = (DIGEST.match(/../g) ?? []).join(':').toUpperCase();
  test.each([
    DIGEST,
    DIGEST.toUpperCase(),
    colons,
    `SHA256:${colons}`,
    `sha256:${DIGEST}`,
    'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=',
    'SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0',
  ])('reads %j', (text) => {
    expect(parseFingerprint(text)).toBe(DIGEST);
  });
});

test.each(['', 'a+', '#', 'a/b', 'a\0'])('a Common Name %j names nobody', (name) => {
  expect(mayName(name)).toBe(false);
});

const certificate = (more: Partial<CertificateIdentity> = {}): CertificateIdentity => ({
  fingerprintSha256: DIGEST,
  commonName: 'pump',
  chainCommonNames: ['pump', 'plant', '', 'root', 'plant'],
  ...more,
});

describe('loginKeysOf', () => {
  test('a Common Name stands for the user name that CONNECT leaves out', () => {
    const keys = ['both:4:pump:c', 'username:pump', 'client:c'];
    const facts = { clientId: 'c', certificate: certificate() };
    expect(loginKeysOf(facts).slice(0, 3)).toEqual(keys);
    expect(loginKeysOf({ ...facts, username: '' }).slice(0, 3)).toEqual(keys);
    expect(loginKeysOf({ ...facts, username: 'u' })).not.toContain('username:pump');
  });

  test('the certificate comes last: fingerprint, name, and the chain from the leaf, each name once', () => {
    expect(loginKeysOf({ clientId: 'c', username: 'u', certificate: certificate() })).toEqual([
      'both:1:u:c',
      'username:u',
      'client:c',
      `fingerprint:${DIGEST}`,
      'cn:pump',
      'parent:pump',
      'parent:plant',
      'parent:root',
    ]);
  });

  test('no two matches share a key', () => {
    const names = ['a', 'cn:a', 'parent:a', '__proto__', 'constructor'];
    const keys = names.flatMap((name) => [
      loginKey({ commonName: name }),
      loginKey({ parentCommonName: name }),
      loginKey({ username: name }),
      loginKey({ clientId: name }),
      loginKey({ scramUsername: name }),
      loginKey({ parentCommonNamePattern: name }),
    ]);
    expect(new Set(keys).size).toBe(keys.length);
  });
});

const bound = (match: Credential['match'], more: Partial<Credential> = {}) =>
  aCredential({ kind: 'certificate', match, passwordRequired: false, secrets: [], ...more });

const pointers = (credential: ReturnType<typeof aCredential>) =>
  (
    given().when({ type: 'AddCredential', data: credential }).thenRejected('credential_invalid')
      .problems ?? []
  ).map((one) => one.pointer);

const mapping = (more: Partial<CertificateMapping> = {}): CertificateMapping => ({
  kind: 'mapping',
  keywordPattern: 'dev-(\\w+)',
  entries: [{ key: 'pump', publish: ['a'], subscribe: [] }],
  ...more,
});

describe('a certificate credential', () => {
  test.each([
    ['no match', bound({}), '/match'],
    ['two matches', bound({ commonName: 'a', fingerprint: DIGEST }), '/match'],
    ['a user name', bound({ commonName: 'a', username: 'u' }), '/match/username'],
    ['a client id', bound({ commonName: 'a', clientId: 'u' }), '/match/clientId'],
    ['a SCRAM user', bound({ commonName: 'a', scramUsername: 'u' }), '/match/scramUsername'],
    [
      'a fingerprint in another form',
      bound({ fingerprint: DIGEST.toUpperCase() }),
      '/match/fingerprint',
    ],
    ['a Common Name that names nobody', bound({ commonName: 'a/b' }), '/match/commonName'],
    ['an empty parent', bound({ parentCommonName: '' }), '/match/parentCommonName'],
    [
      'a pattern beside the exact name',
      bound({ parentCommonName: 'a', parentCommonNamePattern: 'a' }),
      '/match',
    ],
    [
      'a pattern of a match by password',
      aCredential({ match: { username: 'u', parentCommonNamePattern: 'a' } }),
      '/match/parentCommonNamePattern',
    ],
    ...['', '(', '{id}', 'a(?=b)', '(a)\\1', 'x'.repeat(1025)].map((pattern) => [
      `a pattern that is none, ${pattern.slice(0, 9)}`,
      bound({ parentCommonNamePattern: pattern }),
      '/match/parentCommonNamePattern',
    ]),
    [
      'no certificate among its ways in',
      bound({ commonName: 'a' }, { grants: [{ method: 'password', required: true }] }),
      '/grants',
    ],
    [
      'a method twice',
      aCredential({ grants: [true, false].map((required) => ({ method: 'password', required })) }),
      '/grants',
    ],
    [
      'a password of a match by certificate',
      aCredential({ match: { username: 'u', commonName: 'a' } }),
      '/match/commonName',
    ],
    [
      'a certificate whose name equals nothing',
      aCredential({
        match: { clientId: 'c' },
        grants: [{ method: 'certificate', required: true }],
      }),
      '/match/username',
    ],
    [
      'a password that it has not',
      bound(
        { commonName: 'a' },
        {
          grants: [
            { method: 'certificate', required: true },
            { method: 'password', required: true },
          ],
        },
      ),
      '/password',
    ],
    [
      'an end before its beginning',
      aCredential({ validity: { from: 5, until: 5 } }),
      '/validity/until',
    ],
    ['a time that is none', aCredential({ validity: { from: Number.NaN } }), '/validity/from'],
    [
      'a keyword pattern without a group',
      bound({ commonName: 'a' }, { access: mapping({ keywordPattern: 'a' }) }),
      '/access/keywordPattern',
    ],
    [
      'a keyword pattern that is none',
      bound({ commonName: 'a' }, { access: mapping({ keywordPattern: '(' }) }),
      '/access/keywordPattern',
    ],
    [
      'a key that is no pattern where it must be one',
      bound(
        { commonName: 'a' },
        { access: { kind: 'mapping', entries: [{ key: '(', publish: [], subscribe: [] }] } },
      ),
      '/access/entries/0/key',
    ],
    [
      'a key twice',
      bound(
        { commonName: 'a' },
        { access: mapping({ entries: [...mapping().entries, ...mapping().entries] }) },
      ),
      '/access/entries/1/key',
    ],
    [
      'a topic pattern that is none',
      bound(
        { commonName: 'a' },
        { access: mapping({ entries: [{ key: 'a', publish: [], subscribe: ['a', '('] }] }) },
      ),
      '/access/entries/0/subscribe/1',
    ],
    [
      'too many patterns',
      bound(
        { commonName: 'a' },
        {
          access: mapping({
            entries: [
              {
                key: 'a',
                publish: Array<string>(MAPPING_PATTERNS_MAX + 1).fill('a'),
                subscribe: [],
              },
            ],
          }),
        },
      ),
      '/access/entries/0/publish',
    ],
    [
      'too many entries',
      bound(
        { commonName: 'a' },
        {
          access: mapping({
            entries: Array.from({ length: MAPPING_ENTRIES_MAX + 1 }, (_, index) => ({
              key: `k${index}`,
              publish: [],
              subscribe: [],
            })),
          }),
        },
      ),
      '/access/entries',
    ],
  ] as [string, ReturnType<typeof aCredential>, string][])(
    'with %s is refused',
    (_, credential, pointer) => {
      expect(pointers(credential)).toContain(pointer);
    },
  );

  test('needs no secret, and its match is its own within the store', () => {
    const first = bound({ parentCommonName: 'root' }, { access: mapping() });
    const second = { ...first, id: 'c2', name: 'other' };
    const added = commit({ type: 'CredentialAdded', data: first });
    given().when({ type: 'AddCredential', data: first }).thenAccepted();
    given(added)
      .when({ type: 'AddCredential', data: second })
      .thenRejected('credential_match_taken');
    given(added)
      .when({ type: 'AddCredential', data: { ...second, store: 'clients' } })
      .thenAccepted();
  });
});

describe('a certificate credential that matches by a pattern', () => {
  const pattern = (text: string, id = 'c1') =>
    bound({ parentCommonNamePattern: text }, { id, name: id });
  const add = (data: ReturnType<typeof bound>) => ({ type: 'AddCredential', data }) as const;
  const many = Array.from({ length: PARENT_PATTERNS_MAX }, (_, index) =>
    commit({ type: 'CredentialAdded', data: pattern(`^p${index}$`, `p${index}`) }),
  );

  test('does not stand beside the exact name of the same text, in its store', () => {
    const exact = bound({ parentCommonName: 'root' }, { id: 'c2', name: 'c2' });
    const present = commit({ type: 'CredentialAdded', data: pattern('root') });
    given(present).when(add(exact)).thenRejected('credential_match_taken');
    given(present)
      .when(add(pattern('root', 'c2')))
      .thenRejected('credential_match_taken');
    given(present)
      .when(add({ ...exact, store: 'tbmq' }))
      .thenAccepted();
    const other = commit({ type: 'CredentialAdded', data: exact });
    given(other)
      .when(add(pattern('root')))
      .thenRejected('credential_match_taken');
    const match = { parentCommonNamePattern: 'root' };
    given(other)
      .when({ type: 'ChangeCredential', data: { id: 'c2', changes: { match } } })
      .thenAccepted();
  });

  test(`is one of ${PARENT_PATTERNS_MAX} at most`, () => {
    given(...many)
      .when(add(pattern('more')))
      .thenRejected('too_many_credential_patterns');
    given(...many.slice(1))
      .when(add(pattern('more')))
      .thenAccepted();
    const exact = commit({ type: 'CredentialAdded', data: bound({ parentCommonName: 'root' }) });
    const change = (id: string) =>
      ({
        type: 'ChangeCredential',
        data: { id, changes: { match: { parentCommonNamePattern: 'more' } } },
      }) as const;
    given(exact, ...many)
      .when(change('c1'))
      .thenRejected('too_many_credential_patterns');
    given(exact, ...many)
      .when(change('p0'))
      .thenAccepted();
  });

  test('counts in a plan that is not stored yet', () => {
    const overlay = new Overlay(given(...many.slice(1)).state, 1000);
    expect(decideOn(overlay, add(pattern('one')), 1000).ok).toBe(true);
    expect(decideOn(overlay, add(pattern('two', 'c2')), 1000).ok).toBe(false);
    decideOn(overlay, { type: 'RemoveCredential', data: { id: 'c1' } }, 1000);
    expect(decideOn(overlay, add(pattern('two', 'c2')), 1000).ok).toBe(true);
  });

  test('is decided alone among those that it could clash with', () => {
    const [one, other] = [pattern('a'), pattern('b', 'c2')].map((data) => scopeOf(add(data)));
    expect(one?.filter((text) => other?.includes(text))).toEqual(['pattern-credentials']);
    const exact = scopeOf(add(bound({ parentCommonName: 'a' }, { id: 'c3', name: 'c3' })));
    expect(one?.some((text) => exact.includes(text))).toBe(true);
  });

  test('concerns every lookup with a certificate', () => {
    const data = pattern('a');
    expect(affects({ type: 'CredentialAdded', data })).toContain(PATTERNS_TAG);
    const changes = { match: data.match };
    expect(affects({ type: 'CredentialChanged', data: { id: 'c1', changes } })).toContain(
      PATTERNS_TAG,
    );
    const exact = bound({ parentCommonName: 'a' });
    expect(affects({ type: 'CredentialAdded', data: exact })).not.toContain(PATTERNS_TAG);
  });

  test('is carried by a chain in which it is found, anywhere in a name', () => {
    const facts = { clientId: 'c', certificate: certificate() };
    const carries = (text: string) => carriesMatch(facts, { parentCommonNamePattern: text });
    expect(['^ump', 'x', '^$'].map(carries)).toEqual([false, false, false]);
    expect(['um', '^plant$', 'ro+t'].map(carries)).toEqual([true, true, true]);
    expect(carriesMatch({ clientId: 'pump' }, { parentCommonNamePattern: 'pump' })).toBe(false);
  });

  test('tbmq 5.5.2: leaf to root, and at each certificate patterns before the exact name', () => {
    const named = (name: string, match: Credential['match']) => ({ name, match });
    const patterns = [
      named('b', { parentCommonNamePattern: 'p' }),
      named('a', { parentCommonNamePattern: 'plant|pump' }),
      named('C', { parentCommonNamePattern: 'root' }),
      named('z', { parentCommonNamePattern: 'nothing' }),
    ].sort(byPatternOrder);
    const exact = ['root', 'plant', 'pump'].map((name) => named(name, { parentCommonName: name }));
    const order = nearestFirst(certificate(), { patterns, exact }).map((one) => one.name);
    expect(order).toEqual(['a', 'b', 'pump', 'plant', 'C', 'root']);
    expect(nearestFirst(undefined, { patterns, exact })).toEqual([]);
  });
});

describe('mapCertificate', () => {
  const named = (name: string): CertificateIdentity =>
    certificate({ commonName: name, chainCommonNames: [name, 'root'] });
  const texts = (
    access: CertificateMapping,
    identity: CertificateIdentity | undefined,
    clientId = 'c',
  ) => {
    const mapped = mapCertificate(access, { certificate: identity, clientId });
    return mapped && [...mapped.publish, ...mapped.subscribe].map((one) => one.pattern);
  };

  test('gives nothing without a certificate, without a name and without an entry', () => {
    expect(texts(mapping(), undefined)).toBeUndefined();
    expect(texts(mapping(), certificate({ chainCommonNames: ['', 'root'] }))).toBeUndefined();
    expect(texts(mapping(), named('pump'))).toBeUndefined();
    expect(texts(mapping(), named('dev-fan'))).toBeUndefined();
    // A key is a key, not a property.
    expect(texts(mapping({ keywordPattern: '(.*)' }), named('__proto__'))).toBeUndefined();
    expect(texts(mapping({ keywordPattern: '(.*)' }), named('constructor'))).toBeUndefined();
  });

  test('takes the entry of the keyword, wherever in the name it stands', () => {
    expect(texts(mapping(), named('my dev-pump 7'))).toEqual(['a']);
  });

  test('takes every entry whose key is found, when there is no keyword pattern', () => {
    const access: CertificateMapping = {
      kind: 'mapping',
      entries: ['pump', '^dev', 'fan', 'p$'].map((key) => ({ key, publish: [key], subscribe: [] })),
    };
    expect(texts(access, named('dev-pump'))).toEqual(['pump', '^dev', 'p$']);
    expect(texts(access, named('valve'))).toBeUndefined();
  });

  test('puts the name into patterns as text, and only where it may stand in a level', () => {
    const access = mapping({
      keywordPattern: '(dev)',
      entries: [{ key: 'dev', publish: ['t/${cn}/x', 'plain'], subscribe: ['s/${cn}'] }],
    });
    expect(texts(access, named('dev.1'))).toEqual(['t/dev\\.1/x', 'plain', 's/dev\\.1']);
    expect(texts(access, named('dev/1'))).toEqual(['plain']);
    expect(texts(access, named('dev+'))).toEqual(['plain']);
    expect(texts(access, named('${clientId}dev'))).toContain('s/\\$\\{clientId\\}dev');
    // Longer than a pattern may be once the name is in it.
    expect(texts(access, named(`dev${'.'.repeat(1024)}`))).toEqual(['plain']);
  });
});

test('a mapping puts the client id into patterns as text, and says so', () => {
  const access = mapping({
    keywordPattern: '(dev)',
    entries: [
      { key: 'dev', publish: ['t/${clientId}/${cn}', 'plain'], subscribe: [] },
      { key: 'fan', publish: ['plain'], subscribe: [] },
    ],
  });
  const shown = certificate({ chainCommonNames: ['dev'] });
  const mapped = mapCertificate(access, { certificate: shown, clientId: 'a.b' });
  expect(mapped).toMatchObject({ byClientId: true });
  expect(mapped?.publish.map((one) => one.pattern)).toEqual(['t/a\\.b/dev', 'plain']);
  const wild = mapCertificate(access, { certificate: shown, clientId: 'a/#' });
  expect(wild?.publish.map((one) => one.pattern)).toEqual(['plain']);
  const other = mapCertificate(
    { ...access, keywordPattern: '(fan)' },
    { certificate: certificate({ chainCommonNames: ['fan'] }), clientId: 'a' },
  );
  expect(other).not.toHaveProperty('byClientId');
});

describe('RehashSecrets', () => {
  const imported = { ...aSecret('s1'), imported: 'md5' } as const;
  const past = commit({ type: 'CredentialAdded', data: aCredential({ secrets: [imported] }) });
  const wanted = { id: 'c1', secretId: 's1', verifier: 'ours' };
  const rehash = (...secrets: (typeof wanted)[]) =>
    ({ type: 'RehashSecrets', data: { secrets } }) as const;

  test('leaves alone what is gone, was never imported, or is done already', () => {
    given().when(rehash(wanted)).then();
    given(commit({ type: 'CredentialAdded', data: aCredential() }))
      .when(rehash(wanted))
      .then();
    given(past)
      .when(rehash({ ...wanted, secretId: 's2' }))
      .then();
    given(past).when(rehash(wanted)).thenGiven().when(rehash(wanted)).then();
  });

  test('replaces the verifier once, and changes nothing that an administrator has decided', () => {
    const after = given(past)
      .when(rehash(wanted, { ...wanted, verifier: 'twice' }))
      .thenGiven();
    expect(after.state.credential('c1')).toMatchObject({
      secrets: [{ secretId: 's1', verifier: 'ours', createdAt: 1 }],
      updatedRevision: 1,
    });
    expect(after.state.credential('c1')?.secrets[0]).not.toHaveProperty('imported');
  });
});
