import type { Command, DecisionReads, Revision } from '@sallyport/domain';
import type { ErrorCode } from '@sallyport/errors';
import type { FastifyRequest } from 'fastify';
import { type TSchema, Type } from 'typebox';
import type { ApiContext, TypedApp } from './context.ts';
import { etagOf, ifRevisionOf } from './etag.ts';
import { answers, READ_PROBLEMS, writeAnswers } from './openapi.ts';
import { refused } from './problems.ts';
import type { Permission } from './permissions.ts';
import { writeQuery } from './write.ts';

/** What a command must find; nothing when its caller sets no condition. */
export interface Condition {
  readonly ifRevision?: Revision;
}

/** How objects of one kind are found by the id in an address. */
export interface Lookups<T> {
  /** @throws RefusedError the code of this kind */
  readonly found: (context: ApiContext, id: string) => T;
  /** Revision that last changed the object now, for the entity tag of a refusal. */
  readonly currentOf: (context: ApiContext, id: string) => () => Revision | undefined;
  /** From `If-Match`. @throws RefusedError the code of this kind, `precondition_failed` */
  readonly conditionOf: (context: ApiContext, request: FastifyRequest, id: string) => Condition;
}

/** `missing` is what an id is refused with that `find` does not know. */
export function lookupsOf<T extends { readonly updatedRevision: Revision }>(
  find: (reads: DecisionReads, id: string) => T | undefined,
  missing: ErrorCode,
): Lookups<T> {
  const lookup = ({ ports }: ApiContext, id: string) => find(ports.model.reads, id);
  const found = (context: ApiContext, id: string): T => {
    const object = lookup(context, id);
    if (object === undefined) throw refused(missing);
    return object;
  };
  return {
    found,
    currentOf: (context, id) => () => lookup(context, id)?.updatedRevision,
    conditionOf(context, request, id) {
      const ifRevision = ifRevisionOf(request, found(context, id).updatedRevision);
      return ifRevision === undefined ? {} : { ifRevision };
    },
  };
}

const closed = { additionalProperties: false };
const idParams = Type.Object({ id: Type.String() });
const emptyQuery = Type.Object({}, closed);
const writeQuerySchema = Type.Object(writeQuery, closed);

interface Told {
  /** With `:id`. */
  readonly address: string;
  readonly permission: Permission;
  readonly tags: readonly string[];
  readonly operationId: string;
  readonly summary: string;
}

/** `GET` of one object, with its entity tag. */
export function registerGetOne<T extends { readonly updatedRevision: Revision }>(
  app: TypedApp,
  context: ApiContext,
  { found }: Pick<Lookups<T>, 'found'>,
  told: Told & {
    readonly schema: TSchema;
    /** May answer with a promise. */
    readonly view: (object: T) => unknown;
  },
): void {
  const { address, permission, tags, operationId, summary, schema, view } = told;
  app.get(
    address,
    {
      config: { permission },
      schema: {
        tags,
        operationId,
        summary,
        params: idParams,
        querystring: emptyQuery,
        response: answers({ 200: schema }, READ_PROBLEMS),
      },
    },
    (request, reply) => {
      const object = found(context, request.params.id);
      void reply.header('etag', etagOf(object.updatedRevision));
      return view(object);
    },
  );
}

interface Removal extends Told {
  /** Parameters of every write, unless there are more. */
  readonly query?: ReturnType<typeof Type.Object>;
  readonly command: (id: string, condition: Condition, query: unknown) => Command;
}

/** `DELETE` of one object, under a condition when there is one. */
export function registerRemoveOne(
  app: TypedApp,
  context: ApiContext,
  { currentOf, conditionOf }: Pick<Lookups<unknown>, 'currentOf' | 'conditionOf'>,
  { address, permission, tags, operationId, summary, query, command }: Removal,
): void {
  app.delete(
    address,
    {
      config: { permission },
      schema: {
        tags,
        operationId,
        summary,
        params: idParams,
        querystring: query ?? writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      return context.writer.respond(request, reply, {
        command: () => command(id, conditionOf(context, request, id), request.query),
        current: currentOf(context, id),
        answer: () => ({ status: 204 }),
      });
    },
  );
}
