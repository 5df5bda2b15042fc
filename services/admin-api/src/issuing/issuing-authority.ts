import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  CertificateList,
  CRLNumber,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_cRLNumber,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  RevokedCertificate,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  TBSCertList,
  Time,
  Validity,
  Version,
} from '@peculiar/asn1-x509';
import { assert } from '@sallyport/errors';
import { KEYS_TAKEN, keyText, type SigningRequest } from './signing-request.ts';

/** Random bytes of a serial number. */
export const SERIAL_RANDOM_BYTES = 16;

/** How long before it is made a certificate holds already: clocks of devices are behind. */
export const BACKDATED_MS = 5 * 60 * 1000;

const DAY_MS = 24 * 60 * 60 * 1000;
const COMMON_NAME = '2.5.4.3';

/** A certificate that is revoked. */
export interface RevokedEntry {
  /** Hexadecimal. */
  readonly serial: string;
  /** When, in milliseconds since 1970. */
  readonly at: number;
}

/** How the authority signs, by its key. */
interface Signing {
  readonly algorithm: AlgorithmIdentifier;
  readonly digest: string | null;
}

const EC_SIGNING: Readonly<Record<string, readonly [oid: string, digest: string]>> = {
  prime256v1: ['1.2.840.10045.4.3.2', 'sha256'],
  secp384r1: ['1.2.840.10045.4.3.3', 'sha384'],
  secp521r1: ['1.2.840.10045.4.3.4', 'sha512'],
};

function signingOf(key: KeyObject): Signing | undefined {
  // The same keys as those that certificates are made for.
  if (keyText(createPublicKey(key)) === undefined) return undefined;
  const { asymmetricKeyType: type, asymmetricKeyDetails } = key;
  if (type === 'ed25519') {
    return { algorithm: new AlgorithmIdentifier({ algorithm: '1.3.101.112' }), digest: null };
  }
  if (type === 'rsa') {
    const algorithm = '1.2.840.113549.1.1.11';
    // NULL, as RFC 4055 §5 wants it.
    return {
      algorithm: new AlgorithmIdentifier({ algorithm, parameters: null }),
      digest: 'sha256',
    };
  }
  const found = EC_SIGNING[asymmetricKeyDetails?.namedCurve ?? ''];
  return found && { algorithm: new AlgorithmIdentifier({ algorithm: found[0] }), digest: found[1] };
}

export type IssuedCertificate =
  | { readonly ok: true; readonly certificate: X509Certificate }
  | { readonly ok: false; readonly problem: string };

export type OpenedAuthority =
  | { readonly ok: true; readonly authority: IssuingAuthority }
  /** Of which of the two files, and what. Without anything that is in them. */
  | { readonly ok: false; readonly file: 'certificate' | 'key'; readonly problem: string };

interface AuthorityParts {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  readonly decoded: TBSCertificate;
  readonly signing: Signing;
  readonly validityMs: number;
}

/**
 * Makes certificates that clients show: for TLS client authentication and nothing else, with one Common Name and no other name.
 * @source RFC 5280 §4
 */
export class IssuingAuthority {
  readonly #parts: AuthorityParts;
  readonly #keyIdentifier: ArrayBuffer;

  private constructor(parts: AuthorityParts) {
    this.#parts = parts;
    const { extensions, subjectPublicKeyInfo } = parts.decoded;
    const own = extensions?.find(({ extnID }) => extnID === id_ce_subjectKeyIdentifier);
    this.#keyIdentifier =
      own === undefined
        ? keyIdentifierOf(subjectPublicKeyInfo)
        : AsnConvert.parse(own.extnValue.buffer, SubjectKeyIdentifier).buffer;
  }

  /** `validityDays`: of what it makes, unless it ends itself before. */
  static open(options: {
    readonly certificatePem: string;
    readonly keyPem: string;
    readonly validityDays: number;
  }): OpenedAuthority {
    const { certificatePem, keyPem, validityDays } = options;
    const refuse = (file: 'certificate' | 'key', problem: string): OpenedAuthority => ({
      ...{ ok: false, file, problem },
    });
    const certificate = certificateIn(certificatePem);
    if (certificate === undefined)
      return refuse('certificate', 'must name a file with the PEM of one certificate');
    const decoded = AsnConvert.parse(certificate.raw, Certificate).tbsCertificate;
    const problem = authorityProblem(certificate, decoded);
    if (problem !== undefined) return refuse('certificate', problem);
    const key = keyIn(keyPem);
    if (key === undefined)
      return refuse('key', 'must name a file with the PEM of a private key, unencrypted');
    const signing = signingOf(key);
    if (signing === undefined) {
      return refuse('key', `must be ${KEYS_TAKEN}`);
    }
    if (!certificate.checkPrivateKey(key)) return refuse('key', 'is not that of the certificate');
    const validityMs = validityDays * DAY_MS;
    const parts = { certificate, key, decoded, signing, validityMs };
    return { ok: true, authority: new IssuingAuthority(parts) };
  }

  /** First millisecond at which it is not valid any more, and what it makes neither. */
  get endsAt(): number {
    return this.#parts.decoded.validity.notAfter.getTime().getTime() + 1000;
  }

  /** PEM of a certificate for who has asked; `at` in milliseconds since 1970. */
  issue({ commonName, publicKey }: SigningRequest, at: number): IssuedCertificate {
    const { certificate, key, decoded, signing, validityMs } = this.#parts;
    const { notBefore, notAfter } = decoded.validity;
    const begins = notBefore.getTime().getTime();
    const ends = notAfter.getTime().getTime();
    if (at < begins) return { ok: false, problem: 'the issuing authority is not valid yet' };
    if (at >= this.endsAt) return { ok: false, problem: 'the issuing authority has ended' };
    const spki = AsnConvert.parse(
      publicKey.export({ type: 'spki', format: 'der' }),
      SubjectPublicKeyInfo,
    );
    const tbsCertificate = new TBSCertificate({
      version: Version.v3,
      serialNumber: serialNumber(),
      signature: signing.algorithm,
      issuer: decoded.subject,
      validity: new Validity({
        notBefore: new Date(Math.max(at - BACKDATED_MS, begins)),
        notAfter: new Date(Math.min(at + validityMs, ends)),
      }),
      subject: subjectOf(commonName),
      subjectPublicKeyInfo: spki,
      extensions: this.#extensions(spki),
    });
    const signed = Buffer.from(AsnConvert.serialize(tbsCertificate));
    const signatureValue = arrayBufferOf(sign(signing.digest, signed, key));
    const { algorithm: signatureAlgorithm } = signing;
    const whole = new Certificate({ tbsCertificate, signatureAlgorithm, signatureValue });
    const made = new X509Certificate(Buffer.from(AsnConvert.serialize(whole)));
    assert(made.checkIssued(certificate) && made.verify(certificate.publicKey), 'as others check');
    return { ok: true, certificate: made };
  }

  /** SHA-256 of its certificate, 64 lower-case hexadecimal digits. */
  get fingerprint(): string {
    return createHash('sha256').update(this.#parts.certificate.raw).digest('hex');
  }

  /** Whether it is among the certificates of a PEM text. */
  isIn(pem: string): boolean {
    return certificatesIn(pem).some((one) => one.raw.equals(this.#parts.certificate.raw));
  }

  /** Whether its key may sign lists of what is revoked: whoever checks one looks at that. */
  get maySignLists(): boolean {
    return (usesOf(this.#parts.decoded) & KeyUsageFlags.cRLSign) !== 0;
  }

  /** Whether a list, in DER, is of its name. */
  isOf(list: Uint8Array): boolean {
    try {
      const { issuer } = AsnConvert.parse(list, CertificateList).tbsCertList;
      const own = Buffer.from(AsnConvert.serialize(this.#parts.decoded.subject));
      return own.equals(Buffer.from(AsnConvert.serialize(issuer)));
    } catch {
      return false; // Not one that can be read.
    }
  }

  /**
   * The list of what is revoked, in DER; `number` grows from one list to the next. It has no end before the authority's: whoever has it goes on refusing, and nobody else.
   * @source RFC 5280 §5
   */
  revocationList(
    revoked: readonly RevokedEntry[],
    { at, number }: { readonly at: number; readonly number: number },
  ): Buffer {
    const { key, decoded, signing } = this.#parts;
    const extension = (extnID: string, value: unknown): Extension =>
      new Extension({ extnID, extnValue: new OctetString(AsnConvert.serialize(value)) });
    const keyIdentifier = new KeyIdentifier(this.#keyIdentifier);
    const entries = revoked.map(
      (one) =>
        new RevokedCertificate({
          userCertificate: arrayBufferOf(Buffer.from(one.serial, 'hex')),
          revocationDate: new Time(new Date(one.at)),
        }),
    );
    const tbsCertList = new TBSCertList({
      version: Version.v2,
      signature: signing.algorithm,
      issuer: decoded.subject,
      thisUpdate: new Time(new Date(at)),
      nextUpdate: new Time(decoded.validity.notAfter.getTime()),
      // An empty sequence is not allowed.
      ...(entries.length > 0 && { revokedCertificates: entries }),
      crlExtensions: [
        extension(id_ce_authorityKeyIdentifier, new AuthorityKeyIdentifier({ keyIdentifier })),
        extension(id_ce_cRLNumber, new CRLNumber(number)),
      ],
    });
    const signed = Buffer.from(AsnConvert.serialize(tbsCertList));
    const whole = new CertificateList({
      tbsCertList,
      signatureAlgorithm: signing.algorithm,
      signature: arrayBufferOf(sign(signing.digest, signed, key)),
    });
    return Buffer.from(AsnConvert.serialize(whole));
  }

  #extensions(spki: SubjectPublicKeyInfo): Extensions {
    const extension = (extnID: string, value: unknown, critical = false): Extension => {
      const extnValue = new OctetString(AsnConvert.serialize(value));
      return new Extension({ extnID, critical, extnValue });
    };
    const keyIdentifier = new KeyIdentifier(this.#keyIdentifier);
    return new Extensions([
      extension(id_ce_basicConstraints, new BasicConstraints({ cA: false }), true),
      extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature), true),
      extension(id_ce_extKeyUsage, new ExtendedKeyUsage([id_kp_clientAuth])),
      extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifierOf(spki))),
      extension(id_ce_authorityKeyIdentifier, new AuthorityKeyIdentifier({ keyIdentifier })),
    ]);
  }
}

function certificateIn(pem: string): X509Certificate | undefined {
  if (pem.split('-----BEGIN').length !== 2) return undefined;
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined; // Not a certificate.
  }
}

/** All that can be read of a text. */
function certificatesIn(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return blocks.map(certificateIn).filter((one) => one !== undefined);
}

/** What the key may be used for; for everything where that is not said. */
function usesOf({ extensions }: TBSCertificate): number {
  const usage = extensions?.find(({ extnID }) => extnID === id_ce_keyUsage);
  return usage === undefined ? ~0 : AsnConvert.parse(usage.extnValue.buffer, KeyUsage).toNumber();
}

function keyIn(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    return undefined; // Not a key, or one that needs a pass phrase.
  }
}

function authorityProblem(
  certificate: X509Certificate,
  decoded: TBSCertificate,
): string | undefined {
  const { subject } = decoded;
  if (!certificate.ca) return 'names a certificate that is not one of an authority';
  if ((usesOf(decoded) & KeyUsageFlags.keyCertSign) === 0) {
    return 'names a certificate whose key may not sign others';
  }
  // Whoever builds a chain compares names byte by byte.
  const kept = certificate.raw.includes(Buffer.from(AsnConvert.serialize(subject)));
  return kept && subject.length > 0
    ? undefined
    : 'names a certificate whose subject cannot be carried over';
}

/** Positive, and with all of its random bits: the byte in front of them says nothing. */
function serialNumber(): ArrayBuffer {
  return arrayBufferOf(Buffer.concat([Uint8Array.of(1), randomBytes(SERIAL_RANDOM_BYTES)]));
}

function subjectOf(utf8String: string): Name {
  const value = new AttributeValue({ utf8String });
  const attribute = new AttributeTypeAndValue({ type: COMMON_NAME, value });
  return new Name([new RelativeDistinguishedName([attribute])]);
}

/** @source RFC 5280 §4.2.1.2 (1) */
function keyIdentifierOf({ subjectPublicKey }: SubjectPublicKeyInfo): ArrayBuffer {
  return arrayBufferOf(createHash('sha1').update(new Uint8Array(subjectPublicKey)).digest());
}

const arrayBufferOf = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer;
