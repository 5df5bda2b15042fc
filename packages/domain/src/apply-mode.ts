import { unreachable } from '@sallyport/errors';
import type { AccessSpec, Store } from './credential.ts';

export const APPLY_MODES = ['pinned', 'live', 'kick'] as const;

/**
 * What a change of its sources does to a live session: `live` = the session is judged by the new rules at once, `pinned` = it keeps
 * the rules that it came in with, `kick` = it is disconnected when its rules change. A new CONNECT always has the newest rules.
 */
export type ApplyMode = (typeof APPLY_MODES)[number];

/**
 * What changes do to the live sessions of a credential, unless a change says otherwise: what its access says, or what is usual.
 * @source compat C3.1 (patterns and mappings; without any of them a TBMQ credential is of that system all the same), C3.4 (groups), C3.5
 */
export function applyModeOf({
  store,
  access,
}: {
  readonly store: Store;
  readonly access: AccessSpec;
}): ApplyMode {
  if (access.apply !== undefined) return access.apply;
  if (store === 'tbmq') return 'pinned';
  switch (access.kind) {
    case 'patterns':
    case 'mapping':
    case 'groups':
      return 'pinned';
    case 'acl':
    case 'unrestricted':
    case 'roles':
      return 'live';
    case 'dynsec':
      return 'kick';
    default:
      return unreachable(access);
  }
}

/**
 * Whether pinned sessions of the store outlive the credential itself, too: disabled, deleted, or its secret replaced.
 * Elsewhere only the rules are pinned, and who would not be let in any more is ended.
 * @source compat B6; tbmq 7, which says the same of create, update and delete
 */
export const outlivesCredential = (store: Store): boolean =>
  store === 'clients' || store === 'tbmq';
