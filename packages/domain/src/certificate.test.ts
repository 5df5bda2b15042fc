import { describe, expect, test } from 'vitest';
import { aCredential, aSecret, commit, given } from '../test/given.ts';
import { type CertificateIdentity, mayName } from './certificate.ts';
import { parseFingerprint } from './fingerprint.ts';
import {
  type CertificateMapping,
  mapCertificate,
  MAPPING_ENTRIES_MAX,
  MAPPING_PATTERNS_MAX,
} from './certificate-mapping.ts';
import { type Credential, loginKey, loginKeysOf } from './credential.ts';

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
    [
      'a fingerprint in another form',
      bound({ fingerprint: DIGEST.toUpperCase() }),
      '/match/fingerprint',
    ],
    ['a Common Name that names nobody', bound({ commonName: 'a/b' }), '/match/commonName'],
    ['an empty parent', bound({ parentCommonName: '' }), '/match/parentCommonName'],
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

describe('mapCertificate', () => {
  const named = (name: string): CertificateIdentity =>
    certificate({ commonName: name, chainCommonNames: [name, 'root'] });
  const texts = (access: CertificateMapping, identity: CertificateIdentity | undefined) => {
    const mapped = mapCertificate(access, identity);
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
    // Longer than a pattern may be once the name is in it.
    expect(texts(access, named(`dev${'.'.repeat(1024)}`))).toEqual(['plain']);
  });
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
