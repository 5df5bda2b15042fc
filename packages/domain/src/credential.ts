import { unreachable } from '@sallyport/errors';
import { parseTopicPattern } from '@sallyport/topic';
import { type CertificateIdentity, isFingerprint, mayName } from './certificate.ts';
import {
  type CertificateMapping,
  checkMapping,
  mapCertificate,
  type MappingFacts,
} from './certificate-mapping.ts';
import {
  chainNamesOf,
  checkParentPattern,
  findsName,
  matchesByPattern,
  PARENT_PATTERNS_MAX,
  twinOf,
} from './certificate-match.ts';
import type { ApplyMode } from './apply-mode.ts';
import type { AuthChainReads } from './auth-chain.ts';
import { checkBelonging, checkMatched, checkProvable } from './chain-checks.ts';
import { type ChainMember, storedMember } from './chain-member.ts';
import { checkClientIds, type ClientIds, letsIn } from './client-ids.ts';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import { withPartRevisions } from './credential-parts.ts';
import {
  checkDynsecAccess,
  checkDynsecNamed,
  type DynsecAccess,
  dynsecKey,
  type DynsecKind,
  dynsecNamedBy,
} from './dynsec/access.ts';
import { knownText } from './known-text.ts';
import { checkRolesAccess, type RolesAccess, rolesOf, withoutRole } from './roles-access.ts';
import {
  type CredentialToken,
  type CredentialTokenEvent,
  decideAddToken,
  decideRemoveToken,
  evolveTokens,
} from './credential-token.ts';
import { checkGrants, type Grant, grantsOf, needsSecret } from './grants.ts';
import { type CredentialRehash, type ImportedAlgorithm, rehashed } from './rehash.ts';
import { checkScram, type ScramKeys } from './scram.ts';
import { namesClientId, withValues } from './pattern-placeholder.ts';
import { Problems } from './text.ts';
import { checkValidity, type Validity } from './validity.ts';

/** In the order in which a CONNECT is tried against them, where its listener says no other. */
export const STORES = ['native', 'tbmq', 'emqx', 'cybus', 'clients'] as const;

/** Where a credential belongs; names and matches are unique within their store, in `emqx` within their authenticator. */
export type Store = (typeof STORES)[number];

/** Most secrets of one credential that may be live at the same time: the current one and the one that it replaces. */
export const LIVE_SECRETS_MAX = 2;
export const ATTRIBUTES_MAX = 32;
/** Longest name, in bytes of UTF-8: the longest client id or user name, and what kind it is, where both have names of their own. */
export const CREDENTIAL_NAME_BYTES_MAX = 320;
/** Most connections that one credential can be limited to: as good as no limit. */
export const CREDENTIAL_SESSIONS_MAX = 1_000_000;
/** Most patterns for each direction of one credential, and the longest of them. */
export const PATTERNS_MAX = 100;
export const PATTERN_BYTES_MAX = 1024;

/**
 * What a CONNECT must carry to be judged by a credential: of kind `password` a username, a client id or both; of kind
 * `certificate` one of the other three.
 */
export interface CredentialMatch {
  readonly username?: string;
  readonly clientId?: string;
  /** In place of both: the user name of a SCRAM exchange and of nothing else, so that it stands beside a `username` like it. */
  readonly scramUsername?: string;
  /** SHA-256 of the client's own certificate, 64 lower-case hexadecimal digits. */
  readonly fingerprint?: string;
  /** Common Name of the client's own certificate. */
  readonly commonName?: string;
  /** Common Name of the certificate or of one that vouches for it; the nearest to it decides in each store. */
  readonly parentCommonName?: string;
  /** The same by a regular expression in Java's syntax, which is searched in the name. */
  readonly parentCommonNamePattern?: string;
}

/** A secret that opens the credential. The verifier is sealed under the deployment key. */
export interface Secret {
  readonly secretId: string;
  /** Absent in a secret that only SCRAM proves. */
  readonly verifier?: string;
  /** The hash that was brought from elsewhere, until the secret is first used. */
  readonly imported?: ImportedAlgorithm;
  /** Mechanisms that the secret may also be proven with; none unless they were asked for, one entry each. */
  readonly scram?: readonly ScramKeys[];
  readonly createdAt: number;
  /** First millisecond at which the secret opens nothing any more. */
  readonly expiresAt?: number;
}

/** How a credential itself grants topics; ACL tables are looked at in every case. */
export type AccessSpec = AccessKind & {
  /** What changes do to live sessions; absent: what is usual for the kind of access and the store (`applyModeOf`). */
  readonly apply?: ApplyMode;
};

type AccessKind =
  /** No opinion of its own: the ACL tables decide. */
  | { readonly kind: 'acl' }
  /** Everything but reserved topics. */
  | { readonly kind: 'unrestricted' }
  /** Whole-match regular expressions in Java's syntax, which may hold `${clientId}`; an empty list allows nothing in that direction. */
  | {
      readonly kind: 'patterns';
      readonly publish: readonly string[];
      readonly subscribe: readonly string[];
    }
  /** Only what the groups of the connection allow; group rules say which those are. */
  | { readonly kind: 'groups' }
  /** Roles, and permissions of its own. */
  | RolesAccess
  | DynsecAccess
  | CertificateMapping;

/** What an administrator decides about a credential. */
export interface CredentialFields {
  readonly kind: 'password' | 'certificate';
  readonly name: string;
  readonly match: CredentialMatch;
  readonly enabled: boolean;
  /** Skips every rule but the guard of reserved topics. */
  readonly superuser: boolean;
  /** When false, the match alone opens the credential, with any password or none. */
  readonly passwordRequired: boolean;
  readonly attributes: Readonly<Record<string, string>>;
  readonly access: AccessSpec;
  /** Ways in; absent or empty: `passwordRequired` and the kind say it. */
  readonly grants?: readonly Grant[];
  readonly validity?: Validity;
  /** Absent or empty: all of them. Others are refused, and no other credential is asked in its place. */
  readonly clientIds?: ClientIds;
  /** Made by a system and not by a person. Absent: no. */
  readonly autoGenerated?: boolean;
  /** Clients that may be connected with it at once, over all nodes; 0 or absent: as many as is usual. */
  readonly sessionsMax?: number;
}

export interface NewCredential extends CredentialFields {
  readonly id: string;
  readonly store: Store;
  /** Of the store `emqx` only. Absent: the authenticator for passwords of the global chain, as before there were chains. */
  readonly chain?: ChainMember;
  readonly secrets: readonly Secret[];
}

export interface Credential extends NewCredential {
  readonly createdAt: number;
  readonly createdRevision: Revision;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
  readonly tokens?: readonly CredentialToken[];
  /** For each of its parts the revision that it is there since as it is; absent: all are as old as the credential. */
  readonly partRevisions?: readonly Revision[];
}

export type CredentialEvent =
  | { readonly type: 'CredentialAdded'; readonly data: NewCredential }
  | {
      readonly type: 'CredentialChanged';
      readonly data: { readonly id: string; readonly changes: Partial<CredentialFields> };
    }
  | {
      readonly type: 'CredentialSecretAdded';
      readonly data: {
        readonly id: string;
        readonly secret: Secret;
        /** Secrets that were live before, and when each of them ends now. */
        readonly retired: readonly { readonly secretId: string; readonly expiresAt: number }[];
      };
    }
  | {
      readonly type: 'CredentialSecretRemoved';
      readonly data: { readonly id: string; readonly secretId: string };
    }
  | { readonly type: 'CredentialRemoved'; readonly data: { readonly id: string } }
  | { readonly type: 'CredentialSecretRehashed'; readonly data: CredentialRehash }
  | CredentialTokenEvent
  /** A role that is removed was taken from it. */
  | {
      readonly type: 'CredentialRoleRemoved';
      readonly data: { readonly id: string; readonly roleId: string };
    };

/** The key under which a CONNECT finds a credential. Injective: no two matches share a key. */
export function loginKey(match: CredentialMatch): string {
  const { username, clientId, commonName, parentCommonName } = match;
  if (match.scramUsername !== undefined) return `scram:${match.scramUsername}`;
  if (match.fingerprint !== undefined) return `fingerprint:${match.fingerprint}`;
  if (commonName !== undefined) return `cn:${commonName}`;
  if (parentCommonName !== undefined) return `parent:${parentCommonName}`;
  if (match.parentCommonNamePattern !== undefined) return patternKey(match.parentCommonNamePattern);
  if (username === undefined) return `client:${clientId ?? ''}`;
  if (clientId === undefined) return `username:${username}`;
  return `both:${username.length}:${username}:${clientId}`;
}

/** Of credentials by a pattern: no CONNECT looks under one, all of them are tried. */
export const PATTERN_KEY_PREFIX = 'pattern:';
const patternKey = (pattern: string): string => `${PATTERN_KEY_PREFIX}${pattern}`;

/**
 * Login keys of every credential that a user name leads to: these, and all that begin with `prefix`. A certificate's Common Name
 * counts, for it stands for the user name.
 */
export function loginKeysOfUsername(username: string): {
  readonly keys: readonly [string, string, string];
  readonly prefix: string;
} {
  const keys = [
    loginKey({ username }),
    loginKey({ commonName: username }),
    loginKey({ scramUsername: username }),
  ] as const;
  return { keys, prefix: loginKey({ username, clientId: '' }) };
}

/**
 * The keys to look under for a CONNECT, the most specific first: both, then username, then client id; then what the certificate
 * says: fingerprint, Common Name, Common Names of the chain from the certificate upwards. Without a username the Common Name
 * stands for it. Credentials that match by a pattern are under none of them (`nearestFirst`).
 */
export function loginKeysOf(facts: {
  readonly username?: string | undefined;
  readonly clientId: string;
  readonly certificate?: CertificateIdentity | undefined;
}): string[] {
  const { clientId, certificate } = facts;
  const username = facts.username === '' ? undefined : facts.username;
  const name = username ?? certificate?.commonName;
  const keys = name === undefined ? [] : [{ username: name, clientId }, { username: name }];
  return [...keys, { clientId }].map(loginKey).concat(certificateKeys(certificate));
}

/** The same for a SCRAM exchange: what only that finds comes first. */
export function scramKeysOf(facts: Parameters<typeof loginKeysOf>[0]): string[] {
  const { username = '' } = facts;
  const own = username === '' ? [] : [loginKey({ scramUsername: username })];
  return [...own, ...loginKeysOf(facts)];
}

/** The user name that SCRAM proves. */
export const scramNameOf = ({ scramUsername, username }: CredentialMatch): string | undefined =>
  scramUsername ?? username;

function certificateKeys(certificate: CertificateIdentity | undefined): string[] {
  if (certificate === undefined) return [];
  const { fingerprintSha256: fingerprint, commonName } = certificate;
  return [
    loginKey({ fingerprint }),
    ...(commonName === undefined ? [] : [loginKey({ commonName })]),
    ...chainNamesOf(certificate).map((parentCommonName) => loginKey({ parentCommonName })),
  ];
}

/** Whether a CONNECT carries what a credential matches; what only SCRAM finds is carried where that was proven. */
export function carriesMatch(
  facts: Parameters<typeof loginKeysOf>[0] & { readonly methods?: readonly string[] | undefined },
  match: CredentialMatch,
): boolean {
  const { parentCommonNamePattern: pattern, scramUsername } = match;
  if (scramUsername !== undefined) {
    return facts.username === scramUsername && facts.methods?.includes('scram') === true;
  }
  if (pattern === undefined) return loginKeysOf(facts).includes(loginKey(match));
  return chainNamesOf(facts.certificate).some((name) => findsName(pattern, name));
}

export function evolveCredential(
  state: Credential | undefined,
  event: CredentialEvent,
  context: EventContext,
): Credential | undefined {
  if (event.type === 'CredentialAdded') {
    // Its own members first: behind a spread of so many they cost V8 twenty times as much.
    return {
      createdAt: context.at,
      createdRevision: context.revision,
      updatedAt: context.at,
      updatedRevision: context.revision,
      ...event.data,
    };
  }
  if (event.type === 'CredentialRemoved' || state === undefined) return undefined;
  // Nobody has decided anything: who has read the credential may still write on what they saw.
  if (event.type === 'CredentialSecretRehashed') return rehashed(state, event.data);
  return withPartRevisions(state, evolveChange(state, event, context), context.revision);
}

type ChangeEvent = Exclude<
  CredentialEvent,
  { type: 'CredentialAdded' | 'CredentialRemoved' | 'CredentialSecretRehashed' }
>;

function evolveChange(state: Credential, event: ChangeEvent, context: EventContext): Credential {
  const updated = { ...state, updatedAt: context.at, updatedRevision: context.revision };
  switch (event.type) {
    case 'CredentialChanged':
      return { ...updated, ...event.data.changes };
    case 'CredentialSecretAdded': {
      const ends = new Map(event.data.retired.map((one) => [one.secretId, one.expiresAt]));
      const kept = state.secrets
        .filter((one) => isLive(one, context.at))
        .map((one) => {
          const expiresAt = ends.get(one.secretId);
          return expiresAt === undefined ? one : { ...one, expiresAt };
        });
      return { ...updated, secrets: [event.data.secret, ...kept] };
    }
    case 'CredentialSecretRemoved':
      return {
        ...updated,
        secrets: state.secrets.filter((one) => one.secretId !== event.data.secretId),
      };
    case 'CredentialTokenAdded':
    case 'CredentialTokenRemoved':
      return { ...updated, tokens: evolveTokens(state, event, context.at) };
    case 'CredentialRoleRemoved':
      return { ...updated, access: withoutRole(state.access, event.data.roleId) };
    default:
      return unreachable(event);
  }
}

/** Writes the JSON texts of what `evolveCredential` makes of the additions of one commit; a text that is known is not written again. */
export function addedTexts({
  at,
  revision,
}: EventContext): (event: Extract<CredentialEvent, { type: 'CredentialAdded' }>) => string {
  const own = {
    createdAt: at,
    createdRevision: revision,
    updatedAt: at,
    updatedRevision: revision,
  };
  const before = JSON.stringify(own).slice(0, -1);
  return ({ data }) => `${before},${(knownText(data) ?? JSON.stringify(data)).slice(1)}`;
}

/** Whether the secret still opens its credential at this time. */
export function isLive(secret: Secret, at: number): boolean {
  return secret.expiresAt === undefined || at < secret.expiresAt;
}

/** Whether patterns that a credential has of its own name the client id. O(patterns). */
export const namesOwnClientId = (access: AccessSpec): boolean =>
  access.kind === 'patterns' && [...access.publish, ...access.subscribe].some(namesClientId);

/**
 * Whether a client id is none that the credential lets in: another one, or one that cannot stand in a topic where its patterns name it.
 * @source compat tbmq 4.9
 */
export function refusesClientId(
  { clientIds, access }: Pick<CredentialFields, 'clientIds' | 'access'>,
  facts: MappingFacts,
): boolean {
  const { clientId } = facts;
  if (!letsIn(clientIds, clientId)) return true;
  if (mayName(clientId)) return false;
  if (access.kind !== 'mapping') return namesOwnClientId(access);
  return mapCertificate(access, facts)?.byClientId === true;
}

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

/** Ids, names and matches that credentials have, and whose they are. Names and matches are under `<realm>:<name or login key>`. */
export interface TakenIdentities {
  readonly ids: ReadonlyMap<string, string>;
  readonly names: ReadonlyMap<string, string>;
  readonly logins: ReadonlyMap<string, string>;
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

function checkUnique(
  reads: CredentialReads,
  self: Pick<NewCredential, 'id' | 'store' | 'chain'>,
  fields: Pick<CredentialFields, 'name' | 'match'>,
): { ok: false; rejection: ReturnType<typeof reject>['rejection'] } | undefined {
  const byName = reads.credentialIdByName(self.store, fields.name, self.chain);
  if (byName !== undefined && byName !== self.id) {
    return reject('credential_name_taken', {
      problems: [{ pointer: '/name', detail: 'is the name of another credential' }],
    });
  }
  const twin = twinOf(fields.match);
  for (const match of twin === undefined ? [fields.match] : [fields.match, twin]) {
    const byMatch = reads.credentialIdByMatch(self.store, match, self.chain);
    if (byMatch === undefined || byMatch === self.id) continue;
    return reject('credential_match_taken', {
      problems: [{ pointer: '/match', detail: 'is what another credential of this store matches' }],
    });
  }
  return undefined;
}

function checkPatternCount(
  reads: CredentialReads,
  before: CredentialMatch | undefined,
  after: CredentialMatch,
): ReturnType<typeof reject> | undefined {
  if (!matchesByPattern(after) || (before !== undefined && matchesByPattern(before)))
    return undefined;
  if (reads.patternCredentialCount() < PARENT_PATTERNS_MAX) return undefined;
  const detail = `At most ${PARENT_PATTERNS_MAX} credentials match certificates by a pattern.`;
  return reject('too_many_credential_patterns', { detail });
}

function checkFields(problems: Problems, fields: CredentialFields): void {
  problems.text('/name', fields.name, CREDENTIAL_NAME_BYTES_MAX);
  if (fields.kind === 'certificate') checkCertificateMatch(problems, fields.match);
  else checkPasswordMatch(problems, fields.match);
  checkGrants(problems, fields);
  checkValidity(problems, fields);
  checkClientIds(problems, fields.clientIds);
  checkSessionsMax(problems, fields);
  problems.attributes('/attributes', fields.attributes, ATTRIBUTES_MAX);
  if (fields.access.kind === 'patterns') {
    checkPatterns(problems, '/access/publish', fields.access.publish);
    checkPatterns(problems, '/access/subscribe', fields.access.subscribe);
  }
  if (fields.access.kind === 'mapping') checkMapping(problems, fields.access);
  if (fields.access.kind === 'roles') checkRolesAccess(problems, '/access', fields.access);
  if (fields.access.kind === 'dynsec') checkDynsecAccess(problems, '/access', fields.access);
}

function checkSessionsMax(problems: Problems, { sessionsMax = 0 }: CredentialFields): void {
  const isCount = Number.isInteger(sessionsMax) && sessionsMax >= 0;
  if (isCount && sessionsMax <= CREDENTIAL_SESSIONS_MAX) return;
  problems.add('/sessionsMax', `must be a whole number from 0 to ${CREDENTIAL_SESSIONS_MAX}`);
}

function checkPasswordMatch(problems: Problems, match: CredentialMatch): void {
  const { username, clientId, scramUsername, ...certificate } = match;
  if (username === undefined && clientId === undefined && scramUsername === undefined) {
    problems.add('/match', 'must have a username, a clientId or both, or a scramUsername');
  }
  if (scramUsername !== undefined) {
    problems.text('/match/scramUsername', scramUsername);
    if (username !== undefined || clientId !== undefined) {
      problems.add('/match/scramUsername', 'must stand alone');
    }
  }
  if (username !== undefined) problems.text('/match/username', username);
  if (clientId !== undefined) problems.text('/match/clientId', clientId);
  for (const [name, value] of Object.entries(certificate)) {
    if (value !== undefined) problems.add(`/match/${name}`, 'is for the kind certificate only');
  }
}

function checkCertificateMatch(problems: Problems, match: CredentialMatch): void {
  const { username, clientId, scramUsername, ...certificate } = match;
  const { fingerprint, commonName, parentCommonName } = certificate;
  if (Object.values(certificate).filter((one) => one !== undefined).length !== 1) {
    const names = 'fingerprint, commonName, parentCommonName and parentCommonNamePattern';
    problems.add('/match', `must have one of ${names}`);
  }
  if (fingerprint !== undefined && !isFingerprint(fingerprint)) {
    problems.add('/match/fingerprint', 'must be the SHA-256 digest of a certificate');
  }
  if (commonName !== undefined) {
    problems.text('/match/commonName', commonName);
    if (!mayName(commonName)) problems.add('/match/commonName', 'must not contain +, # or /');
  }
  if (parentCommonName !== undefined) problems.text('/match/parentCommonName', parentCommonName);
  checkParentPattern(problems, match.parentCommonNamePattern);
  for (const [name, value] of Object.entries({ username, clientId, scramUsername })) {
    if (value !== undefined) problems.add(`/match/${name}`, 'is for the kind password only');
  }
}

function checkScramMatch(
  problems: Problems,
  match: CredentialMatch,
  secrets: readonly Secret[],
  pointer = match.scramUsername === undefined ? '/match/username' : '/match/scramUsername',
): void {
  checkScram(problems, pointer, scramNameOf(match), secrets);
  if (match.scramUsername === undefined) return;
  if (secrets.every(({ scram = [] }) => scram.length > 0)) return;
  problems.add('/scram', 'must name a mechanism, because only SCRAM finds the credential');
}

/** Only of roles that the command itself names: of those that were there, `RemoveRole` sees to it that they exist. */
function checkRolesExist(
  problems: Problems,
  reads: CredentialReads,
  roles: readonly string[],
  present: readonly string[],
): void {
  for (const [index, id] of roles.entries()) {
    if (present.includes(id) || reads.role(id) !== undefined) continue;
    problems.add(`/access/roles/${index}`, 'is not the id of a role');
  }
}

/** The same of objects of dynamic security, `present` by their keys. */
function checkDynsecExists(
  problems: Problems,
  reads: CredentialReads,
  access: AccessSpec,
  present: readonly string[],
): void {
  if (access.kind !== 'dynsec') return;
  checkDynsecNamed(
    problems,
    '/access',
    access,
    (kind, id) =>
      present.includes(dynsecKey(kind, id)) || reads.dynsecObject(kind, id) !== undefined,
  );
}

function checkPatterns(problems: Problems, pointer: string, patterns: readonly string[]): void {
  if (patterns.length > PATTERNS_MAX) {
    problems.add(pointer, `must have at most ${PATTERNS_MAX} entries`);
  }
  for (const [index, pattern] of patterns.entries()) {
    const parsed = parseTopicPattern(withValues(pattern, { clientId: 'x' }));
    if (!parsed.ok) problems.add(`${pointer}/${index}`, parsed.problem);
  }
}

/** What only SCRAM proves has no placeholders in its patterns. @source compat tbmq 4.9 */
function checkScramPatterns(
  problems: Problems,
  access: AccessSpec,
  secrets: readonly Secret[],
): void {
  const scramOnly = secrets.length > 0 && secrets.every((one) => one.verifier === undefined);
  if (!scramOnly || !namesOwnClientId(access)) return;
  problems.add(
    '/access',
    'must not name the client id in a pattern, because its secret is for SCRAM only',
  );
}
