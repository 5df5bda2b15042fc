import {
  evolveCredential,
  type PendingRegistration,
  pendingRegistrations,
} from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { RegistrationSort } from '@sallyport/read-model';
import type { FastifyRequest } from 'fastify';
import { type ApiContext, type Routes, sourceOf, type TypedApp } from '../../http/context.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { callerText } from '../../http/permissions.ts';
import { namingMembers } from '../../http/problems.ts';
import type { Answer, Done } from '../../http/write.ts';
import { grantCommand } from '../../registration/grant.ts';
import { REGISTRATION_RETRY_AFTER_SECONDS } from '../../registration/registration-desk.ts';
import { credentialView, writtenCredentialSchema } from '../credentials/schema.ts';
import { withIds } from '../credentials/stored-body.ts';
import {
  emptyQuery,
  grantBody,
  grantedSchema,
  idParams,
  listQuery,
  openBody,
  pendingSchema,
  registerBody,
  registrationSchema,
  requestView,
  windowSchema,
  windowView,
  writeQuerySchema,
} from './schema.ts';

const tags = ['registration'];
const READ = { permission: 'registration:read' } as const;
const WRITE = { permission: 'registration:write' } as const;
const BASE = '/registration';

/** Most bytes of what a stranger may send. */
const REGISTER_BODY_BYTES_MAX = 32 * 1024;

/** The window in which strangers may ask for access, and what they have asked. */
export const registrationRoutes: Routes = (app, context) => {
  registerRead(app, context);
  registerWindow(app, context);
  registerGrant(app, context);
  registerDeny(app, context);
  registerRegister(app, context);
};

function registerRead(app: TypedApp, context: ApiContext): void {
  const { model, clock } = context.ports;
  app.get(
    BASE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getRegistration',
        summary: 'Whether strangers may ask for access, and who has asked',
        querystring: listQuery,
        response: answers({ 200: registrationSchema }, READ_PROBLEMS),
      },
    },
    (request) => {
      const at = clock();
      const { reads, lists } = model;
      const wanted = pageRequestOf<RegistrationSort>(request.query);
      const { items, total } = lists.registrations({ ...wanted, at });
      const conflicts = ({ username }: PendingRegistration): boolean =>
        pendingRegistrations(reads, username, at).length > 1;
      const { page, pageSize } = wanted;
      return {
        ...windowView(reads.registrationWindow(), at),
        items: items.map((one) => requestView(one, conflicts(one))),
        ...{ total, page, pageSize },
      };
    },
  );
}

/** A body may be left out where every member of it may. */
const emptyBody = async (request: FastifyRequest): Promise<void> => {
  request.body ??= {};
};

function registerWindow(app: TypedApp, context: ApiContext): void {
  const { model, clock } = context.ports;
  const answer = (): Answer => ({
    status: 200,
    body: windowView(model.reads.registrationWindow(), clock()),
  });
  app.post(
    `${BASE}/open`,
    {
      config: WRITE,
      preValidation: emptyBody,
      schema: {
        tags,
        operationId: 'openRegistration',
        summary: 'Let strangers ask for access for some time, from now',
        querystring: writeQuerySchema,
        body: openBody,
        response: writeAnswers(200, windowSchema),
      },
    },
    (request, reply) => {
      const { openDuration: openMs } = request.body;
      const command = () => ({ type: 'OpenRegistration', data: { openMs } }) as const;
      return context.writer.respond(request, reply, { command, answer });
    },
  );
  app.post(
    `${BASE}/close`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'closeRegistration',
        summary: 'Let no stranger ask for access any more; who has asked stays',
        querystring: writeQuerySchema,
        response: writeAnswers(200, windowSchema),
      },
    },
    (request, reply) => {
      const command = () => ({ type: 'CloseRegistration', data: {} }) as const;
      return context.writer.respond(request, reply, { command, answer });
    },
  );
}

/** The domain speaks of a credential. */
function memberOf(pointer: string): string {
  if (pointer.startsWith('/access/')) return pointer.slice('/access'.length);
  return pointer.startsWith('/match') ? '/username' : pointer;
}

function registerGrant(app: TypedApp, context: ApiContext): void {
  const { ports } = context;
  app.post(
    `${BASE}/requests/:id/grant`,
    {
      config: WRITE,
      preValidation: emptyBody,
      schema: {
        tags,
        operationId: 'grantRegistration',
        summary: 'Make a credential of a request, with its user name and password',
        params: idParams,
        querystring: writeQuerySchema,
        body: grantBody,
        response: writeAnswers(201, writtenCredentialSchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      const { store, name, roles, permissions } = request.body;
      return namingMembers(memberOf, () =>
        context.writer.respond(request, reply, {
          command: (inputs) => {
            const access = {
              kind: 'roles',
              roles,
              permissions: withIds(permissions, inputs),
            } as const;
            const { caller } = request;
            assert(caller !== null, 'a write is authenticated');
            const grant = { id, store, name, access, by: callerText(caller) };
            return grantCommand(ports, grant, inputs);
          },
          answer: (done) => grantAnswer(context, done),
        }),
      );
    },
  );
}

/** The credential as it is now; as it was made when somebody has removed it since. */
function grantAnswer({ ports }: ApiContext, done: Done): Answer {
  const event = done.events.find((one) => one.type === 'CredentialAdded');
  const made = event && evolveCredential(undefined, event, done);
  const credential = (event && ports.model.reads.credential(event.data.id)) ?? made;
  assert(credential !== undefined, 'a grant adds a credential');
  return {
    status: 201,
    body: credentialView(credential, ports.clock()),
    updatedRevision: credential.updatedRevision,
    location: `/api/v1/credentials/${credential.id}`,
  };
}

function registerDeny(app: TypedApp, context: ApiContext): void {
  app.delete(
    `${BASE}/requests/:id`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'denyRegistration',
        summary: 'Deny a request; whoever waits for it is told once',
        params: idParams,
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      return context.writer.respond(request, reply, {
        command: () => ({ type: 'DenyRegistration', data: { id } }),
        answer: () => ({ status: 204 }),
      });
    },
  );
}

const REGISTER_PROBLEMS = [400, 401, 403, 409, 413, 415, 423, 429, 500, 503] as const;

function registerRegister(app: TypedApp, { registration }: ApiContext): void {
  app.post(
    `${BASE}/register`,
    {
      config: { permission: 'public' },
      bodyLimit: REGISTER_BODY_BYTES_MAX,
      onRequest: async (request) => registration.admit(sourceOf(request)),
      schema: {
        tags,
        operationId: 'register',
        summary: 'Ask for access, and what has become of it',
        querystring: emptyQuery,
        body: registerBody,
        response: answers({ 201: grantedSchema, 202: pendingSchema }, REGISTER_PROBLEMS),
      },
    },
    async (request, reply) => {
      const { username, password, ...asked } = request.body;
      const address = request.ip;
      const done = await registration.register({ username, password, asked, address });
      if (done.state === 'granted') return reply.code(201).send(done);
      void reply.header('retry-after', String(REGISTRATION_RETRY_AFTER_SECONDS));
      return reply.code(202).send({ state: done.state });
    },
  );
}
