import { verify, X509Certificate } from 'node:crypto';
import {
  type IssuedCertificate,
  type IssuedCertificateCommand,
  parseFingerprint,
  renewalProblem,
} from '@sallyport/domain';
import { refused } from '../http/problems.ts';
import type { AdminApiPorts } from '../ports.ts';
import { NO_ISSUER, unsigned } from '../registration/grant.ts';
import { issuedFields } from './issued-fields.ts';
import { readSigningRequest } from './signing-request.ts';

type Ports = Pick<AdminApiPorts, 'model' | 'issuer'>;

type Renew = Extract<IssuedCertificateCommand, { type: 'RenewCertificate' }>;

/** Of a text in any form that a fingerprint is written in. @throws RefusedError `certificate_not_found` */
export function issuedCertificateOf(
  { model }: Pick<Ports, 'model'>,
  text: string,
): IssuedCertificate {
  const fingerprint = parseFingerprint(text);
  const found = fingerprint && model.reads.issuedCertificate(fingerprint);
  if (found) return found;
  throw refused('certificate_not_found');
}

/**
 * A certificate in the place of a present one, for the key of a signing request.
 * @throws RefusedError `certificate_revoked`, `certificate_not_renewable`, `registration_invalid`, `registration_unsigned`
 */
export function renewCommand(
  { model, issuer }: Ports,
  present: IssuedCertificate,
  { csr, by, byDevice, at }: { csr: string; by: string; byDevice: boolean; at: number },
): Renew {
  const { fingerprint: renews, credentialId, subject } = present;
  // Before anything is signed: what is signed is a certificate, recorded or not.
  if (present.revoked !== undefined) throw refused('certificate_revoked');
  const detail = renewalProblem(model.reads, present, { byDevice, at });
  if (detail !== undefined) throw refused('certificate_not_renewable', { detail });
  if (issuer === undefined) throw unsigned('registration_unsigned', NO_ISSUER);
  const read = readSigningRequest(csr, subject);
  if (!read.ok) throw unsigned('registration_invalid', read.problem);
  const made = issuer.issue(read.request, at);
  if (!made.ok) throw unsigned('registration_unsigned', `cannot be signed: ${made.problem}`);
  const issued = issuedFields(made.certificate, { authority: issuer, credentialId, by, renews });
  return { type: 'RenewCertificate', data: { issued: { ...issued, renews }, byDevice } };
}

/** Whether a text was signed with the key of a certificate; never throws on input. */
export function isSignedBy(certificate: string, text: string, signature: string): boolean {
  try {
    const { publicKey } = new X509Certificate(certificate);
    const digest = publicKey.asymmetricKeyType === 'ed25519' ? null : 'sha256';
    return verify(digest, Buffer.from(text), publicKey, Buffer.from(signature, 'base64'));
  } catch {
    return false; // OpenSSL throws where a signature has no shape at all.
  }
}
