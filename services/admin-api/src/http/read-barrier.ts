import { OperationalError } from '@sallyport/errors';
import type { AdminApiPorts } from '../ports.ts';

/** Longest time that a request waits for the model to reach the log's head. */
export const BARRIER_TIMEOUT_MS = 1000;
/** For how long the log is not asked again after it did not answer. */
export const BARRIER_RETRY_MS = 1000;

/**
 * Lets a request see every commit that was stored before it arrived, whichever replica stored it: so a write is read
 * back through any replica, and a logout counts on all of them at once. While the log is away requests are answered
 * from what was folded, because looking must stay possible when something is broken; writes fail then by themselves.
 */
export class ReadBarrier {
  readonly #ports: Pick<AdminApiPorts, 'log' | 'model' | 'clock' | 'telemetry'>;
  #notBefore = 0;

  constructor(ports: Pick<AdminApiPorts, 'log' | 'model' | 'clock' | 'telemetry'>) {
    this.#ports = ports;
  }

  async pass(): Promise<void> {
    const { log, model, clock, telemetry } = this.#ports;
    if (clock() < this.#notBefore) return;
    try {
      const head = await within(log.head(), BARRIER_TIMEOUT_MS);
      if (head > model.revision) await model.waitFor(head, BARRIER_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      this.#notBefore = clock() + BARRIER_RETRY_MS;
      telemetry.logger.warn({ code: error.code }, 'answering from an older revision');
    }
  }
}

async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new OperationalError('log_unavailable', `the log was silent for ${timeoutMs} ms`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
