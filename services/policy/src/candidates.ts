import { type Credential, loginKeysOf, type Secret, STORES } from '@sallyport/domain';
import type { Principal, RefusalReason } from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';

export type Verified =
  | {
      readonly ok: true;
      readonly credential: Credential;
      readonly principal: Principal;
      /** Ids of all that were looked at: a change of one that did not fit may make it the one that does. */
      readonly candidates: readonly string[];
    }
  | { readonly ok: false; readonly reason: RefusalReason };

export interface CredentialLookup {
  credentialsByLogin(key: string): readonly Credential[];
}

/** Credentials that may admit a connection: stores in order, and in a store the most specific match first. */
export function findCandidates(lookup: CredentialLookup, facts: Facts): readonly Credential[] {
  const found = loginKeysOf(facts).flatMap((key) => lookup.credentialsByLogin(key));
  return found.sort((a, b) => STORES.indexOf(a.store) - STORES.indexOf(b.store)); // Stable within a store.
}

export function admitted(
  candidates: readonly Credential[],
  credential: Credential,
  facts: Facts,
  secret?: Secret,
): Extract<Verified, { ok: true }> {
  return {
    ok: true,
    credential,
    candidates: candidates.map((one) => one.id),
    principal: {
      credentialId: credential.id,
      store: credential.store,
      facts,
      ...(secret && { secretId: secret.secretId }),
    },
  };
}
