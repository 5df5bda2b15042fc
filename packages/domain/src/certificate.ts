/** What is known of a client certificate that the authorities of its listener vouch for. */
export interface CertificateIdentity {
  /** SHA-256 of the certificate: 64 lower-case hexadecimal digits. */
  readonly fingerprintSha256: string;
  /** The one Common Name of the subject; absent unless there is exactly one and it may name somebody (`mayName`). */
  readonly commonName?: string;
  /** Common Names from the certificate itself to the root; empty for a certificate that has none or several. */
  readonly chainCommonNames: readonly string[];
  /** RFC 4514 */
  readonly subjectDn?: string;
  /** Last millisecond of the certificate, since 1970. */
  readonly validUntil?: number;
}

const FINGERPRINT = /^[0-9a-f]{64}$/;
/** NUL, wildcards and the separator of levels would mean something wherever the name goes later. */
export function mayName(commonName: string): boolean {
  return commonName !== '' && !/[\0+#/]/.test(commonName);
}

export const isFingerprint = (text: string): boolean => FINGERPRINT.test(text);
