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
  qosFromWire,
  required,
  scramMechanismFromWire,
  storeFromWire,
  storesFromWire,
  type Admission as WireAdmission,
  type WireAuthenticateRequest,
  type WireAuthenticateResponse,
  type WireExplainRequest,
  type WireExplainResponse,
  type WirePrincipal,
  WireRefusalReason,
  type WireResolved,
  type WireResolvePolicyRequest,
  type WireResolvePolicyResponse,
  type WireScramFinalRequest,
  type WireScramFinalResponse,
  type WireScramFirstRequest,
  type WireScramFirstResponse,
} from '@sallyport/wire';
import type {
  AdmittedAnswer,
  AuthenticateAnswer,
  AuthenticateRequest,
  ExplainAnswer,
  ExplainRequest,
  Principal,
  RefusalReason,
  RefusedAnswer,
  ResolveAnswer,
  Resolved,
  ResolveRequest,
  ScramFinalAnswer,
  ScramFinalRequest,
  ScramFirstAnswer,
  ScramFirstRequest,
  ScramRequest,
} from './policy-client.ts';

export function authenticateRequestToWire(request: AuthenticateRequest): WireAuthenticateRequest {
  const { facts, password, minRevision, stores = [] } = request;
  return {
    facts: factsToWire(facts),
    password: password && Buffer.from(password),
    minRevision,
    stores: [...stores],
  };
}

export function authenticateRequestFromWire(wire: WireAuthenticateRequest): AuthenticateRequest {
  return {
    facts: factsFromWire(wire.facts),
    minRevision: wire.minRevision,
    ...(wire.password !== undefined && { password: wire.password }),
    ...wantedStores(wire),
  };
}

function wantedStores(wire: { readonly stores: readonly string[] }): Pick<ScramRequest, 'stores'> {
  const stores = storesFromWire(wire.stores);
  return stores === undefined ? {} : { stores };
}

export function authenticateAnswerToWire(answer: AuthenticateAnswer): WireAuthenticateResponse {
  const { revision } = answer;
  if (!answer.ok) return { revision, outcome: refusalToWire(answer), ruleId: answer.ruleId };
  const value = admissionToWire(answer);
  return { revision, outcome: { $case: 'admission', value }, ruleId: undefined };
}

export function authenticateAnswerFromWire(wire: WireAuthenticateResponse): AuthenticateAnswer {
  const { revision } = wire;
  const outcome = required(wire.outcome, 'outcome');
  switch (outcome.$case) {
    case 'refusal':
      return { ...refusedFromWire(outcome.value, wire.ruleId), revision };
    case 'admission':
      return { revision, ...admissionFromWire(outcome.value) };
    default:
      return unreachable(outcome);
  }
}

function admissionToWire({ principal, resolved, policy }: AdmittedAnswer): WireAdmission {
  return {
    principal: principalToWire(principal),
    resolved: resolvedToWire(resolved),
    policy: policyToWire(policy),
  };
}

function admissionFromWire(wire: WireAdmission): Omit<AdmittedAnswer, 'revision'> {
  return {
    ok: true,
    principal: principalFromWire(wire.principal),
    resolved: resolvedFromWire(required(wire.resolved, 'resolved')),
    policy: policyFromWire(required(wire.policy, 'policy')),
  };
}

export function scramFirstRequestToWire(request: ScramFirstRequest): WireScramFirstRequest {
  const { mechanism, minRevision } = request;
  return {
    facts: factsToWire(request.facts),
    mechanism,
    exchangeId: Buffer.from(request.exchangeId),
    message: Buffer.from(request.message),
    minRevision,
    stores: [...(request.stores ?? [])],
  };
}

export function scramFirstRequestFromWire(wire: WireScramFirstRequest): ScramFirstRequest {
  const { exchangeId, message, minRevision } = wire;
  const mechanism = scramMechanismFromWire(wire.mechanism);
  const facts = factsFromWire(wire.facts);
  return { facts, mechanism, exchangeId, message, minRevision, ...wantedStores(wire) };
}

export function scramFirstAnswerToWire(answer: ScramFirstAnswer): WireScramFirstResponse {
  const { revision } = answer;
  if (!answer.ok) return { revision, outcome: refusalToWire(answer) };
  const challenge = { message: Buffer.from(answer.message), state: Buffer.from(answer.state) };
  return { revision, outcome: { $case: 'challenge', value: challenge } };
}

export function scramFirstAnswerFromWire(wire: WireScramFirstResponse): ScramFirstAnswer {
  const { revision } = wire;
  const outcome = required(wire.outcome, 'outcome');
  switch (outcome.$case) {
    case 'refusal':
      return { ok: false, revision, reason: reasonFromWire(outcome.value) };
    case 'challenge': {
      const { message, state } = outcome.value;
      return { ok: true, revision, message, state };
    }
    default:
      return unreachable(outcome);
  }
}

export function scramFinalRequestToWire(request: ScramFinalRequest): WireScramFinalRequest {
  return {
    facts: factsToWire(request.facts),
    exchangeId: Buffer.from(request.exchangeId),
    state: Buffer.from(request.state),
    message: Buffer.from(request.message),
    minRevision: request.minRevision,
    stores: [...(request.stores ?? [])],
  };
}

export function scramFinalRequestFromWire(wire: WireScramFinalRequest): ScramFinalRequest {
  const { exchangeId, state, message, minRevision } = wire;
  const facts = factsFromWire(wire.facts);
  return { facts, exchangeId, state, message, minRevision, ...wantedStores(wire) };
}

export function scramFinalAnswerToWire(answer: ScramFinalAnswer): WireScramFinalResponse {
  const { revision } = answer;
  if (!answer.ok) return { revision, outcome: refusalToWire(answer), ruleId: answer.ruleId };
  const value = { admission: admissionToWire(answer), message: Buffer.from(answer.message) };
  return { revision, outcome: { $case: 'admission', value }, ruleId: undefined };
}

export function scramFinalAnswerFromWire(wire: WireScramFinalResponse): ScramFinalAnswer {
  const { revision } = wire;
  const outcome = required(wire.outcome, 'outcome');
  switch (outcome.$case) {
    case 'refusal':
      return { ...refusedFromWire(outcome.value, wire.ruleId), revision };
    case 'admission': {
      const { admission, message } = outcome.value;
      return { revision, ...admissionFromWire(required(admission, 'admission')), message };
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
  const { principal, action, topic, terms, minRevision } = request;
  return {
    principal: principalToWire(principal),
    action: actionToWire(action),
    topic,
    minRevision,
    ...terms,
    shared: terms.shared ?? false,
  };
}

export function explainRequestFromWire(wire: WireExplainRequest): ExplainRequest {
  return {
    principal: principalFromWire(wire.principal),
    action: actionFromWire(wire.action),
    topic: wire.topic,
    terms: {
      qos: qosFromWire(wire.qos),
      retain: wire.retain,
      ...(wire.shared && { shared: true }),
    },
    minRevision: wire.minRevision,
  };
}

export function explainAnswerToWire(answer: ExplainAnswer): WireExplainResponse {
  const { revision, allowed, ruleId, opinions, checkDeliveries, publishedTopic } = answer;
  return {
    revision,
    allowed,
    ruleId,
    opinions: opinions.map((one) => ({ ...one, verdict: effectToWire(one.verdict) })),
    checkDeliveries,
    publishedTopic,
  };
}

export function explainAnswerFromWire(wire: WireExplainResponse): ExplainAnswer {
  const { revision, allowed, ruleId, opinions, checkDeliveries, publishedTopic } = wire;
  return {
    revision,
    allowed,
    ruleId,
    opinions: opinions.map((one) => ({ ...one, verdict: effectFromWire(one.verdict) })),
    ...(checkDeliveries !== undefined && { checkDeliveries }),
    ...(publishedTopic !== undefined && { publishedTopic }),
  };
}

const refusals: Readonly<Record<RefusalReason, WireRefusalReason>> = {
  unknown_client: WireRefusalReason.REFUSAL_REASON_UNKNOWN_CLIENT,
  wrong_secret: WireRefusalReason.REFUSAL_REASON_WRONG_SECRET,
  disabled: WireRefusalReason.REFUSAL_REASON_DISABLED,
  malformed: WireRefusalReason.REFUSAL_REASON_MALFORMED,
  channel_binding: WireRefusalReason.REFUSAL_REASON_CHANNEL_BINDING,
  username_mismatch: WireRefusalReason.REFUSAL_REASON_USERNAME_MISMATCH,
  stale_exchange: WireRefusalReason.REFUSAL_REASON_STALE_EXCHANGE,
  banned: WireRefusalReason.REFUSAL_REASON_BANNED,
  not_valid_now: WireRefusalReason.REFUSAL_REASON_NOT_VALID_NOW,
  certificate: WireRefusalReason.REFUSAL_REASON_CERTIFICATE,
  client_id: WireRefusalReason.REFUSAL_REASON_CLIENT_ID,
};

export const reasonToWire = (reason: RefusalReason): WireRefusalReason => refusals[reason];

const refusalToWire = ({ reason }: RefusedAnswer) =>
  ({ $case: 'refusal', value: reasonToWire(reason) }) as const;

const refusedFromWire = (
  wire: WireRefusalReason,
  ruleId: string | undefined,
): Omit<RefusedAnswer, 'revision'> => ({
  ok: false,
  reason: reasonFromWire(wire),
  ...(ruleId !== undefined && { ruleId }),
});

const reasons = new Map(Object.entries(refusals).map(([reason, wire]) => [wire, reason]));

/** A reason that this version does not know is still a refusal. */
export function reasonFromWire(wire: WireRefusalReason): RefusalReason {
  return (reasons.get(wire) ?? 'unknown_client') as RefusalReason; // The keys of `refusals`.
}

export function principalToWire(principal: Principal): WirePrincipal {
  const { credentialId, store, secretId, facts } = principal;
  return { credentialId, store, secretId, facts: factsToWire(facts) };
}

export function principalFromWire(wire: WirePrincipal | undefined): Principal {
  const { credentialId, store, secretId, facts } = required(wire, 'principal');
  return {
    credentialId,
    store: storeFromWire(store),
    facts: factsFromWire(facts),
    ...(secretId !== undefined && { secretId }),
  };
}

function resolvedToWire(resolved: Resolved): WireResolved {
  const { policyId, tags, secretExpiresAt, attributes, groups = [] } = resolved;
  const byAddress = resolved.byAddress === true;
  return {
    policyId,
    tags: [...tags],
    secretExpiresAt,
    attributes: { ...attributes },
    groups: [...groups],
    byAddress,
    sessionsMax: resolved.sessionsMax,
  };
}

function resolvedFromWire(wire: WireResolved): Resolved {
  const { policyId, tags, secretExpiresAt, attributes, groups, byAddress, sessionsMax } = wire;
  return {
    policyId,
    tags,
    ...(secretExpiresAt !== undefined && { secretExpiresAt }),
    ...(Object.keys(attributes).length > 0 && { attributes }),
    ...(groups.length > 0 && { groups }),
    ...(byAddress && { byAddress }),
    ...(sessionsMax !== undefined && { sessionsMax }),
  };
}
