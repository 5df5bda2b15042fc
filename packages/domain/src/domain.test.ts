import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  aCredential,
  aDynsecGroup,
  aDynsecRole,
  aGroup,
  aGroupRule,
  anAclRule,
  anAuthenticator,
  anApiKey,
  anAttempt,
  anOperator,
  aPermission,
  aRole,
  aSecret,
  dynsecAccess,
  rolesAccess,
  stateOf,
} from '../test/given.ts';
import type { DomainEvent } from './commit.ts';
import { loginKey } from './login-keys.ts';
import { affects, isOfAdding, isTagOfAdded } from './cache-tags.ts';
import { type Command, decide, decideOn, type PlannedCommand } from './domain.ts';
import { scopeOf } from './scope.ts';
import { streamOf } from './streams.ts';
import { Overlay } from './overlay.ts';
import { TLS_LISTENERS } from './trust.ts';

const AT = 1000;

// Few ids and names, so that commands meet.
const id = fc.constantFrom('x', 'y', 'z');
const name = fc.constantFrom('n1', 'n2');
const store = fc.constantFrom('native' as const, 'tbmq' as const);
const match = fc.oneof(
  name.map((username) => ({ username })),
  name.map((clientId) => ({ clientId })),
  fc.record({ username: name, clientId: name }),
);
const target = fc.oneof(
  fc.constant({ kind: 'everyone' } as const),
  fc.record({ kind: fc.constantFrom('client' as const, 'username' as const), name }),
);
const role = fc.constantFrom('administrator' as const, 'viewer' as const);
const ifRevision = fc.option(fc.integer({ min: 0, max: 4 }), { nil: undefined, freq: 3 });

/** Without the keys whose value is undefined: an absent condition is no condition. */
function defined<T extends Record<string, unknown>>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;
}

const credentialCommand: fc.Arbitrary<Command> = fc.oneof(
  fc
    .record({ id, name, match, store })
    .map((changes): Command => ({ type: 'AddCredential', data: aCredential(changes) })),
  fc
    .record({
      id,
      ifRevision,
      changes: fc.record({ name, match, enabled: fc.boolean() }, { requiredKeys: [] }),
    })
    .map((data): Command => ({ type: 'ChangeCredential', data: defined(data) as never })),
  fc.record({ id, ifRevision, retireAt: fc.constantFrom(AT - 1, AT + 9) }).map((data): Command => ({
    type: 'RotateSecret',
    data: defined({ ...data, secret: aSecret('s2') }) as never,
  })),
  id.map((one): Command => ({ type: 'RemoveSecret', data: { id: one, secretId: 's1' } })),
  id.map((one): Command => ({ type: 'RemoveCredential', data: { id: one } })),
);
const otherCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ target, ifRevision }).map((data): Command => ({
    type: 'ReplaceAclRules',
    data: defined({ ...data, rules: [anAclRule()] }) as never,
  })),
  target.map((one): Command => ({ type: 'AddAclRule', data: { target: one, rule: anAclRule() } })),
  target.map((one): Command => ({ type: 'RemoveAclRule', data: { target: one, ruleId: 'r1' } })),
  target.map((one): Command => ({ type: 'RemoveAclRules', data: { target: one } })),
  fc.record({ ifRevision }).map((data): Command => ({
    type: 'ChangeSettings',
    data: defined({ ...data, changes: { noMatch: 'allow' } }) as never,
  })),
  fc
    .record({ id, name, role })
    .map((changes): Command => ({ type: 'AddOperator', data: anOperator(changes) })),
  fc
    .record({ id, name })
    .map((changes): Command => ({ type: 'Bootstrap', data: anOperator(changes) })),
  fc
    .record({ id, changes: fc.record({ role, name }, { requiredKeys: [] }) })
    .map((data): Command => ({ type: 'ChangeOperator', data })),
  id.map((one): Command => ({ type: 'RemoveOperator', data: { id: one } })),
  id.map((one): Command => ({ type: 'EndOperatorSessions', data: { id: one } })),
  fc
    .record({ id, name })
    .map((changes): Command => ({ type: 'AddApiKey', data: anApiKey(changes) })),
  id.map((one): Command => ({
    type: 'ChangeApiKey',
    data: { id: one, changes: { enabled: false } },
  })),
  id.map((one): Command => ({ type: 'RemoveApiKey', data: { id: one } })),
  fc.record({ id, name }).map((changes): Command => ({ type: 'AddGroup', data: aGroup(changes) })),
  fc.record({ id, name, ifRevision }).map(({ ifRevision: on, ...changes }): Command => ({
    type: 'ReplaceGroup',
    data: defined({ ...aGroup(changes), ifRevision: on }) as never,
  })),
  id.map((one): Command => ({ type: 'RemoveGroup', data: { id: one } })),
  fc
    .record({ groups: fc.uniqueArray(id), credential: id })
    .map(({ groups, credential: value }): Command => ({
      type: 'ReplaceGroupRules',
      data: { rules: [aGroupRule({ matchBy: 'credential', value, groups })] },
    })),
);
const held = <K extends 'role' | 'group'>(kind: K) =>
  fc
    .uniqueArray(id, { maxLength: 2 })
    .map((ids) => ids.map((one) => ({ [kind]: one, priority: -1 }) as never));
const dynsecObject = fc.oneof(
  fc.record({ id, name }).map(aDynsecRole),
  fc.record({ id, name, roles: held('role') }).map(aDynsecGroup),
);
const dynsecCommand: fc.Arbitrary<Command> = fc.oneof(
  dynsecObject.map((data): Command => ({ type: 'AddDynsecObject', data })),
  fc.record({ object: dynsecObject, ifRevision }).map(({ object, ifRevision: on }): Command => ({
    type: 'ReplaceDynsecObject',
    data: defined({ ...object, ifRevision: on }) as never,
  })),
  fc
    .record({ kind: fc.constantFrom('role' as const, 'group' as const), id })
    .map((data): Command => ({ type: 'RemoveDynsecObject', data })),
);
const access = fc.oneof(
  fc.uniqueArray(id, { maxLength: 2 }).map((roles) => rolesAccess({ roles })),
  fc.record({ roles: held('role'), groups: held('group') }).map(dynsecAccess),
);
const roleCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ id, name }).map((changes): Command => ({ type: 'AddRole', data: aRole(changes) })),
  fc
    .record({
      id,
      ifRevision,
      changes: fc.record({ name, permissions: fc.constant([]) }, { requiredKeys: [] }),
    })
    .map((data): Command => ({ type: 'ChangeRole', data: defined(data) as never })),
  fc.record({ id, detach: fc.boolean() }).map((data): Command => ({ type: 'RemoveRole', data })),
  id.map((one): Command => ({
    type: 'AddRolePermission',
    data: { id: one, permission: aPermission({ id: 'p2' }) },
  })),
  id.map((one): Command => ({
    type: 'ChangeRolePermission',
    data: { id: one, permission: aPermission({ resource: 'b' }) },
  })),
  id.map((one): Command => ({
    type: 'RemoveRolePermission',
    data: { id: one, permissionId: 'p1' },
  })),
  fc
    .record({ id, name, match, store, access })
    .map((changes): Command => ({ type: 'AddCredential', data: aCredential(changes) })),
  fc
    .record({ id, changes: fc.record({ access, enabled: fc.boolean() }, { requiredKeys: [] }) })
    .map((data): Command => ({ type: 'ChangeCredential', data })),
);
const banValue = fc.constantFrom('192.0.2.1', '192.0.2.2');
const banCommand: fc.Arbitrary<PlannedCommand> = fc.oneof(
  fc.record({ id, value: banValue, until: fc.constantFrom(AT + 1, AT + 2) }).map((data) => ({
    type: 'AddBan' as const,
    data: { ...data, kind: 'address' as const, by: 'operator:root' },
  })),
  id.map((one) => ({ type: 'RemoveBan' as const, data: { id: one } })),
);
const listener = fc.constantFrom(...TLS_LISTENERS);
const trustCommand: fc.Arbitrary<PlannedCommand> = fc.oneof(
  listener.map((one) => ({
    type: 'ReplaceTrust' as const,
    data: { listener: one, fields: { clientCertificate: 'none' as const } },
  })),
  listener.map((one) => ({ type: 'RemoveTrust' as const, data: { listener: one } })),
);
const scope = fc.constantFrom('global', 'listener:tcp:default');
const chainCommand: fc.Arbitrary<Command> = fc.oneof(
  fc
    .record({ scope, some: fc.boolean(), anonymous: fc.boolean(), ifRevision })
    .map(({ some, ...data }): Command => ({
      type: 'ReplaceAuthChain',
      data: defined({ ...data, authenticators: some ? [anAuthenticator()] : [] }) as never,
    })),
  fc.record({ id, name, scope }).map(({ scope: of, ...changes }): Command => ({
    type: 'AddCredential',
    data: aCredential({
      ...changes,
      store: 'emqx',
      chain: { scope: of, authenticator: 'password_based:built_in_database' },
    }),
  })),
);
const attempt = fc.record({ id, username: fc.constantFrom('n1-long', 'n2-long') }).map(anAttempt);
const registrationCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.constant<Command>({ type: 'OpenRegistration', data: { openMs: 1 } }),
  fc.constant<Command>({ type: 'CloseRegistration', data: {} }),
  fc.array(attempt, { maxLength: 3 }).map((attempts): Command => ({
    type: 'RecordRegistrations',
    data: { attempts },
  })),
  attempt.map((one): Command => ({ type: 'Register', data: { ...one, origin: 'http' } })),
  fc
    .record({ id, credential: id, username: fc.constantFrom('n1-long', 'n2-long') })
    .map(({ id: one, credential, username }): Command => ({
      type: 'GrantRegistration',
      data: {
        id: one,
        credential: aCredential({ id: credential, name: username, match: { username } }),
      },
    })),
  id.map((one): Command => ({ type: 'DenyRegistration', data: { id: one } })),
);
// Most of the interest is in credentials: their names and matches are unique across aggregates.
const command = fc.oneof(
  { weight: 3, arbitrary: credentialCommand },
  { weight: 2, arbitrary: otherCommand },
  { weight: 3, arbitrary: roleCommand },
  { weight: 3, arbitrary: dynsecCommand },
  { weight: 2, arbitrary: chainCommand },
  { weight: 2, arbitrary: registrationCommand },
);

type Commits = readonly { readonly at?: number; readonly events: readonly DomainEvent[] }[];

/** The commits that commands leave behind those of `before`, refused ones left out; at its own time each, unless `at` says when. */
function historyOf(
  commands: readonly Command[],
  { before = [], at }: { readonly before?: Commits; readonly at?: number } = {},
): Commits {
  const commits = [...before];
  const when = at === undefined ? {} : { at };
  for (const one of commands) {
    const decided = decide(stateOf(commits), one, AT);
    if (decided.ok && decided.events.length > 0) commits.push({ ...when, events: decided.events });
  }
  return commits;
}

const meets = (left: Command, right: Command): boolean => {
  const [one, two] = [scopeOf(left), scopeOf(right)];
  return one.includes('*') || two.includes('*') || one.some((text) => two.includes(text));
};

describe('group commit', () => {
  test('a decision does not change when a command of another scope goes before it', () => {
    let compared = 0;
    fc.assert(
      fc.property(
        fc.array(command, { maxLength: 8 }),
        command,
        command,
        (history, first, second) => {
          fc.pre(!meets(first, second));
          const commits = historyOf(history);
          const before = decide(stateOf(commits), first, AT);
          if (!before.ok) return;
          compared++;
          const alone = decide(stateOf(commits), second, AT);
          const after = decide(stateOf([...commits, { events: before.events }]), second, AT);
          expect(after).toEqual(alone);
        },
      ),
      { numRuns: 2000 },
    );
    expect(compared).toBeGreaterThan(300);
  });

  test('commands that would clash are kept apart', () => {
    const add = (changes: object): Command => ({
      type: 'AddCredential',
      data: aCredential(changes),
    });
    const base = add({ id: 'x', name: 'n1', match: { username: 'u1' } });
    expect(meets(base, add({ id: 'x', name: 'n2', match: { username: 'u2' } }))).toBe(true);
    expect(meets(base, add({ id: 'y', name: 'n1', match: { username: 'u2' } }))).toBe(true);
    expect(meets(base, add({ id: 'y', name: 'n2', match: { username: 'u1' } }))).toBe(true);
    expect(meets(base, add({ id: 'y', name: 'n2', match: { username: 'u2' } }))).toBe(false);
    expect(meets(base, { type: 'RemoveCredential', data: { id: 'y' } })).toBe(true);
    const holder = add({
      id: 'z',
      name: 'n3',
      match: { username: 'u3' },
      access: rolesAccess({ roles: ['r'] }),
    });
    expect(meets(holder, { type: 'RemoveRole', data: { id: 'r' } })).toBe(true);
    expect(meets(holder, { type: 'AddRole', data: aRole({ id: 'r' }) })).toBe(true);
    expect(meets(holder, { type: 'AddRole', data: aRole({ id: 'q' }) })).toBe(false);
  });
});

/** Commands of a commit of their own; conditions too, because a plan has no revision before it is stored. */
const isPlanned = (one: Command): one is PlannedCommand =>
  !/Operator|ApiKey|Bootstrap|Regist/.test(one.type) && !('ifRevision' in one.data);

describe('a plan', () => {
  test('is decided as its commands are one after the other', () => {
    let accepted = 0;
    const planned = fc.oneof(
      { weight: 6, arbitrary: command.filter(isPlanned) },
      { weight: 1, arbitrary: banCommand },
      { weight: 1, arbitrary: trustCommand },
    );
    fc.assert(
      fc.property(
        fc.array(fc.oneof(command, banCommand, trustCommand), { maxLength: 8 }),
        fc.array(planned, { maxLength: 8 }),
        (history, commands) => {
          const commits = historyOf(history);
          // At one time, as in a plan: a secret may end between two commits.
          const alone = historyOf(commands, { before: commits, at: AT })
            .slice(commits.length)
            .map(({ events: caused }) => ({ events: caused }));
          const overlay = new Overlay(stateOf(commits), AT);
          const together: Commits = commands.map((one) => {
            const decided = decideOn(overlay, one, AT);
            return { events: decided.ok ? decided.events : [] };
          });
          const changed = together.filter(({ events: caused }) => caused.length > 0);
          expect(changed).toEqual(alone);
          accepted += changed.length;
        },
      ),
      { numRuns: 2000 },
    );
    expect(accepted).toBeGreaterThan(1000);
  });
});

const everyone = { kind: 'everyone' } as const;
const client = { kind: 'client', name: 'pump' } as const;

/** Every event, with the stream that it belongs to and the cache tags that it makes stale. */
const events: readonly (readonly [DomainEvent, string, readonly string[]])[] = [
  [
    { type: 'CredentialAdded', data: aCredential() },
    'credential c1',
    ['credential:c1', `login:${loginKey({ username: 'pump' })}`],
  ],
  [
    { type: 'CredentialChanged', data: { id: 'c1', changes: { enabled: false } } },
    'credential c1',
    ['credential:c1'],
  ],
  [
    { type: 'CredentialChanged', data: { id: 'c1', changes: { match: { clientId: 'new' } } } },
    'credential c1',
    ['credential:c1', `login:${loginKey({ clientId: 'new' })}`],
  ],
  [
    { type: 'CredentialSecretAdded', data: { id: 'c1', secret: aSecret('s'), retired: [] } },
    'credential c1',
    ['credential:c1'],
  ],
  [
    { type: 'CredentialSecretRemoved', data: { id: 'c1', secretId: 's' } },
    'credential c1',
    ['credential:c1'],
  ],
  [{ type: 'CredentialRemoved', data: { id: 'c1' } }, 'credential c1', ['credential:c1']],
  [
    { type: 'AclRulesReplaced', data: { target: everyone, rules: [] } },
    'acl-table everyone',
    ['acl:everyone'],
  ],
  [
    { type: 'AclRuleAdded', data: { target: client, rule: anAclRule(), position: 0 } },
    'acl-table client:pump',
    ['acl:client:pump'],
  ],
  [
    { type: 'AclRuleRemoved', data: { target: client, ruleId: 'r1' } },
    'acl-table client:pump',
    ['acl:client:pump'],
  ],
  [{ type: 'SettingsChanged', data: { changes: {} } }, 'setting settings', ['settings']],
  [{ type: 'OperatorAdded', data: anOperator() }, 'operator o1', []],
  [{ type: 'OperatorChanged', data: { id: 'o1', changes: {} } }, 'operator o1', []],
  [
    { type: 'OperatorPasswordChanged', data: { id: 'o1', passwordVerifier: '' } },
    'operator o1',
    [],
  ],
  [{ type: 'OperatorSessionsEnded', data: { id: 'o1' } }, 'operator o1', []],
  [{ type: 'OperatorRemoved', data: { id: 'o1' } }, 'operator o1', []],
  [{ type: 'ApiKeyAdded', data: anApiKey() }, 'operator k1', []],
  [{ type: 'ApiKeyChanged', data: { id: 'k1', changes: {} } }, 'operator k1', []],
  [{ type: 'ApiKeyRemoved', data: { id: 'k1' } }, 'operator k1', []],
  [
    { type: 'CredentialRoleRemoved', data: { id: 'c1', roleId: 'role-1' } },
    'credential c1',
    ['credential:c1'],
  ],
  [{ type: 'RoleAdded', data: aRole() }, 'role role-1', ['role:role-1']],
  [
    { type: 'RoleChanged', data: { id: 'role-1', changes: { name: 'x' } } },
    'role role-1',
    ['role:role-1'],
  ],
  [{ type: 'RoleRemoved', data: { id: 'role-1' } }, 'role role-1', ['role:role-1']],
  [
    { type: 'RolePermissionAdded', data: { id: 'role-1', permission: aPermission() } },
    'role role-1',
    ['role:role-1'],
  ],
  [
    { type: 'RolePermissionChanged', data: { id: 'role-1', permission: aPermission() } },
    'role role-1',
    ['role:role-1'],
  ],
  [
    { type: 'RolePermissionRemoved', data: { id: 'role-1', permissionId: 'p1' } },
    'role role-1',
    ['role:role-1'],
  ],
  [{ type: 'GroupAdded', data: aGroup() }, 'group g1', ['group:g1']],
  [{ type: 'GroupReplaced', data: aGroup() }, 'group g1', ['group:g1']],
  [{ type: 'GroupRemoved', data: { id: 'g1' } }, 'group g1', ['group:g1']],
  [{ type: 'GroupRulesReplaced', data: { rules: [] } }, 'group-rules group-rules', ['group-rules']],
  [{ type: 'DynsecObjectAdded', data: aDynsecRole() }, 'dynsec role:d1', ['dynsec-role:d1']],
  [{ type: 'DynsecObjectReplaced', data: aDynsecGroup() }, 'dynsec group:d1', ['dynsec-group:d1']],
  [
    { type: 'DynsecObjectRemoved', data: { kind: 'group', id: 'd1' } },
    'dynsec group:d1',
    ['dynsec-group:d1'],
  ],
  [
    {
      type: 'AuthChainReplaced',
      data: { scope: 'global', authenticators: [], anonymous: false, removing: [] },
    },
    'auth-chain global',
    ['auth-chain:global'],
  ],
  [
    {
      type: 'AuthenticatorUsersRemoved',
      data: { scope: 'listener:ws:x', authenticator: 'scram:built_in_database' },
    },
    'auth-chain listener:ws:x',
    [],
  ],
  [{ type: 'RegistrationOpened', data: { openUntil: 1 } }, 'registration-window window', []],
  [{ type: 'RegistrationClosed', data: {} }, 'registration-window window', []],
  [{ type: 'RegistrationRequested', data: { ...anAttempt(), until: 1 } }, 'registration q1', []],
  [
    { type: 'RegistrationSeen', data: { id: 'q1', origin: 'mqtt', count: 1 } },
    'registration q1',
    [],
  ],
  [{ type: 'RegistrationGranted', data: { id: 'q1', credentialId: 'c1' } }, 'registration q1', []],
  [{ type: 'RegistrationDenied', data: { id: 'q1' } }, 'registration q1', []],
  [{ type: 'RegistrationRemoved', data: { id: 'q1', reason: 'told' } }, 'registration q1', []],
  [
    {
      type: 'CertificateIssued',
      data: {
        ...{ fingerprint: 'ab', serial: '01', subject: 'u', authority: 'cd', credentialId: 'c1' },
        ...{ notBefore: 0, notAfter: 1, by: 'operator:admin', certificate: 'PEM' },
      },
    },
    'issued-certificate ab',
    [],
  ],
  [
    { type: 'CertificateRevoked', data: { fingerprint: 'ab', by: 'operator:admin' } },
    'issued-certificate ab',
    ['certificate:ab'],
  ],
];

test.each(events)(
  '$type belongs to a stream and makes its tags stale (%#)',
  (event, stream, tags) => {
    const { aggregate, key } = streamOf(event);
    expect(`${aggregate} ${key}`).toBe(stream);
    expect(affects(event)).toEqual(tags);
    // What only adds credentials is not read by whoever asks for other tags.
    if (isOfAdding(event.type)) expect(tags.filter((tag) => !isTagOfAdded(tag))).toEqual([]);
  },
);

test('nothing of these but a credential that is added counts as adding', () => {
  const types = new Set(events.map(([event]) => event.type).filter(isOfAdding));
  expect(types).toEqual(new Set(['CredentialAdded']));
});

test('an event of an aggregate that is gone changes nothing', () => {
  const state = stateOf([
    { events: [{ type: 'CredentialChanged', data: { id: 'c1', changes: { enabled: true } } }] },
    { events: [{ type: 'OperatorSessionsEnded', data: { id: 'o1' } }] },
    { events: [{ type: 'GroupReplaced', data: aGroup() }] },
    { events: [{ type: 'DynsecObjectReplaced', data: aDynsecRole() }] },
    { events: [{ type: 'ApiKeyChanged', data: { id: 'k1', changes: { enabled: true } } }] },
    { events: [{ type: 'RoleChanged', data: { id: 'role-1', changes: { name: 'x' } } }] },
    { events: [{ type: 'RegistrationSeen', data: { id: 'q1', origin: 'mqtt', count: 1 } }] },
    { events: [{ type: 'RegistrationDenied', data: { id: 'q1', toldUntil: 9000 } }] },
  ]);
  expect(state.registrationCounts()).toEqual({ pending: 0, settled: 0 });
  expect(state.credential('c1')).toBeUndefined();
  expect(state.operatorCount()).toBe(0);
  expect(state.group('g1')).toBeUndefined();
  expect(state.dynsecObject('role', 'd1')).toBeUndefined();
  expect(state.apiKey('k1')).toBeUndefined();
  expect(state.role('role-1')).toBeUndefined();
});
