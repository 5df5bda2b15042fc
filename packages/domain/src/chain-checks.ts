import {
  type Authenticator,
  type AuthChainReads,
  authenticatorOf,
  isChainScope,
} from './auth-chain.ts';
import { type ChainMember, memberKey, memberOf } from './chain-member.ts';
import type { CredentialMatch, NewCredential, Secret } from './credential.ts';
import type { Problems } from './text.ts';

type Chains = Pick<AuthChainReads, 'authChain'>;

/** Whether an authenticator looks at a credential with this match at all. */
export function looksAt(
  { matchBy }: Pick<Authenticator, 'matchBy'>,
  match: CredentialMatch,
): boolean {
  if (matchBy !== 'either') return match[matchBy] !== undefined;
  return match.username !== undefined || match.clientId !== undefined;
}

/** What a new credential belongs to must be there. */
export function checkBelonging(problems: Problems, reads: Chains, added: NewCredential): void {
  if (added.chain !== undefined && added.store !== 'emqx') {
    problems.add('/chain', 'is for the store emqx only');
  }
  const member = memberOf(added);
  if (member === undefined) return;
  const { scope, authenticator } = member;
  if (!isChainScope(scope)) {
    problems.add('/chain/scope', 'is not a scope');
    return;
  }
  const chain = reads.authChain(scope);
  // Before the global chain is set for the first time, it is as if this authenticator were in it.
  if (chain === undefined && memberKey(member) === '') return;
  if (authenticatorOf(chain, authenticator) === undefined) {
    problems.add('/chain/authenticator', `is not in the chain ${scope}: ${authenticator}`);
  } else checkMatched(problems, reads, added);
}

/** The credential must have what its authenticator goes by; of one that is not in its chain nothing is asked. */
export function checkMatched(
  problems: Problems,
  reads: Chains,
  credential: Pick<NewCredential, 'store' | 'chain' | 'match'>,
): void {
  const member = memberOf(credential);
  if (member === undefined) return;
  const found = authenticatorOf(reads.authChain(member.scope), member.authenticator);
  if (found === undefined || looksAt(found, credential.match)) return;
  const { matchBy } = found;
  const needed = matchBy === 'either' ? '/match' : `/match/${matchBy}`;
  const what = matchBy === 'either' ? 'must have a username or a clientId' : 'is needed';
  problems.add(needed, `${what}, because its authenticator goes by it`);
}

/** A user of SCRAM whose secret SCRAM does not prove would never get in. */
export function checkProvable(
  problems: Problems,
  chain: ChainMember | undefined,
  secrets: readonly Secret[],
): void {
  if (chain?.authenticator !== 'scram:built_in_database') return;
  if (secrets.every(({ scram = [] }) => scram.length > 0)) return;
  problems.add('/scram', 'must name a mechanism, because the authenticator takes SCRAM only');
}
