import {
  carriesMatch,
  type Credential,
  type Grant,
  type GrantMethod,
  grantsOf,
  isValidAt,
  mapCertificate,
  refusesClientId,
} from '@sallyport/domain';
import type { RefusalReason } from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';

/** What a connection must still prove, given what it has shown. */
export type Entry =
  | {
      readonly ok: true;
      /** Whether a secret must be proven. */
      readonly secret: boolean;
      /** What that may be, any of them. */
      readonly by: readonly SecretMethod[];
      /** Whether the certificate is one of the proofs. */
      readonly certificate: boolean;
    }
  | { readonly ok: false; readonly reason: RefusalReason };

export type SecretMethod = Exclude<GrantMethod, 'certificate'>;

const refused = (reason: RefusalReason): Entry => ({ ok: false, reason });

/**
 * What stands between a connection and a credential that was found for it, secrets aside. The same for a CONNECT and for a session
 * that is judged again.
 * @source compat A2.2, A2.3: one of the grants, and all that are required
 */
export function entryOf(credential: Credential, facts: Facts, at: number): Entry {
  const closed = closedBy(credential, facts, at);
  if (closed !== undefined) return refused(closed);
  const grants = grantsOf(credential);
  if (grants.length === 0) return { ok: true, secret: false, by: [], certificate: false };
  const certificate = grants.find((one) => one.method === 'certificate');
  const certified = certificate !== undefined && isCertified(credential, facts);
  if (!certified && needsCertificate(credential, facts, certificate)) return refused('certificate');
  const secrets = grants.filter(isOfSecret);
  if (!certified && secrets.length === 0) return refused('certificate');
  const required = secrets.filter((one) => one.required);
  const by = (required.length > 0 ? required : secrets).map((one) => one.method);
  const secret = required.length > 0 || (secrets.length > 0 && !certified);
  return { ok: true, secret, by, certificate: certified };
}

const isOfSecret = (grant: Grant): grant is Grant & { readonly method: SecretMethod } =>
  grant.method !== 'certificate';

/** What refuses every connection, or every certificate of such a name or client of such an id, whatever else it proves. */
function closedBy(credential: Credential, facts: Facts, at: number): RefusalReason | undefined {
  const { access, enabled } = credential;
  if (!enabled) return 'disabled';
  if (!isValidAt(credential, at)) return 'not_valid_now';
  if (access.kind === 'mapping' && mapCertificate(access, facts) === undefined) {
    return 'certificate';
  }
  return refusesClientId(credential, facts) ? 'client_id' : undefined;
}

/** Whether a certificate that is missing or not the credential's own refuses the connection, whatever else it proves. */
function needsCertificate(
  { store }: Credential,
  { certificate }: Facts,
  grant: Grant | undefined,
): boolean {
  if (grant?.required === true) return true;
  if (certificate === undefined) return false;
  // One that is shown must be right; and on a listener that asks for one, A2.2.3 lets nobody in by password alone.
  return grant !== undefined || store === 'cybus';
}

function isCertified({ kind, match }: Credential, { certificate, ...facts }: Facts): boolean {
  if (certificate === undefined) return false;
  if (kind === 'certificate') {
    return carriesMatch({ ...facts, certificate }, match);
  }
  return match.username !== undefined && match.username === certificate.commonName;
}

/** When a session that came in this way is over by itself; the earliest of what it rests on. */
export function endOf(
  credential: Credential,
  { facts, secretId }: { readonly facts: Facts; readonly secretId?: string | undefined },
): number | undefined {
  const secret =
    credential.secrets.find((one) => one.secretId === secretId) ??
    credential.tokens?.find((one) => one.tokenId === secretId);
  const byCertificate = facts.methods?.includes('certificate') === true;
  const ends = [
    secret?.expiresAt,
    credential.validity?.until,
    byCertificate ? facts.certificate?.validUntil : undefined,
  ].filter((one) => one !== undefined);
  return ends.length === 0 ? undefined : Math.min(...ends);
}
