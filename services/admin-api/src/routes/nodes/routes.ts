import type { Routes } from '../../http/context.ts';
import { answers, READ_PROBLEMS } from '../../http/openapi.ts';
import { emptyQuery, nodesSchema } from './schema.ts';

export const nodeRoutes: Routes = (app, { ports }) => {
  app.get(
    '/nodes',
    {
      config: { permission: 'nodes:read' },
      schema: {
        tags: ['nodes'],
        operationId: 'listNodes',
        summary: 'List broker nodes and the revision that each enforces',
        querystring: emptyQuery,
        response: answers({ 200: nodesSchema }, READ_PROBLEMS),
      },
    },
    () => {
      const { revision, hash } = ports.model;
      const items = ports.registry
        .nodes()
        .map((node) => ({ ...node, silentMs: Math.max(0, Math.round(node.silentMs)) }));
      return { revision, hash, items, total: items.length };
    },
  );
};
