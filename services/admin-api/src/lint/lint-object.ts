import type { AclTarget, Credential, DecisionReads } from '@sallyport/domain';
import {
  assemblePolicy,
  type AuthoritySpec,
  GroupMembership,
  type KnownFacts,
  type LintAuthority,
  lintPolicy,
  type LintReport,
  mappingRules,
  policySources,
} from '@sallyport/rules';

/** A connection that is supposed, for the rules of one credential. */
export interface SupposedClient {
  readonly clientId: string;
  readonly username?: string | undefined;
  readonly listener: string;
}

/** What the rules of a credential are made from. */
export type LintReads = Pick<
  DecisionReads,
  'aclTable' | 'role' | 'group' | 'groupRules' | 'dynsecObject' | 'settings'
>;

/**
 * Of a credential's own access, its roles included; with a client also of the ACL tables and groups that this one would have, and of what
 * these say beside its access. Its address and certificate are not known.
 */
export function lintCredential(
  reads: LintReads,
  credential: Credential,
  client?: SupposedClient,
): LintReport {
  const { clientId, username } = client ?? credential.match;
  const known: KnownFacts = {
    attributes: credential.attributes,
    ...(clientId !== undefined && { clientId }),
    ...(username === undefined ? client && { username: null } : { username }),
  };
  const facts = {
    clientId: clientId ?? '',
    listener: client?.listener ?? '',
    ...(username !== undefined && { username }),
  };
  const membership = new GroupMembership(client === undefined ? { rules: [] } : reads.groupRules());
  const sources = policySources(reads, credential, facts, (...asked) =>
    membership.groupsOf(...asked),
  );
  const tables = client === undefined ? {} : sources.tables;
  const { authorities, superuser } = assemblePolicy({ ...sources, tables });
  const asLinted = authorities.map((one): LintAuthority => linted(one, credential));
  return lintPolicy({ superuser, authorities: asLinted }, known);
}

/** Which entries of a mapping apply, and whether there are more groups, is up to the certificate. */
function linted(authority: AuthoritySpec, { id, access }: Credential): LintAuthority {
  if (authority.name === 'groups') return { ...authority, incomplete: true };
  if (authority.name !== 'credential' || access.kind !== 'mapping') return authority;
  return { ...authority, rules: mappingRules(id, access) };
}

/** What the id of an ACL table names, as `aclTargetKey` has it; undefined for what is none. */
export function targetOfKey(key: string): AclTarget | undefined {
  if (key === 'everyone') return { kind: 'everyone' };
  const [, kind, name] = /^(client|username):(.+)$/s.exec(key) ?? [];
  if (name === undefined) return undefined;
  return kind === 'client' ? { kind, name } : { kind: 'username', name };
}
