import { assert, unreachable } from '@sallyport/errors';
import {
  type AclTable,
  type AclTableEvent,
  type AclTarget,
  aclTargetKey,
  evolveAclTable,
} from './acl-table.ts';
import type { Ban, BanKind } from './ban.ts';
import type { DomainEvent, EventContext } from './commit.ts';
import {
  type Credential,
  type CredentialEvent,
  type CredentialMatch,
  evolveCredential,
  loginKey,
  type NewCredential,
  type Store,
} from './credential.ts';
import type { DecisionReads, StreamId } from './domain.ts';
import { evolveImport, type Import, type ImportEvent } from './import.ts';
import type { ApiKey, Operator } from './operator.ts';
import type { Group } from './group.ts';
import type { GroupRules } from './group-rules.ts';
import type { Role } from './role.ts';
import type { TlsListener, Trust } from './trust.ts';
import { evolveSettings, type SettingEvent, type Settings } from './setting.ts';

/**
 * A state and, on top of it, the events that were decided on it and are not stored yet: so that many commands of one commit
 * are each decided on what the ones before them do. Lookups cost one more map lookup than those of the state below.
 */
export class Overlay implements DecisionReads {
  readonly #base: DecisionReads;
  readonly #context: EventContext;
  /** Null is for what was removed. */
  readonly #credentials = new Map<string, Credential | null>();
  readonly #names = new Map<string, string | null>();
  readonly #logins = new Map<string, string | null>();
  readonly #aclTables = new Map<string, AclTable | null>();
  readonly #imports = new Map<string, Import>();
  #settings: Settings | undefined;

  /** `at` is the time of the commit that the events will be part of; its revision is not known yet and counts as 0. */
  constructor(base: DecisionReads, at: number) {
    this.#base = base;
    this.#context = { at, revision: 0 };
  }

  /** What is no part of a plan is changed one by one, so its events are a bug here. */
  apply(event: DomainEvent, { aggregate, key }: StreamId): void {
    switch (aggregate) {
      case 'credential':
        this.#applyCredential(key, event as CredentialEvent); // The stream told the aggregate.
        break;
      case 'acl-table': {
        const { target } = event.data as AclTableEvent['data']; // The stream told the aggregate.
        const next = evolveAclTable(this.aclTable(target), event as AclTableEvent, this.#context);
        this.#aclTables.set(key, next ?? null);
        break;
      }
      case 'setting':
        this.#settings = evolveSettings(this.settings(), event as SettingEvent, this.#context);
        break;
      case 'import':
        this.#imports.set(key, evolveImport(this.import(key), event as ImportEvent, this.#context));
        break;
      case 'operator':
      case 'trust':
      case 'role':
      case 'ban':
      case 'group':
      case 'group-rules':
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
    for (const { id, store, name, match } of added) {
      const [byName, byMatch] = [nameOf(store, name), loginOf(store, match)];
      if (!this.#credentials.has(id) && !taken.ids.has(id)) this.#credentials.set(id, null);
      if (!this.#names.has(byName)) this.#names.set(byName, taken.names.get(byName) ?? null);
      if (!this.#logins.has(byMatch)) this.#logins.set(byMatch, taken.logins.get(byMatch) ?? null);
    }
  }

  #applyCredential(id: string, event: CredentialEvent): void {
    const before = event.type === 'CredentialAdded' ? undefined : this.credential(id);
    const next = evolveCredential(before, event, this.#context);
    if (before !== undefined) {
      this.#names.set(nameOf(before.store, before.name), null);
      this.#logins.set(loginOf(before.store, before.match), null);
    }
    this.#credentials.set(id, next ?? null);
    if (next === undefined) return;
    this.#names.set(nameOf(next.store, next.name), id);
    this.#logins.set(loginOf(next.store, next.match), id);
  }

  credential(id: string): Credential | undefined {
    const known = this.#credentials.get(id);
    return known === undefined ? this.#base.credential(id) : (known ?? undefined);
  }

  credentialIdByName(store: Store, name: string): string | undefined {
    const known = this.#names.get(nameOf(store, name));
    return known === undefined ? this.#base.credentialIdByName(store, name) : (known ?? undefined);
  }

  credentialIdByMatch(store: Store, match: CredentialMatch): string | undefined {
    const known = this.#logins.get(loginOf(store, match));
    return known === undefined
      ? this.#base.credentialIdByMatch(store, match)
      : (known ?? undefined);
  }

  aclTable(target: AclTarget): AclTable | undefined {
    const known = this.#aclTables.get(aclTargetKey(target));
    return known === undefined ? this.#base.aclTable(target) : (known ?? undefined);
  }

  settings(): Settings {
    return this.#settings ?? this.#base.settings();
  }

  import(id: string): Import | undefined {
    return this.#imports.get(id) ?? this.#base.import(id);
  }

  role(id: string): Role | undefined {
    return this.#base.role(id);
  }

  roleIdByName(name: string): string | undefined {
    return this.#base.roleIdByName(name);
  }

  credentialIdsByRole(roleId: string, max: number): readonly string[] {
    return this.#base.credentialIdsByRole(roleId, max);
  }

  trust(listener: TlsListener): Trust | undefined {
    return this.#base.trust(listener);
  }

  ban(id: string): Ban | undefined {
    return this.#base.ban(id);
  }

  banByValue(kind: BanKind, value: string): Ban | undefined {
    return this.#base.banByValue(kind, value);
  }

  banCount(): number {
    return this.#base.banCount();
  }

  expiredBans(at: number, most: number): readonly Ban[] {
    return this.#base.expiredBans(at, most);
  }

  group(id: string): Group | undefined {
    return this.#base.group(id);
  }

  groupIdByName(name: string): string | undefined {
    return this.#base.groupIdByName(name);
  }

  groupCount(): number {
    return this.#base.groupCount();
  }

  groupRules(): GroupRules {
    return this.#base.groupRules();
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

// No store has a colon in its name.
const nameOf = (store: Store, name: string): string => `${store}:${name}`;
const loginOf = (store: Store, match: CredentialMatch): string => `${store}:${loginKey(match)}`;
