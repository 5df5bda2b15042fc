import { assert } from '@sallyport/errors';
import { sealingContext } from '@sallyport/secrets';
import type { ApiContext, TypedApp } from '../../http/context.ts';
import { writeAnswers } from '../../http/openapi.ts';
import type { Done } from '../../http/write.ts';
import { credentials } from './lookup.ts';
import {
  idParams,
  tokenBody,
  tokenParams,
  tokenView,
  writeQuerySchema,
  writtenTokenSchema,
} from './schema.ts';

const tags = ['credentials'];
const WRITE = { permission: 'credentials:write' } as const;
const ADDRESS = '/credentials/:id/tokens';

export function registerTokens(app: TypedApp, context: ApiContext): void {
  registerCreate(app, context);
  app.delete(
    `${ADDRESS}/:tokenId`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'deleteCredentialToken',
        summary: 'Revoke one token of a credential',
        params: tokenParams,
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const { id, tokenId } = request.params;
      return context.writer.respond(request, reply, {
        command: () => {
          const condition = credentials.conditionOf(context, request, id);
          return { type: 'RemoveCredentialToken', data: { id, tokenId, ...condition } };
        },
        current: credentials.currentOf(context, id),
        answer: () => ({ status: 204 }),
      });
    },
  );
}

function registerCreate(app: TypedApp, context: ApiContext): void {
  const { hasher, secretBox } = context.ports;
  app.post(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'createCredentialToken',
        summary: 'Make a token that stands for a credential',
        params: idParams,
        querystring: writeQuerySchema,
        body: tokenBody,
        response: writeAnswers(201, writtenTokenSchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      const { label, expiresInSeconds } = request.body;
      let shown: string | undefined;
      return context.writer.respond(request, reply, {
        command: (inputs) => {
          const condition = credentials.conditionOf(context, request, id);
          const { secret, verifier } = hasher.generateSecret();
          shown = secret;
          const expiresAt =
            expiresInSeconds === undefined ? undefined : inputs.at + expiresInSeconds * 1000;
          const token = {
            tokenId: inputs.id('token'),
            label,
            verifier: secretBox.seal(verifier, sealingContext({ kind: 'credential', id })),
            createdAt: inputs.at,
            ...(expiresAt !== undefined && { expiresAt }),
          };
          return { type: 'AddCredentialToken', data: { id, token, ...condition } };
        },
        current: credentials.currentOf(context, id),
        answer: (done) => ({
          status: 201,
          body: { ...added(done), ...(done.replayed ? {} : { token: shown }) },
          updatedRevision: done.revision,
        }),
      });
    },
  );
}

function added(done: Done): Record<string, unknown> {
  const event = done.events.find((one) => one.type === 'CredentialTokenAdded');
  assert(event !== undefined, 'a commit of AddCredentialToken adds a token');
  return tokenView(event.data.token);
}
