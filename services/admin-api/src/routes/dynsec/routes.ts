import {
  type DynsecGroupFields,
  type DynsecKind,
  type DynsecObject,
  type DynsecRoleFields,
  evolveDynsec,
  type NewDynsecObject,
} from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { TSchema } from 'typebox';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import {
  lookupsOf,
  type Lookups,
  registerGetOne,
  registerRemoveOne,
} from '../../http/one-object.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import type { Done } from '../../http/write.ts';
import {
  dynsecView,
  groupBody,
  groupSchemas,
  idParams,
  listQuery,
  roleBody,
  roleSchemas,
  writeQuerySchema,
} from './schema.ts';

const tags = ['dynsec'];
const READ = { permission: 'dynsec:read' } as const;
const WRITE = { permission: 'dynsec:write' } as const;

/** What the routes of one kind of object are made from. */
interface KindRoutes {
  readonly kind: DynsecKind;
  readonly base: string;
  /** In operation ids. */
  readonly title: string;
  readonly body: TSchema;
  readonly schemas: typeof roleSchemas;
  readonly objectOf: (body: unknown, id: string) => NewDynsecObject;
}

const KINDS: readonly KindRoutes[] = [
  {
    kind: 'role',
    base: '/dynsec/roles',
    title: 'DynsecRole',
    body: roleBody,
    schemas: roleSchemas,
    // `roleBody` was checked, and its defaults are filled in.
    objectOf: (body, id) => ({ ...(body as DynsecRoleFields), kind: 'role', id }),
  },
  {
    kind: 'group',
    base: '/dynsec/groups',
    title: 'DynsecGroup',
    body: groupBody,
    schemas: groupSchemas,
    // The same of `groupBody`.
    objectOf: (body, id) => ({ ...(body as DynsecGroupFields), kind: 'group', id }),
  },
];

/** For what the ids of new objects are derived, here and for those of a configuration file. */
export const dynsecNoun = (kind: DynsecKind): string => `dynsec-${kind}`;

export const dynsecRoutes: Routes = (app, context) => {
  for (const one of KINDS) {
    const { kind } = one;
    const objects = lookupsOf<DynsecObject>(
      (reads, id) => reads.dynsecObject(kind, id),
      'dynsec_not_found',
    );
    registerReads(app, context, objects, one);
    registerCreate(app, context, one);
    registerReplace(app, context, objects, one);
    registerRemoveOne(app, context, objects, {
      address: `${one.base}/:id`,
      ...WRITE,
      tags,
      operationId: `delete${one.title}`,
      summary: `Remove a ${kind} of dynamic security that nothing names`,
      command: (id, condition) => ({
        type: 'RemoveDynsecObject',
        data: { kind, id, ...condition },
      }),
    });
  }
};

function registerReads(
  app: TypedApp,
  context: ApiContext,
  objects: Lookups<DynsecObject>,
  { kind, base, title, schemas }: KindRoutes,
): void {
  app.get(
    base,
    {
      config: READ,
      schema: {
        tags,
        operationId: `list${title}s`,
        summary: `List ${kind}s of dynamic security`,
        querystring: listQuery,
        response: answers({ 200: schemas.page }, READ_PROBLEMS),
      },
    },
    (request) => {
      const wanted = pageRequestOf<'name' | 'createdAt' | 'updatedAt'>(request.query);
      const { items, total } = context.ports.model.lists.dynsecObjects(kind, wanted);
      const { page, pageSize } = wanted;
      return { items: items.map(dynsecView), total, page, pageSize };
    },
  );
  registerGetOne(app, context, objects, {
    address: `${base}/:id`,
    ...READ,
    tags,
    operationId: `get${title}`,
    summary: `Read one ${kind} of dynamic security`,
    schema: schemas.object,
    view: dynsecView,
  });
}

function registerCreate(
  app: TypedApp,
  context: ApiContext,
  { kind, base, title, body, schemas, objectOf }: KindRoutes,
): void {
  app.post(
    base,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: `create${title}`,
        summary: `Add a ${kind} of dynamic security`,
        querystring: writeQuerySchema,
        body,
        response: writeAnswers(201, schemas.written),
      },
    },
    (request, reply) =>
      context.writer.respond(request, reply, {
        command: (inputs) => ({
          type: 'AddDynsecObject',
          data: objectOf(request.body, inputs.id(dynsecNoun(kind))),
        }),
        answer: (done) => {
          const object = added(done);
          const { id, updatedRevision } = object;
          const location = `/api/v1${base}/${id}`;
          return { status: 201, location, body: dynsecView(object), updatedRevision };
        },
      }),
  );
}

/** The object as a commit added it, whatever became of it since. */
function added(done: Done): DynsecObject {
  const event = done.events.find((one) => one.type === 'DynsecObjectAdded');
  const object = event && evolveDynsec(undefined, event, done);
  assert(object !== undefined, 'a commit of AddDynsecObject adds an object');
  return object;
}

function registerReplace(
  app: TypedApp,
  context: ApiContext,
  objects: Lookups<DynsecObject>,
  { kind, base, title, body, schemas, objectOf }: KindRoutes,
): void {
  app.put(
    `${base}/:id`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: `replace${title}`,
        summary: `Replace a ${kind} of dynamic security`,
        params: idParams,
        querystring: writeQuerySchema,
        body,
        response: writeAnswers(200, schemas.written),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      return context.writer.respond(request, reply, {
        command: () => ({
          type: 'ReplaceDynsecObject',
          data: { ...objectOf(request.body, id), ...objects.conditionOf(context, request, id) },
        }),
        current: objects.currentOf(context, id),
        answer: () => {
          const object = objects.found(context, id);
          const { updatedRevision } = object;
          return { status: 200, body: dynsecView(object), updatedRevision };
        },
      });
    },
  );
}
