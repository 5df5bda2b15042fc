import { describe, expect, test } from 'vitest';
import {
  aCredential,
  anAuthenticator,
  aScramAuthenticator,
  aSecret,
  commit,
  given,
  onRevision,
} from '../test/given.ts';
import {
  AUTH_CHAINS_MAX,
  type Authenticator,
  AUTHENTICATOR_USERS_REMOVED_MAX,
  authenticatorId,
  AUTHENTICATORS_MAX,
  chainInForce,
  isChainScope,
} from './auth-chain.ts';
import { AUTHENTICATOR_IDS, type ChainMember, memberOf, realmOf } from './chain-member.ts';
import { moveAuthenticator, orderAuthenticators, parseChainPosition } from './chain-order.ts';
import type { DomainEvent } from './commit.ts';
import {
  BCRYPT_ROUNDS_MAX,
  BCRYPT_ROUNDS_MIN,
  DERIVED_KEY_BYTES_MAX,
  PBKDF2_MD4_WORK_MAX,
  PBKDF2_WORK_MAX,
} from './hash-algorithm.ts';
import { decodeCommit } from './upcast.ts';

const [PASSWORD, SCRAM] = ['password_based:built_in_database', 'scram:built_in_database'] as const;
const LISTENER = 'listener:tcp:default';

const replace = (scope: string, authenticators: readonly Authenticator[], anonymous = false) =>
  ({ type: 'ReplaceAuthChain', data: { scope, authenticators, anonymous } }) as const;
const replaced = (
  scope: string,
  authenticators: readonly Authenticator[],
  more: {
    anonymous?: boolean;
    admitsUnknown?: true;
    removing?: ChainMember['authenticator'][];
  } = {},
): DomainEvent => ({
  type: 'AuthChainReplaced',
  data: { scope, authenticators, anonymous: false, removing: [], ...more },
});
const chained = (id: string, chain: ChainMember | undefined, more: object = {}) =>
  aCredential({
    id,
    name: id,
    store: 'emqx',
    match: { username: id },
    ...(chain && { chain }),
    ...more,
  });
const added = (...data: ReturnType<typeof chained>[]) =>
  commit(...data.map((one) => ({ type: 'CredentialAdded', data: one }) as const));
const member = (scope: string, authenticator: ChainMember['authenticator'] = PASSWORD) => ({
  scope,
  authenticator,
});
const onListener = member(LISTENER);

test('scopes are the global one, listeners and gateways', () => {
  const long = 'x'.repeat(64);
  for (const scope of [
    'global',
    'listener:tcp:default',
    'listener:quic:a_b-C9',
    `listener:wss:${long}`,
    'gateway:stomp',
    'gateway:stomp:tcp:def',
  ]) {
    expect(isChainScope(scope), scope).toBe(true);
  }
  for (const scope of [
    '',
    'Global',
    'global:',
    '__proto__',
    'listener:tcp',
    'listener:tcp:',
    'listener:udp:x',
    'listener:tcp:a b',
    'listener:tcp:a:b',
    `listener:tcp:${long}x`,
    'gateway:',
    'gateway:Stomp',
    'gateway:stomp:tcp',
    'gateway:stomp:tcp:a/b',
    'listener:tcp:default\n',
  ]) {
    expect(isChainScope(scope), scope).toBe(false);
  }
});

describe('ReplaceAuthChain is refused', () => {
  const hashed = (hash: object) => anAuthenticator({ hash: hash as never });
  test.each<[string, Authenticator, string]>([
    [
      'a mechanism that is not run',
      { ...anAuthenticator(), mechanism: 'jwt' as never },
      '/mechanism',
    ],
    ['a backend that is not run', { ...anAuthenticator(), backend: 'http' as never }, '/backend'],
    [
      'too few rounds',
      hashed({ name: 'bcrypt', saltRounds: BCRYPT_ROUNDS_MIN - 1 }),
      '/hash/saltRounds',
    ],
    [
      'too many rounds',
      hashed({ name: 'bcrypt', saltRounds: BCRYPT_ROUNDS_MAX + 1 }),
      '/hash/saltRounds',
    ],
    ['half a round', hashed({ name: 'bcrypt', saltRounds: 5.5 }), '/hash/saltRounds'],
    [
      'no iteration',
      hashed({ name: 'pbkdf2', digest: 'sha256', iterations: 0 }),
      '/hash/iterations',
    ],
    [
      'too many iterations',
      hashed({ name: 'pbkdf2', digest: 'sha256', iterations: PBKDF2_WORK_MAX + 1 }),
      '/hash/iterations',
    ],
    [
      'too many iterations of MD4',
      hashed({ name: 'pbkdf2', digest: 'md4', iterations: PBKDF2_MD4_WORK_MAX + 1 }),
      '/hash/iterations',
    ],
    [
      'too many iterations for two blocks',
      hashed({ name: 'pbkdf2', digest: 'sha256', iterations: PBKDF2_WORK_MAX, keyBytes: 33 }),
      '/hash/iterations',
    ],
    [
      'too long a key',
      hashed({
        name: 'pbkdf2',
        digest: 'sha512',
        iterations: 1,
        keyBytes: DERIVED_KEY_BYTES_MAX + 1,
      }),
      '/hash/keyBytes',
    ],
    ['SCRAM by client id', { ...aScramAuthenticator(), matchBy: 'clientId' as never }, '/matchBy'],
  ])('for %s', (_, authenticator, pointer) => {
    const { problems } = given()
      .when(replace('global', [authenticator]))
      .thenRejected('auth_chain_invalid');
    expect(problems?.map((one) => one.pointer)).toEqual([`/authenticators/0${pointer}`]);
  });

  test('for a second authenticator of the same id; one of each is taken', () => {
    const twice = [anAuthenticator(), aScramAuthenticator(), anAuthenticator({ enabled: false })];
    const { problems } = given().when(replace('global', twice)).thenRejected('auth_chain_invalid');
    expect(problems).toEqual([
      { pointer: '/authenticators/2', detail: `is the second ${PASSWORD}` },
    ]);
    const one = twice.slice(0, AUTHENTICATORS_MAX);
    expect(one.map(authenticatorId)).toEqual(AUTHENTICATOR_IDS);
    given().when(replace('global', one)).then(replaced('global', one));
  });

  test('for something that is no scope', () => {
    const { problems } = given()
      .when(replace('listener:x', [anAuthenticator()]))
      .thenRejected('auth_chain_invalid');
    expect(problems?.map((one) => one.pointer)).toEqual(['/scope']);
  });

  test('when the chain has changed, also before it says anything', () => {
    const command = replace('global', [anAuthenticator()]);
    given().when(onRevision(command, 1)).thenRejected('precondition_failed');
    given().when(onRevision(command, 0)).thenAccepted();
    const changed = given(commit(replaced('global', [])));
    changed.when(onRevision(command, 0)).thenRejected('precondition_failed');
    changed.when(onRevision(command, 1)).thenAccepted();
    // Another scope is another document.
    changed.when(onRevision(replace(LISTENER, []), 0)).thenAccepted();
  });

  test('when there are as many chains as there may be, unless it is one of them', () => {
    const scope = (index: number) => `listener:tcp:l${index}`;
    const events = Array.from({ length: AUTH_CHAINS_MAX }, (_, index) =>
      replaced(scope(index), [anAuthenticator()]),
    );
    const full = given(commit(...events));
    full.when(replace('global', [anAuthenticator()])).thenRejected('too_many_auth_chains');
    full.when(replace('global', [])).thenRejected('too_many_auth_chains');
    full.when(replace(LISTENER, [], true)).thenRejected('too_many_auth_chains');
    full.when(replace(LISTENER, [])).thenAccepted();
    full.when(replace(scope(0), [])).thenAccepted();
    const one = given(commit(...events.slice(1)));
    one.when(replace('global', [anAuthenticator()])).thenAccepted();
  });

  test('when it makes the users of an authenticator others than they were', () => {
    const chain = commit(replaced(LISTENER, [anAuthenticator()]));
    const other = replace(LISTENER, [anAuthenticator({ matchBy: 'clientId' })]);
    given(chain).when(other).thenAccepted();
    const { problems } = given(chain, added(chained('u', onListener)))
      .when(other)
      .thenRejected('authenticator_has_users');
    expect(problems?.map((one) => one.pointer)).toEqual(['/authenticators/0/matchBy']);
    // Users of another chain are none of it.
    given(chain, added(chained('u', undefined)))
      .when(other)
      .thenAccepted();
  });
});

describe('an authenticator that goes by either', () => {
  const chain = (matchBy: 'username' | 'clientId' | 'either') =>
    commit(replaced(LISTENER, [anAuthenticator({ matchBy })]));
  const device = (id: string) =>
    chained(id, onListener, { name: `device ${id}`, match: { clientId: id } });

  test('has users of a user name and users of a client id, each unique among its own', () => {
    const there = [chain('either'), added(chained('x', onListener))] as const;
    const another = device('x');
    given(...there)
      .when({ type: 'AddCredential', data: { ...another, id: 'other' } })
      .thenAccepted();
    given(...there, added({ ...another, id: 'other' }))
      .when({ type: 'AddCredential', data: { ...another, id: 'third', name: 'third' } })
      .thenRejected('credential_match_taken');
    given(chain('username'))
      .when({ type: 'AddCredential', data: another })
      .thenRejected('credential_invalid');
  });

  test('is what another one may become while it has users, and not the other way round', () => {
    const wider = replace(LISTENER, [anAuthenticator({ matchBy: 'either' })]);
    given(chain('username'), added(chained('x', onListener)))
      .when(wider)
      .thenAccepted();
    const narrower = replace(LISTENER, [anAuthenticator({ matchBy: 'username' })]);
    given(chain('either'), added(device('x')))
      .when(narrower)
      .thenRejected('authenticator_has_users');
    given(chain('either')).when(narrower).thenAccepted();
  });

  test('is not one for SCRAM, which proves a user name', () => {
    given()
      .when(replace(LISTENER, [{ ...aScramAuthenticator(), matchBy: 'either' as never }]))
      .thenRejected('auth_chain_invalid');
  });
});

test('a chain that admits the unknown says so, also when it has nobody to ask', () => {
  const open = replace(LISTENER, []);
  const data = { ...open.data, admitsUnknown: true } as const;
  const event = replaced(LISTENER, [], { admitsUnknown: true });
  given()
    .when({ ...open, data })
    .then(event);
  const { state } = given(commit(event));
  expect(chainInForce(state, 'tcp:default')).toMatchObject({
    scope: LISTENER,
    admitsUnknown: true,
  });
  const { state: after } = given(commit(event), commit(replaced(LISTENER, [])));
  expect(after.authChain(LISTENER)).toBeUndefined();
});

describe('hash algorithms', () => {
  test.each([
    { name: 'argon2id' },
    { name: 'plain', saltPosition: 'disable' },
    { name: 'sha256', saltPosition: 'suffix' },
    { name: 'bcrypt', saltRounds: BCRYPT_ROUNDS_MAX },
    { name: 'bcrypt', saltRounds: BCRYPT_ROUNDS_MIN },
    { name: 'pbkdf2', digest: 'md4', iterations: PBKDF2_MD4_WORK_MAX },
    { name: 'pbkdf2', digest: 'sha256', iterations: PBKDF2_WORK_MAX, keyBytes: 32 },
    { name: 'pbkdf2', digest: 'sha512', iterations: 1, keyBytes: DERIVED_KEY_BYTES_MAX },
  ] as const)('%j is taken', (hash) => {
    const chain = [anAuthenticator({ hash })];
    given().when(replace('global', chain)).then(replaced('global', chain));
  });
});

describe('a chain', () => {
  test('of a listener that is emptied says nothing any more; the global one stays, and says that there is nobody', () => {
    for (const scope of ['global', LISTENER, 'gateway:stomp']) {
      const { state } = given(commit(replaced(scope, [anAuthenticator()])))
        .when(replace(scope, []))
        .thenGiven();
      expect(state.authChain(scope)?.authenticators, scope).toEqual(
        scope === 'global' ? [] : undefined,
      );
    }
    const { state } = given(commit(replaced(LISTENER, [], { anonymous: true })));
    expect(state.authChain(LISTENER)).toMatchObject({ anonymous: true, updatedRevision: 1 });
  });

  test('is an event even when nothing differs, so that saving it again reaches live sessions', () => {
    const chain = [anAuthenticator()];
    given(commit(replaced('global', chain)))
      .when(replace('global', chain))
      .then(replaced('global', chain));
  });

  test('of a listener is in force there, also when it is disabled, and nowhere else', () => {
    const { state } = given(
      commit(
        replaced('global', [anAuthenticator()]),
        replaced(LISTENER, [anAuthenticator({ enabled: false })]),
        replaced('listener:ws:open', [], { anonymous: true }),
        replaced('gateway:stomp:tcp:def', [anAuthenticator()]),
      ),
    );
    const scopeOn = (listener: string) => chainInForce(state, listener)?.scope;
    expect(scopeOn('tcp:default')).toBe(LISTENER);
    expect(scopeOn('ws:open')).toBe('listener:ws:open');
    expect(scopeOn('ssl:default')).toBe('global');
    expect(scopeOn('__proto__')).toBe('global');
    expect(chainInForce(given().state, 'tcp:default')).toBeUndefined();
  });

  test('of which only the users of a removed authenticator are left is not in force', () => {
    const { state } = given(
      commit(
        replaced('global', [anAuthenticator()]),
        replaced(LISTENER, [], { removing: [PASSWORD] }),
      ),
    );
    expect(state.authChain(LISTENER)).toBeDefined();
    expect(chainInForce(state, 'tcp:default')?.scope).toBe('global');
  });
});

describe('the users of an authenticator', () => {
  const chain = [anAuthenticator(), aScramAuthenticator()];
  const world = commit(replaced('global', chain), replaced(LISTENER, chain));
  const scram = { scram: [{ mechanism: 'SCRAM-SHA-256', verifier: 'sealed' }] } as const;
  const add = (data: ReturnType<typeof chained>) => ({ type: 'AddCredential', data }) as const;

  test('may have the same name and match as others in another realm, and no two in one', () => {
    const everywhere = [
      chained('u', undefined),
      chained('u2', onListener, { name: 'u', match: { username: 'u' } }),
      chained('u3', member('global', SCRAM), {
        name: 'u',
        match: { username: 'u' },
        secrets: [{ ...aSecret('s'), ...scram }],
      }),
    ];
    expect(new Set(everywhere.map(realmOf)).size).toBe(3);
    let so = given(world);
    for (const one of everywhere) so = so.when(add(one)).thenGiven();
    for (const one of everywhere) {
      so.when(add({ ...one, id: 'x' })).thenRejected('credential_name_taken');
      so.when(add({ ...one, id: 'x', name: 'x' })).thenRejected('credential_match_taken');
      const { store, chain: of } = one;
      expect(so.state.credentialIdByName(store, 'u', of)).toBe(one.id);
      expect(so.state.credentialIdByMatch(store, { username: 'u' }, of)).toBe(one.id);
      const where = of ?? member('global');
      expect(so.state.credentialIdsByAuthenticator(where, 9)).toEqual([one.id]);
    }
    expect(so.state.credentialIdByName('native', 'u')).toBeUndefined();
  });

  test('of the default are stored as they were before there were chains', () => {
    given(world)
      .when(add(chained('u', member('global'))))
      .then({ type: 'CredentialAdded', data: chained('u', undefined) });
  });

  test('of records that are older than chains belong to passwords of the global chain', () => {
    const record = JSON.stringify({
      ...{ v: 1, commitId: 'old', at: 1, actor: { kind: 'system', id: 'test' } },
      events: [{ type: 'CredentialAdded', data: aCredential({ store: 'emqx' }) }],
    });
    const { state } = given(decodeCommit(record, 1), commit(replaced('global', chain)));
    expect(memberOf(state.credential('c1') ?? aCredential())).toEqual(member('global'));
    expect(state.credentialIdsByAuthenticator(member('global'), 9)).toEqual(['c1']);
    expect(memberOf(aCredential())).toBeUndefined();
  });

  test.each<[string, ReturnType<typeof chained>, string]>([
    ['of another store', aCredential({ chain: onListener }), '/chain'],
    ['in no scope', chained('u', member('listener:x')), '/chain/scope'],
    ['in a chain that says nothing', chained('u', member('listener:ws:x')), '/chain/authenticator'],
    [
      'without a user name, where it goes by that',
      chained('u', onListener, { match: { clientId: 'c' } }),
      '/match/username',
    ],
    ['of SCRAM without keys for it', chained('u', member(LISTENER, SCRAM)), '/scram'],
  ])('are refused: %s', (_, data, pointer) => {
    const { problems } = given(world).when(add(data)).thenRejected('credential_invalid');
    expect(problems?.map((one) => one.pointer)).toEqual([pointer]);
  });

  test('need no chain before the global one is set, and an authenticator from then on', () => {
    given()
      .when(add(chained('u', undefined)))
      .thenAccepted();
    given()
      .when(add(chained('u', onListener)))
      .thenRejected('credential_invalid');
    for (const left of [[], [aScramAuthenticator()]]) {
      const { problems } = given(commit(replaced('global', left)))
        .when(add(chained('u', undefined)))
        .thenRejected('credential_invalid');
      expect(problems?.map((one) => one.pointer)).toEqual(['/chain/authenticator']);
    }
  });

  test('keep a match that their authenticator goes by, and keys that it takes', () => {
    const user = chained('u', member(LISTENER, SCRAM), {
      secrets: [{ ...aSecret('s'), ...scram }],
    });
    const so = given(world, added(user));
    const change = (changes: object) =>
      ({ type: 'ChangeCredential', data: { id: 'u', changes } }) as const;
    so.when(change({ match: { username: 'v' } })).thenAccepted();
    so.when(change({ match: { clientId: 'v' } })).thenRejected('credential_invalid');
    const rotate = (secret: object) =>
      ({
        type: 'RotateSecret',
        data: { id: 'u', secret: { ...aSecret('s2'), ...secret }, retireAt: 0 },
      }) as const;
    so.when(rotate({})).thenRejected('credential_invalid');
    so.when(rotate(scram)).thenAccepted();
  });

  test('go with it, in the same commit; those of others stay, and disabling keeps them', () => {
    const users = [
      chained('a', onListener),
      chained('b', onListener),
      chained('c', undefined),
      chained('d', member(LISTENER, SCRAM), { secrets: [{ ...aSecret('s'), ...scram }] }),
    ];
    const so = given(world, added(...users));
    const [password, other] = chain as [Authenticator, Authenticator];
    so.when(replace(LISTENER, [other])).then(
      replaced(LISTENER, [other]),
      { type: 'CredentialRemoved', data: { id: 'a' } },
      { type: 'CredentialRemoved', data: { id: 'b' } },
    );
    const disabled = [{ ...password, enabled: false } as Authenticator, other];
    so.when(replace(LISTENER, disabled)).then(replaced(LISTENER, disabled));
    const { state } = so.when(replace(LISTENER, [])).thenGiven();
    expect(state.credential('d')).toBeUndefined();
    expect(state.credential('c')).toBeDefined();
  });

  test('are not removed by who has asked to keep them', () => {
    const data = {
      scope: LISTENER,
      authenticators: [],
      anonymous: false,
      keepUsers: true,
    } as const;
    const command = { type: 'ReplaceAuthChain', data } as const;
    given(world).when(command).then(replaced(LISTENER, []));
    const { problems } = given(world, added(chained('a', onListener)))
      .when(command)
      .thenRejected('authenticator_has_users');
    expect(problems?.map((one) => one.pointer)).toEqual(['/authenticators']);
  });

  test('who were there before the global chain was set are not removed by setting it without them', () => {
    given(added(chained('u', undefined)))
      .when(replace('global', [aScramAuthenticator()]))
      .then(replaced('global', [aScramAuthenticator()]));
  });

  test('who are more than a commit holds go in several; meanwhile the authenticator cannot come back', () => {
    const count = 2 * AUTHENTICATOR_USERS_REMOVED_MAX + 1;
    const users = Array.from({ length: count }, (_, index) => chained(`u${index}`, onListener));
    const [password] = chain as [Authenticator];
    let so = given(commit(replaced(LISTENER, [password])), added(...users));
    const left = () => so.state.credentialIdsByAuthenticator(onListener, count + 1).length;
    const next = { type: 'RemoveAuthenticatorUsers', data: onListener } as const;
    so.when(next).then();
    so = so.when(replace(LISTENER, [])).thenGiven();
    expect(left()).toBe(count - AUTHENTICATOR_USERS_REMOVED_MAX);
    expect(so.state.authChain(LISTENER)?.removing).toEqual([PASSWORD]);
    const revision = so.state.authChain(LISTENER)?.updatedRevision;
    so.when(replace(LISTENER, [password])).thenRejected('authenticator_has_users');
    so.when({ type: 'AddCredential', data: chained('x', onListener) }).thenRejected(
      'credential_invalid',
    );
    // Something else can be said meanwhile, and it is not forgotten.
    so = so.when(replace(LISTENER, [aScramAuthenticator()])).thenGiven();
    expect(so.state.authChain(LISTENER)?.removing).toEqual([PASSWORD]);
    so = so.when(replace(LISTENER, [])).thenGiven();
    so = so.when(next).thenGiven();
    expect(left()).toBe(1);
    expect(so.state.authChain(LISTENER)?.removing).toEqual([PASSWORD]);
    so.when(next).then(
      { type: 'CredentialRemoved', data: { id: expect.stringMatching(/^u/) as string } },
      { type: 'AuthenticatorUsersRemoved', data: onListener },
    );
    so = so.when(next).thenGiven();
    expect(so.state.authChain(LISTENER)).toBeUndefined();
    so.when(next).then();
    so.when(replace(LISTENER, [password])).thenAccepted();
    expect(revision).toBeGreaterThan(0);
  });

  test('exactly as many as a commit holds go in one', () => {
    const users = Array.from({ length: AUTHENTICATOR_USERS_REMOVED_MAX }, (_, index) =>
      chained(`u${index}`, onListener),
    );
    const { state } = given(commit(replaced(LISTENER, [anAuthenticator()])), added(...users))
      .when(replace(LISTENER, []))
      .thenGiven();
    expect(state.authChain(LISTENER)).toBeUndefined();
    expect(state.credentialIdsByAuthenticator(onListener, 1)).toEqual([]);
  });

  test('who are gone at last leave the entity tag as it was', () => {
    const { state } = given(
      commit(replaced(LISTENER, [aScramAuthenticator()], { removing: [PASSWORD] })),
      commit({ type: 'AuthenticatorUsersRemoved', data: onListener }),
      commit({ type: 'AuthenticatorUsersRemoved', data: member('listener:ws:none') }),
    );
    expect(state.authChain(LISTENER)).toMatchObject({ removing: [], updatedRevision: 1 });
    expect(state.authChainCount()).toBe(1);
  });
});

describe('positions', () => {
  const chain = [anAuthenticator(), aScramAuthenticator()];

  test('are read with ids that have colons', () => {
    expect(parseChainPosition('front')).toEqual({ at: 'front' });
    expect(parseChainPosition('rear')).toEqual({ at: 'rear' });
    expect(parseChainPosition(`before:${SCRAM}`)).toEqual({ at: 'before', id: SCRAM });
    expect(parseChainPosition('after:jwt')).toEqual({ at: 'after', id: 'jwt' });
    for (const text of ['', 'Front', 'before', 'before:', 'behind:x', 'front:x']) {
      expect(parseChainPosition(text), text).toBeUndefined();
    }
  });

  test.each<[string, string, readonly string[] | string]>([
    [SCRAM, 'front', [SCRAM, PASSWORD]],
    [PASSWORD, 'front', [PASSWORD, SCRAM]],
    [PASSWORD, 'rear', [SCRAM, PASSWORD]],
    [SCRAM, `before:${PASSWORD}`, [SCRAM, PASSWORD]],
    [PASSWORD, `after:${SCRAM}`, [SCRAM, PASSWORD]],
    [PASSWORD, `before:${PASSWORD}`, [PASSWORD, SCRAM]],
    [PASSWORD, 'after:jwt', 'authenticator_not_found'],
    ['jwt', 'front', 'authenticator_not_found'],
  ])('%s goes %s', (id, text, expected) => {
    const position = parseChainPosition(text);
    if (position === undefined) throw new Error('is a position');
    const moved = moveAuthenticator(chain, id, position);
    if (moved.ok) expect(moved.authenticators.map(authenticatorId)).toEqual(expected);
    else expect(moved.rejection.code).toBe(expected);
  });

  test('an order must name every authenticator once, and nothing else', () => {
    const ordered = orderAuthenticators(chain, [SCRAM, PASSWORD]);
    expect(ordered).toEqual({ ok: true, authenticators: chain.toReversed() });
    for (const [ids, pointer] of [
      [[SCRAM], ''],
      [[], ''],
      [[SCRAM, SCRAM], '/1'],
      [[SCRAM, PASSWORD, SCRAM], '/2'],
      [[SCRAM, 'jwt'], '/1'],
    ] as const) {
      const refused = orderAuthenticators(chain, ids);
      expect(refused.ok || refused.rejection.problems?.[0]?.pointer).toBe(pointer);
    }
  });
});
