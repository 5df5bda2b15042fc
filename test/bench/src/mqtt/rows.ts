import { readFileSync } from 'node:fs';
import { RawMqttClient } from '@sallyport/test-kit';
import type { Target } from '../report.ts';
import type { Broker } from './brokers.ts';
import type { Generator, PubsubJob } from './generator.ts';
import type { Logins, User } from './users.ts';

export interface Context {
  readonly broker: Broker;
  readonly generator: Generator;
  readonly logins: Logins;
  readonly users: readonly User[];
}

export interface Measured {
  readonly value: number;
  /** Whatever else the generator said. */
  readonly raw: object;
}

/** One line of the table, measured alike on both sides. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly target?: Target;
  /** Measured for the relay too. */
  readonly least?: boolean;
  measure(context: Context): Promise<Measured>;
}

const PAYLOAD_BYTES = 128;
const MEASURED_SECONDS = 2.5;
const WARMUP_SECONDS = 1;
/**
 * For the row whose target is a tail: a stall of a few milliseconds while the compiler learns a rhythm that it has not seen decides the
 * p99 of 2.5 seconds, and is over after these.
 */
const STEADY = { warmupSeconds: 5, measuredSeconds: 10 } as const;
const OPEN_FILES_SPARE = 500;
const IDLE_CONNECTIONS = 10_000;
/** Connects before the first reading of the memory: what code and pools take once is not the price of a connection. */
const WARMING_CONNECTIONS = 1000;
/** Storms of reconnects before the measured one. */
const WARMING_STORMS = 2;
const HANDSHAKES = 64;

/** As many idle connections as a process may have open files. */
function idleConnections(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const most = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  return Math.min(IDLE_CONNECTIONS, most - OPEN_FILES_SPARE);
}

const IDLE = idleConnections();

type Flow = Pick<PubsubJob, 'topic' | 'topicFilter' | 'qos' | 'window'> & {
  readonly publishers: number;
  readonly subscribers: number;
  /** Whether all clients are of one user, or each pair of another. */
  readonly users: 'one' | 'each';
  readonly payloadBytes?: number;
  readonly rate?: number;
  readonly warmupSeconds?: number;
  readonly measuredSeconds?: number;
};

function jobOf({ broker, logins }: Context, flow: Flow): PubsubJob {
  const { users, publishers, subscribers, payloadBytes = PAYLOAD_BYTES, rate = 0, ...rest } = flow;
  const party = (kind: string, count: number) =>
    users === 'one' ? logins.ofOne(kind, count) : logins.ofEach(kind, count);
  return {
    ...rest,
    port: broker.port,
    pid: broker.pid,
    publishers: party('publisher', publishers),
    subscribers: party('subscriber', subscribers),
    payloadBytes,
    rate,
    warmupSeconds: rest.warmupSeconds ?? WARMUP_SECONDS,
    measuredSeconds: rest.measuredSeconds ?? MEASURED_SECONDS,
  };
}

/** Messages that arrive in a second at full speed. */
const throughput = (flow: Flow) => async (context: Context) => {
  const raw = await context.generator.pubsub(jobOf(context, flow));
  return { value: raw.deliveredPerSecond, raw };
};

/** Microseconds from the moment at which a message was due until it arrived, of 99 in 100. */
const latency = (flow: Flow) => async (context: Context) => {
  const raw = await context.generator.pubsub(jobOf(context, flow));
  return { value: raw.p99, raw };
};

const ONE: Flow = {
  publishers: 1,
  subscribers: 1,
  users: 'one',
  topic: 'dev/%u/x',
  topicFilter: 'dev/%u/#',
  qos: 0,
  window: 1000,
};

const TO_TWENTY: Flow = { ...ONE, subscribers: 20, payloadBytes: 2048, rate: 1000 };

/** Nobody but the frozen subscriber hears this one. */
const FROZEN_TOPIC = 'dev/u0/frozen';
/** More than the kernel takes for a socket that is not read. */
const FROZEN_BYTES = 16 * 1024 * 1024;
const FROZEN_PAYLOAD_BYTES = 16 * 1024;
const FROZEN_PUBLISHES_A_TURN = 32;

/** A subscriber of everything that has stopped reading, with the buffers between it and the broker full. */
async function freezeOne({ broker, users }: Context): Promise<AsyncDisposable> {
  const { username, password } = users[0] ?? { username: '', password: '' };
  const open = async (clientId: string): Promise<RawMqttClient> => {
    const client = await RawMqttClient.open(broker.port);
    const { returnCode } = await client.connect({ clientId, username, password });
    if (returnCode !== 0) throw new Error(`CONNACK ${returnCode}`);
    return client;
  };
  const frozen = await open('frozen');
  await frozen.subscribe(1, [{ topicFilter: `dev/${username}/#`, qos: 0 }]);
  frozen.freeze();
  await using filler = await open('filler');
  const payload = Buffer.alloc(FROZEN_PAYLOAD_BYTES);
  const turns = FROZEN_BYTES / FROZEN_PAYLOAD_BYTES / FROZEN_PUBLISHES_A_TURN;
  for (let turn = 1; turn <= turns; turn++) {
    for (let index = 0; index < FROZEN_PUBLISHES_A_TURN; index++) {
      filler.publish({ topicName: FROZEN_TOPIC, payload });
    }
    // Its SUBACK says that the broker has read what came before.
    await filler.subscribe(turn, [{ topicFilter: `dev/${username}/none`, qos: 0 }]);
  }
  return frozen;
}

/** Memory comes first, for a process that has done nothing else; it warms the cache of logins for the connects. */
export const rows: readonly Row[] = [
  {
    name: `resident memory of an idle TCP connection, ${IDLE.toLocaleString('en')} of them`,
    unit: 'KiB',
    target: { of: 'ours', bound: '≤', value: 10 },
    measure: async ({ broker: { port, pid }, generator, logins }) => {
      const job = { port, pid, handshakes: HANDSHAKES };
      const warming = logins.ofEach('warming', WARMING_CONNECTIONS);
      await generator.connect({ ...job, clients: warming, holdSeconds: 0 });
      const raw = await generator.connect({
        ...job,
        clients: logins.ofEach('idle', IDLE),
        holdSeconds: 3,
      });
      return { value: raw.kibPerConnection, raw };
    },
  },
  {
    name: 'connects with a password, warm cache',
    unit: '/s',
    target: { of: 'ratio', bound: '≥', value: 0.8 },
    measure: async ({ broker: { port, pid }, generator, logins }) => {
      const job = { port, pid, handshakes: HANDSHAKES, holdSeconds: 0 };
      // A storm hits a broker that has been running for a while; a process that was just started is still being compiled.
      for (let round = 0; round < WARMING_STORMS; round++) {
        await generator.connect({ ...job, clients: logins.ofEach('idle', IDLE) });
      }
      const raw = await generator.connect({ ...job, clients: logins.ofEach('idle', IDLE) });
      return { value: raw.perSecond, raw };
    },
  },
  {
    name: 'QoS 0, 1 to 1',
    unit: 'messages/s',
    target: { of: 'ratio', bound: '≥', value: 3 },
    measure: throughput(ONE),
  },
  {
    name: 'QoS 0, 100 to 1',
    unit: 'messages/s',
    target: { of: 'ratio', bound: '≥', value: 1.5 },
    // What is under way stays below what a broker holds back for one socket before it drops QoS 0.
    measure: throughput({ ...ONE, publishers: 100, topic: 'dev/%u/%d', window: 50 }),
  },
  {
    name: 'QoS 0, 1 to 100',
    unit: 'deliveries/s',
    target: { of: 'ratio', bound: '≥', value: 3 },
    measure: throughput({ ...ONE, subscribers: 100, window: 100 }),
  },
  {
    name: 'QoS 1, 50 pairs',
    unit: 'messages/s',
    target: { of: 'ratio', bound: '≥', value: 1.5 },
    measure: throughput({
      ...{ ...ONE, users: 'each', qos: 1, window: 20 },
      ...{ publishers: 50, subscribers: 50 },
    }),
  },
  {
    name: 'p99 at 5,000 messages/s, 1 to 1',
    unit: 'µs',
    target: { of: 'ratio', bound: '≤', value: 1 },
    least: true,
    measure: latency({ ...ONE, ...STEADY, rate: 5000 }),
  },
  {
    name: 'p99 at 1,000 messages/s, 1 to 20, 2 KiB',
    unit: 'µs',
    measure: latency(TO_TWENTY),
  },
  {
    name: 'the same beside a frozen subscriber',
    unit: 'µs',
    measure: async (context) => {
      await using _frozen = await freezeOne(context);
      return await latency(TO_TWENTY)(context);
    },
  },
];
