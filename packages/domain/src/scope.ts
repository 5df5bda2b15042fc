import { unreachable } from '@sallyport/errors';
import { aclTargetKey } from './acl-table.ts';
import { dynsecTag, dynsecTagsOf, roleTag } from './cache-tags.ts';
import { matchesByPattern, twinOf } from './certificate-match.ts';
import { realmOf } from './chain-member.ts';
import type { NewCredential } from './credential.ts';
import type { CredentialCommand } from './decide-credential.ts';
import type { Command, RegisteringCommand } from './domain.ts';
import type { GroupRulesCommand } from './group-rules.ts';
import { loginKey } from './login-keys.ts';
import { rolesOf } from './roles-access.ts';

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
