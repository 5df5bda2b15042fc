import { unreachable } from '@sallyport/errors';
import {
  type AclTable,
  type AclTableEvent,
  type AclTarget,
  aclTargetKey,
  evolveAclTable,
} from './acl-table.ts';
import { type AuthChain, type AuthChainEvent, evolveAuthChain } from './auth-chain.ts';
import { type Ban, type BanEvent, type BanKind, evolveBan, isBanPattern, isOver } from './ban.ts';
import { matchesByPattern } from './certificate-match.ts';
import { type ChainMember, memberKey, memberOf, realmOf } from './chain-member.ts';
import type { Commit, DomainEvent, EventContext } from './commit.ts';
import {
  type Credential,
  type CredentialEvent,
  type CredentialMatch,
  evolveCredential,
  type Store,
} from './credential.ts';
import { loginKey } from './login-keys.ts';
import type { DecisionReads } from './domain.ts';
import { streamOf } from './streams.ts';
import { dynsecKey, type DynsecKind, dynsecNamedBy } from './dynsec/access.ts';
import {
  type DynsecEvent,
  dynsecHeldBy,
  type DynsecObject,
  evolveDynsec,
} from './dynsec/object.ts';
import { evolveImport, type Import, type ImportEvent } from './import.ts';
import { evolveGroup, type Group, type GroupEvent } from './group.ts';
import {
  evolveGroupRules,
  type GroupRules,
  type GroupRulesEvent,
  NO_GROUP_RULES,
} from './group-rules.ts';
import {
  evolveIssuedCertificate,
  type IssuedCertificate,
  type IssuedCertificateEvent,
} from './issued-certificate.ts';
import {
  type ApiKey,
  type ApiKeyEvent,
  evolveApiKey,
  evolveOperator,
  type Operator,
  type OperatorEvent,
  type OperatorOnlyEvent,
} from './operator.ts';
import {
  CLOSED_WINDOW,
  evolveRegistration,
  evolveRegistrationWindow,
  type Registration,
  type RegistrationRequestEvent,
  type RegistrationWindow,
  type RegistrationWindowEvent,
} from './registration.ts';
import { evolveRole, type Role, type RoleEvent } from './role.ts';
import { rolesOf } from './roles-access.ts';
import { evolveSettings, type SettingEvent, type Settings, UNSET_SETTINGS } from './setting.ts';
import { evolveTrust, type TlsListener, type Trust, type TrustEvent } from './trust.ts';

/** The whole domain folded in memory: the reference that other projections are compared with. Lookups are O(n). */
export class MemoryState implements DecisionReads {
  readonly #credentials = new Map<string, Credential>();
  readonly #aclTables = new Map<string, AclTable>();
  readonly #operators = new Map<string, Operator>();
  readonly #apiKeys = new Map<string, ApiKey>();
  readonly #trust = new Map<string, Trust>();
  readonly #roles = new Map<string, Role>();
  readonly #bans = new Map<string, Ban>();
  readonly #imports = new Map<string, Import>();
  readonly #groups = new Map<string, Group>();
  readonly #dynsec = new Map<string, DynsecObject>();
  readonly #authChains = new Map<string, AuthChain>();
  #groupRules: GroupRules = NO_GROUP_RULES;
  readonly #registrations = new Map<string, Registration>();
  readonly #issuedCertificates = new Map<string, IssuedCertificate>();
  #registrationWindow: RegistrationWindow = CLOSED_WINDOW;
  #settings: Settings = UNSET_SETTINGS;

  apply(commit: Pick<Commit, 'revision' | 'at' | 'events'>): void {
    for (const event of commit.events) this.#applyEvent(event, commit);
  }

  #applyEvent(event: DomainEvent, context: EventContext): void {
    const { aggregate, key } = streamOf(event);
    switch (aggregate) {
      case 'credential':
        put(
          this.#credentials,
          key,
          evolveCredential(this.#credentials.get(key), event as CredentialEvent, context),
        );
        break;
      case 'acl-table':
        put(
          this.#aclTables,
          key,
          evolveAclTable(this.#aclTables.get(key), event as AclTableEvent, context),
        );
        break;
      case 'setting':
        this.#settings = evolveSettings(this.#settings, event as SettingEvent, context);
        break;
      case 'operator':
        this.#applyOperator(event as OperatorEvent, key, context);
        break;
      case 'trust':
        put(this.#trust, key, evolveTrust(event as TrustEvent, context));
        break;
      case 'role':
        put(this.#roles, key, evolveRole(this.#roles.get(key), event as RoleEvent, context));
        break;
      case 'ban':
        put(this.#bans, key, evolveBan(this.#bans.get(key), event as BanEvent, context));
        break;
      case 'import':
        this.#imports.set(key, evolveImport(this.#imports.get(key), event as ImportEvent, context));
        break;
      case 'group':
        put(this.#groups, key, evolveGroup(this.#groups.get(key), event as GroupEvent, context));
        break;
      case 'dynsec':
        put(this.#dynsec, key, evolveDynsec(this.#dynsec.get(key), event as DynsecEvent, context));
        break;
      case 'group-rules':
        this.#groupRules = evolveGroupRules(this.#groupRules, event as GroupRulesEvent, context);
        break;
      case 'auth-chain':
        put(
          this.#authChains,
          key,
          evolveAuthChain(this.#authChains.get(key), event as AuthChainEvent, context),
        );
        break;
      case 'registration-window':
        this.#registrationWindow = evolveRegistrationWindow(event as RegistrationWindowEvent);
        break;
      case 'registration': {
        const before = this.#registrations.get(key);
        const next = evolveRegistration(before, event as RegistrationRequestEvent, context);
        put(this.#registrations, key, next);
        break;
      }
      case 'issued-certificate': {
        const before = this.#issuedCertificates.get(key);
        const next = evolveIssuedCertificate(before, event as IssuedCertificateEvent, context);
        put(this.#issuedCertificates, key, next);
        break;
      }
      default:
        unreachable(aggregate);
    }
  }

  #applyOperator(event: OperatorEvent, key: string, context: EventContext): void {
    if (event.type.startsWith('ApiKey')) {
      put(this.#apiKeys, key, evolveApiKey(this.#apiKeys.get(key), event as ApiKeyEvent, context));
    } else {
      put(
        this.#operators,
        key,
        evolveOperator(this.#operators.get(key), event as OperatorOnlyEvent, context),
      );
    }
  }

  credential(id: string): Credential | undefined {
    return this.#credentials.get(id);
  }

  credentialIdByName(store: Store, name: string, chain?: ChainMember): string | undefined {
    const realm = realmOf({ store, chain });
    return this.#find((one) => realmOf(one) === realm && one.name === name)?.id;
  }

  credentialIdByMatch(
    store: Store,
    match: CredentialMatch,
    chain?: ChainMember,
  ): string | undefined {
    const [key, realm] = [loginKey(match), realmOf({ store, chain })];
    return this.#find((one) => realmOf(one) === realm && loginKey(one.match) === key)?.id;
  }

  patternCredentialCount(): number {
    return [...this.#credentials.values()].filter((one) => matchesByPattern(one.match)).length;
  }

  #find(test: (credential: Credential) => boolean): Credential | undefined {
    return [...this.#credentials.values()].find(test);
  }

  aclTable(target: AclTarget): AclTable | undefined {
    return this.#aclTables.get(aclTargetKey(target));
  }

  settings(): Settings {
    return this.#settings;
  }

  operator(id: string): Operator | undefined {
    return this.#operators.get(id);
  }

  operatorByLogin(login: string): Operator | undefined {
    return [...this.#operators.values()].find((one) => one.name === login || one.email === login);
  }

  administrators(): number {
    return [...this.#operators.values()].filter(
      (one) => one.enabled && one.role === 'administrator',
    ).length;
  }

  operatorCount(): number {
    return this.#operators.size;
  }

  apiKey(id: string): ApiKey | undefined {
    return this.#apiKeys.get(id);
  }

  trust(listener: TlsListener): Trust | undefined {
    return this.#trust.get(listener);
  }

  apiKeyByName(name: string): ApiKey | undefined {
    return [...this.#apiKeys.values()].find((one) => one.name === name);
  }

  role(id: string): Role | undefined {
    return this.#roles.get(id);
  }

  roleIdByName(name: string): string | undefined {
    return [...this.#roles.values()].find((one) => one.name === name)?.id;
  }

  credentialIdsByRole(roleId: string, max: number): readonly string[] {
    return [...this.#credentials.values()]
      .filter(({ access }) => rolesOf(access).includes(roleId))
      .map(({ id }) => id)
      .sort()
      .slice(0, max);
  }

  ban(id: string): Ban | undefined {
    return this.#bans.get(id);
  }

  banByValue(kind: BanKind, value: string): Ban | undefined {
    return [...this.#bans.values()].find((one) => one.kind === kind && one.value === value);
  }

  banPatternCount(): number {
    return [...this.#bans.values()].filter((one) => isBanPattern(one.kind)).length;
  }

  banCount(): number {
    return this.#bans.size;
  }

  expiredBans(at: number, most: number): readonly Ban[] {
    return [...this.#bans.values()]
      .filter((one) => isOver(one, at))
      .sort((a, b) => (a.until ?? 0) - (b.until ?? 0) || (a.id < b.id ? -1 : 1))
      .slice(0, most);
  }

  import(id: string): Import | undefined {
    return this.#imports.get(id);
  }

  group(id: string): Group | undefined {
    return this.#groups.get(id);
  }

  groupIdByName(name: string): string | undefined {
    return [...this.#groups.values()].find((one) => one.name === name)?.id;
  }

  groupCount(): number {
    return this.#groups.size;
  }

  groupRules(): GroupRules {
    return this.#groupRules;
  }

  dynsecObject(kind: DynsecKind, id: string): DynsecObject | undefined {
    return this.#dynsec.get(dynsecKey(kind, id));
  }

  dynsecIdByName(kind: DynsecKind, name: string): string | undefined {
    return [...this.#dynsec.values()].find((one) => one.kind === kind && one.name === name)?.id;
  }

  dynsecCount(kind: DynsecKind): number {
    return [...this.#dynsec.values()].filter((one) => one.kind === kind).length;
  }

  dynsecHolders(kind: DynsecKind, id: string, max: number): readonly string[] {
    const held = dynsecKey(kind, id);
    const credentials = [...this.#credentials.values()]
      .filter(({ access }) => dynsecNamedBy(access).includes(held))
      .map((one) => `credential:${one.id}`);
    const groups = [...this.#dynsec]
      .filter(([, object]) => dynsecHeldBy(object).includes(held))
      .map(([key]) => key);
    return [...credentials, ...groups].sort().slice(0, max);
  }

  authChain(scope: string): AuthChain | undefined {
    return this.#authChains.get(scope);
  }

  authChainCount(): number {
    return this.#authChains.size;
  }

  credentialIdsByAuthenticator(member: ChainMember, max: number): readonly string[] {
    return [...this.#credentials.values()]
      .filter((one) => {
        const of = memberOf(one);
        return of !== undefined && memberKey(of) === memberKey(member);
      })
      .map(({ id }) => id)
      .sort()
      .slice(0, max);
  }

  issuedCertificate(fingerprint: string): IssuedCertificate | undefined {
    return this.#issuedCertificates.get(fingerprint);
  }

  renewalsOf(fingerprint: string): number {
    return [...this.#issuedCertificates.values()].filter((one) => one.renews === fingerprint)
      .length;
  }

  registrationWindow(): RegistrationWindow {
    return this.#registrationWindow;
  }

  registration(id: string): Registration | undefined {
    return this.#registrations.get(id);
  }

  registrationsOf(username: string): readonly Registration[] {
    const age = (one: Registration): number => (one.status === 'pending' ? one.createdAt : 0);
    return [...this.#registrations.values()]
      .filter((one) => one.username === username)
      .sort((a, b) => age(a) - age(b) || (a.id < b.id ? -1 : 1));
  }

  registrationCounts(): { readonly pending: number; readonly settled: number } {
    const all = [...this.#registrations.values()];
    const pending = all.filter((one) => one.status === 'pending').length;
    return { pending, settled: all.length - pending };
  }

  endedRegistrations(at: number, most: number): readonly Registration[] {
    return [...this.#registrations.values()]
      .filter((one) => one.until <= at)
      .sort((a, b) => a.until - b.until || (a.id < b.id ? -1 : 1))
      .slice(0, most);
  }

  usernameTaken(username: string): boolean {
    const named = this.#find(({ match }) =>
      [match.username, match.commonName, match.scramUsername].includes(username),
    );
    return named !== undefined;
  }
}

function put<V>(map: Map<string, V>, key: string, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
