import type { ApiKey, AclTable, Credential, Operator, Store } from '@sallyport/domain';

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

/** What administrators list. Synchronous, at the model's revision. */
export interface Lists {
  credentials(request: PageRequest<CredentialSort> & { readonly store?: Store }): Page<Credential>;
  aclTables(request: PageRequest<'target'>): Page<AclTable>;
  operators(): readonly Operator[];
  apiKeys(): readonly ApiKey[];
}
