import { SpanKind, SpanStatusCode, context, trace } from '@opentelemetry/api';
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node';
import { OperationalError } from '@sallyport/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  contextFromTraceparent,
  currentTraceparent,
  parseTraceparent,
  withSpan,
} from './tracing.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const TRACEPARENT = `00-${TRACE_ID}-b7ad6b7169203331-01`;

describe('a traceparent', () => {
  it.each([
    '',
    'x',
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    `00-${TRACE_ID}-${'0'.repeat(16)}-01`,
    `ff-${TRACE_ID}-b7ad6b7169203331-01`,
    `00-${TRACE_ID.toUpperCase()}-b7ad6b7169203331-01`,
    `${TRACEPARENT}-more`,
    `00-${TRACE_ID}-b7ad6b7169203331`,
    `01-${TRACE_ID}-b7ad6b7169203331-01-${'x'.repeat(128)}`,
  ])('is not %j', (text) => {
    expect(parseTraceparent(text)).toBeUndefined();
    expect(contextFromTraceparent(text)).toBe(context.active());
  });

  it('of a later version may have further fields', () => {
    expect(parseTraceparent(`01-${TRACE_ID}-b7ad6b7169203331-03-x`)).toMatchObject({
      traceId: TRACE_ID,
      traceFlags: 1,
    });
  });
});

describe('withSpan while tracing is off', () => {
  it('runs the function once and answers what it answers', async () => {
    expect(withSpan('command', {}, () => 7)).toBe(7);
    await expect(withSpan('command', {}, async () => 8)).resolves.toBe(8);
    expect(() => withSpan('command', {}, () => JSON.parse('{') as unknown)).toThrow(SyntaxError);
    expect(withSpan('command', {}, () => currentTraceparent())).toBeUndefined();
  });
});

describe('withSpan', () => {
  let exporter: InMemorySpanExporter;
  let provider: NodeTracerProvider;
  beforeEach(() => {
    exporter = new InMemorySpanExporter();
    provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
    provider.register();
  });
  afterEach(async () => {
    trace.disable();
    context.disable();
    await provider.shutdown();
  });

  it('nests spans across awaits and hands on the traceparent', async () => {
    const inner = await withSpan('command', { kind: 'server', parent: TRACEPARENT }, async () => {
      await Promise.resolve();
      return withSpan('log.append', { kind: 'producer' }, async () => currentTraceparent());
    });
    const [append, command] = exporter.getFinishedSpans();
    expect(command?.parentSpanContext).toMatchObject({
      traceId: TRACE_ID,
      spanId: 'b7ad6b7169203331',
    });
    expect(command?.kind).toBe(SpanKind.SERVER);
    expect(append?.parentSpanContext?.spanId).toBe(command?.spanContext().spanId);
    expect(inner).toBe(`00-${TRACE_ID}-${append?.spanContext().spanId}-01`);
    expect(currentTraceparent()).toBeUndefined();
  });

  it('honours a parent that was not sampled', () => {
    withSpan('command', { parent: TRACEPARENT.replace(/01$/, '00') }, () => undefined);
    expect(exporter.getFinishedSpans()).toHaveLength(0);
  });

  it('ends on a throw and on a rejection, with the code and never the message', async () => {
    const failure = new OperationalError('log_unavailable', 'canary');
    expect(() =>
      withSpan('command', {}, () => {
        throw failure;
      }),
    ).toThrow(failure);
    await expect(withSpan('log.append', {}, async () => Promise.reject(failure))).rejects.toBe(
      failure,
    );
    await expect(
      withSpan('log.fold', {}, async () => Promise.reject(new TypeError('canary'))),
    ).rejects.toThrow(TypeError);
    const spans = exporter.getFinishedSpans();
    expect(spans.map((span) => [span.name, span.attributes['error.type']])).toEqual([
      ['command', 'log_unavailable'],
      ['log.append', 'log_unavailable'],
      ['log.fold', 'TypeError'],
    ]);
    for (const span of spans) expect(span.status.code).toBe(SpanStatusCode.ERROR);
    expect(
      JSON.stringify(spans.map(({ attributes, events, status }) => [attributes, events, status])),
    ).not.toContain('canary');
  });

  it('links the traces that are valid', () => {
    withSpan(
      'log.fold',
      { links: [TRACEPARENT, 'nonsense'], attributes: { revision: 3 } },
      () => 1,
    );
    const [span] = exporter.getFinishedSpans();
    expect(span?.links.map((link) => link.context.traceId)).toEqual([TRACE_ID]);
    expect(span?.attributes).toEqual({ revision: 3 });
  });
});
