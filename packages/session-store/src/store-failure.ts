import { OperationalError } from '@sallyport/errors';

/** The failure as callers get it: a driver's error never crosses the port. */
export function storeFailure(cause: unknown): OperationalError {
  if (cause instanceof OperationalError) return cause;
  return new OperationalError('session_store_unavailable', 'the session store failed', { cause });
}
