import { OperationalError } from '@sallyport/errors';

/** A message of the other side that this version cannot understand; the call fails and nothing is guessed. */
export function invalid(what: string): OperationalError {
  return new OperationalError('invalid_request', `gRPC message: ${what}`);
}

/** @throws OperationalError `invalid_request` when the field is absent */
export function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw invalid(`${name} is missing`);
  return value;
}
