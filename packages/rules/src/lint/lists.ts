import {
  type AclRule,
  type AclTable,
  aclTargetKey,
  CONNECTION_CONDITIONS,
  type ConnectionCondition,
  type Group,
  type SettingValues,
} from '@sallyport/domain';
import { aclRule } from '../assemble.ts';
import {
  dynsecRoleRules,
  type DynsecRoleSource,
  dynsecRuleId,
  isDynsecSetting,
} from '../dynsec-authority.ts';
import { groupsAuthority } from '../groups.ts';
import { type RoleSource, rolesAuthority } from '../roles-authority.ts';
import { lintBeside, type LintPolicy } from './authorities.ts';
import { lintRules, type LintReport } from './lint.ts';
import type { KnownFacts, LintRule } from './rows.ts';

type TableSource = Pick<AclTable, 'target' | 'rules'>;
type TableSettings = Pick<SettingValues, 'aclSubscribeMatch'>;

/** The rows of the table for everyone, as they follow those of a username. */
export function followingRows(everyone: TableSource | undefined): readonly LintRule[] {
  if (everyone === undefined) return [];
  const key = aclTargetKey(everyone.target);
  return everyone.rules.map((row) => lintRuleOf(key, row));
}

/**
 * Of one table by itself: of others nothing is known but that they may come before. Only that for everyone comes behind the rows of each
 * username, and nothing between them; between those of a client id and it there may be any of a username.
 */
export function lintAclTable(
  { target, rules }: TableSource,
  { aclSubscribeMatch }: TableSettings,
  everyone: readonly LintRule[] = [],
): LintReport {
  const key = aclTargetKey(target);
  return lintRules(
    {
      rules: rules.map((row) => lintRuleOf(key, row)),
      noMatch: 'abstain',
      ...(aclSubscribeMatch === 'text' && { subscribeByText: true }),
      ...(target.kind !== 'client' && { preceded: true }),
      ...(target.kind === 'username' && { followed: everyone }),
    },
    knownOf(target),
  );
}

function knownOf(target: AclTable['target']): KnownFacts {
  if (target.kind === 'everyone') return {};
  return target.kind === 'client' ? { clientId: target.name } : { username: target.name };
}

function lintRuleOf(key: string, row: AclRule): LintRule {
  const connection: ConnectionCondition = Object.fromEntries(
    CONNECTION_CONDITIONS.flatMap((name) => (row[name] === undefined ? [] : [[name, row[name]]])),
  );
  return { ...aclRule(key, row), ...(Object.keys(connection).length > 0 && { connection }) };
}

/** Of one group by itself, whichever others a connection has beside it. Positions are those of its rows. */
export function lintGroup(group: Pick<Group, 'id' | 'permissions'>): LintReport {
  const { rules } = groupsAuthority([group]);
  // What other groups allow is not known; their deny rows come before, and never allow anything.
  const report = lintRules({ rules, noMatch: 'abstain' });
  return placed(report, (ruleId) => Number(ruleId.slice(ruleId.lastIndexOf('/') + 1)));
}

/** Of one role by itself, its permissions of MQTT. Positions are those among all of them. */
export function lintRole(role: RoleSource): LintReport {
  const access = { kind: 'roles', roles: [role.id], permissions: [] } as const;
  const { rules } = rolesAuthority('', access, [role]);
  const report = lintRules({ rules, noMatch: 'abstain' });
  const positions = new Map(
    role.permissions.map(({ id }, index) => [`role:${role.id}/${id}`, index]),
  );
  return placed(report, (ruleId) => positions.get(ruleId) ?? 0);
}

/**
 * Of one role of dynamic security by itself, whichever others a connection has before and behind it. Positions are those of its rows, and
 * topics are written as these are; `allowWildcardSubs` is in the way of rows, and is none.
 */
export function lintDynsecRole(role: DynsecRoleSource): LintReport {
  const { acls } = role;
  const { findings, examined } = lintRules({
    ...{ rules: dynsecRoleRules(role), noMatch: 'abstain', subscribeByRule: true },
  });
  const positions = new Map(acls.map((_, index) => [dynsecRuleId(role.id, index), index]));
  const rows = findings.flatMap((one) => {
    const position = positions.get(one.ruleId);
    const topic = position === undefined ? undefined : acls[position]?.topic;
    return position === undefined || topic === undefined ? [] : [{ ...one, position, topic }];
  });
  rows.sort((one, other) => one.position - other.position);
  return { findings: rows, rules: acls.length, examined: Math.min(examined, acls.length) };
}

/** Of what one connection is judged by, each authority by itself, and then beside the others. Positions are those in the authority's list; what stands for a setting is in the way of rows, and is none. */
export function lintPolicy(policy: LintPolicy, known: KnownFacts): LintReport {
  const beside = lintBeside(policy, known);
  const reports = policy.authorities.map((one, index) => {
    const report = lintRules(one, known);
    const found = new Set(report.findings.map((finding) => finding.position));
    const more = (beside[index] ?? []).filter((finding) => !found.has(finding.position));
    return placed({ ...report, findings: [...report.findings, ...more] });
  });
  return {
    findings: reports.flatMap((one) => one.findings).filter((one) => !isDynsecSetting(one.ruleId)),
    examined: reports.reduce((sum, one) => sum + one.examined, 0),
    rules: reports.reduce((sum, one) => sum + one.rules, 0),
  };
}

function placed(report: LintReport, positionOf?: (ruleId: string) => number): LintReport {
  const findings = report.findings
    .map((one) => ({ ...one, position: positionOf?.(one.ruleId) ?? one.position }))
    .sort((one, other) => one.position - other.position);
  return { ...report, findings };
}
