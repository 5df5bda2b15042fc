import type { Permission, Revision, Role } from '@sallyport/domain';
import type { FastifyRequest } from 'fastify';
import type { ApiContext } from '../../http/context.ts';
import { ifRevisionOf } from '../../http/etag.ts';
import { refused } from '../../http/problems.ts';

/** @throws RefusedError `role_not_found` */
export function found({ ports }: ApiContext, id: string): Role {
  const role = ports.model.reads.role(id);
  if (role === undefined) throw refused('role_not_found');
  return role;
}

/** @throws RefusedError `permission_not_found` */
export function foundPermission({ permissions }: Role, permissionId: string): Permission {
  const permission = permissions.find(({ id }) => id === permissionId);
  if (permission === undefined) throw refused('permission_not_found');
  return permission;
}

/** Revision that last changed the role now, for the entity tag of a refusal. */
export const currentOf =
  ({ ports }: ApiContext, id: string) =>
  (): Revision | undefined =>
    ports.model.reads.role(id)?.updatedRevision;

/** What a command must find, from `If-Match`. @throws RefusedError `role_not_found`, `precondition_failed` */
export function conditionOf(
  context: ApiContext,
  request: FastifyRequest,
  id: string,
): { readonly ifRevision?: Revision } {
  const ifRevision = ifRevisionOf(request, found(context, id).updatedRevision);
  return ifRevision === undefined ? {} : { ifRevision };
}
