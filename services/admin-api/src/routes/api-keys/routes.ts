import { type ApiKey, evolveApiKey, type Revision } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import { sealingContext } from '@sallyport/secrets';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { ifRevisionOf } from '../../http/etag.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import {
  apiKeyListSchema,
  apiKeyView,
  createBody,
  emptyQuery,
  idParams,
  patchBody,
  writeQuerySchema,
  writtenApiKeySchema,
} from './schema.ts';

const tags = ['api-keys'];
const READ = { permission: 'api-keys:read' } as const;
const WRITE = { permission: 'api-keys:write' } as const;

export const apiKeyRoutes: Routes = (app, context) => {
  registerList(app, context);
  registerCreate(app, context);
  registerPatch(app, context);
  registerRemove(app, context);
};

function found(context: ApiContext, id: string): ApiKey {
  const key = context.ports.model.reads.apiKey(id);
  if (key === undefined) throw refused('api_key_not_found');
  return key;
}

const currentOf = (context: ApiContext, id: string) => (): Revision | undefined =>
  context.ports.model.reads.apiKey(id)?.updatedRevision;

function registerList(app: TypedApp, context: ApiContext): void {
  app.get(
    '/api-keys',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listApiKeys',
        summary: 'List API keys',
        querystring: emptyQuery,
        response: answers({ 200: apiKeyListSchema }, READ_PROBLEMS),
      },
    },
    () => {
      const items = context.ports.model.lists.apiKeys().map(apiKeyView);
      return { items, total: items.length };
    },
  );
}

function registerCreate(app: TypedApp, context: ApiContext): void {
  const { hasher, secretBox } = context.ports;
  app.post(
    '/api-keys',
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'createApiKey',
        summary: 'Add an API key',
        querystring: writeQuerySchema,
        body: createBody,
        response: writeAnswers(201, writtenApiKeySchema),
      },
    },
    (request, reply) => {
      const { expiresAt, ...members } = request.body;
      const ends = expiresAt === undefined ? {} : { expiresAt: Date.parse(expiresAt) };
      const generated = hasher.generateSecret();
      return context.writer.respond(request, reply, {
        command: (inputs) => {
          const id = inputs.id('api-key');
          const context = sealingContext({ kind: 'api_key', id });
          const secretVerifier = secretBox.seal(generated.verifier, context);
          return { type: 'AddApiKey', data: { ...members, ...ends, id, secretVerifier } };
        },
        answer: (done) => {
          const event = done.events.find((one) => one.type === 'ApiKeyAdded');
          const key = event && evolveApiKey(undefined, event, done);
          assert(key !== undefined, 'a commit of AddApiKey adds a key');
          const shown = done.replayed ? {} : { secret: generated.secret };
          return {
            status: 201,
            body: { ...apiKeyView(key), ...shown },
            updatedRevision: key.updatedRevision,
          };
        },
      });
    },
  );
}

function registerPatch(app: TypedApp, context: ApiContext): void {
  app.patch(
    '/api-keys/:id',
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'patchApiKey',
        summary: 'Enable or disable an API key',
        params: idParams,
        querystring: writeQuerySchema,
        body: patchBody,
        response: writeAnswers(200, writtenApiKeySchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      return context.writer.respond(request, reply, {
        command: () => {
          const ifRevision = ifRevisionOf(request, found(context, id).updatedRevision);
          const condition = ifRevision === undefined ? {} : { ifRevision };
          return { type: 'ChangeApiKey', data: { id, changes: request.body, ...condition } };
        },
        current: currentOf(context, id),
        answer: () => {
          const key = found(context, id);
          return { status: 200, body: apiKeyView(key), updatedRevision: key.updatedRevision };
        },
      });
    },
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  app.delete(
    '/api-keys/:id',
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'deleteApiKey',
        summary: 'Remove an API key',
        params: idParams,
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      return context.writer.respond(request, reply, {
        command: () => {
          const ifRevision = ifRevisionOf(request, found(context, id).updatedRevision);
          const condition = ifRevision === undefined ? {} : { ifRevision };
          return { type: 'RemoveApiKey', data: { id, ...condition } };
        },
        current: currentOf(context, id),
        answer: () => ({ status: 204 }),
      });
    },
  );
}
