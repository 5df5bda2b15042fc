import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { CertificationRequest } from '@peculiar/asn1-csr';
import { AsnConvert } from '@peculiar/asn1-schema';
import type { Name } from '@peculiar/asn1-x509';
import { mayName } from '@sallyport/domain';

/** Longest signing request, in characters of its PEM: a key of `RSA_KEY_BITS_MAX` needs three quarters of it. */
export const SIGNING_REQUEST_LENGTH_MAX = 4096;

/** Longest Common Name of a certificate, in code points. @source X.520 ub-common-name, RFC 5280 appendix A.1 */
export const COMMON_NAME_LENGTH_MAX = 64;

export const RSA_KEY_BITS_MIN = 2048;
/** To check a signature of a larger key takes longer than strangers may ask for. */
export const RSA_KEY_BITS_MAX = 8192;
const RSA_EXPONENT_MIN = 65_537n;
const RSA_EXPONENT_MAX = 2n ** 32n;

/** Curves by the names that OpenSSL has for them. */
export const EC_CURVES = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' } as const;

/** Keys that certificates are made for, and of authorities that make them, for people. */
export const KEYS_TAKEN = `a key of RSA (${RSA_KEY_BITS_MIN} to ${RSA_KEY_BITS_MAX} bits), EC (${Object.values(EC_CURVES).join(', ')}) or Ed25519`;

/** What signatures are made with, by object identifier. @source RFC 4055 §5, RFC 5758 §3.2, RFC 8410 §3 */
const SIGNATURES: Readonly<
  Record<string, { readonly keyType: string; readonly digest: string | null }>
> = {
  '1.2.840.113549.1.1.11': { keyType: 'rsa', digest: 'sha256' },
  '1.2.840.113549.1.1.12': { keyType: 'rsa', digest: 'sha384' },
  '1.2.840.113549.1.1.13': { keyType: 'rsa', digest: 'sha512' },
  '1.2.840.10045.4.3.2': { keyType: 'ec', digest: 'sha256' },
  '1.2.840.10045.4.3.3': { keyType: 'ec', digest: 'sha384' },
  '1.2.840.10045.4.3.4': { keyType: 'ec', digest: 'sha512' },
  '1.3.101.112': { keyType: 'ed25519', digest: null },
};

const COMMON_NAME = '2.5.4.3';
const PEM =
  /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/;

/** What a certificate is made of: nothing else that a request asks for is looked at. */
export interface SigningRequest {
  readonly commonName: string;
  readonly publicKey: KeyObject;
}

export type ReadSigningRequest =
  | { readonly ok: true; readonly request: SigningRequest }
  | { readonly ok: false; readonly problem: string };

const refuse = (problem: string): ReadSigningRequest => ({ ok: false, problem });

/**
 * A signing request (PKCS#10) of the user, by whoever has the private key: its signature is checked, and its Common Name is the user
 * name. Never throws on input. @source compat A7.2, A2.2.10; RFC 2986
 */
export function readSigningRequest(pem: string, username: string): ReadSigningRequest {
  if (pem.length > SIGNING_REQUEST_LENGTH_MAX) {
    return refuse(`must be at most ${SIGNING_REQUEST_LENGTH_MAX} characters`);
  }
  const decoded = decode(pem);
  if (decoded === undefined) return refuse('is not the PEM of a certificate signing request');
  const { subject, subjectPKInfo } = decoded.certificationRequestInfo;
  const problem = nameProblem(subject, username);
  if (problem !== undefined) return refuse(problem);
  const publicKey = publicKeyOf(AsnConvert.serialize(subjectPKInfo));
  if (publicKey === undefined || keyText(publicKey) === undefined) {
    return refuse(`must be of ${KEYS_TAKEN}`);
  }
  const proof = proofProblem(decoded, publicKey);
  return proof === undefined
    ? { ok: true, request: { commonName: username, publicKey } }
    : refuse(proof);
}

function decode(pem: string): CertificationRequest | undefined {
  const base64 = PEM.exec(pem)?.[1];
  if (base64 === undefined) return undefined;
  try {
    return AsnConvert.parse(Buffer.from(base64, 'base64'), CertificationRequest);
  } catch {
    return undefined; // Not DER of this shape.
  }
}

function nameProblem(subject: Name, username: string): string | undefined {
  const names = subject.flatMap((one) => [...one]).filter(({ type }) => type === COMMON_NAME);
  const [name] = names;
  if (name === undefined || names.length > 1) return 'must have exactly one Common Name';
  const { utf8String, printableString } = name.value;
  const text = utf8String ?? printableString;
  if (text === undefined) return 'must have a Common Name of UTF8String or PrintableString';
  if (text !== username) return 'must have the user name as its Common Name';
  if (!mayName(text)) return 'must have a Common Name that is not empty and has no +, # or /';
  if ([...text].length <= COMMON_NAME_LENGTH_MAX) return undefined;
  return `must have a Common Name of at most ${COMMON_NAME_LENGTH_MAX} characters`;
}

function publicKeyOf(der: ArrayBuffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
  } catch {
    return undefined; // Not a key that OpenSSL knows.
  }
}

/** The kind of a key for people, and undefined for one that no certificate is made for. */
export function keyText(key: KeyObject): string | undefined {
  const { modulusLength = 0, publicExponent = 0n, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa': {
      const strong = modulusLength >= RSA_KEY_BITS_MIN && modulusLength <= RSA_KEY_BITS_MAX;
      const usual = publicExponent >= RSA_EXPONENT_MIN && publicExponent <= RSA_EXPONENT_MAX;
      return strong && usual ? `RSA ${modulusLength}` : undefined;
    }
    case 'ec': {
      const curve = Object.entries(EC_CURVES).find(([name]) => name === namedCurve);
      return curve && `EC ${curve[1]}`;
    }
    case 'ed25519':
      return 'Ed25519';
    default:
      return undefined;
  }
}

/** Whoever sends the request must have the private key. Checked on the bytes that were sent. */
function proofProblem(decoded: CertificationRequest, key: KeyObject): string | undefined {
  const { certificationRequestInfoRaw: signed, signatureAlgorithm, signature } = decoded;
  const how = SIGNATURES[signatureAlgorithm.algorithm];
  if (how === undefined) return 'must be signed with SHA-256, SHA-384, SHA-512 or Ed25519';
  const proven =
    signed !== undefined &&
    how.keyType === key.asymmetricKeyType &&
    verifies(how.digest, { signed, key, signature });
  return proven ? undefined : 'is not signed by its own key';
}

function verifies(
  digest: string | null,
  {
    signed,
    key,
    signature,
  }: { readonly signed: ArrayBuffer; readonly key: KeyObject; readonly signature: ArrayBuffer },
): boolean {
  try {
    return verify(digest, Buffer.from(signed), key, Buffer.from(signature));
  } catch {
    return false; // OpenSSL throws where a signature has no shape at all.
  }
}
