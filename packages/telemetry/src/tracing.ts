import {
  type Attributes,
  type Context,
  type Link,
  type Span,
  type SpanContext,
  type Tracer,
  INVALID_SPAN_CONTEXT,
  ProxyTracerProvider,
  SpanKind,
  SpanStatusCode,
  context,
  isSpanContextValid,
  trace,
} from '@opentelemetry/api';
import { OperationalError } from '@sallyport/errors';
import { SCOPE } from './metrics.ts';
import { type SpanName, attributes } from './names.ts';

const TRACEPARENT = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/;
/** Longest text that is looked at; a later version may append fields. */
const TRACEPARENT_LENGTH_MAX = 128;

/** What a `traceparent` says, or undefined when it is not valid. @source W3C Trace Context §3.2 */
export function parseTraceparent(text: string): SpanContext | undefined {
  if (text.length > TRACEPARENT_LENGTH_MAX) return undefined;
  const match = TRACEPARENT.exec(text);
  if (match === null) return undefined;
  const [, version, traceId = '', spanId = '', flags = '', rest] = match;
  // Version 00 has exactly four fields, and ff is forbidden.
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  const parsed = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true };
  return isSpanContextValid(parsed) ? parsed : undefined;
}

function formatTraceparent({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
}

/** The active context with the span that `text` names as remote parent; the active one when it is not valid. */
export function contextFromTraceparent(text: string | undefined): Context {
  const parent = text === undefined ? undefined : parseTraceparent(text);
  return parent === undefined ? context.active() : trace.setSpanContext(context.active(), parent);
}

/** `traceparent` of the active span; undefined when there is none, so also when tracing is off. */
export function currentTraceparent(): string | undefined {
  const active = trace.getSpanContext(context.active());
  return active !== undefined && isSpanContextValid(active) ? formatTraceparent(active) : undefined;
}

export type SpanKindName = 'internal' | 'server' | 'client' | 'producer' | 'consumer';

const kinds: Readonly<Record<SpanKindName, SpanKind>> = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
};

export interface SpanOptions {
  readonly attributes?: Attributes;
  /** A `traceparent`; the active span is the parent when it is left out or not valid. */
  readonly parent?: string | undefined;
  readonly kind?: SpanKindName;
  /** Each a `traceparent`; those that are not valid are left out. */
  readonly links?: readonly string[];
}

function recordFailure(span: Span, error: unknown): void {
  // Codes and class names only: a message may quote what a client sent.
  const type =
    error instanceof OperationalError
      ? error.code
      : error instanceof Error
        ? error.name
        : 'unknown';
  span.setAttribute(attributes.errorType, type);
  span.setStatus({ code: SpanStatusCode.ERROR, message: type });
}

function linksOf(traceparents: readonly string[]): Link[] {
  return traceparents.flatMap((text) => {
    const linked = parseTraceparent(text);
    return linked === undefined ? [] : [{ context: linked }];
  });
}

const NO_SPAN = trace.wrapSpanContext(INVALID_SPAN_CONTEXT);

/** Undefined when tracing is off: the API's own way of doing nothing costs microseconds and a dozen objects for each span. */
function activeTracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  return provider instanceof ProxyTracerProvider
    ? provider.getDelegateTracer(SCOPE)
    : provider.getTracer(SCOPE);
}

function isPromise(value: unknown): value is Promise<unknown> {
  return value instanceof Promise;
}

async function settle(result: Promise<unknown>, span: Span): Promise<unknown> {
  try {
    return await result;
  } catch (error) {
    recordFailure(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/**
 * Runs `run` inside a new span, which ends when it returns, throws, or its promise settles. Answers what `run` answers.
 * Costs a small part of a microsecond when tracing is off.
 */
export function withSpan<Result>(
  name: SpanName,
  options: SpanOptions,
  run: (span: Span) => Result,
): Result {
  const tracer = activeTracer();
  if (tracer === undefined) return run(NO_SPAN);
  const parent =
    options.parent === undefined ? context.active() : contextFromTraceparent(options.parent);
  const span = tracer.startSpan(
    name,
    {
      kind: kinds[options.kind ?? 'internal'],
      ...(options.attributes === undefined ? {} : { attributes: options.attributes }),
      ...(options.links === undefined ? {} : { links: linksOf(options.links) }),
    },
    parent,
  );
  let result: Result;
  try {
    result = context.with(trace.setSpan(parent, span), () => run(span));
  } catch (error) {
    recordFailure(span, error);
    span.end();
    throw error;
  }
  if (!isPromise(result)) {
    span.end();
    return result;
  }
  // The same promise type as `run` answered; only its settling is watched.
  return settle(result, span) as Result;
}
