import {
  AUTHENTICATOR_IDS,
  type ChainMember,
  type Credential,
  evolveCredential,
} from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { Static } from 'typebox';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { registerGetOne, registerRemoveOne } from '../../http/one-object.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import type { Done } from '../../http/write.ts';
import { registerPatch, registerReplace } from './change.ts';
import { registerExport } from './export.ts';
import { lastUses, withLastUses } from './last-used.ts';
import { credentials } from './lookup.ts';
import { prepareCredential } from './prepare.ts';
import {
  createBody,
  credentialPageSchema,
  credentialView,
  listQuery,
  usedCredentialSchema,
  writeQuerySchema,
  writtenCredentialSchema,
} from './schema.ts';
import { registerSecrets } from './secrets.ts';
import { registerTokens } from './tokens.ts';

const tags = ['credentials'];
const READ = { permission: 'credentials:read' } as const;
const WRITE = { permission: 'credentials:write' } as const;
const BASE = '/credentials';

export const credentialRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerCreate(app, context);
  registerReplace(app, context);
  registerPatch(app, context);
  registerRemove(app, context);
  registerSecrets(app, context);
  registerTokens(app, context);
  registerExport(app, context);
};

function registerReads(app: TypedApp, context: ApiContext): void {
  const { model, clock } = context.ports;
  app.get(
    BASE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listCredentials',
        summary: 'List credentials',
        querystring: listQuery,
        response: answers({ 200: credentialPageSchema }, READ_PROBLEMS),
      },
    },
    (request) => {
      const wanted = pageRequestOf<'name' | 'createdAt' | 'updatedAt'>(request.query);
      const { store, role } = request.query;
      const chains = chainsOf(request.query);
      const page = model.lists.credentials({
        ...wanted,
        ...(store === undefined ? {} : { store }),
        ...(role === undefined ? {} : { role }),
        ...(chains === undefined ? {} : { chains }),
      });
      const at = clock();
      return {
        items: page.items.map((one) => credentialView(one, at)),
        total: page.total,
        page: wanted.page,
        pageSize: wanted.pageSize,
      };
    },
  );
  registerGetOne(app, context, credentials, {
    address: `${BASE}/:id`,
    ...READ,
    tags,
    operationId: 'getCredential',
    summary: 'Read one credential',
    schema: usedCredentialSchema,
    view: async (credential) => {
      const view = credentialView(credential, clock());
      return withLastUses(view, await lastUses(context.ports, credential.id));
    },
  });
}

type Asked = Pick<Static<typeof listQuery>, 'chain' | 'authenticator'>;

/** @throws RefusedError `invalid_request` */
function chainsOf({ chain: scope, authenticator }: Asked): readonly ChainMember[] | undefined {
  if (scope === undefined && authenticator === undefined) return undefined;
  if (scope === undefined) {
    const problems = [{ pointer: '/authenticator', detail: 'needs chain' }];
    throw refused('invalid_request', { problems });
  }
  const ids = authenticator === undefined ? AUTHENTICATOR_IDS : [authenticator];
  return ids.map((id) => ({ scope, authenticator: id }));
}

/** The credential as a commit added it, whatever became of it since. */
function added(done: Done): Credential {
  const event = done.events.find((one) => one.type === 'CredentialAdded');
  const credential = event && evolveCredential(undefined, event, done);
  assert(credential !== undefined, 'a commit of AddCredential adds a credential');
  return credential;
}

function registerCreate(app: TypedApp, context: ApiContext): void {
  const { clock } = context.ports;
  app.post(
    BASE,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'createCredential',
        summary: 'Add a credential',
        querystring: writeQuerySchema,
        body: createBody,
        response: writeAnswers(201, writtenCredentialSchema),
      },
    },
    (request, reply) => {
      let secret: string | undefined;
      return context.writer.respond(request, reply, {
        command: async (inputs) => {
          const prepared = await prepareCredential(context, request.body, inputs);
          secret = prepared.generated;
          return { type: 'AddCredential', data: prepared.credential };
        },
        answer: (done) => {
          const credential = added(done);
          return {
            status: 201,
            body: { ...credentialView(credential, clock()), ...(done.replayed ? {} : { secret }) },
            updatedRevision: credential.updatedRevision,
            location: `/api/v1${BASE}/${credential.id}`,
          };
        },
      });
    },
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  registerRemoveOne(app, context, credentials, {
    address: `${BASE}/:id`,
    ...WRITE,
    tags,
    operationId: 'deleteCredential',
    summary: 'Remove a credential',
    command: (id, condition) => ({ type: 'RemoveCredential', data: { id, ...condition } }),
  });
}
