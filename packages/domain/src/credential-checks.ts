import { parseTopicPattern } from '@sallyport/topic';
import { checkMapping } from './certificate-mapping.ts';
import {
  checkParentPattern,
  matchesByPattern,
  PARENT_PATTERNS_MAX,
  twinOf,
} from './certificate-match.ts';
import { isFingerprint, mayName } from './certificate.ts';
import { checkClientIds } from './client-ids.ts';
import { reject } from './commit.ts';
import {
  type AccessSpec,
  ATTRIBUTES_MAX,
  CREDENTIAL_NAME_BYTES_MAX,
  CREDENTIAL_SESSIONS_MAX,
  type CredentialFields,
  type CredentialMatch,
  namesOwnClientId,
  type NewCredential,
  PATTERNS_MAX,
  type Secret,
} from './credential.ts';
import type { CredentialReads } from './decide-credential.ts';
import { checkDynsecAccess, checkDynsecNamed, dynsecKey } from './dynsec/access.ts';
import { checkGrants } from './grants.ts';
import { scramNameOf } from './login-keys.ts';
import { withValues } from './pattern-placeholder.ts';
import { checkRolesAccess } from './roles-access.ts';
import { checkScram } from './scram.ts';
import type { Problems } from './text.ts';
import { checkValidity } from './validity.ts';

export function checkUnique(
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

export function checkPatternCount(
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

export function checkFields(problems: Problems, fields: CredentialFields): void {
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

export function checkScramMatch(
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
export function checkRolesExist(
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
export function checkDynsecExists(
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
export function checkScramPatterns(
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
