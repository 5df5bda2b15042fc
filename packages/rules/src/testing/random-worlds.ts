import {
  type AccessSpec,
  DYNSEC_ACL_TYPES,
  type DynsecAcl,
  type DynsecGroupHeld,
  type DynsecRoleHeld,
  type Group,
  type GroupPermission,
  type GroupRule,
  type MappingEntry,
  type Permission,
  type Role,
} from '@sallyport/domain';
import type { Facts, Qos } from '../policy-spec.ts';
import type { DynsecWorld } from './dynsec-oracle.ts';
import { type Dice, randomFilter, topicsOver } from './random-policies.ts';
import type { KnownPattern, RandomWorld, WorldRow } from './world-oracle.ts';

/** Names of connections: plain, magic, and such as would be more than one level. */
const IDENTITIES = ['a', 'c1', 'b.', '+', '#', 'a/b', '', '__proto__', '$s'];
const COMMON_NAMES = ['a', 'c1', 'b.', 'b.', '+', 'a/b'];
const CREDENTIAL_ID = 'credential-1';
const FINGERPRINTS = ['aa'.repeat(32), 'bb'.repeat(32)];
const LISTENERS = ['tcp:default', 'ssl:default'];
/** And `default`, of a listener that says none: all of them are levels of `WORLD_TOPICS`, because a rule may name its zone. */
const ZONES = ['a', 'b.', 'c1'];
const PEERS = ['10.1.2.3:5000', '10.1.9.9:5000', '192.168.3.4:80', '[2001:db8::1]:9', undefined];
const SOURCES = ['10.1.2.3', '10.1.0.0/16', '10.0.0.0/8', '192.168.3.4/32', '0.0.0.0/0', '::/0'];
const PLACEHOLDERS = [
  ...['${clientid}', '${username}', '${cert_common_name}', '${client_attrs.site}'],
  '${zone}',
];
const ROLE_IDS = ['r1', 'r2', 'r3'];
const GROUP_IDS = ['g1', 'g2', 'g3'];
/** Of roles and groups of dynamic security; their names are in another order than their ids. */
const DYNSEC_NAMES: ReadonlyMap<string, string> = new Map([
  ['d1', 'y'],
  ['d2', 'z'],
  ['d3', 'x'],
]);
const DYNSEC_IDS = [...DYNSEC_NAMES.keys()];
/** Few, so that they are often equal. */
const PRIORITIES = [-1, -1, 0, 7];
/** Searched in names; they mean the same in Java and in JavaScript. */
const NAME_PATTERNS = ['a', '^c', '1$', '^b.?$', 'zz', '.', '[+#/]'];
const KEYWORD_PATTERNS = ['(a|b)', '^([a-z]+)', '.*(a|c1)', '(zz)?a'];
const PREFIXES = ['a/', 'p/', 'a', 'b/c1/', '/'];

const pattern = (
  source: string,
  same = source.replaceAll('/', '\\/'),
  ...filters: string[]
): KnownPattern => ({ source, same, filters });

/** With them the filters whose texts they admit, each written by hand. */
const TOPIC_PATTERNS: readonly KnownPattern[] = [
  pattern('a/.*'),
  pattern('[ab]'),
  pattern('.*'),
  pattern('a|c1/b?'),
  pattern('\\Qa/b\\E', 'a\\/b'),
  pattern('a/[^/]+'),
  pattern('\\$s/.*'),
  pattern('a/#', 'a\\/#', 'a/#'),
  pattern('(a|b)/\\+', '(a|b)\\/\\+', 'a/+', 'b/+'),
  pattern('\\+/b', undefined, '+/b'),
  pattern('a/\\+/#', 'a\\/\\+\\/#', 'a/+/#'),
];
const NAMED_PATTERNS: readonly KnownPattern[] = [
  pattern('${cn}/.*', '<cn>\\/.*'),
  pattern('${cn}', '<cn>'),
  pattern('a/${cn}', 'a\\/<cn>'),
  pattern('${cn}/#', '<cn>\\/#', '<cn>/#'),
];
const PATTERNS = new Map(
  [...TOPIC_PATTERNS, ...NAMED_PATTERNS].map((one) => [one.source, one] as const),
);

/** Over every level that random objects of two can tell apart, and one more. */
export const WORLD_TOPICS = topicsOver([
  ...['a', 'b', 'c1', 'b.', '', 'zz', '$s', '__proto__'],
  'default',
]);

const filterOf = (dice: Dice, levels: readonly string[], first: readonly string[]): string =>
  randomFilter(dice, levels, first, 25);

const ruleFilter = (dice: Dice): string =>
  filterOf(dice, ['a', 'b', 'c1', '', '+', '+', ...PLACEHOLDERS], ['$s', '+', 'a']);

/** What somebody subscribes to. */
export function askedFilter(dice: Dice): string {
  for (;;) {
    const filter = filterOf(dice, ['a', 'b', '+', '+', 'c1', ''], ['$s', '#']);
    if (!filter.includes('#/')) return filter;
  }
}

const maybe = <K extends string, T>(
  dice: Dice,
  percent: number,
  key: K,
  make: () => T,
): { readonly [P in K]?: T } =>
  dice.chance(percent) ? ({ [key]: make() } as { readonly [P in K]?: T }) : {}; // One key, by its name.

function rowOf(dice: Dice): WorldRow {
  const kind = dice.pick(['filter', 'filter', 'filter', 'filter', 'literal', 'any'] as const);
  const literal = (): string => filterOf(dice, ['a', 'b', 'c1', '', '+'], ['$s', '+']);
  return {
    kind,
    effect: dice.chance(60) ? 'allow' : 'deny',
    action: dice.pick(['all', 'all', 'publish', 'subscribe', 'unsubscribe'] as const),
    topicFilter: kind === 'any' ? '#' : kind === 'literal' ? literal() : ruleFilter(dice),
    ...maybe(dice, 12, 'qos', () => dice.pick<readonly Qos[]>([[0], [1], [2], [0, 1], [1, 2]])),
    ...maybe(dice, 8, 'retain', () => dice.chance(50)),
    ...maybe(dice, 6, 'shared', () => dice.chance(50)),
    ...maybe(dice, 6, 'wildcard', () => dice.chance(50)),
    ...connectionConditionsOf(dice),
  };
}

function connectionConditionsOf(
  dice: Dice,
): Omit<WorldRow, 'kind' | 'effect' | 'action' | 'topicFilter'> {
  if (!dice.chance(30)) return {};
  return {
    ...maybe(dice, 40, 'clientIdPattern', () => dice.pick(NAME_PATTERNS)),
    ...maybe(dice, 30, 'usernamePattern', () => dice.pick(NAME_PATTERNS)),
    ...maybe(dice, 40, 'source', () => dice.pick(SOURCES)),
    ...maybe(dice, 30, 'listener', () => dice.pick(LISTENERS)),
    ...maybe(dice, 15, 'zone', () => dice.pick(ZONES)),
    ...maybe(dice, 15, 'listenerPattern', () => dice.pick(['^tcp', 'default$', 'x'])),
    ...maybe(dice, 15, 'zonePattern', () => dice.pick(['^b', '[0-9]', 'default'])),
  };
}

function permissionsOf(dice: Dice): readonly Permission[] {
  let id = 0;
  return dice.list(3, () => ({
    id: String(++id),
    context: dice.chance(90) ? 'mqtt' : 'http',
    operation: dice.pick(['read', 'write', 'readWrite'] as const),
    resource: ruleFilter(dice),
  }));
}

const sources = (patterns: readonly KnownPattern[]) => patterns.map(({ source }) => source);

function entriesOf(dice: Dice, keyed: boolean): readonly MappingEntry[] {
  const patterns = sources([...TOPIC_PATTERNS, ...NAMED_PATTERNS, ...NAMED_PATTERNS]);
  const keys = keyed ? ['a', 'b', 'c1', 'zz'] : NAME_PATTERNS;
  const chosen = new Set(dice.list(4, () => dice.pick(keys)));
  return [...chosen].map((key) => ({
    key,
    publish: dice.list(2, () => dice.pick(patterns)),
    subscribe: dice.list(2, () => dice.pick(patterns)),
  }));
}

const priorityOf = (dice: Dice): number => dice.pick(PRIORITIES);

const dynsecRolesHeld = (dice: Dice): readonly DynsecRoleHeld[] =>
  DYNSEC_IDS.filter(() => dice.chance(45)).map((role) => ({ role, priority: priorityOf(dice) }));

const dynsecGroupsHeld = (dice: Dice): readonly DynsecGroupHeld[] =>
  DYNSEC_IDS.filter(() => dice.chance(45)).map((group) => ({ group, priority: priorityOf(dice) }));

function dynsecAclOf(dice: Dice): DynsecAcl {
  const aclType = dice.pick(DYNSEC_ACL_TYPES);
  const levels = ['a', 'b', 'c1', '', '+', '+'];
  const topic = aclType.endsWith('Literal')
    ? askedFilter(dice)
    : filterOf(dice, [...levels, '%c', '%u'], ['$s', '+', 'a']);
  return { aclType, topic, priority: priorityOf(dice), allow: dice.chance(60) };
}

function dynsecOf(dice: Dice): DynsecWorld {
  const named = () => DYNSEC_IDS.filter(() => dice.chance(85));
  return {
    roles: named().map((id) => ({
      ...{ kind: 'role', id, name: DYNSEC_NAMES.get(id) ?? '' },
      acls: dice.list(4, () => dynsecAclOf(dice)),
      allowWildcardSubs: dice.chance(80),
    })),
    groups: named().map((id) => ({
      ...{ kind: 'group', id, name: DYNSEC_NAMES.get(id) ?? '' },
      roles: dynsecRolesHeld(dice),
    })),
  };
}

const allowOr = (dice: Dice, percent: number): 'allow' | 'deny' =>
  dice.chance(percent) ? 'allow' : 'deny';

function accessOf(dice: Dice): AccessSpec {
  const kind = dice.pick([
    'acl',
    'acl',
    'unrestricted',
    'patterns',
    'groups',
    'groups',
    'roles',
    'roles',
    'mapping',
    'dynsec',
    'dynsec',
    'dynsec',
  ] as const);
  const patterns = sources(TOPIC_PATTERNS);
  switch (kind) {
    case 'acl':
    case 'unrestricted':
    case 'groups':
      return { kind };
    case 'patterns':
      return {
        kind,
        publish: dice.list(3, () => dice.pick(patterns)),
        subscribe: dice.list(3, () => dice.pick(patterns)),
      };
    case 'roles':
      return {
        kind,
        roles: ROLE_IDS.filter(() => dice.chance(50)),
        permissions: permissionsOf(dice),
        ...maybe(dice, 30, 'publishPrefix', () => dice.pick(PREFIXES)),
      };
    case 'dynsec':
      return { kind, roles: dynsecRolesHeld(dice), groups: dynsecGroupsHeld(dice) };
    case 'mapping': {
      const keyed = dice.chance(50);
      const keyword = keyed && { keywordPattern: dice.pick(KEYWORD_PATTERNS) };
      return { kind, ...keyword, entries: entriesOf(dice, keyed) };
    }
  }
}

function factsOf(dice: Dice): Facts {
  const commonName = dice.pick(COMMON_NAMES);
  const certificate = () => ({
    fingerprintSha256: dice.pick(FINGERPRINTS),
    chainCommonNames: [commonName, 'Line 7'],
    // As a listener tells it: no name that could be more than one level.
    ...(!/[/+#]/.test(commonName) && { commonName }),
  });
  const peer = dice.pick(PEERS);
  return {
    clientId: dice.pick(IDENTITIES.filter((one) => one !== '')),
    listener: dice.pick(LISTENERS),
    ...(peer !== undefined && { peer }),
    ...maybe(dice, 70, 'username', () => dice.pick(IDENTITIES)),
    ...maybe(dice, 65, 'certificate', certificate),
    ...maybe(dice, 50, 'zone', () => dice.pick(ZONES)),
  };
}

const groupPermissionOf = (dice: Dice): GroupPermission => ({
  permission: dice.chance(65) ? 'allow' : 'deny',
  action: dice.pick(['publish', 'subscribe'] as const),
  topic: ruleFilter(dice),
});

function groupRuleOf(dice: Dice, id: string): GroupRule {
  const matchBy = dice.pick([
    'client_id',
    'client_id',
    'credential',
    'certificate_fingerprint',
  ] as const);
  const values = {
    client_id: ['a', 'c*', '*', 'a*b', '*b', 'zz', '$*', '**'],
    credential: [CREDENTIAL_ID, 'another'],
    certificate_fingerprint: FINGERPRINTS,
  } as const;
  const groups = GROUP_IDS.filter(() => dice.chance(40));
  return { id, matchBy, value: dice.pick<string>(values[matchBy]), groups };
}

/** Objects of every kind, as they could be stored, and a connection that they are for. */
export function randomWorld(dice: Dice): RandomWorld {
  let rule = 0;
  const roles = ROLE_IDS.filter(() => dice.chance(80));
  const groups = GROUP_IDS.filter(() => dice.chance(85));
  const rowsOf = (percent: number, most: number) =>
    dice.chance(percent) ? dice.list(most, () => rowOf(dice)) : [];
  return {
    credential: {
      id: CREDENTIAL_ID,
      store: dice.pick(['native', 'tbmq', 'clients'] as const),
      access: accessOf(dice),
      superuser: dice.chance(6),
      attributes: maybe(dice, 60, 'site', () => dice.pick(IDENTITIES)),
    },
    facts: factsOf(dice),
    roles: roles.map((id): Pick<Role, 'id' | 'permissions'> => ({
      id,
      permissions: permissionsOf(dice),
    })),
    groups: groups.map((id): Pick<Group, 'id' | 'permissions'> => ({
      id,
      permissions: dice.list(3, () => groupPermissionOf(dice)),
    })),
    groupRules: dice.list(4, () => groupRuleOf(dice, String(++rule))),
    dynsec: dynsecOf(dice),
    tables: { client: rowsOf(35, 3), username: rowsOf(35, 3), everyone: rowsOf(65, 4) },
    settings: {
      noMatch: dice.pick(['allow', 'deny'] as const),
      denyAction: 'ignore',
      aclSubscribeMatch: dice.pick(['text', 'containment'] as const),
      aclEnabled: dice.chance(92),
      // Of who gets in, which is decided before.
      tbmqProviders: [],
      tbmqStrategy: 'username',
      tokensAsPasswords: false,
      dynsecPublishClientSend: allowOr(dice, 20),
      dynsecPublishClientReceive: allowOr(dice, 70),
      dynsecSubscribe: allowOr(dice, 25),
      dynsecUnsubscribe: allowOr(dice, 75),
    },
    patterns: PATTERNS,
  };
}
