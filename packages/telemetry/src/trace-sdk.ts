// Loaded only when tracing is configured: the SDK costs start-up time and memory.
import { context, propagation, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import type { Resource } from '@opentelemetry/resources';
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import {
  NodeTracerProvider,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-node';

/** Longest time that a finished span waits for its batch. */
const BATCH_DELAY_MS = 500;
const EXPORT_TIMEOUT_MS = 5000;
/** Spans that wait for export; further ones are dropped. */
const QUEUE_SPANS_MAX = 4096;
const BATCH_SPANS_MAX = 512;

export interface TracingOptions {
  readonly otlpUrl: string;
  readonly samplingRatio: number;
  readonly resource: Resource;
}

/** Registers the provider, the AsyncLocalStorage context and W3C propagation; answers what ends them. */
export function startTracing(options: TracingOptions): () => Promise<void> {
  const exporter = new OTLPTraceExporter({
    url: `${options.otlpUrl.replace(/\/+$/, '')}/v1/traces`,
    timeoutMillis: EXPORT_TIMEOUT_MS,
  });
  const provider = new NodeTracerProvider({
    resource: options.resource,
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(options.samplingRatio) }),
    spanProcessors: [
      new BatchSpanProcessor(exporter, {
        scheduledDelayMillis: BATCH_DELAY_MS,
        exportTimeoutMillis: EXPORT_TIMEOUT_MS,
        maxQueueSize: QUEUE_SPANS_MAX,
        maxExportBatchSize: BATCH_SPANS_MAX,
      }),
    ],
  });
  provider.register();
  return async () => {
    trace.disable();
    context.disable();
    propagation.disable();
    await provider.shutdown();
  };
}
