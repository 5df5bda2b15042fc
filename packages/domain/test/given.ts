import type { ErrorCode, Rejection } from '@sallyport/errors';
import { expect } from 'vitest';
import type { AclRule } from '../src/acl-table.ts';
import type { Authenticator } from '../src/auth-chain.ts';
import type { DomainEvent } from '../src/commit.ts';
import type { Credential, NewCredential, Secret } from '../src/credential.ts';
import { type Command, decide } from '../src/domain.ts';
import type { DynsecAccess } from '../src/dynsec/access.ts';
import type { DynsecAcl } from '../src/dynsec/acl.ts';
import type { NewDynsecGroup, NewDynsecRole } from '../src/dynsec/object.ts';
import type { NewGroup } from '../src/group.ts';
import type { GroupRule } from '../src/group-rules.ts';
import { MemoryState } from '../src/memory-state.ts';
import type { Permission } from '../src/permission.ts';
import type { RegistrationAttempt } from '../src/registration.ts';
import type { NewRole } from '../src/role.ts';
import type { RolesAccess } from '../src/roles-access.ts';
import type { Operator } from '../src/operator.ts';

/** Time of a command unless the test says otherwise; later than every commit that was given. */
const COMMAND_AT = 1000;

interface Past {
  readonly at?: number;
  readonly events: readonly DomainEvent[];
}

/** The events of one command; the nth commit is revision n, at time n unless it says otherwise. */
export function commit(...events: readonly DomainEvent[]): Past {
  return { events };
}

export function stateOf(commits: readonly Past[]): MemoryState {
  const state = new MemoryState();
  commits.forEach(({ at, events }, index) => {
    state.apply({ revision: index + 1, at: at ?? index + 1, events });
  });
  return state;
}

export interface Given {
  readonly state: MemoryState;
  when(command: Command, at?: number): When;
}

export interface When {
  /** Accepted with exactly these events. */
  then(...events: readonly DomainEvent[]): void;
  thenAccepted(): void;
  thenRejected(code: ErrorCode): Rejection;
  /** Accepted; the world after it. */
  thenGiven(): Given;
}

/** `given(...commits).when(command).then(...events)`: the language of all decision tests. */
export function given(...commits: readonly Past[]): Given {
  const state = stateOf(commits);
  return { state, when: (command, at = COMMAND_AT) => when(commits, command, at) };
}

function when(commits: readonly Past[], command: Command, at: number): When {
  const decided = decide(stateOf(commits), command, at);
  const accepted = (): readonly DomainEvent[] => {
    if (!decided.ok) throw new Error(`rejected: ${JSON.stringify(decided.rejection)}`);
    return decided.events;
  };
  return {
    then: (...events) => {
      expect(decided).toEqual({ ok: true, events });
    },
    thenAccepted: () => {
      accepted();
    },
    thenRejected: (code) => {
      expect(decided).toMatchObject({ ok: false, rejection: { code } });
      if (decided.ok) throw new Error('accepted');
      return decided.rejection;
    },
    thenGiven: () => given(...commits, { at, events: accepted() }),
  };
}

/** The same command, on the condition that its object was last changed by this revision. */
export function onRevision(command: Command, ifRevision: number): Command {
  return { ...command, data: { ...command.data, ifRevision } } as Command; // For commands that take the condition.
}

export const aSecret = (secretId: string): Secret => ({
  secretId,
  verifier: `sealed ${secretId}`,
  createdAt: 1,
});

export const aCredential = (changes: Partial<Credential> = {}): NewCredential => ({
  id: 'c1',
  store: 'native',
  kind: 'password',
  name: 'pump',
  match: { username: 'pump' },
  enabled: true,
  superuser: false,
  passwordRequired: true,
  attributes: {},
  access: { kind: 'acl' },
  secrets: [aSecret('s1')],
  ...changes,
});

export const anAclRule = (changes: Partial<AclRule> = {}): AclRule => ({
  ruleId: 'r1',
  effect: 'allow',
  action: 'all',
  topicFilter: 'a/#',
  ...changes,
});

export const anOperator = (
  changes: Partial<Operator> = {},
): Extract<Command, { type: 'AddOperator' }>['data'] => ({
  id: 'o1',
  name: 'root',
  role: 'administrator',
  enabled: true,
  passwordVerifier: 'sealed',
  ...changes,
});

export const anApiKey = (
  changes: Partial<Extract<Command, { type: 'AddApiKey' }>['data']> = {},
): Extract<Command, { type: 'AddApiKey' }>['data'] => ({
  id: 'k1',
  name: 'ci',
  role: 'viewer',
  enabled: true,
  secretVerifier: 'sealed',
  ...changes,
});

export const aPermission = (changes: Partial<Permission> = {}): Permission => ({
  id: 'p1',
  context: 'mqtt',
  resource: 'a/#',
  operation: 'readWrite',
  ...changes,
});

export const aRole = (changes: Partial<NewRole> = {}): NewRole => ({
  id: 'role-1',
  name: 'Operators',
  permissions: [aPermission()],
  ...changes,
});

export const rolesAccess = (changes: Partial<RolesAccess> = {}): RolesAccess => ({
  kind: 'roles',
  roles: [],
  permissions: [],
  ...changes,
});

export const aGroup = (changes: Partial<NewGroup> = {}): NewGroup => ({
  id: 'g1',
  name: 'pumps',
  description: '',
  permissions: [{ permission: 'allow', action: 'publish', topic: 'a/#' }],
  ...changes,
});

export const anAcl = (changes: Partial<DynsecAcl> = {}): DynsecAcl => ({
  aclType: 'publishClientSend',
  topic: 'a/#',
  priority: -1,
  allow: true,
  ...changes,
});

export const aDynsecRole = (changes: Partial<NewDynsecRole> = {}): NewDynsecRole => ({
  kind: 'role',
  id: 'd1',
  name: 'reader',
  description: '',
  acls: [anAcl()],
  allowWildcardSubs: true,
  ...changes,
});

export const aDynsecGroup = (changes: Partial<NewDynsecGroup> = {}): NewDynsecGroup => ({
  kind: 'group',
  id: 'd1',
  name: 'pumps',
  description: '',
  roles: [],
  ...changes,
});

export const dynsecAccess = (changes: Partial<DynsecAccess> = {}): DynsecAccess => ({
  kind: 'dynsec',
  roles: [],
  groups: [],
  ...changes,
});

export const aGroupRule = (changes: Partial<GroupRule> = {}): GroupRule => ({
  id: 'r1',
  matchBy: 'client_id',
  value: 'pump-*',
  groups: ['g1'],
  ...changes,
});

export const anAuthenticator = (
  changes: Partial<Extract<Authenticator, { mechanism: 'password_based' }>> = {},
): Authenticator => ({
  mechanism: 'password_based',
  backend: 'built_in_database',
  enabled: true,
  matchBy: 'username',
  hash: { name: 'argon2id' },
  ...changes,
});

export const aScramAuthenticator = (
  changes: { readonly enabled?: boolean } = {},
): Authenticator => ({
  mechanism: 'scram',
  backend: 'built_in_database',
  enabled: true,
  matchBy: 'username',
  scram: 'SCRAM-SHA-256',
  ...changes,
});

export const anAttempt = (changes: Partial<RegistrationAttempt> = {}): RegistrationAttempt => ({
  id: 'q1',
  username: 'agent-7',
  verifier: 'sealed q1',
  origin: 'mqtt',
  count: 1,
  ...changes,
});
