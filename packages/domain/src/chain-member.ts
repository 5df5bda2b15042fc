import type { Store } from './credential.ts';

/** `mechanism:backend` of an authenticator. */
export type AuthenticatorId = `${'password_based' | 'scram'}:built_in_database`;

export const AUTHENTICATOR_IDS: readonly AuthenticatorId[] = [
  'password_based:built_in_database',
  'scram:built_in_database',
];

/** The authenticator of a chain that a credential of the store `emqx` belongs to. */
export interface ChainMember {
  readonly scope: string;
  readonly authenticator: AuthenticatorId;
}

/** Of credentials that name none. */
export const DEFAULT_MEMBER: ChainMember = {
  scope: 'global',
  authenticator: 'password_based:built_in_database',
};

interface Belongs {
  readonly store: Store;
  readonly chain?: ChainMember | undefined;
}

/** Where a credential belongs; undefined in every store but `emqx`. */
export function memberOf({ store, chain }: Belongs): ChainMember | undefined {
  return store === 'emqx' ? (chain ?? DEFAULT_MEMBER) : undefined;
}

/** As it is stored: the default is absent, as it was before there were chains. */
export function storedMember(chain: ChainMember | undefined): ChainMember | undefined {
  return chain === undefined || memberKey(chain) === '' ? undefined : chain;
}

/** A text for each authenticator of each chain; empty for the default and outside of chains. */
export function memberKey(chain: ChainMember | undefined): string {
  if (chain === undefined) return '';
  const { scope, authenticator } = chain;
  const isDefault =
    scope === DEFAULT_MEMBER.scope && authenticator === DEFAULT_MEMBER.authenticator;
  return isDefault ? '' : `${scope}/${authenticator}`;
}

/**
 * Names and matches are unique in their realm: a store, and in the store `emqx` one authenticator of one chain. No two realms share
 * a text, and none has a colon before its `@`.
 */
export function realmOf({ store, chain }: Belongs): string {
  const key = memberKey(chain);
  return key === '' ? store : `${store}@${key}`;
}
