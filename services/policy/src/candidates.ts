import {
  authChainTagsOf,
  type Credential,
  credentialTag,
  loginKeysOf,
  matchesByPattern,
  nearestFirst,
  scramKeysOf,
  type Secret,
  type SettingValues,
  type Store,
  STORES,
  unboundCertificate,
} from '@sallyport/domain';
import type { Principal, RefusedAnswer } from '@sallyport/policy-client';
import type { Facts, ProofMethod } from '@sallyport/rules';
import { admittedByChain, type ChainLookup, type ProvenBy } from './chains.ts';
import { turnOf } from './tbmq-providers.ts';

export type Verified =
  | {
      readonly ok: true;
      readonly credential: Credential;
      readonly principal: Principal;
      /** Tags of all that was looked at: a change of what did not fit may make it what does. */
      readonly tags: readonly string[];
    }
  | Refused;

/** What refuses a CONNECT, as of `RefusedAnswer`. */
export type Refused = Omit<RefusedAnswer, 'revision'>;

export interface CredentialLookup extends ChainLookup {
  credentialsByLogin(...keys: readonly string[]): readonly Credential[];
  /** Of every store, in the order in which they are tried. */
  patternCredentials(): readonly Credential[];
  settings(): SettingValues;
}

/** Whether a certificate alone gets in where CONNECT has a user name: never, only as that name, or whatever the name is. */
const besideUsername: Readonly<Record<Store, 'never' | 'same' | 'any'>> = {
  native: 'same',
  tbmq: 'any',
  emqx: 'never',
  cybus: 'same',
  clients: 'never',
};

export interface Candidates {
  /** In the order in which they are tried. */
  readonly credentials: readonly Credential[];
  /** Of what they were chosen by. */
  readonly tags: readonly string[];
  /** Those by a pattern that another one stands before: a change may turn that round. */
  readonly passedOver: readonly Credential[];
}

/** Whom the facts lead to, in every store: the most specific match first, and the nearest to the client's certificate. */
export function foundBy(
  lookup: CredentialLookup,
  facts: Facts,
  how: ProvenBy,
): readonly Credential[] {
  const keys = how === 'scram' ? scramKeysOf(facts) : loginKeysOf(facts);
  const found = lookup.credentialsByLogin(...keys);
  if (facts.certificate === undefined) return found;
  const patterns = lookup.patternCredentials();
  if (patterns.length === 0) return found;
  const exact = found.filter((one) => one.match.parentCommonName !== undefined);
  const others = found.filter((one) => one.match.parentCommonName === undefined);
  return [...others, ...nearestFirst(facts.certificate, { patterns, exact })];
}

const namesAuthority = ({ match }: Credential): boolean =>
  match.parentCommonName !== undefined || matchesByPattern(match);

/**
 * Credentials that may admit a connection: stores in the order given, and in a store the most specific match first. Of those
 * that name an authority only the nearest to the client's certificate counts, store by store; of those of `emqx` the ones of the
 * first authenticator of the listener's chain that has any; of those of `tbmq` the ones of its providers, in their order.
 */
export function findCandidates(
  lookup: CredentialLookup,
  {
    facts,
    stores = STORES,
  }: { readonly facts: Facts; readonly stores?: readonly Store[] | undefined },
  how: ProvenBy,
): Candidates {
  const settings = lookup.settings();
  const turn = (one: Credential): number | undefined => turnOf(one, settings, how);
  const parents = new Set<Store>();
  const passedOver: Credential[] = [];
  const fitting = foundBy(lookup, facts, how).filter((one) => {
    if (!stores.includes(one.store) || !fits(one, facts) || turn(one) === undefined) return false;
    if (!namesAuthority(one)) return true;
    const nearest = !parents.has(one.store);
    parents.add(one.store);
    if (!nearest && matchesByPattern(one.match)) passedOver.push(one);
    return nearest;
  });
  const credentials = admittedByChain(lookup, facts.listener, fitting, how);
  const chained = fitting.some((one) => one.store === 'emqx');
  return {
    // Stable among those of one store whose turn comes at once.
    credentials: credentials.toSorted(
      (a, b) =>
        stores.indexOf(a.store) - stores.indexOf(b.store) || (turn(a) ?? 0) - (turn(b) ?? 0),
    ),
    tags: chained ? authChainTagsOf(facts.listener) : [],
    passedOver,
  };
}

/** Whether a credential is meant for such a CONNECT at all; also of one that was admitted by it. */
export function fits(credential: Credential, { username, certificate }: Facts): boolean {
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

/**
 * The credential of a certificate that binds to nothing that there is, where the listener names the store `clients`; a user name would
 * say who else it is. Not where it names no stores: of the others each has its own rule for such a certificate, which is to refuse it.
 * @source compat B3
 */
export function unboundCredential(
  { credentials, tags }: Candidates,
  { username, certificate }: Facts,
  stores: readonly Store[] | undefined,
): Credential | undefined {
  // Tags without credentials are of one that its chain does not admit.
  if (certificate === undefined || credentials.length + tags.length > 0) return undefined;
  if (username !== undefined && username !== '') return undefined;
  if (stores?.includes('clients') !== true) return undefined;
  return unboundCertificate(certificate.fingerprintSha256);
}

/** How a credential was proven. */
export interface Proof {
  readonly methods: readonly ProofMethod[];
  /** Or a token, by its id. */
  readonly secret?: Pick<Secret, 'secretId'> | undefined;
}

export function admitted(
  candidates: Candidates,
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
    tags: [
      ...candidates.tags,
      ...[...candidates.credentials, ...candidates.passedOver].map((one) => credentialTag(one.id)),
    ],
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
