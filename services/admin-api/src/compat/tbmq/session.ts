import { NAME_BYTES_MAX } from '@sallyport/domain';
import { utf8Bytes } from '@sallyport/topic';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { operatorCaller } from '../../http/authentication.ts';
import { type ApiContext, sourceOf } from '../../http/context.ts';
import { parseJson } from '../../http/json-body.ts';
import { limit } from '../../http/native-api.ts';
import {
  accountNotActive,
  authenticationFailed,
  methodNotSupported,
  permissionDenied,
  tokenExpired,
  wrongLogin,
} from './errors.ts';
import { TBMQ_SESSION, tokenOf } from './schema.ts';

const PUBLIC = { config: { permission: 'public' }, schema: { hide: true } } as const;
const OTHER_METHODS = ['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/** `/api/auth/login` and `/api/auth/token`. */
export function registerSession(app: FastifyInstance, context: ApiContext): void {
  for (const url of ['/api/auth/login', '/api/auth/token']) {
    app.route({
      ...PUBLIC,
      url,
      method: [...OTHER_METHODS],
      exposeHeadRoute: false,
      handler: () => {
        throw methodNotSupported();
      },
    });
  }
  app.post('/api/auth/login', PUBLIC, async (request) => {
    limit(context, `source:${sourceOf(request)}`);
    const body = members(request.body);
    const username = text(body, 'username');
    const password = text(body, 'password');
    if (username.trim() === '' || password === '') throw authenticationFailed();
    if (utf8Bytes(username) > NAME_BYTES_MAX) throw wrongLogin();
    await context.barrier.pass();
    const source = sourceOf(request);
    const operator = await context.login.login({ login: username, password, source });
    if (!operator.enabled) throw accountNotActive();
    const startedAtSeconds = context.tokens.nowSeconds();
    const session = { operatorId: operator.id, epoch: operator.sessionEpoch, startedAtSeconds };
    return pair(context, session);
  });
  app.post('/api/auth/token', PUBLIC, async (request) => {
    limit(context, `source:${sourceOf(request)}`);
    const refreshToken = text(members(request.body), 'refreshToken');
    if (refreshToken.trim() === '') throw authenticationFailed();
    const found = await context.authenticator.operatorOf(refreshToken, 'refresh', 'tbmq');
    if (!found.ok) throw found.reason === 'expired' ? tokenExpired() : wrongLogin();
    return pair(context, found.session);
  });
}

async function pair(
  context: ApiContext,
  session: Parameters<ApiContext['tokens']['issue']>[0],
): Promise<{ token: string; refreshToken: string }> {
  const issued = await context.tokens.issue(session, 'tbmq', TBMQ_SESSION);
  if (issued === undefined) throw tokenExpired();
  return { token: issued.accessToken, refreshToken: issued.refreshToken };
}

/** Members of a body that has to be a JSON object; what cannot be read is a failed login here. */
function members(body: unknown): ReadonlyMap<string, unknown> {
  try {
    const value = parseJson(String(body));
    return new Map(Object.entries(value as object)); // Null and undefined throw, everything else has entries.
  } catch {
    throw authenticationFailed();
  }
}

function text(body: ReadonlyMap<string, unknown>, name: string): string {
  const value = body.get(name);
  return typeof value === 'string' ? value : '';
}

/** Finds the operator of a request. @throws TbmqRefusedError, RefusedError */
export async function authorize(
  request: FastifyRequest,
  context: ApiContext,
  allowed: (caller: NonNullable<FastifyRequest['caller']>) => boolean,
): Promise<void> {
  const token = tokenOf(request.headers);
  if (token === undefined) {
    limit(context, `source:${sourceOf(request)}`);
    throw authenticationFailed();
  }
  const found = await context.authenticator.operatorOf(token, 'access', 'tbmq');
  if (!found.ok) {
    limit(context, `source:${sourceOf(request)}`);
    throw found.reason === 'expired' ? tokenExpired() : wrongLogin();
  }
  request.caller = operatorCaller(found.operator);
  limit(context, `operator:${found.operator.id}`);
  if (!allowed(request.caller)) throw permissionDenied();
}
