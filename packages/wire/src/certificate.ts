import type { CertificateIdentity } from '@sallyport/domain';
import { PROOF_METHODS, type ProofMethod } from '@sallyport/rules';
import type { Certificate as WireCertificate } from './generated/sallyport/policy/v1/policy.js';
import { required } from './required.ts';

export function certificateToWire(certificate: CertificateIdentity): WireCertificate {
  const { fingerprintSha256, commonName, chainCommonNames, subjectDn, validUntil } = certificate;
  return {
    fingerprintSha256,
    commonName,
    chainCommonNames: [...chainCommonNames],
    subjectDn,
    validUntil,
  };
}

export function certificateFromWire(wire: WireCertificate): CertificateIdentity {
  const { fingerprintSha256, commonName, chainCommonNames, subjectDn, validUntil } = wire;
  return {
    fingerprintSha256,
    chainCommonNames,
    ...(commonName !== undefined && { commonName }),
    ...(subjectDn !== undefined && { subjectDn }),
    ...(validUntil !== undefined && { validUntil }),
  };
}

export function methodFromWire(text: string): ProofMethod {
  const method = PROOF_METHODS.find((one) => one === text);
  return required(method, `a known method (got ${text})`);
}
