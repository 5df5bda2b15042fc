import { type Credential, isValidAt, rolesOf } from '@sallyport/domain';
import type { ExplainAnswer } from '@sallyport/policy-client';
import { checkRequest, type HttpRequest } from '@sallyport/rules';
import { refused } from '../../http/problems.ts';
import type { AdminApiPorts } from '../../ports.ts';
import { type Origin, originOf } from './origin.ts';
import type { ExplainBody } from './schema.ts';

/** What is asked of topics and of connections means nothing to a request. */
const OF_TOPICS = [
  ...['connection', 'clientId', 'username', 'listener', 'peer', 'certificate'],
  ...['stores', 'proof', 'topic'],
] as const;

interface RequestQuestion extends HttpRequest {
  readonly credentialId: string;
}

/** @throws RefusedError `invalid_request` */
export function requestIn(body: ExplainBody): RequestQuestion | undefined {
  const { action, credentialId, method, path } = body;
  if (action !== 'http') {
    const given = Object.entries({ method, path }).filter(([, value]) => value !== undefined);
    if (given.length === 0) return undefined;
    throw problems(given.map(([name]) => [name, 'is asked of the action http only']));
  }
  const foreign = OF_TOPICS.filter((name) => name in body);
  if (foreign.length > 0) {
    throw problems(foreign.map((name) => [name, 'means nothing to the action http']));
  }
  if (credentialId === undefined || method === undefined || path === undefined) {
    const missing = Object.entries({ credentialId, method, path }).filter(
      ([, value]) => value === undefined,
    );
    throw problems(missing.map(([name]) => [name, 'is required for the action http']));
  }
  return { credentialId, method, path };
}

const problems = (found: readonly (readonly [string, string])[]): Error =>
  refused('invalid_request', {
    problems: found.map(([name, detail]) => ({ pointer: `/${name}`, detail })),
  });

interface ExplainedRequest {
  readonly answer: ExplainAnswer;
  readonly credential: Credential;
  readonly origin: Origin | undefined;
}

/** Whether a credential may make a request, and what says so; at one revision. @throws RefusedError `credential_not_found` */
export function explainRequest(
  { model, clock }: Pick<AdminApiPorts, 'model' | 'clock'>,
  { credentialId, ...request }: RequestQuestion,
): ExplainedRequest {
  const { reads, revision } = model;
  const credential = reads.credential(credentialId);
  if (credential === undefined) throw refused('credential_not_found');
  const at = clock();
  const answer = { revision, ...answerOf(credential, request, { reads, at }) };
  const facts = { clientId: '', listener: '' };
  return {
    answer,
    credential,
    origin: originOf({ reads, credential, facts, action: 'http', answer, at }),
  };
}

function answerOf(
  credential: Credential,
  request: HttpRequest,
  { reads, at }: { readonly reads: AdminApiPorts['model']['reads']; readonly at: number },
): Omit<ExplainAnswer, 'revision'> {
  if (!credential.enabled || !isValidAt(credential, at)) {
    return { allowed: false, ruleId: 'credential', opinions: [] };
  }
  const roles = rolesOf(credential.access)
    .map((id) => reads.role(id))
    .filter((role) => role !== undefined);
  const decision = checkRequest(credential, roles, request);
  const verdict = decision.allowed ? 'allow' : 'deny';
  return { ...decision, opinions: [{ authority: 'credential', verdict, ruleId: decision.ruleId }] };
}
