import {
  type Cluster,
  type OtlpReceiver,
  type OtlpSpan,
  startCluster,
  startOtlpReceiver,
} from '@sallyport/test-kit';
import mqtt from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';

let receiver: OtlpReceiver;
let cluster: Cluster;
let api: Api;

beforeAll(async () => {
  receiver = await startOtlpReceiver();
  cluster = await startCluster({ otlpUrl: receiver.url });
  api = await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password);
});

afterAll(async () => {
  await cluster?.stop();
  await receiver?.stop();
});

const named = (spans: readonly OtlpSpan[], name: string, service: string): readonly OtlpSpan[] =>
  spans.filter((span) => span.name === name && span.service === `sallyport-${service}`);

/** The names from a span up to the first of its trace. */
function ancestry(span: OtlpSpan, spans: readonly OtlpSpan[]): string[] {
  const parent = spans.find((one) => one.spanId === span.parentSpanId);
  return [span.name, ...(parent === undefined ? [] : ancestry(parent, spans))];
}

describe('the trace of a change', () => {
  it('leads from the HTTP request over the log to every node that enforces it', async () => {
    const traceId = 'a'.repeat(31) + '1';
    const answer = await api.send(
      'PUT',
      '/api/v1/acl/usernames/traced?wait=enforced',
      { rules: [{ effect: 'allow', action: 'publish', topicFilter: 't' }] },
      { traceparent: `00-${traceId}-00000000000000a1-01` },
    );
    expect(answer.status).toBeLessThan(202);
    const ofTrace = (spans: readonly OtlpSpan[]) => spans.filter((one) => one.traceId === traceId);
    const all = await receiver.waitForSpans((spans) => {
      const own = ofTrace(spans);
      const [written] = named(own, 'log.append', 'admin-api');
      return (
        named(own, 'policy.reevaluate', 'broker').length === 3 &&
        named(own, 'log.fold', 'policy').length === 2 &&
        named(own, 'log.fold', 'admin-api').length === 2 &&
        // The request ends last: when all nodes have said that they enforce it.
        written !== undefined &&
        ancestry(written, own).length > 2
      );
    }, 20_000);
    const spans = ofTrace(all);
    const [append] = named(spans, 'log.append', 'admin-api');
    if (append === undefined) throw new Error('no log.append');
    const ways = ancestry(append, spans);
    expect(ways.slice(0, 2)).toEqual(['log.append', 'command']);
    expect(ways.length).toBeGreaterThan(2); // The spans of the HTTP request, named by @fastify/otel.
    expect(named(spans, 'log.fold', 'admin-api')).toHaveLength(2);
    expect(named(spans, 'log.fold', 'broker')).toHaveLength(3);
    for (const announce of named(spans, 'policy.announce', 'broker')) {
      expect(ancestry(announce, spans)).toEqual(
        expect.arrayContaining(['policy.announce', 'policy.reevaluate', 'command']),
      );
    }
    const instances = new Set(
      named(spans, 'policy.reevaluate', 'broker').map((one) => one.instance),
    );
    expect(instances.size).toBe(3);
    const revision = Number(answer.headers.get('sallyport-revision'));
    for (const span of named(spans, 'log.fold', 'policy')) {
      expect(span.attributes['sallyport.revision']).toBe(revision);
    }
  });
});

describe('the trace of a connection', () => {
  it('leads from CONNECT over gRPC to the verification of the secret, and stays local when cached', async () => {
    const device = await api.addDevice('connecting', []);
    const connect = async (): Promise<void> => {
      const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${cluster.brokers[0]?.mqttPort}`, {
        ...{ username: device.username, password: device.password, clientId: 'traced' },
        protocolVersion: 4,
        reconnectPeriod: 0,
      });
      await client.endAsync();
    };
    receiver.clear();
    await connect();
    const cold = await receiver.waitForSpans(
      (spans) =>
        named(spans, 'mqtt.connect', 'broker').length > 0 &&
        named(spans, 'policy.authenticate', 'policy').length > 0 &&
        named(spans, 'secret.verify', 'policy').length > 0,
      20_000,
    );
    const [verify] = named(cold, 'secret.verify', 'policy');
    if (verify === undefined) throw new Error('no secret.verify');
    expect(ancestry(verify, cold)).toEqual([
      'secret.verify',
      'policy.authenticate',
      'mqtt.connect',
    ]);

    receiver.clear();
    await connect();
    const warm = await receiver.waitForSpans(
      (spans) => named(spans, 'mqtt.connect', 'broker').length > 0,
      20_000,
    );
    expect(named(warm, 'policy.authenticate', 'policy')).toEqual([]);
  });
});

describe('no secret', () => {
  it('is in any span or log line', async () => {
    const canary = 'canary-5up3r-s3cr3t';
    receiver.clear();
    await api.expect(201, 'POST', '/api/v1/credentials', {
      name: 'canary',
      match: { username: 'canary' },
      password: canary,
    });
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${cluster.brokers[0]?.mqttPort}`, {
      ...{ username: 'canary', password: canary },
      protocolVersion: 4,
      reconnectPeriod: 0,
    });
    await client.endAsync();
    const processes = [...cluster.adminApis, ...cluster.policies, ...cluster.brokers];
    const lines = processes.flatMap(({ process }) => process.lines).join('\n');
    expect(lines).toContain('starting');
    expect(lines).not.toContain(canary);
    expect(lines).not.toContain(cluster.admin.password);
    await receiver.waitForSpans(
      (spans) =>
        named(spans, 'mqtt.connect', 'broker').length > 0 &&
        named(spans, 'command', 'admin-api').length > 0,
      20_000,
    );
    expect(JSON.stringify(receiver.spans)).not.toContain(canary);
  });
});
