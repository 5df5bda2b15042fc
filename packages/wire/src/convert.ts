import { unreachable } from '@sallyport/errors';
import { SCRAM_MECHANISMS, type ScramMechanism, type Store, STORES } from '@sallyport/domain';
import type {
  Action,
  ApplyMode,
  Condition,
  Facts,
  Matcher,
  PolicySpec,
  Qos,
  RuleSpec,
} from '@sallyport/rules';
import { certificateFromWire, certificateToWire, methodFromWire } from './certificate.ts';
import { invalid, required } from './required.ts';
import {
  Action as WireAction,
  ApplyMode as WireApplyMode,
  type Condition as WireCondition,
  DenyAction as WireDenyAction,
  Effect as WireEffect,
  type Facts as WireFacts,
  type Matcher as WireMatcher,
  type Policy as WirePolicy,
  type Rule as WireRule,
} from './generated/sallyport/policy/v1/policy.js';

export const storesFromWire = (texts: readonly string[]): readonly Store[] | undefined =>
  texts.length === 0 ? undefined : texts.map(storeFromWire);

export function storeFromWire(text: string): Store {
  const store = STORES.find((one) => one === text);
  return required(store, `a known store (got ${text})`);
}

export function scramMechanismFromWire(text: string): ScramMechanism {
  const mechanism = SCRAM_MECHANISMS.find((one) => one === text);
  return required(mechanism, `a known mechanism (got ${text})`);
}

export function factsToWire(facts: Facts): WireFacts {
  const { clientId, username, listener, zone, open, peer, certificate } = facts;
  const { methods = [], attributes } = facts;
  return {
    clientId,
    listener,
    zone,
    open: open ?? false,
    username,
    peer,
    certificate: certificate && certificateToWire(certificate),
    methods: [...methods],
    attributes: { ...attributes },
  };
}

export function factsFromWire(wire: WireFacts | undefined): Facts {
  const known = required(wire, 'facts');
  const { clientId, username, listener, zone, open, peer, certificate } = known;
  const { methods, attributes } = known;
  return {
    clientId,
    listener,
    ...(zone !== undefined && { zone }),
    ...(open && { open }),
    ...(username !== undefined && { username }),
    ...(peer !== undefined && { peer }),
    ...(certificate !== undefined && { certificate: certificateFromWire(certificate) }),
    ...(Object.keys(attributes).length > 0 && { attributes }),
    ...(methods.length > 0 && { methods: methods.map(methodFromWire) }),
  };
}

const actions: Readonly<Record<Action, WireAction>> = {
  publish: WireAction.ACTION_PUBLISH,
  subscribe: WireAction.ACTION_SUBSCRIBE,
  receive: WireAction.ACTION_RECEIVE,
  unsubscribe: WireAction.ACTION_UNSUBSCRIBE,
};

export const actionToWire = (action: Action): WireAction => actions[action];

export function actionFromWire(wire: WireAction): Action {
  switch (wire) {
    case WireAction.ACTION_PUBLISH:
      return 'publish';
    case WireAction.ACTION_SUBSCRIBE:
      return 'subscribe';
    case WireAction.ACTION_RECEIVE:
      return 'receive';
    case WireAction.ACTION_UNSUBSCRIBE:
      return 'unsubscribe';
    default:
      throw invalid(`action ${wire} is not known`);
  }
}

const effects = {
  allow: WireEffect.EFFECT_ALLOW,
  deny: WireEffect.EFFECT_DENY,
  abstain: WireEffect.EFFECT_ABSTAIN,
  partial: WireEffect.EFFECT_PARTIAL,
} as const;

export const effectToWire = (effect: keyof typeof effects): WireEffect => effects[effect];

export function effectFromWire(wire: WireEffect): keyof typeof effects {
  switch (wire) {
    case WireEffect.EFFECT_ALLOW:
      return 'allow';
    case WireEffect.EFFECT_DENY:
      return 'deny';
    case WireEffect.EFFECT_ABSTAIN:
      return 'abstain';
    case WireEffect.EFFECT_PARTIAL:
      return 'partial';
    default:
      throw invalid(`effect ${wire} is not known`);
  }
}

/** `allow` or `deny`, where nothing else has a meaning. */
function verdictFromWire(wire: WireEffect): 'allow' | 'deny' {
  const effect = effectFromWire(wire);
  if (effect === 'allow' || effect === 'deny') return effect;
  throw invalid(`${effect} stands where a verdict is needed`);
}

function noMatchFromWire(wire: WireEffect): 'allow' | 'deny' | 'abstain' {
  return effectFromWire(wire) === 'abstain' ? 'abstain' : verdictFromWire(wire);
}

function matcherToWire(matcher: Matcher): WireMatcher {
  switch (matcher.kind) {
    case 'filter':
      return { kind: { $case: 'filter', value: matcher.filter } };
    case 'pattern':
      return { kind: { $case: 'pattern', value: matcher.pattern } };
    case 'any':
      return { kind: { $case: 'any', value: true } };
    case 'literal':
      return { kind: { $case: 'literal', value: matcher.text } };
    default:
      return unreachable(matcher);
  }
}

function matcherFromWire(wire: WireMatcher | undefined): Matcher {
  const kind = required(wire?.kind, 'matcher');
  switch (kind.$case) {
    case 'filter':
      return { kind: 'filter', filter: kind.value };
    case 'pattern':
      return { kind: 'pattern', pattern: kind.value };
    case 'any':
      return { kind: 'any' };
    case 'literal':
      return { kind: 'literal', text: kind.value };
    default:
      return unreachable(kind);
  }
}

function ruleToWire({ ruleId, effect, actions, matcher, when }: RuleSpec): WireRule {
  return {
    ruleId,
    effect: effectToWire(effect),
    actions: actions.map(actionToWire),
    matcher: matcherToWire(matcher),
    when: when && { ...when, qos: [...(when.qos ?? [])] },
  };
}

function ruleFromWire(wire: WireRule): RuleSpec {
  return {
    ruleId: wire.ruleId,
    effect: verdictFromWire(wire.effect),
    actions: wire.actions.map(actionFromWire),
    matcher: matcherFromWire(wire.matcher),
    ...(wire.when !== undefined && { when: conditionFromWire(wire.when) }),
  };
}

function conditionFromWire({ qos, retain, shared, wildcard }: WireCondition): Condition {
  return {
    ...(qos.length > 0 && { qos: qos.map(qosFromWire) }),
    ...(retain !== undefined && { retain }),
    ...(shared !== undefined && { shared }),
    ...(wildcard !== undefined && { wildcard }),
  };
}

/** @throws OperationalError `invalid_request` for anything but 0, 1 and 2 */
export function qosFromWire(wire: number): Qos {
  if (wire === 0 || wire === 1 || wire === 2) return wire;
  throw invalid(`QoS ${wire} is not known`);
}

export function policyToWire(policy: PolicySpec): WirePolicy {
  return {
    policyId: policy.policyId,
    superuser: policy.superuser,
    noMatch: effectToWire(policy.noMatch),
    denyAction: denyActions[policy.denyAction],
    publishPrefix: policy.publishPrefix,
    applyMode: applyModes[policy.applyMode ?? 'live'],
    authorities: policy.authorities.map((authority) => ({
      name: authority.name,
      noMatch: effectToWire(authority.noMatch),
      rules: authority.rules.map(ruleToWire),
      subscribeByText: authority.subscribeByText ?? false,
      subscribeByRule: authority.subscribeByRule ?? false,
    })),
  };
}

/** @throws OperationalError `invalid_request` for anything that this version does not know */
export function policyFromWire(wire: WirePolicy): PolicySpec {
  return {
    policyId: wire.policyId,
    superuser: wire.superuser,
    noMatch: verdictFromWire(wire.noMatch),
    denyAction: denyActionFromWire(wire.denyAction),
    ...(wire.publishPrefix !== undefined && { publishPrefix: wire.publishPrefix }),
    ...applyModeFromWire(wire.applyMode),
    authorities: wire.authorities.map((authority) => ({
      name: authority.name,
      noMatch: noMatchFromWire(authority.noMatch),
      rules: authority.rules.map(ruleFromWire),
      ...(authority.subscribeByText && { subscribeByText: true }),
      ...(authority.subscribeByRule && { subscribeByRule: true }),
    })),
  };
}

const applyModes: Readonly<Record<ApplyMode, WireApplyMode>> = {
  live: WireApplyMode.APPLY_MODE_LIVE,
  pinned: WireApplyMode.APPLY_MODE_PINNED,
  kick: WireApplyMode.APPLY_MODE_KICK,
};

function applyModeFromWire(wire: WireApplyMode): Pick<PolicySpec, 'applyMode'> {
  switch (wire) {
    case WireApplyMode.APPLY_MODE_UNSPECIFIED:
    case WireApplyMode.APPLY_MODE_LIVE:
      return {};
    case WireApplyMode.APPLY_MODE_PINNED:
      return { applyMode: 'pinned' };
    case WireApplyMode.APPLY_MODE_KICK:
      return { applyMode: 'kick' };
    default:
      throw invalid(`apply mode ${wire} is not known`);
  }
}

const denyActions: Readonly<Record<PolicySpec['denyAction'], WireDenyAction>> = {
  ignore: WireDenyAction.DENY_ACTION_IGNORE,
  disconnect: WireDenyAction.DENY_ACTION_DISCONNECT,
  disconnect_always: WireDenyAction.DENY_ACTION_DISCONNECT_ALWAYS,
};

function denyActionFromWire(wire: WireDenyAction): PolicySpec['denyAction'] {
  switch (wire) {
    case WireDenyAction.DENY_ACTION_IGNORE:
      return 'ignore';
    case WireDenyAction.DENY_ACTION_DISCONNECT:
      return 'disconnect';
    case WireDenyAction.DENY_ACTION_DISCONNECT_ALWAYS:
      return 'disconnect_always';
    default:
      throw invalid(`deny action ${wire} is not known`);
  }
}
