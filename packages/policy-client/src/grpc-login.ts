import { AUTHENTICATOR_IDS, type ChainMember } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import {
  factsFromWire,
  factsToWire,
  storeFromWire,
  storesFromWire,
  type WireExplainLoginRequest,
  type WireExplainLoginResponse,
  type WireLoginStep,
} from '@sallyport/wire';
import {
  principalFromWire,
  principalToWire,
  reasonFromWire,
  reasonToWire,
} from './grpc-convert.ts';
import {
  type ExplainLoginAnswer,
  type ExplainLoginRequest,
  LOGIN_SKIPS,
  type LoginStep,
} from './policy-client.ts';

export function loginRequestToWire(request: ExplainLoginRequest): WireExplainLoginRequest {
  const { facts, stores = [], scram, minRevision } = request;
  return { facts: factsToWire(facts), stores: [...stores], scram, minRevision };
}

export function loginRequestFromWire(wire: WireExplainLoginRequest): ExplainLoginRequest {
  const { scram, minRevision } = wire;
  const stores = storesFromWire(wire.stores);
  return { facts: factsFromWire(wire.facts), scram, minRevision, ...(stores && { stores }) };
}

export function loginAnswerToWire(answer: ExplainLoginAnswer): WireExplainLoginResponse {
  const { revision, banId, steps, principal, reason } = answer;
  return {
    revision,
    banId,
    steps: steps.map(stepToWire),
    principal: principal && principalToWire(principal),
    refusal: reason && reasonToWire(reason),
  };
}

export function loginAnswerFromWire(wire: WireExplainLoginResponse): ExplainLoginAnswer {
  const { revision, banId, steps, principal, refusal } = wire;
  return {
    revision,
    steps: steps.map(stepFromWire),
    ...(banId !== undefined && { banId }),
    ...(principal !== undefined && { principal: principalFromWire(principal) }),
    ...(refusal !== undefined && { reason: reasonFromWire(refusal) }),
  };
}

function stepToWire({ chain, refusal, ...step }: LoginStep): WireLoginStep {
  return {
    ...step,
    skipped: step.skipped,
    chainScope: chain?.scope,
    authenticator: chain?.authenticator,
    refusal: refusal && reasonToWire(refusal),
  };
}

function stepFromWire(wire: WireLoginStep): LoginStep {
  const { credentialId, secret, refusal } = wire;
  const chain = chainFromWire(wire);
  const skipped = LOGIN_SKIPS.find((one) => one === wire.skipped);
  if (skipped !== wire.skipped) throw unknown(`skip ${wire.skipped}`);
  return {
    credentialId,
    store: storeFromWire(wire.store),
    secret,
    ...(chain && { chain }),
    ...(refusal !== undefined && { refusal: reasonFromWire(refusal) }),
    ...(skipped && { skipped }),
  };
}

function chainFromWire({ chainScope, authenticator }: WireLoginStep): ChainMember | undefined {
  if (chainScope === undefined) return undefined;
  const known = AUTHENTICATOR_IDS.find((one) => one === authenticator);
  if (known === undefined) throw unknown(`authenticator ${authenticator}`);
  return { scope: chainScope, authenticator: known };
}

const unknown = (what: string): OperationalError => new OperationalError('invalid_request', what);
