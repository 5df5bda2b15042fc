import type { Routes } from '../../http/context.ts';
import { answers, READ_PROBLEMS } from '../../http/openapi.ts';
import { emptyQuery, statusSchema } from './schema.ts';

export const statusRoutes: Routes = (app, { ports }) => {
  app.get(
    '/status',
    {
      config: { permission: 'status:read' },
      schema: {
        tags: ['status'],
        operationId: 'getStatus',
        summary: 'Tell the revision of this replica',
        querystring: emptyQuery,
        response: answers({ 200: statusSchema }, READ_PROBLEMS),
      },
    },
    () => ({
      revision: ports.model.revision,
      hash: ports.model.hash,
      importedSecrets: ports.model.lists.importedSecrets(),
    }),
  );
  app.get(
    '/openapi.json',
    {
      config: { permission: 'status:read' },
      schema: {
        tags: ['status'],
        operationId: 'getOpenApi',
        summary: 'This document',
        querystring: emptyQuery,
        response: answers({}, READ_PROBLEMS),
      },
    },
    () => app.swagger(),
  );
};
