import {
  type DynsecAccess,
  type DynsecAcl,
  type DynsecAclType,
  type DynsecDefaults,
  dynsecFilter,
  type DynsecGroup,
  type DynsecRole,
  type DynsecRoleHeld,
  isLiteralAcl,
} from '@sallyport/domain';
import { CONNECTION_ROWS_MAX, tooMany } from './groups.ts';
import type { Action, AuthoritySpec, Matcher, RuleSpec } from './policy-spec.ts';

const NAME = 'dynsec';

/** As much of an object of dynamic security as rules are made from. */
export type DynsecSource =
  | Pick<DynsecRole, 'kind' | 'id' | 'name' | 'acls' | 'allowWildcardSubs'>
  | Pick<DynsecGroup, 'kind' | 'id' | 'name' | 'roles'>;

/** A role among them. */
export type DynsecRoleSource = Extract<DynsecSource, { kind: 'role' }>;

const actionOf: Readonly<Record<DynsecAclType, Action>> = {
  publishClientSend: 'publish',
  publishClientReceive: 'receive',
  subscribeLiteral: 'subscribe',
  subscribePattern: 'subscribe',
  unsubscribeLiteral: 'unsubscribe',
  unsubscribePattern: 'unsubscribe',
};

/** For each event what says its default, and what is asked then. */
const EVENTS = [
  ['dynsecPublishClientSend', 'publish'],
  ['dynsecPublishClientReceive', 'receive'],
  ['dynsecSubscribe', 'subscribe'],
  ['dynsecUnsubscribe', 'unsubscribe'],
] as const satisfies readonly (readonly [keyof DynsecDefaults, Action])[];

const DEFAULT_PREFIX = 'dynsec/default/';

/** The setting that a rule of this id stands for. */
export const dynsecDefaultOf = (ruleId: string): keyof DynsecDefaults | undefined =>
  EVENTS.find(([setting]) => ruleId === DEFAULT_PREFIX + setting)?.[0];

/** The setting that decides where no row speaks; none for what is no action of MQTT. */
export const dynsecDefaultFor = (action: string): keyof DynsecDefaults | undefined =>
  EVENTS.find(([, asked]) => asked === action)?.[0];

const ROLE_PREFIX = 'dynsec-role:';
const WILDCARDS = '/allowWildcardSubs';

/** What a decision calls the row at `index` of a role. */
export const dynsecRuleId = (roleId: string, index: number): string =>
  `${ROLE_PREFIX}${roleId}/${index}`;

/** What it calls a role that allows no wildcards. */
export const dynsecWildcardRuleId = (roleId: string): string =>
  `${ROLE_PREFIX}${roleId}${WILDCARDS}`;

/** Whether a rule of this id stands for a setting, or for what a role says of all wildcards, and is no row. */
export const isDynsecSetting = (ruleId: string): boolean =>
  dynsecDefaultOf(ruleId) !== undefined ||
  (ruleId.startsWith(ROLE_PREFIX) && ruleId.endsWith(WILDCARDS));

/**
 * What the roles of a credential say, and those of its groups behind them; else the defaults. First match: a role that is met again
 * says nothing new. One that is not among `objects` says nothing.
 * @source compat C3.5
 */
export function dynsecAuthority(
  access: DynsecAccess,
  objects: readonly DynsecSource[],
  defaults: DynsecDefaults,
): AuthoritySpec {
  const roles = rankedDynsecRoles(access, objects).map(({ role }) => role);
  const rows = roles.reduce((sum, one) => sum + one.acls.length + 1, 0);
  if (rows > CONNECTION_ROWS_MAX) return tooMany(NAME);
  // What no row grants is denied by the authority itself, except that no default of it is asked for UNSUBSCRIBE.
  const said = EVENTS.filter(
    ([setting, action]) => defaults[setting] === (action === 'unsubscribe' ? 'deny' : 'allow'),
  );
  const rules = [
    ...roles.flatMap(dynsecRoleRules),
    ...said.map(([setting, action]): RuleSpec => ({
      ruleId: DEFAULT_PREFIX + setting,
      effect: defaults[setting],
      actions: [action],
      matcher: { kind: 'any' },
    })),
  ];
  return { name: NAME, rules, noMatch: 'deny', subscribeByRule: true };
}

/** A role of a credential, and what gives it: nothing but the credential, or one of its groups. */
export interface RankedDynsecRole {
  readonly role: DynsecRoleSource;
  readonly groupId?: string;
}

/** In the order in which they are looked at, each where it is met first. */
export function rankedDynsecRoles(
  { roles, groups }: DynsecAccess,
  objects: readonly DynsecSource[],
): readonly RankedDynsecRole[] {
  const found = objectsById(objects);
  const ranked = [...heldRoles(roles, found).map((role): RankedDynsecRole => ({ role }))];
  const joined = groups.flatMap(({ group, priority }) => {
    const object = found.groups.get(group);
    return object === undefined ? [] : [{ object, priority }];
  });
  for (const { object } of joined.sort(byRank)) {
    const ofGroup = heldRoles(object.roles, found);
    ranked.push(...ofGroup.map((role) => ({ role, groupId: object.id })));
  }
  const seen = new Set<string>();
  return ranked.filter(({ role }) => !seen.has(role.id) && seen.add(role.id));
}

interface Found {
  readonly roles: ReadonlyMap<string, DynsecRoleSource>;
  readonly groups: ReadonlyMap<string, Extract<DynsecSource, { kind: 'group' }>>;
}

function objectsById(objects: readonly DynsecSource[]): Found {
  const roles: [string, DynsecRoleSource][] = [];
  const groups: [string, Extract<DynsecSource, { kind: 'group' }>][] = [];
  for (const one of objects) {
    if (one.kind === 'role') roles.push([one.id, one]);
    else groups.push([one.id, one]);
  }
  return { roles: new Map(roles), groups: new Map(groups) };
}

function heldRoles(held: readonly DynsecRoleHeld[], { roles }: Found): readonly DynsecRoleSource[] {
  const there = held.flatMap(({ role, priority }) => {
    const object = roles.get(role);
    return object === undefined ? [] : [{ object, priority }];
  });
  return there.sort(byRank).map(({ object }) => object);
}

interface Ranked {
  readonly object: { readonly name: string };
  readonly priority: number;
}

const byRank = (one: Ranked, other: Ranked): number =>
  other.priority - one.priority || (one.object.name < other.object.name ? -1 : 1);

/** Rows of different actions never meet, so that one list for all of them ranks each. */
export function dynsecRoleRules({
  id,
  acls,
  allowWildcardSubs,
}: DynsecRoleSource): readonly RuleSpec[] {
  const rows = acls.map((acl, index) => ({ acl, index, literal: isLiteralAcl(acl.aclType) }));
  rows.sort(
    (one, other) =>
      Number(other.literal) - Number(one.literal) || other.acl.priority - one.acl.priority,
  );
  const rules = rows.map(({ acl, index }) => ruleOf(dynsecRuleId(id, index), acl));
  return allowWildcardSubs ? rules : [withoutWildcards(id), ...rules];
}

const ruleOf = (ruleId: string, { aclType, topic, allow }: DynsecAcl): RuleSpec => ({
  ruleId,
  effect: allow ? 'allow' : 'deny',
  actions: [actionOf[aclType]],
  matcher: matcherOf(aclType, topic),
});

const matcherOf = (aclType: DynsecAclType, topic: string): Matcher =>
  isLiteralAcl(aclType)
    ? { kind: 'literal', text: topic }
    : { kind: 'filter', filter: dynsecFilter(topic) };

const withoutWildcards = (roleId: string): RuleSpec => ({
  ruleId: dynsecWildcardRuleId(roleId),
  effect: 'deny',
  actions: ['subscribe'],
  matcher: { kind: 'any' },
  when: { wildcard: true },
});
