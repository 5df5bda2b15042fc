import { chainInForce, type Credential, type Store, STORES } from '@sallyport/domain';
import { ANONYMOUS_ID, type Principal, type RefusalReason } from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';
import type { ChainLookup } from './chains.ts';

/** What stands where others have a credential. It has no opinion of its own: the ACL lists decide. */
export const ANONYMOUS: Credential = {
  id: ANONYMOUS_ID,
  store: 'emqx',
  kind: 'password',
  name: ANONYMOUS_ID,
  match: {},
  enabled: true,
  superuser: false,
  passwordRequired: false,
  attributes: {},
  access: { kind: 'acl' },
  secrets: [],
  createdAt: 0,
  createdRevision: 0,
  updatedAt: 0,
  updatedRevision: 0,
};

/**
 * Whether somebody who has proven nothing is let in: because the listener asks nobody, or because its chain was told to, and has nobody
 * to ask, or nobody who knows them.
 */
export function anonymousIsLetIn(
  lookup: ChainLookup,
  { listener, open }: Pick<Facts, 'listener' | 'open'>,
  reason: RefusalReason = 'unknown_client',
): boolean {
  if (open === true) return true;
  const chain = chainInForce(lookup, listener);
  if (chain?.admitsUnknown === true && reason === 'unknown_client') return true;
  return chain?.anonymous === true && chain.authenticators.every((one) => !one.enabled);
}

/** Who somebody is that no store has proven, for this reason, if such are let in. What they say of their user name is nobody's proof, and is dropped. */
export function anonymousPrincipal(
  lookup: ChainLookup,
  facts: Facts,
  stores: readonly Store[] = STORES,
  reason: RefusalReason,
): Principal | undefined {
  if (facts.open !== true && !stores.includes('emqx')) return undefined;
  if (!anonymousIsLetIn(lookup, facts, reason)) return undefined;
  const { username: _claimed, ...own } = facts;
  return { credentialId: ANONYMOUS_ID, store: 'emqx', facts: own };
}
