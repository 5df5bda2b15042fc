import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { sourceOf } from '../../http/context.ts';
import { answers, READ_PROBLEMS, WRITE_PROBLEMS } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import { NATIVE_SESSION, type TokenPair } from '../../http/tokens.ts';
import { loginBody, refreshBody, sessionSchema } from './schema.ts';

const tags = ['auth'];

export const authRoutes: Routes = (app, context) => {
  registerLogin(app, context);
  registerRefresh(app, context);
  registerLogout(app, context);
};

const SESSION_PROBLEMS = READ_PROBLEMS.filter((status) => status !== 403 && status !== 404);

function registerLogin(app: TypedApp, context: ApiContext): void {
  const { login, tokens, barrier } = context;
  app.post(
    '/auth/login',
    {
      config: { permission: 'public' },
      schema: {
        tags,
        operationId: 'login',
        summary: 'Log in with a password',
        body: loginBody,
        response: answers({ 200: sessionSchema }, SESSION_PROBLEMS),
      },
    },
    async (request) => {
      const { username, email, password } = request.body;
      const name = username ?? email;
      if (name === undefined || (username !== undefined && email !== undefined)) {
        const detail = 'is needed, or an email instead';
        throw refused('invalid_request', { problems: [{ pointer: '/username', detail }] });
      }
      await barrier.pass();
      const operator = await login.login({ login: name, password, source: sourceOf(request) });
      // Told like a wrong password: whether an account exists is nobody's business.
      if (!operator.enabled) throw refused('login_failed');
      const { id, role, sessionEpoch } = operator;
      const session = {
        operatorId: id,
        epoch: sessionEpoch,
        startedAtSeconds: tokens.nowSeconds(),
      };
      const pair = await tokens.issue(session, 'sallyport', NATIVE_SESSION);
      if (pair === undefined) throw refused('token_expired');
      request.log.info({ operator: id }, 'operator logged in');
      return { ...sessionView(pair), operator: { id, name: operator.name, role } };
    },
  );
}

const sessionView = (pair: TokenPair): Record<string, unknown> => ({
  tokenType: 'Bearer',
  ...pair,
});

function registerRefresh(app: TypedApp, context: ApiContext): void {
  const { authenticator, tokens } = context;
  app.post(
    '/auth/refresh',
    {
      config: { permission: 'public' },
      schema: {
        tags,
        operationId: 'refresh',
        summary: 'Continue a session',
        body: refreshBody,
        response: answers({ 200: sessionSchema }, SESSION_PROBLEMS),
      },
    },
    async (request) => {
      const { refreshToken } = request.body;
      const found = await authenticator.operatorOf(refreshToken, 'refresh', 'sallyport');
      if (!found.ok) {
        throw refused(found.reason === 'expired' ? 'token_expired' : 'unauthenticated');
      }
      const pair = await tokens.issue(found.session, 'sallyport', NATIVE_SESSION);
      if (pair === undefined) throw refused('token_expired');
      const { id, name, role } = found.operator;
      return { ...sessionView(pair), operator: { id, name, role } };
    },
  );
}

function registerLogout(app: TypedApp, context: ApiContext): void {
  app.post(
    '/auth/logout',
    {
      config: { permission: 'session' },
      schema: {
        tags,
        operationId: 'logout',
        summary: 'End all sessions of the operator, on every replica',
        response: answers({ 204: null }, WRITE_PROBLEMS),
      },
    },
    (request, reply) =>
      context.writer.respond(request, reply, {
        command: () => {
          const id = request.caller?.id;
          if (id === undefined) throw refused('unauthenticated');
          return { type: 'EndOperatorSessions', data: { id } };
        },
        answer: () => ({ status: 204 }),
      }),
  );
}
