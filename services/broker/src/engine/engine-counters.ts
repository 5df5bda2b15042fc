import type { EngineEvent } from '@sallyport/mqtt-session';
import type { StoreObserver } from '@sallyport/session-store';
import { count } from '@sallyport/telemetry';

/** How often the numbers become metrics. */
const FLUSH_INTERVAL_MS = 1000;

/** The metric of each event of the engine. */
const metrics: Readonly<Record<EngineEvent, (by: number) => void>> = {
  publish_allowed: (by) => count('sallyport.publishes', { outcome: 'allowed' }, by),
  publish_denied: (by) => count('sallyport.publishes', { outcome: 'denied' }, by),
  publish_held_up: (by) => count('sallyport.publishes.held_up', {}, by),
  message_sent: (by) => count('sallyport.deliveries', { outcome: 'sent' }, by),
  delivery_denied: (by) => count('sallyport.deliveries.denied', {}, by),
  delivery_expired: (by) => count('sallyport.deliveries', { outcome: 'expired' }, by),
  delivery_too_large: (by) => count('sallyport.deliveries', { outcome: 'too_large' }, by),
  delivery_dropped: (by) => count('sallyport.deliveries', { outcome: 'dropped' }, by),
  queue_full: (by) => count('sallyport.deliveries', { outcome: 'queue_full' }, by),
  session_unavailable: (by) => count('sallyport.sessions.unavailable', {}, by),
};

const EVENTS = Object.keys(metrics) as EngineEvent[]; // Keys of the table above.

/** Counts what the session store does not queue. */
export const queueObserver: StoreObserver = {
  onQueueFull: () => count('sallyport.deliveries', { outcome: 'queue_full' }),
};

/** Counts what happens for every message: a metric's own counter costs more than the message. */
export class EngineCounters {
  readonly #numbers: Record<EngineEvent, number>;
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#numbers = Object.fromEntries(EVENTS.map((event) => [event, 0])) as Record<
      EngineEvent,
      number
    >;
    this.#timer = setInterval(() => this.flush(), FLUSH_INTERVAL_MS);
    this.#timer.unref();
  }

  count(event: EngineEvent): void {
    this.#numbers[event]++;
  }

  flush(): void {
    for (const event of EVENTS) {
      const by = this.#numbers[event];
      if (by === 0) continue;
      this.#numbers[event] = 0;
      metrics[event](by);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.flush();
  }
}
