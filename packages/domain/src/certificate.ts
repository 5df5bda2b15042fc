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
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** NUL, wildcards and the separator of levels would mean something wherever the name goes later. */
export function mayName(commonName: string): boolean {
  return commonName !== '' && !/[\0+#/]/.test(commonName);
}

export const isFingerprint = (text: string): boolean => FINGERPRINT.test(text);

/**
 * A SHA-256 fingerprint as people write it, in its one form here: 64 lower-case hexadecimal digits. Accepts hexadecimal digits in
 * any case, with or without colons, and 43 or 44 characters of base64, each behind `SHA256:` or not.
 */
export function parseFingerprint(text: string): string | undefined {
  const bare = text.replace(/^sha256:/i, '');
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){31}$/i.test(bare)) return bare.replaceAll(':', '').toLowerCase();
  if (/^[0-9a-f]{64}$/i.test(bare)) return bare.toLowerCase();
  if (!/^[A-Za-z0-9+/]{43}=?$/.test(bare)) return undefined;
  // 43 characters have 258 bits: two more than the digest, which must be nothing.
  const bits = [...bare.slice(0, 43)]
    .map((one) => BASE64.indexOf(one).toString(2).padStart(6, '0'))
    .join('');
  if (!bits.endsWith('00')) return undefined;
  return (bits.slice(0, 256).match(/.{4}/g) ?? [])
    .map((nibble) => parseInt(nibble, 2).toString(16))
    .join('');
}
