import { unreachable } from '@sallyport/errors';
import { parseTopicFilter, topicProblemText } from '@sallyport/topic';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import { Problems } from './text.ts';

/** Most rules of one target. */
export const ACL_RULES_MAX = 1000;

/** Placeholders that stand for a whole level of a rule's filter. */
export const PLACEHOLDERS = ['${clientid}', '${username}'] as const;

/** For whom a list of rules is: one client id, one username, or everyone. Evaluated in this order. */
export type AclTarget =
  | { readonly kind: 'client'; readonly name: string }
  | { readonly kind: 'username'; readonly name: string }
  | { readonly kind: 'everyone' };

/** One row; within a target the first row whose action and filter match decides. */
export interface AclRule {
  readonly ruleId: string;
  readonly effect: 'allow' | 'deny';
  readonly action: 'publish' | 'subscribe' | 'all';
  /** An MQTT filter; a level may be `${clientid}` or `${username}`. */
  readonly topicFilter: string;
}

export interface AclTable {
  readonly target: AclTarget;
  readonly rules: readonly AclRule[];
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

export type AclTableEvent =
  | {
      readonly type: 'AclRulesReplaced';
      readonly data: { readonly target: AclTarget; readonly rules: readonly AclRule[] };
    }
  | {
      readonly type: 'AclRuleAdded';
      readonly data: {
        readonly target: AclTarget;
        readonly rule: AclRule;
        /** Index at which the rule is inserted. */
        readonly position: number;
      };
    }
  | {
      readonly type: 'AclRuleRemoved';
      readonly data: { readonly target: AclTarget; readonly ruleId: string };
    };

/** One text per target, injective. */
export function aclTargetKey(target: AclTarget): string {
  return target.kind === 'everyone' ? 'everyone' : `${target.kind}:${target.name}`;
}

export function evolveAclTable(
  state: AclTable | undefined,
  event: AclTableEvent,
  context: EventContext,
): AclTable | undefined {
  const rules = evolveRules(state?.rules ?? [], event);
  if (rules.length === 0) return undefined;
  return {
    target: event.data.target,
    rules,
    updatedAt: context.at,
    updatedRevision: context.revision,
  };
}

function evolveRules(rules: readonly AclRule[], event: AclTableEvent): readonly AclRule[] {
  switch (event.type) {
    case 'AclRulesReplaced':
      return event.data.rules;
    case 'AclRuleAdded':
      return rules.toSpliced(event.data.position, 0, event.data.rule);
    case 'AclRuleRemoved':
      return rules.filter((rule) => rule.ruleId !== event.data.ruleId);
    default:
      return unreachable(event);
  }
}

export interface AclTableReads {
  aclTable(target: AclTarget): AclTable | undefined;
}

interface Targeted {
  readonly target: AclTarget;
  /** Refused with `precondition_failed` unless the list was last changed by this revision; 0 means there is none. */
  readonly ifRevision?: Revision;
}

export type AclTableCommand =
  | {
      readonly type: 'ReplaceAclRules';
      readonly data: Targeted & { readonly rules: readonly AclRule[] };
    }
  | {
      readonly type: 'AddAclRule';
      readonly data: Targeted & { readonly rule: AclRule; readonly position?: number };
    }
  | { readonly type: 'RemoveAclRule'; readonly data: Targeted & { readonly ruleId: string } }
  | { readonly type: 'RemoveAclRules'; readonly data: Targeted };

/** Never throws on input. */
export function decideAclTable(
  reads: AclTableReads,
  command: AclTableCommand,
): Decided<AclTableEvent> {
  const { target, ifRevision } = command.data;
  const table = reads.aclTable(target);
  const rules = table?.rules ?? [];
  if (ifRevision !== undefined && ifRevision !== (table?.updatedRevision ?? 0)) {
    return reject('precondition_failed', {
      detail: `The rules were last changed by revision ${table?.updatedRevision ?? 0}.`,
    });
  }
  switch (command.type) {
    case 'ReplaceAclRules':
      return decideReplace(target, command.data.rules);
    case 'AddAclRule':
      return decideAddRule(target, rules, command.data);
    case 'RemoveAclRule':
      if (!rules.some((rule) => rule.ruleId === command.data.ruleId)) {
        return reject('acl_rule_not_found');
      }
      return accept({ type: 'AclRuleRemoved', data: { target, ruleId: command.data.ruleId } });
    case 'RemoveAclRules':
      if (table === undefined) return reject('acl_table_not_found');
      return accept({ type: 'AclRulesReplaced', data: { target, rules: [] } });
    default:
      return unreachable(command);
  }
}

function decideReplace(target: AclTarget, rules: readonly AclRule[]): Decided<AclTableEvent> {
  if (rules.length > ACL_RULES_MAX) return tooMany();
  const problems = new Problems();
  checkTarget(problems, target);
  const seen = new Set<string>();
  for (const [index, rule] of rules.entries()) {
    checkRule(problems, `/rules/${index}`, rule);
    if (seen.has(rule.ruleId)) problems.add(`/rules/${index}/ruleId`, 'is used twice');
    seen.add(rule.ruleId);
  }
  if (problems.found.length > 0) return reject('acl_rule_invalid', { problems: problems.found });
  return accept({ type: 'AclRulesReplaced', data: { target, rules } });
}

function decideAddRule(
  target: AclTarget,
  rules: readonly AclRule[],
  data: { readonly rule: AclRule; readonly position?: number },
): Decided<AclTableEvent> {
  const { rule, position = rules.length } = data;
  const problems = new Problems();
  checkTarget(problems, target);
  checkRule(problems, '', rule);
  if (position < 0 || position > rules.length || !Number.isInteger(position)) {
    problems.add('/position', `must be a whole number from 0 to ${rules.length}`);
  }
  if (problems.found.length > 0) return reject('acl_rule_invalid', { problems: problems.found });
  if (rules.some((one) => one.ruleId === rule.ruleId)) return reject('acl_rule_exists');
  if (rules.length >= ACL_RULES_MAX) return tooMany();
  return accept({ type: 'AclRuleAdded', data: { target, rule, position } });
}

const tooMany = (): ReturnType<typeof reject> =>
  reject('too_many_acl_rules', { detail: `A target has at most ${ACL_RULES_MAX} rules.` });

function checkTarget(problems: Problems, target: AclTarget): void {
  if (target.kind !== 'everyone') problems.text('/target', target.name);
}

function checkRule(problems: Problems, pointer: string, rule: AclRule): void {
  problems.text(`${pointer}/ruleId`, rule.ruleId, 64);
  const parsed = parseTopicFilter(rule.topicFilter);
  if (!parsed.ok) problems.add(`${pointer}/topicFilter`, topicProblemText[parsed.problem]);
  for (const level of rule.topicFilter.split('/')) {
    if (level.includes('${') && !(PLACEHOLDERS as readonly string[]).includes(level)) {
      problems.add(
        `${pointer}/topicFilter`,
        `may contain only the placeholders ${PLACEHOLDERS.join(' and ')}, alone in their level`,
      );
    }
  }
}
