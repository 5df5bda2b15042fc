import { unreachable } from '@sallyport/errors';
import { aclTargetKey } from './acl-table.ts';
import type { DomainEvent } from './commit.ts';
import type { RegisteringEvent } from './domain.ts';
import { dynsecKeyOf } from './dynsec/object.ts';

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
