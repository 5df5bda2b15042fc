import { createHash } from 'node:crypto';
import { unreachable } from '@sallyport/errors';
import {
  type AclTable,
  aclTag,
  type AclTarget,
  applyModeOf,
  authChainTagsOf,
  carriesMatch,
  certificateTag,
  type Credential,
  credentialTag,
  type DecisionReads,
  dynsecTagsOf,
  GROUP_RULES_TAG,
  type GroupRules,
  groupTag,
  isLive,
  isRevoked,
  liveTokens,
  loginKeysOf,
  loginTag,
  type MappedPatterns,
  namesOwnClientId,
  PATTERNS_TAG,
  type Role,
  rolesOf,
  roleTag,
  SETTINGS_TAG,
  unboundCertificateOf,
} from '@sallyport/domain';
import { ANONYMOUS_ID, type Principal, type Resolved } from '@sallyport/policy-client';
import {
  asksForAddress,
  assemblePolicy,
  attributeNames,
  canonicalPolicyText,
  type Facts,
  GroupMembership,
  policySources,
  type PolicySpec,
  type ReadSources,
  rowsKey,
} from '@sallyport/rules';
import { ANONYMOUS, anonymousIsLetIn } from './anonymous.ts';
import { fits } from './candidates.ts';
import { chainAdmits, type ChainLookup } from './chains.ts';
import { endOf, entryOf, type SecretMethod } from './entry.ts';

/** Most assembled policies that are kept. */
export const ASSEMBLED_POLICIES_MAX = 10_000;

export interface ResolvedPolicy {
  readonly resolved: Resolved;
  readonly policy: PolicySpec;
}

/** Assembles the policy of a principal from the objects that it depends on. Synchronous, at the reads' revision. */
export class PolicyResolver {
  readonly #model: { readonly reads: DecisionReads };
  // Keys hold the revision of every part, so an entry is never stale; equal parts share one policy object.
  readonly #assembled = new Map<string, PolicySpec>();
  readonly #attributeNames = new WeakMap<PolicySpec, readonly string[]>();
  #membership: { readonly of: GroupRules; readonly compiled: GroupMembership } | undefined;

  constructor(model: { readonly reads: DecisionReads }) {
    this.#model = model;
  }

  get #reads(): DecisionReads {
    return this.#model.reads;
  }

  /** A credential as it is now, stored or that of an unbound certificate. */
  credential(id: string): Credential | undefined {
    return this.#reads.credential(id) ?? unboundCertificateOf(id);
  }

  /** The policy of a principal at this moment, or undefined when it may not be connected (any more). */
  resolve(principal: Principal, at: number): ResolvedPolicy | undefined {
    if (isRevoked(this.#reads, principal.facts.certificate?.fingerprintSha256)) return undefined;
    if (principal.credentialId === ANONYMOUS_ID) {
      if (!anonymousIsLetIn(this.#reads, principal.facts)) return undefined;
      return this.policyOf(ANONYMOUS, principal);
    }
    const credential = this.credential(principal.credentialId);
    if (credential === undefined || !mayStay(this.#reads, credential, principal, at)) {
      return undefined;
    }
    return this.policyOf(credential, principal);
  }

  /** The policy of a principal whose credential was just found to admit it. */
  policyOf(credential: Credential, principal: Principal): ResolvedPolicy {
    const { facts } = principal;
    const targets = aclTargetsOf(facts);
    const sources = policySources(this.#reads, credential, facts, this.#groupIdsOf);
    const { tables, groupIds, dynsec } = sources;
    const policy = this.#assemble(credential, sources);
    const secretExpiresAt = endOf(credential, principal);
    const expiry = secretExpiresAt === undefined ? {} : { secretExpiresAt };
    const tags = [credentialTag(credential.id), SETTINGS_TAG, aclTag({ kind: 'everyone' })];
    tags.push(aclTag(targets.client), ...loginKeysOf(facts).map(loginTag));
    if (facts.certificate !== undefined) tags.push(PATTERNS_TAG);
    if (targets.username !== undefined) tags.push(aclTag(targets.username));
    tags.push(...rolesOf(credential.access).map(roleTag));
    const dynsecGroups = dynsec.filter((one) => one.kind === 'group');
    tags.push(...dynsecTagsOf(credential.access, dynsecGroups));
    if (credential.store === 'emqx') tags.push(...authChainTagsOf(facts.listener));
    tags.push(...this.#certificateTags(facts));
    if (groupIds !== undefined) tags.push(GROUP_RULES_TAG, ...groupIds.map(groupTag));
    const told = groupsTold(groupIds);
    const attributes = this.#attributesFor(policy, credential);
    const byAddress = Object.values(tables).some(asksForAddress) && { byAddress: true as const };
    return {
      policy,
      resolved: {
        policyId: policy.policyId,
        tags,
        ...expiry,
        ...attributes,
        ...told,
        ...byAddress,
        ...limitOf(credential),
      },
    };
  }

  /** Only of a certificate that was made here: no other can be revoked here. */
  #certificateTags({ certificate }: Facts): readonly string[] {
    const fingerprint = certificate?.fingerprintSha256;
    if (fingerprint === undefined) return [];
    return this.#reads.issuedCertificate(fingerprint) === undefined
      ? []
      : [certificateTag(fingerprint)];
  }

  /** Only what the policy looks at, so that most sessions carry none. */
  #attributesFor(policy: PolicySpec, credential: Credential): Pick<Resolved, 'attributes'> {
    let names = this.#attributeNames.get(policy);
    if (names === undefined) this.#attributeNames.set(policy, (names = attributeNames(policy)));
    const entries = names
      .filter((name) => Object.hasOwn(credential.attributes, name))
      .map((name) => [name, credential.attributes[name] ?? ''] as const);
    return entries.length === 0 ? {} : { attributes: Object.fromEntries(entries) };
  }

  readonly #groupIdsOf = (facts: Facts, credentialId: string): readonly string[] => {
    const rules = this.#reads.groupRules();
    if (this.#membership?.of !== rules) {
      this.#membership = { of: rules, compiled: new GroupMembership(rules) };
    }
    return this.#membership.compiled.groupsOf(facts, credentialId);
  };

  #assemble(credential: Credential, sources: ReadSources): PolicySpec {
    const { tables, roles, groups, dynsec, facts, settings, mapped } = sources;
    const anonymous = credential === ANONYMOUS;
    const key = [
      applyModeOf(credential),
      ownKey(credential, { mapped, facts }),
      rolesKey(roles),
      credential.superuser,
      ...Object.values(tables).map((table) => partKey(table) + rowsKey(table, facts)),
      settings.updatedRevision,
      anonymous,
      groups.map((group) => `${group.id}@${group.updatedRevision}`).join(),
      dynsec.map((one) => `${one.kind}:${one.id}@${one.updatedRevision}`).join(),
    ].join('|');
    const known = this.#assembled.get(key);
    if (known !== undefined) return known;
    const assembled = assemblePolicy({
      ...sources,
      // Nobody is who they say here: what no rule allows is denied, whatever is usual for others.
      settings: anonymous ? { ...settings, noMatch: 'deny' } : settings,
    });
    const policyId = createHash('sha256')
      .update(canonicalPolicyText(assembled))
      .digest('base64url');
    const policy: PolicySpec = { policyId, ...assembled };
    this.#remember(key, policy);
    return policy;
  }

  #remember(key: string, policy: PolicySpec): void {
    if (this.#assembled.size >= ASSEMBLED_POLICIES_MAX) {
      const oldest = this.#assembled.keys().next();
      if (oldest.done !== true) this.#assembled.delete(oldest.value);
    }
    this.#assembled.set(key, policy);
  }
}

/** What of a credential its rules are made from: its kind of access, or, where it has rules of its own, itself. */
function ownKey(
  { id, updatedRevision, access }: Credential,
  { mapped, facts }: { readonly mapped?: MappedPatterns | undefined; readonly facts: Facts },
): string {
  switch (access.kind) {
    case 'mapping':
      return `${id}@${updatedRevision}/${JSON.stringify(mapped)}`;
    case 'acl':
    case 'unrestricted':
    case 'groups':
      return access.kind;
    case 'patterns': {
      const own = namesOwnClientId(access) ? JSON.stringify(facts.clientId) : '';
      return `${id}@${updatedRevision}${own}`;
    }
    case 'roles':
      if (access.permissions.length > 0) return `${id}@${updatedRevision}`;
      return `roles:${JSON.stringify(access.publishPrefix ?? '')}`;
    case 'dynsec':
      return `dynsec:${JSON.stringify([access.roles, access.groups])}`;
    default:
      return unreachable(access);
  }
}

/** The same for the same roles in any order. */
const rolesKey = (roles: readonly Role[]): string =>
  JSON.stringify(roles.map(({ id, updatedRevision }) => `${id}@${updatedRevision}`).sort());

const limitOf = ({ sessionsMax = 0 }: Credential): Pick<Resolved, 'sessionsMax'> =>
  sessionsMax === 0 ? {} : { sessionsMax };

const groupsTold = (ids: readonly string[] = []): Pick<Resolved, 'groups'> =>
  ids.length === 0 ? {} : { groups: ids };

const partKey = (table: AclTable | undefined): string =>
  table === undefined ? '' : `${JSON.stringify(table.target)}@${table.updatedRevision}`;

function aclTargetsOf(facts: Facts): { client: AclTarget; username: AclTarget | undefined } {
  return {
    client: { kind: 'client', name: facts.clientId },
    username: facts.username === undefined ? undefined : { kind: 'username', name: facts.username },
  };
}

/**
 * Whether a credential still admits who came in by it: meant for such a CONNECT, in a chain that asks it, matching as it must, and its
 * secret not ended.
 */
function mayStay(
  reads: ChainLookup & Pick<DecisionReads, 'settings'>,
  credential: Credential,
  { facts, secretId }: Principal,
  at: number,
): boolean {
  if (!chainAdmits(reads, credential, facts) || !fits(credential, facts)) return false;
  if (!carriesMatch(facts, credential.match)) return false;
  const entry = entryOf(credential, facts, at);
  if (!entry.ok) return false;
  if (secretId === undefined) return !entry.secret;
  const mayBe = (method: SecretMethod): boolean => !entry.secret || entry.by.includes(method);
  if (liveTokens(credential, at).some(({ tokenId }) => tokenId === secretId)) {
    return mayBe('token') && reads.settings().tokensAsPasswords;
  }
  const secret = credential.secrets.find((one) => one.secretId === secretId);
  return mayBe('password') && secret !== undefined && isLive(secret, at);
}
