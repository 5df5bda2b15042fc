import { unreachable } from '@sallyport/errors';
import type { ApplyMode } from './apply-mode.ts';
import {
  type CertificateMapping,
  mapCertificate,
  type MappingFacts,
} from './certificate-mapping.ts';
import { mayName } from './certificate.ts';
import type { ChainMember } from './chain-member.ts';
import { type ClientIds, letsIn } from './client-ids.ts';
import type { EventContext, Revision } from './commit.ts';
import { withPartRevisions } from './credential-parts.ts';
import {
  type CredentialToken,
  type CredentialTokenEvent,
  evolveTokens,
} from './credential-token.ts';
import type { DynsecAccess } from './dynsec/access.ts';
import type { Grant } from './grants.ts';
import { knownText } from './known-text.ts';
import { namesClientId } from './pattern-placeholder.ts';
import { type CredentialRehash, type ImportedAlgorithm, rehashed } from './rehash.ts';
import { type RolesAccess, withoutRole } from './roles-access.ts';
import type { ScramKeys } from './scram.ts';
import type { Validity } from './validity.ts';

/** In the order in which a CONNECT is tried against them, where its listener says no other. */
export const STORES = ['native', 'tbmq', 'emqx', 'cybus', 'clients'] as const;

/** Where a credential belongs; names and matches are unique within their store, in `emqx` within their authenticator. */
export type Store = (typeof STORES)[number];

/** Most secrets of one credential that may be live at the same time: the current one and the one that it replaces. */
export const LIVE_SECRETS_MAX = 2;
export const ATTRIBUTES_MAX = 32;
/** Longest name, in bytes of UTF-8: the longest client id or user name, and what kind it is, where both have names of their own. */
export const CREDENTIAL_NAME_BYTES_MAX = 320;
/** Most connections that one credential can be limited to: as good as no limit. */
export const CREDENTIAL_SESSIONS_MAX = 1_000_000;
/** Most patterns for each direction of one credential, and the longest of them. */
export const PATTERNS_MAX = 100;
export const PATTERN_BYTES_MAX = 1024;

/**
 * What a CONNECT must carry to be judged by a credential: of kind `password` a username, a client id or both; of kind
 * `certificate` one of the other three.
 */
export interface CredentialMatch {
  readonly username?: string;
  readonly clientId?: string;
  /** In place of both: the user name of a SCRAM exchange and of nothing else, so that it stands beside a `username` like it. */
  readonly scramUsername?: string;
  /** SHA-256 of the client's own certificate, 64 lower-case hexadecimal digits. */
  readonly fingerprint?: string;
  /** Common Name of the client's own certificate. */
  readonly commonName?: string;
  /** Common Name of the certificate or of one that vouches for it; the nearest to it decides in each store. */
  readonly parentCommonName?: string;
  /** The same by a regular expression in Java's syntax, which is searched in the name. */
  readonly parentCommonNamePattern?: string;
}

/** A secret that opens the credential. The verifier is sealed under the deployment key. */
export interface Secret {
  readonly secretId: string;
  /** Absent in a secret that only SCRAM proves. */
  readonly verifier?: string;
  /** The hash that was brought from elsewhere, until the secret is first used. */
  readonly imported?: ImportedAlgorithm;
  /** Mechanisms that the secret may also be proven with; none unless they were asked for, one entry each. */
  readonly scram?: readonly ScramKeys[];
  readonly createdAt: number;
  /** First millisecond at which the secret opens nothing any more. */
  readonly expiresAt?: number;
}

/** How a credential itself grants topics; ACL tables are looked at in every case. */
export type AccessSpec = AccessKind & {
  /** What changes do to live sessions; absent: what is usual for the kind of access and the store (`applyModeOf`). */
  readonly apply?: ApplyMode;
};

type AccessKind =
  /** No opinion of its own: the ACL tables decide. */
  | { readonly kind: 'acl' }
  /** Everything but reserved topics. */
  | { readonly kind: 'unrestricted' }
  /** Whole-match regular expressions in Java's syntax, which may hold `${clientId}`; an empty list allows nothing in that direction. */
  | {
      readonly kind: 'patterns';
      readonly publish: readonly string[];
      readonly subscribe: readonly string[];
    }
  /** Only what the groups of the connection allow; group rules say which those are. */
  | { readonly kind: 'groups' }
  /** Roles, and permissions of its own. */
  | RolesAccess
  | DynsecAccess
  | CertificateMapping;

/** What an administrator decides about a credential. */
export interface CredentialFields {
  readonly kind: 'password' | 'certificate';
  readonly name: string;
  readonly match: CredentialMatch;
  readonly enabled: boolean;
  /** Skips every rule but the guard of reserved topics. */
  readonly superuser: boolean;
  /** When false, the match alone opens the credential, with any password or none. */
  readonly passwordRequired: boolean;
  readonly attributes: Readonly<Record<string, string>>;
  readonly access: AccessSpec;
  /** Ways in; absent or empty: `passwordRequired` and the kind say it. */
  readonly grants?: readonly Grant[];
  readonly validity?: Validity;
  /** Absent or empty: all of them. Others are refused, and no other credential is asked in its place. */
  readonly clientIds?: ClientIds;
  /** Made by a system and not by a person. Absent: no. */
  readonly autoGenerated?: boolean;
  /** Clients that may be connected with it at once, over all nodes; 0 or absent: as many as is usual. */
  readonly sessionsMax?: number;
}

export interface NewCredential extends CredentialFields {
  readonly id: string;
  readonly store: Store;
  /** Of the store `emqx` only. Absent: the authenticator for passwords of the global chain, as before there were chains. */
  readonly chain?: ChainMember;
  readonly secrets: readonly Secret[];
}

export interface Credential extends NewCredential {
  readonly createdAt: number;
  readonly createdRevision: Revision;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
  readonly tokens?: readonly CredentialToken[];
  /** For each of its parts the revision that it is there since as it is; absent: all are as old as the credential. */
  readonly partRevisions?: readonly Revision[];
}

export type CredentialEvent =
  | { readonly type: 'CredentialAdded'; readonly data: NewCredential }
  | {
      readonly type: 'CredentialChanged';
      readonly data: { readonly id: string; readonly changes: Partial<CredentialFields> };
    }
  | {
      readonly type: 'CredentialSecretAdded';
      readonly data: {
        readonly id: string;
        readonly secret: Secret;
        /** Secrets that were live before, and when each of them ends now. */
        readonly retired: readonly { readonly secretId: string; readonly expiresAt: number }[];
      };
    }
  | {
      readonly type: 'CredentialSecretRemoved';
      readonly data: { readonly id: string; readonly secretId: string };
    }
  | { readonly type: 'CredentialRemoved'; readonly data: { readonly id: string } }
  | { readonly type: 'CredentialSecretRehashed'; readonly data: CredentialRehash }
  | CredentialTokenEvent
  /** A role that is removed was taken from it. */
  | {
      readonly type: 'CredentialRoleRemoved';
      readonly data: { readonly id: string; readonly roleId: string };
    };

export function addedCredential(added: NewCredential, { at, revision }: EventContext): Credential {
  // Its own members first: behind a spread of so many they cost V8 twenty times as much.
  return {
    createdAt: at,
    createdRevision: revision,
    updatedAt: at,
    updatedRevision: revision,
    ...added,
  };
}

export function evolveCredential(
  state: Credential | undefined,
  event: CredentialEvent,
  context: EventContext,
): Credential | undefined {
  if (event.type === 'CredentialAdded') return addedCredential(event.data, context);
  if (event.type === 'CredentialRemoved' || state === undefined) return undefined;
  // Nobody has decided anything: who has read the credential may still write on what they saw.
  if (event.type === 'CredentialSecretRehashed') return rehashed(state, event.data);
  return withPartRevisions(state, evolveChange(state, event, context), context.revision);
}

type ChangeEvent = Exclude<
  CredentialEvent,
  { type: 'CredentialAdded' | 'CredentialRemoved' | 'CredentialSecretRehashed' }
>;

function evolveChange(state: Credential, event: ChangeEvent, context: EventContext): Credential {
  const updated = { ...state, updatedAt: context.at, updatedRevision: context.revision };
  switch (event.type) {
    case 'CredentialChanged':
      return { ...updated, ...event.data.changes };
    case 'CredentialSecretAdded': {
      const ends = new Map(event.data.retired.map((one) => [one.secretId, one.expiresAt]));
      const kept = state.secrets
        .filter((one) => isLive(one, context.at))
        .map((one) => {
          const expiresAt = ends.get(one.secretId);
          return expiresAt === undefined ? one : { ...one, expiresAt };
        });
      return { ...updated, secrets: [event.data.secret, ...kept] };
    }
    case 'CredentialSecretRemoved':
      return {
        ...updated,
        secrets: state.secrets.filter((one) => one.secretId !== event.data.secretId),
      };
    case 'CredentialTokenAdded':
    case 'CredentialTokenRemoved':
      return { ...updated, tokens: evolveTokens(state, event, context.at) };
    case 'CredentialRoleRemoved':
      return { ...updated, access: withoutRole(state.access, event.data.roleId) };
    default:
      return unreachable(event);
  }
}

/**
 * The JSON texts of what `evolveCredential` makes of the additions of one commit: `head`, which is the same for all, and behind it the
 * rest of each; a text that is known is not written again.
 */
export function addedTexts({ at, revision }: EventContext): {
  readonly head: string;
  readonly restOf: (event: Extract<CredentialEvent, { type: 'CredentialAdded' }>) => string;
} {
  const own = {
    createdAt: at,
    createdRevision: revision,
    updatedAt: at,
    updatedRevision: revision,
  };
  return {
    head: `${JSON.stringify(own).slice(0, -1)},`,
    restOf: ({ data }) => (knownText(data) ?? JSON.stringify(data)).slice(1),
  };
}

/** Whether the secret still opens its credential at this time. */
export function isLive(secret: Secret, at: number): boolean {
  return secret.expiresAt === undefined || at < secret.expiresAt;
}

/** Whether patterns that a credential has of its own name the client id. O(patterns). */
export const namesOwnClientId = (access: AccessSpec): boolean =>
  access.kind === 'patterns' && [...access.publish, ...access.subscribe].some(namesClientId);

/**
 * Whether a client id is none that the credential lets in: another one, or one that cannot stand in a topic where its patterns name it.
 * @source compat tbmq 4.9
 */
export function refusesClientId(
  { clientIds, access }: Pick<CredentialFields, 'clientIds' | 'access'>,
  facts: MappingFacts,
): boolean {
  const { clientId } = facts;
  if (!letsIn(clientIds, clientId)) return true;
  if (mayName(clientId)) return false;
  if (access.kind !== 'mapping') return namesOwnClientId(access);
  return mapCertificate(access, facts)?.byClientId === true;
}
