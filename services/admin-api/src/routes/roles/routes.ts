import { evolveRole, type Role, type RoleFields } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { registerGetOne, registerRemoveOne } from '../../http/one-object.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import type { Done } from '../../http/write.ts';
import { roles } from './lookup.ts';
import { registerPermissions } from './permissions.ts';
import {
  createBody,
  idParams,
  listQuery,
  patchBody,
  removeQuery,
  replaceBody,
  rolePageSchema,
  roleSchema,
  roleView,
  writeQuerySchema,
  writtenRoleSchema,
} from './schema.ts';
import { type SentPermission, withIds } from '../credentials/stored-body.ts';

const tags = ['roles'];
const READ = { permission: 'roles:read' } as const;
const WRITE = { permission: 'roles:write' } as const;
const BASE = '/roles';
const ADDRESS = `${BASE}/:id`;

export const roleRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerCreate(app, context);
  registerReplace(app, context);
  registerPatch(app, context);
  registerRemove(app, context);
  registerPermissions(app, context);
};

function registerReads(app: TypedApp, context: ApiContext): void {
  app.get(
    BASE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listRoles',
        summary: 'List roles',
        querystring: listQuery,
        response: answers({ 200: rolePageSchema }, READ_PROBLEMS),
      },
    },
    (request) => {
      const wanted = pageRequestOf<'name' | 'createdAt' | 'updatedAt'>(request.query);
      const { items, total } = context.ports.model.lists.roles(wanted);
      const { page, pageSize } = wanted;
      return { items: items.map(roleView), total, page, pageSize };
    },
  );
  registerGetOne(app, context, roles, {
    address: ADDRESS,
    ...READ,
    tags,
    operationId: 'getRole',
    summary: 'Read one role',
    schema: roleSchema,
    view: roleView,
  });
}

/** The role as a commit added it, whatever became of it since. */
function added(done: Done): Role {
  const event = done.events.find((one) => one.type === 'RoleAdded');
  const role = event && evolveRole(undefined, event, done);
  assert(role !== undefined, 'a commit of AddRole adds a role');
  return role;
}

function registerCreate(app: TypedApp, context: ApiContext): void {
  app.post(
    BASE,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'createRole',
        summary: 'Add a role',
        querystring: writeQuerySchema,
        body: createBody,
        response: writeAnswers(201, writtenRoleSchema),
      },
    },
    (request, reply) => {
      const { name, permissions } = request.body;
      return context.writer.respond(request, reply, {
        command: (inputs) => ({
          type: 'AddRole',
          data: { id: inputs.id('role'), name, permissions: withIds(permissions, inputs) },
        }),
        answer: (done) => {
          const role = added(done);
          return {
            status: 201,
            body: roleView(role),
            updatedRevision: role.updatedRevision,
            location: `/api/v1${BASE}/${role.id}`,
          };
        },
      });
    },
  );
}

interface Change {
  readonly id: string;
  readonly name?: string;
  readonly permissions?: readonly SentPermission[];
}

function change(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { id, name, permissions }: Change,
): Promise<unknown> {
  return context.writer.respond(request, reply, {
    command: (inputs) => {
      const changes: Partial<RoleFields> = {
        ...(name === undefined ? {} : { name }),
        ...(permissions === undefined ? {} : { permissions: withIds(permissions, inputs) }),
      };
      return {
        type: 'ChangeRole',
        data: { id, changes, ...roles.conditionOf(context, request, id) },
      };
    },
    current: roles.currentOf(context, id),
    answer: () => {
      const role = roles.found(context, id);
      return { status: 200, body: roleView(role), updatedRevision: role.updatedRevision };
    },
  });
}

function registerReplace(app: TypedApp, context: ApiContext): void {
  app.put(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'replaceRole',
        summary: 'Replace a role',
        params: idParams,
        querystring: writeQuerySchema,
        body: replaceBody,
        response: writeAnswers(200, writtenRoleSchema),
      },
    },
    (request, reply) => change(context, request, reply, { id: request.params.id, ...request.body }),
  );
}

function registerPatch(app: TypedApp, context: ApiContext): void {
  app.patch(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'patchRole',
        summary: 'Change parts of a role',
        params: idParams,
        querystring: writeQuerySchema,
        body: patchBody,
        response: writeAnswers(200, writtenRoleSchema),
      },
    },
    (request, reply) => change(context, request, reply, { id: request.params.id, ...request.body }),
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  registerRemoveOne(app, context, roles, {
    address: ADDRESS,
    ...WRITE,
    tags,
    operationId: 'deleteRole',
    summary: 'Remove a role',
    query: removeQuery,
    command: (id, condition, query) => {
      const { detach } = query as Static<typeof removeQuery>; // The route's schema.
      return { type: 'RemoveRole', data: { id, detach, ...condition } };
    },
  });
}
