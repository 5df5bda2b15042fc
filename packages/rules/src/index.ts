export { aclRuleId, assemblePolicy, canonicalPolicyText, type PolicySources } from './assemble.ts';
export { attributeNames } from './attribute-names.ts';
export { check, type Opinion, PLAIN_TERMS, termsOf } from './check.ts';
export { type CompiledPolicy, compilePolicy, POLICY_RULES_MAX } from './compile.ts';
export { checkSubscribe, checkUnsubscribe, COVERAGE_STEPS_MAX } from './coverage.ts';
export { CONNECTION_ROWS_MAX, GroupMembership } from './groups.ts';
export {
  dynsecDefaultFor,
  dynsecDefaultOf,
  dynsecRuleId,
  type DynsecRoleSource,
  type DynsecSource,
  dynsecWildcardRuleId,
  rankedDynsecRoles,
} from './dynsec-authority.ts';
export { explain, type Explanation } from './explain.ts';
export {
  LINT_NAMES_MAX,
  LINT_ROWS_MAX,
  type LintCode,
  type LintFinding,
  type LintList,
  type LintReport,
  lintRules,
} from './lint/lint.ts';
export type { LintAuthority, LintPolicy } from './lint/authorities.ts';
export {
  followingRows,
  lintAclTable,
  lintDynsecRole,
  lintGroup,
  lintPolicy,
  lintRole,
} from './lint/lists.ts';
export { mappingRules } from './lint/mapping.ts';
export type { KnownFacts, LintRule } from './lint/rows.ts';
export { checkRequest, grantingPermission, type HttpRequest } from './may-request.ts';
export {
  dynsecObjectsOf,
  policySources,
  type ReadSources,
  type SourceReads,
} from './policy-sources.ts';
export { publishedTopic } from './published-topic.ts';
export { asksForAddress, rowsFor, rowsKey } from './row-conditions.ts';
export type { RoleSource } from './roles-authority.ts';
export {
  type Action,
  type ApplyMode,
  type AuthoritySpec,
  type Condition,
  type Decision,
  DEFAULT_ZONE,
  type Facts,
  type Matcher,
  type PolicySpec,
  PROOF_METHODS,
  type ProofMethod,
  type Qos,
  type RuleSpec,
  type SubscribeDecision,
  type Terms,
} from './policy-spec.ts';
