import type { Credential, Store } from '@sallyport/domain';
import {
  ANONYMOUS_ID,
  type ExplainAnswer,
  type ExplainLoginAnswer,
} from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';
import type { AdminApiPorts } from '../../ports.ts';

/** What a CONNECT would say; whom it logs in as is what is asked. */
export interface LoginQuestion {
  readonly facts: Facts;
  readonly stores?: readonly Store[] | undefined;
  readonly scram: boolean;
}

/** Whom the facts would log in as, by the policy service's own search. @throws OperationalError `policy_not_ready` */
export function explainLogin(
  { policy, model }: AdminApiPorts,
  { facts, stores, scram }: LoginQuestion,
): Promise<ExplainLoginAnswer> {
  const minRevision = model.revision;
  return policy.explainLogin({ facts, scram, minRevision, ...(stores && { stores }) });
}

/** The same as an answer to a question: whether the CONNECT would be accepted, and what says so. */
export function connectAnswer(login: ExplainLoginAnswer): ExplainAnswer {
  const { revision, principal } = login;
  return { revision, allowed: principal !== undefined, ruleId: ruleIdOf(login), opinions: [] };
}

function ruleIdOf({ banId, principal, reason = 'unknown_client' }: ExplainLoginAnswer): string {
  if (banId !== undefined) return `ban:${banId}`;
  if (principal === undefined) return `login/${reason}`;
  const { credentialId } = principal;
  return credentialId === ANONYMOUS_ID ? ANONYMOUS_ID : `credential:${credentialId}`;
}

/** What the caller is told. `credential` answers the stored one of an id. */
export function loginView(
  { banId, steps, principal, reason }: ExplainLoginAnswer,
  credential: (id: string) => Credential | undefined,
) {
  const decides = steps.find(
    (one) => one.credentialId === principal?.credentialId && one.skipped === undefined,
  );
  return {
    secret: decides?.secret === true ? ('not_checked' as const) : ('not_needed' as const),
    ...(principal && { credentialId: principal.credentialId, store: principal.store }),
    ...(decides?.chain && { chain: decides.chain }),
    ...(principal?.facts.username !== undefined && { username: principal.facts.username }),
    ...(reason && { reason }),
    ...(banId !== undefined && { banId }),
    steps: steps.map(({ credentialId, ...step }) => {
      const name = credential(credentialId)?.name;
      return { credentialId, ...(name !== undefined && { name }), ...step };
    }),
  };
}
