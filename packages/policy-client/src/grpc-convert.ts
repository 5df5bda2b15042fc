import { unreachable } from '@sallyport/errors';
import {
  actionFromWire,
  actionToWire,
  effectFromWire,
  effectToWire,
  factsFromWire,
  factsToWire,
  policyFromWire,
  policyToWire,
  required,
  storeFromWire,
  type WireAuthenticateRequest,
  type WireAuthenticateResponse,
  type WireExplainRequest,
  type WireExplainResponse,
  type WirePrincipal,
  WireRefusalReason,
  type WireResolved,
  type WireResolvePolicyRequest,
  type WireResolvePolicyResponse,
} from '@sallyport/wire';
import type {
  AuthenticateAnswer,
  AuthenticateRequest,
  ExplainAnswer,
  ExplainRequest,
  Principal,
  RefusalReason,
  ResolveAnswer,
  Resolved,
  ResolveRequest,
} from './policy-client.ts';

export function authenticateRequestToWire(request: AuthenticateRequest): WireAuthenticateRequest {
  const { facts, password, minRevision } = request;
  return {
    facts: factsToWire(facts),
    password: password && Buffer.from(password),
    minRevision,
  };
}

export function authenticateRequestFromWire(wire: WireAuthenticateRequest): AuthenticateRequest {
  return {
    facts: factsFromWire(wire.facts),
    minRevision: wire.minRevision,
    ...(wire.password !== undefined && { password: wire.password }),
  };
}

export function authenticateAnswerToWire(answer: AuthenticateAnswer): WireAuthenticateResponse {
  const { revision } = answer;
  if (!answer.ok) {
    return { revision, outcome: { $case: 'refusal', value: refusals[answer.reason] } };
  }
  const admission = {
    principal: principalToWire(answer.principal),
    resolved: resolvedToWire(answer.resolved),
    policy: policyToWire(answer.policy),
  };
  return { revision, outcome: { $case: 'admission', value: admission } };
}

export function authenticateAnswerFromWire(wire: WireAuthenticateResponse): AuthenticateAnswer {
  const { revision } = wire;
  const outcome = required(wire.outcome, 'outcome');
  switch (outcome.$case) {
    case 'refusal':
      return { ok: false, revision, reason: refusalFromWire(outcome.value) };
    case 'admission': {
      const { principal, resolved, policy } = outcome.value;
      return {
        ok: true,
        revision,
        principal: principalFromWire(principal),
        resolved: resolvedFromWire(required(resolved, 'resolved')),
        policy: policyFromWire(required(policy, 'policy')),
      };
    }
    default:
      return unreachable(outcome);
  }
}

export function resolveRequestToWire(request: ResolveRequest): WireResolvePolicyRequest {
  return {
    principals: request.principals.map(principalToWire),
    minRevision: request.minRevision,
  };
}

export function resolveRequestFromWire(wire: WireResolvePolicyRequest): ResolveRequest {
  return { principals: wire.principals.map(principalFromWire), minRevision: wire.minRevision };
}

export function resolveAnswerToWire(answer: ResolveAnswer): WireResolvePolicyResponse {
  return {
    revision: answer.revision,
    resolutions: answer.results.map((one) => ({ resolved: one && resolvedToWire(one) })),
    policies: answer.policies.map(policyToWire),
  };
}

export function resolveAnswerFromWire(wire: WireResolvePolicyResponse): ResolveAnswer {
  return {
    revision: wire.revision,
    results: wire.resolutions.map(({ resolved }) => resolved && resolvedFromWire(resolved)),
    policies: wire.policies.map(policyFromWire),
  };
}

export function explainRequestToWire(request: ExplainRequest): WireExplainRequest {
  const { principal, action, topic, minRevision } = request;
  return {
    principal: principalToWire(principal),
    action: actionToWire(action),
    topic,
    minRevision,
  };
}

export function explainRequestFromWire(wire: WireExplainRequest): ExplainRequest {
  return {
    principal: principalFromWire(wire.principal),
    action: actionFromWire(wire.action),
    topic: wire.topic,
    minRevision: wire.minRevision,
  };
}

export function explainAnswerToWire(answer: ExplainAnswer): WireExplainResponse {
  const { revision, allowed, ruleId, opinions } = answer;
  return {
    revision,
    allowed,
    ruleId,
    opinions: opinions.map((one) => ({ ...one, verdict: effectToWire(one.verdict) })),
  };
}

export function explainAnswerFromWire(wire: WireExplainResponse): ExplainAnswer {
  const { revision, allowed, ruleId, opinions } = wire;
  return {
    revision,
    allowed,
    ruleId,
    opinions: opinions.map((one) => ({ ...one, verdict: effectFromWire(one.verdict) })),
  };
}

const refusals: Readonly<Record<RefusalReason, WireRefusalReason>> = {
  unknown_client: WireRefusalReason.REFUSAL_REASON_UNKNOWN_CLIENT,
  wrong_secret: WireRefusalReason.REFUSAL_REASON_WRONG_SECRET,
  disabled: WireRefusalReason.REFUSAL_REASON_DISABLED,
};

/** A reason that this version does not know is still a refusal. */
function refusalFromWire(wire: WireRefusalReason): RefusalReason {
  switch (wire) {
    case WireRefusalReason.REFUSAL_REASON_WRONG_SECRET:
      return 'wrong_secret';
    case WireRefusalReason.REFUSAL_REASON_DISABLED:
      return 'disabled';
    default:
      return 'unknown_client';
  }
}

function principalToWire(principal: Principal): WirePrincipal {
  const { credentialId, store, secretId, facts } = principal;
  return { credentialId, store, secretId, facts: factsToWire(facts) };
}

function principalFromWire(wire: WirePrincipal | undefined): Principal {
  const { credentialId, store, secretId, facts } = required(wire, 'principal');
  return {
    credentialId,
    store: storeFromWire(store),
    facts: factsFromWire(facts),
    ...(secretId !== undefined && { secretId }),
  };
}

function resolvedToWire(resolved: Resolved): WireResolved {
  const { policyId, tags, secretExpiresAt } = resolved;
  return { policyId, tags: [...tags], secretExpiresAt };
}

function resolvedFromWire(wire: WireResolved): Resolved {
  const { policyId, tags, secretExpiresAt } = wire;
  return { policyId, tags, ...(secretExpiresAt !== undefined && { secretExpiresAt }) };
}
