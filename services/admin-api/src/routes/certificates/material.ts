import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { AsnConvert } from '@peculiar/asn1-schema';
import { Certificate, CertificateList, type Name } from '@peculiar/asn1-x509';
import type { FieldProblem } from '@sallyport/errors';

/** Below it a key has no 112 bits of strength, and clients refuse it. */
const RSA_BITS_MIN = 2048;

/** PEM texts of one request. */
export interface Material {
  readonly authorities?: string;
  readonly revocationLists?: string;
  readonly server?: { readonly certificate: string; readonly key: string };
}

interface Block {
  readonly label: string;
  readonly pem: string;
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----/g;

function blocksOf(pem: string): readonly Block[] {
  return [...pem.matchAll(BLOCK)].map(([text, label = '']) => ({ label, pem: text }));
}

/** Text around the blocks is for people; a block of another kind would be left out without a word. */
function wrongLabel(blocks: readonly Block[], label: string): string | undefined {
  if (blocks.length === 0) return `must hold at least one ${label} in PEM`;
  const other = blocks.find((block) => block.label !== label);
  return other === undefined ? undefined : `must hold nothing but ${label}, not ${other.label}`;
}

function certificateOf({ pem }: Block): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function authorityProblem(block: Block, number: number, now: number): string | undefined {
  const certificate = certificateOf(block);
  if (certificate === undefined) return `certificate ${number} cannot be read`;
  if (!certificate.ca) return `certificate ${number} may not sign others`;
  if (Date.parse(certificate.validTo) <= now) return `certificate ${number} has expired`;
  return undefined;
}

function authoritiesProblem(pem: string, now: number): string | undefined {
  const blocks = blocksOf(pem);
  const wrong = wrongLabel(blocks, 'CERTIFICATE');
  if (wrong !== undefined) return wrong;
  for (const [index, block] of blocks.entries()) {
    const problem = authorityProblem(block, index + 1, now);
    if (problem !== undefined) return problem;
  }
  return usable({ ca: blocks.map((block) => block.pem) });
}

/** As soon as there is a list, the library lets in nobody for whose authority there is none that is in force. */
function revocationListsProblem(
  pem: string,
  authorities: string | undefined,
  now: number,
): string | undefined {
  const blocks = blocksOf(pem);
  const problem =
    wrongLabel(blocks, 'X509 CRL') ?? usable({ crl: blocks.map((block) => block.pem) });
  if (problem !== undefined) return problem;
  const subjects = authorities === undefined ? undefined : subjectNames(authorities);
  for (const [index, block] of blocks.entries()) {
    const list = decoded(derOf(block), CertificateList)?.tbsCertList;
    if (list === undefined) continue; // The library reads it, and we do not.
    const { issuer, nextUpdate } = list;
    if (nextUpdate !== undefined && nextUpdate.getTime().getTime() <= now) {
      return `list ${index + 1} has expired`;
    }
    if (subjects?.includes(nameText(issuer)) === false) {
      return `list ${index + 1} is of none of the authorities`;
    }
  }
  return undefined;
}

const derOf = ({ pem }: Block): Buffer =>
  Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');

function decoded<T>(der: Uint8Array, type: new () => T): T | undefined {
  try {
    return AsnConvert.parse(der, type);
  } catch {
    return undefined;
  }
}

/** Whose lists may be looked for, in the order of the text; undefined where that cannot be told. */
function subjectNames(authorities: string): readonly string[] | undefined {
  const subjects = blocksOf(authorities).map((block) => {
    const certificate = decoded(derOf(block), Certificate);
    return certificate && nameText(certificate.tbsCertificate.subject);
  });
  const known = subjects.filter((one) => one !== undefined);
  return known.length < subjects.length ? undefined : known;
}

/** The same for names that are: neither case nor spaces nor the kind of a text count. @source RFC 5280 §7.1 */
const nameText = (name: Name): string =>
  JSON.stringify(
    [...name].map((part) =>
      [...part]
        .map(({ type, value }) => `${type}=${plainText(value.toString())}`)
        .sort((one, other) => (one < other ? -1 : 1)),
    ),
  );

const plainText = (text: string): string => text.trim().replace(/\s+/g, ' ').toLowerCase();

function isWeak({ publicKey }: X509Certificate): boolean {
  const { modulusLength = Infinity } = publicKey.asymmetricKeyDetails ?? {};
  return modulusLength < RSA_BITS_MIN;
}

/** The leaf first, and each signed by the next: devices do not search. */
function chainProblem(pem: string, now: number): string | undefined {
  const blocks = blocksOf(pem);
  const wrong = wrongLabel(blocks, 'CERTIFICATE');
  if (wrong !== undefined) return wrong;
  const chain = blocks.map(certificateOf);
  for (const [index, certificate] of chain.entries()) {
    if (certificate === undefined) return `certificate ${index + 1} cannot be read`;
    if (Date.parse(certificate.validTo) <= now) return `certificate ${index + 1} has expired`;
    if (isWeak(certificate)) return `certificate ${index + 1} has less than ${RSA_BITS_MIN} bits`;
    const issuer = chain[index + 1];
    if (issuer !== undefined && !certificate.checkIssued(issuer)) {
      return `certificate ${index + 1} was not issued by the one that follows it`;
    }
  }
  return usable({ cert: pem });
}

function keyProblem({ certificate, key }: NonNullable<Material['server']>): string | undefined {
  const [leaf] = blocksOf(certificate).map(certificateOf);
  try {
    const parsed = createPrivateKey(key);
    if (leaf === undefined || leaf.checkPrivateKey(parsed)) return undefined;
  } catch {
    return 'must be one private key in PEM, without a password';
  }
  return 'is not the key of the server certificate';
}

/** What the library says that listeners use; its text never quotes a key. */
function usable(options: Parameters<typeof createSecureContext>[0]): string | undefined {
  try {
    createSecureContext(options);
    return undefined;
  } catch (error) {
    return `cannot be used: ${error instanceof Error ? error.message : 'unknown reason'}`;
  }
}

/** What is wrong with the texts, by field. `now` is milliseconds since 1970. */
export function materialProblems(material: Material, now: number): readonly FieldProblem[] {
  const { authorities, revocationLists, server } = material;
  const found: [pointer: string, detail: string | undefined][] = [
    ['/authorities', authorities && authoritiesProblem(authorities, now)],
    [
      '/revocationLists',
      revocationLists && revocationListsProblem(revocationLists, authorities, now),
    ],
    ['/serverCertificate', server && chainProblem(server.certificate, now)],
    ['/serverKey', server && keyProblem(server)],
  ];
  return found.flatMap(([pointer, detail]) =>
    detail === undefined || detail === '' ? [] : [{ pointer, detail }],
  );
}

/** What becomes of those whom an authority has signed, once there are revocation lists. */
export interface Revocation {
  /** `missing`: nobody of them gets in. */
  readonly revocationList: 'present' | 'missing';
  /** From then on nobody does; milliseconds since 1970, not there for never. */
  readonly validTo?: number;
}

/** In the order of the authorities; empty when there are no lists, or their names cannot be told. */
export function revocationsOf(
  authorities: string | undefined,
  revocationLists: string | undefined,
): readonly Revocation[] {
  if (authorities === undefined || revocationLists === undefined) return [];
  const ends = new Map<string, number>();
  for (const block of blocksOf(revocationLists)) {
    const list = decoded(derOf(block), CertificateList)?.tbsCertList;
    if (list === undefined) return [];
    const { issuer, nextUpdate } = list;
    const name = nameText(issuer);
    ends.set(name, Math.max(ends.get(name) ?? 0, nextUpdate?.getTime().getTime() ?? Infinity));
  }
  return (subjectNames(authorities) ?? []).map((name): Revocation => {
    const validTo = ends.get(name);
    if (validTo === undefined) return { revocationList: 'missing' };
    return { revocationList: 'present', ...(validTo < Infinity && { validTo }) };
  });
}

/** What people want to know of certificates, in the order of the text. */
export function summariesOf(pem: string | undefined) {
  return blocksOf(pem ?? '').flatMap((block) => {
    const certificate = certificateOf(block);
    if (certificate === undefined) return [];
    const { subject, issuer, validFrom, validTo, fingerprint256 } = certificate;
    return [
      {
        subject: subject ?? '',
        issuer: issuer ?? '',
        validFrom: new Date(validFrom).toISOString(),
        validTo: new Date(validTo).toISOString(),
        fingerprint: `SHA256:${fingerprint256}`,
      },
    ];
  });
}
