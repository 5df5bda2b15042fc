import { parsePlaceholder } from '@sallyport/domain';
import { levelsOf as split, matches, parseTopicPattern } from '@sallyport/topic';
import type {
  Action,
  AuthoritySpec,
  Decision,
  Facts,
  PolicySpec,
  Qos,
  RuleSpec,
  Terms,
} from '../policy-spec.ts';

const known = new Map<string, readonly string[]>();
const KNOWN_MAX = 10_000;

/** As in the package of topics; here the same few texts come again and again. */
function levelsOf(text: string): readonly string[] {
  const found = known.get(text) ?? split(text);
  if (known.size < KNOWN_MAX) known.set(text, found);
  return found;
}

/** One question about one topic; `filter` is what is subscribed to, for `subscribe` only. */
export interface PlainQuestion {
  readonly facts: Facts;
  readonly action: Action;
  readonly topic: string;
  readonly terms: Terms;
  readonly filter?: string;
  /** Whether the subscription is, or for `receive` may be, to a filter with wildcards. */
  readonly wildcard?: boolean;
}

/** Whether a filter holds a wildcard. */
const isWildcard = (filter: string): boolean => /[+#]/.test(filter);

/** Every way of subscribing, at QoS 0 to a plain filter first. */
const WAYS = [false, true].flatMap((wildcard) =>
  [false, true].flatMap((shared) =>
    ([0, 1, 2] as const).map((qos) => ({ wildcard, terms: { qos, retain: false, shared } })),
  ),
);

/** The answer read off the specification: one rule after the other, one topic, no index and no cache. */
export function plainDecision(spec: PolicySpec, question: PlainQuestion): Decision {
  if (question.action !== 'receive') return decisionAt(spec, question);
  const answers = WAYS.map((way) => decisionAt(spec, { ...question, ...way }));
  return answers.find((one) => one.allowed) ?? answers[0] ?? { allowed: false, ruleId: 'default' };
}

/** The answer to a SUBSCRIBE by asking about each of the topics, which should hold every class that the rules tell apart. */
export function plainSubscribe(
  spec: PolicySpec,
  subscribed: {
    readonly facts: Facts;
    readonly filter: string;
    readonly qos: Qos;
    readonly shared?: boolean;
  },
  topics: readonly string[],
): { readonly allowed: boolean; readonly checkDeliveries: boolean } {
  const { facts, filter, qos, shared = false } = subscribed;
  const terms = { qos, retain: false, shared };
  const wildcard = isWildcard(filter);
  const levels = levelsOf(filter);
  const matched = topics.filter((topic) => matches(levels, levelsOf(topic)));
  const allowedBy = (policy: PolicySpec, action: Action): boolean[] =>
    matched.map(
      (topic) => plainDecision(policy, { facts, action, topic, terms, filter, wildcard }).allowed,
    );
  const whole = allowedBy(spec, 'subscribe');
  const asText = { facts, action: 'subscribe', topic: filter, terms, filter, wildcard } as const;
  const text = byText(spec, asText);
  if (spec.superuser && !filter.startsWith('$')) return { allowed: true, checkDeliveries: false };
  if (whole.every((one) => one)) {
    return { allowed: true, checkDeliveries: allowedBy(spec, 'receive').includes(false) };
  }
  if (!whole.includes(true)) return { allowed: false, checkDeliveries: false };
  const granted =
    allowedBy(text, 'subscribe').every((one) => one) ||
    allowedBy(withoutDenies(text), 'subscribe').every((one) => one);
  const byRule = spec.authorities.some((one) => one.subscribeByRule === true);
  const checked = !byRule || allowedBy(spec, 'receive').includes(false);
  return { allowed: granted, checkDeliveries: granted && checked };
}

/** The answer to an UNSUBSCRIBE: the first rule of each authority whose filter holds the whole of what is asked. */
export function plainUnsubscribe(
  spec: PolicySpec,
  {
    facts,
    filter,
    shared,
  }: { readonly facts: Facts; readonly filter: string; readonly shared: boolean },
): Decision {
  if (
    !spec.authorities.some((one) => one.rules.some((rule) => rule.actions.includes('unsubscribe')))
  ) {
    return { allowed: true, ruleId: spec.superuser ? 'superuser' : 'default' };
  }
  if (spec.superuser) return { allowed: true, ruleId: 'superuser' };
  const terms = { qos: 0, retain: false, shared } as const;
  const wildcard = isWildcard(filter);
  const deciding = spec.authorities.flatMap(
    (one) =>
      one.rules.find((rule) => {
        const question = {
          facts,
          action: 'unsubscribe',
          topic: filter,
          terms,
          filter,
          wildcard,
        } as const;
        return isAsked(rule, question) && holdsFilter(rule, question);
      }) ?? [],
  );
  const rule = deciding.find((one) => one.effect === 'deny') ?? deciding[0];
  return { allowed: rule?.effect !== 'deny', ruleId: rule?.ruleId ?? 'default' };
}

/** Whether a rule matches every topic of a filter, or its text. */
function holdsFilter(rule: RuleSpec, question: PlainQuestion): boolean {
  const { matcher, effect } = rule;
  const { topic: filter, facts } = question;
  const reserved = filter.startsWith('$');
  if (matcher.kind === 'literal') return matcher.text === filter;
  if (matcher.kind === 'any') return effect === 'deny' || !reserved;
  if (matcher.kind === 'pattern') {
    return (effect === 'deny' || !reserved) && patternMatches(rule, question);
  }
  // The empty text is no topic.
  const longer = new Map([
    ['#', '+/#'],
    ['/#', '/+/#'],
  ]);
  const asked = levelsOf(longer.get(filter) ?? filter);
  return holdsLevels(levelsOf(matcher.filter), asked, { facts, effect, reserved });
}

function holdsLevels(
  held: readonly string[],
  asked: readonly string[],
  { facts, effect, reserved }: { facts: Facts; effect: RuleSpec['effect']; reserved: boolean },
): boolean {
  for (const [index, level] of held.entries()) {
    const against = asked[index];
    const wildcards = index > 0 || !reserved;
    if (level === '#') return wildcards;
    if (against === undefined || against === '#') return false;
    if (!holdsLevel(level, against, { facts, effect, wildcards })) return false;
  }
  return held.length === asked.length;
}

function holdsLevel(
  level: string,
  against: string,
  { facts, effect, wildcards }: { facts: Facts; effect: RuleSpec['effect']; wildcards: boolean },
): boolean {
  if (level === '+') return wildcards;
  if (parsePlaceholder(level) === undefined) return level === against;
  const value = valueOf(facts, level);
  if (value === undefined) return effect === 'deny' && wildcards;
  return value === against && (effect === 'deny' || wildcards);
}

function withoutDenies(spec: PolicySpec): PolicySpec {
  const authorities = spec.authorities.map((one) => ({
    ...one,
    rules: one.rules.filter((rule) => rule.effect === 'allow' || rule.ruleId === TEXT_RULE),
  }));
  return { ...spec, authorities };
}

const TEXT_RULE = 'said of the text';

/** Authorities that judge by text say of every topic what they say of the filter as a topic, or else what their rule for all of it says. */
function byText(spec: PolicySpec, question: PlainQuestion): PolicySpec {
  const authorities = spec.authorities.map((one): AuthoritySpec => {
    if (one.subscribeByText !== true && one.subscribeByRule !== true) return one;
    const rule = one.rules.find((candidate) =>
      one.subscribeByRule === true
        ? isAsked(candidate, question) && holdsFilter(candidate, question)
        : ruleMatches(candidate, question),
    );
    if (rule === undefined) return { ...one, rules: [] };
    // A rule that matched a reserved filter opens the topics of that filter.
    const filter = question.topic.startsWith('$') ? '$s/#' : '#';
    const said = { kind: 'filter', filter } as const;
    return {
      ...one,
      rules: [{ ruleId: TEXT_RULE, effect: rule.effect, actions: ['subscribe'], matcher: said }],
    };
  });
  return { ...spec, authorities };
}

function decisionAt(spec: PolicySpec, question: PlainQuestion): Decision {
  const reserved = question.topic.startsWith('$');
  if (reserved && question.action === 'publish') return { allowed: false, ruleId: 'guard' };
  if (spec.superuser && !reserved) return { allowed: true, ruleId: 'superuser' };
  const verdicts = spec.authorities.map((one) => opinionOf(one, question));
  const allow = verdicts.find((one) => one.effect === 'allow');
  const denials = verdicts.filter((one) => one.effect === 'deny' && !spec.superuser);
  const ruleDenial = denials.find((one) => one.ruleId !== 'default');
  if (ruleDenial !== undefined) return { allowed: false, ruleId: ruleDenial.ruleId };
  if (reserved && allow === undefined) return { allowed: false, ruleId: 'guard' };
  if (denials.length > 0) return { allowed: false, ruleId: 'default' };
  if (allow !== undefined) return { allowed: true, ruleId: allow.ruleId };
  return { allowed: spec.noMatch === 'allow', ruleId: 'default' };
}

function opinionOf(
  one: AuthoritySpec,
  question: PlainQuestion,
): { readonly effect: string; readonly ruleId: string } {
  const rule = one.rules.find((candidate) => ruleMatches(candidate, question));
  if (rule !== undefined) return rule;
  const opened = one.noMatch === 'allow' && question.topic.startsWith('$');
  return { effect: opened ? 'abstain' : one.noMatch, ruleId: 'default' };
}

/** Whether a rule is about what is asked, topics aside. */
function isAsked(rule: RuleSpec, { action, terms, wildcard = false }: PlainQuestion): boolean {
  if (!rule.actions.includes(action)) return false;
  const { qos, retain, shared, wildcard: ofWildcards } = rule.when ?? {};
  if (action !== 'unsubscribe' && qos?.includes(terms.qos) === false) return false;
  const is = (wanted: boolean | undefined, found: boolean) => (wanted ?? found) === found;
  if (action === 'publish') return is(retain, terms.retain);
  return is(shared, terms.shared ?? false) && is(ofWildcards, wildcard);
}

function ruleMatches(rule: RuleSpec, question: PlainQuestion): boolean {
  if (!isAsked(rule, question)) return false;
  const { topic } = question;
  const reserved = topic.startsWith('$');
  switch (rule.matcher.kind) {
    case 'any':
      return rule.effect === 'deny' || !reserved;
    case 'pattern':
      return (rule.effect === 'deny' || !reserved) && patternMatches(rule, question);
    case 'literal':
      return literalMatches(rule.matcher.text, rule, question);
    default:
      return filterMatches(rule.matcher.filter, rule, question);
  }
}

function patternMatches(rule: RuleSpec, { action, topic, filter }: PlainQuestion): boolean {
  const parsed = rule.matcher.kind === 'pattern' && parseTopicPattern(rule.matcher.pattern);
  if (parsed === false || !parsed.ok) throw new Error('not a pattern');
  const pattern = parsed.value;
  if (action === 'subscribe' || action === 'unsubscribe') return pattern.matches(filter ?? topic);
  const admitted = action === 'receive' && rule.effect === 'allow' && pattern.admits(topic);
  return pattern.matches(topic) || admitted;
}

function literalMatches(
  text: string,
  rule: RuleSpec,
  { action, topic, filter }: PlainQuestion,
): boolean {
  const levels = levelsOf(text);
  const wildcards = levels.includes('+') || levels.includes('#');
  if (!wildcards) return topic === text;
  if (action === 'subscribe') return filter === text;
  return action === 'receive' && rule.effect === 'allow' && matches(levels, levelsOf(topic));
}

function filterMatches(filter: string, rule: RuleSpec, { facts, topic }: PlainQuestion): boolean {
  const names = levelsOf(topic);
  // Only a level that is written with a `$` opens reserved topics; a placeholder is not.
  if (topic.startsWith('$') && rule.effect === 'allow' && !/^\$(?!\{)/.test(filter)) return false;
  let possible = true;
  const resolved = levelsOf(filter).map((level, index) => {
    if (parsePlaceholder(level) === undefined) return level;
    const value = valueOf(facts, level);
    if (value === undefined && rule.effect === 'allow') possible = false;
    if (value === undefined) return '+';
    // A resolved value is compared, never interpreted.
    return value === names[index] ? value : `not ${names[index]}`;
  });
  return possible && matches(resolved, names);
}

/** The level with every placeholder replaced; undefined when one of them cannot stand in a level. */
function valueOf(facts: Facts, level: string): string | undefined {
  let usable = true;
  const value = level.replaceAll(/\$\{(.*?)\}/g, (_, name: string) => {
    if (name === '$') return '$';
    const fact = factOf(facts, name);
    if (fact === undefined || fact === '' || /[/+#\0]/.test(fact)) usable = false;
    return fact ?? '';
  });
  return usable ? value : undefined;
}

function factOf(facts: Facts, placeholder: string): string | undefined {
  if (placeholder === 'clientid') return facts.clientId;
  if (placeholder === 'username') return facts.username;
  if (placeholder === 'cert_common_name') return facts.certificate?.commonName;
  if (placeholder === 'zone') return facts.zone ?? 'default';
  const name = placeholder.slice('client_attrs.'.length);
  return new Map(Object.entries(facts.attributes ?? {})).get(name);
}
