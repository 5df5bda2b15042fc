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
import { groupsAuthority } from '../groups.ts';
import { type RoleSource, rolesAuthority } from '../roles-authority.ts';
import { lintRules, type LintReport } from './lint.ts';
import type { KnownFacts, LintRule } from './rows.ts';
import type { PolicySpec } from '../policy-spec.ts';

/** Of one table by itself: of others nothing is known but that they may come before. */
export function lintAclTable(
  { target, rules }: Pick<AclTable, 'target' | 'rules'>,
  { aclSubscribeMatch }: Pick<SettingValues, 'aclSubscribeMatch'>,
): LintReport {
  const key = aclTargetKey(target);
  return lintRules(
    {
      rules: rules.map((row) => lintRuleOf(key, row)),
      noMatch: 'abstain',
      ...(aclSubscribeMatch === 'text' && { subscribeByText: true }),
      ...(target.kind !== 'client' && { preceded: true }),
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

/** Of what one connection is judged by, each authority by itself. Positions are those in the authority's list. */
export function lintPolicy(
  { authorities }: Pick<PolicySpec, 'authorities'>,
  known: KnownFacts,
): LintReport {
  const reports = authorities.map((one) => lintRules(one, known));
  return {
    findings: reports.flatMap((one) => one.findings),
    examined: reports.reduce((sum, one) => sum + one.examined, 0),
    rules: reports.reduce((sum, one) => sum + one.rules, 0),
  };
}

function placed(report: LintReport, positionOf: (ruleId: string) => number): LintReport {
  const findings = report.findings
    .map((one) => ({ ...one, position: positionOf(one.ruleId) }))
    .sort((one, other) => one.position - other.position);
  return { ...report, findings };
}
