import { resourceFromAttributes } from '@opentelemetry/resources';
import { assert } from '@sallyport/errors';
import { type DestinationStream, type LogLevel, type Logger, createLogger } from './logger.ts';
import { startMetrics } from './metrics.ts';

export interface TelemetryOptions {
  /** `sallyport-broker`, `sallyport-policy` … */
  readonly serviceName: string;
  /** Tells replicas of one service apart. */
  readonly instanceId: string;
  /** Base URL of an OTLP/HTTP receiver, such as `http://127.0.0.1:4318`. Traces are off without it. */
  readonly otlpUrl?: string | undefined;
  /** Share of new traces that are kept, 0 to 1; a trace that began elsewhere keeps its own decision. */
  readonly samplingRatio: number;
  readonly logLevel: LogLevel;
  /** Standard output when left out. */
  readonly logDestination?: DestinationStream;
}

export interface Telemetry {
  readonly logger: Logger;
  /** All metrics in the Prometheus text format. */
  metricsText(): Promise<string>;
  /** Sends what waits and ends. Never throws: a receiver that is away must not hold up a shutdown. */
  shutdown(): Promise<void>;
}

/** Longest time that a shutdown waits for the last spans. */
const SHUTDOWN_TIMEOUT_MS = 3000;

// The API's providers are process-wide, so a second start would silently get the first one's.
let started = false;

async function within(milliseconds: number, work: Promise<unknown>): Promise<void> {
  const { promise: timeout, resolve } = timer(milliseconds);
  try {
    await Promise.race([work, timeout]);
  } finally {
    resolve();
  }
}

function timer(milliseconds: number): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    const handle = setTimeout(done, milliseconds);
    resolve = () => {
      clearTimeout(handle);
      done();
    };
  });
  return { promise, resolve };
}

/** Starts logs and metrics, and traces when `otlpUrl` is set. Once in a process; again after `shutdown`. */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  assert(!started, 'telemetry is started once in a process');
  started = true;
  const resource = resourceFromAttributes({
    'service.name': options.serviceName,
    'service.instance.id': options.instanceId,
  });
  const logger = createLogger({
    level: options.logLevel,
    base: { service: options.serviceName, instance: options.instanceId },
    ...(options.logDestination === undefined ? {} : { destination: options.logDestination }),
  });
  const metrics = startMetrics(resource);
  const { otlpUrl, samplingRatio } = options;
  const stopTracing =
    otlpUrl === undefined
      ? async () => {}
      : (await import('./trace-sdk.ts')).startTracing({ otlpUrl, samplingRatio, resource });
  return {
    logger,
    metricsText: () => metrics.text(),
    async shutdown() {
      if (!started) return;
      started = false;
      const stopped = Promise.allSettled([stopTracing(), metrics.shutdown()]);
      await within(SHUTDOWN_TIMEOUT_MS, stopped);
      logger.flush();
    },
  };
}
