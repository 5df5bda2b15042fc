import { OperationalError } from '@sallyport/errors';

/** Pause when the pool is full. Logins need it more. */
const POOL_RETRY_MS = 200;
const POOL_RETRIES_MAX = 20;

/**
 * A hash that nobody waits for: gives way while the pool is full. Undefined when there is none: the pool stays full, `isClosed`, or the
 * password cannot be hashed, which is no reason to end a process that everybody logs in by.
 */
export async function hashBehindLogins<T>(
  hash: () => Promise<T>,
  isClosed: () => boolean,
): Promise<T | undefined> {
  for (let attempt = 0; attempt < POOL_RETRIES_MAX && !isClosed(); attempt++) {
    try {
      return await hash();
    } catch (error) {
      if (!(error instanceof OperationalError)) break;
      await new Promise((resolve) => setTimeout(resolve, POOL_RETRY_MS));
    }
  }
  return undefined;
}
