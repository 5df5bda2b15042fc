import { isFingerprint } from './certificate.ts';
import type { Credential } from './credential.ts';

const PREFIX = 'cert:';

/**
 * The credential of a certificate that is bound to none: nothing of it is stored, and its rights are those of the groups that rules give
 * it. The fingerprint is 64 lower-case hex digits.
 * @source compat B3
 */
export function unboundCertificate(fingerprint: string): Credential {
  const id = `${PREFIX}${fingerprint}`;
  return {
    id,
    store: 'clients',
    kind: 'certificate',
    name: id,
    match: { fingerprint },
    enabled: true,
    superuser: false,
    passwordRequired: false,
    attributes: {},
    access: { kind: 'groups' },
    secrets: [],
    createdAt: 0,
    createdRevision: 0,
    updatedAt: 0,
    updatedRevision: 0,
  };
}

/** The same by its id; undefined for the id of anything that is stored. */
export function unboundCertificateOf(credentialId: string): Credential | undefined {
  const fingerprint = credentialId.slice(PREFIX.length);
  if (!credentialId.startsWith(PREFIX) || !isFingerprint(fingerprint)) return undefined;
  return unboundCertificate(fingerprint);
}
