import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { RawMqttClient, removeFolder, tempFolder } from '@sallyport/test-kit';
import { Api } from '../../harness/api.ts';
import { type Standalone, startStandalone } from '../../harness/standalone.ts';
import { benchArriving } from './arriving.ts';
import type { Party } from './mqtt/generator.ts';
import { pinBroker, pinning, spawnPinned } from './mqtt/pinned.ts';
import { Logins, ownTopics, type User } from './mqtt/users.ts';
import { boundFigure, figure, heading } from './report.ts';
import { longestPing, Meter, METER, STALL_MS_MAX } from './stall.ts';

/** Subscribers that connect, and then leave. Client i logs in with line i of the file. */
export interface HoldJob {
  readonly port: number;
  readonly clients: Party;
  readonly topicFilter: string;
  /** Handshakes under way at once. */
  readonly handshakes: number;
}

const SUBSCRIBERS = 50_000;
const OPEN_FILES_SPARE = 500;
const HANDSHAKES = 64;
const TOPIC = 'dev/u0/storm';
const ENTRY = fileURLToPath(new URL('load/main.js', import.meta.url));
const QUIET_MS = 3000;
/** How often is looked whether all have gone, and for how long at most. */
const LOOK_EVERY_MS = 250;
const GONE_WITHIN_MS = 60_000;

/** With the brake fewer of them leave too: whether the turn grows with their number tells of the numbers that do not fit here. */
const PARTS = [1 / 4, 1 / 2, 1];

/** As many as a process may have open files. */
function subscribers(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const most = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  return Math.min(SUBSCRIBERS, most - OPEN_FILES_SPARE);
}

const ways = {
  'are cut': (child: ChildProcessWithoutNullStreams) => void child.kill('SIGKILL'),
  'say DISCONNECT': (child: ChildProcessWithoutNullStreams) => void child.stdin.write('goodbye\n'),
};

interface Storm {
  /** Of a living client's PINGREQ, wall clock. */
  readonly longestWaitMs: number;
  /** Of the event loop, processor time. */
  readonly longestTurnMs: number;
}

/** What clients that leave at once, and such that come at once, do to the others, with the storm brakes and without. */
export async function benchStorm(): Promise<void> {
  await benchLeaving();
  await benchArriving();
}

/** All subscribers of one topic. */
async function benchLeaving(): Promise<void> {
  const most = subscribers();
  heading(`${most.toLocaleString('en')} subscribers of one topic leave at once; ${pinning}`);
  if (most < SUBSCRIBERS) {
    console.log(`  (not ${SUBSCRIBERS.toLocaleString('en')}: a process may not open more files)`);
  }
  await benchLeavingWith('0', [most]);
  await benchLeavingWith(
    undefined,
    PARTS.map((part) => Math.floor(most * part)),
  );
}

/** `turnMsMax` is the setting; 0 is no brake, undefined the default. */
async function benchLeavingWith(
  turnMsMax: string | undefined,
  counts: readonly number[],
): Promise<void> {
  const brake = turnMsMax === undefined ? 'storm brake' : 'no brake';
  const meter = new Meter();
  const env = {
    NODE_OPTIONS: `--import=${METER}`,
    SALLYPORT_MQTT__CONNECTIONS_MAX: String(2 * SUBSCRIBERS),
    ...(turnMsMax !== undefined && { SALLYPORT_MQTT__LEAVING_STORM__TURN_MS_MAX: turnMsMax }),
  };
  await using node = await startStandalone(env, { onLine: (line) => meter.heard(line) });
  pinBroker(node.process.pid ?? 0);
  const api = await Api.login(node.url, 'admin', node.adminPassword);
  const rule = { effect: 'allow', action: 'all', topicFilter: ownTopics('u0') } as const;
  const user = await api.addDevice('u0', [rule]);
  for (const [how, leave] of Object.entries(ways)) {
    for (const count of counts) {
      const storm = { node, user, meter, count, leave };
      const { longestWaitMs, longestTurnMs } = await measureStorm(storm);
      const name = `longest turn, ${count.toLocaleString('en')} ${how}, ${brake}`;
      const limit = STALL_MS_MAX;
      if (turnMsMax === '0') figure(name, longestTurnMs, 'ms');
      else boundFigure({ name, value: longestTurnMs, unit: 'ms', bound: '≤', limit });
      figure('longest wait of a living client meanwhile', longestWaitMs, 'ms');
    }
  }
}

async function measureStorm(options: {
  readonly node: Standalone;
  readonly user: User;
  readonly meter: Meter;
  readonly count: number;
  readonly leave: (child: ChildProcessWithoutNullStreams) => void;
}): Promise<Storm> {
  const { node, user, meter, count, leave } = options;
  const folder = tempFolder('bench-storm');
  const clients = new Logins(folder, [user]).ofOne('subscriber', count);
  const { mqttPort: port } = node;
  const job: HoldJob = { port, clients, topicFilter: TOPIC, handshakes: HANDSHAKES };
  const before = openFiles(node);
  const child = spawnPinned(process.execPath, [ENTRY, 'hold', JSON.stringify(job)]);
  const exited = once(child, 'exit');
  child.stderr.pipe(process.stderr);
  try {
    await Promise.race([once(child.stdout, 'data'), exited]);
    if (openFiles(node) < before + count - OPEN_FILES_SPARE) throw new Error('not all have come');
    await using living = await RawMqttClient.open(port);
    await living.connect({ clientId: 'living', ...user });
    const quietUntil = performance.now() + QUIET_MS;
    await longestPing(living, () => performance.now() > quietUntil, GONE_WITHIN_MS);
    await meter.longestTurn(node.process);
    // It finds all of them gone, however long the system takes to close their sockets; the wait begins when it may.
    const { pid = 0 } = node.process;
    process.kill(pid, 'SIGSTOP');
    leave(child);
    await exited;
    process.kill(pid, 'SIGCONT');
    const longestWaitMs = await longestPing(living, allGone(node, before), GONE_WITHIN_MS);
    return { longestWaitMs, longestTurnMs: await meter.longestTurn(node.process) };
  } finally {
    child.kill('SIGKILL');
    removeFolder(folder);
  }
}

/** Looks now and then. @throws Error when it takes too long */
function allGone(node: Standalone, before: number): () => boolean {
  const giveUpAt = performance.now() + GONE_WITHIN_MS;
  let lookAt = 0;
  return () => {
    if (performance.now() < lookAt) return false;
    lookAt = performance.now() + LOOK_EVERY_MS;
    if (lookAt > giveUpAt) throw new Error('not all have gone');
    return openFiles(node) <= before + OPEN_FILES_SPARE;
  };
}

function openFiles({ process: { pid } }: Standalone): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
