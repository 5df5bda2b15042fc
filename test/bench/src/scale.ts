import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import { startCluster } from '@sallyport/test-kit';
import { startStandalone } from '../../harness/standalone.ts';
import { boundFigure, detail, figure, heading, percentile } from './report.ts';

/** Adds the size that takes minutes where all parts are run; asked for by its name this part has it anyway. */
export const MILLION_OPTION = '--million';

const SIZES = [10_000, 100_000] as const;
const MILLION = 1_000_000;

/** CONNECTs before those that are measured: a process that has just begun to answer, and still compiles, is measured by itself. */
const WARM_UP = 6_000;
const FIRST = 1_000;
const CONNECTS_IN_TURN = 1_000;
const CONNECTS_AT_RATE = 3_000;
/** Each is of a device of its own, so that nothing about it is kept anywhere. */
const DEVICES = WARM_UP + CONNECTS_IN_TURN + CONNECTS_AT_RATE;
const CONNECTS_PER_SECOND = 500;
/** What all processes still do about an import. */
const SETTLE_MS = 2_000;

const LIMITS = {
  SALLYPORT_HTTP__IMPORT_ROWS_MAX: String(2 * MILLION),
  SALLYPORT_HTTP__IMPORT_BYTES_MAX: String(1024 ** 3),
};
const KEY = { key: 'bench', secret: randomBytes(18).toString('base64url') };

interface Api {
  readonly url: string;
  readonly authorization: string;
}

interface Device {
  readonly username: string;
  readonly secret: string;
}

const basic = ({ key, secret }: { readonly key: string; readonly secret: string }): string =>
  `Basic ${Buffer.from(`${key}:${secret}`).toString('base64')}`;

/** How import, restart, memory, lists and decisions grow with the number of credentials. */
export async function benchScale(options: { readonly million: boolean }): Promise<void> {
  for (const count of options.million ? [...SIZES, MILLION] : SIZES) {
    heading(`scale: ${count.toLocaleString('en')} credentials`);
    await benchStandalone(count);
    await benchReplica(count);
  }
}

async function benchStandalone(count: number): Promise<void> {
  const env = { ...LIMITS, SALLYPORT_BOOTSTRAP__API_KEY: KEY.key };
  await using node = await startStandalone({ ...env, SALLYPORT_BOOTSTRAP__API_SECRET: KEY.secret });
  const api = { url: node.url, authorization: basic(KEY) };
  const before = cpuSeconds(node.process.pid);
  const { seconds } = await importMany(api, hashedRows(count));
  const name = 'import into standalone, a bcrypt hash each';
  boundFigure({ name, value: count / seconds, unit: 'rows/s', bound: '≥', limit: 50_000 });
  const used = cpuSeconds(node.process.pid) - before;
  figure('the same by the processor time of the process', count / used, 'rows/s');
  await benchLists(api, count);
  figure('memory of the standalone process', memoryMiB(node.process.pid), 'MiB');
}

const SORTS = ['name', 'createdAt', 'updatedAt', 'match'] as const;
const ORDERS = ['asc', 'desc'] as const;
const PAGE_SIZE = 50;

/**
 * Every way to ask for a page: all orders, no text and texts that all, many, one and no names have; the first page, one in the middle of
 * all and the last. A change goes before each, so that nothing counts that the process has kept of another one.
 */
async function benchLists(api: Api, count: number): Promise<void> {
  const changed = await anyCredential(api);
  const samples: { readonly milliseconds: number; readonly query: string }[] = [];
  const searches = [
    '',
    'search=device&',
    'search=77&',
    `search=e-${count - 1}&`,
    'search=nothing&',
  ];
  for (const search of searches) {
    for (const sort of SORTS.flatMap((one) => ORDERS.map((order) => `${one},${order}`))) {
      for (const page of [0, Math.floor(count / PAGE_SIZE / 2), count / PAGE_SIZE - 1]) {
        const query = `${search}sort=${sort}&page=${page}&pageSize=${PAGE_SIZE}`;
        await changeCredential(api, changed, samples.length);
        samples.push({ milliseconds: await timeList(api, query), query });
      }
    }
  }
  const times = samples.map((one) => one.milliseconds);
  const name = 'list with search, sort and page, nothing kept';
  figure(`${name}, median of ${times.length}`, percentile(times, 0.5), 'ms');
  const value = Math.max(...times);
  boundFigure({ name: `${name}, worst`, value, unit: 'ms', bound: '≤', limit: 100 });
  detail(`scale/lists/${count}`, samples);
}

async function timeList(api: Api, query: string): Promise<number> {
  const started = performance.now();
  const response = await fetch(`${api.url}/api/v1/credentials?${query}`, {
    headers: { authorization: api.authorization },
  });
  await response.arrayBuffer();
  if (response.status !== 200) throw new Error(`the list answered ${response.status}`);
  return performance.now() - started;
}

async function anyCredential(api: Api): Promise<string> {
  const response = await fetch(`${api.url}/api/v1/credentials?pageSize=1`, {
    headers: { authorization: api.authorization },
  });
  const { items } = (await response.json()) as { items: readonly { id: string }[] }; // The list's schema.
  return items[0]?.id ?? '';
}

async function changeCredential(api: Api, id: string, round: number): Promise<void> {
  const response = await fetch(`${api.url}/api/v1/credentials/${id}`, {
    method: 'PATCH',
    headers: {
      authorization: api.authorization,
      'content-type': 'application/merge-patch+json',
    },
    body: JSON.stringify({ attributes: { round: String(round) } }),
  });
  if (response.status !== 200) throw new Error(`the change answered ${response.status}`);
}

async function benchReplica(count: number): Promise<void> {
  const token = randomBytes(18).toString('base64url');
  const cluster = await startCluster({
    adminApis: 1,
    policies: 1,
    brokers: 1,
    env: {
      'admin-api': { ...LIMITS, SALLYPORT_POLICY__TOKEN: token },
      policy: { SALLYPORT_GRPC__TOKEN: token },
      broker: { SALLYPORT_POLICY__TOKEN: token },
    },
  });
  try {
    const [policy] = cluster.policies;
    if (policy === undefined) throw new Error('no policy service');
    const url = cluster.adminUrls[0] ?? cluster.httpUrl;
    const api = { url, authorization: basic(cluster.apiKey) };
    const { devices, revision } = await importDevices(api, count);
    const client = new GrpcPolicyClient({ endpoints: [policy.address], token });
    while ((await client.status()).revision < revision) await sleep(SETTLE_MS / 10);
    await sleep(SETTLE_MS);
    await benchConnects(client, devices, policy.process.pid);
    await client[Symbol.asyncDispose]();
    // At its most: it has folded everything, and looked all over its file, which is mapped.
    boundFigure({
      name: `memory of a policy process after ${DEVICES} CONNECTs`,
      value: memoryMiB(policy.process.pid),
      unit: 'MiB',
      bound: '≤',
      limit: 1024,
    });
    await policy.process.stop();
    const started = performance.now();
    await policy.process.start();
    const ready = (performance.now() - started) / 1000;
    boundFigure({
      name: 'restart of a policy replica to ready',
      value: ready,
      unit: 's',
      bound: '≤',
      limit: 5,
    });
    figure('memory of it then', memoryMiB(policy.process.pid), 'MiB');
  } finally {
    await cluster.stop();
  }
}

/** Only devices are kept of what the import answers: a heap with a million lines would stop the CONNECTs of this process for its collector. */
async function importDevices(
  api: Api,
  count: number,
): Promise<{ readonly devices: readonly Device[]; readonly revision: number }> {
  const imported = await importMany(api, mixedRows(count));
  const name = `import through JetStream, a bcrypt hash each but for ${DEVICES} devices`;
  const value = count / imported.seconds;
  boundFigure({ name, value, unit: 'rows/s', bound: '≥', limit: 30_000 });
  return { devices: devicesOf(imported), revision: imported.revision };
}

function proofOf(device: Device | undefined) {
  const { username = '', secret = '' } = device ?? {};
  const facts = { clientId: `client-of-${username}`, username, listener: 'tcp:default' };
  return { facts, password: Buffer.from(secret) };
}

async function benchConnects(
  client: GrpcPolicyClient,
  devices: readonly Device[],
  pid: number | undefined,
): Promise<void> {
  const first = await inTurn(client, devices.slice(0, FIRST));
  const name = 'CONNECT decision over gRPC, uncached';
  figure(`${name}, one after the other, the first ${FIRST}, p99`, percentile(first, 0.99), 'ms');
  await inTurn(client, devices.slice(FIRST, WARM_UP));
  const before = cpuSeconds(pid);
  const following = await inTurn(client, devices.slice(WARM_UP, WARM_UP + CONNECTS_IN_TURN));
  const used = cpuSeconds(pid) - before;
  figure('processor time of the policy process for one', (used * 1000) / CONNECTS_IN_TURN, 'ms');
  figure(`${name}, one after the other, median`, percentile(following, 0.5), 'ms');
  figure(`${name}, one after the other, p99`, percentile(following, 0.99), 'ms');
  await benchRated(client, devices.slice(WARM_UP + CONNECTS_IN_TURN), pid);
}

/** Beside the figures, for how long both processes were kept from a core: what a busy machine adds to them, and an idle one does not. */
async function benchRated(
  client: GrpcPolicyClient,
  devices: readonly Device[],
  pid: number | undefined,
): Promise<void> {
  const before = { policy: waitedMs(pid), own: waitedMs(process.pid) };
  const samples = await atRate(client, devices);
  const waited = { policy: waitedMs(pid) - before.policy, own: waitedMs(process.pid) - before.own };
  const name = `CONNECT decision over gRPC, uncached, at random times, ${CONNECTS_PER_SECOND}/s`;
  figure(`${name}, median`, percentile(samples, 0.5), 'ms');
  const value = percentile(samples, 0.99);
  boundFigure({ name: `${name}, p99`, value, unit: 'ms', bound: '≤', limit: 2 });
  figure(`${name}, p99.9`, percentile(samples, 0.999), 'ms');
  figure('the policy process waited for a core, for each', waited.policy / devices.length, 'ms');
  figure('this process waited for a core, for each', waited.own / devices.length, 'ms');
}

async function inTurn(client: GrpcPolicyClient, devices: readonly Device[]): Promise<number[]> {
  const samples: number[] = [];
  for (const device of devices) samples.push(await timeConnect(client, device));
  return samples;
}

/**
 * As devices come: each whenever it does, whether the one before it is decided or not. A timer of Node ends with a whole millisecond, so
 * that those of one millisecond come at once.
 */
async function atRate(client: GrpcPolicyClient, devices: readonly Device[]): Promise<number[]> {
  const running: Promise<number>[] = [];
  let due = performance.now();
  for (const device of devices) {
    due -= (Math.log(1 - Math.random()) * 1000) / CONNECTS_PER_SECOND;
    const wait = due - performance.now();
    if (wait > 0) await sleep(wait);
    running.push(timeConnect(client, device));
  }
  return Promise.all(running);
}

async function timeConnect(client: GrpcPolicyClient, device: Device): Promise<number> {
  const started = performance.now();
  try {
    const answer = await client.authenticate({ ...proofOf(device), minRevision: 0 });
    if (!answer.ok) throw new Error(`a device was refused: ${answer.reason}`);
  } catch (error) {
    // A machine that is too busy for the rate is no reason to lose the rest: the device has waited for that long.
    if ((error as { code?: unknown }).code !== 'policy_not_ready') throw error;
  }
  return performance.now() - started;
}

/** As somebody brings them who has bcrypt hashes: nothing is computed, so their content does not matter. */
function hashedRow(name: string): object {
  const hash = `$2b$10$${createHash('sha256').update(name).digest('hex').slice(0, 53)}`;
  return { name, match: { username: name }, passwordHash: { algorithm: 'bcrypt', hash } };
}

function* hashedRows(count: number): Generator<object> {
  for (let index = 0; index < count; index++) yield hashedRow(`device-${index}`);
}

/** The same, and among them, spread over all, devices whose secrets will be known and are cheap to check. */
function* mixedRows(count: number): Generator<object> {
  for (let index = 0; index < count; index++) {
    const name = `device-${index}`;
    const known = index % (count / DEVICES) === 0;
    yield known ? { name, match: { username: name }, generateSecret: true } : hashedRow(name);
  }
}

/** Those whose secrets are known, in no order that rows or names have. */
function devicesOf({ lines }: Imported): readonly Device[] {
  const devices = lines
    .filter((line) => line.includes('"secret"'))
    .map((line) => {
      const { row, secret } = JSON.parse(line) as { row: number; secret: string }; // A row that was created.
      return { username: `device-${row - 1}`, secret };
    });
  if (devices.length !== DEVICES) throw new Error(`${devices.length} devices have a secret`);
  const key = ({ username }: Device): string => createHash('md5').update(username).digest('hex');
  return devices.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

interface Imported {
  readonly seconds: number;
  readonly revision: number;
  /** One a row. */
  readonly lines: readonly string[];
}

async function importMany(api: Api, rows: Iterable<object>): Promise<Imported> {
  const sent = Array.from(rows, (row) => JSON.stringify(row));
  const body = sent.join('\n');
  const started = performance.now();
  const response = await fetch(`${api.url}/api/v1/credentials/import`, {
    method: 'POST',
    headers: { authorization: api.authorization, 'content-type': 'application/x-ndjson' },
    body,
  });
  const lines = (await response.text()).trimEnd().split('\n');
  const seconds = (performance.now() - started) / 1000;
  const { summary } = JSON.parse(lines.pop() ?? '') as {
    summary: { created: number; revision: number };
  }; // The last line of every import.
  if (summary.created !== sent.length) throw new Error(`imported ${JSON.stringify(summary)}`);
  return { seconds, revision: summary.revision, lines };
}

function memoryMiB(pid = 0): number {
  const [, kib = 'NaN'] =
    /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

/** Milliseconds for which the main thread of a process could have run, and others had the core. */
function waitedMs(pid = 0): number {
  const [, nanoseconds] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ');
  return Number(nanoseconds) / 1e6;
}

/** Clock ticks of Linux, which are hundredths of a second wherever Node runs. */
const TICKS_PER_SECOND = 100;

function cpuSeconds(pid = 0): number {
  // Behind the name of the process, which may have spaces: utime and stime are fields 14 and 15 (proc(5)).
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
