import type { Permission } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { ApiContext, TypedApp } from '../../http/context.ts';
import { etagOf } from '../../http/etag.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import type { Done } from '../../http/write.ts';
import { foundPermission, roles } from './lookup.ts';
import {
  emptyQuery,
  idParams,
  onePermissionSchema,
  permissionAtBody,
  permissionBody,
  permissionListSchema,
  permissionParams,
  writeQuerySchema,
  writtenPermissionSchema,
} from './schema.ts';
import { withIds } from '../credentials/stored-body.ts';

const tags = ['roles'];
const READ = { permission: 'roles:read' } as const;
const WRITE = { permission: 'roles:write' } as const;
const LIST = '/roles/:id/permissions';
const ONE = `${LIST}/:permissionId`;

/** The permissions of a role, one by one. Their entity tag is the role's. */
export function registerPermissions(app: TypedApp, context: ApiContext): void {
  registerReads(app, context);
  registerAdd(app, context);
  registerReplace(app, context);
  registerRemove(app, context);
}

function registerReads(app: TypedApp, context: ApiContext): void {
  app.get(
    LIST,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listRolePermissions',
        summary: 'List the permissions of a role',
        params: idParams,
        querystring: emptyQuery,
        response: answers({ 200: permissionListSchema }, READ_PROBLEMS),
      },
    },
    (request, reply) => {
      const role = roles.found(context, request.params.id);
      void reply.header('etag', etagOf(role.updatedRevision));
      return { items: role.permissions };
    },
  );
  app.get(
    ONE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getRolePermission',
        summary: 'Read one permission of a role',
        params: permissionParams,
        querystring: emptyQuery,
        response: answers({ 200: onePermissionSchema }, READ_PROBLEMS),
      },
    },
    (request, reply) => {
      const role = roles.found(context, request.params.id);
      const permission = foundPermission(role, request.params.permissionId);
      void reply.header('etag', etagOf(role.updatedRevision));
      return permission;
    },
  );
}

/** The permission as a commit added it, whatever became of it since. */
function added(done: Done): Permission {
  const event = done.events.find((one) => one.type === 'RolePermissionAdded');
  assert(event !== undefined, 'a commit of AddRolePermission adds a permission');
  return event.data.permission;
}

function registerAdd(app: TypedApp, context: ApiContext): void {
  app.post(
    LIST,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'addRolePermission',
        summary: 'Add a permission to a role',
        params: idParams,
        querystring: writeQuerySchema,
        body: permissionBody,
        response: writeAnswers(201, writtenPermissionSchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      return context.writer.respond(request, reply, {
        command: (inputs) => {
          const [permission] = withIds([request.body], inputs);
          assert(permission !== undefined, 'one went in');
          const condition = roles.conditionOf(context, request, id);
          return { type: 'AddRolePermission', data: { id, permission, ...condition } };
        },
        current: roles.currentOf(context, id),
        answer: (done) => {
          const permission = added(done);
          return {
            status: 201,
            body: { ...permission },
            updatedRevision: done.revision,
            location: `/api/v1/roles/${encodeURIComponent(id)}/permissions/${encodeURIComponent(permission.id)}`,
          };
        },
      });
    },
  );
}

function registerReplace(app: TypedApp, context: ApiContext): void {
  app.put(
    ONE,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'replaceRolePermission',
        summary: 'Replace a permission of a role',
        params: permissionParams,
        querystring: writeQuerySchema,
        body: permissionAtBody,
        response: writeAnswers(200, writtenPermissionSchema),
      },
    },
    (request, reply) => {
      const { id, permissionId } = request.params;
      const permission = { ...request.body, id: permissionId };
      return context.writer.respond(request, reply, {
        command: () => ({
          type: 'ChangeRolePermission',
          data: { id, permission, ...roles.conditionOf(context, request, id) },
        }),
        current: roles.currentOf(context, id),
        answer: () => {
          const role = roles.found(context, id);
          return {
            status: 200,
            body: { ...foundPermission(role, permissionId) },
            updatedRevision: role.updatedRevision,
          };
        },
      });
    },
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  app.delete(
    ONE,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'deleteRolePermission',
        summary: 'Remove a permission from a role',
        params: permissionParams,
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const { id, permissionId } = request.params;
      return context.writer.respond(request, reply, {
        command: () => ({
          type: 'RemoveRolePermission',
          data: { id, permissionId, ...roles.conditionOf(context, request, id) },
        }),
        current: roles.currentOf(context, id),
        answer: () => ({ status: 204 }),
      });
    },
  );
}
