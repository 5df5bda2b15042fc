import {
  type AccessSpec,
  type Credential,
  type DecisionReads,
  type DynsecObject,
  type Group,
  mapCertificate,
  type Role,
  rolesOf,
  type Settings,
} from '@sallyport/domain';
import type { PolicySources } from './assemble.ts';
import type { Facts } from './policy-spec.ts';

/** Where the sources of a policy are read from. */
export type SourceReads = Pick<
  DecisionReads,
  'aclTable' | 'role' | 'group' | 'dynsecObject' | 'settings'
>;

/** All that the rules of one connection are made from, as it is now. */
export interface ReadSources extends PolicySources {
  readonly credential: Credential;
  readonly settings: Settings;
  readonly roles: readonly Role[];
  readonly groups: readonly Group[];
  readonly dynsec: readonly DynsecObject[];
  /** Ids of the groups of the connection, those that are gone included; absent when its access is not by groups. */
  readonly groupIds?: readonly string[];
}

/** Reads what `assemblePolicy` works on. `groupIdsOf` is asked only where access is by groups (`GroupMembership`). */
export function policySources(
  reads: SourceReads,
  credential: Credential,
  facts: Facts,
  groupIdsOf: (facts: Facts, credentialId: string) => readonly string[],
): ReadSources {
  const { clientId, username } = facts;
  const { id, access } = credential;
  const groupIds = access.kind === 'groups' ? groupIdsOf(facts, id) : undefined;
  return {
    credential,
    facts,
    mapped: access.kind === 'mapping' ? mapCertificate(access, facts) : undefined,
    tables: {
      client: reads.aclTable({ kind: 'client', name: clientId }),
      username:
        username === undefined ? undefined : reads.aclTable({ kind: 'username', name: username }),
      everyone: reads.aclTable({ kind: 'everyone' }),
    },
    roles: rolesOf(access)
      .map((role) => reads.role(role))
      .filter((one) => one !== undefined),
    groups: (groupIds ?? []).map((group) => reads.group(group)).filter((one) => one !== undefined),
    dynsec: dynsecObjectsOf(reads, access),
    settings: reads.settings(),
    ...(groupIds !== undefined && { groupIds }),
  };
}

const NO_OBJECTS: readonly DynsecObject[] = [];

/** Objects of dynamic security that an access names, and the roles of its groups; each once, those that are gone left out. */
export function dynsecObjectsOf(
  reads: Pick<SourceReads, 'dynsecObject'>,
  access: AccessSpec,
): readonly DynsecObject[] {
  if (access.kind !== 'dynsec') return NO_OBJECTS;
  const groups = access.groups
    .map(({ group }) => reads.dynsecObject('group', group))
    .filter((one) => one?.kind === 'group');
  const roleIds = [access, ...groups].flatMap(({ roles }) => roles.map(({ role }) => role));
  const roles = [...new Set(roleIds)].map((role) => reads.dynsecObject('role', role));
  return [...groups, ...roles.filter((one) => one !== undefined)];
}
