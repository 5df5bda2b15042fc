import type { Routes } from '../../http/context.ts';
import { etagOf, ifRevisionOf } from '../../http/etag.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import {
  emptyQuery,
  patchBody,
  settingsSchema,
  settingsView,
  writeQuerySchema,
  writtenSettingsSchema,
} from './schema.ts';

const tags = ['settings'];

export const settingRoutes: Routes = (app, { ports, writer }) => {
  const current = () => ports.model.reads.settings();
  app.get(
    '/settings',
    {
      config: { permission: 'settings:read' },
      schema: {
        tags,
        operationId: 'getSettings',
        summary: 'Read the settings',
        querystring: emptyQuery,
        response: answers({ 200: settingsSchema }, READ_PROBLEMS),
      },
    },
    (_request, reply) => {
      void reply.header('etag', etagOf(current().updatedRevision));
      return settingsView(current());
    },
  );
  app.patch(
    '/settings',
    {
      config: { permission: 'settings:write' },
      schema: {
        tags,
        operationId: 'patchSettings',
        summary: 'Change settings',
        querystring: writeQuerySchema,
        body: patchBody,
        response: writeAnswers(200, writtenSettingsSchema),
      },
    },
    (request, reply) =>
      writer.respond(request, reply, {
        command: () => {
          const ifRevision = ifRevisionOf(request, current().updatedRevision);
          return {
            type: 'ChangeSettings',
            data: { changes: request.body, ...(ifRevision === undefined ? {} : { ifRevision }) },
          };
        },
        current: () => current().updatedRevision,
        answer: () => ({
          status: 200,
          body: settingsView(current()),
          updatedRevision: current().updatedRevision,
        }),
      }),
  );
};
