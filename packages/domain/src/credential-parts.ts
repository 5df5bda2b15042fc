import type { Revision } from './commit.ts';
import type { AccessSpec, Credential } from './credential.ts';
import type { DynsecGroupHeld, DynsecRoleHeld } from './dynsec/access.ts';
import { partRevisions } from './part-revisions.ts';
import { type Permission, permissionText } from './permission.ts';

/** What a decision may rest on in a credential; each of them is as it is since a revision of its own. */
export type CredentialPart =
  | { readonly kind: 'enabled' | 'superuser' | 'match' | 'validity' | 'clientIds' | 'secrets' }
  /** Kind and grants: what must be proven. */
  | { readonly kind: 'ways_in' }
  /** Which kind of access it is, whatever that holds. */
  | { readonly kind: 'access' }
  | { readonly kind: 'pattern'; readonly direction: Direction; readonly pattern: string }
  | {
      readonly kind: 'entry';
      readonly key: string;
      readonly direction: Direction;
      readonly pattern: string;
    }
  | { readonly kind: 'role'; readonly roleId: string }
  | { readonly kind: 'permission'; readonly permission: Permission }
  | { readonly kind: 'dynsec_role'; readonly held: DynsecRoleHeld }
  | { readonly kind: 'dynsec_group'; readonly held: DynsecGroupHeld }
  | { readonly kind: 'prefix' };

type Direction = 'publish' | 'subscribe';

/**
 * The revision that a part of a credential is there since as it is; that of the credential's newest change when it has no such part.
 * O(parts).
 */
export function credentialPartRevision(credential: Credential, part: CredentialPart): Revision {
  const { partRevisions: revisions, createdRevision, updatedRevision } = credential;
  const index = partsOf(credential).indexOf(textOf(credential, part));
  if (index < 0) return updatedRevision;
  return revisions?.[index] ?? createdRevision;
}

/** A credential after a change, with the revisions of its parts: none are kept as long as all are as old as itself. */
export function withPartRevisions(
  before: Credential,
  after: Credential,
  revision: Revision,
): Credential {
  const { partRevisions: _known, ...next } = after;
  const parts = partsOf(before);
  const { createdRevision } = before;
  const revisions = before.partRevisions ?? parts.map(() => createdRevision);
  const dated = partRevisions(partsOf(next), { parts, revisions }, (text) => text, revision);
  return dated.every((one) => one === createdRevision) ? next : { ...next, partRevisions: dated };
}

/** One text for each part. The order is what `partRevisions` of a stored credential goes by: another one is another schema. */
function partsOf(credential: Credential): readonly string[] {
  const kinds = [
    'enabled',
    'superuser',
    'match',
    'validity',
    'clientIds',
    'secrets',
    'ways_in',
    'access',
  ] as const;
  return [
    ...kinds.map((kind) => textOf(credential, { kind })),
    ...accessParts(credential.access).map((part) => textOf(credential, part)),
  ];
}

function accessParts(access: AccessSpec): readonly CredentialPart[] {
  switch (access.kind) {
    case 'patterns':
      return patternParts(access);
    case 'mapping':
      return access.entries.flatMap((entry) =>
        patternParts(entry).map((part): CredentialPart => ({
          ...part,
          kind: 'entry',
          key: entry.key,
        })),
      );
    case 'roles':
      return [
        { kind: 'prefix' },
        ...access.roles.map((roleId): CredentialPart => ({ kind: 'role', roleId })),
        ...access.permissions.map((permission): CredentialPart => ({
          kind: 'permission',
          permission,
        })),
      ];
    case 'dynsec':
      return [
        ...access.roles.map((held): CredentialPart => ({ kind: 'dynsec_role', held })),
        ...access.groups.map((held): CredentialPart => ({ kind: 'dynsec_group', held })),
      ];
    default:
      return [];
  }
}

interface Patterns {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

const patternParts = ({ publish, subscribe }: Patterns) => [
  ...publish.map((pattern) => ({ kind: 'pattern', direction: 'publish', pattern }) as const),
  ...subscribe.map((pattern) => ({ kind: 'pattern', direction: 'subscribe', pattern }) as const),
];

/** Injective: no two parts of a credential share a text. */
function textOf(credential: Credential, part: CredentialPart): string {
  return JSON.stringify([part.kind, valueOf(credential, part)]);
}

function valueOf(credential: Credential, part: CredentialPart): unknown {
  switch (part.kind) {
    case 'secrets':
      return [
        ...credential.secrets.map(({ secretId, expiresAt }) => [secretId, expiresAt]),
        ...(credential.tokens ?? []).map(({ tokenId, expiresAt }) => ['token', tokenId, expiresAt]),
      ];
    case 'ways_in':
      return [credential.kind, credential.passwordRequired, credential.grants];
    case 'access':
      return accessValue(credential.access);
    case 'pattern':
      return [part.direction, part.pattern];
    case 'entry':
      return [part.key, part.direction, part.pattern];
    case 'role':
      return part.roleId;
    case 'permission':
      return permissionText(part.permission);
    case 'dynsec_role':
      return [part.held.role, part.held.priority];
    case 'dynsec_group':
      return [part.held.group, part.held.priority];
    case 'prefix':
      return prefixOf(credential.access);
    default:
      return credential[part.kind];
  }
}

/** A mapping of another keyword is another mapping. */
const accessValue = (access: AccessSpec): unknown =>
  access.kind === 'mapping' ? [access.kind, access.keywordPattern] : access.kind;

const prefixOf = (access: AccessSpec): string =>
  access.kind === 'roles' ? (access.publishPrefix ?? '') : '';
