import { errorFacts } from '@sallyport/errors';
import type { FastifyInstance } from 'fastify';
import swagger from '@fastify/swagger';
import { type TSchema, Type } from 'typebox';
import { PROBLEM_MEDIA_TYPE } from './problems.ts';

const problemSchema = Type.Object(
  {
    type: Type.String({ description: 'A URN that names the kind of problem.' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ enum: Object.keys(errorFacts) }),
    detail: Type.Optional(Type.String()),
    instance: Type.Optional(Type.String({ description: 'Names the request in the logs.' })),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          pointer: Type.String({ description: 'JSON pointer into what was sent.' }),
          detail: Type.String(),
        }),
      ),
    ),
  },
  { $id: 'Problem' },
);

const descriptions: Readonly<Record<number, string>> = {
  400: 'The request is not valid',
  401: 'Proof of identity is missing or not valid',
  403: 'The caller may not do this',
  404: 'There is no such object',
  409: 'It contradicts what is there',
  412: 'The object has changed since it was read',
  413: 'The body is too large',
  415: 'The media type is not supported',
  422: 'The content is not valid',
  423: 'It is locked',
  429: 'Too many requests',
  500: 'Something went wrong on our side',
  503: 'A part of the system cannot be reached',
  507: 'There is no space left to store it',
};

/** Problems that every authenticated route may answer with. */
export const READ_PROBLEMS = [400, 401, 403, 404, 413, 415, 429, 500, 503] as const;
export const WRITE_PROBLEMS = [...READ_PROBLEMS, 409, 412, 422, 507] as const;

/** `response` of a route's schema. Its type is loose on purpose: the tests compare answers with the schemas. */
export function answers(
  ok: Readonly<Record<number, TSchema | null>>,
  problems: readonly number[],
): Record<string, unknown> {
  const response: Record<string, unknown> = {};
  for (const [status, schema] of Object.entries(ok)) {
    response[status] = schema ?? { description: 'Done', type: 'null' };
  }
  for (const status of problems) {
    response[status] = {
      description: descriptions[status] ?? 'Problem',
      content: { [PROBLEM_MEDIA_TYPE]: { schema: { $ref: 'Problem#' } } },
    };
  }
  return response;
}

/** Answers of a write: 202 is what `?wait=enforced` gets when time is up. */
export function writeAnswers(
  status: 200 | 201 | 204,
  schema: TSchema | null,
): Record<string, unknown> {
  const notYet = Type.Object(
    {
      revision: Type.Integer(),
      enforced: Type.Literal(false),
      pendingNodes: Type.Array(Type.String()),
      ...(schema === null ? {} : { result: schema }),
    },
    { description: 'Stored, but not enforced by every node when the time was up' },
  );
  return answers({ [status]: schema, 202: notYet }, WRITE_PROBLEMS);
}

/** Registers the generator; every route that comes later and is not hidden is in the document. */
export async function registerOpenApi(app: FastifyInstance): Promise<void> {
  app.addSchema(problemSchema);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Sallyport',
        version: '1',
        description:
          'Administration of an MQTT broker cluster whose access control is an event log.',
      },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
          apiKey: { type: 'http', scheme: 'basic', description: 'Id and secret of an API key' },
        },
      },
    },
    refResolver: {
      buildLocalReference: (json, _baseUri, _fragment, index) =>
        typeof json['$id'] === 'string' ? json['$id'] : `Schema${index}`,
    },
    transform: ({ schema, url, route }) => {
      const permission = route.config?.permission;
      const security =
        permission === 'public'
          ? []
          : permission === 'session'
            ? [{ bearer: [] }]
            : [{ bearer: [] }, { apiKey: [] }];
      return { schema: { ...schema, security, 'x-permission': permission }, url };
    },
  });
}
