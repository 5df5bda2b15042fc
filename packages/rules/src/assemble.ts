import {
  type AclRule,
  type AclTable,
  aclTargetKey,
  applyModeOf,
  type Credential,
  type Group,
  type MappedPattern,
  type MappedPatterns,
  resolvedPattern,
} from '@sallyport/domain';
import type { SettingValues } from '@sallyport/domain';
import { unreachable } from '@sallyport/errors';
import { dynsecAuthority, type DynsecSource } from './dynsec-authority.ts';
import { groupsAuthority } from './groups.ts';
import { rowsFor } from './row-conditions.ts';
import type { Action, AuthoritySpec, Facts, Matcher, PolicySpec, RuleSpec } from './policy-spec.ts';
import { rolesAuthority, type RoleSource } from './roles-authority.ts';

/** What a rule about all topics speaks of; UNSUBSCRIBE is spoken of only by name. */
const ALL_ACTIONS: readonly Action[] = ['publish', 'subscribe', 'receive'];
const EVERY_ACTION: readonly Action[] = [...ALL_ACTIONS, 'unsubscribe'];
export const READ_ACTIONS: readonly Action[] = ['subscribe', 'receive'];

/** Everything that the rules of one connection are made from. */
export interface PolicySources {
  readonly credential: Pick<Credential, 'id' | 'store' | 'access' | 'superuser'>;
  /** Of the connection; rows of tables may ask for them. */
  readonly facts: Facts;
  /** What a mapping gives for the certificate of the connection; nothing is granted without it. */
  readonly mapped?: MappedPatterns | undefined;
  /** The tables that apply, for the client id and username of the connection, and for everyone. */
  readonly tables: {
    readonly client?: AclTable | undefined;
    readonly username?: AclTable | undefined;
    readonly everyone?: AclTable | undefined;
  };
  /** The groups of the connection; looked at when the credential's access is by groups. */
  readonly groups?: readonly Group[];
  /** Groups and roles of dynamic security that the credential's access names, and the roles of these groups, in any order. */
  readonly dynsec?: readonly DynsecSource[];
  readonly settings: SettingValues;
  /** Those that the credential's access names, in any order; one that is missing grants nothing. */
  readonly roles?: readonly RoleSource[];
}

/**
 * The rules of one connection in normal form. Who the rules are for is settled here; what is left speaks about topics only,
 * and placeholders stay unresolved, so that connections with the same rules share one policy.
 */
export function assemblePolicy(sources: PolicySources): Omit<PolicySpec, 'policyId'> {
  const authorities = [credentialAuthority(sources), aclAuthority(sources)];
  const publishPrefix = publishPrefixOf(sources.credential.access);
  const applyMode = applyModeOf(sources.credential);
  return {
    superuser: sources.credential.superuser,
    authorities: authorities.filter((one) => one.rules.length > 0 || one.noMatch === 'deny'),
    noMatch: sources.settings.noMatch,
    denyAction: sources.settings.denyAction,
    ...(publishPrefix !== '' && { publishPrefix }),
    ...(applyMode !== 'live' && { applyMode }),
  };
}

function publishPrefixOf(access: PolicySources['credential']['access']): string {
  return access.kind === 'roles' ? (access.publishPrefix ?? '') : '';
}

function credentialAuthority({
  credential,
  facts: { clientId },
  roles = [],
  mapped,
  groups = [],
  dynsec = [],
  settings,
}: PolicySources): AuthoritySpec {
  const { id, access } = credential;
  const name = 'credential';
  switch (access.kind) {
    case 'acl':
      return { name, rules: [], noMatch: 'abstain' };
    case 'unrestricted': {
      // No credential id in the rule id: a million unrestricted devices share one policy.
      const ruleId = 'credential/unrestricted';
      const rule = {
        ruleId,
        effect: 'allow',
        actions: ALL_ACTIONS,
        matcher: { kind: 'any' },
      } as const;
      return { name, rules: [rule], noMatch: 'abstain' };
    }
    case 'patterns': {
      const rule = (
        direction: 'publish' | 'subscribe',
        actions: readonly Action[],
        written: string,
        index: number,
      ): RuleSpec[] => {
        const pattern = resolvedPattern(written, { clientId });
        if (pattern === undefined) return [];
        const ruleId = `credential:${id}/${direction}/${index}`;
        return [{ ruleId, effect: 'allow', actions, matcher: { kind: 'pattern', pattern } }];
      };
      const rules = [
        ...access.publish.flatMap((one, index) => rule('publish', ['publish'], one, index)),
        ...access.subscribe.flatMap((one, index) => rule('subscribe', READ_ACTIONS, one, index)),
      ];
      return { name, rules, noMatch: 'deny' };
    }
    case 'roles':
      return rolesAuthority(id, access, roles);
    case 'mapping':
      return { name, rules: mappedRules(id, mapped), noMatch: 'deny' };
    case 'groups':
      return groupsAuthority(groups);
    case 'dynsec':
      return dynsecAuthority(access, dynsec, settings);
    default:
      return unreachable(access);
  }
}

/** The rule ids name the entry, so that certificates with one keyword share a policy. */
function mappedRules(credentialId: string, mapped: MappedPatterns | undefined): RuleSpec[] {
  const rule = (
    direction: 'publish' | 'subscribe',
    actions: readonly Action[],
    { place, pattern }: MappedPattern,
  ): RuleSpec => ({
    ruleId: mappedRuleId(credentialId, direction, place),
    effect: 'allow',
    actions,
    matcher: { kind: 'pattern', pattern },
  });
  return [
    ...(mapped?.publish ?? []).map((one) => rule('publish', ['publish'], one)),
    ...(mapped?.subscribe ?? []).map((one) => rule('subscribe', READ_ACTIONS, one)),
  ];
}

/** What a decision calls a pattern of a mapping; its place is as in `MappedPattern`. */
export function mappedRuleId(
  credentialId: string,
  direction: 'publish' | 'subscribe',
  place: string,
): string {
  const [entry = '', index = ''] = place.split('/');
  return `credential:${credentialId}/entries/${entry}/${direction}/${index}`;
}

/** One list, first match: the rows for the client id, then for the username, then for everyone. Switched off it has no opinion. */
function aclAuthority({ tables, facts, settings }: PolicySources): AuthoritySpec {
  const { client, username, everyone } = tables;
  const applied = settings.aclEnabled ? [client, username, everyone] : [];
  const there = applied.filter((one) => one !== undefined);
  const rules = there.flatMap((table) => {
    const key = aclTargetKey(table.target);
    return rowsFor(table, facts).map((row) => aclRule(key, row));
  });
  const subscribeByText =
    settings.aclSubscribeMatch === 'text' && rules.some((one) => one.actions.includes('subscribe'));
  return {
    name: 'acl',
    rules,
    noMatch: 'abstain',
    ...(subscribeByText && { subscribeByText }),
  };
}

export function aclRule(targetKey: string, row: AclRule): RuleSpec {
  const { qos, retain, shared, wildcard } = row;
  const when = {
    ...(qos !== undefined && { qos }),
    ...(retain !== undefined && { retain }),
    ...(shared !== undefined && { shared }),
    ...(wildcard !== undefined && { wildcard }),
  };
  return {
    ruleId: aclRuleId(targetKey, row),
    effect: row.effect,
    actions: aclActions(row.action),
    matcher: aclMatcher(row),
    ...(Object.keys(when).length > 0 && { when }),
  };
}

/** What a decision calls a row of the table of `aclTargetKey`. */
export const aclRuleId = (targetKey: string, row: Pick<AclRule, 'ruleId'>): string =>
  `acl:${targetKey}/${row.ruleId}`;

function aclMatcher({ topicFilter, literal, any }: AclRule): Matcher {
  if (any === true) return { kind: 'any' };
  if (literal === true) return { kind: 'literal', text: topicFilter };
  return { kind: 'filter', filter: topicFilter };
}

function aclActions(action: AclRule['action']): readonly Action[] {
  switch (action) {
    case 'publish':
      return ['publish'];
    case 'subscribe':
      return READ_ACTIONS;
    case 'unsubscribe':
      return ['unsubscribe'];
    case 'all':
      return ALL_ACTIONS;
    default:
      return unreachable(action);
  }
}

/**
 * One text per policy: equal policies have equal texts, and different ones different texts. Its digest is the policy id.
 * The order of the rules means something and is kept; the order of a rule's actions does not.
 */
export function canonicalPolicyText(spec: Omit<PolicySpec, 'policyId'>): string {
  return JSON.stringify([
    'policy-1',
    spec.superuser,
    spec.noMatch,
    spec.denyAction,
    spec.authorities.map(({ name, noMatch, rules, subscribeByText, subscribeByRule }) => [
      name,
      noMatch,
      rules.map(canonicalRule),
      ...(subscribeByText === true ? ['subscribeByText'] : []),
      ...(subscribeByRule === true ? ['subscribeByRule'] : []),
    ]),
    // Named, and only where there is one: what is added to a policy does not change the ids of those without it.
    ...(spec.publishPrefix === undefined ? [] : [['publishPrefix', spec.publishPrefix]]),
    // Last, and only when it is said: the texts of all other policies stay what they were.
    ...(spec.applyMode === undefined ? [] : [['apply', spec.applyMode]]),
  ]);
}

function canonicalRule({ ruleId, effect, actions, matcher, when }: RuleSpec): unknown {
  const ordered = EVERY_ACTION.filter((action) => actions.includes(action));
  const said = [ruleId, effect, ordered, matcher.kind, matcherText(matcher)];
  if (when === undefined) return said;
  const qos = when.qos === undefined ? null : [...new Set(when.qos)].sort();
  const { retain = null, shared, wildcard } = when;
  const ofFilter = shared ?? wildcard ?? null;
  return [...said, qos, retain, ...(ofFilter === null ? [] : [shared ?? null, wildcard ?? null])];
}

/** What a matcher compares with; empty for everything. */
export function matcherText(matcher: RuleSpec['matcher']): string {
  switch (matcher.kind) {
    case 'filter':
      return matcher.filter;
    case 'literal':
      return matcher.text;
    case 'pattern':
      return matcher.pattern;
    case 'any':
      return '';
    default:
      return unreachable(matcher);
  }
}
