import { type Command, type Credential, evolveCredential } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { ifRevisionOf } from '../../http/etag.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { lookupsOf, registerGetOne, registerRemoveOne } from '../../http/one-object.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { namingMembers, refused } from '../../http/problems.ts';
import type { CommandInputs, Done, Write } from '../../http/write.ts';
import { createSecret, presentMechanisms } from '../credentials/lookup.ts';
import { identityOf } from './identity.ts';
import {
  type ClientBody,
  clientPageSchema,
  clientSchema,
  clientView,
  createBody,
  idParams,
  listQuery,
  replaceBody,
  writeQuerySchema,
  writtenClientSchema,
} from './schema.ts';

const tags = ['clients'];
const READ = { permission: 'clients:read' } as const;
const WRITE = { permission: 'clients:write' } as const;
const BASE = '/clients';
const ADDRESS = `${BASE}/:id`;
/** Where these credentials are; those of other stores are not there for these routes. */
const STORE = 'clients';

/** Clients with groups: credentials of one store, whose rights are what group rules give them. */
export const clientRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerCreate(app, context);
  registerReplace(app, context);
  registerRemove(app, context);
};

const clients = lookupsOf<Credential>((reads, id) => {
  const credential = reads.credential(id);
  return credential?.store === STORE ? credential : undefined;
}, 'credential_not_found');

/** Answers as every write does, and names members of a client where the domain names those of a credential. */
function respond(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
  write: Write,
): Promise<unknown> {
  return namingMembers(memberOf, () => context.writer.respond(request, reply, write));
}

/** The domain speaks of what a credential matches; a clash is of the whole match. */
function memberOf(pointer: string): string {
  if (pointer === '/match') return '/username';
  return pointer.startsWith('/match/') ? pointer.slice('/match'.length) : pointer;
}

function registerReads(app: TypedApp, context: ApiContext): void {
  app.get(
    BASE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listClients',
        summary: 'List clients',
        querystring: listQuery,
        response: answers({ 200: clientPageSchema }, READ_PROBLEMS),
      },
    },
    (request) => {
      const wanted = pageRequestOf<'name' | 'createdAt' | 'updatedAt'>(request.query);
      const { items, total } = context.ports.model.lists.credentials({ ...wanted, store: STORE });
      const { page, pageSize } = wanted;
      return { items: items.map(clientView), total, page, pageSize };
    },
  );
  registerGetOne(app, context, clients, {
    address: ADDRESS,
    ...READ,
    tags,
    operationId: 'getClient',
    summary: 'Read one client',
    schema: clientSchema,
    view: clientView,
  });
}

/** The client as a commit added it, whatever became of it since. */
function added(done: Done): Credential {
  const event = done.events.find((one) => one.type === 'CredentialAdded');
  const credential = event && evolveCredential(undefined, event, done);
  assert(credential !== undefined, 'a commit of AddCredential adds a credential');
  return credential;
}

function registerCreate(app: TypedApp, context: ApiContext): void {
  app.post(
    BASE,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'createClient',
        summary: 'Add a client',
        querystring: writeQuerySchema,
        body: createBody,
        response: writeAnswers(201, writtenClientSchema),
      },
    },
    (request, reply) => {
      const { name, password } = request.body;
      const { kind, match } = identityOf(request.body);
      if (kind === 'password' && password === undefined) throw passwordNeeded();
      return respond(context, request, reply, {
        command: async (inputs) => {
          const id = inputs.id('credential');
          const { username } = match;
          const wanted = { credentialId: id, password, mechanisms: [], username };
          const made = password === undefined ? [] : [await createSecret(context, wanted, inputs)];
          return {
            type: 'AddCredential',
            data: {
              id,
              store: STORE,
              kind,
              name,
              match,
              enabled: true,
              superuser: false,
              passwordRequired: true,
              attributes: {},
              access: { kind: 'groups' },
              secrets: made.map(({ secret }) => secret),
            },
          };
        },
        answer: (done) => {
          const client = added(done);
          return {
            status: 201,
            body: clientView(client),
            updatedRevision: client.updatedRevision,
            location: `/api/v1${BASE}/${client.id}`,
          };
        },
      });
    },
  );
}

const passwordNeeded = (): Error =>
  refused('invalid_request', { problems: [{ pointer: '/password', detail: 'is needed' }] });

/** What the view does not show stays as it is. */
async function replacement(
  context: ApiContext,
  request: FastifyRequest,
  current: Credential,
  body: ClientBody,
  inputs: CommandInputs,
): Promise<Command> {
  const { id, updatedRevision } = current;
  const ifRevision = ifRevisionOf(request, updatedRevision) ?? updatedRevision;
  const { name, password } = body;
  const { kind, match } = identityOf(body);
  // A client id that was set over the credentials stays with a user name.
  const { clientId } = current.match;
  const kept = kind === 'password' && clientId !== undefined ? { clientId } : {};
  const changes = { kind, name, match: { ...kept, ...match } };
  if (password === undefined)
    return { type: 'ChangeCredential', data: { id, changes, ifRevision } };
  const mechanisms = presentMechanisms(current, inputs.at);
  const { username } = match;
  const wanted = { credentialId: id, password, mechanisms, username };
  const { secret } = await createSecret(context, wanted, inputs);
  return { type: 'ChangeCredential', data: { id, changes, secret, ifRevision } };
}

function registerReplace(app: TypedApp, context: ApiContext): void {
  app.put(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'replaceClient',
        summary:
          'Replace a client; a device that is connected as it keeps what it has until it connects again',
        params: idParams,
        querystring: writeQuerySchema,
        body: replaceBody,
        response: writeAnswers(200, writtenClientSchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      const { password, ...others } = request.body;
      const body = password === undefined || password === '' ? others : { ...others, password };
      return respond(context, request, reply, {
        command: (inputs) =>
          replacement(context, request, clients.found(context, id), body, inputs),
        current: clients.currentOf(context, id),
        retryStale: request.headers['if-match'] === undefined,
        answer: () => {
          const client = clients.found(context, id);
          const { updatedRevision } = client;
          return { status: 200, body: clientView(client), updatedRevision };
        },
      });
    },
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  registerRemoveOne(app, context, clients, {
    address: ADDRESS,
    ...WRITE,
    tags,
    operationId: 'deleteClient',
    summary: 'Remove a client; a device that is connected as it stays until it disconnects',
    command: (id, condition) => ({ type: 'RemoveCredential', data: { id, ...condition } }),
  });
}
