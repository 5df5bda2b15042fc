import type { Logger } from './logger.ts';
import { count } from './metrics.ts';

export interface ThrottleOptions {
  readonly logger: Logger;
  /** Lines of one reason that are written in one interval. */
  readonly linesPerInterval?: number;
  readonly intervalMs?: number;
}

export interface LogThrottle {
  /**
   * Writes the line unless its reason has used up this interval; what is left out is counted and told once the interval
   * is over. `reason` comes from a fixed set in our code, never from a client.
   */
  warn(reason: string, fields: Readonly<Record<string, unknown>>, message: string): void;
  info(reason: string, fields: Readonly<Record<string, unknown>>, message: string): void;
  /** Tells what is still uncounted, and stops the timer. */
  close(): void;
}

const LINES_PER_INTERVAL = 5;
const INTERVAL_MS = 10_000;
/** Reasons told apart; all further ones share one budget. */
export const THROTTLE_REASONS_MAX = 256;
const OTHER_REASONS = 'other';

interface Budget {
  written: number;
  suppressed: number;
}

/** Keeps a bad client from flooding the log (threat P14): a budget of lines for each reason and interval. */
export function createLogThrottle(options: ThrottleOptions): LogThrottle {
  const { logger, linesPerInterval = LINES_PER_INTERVAL, intervalMs = INTERVAL_MS } = options;
  const budgets = new Map<string, Budget>();

  const budgetOf = (wanted: string): readonly [string, Budget] => {
    const reason =
      budgets.has(wanted) || budgets.size < THROTTLE_REASONS_MAX - 1 ? wanted : OTHER_REASONS;
    const budget = budgets.get(reason) ?? { written: 0, suppressed: 0 };
    budgets.set(reason, budget);
    return [reason, budget];
  };
  const settle = () => {
    for (const [reason, { suppressed }] of budgets) {
      if (suppressed > 0) logger.warn({ reason, suppressed }, 'log lines suppressed');
    }
    budgets.clear();
  };
  const timer = setInterval(settle, intervalMs);
  // Counting must not keep a process alive.
  timer.unref();

  const write =
    (level: 'warn' | 'info'): LogThrottle['warn'] =>
    (wanted, fields, message) => {
      const [reason, budget] = budgetOf(wanted);
      if (budget.written < linesPerInterval) {
        budget.written += 1;
        logger[level]({ reason: wanted, ...fields }, message);
        return;
      }
      budget.suppressed += 1;
      count('sallyport.log_lines.suppressed', { reason });
    };
  return {
    warn: write('warn'),
    info: write('info'),
    close() {
      clearInterval(timer);
      settle();
    },
  };
}
