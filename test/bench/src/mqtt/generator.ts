import { fileURLToPath } from 'node:url';
import { runPinned } from './pinned.ts';
import { mqttload } from './mqttload.ts';

/** Clients of one kind. Client i logs in with line i of the file: `clientid,username,password`. */
export interface Party {
  readonly count: number;
  readonly loginsFile: string;
}

/** Publishers and subscribers, all connected before the first message is sent. */
export interface PubsubJob {
  readonly port: number;
  /** The broker's process, for its share of the processor. */
  readonly pid: number;
  readonly publishers: Party;
  readonly subscribers: Party;
  /** `%u` is the username of the client, `%d` its number. */
  readonly topic: string;
  readonly topicFilter: string;
  readonly qos: 0 | 1;
  readonly payloadBytes: number;
  /** Most messages of a publisher that are not yet acknowledged and delivered everywhere. */
  readonly window: number;
  /** Messages a second over all publishers; 0: as many as the window lets through. */
  readonly rate: number;
  readonly warmupSeconds: number;
  readonly measuredSeconds: number;
}

export interface ConnectJob {
  readonly port: number;
  readonly pid: number;
  readonly clients: Party;
  /** Handshakes under way at once. */
  readonly handshakes: number;
  /** How long all of them stay, idle, before the resident memory is read. */
  readonly holdSeconds: number;
}

/** Who used the processor, in cores. A generator near 1 was measured itself; `othersShare` is the rest of the machine. */
export interface Load {
  readonly generatorShare: number;
  readonly brokerShare: number;
  readonly othersShare: number;
}

export interface PubsubResult extends Load {
  readonly sentPerSecond: number;
  readonly deliveredPerSecond: number;
  /** Microseconds; with a rate from the moment at which the message was due. */
  readonly p50: number;
  readonly p99: number;
  readonly lost: number;
}

export interface ConnectResult extends Load {
  readonly perSecond: number;
  /** Of the broker, for each connection that is held. */
  readonly kibPerConnection: number;
}

export interface Generator {
  readonly name: string;
  pubsub(job: PubsubJob): Promise<PubsubResult>;
  connect(job: ConnectJob): Promise<ConnectResult>;
}

const ENTRY = fileURLToPath(new URL('../load/main.js', import.meta.url));

/** Ours: a process of its own that takes a job and answers with its result. */
const builtIn: Generator = {
  name: 'built in',
  pubsub: (job) => runJob<PubsubResult>('pubsub', job),
  connect: (job) => runJob<ConnectResult>('connect', job),
};

async function runJob<T>(kind: string, job: PubsubJob | ConnectJob): Promise<T> {
  const { result } = await runPinned(process.execPath, [ENTRY, kind, JSON.stringify(job)]);
  return result as T; // What load/main.ts prints.
}

/** `path`: an mqttload executable; without one it is ours. */
export function chooseGenerator(path: string | undefined): Generator {
  return path === undefined || path === '' ? builtIn : mqttload(path);
}
