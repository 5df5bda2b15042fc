import { type IncomingMessage, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface OtlpSpan {
  /** `service.name` of the process. */
  readonly service: string;
  /** `service.instance.id` of the process. */
  readonly instance: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first span of a trace. */
  readonly parentSpanId: string;
  readonly kind: number;
  /** Length in milliseconds. */
  readonly durationMs: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly failed: boolean;
}

export interface OtlpReceiver {
  /** Base URL, for `SALLYPORT_TELEMETRY__OTLP_URL`. */
  readonly url: string;
  /** All spans so far, in the order of arrival. */
  readonly spans: readonly OtlpSpan[];
  /** The spans once `predicate` holds for them. @throws Error with the names that came when it does not in time */
  waitForSpans(
    predicate: (spans: readonly OtlpSpan[]) => boolean,
    timeoutMs?: number,
  ): Promise<readonly OtlpSpan[]>;
  clear(): void;
  stop(): Promise<void>;
}

interface JsonAttribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}
interface JsonSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes?: readonly JsonAttribute[];
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly status?: { readonly code?: number };
}
interface JsonExport {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly JsonAttribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly JsonSpan[] }[];
  }[];
}

const WAIT_TIMEOUT_MS = 10_000;
const STATUS_ERROR = 2;
const NANOSECONDS_PER_MILLISECOND = 1e6;

function attributesOf(list: readonly JsonAttribute[] = []): Record<string, unknown> {
  return Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]]));
}

function spansOf({ resourceSpans }: JsonExport): OtlpSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const of = attributesOf(resource.attributes);
    return scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        service: String(of['service.name']),
        instance: String(of['service.instance.id']),
        name: span.name,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? '',
        kind: span.kind,
        durationMs:
          Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) /
          NANOSECONDS_PER_MILLISECOND,
        attributes: attributesOf(span.attributes),
        links: (span.links ?? []).map(({ traceId, spanId }) => ({ traceId, spanId })),
        failed: span.status?.code === STATUS_ERROR,
      })),
    );
  });
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Takes traces in OTLP/HTTP JSON and keeps the spans. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: OtlpSpan[] = [];
  const looking = new Set<() => void>();
  const server = createServer((request, response) => {
    void bodyOf(request).then(
      (body) => {
        spans.push(...spansOf(JSON.parse(body) as JsonExport));
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
        for (const look of looking) look();
      },
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  // A TCP server that listens has an address object.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    waitForSpans: (predicate, timeoutMs = WAIT_TIMEOUT_MS) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!predicate(spans)) return;
          clearTimeout(timer);
          looking.delete(look);
          resolve([...spans]);
        };
        const timer = setTimeout(() => {
          looking.delete(look);
          const names = spans.map((span) => `${span.service}/${span.name}`);
          reject(new Error(`the spans did not come; there are: ${names.join(', ') || 'none'}`));
        }, timeoutMs);
        looking.add(look);
        look();
      }),
    clear() {
      spans.length = 0;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
