import { unreachable } from '@sallyport/errors';
import { type AclTableEvent, aclTargetKey } from './acl-table.ts';
import { GLOBAL_SCOPE, listenerScope } from './auth-chain.ts';
import { banTag } from './ban.ts';
import { matchesByPattern } from './certificate-match.ts';
import type { DomainEvent } from './commit.ts';
import type { AccessSpec, CredentialEvent, CredentialMatch } from './credential.ts';
import type { RegisteringEvent } from './domain.ts';
import { dynsecKey, type DynsecKind, dynsecNamed, dynsecNamedBy } from './dynsec/access.ts';
import type { DynsecGroup } from './dynsec/object.ts';
import { loginKey } from './login-keys.ts';
import { decidesAnything } from './setting.ts';

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
  tag.startsWith(CREDENTIAL_TAG_PREFIX) ||
  tag.startsWith(AUTH_CHAIN_TAG_PREFIX) ||
  tag.startsWith(CERTIFICATE_TAG_PREFIX);
/** Tags of everything that depends on which chain is in force on a listener, and on what it says. */
export const authChainTagsOf = (listener: string): readonly string[] =>
  [listenerScope(listener), GLOBAL_SCOPE].map(authChainTag);

/** Whether events of this type add credentials, or change nothing: they ban nobody, and `isTagOfAdded` holds for all of their tags. */
export const isOfAdding = (type: DomainEvent['type']): boolean =>
  type === 'CredentialAdded' || type === 'ImportRowsStored';
/** Whether an added credential may make the tag stale. */
export const isTagOfAdded = (tag: string): boolean =>
  tag.startsWith(CREDENTIAL_TAG_PREFIX) || isLoginTag(tag);

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
