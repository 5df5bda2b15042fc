import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { BanList, Enforcer, LiveSession, LiveSessions } from '@sallyport/broker';
import type { DomainEvent } from '@sallyport/domain';
import { MemoryEventLog } from '@sallyport/event-log';
import { PolicyService } from '@sallyport/policy';
import { PolicyCache } from '@sallyport/policy-client';
import { ReadModel } from '@sallyport/read-model';
import {
  check,
  checkSubscribe,
  type CompiledPolicy,
  compilePolicy,
  PLAIN_TERMS,
  type PolicySpec,
  type RuleSpec,
} from '@sallyport/rules';
import {
  compareRandomConnectionLint,
  compareRandomLint,
  compareRandomPolicy,
  compareRandomWorld,
  compareRandomWorldLint,
} from '@sallyport/rules/testing';
import { sealingContext } from '@sallyport/secrets';
import { silentLogger } from '@sallyport/telemetry';
import { removeFolder, tempFolder } from '@sallyport/test-kit';
import { levelsOf, parseTopicFilter, type TopicFilter } from '@sallyport/topic';
import { detail, heading, measured, microseconds } from './report.ts';
import { box, commitOf, credential, hasher } from './world.ts';

const RULES = 1000;
const SESSIONS = 10_000;
const RECONNECTING = 2_000;
const RECONNECT_SECONDS = 2;
const FACTS = { clientId: 'pump', listener: 'tcp:default' };
const PASSWORD = 'a password that somebody has chosen';

/** How wildcards lie in the filters of the rules: what one shape makes cheap another makes dear. */
const SHAPES: Readonly<Record<string, (index: number) => [RuleSpec['effect'], string]>> = {
  late: (index) => [tenth(index), `plant/${index % 50}/+/line/${index}/\${clientid}/x/#`],
  early: (index) => [tenth(index), `+/${index % 50}/+/line/${index}/\${clientid}/x/#`],
  mixed: (index) => [
    tenth(index),
    index % 20 === 0 ? `+/+/${index % 7}/#` : `plant/${index % 50}/+/line/${index}/x/#`,
  ],
  grid: (index) => [
    index % 2 === 0 ? 'allow' : 'deny',
    [4, 3, 5, 7].map((step) => (index % step === 0 ? '+' : `l${index % (step + 5)}`)).join('/'),
  ],
  holes: (index) =>
    index === RULES - 1
      ? ['allow', '#']
      : ['deny', index % 2 === 0 ? `plant/+/${index}/#` : `+/${index % 50}/+/line/${index}`],
};
const FILTERS = [
  ...['#', '+/#', 'plant/#', 'plant/7/#', 'plant/+/#', '+/7/#'],
  ...['+/+/+/+', '+/+/+/line/+', 'plant/+/+/line/#', 'plant/7/+/line/7/pump/x/#'],
];

const tenth = (index: number): RuleSpec['effect'] => (index % 10 === 0 ? 'deny' : 'allow');

function specOf(shape: (index: number) => [RuleSpec['effect'], string]): PolicySpec {
  const rules = Array.from({ length: RULES }, (_, index): RuleSpec => {
    const [effect, filter] = shape(index);
    const matcher = { kind: 'filter', filter } as const;
    return { ruleId: `r${index}`, effect, actions: ['publish', 'subscribe', 'receive'], matcher };
  });
  return {
    policyId: 'bench',
    superuser: false,
    authorities: [{ name: 'acl', rules, noMatch: 'abstain' }],
    noMatch: 'deny',
    denyAction: 'ignore',
  };
}

/**
 * `--random <count>`: how many random policies and worlds to compare with brute force, and nothing else is done; `--seed <number>`: of the
 * first of them.
 */
export async function benchRules(args: readonly string[]): Promise<void> {
  if (args.includes('--random')) {
    compareRandom(args);
    return;
  }
  heading('rules: 1,000 rules, 8 levels; the fastest of several runs');
  benchVerdicts();
  benchCoverage();
  await benchReevaluation();
  await benchReconnects();
  compareRandom(args);
}

/** The fastest of `runs`: what else the machine does only ever adds. */
function fastest(runs: number, run: () => number): number {
  return Math.min(...Array.from({ length: runs }, run));
}

function compiledOf(spec: PolicySpec): CompiledPolicy {
  const policy = compilePolicy(spec);
  const tables = policy.tables(PLAIN_TERMS);
  // Each is made when it is first asked for; all of them together are what a policy costs at most.
  if (tables.publish.length + tables.receive.length + tables.grants.length === 0) {
    throw new Error('nothing compiled');
  }
  return policy;
}

function benchVerdicts(): void {
  const spec = specOf(SHAPES['late'] ?? fail());
  const policy = compilePolicy(spec);
  const topics = Array.from({ length: RULES }, (_, index) => {
    const topic = `plant/${index % 50}/hall/line/${index}/pump/x/y`;
    return { topic, levels: levelsOf(topic) };
  });
  const principal = { credentialId: 'c', store: 'native', facts: FACTS } as const;
  const admitted = { principal, resolved: { policyId: 'bench', tags: [] }, policy, revision: 1 };
  const session = new LiveSession(admitted, () => undefined);
  const cached = fastest(5, () =>
    microseconds(300_000, (index) =>
      session.mayPublish(topics[index % 64]?.topic ?? '', (index % 3) as 0 | 1 | 2, false),
    ),
  );
  measured('publish verdict, cached in the session', cached, 'µs', '≤', 0.3);
  const uncached = fastest(5, () =>
    microseconds(100_000, (index) => {
      const { topic, levels } = topics[index % RULES] ?? fail();
      return check(policy, FACTS, 'publish', levels, topic);
    }),
  );
  measured('publish verdict, uncached', uncached, 'µs', '≤', 5);
  for (const [name, shape] of Object.entries(SHAPES)) {
    const one = specOf(shape);
    const ms = fastest(20, () => microseconds(1, () => compiledOf(one)) / 1000);
    measured(`compile, all actions, ${name} wildcards`, ms, 'ms', '≤', 10);
  }
}

function benchCoverage(): void {
  const found: Record<string, Record<string, number>> = {};
  for (const [name, shape] of Object.entries(SHAPES)) {
    const policy = compiledOf(specOf(shape));
    const byFilter: Record<string, number> = {};
    for (const text of FILTERS) {
      const filter = filterOf(text);
      byFilter[text] = fastest(5, () =>
        microseconds(200, () => checkSubscribe(policy, FACTS, filter)),
      );
    }
    found[name] = byFilter;
    const worst = Math.max(...Object.values(byFilter));
    measured(`subscribe, worst of ${FILTERS.length} filters, ${name}`, worst, 'µs', '≤', 100);
  }
  detail('rules.coverage', found);
}

function filterOf(text: string): TopicFilter {
  const parsed = parseTopicFilter(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.value;
}

function fail(): never {
  throw new Error('missing');
}

/** A log, a read model and the policy service on it, in this process. */
async function openWorld(events: readonly DomainEvent[]) {
  const folder = tempFolder('bench-rules');
  const log = new MemoryEventLog();
  for (let start = 0; start < events.length; start += 100) {
    await log.append([commitOf(...events.slice(start, start + 100))], await log.head());
  }
  const onFailure = (failure: Error): never => {
    throw failure;
  };
  const model = await ReadModel.open({ path: join(folder, 'model.sqlite'), log, onFailure });
  const policy = new PolicyService({ model, box, hasher, clock: Date.now });
  const cache = new PolicyCache({ client: policy, log, revision: model.revision, clock: Date.now });
  const close = async (): Promise<void> => {
    await model[Symbol.asyncDispose]();
    removeFolder(folder);
  };
  return { log, model, policy, cache, close };
}

const everyoneMay = (filter: string): DomainEvent => ({
  type: 'AclRulesReplaced',
  data: {
    target: { kind: 'everyone' },
    rules: [{ ruleId: 'r', effect: 'allow', action: 'all', topicFilter: filter }],
  },
});

/** A change of the table of everyone, from the log to the last of ten thousand live sessions. */
async function benchReevaluation(): Promise<void> {
  const credentials = Array.from({ length: SESSIONS }, (_, index): DomainEvent => ({
    type: 'CredentialAdded',
    data: { ...credential(index), passwordRequired: false, secrets: [] },
  }));
  const world = await openWorld([...credentials, everyoneMay('before/#')]);
  const { log, policy, cache, model } = world;
  const sessions = new LiveSessions();
  const all: LiveSession[] = [];
  for (let index = 0; index < SESSIONS; index++) {
    const facts = { clientId: `c${index}`, username: `device-${index}`, listener: 'tcp:default' };
    const admission = await cache.authenticate({ facts, password: undefined });
    if (!admission.ok) throw new Error(admission.reason);
    const session = new LiveSession(admission.admitted, () => fail());
    sessions.add(session);
    all.push(session);
  }
  let heard: (revision: number) => void = () => undefined;
  const enforcer = new Enforcer({
    log,
    client: policy,
    cache,
    sessions,
    bans: new BanList({ revision: 0, bans: [] }, Date.now),
    start: await policy.status(),
    maxStalenessMs: 60_000,
    stalenessAlarmMs: 60_000,
    whenStale: 'keep',
    clock: Date.now,
    logger: silentLogger(),
    onEnforced: ({ revision }) => heard(revision),
    onFailure: fail,
  });
  let totalMs = Infinity;
  let blockedMs = Infinity;
  for (let run = 0; run < 7; run++) {
    const wanted = model.revision + 1;
    const enforced = new Promise<void>((resolve) => {
      heard = (revision) => (revision === wanted ? resolve() : undefined);
    });
    const watch = watchLoop();
    const started = performance.now();
    await log.append([commitOf(everyoneMay(`run-${run}/#`))], wanted - 1);
    await enforced;
    totalMs = Math.min(totalMs, performance.now() - started);
    blockedMs = Math.min(blockedMs, await watch.longestMs());
    if (!all.every((one) => one.mayPublish(`run-${run}/x`, 0, false).allowed)) fail();
  }
  measured('10,000 live sessions re-evaluated after a rule change', totalMs, 'ms', '≤', 200);
  measured('longest block of the event loop meanwhile', blockedMs, 'ms', '≤', 20);
  await enforcer[Symbol.asyncDispose]();
  await world.close();
}

/** Looks at the time in every turn of the event loop. */
function watchLoop(): { longestMs(): Promise<number> } {
  let last = performance.now();
  let longest = 0;
  let running = true;
  const look = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (running) setImmediate(look);
  };
  setImmediate(look);
  return {
    longestMs: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      running = false;
      return longest;
    },
  };
}

/** Devices with passwords that people have chosen come back after an outage of the network, one after the other. */
async function benchReconnects(): Promise<void> {
  const verifier = await hasher.hashPassword(PASSWORD);
  const events = Array.from({ length: RECONNECTING }, (_, index): DomainEvent => {
    const one = credential(index);
    const sealed = box.seal(verifier, sealingContext({ kind: 'credential', id: one.id }));
    const secrets = [{ secretId: randomUUID(), verifier: sealed, createdAt: 0 }];
    return { type: 'CredentialAdded', data: { ...one, secrets } };
  });
  const world = await openWorld([...events, everyoneMay('a/#')]);
  const proofs = Array.from({ length: RECONNECTING }, (_, index) => ({
    facts: { clientId: `c${index}`, username: `device-${index}`, listener: 'tcp:default' },
    password: Buffer.from(PASSWORD),
  }));
  console.log(`  (hashing ${RECONNECTING.toLocaleString('en')} passwords to warm the cache …)`);
  for (let start = 0; start < proofs.length; start += 32) {
    const some = proofs.slice(start, start + 32);
    await Promise.all(some.map((proof) => world.cache.authenticate(proof)));
  }
  let count = 0;
  const started = performance.now();
  const sessions = new LiveSessions();
  while (performance.now() - started < RECONNECT_SECONDS * 1000) {
    const admitted = world.cache.cached(proofs[count++ % proofs.length] ?? fail());
    if (admitted === undefined) throw new Error('not in the cache');
    const session = new LiveSession(admitted, () => undefined);
    sessions.add(session);
    sessions.remove(session);
  }
  const perSecond = count / ((performance.now() - started) / 1000);
  measured('reconnects, argon2id secrets, warm cache', perSecond, '/s', '≥', 5_000);
  await world.close();
}

function compareRandom(args: readonly string[]): void {
  const numberOf = (name: string, absent: number): number => {
    const index = args.indexOf(name);
    const value = index < 0 ? absent : Number(args[index + 1]);
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} needs a whole number`);
    return value;
  };
  const count = numberOf('--random', 2_000);
  const seed = numberOf('--seed', Math.floor(Math.random() * 2 ** 31));
  heading(`rules: ${count} random policies against brute force, from --seed ${seed}`);
  measured('differences', differences(count, seed, compareRandomPolicy), 'policies', '≤', 0);
  heading(`rules: ${count} random worlds of domain objects against the documents' words`);
  measured('differences', differences(count, seed, compareRandomWorld), 'worlds', '≤', 0);
  const tenth = Math.ceil(count / 10);
  heading(`rules: ${tenth} random policies and worlds with and without what lint calls removable`);
  for (const [name, compare] of Object.entries(LINTED)) {
    const changed = (of: number) => compare(of).difference;
    measured(`lint of ${name}`, differences(tenth, seed, changed), 'differences', '≤', 0);
  }
}

const LINTED = {
  policies: compareRandomLint,
  objects: compareRandomWorldLint,
  connections: compareRandomConnectionLint,
};

function differences(count: number, seed: number, compare: (seed: number) => unknown): number {
  let found = 0;
  for (let index = 0; index < count; index++) {
    const difference = compare(seed + index);
    if (difference === undefined) continue;
    found += 1;
    console.log(JSON.stringify(difference));
  }
  return found;
}
