import { ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { OperationalError } from '@sallyport/errors';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { appendTraced } from './append-traced.ts';
import { MemoryEventLog } from './memory-log.ts';
import { commitOf } from './testing/commits.ts';

const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });

describe('The span log.append', () => {
  beforeAll(() => trace.setGlobalTracerProvider(provider));
  afterAll(async () => {
    trace.disable();
    await provider.shutdown();
  });
  afterEach(() => exporter.reset());

  const requestOf = (digit: string) =>
    trace.setSpanContext(ROOT_CONTEXT, {
      traceId: digit.repeat(32),
      spanId: digit.repeat(16),
      traceFlags: TraceFlags.SAMPLED,
    });

  it('is in the trace of each request, with the revision of its commit', async () => {
    const log = new MemoryEventLog();
    const traced = [
      { commit: commitOf('a'), context: requestOf('a') },
      { commit: commitOf('b'), context: requestOf('b') },
    ];
    await appendTraced(log, traced, 0);
    const spans = exporter.getFinishedSpans();
    expect(spans.map((span) => span.name)).toEqual(['log.append', 'log.append']);
    expect(spans.map((span) => span.spanContext().traceId[0])).toEqual(['a', 'b']);
    expect(spans.map((span) => span.parentSpanContext?.spanId[0])).toEqual(['a', 'b']);
    expect(spans.map((span) => span.attributes['sallyport.revision'])).toEqual([1, 2]);
  });

  it('tells a conflict, and a failure', async () => {
    const log = new MemoryEventLog();
    const traced = [{ commit: commitOf('a'), context: requestOf('a') }];
    await appendTraced(log, traced, 7);
    await log[Symbol.asyncDispose]();
    await expect(appendTraced(log, traced, 0)).rejects.toThrow(OperationalError);
    const [conflict, failure] = exporter.getFinishedSpans();
    expect(conflict?.attributes).toEqual({ 'sallyport.conflict': true });
    expect(failure?.status.code).toBe(2);
  });
});
