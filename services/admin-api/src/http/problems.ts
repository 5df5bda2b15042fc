import {
  type ErrorCode,
  errorFacts,
  type FieldProblem,
  OperationalError,
  type Rejection,
} from '@sallyport/errors';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { validationProblems } from './validation.ts';

/** RFC 9457 problem details, with our code. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail?: string;
  readonly instance?: string;
  readonly errors?: readonly FieldProblem[];
}

/** Media type of RFC 9457. */
export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

/** Most entries of `errors`; the rest would only repeat them. */
export const PROBLEM_ERRORS_MAX = 50;

/** A request that is refused. Thrown by hooks and handlers, answered in the shape of the API that was asked. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly rejection: Rejection;
  readonly headers: Readonly<Record<string, string>>;

  constructor(rejection: Rejection, headers: Readonly<Record<string, string>> = {}) {
    super(rejection.code);
    this.rejection = rejection;
    this.headers = headers;
  }
}

/** Runs what may be refused, and names members of what was sent where the domain names its own. */
export async function namingMembers<T>(
  memberOf: (pointer: string) => string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof RefusedError) || error.rejection.problems === undefined) throw error;
    const problems = error.rejection.problems.map(({ pointer, detail }) => ({
      pointer: memberOf(pointer),
      detail,
    }));
    throw new RefusedError({ ...error.rejection, problems }, error.headers);
  }
}

/** Shorthand for `throw refused(...)`. */
export function refused(
  code: ErrorCode,
  more: Omit<Rejection, 'code'> & { readonly headers?: Readonly<Record<string, string>> } = {},
): RefusedError {
  const { headers, ...rest } = more;
  return new RefusedError({ code, ...rest }, headers);
}

/** Codes of the framework, and ours for them. Whatever is not named and is the caller's fault is `invalid_request`. */
const frameworkCodes: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'malformed_body',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'malformed_body',
};

/** What any thrown thing means to the caller. Text of drivers and of bugs never gets through. */
export function rejectionOf(error: unknown): Rejection {
  if (error instanceof RefusedError) return error.rejection;
  if (error instanceof OperationalError) return { code: error.code };
  if (!(error instanceof Error)) return { code: 'internal' };
  const { code, statusCode, validation, validationContext } = error as Partial<FastifyError>; // Members that the framework adds.
  if (validation !== undefined) {
    return {
      code: 'invalid_request',
      problems: validationProblems(validation, validationContext).slice(0, PROBLEM_ERRORS_MAX),
    };
  }
  const known = code === undefined ? undefined : frameworkCodes[code];
  if (known !== undefined) return { code: known };
  const ours = statusCode === undefined || statusCode < 400 || statusCode >= 500;
  return { code: ours ? 'internal' : 'invalid_request' };
}

export function problemOf(rejection: Rejection, instance?: string): Problem {
  const { code, detail, problems } = rejection;
  const { http: status, title } = errorFacts[code];
  return {
    type: `urn:sallyport:problem:${code}`,
    title,
    status,
    code,
    ...(detail === undefined ? {} : { detail }),
    ...(instance === undefined ? {} : { instance }),
    ...(problems === undefined ? {} : { errors: problems.slice(0, PROBLEM_ERRORS_MAX) }),
  };
}

/** Seconds after which a retryable failure may be tried again, when nothing better is known. */
const RETRY_AFTER_SECONDS = 1;

export function headersOf(error: unknown, rejection: Rejection): Record<string, string> {
  const headers: Record<string, string> = {};
  const { http, retryable } = errorFacts[rejection.code];
  if (retryable && http >= 429) headers['retry-after'] = String(RETRY_AFTER_SECONDS);
  if (http === 401)
    headers['www-authenticate'] = 'Bearer realm="sallyport", Basic realm="sallyport"';
  return error instanceof RefusedError ? { ...headers, ...error.headers } : headers;
}

/** Writes to the log what the caller does not get to see. */
export function logFailure(request: FastifyRequest, error: unknown, rejection: Rejection): void {
  const { http } = errorFacts[rejection.code];
  if (http < 500) request.log.info({ code: rejection.code }, 'request refused');
  else request.log.error({ err: error, code: rejection.code }, 'request failed');
}

/** Fastify's error handler for the native API. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const rejection = rejectionOf(error);
  logFailure(request, error, rejection);
  const problem = problemOf(rejection, `urn:sallyport:request:${request.id}`);
  void reply
    .code(problem.status)
    .headers(headersOf(error, rejection))
    .type(PROBLEM_MEDIA_TYPE)
    .send(problem);
}
