import { randomUUID } from 'node:crypto';
import { observe, OPS_PATHS } from '@sallyport/telemetry';
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { tbmqFacade } from './compat/tbmq/routes.ts';
import type { HttpConfig } from './config.ts';
import { Authenticator } from './http/authentication.ts';
import type { ApiContext } from './http/context.ts';
import { BODY_BYTES_MAX } from './http/json-body.ts';
import { Listening } from './http/listening.ts';
import { Lockout } from './http/lockout.ts';
import { OperatorLogin } from './http/login.ts';
import { KnownMethods } from './http/method-not-allowed.ts';
import { notFound, registerNativeApi } from './http/native-api.ts';
import { registerOpenApi } from './http/openapi.ts';
import { requirePermissions } from './http/permissions.ts';
import { refused, sendProblem } from './http/problems.ts';
import { RateLimit } from './http/rate-limit.ts';
import { ReadBarrier } from './http/read-barrier.ts';
import { OperatorTokens } from './http/tokens.ts';
import { createValidatorCompiler } from './http/validation.ts';
import { Writer } from './http/write.ts';
import type { AdminApiPorts } from './ports.ts';
import { resumeRemovals } from './routes/auth-chains/removal.ts';
import { RegistrationDesk } from './registration/registration-desk.ts';

/** The administration API. */
export interface AdminApi {
  readonly app: FastifyInstance;
  /** Listens on the addresses of the configuration and answers them, as `http://host:port`. */
  listen(): Promise<readonly string[]>;
  /** Finishes what is in flight. The ports stay open: they belong to the caller. */
  close(): Promise<void>;
}

/** Longest parameter of a path: 256 bytes of UTF-8, each percent-encoded, and some room for a helpful refusal. */
const PARAM_LENGTH_MAX = 1024;
const LOCKOUT_ENTRIES_MAX = 10_000;

const securityHeaders = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

export async function createAdminApi(
  config: { readonly http: HttpConfig },
  ports: AdminApiPorts,
): Promise<AdminApi> {
  const app = createApp(config.http, ports);
  const methods = new KnownMethods(app);
  requirePermissions(app);
  if (ports.telemetry.tracing) await registerTracing(app);
  await registerOpenApi(app);
  registerOps(app, ports);
  const context = await createContext(config.http, ports);
  await registerNativeApi(app, context, methods);
  await app.register(tbmqFacade, { context, methods });
  app.setNotFoundHandler((request) => notFound(request, methods));
  await app.ready();
  const resumed = resumeRemovals(ports);
  const listening = new Listening();
  return {
    app,
    listen: () => listening.open(config.http.listen, app.routing.bind(app)),
    close: async () => {
      await listening.close();
      await resumed;
      await app.close();
    },
  };
}

function createApp(config: HttpConfig, ports: AdminApiPorts): FastifyInstance {
  const { trustedProxies } = config;
  const logger: FastifyBaseLogger = ports.telemetry.logger;
  const app = fastify({
    loggerInstance: logger,
    logController: new LogController({
      disableRequestLogging: true,
      requestIdLogLabel: 'request_id',
    }),
    genReqId: () => randomUUID(),
    bodyLimit: BODY_BYTES_MAX,
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    routerOptions: { maxParamLength: PARAM_LENGTH_MAX },
    frameworkErrors: (error, request, reply) => {
      void reply.headers(securityHeaders);
      sendProblem(error, request, reply);
    },
  });
  app.setValidatorCompiler(createValidatorCompiler());
  app.setErrorHandler(sendProblem);
  app.decorateRequest('caller', null);
  app.decorateRequest('commitIdentity', null);
  app.addHook('onRequest', async (_request, reply) => {
    void reply.headers(securityHeaders);
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = `${request.method} ${request.routeOptions.url ?? 'unknown'}`;
    const { statusCode: status, elapsedTime } = reply;
    observe('sallyport.http.requests', elapsedTime / 1000, { route, status: String(status) });
    const actor =
      request.caller === null ? undefined : `${request.caller.kind}:${request.caller.id}`;
    const source = request.ip;
    request.log.info({ route, status, milliseconds: elapsedTime, actor, source }, 'request');
  });
  return app;
}

async function createContext(config: HttpConfig, ports: AdminApiPorts): Promise<ApiContext> {
  const { secretBox, clock } = ports;
  const lockout = new Lockout(
    {
      failuresMax: config.loginFailuresMax,
      windowMs: config.loginWindowSeconds * 1000,
      lockMs: config.loginLockSeconds * 1000,
      entriesMax: LOCKOUT_ENTRIES_MAX,
    },
    clock,
  );
  const tokens = new OperatorTokens({ key: secretBox.derive('operator-token'), clock });
  const barrier = new ReadBarrier(ports);
  return {
    config,
    ports,
    tokens,
    barrier,
    authenticator: new Authenticator({ ports, tokens, lockout, barrier }),
    login: await OperatorLogin.create(ports, lockout),
    rateLimit: new RateLimit(config.requestsPerSecondMax, clock),
    registration: new RegistrationDesk(ports, barrier),
    writer: new Writer(ports),
  };
}

/** Health on the API's own address, for a process that has no other. */
function registerOps(app: FastifyInstance, { ops }: AdminApiPorts): void {
  if (ops === undefined) return;
  for (const url of OPS_PATHS) {
    const options = { config: { permission: 'public' }, schema: { hide: true } } as const;
    app.get(url, options, async (request, reply) => {
      const { method, headers, socket } = request;
      const peerAddress = socket.remoteAddress;
      const answer = await ops({ method, path: url, headers, peerAddress });
      if (answer === undefined) throw refused('route_not_found');
      return reply
        .code(answer.status)
        .headers(answer.headers)
        .type(answer.contentType)
        .send(answer.body);
    });
  }
}

/** Spans of requests. Loaded only when somebody looks at them. */
async function registerTracing(app: FastifyInstance): Promise<void> {
  const { FastifyOtelInstrumentation } = await import('@fastify/otel');
  const instrumentation = new FastifyOtelInstrumentation({ registerOnInitialization: false });
  await app.register(instrumentation.plugin());
}
