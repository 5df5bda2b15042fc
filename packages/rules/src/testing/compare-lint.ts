import {
  type AccessSpec,
  type AclTarget,
  aclTargetKey,
  type CertificateMapping,
} from '@sallyport/domain';
import { levelsOf, parseTopicFilter } from '@sallyport/topic';
import { check } from '../check.ts';
import { dynsecRuleId } from '../dynsec-authority.ts';
import { type CompiledPolicy, compilePolicy } from '../compile.ts';
import { checkSubscribe, checkUnsubscribe } from '../coverage.ts';
import type { LintFinding } from '../lint/lint.ts';
import {
  followingRows,
  lintAclTable,
  lintDynsecRole,
  lintGroup,
  lintPolicy,
  lintRole,
} from '../lint/lists.ts';
import { mappingRules } from '../lint/mapping.ts';
import type { KnownFacts } from '../lint/rows.ts';
import type { AuthoritySpec, Facts, PolicySpec, Qos, RuleSpec } from '../policy-spec.ts';
import { assembleWorld, judgeWorld, tableOf } from './compare-worlds.ts';
import { Dice, randomAuthority, randomFacts, randomFilter, TOPICS } from './random-policies.ts';
import { randomWorld, WORLD_TOPICS } from './random-worlds.ts';
import type { RandomWorld, WorldRow } from './world-oracle.ts';

/** Questions that are asked with and without what was reported. */
const TOPICS_ASKED = 40;
const FILTERS_ASKED = 40;

/** A decision that changes when rules are removed of which it is said that none does. */
export interface LintDifference {
  readonly seed: number;
  readonly removed: readonly string[];
  readonly from: unknown;
  readonly facts: Facts;
  readonly question: object;
  readonly before: boolean;
  readonly after: boolean;
}

export interface LintOutcome {
  /** What was reported, for whoever counts: kinds of objects and codes. */
  readonly codes: readonly string[];
  readonly difference: LintDifference | undefined;
}

/** One random policy, the same for the same seed, asked with and without each rule that is reported as removable, and without all of them. */
export function compareRandomLint(seed: number): LintOutcome {
  const dice = new Dice(seed);
  let name = 0;
  const spec: PolicySpec = {
    policyId: 'random',
    superuser: dice.chance(15),
    authorities: dice.list(2, () =>
      repeating(dice, randomAuthority(dice, `authority-${name++}`, 5)),
    ),
    noMatch: dice.pick(['allow', 'deny'] as const),
    denyAction: 'ignore',
  };
  const facts = randomFacts(dice);
  const known = dice.chance(40) ? knownOf(facts) : {};
  const { findings } = lintPolicy(spec, known);
  const without = (removed: ReadonlySet<string>): Judged => ({
    facts,
    policy: compilePolicy({
      ...spec,
      authorities: spec.authorities.map((one) => ({
        ...one,
        rules: one.rules.filter(({ ruleId }) => !removed.has(ruleId)),
      })),
    }),
  });
  return outcome({ seed, dice, from: spec, findings, without, topics: TOPICS });
}

/** The same for the tables, groups and roles of a random world, each looked at by itself. */
export function compareRandomWorldLint(seed: number): LintOutcome {
  const dice = new Dice(seed);
  const world = fuller(dice, randomWorld(dice));
  const { facts, settings, groups, roles, dynsec } = world;
  const everyone = followingRows(tableOf({ kind: 'everyone' }, world.tables.everyone));
  const tables = (['client', 'username', 'everyone'] as const).flatMap((kind) => {
    const table = tableOf(targetOf(kind, facts), world.tables[kind]);
    return table === undefined ? [] : lintAclTable(table, settings, everyone).findings;
  });
  const findings = [
    ...tables,
    ...groups.flatMap((one) => lintGroup(one).findings),
    ...roles.flatMap((one) => lintRole(one).findings),
    ...dynsec.roles.flatMap((one) => lintDynsecRole(one).findings),
    ...mappingFindings(world),
  ];
  return worldOutcome(seed, dice, world, findings);
}

function mappingFindings({ credential: { id, access, superuser } }: RandomWorld) {
  if (access.kind !== 'mapping') return [];
  const rules = mappingRules(id, access);
  return lintPolicy({ superuser, authorities: [{ name: id, rules, noMatch: 'deny' }] }, {})
    .findings;
}

/** The same for all that the connection of a random world is judged by. */
export function compareRandomConnectionLint(seed: number): LintOutcome {
  const dice = new Dice(seed);
  const world = fuller(dice, randomWorld(dice));
  const { findings } = lintPolicy(assembleWorld(world), knownOf(judgeWorld(world).facts));
  return worldOutcome(seed, dice, world, findings);
}

function worldOutcome(
  seed: number,
  dice: Dice,
  world: RandomWorld,
  findings: readonly LintFinding[],
): LintOutcome {
  const without = (removed: ReadonlySet<string>) => judgeWorld(lessOf(world, removed));
  const { patterns: _known, ...told } = world;
  return outcome({ seed, dice, from: told, findings, without, topics: WORLD_TOPICS });
}

interface Judged {
  readonly policy: CompiledPolicy;
  readonly facts: Facts;
}

interface Compared {
  readonly seed: number;
  readonly dice: Dice;
  readonly from: unknown;
  readonly findings: readonly LintFinding[];
  readonly without: (removed: ReadonlySet<string>) => Judged;
  readonly topics: readonly string[];
}

function outcome({ seed, dice, from, findings, without, topics }: Compared): LintOutcome {
  const removable = findings.filter((one) => one.removable).map((one) => one.ruleId);
  const before = without(new Set());
  const sets = removable.length > 1 ? [removable, ...removable.map((one) => [one])] : [removable];
  let difference: LintDifference | undefined;
  for (const removed of removable.length === 0 ? [] : sets) {
    const changed = changedAnswer(dice, topics, before, without(new Set(removed)));
    if (changed !== undefined)
      difference ??= { seed, removed, from, facts: before.facts, ...changed };
  }
  const codes = findings.map(({ ruleId, code }) => `${/^[a-z-]+/.exec(ruleId)?.[0] ?? ''} ${code}`);
  return { codes, difference };
}

type Changed = Pick<LintDifference, 'question' | 'before' | 'after'>;

function changedAnswer(
  dice: Dice,
  topics: readonly string[],
  before: Judged,
  after: Judged,
): Changed | undefined {
  for (let asked = 0; asked < TOPICS_ASKED; asked++) {
    const topic = dice.pick(topics);
    const action = dice.pick(['publish', 'receive'] as const);
    const terms = { qos: dice.pick([0, 1, 2] as const), retain: dice.chance(50) };
    const [one, other] = [before, after].map(
      ({ policy, facts }) => check(policy, facts, action, levelsOf(topic), topic, terms).allowed,
    );
    if (one !== other) return changedTo({ action, topic, terms }, one, other);
  }
  for (let asked = 0; asked < FILTERS_ASKED; asked++) {
    const changed = changedFilter(dice, before, after);
    if (changed !== undefined) return changed;
  }
  return undefined;
}

const changedTo = (question: object, before = false, after = false): Changed => ({
  question,
  before,
  after,
});

function changedFilter(dice: Dice, before: Judged, after: Judged): Changed | undefined {
  const text = randomFilter(dice, ['a', 'b', '+', '+', 'c1', '', 'b.'], ['$s', '#', '+']);
  const parsed = parseTopicFilter(text);
  if (!parsed.ok) return undefined;
  const filter = parsed.value;
  const qos: Qos = dice.pick([0, 1, 2] as const);
  const [shared, inPart] = [dice.chance(30), dice.chance(20)];
  const [granted, still] = [before, after].map(
    ({ policy, facts }) => checkSubscribe(policy, facts, filter, qos, shared, inPart).allowed,
  );
  if (granted !== still) return changedTo({ filter, qos, shared, inPart }, granted, still);
  const [ended, anyway] = [before, after].map(
    ({ policy, facts }) => checkUnsubscribe(policy, facts, filter, shared).allowed,
  );
  return ended === anyway ? undefined : changedTo({ unsubscribed: filter, shared }, ended, anyway);
}

/** With rules like others of the list, so that more of them are in the way of each other. */
function repeating(dice: Dice, authority: AuthoritySpec): AuthoritySpec {
  const rules = [...authority.rules];
  for (let copies = dice.below(5); copies > 0 && rules.length > 0; copies--) {
    const one = varied(dice, dice.pick(rules), `${authority.name}/copy-${copies}`);
    rules.splice(dice.below(rules.length + 1), 0, one);
  }
  return { ...authority, rules: dice.chance(50) ? inPieces(dice, rules) : rules };
}

/** In front of one rule that ends with `#`, others that together are about the same. */
function inPieces(dice: Dice, rules: readonly RuleSpec[]): readonly RuleSpec[] {
  const at = rules.findIndex(
    ({ matcher }) => matcher.kind === 'filter' && matcher.filter.endsWith('/#'),
  );
  const whole = rules[at];
  if (whole?.matcher.kind !== 'filter') return rules;
  const parent = whole.matcher.filter.slice(0, -2);
  const pieces = [parent, `${parent}/+/#`].filter((one) => one !== '');
  const made = pieces.map((filter, index): RuleSpec => ({
    ...whole,
    ...{ ruleId: `${whole.ruleId}-${index}`, matcher: { kind: 'filter', filter } },
    effect: dice.chance(60) ? 'deny' : 'allow',
  }));
  const [first, second] = dice.chance(50) ? made : made.toReversed();
  const before = [first, ...(dice.chance(30) ? [whole] : []), second];
  return rules.toSpliced(
    at,
    0,
    ...before
      .filter((one) => one !== undefined)
      .map((one, index) => ({ ...one, ruleId: `${one.ruleId}/${index}` })),
  );
}

function varied(dice: Dice, rule: RuleSpec, ruleId: string): RuleSpec {
  const { when: _when, ...plain } = rule;
  return {
    ...(dice.chance(50) ? rule : plain),
    ruleId,
    ...(dice.chance(40) && { effect: rule.effect === 'allow' ? 'deny' : 'allow' }),
    ...(dice.chance(30) && { actions: ['publish', 'subscribe', 'receive', 'unsubscribe'] }),
    ...(rule.matcher.kind === 'filter' && {
      matcher: { kind: 'filter', filter: variedFilter(dice, rule.matcher.filter) },
    }),
  };
}

/** The same, one level more or fewer, or a level for another. */
function variedFilter(dice: Dice, filter: string): string {
  const levels = [...levelsOf(filter)];
  const last = levels.at(-1);
  const kind = dice.below(5);
  if (kind === 0 && last !== '#') levels.push(dice.pick(['#', '+', 'a']));
  if (kind === 1 && levels.length > 1) levels.pop();
  if (kind === 2) levels[levels.length - 1] = dice.pick(['#', '+', 'a']);
  if (kind === 3 && last === '#') levels.splice(-1, 0, '+');
  const text = levels.join('/');
  return text === '' ? '#' : text;
}

function knownOf({ clientId, username, certificate, attributes }: Facts): KnownFacts {
  return {
    clientId,
    username: username ?? null,
    commonName: certificate?.commonName ?? null,
    attributes: attributes ?? {},
  };
}

function targetOf(kind: AclTarget['kind'], { clientId, username }: Facts): AclTarget {
  if (kind === 'everyone') return { kind };
  return { kind, name: kind === 'client' ? clientId : (username ?? '') };
}

function fuller(dice: Dice, world: RandomWorld): RandomWorld {
  const more = <T>(rows: readonly T[], vary: (row: T) => T): readonly T[] => {
    const all = [...rows];
    for (let copies = dice.below(4); copies > 0 && all.length > 0; copies--) {
      all.splice(dice.below(all.length + 1), 0, vary(dice.pick(all)));
    }
    return all;
  };
  const row = (one: WorldRow): WorldRow => ({
    ...one,
    ...(dice.chance(40) && { effect: one.effect === 'allow' ? 'deny' : 'allow' }),
    ...(one.kind === 'filter' && { topicFilter: variedFilter(dice, one.topicFilter) }),
  });
  const { client, username, everyone } = world.tables;
  // Those of a username are like some of those that follow them.
  const own = dice.chance(50) ? [...username, ...everyone] : username;
  const { access } = world.credential;
  return {
    ...world,
    ...(access.kind === 'mapping' && {
      credential: { ...world.credential, access: fullerMapping(dice, access) },
    }),
    tables: {
      client: more(client, row),
      username: more(own, row),
      everyone: more(everyone, row),
    },
    dynsec: {
      ...world.dynsec,
      roles: world.dynsec.roles.map((one) => ({
        ...one,
        acls: more(one.acls, (acl) => ({
          ...acl,
          ...(dice.chance(40) && { allow: !acl.allow }),
          topic: acl.aclType.endsWith('Literal') ? acl.topic : variedFilter(dice, acl.topic),
        })),
      })),
    },
    groups: world.groups.map((one) => ({
      ...one,
      permissions: more(one.permissions, (own) => ({
        ...own,
        topic: variedFilter(dice, own.topic),
      })),
    })),
    roles: world.roles.map((one) => ({
      ...one,
      permissions: more(one.permissions, (own) => ({
        ...own,
        id: `${own.id}x${dice.below(1e9)}`,
        resource: variedFilter(dice, own.resource),
      })),
    })),
  };
}

/** With more patterns, and two entries of which one is found wherever the other is. */
function fullerMapping(dice: Dice, access: CertificateMapping): CertificateMapping {
  const patterns = ['a/.*', 'a/b', '.*', 'a/#', '${cn}/.*', '${cn}/a', '${clientId}/.*'];
  const some = () => dice.list(3, () => dice.pick(patterns));
  const pair = dice.chance(60) && access.keywordPattern === undefined ? ['a', 'a/b'] : [];
  const entries = [
    ...access.entries.filter(({ key }) => !pair.includes(key)),
    ...pair.map((key) => ({ key, publish: [], subscribe: [] })),
  ];
  const ordered = dice.chance(50) ? entries : entries.toReversed();
  return {
    ...access,
    entries: ordered.map(({ key, publish, subscribe }) => ({
      ...{ key, publish: [...publish, ...some()], subscribe: [...subscribe, ...some()] },
    })),
  };
}

/** A world without the rows of these ids. */
function lessOf(world: RandomWorld, removed: ReadonlySet<string>): RandomWorld {
  const { credential, dynsec, facts, groups, roles, tables } = world;
  // The rows that stay keep the ids that they have by their places: only the removed ones are looked up by them.
  const rowsOf = (kind: AclTarget['kind']): readonly WorldRow[] => {
    const key = aclTargetKey(targetOf(kind, facts));
    return tables[kind].filter((_, index) => !removed.has(`acl:${key}/${index + 1}`));
  };
  return {
    ...world,
    credential: { ...credential, access: lessOfAccess(credential, removed) },
    dynsec: {
      ...dynsec,
      roles: dynsec.roles.map((one) => ({
        ...one,
        acls: one.acls.filter((_, index) => !removed.has(dynsecRuleId(one.id, index))),
      })),
    },
    tables: {
      client: rowsOf('client'),
      username: rowsOf('username'),
      everyone: rowsOf('everyone'),
    },
    groups: groups.map((one) => ({
      ...one,
      permissions: one.permissions.filter((_, index) => !removed.has(`group:${one.id}/${index}`)),
    })),
    roles: roles.map((one) => ({
      ...one,
      permissions: one.permissions.filter(({ id }) => !removed.has(`role:${one.id}/${id}`)),
    })),
  };
}

function lessOfAccess(
  { id, access }: RandomWorld['credential'],
  removed: ReadonlySet<string>,
): AccessSpec {
  const left = (prefix: string, patterns: readonly string[]) =>
    patterns.filter((_, index) => !removed.has(`credential:${id}/${prefix}/${index}`));
  switch (access.kind) {
    case 'roles': {
      const kept = access.permissions.filter(
        (one) => !removed.has(`credential:${id}/permission/${one.id}`),
      );
      return { ...access, permissions: kept };
    }
    case 'patterns':
      return {
        ...access,
        publish: left('publish', access.publish),
        subscribe: left('subscribe', access.subscribe),
      };
    case 'mapping':
      return {
        ...access,
        entries: access.entries.map(({ key, publish, subscribe }, index) => ({
          key,
          publish: left(`entries/${index}/publish`, publish),
          subscribe: left(`entries/${index}/subscribe`, subscribe),
        })),
      };
    default:
      return access;
  }
}
