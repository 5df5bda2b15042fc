import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  CertificateAuthority,
  freePort,
  RawMqttClient,
  removeFolder,
  removeTempFolders,
  type ServerProcess,
  startCluster,
  tempFolder,
} from '@sallyport/test-kit';
import { Api } from '../../harness/api.ts';
import { startStandalone } from '../../harness/standalone.ts';
import type { Party } from './mqtt/generator.ts';
import { pinBroker, pinning, spawnPinned } from './mqtt/pinned.ts';
import { Logins, ownTopics, type User } from './mqtt/users.ts';
import { boundFigure, compared, comparedHeading, heading } from './report.ts';
import { longestPing, Meter, METER, STALL_MS_MAX } from './stall.ts';

/** Clients that are connected by TCP, and then all say their CONNECT. Client i logs in with line i of the file. */
export interface ArriveJob {
  readonly port: number;
  readonly clients: Party;
  /** The user whose secret is cheap to check. */
  readonly cheap: string;
  /** Whether it is inside TLS, from the same moment on. */
  readonly tls?: boolean;
  /** Sockets that are opened at once. */
  readonly handshakes: number;
}

export interface ArriveResult {
  /** Until all were answered. */
  readonly allMs: number;
  /** Until all with a cheap secret were. */
  readonly cheapMs: number;
  readonly cheapRefused: number;
  readonly admitted: number;
  readonly busy: number;
  /** Closed without an answer. */
  readonly lost: number;
}

const CLIENTS = 5000;
/** One in so many has a secret that is cheap to check; the others' are chosen by people. */
const CHEAP_EVERY = 10;
const HANDSHAKES = 64;
/** The first one meets a process that has just started. */
const STORMS = 3;
const ANSWER_WITHIN_MS = 60_000;
const ENTRY = fileURLToPath(new URL('load/main.js', import.meta.url));
const LIMITS = {
  NODE_OPTIONS: `--import=${METER}`,
  // The first socket waits until the last is open.
  SALLYPORT_MQTT__LIMITS__CONNECT_TIMEOUT_MS: '120000',
};
const NO_BRAKE = { SALLYPORT_MQTT__ARRIVING_STORM__TURN_MS_MAX: '0' };

interface Node extends AsyncDisposable {
  readonly process: ServerProcess;
  readonly mqttPort: number;
  /** Where they come by TLS, all with a cheap secret. */
  readonly tlsPort?: number;
  readonly api: Api;
  readonly meter: Meter;
}

interface Storm extends ArriveResult {
  /** Of the event loop, processor time. */
  readonly longestTurnMs: number;
  /** Of a living client's PINGREQ, wall clock. */
  readonly longestWaitMs: number;
}

const ROWS = [
  ['longestTurnMs', 'longest turn of the event loop', 'ms'],
  ['longestWaitMs', 'longest wait of a living client', 'ms'],
  ['cheapMs', 'until all with a cheap secret are judged', 'ms'],
  ['allMs', 'until all are judged', 'ms'],
  ['cheapRefused', 'with a cheap secret, refused', 'clients'],
  ['admitted', 'let in', 'clients'],
  ['busy', 'told that the server is busy', 'clients'],
] as const;

async function standaloneNode(brake: Record<string, string>): Promise<Node> {
  const meter = new Meter();
  const onLine = (line: string): void => meter.heard(line);
  const node = await startStandalone({ ...LIMITS, ...brake }, { onLine });
  const api = await Api.login(node.url, 'admin', node.adminPassword);
  return {
    ...{ process: node.process, mqttPort: node.mqttPort, api, meter },
    [Symbol.asyncDispose]: () => node[Symbol.asyncDispose](),
  };
}

/** Its port is that of TLS. */
async function tlsNode(brake: Record<string, string>): Promise<Node> {
  const authority = await CertificateAuthority.create('/CN=Servers');
  const { certFile, keyFile } = await authority.issue({ subject: '/CN=localhost', use: 'server' });
  const tlsPort = await freePort();
  const node = await standaloneNode({
    SALLYPORT_MQTT__TLS__LISTEN: `127.0.0.1:${tlsPort}`,
    SALLYPORT_MQTT__TLS__CERT_FILE: certFile,
    SALLYPORT_MQTT__TLS__KEY_FILE: keyFile,
    ...brake,
  });
  return { ...node, tlsPort };
}

async function clusterNode(brake: Record<string, string>): Promise<Node> {
  const meter = new Meter();
  const cluster = await startCluster({
    ...{ adminApis: 1, policies: 1, brokers: 1, env: { broker: { ...LIMITS, ...brake } } },
    onLine: (line) => meter.heard(line),
  });
  const [broker] = cluster.brokers;
  if (broker === undefined) throw new Error('no broker');
  return {
    ...{ process: broker.process, mqttPort: broker.mqttPort, meter },
    api: await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password),
    [Symbol.asyncDispose]: () => cluster.stop(),
  };
}

const profiles = {
  'CONNECTs at once, 1 in 10 cheap: standalone': standaloneNode,
  'CONNECTs at once, 1 in 10 cheap: a broker of a cluster': clusterNode,
  'TLS handshakes at once, all cheap: standalone': tlsNode,
};

/** What logins that come at once do to the others, with the storm brake and without. */
export async function benchArriving(): Promise<void> {
  for (const [profile, start] of Object.entries(profiles)) {
    const all = CLIENTS.toLocaleString('en');
    heading(`${all} ${profile}; ${pinning}`);
    const before = await worstOf(() => start(NO_BRAKE));
    const after = await worstOf(() => start({}));
    comparedHeading('no brake', 'brake');
    for (const [key, name, unit] of ROWS) {
      compared({ name, unit, theirs: before[key], ours: after[key] });
    }
    const limit = STALL_MS_MAX;
    const value = after.longestTurnMs;
    boundFigure({ name: `${profile}: longest turn`, value, unit: 'ms', bound: '≤', limit });
    boundFigure({ name: 'lost', value: after.lost, unit: 'clients', bound: '≤', limit: 0 });
    const refused = after.cheapRefused;
    boundFigure({ name: 'cheap, refused', value: refused, unit: 'clients', bound: '≤', limit: 0 });
  }
  removeTempFolders();
}

/** Of several storms the worst figures, each by itself. */
async function worstOf(start: () => Promise<Node>): Promise<Storm> {
  await using node = await start();
  pinBroker(node.process.pid ?? 0);
  const rule = { effect: 'allow', action: 'all', topicFilter: ownTopics('machine') } as const;
  const machine = await node.api.addDevice('machine', [rule]);
  const person = { username: 'person', password: 'chosen by a person' };
  await node.api.expect(201, 'POST', '/api/v1/credentials?wait=enforced', {
    ...{ name: 'person', match: { username: 'person' }, password: person.password },
  });
  const storms: Storm[] = [];
  while (storms.length < STORMS) {
    storms.push(await measureStorm(node, { machine, person, name: `storm-${storms.length}` }));
  }
  return storms.reduce((one, other) => ({
    longestTurnMs: Math.max(one.longestTurnMs, other.longestTurnMs),
    longestWaitMs: Math.max(one.longestWaitMs, other.longestWaitMs),
    allMs: Math.max(one.allMs, other.allMs),
    cheapMs: Math.max(one.cheapMs, other.cheapMs),
    cheapRefused: Math.max(one.cheapRefused, other.cheapRefused),
    admitted: Math.min(one.admitted, other.admitted),
    busy: Math.max(one.busy, other.busy),
    lost: Math.max(one.lost, other.lost),
  }));
}

async function measureStorm(
  { process: broker, mqttPort, tlsPort, meter }: Node,
  users: { readonly machine: User; readonly person: User; readonly name: string },
): Promise<Storm> {
  const { machine, person, name } = users;
  const folder = tempFolder('bench-arriving');
  const each = Array.from({ length: CHEAP_EVERY }, (_, index) =>
    tlsPort !== undefined || index === CHEAP_EVERY - 1 ? machine : person,
  );
  const clients = new Logins(folder, each).ofEach(name, CLIENTS);
  const job: ArriveJob = {
    ...{ port: tlsPort ?? mqttPort, tls: tlsPort !== undefined },
    ...{ clients, cheap: machine.username, handshakes: HANDSHAKES },
  };
  const child = spawnPinned(process.execPath, [ENTRY, 'arrive', JSON.stringify(job)]);
  child.stderr.pipe(process.stderr);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const exited = once(child, 'exit');
  try {
    await lines.next();
    await using living = await RawMqttClient.open(mqttPort);
    await living.connect({ clientId: 'living', ...machine });
    await meter.longestTurn(broker);
    // It finds all CONNECTs at once, however long it takes to send them; the wait begins when it may.
    const { pid = 0 } = broker;
    process.kill(pid, 'SIGSTOP');
    child.stdin.write('go\n');
    await lines.next();
    process.kill(pid, 'SIGCONT');
    let answered: string | undefined;
    const result = lines.next().then(({ value }) => (answered = value ?? ''));
    const done = (): boolean => answered !== undefined;
    const longestWaitMs = await longestPing(living, done, ANSWER_WITHIN_MS);
    await result;
    if (answered === undefined || answered === '') throw new Error('the generator has failed');
    const longestTurnMs = await meter.longestTurn(broker);
    // load/arrive.ts has written it.
    return { ...(JSON.parse(answered) as ArriveResult), longestTurnMs, longestWaitMs };
  } finally {
    child.kill('SIGKILL');
    await exited;
    removeFolder(folder);
  }
}
