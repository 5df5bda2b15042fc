import { unreachable } from '@sallyport/errors';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import type { CredentialEvent } from './credential.ts';
import { partRevisions } from './part-revisions.ts';
import {
  checkPermission,
  checkPermissions,
  type Permission,
  PERMISSIONS_MAX,
  permissionText,
} from './permission.ts';
import { Problems } from './text.ts';

/** Most credentials that a role is taken from in the commit that removes it; their events fit into one commit. */
export const DETACHED_CREDENTIALS_MAX = 1000;
export const ROLE_ID_BYTES_MAX = 64;

/** What an administrator decides about a role. */
export interface RoleFields {
  /** Unique among roles. */
  readonly name: string;
  readonly permissions: readonly Permission[];
}

export interface NewRole extends RoleFields {
  readonly id: string;
}

export interface Role extends NewRole {
  /** For each of the permissions, the revision that it is there since as it is. */
  readonly permissionRevisions: readonly Revision[];
  readonly createdAt: number;
  readonly createdRevision: Revision;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

export type RoleEvent =
  | { readonly type: 'RoleAdded'; readonly data: NewRole }
  | {
      readonly type: 'RoleChanged';
      readonly data: { readonly id: string; readonly changes: Partial<RoleFields> };
    }
  | { readonly type: 'RoleRemoved'; readonly data: { readonly id: string } }
  | {
      readonly type: 'RolePermissionAdded';
      readonly data: { readonly id: string; readonly permission: Permission };
    }
  | {
      readonly type: 'RolePermissionChanged';
      readonly data: { readonly id: string; readonly permission: Permission };
    }
  | {
      readonly type: 'RolePermissionRemoved';
      readonly data: { readonly id: string; readonly permissionId: string };
    };

export function evolveRole(
  state: Role | undefined,
  event: RoleEvent,
  context: EventContext,
): Role | undefined {
  if (event.type === 'RoleAdded') {
    return {
      ...event.data,
      permissionRevisions: event.data.permissions.map(() => context.revision),
      createdAt: context.at,
      createdRevision: context.revision,
      updatedAt: context.at,
      updatedRevision: context.revision,
    };
  }
  if (event.type === 'RoleRemoved' || state === undefined) return undefined;
  const { permissions } = state;
  const next = { ...state, ...evolveFields(state, event) };
  return {
    ...next,
    permissionRevisions: partRevisions(
      next.permissions,
      { parts: permissions, revisions: state.permissionRevisions },
      permissionText,
      context.revision,
    ),
    updatedAt: context.at,
    updatedRevision: context.revision,
  };
}

function evolveFields(
  { permissions }: Role,
  event: Exclude<RoleEvent, { type: 'RoleAdded' | 'RoleRemoved' }>,
): Partial<RoleFields> {
  switch (event.type) {
    case 'RoleChanged':
      return event.data.changes;
    case 'RolePermissionAdded':
      return { permissions: [...permissions, event.data.permission] };
    case 'RolePermissionChanged': {
      const { permission } = event.data;
      return {
        permissions: permissions.map((one) => (one.id === permission.id ? permission : one)),
      };
    }
    case 'RolePermissionRemoved': {
      const { permissionId } = event.data;
      return { permissions: permissions.filter(({ id }) => id !== permissionId) };
    }
    default:
      return unreachable(event);
  }
}

/** What `decideRole` needs to know of the world. */
export interface RoleReads {
  role(id: string): Role | undefined;
  roleIdByName(name: string): string | undefined;
  /** Ids of credentials that have the role, at most so many, in order of their ids. By an index: there may be a million. */
  credentialIdsByRole(roleId: string, max: number): readonly string[];
}

interface Targeted {
  readonly id: string;
  /** Refused with `precondition_failed` unless the role was last changed by exactly this revision. */
  readonly ifRevision?: Revision;
}

export type RoleCommand =
  | { readonly type: 'AddRole'; readonly data: NewRole }
  | {
      readonly type: 'ChangeRole';
      readonly data: Targeted & { readonly changes: Partial<RoleFields> };
    }
  | {
      readonly type: 'RemoveRole';
      /** `detach` takes it from the credentials that have it; without, the role must have none. */
      readonly data: Targeted & { readonly detach?: boolean };
    }
  | {
      readonly type: 'AddRolePermission';
      readonly data: Targeted & { readonly permission: Permission };
    }
  | {
      readonly type: 'ChangeRolePermission';
      readonly data: Targeted & { readonly permission: Permission };
    }
  | {
      readonly type: 'RemoveRolePermission';
      readonly data: Targeted & { readonly permissionId: string };
    };

/** Never throws on input. */
export function decideRole(
  reads: RoleReads,
  command: RoleCommand,
): Decided<RoleEvent | CredentialEvent> {
  if (command.type === 'AddRole') return decideAdd(reads, command.data);
  const current = reads.role(command.data.id);
  if (current === undefined) return reject('role_not_found');
  const { ifRevision } = command.data;
  if (ifRevision !== undefined && ifRevision !== current.updatedRevision) {
    return reject('precondition_failed', {
      detail: `The role was last changed by revision ${current.updatedRevision}.`,
    });
  }
  switch (command.type) {
    case 'ChangeRole':
      return decideChange(reads, current, command.data.changes);
    case 'RemoveRole':
      return decideRemove(reads, current, command.data.detach === true);
    case 'AddRolePermission':
      return decideAddPermission(current, command.data.permission);
    case 'ChangeRolePermission':
      return decideChangePermission(current, command.data.permission);
    case 'RemoveRolePermission':
      if (!has(current, command.data.permissionId)) return reject('permission_not_found');
      return accept({
        type: 'RolePermissionRemoved',
        data: { id: current.id, permissionId: command.data.permissionId },
      });
    default:
      return unreachable(command);
  }
}

const has = ({ permissions }: Role, permissionId: string): boolean =>
  permissions.some(({ id }) => id === permissionId);

function decideAdd(reads: RoleReads, added: NewRole): Decided<RoleEvent> {
  const problems = new Problems();
  problems.text('/id', added.id, ROLE_ID_BYTES_MAX);
  problems.text('/name', added.name);
  checkPermissions(problems, '/permissions', added.permissions);
  if (problems.found.length > 0) return reject('role_invalid', { problems: problems.found });
  if (reads.role(added.id) !== undefined) return reject('role_exists');
  if (reads.roleIdByName(added.name) !== undefined) return nameTaken();
  return accept({ type: 'RoleAdded', data: added });
}

function decideChange(
  reads: RoleReads,
  current: Role,
  wanted: Partial<RoleFields>,
): Decided<RoleEvent> {
  const { name = current.name, permissions = current.permissions } = wanted;
  const problems = new Problems();
  problems.text('/name', name);
  checkPermissions(problems, '/permissions', permissions);
  if (problems.found.length > 0) return reject('role_invalid', { problems: problems.found });
  const named = reads.roleIdByName(name);
  if (named !== undefined && named !== current.id) return nameTaken();
  const changes: Partial<RoleFields> = {
    ...(name !== current.name && { name }),
    ...(!isSame(permissions, current.permissions) && { permissions }),
  };
  if (Object.keys(changes).length === 0) return accept();
  return accept({ type: 'RoleChanged', data: { id: current.id, changes } });
}

const nameTaken = (): ReturnType<typeof reject> =>
  reject('role_name_taken', {
    problems: [{ pointer: '/name', detail: 'is the name of another role' }],
  });

const isSame = (left: readonly Permission[], right: readonly Permission[]): boolean =>
  left.length === right.length &&
  left.every((one, index) => {
    const other = right[index];
    return other !== undefined && permissionText(one) === permissionText(other);
  });

/** A role that somebody has is removed only where that is asked for, lest rights vanish by a slip. */
function decideRemove(
  reads: RoleReads,
  { id }: Role,
  detach: boolean,
): Decided<RoleEvent | CredentialEvent> {
  const removed: RoleEvent = { type: 'RoleRemoved', data: { id } };
  const holders = reads.credentialIdsByRole(id, detach ? DETACHED_CREDENTIALS_MAX + 1 : 1);
  if (holders.length === 0) return accept(removed);
  if (!detach) {
    return reject('role_in_use', { detail: `The credential ${holders[0] ?? ''} has the role.` });
  }
  if (holders.length > DETACHED_CREDENTIALS_MAX) {
    return reject('role_in_use', {
      detail: `More than ${DETACHED_CREDENTIALS_MAX} credentials have the role; take it from some of them first.`,
    });
  }
  const taken = holders.map((holder): CredentialEvent => ({
    type: 'CredentialRoleRemoved',
    data: { id: holder, roleId: id },
  }));
  return accept<RoleEvent | CredentialEvent>(removed, ...taken);
}

function decideAddPermission(current: Role, permission: Permission): Decided<RoleEvent> {
  const invalid = permissionProblems(permission);
  if (invalid !== undefined) return invalid;
  if (has(current, permission.id)) return reject('permission_exists');
  if (current.permissions.length >= PERMISSIONS_MAX) {
    return reject('too_many_permissions', {
      detail: `A role has at most ${PERMISSIONS_MAX} permissions.`,
    });
  }
  return accept({ type: 'RolePermissionAdded', data: { id: current.id, permission } });
}

function decideChangePermission(current: Role, permission: Permission): Decided<RoleEvent> {
  const present = current.permissions.find(({ id }) => id === permission.id);
  if (present === undefined) return reject('permission_not_found');
  const invalid = permissionProblems(permission);
  if (invalid !== undefined) return invalid;
  if (permissionText(present) === permissionText(permission)) return accept();
  return accept({ type: 'RolePermissionChanged', data: { id: current.id, permission } });
}

function permissionProblems(permission: Permission): ReturnType<typeof reject> | undefined {
  const problems = new Problems();
  checkPermission(problems, '', permission);
  if (problems.found.length === 0) return undefined;
  return reject('role_invalid', { problems: problems.found });
}
