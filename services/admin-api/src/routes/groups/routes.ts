import { evolveGroup, type Group, type Revision } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { FastifyRequest } from 'fastify';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { etagOf, ifRevisionOf } from '../../http/etag.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import type { Answer, Done } from '../../http/write.ts';
import {
  emptyQuery,
  groupBody,
  groupPageSchema,
  groupSchema,
  groupView,
  idParams,
  listQuery,
  writeQuerySchema,
  writtenGroupSchema,
} from './schema.ts';

const tags = ['groups'];
const READ = { permission: 'groups:read' } as const;
const WRITE = { permission: 'groups:write' } as const;
const BASE = '/groups';
const ADDRESS = `${BASE}/:id`;

export const groupRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerCreate(app, context);
  registerReplace(app, context);
  registerRemove(app, context);
};

/** @throws RefusedError `group_not_found` */
function found(context: ApiContext, id: string): Group {
  const group = context.ports.model.reads.group(id);
  if (group === undefined) throw refused('group_not_found');
  return group;
}

const currentOf = (context: ApiContext, id: string) => (): Revision | undefined =>
  context.ports.model.reads.group(id)?.updatedRevision;

/** @throws RefusedError `group_not_found`, `precondition_failed` */
function conditionOf(
  context: ApiContext,
  request: FastifyRequest,
  id: string,
): { readonly ifRevision?: Revision } {
  const ifRevision = ifRevisionOf(request, found(context, id).updatedRevision);
  return ifRevision === undefined ? {} : { ifRevision };
}

function registerReads(app: TypedApp, context: ApiContext): void {
  app.get(
    BASE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listGroups',
        summary: 'List groups',
        querystring: listQuery,
        response: answers({ 200: groupPageSchema }, READ_PROBLEMS),
      },
    },
    (request) => {
      const wanted = pageRequestOf<'name' | 'createdAt' | 'updatedAt'>(request.query);
      const { items, total } = context.ports.model.lists.groups(wanted);
      const { page, pageSize } = wanted;
      return { items: items.map(groupView), total, page, pageSize };
    },
  );
  app.get(
    ADDRESS,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getGroup',
        summary: 'Read one group',
        params: idParams,
        querystring: emptyQuery,
        response: answers({ 200: groupSchema }, READ_PROBLEMS),
      },
    },
    (request, reply) => {
      const group = found(context, request.params.id);
      void reply.header('etag', etagOf(group.updatedRevision));
      return groupView(group);
    },
  );
}

function registerCreate(app: TypedApp, context: ApiContext): void {
  app.post(
    BASE,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'createGroup',
        summary: 'Add a group',
        querystring: writeQuerySchema,
        body: groupBody,
        response: writeAnswers(201, writtenGroupSchema),
      },
    },
    (request, reply) =>
      context.writer.respond(request, reply, {
        command: (inputs) => ({
          type: 'AddGroup',
          data: { ...request.body, id: inputs.id('group') },
        }),
        answer: (done) => {
          const { id, answer } = added(done);
          return { ...answer, status: 201, location: `/api/v1${BASE}/${id}` };
        },
      }),
  );
}

/** The group as a commit added it, whatever became of it since. */
function added(done: Done): { readonly id: string; readonly answer: Omit<Answer, 'status'> } {
  const event = done.events.find((one) => one.type === 'GroupAdded');
  const group = event && evolveGroup(undefined, event, done);
  assert(group !== undefined, 'a commit of AddGroup adds a group');
  const { id, updatedRevision } = group;
  return { id, answer: { body: groupView(group), updatedRevision } };
}

function registerReplace(app: TypedApp, context: ApiContext): void {
  app.put(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'replaceGroup',
        summary: 'Replace a group',
        params: idParams,
        querystring: writeQuerySchema,
        body: groupBody,
        response: writeAnswers(200, writtenGroupSchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      return context.writer.respond(request, reply, {
        command: () => ({
          type: 'ReplaceGroup',
          data: { ...request.body, id, ...conditionOf(context, request, id) },
        }),
        current: currentOf(context, id),
        answer: () => {
          const group = found(context, id);
          const { updatedRevision } = group;
          return { status: 200, body: groupView(group), updatedRevision };
        },
      });
    },
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  app.delete(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'deleteGroup',
        summary: 'Remove a group, and take it out of the group rules',
        params: idParams,
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      return context.writer.respond(request, reply, {
        command: () => ({
          type: 'RemoveGroup',
          data: { id, ...conditionOf(context, request, id) },
        }),
        current: currentOf(context, id),
        answer: () => ({ status: 204 }),
      });
    },
  );
}
