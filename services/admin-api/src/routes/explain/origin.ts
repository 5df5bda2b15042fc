import {
  type AclTarget,
  aclTargetKey,
  type AuthChain,
  chainInForce,
  type Credential,
  type DecisionReads,
  type Permission,
  type Revision,
} from '@sallyport/domain';
import type { EventLog } from '@sallyport/event-log';
import type { ExplainAnswer } from '@sallyport/policy-client';
import { aclRuleId, type Action, type Facts } from '@sallyport/rules';

/** The object that a decision comes from. */
export interface Origin {
  readonly type: 'built_in' | 'credential' | 'role' | 'group' | 'acl' | 'settings' | 'auth_chain';
  /** Under which the API knows it; absent for what is built in. */
  readonly id?: string;
  readonly name?: string;
  /** The part of it that decided, as it is stored. */
  readonly row?: Readonly<Record<string, unknown>>;
  /** Index of the row in its list. */
  readonly position?: number;
  /** Revision that the row, or else the object, is there since as it is; absent for what was never set. */
  readonly revision?: Revision;
  /** Revision that the whole object is as it is since, where that is another. */
  readonly objectRevision?: Revision;
}

/** What the search for an origin may look at; all of one revision. */
export interface OriginSources {
  readonly reads: Pick<DecisionReads, 'role' | 'group' | 'aclTable' | 'settings'>;
  readonly credential: Credential;
  readonly facts: Facts;
  readonly action: Action;
  readonly answer: Pick<ExplainAnswer, 'ruleId' | 'opinions'>;
}

/** One for each kind of object that rules come from; the first that knows the rule id answers. */
const finders: readonly ((sources: OriginSources) => Origin | undefined)[] = [
  builtIn,
  ofCredential,
  ofMapping,
  ofRoles,
  ofGroup,
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
  const found = builtIn(sources) ?? ofAclTable(sources);
  if (found !== undefined || sources.answer.ruleId !== 'default') return found;
  const chain = lettingIn(sources.reads, sources.facts);
  return chain && { ...chainOrigin(chain), row: { anonymous: true } };
}

/** The chain that lets in whoever comes on the listener of a connection. */
export function lettingIn(
  reads: Pick<DecisionReads, 'authChain'>,
  { listener }: Pick<Facts, 'listener'>,
): AuthChain | undefined {
  const chain = chainInForce(reads, listener);
  return chain?.anonymous === true ? chain : undefined;
}

const chainOrigin = ({ scope, updatedRevision: revision }: AuthChain): Origin => ({
  type: 'auth_chain',
  id: scope,
  revision,
});

/** Nobody has said these. */
const BUILT_IN: ReadonlySet<string> = new Set([
  'guard',
  'coverage_limit',
  'groups/too-many',
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

function ofCredential({ credential, answer: { ruleId } }: OriginSources): Origin | undefined {
  const origin = credentialOrigin(credential);
  // The first two speak of the whole credential: it skips the rules, or may not be connected at all.
  if (ruleId === 'superuser' || ruleId === 'credential') return origin;
  const { access } = credential;
  if (ruleId === 'publish_prefix') return { ...origin, row: { ...access } };
  if (ruleId === 'credential/unrestricted') return { ...origin, row: { ...access } };
  if (access.kind !== 'patterns') return undefined;
  for (const direction of ['publish', 'subscribe'] as const) {
    const position = access[direction].findIndex(
      (_, index) => ruleId === `credential:${credential.id}/${direction}/${index}`,
    );
    if (position >= 0) {
      return { ...origin, row: { direction, pattern: access[direction][position] }, position };
    }
  }
  return undefined;
}

const credentialOrigin = ({ id, name, updatedRevision }: Credential): Origin => ({
  type: 'credential',
  id,
  name,
  ...(updatedRevision > 0 && { revision: updatedRevision }),
});

function ofMapping({ credential, answer: { ruleId } }: OriginSources): Origin | undefined {
  const { access } = credential;
  if (access.kind !== 'mapping') return undefined;
  const position = access.entries.findIndex((_, index) =>
    ruleId.startsWith(`credential:${credential.id}/entries/${index}/`),
  );
  const row = access.entries[position];
  return row && { ...credentialOrigin(credential), row: { ...row }, position };
}

/** A permission of one of the roles, or of the credential itself. */
function ofRoles({ reads, credential, answer: { ruleId } }: OriginSources): Origin | undefined {
  const { access } = credential;
  if (access.kind !== 'roles') return undefined;
  const own = positionOf(access.permissions, `credential:${credential.id}/permission/`, ruleId);
  if (own !== undefined) return { ...credentialOrigin(credential), ...own };
  for (const id of access.roles) {
    const role = reads.role(id);
    const found = role && positionOf(role.permissions, `role:${id}/`, ruleId);
    if (role === undefined || found === undefined) continue;
    return { type: 'role', id, name: role.name, ...found, revision: role.updatedRevision };
  }
  return undefined;
}

function positionOf(
  permissions: readonly Permission[],
  prefix: string,
  ruleId: string,
): Pick<Origin, 'row' | 'position'> | undefined {
  const position = permissions.findIndex(({ id }) => ruleId === `${prefix}${id}`);
  const row = permissions[position];
  return row && { row: { ...row }, position };
}

function ofGroup({ reads, answer: { ruleId } }: OriginSources): Origin | undefined {
  const [, id, index] = /^group:(.+)\/(\d+)$/s.exec(ruleId) ?? [];
  const group = id === undefined ? undefined : reads.group(id);
  const position = Number(index);
  const row = group?.permissions[position];
  if (group === undefined || row === undefined) return undefined;
  const { name, updatedRevision: revision } = group;
  return { type: 'group', id: group.id, name, row: { ...row }, position, revision };
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
function ofDefault({ reads, credential, answer }: OriginSources): Origin | undefined {
  if (answer.ruleId !== 'default') return undefined;
  // What is not of the tables is the credential's own: its patterns, roles or groups.
  const closed = answer.opinions.some((one) => one.authority !== 'acl' && one.verdict === 'deny');
  if (closed) return { ...credentialOrigin(credential), row: { ...credential.access } };
  const { noMatch, updatedRevision } = reads.settings();
  const revision = updatedRevision === 0 ? {} : { revision: updatedRevision };
  return { type: 'settings', id: 'settings', row: { noMatch }, ...revision };
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
