import { assert, unreachable } from '@sallyport/errors';
import {
  type AclTable,
  type AclTableEvent,
  type AclTarget,
  aclTargetKey,
  evolveAclTable,
} from './acl-table.ts';
import { type AuthChain, type AuthChainEvent, evolveAuthChain } from './auth-chain.ts';
import {
  type Ban,
  type BanEvent,
  type BanKind,
  banTag,
  evolveBan,
  isBanPattern,
  isOver,
} from './ban.ts';
import { matchesByPattern } from './certificate-match.ts';
import { type ChainMember, memberKey, memberOf, realmOf } from './chain-member.ts';
import type { DomainEvent, EventContext } from './commit.ts';
import {
  addedCredential,
  type Credential,
  type CredentialEvent,
  type CredentialMatch,
  evolveCredential,
  type NewCredential,
  type Store,
} from './credential.ts';
import { loginKey } from './login-keys.ts';
import type { DecisionReads } from './domain.ts';
import type { StreamId } from './streams.ts';
import { dynsecKey, type DynsecKind, dynsecNamedBy } from './dynsec/access.ts';
import {
  type DynsecEvent,
  dynsecHeldBy,
  dynsecKeyOf,
  type DynsecObject,
  evolveDynsec,
} from './dynsec/object.ts';
import { evolveImport, type Import, type ImportEvent } from './import.ts';
import { Layer, RealmLayers } from './layer.ts';
import type { ApiKey, Operator } from './operator.ts';
import { evolveGroup, type Group, type GroupEvent } from './group.ts';
import { evolveGroupRules, type GroupRules, type GroupRulesEvent } from './group-rules.ts';
import type { IssuedCertificate } from './issued-certificate.ts';
import type { Registration, RegistrationWindow } from './registration.ts';
import { evolveRole, type Role, type RoleEvent } from './role.ts';
import { rolesOf } from './roles-access.ts';
import { evolveTrust, type TlsListener, type Trust, type TrustEvent } from './trust.ts';
import { evolveSettings, type SettingEvent, type Settings } from './setting.ts';

/**
 * A state and, on top of it, the events that were decided on it and are not stored yet: so that many commands of one commit
 * are each decided on what the ones before them do. Lookups cost one more map lookup than those of the state below.
 */
export class Overlay implements DecisionReads {
  readonly #base: DecisionReads;
  readonly #context: EventContext;
  readonly #credentials = new Layer<Credential>();
  /** Ids, like those of all indexes below. */
  readonly #names = new RealmLayers<string>();
  readonly #logins = new RealmLayers<string>();
  #patternsMore = 0;
  readonly #aclTables = new Layer<AclTable>();
  readonly #imports = new Layer<Import>();
  readonly #roles = new Layer<Role>();
  readonly #roleNames = new Layer<string>();
  readonly #groups = new Layer<Group>();
  readonly #groupNames = new Layer<string>();
  #groupsMore = 0;
  #groupRules: GroupRules | undefined;
  readonly #dynsec = new Layer<DynsecObject>();
  readonly #dynsecNames = new Layer<string>();
  readonly #dynsecMore: Record<DynsecKind, number> = { role: 0, group: 0 };
  readonly #bans = new Layer<Ban>();
  readonly #banValues = new Layer<string>();
  #bansMore = 0;
  #banPatternsMore = 0;
  readonly #trust = new Layer<Trust>();
  readonly #authChains = new Layer<AuthChain>();
  #authChainsMore = 0;
  #settings: Settings | undefined;

  /** `at` is the time of the commit that the events will be part of; its revision is not known yet and counts as 0. */
  constructor(base: DecisionReads, at: number) {
    this.#base = base;
    this.#context = { at, revision: 0 };
  }

  /** What is no part of a plan is changed one by one, so its events are a bug here. */
  apply(event: DomainEvent, { aggregate, key }: StreamId): void {
    // The stream told the aggregate, in every case.
    switch (aggregate) {
      case 'credential':
        this.#applyCredential(key, event as CredentialEvent);
        break;
      case 'acl-table': {
        const { target } = event.data as AclTableEvent['data'];
        const next = evolveAclTable(this.aclTable(target), event as AclTableEvent, this.#context);
        this.#aclTables.put(key, next);
        break;
      }
      case 'setting':
        this.#settings = evolveSettings(this.settings(), event as SettingEvent, this.#context);
        break;
      case 'import':
        this.#imports.put(key, evolveImport(this.import(key), event as ImportEvent, this.#context));
        break;
      case 'role':
        this.#applyRole(key, event as RoleEvent);
        break;
      case 'group':
        this.#applyGroup(key, event as GroupEvent);
        break;
      case 'dynsec':
        this.#applyDynsec(key, event as DynsecEvent);
        break;
      case 'group-rules':
        this.#groupRules = evolveGroupRules(
          this.groupRules(),
          event as GroupRulesEvent,
          this.#context,
        );
        break;
      case 'ban':
        this.#applyBan(key, event as BanEvent);
        break;
      case 'trust':
        this.#trust.put(key, evolveTrust(event as TrustEvent, this.#context));
        break;
      case 'auth-chain':
        this.#applyAuthChain(key, event as AuthChainEvent);
        break;
      case 'operator':
      case 'registration-window':
      case 'registration':
      case 'issued-certificate':
        assert(false, `a ${aggregate} is changed by a commit of its own`);
        break;
      default:
        unreachable(aggregate);
    }
  }

  /** Looks up at once what the decisions on these additions will ask for. */
  foresee(added: readonly NewCredential[]): void {
    const taken = this.#base.takenBy?.(added);
    if (taken === undefined) return;
    for (const one of added) {
      const { id, name } = one;
      const realm = realmOf(one);
      const login = loginKey(one.match);
      const [names, logins] = [this.#names.of(realm), this.#logins.of(realm)];
      if (!this.#credentials.covers(id) && !taken.ids.has(id)) this.#credentials.put(id, undefined);
      if (!names.covers(name)) names.put(name, taken.names.get(realm)?.get(name));
      if (!logins.covers(login)) logins.put(login, taken.logins.get(realm)?.get(login));
    }
  }

  #applyCredential(id: string, event: CredentialEvent): void {
    if (event.type === 'CredentialAdded') {
      this.#credentials.putUnmade(id, () => addedCredential(event.data, this.#context));
      this.#find(event.data, id);
      return;
    }
    const before = this.credential(id);
    const next = evolveCredential(before, event, this.#context);
    if (before !== undefined) this.#find(before, undefined);
    this.#credentials.put(id, next);
    if (next !== undefined) this.#find(next, id);
  }

  /** From now on `id` is found by its name and match, or nobody is. */
  #find(one: NewCredential, id: string | undefined): void {
    const realm = realmOf(one);
    this.#names.of(realm).put(one.name, id);
    this.#logins.of(realm).put(loginKey(one.match), id);
    if (matchesByPattern(one.match)) this.#patternsMore += id === undefined ? -1 : 1;
  }

  #applyRole(id: string, event: RoleEvent): void {
    const before = this.role(id);
    const next = evolveRole(before, event, this.#context);
    if (before !== undefined) this.#roleNames.put(before.name, undefined);
    this.#roles.put(id, next);
    if (next !== undefined) this.#roleNames.put(next.name, id);
  }

  #applyGroup(id: string, event: GroupEvent): void {
    const before = this.group(id);
    const next = evolveGroup(before, event, this.#context);
    if (before !== undefined) this.#groupNames.put(before.name, undefined);
    this.#groups.put(id, next);
    if (next !== undefined) this.#groupNames.put(next.name, id);
    this.#groupsMore += countOf(next) - countOf(before);
  }

  #applyDynsec(key: string, event: DynsecEvent): void {
    const { kind, id } = event.data;
    const before = this.dynsecObject(kind, id);
    const next = evolveDynsec(before, event, this.#context);
    if (before !== undefined) this.#dynsecNames.put(dynsecKey(kind, before.name), undefined);
    this.#dynsec.put(key, next);
    if (next !== undefined) this.#dynsecNames.put(dynsecKey(kind, next.name), id);
    this.#dynsecMore[kind] += countOf(next) - countOf(before);
  }

  #applyBan(id: string, event: BanEvent): void {
    const before = this.ban(id);
    const next = evolveBan(before, event, this.#context);
    this.#bans.put(id, next);
    this.#banValues.put(banTag(event.data), next?.id);
    this.#bansMore += countOf(next) - countOf(before);
    this.#banPatternsMore += countOfPattern(next) - countOfPattern(before);
  }

  #applyAuthChain(scope: string, event: AuthChainEvent): void {
    const before = this.authChain(scope);
    const next = evolveAuthChain(before, event, this.#context);
    this.#authChains.put(scope, next);
    this.#authChainsMore += countOf(next) - countOf(before);
  }

  credential(id: string): Credential | undefined {
    return this.#credentials.get(id, () => this.#base.credential(id));
  }

  credentialIdByName(store: Store, name: string, chain?: ChainMember): string | undefined {
    const below = () => this.#base.credentialIdByName(store, name, chain);
    return this.#names.of(realmOf({ store, chain })).get(name, below);
  }

  credentialIdByMatch(
    store: Store,
    match: CredentialMatch,
    chain?: ChainMember,
  ): string | undefined {
    const below = () => this.#base.credentialIdByMatch(store, match, chain);
    return this.#logins.of(realmOf({ store, chain })).get(loginKey(match), below);
  }

  patternCredentialCount(): number {
    return this.#base.patternCredentialCount() + this.#patternsMore;
  }

  aclTable(target: AclTarget): AclTable | undefined {
    return this.#aclTables.get(aclTargetKey(target), () => this.#base.aclTable(target));
  }

  settings(): Settings {
    return this.#settings ?? this.#base.settings();
  }

  import(id: string): Import | undefined {
    return this.#imports.get(id, () => this.#base.import(id));
  }

  role(id: string): Role | undefined {
    return this.#roles.get(id, () => this.#base.role(id));
  }

  roleIdByName(name: string): string | undefined {
    return this.#roleNames.get(name, () => this.#base.roleIdByName(name));
  }

  /** O(credentials that were changed). */
  credentialIdsByRole(roleId: string, max: number): readonly string[] {
    return this.#idsWhere(
      ({ access }) => has(access, roleId),
      (more) => this.#base.credentialIdsByRole(roleId, more),
      max,
    );
  }

  /** The same. */
  credentialIdsByAuthenticator(member: ChainMember, max: number): readonly string[] {
    return this.#idsWhere(
      (one) => belongsTo(one, member),
      (more) => this.#base.credentialIdsByAuthenticator(member, more),
      max,
    );
  }

  #idsWhere(
    test: (credential: Credential) => boolean,
    find: (max: number) => readonly string[],
    max: number,
  ): readonly string[] {
    const changed = this.#credentials.present().filter(test);
    // As many more as may not be of them any longer.
    const below = find(max + this.#credentials.size).filter((id) => !this.#credentials.covers(id));
    return [...changed.map(({ id }) => id), ...below].sort().slice(0, max);
  }

  trust(listener: TlsListener): Trust | undefined {
    return this.#trust.get(listener, () => this.#base.trust(listener));
  }

  ban(id: string): Ban | undefined {
    return this.#bans.get(id, () => this.#base.ban(id));
  }

  banByValue(kind: BanKind, value: string): Ban | undefined {
    const below = () => this.#base.banByValue(kind, value)?.id;
    const id = this.#banValues.get(banTag({ kind, value }), below);
    return id === undefined ? undefined : this.ban(id);
  }

  banPatternCount(): number {
    return this.#base.banPatternCount() + this.#banPatternsMore;
  }

  banCount(): number {
    return this.#base.banCount() + this.#bansMore;
  }

  /** O(bans that were changed). */
  expiredBans(at: number, most: number): readonly Ban[] {
    const below = this.#base
      .expiredBans(at, most + this.#bans.size)
      .filter(({ id }) => !this.#bans.covers(id));
    return [...below, ...this.#bans.present().filter((one) => isOver(one, at))].slice(0, most);
  }

  group(id: string): Group | undefined {
    return this.#groups.get(id, () => this.#base.group(id));
  }

  groupIdByName(name: string): string | undefined {
    return this.#groupNames.get(name, () => this.#base.groupIdByName(name));
  }

  groupCount(): number {
    return this.#base.groupCount() + this.#groupsMore;
  }

  groupRules(): GroupRules {
    return this.#groupRules ?? this.#base.groupRules();
  }

  dynsecObject(kind: DynsecKind, id: string): DynsecObject | undefined {
    return this.#dynsec.get(dynsecKey(kind, id), () => this.#base.dynsecObject(kind, id));
  }

  dynsecIdByName(kind: DynsecKind, name: string): string | undefined {
    const below = () => this.#base.dynsecIdByName(kind, name);
    return this.#dynsecNames.get(dynsecKey(kind, name), below);
  }

  dynsecCount(kind: DynsecKind): number {
    return this.#base.dynsecCount(kind) + this.#dynsecMore[kind];
  }

  /** O(credentials and objects that were changed). */
  dynsecHolders(kind: DynsecKind, id: string, max: number): readonly string[] {
    const held = dynsecKey(kind, id);
    const credentials = this.#credentials
      .present()
      .filter(({ access }) => dynsecNamedBy(access).includes(held))
      .map((one) => `credential:${one.id}`);
    const groups = this.#dynsec.present().filter((one) => dynsecHeldBy(one).includes(held));
    const below = this.#base
      .dynsecHolders(kind, id, max + this.#credentials.size + this.#dynsec.size)
      .filter((holder) => !this.#changes(holder));
    return [...credentials, ...groups.map(dynsecKeyOf), ...below].sort().slice(0, max);
  }

  /** Whether something is not what the state below says; a text of `dynsecHolders`. */
  #changes(holder: string): boolean {
    const [, credential] = /^credential:(.*)$/s.exec(holder) ?? [];
    return credential === undefined
      ? this.#dynsec.covers(holder)
      : this.#credentials.covers(credential);
  }

  authChain(scope: string): AuthChain | undefined {
    return this.#authChains.get(scope, () => this.#base.authChain(scope));
  }

  authChainCount(): number {
    return this.#base.authChainCount() + this.#authChainsMore;
  }

  issuedCertificate(fingerprint: string): IssuedCertificate | undefined {
    return this.#base.issuedCertificate(fingerprint);
  }

  renewalsOf(fingerprint: string): number {
    return this.#base.renewalsOf(fingerprint);
  }

  registrationWindow(): RegistrationWindow {
    return this.#base.registrationWindow();
  }

  registration(id: string): Registration | undefined {
    return this.#base.registration(id);
  }

  registrationsOf(username: string): readonly Registration[] {
    return this.#base.registrationsOf(username);
  }

  registrationCounts(): { readonly pending: number; readonly settled: number } {
    return this.#base.registrationCounts();
  }

  endedRegistrations(at: number, most: number): readonly Registration[] {
    return this.#base.endedRegistrations(at, most);
  }

  /** Of what is stored: no part of a plan asks it. */
  usernameTaken(username: string): boolean {
    return this.#base.usernameTaken(username);
  }

  operator(id: string): Operator | undefined {
    return this.#base.operator(id);
  }

  operatorByLogin(login: string): Operator | undefined {
    return this.#base.operatorByLogin(login);
  }

  administrators(): number {
    return this.#base.administrators();
  }

  operatorCount(): number {
    return this.#base.operatorCount();
  }

  apiKey(id: string): ApiKey | undefined {
    return this.#base.apiKey(id);
  }

  apiKeyByName(name: string): ApiKey | undefined {
    return this.#base.apiKeyByName(name);
  }
}

const countOf = (object: unknown): number => (object === undefined ? 0 : 1);
const countOfPattern = (ban: Ban | undefined): number =>
  ban !== undefined && isBanPattern(ban.kind) ? 1 : 0;
const has = (access: Credential['access'], roleId: string): boolean =>
  rolesOf(access).includes(roleId);

function belongsTo(credential: Credential, member: ChainMember): boolean {
  const of = memberOf(credential);
  return of !== undefined && memberKey(of) === memberKey(member);
}
