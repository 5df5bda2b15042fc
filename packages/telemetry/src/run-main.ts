import { OperationalError } from '@sallyport/errors';

/** One line for each error down to the first cause, without stacks: what an operator needs to mend it. */
function reasons(error: unknown): string[] {
  if (!(error instanceof Error)) return [String(error)];
  return [error.message, ...(error.cause === undefined ? [] : reasons(error.cause))];
}

/**
 * Runs the start of a process. What the world or the operator did wrong (`OperationalError`) is told in plain lines on standard
 * error, a bug with its stack; both exit with 1.
 */
export async function runMain(start: () => Promise<void>): Promise<void> {
  try {
    await start();
  } catch (error) {
    const text =
      error instanceof OperationalError ? reasons(error).join('\n  because: ') : undefined;
    if (text === undefined) console.error(error);
    else console.error(`sallyport: ${text}`);
    process.exit(1);
  }
}
