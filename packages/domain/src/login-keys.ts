import { chainNamesOf, findsName } from './certificate-match.ts';
import type { CertificateIdentity } from './certificate.ts';
import type { CredentialMatch } from './credential.ts';

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
