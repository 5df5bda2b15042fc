import { type ApiKey, evolveApiKey } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import { sealingContext } from '@sallyport/secrets';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { lookupsOf, registerRemoveOne } from '../../http/one-object.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
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

const apiKeys = lookupsOf<ApiKey>((reads, id) => reads.apiKey(id), 'api_key_not_found');

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
        summary: 'Change an API key',
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
          const condition = apiKeys.conditionOf(context, request, id);
          const { expiresAt, ...members } = request.body;
          const changes = { ...members, ...endIn(expiresAt) };
          return { type: 'ChangeApiKey', data: { id, changes, ...condition } };
        },
        current: apiKeys.currentOf(context, id),
        answer: () => {
          const key = apiKeys.found(context, id);
          return { status: 200, body: apiKeyView(key), updatedRevision: key.updatedRevision };
        },
      });
    },
  );
}

const endIn = (expiresAt: string | null | undefined): { readonly expiresAt?: number | null } =>
  expiresAt === undefined ? {} : { expiresAt: expiresAt === null ? null : Date.parse(expiresAt) };

function registerRemove(app: TypedApp, context: ApiContext): void {
  registerRemoveOne(app, context, apiKeys, {
    address: '/api-keys/:id',
    ...WRITE,
    tags,
    operationId: 'deleteApiKey',
    summary: 'Remove an API key',
    command: (id, condition) => ({ type: 'RemoveApiKey', data: { id, ...condition } }),
  });
}
