import type { Routes } from '../../http/context.ts';
import { answers, READ_PROBLEMS } from '../../http/openapi.ts';
import { emptyQuery, passwordPolicySchema } from './schema.ts';

/** The policy is of the configuration, so that it is read here and not written. */
export const passwordPolicyRoutes: Routes = (app, { ports }) => {
  app.get(
    '/password-policy',
    {
      config: { permission: 'settings:read' },
      schema: {
        tags: ['settings'],
        operationId: 'getPasswordPolicy',
        summary: 'Tell what new passwords must have',
        querystring: emptyQuery,
        response: answers({ 200: passwordPolicySchema }, READ_PROBLEMS),
      },
    },
    () => ({ ...ports.passwordPolicy }),
  );
};
