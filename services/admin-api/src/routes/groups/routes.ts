import { evolveGroup, type Group } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { lookupsOf, registerGetOne, registerRemoveOne } from '../../http/one-object.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import type { Answer, Done } from '../../http/write.ts';
import {
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

const groups = lookupsOf<Group>((reads, id) => reads.group(id), 'group_not_found');

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
  registerGetOne(app, context, groups, {
    address: ADDRESS,
    ...READ,
    tags,
    operationId: 'getGroup',
    summary: 'Read one group',
    schema: groupSchema,
    view: groupView,
  });
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
          data: { ...request.body, id, ...groups.conditionOf(context, request, id) },
        }),
        current: groups.currentOf(context, id),
        answer: () => {
          const group = groups.found(context, id);
          const { updatedRevision } = group;
          return { status: 200, body: groupView(group), updatedRevision };
        },
      });
    },
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  registerRemoveOne(app, context, groups, {
    address: ADDRESS,
    ...WRITE,
    tags,
    operationId: 'deleteGroup',
    summary: 'Remove a group, and take it out of the group rules',
    command: (id, condition) => ({ type: 'RemoveGroup', data: { id, ...condition } }),
  });
}
