import { type ErrorCode, errorFacts } from './error-facts.ts';

/**
 * The world broke: a server is away, a file is full, a driver failed. Thrown by adapters, mapped at the edge by `code`.
 * `message` is for operators' logs and never reaches a caller; the driver's error is the `cause`.
 */
export class OperationalError extends Error {
  override readonly name = 'OperationalError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** Whether the same call may succeed later, unchanged. */
  get retryable(): boolean {
    return errorFacts[this.code].retryable;
  }
}

/** Whether `error` is an `OperationalError` with this code. */
export function isOperational(error: unknown, code: ErrorCode): error is OperationalError {
  return error instanceof OperationalError && error.code === code;
}
