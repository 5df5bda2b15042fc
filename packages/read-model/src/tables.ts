import { unreachable } from '@sallyport/errors';
import {
  type AclTable,
  type AclTableEvent,
  type AclTarget,
  aclTargetKey,
  addedText,
  type AuthChain,
  type AuthChainEvent,
  type ApiKey,
  type ApiKeyEvent,
  type Ban,
  type BanEvent,
  BAN_PATTERN_KINDS,
  BanIndex,
  type BanKind,
  byPatternOrder,
  type ChainMember,
  CLOSED_WINDOW,
  type Commit,
  type Credential,
  type CredentialEvent,
  type CredentialMatch,
  type DecisionReads,
  type DomainEvent,
  type DynsecEvent,
  type DynsecKind,
  dynsecNamedBy,
  type DynsecObject,
  type EventContext,
  evolveAclTable,
  evolveApiKey,
  evolveAuthChain,
  evolveBan,
  evolveCredential,
  evolveImport,
  evolveIssuedCertificate,
  evolveGroup,
  evolveGroupRules,
  evolveOperator,
  evolveRegistration,
  evolveRegistrationWindow,
  evolveRole,
  evolveSettings,
  evolveTrust,
  type Import,
  type IssuedCertificate,
  type IssuedCertificateEvent,
  type ImportEvent,
  loginKey,
  memberKey,
  realmOf,
  loginKeysOfUsername,
  matchesByPattern,
  type NewCredential,
  type Group,
  type GroupEvent,
  type GroupRules,
  type GroupRulesEvent,
  NO_GROUP_RULES,
  type Operator,
  type OperatorEvent,
  type OperatorOnlyEvent,
  PATTERN_KEY_PREFIX,
  type Registration,
  type RegistrationRequestEvent,
  type RegistrationWindow,
  type RegistrationWindowEvent,
  type Revision,
  type Role,
  type RoleEvent,
  rolesOf,
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
import { DynsecTables } from './dynsec-tables.ts';
import { ImportedSecretCounts } from './imported-secret-counts.ts';
import { KnownKeys, RowCache } from './row-caches.ts';
import type { Database, Statement } from './sqlite.ts';

interface DocRow {
  readonly doc: string;
}

/** A name as it is searched and sorted by: without case, independent of any locale. */
export const nameKey = (name: string): string => name.toLowerCase();

/** Most roles that are kept parsed. */
export const ROLES_KEPT_MAX = 1000;

/** Credentials that one statement adds: what the driver does for each statement costs as much as a row. */
const ADDED_TOGETHER = 20;
const ROW = '(?, ?, ?, ?, ?, ?, ?, ?, ?)';
const ADD_CREDENTIAL = `INSERT INTO credentials VALUES ${ROW}`;
// OR FAIL: the whole transaction is taken back when it fails, so that SQLite need not keep for each statement how to take it back.
const ADD_CREDENTIALS = `INSERT OR FAIL INTO credentials VALUES ${Array<string>(ADDED_TOGETHER).fill(ROW).join()}`;
const PUT_CREDENTIAL = `${ADD_CREDENTIAL}
  ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key,
    login_key = excluded.login_key, updated_at = excluded.updated_at, doc = excluded.doc`;

type CredentialAdded = Extract<CredentialEvent, { type: 'CredentialAdded' }>;

function byRealm(added: readonly NewCredential[]): ReadonlyMap<string, readonly NewCredential[]> {
  const realms = new Map<string, NewCredential[]>();
  for (const one of added) {
    const realm = realmOf(one);
    const members = realms.get(realm);
    if (members === undefined) realms.set(realm, [one]);
    else members.push(one);
  }
  return realms;
}

/** Login keys that one statement asks for: a CONNECT has three, and a certificate adds some. */
export const LOGIN_KEYS_TOGETHER = 8;

/** One statement costs half of what one for each key does. What a compound finds comes in its own order. */
const byLogin = (keys: number): string =>
  Array<string>(keys).fill('SELECT doc FROM credentials WHERE login_key = ?').join(' UNION ALL ');

/** The aggregates in SQLite: each row holds the state that the domain's `evolve` gave, and columns to find it by. */
export class Tables implements DecisionReads {
  readonly #statements = new Map<string, Statement>();
  readonly #db: Database;
  readonly #imported: ImportedSecretCounts;
  readonly #dynsec: DynsecTables;
  #settings: Settings;
  // The one table that every decision reads; parsed once a change.
  #everyone: AclTable | undefined | null = null;
  // Asked at every CONNECT; filled when it is asked for first.
  #bans: BanIndex | null = null;
  // Few roles are of many credentials: parsed once a change, and not once a credential.
  readonly #roles = new Map<string, Role>();
  readonly #credentials = new RowCache<Credential>();
  // Every CONNECT with a certificate tries all of them; read when they are asked for first.
  #patternCredentials: readonly Credential[] | undefined;
  readonly #aclTargets = new KnownKeys((limit) =>
    (
      this.#prepared('SELECT target FROM acl_tables LIMIT ?').all(limit) as { target: string }[]
    ).map(({ target }) => target),
  );
  // Every CONNECT by groups reads the document; parsed once a change.
  #groupRules: GroupRules | undefined;
  // Every CONNECT asks for two of them, and there are few; read when they are asked for first.
  #authChains: ReadonlyMap<string, AuthChain> | undefined;
  // Asked at every CONNECT that is refused.
  #registrationWindow: RegistrationWindow | undefined;

  constructor(db: Database) {
    this.#db = db;
    this.#imported = new ImportedSecretCounts(db);
    this.#dynsec = new DynsecTables(db, nameKey);
    this.#settings = this.#storedSettings();
  }

  #prepared(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #get<T>(sql: string, ...values: (string | number)[]): T | undefined {
    return this.#prepared(sql).get(...values) as T | undefined; // The columns are named by the SQL beside each call.
  }

  #doc<T>(sql: string, ...values: (string | number)[]): T | undefined {
    const row = this.#get<DocRow>(sql, ...values);
    return row === undefined ? undefined : this.#db.parse<T>(row.doc);
  }

  #docs<T>(sql: string, ...values: (string | number)[]): T[] {
    const rows = this.#prepared(sql).all(...values) as DocRow[]; // The one column of every caller's SQL.
    return rows.map((row) => this.#db.parse<T>(row.doc));
  }

  #run(sql: string, ...values: (string | number | null)[]): void {
    this.#prepared(sql).run(...values);
  }

  /** Forgets what is cached outside of SQLite; after a rollback. */
  forget(): void {
    this.#imported.forget();
    this.#dynsec.forget();
    this.#everyone = null;
    this.#bans = null;
    this.#roles.clear();
    this.#credentials.clear();
    this.#patternCredentials = undefined;
    this.#aclTargets.clear();
    this.#groupRules = undefined;
    this.#authChains = undefined;
    this.#registrationWindow = undefined;
    this.#settings = this.#storedSettings();
  }

  apply(commit: Commit): void {
    let added: CredentialAdded[] = [];
    for (const event of commit.events) {
      if (event.type === 'CredentialAdded') added.push(event);
      else {
        if (added.length > 0) this.#addCredentials(added, commit);
        added = [];
        this.#applyEvent(event, commit);
      }
    }
    this.#addCredentials(added, commit);
    this.#imported.write();
    this.#run('INSERT OR IGNORE INTO commits VALUES (?, ?)', commit.commitId, commit.revision);
  }

  #applyEvent(event: DomainEvent, context: EventContext): void {
    const { aggregate, key } = streamOf(event);
    switch (aggregate) {
      case 'credential':
        this.#applyCredential(event as CredentialEvent, key, context); // streamOf told the aggregate.
        break;
      case 'acl-table':
        this.#applyAcl(event as AclTableEvent, context);
        break;
      case 'setting':
        this.#settings = evolveSettings(this.#settings, event as SettingEvent, context);
        this.#run('INSERT OR REPLACE INTO settings VALUES (1, ?)', JSON.stringify(this.#settings));
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
        this.#run(
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
        this.#registrationWindow = evolveRegistrationWindow(event as RegistrationWindowEvent);
        this.#run(
          'INSERT OR REPLACE INTO registration_window VALUES (1, ?)',
          JSON.stringify(this.#registrationWindow),
        );
        break;
      case 'registration':
        this.#applyRegistration(event as RegistrationRequestEvent, key, context);
        break;
      case 'issued-certificate':
        this.#applyIssued(event as IssuedCertificateEvent, key, context);
        break;
      default:
        unreachable(aggregate);
    }
  }

  /**
   * What is new has no state before it, and is put into the table many rows at a time: an import has a million. To add one that
   * is there is a fault of the log, and costs less than to be ready for it.
   */
  #addCredentials(events: readonly CredentialAdded[], context: EventContext): void {
    for (let start = 0; start < events.length;) {
      const count = events.length - start < ADDED_TOGETHER ? 1 : ADDED_TOGETHER;
      const values: (string | number)[] = [];
      for (const event of events.slice(start, start + count)) {
        const { id, store, chain, name, match } = event.data;
        values.push(id, store, memberKey(chain), name, nameKey(name), loginKey(match));
        values.push(context.at, context.at, addedText(event, context));
      }
      this.#run(count === 1 ? ADD_CREDENTIAL : ADD_CREDENTIALS, ...values);
      start += count;
    }
    for (const { data } of events) {
      this.#credentials.drop(data.id);
      if (matchesByPattern(data.match)) this.#patternCredentials = undefined;
      this.#imported.replace(undefined, data);
      this.#putCredentialRoles(data.id, [], rolesOf(data.access));
      this.#dynsec.hold(`credential:${data.id}`, [], dynsecNamedBy(data.access));
    }
  }

  #applyCredential(event: CredentialEvent, id: string, context: EventContext): void {
    const before = this.credential(id);
    const next = evolveCredential(before, event, context);
    const patterned = [before, next].some(
      (one) => one !== undefined && matchesByPattern(one.match),
    );
    if (patterned) this.#patternCredentials = undefined;
    this.#imported.replace(before, next);
    this.#putCredential(id, next);
    this.#putCredentialRoles(id, rolesOf(before?.access), rolesOf(next?.access));
    const named = [dynsecNamedBy(before?.access), dynsecNamedBy(next?.access)] as const;
    this.#dynsec.hold(`credential:${id}`, ...named);
  }

  /** Who has which role, so that a role's credentials are found without looking at all of them. */
  #putCredentialRoles(id: string, before: readonly string[], next: readonly string[]): void {
    for (const role of before) {
      if (next.includes(role)) continue;
      this.#run('DELETE FROM credential_roles WHERE role_id = ? AND credential_id = ?', role, id);
    }
    for (const role of next) {
      if (before.includes(role)) continue;
      this.#run('INSERT OR IGNORE INTO credential_roles VALUES (?, ?)', role, id);
    }
  }

  #putRole(id: string, next: Role | undefined): void {
    this.#roles.delete(id);
    if (next === undefined) {
      this.#run('DELETE FROM roles WHERE id = ?', id);
      return;
    }
    const { name, createdAt, updatedAt } = next;
    const values = [id, name, nameKey(name), createdAt, updatedAt, JSON.stringify(next)] as const;
    this.#run(
      `INSERT INTO roles VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key,
         updated_at = excluded.updated_at, doc = excluded.doc`,
      ...values,
    );
  }

  #putCredential(id: string, next: Credential | undefined): void {
    this.#credentials.drop(id);
    if (next === undefined) {
      this.#run('DELETE FROM credentials WHERE id = ?', id);
      return;
    }
    this.#run(
      PUT_CREDENTIAL,
      id,
      next.store,
      memberKey(next.chain),
      next.name,
      nameKey(next.name),
      loginKey(next.match),
      next.createdAt,
      next.updatedAt,
      JSON.stringify(next),
    );
  }

  #applyAcl(event: AclTableEvent, context: EventContext): void {
    const { target } = event.data;
    const key = aclTargetKey(target);
    const next = evolveAclTable(this.aclTable(target), event, context);
    if (target.kind === 'everyone') this.#everyone = null;
    if (next === undefined) this.#run('DELETE FROM acl_tables WHERE target = ?', key);
    else {
      const values = [key, nameKey(key), JSON.stringify(next)] as const;
      this.#run('INSERT OR REPLACE INTO acl_tables VALUES (?, ?, ?)', ...values);
      this.#aclTargets.add(key);
    }
  }

  #applyOperator(event: OperatorEvent, key: string, context: EventContext): void {
    if (event.type.startsWith('ApiKey')) {
      const next = evolveApiKey(this.apiKey(key), event as ApiKeyEvent, context); // Its type begins so.
      if (next === undefined) this.#run('DELETE FROM api_keys WHERE id = ?', key);
      else {
        const doc = JSON.stringify(next);
        this.#run('INSERT OR REPLACE INTO api_keys VALUES (?, ?, ?)', key, next.name, doc);
      }
      return;
    }
    const next = evolveOperator(this.operator(key), event as OperatorOnlyEvent, context); // All other types.
    if (next === undefined) this.#run('DELETE FROM operators WHERE id = ?', key);
    else {
      this.#run(
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
    if (next === undefined) this.#run('DELETE FROM trust WHERE listener = ?', listener);
    else this.#run('INSERT OR REPLACE INTO trust VALUES (?, ?)', listener, JSON.stringify(next));
  }

  trust(listener: TlsListener): Trust | undefined {
    return this.#doc<Trust>('SELECT doc FROM trust WHERE listener = ?', listener);
  }

  #applyBan(event: BanEvent, id: string, context: EventContext): void {
    const next = evolveBan(this.ban(id), event, context);
    this.#bans?.apply(event);
    if (next === undefined) {
      this.#run('DELETE FROM bans WHERE id = ?', id);
      return;
    }
    this.#run(
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
      this.#run('DELETE FROM access_groups WHERE id = ?', id);
      return;
    }
    this.#run(
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
    this.#run('INSERT OR REPLACE INTO imports VALUES (?, ?)', importId, JSON.stringify(next));
    this.#run('INSERT INTO import_commits VALUES (?, ?)', importId, context.revision);
  }

  #applyRegistration(event: RegistrationRequestEvent, id: string, context: EventContext): void {
    const next = evolveRegistration(this.registration(id), event, context);
    if (next === undefined) {
      this.#run('DELETE FROM registrations WHERE id = ?', id);
      return;
    }
    const { status, username, until } = next;
    const seen = next.status === 'pending' ? next : { createdAt: 0, lastSeenAt: 0 };
    this.#run(
      'INSERT OR REPLACE INTO registrations VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      id,
      status,
      username,
      nameKey(username),
      seen.createdAt,
      seen.lastSeenAt,
      until,
      JSON.stringify(next),
    );
  }

  #applyIssued(event: IssuedCertificateEvent, fingerprint: string, context: EventContext): void {
    const next = evolveIssuedCertificate(this.issuedCertificate(fingerprint), event, context);
    if (next === undefined) return;
    this.#run(
      'INSERT OR REPLACE INTO issued_certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      fingerprint,
      next.subject,
      nameKey(next.subject),
      next.credentialId,
      next.renews ?? null,
      next.issuedAt,
      next.notAfter,
      next.revoked?.at ?? null,
      JSON.stringify(next),
    );
  }

  issuedCertificate(fingerprint: string): IssuedCertificate | undefined {
    const sql = 'SELECT doc FROM issued_certificates WHERE fingerprint = ?';
    return this.#doc<IssuedCertificate>(sql, fingerprint);
  }

  renewalsOf(fingerprint: string): number {
    const sql = 'SELECT count(*) AS n FROM issued_certificates WHERE renews = ?';
    return this.#get<{ n: number }>(sql, fingerprint)?.n ?? 0;
  }

  registrationWindow(): RegistrationWindow {
    this.#registrationWindow ??=
      this.#doc<RegistrationWindow>('SELECT doc FROM registration_window WHERE id = 1') ??
      CLOSED_WINDOW;
    return this.#registrationWindow;
  }

  registration(id: string): Registration | undefined {
    return this.#doc<Registration>('SELECT doc FROM registrations WHERE id = ?', id);
  }

  registrationsOf(username: string): readonly Registration[] {
    const sql = 'SELECT doc FROM registrations WHERE username = ? ORDER BY created_at, id';
    return this.#docs<Registration>(sql, username);
  }

  registrationCounts(): { readonly pending: number; readonly settled: number } {
    const pending = this.#count("SELECT count(*) AS n FROM registrations WHERE status = 'pending'");
    return { pending, settled: this.#count('SELECT count(*) AS n FROM registrations') - pending };
  }

  endedRegistrations(at: number, most: number): readonly Registration[] {
    const sql = 'SELECT doc FROM registrations WHERE until <= ? ORDER BY until, id LIMIT ?';
    return this.#docs<Registration>(sql, at, most);
  }

  usernameTaken(username: string): boolean {
    const { keys, prefix } = loginKeysOfUsername(username);
    const [first, second, third] = keys;
    // What follows on everything that begins with the prefix; that ends with a colon, and a semicolon is next to it.
    const end = `${prefix.slice(0, -1)};`;
    const sql = `SELECT 1 FROM credentials WHERE login_key IN (?, ?, ?)
      UNION ALL SELECT 1 FROM credentials WHERE login_key >= ? AND login_key < ? LIMIT 1`;
    return this.#get(sql, first, second, third, prefix, end) !== undefined;
  }

  group(id: string): Group | undefined {
    return this.#doc<Group>('SELECT doc FROM access_groups WHERE id = ?', id);
  }

  groupIdByName(name: string): string | undefined {
    return this.#get<{ id: string }>('SELECT id FROM access_groups WHERE name = ?', name)?.id;
  }

  groupCount(): number {
    return this.#get<{ n: number }>('SELECT count(*) AS n FROM access_groups')?.n ?? 0;
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
      this.#doc<GroupRules>('SELECT doc FROM group_rules WHERE id = 1') ?? NO_GROUP_RULES;
    return this.#groupRules;
  }

  credential(id: string): Credential | undefined {
    const sql = 'SELECT doc FROM credentials WHERE id = ?';
    return this.#credentials.get(id, () => this.#doc<Credential>(sql, id));
  }

  /** Credentials of every store under login keys, in the order of the keys. */
  credentialsByLogin(...keys: readonly string[]): readonly Credential[] {
    const found: Credential[] = [];
    for (let start = 0; start < keys.length; start += LOGIN_KEYS_TOGETHER) {
      const some = keys.slice(start, start + LOGIN_KEYS_TOGETHER);
      found.push(...this.#docs<Credential>(byLogin(some.length), ...some));
    }
    return found;
  }

  /** Those of every store that match by a pattern, in the order in which they are tried; from memory. */
  patternCredentials(): readonly Credential[] {
    // What follows on everything that begins with the prefix, which ends with a colon.
    const end = `${PATTERN_KEY_PREFIX.slice(0, -1)};`;
    const sql = 'SELECT doc FROM credentials WHERE login_key >= ? AND login_key < ?';
    this.#patternCredentials ??= this.#docs<Credential>(sql, PATTERN_KEY_PREFIX, end).sort(
      byPatternOrder,
    );
    return this.#patternCredentials;
  }

  patternCredentialCount(): number {
    return this.patternCredentials().length;
  }

  credentialIdByName(store: Store, name: string, chain?: ChainMember): string | undefined {
    const sql = 'SELECT id FROM credentials WHERE store = ? AND chain = ? AND name = ?';
    return this.#get<{ id: string }>(sql, store, memberKey(chain), name)?.id;
  }

  credentialIdByMatch(
    store: Store,
    match: CredentialMatch,
    chain?: ChainMember,
  ): string | undefined {
    const sql = 'SELECT id FROM credentials WHERE login_key = ? AND store = ? AND chain = ?';
    return this.#get<{ id: string }>(sql, loginKey(match), store, memberKey(chain))?.id;
  }

  credentialIdsByAuthenticator(member: ChainMember, max: number): readonly string[] {
    const sql = "SELECT id FROM credentials WHERE store = 'emqx' AND chain = ? ORDER BY id LIMIT ?";
    return (this.#prepared(sql).all(memberKey(member), max) as { id: string }[]).map(
      ({ id }) => id, // The column that the SQL names.
    );
  }

  #putAuthChain(scope: string, next: AuthChain | undefined): void {
    this.#authChains = undefined;
    if (next === undefined) this.#run('DELETE FROM auth_chains WHERE scope = ?', scope);
    else {
      const doc = JSON.stringify(next);
      this.#run('INSERT OR REPLACE INTO auth_chains VALUES (?, ?)', scope, doc);
    }
  }

  get #chains(): ReadonlyMap<string, AuthChain> {
    this.#authChains ??= new Map(
      this.#docs<AuthChain>('SELECT doc FROM auth_chains').map((one) => [one.scope, one]),
    );
    return this.#authChains;
  }

  authChain(scope: string): AuthChain | undefined {
    return this.#chains.get(scope);
  }

  authChainCount(): number {
    return this.#chains.size;
  }

  takenBy(added: readonly NewCredential[]): TakenIdentities {
    const names = new Map<string, string>();
    const logins = new Map<string, string>();
    for (const [realm, members] of byRealm(added)) {
      const where = [members[0]?.store ?? '', memberKey(members[0]?.chain)] as const;
      const find = (into: Map<string, string>, column: string, values: readonly string[]): void => {
        const sql = `SELECT c.${column} AS key, c.id AS id FROM json_each(?) j CROSS JOIN credentials c
          ON c.store = ? AND c.chain = ? AND c.${column} = j.value`;
        for (const { key, id } of this.#found(sql, values, where)) into.set(`${realm}:${key}`, id);
      };
      find(
        names,
        'name',
        members.map((one) => one.name),
      );
      find(
        logins,
        'login_key',
        members.map((one) => loginKey(one.match)),
      );
    }
    return { ids: this.#takenIds(added.map((one) => one.id)), names, logins };
  }

  #takenIds(ids: readonly string[]): ReadonlyMap<string, string> {
    // Ids of an import follow on each other in time, and hardly ever lie on both sides of one that is there.
    const between = `SELECT id FROM credentials WHERE id BETWEEN
      (SELECT min(value) FROM json_each(?1)) AND (SELECT max(value) FROM json_each(?1)) LIMIT 1`;
    if (this.#get(between, JSON.stringify(ids)) === undefined) return new Map();
    const sql =
      'SELECT c.id AS key, c.id AS id FROM json_each(?) j CROSS JOIN credentials c ON c.id = j.value';
    return new Map(this.#found(sql, ids).map(({ key, id }) => [key, id]));
  }

  #found(sql: string, values: readonly string[], more: readonly string[] = []) {
    return this.#prepared(sql).all(JSON.stringify(values), ...more) as {
      key: string;
      id: string;
    }[]; // The columns of every caller's SQL.
  }

  aclTable(target: AclTarget): AclTable | undefined {
    const sql = 'SELECT doc FROM acl_tables WHERE target = ?';
    if (target.kind !== 'everyone') {
      const key = aclTargetKey(target);
      return this.#aclTargets.mayHave(key) ? this.#doc<AclTable>(sql, key) : undefined;
    }
    if (this.#everyone === null) this.#everyone = this.#doc<AclTable>(sql, 'everyone');
    return this.#everyone;
  }

  /** What a file does not know, because it is older, is the default. */
  #storedSettings(): Settings {
    const stored = this.#doc<Settings>('SELECT doc FROM settings WHERE id = 1');
    return { ...UNSET_SETTINGS, ...stored };
  }

  settings(): Settings {
    return this.#settings;
  }

  operator(id: string): Operator | undefined {
    return this.#doc<Operator>('SELECT doc FROM operators WHERE id = ?', id);
  }

  operatorByLogin(login: string): Operator | undefined {
    return this.#doc<Operator>(
      'SELECT doc FROM operators WHERE name = ?1 OR email = ?1 LIMIT 1',
      login,
    );
  }

  administrators(): number {
    return this.#count('SELECT count(*) AS n FROM operators WHERE administrator = 1');
  }

  operatorCount(): number {
    return this.#count('SELECT count(*) AS n FROM operators');
  }

  #count(sql: string): number {
    return this.#get<{ n: number }>(sql)?.n ?? 0;
  }

  apiKey(id: string): ApiKey | undefined {
    return this.#doc<ApiKey>('SELECT doc FROM api_keys WHERE id = ?', id);
  }

  apiKeyByName(name: string): ApiKey | undefined {
    return this.#doc<ApiKey>('SELECT doc FROM api_keys WHERE name = ?', name);
  }

  role(id: string): Role | undefined {
    const known = this.#roles.get(id);
    if (known !== undefined) return known;
    const role = this.#doc<Role>('SELECT doc FROM roles WHERE id = ?', id);
    if (role === undefined) return undefined;
    if (this.#roles.size >= ROLES_KEPT_MAX) this.#roles.clear();
    this.#roles.set(id, role);
    return role;
  }

  roleIdByName(name: string): string | undefined {
    return this.#get<{ id: string }>('SELECT id FROM roles WHERE name = ?', name)?.id;
  }

  credentialIdsByRole(roleId: string, max: number): readonly string[] {
    const sql =
      'SELECT credential_id AS id FROM credential_roles WHERE role_id = ? ORDER BY credential_id LIMIT ?';
    return (this.#prepared(sql).all(roleId, max) as { id: string }[]).map(({ id }) => id); // The column that the SQL names.
  }

  ban(id: string): Ban | undefined {
    return this.#doc<Ban>('SELECT doc FROM bans WHERE id = ?', id);
  }

  banByValue(kind: BanKind, value: string): Ban | undefined {
    return this.#doc<Ban>('SELECT doc FROM bans WHERE kind = ? AND value = ?', kind, value);
  }

  banPatternCount(): number {
    const kinds = BAN_PATTERN_KINDS.map((kind) => `'${kind}'`).join();
    return this.#count(`SELECT count(*) AS n FROM bans WHERE kind IN (${kinds})`);
  }

  banCount(): number {
    return this.#count('SELECT count(*) AS n FROM bans');
  }

  expiredBans(at: number, most: number): readonly Ban[] {
    const sql = 'SELECT doc FROM bans WHERE until <= ? ORDER BY until, id LIMIT ?';
    return this.#docs<Ban>(sql, at, most);
  }

  /** Every ban that is stored. */
  bans(): readonly Ban[] {
    return this.#docs<Ban>('SELECT doc FROM bans ORDER BY id');
  }

  /** The same, to look up who is banned. Not to be changed. */
  get banIndex(): BanIndex {
    return (this.#bans ??= new BanIndex(this.bans()));
  }

  import(id: string): Import | undefined {
    return this.#doc<Import>('SELECT doc FROM imports WHERE id = ?', id);
  }

  commitRevision(commitId: string): Revision | undefined {
    const sql = 'SELECT revision FROM commits WHERE commit_id = ?';
    return this.#get<{ revision: number }>(sql, commitId)?.revision;
  }
}
