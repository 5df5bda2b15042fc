import { status } from '@grpc/grpc-js';
import { type ErrorCode, errorFacts, type GrpcCode } from '@sallyport/errors';

/** Metadata key under which our error code crosses the wire, beside gRPC's own status. */
export const ERROR_CODE_KEY = 'sallyport-error-code';

/** Metadata key of the W3C trace context. */
export const TRACEPARENT_KEY = 'traceparent';

/** Metadata key of the caller's token, `Bearer …`. */
export const AUTHORIZATION_KEY = 'authorization';

/** The number that gRPC has for a code of ours. */
export function grpcStatus(code: GrpcCode): status {
  return status[code];
}

/** Our code as the other side sent it, if this version knows it. */
export function knownErrorCode(text: string | undefined): ErrorCode | undefined {
  return text !== undefined && Object.hasOwn(errorFacts, text) ? (text as ErrorCode) : undefined; // hasOwn told.
}
