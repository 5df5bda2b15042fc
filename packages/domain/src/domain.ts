import { unreachable } from '@sallyport/errors';
import {
  type AclTableCommand,
  type AclTableEvent,
  type AclTableReads,
  aclTargetKey,
  decideAclTable,
} from './acl-table.ts';
import {
  type AuthChainCommand,
  type AuthChainReads,
  decideAuthChain,
  GLOBAL_SCOPE,
  listenerScope,
} from './auth-chain.ts';
import { type BanCommand, type BanReads, banTag, decideBan } from './ban.ts';
import { realmOf } from './chain-member.ts';
import type { Decided, DomainEvent } from './commit.ts';
import {
  type AccessSpec,
  type CredentialCommand,
  type CredentialEvent,
  type CredentialMatch,
  type CredentialReads,
  decideCredential,
  loginKey,
  type NewCredential,
} from './credential.ts';
import { matchesByPattern, twinOf } from './certificate-match.ts';
import { dynsecKey, type DynsecKind, dynsecNamed, dynsecNamedBy } from './dynsec/access.ts';
import {
  decideDynsec,
  type DynsecCommand,
  type DynsecGroup,
  dynsecKeyOf,
  type DynsecReads,
} from './dynsec/object.ts';
import { addedBy, decideImport, type ImportCommand, type ImportReads } from './import.ts';
import { decideGroup, type GroupCommand, type GroupReads } from './group.ts';
import { decideGroupRules, type GroupRulesCommand, type GroupRulesReads } from './group-rules.ts';
import {
  decideIssuedCertificate,
  type IssuedCertificateCommand,
  type IssuedCertificateEvent,
  type IssuedCertificateReads,
} from './issued-certificate.ts';
import { decideOperator, type OperatorCommand, type OperatorReads } from './operator.ts';
import {
  decideRegistration,
  type RegistrationCommand,
  type RegistrationEvent,
  type RegistrationReads,
} from './registration.ts';
import { decideRole, type Role, type RoleCommand, type RoleReads } from './role.ts';
import { rolesOf } from './roles-access.ts';
import { decideRehash, type RehashCommand } from './rehash.ts';
import { Overlay } from './overlay.ts';
import {
  decideSetting,
  decidesAnything,
  type SettingCommand,
  type SettingReads,
} from './setting.ts';
import { decideTrust, type TrustCommand, type TrustReads } from './trust.ts';

/** Commands that take effect together or not at all, each decided on what the ones before it do. */
export interface TogetherCommand {
  readonly type: 'ChangeTogether';
  readonly data: { readonly commands: readonly PlannedCommand[] };
}

/** What may be part of a `ChangeTogether`: whatever an `Overlay` knows. */
export type PlannedCommand =
  | CredentialCommand
  | AclTableCommand
  | SettingCommand
  | TrustCommand
  | RoleCommand
  | DynsecCommand
  | GroupCommand
  | GroupRulesCommand
  | BanCommand
  | AuthChainCommand;

export type Command =
  | PlannedCommand
  | OperatorCommand
  | RehashCommand
  | ImportCommand
  | TogetherCommand
  | RegistrationCommand
  | IssuedCertificateCommand;

/** Everything that any decision may look at, at one revision. Synchronous: a decision is made on one state. */
export interface DecisionReads
  extends
    RoleReads,
    DynsecReads,
    CredentialReads,
    AclTableReads,
    SettingReads,
    OperatorReads,
    TrustReads,
    BanReads,
    ImportReads,
    GroupReads,
    GroupRulesReads,
    AuthChainReads,
    RegistrationReads,
    IssuedCertificateReads {
  role(id: string): Role | undefined;
  dynsecObject: DynsecReads['dynsecObject'];
}

/** The events of a command, or why it is refused. Pure, and never throws on input; `at` is the time of the command. */
export function decide(reads: DecisionReads, command: Command, at: number): Decided<DomainEvent> {
  switch (command.type) {
    case 'AddCredential':
    case 'ChangeCredential':
    case 'RotateSecret':
    case 'RemoveSecret':
    case 'AddCredentialToken':
    case 'RemoveCredentialToken':
    case 'RemoveCredential':
      return decideCredential(reads, command, at);
    case 'ReplaceAclRules':
    case 'AddAclRule':
    case 'RemoveAclRule':
    case 'RemoveAclRules':
      return decideAclTable(reads, command);
    case 'ChangeSettings':
      return decideSetting(reads, command);
    case 'Bootstrap':
    case 'AddOperator':
    case 'ChangeOperator':
    case 'EndOperatorSessions':
    case 'RemoveOperator':
    case 'AddApiKey':
    case 'ChangeApiKey':
    case 'RemoveApiKey':
      return decideOperator(reads, command);
    case 'ReplaceTrust':
    case 'RemoveTrust':
      return decideTrust(reads, command);
    case 'AddRole':
    case 'ChangeRole':
    case 'RemoveRole':
    case 'AddRolePermission':
    case 'ChangeRolePermission':
    case 'RemoveRolePermission':
      return decideRole(reads, command);
    case 'AddBan':
    case 'RemoveBan':
      return decideBan(reads, command, at);
    case 'RehashSecrets':
      return decideRehash(reads, command);
    case 'StoreImportRows':
      return decideRows(reads, command, at);
    case 'ChangeTogether':
      return decideTogether(new Overlay(reads, at), command.data.commands, at);
    case 'AddGroup':
    case 'ReplaceGroup':
    case 'RemoveGroup':
      return decideGroup(reads, command);
    case 'AddDynsecObject':
    case 'ReplaceDynsecObject':
    case 'RemoveDynsecObject':
      return decideDynsec(reads, command);
    case 'ReplaceGroupRules':
      return decideGroupRules(reads, command);
    case 'ReplaceAuthChain':
    case 'RemoveAuthenticatorUsers':
      return decideAuthChain(reads, command);
    default:
      return decideRegistering(reads, command, at);
  }
}

/** How devices come to what they log in with, and to certificates that are made here. */
type RegisteringCommand = RegistrationCommand | IssuedCertificateCommand;
type RegisteringEvent = RegistrationEvent | IssuedCertificateEvent;

function decideRegistering(
  reads: DecisionReads,
  command: RegisteringCommand,
  at: number,
): Decided<DomainEvent> {
  switch (command.type) {
    case 'OpenRegistration':
    case 'CloseRegistration':
    case 'RecordRegistrations':
    case 'Register':
    case 'GrantRegistration':
    case 'DenyRegistration':
      return decideRegistration(reads, command, at);
    case 'RenewCertificate':
    case 'RevokeCertificate':
      return decideIssuedCertificate(reads, command, at);
    default:
      return unreachable(command);
  }
}

function decideRows(
  reads: DecisionReads,
  { data }: ImportCommand,
  at: number,
): Decided<DomainEvent> {
  const overlay = new Overlay(reads, at);
  overlay.foresee(addedBy(data.rows));
  return decideImport(overlay, data, (one) => decideOn(overlay, one, at));
}

/** Decides on the overlay and, unless it is refused, puts the events on top of it. */
export function decideOn<C extends PlannedCommand>(
  overlay: Overlay,
  command: C,
  at: number,
): Decided<EventOf<C>> {
  const decided = decide(overlay, command, at);
  if (decided.ok) for (const event of decided.events) overlay.apply(event, streamOf(event));
  return decided as Decided<EventOf<C>>; // A command's events are of its aggregate.
}

type EventOf<C> = C extends CredentialCommand
  ? CredentialEvent
  : C extends AclTableCommand
    ? AclTableEvent
    : DomainEvent;

function decideTogether(
  overlay: Overlay,
  commands: readonly PlannedCommand[],
  at: number,
): Decided<DomainEvent> {
  const events: DomainEvent[] = [];
  for (const [index, command] of commands.entries()) {
    const decided = decideOn(overlay, command, at);
    if (!decided.ok) return { ok: false, rejection: { ...decided.rejection, commandIndex: index } };
    events.push(...decided.events);
  }
  return { ok: true, events };
}

/**
 * What a command's decision reads or its events write, as texts. Two commands whose scopes do not meet may be decided on
 * the same state and appended one after the other. INVARIANT: whatever `decide` looks at for a command is named here.
 */
export function scopeOf(command: Command): readonly string[] {
  switch (command.type) {
    case 'AddCredential':
      return scopeOfAddition(command.data);
    case 'ChangeCredential':
      return changeScope(command.data);
    case 'RotateSecret':
    case 'RemoveSecret':
    case 'AddCredentialToken':
    case 'RemoveCredentialToken':
      return [`credential:${command.data.id}`];
    case 'ReplaceAclRules':
    case 'AddAclRule':
    case 'RemoveAclRule':
    case 'RemoveAclRules':
      return [`acl:${aclTargetKey(command.data.target)}`];
    case 'ChangeSettings':
      return ['settings'];
    case 'Bootstrap':
    case 'AddOperator':
    case 'ChangeOperator':
    case 'EndOperatorSessions':
    case 'RemoveOperator':
    case 'AddApiKey':
    case 'ChangeApiKey':
    case 'RemoveApiKey':
      return ['operators'];
    case 'ReplaceTrust':
    case 'RemoveTrust':
      return [`trust:${command.data.listener}`];
    case 'AddRole':
      return [roleTag(command.data.id), `role-name:${command.data.name}`];
    case 'ChangeRole':
      // The name that it frees is not in the command.
      return command.data.changes.name === undefined ? [roleTag(command.data.id)] : ['*'];
    case 'AddRolePermission':
    case 'ChangeRolePermission':
    case 'RemoveRolePermission':
      return [roleTag(command.data.id)];
    case 'AddBan':
    case 'RemoveBan':
      return ['bans'];
    case 'RehashSecrets':
      return command.data.secrets.map(({ id }) => `credential:${id}`);
    case 'AddGroup':
    case 'ReplaceGroup':
    case 'RemoveGroup':
      return ['groups'];
    case 'ReplaceGroupRules':
      return ['groups', ...credentialsNamed(command)];
    case 'AddDynsecObject':
    case 'ReplaceDynsecObject':
      return ['dynsec', dynsecTag(command.data.kind, command.data.id)];
    // They free what a later command of the same batch may take, or look at credentials that they do not name.
    case 'RemoveCredential':
    case 'RemoveRole':
    case 'RemoveDynsecObject':
    case 'StoreImportRows':
    case 'ChangeTogether':
    case 'ReplaceAuthChain':
    case 'RemoveAuthenticatorUsers':
      return ['*'];
    default:
      return registeringScope(command);
  }
}

function registeringScope(command: RegisteringCommand): readonly string[] {
  switch (command.type) {
    case 'OpenRegistration':
    case 'CloseRegistration':
    case 'DenyRegistration':
      return ['registration'];
    // They add credentials, or look at some that they do not name.
    case 'RecordRegistrations':
    case 'Register':
    case 'GrantRegistration':
    case 'RenewCertificate':
    case 'RevokeCertificate':
      return ['*'];
    default:
      return unreachable(command);
  }
}

/** Whoever changes the chain that it belongs to is decided alone. */
function scopeOfAddition(added: NewCredential): string[] {
  const { id, name, match, access } = added;
  const realm = realmOf(added);
  const own = [`credential:${id}`, `name:${realm}:${name}`, `match:${realm}:${loginKey(match)}`];
  const twin = twinOf(match);
  if (twin !== undefined) own.push(`match:${realm}:${loginKey(twin)}`);
  if (matchesByPattern(match)) own.push('pattern-credentials');
  return [...own, ...rolesOf(access).map(roleTag), ...dynsecTagsOf(access)];
}

function changeScope({
  id,
  changes,
}: Extract<CredentialCommand, { type: 'ChangeCredential' }>['data']): readonly string[] {
  const renamed = changes.name !== undefined || changes.match !== undefined;
  // The store is not in the command, so a change of name or match is decided alone.
  if (renamed) return ['*'];
  const { access } = changes;
  return [`credential:${id}`, ...rolesOf(access).map(roleTag), ...dynsecTagsOf(access)];
}

/** Scopes of the credentials that the rules name: they are looked up. */
function credentialsNamed({ data }: GroupRulesCommand): string[] {
  const named = data.rules.filter((rule) => rule.matchBy === 'credential');
  return named.map((rule) => `credential:${rule.value}`);
}

export interface StreamId {
  readonly aggregate:
    | 'credential'
    | 'acl-table'
    | 'setting'
    | 'operator'
    | 'trust'
    | 'role'
    | 'dynsec'
    | 'ban'
    | 'import'
    | 'group'
    | 'group-rules'
    | 'auth-chain'
    | 'registration-window'
    | 'registration'
    | 'issued-certificate';
  readonly key: string;
}

/** The aggregate that an event belongs to. */
export function streamOf(event: DomainEvent): StreamId {
  switch (event.type) {
    case 'CredentialAdded':
    case 'CredentialChanged':
    case 'CredentialSecretAdded':
    case 'CredentialSecretRemoved':
    case 'CredentialTokenAdded':
    case 'CredentialTokenRemoved':
    case 'CredentialRemoved':
    case 'CredentialSecretRehashed':
    case 'CredentialRoleRemoved':
      return { aggregate: 'credential', key: event.data.id };
    case 'AclRulesReplaced':
    case 'AclRuleAdded':
    case 'AclRuleRemoved':
      return { aggregate: 'acl-table', key: aclTargetKey(event.data.target) };
    case 'SettingsChanged':
      return { aggregate: 'setting', key: 'settings' };
    case 'OperatorAdded':
    case 'OperatorChanged':
    case 'OperatorPasswordChanged':
    case 'OperatorSessionsEnded':
    case 'OperatorRemoved':
    case 'ApiKeyAdded':
    case 'ApiKeyChanged':
    case 'ApiKeyRemoved':
      return { aggregate: 'operator', key: event.data.id };
    case 'TrustReplaced':
    case 'TrustRemoved':
      return { aggregate: 'trust', key: event.data.listener };
    case 'RoleAdded':
    case 'RoleChanged':
    case 'RoleRemoved':
    case 'RolePermissionAdded':
    case 'RolePermissionChanged':
    case 'RolePermissionRemoved':
      return { aggregate: 'role', key: event.data.id };
    case 'BanAdded':
    case 'BanRemoved':
      return { aggregate: 'ban', key: event.data.id };
    case 'ImportRowsStored':
      return { aggregate: 'import', key: event.data.importId };
    case 'GroupAdded':
    case 'GroupReplaced':
    case 'GroupRemoved':
      return { aggregate: 'group', key: event.data.id };
    case 'GroupRulesReplaced':
      return { aggregate: 'group-rules', key: 'group-rules' };
    case 'DynsecObjectAdded':
    case 'DynsecObjectReplaced':
    case 'DynsecObjectRemoved':
      return { aggregate: 'dynsec', key: dynsecKeyOf(event.data) };
    case 'AuthChainReplaced':
    case 'AuthenticatorUsersRemoved':
      return { aggregate: 'auth-chain', key: event.data.scope };
    default:
      return registeringStream(event);
  }
}

function registeringStream(event: RegisteringEvent): StreamId {
  switch (event.type) {
    case 'RegistrationOpened':
    case 'RegistrationClosed':
      return { aggregate: 'registration-window', key: 'window' };
    case 'RegistrationRequested':
    case 'RegistrationSeen':
    case 'RegistrationGranted':
    case 'RegistrationDenied':
    case 'RegistrationRemoved':
      return { aggregate: 'registration', key: event.data.id };
    case 'CertificateIssued':
    case 'CertificateRevoked':
      return { aggregate: 'issued-certificate', key: event.data.fingerprint };
    default:
      return unreachable(event);
  }
}

/** The tag of everything that depends on the settings. */
export const SETTINGS_TAG = 'settings';
/** The tag of what the TLS listeners of every node show and trust. */
export const TRUST_TAG = 'trust';
const CREDENTIAL_TAG_PREFIX = 'credential:';
export const credentialTag = (id: string): string => `${CREDENTIAL_TAG_PREFIX}${id}`;
const LOGIN_TAG_PREFIX = 'login:';
/** Tag of a lookup at CONNECT; the key is one of `loginKeysOf`. */
export const loginTag = (key: string): string => `${LOGIN_TAG_PREFIX}${key}`;
/** Tag of what depends on which credentials match by a pattern: of every lookup with a certificate. */
export const PATTERNS_TAG = loginTag('patterns');
/** Tag of a lookup that a credential with this match could be found by. */
const matchTag = (match: CredentialMatch): string =>
  matchesByPattern(match) ? PATTERNS_TAG : loginTag(loginKey(match));
export const isLoginTag = (tag: string): boolean => tag.startsWith(LOGIN_TAG_PREFIX);
export const aclTag = (target: AclTableEvent['data']['target']): string =>
  `acl:${aclTargetKey(target)}`;

/** Tag of everything that depends on a role. */
export const roleTag = (id: string): string => `role:${id}`;
/** The tag of everything that depends on the group rules. */
export const GROUP_RULES_TAG = 'group-rules';
export const groupTag = (id: string): string => `group:${id}`;
const CERTIFICATE_TAG_PREFIX = 'certificate:';
/** Tag of everything that depends on a certificate that was made here not being revoked. */
export const certificateTag = (fingerprint: string): string =>
  `${CERTIFICATE_TAG_PREFIX}${fingerprint}`;
const dynsecKeyTag = (key: string): string => `dynsec-${key}`;
/** Tag of everything that depends on an object of dynamic security. */
export const dynsecTag = (kind: DynsecKind, id: string): string =>
  dynsecKeyTag(dynsecKey(kind, id));
/** Tags of the objects that an access names, and of the roles of these groups. */
export const dynsecTagsOf = (
  access: AccessSpec | undefined,
  groups: readonly DynsecGroup[] = [],
): readonly string[] => [
  ...new Set([...dynsecNamedBy(access), ...groups.flatMap(dynsecNamed)].map(dynsecKeyTag)),
];
const AUTH_CHAIN_TAG_PREFIX = 'auth-chain:';
/** Tag of everything that depends on a chain, also while it says nothing. */
export const authChainTag = (scope: string): string => `${AUTH_CHAIN_TAG_PREFIX}${scope}`;
/** Whether the tag is of what lets somebody in, rather than of what the rules are made from alone. */
export const isProofTag = (tag: string): boolean =>
  [CREDENTIAL_TAG_PREFIX, AUTH_CHAIN_TAG_PREFIX, CERTIFICATE_TAG_PREFIX].some((one) =>
    tag.startsWith(one),
  );
/** Tags of everything that depends on which chain is in force on a listener, and on what it says. */
export const authChainTagsOf = (listener: string): readonly string[] =>
  [listenerScope(listener), GLOBAL_SCOPE].map(authChainTag);

/** The cache tags that an event makes stale. A cached answer carries the tags of all that it was made from. */
export function affects(event: DomainEvent): readonly string[] {
  switch (event.type) {
    case 'CredentialAdded':
      return [credentialTag(event.data.id), matchTag(event.data.match)];
    case 'CredentialChanged':
      return changedTags(event);
    case 'CredentialSecretAdded':
    case 'CredentialSecretRemoved':
    case 'CredentialTokenAdded':
    case 'CredentialTokenRemoved':
    case 'CredentialRemoved':
    case 'CredentialRoleRemoved':
      return [credentialTag(event.data.id)];
    case 'AclRulesReplaced':
    case 'AclRuleAdded':
    case 'AclRuleRemoved':
      return [aclTag(event.data.target)];
    case 'SettingsChanged':
      return decidesAnything(event) ? [SETTINGS_TAG] : [];
    case 'OperatorAdded':
    case 'OperatorChanged':
    case 'OperatorPasswordChanged':
    case 'OperatorSessionsEnded':
    case 'OperatorRemoved':
    case 'ApiKeyAdded':
    case 'ApiKeyChanged':
    case 'ApiKeyRemoved':
    case 'ImportRowsStored':
      return [];
    case 'TrustReplaced':
    case 'TrustRemoved':
      return [TRUST_TAG];
    case 'RoleAdded':
    case 'RoleChanged':
    case 'RoleRemoved':
    case 'RolePermissionAdded':
    case 'RolePermissionChanged':
    case 'RolePermissionRemoved':
      return [roleTag(event.data.id)];
    case 'BanAdded':
    case 'BanRemoved':
      return [banTag(event.data)];
    case 'CredentialSecretRehashed':
      // What a node has verified stays verified: the password is the same.
      return [];
    case 'GroupAdded':
    case 'GroupReplaced':
    case 'GroupRemoved':
      return [groupTag(event.data.id)];
    case 'DynsecObjectAdded':
    case 'DynsecObjectReplaced':
    case 'DynsecObjectRemoved':
      return [dynsecTag(event.data.kind, event.data.id)];
    case 'GroupRulesReplaced':
      return [GROUP_RULES_TAG];
    case 'AuthChainReplaced':
      return [authChainTag(event.data.scope)];
    case 'AuthenticatorUsersRemoved':
      // Its users opened nothing any more, and each of them has gone by an event of its own.
      return [];
    default:
      return affectedByRegistering(event);
  }
}

function affectedByRegistering(event: RegisteringEvent): readonly string[] {
  switch (event.type) {
    case 'RegistrationOpened':
    case 'RegistrationClosed':
    case 'RegistrationRequested':
    case 'RegistrationSeen':
    case 'RegistrationGranted':
    case 'RegistrationDenied':
    case 'RegistrationRemoved':
      // Nobody gets in by a request; what a grant adds is a credential like any other.
      return [];
    case 'CertificateIssued':
      // Nobody has shown it yet.
      return [];
    case 'CertificateRevoked':
      return [certificateTag(event.data.fingerprint)];
    default:
      return unreachable(event);
  }
}

function changedTags(event: Extract<CredentialEvent, { type: 'CredentialChanged' }>): string[] {
  const { id, changes } = event.data;
  const tags = [credentialTag(id)];
  if (changes.match !== undefined) tags.push(matchTag(changes.match));
  return tags;
}
