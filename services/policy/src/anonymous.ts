import { chainInForce, type Credential, type Store, STORES } from '@sallyport/domain';
import { ANONYMOUS_ID, type Principal } from '@sallyport/policy-client';
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

/** Whether the chain of a listener was told to let in whoever comes, and has nobody to ask. */
export function anonymousIsLetIn(lookup: ChainLookup, listener: string): boolean {
  const chain = chainInForce(lookup, listener);
  return chain?.anonymous === true && chain.authenticators.every((one) => !one.enabled);
}

/** Who somebody is that no store has proven, if such are let in. What they say of their user name is nobody's proof, and is dropped. */
export function anonymousPrincipal(
  lookup: ChainLookup,
  facts: Facts,
  stores: readonly Store[] = STORES,
): Principal | undefined {
  if (!stores.includes('emqx') || !anonymousIsLetIn(lookup, facts.listener)) return undefined;
  const { username: _claimed, ...own } = facts;
  return { credentialId: ANONYMOUS_ID, store: 'emqx', facts: own };
}
