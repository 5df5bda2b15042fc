import type {
  AclTable,
  AclTarget,
  ApiKey,
  AuthChain,
  Ban,
  BanKind,
  ChainMember,
  Credential,
  DecisionReads,
  Group,
  Operator,
  PendingRegistration,
  Revision,
  Role,
  Settings,
  Store,
  Trust,
} from '@sallyport/domain';

/** One page of a list. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Number of all objects that the search found. */
  readonly total: number;
}

export interface PageRequest<S extends string> {
  /** Zero-based. */
  readonly page: number;
  readonly pageSize: number;
  readonly sort: S;
  readonly order: 'asc' | 'desc';
  /** Case-insensitive substring of the name; wildcards mean nothing. */
  readonly search?: string;
}

export type CredentialSort = 'name' | 'createdAt' | 'updatedAt';
export type RoleSort = CredentialSort;

export interface CredentialPageRequest extends PageRequest<CredentialSort> {
  readonly store?: Store;
  /** Id of a role: only credentials that have it. */
  readonly role?: string;
  /** Only credentials that belong to one of these authenticators; not empty. */
  readonly chains?: readonly ChainMember[];
}

export type BanSort = 'value' | 'until' | 'createdAt' | 'updatedAt';
export type GroupSort = 'name' | 'createdAt' | 'updatedAt';
export type RegistrationSort = 'lastSeenAt' | 'createdAt' | 'username';

export interface AclPageRequest extends PageRequest<'target'> {
  readonly kind?: AclTarget['kind'];
}

/** What administrators list. Synchronous, at the model's revision. */
export interface Lists {
  groups(request: PageRequest<GroupSort>): Page<Group>;
  credentials(request: CredentialPageRequest): Page<Credential>;
  /** Of one kind of target its names are searched, else the whole `aclTargetKey`. */
  aclTables(request: AclPageRequest): Page<AclTable>;
  operators(): readonly Operator[];
  apiKeys(): readonly ApiKey[];
  /** By their scopes. */
  authChains(): readonly AuthChain[];
  roles(request: PageRequest<RoleSort>): Page<Role>;
  /** Those that have run out included, until they are cleaned. Searches values. One without an end sorts last. */
  bans(request: PageRequest<BanSort> & { readonly kind?: BanKind }): Page<Ban>;
  /** Requests that wait and have not ended at this time. Searches user names. */
  registrations(
    request: PageRequest<RegistrationSort> & { readonly at: number },
  ): Page<PendingRegistration>;
  /** Secrets that are still kept as they were imported, by algorithm; none that is zero. O(algorithms). */
  importedSecrets(): Readonly<Record<string, number>>;
  /** Revisions of the commits of an import, oldest first. */
  importCommits(importId: string): readonly Revision[];
}

/** Everything at one revision, however long it takes to read. Holds the file's old pages until it is disposed. */
export interface Snapshot
  extends Disposable, Pick<DecisionReads, 'credential' | 'role' | 'group' | 'groupRules'> {
  readonly revision: Revision;
  /** Credentials in the order of their ids, from the first one behind `after`. */
  credentials(after: string, limit: number): readonly Credential[];
  /** Credentials in the order of stores, chains and names. */
  credentialsByName(after: Credential | undefined, limit: number): readonly Credential[];
  /** Roles in the order of their names. */
  roles(after: Role | undefined, limit: number): readonly Role[];
  /** Groups in the order of their names. */
  groups(after: Group | undefined, limit: number): readonly Group[];
  /** Lists of rules in the order of `aclTargetKey`. */
  aclTables(after: AclTable | undefined, limit: number): readonly AclTable[];
  /** Bans in the order of kinds and values, those that have run out included. */
  bans(after: Ban | undefined, limit: number): readonly Ban[];
  /** In the order of their scopes. */
  authChains(): readonly AuthChain[];
  /** Of every listener that has one. */
  trust(): readonly Trust[];
  settings(): Settings;
}
