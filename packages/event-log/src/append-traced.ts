import { type Context, type Span, SpanStatusCode, trace } from '@opentelemetry/api';
import type { NewCommit, Revision } from '@sallyport/domain';
import { count, observe } from '@sallyport/telemetry';
import type { AppendResult, EventLog } from './event-log.ts';

export interface TracedCommit {
  readonly commit: NewCommit;
  /** The context of the request, so that the span is part of its trace. */
  readonly context: Context;
}

/** Appends a batch, counted and timed, with one span `log.append` for each commit, in the trace of the request that caused it. */
export async function appendTraced(
  log: EventLog,
  traced: readonly TracedCommit[],
  expected: Revision,
): Promise<readonly AppendResult[]> {
  if (traced.length === 0) return [];
  const tracer = trace.getTracer('sallyport');
  const spans = traced.map((one) => tracer.startSpan('log.append', {}, one.context));
  const started = performance.now();
  try {
    const results = await log.append(
      traced.map((one) => one.commit),
      expected,
    );
    for (const [index, span] of spans.entries()) describe(span, results[index]);
    for (const result of results) count('sallyport.log.appends', { outcome: outcomeOf(result) });
    return results;
  } catch (error) {
    for (const span of spans) span.setStatus({ code: SpanStatusCode.ERROR });
    count('sallyport.log.appends', { outcome: 'failed' }, traced.length);
    throw error;
  } finally {
    observe('sallyport.log.append.duration', (performance.now() - started) / 1000, {});
    for (const span of spans) span.end();
  }
}

function outcomeOf(result: AppendResult): 'appended' | 'duplicate' | 'conflict' {
  if (result.status === 'conflict') return 'conflict';
  return result.duplicate ? 'duplicate' : 'appended';
}

function describe(span: Span, result: AppendResult | undefined): void {
  if (result?.status === 'appended') {
    span.setAttribute('sallyport.revision', result.revision);
    span.setAttribute('sallyport.duplicate', result.duplicate);
  } else if (result?.status === 'conflict') {
    span.setAttribute('sallyport.conflict', true);
  }
}
