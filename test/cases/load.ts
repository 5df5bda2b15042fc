import { readdirSync, readFileSync } from 'node:fs';
import {
  type AccessSpec,
  type AclRule,
  type AclTable,
  type AclTarget,
  type CredentialMatch,
  DEFAULT_SETTINGS,
  type Group,
  type GroupPermission,
  type GroupRule,
  mapCertificate,
  type NewDynsecGroup,
  type NewDynsecObject,
  type NewDynsecRole,
  type Role,
  type SettingValues,
} from '@sallyport/domain';
import {
  type Action,
  type Facts,
  GroupMembership,
  type PolicySources,
  type Qos,
  type Terms,
} from '@sallyport/rules';

/** One question and its answer. */
export interface Expectation {
  readonly action: Action;
  /** A topic name, or for `subscribe` and `unsubscribe` a filter. */
  readonly topic: string;
  readonly allowed: boolean;
  /** Where it matters which rule decides; rows are numbered from 1 in their table: `acl:everyone/1`. */
  readonly ruleId?: string;
  /** Only for `subscribe`, where it matters. */
  readonly checkDeliveries?: boolean;
  /** Of the message, or asked for by the SUBSCRIBE; 0 when left out. */
  readonly qos?: Qos;
  /** Of the message; false when left out. */
  readonly retain?: boolean;
  /** For filters: whether it is asked as one of `$share`; false when left out. */
  readonly shared?: boolean;
  /** Only for `publish`: the topic that it is published under, where that is another; it is what `allowed` speaks of. */
  readonly publishes?: string;
  /** Only for `publish`, and of interest over MQTT only: how the topic gets there. */
  readonly by?: 'alias' | 'will';
}

/** A row of a table; its rule id is its number, from 1. */
export type Row = Omit<AclRule, 'ruleId'>;

/**
 * A decision case: who connects, what was set up, and what must be answered. The same cases are asked of the rules alone
 * and of whole systems. A new case is a new entry of a JSON file, titled for what it claims.
 */
export interface DecisionCase {
  readonly title: string;
  /** Absent: access by ACL tables, and no superuser. */
  readonly credential?: {
    readonly access?: AccessSpec;
    readonly superuser?: boolean;
    readonly attributes?: Readonly<Record<string, string>>;
    /** How it is found, where not by the username or else the client id. */
    readonly match?: CredentialMatch;
  };
  /** Roles that exist; the credential has those that its access names. */
  readonly roles?: readonly Pick<Role, 'id' | 'permissions'>[];
  /** For the client id and the username of `facts`, and for everyone. */
  readonly tables: {
    readonly client?: readonly Row[];
    readonly username?: readonly Row[];
    readonly everyone?: readonly Row[];
  };
  /** What differs from the defaults. */
  readonly settings?: Partial<SettingValues>;
  readonly facts: {
    readonly clientId: string;
    readonly username?: string;
    readonly certificate?: {
      readonly commonName?: string;
      readonly fingerprintSha256?: string;
      /** From the certificate itself upwards; just its own when left out. */
      readonly chainCommonNames?: readonly string[];
    };
    /** `tcp:default` when left out. */
    readonly listener?: string;
    /** Of that listener; over MQTT that of `ws:default` is `hall-7`, of the others `default`. */
    readonly zone?: string;
    /** `address:port`; not known when left out. */
    readonly peer?: string;
  };
  /** Why the control plane does not let it be, where that is so: an older log may hold it all the same. */
  readonly rulesOnly?: string;
  /** Why it cannot be asked over gRPC, or over MQTT, where that is so. Nothing else leaves a case out. */
  readonly grpc?: string;
  readonly mqtt?: string;
  /** Groups by their ids, and the rules that say who has them; for credentials with access by groups. */
  readonly groups?: {
    readonly rows: Readonly<Record<string, readonly GroupPermission[]>>;
    readonly rules: readonly Omit<GroupRule, 'id'>[];
  };
  /** Roles and groups of dynamic security by their ids, which are their names too; for credentials with that kind of access. */
  readonly dynsec?: {
    readonly roles: Readonly<
      Record<
        string,
        Pick<NewDynsecRole, 'acls'> & Partial<Pick<NewDynsecRole, 'allowWildcardSubs'>>
      >
    >;
    readonly groups?: Readonly<Record<string, Pick<NewDynsecGroup, 'roles'>>>;
  };
  readonly expectations: readonly Expectation[];
}

/** The id of the credential in every case: rule ids of its patterns hold it. */
export const CASE_CREDENTIAL_ID = 'credential-1';

const keysOf: Readonly<
  Record<
    'case' | 'expectation' | 'row' | 'groups' | 'permission' | 'rule' | 'dynsec' | 'role' | 'acl',
    readonly string[]
  >
> = {
  case: [
    'title',
    'credential',
    'roles',
    'tables',
    'settings',
    'facts',
    'groups',
    'dynsec',
    'rulesOnly',
    'grpc',
    'mqtt',
    'expectations',
  ],
  expectation: [
    'action',
    'topic',
    'allowed',
    'ruleId',
    'checkDeliveries',
    'qos',
    'retain',
    'shared',
    'publishes',
    'by',
  ],
  row: [
    ...['effect', 'action', 'topicFilter', 'literal', 'any', 'qos', 'retain'],
    ...['shared', 'wildcard', 'clientIdPattern', 'usernamePattern', 'source', 'listener'],
    ...['zone', 'listenerPattern', 'zonePattern'],
  ],
  groups: ['rows', 'rules'],
  permission: ['permission', 'action', 'topic'],
  rule: ['matchBy', 'value', 'groups'],
  dynsec: ['roles', 'groups'],
  role: ['acls', 'allowWildcardSubs'],
  acl: ['aclType', 'topic', 'priority', 'allow'],
};

/** A case, with the file that it comes from. */
export type FiledCase = DecisionCase & { readonly file: string };

/** Why a case is not asked in one of the ways; undefined where it is. */
export const leftOut = (one: DecisionCase, way: 'grpc' | 'mqtt'): string | undefined =>
  one.rulesOnly ?? one[way];

/** What finds the credential of a case: a name that no credential can have finds none. */
export function matchOf({ credential, facts }: DecisionCase): CredentialMatch {
  const { clientId, username = '' } = facts;
  const nameable = username !== '' && !username.includes('\u0000');
  return credential?.match ?? (nameable ? { username } : { clientId });
}

/** All cases of this folder, each with the file that it comes from. */
export function loadDecisionCases(): readonly FiledCase[] {
  const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.json'));
  return files.sort().flatMap((file) => {
    const text = readFileSync(`${import.meta.dirname}/${file}`, 'utf8');
    const cases = JSON.parse(text) as readonly DecisionCase[]; // Checked for misspelt keys below, and by being run.
    return cases.map((one) => {
      checkKeys(one, file);
      return { ...one, file };
    });
  });
}

/** A misspelt key would be a case that claims less than it seems to. */
function checkKeys(one: DecisionCase, file: string): void {
  const check = (kind: keyof typeof keysOf, value: object): void => {
    for (const key of Object.keys(value)) {
      if (!keysOf[kind].includes(key)) throw new Error(`${file}: ${one.title}: unknown key ${key}`);
    }
  };
  check('case', one);
  for (const expectation of one.expectations) check('expectation', expectation);
  for (const rows of Object.values(one.tables)) for (const row of rows) check('row', row);
  if (one.groups !== undefined) {
    check('groups', one.groups);
    for (const rows of Object.values(one.groups.rows)) {
      for (const row of rows) check('permission', row);
    }
    for (const rule of one.groups.rules) check('rule', rule);
  }
  if (one.dynsec !== undefined) {
    check('dynsec', one.dynsec);
    for (const role of Object.values(one.dynsec.roles)) {
      check('role', role);
      for (const acl of role.acls) check('acl', acl);
    }
  }
  if (one.expectations.length === 0) throw new Error(`${file}: ${one.title}: expects nothing`);
}

/** What of an expectation is the answer. */
export function answerOf(expectation: Expectation): object {
  const { allowed, ruleId, checkDeliveries } = expectation;
  return {
    allowed,
    ...(ruleId !== undefined && { ruleId }),
    ...(checkDeliveries !== undefined && { checkDeliveries }),
  };
}

/** How an expectation publishes or subscribes. */
export const termsOfExpectation = ({ qos = 0, retain = false, shared }: Expectation): Terms => ({
  qos,
  retain,
  ...(shared !== undefined && { shared }),
});

/** What the policy of a case is assembled from. */
export function policySources(one: DecisionCase): PolicySources {
  const facts = factsOf(one.facts);
  const { access = { kind: 'acl' }, superuser = false } = one.credential ?? {};
  const mapped = access.kind === 'mapping' && mapCertificate(access, facts);
  return {
    facts,
    credential: { id: CASE_CREDENTIAL_ID, store: 'native', access, superuser },
    ...(mapped && { mapped }),
    tables: tablesOf(one),
    ...(one.groups && { groups: groupsOf(one, one.groups) }),
    dynsec: dynsecObjects(one),
    settings: { ...DEFAULT_SETTINGS, ...one.settings },
    roles: one.roles ?? [],
  };
}

/** Objects of dynamic security as commands add them: roles before the groups that name them. */
export function dynsecObjects({ dynsec }: DecisionCase): readonly NewDynsecObject[] {
  const roles = Object.entries(dynsec?.roles ?? {}).map(([id, role]): NewDynsecObject => ({
    ...{ kind: 'role', id, name: id, description: '', allowWildcardSubs: true },
    ...role,
  }));
  const groups = Object.entries(dynsec?.groups ?? {}).map(([id, group]): NewDynsecObject => ({
    ...{ kind: 'group', id, name: id, description: '' },
    ...group,
  }));
  return [...roles, ...groups];
}

function tablesOf({ facts, tables }: DecisionCase): PolicySources['tables'] {
  const { clientId, username: name = '' } = facts;
  const { client, username, everyone } = tables;
  return {
    client: client && tableOf({ kind: 'client', name: clientId }, client),
    username: username && tableOf({ kind: 'username', name }, username),
    everyone: everyone && tableOf({ kind: 'everyone' }, everyone),
  };
}

/** The facts of a case as a connection has them: what it does not say of a certificate does not matter to it. */
export function factsOf({ certificate, ...known }: DecisionCase['facts']): Facts {
  if (certificate === undefined) return { listener: 'tcp:default', ...known };
  const { commonName } = certificate;
  return {
    listener: 'ssl:default',
    ...known,
    certificate: {
      fingerprintSha256: '00'.repeat(32),
      chainCommonNames: commonName === undefined ? [] : [commonName],
      ...certificate,
    },
  };
}

/** The groups that the connection of a case has by its rules. */
function groupsOf(
  { facts }: DecisionCase,
  { rows, rules }: NonNullable<DecisionCase['groups']>,
): readonly Group[] {
  const numbered = rules.map((rule, index) => ({ ...rule, id: String(index + 1) }));
  const ids = new GroupMembership({ rules: numbered }).groupsOf(factsOf(facts), CASE_CREDENTIAL_ID);
  return ids.map((id) => ({
    id,
    name: id,
    description: '',
    permissions: rows[id] ?? [],
    permissionRevisions: (rows[id] ?? []).map(() => 1),
    createdAt: 0,
    createdRevision: 1,
    updatedAt: 0,
    updatedRevision: 1,
  }));
}

function tableOf(target: AclTarget, rows: readonly Row[]): AclTable {
  const rules = rows.map((row, index) => ({ ...row, ruleId: String(index + 1) }));
  return { target, rules, ruleRevisions: rules.map(() => 1), updatedAt: 0, updatedRevision: 1 };
}
