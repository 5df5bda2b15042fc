import type { Permission, Role } from '@sallyport/domain';
import { lookupsOf } from '../../http/one-object.ts';
import { refused } from '../../http/problems.ts';

export const roles = lookupsOf<Role>((reads, id) => reads.role(id), 'role_not_found');

/** @throws RefusedError `permission_not_found` */
export function foundPermission({ permissions }: Role, permissionId: string): Permission {
  const permission = permissions.find(({ id }) => id === permissionId);
  if (permission === undefined) throw refused('permission_not_found');
  return permission;
}
