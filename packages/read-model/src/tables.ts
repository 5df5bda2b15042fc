import { unreachable } from '@sallyport/errors';
import {
  type AclTable,
  type AclTableEvent,
  type AclTarget,
  aclTargetKey,
  type AuthChain,
  type AuthChainEvent,
  type ApiKey,
  type ApiKeyEvent,
  type Ban,
  type BanEvent,
  BAN_PATTERN_KINDS,
  BanIndex,
  type BanKind,
  type ChainMember,
  type Commit,
  type Credential,
  type CredentialEvent,
  type CredentialMatch,
  type DecisionReads,
  type DomainEvent,
  type DynsecEvent,
  type DynsecKind,
  type DynsecObject,
  type EventContext,
  evolveAclTable,
  evolveApiKey,
  evolveAuthChain,
  evolveBan,
  evolveImport,
  evolveGroup,
  evolveGroupRules,
  evolveOperator,
  evolveRegistrationWindow,
  evolveRole,
  evolveSettings,
  evolveTrust,
  type Import,
  type IssuedCertificate,
  type IssuedCertificateEvent,
  type ImportEvent,
  type NewCredential,
  type Group,
  type GroupEvent,
  type GroupRules,
  type GroupRulesEvent,
  NO_GROUP_RULES,
  type Operator,
  type OperatorEvent,
  type OperatorOnlyEvent,
  type Registration,
  type RegistrationRequestEvent,
  type RegistrationWindow,
  type RegistrationWindowEvent,
  type Revision,
  type Role,
  type RoleEvent,
  type SettingEvent,
  type Settings,
  type Store,
  streamOf,
  type TlsListener,
  type Trust,
  type TrustEvent,
  type TakenIdentities,
  UNSET_SETTINGS,
} from '@sallyport/domain';
import { type CredentialAdded, CredentialTables } from './credential-tables.ts';
import { DynsecTables } from './dynsec-tables.ts';
import { KnownKeys } from './row-caches.ts';
import { RegistrationTables } from './registration-tables.ts';
import type { Database } from './sqlite.ts';
import { nameKey, Statements } from './statements.ts';

/** Most roles that are kept parsed. */
export const ROLES_KEPT_MAX = 1000;

/** The aggregates in SQLite: each row holds the state that the domain's `evolve` gave, and columns to find it by. */
export class Tables implements DecisionReads {
  readonly #sql: Statements;
  readonly #dynsec: DynsecTables;
  readonly #credentials: CredentialTables;
  readonly #registrations: RegistrationTables;
  #settings: Settings;
  // The one table that every decision reads; parsed once a change.
  #everyone: AclTable | undefined | null = null;
  // Asked at every CONNECT; filled when it is asked for first.
  #bans: BanIndex | null = null;
  // Few roles are of many credentials: parsed once a change, and not once a credential.
  readonly #roles = new Map<string, Role>();
  readonly #aclTargets = new KnownKeys((limit) =>
    this.#sql
      .all<{ target: string }>('SELECT target FROM acl_tables LIMIT ?', limit)
      .map(({ target }) => target),
  );
  // Every CONNECT by groups reads the document; parsed once a change.
  #groupRules: GroupRules | undefined;
  // Every CONNECT asks for two of them, and there are few; read when they are asked for first.
  #authChains: ReadonlyMap<string, AuthChain> | undefined;

  constructor(db: Database) {
    this.#sql = new Statements(db);
    this.#dynsec = new DynsecTables(this.#sql);
    this.#credentials = new CredentialTables(db, this.#sql, this.#dynsec);
    this.#registrations = new RegistrationTables(this.#sql);
    this.#settings = this.#storedSettings();
  }

  /** Forgets what is cached outside of SQLite; after a rollback. */
  forget(): void {
    this.#dynsec.forget();
    this.#credentials.forget();
    this.#registrations.forget();
    this.#everyone = null;
    this.#bans = null;
    this.#roles.clear();
    this.#aclTargets.clear();
    this.#groupRules = undefined;
    this.#authChains = undefined;
    this.#settings = this.#storedSettings();
  }

  apply(commit: Commit): void {
    let added: CredentialAdded[] = [];
    for (const event of commit.events) {
      if (event.type === 'CredentialAdded') added.push(event);
      else {
        if (added.length > 0) this.#credentials.add(added, commit);
        added = [];
        this.#applyEvent(event, commit);
      }
    }
    this.#credentials.add(added, commit);
    this.#credentials.endCommit();
    this.#sql.run('INSERT OR IGNORE INTO commits VALUES (?, ?)', commit.commitId, commit.revision);
  }

  #applyEvent(event: DomainEvent, context: EventContext): void {
    const { aggregate, key } = streamOf(event);
    switch (aggregate) {
      case 'credential':
        this.#credentials.apply(event as CredentialEvent, key, context); // streamOf told the aggregate.
        break;
      case 'acl-table':
        this.#applyAcl(event as AclTableEvent, context);
        break;
      case 'setting':
        this.#settings = evolveSettings(this.#settings, event as SettingEvent, context);
        this.#sql.run(
          'INSERT OR REPLACE INTO settings VALUES (1, ?)',
          JSON.stringify(this.#settings),
        );
        break;
      case 'operator':
        this.#applyOperator(event as OperatorEvent, key, context);
        break;
      case 'trust':
        this.#putTrust(key, evolveTrust(event as TrustEvent, context));
        break;
      case 'role':
        this.#putRole(key, evolveRole(this.role(key), event as RoleEvent, context));
        break;
      case 'ban':
        this.#applyBan(event as BanEvent, key, context);
        break;
      case 'import':
        this.#applyImport(event as ImportEvent, context);
        break;
      case 'group':
        this.#putGroup(key, evolveGroup(this.group(key), event as GroupEvent, context));
        break;
      case 'dynsec':
        this.#dynsec.apply(event as DynsecEvent, context);
        break;
      case 'group-rules':
        this.#groupRules = evolveGroupRules(this.groupRules(), event as GroupRulesEvent, context);
        this.#sql.run(
          'INSERT OR REPLACE INTO group_rules VALUES (1, ?)',
          JSON.stringify(this.#groupRules),
        );
        break;
      case 'auth-chain':
        this.#putAuthChain(
          key,
          evolveAuthChain(this.authChain(key), event as AuthChainEvent, context),
        );
        break;
      case 'registration-window':
        this.#registrations.putWindow(evolveRegistrationWindow(event as RegistrationWindowEvent));
        break;
      case 'registration':
        this.#registrations.apply(event as RegistrationRequestEvent, key, context);
        break;
      case 'issued-certificate':
        this.#registrations.applyIssued(event as IssuedCertificateEvent, key, context);
        break;
      default:
        unreachable(aggregate);
    }
  }

  #putRole(id: string, next: Role | undefined): void {
    this.#roles.delete(id);
    if (next === undefined) {
      this.#sql.run('DELETE FROM roles WHERE id = ?', id);
      return;
    }
    const { name, createdAt, updatedAt } = next;
    const values = [id, name, nameKey(name), createdAt, updatedAt, JSON.stringify(next)] as const;
    this.#sql.run(
      `INSERT INTO roles VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key,
         updated_at = excluded.updated_at, doc = excluded.doc`,
      ...values,
    );
  }

  #applyAcl(event: AclTableEvent, context: EventContext): void {
    const { target } = event.data;
    const key = aclTargetKey(target);
    const next = evolveAclTable(this.aclTable(target), event, context);
    if (target.kind === 'everyone') this.#everyone = null;
    if (next === undefined) this.#sql.run('DELETE FROM acl_tables WHERE target = ?', key);
    else {
      const values = [key, nameKey(key), JSON.stringify(next)] as const;
      this.#sql.run('INSERT OR REPLACE INTO acl_tables VALUES (?, ?, ?)', ...values);
      this.#aclTargets.add(key);
    }
  }

  #applyOperator(event: OperatorEvent, key: string, context: EventContext): void {
    if (event.type.startsWith('ApiKey')) {
      const next = evolveApiKey(this.apiKey(key), event as ApiKeyEvent, context); // Its type begins so.
      if (next === undefined) this.#sql.run('DELETE FROM api_keys WHERE id = ?', key);
      else {
        const doc = JSON.stringify(next);
        this.#sql.run('INSERT OR REPLACE INTO api_keys VALUES (?, ?, ?)', key, next.name, doc);
      }
      return;
    }
    const next = evolveOperator(this.operator(key), event as OperatorOnlyEvent, context); // All other types.
    if (next === undefined) this.#sql.run('DELETE FROM operators WHERE id = ?', key);
    else {
      this.#sql.run(
        'INSERT OR REPLACE INTO operators VALUES (?, ?, ?, ?, ?)',
        key,
        next.name,
        next.email ?? null,
        next.enabled && next.role === 'administrator' ? 1 : 0,
        JSON.stringify(next),
      );
    }
  }

  #putTrust(listener: string, next: Trust | undefined): void {
    if (next === undefined) this.#sql.run('DELETE FROM trust WHERE listener = ?', listener);
    else
      this.#sql.run('INSERT OR REPLACE INTO trust VALUES (?, ?)', listener, JSON.stringify(next));
  }

  trust(listener: TlsListener): Trust | undefined {
    return this.#sql.doc<Trust>('SELECT doc FROM trust WHERE listener = ?', listener);
  }

  #applyBan(event: BanEvent, id: string, context: EventContext): void {
    const next = evolveBan(this.ban(id), event, context);
    this.#bans?.apply(event);
    if (next === undefined) {
      this.#sql.run('DELETE FROM bans WHERE id = ?', id);
      return;
    }
    this.#sql.run(
      'INSERT OR REPLACE INTO bans VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      id,
      next.kind,
      next.value,
      nameKey(next.value),
      next.until ?? null,
      next.createdAt,
      next.updatedAt,
      JSON.stringify(next),
    );
  }

  #putGroup(id: string, next: Group | undefined): void {
    if (next === undefined) {
      this.#sql.run('DELETE FROM access_groups WHERE id = ?', id);
      return;
    }
    this.#sql.run(
      `INSERT INTO access_groups VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key,
         updated_at = excluded.updated_at, doc = excluded.doc`,
      id,
      next.name,
      nameKey(next.name),
      next.createdAt,
      next.updatedAt,
      JSON.stringify(next),
    );
  }

  #applyImport(event: ImportEvent, context: EventContext): void {
    const { importId } = event.data;
    const next = evolveImport(this.import(importId), event, context);
    this.#sql.run('INSERT OR REPLACE INTO imports VALUES (?, ?)', importId, JSON.stringify(next));
    this.#sql.run('INSERT INTO import_commits VALUES (?, ?)', importId, context.revision);
  }

  group(id: string): Group | undefined {
    return this.#sql.doc<Group>('SELECT doc FROM access_groups WHERE id = ?', id);
  }

  groupIdByName(name: string): string | undefined {
    return this.#sql.get<{ id: string }>('SELECT id FROM access_groups WHERE name = ?', name)?.id;
  }

  groupCount(): number {
    return this.#sql.count('SELECT count(*) AS n FROM access_groups');
  }

  dynsecObject(kind: DynsecKind, id: string): DynsecObject | undefined {
    return this.#dynsec.object(kind, id);
  }

  dynsecIdByName(kind: DynsecKind, name: string): string | undefined {
    return this.#dynsec.idByName(kind, name);
  }

  dynsecCount(kind: DynsecKind): number {
    return this.#dynsec.count(kind);
  }

  dynsecHolders(kind: DynsecKind, id: string, max: number): readonly string[] {
    return this.#dynsec.holders(kind, id, max);
  }

  groupRules(): GroupRules {
    this.#groupRules ??=
      this.#sql.doc<GroupRules>('SELECT doc FROM group_rules WHERE id = 1') ?? NO_GROUP_RULES;
    return this.#groupRules;
  }

  #putAuthChain(scope: string, next: AuthChain | undefined): void {
    this.#authChains = undefined;
    if (next === undefined) this.#sql.run('DELETE FROM auth_chains WHERE scope = ?', scope);
    else {
      const doc = JSON.stringify(next);
      this.#sql.run('INSERT OR REPLACE INTO auth_chains VALUES (?, ?)', scope, doc);
    }
  }

  get #chains(): ReadonlyMap<string, AuthChain> {
    this.#authChains ??= new Map(
      this.#sql.docs<AuthChain>('SELECT doc FROM auth_chains').map((one) => [one.scope, one]),
    );
    return this.#authChains;
  }

  authChain(scope: string): AuthChain | undefined {
    return this.#chains.get(scope);
  }

  authChainCount(): number {
    return this.#chains.size;
  }

  credential(id: string): Credential | undefined {
    return this.#credentials.byId(id);
  }

  /** Credentials of every store under login keys, in the order of the keys. */
  credentialsByLogin(...keys: readonly string[]): readonly Credential[] {
    return this.#credentials.byLogin(...keys);
  }

  /** So many, or all that there are, from everywhere among them. */
  someCredentials(count: number): readonly Credential[] {
    return this.#credentials.some(count);
  }

  /** Those of every store that match by a pattern, in the order in which they are tried; from memory. */
  patternCredentials(): readonly Credential[] {
    return this.#credentials.patterned();
  }

  patternCredentialCount(): number {
    return this.#credentials.patternedCount();
  }

  credentialIdByName(store: Store, name: string, chain?: ChainMember): string | undefined {
    return this.#credentials.idByName(store, name, chain);
  }

  credentialIdByMatch(
    store: Store,
    match: CredentialMatch,
    chain?: ChainMember,
  ): string | undefined {
    return this.#credentials.idByMatch(store, match, chain);
  }

  credentialIdsByAuthenticator(member: ChainMember, max: number): readonly string[] {
    return this.#credentials.idsByAuthenticator(member, max);
  }

  credentialIdsByRole(roleId: string, max: number): readonly string[] {
    return this.#credentials.idsByRole(roleId, max);
  }

  takenBy(added: readonly NewCredential[]): TakenIdentities {
    return this.#credentials.takenBy(added);
  }

  usernameTaken(username: string): boolean {
    return this.#credentials.usernameTaken(username);
  }

  registrationWindow(): RegistrationWindow {
    return this.#registrations.window();
  }

  registration(id: string): Registration | undefined {
    return this.#registrations.request(id);
  }

  registrationsOf(username: string): readonly Registration[] {
    return this.#registrations.requestsOf(username);
  }

  registrationCounts(): { readonly pending: number; readonly settled: number } {
    return this.#registrations.counts();
  }

  endedRegistrations(at: number, most: number): readonly Registration[] {
    return this.#registrations.ended(at, most);
  }

  issuedCertificate(fingerprint: string): IssuedCertificate | undefined {
    return this.#registrations.issuedCertificate(fingerprint);
  }

  renewalsOf(fingerprint: string): number {
    return this.#registrations.renewalsOf(fingerprint);
  }

  aclTable(target: AclTarget): AclTable | undefined {
    const sql = 'SELECT doc FROM acl_tables WHERE target = ?';
    if (target.kind !== 'everyone') {
      const key = aclTargetKey(target);
      return this.#aclTargets.mayHave(key) ? this.#sql.doc<AclTable>(sql, key) : undefined;
    }
    if (this.#everyone === null) this.#everyone = this.#sql.doc<AclTable>(sql, 'everyone');
    return this.#everyone;
  }

  /** What a file does not know, because it is older, is the default. */
  #storedSettings(): Settings {
    const stored = this.#sql.doc<Settings>('SELECT doc FROM settings WHERE id = 1');
    return { ...UNSET_SETTINGS, ...stored };
  }

  settings(): Settings {
    return this.#settings;
  }

  operator(id: string): Operator | undefined {
    return this.#sql.doc<Operator>('SELECT doc FROM operators WHERE id = ?', id);
  }

  operatorByLogin(login: string): Operator | undefined {
    return this.#sql.doc<Operator>(
      'SELECT doc FROM operators WHERE name = ?1 OR email = ?1 LIMIT 1',
      login,
    );
  }

  administrators(): number {
    return this.#sql.count('SELECT count(*) AS n FROM operators WHERE administrator = 1');
  }

  operatorCount(): number {
    return this.#sql.count('SELECT count(*) AS n FROM operators');
  }

  apiKey(id: string): ApiKey | undefined {
    return this.#sql.doc<ApiKey>('SELECT doc FROM api_keys WHERE id = ?', id);
  }

  apiKeyByName(name: string): ApiKey | undefined {
    return this.#sql.doc<ApiKey>('SELECT doc FROM api_keys WHERE name = ?', name);
  }

  role(id: string): Role | undefined {
    const known = this.#roles.get(id);
    if (known !== undefined) return known;
    const role = this.#sql.doc<Role>('SELECT doc FROM roles WHERE id = ?', id);
    if (role === undefined) return undefined;
    if (this.#roles.size >= ROLES_KEPT_MAX) this.#roles.clear();
    this.#roles.set(id, role);
    return role;
  }

  roleIdByName(name: string): string | undefined {
    return this.#sql.get<{ id: string }>('SELECT id FROM roles WHERE name = ?', name)?.id;
  }

  ban(id: string): Ban | undefined {
    return this.#sql.doc<Ban>('SELECT doc FROM bans WHERE id = ?', id);
  }

  banByValue(kind: BanKind, value: string): Ban | undefined {
    return this.#sql.doc<Ban>('SELECT doc FROM bans WHERE kind = ? AND value = ?', kind, value);
  }

  banPatternCount(): number {
    const kinds = BAN_PATTERN_KINDS.map((kind) => `'${kind}'`).join();
    return this.#sql.count(`SELECT count(*) AS n FROM bans WHERE kind IN (${kinds})`);
  }

  banCount(): number {
    return this.#sql.count('SELECT count(*) AS n FROM bans');
  }

  expiredBans(at: number, most: number): readonly Ban[] {
    const sql = 'SELECT doc FROM bans WHERE until <= ? ORDER BY until, id LIMIT ?';
    return this.#sql.docs<Ban>(sql, at, most);
  }

  /** Every ban that is stored. */
  bans(): readonly Ban[] {
    return this.#sql.docs<Ban>('SELECT doc FROM bans ORDER BY id');
  }

  /** The same, to look up who is banned. Not to be changed. */
  get banIndex(): BanIndex {
    return (this.#bans ??= new BanIndex(this.bans()));
  }

  import(id: string): Import | undefined {
    return this.#sql.doc<Import>('SELECT doc FROM imports WHERE id = ?', id);
  }

  commitRevision(commitId: string): Revision | undefined {
    const sql = 'SELECT revision FROM commits WHERE commit_id = ?';
    return this.#sql.get<{ revision: number }>(sql, commitId)?.revision;
  }
}
