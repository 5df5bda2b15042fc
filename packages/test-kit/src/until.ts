import { setTimeout as delay } from 'node:timers/promises';

const INTERVAL_MS = 20;
/** No test waits for it: conditions are brought about by other processes, on a machine that others use too. */
const TIMEOUT_MS = 20_000;

/** Asks `condition` every 20 ms until it answers true. For conditions that announce themselves no other way. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs = TIMEOUT_MS,
  describe: () => string = () => `the condition did not hold within ${timeoutMs} ms`,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(describe());
    await delay(INTERVAL_MS);
  }
}

const REQUEST_TIMEOUT_MS = 1000;

/** Whether a GET is answered with 200. */
export async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    // Not there yet: the reason is in the lines of the process.
    return false;
  }
}
