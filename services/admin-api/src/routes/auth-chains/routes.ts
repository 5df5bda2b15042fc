import { type AuthChainEvent, evolveAuthChain, isChainScope } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { etagOf, ifRevisionOf } from '../../http/etag.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import type { Done } from '../../http/write.ts';
import { removeUsers } from './removal.ts';
import {
  authenticatorsOf,
  chainListSchema,
  chainSchema,
  chainView,
  emptyQuery,
  replaceBody,
  scopeParams,
  unprovenOf,
  writeQuerySchema,
  writtenChainSchema,
} from './schema.ts';

const tags = ['auth-chains'];
const READ = { permission: 'auth-chains:read' } as const;
const BASE = '/auth-chains';

export const authChainRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerReplace(app, context);
};

/** @throws RefusedError `invalid_request` */
function scopeOf({ scope }: { readonly scope: string }): string {
  if (isChainScope(scope)) return scope;
  const detail = 'must be global, listener:<type>:<name> or gateway:<name>';
  throw refused('invalid_request', { problems: [{ pointer: '/scope', detail }] });
}

function registerReads(app: TypedApp, { ports }: ApiContext): void {
  const { model } = ports;
  app.get(
    BASE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listAuthChains',
        summary: 'List the chains of authenticators',
        querystring: emptyQuery,
        response: answers({ 200: chainListSchema }, READ_PROBLEMS),
      },
    },
    () => {
      const items = model.lists.authChains().map((one) => chainView(one.scope, one));
      return { items, total: items.length };
    },
  );
  app.get(
    `${BASE}/:scope`,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getAuthChain',
        summary: 'Read the chain of authenticators of a scope',
        params: scopeParams,
        querystring: emptyQuery,
        response: answers({ 200: chainSchema }, READ_PROBLEMS),
      },
    },
    (request, reply) => {
      const scope = scopeOf(request.params);
      const chain = model.reads.authChain(scope);
      void reply.header('etag', etagOf(chain?.updatedRevision ?? 0));
      return chainView(scope, chain);
    },
  );
}

function registerReplace(app: TypedApp, { ports, writer }: ApiContext): void {
  const { reads } = ports.model;
  app.put(
    `${BASE}/:scope`,
    {
      config: { permission: 'auth-chains:write' },
      schema: {
        tags,
        operationId: 'replaceAuthChain',
        summary: 'Replace the chain of authenticators of a scope',
        description:
          'Whom the store `emqx` lets in. The chain of a listener stands in place of the global one, also with all of it disabled, and ' +
          'no longer when it is empty. Until the global chain is set for the first time, every credential of the store that names no ' +
          'chain opens; from then on only those of an authenticator that is enabled.',
        params: scopeParams,
        querystring: writeQuerySchema,
        body: replaceBody,
        response: writeAnswers(200, writtenChainSchema),
      },
    },
    (request, reply) => {
      const scope = scopeOf(request.params);
      const unproven = unprovenOf(request.body);
      const current = () => reads.authChain(scope)?.updatedRevision ?? 0;
      const actor = request.caller;
      assert(actor !== null, 'a write is authenticated');
      const finish = () => removeUsers(ports, scope, { kind: actor.kind, id: actor.id });
      return writer.respond(request, reply, {
        command: async () => {
          const ifRevision = ifRevisionOf(request, current());
          const authenticators = authenticatorsOf(request.body.authenticators);
          // An authenticator that comes back must not find users of the one that went.
          await finish();
          const condition = ifRevision === undefined ? {} : { ifRevision };
          return {
            type: 'ReplaceAuthChain',
            data: { scope, authenticators, ...unproven, ...condition },
          };
        },
        current,
        afterwards: finish,
        answer: (done) => {
          const chain = replacedBy(done);
          const { removing = [] } = reads.authChain(scope) ?? {};
          return {
            status: 200,
            body: { ...chainView(scope, chain), removing },
            updatedRevision: chain?.updatedRevision ?? 0,
          };
        },
      });
    },
  );
}

/** The chain as a commit left it; undefined of one that says nothing any more. */
function replacedBy(done: Done) {
  const event = done.events.find(
    (one): one is Extract<AuthChainEvent, { type: 'AuthChainReplaced' }> =>
      one.type === 'AuthChainReplaced',
  );
  assert(event !== undefined, 'a commit of ReplaceAuthChain replaces a chain');
  return evolveAuthChain(undefined, event, done);
}
