import { type Credential, loginKeysOf, type Secret, type Store, STORES } from '@sallyport/domain';
import type { Principal, RefusalReason } from '@sallyport/policy-client';
import type { Facts, ProofMethod } from '@sallyport/rules';

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

/** Whether a certificate alone gets in where CONNECT has a user name: never, only as that name, or whatever the name is. */
const besideUsername: Readonly<Record<Store, 'never' | 'same' | 'any'>> = {
  native: 'same',
  tbmq: 'any',
  emqx: 'never',
  cybus: 'same',
  clients: 'never',
};

/**
 * Credentials that may admit a connection: stores in the order given, and in a store the most specific match first. Of those
 * that name an authority only the nearest to the client's certificate counts, store by store.
 */
export function findCandidates(
  lookup: CredentialLookup,
  facts: Facts,
  stores: readonly Store[] = STORES,
): readonly Credential[] {
  const found = loginKeysOf(facts).flatMap((key) => lookup.credentialsByLogin(key));
  const parents = new Set<Store>();
  const fitting = found.filter((one) => {
    if (!stores.includes(one.store) || !fits(one, facts)) return false;
    if (one.match.parentCommonName === undefined) return true;
    const nearest = !parents.has(one.store);
    parents.add(one.store);
    return nearest;
  });
  return fitting.sort((a, b) => stores.indexOf(a.store) - stores.indexOf(b.store)); // Stable within a store.
}

/** Whether a credential is meant for such a CONNECT at all. */
function fits(credential: Credential, { username, certificate }: Facts): boolean {
  const named = username !== undefined && username !== '';
  if (credential.kind === 'certificate') {
    const beside = besideUsername[credential.store];
    return (
      !named || beside === 'any' || (beside === 'same' && username === certificate?.commonName)
    );
  }
  // A certificate stands for the user name only where it is a way in.
  const byCertificate = credential.grants?.some((one) => one.method === 'certificate') ?? false;
  return named || credential.match.username === undefined || byCertificate;
}

/** How a credential was proven. */
export interface Proof {
  readonly methods: readonly ProofMethod[];
  readonly secret?: Secret | undefined;
}

export function admitted(
  candidates: readonly Credential[],
  credential: Credential,
  facts: Facts,
  { methods, secret }: Proof,
): Extract<Verified, { ok: true }> {
  const named = facts.username !== undefined && facts.username !== '';
  // The certificate has told who it is: the rules know the name from here on.
  const username = named ? facts.username : (credential.match.username ?? facts.username);
  return {
    ok: true,
    credential,
    candidates: candidates.map((one) => one.id),
    principal: {
      credentialId: credential.id,
      store: credential.store,
      facts: {
        ...facts,
        ...(username !== undefined && { username }),
        ...(methods.length > 0 && { methods }),
      },
      ...(secret && { secretId: secret.secretId }),
    },
  };
}
