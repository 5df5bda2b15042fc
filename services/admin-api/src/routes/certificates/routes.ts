import { TLS_LISTENERS, type TlsListener, type Trust } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { etagOf, failed, ifRevisionOf, mustBeAbsent } from '../../http/etag.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import type { Done } from '../../http/write.ts';
import { prepareTrust } from './prepare.ts';
import {
  emptyQuery,
  listenerParams,
  replaceBody,
  trustListSchema,
  trustSchema,
  trustView,
  writeQuerySchema,
  writtenTrustSchema,
} from './schema.ts';

const tags = ['certificates'];
const READ = { permission: 'certificates:read' } as const;
const WRITE = { permission: 'certificates:write' } as const;
const ADDRESS = '/certificates/:listener';

/** What the TLS listeners of all nodes show and trust. */
export const certificateRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerReplace(app, context);
  registerRemove(app, context);
};

const trustOf = (context: ApiContext, listener: TlsListener): Trust | undefined =>
  context.ports.model.reads.trust(listener);

/** @throws RefusedError `trust_not_found` for a name that no TLS listener has */
function listenerOf({ listener: name }: { readonly listener: string }): TlsListener {
  const listener = TLS_LISTENERS.find((one) => one === name);
  if (listener !== undefined) return listener;
  throw refused('trust_not_found', { detail: `TLS listeners are ${TLS_LISTENERS.join(', ')}.` });
}

function registerReads(app: TypedApp, context: ApiContext): void {
  app.get(
    '/certificates',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listCertificates',
        summary: 'List what TLS listeners show and trust in place of their configuration',
        querystring: emptyQuery,
        response: answers({ 200: trustListSchema }, READ_PROBLEMS),
      },
    },
    () => {
      const all = TLS_LISTENERS.map((listener) => trustOf(context, listener));
      return { items: all.filter((one) => one !== undefined).map(trustView) };
    },
  );
  app.get(
    ADDRESS,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getCertificates',
        summary: 'Read what one TLS listener shows and trusts',
        params: listenerParams,
        querystring: emptyQuery,
        response: answers({ 200: trustSchema }, READ_PROBLEMS),
      },
    },
    (request, reply) => {
      const trust = trustOf(context, listenerOf(request.params));
      if (trust === undefined) throw refused('trust_not_found');
      void reply.header('etag', etagOf(trust.updatedRevision));
      return trustView(trust);
    },
  );
}

/** What a command must find: what `If-Match` or `If-None-Match: *` says, else what the texts were checked against. */
function conditionOf(
  request: Parameters<typeof ifRevisionOf>[0],
  current: Trust | undefined,
): { readonly ifRevision: number } {
  if (mustBeAbsent(request) && current !== undefined) throw failed(current.updatedRevision);
  const ifRevision = ifRevisionOf(request, current?.updatedRevision);
  return { ifRevision: ifRevision ?? current?.updatedRevision ?? 0 };
}

function registerReplace(app: TypedApp, context: ApiContext): void {
  app.put(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'replaceCertificates',
        summary: 'Set what a TLS listener shows and trusts, for handshakes from now on',
        params: listenerParams,
        querystring: writeQuerySchema,
        body: replaceBody,
        response: writeAnswers(200, writtenTrustSchema),
      },
    },
    (request, reply) => {
      const listener = listenerOf(request.params);
      const { headers } = request;
      const conditional =
        headers['if-match'] !== undefined || headers['if-none-match'] !== undefined;
      return context.writer.respond(request, reply, {
        command: ({ at }) => {
          const current = trustOf(context, listener);
          const condition = conditionOf(request, current);
          const fields = prepareTrust(context, { listener, body: request.body, current, at });
          return { type: 'ReplaceTrust', data: { listener, fields, ...condition } };
        },
        current: () => trustOf(context, listener)?.updatedRevision,
        retryStale: !conditional,
        answer: (done) => ({
          status: 200,
          body: trustView(replaced(done, listener)),
          updatedRevision: done.revision,
        }),
      });
    },
  );
}

function replaced(done: Done, listener: TlsListener): Trust {
  const event = done.events.find((one) => one.type === 'TrustReplaced');
  assert(event !== undefined, 'a commit of ReplaceTrust replaces it');
  const { fields } = event.data;
  return { listener, ...fields, updatedAt: done.at, updatedRevision: done.revision };
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  app.delete(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'deleteCertificates',
        summary: 'Let a TLS listener be what the configuration of its node says',
        params: listenerParams,
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const listener = listenerOf(request.params);
      const current = () => trustOf(context, listener)?.updatedRevision;
      return context.writer.respond(request, reply, {
        command: () => {
          const ifRevision = ifRevisionOf(request, current());
          const condition = ifRevision === undefined ? {} : { ifRevision };
          return { type: 'RemoveTrust', data: { listener, ...condition } };
        },
        current,
        answer: () => ({ status: 204 }),
      });
    },
  );
}
