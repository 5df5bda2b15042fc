import type { Facts } from '@sallyport/rules';
import type { Principal, Resolved } from './policy-client.ts';

/** The facts that a policy is asked with: those of the connection, and the attributes that its credential has now. */
export function decidingFacts(
  { facts }: Principal,
  { attributes }: Pick<Resolved, 'attributes'>,
): Facts {
  return attributes === undefined ? facts : { ...facts, attributes };
}
