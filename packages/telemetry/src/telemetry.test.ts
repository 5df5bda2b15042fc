import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type Telemetry,
  count,
  currentTraceparent,
  metricFacts,
  observe,
  setGauge,
  startTelemetry,
  withSpan,
} from './index.ts';

const base = {
  serviceName: 'sallyport-test',
  instanceId: 'one',
  samplingRatio: 1,
  logLevel: 'info',
} as const;
const sink = { write: () => undefined };

let telemetry: Telemetry | undefined;
afterEach(async () => {
  await telemetry?.shutdown();
  telemetry = undefined;
});

describe('metrics', () => {
  it('are counted from any module and read as text', async () => {
    count('sallyport.publishes', { outcome: 'allowed' });
    telemetry = await startTelemetry({ ...base, logDestination: sink });
    count('sallyport.publishes', { outcome: 'allowed' });
    count('sallyport.publishes', { outcome: 'allowed' }, 4);
    count('sallyport.publishes', { outcome: 'denied' });
    setGauge('sallyport.log.revision', 41, {});
    setGauge('sallyport.log.revision', 42, {});
    observe('sallyport.policy.requests', 0.003, { method: 'Authenticate', outcome: 'ok' });
    const text = await telemetry.metricsText();
    expect(text).toContain('sallyport_publishes_total{outcome="allowed"} 5\n');
    expect(text).toContain('sallyport_publishes_total{outcome="denied"} 1\n');
    expect(text).toContain('sallyport_log_revision 42\n');
    expect(text).toMatch(
      /sallyport_policy_requests_bucket\{method="Authenticate",outcome="ok",le="0.0025"\} 0\n/,
    );
    expect(text).toMatch(
      /sallyport_policy_requests_bucket\{method="Authenticate",outcome="ok",le="0.005"\} 1\n/,
    );
    expect(text).toMatch(/sallyport_process_memory\{kind="rss"\} \d+\n/);
    expect(text).toMatch(
      /target_info\{service_name="sallyport-test",service_instance_id="one"\} 1/,
    );
  });

  it('start from zero after a restart in the same process', async () => {
    telemetry = await startTelemetry({ ...base, logDestination: sink });
    count('sallyport.bus.reconnects', {});
    await telemetry.shutdown();
    telemetry = await startTelemetry({ ...base, logDestination: sink });
    count('sallyport.bus.reconnects', {});
    expect(await telemetry.metricsText()).toContain('sallyport_bus_reconnects_total 1\n');
  });

  it('have no label that names a client, a user or a topic', () => {
    const labels = new Set(Object.values(metricFacts).flatMap((facts) => [...facts.labels]));
    const few = ['listener', 'outcome', 'source', 'result', 'method', 'route', 'status', 'reason'];
    expect([...labels].sort()).toEqual([...few, 'kind', 'quantile'].sort());
  });

  it('are started once', async () => {
    telemetry = await startTelemetry({ ...base, logDestination: sink });
    await expect(startTelemetry({ ...base, logDestination: sink })).rejects.toThrow('once');
  });
});

interface Exported {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly { key: string; value: unknown }[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly { name: string; traceId: string }[];
    }[];
  }[];
}

async function receiver() {
  const bodies: Exported[] = [];
  const paths: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      paths.push(request.url ?? '');
      bodies.push(JSON.parse(Buffer.concat(chunks).toString()) as Exported);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const close = () => new Promise((resolve) => server.close(resolve));
  return { url: `http://127.0.0.1:${port}`, bodies, paths, close };
}

describe('traces', () => {
  it('are off without a receiver', async () => {
    telemetry = await startTelemetry({ ...base, logDestination: sink });
    expect(withSpan('command', {}, currentTraceparent)).toBeUndefined();
  });

  it('reach the receiver as OTLP/HTTP JSON by the end of shutdown, and log lines carry their ids', async () => {
    const otlp = await receiver();
    const lines: string[] = [];
    telemetry = await startTelemetry({
      ...base,
      otlpUrl: `${otlp.url}/`,
      logDestination: { write: (line) => void lines.push(line) },
    });
    const { logger } = telemetry;
    const traceparent = await withSpan('command', {}, async () => {
      await new Promise((resolve) => setImmediate(resolve));
      logger.info('inside');
      return currentTraceparent();
    });
    logger.info('outside');
    await telemetry.shutdown();
    await otlp.close();
    const traceId = traceparent?.split('-')[1];
    expect(traceId).toMatch(/^[\da-f]{32}$/);
    expect(otlp.paths).toEqual(['/v1/traces']);
    const [resourceSpans] = otlp.bodies[0]?.resourceSpans ?? [];
    expect(resourceSpans?.scopeSpans[0]?.spans).toEqual([
      expect.objectContaining({ name: 'command', traceId }),
    ]);
    expect(resourceSpans?.resource.attributes).toContainEqual({
      key: 'service.instance.id',
      value: { stringValue: 'one' },
    });
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ msg: 'inside', trace_id: traceId });
    expect(JSON.parse(lines[1] ?? '')).not.toHaveProperty('trace_id');
  });

  it('do not hold up or fail a shutdown when the receiver is away', async () => {
    const otlp = await receiver();
    await otlp.close();
    telemetry = await startTelemetry({ ...base, otlpUrl: otlp.url, logDestination: sink });
    withSpan('command', {}, () => undefined);
    const began = performance.now();
    await telemetry.shutdown();
    expect(performance.now() - began).toBeLessThan(4000);
  });
});
