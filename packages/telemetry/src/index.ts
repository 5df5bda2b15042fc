export {
  createLogger,
  type DestinationStream,
  type Logger,
  type LoggerOptions,
  type LogLevel,
  silentLogger,
} from './logger.ts';
export { count, observe, setGauge } from './metrics.ts';
export {
  attributes,
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOf,
  metricFacts,
  type MetricName,
  spanFacts,
  type SpanName,
} from './names.ts';
export {
  createOpsHandler,
  OPS_PATHS,
  type OpsChecks,
  type OpsHandler,
  type OpsOptions,
  type OpsRequest,
  type OpsResponse,
  type OpsServer,
  startOpsServer,
} from './ops-server.ts';
export { runMain } from './run-main.ts';
export { runUntilSignal, type UntilSignalOptions } from './shutdown.ts';
export { startTelemetry, type Telemetry, type TelemetryOptions } from './telemetry.ts';
export { createLogThrottle, type LogThrottle, type ThrottleOptions } from './throttle.ts';
export {
  contextFromTraceparent,
  currentTraceparent,
  parseTraceparent,
  type SpanKindName,
  type SpanOptions,
  withSpan,
} from './tracing.ts';
