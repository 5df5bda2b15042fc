import {
  type AclTarget,
  aclTargetKey,
  type AuthChain,
  chainInForce,
  type Credential,
  type CredentialPart,
  credentialPartRevision,
  type DecisionReads,
  type DynsecDefaults,
  type DynsecGroup,
  dynsecPartRevision,
  type DynsecRole,
  isLive,
  isValidAt,
  needsSecret,
  refusesClientId,
  type Permission,
  type Revision,
} from '@sallyport/domain';
import type { EventLog } from '@sallyport/event-log';
import type { ExplainAnswer } from '@sallyport/policy-client';
import {
  aclRuleId,
  type Action,
  dynsecDefaultFor,
  dynsecDefaultOf,
  dynsecObjectsOf,
  dynsecRuleId,
  dynsecWildcardRuleId,
  type Facts,
  GroupMembership,
  rankedDynsecRoles,
} from '@sallyport/rules';
import { instant } from '../../http/list-query.ts';

/** The object that a decision comes from. */
export interface Origin {
  readonly type:
    | 'built_in'
    | 'credential'
    | 'role'
    | 'group'
    | 'group_rules'
    | 'dynsec_role'
    | 'dynsec_group'
    | 'acl'
    | 'settings'
    | 'auth_chain'
    | 'ban'
    | 'listener';
  /** Under which the API knows it; absent for what is built in. */
  readonly id?: string;
  readonly name?: string;
  /** The part of it that decided, as it is stored. */
  readonly row?: Readonly<Record<string, unknown>>;
  /** Index of the row in its list. */
  readonly position?: number;
  /** Revision that the row, or else the object, is there since as it is; absent for what was never set. */
  readonly revision?: Revision;
  /** Revision that the whole object is as it is since; that of a part is no later. */
  readonly objectRevision?: Revision;
  /** What gives the object to the connection: the assignment of a role, the rule of a group. */
  readonly via?: Origin;
}

export type OriginReads = Pick<
  DecisionReads,
  'role' | 'group' | 'groupRules' | 'dynsecObject' | 'aclTable' | 'settings'
>;

/** What the search for an origin may look at; all of one revision. */
export interface OriginSources {
  /** `ban` may be missing of a client that has got in. */
  readonly reads: OriginReads & Partial<Pick<DecisionReads, 'ban'>>;
  readonly credential: Credential;
  readonly facts: Facts;
  readonly action: Action | 'http';
  readonly answer: Pick<ExplainAnswer, 'ruleId' | 'opinions'>;
  /** When it was asked, in milliseconds since 1970. */
  readonly at: number;
}

/** One for each kind of object that rules come from; the first that knows the rule id answers. */
const finders: readonly ((sources: OriginSources) => Origin | undefined)[] = [
  builtIn,
  ofBan,
  ofCredential,
  ofMapping,
  ofRoles,
  ofGroup,
  ofDynsec,
  ofAclTable,
  ofDefault,
];

/** Where the deciding rule comes from, or undefined when no object of this revision has it. */
export function originOf(sources: OriginSources): Origin | undefined {
  for (const find of finders) {
    const origin = find(sources);
    if (origin !== undefined) return origin;
  }
  return undefined;
}

/** What the origin of an answer for a connection without a credential is looked for in; all of one revision. */
export interface AnonymousSources extends Omit<OriginSources, 'credential' | 'reads'> {
  readonly reads: OriginSources['reads'] & Pick<DecisionReads, 'authChain'>;
}

/**
 * Where the deciding rule for a connection without a credential comes from. Where no rule speaks it is denied, whatever is usual for
 * others, because the chain lets it in unproven.
 */
export function anonymousOriginOf(sources: AnonymousSources): Origin | undefined {
  const found = builtIn(sources) ?? ofBan(sources) ?? ofAclTable(sources);
  if (found !== undefined || sources.answer.ruleId !== 'default') return found;
  const { reads, facts } = sources;
  if (facts.open === true) return { type: 'listener', id: facts.listener };
  const chain = lettingIn(reads, facts);
  if (chain === undefined) return undefined;
  const row = chain.anonymous ? { anonymous: true } : { admitsUnknown: true };
  return { ...chainOrigin(chain), row };
}

/** The chain that lets in whoever comes on the listener of a connection. */
export function lettingIn(
  reads: Pick<DecisionReads, 'authChain'>,
  { listener }: Pick<Facts, 'listener'>,
): AuthChain | undefined {
  const chain = chainInForce(reads, listener);
  return chain?.anonymous === true || chain?.admitsUnknown === true ? chain : undefined;
}

export const chainOrigin = ({ scope, updatedRevision: revision }: AuthChain): Origin => ({
  type: 'auth_chain',
  id: scope,
  revision,
});

/** Nobody has said these. */
const BUILT_IN: ReadonlySet<string> = new Set([
  'guard',
  'coverage_limit',
  'groups/too-many',
  'dynsec/too-many',
  /** A session whose end has been decided on. */
  'revoked',
]);

function builtIn({
  action,
  answer: { ruleId },
}: Pick<OriginSources, 'action' | 'answer'>): Origin | undefined {
  // No setting and no credential says anything of UNSUBSCRIBE.
  const unspoken = action === 'unsubscribe' && ruleId === 'default';
  return unspoken || BUILT_IN.has(ruleId) ? { type: 'built_in' } : undefined;
}

/** Who is banned may not even connect. */
export function ofBan({
  reads,
  answer: { ruleId },
}: {
  readonly reads: Partial<Pick<DecisionReads, 'ban'>>;
  readonly answer: Pick<ExplainAnswer, 'ruleId'>;
}): Origin | undefined {
  const id = ruleId.startsWith(BAN_RULE) ? ruleId.slice(BAN_RULE.length) : undefined;
  const ban = id === undefined ? undefined : reads.ban?.(id);
  if (ban === undefined) return undefined;
  const { kind, value, reason, until, updatedRevision } = ban;
  const row = {
    ...{ kind, value },
    ...(reason !== undefined && { reason }),
    ...(until !== undefined && { until: instant(until) }),
  };
  return { type: 'ban', id: ban.id, row, ...dated(updatedRevision, updatedRevision) };
}

const BAN_RULE = 'ban:';

function ofCredential({
  credential,
  facts,
  at,
  answer: { ruleId },
}: OriginSources): Origin | undefined {
  const { access, superuser } = credential;
  if (ruleId === 'superuser') return ofPart(credential, { kind: 'superuser' }, { superuser });
  // It may not be connected at all.
  if (ruleId === 'credential') return closedCredential(credential, facts, at);
  if (ruleId === 'publish_prefix') return ofPart(credential, { kind: 'prefix' }, { ...access });
  if (ruleId === 'credential/unrestricted') {
    return ofPart(credential, { kind: 'access' }, { ...access });
  }
  const [, direction, position] = partOf(credential, /^(publish|subscribe)\/(\d+)$/, ruleId);
  if (access.kind !== 'patterns' || !isDirection(direction)) return undefined;
  return ofPattern(credential, access, direction, Number(position));
}

type Direction = 'publish' | 'subscribe';

const isDirection = (text: string | undefined): text is Direction =>
  text === 'publish' || text === 'subscribe';

/** What a rule id says of a credential's own part, matched by `form`; empty for other ids. */
function partOf({ id }: Credential, form: RegExp, ruleId: string): readonly string[] {
  const prefix = `credential:${id}/`;
  return ruleId.startsWith(prefix) ? (form.exec(ruleId.slice(prefix.length)) ?? []) : [];
}

function ofPattern(
  credential: Credential,
  access: Record<Direction, readonly string[]>,
  direction: Direction,
  position: number,
): Origin | undefined {
  const pattern = access[direction][position];
  if (pattern === undefined) return undefined;
  const part = { kind: 'pattern', direction, pattern } as const;
  return { ...ofPart(credential, part, { direction, pattern }), position };
}

/** The part of a credential that lets nobody in at this time; the whole of it where no part does by itself. */
export function closedCredential(credential: Credential, facts: Facts, at: number): Origin {
  const { enabled, validity, secrets, clientIds } = credential;
  if (!enabled) return ofPart(credential, { kind: 'enabled' }, { enabled });
  if (!isValidAt(credential, at)) {
    return ofPart(credential, { kind: 'validity' }, { validity: { ...validity } });
  }
  if (needsSecret(credential) && !secrets.some((one) => isLive(one, at))) {
    return ofPart(credential, { kind: 'secrets' }, { secretsLive: 0 });
  }
  if (clientIds !== undefined && refusesClientId(credential, facts)) {
    return ofPart(credential, { kind: 'clientIds' }, { clientIds: { ...clientIds } });
  }
  return credentialOrigin(credential, credential.updatedRevision);
}

const credentialOrigin = (
  { id, name, updatedRevision }: Credential,
  revision: Revision,
): Origin => ({ type: 'credential', id, name, ...dated(revision, updatedRevision) });

/** What was never set is of no revision. */
const dated = (revision: Revision, objectRevision: Revision) =>
  revision === 0 ? {} : { revision, objectRevision };

const ofPart = (
  credential: Credential,
  part: CredentialPart,
  row: Origin['row'] & object,
): Origin => ({
  ...credentialOrigin(credential, credentialPartRevision(credential, part)),
  row,
});

function ofMapping({ credential, answer: { ruleId } }: OriginSources): Origin | undefined {
  const { access } = credential;
  if (access.kind !== 'mapping') return undefined;
  const form = /^entries\/(\d+)\/(publish|subscribe)\/(\d+)$/;
  const [, position, direction, index] = partOf(credential, form, ruleId);
  const row = access.entries[Number(position)];
  if (row === undefined || !isDirection(direction)) return undefined;
  const pattern = row[direction][Number(index)] ?? '';
  const part = { kind: 'entry', key: row.key, direction, pattern } as const;
  return { ...ofPart(credential, part, { ...row }), position: Number(position) };
}

/** A permission of one of the roles, or of the credential itself. */
function ofRoles({ reads, credential, answer: { ruleId } }: OriginSources): Origin | undefined {
  const { access } = credential;
  if (access.kind !== 'roles') return undefined;
  const own = positionOf(access.permissions, `credential:${credential.id}/permission/`, ruleId);
  if (own !== undefined) {
    const part = { kind: 'permission', permission: own.row } as const;
    return { ...ofPart(credential, part, { ...own.row }), position: own.position };
  }
  for (const id of access.roles) {
    const role = reads.role(id);
    const found = role && positionOf(role.permissions, `role:${id}/`, ruleId);
    if (role === undefined || found === undefined) continue;
    const { name, updatedRevision, permissionRevisions } = role;
    const revision = permissionRevisions[found.position] ?? updatedRevision;
    const via = ofPart(credential, { kind: 'role', roleId: id }, { role: id });
    return {
      type: 'role',
      id,
      name,
      ...found,
      row: { ...found.row },
      ...dated(revision, updatedRevision),
      via,
    };
  }
  return undefined;
}

function positionOf(
  permissions: readonly Permission[],
  prefix: string,
  ruleId: string,
): { readonly row: Permission; readonly position: number } | undefined {
  const position = permissions.findIndex(({ id }) => ruleId === `${prefix}${id}`);
  const row = permissions[position];
  return row && { row, position };
}

function ofGroup(sources: OriginSources): Origin | undefined {
  const { reads, answer } = sources;
  const [, id, index] = /^group:(.+)\/(\d+)$/s.exec(answer.ruleId) ?? [];
  const group = id === undefined ? undefined : reads.group(id);
  const position = Number(index);
  const row = group?.permissions[position];
  if (group === undefined || row === undefined) return undefined;
  const { name, updatedRevision, permissionRevisions } = group;
  const revision = permissionRevisions[position] ?? updatedRevision;
  const via = ofMembership(sources, group.id);
  return {
    ...{ type: 'group', id: group.id, name, row: { ...row }, position },
    ...dated(revision, updatedRevision),
    ...(via && { via }),
  };
}

/** Of the rules that give somebody a group the one that does it for longest. */
function ofMembership(
  { reads, facts, credential }: OriginSources,
  groupId: string,
): Origin | undefined {
  const { rules, givenRevisions, updatedRevision } = reads.groupRules();
  const giving = rules.flatMap((rule, position) => {
    const index = rule.groups.indexOf(groupId);
    const revision = givenRevisions[position]?.[index];
    if (revision === undefined) return [];
    const given = new GroupMembership({ rules: [rule] }).groupsOf(facts, credential.id);
    return given.length === 0 ? [] : [{ rule, position, revision }];
  });
  const [oldest] = giving.sort((a, b) => a.revision - b.revision);
  if (oldest === undefined) return undefined;
  const { rule, position, revision } = oldest;
  return {
    ...{ type: 'group_rules', id: 'group-rules', row: { ...rule }, position },
    ...dated(revision, updatedRevision),
  };
}

/** A row of a role of dynamic security, or what it says of wildcards; or what is usual there. */
function ofDynsec({ reads, credential, answer: { ruleId } }: OriginSources): Origin | undefined {
  const { access } = credential;
  if (access.kind !== 'dynsec') return undefined;
  const usual = dynsecDefaultOf(ruleId);
  if (usual !== undefined) return ofSetting(reads, usual);
  for (const { role: ranked, groupId } of rankedDynsecRoles(
    access,
    dynsecObjectsOf(reads, access),
  )) {
    const role = reads.dynsecObject('role', ranked.id);
    const origin = role?.kind === 'role' ? ofDynsecRole(role, ruleId) : undefined;
    if (origin === undefined) continue;
    const via =
      groupId === undefined
        ? ofDynsecHeld(credential, { role: ranked.id })
        : ofDynsecGroup(reads.dynsecObject('group', groupId), ranked.id, credential);
    return { ...origin, ...(via && { via }) };
  }
  return undefined;
}

function ofDynsecRole(role: DynsecRole, ruleId: string): Origin | undefined {
  const { id, name, acls, allowWildcardSubs, updatedRevision } = role;
  const origin = (part: number, row: object): Origin => ({
    ...{ type: 'dynsec_role', id, name, row: { ...row } },
    ...dated(dynsecPartRevision(role, part), updatedRevision),
  });
  if (ruleId === dynsecWildcardRuleId(id)) return origin(0, { allowWildcardSubs });
  const position = acls.findIndex((_, index) => ruleId === dynsecRuleId(id, index));
  const row = acls[position];
  return row && { ...origin(position + 1, row), position };
}

/** Where a group has a role, and a credential the group. */
function ofDynsecGroup(
  group: ReturnType<OriginReads['dynsecObject']>,
  roleId: string,
  credential: Credential,
): Origin | undefined {
  if (group?.kind !== 'group') return undefined;
  const { id, name, roles, updatedRevision }: DynsecGroup = group;
  const position = roles.findIndex(({ role }) => role === roleId);
  const revision = dynsecPartRevision(group, position);
  const via = ofDynsecHeld(credential, { group: id });
  return {
    ...{ type: 'dynsec_group', id, name, row: { ...roles[position] }, position },
    ...dated(revision, updatedRevision),
    ...(via && { via }),
  };
}

/** Where a credential names a role or a group of dynamic security. */
function ofDynsecHeld(
  credential: Credential,
  named: { readonly role: string } | { readonly group: string },
): Origin | undefined {
  const { access } = credential;
  if (access.kind !== 'dynsec') return undefined;
  if ('role' in named) {
    const held = access.roles.find(({ role }) => role === named.role);
    return held && ofPart(credential, { kind: 'dynsec_role', held }, { ...held });
  }
  const held = access.groups.find(({ group }) => group === named.group);
  return held && ofPart(credential, { kind: 'dynsec_group', held }, { ...held });
}

function ofAclTable({
  reads,
  facts,
  answer: { ruleId },
}: Pick<OriginSources, 'reads' | 'facts' | 'answer'>): Origin | undefined {
  const { clientId, username } = facts;
  const targets: readonly AclTarget[] = [
    { kind: 'client', name: clientId },
    ...(username === undefined ? [] : [{ kind: 'username', name: username } as const]),
    { kind: 'everyone' },
  ];
  for (const target of targets) {
    const id = aclTargetKey(target);
    const table = reads.aclTable(target);
    const position = table?.rules.findIndex((row) => aclRuleId(id, row) === ruleId) ?? -1;
    const row = table?.rules[position];
    if (table === undefined || row === undefined) continue;
    const revision = table.ruleRevisions[position] ?? table.updatedRevision;
    const name = target.kind === 'everyone' ? {} : { name: target.name };
    const objectRevision = table.updatedRevision;
    return { type: 'acl', id, ...name, row: { ...row }, position, revision, objectRevision };
  }
  return undefined;
}

/** No rule spoke: a closed credential denies then, or the setting decides. */
function ofDefault({ reads, credential, action, answer }: OriginSources): Origin | undefined {
  if (answer.ruleId !== 'default') return undefined;
  // What is not of the tables is the credential's own: its patterns, roles or groups.
  const closed = answer.opinions.some((one) => one.authority !== 'acl' && one.verdict === 'deny');
  if (!closed) return ofSetting(reads, 'noMatch');
  const usual = credential.access.kind === 'dynsec' ? dynsecDefaultFor(action) : undefined;
  if (usual !== undefined) return ofSetting(reads, usual);
  return ofPart(credential, { kind: 'access' }, { ...credential.access });
}

function ofSetting(
  reads: Pick<OriginReads, 'settings'>,
  name: 'noMatch' | keyof DynsecDefaults,
): Origin {
  const { [name]: value, updatedRevision, valueRevisions } = reads.settings();
  const revision = dated(valueRevisions[name] ?? 0, updatedRevision);
  return { type: 'settings', id: 'settings', row: { [name]: value }, ...revision };
}

/** Who made it so, and when. */
export interface OriginEvent {
  readonly revision: Revision;
  readonly commitId: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly actor: { readonly kind: string; readonly id: string };
  readonly reason?: string;
}

/** The commit of a revision; one read of the log. @throws OperationalError `log_unavailable` */
export async function eventOf(
  log: Pick<EventLog, 'read'>,
  revision: Revision,
): Promise<OriginEvent | undefined> {
  const [commit] = await log.read(revision - 1, 1);
  if (commit === undefined) return undefined;
  const { commitId, at, actor, reason } = commit;
  return { revision, commitId, at, actor, ...(reason !== undefined && { reason }) };
}
