import { unreachable } from '@sallyport/errors';
import { parseKeywordPattern, parseTopicFilter, topicProblemText } from '@sallyport/topic';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import { parseIpAddress, parseIpNetwork } from './ip-address.ts';
import { checkPlaceholders } from './placeholder.ts';
import { Problems } from './text.ts';

/** Most rules of one target. */
export const ACL_RULES_MAX = 1000;

/** Most regular expressions of one target: each is searched whenever somebody connects whom the target is about. */
export const ACL_PATTERNS_MAX = 100;

/** For whom a list of rules is: one client id, one username, or everyone. Evaluated in this order. */
export type AclTarget =
  | { readonly kind: 'client'; readonly name: string }
  | { readonly kind: 'username'; readonly name: string }
  | { readonly kind: 'everyone' };

/** What a row can ask of the QoS of a message or of a subscription. */
export type RuleQos = 0 | 1 | 2;

/** One row; within a target the first row whose action, filter and conditions match decides. */
export interface AclRule {
  readonly ruleId: string;
  readonly effect: 'allow' | 'deny';
  /** `all` is publishing and subscribing; UNSUBSCRIBE is allowed unless a row for it denies it. */
  readonly action: 'publish' | 'subscribe' | 'unsubscribe' | 'all';
  /** An MQTT filter; a level may be one of `PLACEHOLDERS`. */
  readonly topicFilter: string;
  /**
   * The filter is a text that a topic, or the filter of a SUBSCRIBE, must be equal to: `${clientid}` in it is no placeholder,
   * and the row for `a/#` speaks of whoever subscribes to just that.
   */
  readonly literal?: true;
  /** Beside the filter `#` only: topics that start with `$` too. */
  readonly any?: true;
  /** Of the message, or asked for by the SUBSCRIBE; every QoS when left out. Not empty. */
  readonly qos?: readonly RuleQos[];
  /** Of messages that are published; says nothing of a SUBSCRIBE. */
  readonly retain?: boolean;
  /** Whether the filter of a SUBSCRIBE or UNSUBSCRIBE is one of `$share/…`; both when left out. */
  readonly shared?: boolean;
  /** Whether it holds a `+` or `#`; both when left out. */
  readonly wildcard?: boolean;
  /** Regular expressions that are searched in the client id and the username; who has no username has none that fits. */
  readonly clientIdPattern?: string;
  readonly usernamePattern?: string;
  /** An address or `address/prefix` that the connection comes from. */
  readonly source?: string;
  /** Name of the listener that it came in by. */
  readonly listener?: string;
  /** The zone of that listener. */
  readonly zone?: string;
  /** Regular expressions that are searched in those two names. */
  readonly listenerPattern?: string;
  readonly zonePattern?: string;
}

/** What a row may ask of the connection; a row without any of it is for everybody whom its target is about. */
export const CONNECTION_CONDITIONS = [
  'clientIdPattern',
  'usernamePattern',
  'source',
  'listener',
  'zone',
  'listenerPattern',
  'zonePattern',
] as const satisfies readonly (keyof AclRule)[];

export type ConnectionCondition = Pick<AclRule, (typeof CONNECTION_CONDITIONS)[number]>;

export interface AclTable {
  readonly target: AclTarget;
  readonly rules: readonly AclRule[];
  /** For each of the rules, the revision that it is there since as it is. */
  readonly ruleRevisions: readonly Revision[];
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

export type AclTableEvent =
  | {
      readonly type: 'AclRulesReplaced';
      readonly data: {
        readonly target: AclTarget;
        readonly rules: readonly AclRule[];
        /** Of a list without rules: there is one all the same. */
        readonly keptEmpty?: true;
      };
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
  const keptEmpty = event.type === 'AclRulesReplaced' && event.data.keptEmpty === true;
  if (rules.length === 0 && !keptEmpty) return undefined;
  return {
    target: event.data.target,
    rules,
    ruleRevisions: evolveRevisions(state, rules, context.revision),
    updatedAt: context.at,
    updatedRevision: context.revision,
  };
}

/** A rule that was there before, the same in every member, keeps the revision that it had. */
function evolveRevisions(
  state: AclTable | undefined,
  rules: readonly AclRule[],
  revision: Revision,
): readonly Revision[] {
  const before = new Map(state?.rules.map((rule, index) => [rule.ruleId, index]));
  return rules.map((rule) => {
    const index = before.get(rule.ruleId);
    if (index === undefined || !sameRule(state?.rules[index], rule)) return revision;
    return state?.ruleRevisions[index] ?? revision;
  });
}

function sameRule(one: AclRule | undefined, other: AclRule): boolean {
  if (one === other) return true;
  return one !== undefined && ruleText(one) === ruleText(other);
}

/** Whatever members a rule has, in one order. */
const ruleText = (rule: AclRule): string =>
  JSON.stringify(Object.entries(rule).sort(([one], [other]) => (one < other ? -1 : 1)));

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
      readonly data: Targeted & {
        readonly rules: readonly AclRule[];
        /** A list without rules is kept: who asks for it finds one. It is gone with the last rule that is removed later. */
        readonly keepEmpty?: boolean;
      };
    }
  | {
      readonly type: 'AddAclRule';
      readonly data: Targeted & {
        readonly rule: AclRule;
        readonly position?: number;
        /** What becomes of it when the target has such a rule (`presentRule`). Absent: only its id may not be there. */
        readonly existing?: 'refuse' | 'keep' | 'update';
      };
    }
  | { readonly type: 'RemoveAclRule'; readonly data: Targeted & { readonly ruleId: string } }
  | { readonly type: 'RemoveAclRules'; readonly data: Targeted };

/** The rule of a target that another one would come beside: of the same id, else one that says the same. O(rules). */
export function presentRule(table: AclTable | undefined, rule: AclRule): AclRule | undefined {
  const rules = table?.rules ?? [];
  const { ruleId, topicFilter } = rule;
  return (
    rules.find((one) => one.ruleId === ruleId) ??
    rules.find((one) => one.topicFilter === topicFilter && sameRule({ ...one, ruleId }, rule))
  );
}

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
      return decideReplace(target, command.data);
    case 'AddAclRule':
      return decideAddRule(table, command.data);
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

function decideReplace(
  target: AclTarget,
  { rules, keepEmpty = false }: Extract<AclTableCommand, { type: 'ReplaceAclRules' }>['data'],
): Decided<AclTableEvent> {
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
  const kept = keepEmpty && rules.length === 0 && { keptEmpty: true as const };
  return (
    refusedPatterns(rules, (index) => `/rules/${index}`) ??
    accept<AclTableEvent>({ type: 'AclRulesReplaced', data: { target, rules, ...kept } })
  );
}

type AddRule = Extract<AclTableCommand, { type: 'AddAclRule' }>['data'];

function decideAddRule(table: AclTable | undefined, data: AddRule): Decided<AclTableEvent> {
  const { target, rule, existing } = data;
  const rules = table?.rules ?? [];
  const { position = rules.length } = data;
  const problems = new Problems();
  checkTarget(problems, target);
  checkRule(problems, '', rule);
  checkPosition(problems, position, rules.length);
  if (problems.found.length > 0) return reject('acl_rule_invalid', { problems: problems.found });
  const present = presentRule(table, rule);
  if (present !== undefined && (existing !== undefined || present.ruleId === rule.ruleId)) {
    return decidePresent(data, rules, rules.indexOf(present));
  }
  if (rules.length >= ACL_RULES_MAX) return tooMany();
  const refused = refusedPattern(rules.toSpliced(position, 0, rule), position);
  return refused ?? accept({ type: 'AclRuleAdded', data: { target, rule, position } });
}

function checkPosition(problems: Problems, position: number, most: number): void {
  if (Number.isInteger(position) && position >= 0 && position <= most) return;
  problems.add('/position', `must be a whole number from 0 to ${most}`);
}

/** What of a row is a regular expression. */
const ROW_PATTERNS = [
  'clientIdPattern',
  'usernamePattern',
  'listenerPattern',
  'zonePattern',
] as const satisfies readonly (keyof ConnectionCondition)[];

const patternsOf = (rule: AclRule) =>
  ROW_PATTERNS.flatMap((name) => {
    const pattern = rule[name];
    return pattern === undefined ? [] : [[name, pattern] as const];
  });

/** Expressions that cannot be searched in linear time, and more of them than there may be; `pointerOf` tells those that are new. */
function refusedPatterns(
  rules: readonly AclRule[],
  pointerOf: (index: number) => string | undefined,
): ReturnType<typeof reject> | undefined {
  const problems = new Problems();
  let count = 0;
  for (const [index, rule] of rules.entries()) {
    const pointer = pointerOf(index);
    for (const [name, pattern] of patternsOf(rule)) {
      count++;
      if (pointer === undefined) continue;
      const parsed = parseKeywordPattern(pattern);
      if (!parsed.ok) problems.add(`${pointer}/${name}`, parsed.problem);
    }
  }
  if (problems.found.length > 0) return reject('pattern_invalid', { problems: problems.found });
  if (count <= ACL_PATTERNS_MAX) return undefined;
  return reject('too_many_acl_rules', {
    detail: `A target has at most ${ACL_PATTERNS_MAX} regular expressions.`,
  });
}

/** Of the list with a new rule at a position. */
const refusedPattern = (rules: readonly AclRule[], position: number) =>
  refusedPatterns(rules, (index) => (index === position ? '' : undefined));

function decidePresent(
  { target, rule, existing = 'refuse' }: AddRule,
  rules: readonly AclRule[],
  position: number,
): Decided<AclTableEvent> {
  if (existing === 'refuse') return reject('acl_rule_exists');
  const same = sameRule({ ...rules[position], ruleId: rule.ruleId } as AclRule, rule);
  if (existing === 'keep' || same) return accept();
  const refused = refusedPattern(rules.toSpliced(position, 1, rule), position);
  return refused ?? replaceRule(target, rule, position);
}

/** In its place. */
const replaceRule = (target: AclTarget, rule: AclRule, position: number): Decided<AclTableEvent> =>
  accept<AclTableEvent>(
    { type: 'AclRuleRemoved', data: { target, ruleId: rule.ruleId } },
    { type: 'AclRuleAdded', data: { target, rule, position } },
  );

const tooMany = (): ReturnType<typeof reject> =>
  reject('too_many_acl_rules', { detail: `A target has at most ${ACL_RULES_MAX} rules.` });

function checkTarget(problems: Problems, target: AclTarget): void {
  if (target.kind !== 'everyone') problems.text('/target', target.name);
}

function checkRule(problems: Problems, pointer: string, rule: AclRule): void {
  problems.text(`${pointer}/ruleId`, rule.ruleId, 64);
  const parsed = parseTopicFilter(rule.topicFilter);
  if (!parsed.ok) problems.add(`${pointer}/topicFilter`, topicProblemText[parsed.problem]);
  if (rule.literal !== true) {
    checkPlaceholders(problems, `${pointer}/topicFilter`, rule.topicFilter);
  }
  if (rule.any === true && (rule.topicFilter !== '#' || rule.literal === true)) {
    problems.add(`${pointer}/any`, 'must stand beside the filter # and without literal');
  }
  checkQos(problems, `${pointer}/qos`, rule.qos);
  checkTerms(problems, pointer, rule);
  checkConnection(problems, pointer, rule);
}

/** A condition that is not looked at would seem to narrow the rule. */
function checkTerms(problems: Problems, pointer: string, rule: AclRule): void {
  const { action, qos, retain, shared, wildcard } = rule;
  const filters = action === 'subscribe' || action === 'unsubscribe';
  if (retain !== undefined && filters) {
    problems.add(`${pointer}/retain`, 'must not stand in a rule that speaks of subscribing only');
  }
  if (qos !== undefined && action === 'unsubscribe') {
    problems.add(`${pointer}/qos`, 'must not stand in a rule that speaks of unsubscribing');
  }
  for (const [name, value] of Object.entries({ shared, wildcard })) {
    if (value === undefined || filters) continue;
    problems.add(`${pointer}/${name}`, 'must stand in a rule that speaks of filters only');
  }
}

function checkConnection(
  problems: Problems,
  pointer: string,
  condition: ConnectionCondition,
): void {
  const { source, listener, zone } = condition;
  for (const name of ROW_PATTERNS) {
    if (condition[name] === '') problems.add(`${pointer}/${name}`, 'must not be empty');
  }
  if (source !== undefined && !isSource(source)) {
    problems.add(`${pointer}/source`, 'must be an address, or address/prefix');
  }
  if (listener !== undefined) problems.text(`${pointer}/listener`, listener, 64);
  if (zone !== undefined) problems.text(`${pointer}/zone`, zone, 64);
}

const isSource = (text: string): boolean =>
  (text.includes('/') ? parseIpNetwork(text) : parseIpAddress(text)) !== undefined;

function checkQos(problems: Problems, pointer: string, qos: AclRule['qos']): void {
  if (qos === undefined) return;
  if (qos.length === 0 || qos.some((one) => ![0, 1, 2].includes(one))) {
    problems.add(pointer, 'must hold at least one of 0, 1 and 2');
  }
  if (new Set(qos).size < qos.length) problems.add(pointer, 'must hold nothing twice');
}
