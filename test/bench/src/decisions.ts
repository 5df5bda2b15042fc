import { join } from 'node:path';
import { LiveSession } from '@sallyport/broker';
import { affects } from '@sallyport/domain';
import { type EventLog, MemoryEventLog } from '@sallyport/event-log';
import { openSqliteEventLog } from '@sallyport/event-log/sqlite';
import { PolicyService, startGrpcServer } from '@sallyport/policy';
import { PolicyCache } from '@sallyport/policy-client';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import { ReadModel } from '@sallyport/read-model';
import {
  check,
  checkSubscribe,
  compilePolicy,
  type PolicySpec,
  type RuleSpec,
} from '@sallyport/rules';
import { silentLogger } from '@sallyport/telemetry';
import { removeFolder, tempFolder } from '@sallyport/test-kit';
import { parseTopicFilter } from '@sallyport/topic';
import { figure, heading, microseconds, microsecondsAsync } from './report.ts';
import { addCredentials, box, hasher, ruleCommit, SECRET } from './world.ts';

const CREDENTIALS = 1_000_000;
const FOLDED_COMMITS = 20_000;

/** How fast a log becomes a read model, and what a lookup costs in a large one. */
export async function benchFold(): Promise<void> {
  heading('fold');
  const folder = tempFolder('bench-fold');
  const small = new MemoryEventLog();
  for (let start = 0; start < FOLDED_COMMITS; start += 1000) {
    await small.append(
      Array.from({ length: 1000 }, (_, index) => ruleCommit(start + index)),
      start,
    );
  }
  let started = performance.now();
  const folded = await openModel(join(folder, 'small.sqlite'), small);
  let seconds = (performance.now() - started) / 1000;
  figure('commits of one event', FOLDED_COMMITS / seconds, 'commits/s');
  await folded[Symbol.asyncDispose]();

  console.log(`  (writing ${CREDENTIALS.toLocaleString('en')} credentials to a log …)`);
  const log = await openSqliteEventLog({ path: join(folder, 'log.sqlite') });
  await addCredentials(log, 0, CREDENTIALS);
  started = performance.now();
  const model = await openModel(join(folder, 'large.sqlite'), log);
  seconds = (performance.now() - started) / 1000;
  figure('credentials, 100 in each commit', CREDENTIALS / seconds, 'events/s');
  const keys = Array.from(
    { length: 50_000 },
    (_, index) => `username:device-${(index * 7919) % CREDENTIALS}`,
  );
  figure(
    'lookup for authentication among 1,000,000',
    microseconds(50_000, (index) => model.credentialsByLogin(keys[index % keys.length] ?? '')),
    'µs',
  );
  await benchConnect(log, model);
  await model[Symbol.asyncDispose]();
  await log[Symbol.asyncDispose]();
  removeFolder(folder);
}

const openModel = (path: string, log: EventLog) =>
  ReadModel.open({
    path,
    log,
    onFailure: (failure) => {
      throw failure;
    },
  });

async function benchConnect(log: EventLog, model: ReadModel): Promise<void> {
  heading('CONNECT, among 1,000,000 credentials, machine secrets');
  const policy = new PolicyService({ model, box, hasher, clock: Date.now });
  const token = 'a-token-of-the-benchmarks';
  const server = await startGrpcServer(policy, { listen: '127.0.0.1:0', token }, silentLogger());
  const client = new GrpcPolicyClient({ endpoints: [`127.0.0.1:${server.port}`], token });
  const password = Buffer.from(SECRET);
  const factsOf = (index: number) => ({
    clientId: `c${index}`,
    username: `device-${(index * 7919) % CREDENTIALS}`,
    listener: 'tcp:default',
  });
  const ask = (who: typeof policy | typeof client) => (index: number) =>
    who.authenticate({ facts: factsOf(index), password, minRevision: model.revision });
  figure('cold, in process', await microsecondsAsync(20_000, ask(policy)), 'µs');
  figure('cold, over gRPC, one after the other', await microsecondsAsync(4_000, ask(client)), 'µs');
  const cache = new PolicyCache({ client: policy, log, revision: model.revision, clock: Date.now });
  const proofs = Array.from({ length: 10_000 }, (_, index) => ({
    facts: factsOf(index),
    password,
  }));
  for (const proof of proofs) await cache.authenticate(proof);
  const cached = microseconds(100_000, (index) => {
    const proof = proofs[index % proofs.length];
    if (proof === undefined || cache.cached(proof) === undefined) throw new Error('not cached');
  });
  figure('cached, 10,000 clients', cached, 'µs');
  figure(
    'invalidation of a commit that concerns nobody',
    microseconds(20_000, (index) =>
      cache.invalidate(model.revision + 1 + index, ruleCommit(index).events.flatMap(affects)),
    ),
    'µs',
  );
  await client[Symbol.asyncDispose]();
  await server.close(0);
}

/** What a decision costs on the path of a message. */
export function benchVerdicts(): void {
  heading('verdicts, 1,000 rules, 8 levels');
  const rules = Array.from({ length: 1000 }, (_, index): RuleSpec => ({
    ruleId: `r${index}`,
    effect: index % 10 === 0 ? 'deny' : 'allow',
    actions: ['publish', 'subscribe', 'receive'],
    matcher: { kind: 'filter', filter: `plant/${index % 50}/+/line/${index}/\${clientid}/x/#` },
  }));
  const spec: PolicySpec = {
    policyId: 'bench',
    superuser: false,
    authorities: [{ name: 'acl', rules, noMatch: 'abstain' }],
    noMatch: 'deny',
    denyAction: 'ignore',
  };
  const facts = { clientId: 'pump', listener: 'tcp:default' };
  figure('compile', microseconds(50, () => compilePolicy(spec)) / 1000, 'ms');
  const policy = compilePolicy(spec);
  const topics = Array.from({ length: 1000 }, (_, index) => {
    const topic = `plant/${index % 50}/hall/line/${index}/pump/x/y`;
    return { topic, levels: topic.split('/') };
  });
  figure(
    'publish, uncached',
    microseconds(1_000_000, (index) => {
      const { topic, levels } = topics[index % 1000] ?? { topic: '', levels: [] };
      return check(policy, facts, 'publish', levels, topic);
    }),
    'µs',
  );
  const principal = { credentialId: 'c', store: 'native', facts } as const;
  const session = new LiveSession(
    { principal, resolved: { policyId: 'bench', tags: [] }, policy, revision: 1 },
    () => undefined,
  );
  figure(
    'publish, cached in the session',
    microseconds(3_000_000, (index) =>
      session.mayPublish(topics[index % 64]?.topic ?? '', 0, false),
    ),
    'µs',
  );
  const filter = parseTopicFilter('plant/7/+/line/7/pump/x/#');
  if (!filter.ok) throw new Error(filter.problem);
  figure(
    'subscribe, coverage',
    microseconds(20_000, () => checkSubscribe(policy, facts, filter.value)),
    'µs',
  );
}
