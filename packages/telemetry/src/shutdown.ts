import type { Logger } from './logger.ts';

export interface UntilSignalOptions {
  readonly logger: Pick<Logger, 'info' | 'error' | 'fatal'>;
  /** Stops taking work, finishes what was begun, closes everything. Called once. */
  readonly drain: () => Promise<void>;
  /** Longest time that `drain` may take. */
  readonly timeoutMs?: number;
}

const DRAIN_TIMEOUT_MS = 10_000;
const EXIT_FAILURE = 1;
/** What a shell shows for a process that a signal ended: 128 + its number. */
const SIGNAL_EXIT = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * SIGTERM or SIGINT drains once and exits 0, or 1 when draining fails or takes too long; a second signal exits at once.
 * A bug nobody caught (an exception, a rejection) is logged and exits 1: the supervisor starts a process whose state is
 * known.
 */
export function runUntilSignal(options: UntilSignalOptions): void {
  const { logger, drain, timeoutMs = DRAIN_TIMEOUT_MS } = options;
  let draining = false;

  const finish = async (signal: NodeJS.Signals) => {
    logger.info({ signal, timeoutMs }, 'draining');
    setTimeout(() => {
      logger.error({ timeoutMs }, 'draining took too long');
      process.exit(EXIT_FAILURE);
    }, timeoutMs);
    try {
      await drain();
    } catch (error) {
      logger.error({ err: error }, 'draining failed');
      process.exit(EXIT_FAILURE);
    }
    logger.info('drained');
    process.exit(0);
  };
  const onSignal = (signal: 'SIGINT' | 'SIGTERM') => {
    if (draining) process.exit(SIGNAL_EXIT[signal]);
    draining = true;
    void finish(signal);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  process.on('uncaughtException', (error) => {
    logger.fatal({ err: error }, 'uncaught exception');
    process.exit(EXIT_FAILURE);
  });
  process.on('unhandledRejection', (reason) => {
    logger.fatal({ err: reason }, 'unhandled rejection');
    process.exit(EXIT_FAILURE);
  });
}
