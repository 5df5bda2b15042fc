import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import { startCluster } from '@sallyport/test-kit';
import { startStandalone } from '../../harness/standalone.ts';
import { boundFigure, figure, heading, percentile } from './report.ts';

/** Adds the size that takes minutes. */
export const MILLION_OPTION = '--million';

const SIZES = [10_000, 100_000] as const;
const MILLION = 1_000_000;
const LISTS = 20;
/** CONNECTs that are decided, each of a device of its own whose secret is known. */
const CONNECTS = 3_000;

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

async function benchLists(api: Api, count: number): Promise<void> {
  const samples: number[] = [];
  for (let round = 0; round < LISTS; round++) {
    // Common and rare texts, near pages and far ones, both orders.
    const search = ['device', '77', `e-${count - 1}`, 'nothing'][round % 4] ?? '';
    const page = round % 2 === 0 ? 0 : Math.floor(count / 400);
    const sort = ['name,asc', 'createdAt,desc', 'updatedAt,asc'][round % 3] ?? '';
    const query = `search=${search}&sort=${sort}&page=${page}&pageSize=50`;
    const started = performance.now();
    const response = await fetch(`${api.url}/api/v1/credentials?${query}`, {
      headers: { authorization: api.authorization },
    });
    await response.arrayBuffer();
    if (response.status !== 200) throw new Error(`the list answered ${response.status}`);
    samples.push(performance.now() - started);
  }
  const name = 'list with search, sort and page';
  figure(`${name}, median`, percentile(samples, 0.5), 'ms');
  boundFigure({
    name: `${name}, worst of ${LISTS}`,
    value: Math.max(...samples),
    unit: 'ms',
    bound: '≤',
    limit: 100,
  });
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
    const { seconds } = await importMany(api, hashedRows(count));
    const name = 'import through JetStream, a bcrypt hash each';
    const value = count / seconds;
    boundFigure({ name, value, unit: 'rows/s', bound: '≥', limit: 30_000 });
    const { devices, revision: minRevision } = await importDevices(api);
    const client = new GrpcPolicyClient({ endpoints: [policy.address], token });
    await client.authenticate({ ...proofOf(devices[0]), minRevision });
    await benchConnects(client, devices, policy.process.pid);
    await client[Symbol.asyncDispose]();
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
    const memory = memoryMiB(policy.process.pid);
    boundFigure({
      name: 'memory of a policy process',
      value: memory,
      unit: 'MiB',
      bound: '≤',
      limit: 1024,
    });
  } finally {
    await cluster.stop();
  }
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
  const samples: number[] = [];
  const before = cpuSeconds(pid);
  for (const device of devices) {
    const started = performance.now();
    const answer = await client.authenticate({ ...proofOf(device), minRevision: 0 });
    samples.push(performance.now() - started);
    if (!answer.ok) throw new Error(`a device was refused: ${answer.reason}`);
  }
  const used = cpuSeconds(pid) - before;
  const name = 'CONNECT decision over gRPC, uncached, one after the other';
  figure('processor time of the policy process for one', (used * 1000) / devices.length, 'ms');
  figure(`${name}, median`, percentile(samples, 0.5), 'ms');
  boundFigure({
    name: `${name}, p99`,
    value: percentile(samples, 0.99),
    unit: 'ms',
    bound: '≤',
    limit: 2,
  });
}

/** As somebody brings them who has bcrypt hashes: nothing is computed, so their content does not matter. */
function* hashedRows(count: number): Generator<object> {
  for (let index = 0; index < count; index++) {
    const name = `device-${index}`;
    const hash = `$2b$10$${createHash('sha256').update(name).digest('hex').slice(0, 53)}`;
    yield { name, match: { username: name }, passwordHash: { algorithm: 'bcrypt', hash } };
  }
}

function* generatedRows(count: number): Generator<object> {
  for (let index = 0; index < count; index++) {
    const name = `known-${index}`;
    yield { name, match: { username: name }, generateSecret: true };
  }
}

/** Devices whose secrets are cheap to check, beside those that there are. */
async function importDevices(
  api: Api,
): Promise<{ readonly devices: readonly Device[]; readonly revision: number }> {
  const { lines, revision } = await importMany(api, generatedRows(CONNECTS));
  const devices = lines.map((line) => {
    const { row, secret } = JSON.parse(line) as { row: number; secret: string }; // A row that was created.
    return { username: `known-${row - 1}`, secret };
  });
  return { devices, revision };
}

interface Imported {
  readonly seconds: number;
  readonly revision: number;
  /** One a row. */
  readonly lines: readonly string[];
}

async function importMany(api: Api, rows: Iterable<object>): Promise<Imported> {
  const sent = Array.from(rows, (row) => JSON.stringify(row));
  const started = performance.now();
  const response = await fetch(`${api.url}/api/v1/credentials/import`, {
    method: 'POST',
    headers: { authorization: api.authorization, 'content-type': 'application/x-ndjson' },
    body: sent.join('\n'),
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

/** Clock ticks of Linux, which are hundredths of a second wherever Node runs. */
const TICKS_PER_SECOND = 100;

function cpuSeconds(pid = 0): number {
  // Behind the name of the process, which may have spaces: utime and stime are fields 14 and 15 (proc(5)).
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
