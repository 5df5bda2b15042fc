import {
  type AuthChain,
  authenticatorOf,
  chainInForce,
  type Credential,
  type DecisionReads,
  looksAt,
  memberOf,
} from '@sallyport/domain';

/** How a connection proves itself: every authenticator takes one way only. */
export type ProvenBy = 'password' | 'scram';

export type ChainLookup = Pick<DecisionReads, 'authChain'>;

const mechanisms = { password: 'password_based', scram: 'scram' } as const;

/**
 * Position of a credential's authenticator in the chain that is in force on a listener; undefined when it may not be asked there: it
 * belongs to another chain, its authenticator is gone or disabled, takes another proof, or does not go by what it matches.
 */
export function stepOf(
  chain: AuthChain | undefined,
  credential: Pick<Credential, 'store' | 'chain' | 'match'>,
  how: ProvenBy,
): number | undefined {
  const member = memberOf(credential);
  if (member === undefined) return 0;
  // No chain was ever set.
  if (chain === undefined) return credential.chain === undefined ? 0 : undefined;
  const authenticator = authenticatorOf(chain, member.authenticator);
  if (chain.scope !== member.scope || authenticator === undefined) return undefined;
  const asked =
    authenticator.enabled &&
    authenticator.mechanism === mechanisms[how] &&
    looksAt(authenticator, credential.match);
  return asked ? chain.authenticators.indexOf(authenticator) : undefined;
}

/**
 * Of the credentials that fit a CONNECT, those that the chain lets decide: all of other stores, and in `emqx` those of the first
 * authenticator that knows the client. It decides for its store, whatever comes of it. @source compat emqx §2.4, cybus-and-groups C1
 */
export function admittedByChain(
  lookup: ChainLookup,
  listener: string,
  found: readonly Credential[],
  how: ProvenBy,
): readonly Credential[] {
  if (!found.some((one) => one.store === 'emqx')) return found;
  const chain = chainInForce(lookup, listener);
  const steps = new Map(found.map((one) => [one, stepOf(chain, one, how)]));
  const first = Math.min(
    ...found.filter((one) => one.store === 'emqx').map((one) => steps.get(one) ?? Infinity),
  );
  return found.filter((one) => one.store !== 'emqx' || steps.get(one) === first);
}

/** Whether the chains still admit who came in by this credential. */
export function chainAdmits(
  lookup: ChainLookup,
  credential: Credential,
  { listener, methods = [] }: { readonly listener: string; readonly methods?: readonly string[] },
): boolean {
  if (credential.store !== 'emqx') return true;
  const how = methods.includes('scram') ? 'scram' : 'password';
  return stepOf(chainInForce(lookup, listener), credential, how) !== undefined;
}
