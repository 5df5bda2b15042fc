import type { ConnectResult, Generator, Load, PubsubResult } from './generator.ts';
import { runPinned } from './pinned.ts';

/** What we read of its JSON line. */
interface Report {
  readonly gen_cpu_pct: number;
  readonly broker_cpu_pct: number;
  readonly other_cpu_s: number;
}

interface PubsubReport extends Report {
  readonly duration_s: number;
  readonly sent_per_s: number;
  readonly recv_per_s: number;
  readonly lost: number;
  readonly latency_us: { readonly p50: number; readonly p99: number };
}

interface ConnectReport extends Report {
  readonly seconds: number;
  readonly per_s: number;
  readonly kb_per_connection?: number;
}

const SOURCE_ADDRESSES = 9;
const DRAIN_SECONDS = 0.5;

const loadOf = (report: Report, seconds: number): Load => ({
  generatorShare: report.gen_cpu_pct / 100,
  brokerShare: report.broker_cpu_pct / 100,
  othersShare: report.other_cpu_s / seconds,
});

/** A generator outside of this repository that speaks the options of mqttload. */
export function mqttload(path: string): Generator {
  const run = async <T extends Report>(mode: string, options: object): Promise<T> => {
    const flags = Object.entries(options).flatMap(([key, value]) => [`--${key}`, String(value)]);
    const { code, result } = await runPinned(path, [mode, '--quiet', ...flags]);
    if (code === 0) return result as T; // Its README.
    throw new Error(`${path} ${mode} ended with ${code}: ${JSON.stringify(result)}`);
  };
  return {
    name: path,
    pubsub: async (job): Promise<PubsubResult> => {
      const report = await run<PubsubReport>('pubsub', {
        port: job.port,
        pid: job.pid,
        pubs: job.publishers.count,
        'pub-csv': job.publishers.loginsFile,
        subs: job.subscribers.count,
        'sub-csv': job.subscribers.loginsFile,
        'pub-topic': job.topic,
        'sub-topic': job.topicFilter,
        qos: job.qos,
        size: job.payloadBytes,
        window: job.window,
        rate: job.rate,
        warmup: job.warmupSeconds,
        duration: job.measuredSeconds,
        drain: DRAIN_SECONDS,
      });
      return {
        ...loadOf(report, report.duration_s),
        sentPerSecond: report.sent_per_s,
        deliveredPerSecond: report.recv_per_s,
        p50: report.latency_us.p50,
        p99: report.latency_us.p99,
        lost: report.lost,
      };
    },
    connect: async (job): Promise<ConnectResult> => {
      const report = await run<ConnectReport>('connect', {
        port: job.port,
        pid: job.pid,
        clients: job.clients.count,
        csv: job.clients.loginsFile,
        inflight: job.handshakes,
        hold: job.holdSeconds,
        src: SOURCE_ADDRESSES,
      });
      return {
        ...loadOf(report, report.seconds),
        perSecond: report.per_s,
        kibPerConnection: report.kb_per_connection ?? NaN,
      };
    },
  };
}
