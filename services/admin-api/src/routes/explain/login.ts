import { chainInForce, type Credential, type DecisionReads, type Store } from '@sallyport/domain';
import {
  ANONYMOUS_ID,
  type ExplainAnswer,
  type ExplainLoginAnswer,
  type LoginStep,
} from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';
import type { AdminApiPorts } from '../../ports.ts';
import { chainOrigin, closedCredential, ofBan, type Origin } from './origin.ts';

/** Longest wait for this process to hear of what the policy service has heard of. */
export const CATCH_UP_MS = 2_000;

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

/** The same that the log names, where that names one. */
function ruleIdOf(login: ExplainLoginAnswer): string {
  const { banId, principal, reason = 'unknown_client' } = login;
  if (banId !== undefined) return `ban:${banId}`;
  const credentialId = principal?.credentialId ?? refusingStep(login)?.credentialId;
  if (credentialId === undefined) return `login/${reason}`;
  return credentialId === ANONYMOUS_ID ? ANONYMOUS_ID : `credential:${credentialId}`;
}

/** The step whose reason is that of the whole, as a CONNECT picks it. */
function refusingStep({ steps, principal }: ExplainLoginAnswer): LoginStep | undefined {
  if (principal !== undefined) return undefined;
  let refusing: LoginStep | undefined;
  for (const step of steps) {
    const { refusal } = step;
    if (refusal === undefined) continue;
    const before = refusing?.refusal;
    if (before === undefined || (refusal !== 'wrong_secret' && refusal !== before)) refusing = step;
  }
  return refusing;
}

/** Whether the facts lead to credentials, and the chain of the listener asks none of them. */
const isKeptOutByChain = ({ steps, principal }: ExplainLoginAnswer): boolean =>
  principal === undefined &&
  steps.every((one) => one.skipped !== undefined) &&
  steps.some((one) => one.skipped === 'chain');

function decidedByChain(reads: DecisionReads, { listener }: Facts): DecidedLogin {
  const chain = chainInForce(reads, listener);
  const ruleId = `chain:${chain?.scope ?? 'global'}`;
  return { ruleId, ...(chain && { origin: chainOrigin(chain) }) };
}

interface DecidedLogin {
  /** In place of the answer's, where only what is stored tells it. */
  readonly ruleId?: string;
  readonly credential?: Credential | undefined;
  readonly origin?: Origin | undefined;
}

/** What decides a CONNECT, as it is now; nothing of what has changed since the answer. */
export async function decidedBy(
  { model, clock }: Pick<AdminApiPorts, 'model' | 'clock'>,
  login: ExplainLoginAnswer,
  question: Pick<LoginQuestion, 'facts' | 'scram'>,
): Promise<DecidedLogin> {
  await model.waitFor(login.revision, CATCH_UP_MS);
  return model.revision === login.revision ? decidedIn(model.reads, login, question, clock()) : {};
}

function decidedIn(
  reads: DecisionReads,
  login: ExplainLoginAnswer,
  { facts, scram }: Pick<LoginQuestion, 'facts' | 'scram'>,
  at: number,
): DecidedLogin {
  const { banId, principal } = login;
  if (banId !== undefined) {
    return { origin: ofBan({ reads, answer: { ruleId: `ban:${banId}` } }) };
  }
  if (!scram && isKeptOutByChain(login)) return decidedByChain(reads, facts);
  const refusing = refusingStep(login);
  const credential = reads.credential(principal?.credentialId ?? refusing?.credentialId ?? '');
  if (credential === undefined || refusing === undefined) return { credential };
  return { credential, origin: closedCredential(credential, facts, at) };
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
