import { OperationalError } from '@sallyport/errors';
import { APPLY_MODES } from './apply-mode.ts';
import type { Commit, DomainEvent, NewCommit, Revision } from './commit.ts';
import { textOfCredential } from './known-text.ts';

/** Version of the record format that this code writes. */
export const RECORD_VERSION = 1;

// A record of the type keeps the list complete: a new event does not compile until it is named here.
const eventTypes: Readonly<Record<DomainEvent['type'], true>> = {
  CredentialAdded: true,
  CredentialChanged: true,
  CredentialSecretAdded: true,
  CredentialSecretRemoved: true,
  CredentialRemoved: true,
  AclRulesReplaced: true,
  AclRuleAdded: true,
  AclRuleRemoved: true,
  SettingsChanged: true,
  OperatorAdded: true,
  OperatorChanged: true,
  OperatorPasswordChanged: true,
  OperatorSessionsEnded: true,
  OperatorRemoved: true,
  ApiKeyAdded: true,
  ApiKeyChanged: true,
  ApiKeyRemoved: true,
  TrustReplaced: true,
  TrustRemoved: true,
  RoleAdded: true,
  RoleChanged: true,
  RoleRemoved: true,
  RolePermissionAdded: true,
  RolePermissionChanged: true,
  RolePermissionRemoved: true,
  BanAdded: true,
  BanRemoved: true,
  CredentialSecretRehashed: true,
  CredentialTokenAdded: true,
  CredentialTokenRemoved: true,
  ImportRowsStored: true,
  CredentialRoleRemoved: true,
  GroupAdded: true,
  GroupReplaced: true,
  GroupRemoved: true,
  GroupRulesReplaced: true,
  DynsecObjectAdded: true,
  DynsecObjectReplaced: true,
  DynsecObjectRemoved: true,
  AuthChainReplaced: true,
  AuthenticatorUsersRemoved: true,
  RegistrationOpened: true,
  RegistrationClosed: true,
  RegistrationRequested: true,
  RegistrationSeen: true,
  RegistrationGranted: true,
  RegistrationDenied: true,
  RegistrationRemoved: true,
  CertificateIssued: true,
  CertificateRevoked: true,
};

/** Whether events of this type can be read here. */
export const isKnownType = (type: string): type is DomainEvent['type'] =>
  Object.hasOwn(eventTypes, type);

/** The text that the log stores for a commit; the revision is the log's own and is not in it. */
export function encodeCommit(commit: NewCommit): string {
  const { events, ...head } = commit;
  const text = JSON.stringify({ v: RECORD_VERSION, ...head });
  return `${text.slice(0, -1)},"events":[${eventTexts(events)}]}`;
}

function eventTexts(events: readonly DomainEvent[]): string {
  let texts = '';
  for (const event of events) texts += `${texts === '' ? '' : ','}${textOf(event)}`;
  return texts;
}

function textOf(event: DomainEvent): string {
  if (event.type !== 'CredentialAdded') return JSON.stringify(event);
  return `{"type":"CredentialAdded","data":${textOfCredential(event.data)}}`;
}

/**
 * Reads a stored record and lifts old shapes to the present ones.
 * @throws OperationalError `log_unreadable` for anything that this code does not know; nothing is guessed
 */
export function decodeCommit(text: string, revision: Revision): Commit {
  const unreadable = (why: string, cause?: unknown): OperationalError =>
    new OperationalError('log_unreadable', `revision ${revision}: ${why}`, { cause });
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (cause) {
    throw unreadable('the record is not JSON', cause);
  }
  const problem = recordProblem(record);
  if (problem !== undefined) throw unreadable(problem);
  const { v: _version, ...stored } = record as Record<string, unknown>; // recordProblem found a record.
  return { ...(stored as unknown as NewCommit), revision }; // The shape was written by encodeCommit of a known version.
}

function recordProblem(record: unknown): string | undefined {
  if (!isRecord(record) || record['v'] !== RECORD_VERSION) {
    return `the record is not of version ${RECORD_VERSION}`;
  }
  if (typeof record['commitId'] !== 'string' || typeof record['at'] !== 'number') {
    return 'commitId or at is missing';
  }
  if (!Array.isArray(record['events']) || !isRecord(record['actor'])) {
    return 'events or actor is missing';
  }
  const applied = applyProblem(record['apply']);
  if (applied !== undefined) return applied;
  return eventsProblem(record['events']);
}

function applyProblem(apply: unknown): string | undefined {
  if (apply === undefined || APPLY_MODES.some((one) => one === apply)) return undefined;
  return 'what it says of live sessions is not known to this version';
}

function eventsProblem(events: readonly unknown[]): string | undefined {
  for (const event of events) {
    if (!isRecord(event) || typeof event['type'] !== 'string' || !isRecord(event['data'])) {
      return 'an event has no type or no data';
    }
    if (!isKnownType(event['type'])) {
      return `the event type ${event['type']} is not known to this version`;
    }
  }
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
