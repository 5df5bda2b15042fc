import { unreachable } from '@sallyport/errors';
import {
  type AclTableCommand,
  type AclTableEvent,
  type AclTableReads,
  decideAclTable,
} from './acl-table.ts';
import { type AuthChainCommand, type AuthChainReads, decideAuthChain } from './auth-chain.ts';
import { type BanCommand, type BanReads, decideBan } from './ban.ts';
import type { Decided, DomainEvent } from './commit.ts';
import type { CredentialEvent } from './credential.ts';
import {
  type CredentialCommand,
  type CredentialReads,
  decideCredential,
} from './decide-credential.ts';
import { decideDynsec, type DynsecCommand, type DynsecReads } from './dynsec/object.ts';
import { decideGroupRules, type GroupRulesCommand, type GroupRulesReads } from './group-rules.ts';
import { decideGroup, type GroupCommand, type GroupReads } from './group.ts';
import { addedBy, decideImport, type ImportCommand, type ImportReads } from './import.ts';
import {
  decideIssuedCertificate,
  type IssuedCertificateCommand,
  type IssuedCertificateEvent,
  type IssuedCertificateReads,
} from './issued-certificate.ts';
import { decideOperator, type OperatorCommand, type OperatorReads } from './operator.ts';
import { Overlay } from './overlay.ts';
import {
  decideRegistration,
  type RegistrationCommand,
  type RegistrationEvent,
  type RegistrationReads,
} from './registration.ts';
import { decideRehash, type RehashCommand } from './rehash.ts';
import { decideRole, type Role, type RoleCommand, type RoleReads } from './role.ts';
import { decideSetting, type SettingCommand, type SettingReads } from './setting.ts';
import { streamOf } from './streams.ts';
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
export type RegisteringCommand = RegistrationCommand | IssuedCertificateCommand;
export type RegisteringEvent = RegistrationEvent | IssuedCertificateEvent;

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
