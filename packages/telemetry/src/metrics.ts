import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { metrics, type Counter, type Gauge, type Histogram } from '@opentelemetry/api';
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { type Resource } from '@opentelemetry/resources';
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import {
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOf,
  type MetricName,
  metricFacts,
} from './names.ts';

export const SCOPE = 'sallyport';

type Instrument = Counter | Gauge | Histogram;

// Instruments belong to the provider that made them. Modules count before and after one is registered, so the table is
// dropped whenever the provider has changed.
let provider: unknown;
const instruments = new Map<MetricName, Instrument>();

function create(name: MetricName): Instrument {
  const meter = metrics.getMeter(SCOPE);
  const facts = metricFacts[name];
  const options = { unit: facts.unit, description: facts.description };
  switch (facts.kind) {
    case 'counter':
      return meter.createCounter(name, options);
    case 'gauge':
      return meter.createGauge(name, options);
    case 'histogram':
      return meter.createHistogram(name, {
        ...options,
        advice: { explicitBucketBoundaries: [...facts.buckets] },
      });
  }
}

function instrument(name: MetricName): Instrument {
  const current = metrics.getMeterProvider();
  if (current !== provider) {
    provider = current;
    instruments.clear();
  }
  const known = instruments.get(name);
  if (known !== undefined) return known;
  const made = create(name);
  instruments.set(name, made);
  return made;
}

// The kind of an instrument follows from its name, so the casts below hold.

/** What was counted since the last collection, by name and label values: an instrument's own `add` costs microseconds. */
const counted = new Map<CounterName, Map<string, Counted>>();

type Labels = Readonly<Record<string, string>>;

interface Counted {
  readonly labels: Labels;
  by: number;
}

/** Adds `by` to a counter. Without `startTelemetry` nobody reads it. */
export function count<Name extends CounterName>(name: Name, labels: LabelsOf<Name>, by = 1): void {
  let series = counted.get(name);
  if (series === undefined) counted.set(name, (series = new Map<string, Counted>()));
  let key = '';
  for (const label of metricFacts[name].labels) key += `${(labels as Labels)[label]}\n`;
  const known = series.get(key);
  if (known === undefined) series.set(key, { labels, by });
  else known.by += by;
}

/** Hands what was counted to the instruments. */
function addCounted(): void {
  for (const [name, series] of counted) {
    for (const { labels, by } of series.values()) (instrument(name) as Counter).add(by, labels);
  }
  counted.clear();
}

/** Sets a gauge. */
export function setGauge<Name extends GaugeName>(
  name: Name,
  value: number,
  labels: LabelsOf<Name>,
): void {
  (instrument(name) as Gauge).record(value, labels);
}

/** Records a duration in seconds. */
export function observe<Name extends HistogramName>(
  name: Name,
  seconds: number,
  labels: LabelsOf<Name>,
): void {
  (instrument(name) as Histogram).record(seconds, labels);
}

/** Collects when asked; opens no port of its own. */
class PullReader extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

export interface Metrics {
  /** All metrics in the Prometheus text format. */
  text(): Promise<string>;
  shutdown(): Promise<void>;
}

const NANOSECONDS_PER_SECOND = 1e9;
const DELAY_RESOLUTION_MS = 20;

function observeProcess(delay: IntervalHistogram): void {
  const { rss, heapUsed } = process.memoryUsage();
  setGauge('sallyport.process.memory', rss, { kind: 'rss' });
  setGauge('sallyport.process.memory', heapUsed, { kind: 'heap' });
  for (const percentile of [50, 99]) {
    const seconds = delay.percentile(percentile) / NANOSECONDS_PER_SECOND;
    setGauge('sallyport.process.event_loop_delay', seconds, { quantile: `p${percentile}` });
  }
  delay.reset();
}

/** Registers the process-wide meter provider. */
export function startMetrics(resource: Resource): Metrics {
  counted.clear();
  const reader = new PullReader();
  const meterProvider = new MeterProvider({ resource, readers: [reader] });
  metrics.setGlobalMeterProvider(meterProvider);
  const serializer = new PrometheusSerializer(undefined, false, undefined, false, true);
  const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  delay.enable();
  return {
    async text() {
      observeProcess(delay);
      addCounted();
      const { resourceMetrics } = await reader.collect();
      return serializer.serialize(resourceMetrics);
    },
    async shutdown() {
      delay.disable();
      metrics.disable();
      await meterProvider.shutdown();
    },
  };
}
