import { unreachable } from '@sallyport/errors';
import type { AuthChainReads } from './auth-chain.ts';
import { checkBelonging, checkMatched, checkProvable } from './chain-checks.ts';
import { type ChainMember, storedMember } from './chain-member.ts';
import { accept, type Decided, reject, type Revision } from './commit.ts';
import {
  checkDynsecExists,
  checkFields,
  checkPatternCount,
  checkRolesExist,
  checkScramMatch,
  checkScramPatterns,
  checkUnique,
} from './credential-checks.ts';
import { type CredentialToken, decideAddToken, decideRemoveToken } from './credential-token.ts';
import {
  type Credential,
  type CredentialEvent,
  type CredentialFields,
  type CredentialMatch,
  isLive,
  LIVE_SECRETS_MAX,
  type NewCredential,
  type Secret,
  type Store,
} from './credential.ts';
import { type DynsecKind, dynsecNamedBy } from './dynsec/access.ts';
import { grantsOf, needsSecret } from './grants.ts';
import { rolesOf } from './roles-access.ts';
import { Problems } from './text.ts';

/** What `decideCredential` needs to know of the world. */
export interface CredentialReads extends Pick<AuthChainReads, 'authChain'> {
  credential(id: string): Credential | undefined;
  /** Within the store; in the store `emqx` within the authenticator. */
  credentialIdByName(store: Store, name: string, chain?: ChainMember): string | undefined;
  credentialIdByMatch(
    store: Store,
    match: CredentialMatch,
    chain?: ChainMember,
  ): string | undefined;
  /** How many credentials of all stores match by a pattern. */
  patternCredentialCount(): number;
  /** Asked whether a role exists. */
  role(id: string): unknown;
  /** The same of objects of dynamic security. */
  dynsecObject(kind: DynsecKind, id: string): unknown;
  /** The same three lookups for many credentials at once, where that is cheaper than one by one. */
  takenBy?(added: readonly NewCredential[]): TakenIdentities;
}

/** Ids that credentials have, and in each realm names and login keys and whose they are. */
export interface TakenIdentities {
  readonly ids: ReadonlySet<string>;
  readonly names: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly logins: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

interface Conditional {
  /** Refused with `precondition_failed` unless the object was last changed by exactly this revision. */
  readonly ifRevision?: Revision;
}

export type CredentialCommand =
  | { readonly type: 'AddCredential'; readonly data: NewCredential }
  | {
      readonly type: 'ChangeCredential';
      readonly data: Conditional & {
        readonly id: string;
        /** Of another kind the match must be another one too; secrets that are no way in any more are removed. */
        readonly changes: Partial<CredentialFields>;
        /** A new secret that replaces all present ones at once. */
        readonly secret?: Secret;
      };
    }
  | {
      readonly type: 'RotateSecret';
      readonly data: Conditional & {
        readonly id: string;
        readonly secret: Secret;
        /** When the secret that is replaced ends, in milliseconds since 1970. */
        readonly retireAt: number;
      };
    }
  | {
      readonly type: 'RemoveSecret';
      readonly data: Conditional & { readonly id: string; readonly secretId: string };
    }
  | {
      readonly type: 'AddCredentialToken';
      readonly data: Conditional & { readonly id: string; readonly token: CredentialToken };
    }
  | {
      readonly type: 'RemoveCredentialToken';
      readonly data: Conditional & { readonly id: string; readonly tokenId: string };
    }
  | { readonly type: 'RemoveCredential'; readonly data: Conditional & { readonly id: string } };

/** Never throws on input. `at` is the time of the command. */
export function decideCredential(
  reads: CredentialReads,
  command: CredentialCommand,
  at: number,
): Decided<CredentialEvent> {
  if (command.type === 'AddCredential') return decideAdd(reads, command.data);
  const current = reads.credential(command.data.id);
  if (current === undefined) return reject('credential_not_found');
  const { ifRevision } = command.data;
  if (ifRevision !== undefined && ifRevision !== current.updatedRevision) {
    return reject('precondition_failed', {
      detail: `The credential was last changed by revision ${current.updatedRevision}.`,
    });
  }
  switch (command.type) {
    case 'ChangeCredential':
      return decideChange(reads, current, command.data, at);
    case 'RotateSecret':
      return decideRotate(current, command.data, at);
    case 'RemoveSecret':
      if (!current.secrets.some((one) => one.secretId === command.data.secretId)) {
        return reject('secret_not_found');
      }
      return accept({
        type: 'CredentialSecretRemoved',
        data: { id: current.id, secretId: command.data.secretId },
      });
    case 'AddCredentialToken':
      return decideAddToken(current, command.data.token, at);
    case 'RemoveCredentialToken':
      return decideRemoveToken(current, command.data.tokenId);
    case 'RemoveCredential':
      return accept({ type: 'CredentialRemoved', data: { id: current.id } });
    default:
      return unreachable(command);
  }
}

function decideAdd(reads: CredentialReads, added: NewCredential): Decided<CredentialEvent> {
  const problems = new Problems();
  checkFields(problems, added);
  if (added.secrets.length > LIVE_SECRETS_MAX) {
    problems.add('/secrets', `must have at most ${LIVE_SECRETS_MAX} entries`);
  }
  if (needsSecret(added) && added.secrets.length === 0) {
    problems.add('/password', 'is needed unless passwordRequired is false');
  }
  checkRolesExist(problems, reads, rolesOf(added.access), []);
  checkDynsecExists(problems, reads, added.access, []);
  checkScramMatch(problems, added.match, added.secrets);
  checkBelonging(problems, reads, added);
  checkProvable(problems, added.chain, added.secrets);
  checkScramPatterns(problems, added.access, added.secrets);
  if (problems.found.length > 0) return reject('credential_invalid', { problems: problems.found });
  if (reads.credential(added.id) !== undefined) return reject('credential_exists');
  return (
    checkUnique(reads, added, added) ??
    checkPatternCount(reads, undefined, added.match) ??
    accept({ type: 'CredentialAdded', data: asStored(added) })
  );
}

/** As it was given when nothing of it is stored in another way: then its text is known too. */
function asStored(added: NewCredential): NewCredential {
  if (added.chain === undefined) return added;
  const { chain: wanted, ...fields } = added;
  const chain = storedMember(wanted);
  return chain === undefined ? fields : { ...fields, chain };
}

interface CredentialChange {
  readonly changes: Partial<CredentialFields>;
  readonly secret?: Secret;
}

function decideChange(
  reads: CredentialReads,
  current: Credential,
  data: CredentialChange,
  at: number,
): Decided<CredentialEvent> {
  const next = { ...current, ...data.changes };
  const problems = new Problems();
  checkFields(problems, next);
  checkRolesExist(problems, reads, rolesOf(next.access), rolesOf(current.access));
  checkDynsecExists(problems, reads, next.access, dynsecNamedBy(current.access));
  // Who makes it one of passwords again says which: an old one must not come back.
  const closed = next.kind !== current.kind && !usesSecret(next);
  checkNewSecret(problems, current, { next, secret: data.secret, closed });
  const live = current.secrets.filter((one) => isLive(one, at));
  const lasting = data.secret === undefined ? live : [data.secret];
  checkScramMatch(problems, next.match, closed ? [] : lasting);
  checkScramPatterns(problems, next.access, closed ? [] : lasting);
  if (data.changes.match !== undefined) checkMatched(problems, reads, next);
  if (data.secret !== undefined) checkProvable(problems, current.chain, [data.secret]);
  if (problems.found.length > 0) return reject('credential_invalid', { problems: problems.found });
  const removed = closed ? removalsOf(current) : [];
  return (
    checkUnique(reads, current, next) ??
    checkPatternCount(reads, current.match, next.match) ??
    accept(...changeEvents(current, data.changes), ...removed, ...secretEvents(current, data, at))
  );
}

function checkNewSecret(
  problems: Problems,
  current: Credential,
  { next, secret, closed }: { next: Credential; secret: Secret | undefined; closed: boolean },
): void {
  if (needsSecret(next) && current.secrets.length === 0 && secret === undefined) {
    problems.add('/password', 'is needed unless passwordRequired is false');
  }
  if (closed && secret !== undefined) {
    problems.add('/password', 'is no way in for this kind, unless grants has it');
  }
}

function changeEvents(current: Credential, wanted: Partial<CredentialFields>): CredentialEvent[] {
  const changes = differences(current, wanted);
  if (Object.keys(changes).length === 0) return [];
  return [{ type: 'CredentialChanged', data: { id: current.id, changes } }];
}

function secretEvents(
  { id, secrets }: Credential,
  { secret }: CredentialChange,
  at: number,
): CredentialEvent[] {
  if (secret === undefined) return [];
  const live = secrets.filter((one) => isLive(one, at));
  const retired = live.map(({ secretId }) => ({ secretId, expiresAt: at }));
  return [{ type: 'CredentialSecretAdded', data: { id, secret, retired } }];
}

const usesSecret = (credential: CredentialFields): boolean =>
  grantsOf(credential).some((one) => one.method === 'password');

const removalsOf = ({ id, secrets }: Credential): CredentialEvent[] =>
  secrets.map(({ secretId }) => ({ type: 'CredentialSecretRemoved', data: { id, secretId } }));

function decideRotate(
  current: Credential,
  data: { readonly secret: Secret; readonly retireAt: number },
  at: number,
): Decided<CredentialEvent> {
  const problems = new Problems();
  checkScramMatch(problems, current.match, [data.secret], '/scram');
  checkProvable(problems, current.chain, [data.secret]);
  checkScramPatterns(problems, current.access, [data.secret]);
  if (problems.found.length > 0) return reject('credential_invalid', { problems: problems.found });
  const live = current.secrets.filter((one) => isLive(one, at));
  const lasting = data.retireAt > at ? live : [];
  if (lasting.length >= LIVE_SECRETS_MAX) return reject('too_many_secrets');
  const retired = live.map((one) => ({
    secretId: one.secretId,
    expiresAt: Math.min(one.expiresAt ?? data.retireAt, data.retireAt),
  }));
  return accept({
    type: 'CredentialSecretAdded',
    data: { id: current.id, secret: data.secret, retired },
  });
}

/** The same for a member that is absent and for one that says nothing. */
function saidText(value: unknown): string {
  const text = value === undefined ? '' : JSON.stringify(value);
  return text === '{}' || text === '[]' || text === 'false' || text === '0' ? '' : text;
}

function differences(
  current: CredentialFields,
  changes: Partial<CredentialFields>,
): Partial<CredentialFields> {
  const entries = Object.entries(changes).filter(
    ([key, value]) => saidText(current[key as keyof CredentialFields]) !== saidText(value), // Keys of a Partial of the same type.
  );
  return Object.fromEntries(entries);
}
