import {
  aclTag,
  type AclTarget,
  type Credential,
  credentialTag,
  type DecisionReads,
  dynsecTagsOf,
  GROUP_RULES_TAG,
  type GroupRules,
  groupTag,
  type Revision,
  rolesOf,
  roleTag,
  SETTINGS_TAG,
  unboundCertificateOf,
} from '@sallyport/domain';
import type { EventLog } from '@sallyport/event-log';
import type { ExplainAnswer } from '@sallyport/policy-client';
import {
  type Action,
  assemblePolicy,
  compilePolicy,
  dynsecObjectsOf,
  explain,
  type Facts,
  GroupMembership,
  policySources,
  type ReadSources,
  type Terms,
} from '@sallyport/rules';
import { type Origin, originOf, type OriginReads } from './origin.ts';
import { isTouched, stateAt } from './past-state.ts';

/** States of the past that a question is put to, the newest first. What was taken before is not told. */
export const PAST_ANSWERS_MAX = 256;

/** How a question was last answered otherwise: what said so, and the commit that it does not since. */
export interface PastAnswer {
  readonly ruleId: string;
  /** What said so, as it was. */
  readonly origin?: Origin;
  readonly revision: Revision;
}

/** A right that was there once. */
export type TakenRight = PastAnswer;

/** What was in the way of a right before. */
export type LiftedDenial = PastAnswer;

export interface PastQuestion {
  readonly credentialId: string;
  readonly facts: Facts;
  readonly action: Action;
  readonly topic: string;
  readonly terms: Terms;
  /** Nothing later is looked at. */
  readonly revision: Revision;
  /** Of the roles and groups that the rules are made from now. */
  readonly tags?: readonly string[];
  readonly at: number;
}

/** How often the log is folded again for objects that are named by others. */
const FURTHER_FOLDS_MAX = 2;

/** Whether an answer may be due to a right that was taken: no rule denies, nothing is built in. */
export const mayBeTaken = (
  action: Action,
  { allowed, ruleId }: Pick<ExplainAnswer, 'allowed' | 'ruleId'>,
): boolean => !allowed && ruleId === 'default' && action !== 'unsubscribe';

/**
 * The right that a question was last allowed by, by the rules of the credential that it is about; undefined when it never was, or not
 * within the bounds. Whether the credential was enabled, and its secrets live, is not looked at. Folds the log up to three times.
 * @throws OperationalError `log_unavailable`
 */
export async function takenRight(
  log: Pick<EventLog, 'read'>,
  question: PastQuestion,
): Promise<TakenRight | undefined> {
  return lastAnswer(await momentsOf(log, question), question, true);
}

/**
 * What last denied a question that is allowed now, by the rules of the credential that it is about; undefined when nothing did since
 * `since`, when what allows it came, or not within the bounds. Reads the log from there on, and folds it when it says something of these
 * rules. @throws OperationalError `log_unavailable`
 */
export async function liftedDenial(
  log: Pick<EventLog, 'read'>,
  question: PastQuestion,
  since: Revision,
): Promise<LiftedDenial | undefined> {
  const tags = new Set([...baseTags(question), ...(question.tags ?? [])]);
  if (!(await isTouched(log, { after: since, until: question.revision }, tags))) return undefined;
  const moments = await momentsOf(log, question);
  return lastAnswer(
    moments.filter((one) => one.revision >= since),
    question,
    false,
  );
}

/** Of the roles and groups that a credential has now, those of dynamic security included. O(group rules) for one whose access is by groups. */
export function heldTags(
  reads: Pick<DecisionReads, 'groupRules' | 'dynsecObject'>,
  { id, access }: Pick<Credential, 'id' | 'access'>,
  facts: Facts,
): readonly string[] {
  const roles = rolesOf(access).map(roleTag);
  if (access.kind === 'dynsec') {
    const groups = dynsecObjectsOf(reads, access).filter((one) => one.kind === 'group');
    return dynsecTagsOf(access, groups);
  }
  if (access.kind !== 'groups') return roles;
  return new GroupMembership(reads.groupRules()).groupsOf(facts, id).map(groupTag);
}

async function momentsOf(
  log: Pick<EventLog, 'read'>,
  question: PastQuestion,
): Promise<readonly Moment[]> {
  let tags = baseTags(question);
  let past = await pastOf(log, question, tags);
  // Roles and groups are known only once those who have them are: they may be older. So it is with the roles of groups behind these.
  for (let more = 0; more < FURTHER_FOLDS_MAX && past.tags.some((one) => !tags.has(one)); more++) {
    tags = new Set([...tags, ...past.tags]);
    past = await pastOf(log, question, tags);
  }
  return past.moments;
}

/** The last moment at which the answer was `wanted`; undefined when it is that now: it is not by the rules that it is another one. */
async function lastAnswer(
  moments: readonly Moment[],
  { facts, action, topic, terms, at }: PastQuestion,
  wanted: boolean,
): Promise<PastAnswer | undefined> {
  let since: Revision | undefined;
  for (const moment of moments.toReversed()) {
    const { sources } = moment;
    const { credential } = sources;
    const policy = compilePolicy({ policyId: 'past', ...assemblePolicy(sources) });
    const asked = { ...facts, attributes: credential.attributes };
    const answer = explain(policy, asked, action, topic, terms);
    if (answer.allowed === wanted) {
      if (since === undefined) return undefined;
      const origin = originOf({ reads: readsOf(moment), credential, facts, action, answer, at });
      return { ruleId: answer.ruleId, revision: since, ...(origin && { origin }) };
    }
    since = moment.revision;
    // Compiling a thousand rules takes milliseconds.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return undefined;
}

/** What the rules were made from after a commit. */
interface Moment {
  readonly revision: Revision;
  readonly sources: ReadSources;
  readonly groupRules: GroupRules;
}

interface Past {
  /** The newest ones, in order. */
  readonly moments: readonly Moment[];
  /** Of every role and group that the credential ever had by what was folded. */
  readonly tags: readonly string[];
}

async function pastOf(
  log: Pick<EventLog, 'read'>,
  { revision, facts, credentialId }: PastQuestion,
  tags: ReadonlySet<string>,
): Promise<Past> {
  const moments: Moment[] = [];
  const found = new Set<string>();
  let membership: { readonly of: GroupRules; readonly compiled: GroupMembership } | undefined;
  const groupIdsOf = (groupRules: GroupRules): readonly string[] => {
    if (membership?.of !== groupRules) {
      membership = { of: groupRules, compiled: new GroupMembership(groupRules) };
    }
    return membership.compiled.groupsOf(facts, credentialId);
  };
  await stateAt(log, revision, tags, (state, commit) => {
    const credential = state.credential(credentialId) ?? unboundCertificateOf(credentialId);
    if (credential === undefined) return;
    const groupRules = state.groupRules();
    const sources = policySources(state, credential, facts, () => groupIdsOf(groupRules));
    for (const id of rolesOf(credential.access)) found.add(roleTag(id));
    for (const id of sources.groupIds ?? []) found.add(groupTag(id));
    const dynsecGroups = sources.dynsec.filter((one) => one.kind === 'group');
    for (const tag of dynsecTagsOf(credential.access, dynsecGroups)) found.add(tag);
    moments.push({ revision: commit.revision, sources, groupRules });
    if (moments.length > PAST_ANSWERS_MAX) moments.shift();
  });
  return { moments, tags: [...found] };
}

function baseTags({ credentialId, facts: { clientId, username } }: PastQuestion): Set<string> {
  const targets: readonly AclTarget[] = [
    { kind: 'client', name: clientId },
    ...(username === undefined ? [] : [{ kind: 'username', name: username } as const]),
    { kind: 'everyone' },
  ];
  return new Set([
    credentialTag(credentialId),
    SETTINGS_TAG,
    GROUP_RULES_TAG,
    ...targets.map(aclTag),
  ]);
}

/** The objects of a moment, as whoever looks for an origin reads them. */
function readsOf({ sources, groupRules }: Moment): OriginReads {
  const { tables, roles, groups, dynsec } = sources;
  return {
    role: (id) => roles.find((one) => one.id === id),
    group: (id) => groups.find((one) => one.id === id),
    dynsecObject: (kind, id) => dynsec.find((one) => one.kind === kind && one.id === id),
    groupRules: () => groupRules,
    aclTable: ({ kind }) => tables[kind],
    settings: () => sources.settings,
  };
}
