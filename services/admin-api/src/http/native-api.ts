import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { aclRoutes } from '../routes/acl/routes.ts';
import { apiKeyRoutes } from '../routes/api-keys/routes.ts';
import { authChainRoutes } from '../routes/auth-chains/routes.ts';
import { authRoutes } from '../routes/auth/routes.ts';
import { certificateRoutes } from '../routes/certificates/routes.ts';
import { configRoutes } from '../routes/config/routes.ts';
import { banRoutes } from '../routes/bans/routes.ts';
import { connectionRoutes } from '../routes/connections/routes.ts';
import { credentialRoutes } from '../routes/credentials/routes.ts';
import { dynsecRoutes } from '../routes/dynsec/routes.ts';
import { explainRoutes } from '../routes/explain/routes.ts';
import { issuedCertificateRoutes } from '../routes/issued-certificates/routes.ts';
import { importRoutes } from '../routes/imports/routes.ts';
import { clientRoutes } from '../routes/clients/routes.ts';
import { groupRuleRoutes } from '../routes/group-rules/routes.ts';
import { groupRoutes } from '../routes/groups/routes.ts';
import { lintRoutes } from '../routes/lint/routes.ts';
import { nodeRoutes } from '../routes/nodes/routes.ts';
import { operatorRoutes } from '../routes/operators/routes.ts';
import { passwordPolicyRoutes } from '../routes/password-policy/routes.ts';
import { registrationRoutes } from '../routes/registration/routes.ts';
import { roleRoutes } from '../routes/roles/routes.ts';
import { settingRoutes } from '../routes/settings/routes.ts';
import { statusRoutes } from '../routes/status/routes.ts';
import { commitIdentityOf } from './commit-identity.ts';
import { type ApiContext, type Routes, sourceOf, type TypedApp } from './context.ts';
import { registerJsonParser } from './json-body.ts';
import type { KnownMethods } from './method-not-allowed.ts';
import { allows, type Permission } from './permissions.ts';
import { refused } from './problems.ts';

export const NATIVE_PREFIX = '/api/v1';

const resources: readonly Routes[] = [
  authRoutes,
  credentialRoutes,
  aclRoutes,
  settingRoutes,
  operatorRoutes,
  apiKeyRoutes,
  nodeRoutes,
  explainRoutes,
  lintRoutes,
  statusRoutes,
  certificateRoutes,
  issuedCertificateRoutes,
  roleRoutes,
  importRoutes,
  configRoutes,
  groupRoutes,
  groupRuleRoutes,
  dynsecRoutes,
  clientRoutes,
  banRoutes,
  connectionRoutes,
  authChainRoutes,
  registrationRoutes,
  passwordPolicyRoutes,
];

/** The routes below `/api/v1`, with what all of them have in common. */
export async function registerNativeApi(
  app: FastifyInstance,
  context: ApiContext,
  methods: KnownMethods,
): Promise<void> {
  await app.register(
    // The name is the one that spans of its hooks show.
    function nativeApi(native, _options, done) {
      registerJsonParser(native, ['application/json', 'application/merge-patch+json']);
      native.addHook('onRequest', (request) => admit(request, context));
      native.addHook('preValidation', (request) => identify(request, context));
      native.setNotFoundHandler((request) => notFound(request, methods));
      // Schemas give the handlers their types; validation is ours.
      const typed: TypedApp = native.withTypeProvider<TypeBoxTypeProvider>();
      for (const register of resources) register(typed, context);
      done();
    },
    { prefix: NATIVE_PREFIX },
  );
}

/** Answers 405 where the address exists, else 404. */
export function notFound(request: FastifyRequest, methods: KnownMethods): never {
  const allowed = methods.of(request.url);
  if (allowed.length === 0) throw refused('route_not_found');
  throw refused('method_not_allowed', { headers: { allow: allowed.join(', ') } });
}

/** Before the body is read: who is it, are there too many requests, may the caller do this. */
async function admit(request: FastifyRequest, context: ApiContext): Promise<void> {
  const permission = request.routeOptions.config.permission;
  if (request.is404 || permission === 'public') {
    limit(context, `source:${sourceOf(request)}`);
    return;
  }
  request.caller = await authenticated(request, context);
  limit(context, `${request.caller.kind}:${request.caller.id}`);
  if (permission === undefined || !allows(request.caller, permission)) throw refused('forbidden');
}

async function authenticated(
  request: FastifyRequest,
  context: ApiContext,
): Promise<NonNullable<FastifyRequest['caller']>> {
  const source = sourceOf(request);
  try {
    return await context.authenticator.caller(request.headers.authorization, source);
  } catch (error) {
    // Nobody is known yet, so tries count against the source.
    limit(context, `source:${source}`);
    throw error;
  }
}

/** @throws RefusedError `rate_limited` */
export function limit({ rateLimit }: Pick<ApiContext, 'rateLimit'>, key: string): void {
  const waitMs = rateLimit.take(key);
  if (waitMs === 0) return;
  const retryAfter = String(Math.max(1, Math.ceil(waitMs / 1000)));
  throw refused('rate_limited', { headers: { 'retry-after': retryAfter } });
}

const isWrite = (permission: Permission | undefined): boolean =>
  permission === 'session' || permission?.endsWith(':write') === true;

/** After the body is parsed and before defaults are filled in, so that it is the sent body that is identified. */
async function identify(request: FastifyRequest, { ports }: ApiContext): Promise<void> {
  const { permission } = request.routeOptions.config;
  if (!isWrite(permission) || request.caller === null) return;
  request.commitIdentity = commitIdentityOf(request, request.caller, ports.secretBox);
}
