import type {
  AclRule,
  Credential,
  Group,
  GroupRule,
  Permission,
  Role,
  SettingValues,
} from '@sallyport/domain';
import type { Action, Decision, Facts, Qos } from '../policy-spec.ts';
import { type DynsecRow, dynsecRows, type DynsecWorld } from './dynsec-oracle.ts';

/**
 * The answers of the documents, read off the objects of the domain with nothing of the code that answers for real: its own match of
 * topics, addresses, names and expressions, one object after the other, one topic at a time.
 */

/** A regular expression whose meaning is written down by hand: `<cn>` of it stands where `${cn}` does in its source. */
export interface KnownPattern {
  readonly source: string;
  /** For JavaScript, where it means the same. */
  readonly same: string;
  /** Filters whose texts it was written for. */
  readonly filters: readonly string[];
}

export interface WorldRow extends Pick<AclRule, 'effect' | 'action' | 'topicFilter'> {
  readonly kind: 'filter' | 'literal' | 'any';
  readonly qos?: readonly Qos[];
  readonly retain?: boolean;
  readonly shared?: boolean;
  readonly wildcard?: boolean;
  readonly clientIdPattern?: string;
  readonly usernamePattern?: string;
  readonly source?: string;
  readonly listener?: string;
  readonly zone?: string;
  readonly listenerPattern?: string;
  readonly zonePattern?: string;
}

/** Everything that decides about one connection, as it is stored. */
export interface RandomWorld {
  readonly credential: Pick<Credential, 'id' | 'store' | 'access' | 'superuser' | 'attributes'>;
  readonly facts: Facts;
  readonly roles: readonly Pick<Role, 'id' | 'permissions'>[];
  readonly groups: readonly Pick<Group, 'id' | 'permissions'>[];
  readonly groupRules: readonly GroupRule[];
  readonly dynsec: DynsecWorld;
  readonly tables: Readonly<Record<'client' | 'username' | 'everyone', readonly WorldRow[]>>;
  readonly settings: SettingValues;
  /** Every expression that its objects may hold, by its source. */
  readonly patterns: ReadonlyMap<string, KnownPattern>;
}

export interface WorldQuestion {
  readonly action: Action;
  readonly topic: string;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly shared: boolean;
  readonly wildcard: boolean;
  /** Of a SUBSCRIBE or UNSUBSCRIBE. */
  readonly filter?: string;
}

/** What one authority says; undefined where it abstains. */
type Said = Decision | undefined;

const DEFAULT_DENY: Decision = { allowed: false, ruleId: 'default' };

const isReserved = (topic: string): boolean => topic.startsWith('$');
const allow = (ruleId: string): Decision => ({ allowed: true, ruleId });

const splitTexts = new Map<string, readonly string[]>();

function split(text: string): readonly string[] {
  let levels = splitTexts.get(text);
  if (levels === undefined) splitTexts.set(text, (levels = text.split('/')));
  return levels;
}

/** Whether a filter matches a topic. @source MQTT-5.0 §4.7 */
export function filterMatches(filter: string, topic: string): boolean {
  return levelsMatch(split(filter), split(topic), isReserved(topic));
}

function levelsMatch(
  filter: readonly string[],
  topic: readonly string[],
  reserved: boolean,
): boolean {
  const first = filter[0];
  if (reserved && (first === '+' || first === '#')) return false;
  for (let index = 0; index < filter.length; index++) {
    const level = filter[index];
    if (level === '#') return topic.length >= index;
    if (index >= topic.length) return false;
    if (level !== '+' && level !== topic[index]) return false;
  }
  return filter.length === topic.length;
}

const matchedTopics = new Map<string, readonly string[]>();

/** Of the same topics every time: few filters are asked about, again and again. */
function matchedBy(filter: string, topics: readonly string[]): readonly string[] {
  let found = matchedTopics.get(filter);
  if (found === undefined) {
    found = topics.filter((topic) => filterMatches(filter, topic));
    matchedTopics.set(filter, found);
  }
  return found;
}

/** The value that a placeholder stands for; undefined where it is not one level that can be compared. */
function placeholderValue(world: RandomWorld, level: string): string | undefined {
  const value = rawValue(world, level);
  return value === undefined || value === '' || /[/+#\0]/.test(value) ? undefined : value;
}

function rawValue({ credential, facts }: RandomWorld, level: string): string | undefined {
  if (level === '${clientid}') return facts.clientId;
  if (level === '${username}') return facts.username;
  if (level === '${cert_common_name}') return facts.certificate?.commonName;
  if (level === '${zone}') return facts.zone ?? 'default';
  const name = level.slice('${client_attrs.'.length, -1);
  return Object.entries(credential.attributes).find(([one]) => one === name)?.[1];
}

/** Whether the filter of a rule matches a topic, placeholders resolved (C4) and the guard of reserved topics minded (C1). */
function ruleFilterMatches(
  world: RandomWorld,
  filter: string,
  topic: string,
  effect: 'allow' | 'deny',
): boolean {
  const reserved = isReserved(topic);
  // Only a text that is reserved itself opens what is, whatever the client calls itself.
  const opens = isReserved(filter) && !filter.startsWith('${');
  if (reserved && effect === 'allow' && !opens) return false;
  if (!filter.includes('${')) return filterMatches(filter, topic);
  const names = split(topic);
  const levels = split(filter).map((level, index) => {
    if (!level.startsWith('${')) return level;
    const value = placeholderValue(world, level);
    if (value === undefined) return effect === 'deny' ? '+' : undefined;
    // A value is compared, and never a wildcard.
    return value === names[index] ? value : undefined;
  });
  const found = levels.filter((level) => level !== undefined);
  return found.length === levels.length && levelsMatch(found, names, reserved);
}

const compiled = new Map<string, RegExp>();

function expression(source: string): RegExp {
  let found = compiled.get(source);
  if (found === undefined) compiled.set(source, (found = new RegExp(source, 'u')));
  return found;
}

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

/** What the credential's own access says. */
function credentialSays(world: RandomWorld, question: WorldQuestion, withDenies: boolean): Said {
  const { access } = world.credential;
  switch (access.kind) {
    case 'acl':
      return undefined;
    case 'unrestricted':
      return isReserved(question.topic) ? undefined : allow('credential/unrestricted');
    case 'patterns':
      return patternsSay(world, question);
    case 'mapping':
      return mappingSays(world, question);
    case 'roles':
      return rolesSay(world, question);
    case 'groups':
      return groupsSay(world, question, withDenies);
    case 'dynsec':
      return dynsecSays(world, question, [question.topic]);
  }
}

const directionOf = (action: Action): 'publish' | 'subscribe' =>
  action === 'publish' ? 'publish' : 'subscribe';

function patternsSay(world: RandomWorld, question: WorldQuestion): Decision {
  const { access, id } = world.credential;
  if (access.kind !== 'patterns') return DEFAULT_DENY;
  const direction = directionOf(question.action);
  const index = access[direction].findIndex((one) => patternAllows(world, one, '', question));
  return index < 0 ? DEFAULT_DENY : allow(`credential:${id}/${direction}/${index}`);
}

/** Patterns never open reserved topics. Of a filter its text counts; a delivery may also be of a filter that was admitted. */
function patternAllows(
  { patterns }: RandomWorld,
  source: string,
  commonName: string,
  { action, topic, filter }: WorldQuestion,
): boolean {
  const known = patterns.get(source);
  if (known === undefined || isReserved(topic)) return false;
  const program = expression(`^(?:${known.same.replaceAll('<cn>', escaped(commonName))})$`);
  if (action === 'subscribe') return program.test(filter ?? topic);
  if (program.test(topic)) return true;
  if (action !== 'receive') return false;
  return known.filters.some((one) => filterMatches(one.replaceAll('<cn>', commonName), topic));
}

function mappingSays(world: RandomWorld, question: WorldQuestion): Decision {
  const { access, id } = world.credential;
  const [name = ''] = world.facts.certificate?.chainCommonNames ?? [];
  if (access.kind !== 'mapping' || name === '') return DEFAULT_DENY;
  const { keywordPattern } = access;
  const keyword =
    keywordPattern === undefined ? undefined : expression(keywordPattern).exec(name)?.[1];
  const direction = directionOf(question.action);
  for (const [place, entry] of access.entries.entries()) {
    const applies =
      keywordPattern === undefined ? expression(entry.key).test(name) : entry.key === keyword;
    if (!applies) continue;
    const index = entry[direction].findIndex(
      (one) =>
        !(one.includes('${cn}') && /[/+#\0]/.test(name)) &&
        patternAllows(world, one, name, question),
    );
    if (index >= 0) return allow(`credential:${id}/entries/${place}/${direction}/${index}`);
  }
  return DEFAULT_DENY;
}

const operationsOf = {
  publish: ['write', 'readWrite'],
  subscribe: ['read', 'readWrite'],
} as const satisfies Record<string, readonly Permission['operation'][]>;

function rolesSay(world: RandomWorld, { action, topic }: WorldQuestion): Decision {
  const { access, id } = world.credential;
  if (access.kind !== 'roles') return DEFAULT_DENY;
  const wanted: readonly string[] = operationsOf[directionOf(action)];
  const held = world.roles.filter((one) => access.roles.includes(one.id));
  const named = [
    ...held
      .toSorted((one, other) => (one.id < other.id ? -1 : 1))
      .map((one) => [`role:${one.id}/`, one.permissions] as const),
    [`credential:${id}/permission/`, access.permissions] as const,
  ];
  for (const [source, permissions] of named) {
    const found = permissions.find(
      ({ context, operation, resource }) =>
        context === 'mqtt' &&
        wanted.includes(operation) &&
        ruleFilterMatches(world, resource, topic, 'allow'),
    );
    if (found !== undefined) return allow(source + found.id);
  }
  return DEFAULT_DENY;
}

/** Found once for each world. */
const known = {
  groups: new WeakMap<RandomWorld, readonly string[]>(),
  rows: new WeakMap<RandomWorld, readonly NamedRow[]>(),
  dynsec: new WeakMap<RandomWorld, readonly DynsecRow[]>(),
};

/** Ids of the groups of the connection, sorted. */
function groupsOf(world: RandomWorld): readonly string[] {
  let found = known.groups.get(world);
  if (found === undefined) known.groups.set(world, (found = findGroups(world)));
  return found;
}

function findGroups({ groupRules, facts, credential }: RandomWorld): readonly string[] {
  const matching = groupRules.filter(({ matchBy, value }) => {
    if (matchBy === 'credential') return value === credential.id;
    if (matchBy === 'client_id') {
      const parts = value.split('*').map(escaped);
      return expression(`^${parts.join('[^]*')}$`).test(facts.clientId);
    }
    return value === facts.certificate?.fingerprintSha256;
  });
  return [...new Set(matching.flatMap(({ groups }) => groups))].sort();
}

/** Any deny row of any group overrides every allow row. */
function groupsSay(
  world: RandomWorld,
  { action, topic }: WorldQuestion,
  withDenies: boolean,
): Decision {
  const direction = directionOf(action);
  const ids = groupsOf(world);
  for (const effect of ['deny', 'allow'] as const) {
    if (effect === 'deny' && !withDenies) continue;
    for (const id of ids) {
      const rows = world.groups.find((one) => one.id === id)?.permissions ?? [];
      const index = rows.findIndex(
        (row) =>
          row.permission === effect &&
          row.action === direction &&
          ruleFilterMatches(world, row.topic, topic, effect),
      );
      if (index >= 0) return { allowed: effect === 'allow', ruleId: `group:${id}/${index}` };
    }
  }
  return DEFAULT_DENY;
}

const dynsecDefaults = {
  publish: 'dynsecPublishClientSend',
  receive: 'dynsecPublishClientReceive',
  subscribe: 'dynsecSubscribe',
  unsubscribe: 'dynsecUnsubscribe',
} as const satisfies Record<Action, keyof SettingValues>;

/** What the first row says that speaks of all of these topics, or of the text of the filter; else the default (C3.5). */
function dynsecSays(
  world: RandomWorld,
  question: WorldQuestion,
  topics: readonly string[],
): Decision {
  const { access } = world.credential;
  if (access.kind !== 'dynsec') return DEFAULT_DENY;
  let rows = known.dynsec.get(world);
  if (rows === undefined) known.dynsec.set(world, (rows = dynsecRows(world.dynsec, access)));
  const { action } = question;
  const found = rows.find(
    (row) =>
      row.action === action && topics.every((topic) => dynsecMatches(world, row, question, topic)),
  );
  if (found !== undefined) return { allowed: found.allow, ruleId: found.ruleId };
  const setting = dynsecDefaults[action];
  const allowed = world.settings[setting] === 'allow';
  const ruleId = `dynsec/default/${setting}`;
  // Only a refusal is a default of UNSUBSCRIBE, and of all others only what is allowed.
  if (action === 'unsubscribe') return allowed ? DEFAULT_DENY : { allowed, ruleId };
  return allowed && !topics.some(isReserved) ? allow(ruleId) : DEFAULT_DENY;
}

function dynsecMatches(
  world: RandomWorld,
  { kind, topic: text, allow: allowing }: DynsecRow,
  { filter, wildcard }: WorldQuestion,
  topic: string,
): boolean {
  if (kind === 'wildcards') return wildcard;
  if (kind === 'literal') return filter === text || topic === text;
  const levels = split(text).map((level) => {
    if (level === '%c') return '${clientid}';
    return level === '%u' ? '${username}' : level;
  });
  return ruleFilterMatches(world, levels.join('/'), topic, allowing ? 'allow' : 'deny');
}

interface NamedRow {
  readonly ruleId: string;
  readonly row: WorldRow;
}

/** The rows that are for this connection, in the order in which they are asked. */
function rowsOf(world: RandomWorld): readonly NamedRow[] {
  if (!world.settings.aclEnabled) return [];
  const { clientId, username } = world.facts;
  const { client, username: ofUsername, everyone } = world.tables;
  const lists = [
    [`acl:client:${clientId}`, client],
    [`acl:username:${username}`, username === undefined ? [] : ofUsername],
    ['acl:everyone', everyone],
  ] as const;
  return lists.flatMap(([source, rows]) =>
    rows
      .map((row, index) => ({ row, ruleId: `${source}/${index + 1}` }))
      .filter(({ row }) => isFor(row, world.facts)),
  );
}

function isFor(row: WorldRow, facts: Facts): boolean {
  const { clientId, username, listener, zone = 'default', peer } = facts;
  if (row.listener !== undefined && row.listener !== listener) return false;
  if (row.zone !== undefined && row.zone !== zone) return false;
  const searched = [
    [row.clientIdPattern, clientId],
    [row.usernamePattern, username],
    [row.listenerPattern, listener],
    [row.zonePattern, zone],
  ] as const;
  for (const [pattern, text] of searched) {
    if (pattern === undefined) continue;
    if (text === undefined || !expression(pattern).test(text)) return false;
  }
  return row.source === undefined || comesFrom(row, peer);
}

/** Of networks whose prefix is whole numbers of the address, and of all of IPv6. */
function comesFrom({ source = '', effect }: WorldRow, peer: string | undefined): boolean {
  if (peer === undefined) return effect === 'deny';
  if (peer.startsWith('[')) return source === '::/0';
  if (source === '::/0') return false;
  const [network = '', bits = '32'] = source.split('/');
  const numbers = Number(bits) / 8;
  const address = peer.slice(0, peer.lastIndexOf(':')).split('.');
  return address.slice(0, numbers).join('.') === network.split('.').slice(0, numbers).join('.');
}

const actionsOf = {
  publish: ['publish'],
  subscribe: ['subscribe', 'receive'],
  unsubscribe: ['unsubscribe'],
  all: ['publish', 'subscribe', 'receive'],
} as const satisfies Record<WorldRow['action'], readonly Action[]>;

const agrees = (wanted: boolean | undefined, found: boolean): boolean =>
  wanted === undefined || wanted === found;

/** Whether a row speaks of what is asked, topics aside. */
function speaksOf(row: WorldRow, question: WorldQuestion): boolean {
  const actions: readonly Action[] = actionsOf[row.action];
  const { action, qos, retain, shared, wildcard } = question;
  if (!actions.includes(action)) return false;
  if (row.qos !== undefined && action !== 'unsubscribe' && !row.qos.includes(qos)) return false;
  if (action === 'publish') return agrees(row.retain, retain);
  return agrees(row.shared, shared) && agrees(row.wildcard, wildcard);
}

function rowMatches(world: RandomWorld, row: WorldRow, question: WorldQuestion): boolean {
  const { action, topic, filter } = question;
  const { kind, topicFilter, effect } = row;
  if (kind === 'any') return effect === 'deny' || !isReserved(topic);
  if (kind === 'filter') return ruleFilterMatches(world, topicFilter, topic, effect);
  if (!/(^|\/)[+#](\/|$)/.test(topicFilter)) return topic === topicFilter;
  if (action === 'subscribe') return filter === topicFilter;
  // Who could subscribe to just that is sent what it matches.
  return action === 'receive' && effect === 'allow' && filterMatches(topicFilter, topic);
}

function rowsSay(world: RandomWorld, question: WorldQuestion, withDenies: boolean): Said {
  const found = rowsOf(world).find(
    ({ row }) =>
      (withDenies || row.effect === 'allow') &&
      speaksOf(row, question) &&
      rowMatches(world, row, question),
  );
  return found && { allowed: found.row.effect === 'allow', ruleId: found.ruleId };
}

/** C1: any deny denies, else any allow allows, else the setting. What is reserved only a rule of its own opens. */
function combined(world: RandomWorld, topic: string, said: readonly Said[]): Decision {
  const { superuser } = world.credential;
  const reserved = isReserved(topic);
  const guard = { allowed: false, ruleId: 'guard' };
  if (superuser && !reserved) return allow('superuser');
  const allowing = said.find((one) => one?.allowed === true);
  const denials = superuser ? [] : said.filter((one) => one?.allowed === false);
  const byRule = denials.find((one) => one?.ruleId !== 'default');
  if (byRule !== undefined) return byRule;
  if (reserved && allowing === undefined) return guard;
  const denied = denials[0];
  if (denied !== undefined) return denied;
  return allowing ?? { allowed: world.settings.noMatch === 'allow', ruleId: 'default' };
}

function decisionAt(world: RandomWorld, question: WorldQuestion, withDenies = true): Decision {
  const { topic } = question;
  const said = [credentialSays(world, question, withDenies), rowsSay(world, question, withDenies)];
  return combined(world, topic, said);
}

const WAYS = [false, true].flatMap((wildcard) =>
  [false, true].flatMap((shared) => ([0, 1, 2] as const).map((qos) => ({ wildcard, shared, qos }))),
);

/** A message on a topic: published as it is (prefix and all), or delivered to whoever might have subscribed in some way. */
export function decideMessage(
  world: RandomWorld,
  action: 'publish' | 'receive',
  topic: string,
  { qos, retain }: { readonly qos: Qos; readonly retain: boolean },
): Decision {
  const question = { action, topic, qos, retain, shared: false, wildcard: false };
  if (action === 'publish') {
    if (isReserved(topic)) return { allowed: false, ruleId: 'guard' };
    return decisionAt(world, question);
  }
  const plain = decisionAt(world, { ...question, qos: 0 });
  if (plain.allowed) return plain;
  for (const way of WAYS) {
    const decision = decisionAt(world, { ...question, ...way });
    if (decision.allowed) return decision;
  }
  return plain;
}

/** C5, and C3.2 where tables judge by text. `topics`: every class that the rules tell apart. */
export function decideSubscribe(
  world: RandomWorld,
  filter: string,
  { qos, shared }: { readonly qos: Qos; readonly shared: boolean },
  topics: readonly string[],
): { readonly allowed: boolean; readonly checkDeliveries: boolean } {
  const wildcard = /[+#]/.test(filter);
  const question = { action: 'subscribe', qos, retain: false, shared, wildcard, filter } as const;
  const matched = matchedBy(filter, topics);
  if (world.credential.superuser && !isReserved(filter)) {
    return { allowed: true, checkDeliveries: false };
  }
  const way = { qos: 0, retain: false } as const;
  const kept = () => matched.some((topic) => !decideMessage(world, 'receive', topic, way).allowed);
  const answers = matched.map((topic) => decisionAt(world, { ...question, topic }).allowed);
  if (!answers.includes(false)) {
    return { allowed: true, checkDeliveries: kept() };
  }
  const granted = answers.includes(true) && isGranted(world, question, matched);
  return { allowed: granted, checkDeliveries: granted && (!byOneRow(world) || kept()) };
}

/** Whether one row of dynamic security must speak of all topics: of what it denies otherwise nothing is kept back at delivery. */
const byOneRow = ({ credential }: RandomWorld): boolean => credential.access.kind === 'dynsec';

/** Whether nothing but deny rules stands in the way; the tables may say one thing of all topics, by the filter's text. */
function isGranted(
  world: RandomWorld,
  question: Omit<WorldQuestion, 'topic'>,
  matched: readonly string[],
): boolean {
  const { filter = '' } = question;
  const byText = world.settings.aclSubscribeMatch === 'text';
  const asText = { ...question, topic: filter };
  const text = byText ? rowsSay(world, asText, true) : undefined;
  return [true, false].some((withDenies) =>
    matched.every((topic) => {
      const asked = { ...question, topic };
      const rows = byText ? text : rowsSay(world, asked, withDenies);
      const own = byOneRow(world)
        ? dynsecSays(world, asked, matched)
        : credentialSays(world, asked, withDenies);
      return combined(world, topic, [own, rows]).allowed;
    }),
  );
}

/** Allowed unless the first row that speaks of the whole filter denies it. */
export function decideUnsubscribe(
  world: RandomWorld,
  filter: string,
  shared: boolean,
  topics: readonly string[],
): Decision {
  const rows = rowsOf(world);
  if (world.credential.superuser) return allow('superuser');
  const wildcard = /[+#]/.test(filter);
  const question = {
    ...({ action: 'unsubscribe', qos: 0, retain: false, shared, wildcard, filter } as const),
    topic: filter,
  };
  const matched = matchedBy(filter, topics);
  const whole = ({ kind, topicFilter, effect }: WorldRow): boolean => {
    if (kind === 'literal') return topicFilter === filter;
    if (kind === 'any') return effect === 'deny' || !isReserved(filter);
    return matched.every((topic) => ruleFilterMatches(world, topicFilter, topic, effect));
  };
  const found = rows.find(({ row }) => speaksOf(row, question) && whole(row));
  const ofRows = found && { allowed: found.row.effect === 'allow', ruleId: found.ruleId };
  const own = byOneRow(world) ? dynsecSays(world, question, matched) : undefined;
  // Whatever is usual, nothing but a rule speaks of it.
  const said = [own?.ruleId === 'default' ? undefined : own, ofRows];
  return said.find((one) => one?.allowed === false) ?? said.find((one) => one) ?? allow('default');
}
