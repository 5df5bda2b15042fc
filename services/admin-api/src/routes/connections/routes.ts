import { collectPage, Scatter } from '@sallyport/node-registry';
import type { FastifyRequest } from 'fastify';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { answers, READ_PROBLEMS } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import { NODE_TIMEOUT_MS } from './node-timeout.ts';
import {
  clientParams,
  connectionListQuery,
  connectionPageSchema,
  connectionSchema,
  connectionView,
  disconnectQuery,
  emptyQuery,
  type NodeConnection,
  type NodeRefusal,
  refusedListQuery,
  refusedPageSchema,
  refusedView,
} from './schema.ts';

const tags = ['connections'];
const READ = { permission: 'connections:read' } as const;
const WRITE = { permission: 'connections:write' } as const;

export const connectionRoutes: Routes = (app, context) => {
  registerLists(app, context);
  registerGet(app, context);
  registerDisconnect(app, context);
};

const scatterOf = ({ ports }: ApiContext): Scatter =>
  new Scatter(
    ports.calls,
    ports.registry.nodes().map((node) => node.nodeId),
    NODE_TIMEOUT_MS,
  );

/** A page of a list that the nodes have between them. */
async function pageOf<Row>(
  context: ApiContext,
  list: 'connections' | 'refused-connections',
  query: Parameters<typeof pageRequestOf>[0],
) {
  const { page, pageSize, ...order } = pageRequestOf<string>(query);
  const collected = await collectPage<Row>(scatterOf(context), {
    query: { list, ...order },
    offset: page * pageSize,
    limit: pageSize,
  });
  return { ...collected, page, pageSize };
}

function registerLists(app: TypedApp, context: ApiContext): void {
  app.get(
    '/connections',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listConnections',
        summary: 'List clients that are connected to any node; searches client ids',
        querystring: connectionListQuery,
        response: answers({ 200: connectionPageSchema }, READ_PROBLEMS),
      },
    },
    async ({ query }) => {
      const page = await pageOf<NodeConnection>(context, 'connections', query);
      return { ...page, items: page.items.map(connectionView) };
    },
  );
  app.get(
    '/refused-connections',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listRefusedConnections',
        summary: 'List who tried to connect and was refused; searches client ids, names, addresses',
        querystring: refusedListQuery,
        response: answers({ 200: refusedPageSchema }, READ_PROBLEMS),
      },
    },
    async ({ query }) => {
      const page = await pageOf<NodeRefusal>(context, 'refused-connections', query);
      return { ...page, items: page.items.map(refusedView) };
    },
  );
}

/** Nobody has said that the client is there. @throws RefusedError `node_silent` when somebody may not have been heard */
function notFound({ silentNodes }: Scatter): Error {
  if (silentNodes.length === 0) return refused('connection_not_found');
  const detail = `No answer came from ${silentNodes.join(', ')}; nobody else knows the client.`;
  return refused('node_silent', { detail });
}

function registerGet(app: TypedApp, context: ApiContext): void {
  app.get(
    '/connections/:clientId',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getConnection',
        summary: 'Read the connection of a client, whichever node has it',
        params: clientParams,
        querystring: emptyQuery,
        response: answers({ 200: connectionSchema }, READ_PROBLEMS),
      },
    },
    async (request) => {
      const scatter = scatterOf(context);
      const { clientId } = request.params;
      const told = await scatter.ask<{ connection?: NodeConnection }>({
        op: 'connection',
        clientId,
      });
      const [newest] = told
        .flatMap(({ connection }) => connection ?? [])
        .sort((a, b) => b.connectedAt - a.connectedAt);
      if (newest === undefined) throw notFound(scatter);
      return connectionView(newest);
    },
  );
}

function registerDisconnect(app: TypedApp, context: ApiContext): void {
  app.delete(
    '/connections/:clientId',
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'deleteConnection',
        summary: 'Disconnect a client, whichever node has it; it may come back at once',
        params: clientParams,
        querystring: disconnectQuery,
        response: answers({ 204: null }, READ_PROBLEMS),
      },
    },
    async (request, reply) => {
      const scatter = scatterOf(context);
      const { clientId } = request.params;
      const endSession = request.query.session === 'end';
      const told = await scatter.ask<{ disconnected: boolean }>({
        op: 'disconnect',
        clientId,
        ...(endSession && { endSession }),
      });
      if (!told.some(({ disconnected }) => disconnected)) throw notFound(scatter);
      record(request, clientId);
      return reply.code(204).send();
    },
  );
}

/** It leaves no event: nothing has changed but for the moment. */
function record({ log, caller }: FastifyRequest, clientId: string): void {
  log.info({ clientId, actor: `${caller?.kind}:${caller?.id}` }, 'a client was disconnected');
}
