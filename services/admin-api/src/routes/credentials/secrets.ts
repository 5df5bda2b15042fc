import { scramNameOf } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { ApiContext, TypedApp } from '../../http/context.ts';
import { ifRevisionOf } from '../../http/etag.ts';
import { writeAnswers } from '../../http/openapi.ts';
import type { Done } from '../../http/write.ts';
import { algorithmFor, createSecret, credentials, presentMechanisms } from './lookup.ts';
import {
  idParams,
  rotateBody,
  secretParams,
  secretView,
  writeQuerySchema,
  writtenSecretSchema,
} from './schema.ts';

const tags = ['credentials'];
const WRITE = { permission: 'credentials:write' } as const;
const ADDRESS = '/credentials/:id/secrets';

export function registerSecrets(app: TypedApp, context: ApiContext): void {
  registerRotate(app, context);
  app.delete(
    `${ADDRESS}/:secretId`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'deleteCredentialSecret',
        summary: 'Remove one secret of a credential',
        params: secretParams,
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const { id, secretId } = request.params;
      return context.writer.respond(request, reply, {
        command: () => {
          const condition = credentials.conditionOf(context, request, id);
          return { type: 'RemoveSecret', data: { id, secretId, ...condition } };
        },
        current: credentials.currentOf(context, id),
        answer: () => ({ status: 204 }),
      });
    },
  );
}

function registerRotate(app: TypedApp, context: ApiContext): void {
  app.post(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'rotateCredentialSecret',
        summary: 'Set a new secret, and let the present one end',
        params: idParams,
        querystring: writeQuerySchema,
        body: rotateBody,
        response: writeAnswers(201, writtenSecretSchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      const { password, passwordHash, scram, scramOnly, retireOldAfterSeconds } = request.body;
      let shown: string | undefined;
      return context.writer.respond(request, reply, {
        command: async (inputs) => {
          const current = credentials.found(context, id);
          const ifRevision = ifRevisionOf(request, current.updatedRevision);
          // No keys can be made from a hash, so it does not take over those of the present secret.
          const inherited = passwordHash === undefined ? presentMechanisms(current, inputs.at) : [];
          const mechanisms = scram ?? inherited;
          const username = scramNameOf(current.match);
          const algorithm = algorithmFor(context, current);
          const how = { password, passwordHash, mechanisms, scramOnly, algorithm };
          const wanted = { credentialId: id, username, ...how };
          const { secret, generated } = await createSecret(context, wanted, inputs);
          shown = generated;
          const retireAt = inputs.at + retireOldAfterSeconds * 1000;
          return {
            type: 'RotateSecret',
            data: { id, secret, retireAt, ...(ifRevision === undefined ? {} : { ifRevision }) },
          };
        },
        current: credentials.currentOf(context, id),
        answer: (done) => ({
          status: 201,
          body: { ...addedSecret(done), ...(done.replayed ? {} : { secret: shown }) },
          updatedRevision: done.revision,
        }),
      });
    },
  );
}

function addedSecret(done: Done): Record<string, unknown> {
  const event = done.events.find((one) => one.type === 'CredentialSecretAdded');
  assert(event !== undefined, 'a commit of RotateSecret adds a secret');
  return secretView(event.data.secret);
}
