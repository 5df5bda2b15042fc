import { Metadata, type ServiceError, status, type StatusObject } from '@grpc/grpc-js';
import { type ErrorCode, errorFacts, OperationalError } from '@sallyport/errors';
import { ERROR_CODE_KEY, grpcStatus, knownErrorCode } from '@sallyport/wire';

/** Every failure of the transport means: no answer, so nothing is allowed. */
export function failureOf(error: unknown): OperationalError {
  if (error instanceof OperationalError) return error;
  const { metadata, details } = error as Partial<ServiceError>; // grpc-js rejects with a ServiceError.
  const [text] = metadata?.get(ERROR_CODE_KEY) ?? [];
  return failure(typeof text === 'string' ? text : undefined, details ?? 'no answer', error);
}

/** @param code as the service names it */
export function failure(code: string | undefined, details: string, cause?: unknown) {
  const known = knownErrorCode(code) ?? 'policy_not_ready';
  return new OperationalError(known, `policy service: ${details}`, { cause });
}

/** Whether a failure says that the service does not know what it was asked to do. */
export const isUnimplemented = (error: unknown): boolean =>
  error instanceof OperationalError &&
  (error.cause as Partial<ServiceError> | undefined)?.code === status.UNIMPLEMENTED; // As above.

/** What the caller is told: our code and its title, never the text of an error. */
export function statusOf(code: ErrorCode): Partial<StatusObject> {
  const metadata = new Metadata();
  metadata.set(ERROR_CODE_KEY, code);
  return { code: grpcStatus(errorFacts[code].grpc), details: errorFacts[code].title, metadata };
}
