import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyRequest,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { HttpConfig } from '../config.ts';
import type { RegistrationDesk } from '../registration/registration-desk.ts';
import type { AdminApiPorts } from '../ports.ts';
import type { Authenticator } from './authentication.ts';
import type { CommitIdentity } from './commit-identity.ts';
import type { OperatorLogin } from './login.ts';
import type { Caller } from './permissions.ts';
import type { RateLimit } from './rate-limit.ts';
import type { ReadBarrier } from './read-barrier.ts';
import type { OperatorTokens } from './tokens.ts';
import type { Writer } from './write.ts';

/** What routes are made with. */
export interface ApiContext {
  readonly config: HttpConfig;
  readonly ports: AdminApiPorts;
  readonly authenticator: Authenticator;
  readonly barrier: ReadBarrier;
  readonly login: OperatorLogin;
  readonly rateLimit: RateLimit;
  readonly registration: RegistrationDesk;
  readonly tokens: OperatorTokens;
  readonly writer: Writer;
}

/** A server whose handlers know the types of their schemas. */
export type TypedApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** The routes of one resource. */
export type Routes = (app: TypedApp, context: ApiContext) => void;

declare module 'fastify' {
  interface FastifyRequest {
    /** Null on public routes. */
    caller: Caller | null;
    /** Null on public routes and on reads. */
    commitIdentity: CommitIdentity | null;
  }
}

/** Address of the peer as lockout and rate limits count it: an IPv6 network counts as one. */
export function sourceOf(request: Pick<FastifyRequest, 'ip'>): string {
  const { ip } = request;
  if (!ip.includes(':') || ip.startsWith('::ffff:')) return ip;
  const [head = '', tail = ''] = ip.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const zeros = ip.includes('::') ? Array<string>(8 - left.length - right.length).fill('0') : [];
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`;
}
