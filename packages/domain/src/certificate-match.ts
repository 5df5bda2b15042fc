import { parseKeywordPattern, PATTERN_LENGTH_MAX } from '@sallyport/topic';
import type { CertificateIdentity } from './certificate.ts';
import type { Problems } from './text.ts';

/** Most credentials, of all stores together, that a pattern finds: each of them is tried at every CONNECT with a certificate. */
export const PARENT_PATTERNS_MAX = 256;

interface NamesParent {
  readonly parentCommonName?: string;
  readonly parentCommonNamePattern?: string;
}

interface Patterned {
  readonly name: string;
  readonly match: NamesParent;
}

export const matchesByPattern = ({ parentCommonNamePattern }: NamesParent): boolean =>
  parentCommonNamePattern !== undefined;

/** Names of the certificates that a client has shown, from its own upwards, each of them once. */
export function chainNamesOf(certificate: CertificateIdentity | undefined): readonly string[] {
  return [...new Set((certificate?.chainCommonNames ?? []).filter((one) => one !== ''))];
}

/** Whether a pattern is found in a Common Name; one that is none finds nothing. Linear in the name. */
export function findsName(pattern: string, commonName: string): boolean {
  const parsed = parseKeywordPattern(pattern);
  return parsed.ok && parsed.value.find(commonName);
}

/** The order in which patterns are tried at one certificate: by the names of their credentials, in UTF-16 code units. */
export const byPatternOrder = (left: Patterned, right: Patterned): number =>
  left.name < right.name ? -1 : left.name > right.name ? 1 : 0;

/**
 * Credentials that name a certificate of the chain, the nearest to the client first; at each certificate those by a pattern, in the order
 * given, and then those by its exact name. None is there twice. O(names · patterns · length of a name).
 * @source compat tbmq 5.5.2
 */
export function nearestFirst<C extends { readonly match: NamesParent }>(
  certificate: CertificateIdentity | undefined,
  { patterns, exact }: { readonly patterns: readonly C[]; readonly exact: readonly C[] },
): readonly C[] {
  const found = chainNamesOf(certificate).flatMap((name) => [
    ...patterns.filter(({ match: { parentCommonNamePattern: pattern } }) => {
      return pattern !== undefined && findsName(pattern, name);
    }),
    ...exact.filter((one) => one.match.parentCommonName === name),
  ]);
  return [...new Set(found)];
}

/** The exact name for a pattern of the same text, and the other way round: they must not stand side by side in a store. */
export function twinOf({
  parentCommonName,
  parentCommonNamePattern,
}: NamesParent): NamesParent | undefined {
  if (parentCommonName !== undefined) return { parentCommonNamePattern: parentCommonName };
  if (parentCommonNamePattern !== undefined) return { parentCommonName: parentCommonNamePattern };
  return undefined;
}

export function checkParentPattern(problems: Problems, pattern: string | undefined): void {
  if (pattern === undefined) return;
  const pointer = '/match/parentCommonNamePattern';
  problems.text(pointer, pattern, PATTERN_LENGTH_MAX);
  const parsed = parseKeywordPattern(pattern);
  if (!parsed.ok) problems.add(pointer, parsed.problem);
}
