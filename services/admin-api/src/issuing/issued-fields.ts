import type { X509Certificate } from 'node:crypto';
import type { IssuedFields } from '@sallyport/domain';
import type { IssuingAuthority } from './issuing-authority.ts';

/** What is recorded of a certificate that was just made. */
export function issuedFields(
  certificate: X509Certificate,
  {
    authority,
    ...said
  }: Pick<IssuedFields, 'credentialId' | 'by' | 'renews'> & {
    readonly authority: Pick<IssuingAuthority, 'fingerprint'>;
  },
): IssuedFields {
  return {
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    serial: certificate.serialNumber.toUpperCase(),
    subject: (certificate.subject ?? '').replace(/^CN=/, ''),
    authority: authority.fingerprint,
    notBefore: Date.parse(certificate.validFrom),
    // A certificate holds to the end of its last second. [RFC 5280 §4.1.2.5]
    notAfter: Date.parse(certificate.validTo) + 999,
    ...said,
    certificate: certificate.toString(),
  };
}
