/** A bug of ours, never of the input: the process logs it with its stack and exits. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws `AssertionError` unless `condition` holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (condition !== true) throw new AssertionError(message);
}

/** The default branch of an exhaustive switch: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(JSON.stringify(value))}`);
}
