import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import type { ApiContext } from '../../http/context.ts';
import { decodeUtf8 } from '../../http/json-body.ts';
import type { KnownMethods } from '../../http/method-not-allowed.ts';
import { allows } from '../../http/permissions.ts';
import { headersOf, logFailure, rejectionOf } from '../../http/problems.ts';
import { registerCredentials } from './credentials.ts';
import { tbmqErrorOf, TbmqRefusedError, timestampOf } from './errors.ts';
import { authorize, registerSession } from './session.ts';

/** TBMQ's REST API, for tools that speak it already. Everything in it is one of our own commands. */
export const tbmqFacade: FastifyPluginCallback<{
  readonly context: ApiContext;
  readonly methods: KnownMethods;
}> = (app, { context, methods }, done) => {
  app.removeAllContentTypeParsers();
  // TBMQ never looks at the content type, so one that is none must not matter either.
  app.addHook('onRequest', async ({ raw }) => {
    raw.headers['content-type'] = 'application/json';
  });
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, parsed) => {
    try {
      parsed(null, decodeUtf8(body as Buffer)); // parseAs: 'buffer'
    } catch (error) {
      parsed(error as Error, undefined); // Only errors are thrown above.
    }
  });
  app.setErrorHandler((error, request, reply) => {
    sendError(context, error, request, reply);
  });
  app.addHook('onRequest', async (request) => {
    const { permission } = request.routeOptions.config;
    if (permission === 'public' || request.is404) return;
    await authorize(
      request,
      context,
      (caller) => permission !== undefined && allows(caller, permission),
    );
  });
  registerSession(app, context);
  registerCredentials(app, context);
  for (const prefix of ['/api/auth', '/api/mqtt']) registerNotFound(app, prefix, context, methods);
  done();
};

function sendError(
  context: ApiContext,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  if (error instanceof TbmqRefusedError) {
    request.log.info({ errorCode: error.answer.errorCode }, 'request refused');
    answer(context, error.answer, reply);
    return;
  }
  const rejection = rejectionOf(error);
  logFailure(request, error, rejection);
  const { 'www-authenticate': _challenge, ...headers } = headersOf(error, rejection);
  void reply.headers(headers);
  answer(context, tbmqErrorOf(rejection), reply);
}

function answer(
  { ports }: ApiContext,
  { status, message, errorCode }: TbmqRefusedError['answer'],
  reply: FastifyReply,
): void {
  const timestamp = timestampOf(ports.clock());
  void reply.code(status).send({ status, message, errorCode, timestamp });
}

/** Addresses of TBMQ that are not served, in TBMQ's shape. */
function registerNotFound(
  app: FastifyInstance,
  prefix: string,
  context: ApiContext,
  methods: KnownMethods,
): void {
  void app.register(
    (scope, _options, done) => {
      scope.setNotFoundHandler((request, reply) => {
        const allowed = methods.of(request.url);
        if (allowed.length === 0) {
          answer(context, { status: 404, message: 'Not Found', errorCode: 32 }, reply);
          return;
        }
        void reply.header('allow', allowed.join(', '));
        const message = `Request method '${request.method}' not supported`;
        answer(context, { status: 405, message, errorCode: 31 }, reply);
      });
      done();
    },
    { prefix },
  );
}
