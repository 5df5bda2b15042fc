import type { X509Certificate } from 'node:crypto';
import { type CertificateIdentity, mayName } from '@sallyport/domain';

/** What is kept of a client certificate that our authorities vouch for. */
export interface ClientCertificate {
  /** The one Common Name; empty when there is none. Without control characters. */
  readonly subjectCn: string;
  /** RFC 4514: most specific part first, escaped. */
  readonly subjectDn: string;
  readonly issuerDn: string;
  /** SHA-256 of the certificate: 64 lower-case hexadecimal digits. */
  readonly fingerprintSha256: string;
  /** Hexadecimal, upper case. */
  readonly serialNumber: string;
  /** Milliseconds since 1970. */
  readonly validTo: number;
  /** Common Names of the chain to our root, the leaf first; empty for one that has none or several. */
  readonly chainCns: readonly string[];
}

/** Why a certificate that verifies is refused all the same. */
export type CertificateProblem =
  | 'SUBJECT_AMBIGUOUS'
  | 'SUBJECT_TOO_LONG'
  | 'SUBJECT_NOT_TEXT'
  | 'CHAIN_TOO_LONG'
  | 'CHAIN_NOT_OURS'
  | 'NOT_A_DATE';

const CN_BYTES_MAX = 256;
const DN_LENGTH_MAX = 4096;
/** The leaf and the root included. */
const CHAIN_LENGTH_MAX = 10;
/** NUL and line breaks get lost, or end something, wherever a name goes later; lone surrogates are no text. */
const NOT_TEXT = /[\p{Cc}\p{Cs}]/u;

/** All Common Names of the subject. Node's text form escapes and joins them, the object has them as they are. */
function commonNamesOf(certificate: X509Certificate): readonly string[] {
  // Node's types know one name only, and no certificate without a subject.
  const { subject } = certificate.toLegacyObject() as unknown as {
    readonly subject?: { readonly CN?: string | readonly string[] };
  };
  return [subject?.CN ?? []].flat();
}

/** From Node's lines, first part first. A line break inside a value is escaped there, so each line is one part. */
function distinguishedName(lines: string | undefined): string {
  return (lines ?? '').split('\n').reverse().join(',');
}

function onlyName(certificate: X509Certificate): string {
  const [name, ...more] = commonNamesOf(certificate);
  return name !== undefined && more.length === 0 && !NOT_TEXT.test(name) ? name : '';
}

/** The certificates that the peer sent behind its own. Nobody vouches for them. */
function sentWith(leaf: X509Certificate): readonly X509Certificate[] | undefined {
  const sent: X509Certificate[] = [];
  let next = leaf.issuerCertificate;
  while (next !== undefined) {
    if (sent.push(next) >= CHAIN_LENGTH_MAX) return undefined;
    next = next.issuerCertificate;
  }
  return sent;
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch {
    return false; // The peer may send keys that the library does not know.
  }
}

/**
 * The chain from a certificate to a root of `authorities`, or undefined. Every step is a signature that was checked: Node only
 * knows what the peer sent, and a peer may add certificates of its own making that have the names, and even the keys, of ours.
 */
export function chainOf(
  leaf: X509Certificate,
  sent: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): readonly X509Certificate[] | undefined {
  const seen = new Set<string>();
  const climb = (path: readonly X509Certificate[]): readonly X509Certificate[] | undefined => {
    const last = path.at(-1);
    if (last === undefined || path.length > CHAIN_LENGTH_MAX) return undefined;
    const ours = authorities.some((one) => one.fingerprint256 === last.fingerprint256);
    if (ours && last.checkIssued(last)) return path;
    for (const issuer of [...authorities, ...sent]) {
      if (seen.has(issuer.fingerprint256) || !isIssuedBy(last, issuer)) continue;
      seen.add(issuer.fingerprint256);
      const found = climb([...path, issuer]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return climb([leaf]);
}

/**
 * What a client is judged by of a certificate that TLS has verified against `authorities`. `leaf` is asked once: Node loses the
 * chain with the first question. Costs one signature check for each step of the chain.
 */
export function readClientCertificate(
  leaf: X509Certificate,
  authorities: readonly X509Certificate[],
): ClientCertificate | CertificateProblem {
  const names = commonNamesOf(leaf);
  const [subjectCn = ''] = names;
  if (names.length > 1) return 'SUBJECT_AMBIGUOUS';
  if (NOT_TEXT.test(subjectCn)) return 'SUBJECT_NOT_TEXT';
  const subjectDn = distinguishedName(leaf.subject);
  const issuerDn = distinguishedName(leaf.issuer);
  if (
    Buffer.byteLength(subjectCn) > CN_BYTES_MAX ||
    Math.max(subjectDn.length, issuerDn.length) > DN_LENGTH_MAX
  ) {
    return 'SUBJECT_TOO_LONG';
  }
  const validTo = Date.parse(leaf.validTo);
  if (Number.isNaN(validTo)) return 'NOT_A_DATE';
  const sent = sentWith(leaf);
  if (sent === undefined) return 'CHAIN_TOO_LONG';
  const chain = chainOf(leaf, sent, authorities);
  if (chain === undefined) return 'CHAIN_NOT_OURS';
  return {
    subjectCn,
    subjectDn,
    issuerDn,
    fingerprintSha256: leaf.fingerprint256.replaceAll(':', '').toLowerCase(),
    serialNumber: leaf.serialNumber,
    validTo,
    chainCns: chain.map(onlyName),
  };
}

/** What of it the access model judges by. @source compat A2.2.10 */
export function identityOf(certificate: ClientCertificate): CertificateIdentity {
  const { fingerprintSha256, subjectCn, subjectDn, validTo, chainCns } = certificate;
  return {
    fingerprintSha256,
    ...(mayName(subjectCn) && { commonName: subjectCn }),
    chainCommonNames: chainCns,
    ...(subjectDn !== '' && { subjectDn }),
    validUntil: validTo,
  };
}
