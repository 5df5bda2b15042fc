import {
  type AclRule,
  type AclTable,
  type AclTarget,
  type Group,
  mapCertificate,
} from '@sallyport/domain';
import { levelsOf, parseTopicFilter } from '@sallyport/topic';
import { assemblePolicy, canonicalPolicyText } from '../assemble.ts';
import { attributeNames } from '../attribute-names.ts';
import { check } from '../check.ts';
import { type CompiledPolicy, compilePolicy } from '../compile.ts';
import { checkSubscribe, checkUnsubscribe } from '../coverage.ts';
import { explain } from '../explain.ts';
import { GroupMembership } from '../groups.ts';
import type { Facts, PolicySpec, Terms } from '../policy-spec.ts';
import { publishedTopic } from '../published-topic.ts';
import { Dice } from './random-policies.ts';
import { askedFilter, randomWorld, WORLD_TOPICS } from './random-worlds.ts';
import {
  decideMessage,
  decideSubscribe,
  decideUnsubscribe,
  type RandomWorld,
  type WorldRow,
} from './world-oracle.ts';

/** Questions that each world is asked. */
const TOPICS_ASKED = 6;
const FILTERS_ASKED = 3;

/** A world and a question that the rules and the oracle answer differently. */
export interface WorldDifference {
  readonly seed: number;
  readonly world: Omit<RandomWorld, 'patterns'>;
  readonly question: object;
  readonly expected: unknown;
  readonly found: unknown;
}

/** What the connection of a world is judged by, assembled from its objects as a policy service does. */
export interface JudgedWorld {
  readonly policy: CompiledPolicy;
  readonly facts: Facts;
}

function storedRow({ kind, ...row }: WorldRow, index: number): AclRule {
  return {
    ruleId: String(index + 1),
    ...row,
    ...(kind === 'literal' && { literal: true }),
    ...(kind === 'any' && { any: true }),
  };
}

/** As it would be stored; undefined without rows. */
export function tableOf(target: AclTarget, rows: readonly WorldRow[]): AclTable | undefined {
  if (rows.length === 0) return undefined;
  const rules = rows.map(storedRow);
  return { target, rules, ruleRevisions: rules.map(() => 1), updatedAt: 0, updatedRevision: 1 };
}

const STORED = { name: '', description: '', createdAt: 0, createdRevision: 1, updatedAt: 0 };

/** What the objects of a world say to its connection. */
export function assembleWorld(world: RandomWorld): Omit<PolicySpec, 'policyId'> {
  const { credential, facts, tables, settings, roles } = world;
  const { access } = credential;
  const mapped = access.kind === 'mapping' ? mapCertificate(access, facts) : undefined;
  const membership = new GroupMembership({ rules: world.groupRules });
  const groups = membership
    .groupsOf(facts, credential.id)
    .map((id) => world.groups.find((one) => one.id === id))
    .filter((one) => one !== undefined)
    .map((one): Group => ({ ...STORED, ...one, updatedRevision: 1, permissionRevisions: [] }));
  const named = facts.username;
  return assemblePolicy({
    ...{ credential, facts, mapped, groups, settings, roles },
    dynsec: [...world.dynsec.groups, ...world.dynsec.roles],
    tables: {
      client: tableOf({ kind: 'client', name: facts.clientId }, tables.client),
      username:
        named === undefined
          ? undefined
          : tableOf({ kind: 'username', name: named }, tables.username),
      everyone: tableOf({ kind: 'everyone' }, tables.everyone),
    },
  });
}

/** Assembles and compiles it. */
export function judgeWorld(world: RandomWorld): JudgedWorld {
  const { credential, facts } = world;
  const assembled = assembleWorld(world);
  const policy = compilePolicy({ policyId: canonicalPolicyText(assembled), ...assembled });
  const names = attributeNames(assembled).filter((one) =>
    Object.hasOwn(credential.attributes, one),
  );
  const attributes = Object.fromEntries(
    names.map((one) => [one, credential.attributes[one] ?? '']),
  );
  return { policy, facts: names.length === 0 ? facts : { ...facts, attributes } };
}

/** Asks one random world; the same seed asks the same. Answers the first difference to the oracle, if any. */
export function compareRandomWorld(seed: number): WorldDifference | undefined {
  const dice = new Dice(seed);
  const world = randomWorld(dice);
  const judged = judgeWorld(world);
  const { patterns: _known, ...told } = world;
  const asked: Asked = {
    ...judged,
    world,
    differs: (question, expected, found) =>
      JSON.stringify(expected) === JSON.stringify(found)
        ? undefined
        : { seed, world: told, question, expected, found },
  };
  for (let index = 0; index < TOPICS_ASKED; index++) {
    const difference = differenceOfTopic(dice, asked);
    if (difference !== undefined) return difference;
  }
  for (let index = 0; index < FILTERS_ASKED; index++) {
    const difference = differenceOfFilter(dice, asked);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

interface Asked extends JudgedWorld {
  readonly world: RandomWorld;
  readonly differs: (
    question: object,
    expected: unknown,
    found: unknown,
  ) => WorldDifference | undefined;
}

const termsOf = (dice: Dice): Terms => ({
  qos: dice.pick([0, 1, 2] as const),
  retain: dice.chance(50),
});

function differenceOfTopic(dice: Dice, asked: Asked): WorldDifference | undefined {
  const { policy, facts, world, differs } = asked;
  const topic = dice.pick(WORLD_TOPICS);
  const terms = termsOf(dice);
  const { access } = world.credential;
  const prefix = access.kind === 'roles' ? (access.publishPrefix ?? '') : '';
  const final = publishedTopic(policy, topic) ?? '';
  const renamed = differs({ published: topic }, prefix + topic, final);
  if (renamed !== undefined) return renamed;
  for (const action of ['publish', 'receive'] as const) {
    const judged = action === 'publish' ? final : topic;
    const expected = pair(decideMessage(world, action, judged, terms));
    const found = check(policy, facts, action, levelsOf(judged), judged, terms);
    const explained = explain(policy, facts, action, topic, terms);
    const difference =
      differs({ action, topic: judged, terms }, expected, pair(found)) ??
      differs({ explained: action, topic, terms }, expected, pair(explained));
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function differenceOfFilter(dice: Dice, asked: Asked): WorldDifference | undefined {
  const { policy, facts, world, differs } = asked;
  const parsed = parseTopicFilter(askedFilter(dice));
  const { qos } = termsOf(dice);
  const shared = dice.chance(30);
  if (!parsed.ok) return undefined;
  const filter = parsed.value;
  const ended = checkUnsubscribe(policy, facts, filter, shared);
  const wanted = decideUnsubscribe(world, filter, shared, WORLD_TOPICS);
  const wrong = differs({ unsubscribed: filter, shared }, pair(wanted), pair(ended));
  if (wrong !== undefined) return wrong;
  const found = checkSubscribe(policy, facts, filter, qos, shared);
  const expected = decideSubscribe(world, filter, { qos, shared }, WORLD_TOPICS);
  // Where the way of subscribing or the text of the filter matters, a check too many is no difference.
  const unsure = (policy.opaque || policy.conditional) && found.checkDeliveries;
  const known = unsure && expected.allowed ? { ...expected, checkDeliveries: true } : expected;
  const { allowed, checkDeliveries } = found;
  return differs({ subscribed: filter, qos, shared }, known, { allowed, checkDeliveries });
}

const pair = ({ allowed, ruleId }: { readonly allowed: boolean; readonly ruleId: string }) => ({
  allowed,
  ruleId,
});
